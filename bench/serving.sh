# serving.sh - generated catalogues, models over them, and how long
# recommendations take, for bench/serve and bench/pairs.  Sourced after lib.sh;
# works in the database "bench"; a measurement by pgbench takes $seconds.

width=64
history=50

query()
{
	with_user psql -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 -d bench "$@"
}

median()
{
	sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# Every item occurs; beyond that the lower numbers are the popular ones.  Rows come in
# the order of time, so that a user's are all over the table, as in real ones.
users_of()
{
	echo $(($1 / 50 > 2000 ? $1 / 50 : 2000))
}

load_catalogue()
{
	local n=$1 users

	users=$(users_of "$n")
	query >/dev/null <<-SQL
		SELECT setseed(0.5);
		CREATE TABLE events_$n AS
		SELECT u AS user_id, 1 + CASE WHEN (u - 1)::bigint * $history + j < $n THEN (u - 1) * $history + j
			ELSE ($n * power(random(), 2))::int % $n END AS item_id, j AS at
		FROM generate_series(0, $history - 1) AS j, generate_series(1, $users) AS u ORDER BY j, u;
		CREATE INDEX ON events_$n (user_id, at);
		VACUUM ANALYZE events_$n;
		SELECT fmoe_create_domain('items_$n', 'events_$n', 'user_id', 'item_id', 'at');
	SQL
}

load()
{
	local n=$1

	load_catalogue "$n"
	query >/dev/null <<-SQL
		SET client_min_messages = warning;
		CALL fmoe_train('items_$n', '{"model": "sasrec", "epochs": 1, "loss": "gbce", "holdout": "none", "width": $width,
			"max_length": $history, "batch_size": 512}');
	SQL
}

# latencies NAME CLIENTS [SETTING...] < SCRIPT: p50 p95 p99 in ms, and calls a second
latencies()
{
	local name=$1 clients=$2 options=

	shift 2
	for setting; do options+=" -c $setting"; done
	with_user tee "$work/tmp/$name.sql" >/dev/null
	# the caches first
	run env "PGOPTIONS=$options" pgbench -n -M prepared -c "$clients" -j "$clients" -t 50 -f "$work/tmp/$name.sql" bench >/dev/null 2>"$work/pgbench.log" ||
		{ cat "$work/pgbench.log" >&2; die "pgbench failed"; }
	run env "PGOPTIONS=$options" pgbench -n -M prepared -c "$clients" -j "$clients" -T "$seconds" -l \
		--log-prefix="$work/tmp/$name" -f "$work/tmp/$name.sql" bench >/dev/null 2>"$work/pgbench.log" ||
		{ cat "$work/pgbench.log" >&2; die "pgbench failed"; }
	cat "$work/tmp/$name".[0-9]* | awk '{ print $3 }' | sort -n | awk -v s="$seconds" '
		{ v[NR] = $1 / 1000 }
		END { print v[int(NR * 0.5) + 1], v[int(NR * 0.95) + 1], v[int(NR * 0.99) + 1], NR / s }'
	rm -f "$work/tmp/$name".[0-9]*
}

call()
{
	printf '\\set u random(1, %d)\nSELECT * FROM fmoe_recommend(:u::int, 10, %s);\n' "$(users_of "$1")" "'items_$1'"
}

# Seconds that fmoe_recommend_all takes for every user
all_seconds()
{
	query <<-SQL | tail -n 1
		SELECT clock_timestamp() AS begun \gset
		SELECT count(*) FROM fmoe_recommend_all('items_$1', 10) \g /dev/null
		SELECT extract(epoch FROM clock_timestamp() - :'begun');
	SQL
}
