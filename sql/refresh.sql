-- fmoe_refresh: the live version with the item table as it is now.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA refresh_test;
SET search_path = refresh_test, public;
CREATE TABLE plays (listener integer, song text, at timestamptz);
INSERT INTO plays SELECT u, 'song ' || (u * 7 + n * (1 + u % 3)) % 40, timestamptz '2024-01-01 UTC' + n * interval '1 day'
	FROM generate_series(1, 120) u, generate_series(1, 9) n;
CREATE TABLE songs (id text PRIMARY KEY, title text, look real[], genre text, price numeric);
INSERT INTO songs SELECT 'song ' || i, CASE i % 4 WHEN 0 THEN 'quiet piano ' WHEN 1 THEN 'loud guitar ' WHEN 2 THEN 'fast drums ' ELSE 'slow bass ' END || i,
	ARRAY[i % 4, 1, i / 40.0]::real[], 'genre ' || i % 4, i FROM generate_series(0, 39) i;
SELECT fmoe_create_domain('songs', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'id', text_columns => '{title}');
SET fmoe.domain = 'songs';

-- there must be something to refresh, that reads the item table
SELECT fmoe_refresh();
CALL fmoe_train('songs', '{"model": "sequence"}');
SELECT fmoe_refresh('songs');
SELECT fmoe_refresh('no such domain');

CALL fmoe_train('songs', '{"model": "content", "deploy": false, "holdout": "test"}');
SELECT fmoe_deploy('songs', 2);
SELECT version FROM fmoe.versions WHERE domain = 'songs' AND live;
SET client_min_messages = notice;
SELECT fmoe_refresh();
SET client_min_messages = warning;
SELECT count(*) FROM fmoe.versions WHERE domain = 'songs';

-- new items, before, between and after the others, and a text that has changed
INSERT INTO songs VALUES ('a song', 'quiet piano 4 8', NULL), ('song 10.5', 'loud kazoo', NULL), ('tune', 'kazoo kazoo', NULL);
UPDATE songs SET title = 'quiet piano 4 8 8' WHERE id = 'song 5';
SELECT count(*) FROM fmoe_recommend_next('{"song 4","song 8"}'::text[], 60) WHERE item_id IN ('a song', 'song 10.5', 'tune');
SELECT fmoe_refresh() AS refreshed \gset
SELECT :refreshed = max(version) AS newest, bool_or(live AND version = :refreshed) AS live FROM fmoe.versions WHERE domain = 'songs';
SELECT item_id FROM fmoe_recommend_next('{"song 4","song 8"}'::text[], 2);
SELECT item_id FROM fmoe_recommend_next('{"song 10.5"}'::text[], 1);
-- what was counted of the others is what it was
SELECT a.model, a.holdout, a.events, a.users, b.items - a.items AS more, b.metrics - 'refreshed' = a.metrics AS same_metrics, b.metrics -> 'refreshed' AS of
	FROM fmoe.versions a, fmoe.versions b WHERE a.domain = 'songs' AND b.domain = 'songs' AND a.version = 2 AND b.version = :refreshed;
SELECT count(*), bool_and(a.score = b.score) AS same FROM fmoe_recommend_next('{}'::text[], 50, version => 2) a
	JOIN fmoe_recommend_next('{}'::text[], 50, version => :refreshed) b USING (item_id) WHERE item_id NOT IN ('a song', 'song 10.5', 'tune');

-- one after the other, back, and evaluated like any other version
SELECT fmoe_refresh() = :refreshed AS nothing_new;
DELETE FROM songs WHERE id = 'tune';
SELECT fmoe_refresh() > :refreshed AS newer;
SELECT item_id FROM fmoe_recommend_next('{"song 10.5"}'::text[], 60) WHERE item_id = 'tune';
SELECT fmoe_rollback('songs') = :refreshed AS back;
SELECT DISTINCT model FROM fmoe_evaluate('songs', '{"k": [5]}') ORDER BY 1;
SELECT fmoe_alter_domain('songs', sharing => 'full');
SELECT fmoe_import('songs', 'copy', fmoe_export('songs', :refreshed)) > :refreshed AS imported;

-- in one transaction with the rows that it is for, which others then see together
BEGIN;
INSERT INTO songs VALUES ('newest', 'quiet quiet quiet');
SELECT fmoe_refresh() > :refreshed AS newer;
SELECT count(*) FROM fmoe_recommend_next('{"song 4"}'::text[], 60) WHERE item_id = 'newest';
ROLLBACK;
SELECT count(*) FROM fmoe_recommend_next('{"song 4"}'::text[], 60) WHERE item_id = 'newest';

-- a gate over all experts: what learned and what counted knows nothing of a new item
SELECT fmoe_alter_domain('songs', vector_columns => '{look}');
CALL fmoe_train('songs', '{"model": "auto", "width": 8, "layers": 1, "epochs": 2, "holdout": "test", "deploy": false}');
SELECT max(version) AS auto FROM fmoe.versions WHERE domain = 'songs' \gset
SELECT fmoe_deploy('songs', :auto);
INSERT INTO songs VALUES ('b song', 'quiet piano 4 8', '{0,1,0.1}');
SELECT fmoe_refresh() AS refreshed \gset
SELECT b.items - a.items AS more, b.model = a.model AS same_model FROM fmoe.versions a, fmoe.versions b
	WHERE a.domain = 'songs' AND b.domain = 'songs' AND a.version = :auto AND b.version = :refreshed;
SELECT item_id, score > '-Infinity' AS known FROM fmoe_score('1', '{"b song","no song"}'::text[]);
SELECT array_agg(r) AS answers FROM fmoe_recommend('1', 60) r \gset
SET fmoe.scan = 'exact';
SELECT array_agg(r)::text = :'answers' AS same_scanned, bool_or(item_id = 'b song') AS among_them FROM fmoe_recommend('1', 60) r;
RESET fmoe.scan;
INSERT INTO songs VALUES ('c song', 'quiet', '{0,1}');
UPDATE songs SET look = '{0,1}';
SELECT fmoe_refresh();
UPDATE songs SET look = NULL;
SELECT fmoe_refresh() > :refreshed AS without_vectors;

-- whose right it is
CREATE ROLE refresh_reader;
GRANT USAGE ON SCHEMA refresh_test TO refresh_reader;
GRANT SELECT ON plays, songs TO refresh_reader;
SET ROLE refresh_reader;
SELECT fmoe_refresh('songs');
RESET ROLE;
DROP OWNED BY refresh_reader;
DROP ROLE refresh_reader;
BEGIN READ ONLY;
SELECT fmoe_refresh('songs');
ROLLBACK;
BEGIN;
INSERT INTO songs SELECT 'more ' || i, md5(i::text) FROM generate_series(1, 20000) i;
SET LOCAL fmoe.max_memory = '2MB';
\set VERBOSITY sqlstate
SELECT fmoe_refresh('songs');
ROLLBACK;
\set VERBOSITY default
SELECT fmoe_alter_domain('songs', items => '0');
SELECT fmoe_refresh('songs');

SELECT fmoe_drop_domain('songs', true);
DROP SCHEMA refresh_test CASCADE;
