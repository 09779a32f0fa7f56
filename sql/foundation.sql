-- The class foundation: items by features alone, so that an encoder goes with any item table.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA foundation_test;
SET search_path = foundation_test, public;
SET fmoe.party = 'north';

-- who has chosen something of a mood goes on with that mood, in every table; no item and no user is in two of them
CREATE FUNCTION item_table(first integer, n integer, words text[]) RETURNS TABLE (item integer, title text, kinds text[], price numeric, sound real[])
	LANGUAGE sql IMMUTABLE BEGIN ATOMIC
	SELECT i, (ARRAY['calm', 'loud', 'sad'])[1 + i % 3] || ' ' || words[1 + i % array_length(words, 1)], ARRAY[(ARRAY['calm', 'loud', 'sad'])[1 + i % 3], 'all'],
		2.5 + i % 4, ARRAY[i % 3, 1, 0.5]::real[] FROM generate_series(first, first + n - 1) i;
END;
CREATE FUNCTION event_table(seed integer, users integer, first integer, n integer) RETURNS TABLE (visitor integer, item integer, at integer)
	LANGUAGE sql IMMUTABLE BEGIN ATOMIC
	SELECT u, first + (u % 3 - first % 3 + 3) % 3 + 3 * ((u * 7 + s * s + seed) % (n / 3)), s FROM generate_series(1, users) u, generate_series(1, 8) s;
END;
CREATE TABLE films AS SELECT * FROM item_table(0, 60, '{river,road,night,heart,train}');
CREATE TABLE views AS SELECT * FROM event_table(1, 150, 0, 60);
CREATE TABLE songs AS SELECT * FROM item_table(1200, 45, '{sea,dance,piano,choir}');
CREATE TABLE plays AS SELECT * FROM event_table(5, 40, 1200, 45);
SELECT fmoe_create_domain('pool', 'views', 'visitor', 'item', 'at', items => 'films', item_key => 'item',
	text_columns => '{title}', category_columns => '{kinds}', price_column => 'price', vector_columns => '{sound}');
SELECT fmoe_create_domain('shop', 'plays', 'visitor', 'item', 'at', items => 'songs', item_key => 'item',
	text_columns => '{title}', category_columns => '{kinds}', price_column => 'price', vector_columns => '{sound}');
SELECT fmoe_create_domain('mute', 'plays', 'visitor', 'item', 'at', items => 'songs', item_key => 'item', text_columns => '{title}');

-- what it knows of items is found in the item table and kept among its options
CALL fmoe_train('pool', '{"model": "foundation", "width": 16, "layers": 1, "epochs": 12, "max_length": 10, "learning_rate": 0.01, "workers": 0}');
SELECT config -> 'inputs' AS inputs FROM fmoe.versions WHERE domain = 'pool';
SELECT t.name, t.dtype, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'pool' AND t.name ~ '^(input|item|position)' ORDER BY t.name COLLATE "C";
SELECT u % 3 AS mood, count(*) FILTER (WHERE item_id % 3 = u % 3) >= 0.8 * count(*) AS same_mood
	FROM generate_series(1, 30) u, LATERAL (SELECT item_id FROM fmoe_recommend(u, k => 5, domain => 'pool')) r GROUP BY 1 ORDER BY 1;
-- it leaves whole: all that is learned is in the file, and nothing of an item
SELECT fmoe_lend('pool') IS NOT NULL AS lent;
SELECT model, config -> 'inputs' -> 0 AS first_input FROM fmoe.lent WHERE party = 'north' AND domain = 'pool';

-- a training of the other shop begins with it and takes over its inputs
CALL fmoe_train('shop', '{"model": "foundation", "start_encoder": "north.pool", "width": 16, "layers": 1, "epochs": 2, "max_length": 10, "deploy": false}');
SELECT config -> 'inputs' = (SELECT config -> 'inputs' FROM fmoe.versions WHERE domain = 'pool') AS same_inputs FROM fmoe.versions WHERE domain = 'shop';
-- zeros stand for what a domain lacks
CALL fmoe_train('mute', '{"model": "foundation", "start_encoder": "north.pool", "width": 16, "layers": 1, "epochs": 1, "max_length": 10, "deploy": false}');
-- the number of workers changes nothing
CALL fmoe_train('shop', '{"model": "foundation", "width": 8, "layers": 1, "epochs": 2, "max_length": 10, "deploy": false, "inputs": ["text", "sound"], "workers": 0}');
CALL fmoe_train('shop', '{"model": "foundation", "width": 8, "layers": 1, "epochs": 2, "max_length": 10, "deploy": false, "inputs": ["text", "sound"], "workers": 2}');
SELECT count(DISTINCT checksum) AS different, count(*) FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'shop' AND v.version IN (2, 3);
-- sampled negatives
CALL fmoe_train('shop', '{"model": "foundation", "loss": "gbce", "negatives": 16, "width": 8, "layers": 1, "epochs": 1, "max_length": 10, "deploy": false}');

-- a view over several shops, whose items are told apart within each
CREATE VIEW all_events AS SELECT visitor, item, at, 'films' AS shop FROM views UNION ALL SELECT 1000 + visitor, item, at, 'songs' FROM plays;
CREATE VIEW all_items AS SELECT * FROM films UNION ALL SELECT * FROM songs;
SELECT fmoe_create_domain('all', 'all_events', 'visitor', 'item', 'at', items => 'all_items', item_key => 'item', text_columns => '{title}');
CALL fmoe_train('all', '{"model": "foundation", "source_column": "shop", "width": 8, "layers": 1, "epochs": 2, "max_length": 10, "deploy": false, "workers": 0}');
CALL fmoe_train('all', '{"model": "foundation", "source_column": "shop", "width": 8, "layers": 1, "epochs": 2, "max_length": 10, "deploy": false, "workers": 2}');
CALL fmoe_train('all', '{"model": "foundation", "width": 8, "layers": 1, "epochs": 2, "max_length": 10, "deploy": false}');
SELECT version, count(*) OVER (PARTITION BY checksum) AS like_it FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'all' ORDER BY 1;
-- the column is none of the borrower's
SELECT fmoe_lend('all', 1) IS NOT NULL AS lent;
SELECT config ->> 'source_column' AS source_column FROM fmoe.lent WHERE domain = 'all';
CALL fmoe_train('all', '{"model": "foundation", "source_column": "town"}');
CALL fmoe_train('all', '{"model": "foundation", "source_column": "shop", "loss": "gbce"}');
SELECT fmoe_drop_domain('all');

-- what cannot be
CALL fmoe_train('shop', '{"model": "foundation", "start_encoder": "north.pool", "width": 8, "layers": 1}');
CALL fmoe_train('shop', '{"model": "foundation", "start_encoder": "north.pool", "width": 16, "layers": 1, "inputs": ["text"]}');
CALL fmoe_train('shop', '{"model": "sasrec", "start_encoder": "north.pool", "width": 16, "layers": 1}');
CALL fmoe_train('shop', '{"model": "fmoe", "experts": ["north.pool"], "width": 16, "layers": 1}');
CALL fmoe_train('shop', '{"model": "foundation", "inputs": ["smell"]}');
CALL fmoe_train('shop', '{"model": "foundation", "inputs": [{"name": "text", "width": 100}]}');
SET client_min_messages = notice;
CALL fmoe_train('mute', '{"model": "foundation", "inputs": ["price"]}');
SET client_min_messages = warning;
ALTER TABLE songs ALTER sound TYPE real[] USING sound || 1::real;
CALL fmoe_train('shop', '{"model": "foundation", "start_encoder": "north.pool", "width": 16, "layers": 1, "max_length": 10}');
SELECT fmoe_fit(visitor, item, at, '{"model": "foundation"}') FROM plays;
SELECT fmoe_fedavg(fmoe_export('pool', 1));
-- a mixture of all that is lent passes it over
CALL fmoe_train('shop', '{"model": "fmoe", "width": 8, "layers": 1, "epochs": 1, "max_length": 10, "deploy": false, "gate": "user"}');
SELECT config -> 'experts' AS experts FROM fmoe.versions WHERE domain = 'shop' ORDER BY version DESC LIMIT 1;

SELECT fmoe_drop_domain('mute');
SELECT fmoe_drop_domain('shop');
SELECT fmoe_drop_domain('pool');
DROP SCHEMA foundation_test CASCADE;
