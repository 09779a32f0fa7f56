-- The class ant: items by their features alone, learned in one database and learned again in another.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA ant_test;
SET search_path = ant_test, public;
SET fmoe.party = 'north';

-- who has chosen something of a mood goes on with that mood, in every table; no item and no user is in two of them
CREATE FUNCTION item_table(first integer, n integer, words text[]) RETURNS TABLE (item integer, title text, price numeric, cover real[])
	LANGUAGE sql IMMUTABLE BEGIN ATOMIC
	SELECT i, (ARRAY['calm', 'loud', 'sad'])[1 + i % 3] || ' ' || words[1 + i % array_length(words, 1)],
		2.5 + i % 4, ARRAY[i % 3, 1, 0.5]::real[] FROM generate_series(first, first + n - 1) i;
END;
CREATE FUNCTION event_table(seed integer, users integer, first integer, n integer) RETURNS TABLE (visitor integer, item integer, at integer)
	LANGUAGE sql IMMUTABLE BEGIN ATOMIC
	SELECT u, first + (u % 3 - first % 3 + 3) % 3 + 3 * ((hashint4(u * 100 + s * 7 + seed) & 65535) % (n / 3)), s FROM generate_series(1, users) u, generate_series(1, 8) s;
END;
CREATE TABLE films AS SELECT * FROM item_table(0, 60, '{river,road,night,heart,train}');
CREATE TABLE views AS SELECT * FROM event_table(1, 150, 0, 60);
CREATE TABLE songs AS SELECT * FROM item_table(1200, 45, '{sea,dance,piano,choir}');
CREATE TABLE plays AS SELECT * FROM event_table(5, 90, 1200, 45);
-- of some nothing is known, of others not all
UPDATE songs SET cover = NULL WHERE item % 2 = 0;
UPDATE songs SET title = NULL, price = NULL WHERE item % 5 = 0;
UPDATE songs SET title = NULL, price = NULL, cover = NULL WHERE item = 1244;
SELECT fmoe_create_domain('pool', 'views', 'visitor', 'item', 'at', items => 'films', item_key => 'item',
	text_columns => '{title}', price_column => 'price', vector_columns => '{cover}');
SELECT fmoe_create_domain('target', 'plays', 'visitor', 'item', 'at', items => 'songs', item_key => 'item',
	text_columns => '{title}', price_column => 'price', vector_columns => '{cover}');
SELECT fmoe_create_domain('bare', 'plays', 'visitor', 'item', 'at');
SELECT fmoe_create_domain('text_only', 'plays', 'visitor', 'item', 'at', items => 'songs', item_key => 'item', text_columns => '{title}');

-- trained to be lent: it does not go live, and what leaves are maps, gates and blocks, nothing of an item
CALL fmoe_train('pool', '{"model": "ant", "pretrain": true, "width": 16, "layers": 1, "heads": 2, "epochs": 12, "max_length": 10, "learning_rate": 0.01, "workers": 0}');
SELECT live, config -> 'inputs' AS inputs, metrics -> 'losses' ?& ARRAY['next', 'alignment'] AS losses,
	(metrics #>> '{losses,alignment}')::float8 > 0 AS aligned FROM fmoe.versions WHERE domain = 'pool';
SELECT t.name, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'pool' AND t.name ~ '^(input|position|norm)' ORDER BY t.name COLLATE "C";
SELECT fmoe_lend('pool', 1) IS NOT NULL AS lent;
SELECT l.model, l.config -> 'experts_per_input' AS experts FROM fmoe.lent l WHERE party = 'north' AND domain = 'pool';

-- a view that unites tables, and a column of it that says of which one an event is: targets are told only from those of the same one
CREATE TABLE both_items AS TABLE films UNION ALL TABLE songs;
CREATE VIEW two_shops AS SELECT 'films' AS shop, visitor, item, at FROM views UNION ALL SELECT 'songs', visitor + 1000, item, at FROM plays;
SELECT fmoe_create_domain('both', 'two_shops', 'visitor', 'item', 'at', items => 'both_items', item_key => 'item',
	text_columns => '{title}', price_column => 'price', vector_columns => '{cover}');
CALL fmoe_train('both', '{"model": "ant", "pretrain": true, "width": 8, "layers": 1, "epochs": 1, "max_length": 10}');
CALL fmoe_train('both', '{"model": "ant", "pretrain": true, "source_column": "shop", "width": 8, "layers": 1, "epochs": 1, "max_length": 10}');
SELECT (a.metrics #>> '{losses,next}')::float8 > (b.metrics #>> '{losses,next}')::float8 AS fewer_to_tell_from
	FROM fmoe.versions a JOIN fmoe.versions b USING (domain) WHERE domain = 'both' AND a.version = 1 AND b.version = 2;
CALL fmoe_train('both', '{"model": "ant", "pretrain": true, "source_column": "no_shop"}');
CALL fmoe_train('both', '{"model": "ant", "source_column": "shop"}');
SELECT fmoe_drop_domain('both');

-- learned again, and from scratch, in one call; what is better stays and says so
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 16, "layers": 1, "heads": 2, "epochs": 25, "max_length": 10, "learning_rate": 0.005, "dropout": 0.1, "temperature": 0.2, "blend": 0, "deploy": false, "workers": 0}');
SELECT fmoe_deploy('target', 1);
SELECT metrics #>> '{tried,won}' IN ('relearn', 'scratch') AS won,
	(metrics #>> ARRAY['tried', metrics #>> '{tried,won}', 'ndcg@10'])::float8 = greatest((metrics #>> '{tried,relearn,ndcg@10}')::float8, (metrics #>> '{tried,scratch,ndcg@10}')::float8) AS is_better,
	(metrics #>> '{tried,standard_error}')::float8 >= 0 AS error, metrics -> 'epochs' AS epochs,
	abs((metrics #>> '{main,ndcg@10}')::float8 - (metrics #>> ARRAY['tried', metrics #>> '{tried,won}', 'ndcg@10'])::float8) < 1e-4 AS is_served
	FROM fmoe.versions WHERE domain = 'target';
SELECT u % 3 AS mood, count(*) FILTER (WHERE item_id % 3 = u % 3) >= 0.6 * count(*) AS same_mood
	FROM generate_series(1, 30) u, LATERAL (SELECT item_id FROM fmoe_recommend(u, k => 5, domain => 'target')) r GROUP BY 1 ORDER BY 1;

-- what each input adds, and each of its maps, adds up to the score
SELECT part, name, count(*), count(weight) AS weighed FROM fmoe_explain(1, k => 1, domain => 'target') WHERE part IN ('input', 'map') GROUP BY 1, 2 ORDER BY part COLLATE "C", name COLLATE "C";
SELECT bool_and(abs(inputs - score) < 1e-3) AS inputs, bool_and(abs(maps + product - score) < 1e-3) AS maps, bool_and(abs(weights - 1) < 1e-4) AS weights
	FROM (SELECT item_id, score, sum(contribution) FILTER (WHERE part = 'input') AS inputs, sum(contribution) FILTER (WHERE part = 'map') AS maps,
		coalesce(sum(contribution) FILTER (WHERE name = 'image and text'), 0) AS product, sum(weight) FILTER (WHERE part = 'map' AND name = 'text') AS weights
		FROM fmoe_explain(1, k => 5, domain => 'target') GROUP BY 1, 2) e;

-- learning again leaves the blocks as they were lent, to the byte; fine-tuning does not
CREATE FUNCTION blocks(text, integer) RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC
	SELECT md5(string_agg(t.name || encode(t.data, 'hex'), '' ORDER BY t.name COLLATE "C", t.part)) FROM fmoe.tensor t
		JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
		WHERE d.name = $1 AND v.version = $2 AND t.name LIKE 'block.%';
END;
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "adapt": "relearn", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "adapt": "frozen", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "adapt": "finetune", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false}');
SELECT v.version, v.config ->> 'adapt' AS adapt, blocks('target', v.version) = blocks('pool', 1) AS same_blocks FROM fmoe.versions v WHERE domain = 'target' AND version BETWEEN 2 AND 4 ORDER BY 1;

-- any number of workers, the same weights
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false, "workers": 0}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false, "workers": 1}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false, "workers": 2}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false, "workers": 3}');
SELECT count(*), count(DISTINCT checksum) AS different FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'target' AND v.version BETWEEN 5 AND 8;
-- one map an input, own vectors, sampled negatives
CALL fmoe_train('target', '{"model": "ant", "experts_per_input": 1, "fusion": 0, "transductive": true, "loss": "gbce", "negatives": 16, "width": 8, "layers": 1, "epochs": 1, "max_length": 10, "deploy": false}');
SELECT t.name, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'target' AND v.version = 9 AND t.name ~ '^(input|item)' ORDER BY t.name COLLATE "C";

-- weighed beside all that counts
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "gate": "linear", "width": 16, "layers": 1, "heads": 2, "epochs": 3, "max_length": 10, "deploy": false}');
SELECT metrics -> 'gate' ? 'own' AS weighed, metrics #>> '{tried,won}' IN ('relearn', 'scratch') AS tried FROM fmoe.versions WHERE domain = 'target' AND version = 10;
SELECT fmoe_deploy('target', 10);
SELECT count(*), bool_and(abs(total - score) < 1e-3) AS adds_up FROM (SELECT rank, max(score) AS score,
	sum(contribution) FILTER (WHERE part NOT IN ('input', 'map', 'word', 'history')) AS total FROM fmoe_explain(1, 5, domain => 'target') GROUP BY 1) e;
SELECT fmoe_rollback('target') IS NOT NULL AS back;

-- new items and another text come in without training
SELECT item_id FROM fmoe_recommend_next(ARRAY[1201, 1204], k => 45, domain => 'target') ORDER BY 1 DESC LIMIT 1;
INSERT INTO songs VALUES (1301, 'loud sea', 3.5, '{1,1,0.5}'), (1302, 'sad sea', 3.5, '{2,1,0.5}');
-- one that the version does not know, in the history and among the answers: what its inputs add is its score
INSERT INTO plays VALUES (2001, 1201, 1), (2001, 1301, 2);
SELECT item_id, count(*) AS inputs, abs(sum(contribution) - max(score)) < 1e-3 AS add_up
	FROM fmoe_explain(2001, k => 3, candidates => ARRAY[1204, 1302], domain => 'target') WHERE part = 'input' GROUP BY 1 ORDER BY 1;
DELETE FROM plays WHERE visitor = 2001;
CREATE TEMP TABLE before AS SELECT item_id, score FROM fmoe_recommend_next(ARRAY[1201, 1204], k => 50, domain => 'target');
UPDATE songs SET title = 'sad dance' WHERE item = 1207;
SELECT fmoe_refresh('target') IS NOT NULL AS refreshed;
SELECT item_id FROM fmoe_recommend_next(ARRAY[1201, 1204], k => 50, domain => 'target') WHERE item_id > 1300 ORDER BY score DESC;
SELECT a.item_id, b.score <> a.score AS moved FROM before b JOIN fmoe_recommend_next(ARRAY[1201, 1204], k => 50, domain => 'target') a USING (item_id) WHERE item_id IN (1207, 1210) ORDER BY 1;

-- what cannot be
CALL fmoe_train('bare', '{"model": "ant"}');
CALL fmoe_train('target', '{"model": "ant", "adapt": "relearn"}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "adapt": "scratch", "width": 16, "layers": 1, "heads": 2}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "pretrain": true, "width": 16, "layers": 1, "heads": 2}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "holdout": "none", "width": 16, "layers": 1, "heads": 2}');
CALL fmoe_train('target', '{"model": "ant", "pretrain": true, "transductive": true}');
CALL fmoe_train('target', '{"model": "ant", "pretrain": true, "gate": "linear"}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 8, "layers": 1}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 16, "layers": 1, "heads": 2, "experts_per_input": 4}');
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "nobody.nothing"}');
CALL fmoe_train('target', '{"model": "ant", "temperature": 0}');
CALL fmoe_train('target', '{"model": "ant", "heads": 3}');
CALL fmoe_train('target', '{"model": "fmoe", "experts": ["north.pool"], "width": 16, "layers": 1, "heads": 2}');
SELECT fmoe_fit(visitor, item, at, '{"model": "ant"}') FROM plays;
-- zeros stand for what a domain lacks
SET client_min_messages = notice;
CALL fmoe_train('text_only', '{"model": "ant", "start_encoder": "north.pool", "adapt": "finetune", "width": 16, "layers": 1, "heads": 2, "epochs": 1, "max_length": 10, "deploy": false, "holdout": "none", "blend": 0, "workers": 0}');
SET client_min_messages = warning;
-- vectors of another length, and numbers that are none
UPDATE songs SET cover = '{NaN,1,0}' WHERE item = 1201;
CALL fmoe_train('target', '{"model": "ant", "width": 8, "layers": 1, "epochs": 1, "max_length": 10, "deploy": false}');
ALTER TABLE songs ALTER cover TYPE real[] USING CASE WHEN cover IS NOT NULL THEN '{1,2,3,4}'::real[] END;
CALL fmoe_train('target', '{"model": "ant", "start_encoder": "north.pool", "width": 16, "layers": 1, "heads": 2, "max_length": 10}');
SELECT count(*) FROM fmoe_recommend_next(ARRAY[1201], k => 5, domain => 'target');

SELECT fmoe_drop_domain('bare');
SELECT fmoe_drop_domain('text_only');
SELECT fmoe_drop_domain('target');
SELECT fmoe_drop_domain('pool');
DROP SCHEMA ant_test CASCADE;
