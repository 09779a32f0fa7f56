#!/usr/bin/env bash
#
# Whether the programs of bench/ that log their trainings do so, on a small shop that is made up: TAP on standard output.
# The server is that of FMOE_SERVER, or is built.

. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

n=0
failed=
small='{"width": 8, "layers": 1, "epochs": 2, "max_length": 10}'

# is WHAT GOT WANTED
is()
{
	n=$((n + 1))
	if [[ $2 == "$3" ]]; then
		printf 'ok %d - %s\n' "$n" "$1"
		return
	fi
	printf 'not ok %d - %s\n# got %s\n# wanted %s\n' "$n" "$1" "$2" "$3"
	failed=yes
}

# 60 users who go round among 40 items, each visit two of them at one time, and have the first item once more;
# every second item has a title of its own
make_shop()
{
	mkdir "$work/shop"
	awk 'BEGIN {
		print "user_id,item_id,ts"
		for (u = 1; u <= 60; u++)
			for (e = 0; e < 14; e++)
				printf "%d,%d,%d\n", u, e == 12 ? (u * 7) % 40 + 1 : (u * 7 + e * (1 + u % 3)) % 40 + 1, 1000000 + u * 1000 + int(e / 2) * 86400
	}' | gzip >"$work/shop/interactions.csv.gz"
	awk 'BEGIN {
		print "item_id,title,categories,price"
		for (i = 1; i <= 40; i++)
			printf "%d,%s,\"thing|shelf %d\",%s\n", i, i % 2 ? "\"round, red \"\"" i "\"\"\"" : "", i % 5, i % 4 ? i / 2 : ""
	}' | gzip >"$work/shop/items.csv.gz"
}

# evidence OPTION...: the log is $work/log.csv; what it prints goes to $work/printed
evidence()
{
	"$top/bench/evidence" "$work/shop" --log "$work/log.csv" --keep "$work/users" --train "$small" "$@" >"$work/printed" 2>"$work/said" ||
		{ sed 's/^/# /' "$work/said"; is "bench/evidence $*" failed ended; }
}

# field MODEL ORDER PART NAME: of the log's line
field()
{
	awk -F, -v model="$1" -v order="$2" -v part="$3" -v name="$4" '
		NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
		$5 == model && $2 == order && $3 == part { print $column[name]; exit }' "$work/log.csv"
}

# Of what fmoe_evaluate says and what each user was given, which is the source of the errors: both are told by the same log
test_evidence()
{
	evidence --models 'popularity sequence sasrec auto'
	is 'a line for each model and order' "$(cut -d, -f1-6 "$work/log.csv" | tail -n +2 | tr '\n' ' ')" \
		"$(for order in baskets file; do
			printf "shop,$order,all,1,%s " popularity,0 sequence,0 sasrec,42 auto,42
		done)"
	is 'every line has all fields' "$(awk -F, '{ print NF }' "$work/log.csv" | sort -u | wc -l)" 1
	is 'users who have a new answer are judged, the others are repeat users' \
		"$(field auto file all users) $(field auto file all kept_users) $(field sequence file all repeat_users)" \
		"$(awk 'BEGIN { for (u = 1; u <= 60; u++) { had = 0; for (e = 0; e < 13; e++) had += e == 12 ? 0 : (e * (1 + u % 3)) % 40 == (13 * (1 + u % 3)) % 40; again += had > 0 } print 60 - again, 60, again ? again : "" }')"
	is 'the differences are those of the means' "$(awk -F, '
		NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
		{ ndcg[$2, $5] = $c["ndcg"] }
		$5 == "auto" { d = $c["over_sasrec"] - (ndcg[$2, "auto"] - ndcg[$2, "sasrec"]); print (d < 0.02 && d > -0.02 && $c["over_sasrec_error"] > 0) }' \
		"$work/log.csv" | tr '\n' ' ')" '1 1 '
	cp "$work/log.csv" "$work/before.csv"
	evidence --models 'popularity sequence sasrec auto'
	is 'what is there is not done again' "$(cmp "$work/log.csv" "$work/before.csv" && grep -c 'NDCG@10 0' "$work/said")" 0
	is 'the table has a row for each' "$(grep -cE '^\| (popularity|sequence|sasrec|auto) \|' "$work/printed")" 8
}

test_parts()
{
	evidence --models auto --orders file --users 20 --draws 2
	is 'few users, judged by all' "$(grep -c '^shop,file,20 users,[12],auto,42,' "$work/log.csv") $(field auto file '20 users' kept_users)" '2 60'
	evidence --models sequence --orders baskets --cold 0.2 --draws 1
	is 'cold items, that nobody has learned' "$(field sequence baskets 'cold 0.2' ndcg)" 0.000000
	is 'who chose a cold item is judged' "$(($(field sequence baskets 'cold 0.2' users) < 40))" 1
}

test_seeds()
{
	"$top/bench/seeds" "$work/shop/interactions.csv.gz" --log "$work/seeds.tsv" --seeds '1 2' --train "$small" >"$work/printed" 2>"$work/said" ||
		sed 's/^/# /' "$work/said"
	is 'bench/seeds: a line for each seed, a row of both' "$(grep -c '^shop' "$work/seeds.tsv") $(grep -c '^| shop |' "$work/printed")" '2 1'
}

test_modal()
{
	"$top/bench/modal" "$work/shop" --log "$work/modal.csv" --models 'popularity hm4sr hm4sr-text hm4sr+idcl=0+pcl=0.5' --seeds 1 \
		--workers 0 --train "$small" >"$work/printed" 2>"$work/said" || sed 's/^/# /' "$work/said"
	is 'bench/modal: a line for each model, by baskets' "$(cut -d, -f1,2,5,6 "$work/modal.csv" | tail -n +2 | tr '\n' ' ')" \
		"$(for model in popularity,0 hm4sr,1 hm4sr-text,1 hm4sr+idcl=0+pcl=0.5,1; do printf 'shop,baskets,%s ' "$model"; done)"
	is 'bench/modal: other options are another model' "$(grep ,hm4sr "$work/modal.csv" | cut -d, -f15 | sort -u | wc -l)" 3
}

begin_work
want_build
install_missing
begin_user
provide_server >/dev/null
export FMOE_SERVER=$server TMPDIR=$work/tmp
make_shop
test_evidence
test_parts
test_seeds
test_modal
printf '1..%d\n' "$n"
[[ -z $failed ]]
