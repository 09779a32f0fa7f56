-- sasrec and gru4rec over item vectors that are made of the item table.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA featured_test;
SET search_path = featured_test, public;

-- listeners stay with a mood, which the songs' titles and kinds tell; songs 61 to 66 nobody has heard
CREATE TABLE plays AS
	SELECT u AS listener, 1 + (u % 3) * 20 + (u * 7 + s * s) % 20 AS song, s AS at
	FROM generate_series(1, 150) u, generate_series(1, 9) s;
CREATE TABLE songs AS
	SELECT song, CASE WHEN song > 60 THEN 'new ' ELSE '' END || mood || ' ' || (ARRAY['river', 'road', 'night', 'heart', 'train'])[1 + song % 5] AS title,
		ARRAY[mood, 'all'] AS kinds, (2.5 + song % 4)::numeric AS price,
		CASE WHEN song % 9 <> 0 THEN ARRAY[song % 3, 1, 0.5]::real[] END AS sound
	FROM (SELECT song, (ARRAY['calm', 'loud', 'sad'])[CASE WHEN song > 60 THEN 1 + (song - 61) / 2 ELSE 1 + (song - 1) / 20 END] AS mood
		FROM generate_series(1, 66) song) s;
SELECT fmoe_create_domain('featured', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song',
	text_columns => '{title}', category_columns => '{kinds}', price_column => 'price', vector_columns => '{sound}');
SELECT fmoe_create_domain('featured_bare', 'plays', 'listener', 'song', 'at');

CALL fmoe_train('featured', '{"model": "sasrec", "features": true, "id_dropout": 0.2, "width": 16, "layers": 1, "epochs": 15, "max_length": 10, "learning_rate": 0.01, "deploy": false}');
SELECT t.name, t.dtype, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'featured' AND t.name ~ '^items?\.' ORDER BY t.name COLLATE "C";
SELECT config -> 'features' AS features, config -> 'id_dropout' AS id_dropout, items FROM fmoe.versions WHERE domain = 'featured';
SELECT fmoe_deploy('featured', 1);

-- songs that nobody has heard are answers, of the listener's mood first
SELECT u % 3 AS mood, bool_and(item IN (61 + u % 3 * 2, 62 + u % 3 * 2)) AS right_mood
	FROM generate_series(1, 12) u, LATERAL (SELECT item_id AS item FROM fmoe_recommend(u, k => 2, candidates => ARRAY[61, 62, 63, 64, 65, 66]::bigint[], domain => 'featured') r (item_id)) r
	GROUP BY u % 3 ORDER BY 1;
-- all scans say the same
SET fmoe.scan = exact;
CREATE TABLE exact AS SELECT u, r.* FROM generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'featured') r;
SET fmoe.scan = int8;
SELECT count(*) FROM (SELECT * FROM exact EXCEPT SELECT u, r.* FROM generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'featured') r) d;
RESET fmoe.scan;

-- the maps stay here: only the encoder leaves
SELECT fmoe_alter_domain('featured', sharing => 'encoder');
SELECT position('"item.' IN encode(fmoe_export('featured', 1), 'escape')) AS item_arrays;
-- a whole version comes back as it was
SELECT fmoe_alter_domain('featured', sharing => 'full');
SELECT fmoe_import('featured', 'again', fmoe_export('featured', 1));
SELECT fmoe_deploy('featured', 2);
SELECT count(*) FROM (SELECT * FROM exact EXCEPT SELECT u, r.* FROM generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'featured') r) d;
SELECT fmoe_deploy('featured', 1);

-- a song that came after the training is read and placed by what is known of it
INSERT INTO songs VALUES (67, 'sad river', '{sad,all}', 3.5, '{0,1,0.5}');
SELECT fmoe_refresh('featured');
SELECT count(*) FILTER (WHERE (SELECT item_id FROM fmoe_recommend(u, k => 1, candidates => ARRAY[61, 62, 63, 64, 67]::bigint[], domain => 'featured')) = 67) AS answers
	FROM generate_series(2, 11, 3) u;
-- another price moves the place of all prices, and so the vectors, by little
SELECT max(abs(e.score - r.score)) < 0.1 * (SELECT stddev(score) FROM generate_series(1, 20) u, fmoe_recommend(u, k => 60, domain => 'featured')) AS by_little
	FROM exact e, fmoe_recommend(e.u, k => 60, domain => 'featured') r WHERE r.item_id = e.item_id;
DELETE FROM songs WHERE song = 67;
SELECT fmoe_deploy('featured', 1);

-- a warm start finds items and categories again that have other numbers now
UPDATE songs SET kinds = ARRAY['a first one'] || kinds WHERE song = 5;
INSERT INTO songs VALUES (-3, 'calm river', '{a first one,calm}', 2, NULL);
CALL fmoe_train('featured', '{"model": "sasrec", "features": true, "width": 16, "layers": 1, "epochs": 1, "max_length": 10, "learning_rate": 1e-7, "warm_start": true, "deploy": false}');
CREATE FUNCTION array_of(wanted text, number integer) RETURNS bytea LANGUAGE sql STABLE
	RETURN (SELECT string_agg(data, '' ORDER BY part) FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
		WHERE d.name = 'featured' AND v.version = number AND t.name = wanted);
-- one category and one item more, sorted before the others: row i is row i + 1 now, but for a step of 1e-7
SELECT name, n - 1 AS rows, count(*) FILTER (WHERE substr(array_of(name, 1), 64 * i + 4 * c + 3, 2) = substr(array_of(name, 4), 64 * (i + 1) + 4 * c + 3, 2))
		> 0.9 * count(*) AS found_again
	FROM (VALUES ('item.category_1.weight', 5), ('item.weight', 67)) a (name, n), generate_series(0, n - 2) i, generate_series(0, 15) c GROUP BY name, n ORDER BY name;

CALL fmoe_train('featured', '{"model": "gru4rec", "features": true, "loss": "gbce", "negatives": 16, "width": 8, "layers": 1, "epochs": 2, "deploy": false}');
SELECT version, model, config -> 'features' AS features FROM fmoe.versions WHERE domain = 'featured' ORDER BY version;

-- under the gate, beside all that counts: as a class, and in a mixture; the vectors are stored once, with the gate's columns
UPDATE songs SET kinds = kinds[2:] WHERE song = 5;
DELETE FROM songs WHERE song = -3;
SELECT fmoe_create_domain('gated', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song',
	text_columns => '{title}', category_columns => '{kinds}', price_column => 'price', vector_columns => '{sound}');
SELECT fmoe_alter_domain('gated', sharing => 'full');
CALL fmoe_train('gated', '{"model": "gru4rec", "features": true, "gate": "linear", "width": 16, "layers": 1, "epochs": 15, "max_length": 10, "learning_rate": 0.01, "deploy": false}');
CALL fmoe_train('gated', '{"features": true, "id_dropout": 0.2, "width": 16, "layers": 1, "epochs": 15, "max_length": 10, "learning_rate": 0.01, "deploy": false}');
CALL fmoe_train('gated', '{"model": "sasrec", "gate": "linear", "gate_prior": "none", "width": 16, "layers": 1, "epochs": 2, "max_length": 10, "deploy": false}');
SELECT version, model, config ->> 'features' AS features, config ->> 'gate' AS gate, metrics -> 'gate' IS NOT NULL AS weighed FROM fmoe.versions WHERE domain = 'gated' ORDER BY version;
SELECT v.version, t.name, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'gated' AND t.name ~ '^items?\.(vectors|weight|text)' ORDER BY v.version, t.name COLLATE "C";
CREATE TABLE served AS SELECT v, u, r.* FROM generate_series(1, 3) v, generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'gated', version => v) r WHERE false;
SET fmoe.scan = exact;
INSERT INTO served SELECT v, u, r.* FROM generate_series(1, 3) v, generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'gated', version => v) r;
SET fmoe.scan = int8;
SELECT count(*) FROM (SELECT * FROM served EXCEPT SELECT v, u, r.* FROM generate_series(1, 3) v, generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'gated', version => v) r) d;
RESET fmoe.scan;
-- songs that nobody has heard, by what the own expert and content read of them
SELECT v, u % 3 AS mood, bool_and(item IN (61 + u % 3 * 2, 62 + u % 3 * 2)) AS right_mood
	FROM generate_series(1, 2) v, generate_series(1, 12) u, LATERAL (SELECT item_id AS item FROM fmoe_recommend(u, k => 2, candidates => ARRAY[61, 62, 63, 64, 65, 66]::bigint[], domain => 'gated', version => v) r (item_id)) r
	GROUP BY v, u % 3 ORDER BY v, mood;
-- shares add up to the score, the own expert's among them
SELECT v, bool_and(abs(score - sum) < 1e-4) AS adds_up, bool_and(own) AS own FROM (
	SELECT v, e.item_id, max(e.score) AS score, sum(e.contribution) FILTER (WHERE e.part NOT IN ('word', 'event', 'history')) AS sum, bool_or(e.name = 'own') AS own
		FROM generate_series(1, 3) v, fmoe_explain(5, k => 5, domain => 'gated', version => v) e GROUP BY v, e.item_id) e GROUP BY v ORDER BY v;
-- whole versions elsewhere, a refresh, the gate lent, a report: as for every gate
SELECT fmoe_import('gated', 'again', fmoe_export('gated', 1));
SELECT fmoe_import('gated', 'and again', fmoe_export('gated', 2));
SELECT count(*) FROM (SELECT u, item_id FROM served WHERE v <= 2 EXCEPT SELECT u, r.item_id FROM generate_series(4, 5) v, generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'gated', version => v) r) d;
INSERT INTO songs VALUES (67, 'sad river', '{sad,all}', 3.5, '{0,1,0.5}');
SELECT fmoe_deploy('gated', 1);
SELECT fmoe_refresh('gated');
SELECT fmoe_deploy('gated', 2);
SELECT fmoe_refresh('gated');
SELECT v, count(*) FILTER (WHERE (SELECT item_id FROM fmoe_recommend(u, k => 1, candidates => ARRAY[61, 62, 63, 64, 67]::bigint[], domain => 'gated', version => v)) = 67) AS answers
	FROM generate_series(6, 7) v, generate_series(2, 11, 3) u GROUP BY v ORDER BY v;
DELETE FROM songs WHERE song = 67;
CREATE FUNCTION pg_temp.gate_of(file bytea) RETURNS boolean LANGUAGE sql AS $$SELECT position('"gate"' IN encode(file, 'escape')) > 0 AND position('neighbours' IN encode(file, 'escape')) > 0$$;
SELECT fmoe_alter_domain('gated', sharing => 'encoder');
SELECT v, pg_temp.gate_of(fmoe_export('gated', v)) AS gate FROM generate_series(1, 3) v;
INSERT INTO plays SELECT u, 1 + (u % 3) * 20 + u * 7 % 20, 10 FROM generate_series(1, 150) u;
SELECT v, count(*) > 5 AS rows, bool_or(expert = 'own') AS own FROM generate_series(1, 2) v, fmoe_expert_report('gated', jsonb_build_object('version', v)) GROUP BY v ORDER BY v;
SELECT fmoe_drop_domain('gated');

-- what cannot be
CALL fmoe_train('featured_bare', '{"model": "sasrec", "features": true}');
CALL fmoe_train('featured', '{"model": "sasrec", "id_dropout": 0.2}');
CALL fmoe_train('featured', '{"model": "sasrec", "features": false, "id_dropout": 0.2}');
CALL fmoe_train('featured', '{"model": "markov", "features": true}');
CALL fmoe_train('featured', '{"features": true, "gate": "user"}');
CALL fmoe_train('featured', '{"features": true, "head": "own"}');
CALL fmoe_train('featured', '{"features": true, "item_graph": true, "loss": "softmax"}');
CALL fmoe_train('featured', '{"model": "sasrec", "gate_prior": "default"}');
CALL fmoe_train('featured', '{"model": "sasrec", "gate": "linear", "blend": 0.5}');
CALL fmoe_train('featured_bare', '{"features": true}');
\set VERBOSITY terse
SELECT fmoe_fit(listener, song, at, '{"model": "sasrec", "features": true}') FROM plays;
\set VERBOSITY default
UPDATE songs SET title = '', kinds = NULL, price = NULL, sound = NULL;
CALL fmoe_train('featured', '{"model": "sasrec", "features": true}');

SELECT fmoe_drop_domain('featured');
SELECT fmoe_drop_domain('featured_bare');
DROP SCHEMA featured_test CASCADE;
