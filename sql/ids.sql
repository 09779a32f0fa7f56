-- Ids: labels that are renamed, types that change, equal ids of different spelling, types that cannot be ids.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA ids_test;
SET search_path = ids_test, public;

-- an enum's label is renamed: the version that has the old one is named, and training goes on
CREATE TYPE mood AS ENUM ('calm', 'glad', 'sad', 'wild', 'tired');
CREATE TABLE moods (u int, m mood, t int);
INSERT INTO moods SELECT u, (enum_range(NULL::mood))[(u + n) % 5 + 1], n FROM generate_series(1, 30) u, generate_series(1, 3) n;
SELECT fmoe_create_domain('moods', 'moods', 'u', 'm', 't');
CALL fmoe_train('moods', '{"model": "markov"}');
ALTER TYPE mood RENAME VALUE 'wild' TO 'furious';
SELECT * FROM fmoe_recommend_as(NULL::text, 1, 1, 'moods');
CALL fmoe_train('moods', '{"model": "sasrec", "epochs": 1, "width": 8, "holdout": "none", "warm_start": true, "deploy": false}');
SET client_min_messages = notice;
CALL fmoe_train('moods', '{"model": "markov"}');
SET client_min_messages = warning;
SELECT item_id FROM fmoe_recommend_as(NULL::text, 1, 2, 'moods') ORDER BY 1;

-- the ids get another type
CREATE TABLE plays (u int, i bigint, t int);
INSERT INTO plays SELECT u, (u + n) % 5, n FROM generate_series(1, 30) u, generate_series(1, 3) n;
SELECT fmoe_create_domain('plays', 'plays', 'u', 'i', 't');
CALL fmoe_train('plays', '{"model": "markov"}');
ALTER TABLE plays ALTER i TYPE text USING 'i' || i;
SELECT * FROM fmoe_recommend_as(NULL::text, 1, 1, 'plays');
CALL fmoe_train('plays', '{"model": "markov"}');
SET client_min_messages = notice;
SELECT fmoe_alter_domain('plays', item_column => 'i');
SELECT * FROM fmoe_recommend_as(NULL::text, 1, 1, 'plays');
CALL fmoe_train('plays', '{"model": "markov"}');
SET client_min_messages = warning;
SELECT item_id FROM fmoe_recommend_as(NULL::text, 1, 2, 'plays') ORDER BY 1;
SELECT fmoe_deploy('plays', 1);
SELECT * FROM fmoe_recommend_as(NULL::text, 1, 1, 'plays');
SELECT fmoe_rollback('plays');
-- and back, to one that holds fewer numbers
ALTER TABLE plays ADD small smallint, ADD big bigint;
UPDATE plays SET small = substr(i, 2)::smallint, big = 100000 + substr(i, 2)::bigint;
SELECT fmoe_alter_domain('plays', item_column => 'big');
CALL fmoe_train('plays', '{"model": "markov"}');
SELECT fmoe_alter_domain('plays', item_column => 'small');
SELECT * FROM fmoe_recommend_as(NULL::text, 1, 1, 'plays');
CALL fmoe_train('plays', '{"model": "markov"}');
SELECT item_id FROM fmoe_recommend_as(NULL::text, 1, 2, 'plays') ORDER BY 1;

-- equal ids of different spelling: which one came first does not matter
CREATE TABLE spelled (u numeric, i numeric, d float8, t int);
INSERT INTO spelled SELECT (u || '.' || repeat('0', n))::numeric, ((u + n) % 5 || '.' || repeat('0', (u * n) % 4))::numeric,
	CASE WHEN (u + n) % 5 = 0 THEN CASE WHEN u % 2 = 0 THEN '-0'::float8 ELSE 0 END ELSE (u + n) % 5 END, n
	FROM generate_series(1, 9) u, generate_series(1, 3) n;
SELECT fmoe_fit(u, i, t, '{"model": "markov"}' ORDER BY u, i, t) = fmoe_fit(u, i, t, '{"model": "markov"}' ORDER BY -u, t, i) AS numeric,
	fmoe_fit(u, d, t, '{"model": "markov"}' ORDER BY u, t) = fmoe_fit(u, d, t, '{"model": "markov"}' ORDER BY t, -u) AS double FROM spelled;
SELECT array_agg(item_id::text ORDER BY item_id) FROM (SELECT fmoe_fit(u, i, t, '{"model": "popularity"}') AS model FROM spelled) m,
	fmoe_apply(model, ARRAY[]::numeric[], 10);

-- arrays are lists of ids
CREATE DOMAIN pair AS int[] CHECK (cardinality(VALUE) = 2);
CREATE TABLE arrays AS SELECT u, ARRAY[u] AS a, ARRAY[u, 1]::pair AS p, u AS t FROM generate_series(1, 9) u;
SELECT fmoe_create_domain('arrays', 'arrays', 'u', 'a', 't');
SELECT fmoe_create_domain('arrays', 'arrays', 'p', 'u', 't');
SELECT fmoe_fit(u, a, t) FROM arrays;
SELECT fmoe_drop_domain('moods'), fmoe_drop_domain('plays');
DROP SCHEMA ids_test CASCADE;
