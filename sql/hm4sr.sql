-- hm4sr: a stream for ids, one for texts and one for each column of vectors.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA hm4sr_test;
SET search_path = hm4sr_test, public;

-- listeners stay with a mood, which titles, kinds and sounds tell; songs 61 to 66 nobody has heard, every second has no sound
CREATE TABLE plays AS
	SELECT u AS listener, 1 + (u % 3) * 20 + (u * 7 + s * s) % 19 AS song,
		timestamptz '2020-01-01 UTC' + (u * 13 + s * s * 50) * interval '1 minute' AS at
	FROM generate_series(1, 150) u, generate_series(1, 9) s;
CREATE TABLE songs AS
	SELECT song, mood || ' ' || (ARRAY['river', 'road', 'night', 'heart', 'train'])[1 + song % 5] AS title, ARRAY[mood, 'all'] AS kinds,
		CASE WHEN song % 2 = 0 THEN ARRAY[song % 3, 1, length(mood)]::real[] END AS sound
	FROM (SELECT song, (ARRAY['calm', 'loud', 'sad'])[CASE WHEN song > 60 THEN 1 + (song - 61) / 2 ELSE 1 + (song - 1) / 20 END] AS mood
		FROM generate_series(1, 66) song) s;
SELECT fmoe_create_domain('streams', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song',
	text_columns => '{title}', category_columns => '{kinds}', vector_columns => '{sound}');
SELECT fmoe_create_domain('others', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song',
	text_columns => '{title}', category_columns => '{kinds}', vector_columns => '{sound}');
SELECT fmoe_create_domain('bare', 'plays', 'listener', 'song', 'at');

CALL fmoe_train('streams', '{"model": "hm4sr", "width": 16, "layers": 1, "inner": 32, "epochs": 12, "max_length": 10, "dropout": 0.1, "learning_rate": 0.01, "deploy": false}');
SELECT fmoe_deploy('streams', 1);
SELECT t.name, t.dtype, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'streams' AND t.name ~ '^(items?|time|mix.scale|category|placeholder|stream)\.' ORDER BY t.name COLLATE "C";
SELECT config -> 'streams' AS streams, config -> 'intervals' AS intervals, items,
	(SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_each(metrics -> 'losses')) AS losses FROM fmoe.versions WHERE domain = 'streams';

-- songs that nobody has heard are answers, of the listener's mood first
SELECT u % 3 AS mood, bool_and(item IN (61 + u % 3 * 2, 62 + u % 3 * 2)) AS right_mood
	FROM generate_series(1, 12) u, LATERAL (SELECT item_id AS item FROM fmoe_recommend(u, k => 2, candidates => ARRAY[61, 62, 63, 64, 65, 66]::bigint[], domain => 'streams') r (item_id)) r
	GROUP BY u % 3 ORDER BY 1;
-- all scans say the same
SET fmoe.scan = exact;
CREATE TABLE exact AS SELECT u, r.* FROM generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'streams') r;
SET fmoe.scan = int8;
SELECT count(*) FROM (SELECT * FROM exact EXCEPT SELECT u, r.* FROM generate_series(1, 20) u, fmoe_recommend(u, k => 5, domain => 'streams') r) d;
RESET fmoe.scan;

-- the number of workers changes no weight
CREATE FUNCTION sums(number integer) RETURNS text LANGUAGE sql STABLE
	RETURN (SELECT md5(string_agg(md5(t.data), '' ORDER BY t.name COLLATE "C", t.part)) FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
		WHERE d.name = 'streams' AND v.version = number);
CALL fmoe_train('streams', '{"model": "hm4sr", "width": 8, "layers": 1, "epochs": 2, "dropout": 0.2, "deploy": false, "workers": 0}');
CALL fmoe_train('streams', '{"model": "hm4sr", "width": 8, "layers": 1, "epochs": 2, "dropout": 0.2, "deploy": false, "workers": 3}');
SELECT sums(2) = sums(3) AS equal, sums(1) = sums(2) AS of_others;

-- a song that came after the training is placed by what is known of it
INSERT INTO songs VALUES (67, 'sad river', '{sad,all}', '{1,1,3}');
SELECT fmoe_refresh('streams');
SELECT count(*) FILTER (WHERE (SELECT item_id FROM fmoe_recommend(u, k => 1, candidates => ARRAY[61, 62, 63, 64, 67]::bigint[], domain => 'streams')) = 67) AS answers
	FROM generate_series(2, 11, 3) u;
-- and so is one whose text changes
UPDATE songs SET title = 'calm river', kinds = '{calm,all}', sound = '{1,1,4}' WHERE song = 67;
SELECT fmoe_refresh('streams');
SELECT count(*) FILTER (WHERE (SELECT item_id FROM fmoe_recommend(u, k => 1, candidates => ARRAY[63, 64, 65, 66, 67]::bigint[], domain => 'streams')) = 67) AS answers
	FROM generate_series(3, 12, 3) u;

-- times in a far future, half a century after the last, and at once
INSERT INTO plays VALUES (501, 5, '2020-01-01 UTC'), (501, 6, '2070-01-01 UTC'), (501, 7, '2070-01-01 UTC'), (502, 7, '9999-01-01 UTC');
SELECT u, count(*), bool_and(score > '-Infinity' AND score < 'Infinity') AS finite FROM (VALUES (501), (502)) v (u), fmoe_recommend(u, k => 5, domain => 'streams') GROUP BY u ORDER BY u;
DELETE FROM plays WHERE listener > 500;

-- what each stream gave, and what the times did
SELECT string_agg(DISTINCT name, ' ' ORDER BY name) FILTER (WHERE part = 'expert') AS parts,
	bool_and(abs(sum - score) < 1e-4 * greatest(1, abs(score))) AS add_up, bool_or(name = 'time' AND contribution <> 0) AS times_count
	FROM (SELECT *, sum(contribution) FILTER (WHERE part IN ('expert', 'transitions')) OVER (PARTITION BY rank) AS sum FROM fmoe_explain(5, k => 5, domain => 'streams')) e;
SELECT name, count(*) AS experts, abs(sum(weight) - 1) < 1e-4 AS one_in_all, count(contribution) AS told FROM fmoe_explain(5, k => 1, domain => 'streams') WHERE part = 'map' GROUP BY 1 ORDER BY name COLLATE "C";
SELECT expert FROM fmoe_expert_report('streams') ORDER BY expert COLLATE "C";
-- of a song that the version does not know, in the history and among the answers
INSERT INTO songs VALUES (68, 'loud train', '{loud,all}', NULL);
INSERT INTO plays VALUES (601, 7, '2021-01-01 UTC'), (601, 68, '2021-01-02 UTC');
SELECT count(DISTINCT item_id) AS items, bool_and(abs(sum - score) < 1e-4 * greatest(1, abs(score))) AS add_up
	FROM (SELECT *, sum(contribution) FILTER (WHERE part IN ('expert', 'transitions')) OVER (PARTITION BY rank) AS sum
		FROM fmoe_explain(601, k => 5, exclude_seen => false, candidates => ARRAY[1, 2, 67, 68]::bigint[], domain => 'streams')) e;
DELETE FROM songs WHERE song = 68;
DELETE FROM plays WHERE listener = 601;

-- under a gate, beside all that count
CALL fmoe_train('others', '{"model": "hm4sr", "gate": "linear", "width": 8, "layers": 1, "epochs": 3, "learning_rate": 0.01, "deploy": false}');
SELECT fmoe_deploy('others', version), metrics ? 'gate' AS gate FROM fmoe.versions WHERE domain = 'others';
SELECT count(*) AS answers, bool_and(score > '-Infinity' AND score < 'Infinity') AS finite FROM fmoe_recommend(5, k => 5, domain => 'others');
SELECT string_agg(DISTINCT name, ' ' ORDER BY name) FILTER (WHERE part = 'expert') AS parts FROM fmoe_explain(5, k => 5, domain => 'others');

-- an array has no times
SELECT count(*), bool_and(score > '-Infinity' AND score < 'Infinity') AS finite FROM fmoe_recommend_next(ARRAY[1, 5, 9]::bigint[], k => 5, domain => 'streams');

-- what leaves is the encoder, and another training of the same shapes begins with it
SET fmoe.party = 'hm';
SELECT fmoe_lend('streams', 1) IS NOT NULL AS lent;
SELECT position('"item.' IN encode(fmoe_export('streams', 1), 'escape')) AS item_arrays;
CALL fmoe_train('others', '{"model": "hm4sr", "start_encoder": "hm.streams", "width": 16, "layers": 1, "inner": 32, "epochs": 1, "max_length": 12, "intervals": 800, "learning_rate": 1e-7, "deploy": false}');
-- but for steps of 1e-7 its weights are those it began with
SELECT count(DISTINCT substr(t.data, 3, 2)) AS different FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE (d.name, v.version) IN (('streams', 1), ('others', 2)) AND t.name = 'tower.1.block.0.query.weight';
CALL fmoe_train('others', '{"model": "hm4sr", "start_encoder": "hm.streams", "width": 16, "layers": 1, "epochs": 1, "deploy": false}');
CALL fmoe_train('others', '{"model": "hm4sr", "start_encoder": "hm.streams", "streams": ["text"], "width": 16, "layers": 1, "inner": 32, "epochs": 1, "deploy": false}');
CALL fmoe_train('others', '{"model": "sasrec", "start_encoder": "hm.streams", "width": 16, "layers": 1}');
CALL fmoe_train('others', '{"model": "fmoe", "experts": ["hm.streams"], "width": 16, "layers": 1}');

-- other streams, losses and times
CALL fmoe_train('streams', '{"model": "hm4sr", "streams": ["categories"], "time": false, "idcl": 0, "pcl": 0, "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
CALL fmoe_train('streams', '{"model": "hm4sr", "streams": [], "frozen": true, "cp": 0, "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
CALL fmoe_train('bare', '{"model": "hm4sr", "streams": [], "cp": 0, "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
CALL fmoe_train('streams', '{"model": "hm4sr", "loss": "gbce", "negatives": 16, "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT domain, version, config -> 'streams' AS streams, config ->> 'loss' AS loss,
	(SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_each(metrics -> 'losses') WHERE value <> '0') AS losses
	FROM fmoe.versions WHERE version > 5 OR domain = 'bare' ORDER BY domain, version;

-- what cannot be
CALL fmoe_train('bare', '{"model": "hm4sr"}');
CALL fmoe_train('bare', '{"model": "hm4sr", "streams": ["text"]}');
CALL fmoe_train('streams', '{"model": "hm4sr", "streams": ["vector_2"]}');
CALL fmoe_train('streams', '{"model": "hm4sr", "streams": ["text", "text"]}');
CALL fmoe_train('streams', '{"model": "hm4sr", "time": false, "frozen": true}');
CALL fmoe_train('streams', '{"model": "hm4sr", "heads": 3}');
\set VERBOSITY terse
SELECT fmoe_fit(listener, song, at, '{"model": "hm4sr"}') FROM plays;
\set VERBOSITY default
-- vectors of another length: what is live stays, and says what it needs
UPDATE songs SET sound = sound || 1::real WHERE sound IS NOT NULL;
SELECT fmoe_refresh('streams');
SELECT count(*) FROM fmoe_recommend(1, k => 5, domain => 'streams');
UPDATE songs SET title = '', kinds = NULL, sound = NULL;
CALL fmoe_train('streams', '{"model": "hm4sr"}');

SELECT fmoe_drop_domain('streams');
SELECT fmoe_drop_domain('bare');
SELECT fmoe_drop_domain('others');
DROP SCHEMA hm4sr_test CASCADE;
