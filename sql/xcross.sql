-- Adapters of a lent base, and several of them side by side.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA xcross_test;
SET search_path = xcross_test, public;
SET fmoe.party = 'north';

-- who has chosen something of a mood goes on with that mood, in every table; no item and no user is in two of them
CREATE FUNCTION item_table(first integer, n integer, words text[]) RETURNS TABLE (item integer, title text, price numeric)
	LANGUAGE sql IMMUTABLE BEGIN ATOMIC
	SELECT i, (ARRAY['calm', 'loud', 'sad'])[1 + i % 3] || ' ' || words[1 + i % array_length(words, 1)], 2.5 + i % 4 FROM generate_series(first, first + n - 1) i;
END;
CREATE FUNCTION event_table(seed integer, users integer, first integer, n integer) RETURNS TABLE (visitor integer, item integer, at integer)
	LANGUAGE sql IMMUTABLE BEGIN ATOMIC
	SELECT u, first + (u % 3 - first % 3 + 3) % 3 + 3 * ((u * 7 + s + seed) % (n / 3)), s FROM generate_series(1, users) u, generate_series(1, 8) s;
END;
CREATE TABLE films AS SELECT * FROM item_table(0, 60, '{river,road,night,heart,train}');
CREATE TABLE views AS SELECT * FROM event_table(1, 150, 0, 60);
CREATE TABLE songs AS SELECT * FROM item_table(1200, 45, '{sea,dance,piano,choir}');
CREATE TABLE plays AS SELECT * FROM event_table(5, 40, 1200, 45);
CREATE TABLE texts AS SELECT * FROM item_table(3000, 45, '{poem,essay,tale}');
CREATE TABLE loans AS SELECT * FROM event_table(9, 40, 3000, 45);
CREATE TABLE toys AS SELECT * FROM item_table(6000, 30, '{bear,car,ball}');
CREATE TABLE sales AS SELECT * FROM event_table(2, 12, 6000, 30);
SELECT fmoe_create_domain('pool', 'views', 'visitor', 'item', 'at', items => 'films', item_key => 'item', text_columns => '{title}', price_column => 'price');
SELECT fmoe_create_domain('songs', 'plays', 'visitor', 'item', 'at', items => 'songs', item_key => 'item', text_columns => '{title}', price_column => 'price');
SELECT fmoe_create_domain('books', 'loans', 'visitor', 'item', 'at', items => 'texts', item_key => 'item', text_columns => '{title}', price_column => 'price');
SELECT fmoe_create_domain('toys', 'sales', 'visitor', 'item', 'at', items => 'toys', item_key => 'item', text_columns => '{title}', price_column => 'price');
CALL fmoe_train('pool', '{"model": "foundation", "width": 16, "layers": 2, "epochs": 6, "max_length": 10, "learning_rate": 0.01, "deploy": false}');
SELECT fmoe_lend('pool', 1) IS NOT NULL AS lent;

-- adapters: the base is not in them
CALL fmoe_train('songs', '{"model": "lora", "base": "north.pool", "lora_rank": 2, "lora_alpha": 4, "epochs": 3, "learning_rate": 0.01, "deploy": false}');
CALL fmoe_train('books', '{"model": "lora", "base": "north.pool", "lora_rank": 3, "lora_alpha": 3, "epochs": 3, "learning_rate": 0.01, "deploy": false}');
SELECT t.name, t.dtype, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'songs' AND t.name ~ '(adapter|base|input)' ORDER BY t.name COLLATE "C";
SELECT config ->> 'base' AS base, config ->> 'base_checksum' = (SELECT checksum FROM fmoe.lent WHERE domain = 'pool') AS same FROM fmoe.versions WHERE domain = 'songs';
SELECT fmoe_deploy('songs', 1), fmoe_deploy('books', 1);
SELECT u % 3 AS mood, count(*) FILTER (WHERE item_id % 3 = u % 3) >= 0.7 * count(*) AS same_mood
	FROM generate_series(1, 30) u, LATERAL (SELECT item_id FROM fmoe_recommend(u, k => 5, domain => 'songs')) r GROUP BY 1 ORDER BY 1;
SELECT fmoe_lend('songs') IS NOT NULL AS songs, fmoe_lend('books') IS NOT NULL AS books;
SELECT domain, model, bytes < 10000 AS small FROM fmoe.lent ORDER BY domain;

-- side by side
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs", "north.books"], "epochs": 3, "learning_rate": 0.01, "deploy": false}');
SELECT t.name, t.dtype, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'toys' AND t.name ~ '(adapter|base|input|integrator|mix)' ORDER BY t.name COLLATE "C";
SELECT config ->> 'base' AS base, config -> 'experts' AS experts FROM fmoe.versions WHERE domain = 'toys';
SELECT fmoe_deploy('toys', 1);
SELECT u % 3 AS mood, count(*) FILTER (WHERE item_id % 3 = u % 3) >= 0.7 * count(*) AS same_mood
	FROM generate_series(1, 12) u, LATERAL (SELECT item_id FROM fmoe_recommend(u, k => 2, domain => 'toys')) r GROUP BY 1 ORDER BY 1;
SELECT DISTINCT part, name FROM fmoe_explain(1, domain => 'toys') WHERE part <> 'history' ORDER BY 1, 2;
SELECT rank, nth AS layer, count(*) AS sources, abs(sum(weight) - 1) < 1e-4 AS all_of_it, count(contribution) AS contributions
	FROM fmoe_explain(1, 2, domain => 'toys') WHERE part = 'layer' GROUP BY rank, nth ORDER BY rank, nth;

-- a lent model as it is
SELECT fmoe_adopt('toys', 'north.pool') AS base, fmoe_adopt('toys', 'north.songs') AS songs;
SELECT version, model, origin, complete FROM fmoe.versions WHERE domain = 'toys' ORDER BY 1;
-- one expert before any step is that expert: the weight alone is learned, by a step of nothing
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "epochs": 1, "learning_rate": 1e-7, "blend": 0, "deploy": false}');
SELECT bool_and(abs(a.score - b.score) < 1e-4 * (1 + abs(a.score))) AS same FROM generate_series(1, 12) u,
	LATERAL fmoe_recommend(u, k => 10, domain => 'toys', version => 3) a JOIN LATERAL fmoe_recommend(u, k => 10, domain => 'toys', version => 4) b USING (item_id);

-- a base that is in use stays
SELECT fmoe_withdraw('pool');
SELECT fmoe_drop_domain('pool');
SELECT fmoe_lend('pool', 1) IS NOT NULL AS lent_again;
SELECT count(*) AS kept_beside FROM fmoe.lent WHERE domain = 'pool';
-- what others have
CALL fmoe_train('toys', '{"model": "lora", "base": "north.pool", "width": 8}');
CALL fmoe_train('toys', '{"model": "lora"}');
CALL fmoe_train('toys', '{"model": "lora", "base": "north.songs"}');
CALL fmoe_train('toys', '{"model": "lora", "base": "south.pool"}');
CALL fmoe_train('toys', '{"model": "lora", "base": "north.pool", "base_checksum": "0123456789abcdef"}');
CALL fmoe_train('toys', '{"model": "xcross"}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.pool"]}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["a", "b", "c", "d", "e", "f", "g", "h"]}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs", "north.songs"]}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "lora_rank": 4}');
CALL fmoe_train('toys', '{"model": "fmoe", "experts": ["north.songs"]}');
-- adapters of another base, and of the maps of the inputs
CALL fmoe_train('pool', '{"model": "foundation", "width": 8, "layers": 1, "epochs": 1, "max_length": 10, "deploy": false}');
SELECT fmoe_lend('pool', 2) IS NOT NULL AS other_base;
CALL fmoe_train('books', '{"model": "lora", "base": "north.pool", "epochs": 1, "deploy": false}');
SELECT fmoe_lend('books', 2) IS NOT NULL AS lent;
\set VERBOSITY terse
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs", "north.books"]}');
CALL fmoe_train('toys', '{"model": "xcross", "base": "north.pool", "experts": ["north.songs"]}');
\set VERBOSITY default
CALL fmoe_train('books', '{"model": "lora", "base": "north.pool", "adapt_inputs": true, "epochs": 1, "deploy": false}');
SELECT fmoe_lend('books', 3) IS NOT NULL AS lent;
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.books"]}');

CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "mix": "weights", "beta": 0.5}');

-- whatever the number of workers; what is learned and how many numbers that is
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "own_adapter": true, "lora_rank": 2, "epochs": 2, "deploy": false, "workers": 0}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "own_adapter": true, "lora_rank": 2, "epochs": 2, "deploy": false, "workers": 2}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "integrator": "last", "own_adapter": true, "epochs": 1, "deploy": false, "holdout": "test"}');
SELECT count(DISTINCT v.checksum) AS different FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'toys' AND v.version IN (5, 6);
SELECT expert, weight > 0 AS weighs, verdict IS NOT NULL AS judged FROM fmoe_expert_report('toys', '{"version": 7}') ORDER BY expert;
SELECT l.nth AS layer, count(*) AS sources, abs(sum(l.share) - 1) < 1e-6 AS all_of_it
	FROM fmoe_expert_report('toys', '{"version": 7}') r, unnest(r.layers) WITH ORDINALITY l(share, nth) WHERE r.expert <> 'all but own' GROUP BY 1 ORDER BY 1;

-- the mean of the adapters' weights: nothing is learned, unless on top of it
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "mix": "weights", "epochs": 2, "blend": 0, "deploy": false}');
SELECT bool_and(abs(a.score - b.score) < 1e-4 * (1 + abs(a.score))) AS one_is_itself FROM generate_series(1, 12) u,
	LATERAL fmoe_recommend(u, k => 10, domain => 'toys', version => 3) a JOIN LATERAL fmoe_recommend(u, k => 10, domain => 'toys', version => 8) b USING (item_id);
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "mix": "weights", "own_adapter": true, "lora_rank": 2, "epochs": 2, "deploy": false}');
SELECT v.version, array_agg(t.name ORDER BY t.name COLLATE "C") FILTER (WHERE t.name ~ '^(integrator|own|mix)') AS mixes
	FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'toys' AND v.version IN (8, 9) GROUP BY 1 ORDER BY 1;

-- the paper's scorer: a number of the history and each candidate behind it
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "own_adapter": true, "head": "pooler", "head_negatives": 7, "epochs": 20, "learning_rate": 0.01, "deploy": false, "holdout": "test", "workers": 2}');
SELECT t.name, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'toys' AND v.version = 10 AND t.name ~ '^(pooler|head)' ORDER BY t.name COLLATE "C";
SELECT u % 3 AS mood, count(*) FILTER (WHERE item_id % 3 = u % 3) >= 0.7 * count(*) AS same_mood
	FROM generate_series(1, 12) u, LATERAL (SELECT item_id FROM fmoe_recommend(u, k => 2, domain => 'toys', version => 10)) r GROUP BY 1 ORDER BY 1;
-- among candidates, all items, given items and all users the scores are the same
SELECT count(*) AS scores, bool_and(abs(a.score - b.score) < 1e-5 AND abs(a.score - c.score) < 1e-5) AS same
	FROM fmoe_recommend(1, k => 30, domain => 'toys', version => 10, exclude_seen => false) a
	JOIN fmoe_recommend(1, k => 30, domain => 'toys', version => 10, exclude_seen => false, candidates => (SELECT array_agg(item) FROM toys WHERE item % 4 = 0)) b USING (item_id)
	JOIN fmoe_score(1, (SELECT array_agg(item) FROM toys), domain => 'toys', version => 10) c USING (item_id);
SELECT count(*) AS users FROM fmoe_recommend_all('toys', k => 1, version => 10);
SELECT model, metric, value BETWEEN 0 AND 1 AS valid FROM fmoe_evaluate('toys', '{"version": 10}') WHERE metric ~ 'ndcg' AND k = 10 ORDER BY model COLLATE "C", metric COLLATE "C";
SELECT expert, weight > 0 AS weighs, verdict IS NOT NULL AS judged FROM fmoe_expert_report('toys', '{"version": 10}') ORDER BY expert;
SELECT part, count(*) > 0 AS rows FROM fmoe_explain(1, 2, domain => 'toys', version => 10) GROUP BY part ORDER BY part;
SELECT fmoe_embedding(1, 'toys', 'user', version => 10);
SELECT min(source) AS source FROM fmoe_similar(6001, domain => 'toys', version => 10);
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "head": "pooler", "loss": "gbce"}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "head": "pooler", "blend": 1}');
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs"], "head_negatives": 3}');

-- files: an adapter is of use where its base is, and is what it says
SELECT fmoe_import('toys', 'songs', fmoe_export('songs', 1)) AS imported;
CREATE TABLE files AS SELECT fmoe_export('songs', 1) AS adapter, fmoe_export('pool', 1) AS base;
-- the same with as many bytes: another base, another rank, other layers
SELECT fmoe_import('toys', 'no base', replaced) FROM files, LATERAL (SELECT decode(replace(encode(adapter, 'hex'),
	encode(convert_to((SELECT config ->> 'base_checksum' FROM fmoe.versions WHERE domain = 'songs'), 'UTF8'), 'hex'), encode('0123456789abcdef', 'hex')), 'hex') AS replaced) r;
SELECT fmoe_import('toys', 'rank', decode(replace(encode(adapter, 'hex'), encode(convert_to('\"lora_rank\": 2', 'UTF8'), 'hex'), encode(convert_to('\"lora_rank\": 5', 'UTF8'), 'hex')), 'hex')) FROM files;
SELECT fmoe_import('toys', 'layers', decode(replace(encode(adapter, 'hex'), encode(convert_to('\"layers\": 2', 'UTF8'), 'hex'), encode(convert_to('\"layers\": 4', 'UTF8'), 'hex')), 'hex')) FROM files;
SELECT fmoe_import('toys', 'nan', set_byte(set_byte(adapter, octet_length(adapter) - 1, 127), octet_length(adapter) - 2, 192)) FROM files;
SELECT count(*) AS versions FROM fmoe.versions WHERE domain = 'toys';

-- an imported base that is in use is not dropped
SELECT fmoe_import('songs', 'the base', base) AS imported FROM files;
SELECT fmoe_drop_version('songs', 2);
SELECT fmoe_drop_domain('songs');
-- versions and files as they were
SELECT fmoe_alter_domain('songs', sharing => 'full');
SELECT fmoe_import('songs', 'whole', fmoe_export('songs', 1)) AS imported;
SELECT bool_and(a.score = b.score) AS same FROM generate_series(1, 12) u,
	LATERAL fmoe_recommend(u, k => 10, domain => 'songs', version => 1) a JOIN LATERAL fmoe_recommend(u, k => 10, domain => 'songs', version => 3) b USING (item_id);

SELECT fmoe_drop_domain('toys');
SELECT fmoe_drop_domain('books');
SELECT fmoe_drop_domain('songs');
SELECT fmoe_drop_domain('pool');
DROP SCHEMA xcross_test CASCADE;
