# demo-newcomer.sh - the end of scripts/demo: a fourth database, new and small, that has no
# film and no viewer of the others.  One of these trains a base that knows films by title and
# genres alone, two train adapters of it, and the newcomer mixes them.  Sourced by scripts/demo.

newcomer_shape='{"model": "foundation", "holdout": "test", "width": 32, "max_length": 50, "batch_size": 32, "learning_rate": 0.002, "epochs": 20, "patience": 5, "deploy": false}'
newcomer_adapter='{"model": "lora", "base": "drama.shelf", "holdout": "test", "batch_size": 32, "learning_rate": 0.002, "epochs": 10, "patience": 5, "deploy": false}'
newcomer_mixed='{"model": "xcross", "experts": ["comedy.shelf", "action.shelf"], "holdout": "test", "batch_size": 16, "learning_rate": 0.002, "epochs": 30, "deploy": false}'

shelf_sql()
{
	printf "SELECT fmoe_create_domain('shelf', 'ratings', 'user_id', 'film_id', 'rated_at', items => 'films', item_key => 'film_id',
	text_columns => '{title}', category_columns => '{genres}');"
}

newcomer_story()
{
	local party

	say 'a fourth database, new and small, without a film or a viewer of the others'
	load_party newcomer
	in_party newcomer 'SELECT count(DISTINCT user_id) AS viewers, count(DISTINCT film_id) AS films, count(*) AS ratings FROM ratings;'
	connect_party newcomer "${parties[@]}" newcomer
	say 'drama trains a base that knows films by title and genres alone, and lends it'
	in_party drama "$(shelf_sql)"
	in_party drama "CALL fmoe_train('shelf', '$newcomer_shape');"
	in_party drama "SELECT fmoe_lend('shelf', 1) IS NOT NULL AS lent;"
	say 'comedy and action train adapters of it, which are a few kilobytes'
	for party in comedy action; do
		quietly "$party" "CALL fmoe_sync()"
		quietly "$party" "$(shelf_sql)"
		quietly "$party" "CALL fmoe_train('shelf', '$newcomer_adapter')"
		quietly "$party" "SELECT fmoe_lend('shelf', 1)"
	done
	say 'the newcomer fetches all that; before any training it has recommendations, from the base as it is'
	quietly newcomer 'CALL fmoe_sync()'
	in_party newcomer "SELECT name, model, pg_size_pretty(bytes) AS size FROM fmoe.experts WHERE name LIKE '%.shelf' ORDER BY name;"
	in_party newcomer "$(shelf_sql)"
	in_party newcomer "SELECT fmoe_deploy('shelf', fmoe_adopt('shelf', 'drama.shelf'));"
	in_party newcomer "SELECT title, genres FROM fmoe_recommend((SELECT min(user_id) FROM ratings), 5, domain => 'shelf') JOIN films ON film_id = item_id ORDER BY score DESC;"
	say 'then it trains integrators that mix the adapters, and beside them a model of its own'
	in_party newcomer "CALL fmoe_train('shelf', '$newcomer_mixed');"
	quietly newcomer "CALL fmoe_train('shelf', '{\"model\": \"sasrec\", \"holdout\": \"test\", \"width\": 32, \"batch_size\": 16, \"epochs\": 60, \"deploy\": false}')"
	compare_newcomer
}

compare_newcomer()
{
	say 'each viewer'\''s last film, ranked among all films of the newcomer not seen before'
	quietly newcomer "CREATE TABLE judged AS SELECT CASE e.model WHEN 'popularity' THEN e.model ELSE v.model END AS model, e.metric, e.value, e.users
		FROM fmoe.versions v, LATERAL fmoe_evaluate('shelf', jsonb_build_object('version', v.version)) e
		WHERE v.domain = 'shelf' AND e.k = 10 AND e.model <> 'markov' AND (e.model <> 'popularity' OR v.version = 1)"
	in_party newcomer "SELECT CASE model WHEN 'foundation' THEN 'base as it is' WHEN 'xcross' THEN 'adapters of others, mixed' WHEN 'sasrec' THEN 'training alone' ELSE model END AS \"what\",
	round(max(value) FILTER (WHERE metric = 'ndcg')::numeric, 4) AS \"NDCG@10\", round(max(value) FILTER (WHERE metric = 'hr')::numeric, 4) AS \"HR@10\",
	round(max(value) FILTER (WHERE metric = 'mrr')::numeric, 4) AS \"MRR\", max(users) AS viewers
FROM judged GROUP BY model ORDER BY model;"
	printf 'With so few viewers, chance alone moves these numbers; bench/xcross compares over several seeds.\n'
}

check_newcomer()
{
	check 'the newcomer has three versions of what others lent, or trained' \
		"array_agg(model ORDER BY version) = '{foundation,xcross,sasrec}'::text[] FROM fmoe.versions WHERE domain = 'shelf'" newcomer
	check 'and all of them are judged' "count(*) = 12 AND count(DISTINCT model) = 4 AND bool_and(value BETWEEN 0 AND 1) FROM judged WHERE metric IN ('ndcg', 'hr', 'mrr')" newcomer
	check 'what it holds of the adapters is not the base' \
		"count(*) = 0 FROM fmoe.tensor WHERE name LIKE 'base.%'" newcomer
}
