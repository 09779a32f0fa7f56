# demo-experts.sh - the second half of scripts/demo: three databases that have
# no film and no viewer in common train, lend one another their experts, and
# train again.  Sourced by scripts/demo.

# So small and in so large steps that the three are done within a minute
party_train='{"model": "sasrec", "holdout": "test", "width": 32, "batch_size": 32, "learning_rate": 0.002, "epochs": 20, "patience": 5}'

# in_party DATABASE SQL: prints the statement behind the database's prompt, then its result; of epochs every fifth
in_party()
{
	printf '\n%s=# %s\n\n' "$1" "$2"
	party_psql "$1" -c "$2" | sed -u -E 's/^(NOTICE|DETAIL|WARNING|HINT):  /    /; /^    epoch [0-9]*[1-46-9]\//d'
}

# As the role that fetches experts; an error is part of the story
as_borrower()
{
	printf '\n%s=> %s\n\n' "$1" "$2"
	party_psql "$1" -U borrower -c "$2" || true
}

# The same in the databases whose statements look like those of the first
quietly()
{
	party_psql "$1" -o /dev/null -c 'SET client_min_messages = error' -c "$2"
}

load_party()
{
	cut_films "$1"
	make_party "$1"
	with_user psql -X -q -v ON_ERROR_STOP=1 -d "$1" <<-SQL
		CREATE TABLE films (film_id bigint PRIMARY KEY, title text NOT NULL, year integer, genres text);
		CREATE TABLE ratings (user_id bigint, film_id bigint REFERENCES films, rated_at timestamptz NOT NULL, rating real,
			PRIMARY KEY (user_id, film_id));
		\\copy films FROM '$work/$1-films.csv' (FORMAT csv, HEADER)
		\\copy ratings FROM '$work/$1-ratings.csv' (FORMAT csv, HEADER)
		CREATE INDEX ON ratings (user_id, rated_at);
		ANALYZE;
		SELECT fmoe_create_domain('films', 'ratings', 'user_id', 'film_id', 'rated_at') \\g /dev/null
	SQL
}

# How many values of a column more than one database has
in_common()
{
	local party

	for party in "${parties[@]}"; do
		party_value "$party" "SELECT DISTINCT $1 FROM ratings"
	done | sort | uniq -d | wc -l
}

# gather TABLE SQL: what a query says in each database, its name before it, into a table of the database films
gather()
{
	local party

	for party in "${parties[@]}"; do
		run psql -X -q -v ON_ERROR_STOP=1 -d "$party" -c "COPY (SELECT '$party', q.* FROM ($2) AS q) TO STDOUT" |
			with_user psql -X -q -v ON_ERROR_STOP=1 -d films -c "\\copy $1 FROM pstdin"
	done
}

show_parties()
{
	sql 'CREATE TABLE party (database text, viewers bigint, films bigint, ratings bigint)'
	gather party 'SELECT count(DISTINCT user_id), count(DISTINCT film_id), count(*) FROM ratings'
	sql 'SELECT * FROM party'
	printf 'In more than one of them: %d viewers, %d films.\n' "$(in_common user_id)" "$(in_common film_id)"
}

connect_parties()
{
	local party

	say 'a role may fetch what the databases lend, and read nothing else'
	in_party postgres 'CREATE ROLE borrower LOGIN;'
	in_party drama "$(lending_sql)"
	in_party drama "$(peer_sql comedy)"
	quietly drama "$(peer_sql action)"
	for party in comedy action; do
		connect_party "$party" "${parties[@]}"
	done
	say 'the same in the others; what the role may read there'
	as_borrower comedy 'SELECT count(*) AS lent FROM fmoe.shared_expert;'
	as_borrower comedy 'SELECT * FROM ratings;'
}

train_parties()
{
	local party

	say 'each trains alone, and lends what reads a history: no film, no viewer is in it'
	in_party drama "CALL fmoe_train('films', '$party_train');"
	in_party drama "SELECT fmoe_lend('films', 1) AS lent;"
	for party in comedy action; do
		quietly "$party" "CALL fmoe_train('films', '$party_train')"
		quietly "$party" "SELECT fmoe_lend('films', 1)"
	done
	say 'each fetches what the others lend'
	in_party drama 'CALL fmoe_sync();'
	for party in comedy action; do
		quietly "$party" 'CALL fmoe_sync()'
	done
	in_party drama 'SELECT name, own, model, events, users, items, pg_size_pretty(bytes) AS size FROM fmoe.experts ORDER BY own DESC, name;'
	say 'and trains again, with the lent experts beside its own, and a gate that weighs them for each viewer'
	in_party drama "CALL fmoe_train('films', '$party_mixture');"
	for party in comedy action; do
		quietly "$party" "CALL fmoe_train('films', '$party_mixture')"
	done
}

compare_parties()
{
	say 'each viewer'\''s last film, ranked among all films of the database not seen before'
	sql 'CREATE TABLE judged (database text, version integer, metric text, value double precision, viewers bigint, live boolean)'
	gather judged "SELECT v.version, e.metric, e.value, e.users, v.live
		FROM fmoe.versions v, LATERAL fmoe_evaluate('films', jsonb_build_object('version', v.version)) e
		WHERE e.model NOT IN ('popularity', 'markov') AND (e.k = 10 AND e.metric IN ('ndcg', 'hr') OR e.metric = 'mrr')"
	sql "SELECT database,
	round(max(value) FILTER (WHERE version = 1 AND metric = 'ndcg')::numeric, 4) AS \"NDCG@10 alone\",
	round(max(value) FILTER (WHERE version = 2 AND metric = 'ndcg')::numeric, 4) AS \"with lent\",
	round(max(value) FILTER (WHERE version = 1 AND metric = 'hr')::numeric, 4) AS \"HR@10 alone\",
	round(max(value) FILTER (WHERE version = 2 AND metric = 'hr')::numeric, 4) AS \"with lent\",
	round(max(value) FILTER (WHERE version = 1 AND metric = 'mrr')::numeric, 4) AS \"MRR alone\",
	round(max(value) FILTER (WHERE version = 2 AND metric = 'mrr')::numeric, 4) AS \"with lent\",
	max(viewers) AS viewers,
	CASE WHEN bool_or(live AND version = 2) THEN 'with lent' WHEN bool_or(live) THEN 'alone' ELSE 'counting' END AS \"what is live\"
FROM judged GROUP BY database ORDER BY database"
	printf 'With so few viewers, chance alone moves these numbers by 0.01 to 0.02; bench/fmoe compares over several seeds.\n'
	say 'what the gate learned: mean weight of an expert, share of viewers for whom it is the largest, what it adds'
	in_party drama "SELECT expert, round(weight::numeric, 3) AS weight, round(largest::numeric, 3) AS largest,
	round(ndcg::numeric, 4) AS \"NDCG@10\", round(without::numeric, 4) AS without, verdict
FROM fmoe_expert_report('films', '{\"version\": 2}');"
}

experts_story()
{
	local party

	party_mixture=${party_train%\}}', "model": "fmoe", "gate": "user"}'
	say "three databases: $(printf '%s, ' "${parties[@]}" | sed 's/, $//')"
	define_cut newcomer
	for party in "${parties[@]}"; do
		load_party "$party"
	done
	show_parties
	connect_parties
	train_parties
	compare_parties
}

check_experts()
{
	local party

	check 'no viewer and no film is in two databases' "$(in_common user_id) + $(in_common film_id) = 0"
	for party in "${parties[@]}"; do
		check "$party has the experts of the two others" \
			"array_agg(party ORDER BY party) = (SELECT array_agg(p ORDER BY p) FROM unnest('{drama,comedy,action}'::text[]) p WHERE p <> '$party') FROM fmoe.experts WHERE NOT own" "$party"
		check "the mixture of $party has them and its own, with weights that sum up to 1" \
			"array_agg(expert ORDER BY expert) = (SELECT array_agg(n ORDER BY n) FROM (SELECT 'own' AS n UNION ALL SELECT name FROM fmoe.experts WHERE NOT own) n)
				AND abs(sum(weight) - 1) < 1e-4
			FROM fmoe_expert_report('films', '{\"version\": 2}') WHERE expert <> 'all but own'" "$party"
		check "borrower may read no ratings in $party" \
			"'$(as_borrower "$party" 'SELECT count(*) FROM ratings' | tr -d "'")' LIKE '%ERROR:  permission denied for table ratings%'"
		check "borrower may read what $party lends" \
			"'$(run psql -X -A -t -U borrower -d "$party" -c 'SELECT count(*) FROM fmoe.shared_expert')' = '1'"
	done
	check 'both versions of the three are judged' \
		"count(*) = 18 AND bool_and(value BETWEEN 0 AND 1) AND bool_and(viewers > 30) FROM judged"
}
