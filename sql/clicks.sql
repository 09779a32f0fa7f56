-- Impressions with what was clicked: model mrff, its baselines, probabilities
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA clicks;
SET search_path = clicks, public;

-- a number from 0 to 1 that looks random
CREATE FUNCTION chance(text) RETURNS float8 IMMUTABLE LANGUAGE sql
	AS $$ SELECT ('x' || substr(md5($1), 1, 6))::bit(24)::int / 16777216.0 $$;
CREATE TABLE videos (id int PRIMARY KEY, kind text, length int);
INSERT INTO videos SELECT v, 'k' || v % 6, v % 4 FROM generate_series(1, 60) v;
CREATE TABLE people (id int PRIMARY KEY, region text);
INSERT INTO people SELECT u, 'r' || u % 3 FROM generate_series(1, 240) u;
-- half of the people click often, and some kinds and lengths are clicked more
CREATE TABLE feed (person int, video int, at timestamptz, clicked int);
INSERT INTO feed SELECT u, v, timestamptz '2024-01-01 UTC' + s * interval '1 minute',
		(chance(format('click %s %s', u, s)) < CASE WHEN u % 2 = 0 THEN 0.15 ELSE 0.45 END + CASE WHEN v % 6 < 2 THEN 0.25 ELSE 0 END + CASE WHEN v % 4 = 1 THEN 0.25 ELSE 0 END)::int
	FROM generate_series(1, 240) u, generate_series(1, 25) s,
		LATERAL (SELECT 1 + (chance(format('video %s %s', u, s)) * 60)::int % 60 AS v) x;

-- what a model of clicks needs
SELECT fmoe_create_domain('unlabelled', 'feed', 'person', 'video', 'at', items => 'videos', item_key => 'id', category_columns => '{kind}');
CALL fmoe_train('unlabelled', '{"model": "mrff"}');
SELECT fmoe_create_domain('bare', 'feed', 'person', 'video', 'at', label_column => 'clicked');
CALL fmoe_train('bare', '{"model": "mrff"}');
CREATE VIEW chosen AS SELECT person, video, at, 1 AS clicked FROM feed;
SELECT fmoe_create_domain('chosen', 'chosen', 'person', 'video', 'at', label_column => 'clicked', items => 'videos', item_key => 'id', category_columns => '{kind}');
CALL fmoe_train('chosen', '{"model": "mrff"}');
CALL fmoe_train('chosen', '{"model": "mrff", "user_features": "private"}');

SELECT fmoe_create_domain('clicks', 'feed', 'person', 'video', 'at', label_column => 'clicked', items => 'videos',
	item_key => 'id', category_columns => '{kind,length}', users => 'people', user_key => 'id', user_category_columns => '{region}');
CALL fmoe_train('clicks', '{"model": "mrff", "epochs": 12, "learning_rate": 0.01, "holdout": "test_fifth"}');
SELECT model, live, holdout FROM fmoe.versions WHERE domain = 'clicks';
SELECT m.key, (m.value ->> 'auc')::float8 > 0.5 AS better_than_chance FROM fmoe.versions, jsonb_each(metrics) m
	WHERE domain = 'clicks' AND m.key ~ '^(main|constant|user)' ORDER BY m.key;

-- probabilities: of every form, in the order given, and what they are of
SELECT item_id, pg_typeof(item_id), probability BETWEEN 0 AND 1 AS probable FROM fmoe_predict(4, ARRAY[7, 99999, NULL, 8], domain => 'clicks');
SELECT item_id, pg_typeof(item_id), probability BETWEEN 0 AND 1 AS probable FROM fmoe_predict('4', '{7,8}', 'clicks');
SELECT item_id, pg_typeof(item_id) FROM fmoe_predict('4'::text, ARRAY['7', '8'], 'clicks');
SELECT item_id, pg_typeof(item_id) FROM fmoe_predict_as(NULL::numeric, 4, ARRAY[7, 8], 'clicks');
SELECT count(*) FROM fmoe_predict(NULL::bigint, ARRAY[7], 'clicks');
SELECT avg(probability) FILTER (WHERE u % 2 = 1) > avg(probability) FILTER (WHERE u % 2 = 0) + 0.1 AS knows_users,
	avg(probability) FILTER (WHERE item_id % 6 < 2) > avg(probability) FILTER (WHERE item_id % 6 >= 2) + 0.1 AS knows_kinds
	FROM generate_series(1, 240, 7) u, LATERAL fmoe_predict(u::bigint, ARRAY[1, 2, 3, 4, 5, 6, 7]::bigint[], 'clicks');
SELECT count(*), bool_and(probability BETWEEN 0 AND 1) AS unknown_user FROM fmoe_predict(-1, ARRAY[7, 8], 'clicks');
SELECT bool_and(abs(1 / (1 + exp(-s.score::float8)) - p.probability) < 1e-6) AS scores_are_logits
	FROM fmoe_predict(4, ARRAY[7, 8, 9], 'clicks') p JOIN fmoe_score(4, ARRAY[7, 8, 9], 'clicks') s USING (item_id);
-- nobody's answer depends on who else is asked for
SELECT bool_and(p.probability = q.probability) AS the_same FROM fmoe_predict(4, ARRAY[7, 8, 9], 'clicks') p
	JOIN (SELECT * FROM fmoe_predict(4, ARRAY[9], 'clicks') UNION ALL SELECT * FROM fmoe_predict(4, ARRAY[8, 7], 'clicks')) q USING (item_id);

-- recommendations are by probability
SELECT source, count(*), bool_and(sorted) AS sorted FROM (SELECT source, score >= lead(score, 1, score) OVER (ORDER BY n) AS sorted
	FROM fmoe_recommend(4, 5, 'clicks', exclude_seen => false) WITH ORDINALITY AS r (item_id, score, source, n)) x GROUP BY source;
SELECT max(p.probability) = (SELECT p.probability FROM fmoe_predict(4, ARRAY[(SELECT item_id FROM fmoe_recommend(4, 1, 'clicks', exclude_seen => false))], 'clicks') p) AS the_largest
	FROM fmoe_predict(4, ARRAY(SELECT DISTINCT video::bigint FROM feed), 'clicks') p;
SELECT count(*) FROM fmoe_recommend_all('clicks', 2, users => '{3,4}');
SELECT DISTINCT part, name FROM fmoe_explain(4, 2, 'clicks') WHERE part = 'expert';
SELECT fmoe_embedding(4, domain => 'clicks');

-- how good they are
SELECT model, metric, k, value > 0 AS positive, users FROM fmoe_evaluate('clicks', '{"split": "last_fifth"}') WHERE metric !~ 'lead' ORDER BY model, metric;
SELECT model, bool_and(value > 0) AS leads FROM fmoe_evaluate('clicks', '{"split": "last_fifth"}') WHERE metric ~ '^(auc|log_loss)_lead$' AND model <> 'user_category_rate'
	GROUP BY model ORDER BY model;
SELECT model, users FROM fmoe_evaluate('clicks') WHERE metric = 'auc' ORDER BY model;
SELECT * FROM fmoe_evaluate('clicks', '{"split": "time"}');
INSERT INTO feed SELECT u, u % 60 + 1, '2024-02-01 UTC', u % 2 FROM generate_series(1, 240) u;
SELECT model, users FROM fmoe_evaluate('clicks', '{"split": "time"}') WHERE metric = 'auc' ORDER BY model;
DELETE FROM feed WHERE at >= '2024-02-01 UTC';

-- baselines are models as well, and take the place of one that is no better
CALL fmoe_train('clicks', '{"model": "user_rate", "holdout": "test_fifth", "deploy": false}');
SELECT version, model, live FROM fmoe.versions WHERE domain = 'clicks' ORDER BY version;
SELECT count(*), count(DISTINCT probability) AS different FROM fmoe_predict(4, ARRAY[7, 8, 9], 'clicks', version => 2);
SELECT DISTINCT model FROM fmoe_evaluate('clicks', '{"split": "last_fifth", "version": 2}') ORDER BY model;
CREATE TABLE noise AS SELECT person, video, at, (chance(format('noise %s %s', person, at)) < 0.5)::int AS clicked FROM feed WHERE person <= 60;
SELECT fmoe_create_domain('noise', 'noise', 'person', 'video', 'at', label_column => 'clicked', items => 'videos', item_key => 'id', category_columns => '{kind}');
CALL fmoe_train('noise', '{"model": "mrff", "epochs": 1}');
SELECT model IN ('constant', 'user_rate', 'user_category_rate') AS counts, live FROM fmoe.versions WHERE domain = 'noise';
SELECT DISTINCT r.source = v.model AS says_so FROM fmoe_recommend(4, 3, 'noise', exclude_seen => false) r, fmoe.versions v WHERE v.domain = 'noise' AND v.live;

-- rows of single users: read when they ask, gone with the version
CALL fmoe_train('clicks', '{"model": "mrff", "epochs": 3, "learning_rate": 0.01, "private": true, "user_features": "private", "holdout": "test_fifth", "deploy": false}');
SELECT count(*) AS users, count(DISTINCT octet_length(data)) AS lengths FROM fmoe.private_row;
SELECT count(*) AS not_public FROM fmoe.tensor WHERE name ~ 'private';
CREATE TEMP TABLE own AS SELECT * FROM fmoe_predict(4, ARRAY[7, 8, 9], 'clicks', version => 3);
SELECT count(*) AS judged FROM fmoe_evaluate('clicks', '{"split": "last_fifth", "version": 3}') WHERE metric = 'auc';
SELECT bool_and(r.score = s.score) AS one_by_one_or_all FROM fmoe_recommend_all('clicks', 3, false, users => '{4}', version => 3) r,
	LATERAL fmoe_score(4, ARRAY[r.item_id::bigint], 'clicks', version => 3) s;
SELECT fmoe_deploy('clicks', 3);
CREATE TEMP TABLE grouped AS SELECT * FROM fmoe_groups('clicks');
DELETE FROM fmoe.private_row WHERE user_id = '4';
SELECT count(*) FILTER (WHERE p.probability <> own.probability) > 0 AS served_by_the_public_model
	FROM fmoe_predict(4, ARRAY[7, 8, 9], 'clicks', version => 3) p JOIN own USING (item_id);
SELECT count(*) AS others_in_other_groups FROM fmoe_groups('clicks') g JOIN grouped USING (user_id, block) WHERE g.group_no <> grouped.group_no AND user_id <> '4';
DELETE FROM fmoe.private_row;
SELECT count(*) > 0 AS groups_by_own_rows FROM fmoe_groups('clicks') g JOIN grouped USING (user_id, block) WHERE g.group_no <> grouped.group_no;
SELECT fmoe_rollback('clicks');
SELECT fmoe_drop_version('clicks', 3);
SELECT count(*) FROM fmoe.private_row;

-- what is public or of groups is shared in rounds, not lent: a version's tables are of categories here
SELECT fmoe_alter_domain('clicks', sharing => 'encoder');
SELECT fmoe_lend('clicks');
SELECT count(*) FROM fmoe.lent;

-- functions of a domain's own: probabilities where there are labels
SELECT fmoe_create_functions('clicks'), fmoe_create_functions('unlabelled');
SELECT count(*) FILTER (WHERE own.probability = p.probability) AS same, pg_typeof(min(own.item_id)) FROM clicks_predict(4, ARRAY[7, 8, 9]) own
	JOIN fmoe_predict(4, ARRAY[7, 8, 9], 'clicks') p ON p.item_id = own.item_id;
SELECT proname FROM pg_proc WHERE proname ~ '^(clicks|unlabelled)_predict$';
SELECT fmoe_drop_functions('clicks'), fmoe_drop_functions('unlabelled');
SELECT count(*) FROM pg_proc WHERE proname ~ '^(clicks|unlabelled)_predict$';

-- groups
SELECT block, count(*) AS users, bool_and(group_no BETWEEN 0 AND 3) AS of_four FROM fmoe_groups('clicks') GROUP BY block ORDER BY block;
SELECT count(*) FROM fmoe_groups('noise');

SET client_min_messages = warning;
\set VERBOSITY terse
CALL fmoe_train('clicks', '{"model": "mrff", "epochs": 1, "groups": 64, "balance": 0, "holdout": "test_fifth", "deploy": false}');
\set VERBOSITY default
SET client_min_messages = error;
SELECT fmoe_drop_version('clicks', 4);

-- texts, prices and vectors of items, or nothing but their ids
CREATE TABLE told (id int PRIMARY KEY, title text, price numeric, look real[]);
INSERT INTO told SELECT v, 'word' || v % 6 || ' and' || v % 5, CASE WHEN v % 4 = 1 THEN 100 ELSE 1 END, ARRAY[v % 3, 1] FROM generate_series(1, 60) v;
SELECT fmoe_create_domain('told', 'feed', 'person', 'video', 'at', label_column => 'clicked', items => 'told', item_key => 'id',
	text_columns => '{title}', price_column => 'price', vector_columns => '{look}');
CALL fmoe_train('told', '{"model": "mrff"}');
CALL fmoe_train('told', '{"model": "mrff", "item_features": "none"}');
CALL fmoe_train('told', '{"model": "mrff", "item_features": "all", "epochs": 25, "learning_rate": 0.02, "dropout": 0.1, "deploy": false}');
CALL fmoe_train('told', '{"model": "mrff", "item_features": "none", "ids": true, "epochs": 25, "learning_rate": 0.02, "dropout": 0.1, "deploy": false}');
SELECT version, avg(probability) FILTER (WHERE item_id % 6 < 2) > avg(probability) FILTER (WHERE item_id % 6 >= 2) + 0.1 AS knows_words,
	avg(probability) FILTER (WHERE item_id % 4 = 1) > avg(probability) FILTER (WHERE item_id % 4 <> 1) + 0.1 AS knows_prices
	FROM generate_series(1, 2) version, generate_series(1, 240, 7) u, LATERAL fmoe_predict(u::bigint, ARRAY(SELECT generate_series(1, 60)), 'told', version => version)
	GROUP BY version ORDER BY version;
SELECT t.name, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'told' AND v.version = 1 AND t.name ~ '^(main\.)?item\.' ORDER BY 1;
SELECT max(abs(r.score - s.score)) < 1e-5 AS one_by_one_or_all FROM fmoe_recommend_all('told', 3, false, users => '{4}', version => 1) r,
	LATERAL fmoe_score(4, ARRAY[r.item_id::bigint], 'told', version => 1) s;
SELECT fmoe_drop_domain('told');

-- a model that ranks gives no probabilities
CALL fmoe_train('clicks', '{"model": "popularity", "holdout": "test_fifth", "deploy": false}');
SELECT * FROM fmoe_predict(4, ARRAY[7], 'clicks', version => 5);
SELECT * FROM fmoe_evaluate('clicks', '{"split": "last_fifth", "version": 5}');

DROP SCHEMA clicks CASCADE;
SELECT count(fmoe_drop_domain(d)) FROM unnest('{unlabelled,bare,chosen,clicks,noise}'::text[]) d;
