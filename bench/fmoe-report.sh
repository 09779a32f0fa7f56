# fmoe-report.sh - the tables that bench/fmoe prints.  Sourced by bench/fmoe.

table_sql()
{
	with_user psql -X -q -A -t -F ' | ' -v ON_ERROR_STOP=1 -d bench "$@" | sed 's/^/| /; s/$/ |/'
}

# Names in the order they were given
in_order()
{
	printf "'%s'" "${1// /\',\'}"
}

load_log()
{
	with_user psql -X -q -v ON_ERROR_STOP=1 -d bench <<-SQL
		CREATE TABLE line (target text, method text, seed bigint, users bigint, mrr_999 float8, hr_999 float8, ndcg_999 float8,
			mrr_all float8, hr_all float8, ndcg_all float8, seconds float8, epochs integer, live boolean, rounds integer, gate text);
	SQL
	tail -n +3 "$log" | with_user psql -X -q -v ON_ERROR_STOP=1 -d bench -c '\copy line FROM pstdin (FORMAT csv)'
	with_user psql -X -q -v ON_ERROR_STOP=1 -d bench <<-SQL
		DELETE FROM line WHERE target <> ALL (ARRAY[$(in_order "${names[*]}")]) OR method <> ALL (ARRAY[$(in_order "$methods")])
			OR seed <> ALL (ARRAY[${seeds// /,}]);
		CREATE VIEW value AS SELECT target, method, seed, m.* FROM line,
			LATERAL (VALUES (1, mrr_999), (2, hr_999), (3, ndcg_999), (4, mrr_all), (5, hr_all), (6, ndcg_all)) AS m (n, value);
		CREATE FUNCTION spread(list float8[]) RETURNS text LANGUAGE sql
			RETURN (SELECT round(avg(v)::numeric, 4) || COALESCE(' ± ' || round(stddev_samp(v)::numeric, 4), '') FROM unnest(list) AS v);
		CREATE FUNCTION place(list text[], name text) RETURNS integer LANGUAGE sql RETURN array_position(list, name);
	SQL
}

# Six columns: a function of the values of each metric
metric_cells()
{
	local n cells=

	for n in 1 2 3 4 5 6; do
		cells+=", spread(array_agg(value) FILTER (WHERE n = $n))"
	done
	printf '%s' "$cells"
}

report_accuracy()
{
	printf '\n| target | method | seeds | MRR, 999 | HR@10, 999 | NDCG@10, 999 | MRR, all | HR@10, all | NDCG@10, all |\n'
	printf '| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n'
	table_sql -c "SELECT target, method, count(DISTINCT seed)$(metric_cells) FROM value GROUP BY target, method
		ORDER BY place(ARRAY[$(in_order "${names[*]}")], target), place(ARRAY[$(in_order "$methods")], method)"
}

# Of the same target and seed; ± is the standard deviation of the differences, in how many seeds it is above 0 stands behind
report_difference()
{
	local method=$1

	[[ " $methods " == *' local '* && " $methods " == *" $method "* ]] || return 0
	printf '\n%s less local, seed by seed (NDCG@10 among all: in how many seeds above 0):\n' "$method"
	printf '\n| target | MRR, 999 | HR@10, 999 | NDCG@10, 999 | MRR, all | HR@10, all | NDCG@10, all | above |\n'
	printf '| --- | --- | --- | --- | --- | --- | --- | --- |\n'
	table_sql -c "SELECT target$(metric_cells), count(*) FILTER (WHERE n = 6 AND value > 0) || ' of ' || count(*) FILTER (WHERE n = 6)
		FROM (SELECT m.target, m.n, m.value - l.value AS value FROM value AS m JOIN value AS l USING (target, seed, n)
			WHERE m.method = '$method' AND l.method = 'local') AS d
		GROUP BY target ORDER BY place(ARRAY[$(in_order "${names[*]}")], target)"
}

# What a mixture makes of its experts: expert:weight:largest:added:verdict;…  of the last events
gate_of()
{
	case $4 in local | fedavg) return ;; esac
	party_value "$1" "SELECT string_agg(concat_ws(':', expert, round(weight::numeric, 4), round(largest::numeric, 4),
			round(difference::numeric, 5), translate(verdict, ',:;''', '')), ';' ORDER BY n)
		FROM fmoe_expert_report('$2', '{\"version\": $3, \"split\": \"leave_one_out\"}') WITH ORDINALITY
			AS r (expert, weight, largest, ndcg, without, difference, low, high, verdict, users, n)
		WHERE weight IS NOT NULL"
}

report_gates()
{
	[[ "$methods" =~ equal|fmoe|batch ]] || return 0
	printf '\nWhat the gates learned, means over the seeds; *largest*: share of users for whom the expert weighs most;\n'
	printf '*adds*: NDCG@10 among all with it less without it; in how many seeds the verdict was what:\n'
	printf '\n| target | method | expert | weight | largest | adds | verdicts |\n| --- | --- | --- | --- | --- | --- | --- |\n'
	table_sql -c "SELECT target, method, p[1], spread(array_agg(p[2]::float8)), round(avg(p[3]::numeric), 3), spread(array_agg(p[4]::float8)),
			(SELECT string_agg(v || ' ' || n, ', ' ORDER BY n DESC, v) FROM (SELECT v, count(*) AS n FROM unnest(array_agg(p[5])) AS v GROUP BY v) AS c)
		FROM line, LATERAL (SELECT string_to_array(e, ':') AS p FROM string_to_table(gate, ';') AS e) AS e
		GROUP BY target, method, p[1]
		ORDER BY place(ARRAY[$(in_order "${names[*]}")], target), place(ARRAY[$(in_order "$methods")], method), p[1] = 'all but own', p[1] <> 'own', p[1]"
	printf '\nMixtures that went live, being no worse in validation than counting, their own expert alone and the local model:\n'
	table_sql -c "SELECT target, method, count(*) FILTER (WHERE live) || ' of ' || count(*) FROM line
		WHERE method NOT IN ('local', 'fedavg') GROUP BY target, method
		ORDER BY place(ARRAY[$(in_order "${names[*]}")], target), place(ARRAY[$(in_order "$methods")], method)" |
		{ printf '\n| target | method | live |\n| --- | --- | --- |\n'; cat; }
}

report_effort()
{
	printf '\n| target | method | users judged | seconds | epochs | seconds an epoch | rounds |\n| --- | --- | --- | --- | --- | --- | --- |\n'
	table_sql -c "SELECT target, method, max(users), round(avg(seconds)::numeric, 1), round(avg(epochs), 1),
			round((sum(seconds) / nullif(sum(epochs), 0))::numeric, 2), round(avg(rounds), 1)
		FROM line GROUP BY target, method
		ORDER BY place(ARRAY[$(in_order "${names[*]}")], target), place(ARRAY[$(in_order "$methods")], method)"
	[[ $methods != *fedavg* ]] || printf '\nfedavg: at most %d rounds of %d epochs; seconds and epochs are those of one round.\n' "$rounds" "$local_epochs"
}

report()
{
	local method

	load_log
	report_accuracy
	for method in $methods; do
		[[ $method == local ]] || report_difference "$method"
	done
	report_gates
	report_effort
}

# ---------------------------------------------------------------- costs

# On the first party, after all the rest: what it lends is then what it was in the middle of a training
report_costs()
{
	local name=${names[0]} wanted=3 seed=${seeds%% *}

	printf '\nThe first sync of a party, %d experts:\n' "$((${#names[@]} - 1))"
	printf '\n| party | bytes sent | bytes received |\n| --- | --- | --- |\n'
	for name in "${names[@]}"; do
		awk -F'|' -v name="$name" '{ printf "| %s | %s | %s |\n", name, $4, $5 }' "$work/sync-$name"
	done
	name=${names[0]}
	call "$name" "CALL fmoe_train('events', '$(mixture_options "$seed" user "$mixture" \
		"{\"rounds\": $wanted, \"local_epochs\": $local_epochs, \"epochs\": 10000, \"patience\": 10000, \"deploy\": false}")')"
	printf '\nA round (sync, %d epochs, publish) of a mixture of %s: ' "$local_epochs" "$name"
	party_value "$name" "SELECT round((seconds / $wanted)::numeric, 2) || ' s, mean of $wanted rounds'
		FROM fmoe.versions WHERE domain = 'events' AND version = $(newest "$name" events)"
}

# latency NAME LABEL < SCRIPT: appends the milliseconds of its calls, one client, to the file of a label
latency()
{
	with_user tee "$work/tmp/call.sql" >/dev/null
	run pgbench -n -M prepared -t 50 -f "$work/tmp/call.sql" "$1" >/dev/null 2>"$work/pgbench.log" &&
		run pgbench -n -M prepared -T 5 -l --log-prefix="$work/tmp/call" -f "$work/tmp/call.sql" "$1" >/dev/null 2>"$work/pgbench.log" ||
		{ cat "$work/pgbench.log" >&2; die "pgbench failed"; }
	cat "$work/tmp/call".[0-9]* | awk '{ print $3 / 1000 }' >>"$work/latency-$2"
	rm -f "$work/tmp/call".[0-9]*
}

middle()
{
	sort -g "$work/latency-$1" | awk '{ v[NR] = $1 } END { printf "%.3f", v[int((NR + 1) / 2)] }'
}

# The same lent encoder under so many names, beside the first party's own, in mixtures of one epoch
make_mixtures()
{
	local name=${names[0]} seed=${seeds%% *} n experts=

	call "${names[1]}" "COPY (SELECT format('SELECT fmoe_import(''events'', ''copy-%s'', ''%s'')', n, fmoe_export('events', 1))
		FROM generate_series(1, 7) AS n) TO '$work/tmp/copies.sql' (FORMAT csv, QUOTE E'\\x01', ESCAPE E'\\x01', DELIMITER E'\\x02')"
	sed 's/$/;/' "$work/tmp/copies.sql" | with_user psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d "$name"
	for n in 1 2 3 4 5 6 7; do
		experts+="${experts:+, }\"copy-$n\""
		[[ $n == [137] ]] || continue
		call "$name" "CALL fmoe_train('events', '$(mixture_options "$seed" user "$mixture" \
			"{\"epochs\": 1, \"deploy\": false, \"experts\": [$experts]}")')"
		newest "$name" events >"$work/mixture-$n"
	done
	echo 1 >"$work/mixture-0"
	call "$name" 'CREATE TABLE reader AS SELECT row_number() OVER () AS n, user_id FROM (SELECT DISTINCT user_id FROM events) AS u'
	call "$name" 'ALTER TABLE reader ADD PRIMARY KEY (n)'
	call "$name" 'ANALYZE reader'
}

report_serving()
{
	local name=${names[0]} readers n round

	make_mixtures
	readers=$(party_value "$name" 'SELECT count(*) FROM reader')
	for round in 1 2 3; do
		latency "$name" none <<<'SELECT 1;'
		for n in 0 1 3 7; do
			call "$name" "SELECT fmoe_deploy('events', $(<"$work/mixture-$n"))"
			printf "\\\\set n random(1, %d)\nSELECT r.* FROM reader AS u, fmoe_recommend(u.user_id, 10, 'events') AS r WHERE u.n = :n;\n" "$readers" |
				latency "$name" "$n"
		done
	done
	printf '\nA recommendation of 10 from %s by pgbench, one client; SELECT 1 takes %s ms:\n' "$name" "$(middle none)"
	printf '\n| lent experts | p50, ms |\n| --- | --- |\n'
	for n in 0 1 3 7; do
		printf '| %s | %s |\n' "${n/#0/none, the local model}" "$(middle "$n")"
	done
}
