-- The forms of the calls: which types go in and come out, whoever else has domains; and functions of a domain's own.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA forms_test;
SET search_path = forms_test, public;

-- user and item ids beyond the range of integer; text and uuid; types of neither kind, and of two kinds
CREATE TABLE films (viewer bigint, film bigint, at timestamptz);
INSERT INTO films SELECT u, 5000000000 + (u * 3 + n) % 20, timestamptz '2024-01-01 UTC' + n * interval '1 hour'
	FROM generate_series(1, 40) u, generate_series(1, 6) n;
CREATE TYPE mood AS ENUM ('m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6');
CREATE TABLE songs AS SELECT 'u' || viewer AS listener, md5(film::text)::uuid AS song, at FROM films;
CREATE TABLE notes AS SELECT viewer::smallint AS author, ('m' || film % 7)::mood AS mood, at FROM films;
CREATE TABLE pages AS SELECT md5(viewer::text)::uuid AS visitor, (film / 8.0)::numeric(20, 3) AS page, at FROM films;
CREATE FUNCTION learn(domain text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CALL fmoe_train(domain, '{"model": "markov", "holdout": "none", "deploy": false}');
	PERFORM fmoe_deploy(domain, 1);
END
$$;
SELECT fmoe_create_domain('films', 'films', 'viewer', 'film', 'at'), learn('films');

-- what is asked for decides
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend(1, 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend(1::smallint, 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend(1::bigint, 1, 'films');
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend('1', 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend('1'::varchar, 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend('1'::char(1), 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend(1, 1, exclude => ARRAY[1, 2], candidates => '{5000000010,1}');
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend('1', 1, exclude => '{5000000010}', candidates => ARRAY['5000000010', '5000000011']);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next(ARRAY[1, 5000000002], 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next(ARRAY[1, 2], 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next('{5000000002}', 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next(ARRAY['5000000002'], 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next('{5000000002}', 1, exclude => ARRAY[5000000003]);
SELECT item_id, pg_typeof(item_id) FROM fmoe_similar(5000000002, 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_similar('5000000002', 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_score(1, ARRAY[5, 6]);
SELECT item_id, pg_typeof(item_id) FROM fmoe_score(1, '{5000000002}');
SELECT item_id, pg_typeof(item_id) FROM fmoe_score('1', '{5000000002}');
SELECT item_id, pg_typeof(item_id), name FROM fmoe_explain(1, 1) WHERE part = 'expert';
SELECT item_id, pg_typeof(item_id), name FROM fmoe_explain('1', 1) WHERE part = 'expert';
SELECT user_id, pg_typeof(user_id), item_id, pg_typeof(item_id), source FROM fmoe_recommend_all('films', 1) WHERE user_id = '1';

-- parameters without a type, as drivers send them
PREPARE p1 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend($1, $2, $3, exclude => $4, candidates => $5, as_of => $6, version => $7);
EXECUTE p1 ('1', 1, 'films', '{1}', NULL, NULL, NULL);
PREPARE p2 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next($1, $2, exclude => $3);
EXECUTE p2 ('{5000000002}', 1, NULL);
PREPARE p3 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_similar($1, $2);
EXECUTE p3 ('5000000002', 1);
PREPARE p4 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_score($1, $2, $3);
EXECUTE p4 ('1', '{5000000002}', 'films');
PREPARE p5 AS SELECT count(*) FROM fmoe_explain($1, $2);
EXECUTE p5 ('1', 1);
PREPARE p6 AS SELECT user_id, item_id FROM fmoe_recommend_all($1, $2, users => $3, exclude => $4);
EXECUTE p6 ('films', 1, '{2,1,nobody}', '{}');
EXECUTE p6 ('films', 1, '{2,1,-1}', '{5000000012}');
PREPARE p7 AS SELECT fmoe_embedding($1, $2, $3);
EXECUTE p7 ('1', 'films', 'item');
PREPARE p8 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_as(NULL::numeric, $1, $2);
EXECUTE p8 ('1', 1);
PREPARE p9 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_score_as(NULL::numeric, $1, $2);
EXECUTE p9 ('1', '{5000000002}');
PREPARE p10 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next_as(NULL::numeric, $1, $2, exclude => $3);
EXECUTE p10 ('{5000000002}', 1, NULL);
PREPARE p11 AS SELECT item_id, pg_typeof(item_id) FROM fmoe_similar_as(NULL::numeric, $1, $2);
EXECUTE p11 ('5000000002', 1);
PREPARE p12 AS SELECT DISTINCT item_id, pg_typeof(item_id) FROM fmoe_explain_as(NULL::numeric, $1, $2);
EXECUTE p12 ('1', 1);
PREPARE p13 AS SELECT user_id, pg_typeof(user_id), item_id, pg_typeof(item_id) FROM fmoe_recommend_all_as(NULL::numeric, NULL::bigint, $1, $2, users => $3);
EXECUTE p13 ('films', 1, '{1}');

-- nobody else's domains change that, whatever a role without privileges registers, and whatever uses the call
PREPARE app AS SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend(1::bigint, 1, 'films');
CREATE VIEW dashboard AS SELECT item_id FROM fmoe_recommend(1::bigint, 2, 'films');
CREATE ROLE forms_joe;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO forms_joe;
CREATE TEMP TABLE before AS SELECT oid::regprocedure::text AS function, proacl::text FROM pg_proc WHERE proname ~ '^_?fmoe';
SET ROLE forms_joe;
SELECT fmoe_create_domain('zzz', 'pg_catalog.pg_stat_user_tables', 'seq_scan', 'relname', 'last_vacuum');
SELECT fmoe_create_domain('types', 'pg_catalog.pg_type', 'typlen', 'typname', 'typtypmod');
RESET ROLE;
EXECUTE app;
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend(1::bigint, 1, 'films');
SELECT * FROM dashboard;
SELECT pg_typeof(user_id), pg_typeof(item_id) FROM fmoe_recommend_all('films', 1) LIMIT 1;
SELECT * FROM before FULL JOIN (SELECT oid::regprocedure::text AS function, proacl::text FROM pg_proc WHERE proname ~ '^_?fmoe') after
	USING (function) WHERE before.proacl IS DISTINCT FROM after.proacl OR before.* IS NULL OR after.* IS NULL;

-- a call without a domain means the only one that the caller may use
CREATE ROLE forms_app;
GRANT USAGE ON SCHEMA forms_test TO forms_app;
GRANT SELECT ON films TO forms_app;
SELECT fmoe_create_domain('notes', 'notes', 'author', 'mood', 'at'), learn('notes');
REVOKE SELECT ON pg_type FROM PUBLIC;
SELECT fmoe_drop_domain('zzz');
SET ROLE forms_app;
SELECT domain FROM fmoe.domains;
SELECT item_id FROM fmoe_recommend(1, 1);
SET fmoe.domain = 'notes';
SELECT item_id FROM fmoe_recommend(1, 1);
RESET fmoe.domain;
SELECT item_id FROM fmoe_recommend(1, 1, 'notes');
RESET ROLE;
SELECT item_id FROM fmoe_recommend(1, 1);
GRANT SELECT ON pg_type TO PUBLIC;
SELECT fmoe_drop_domain('types');

-- the first argument is the user
SELECT fmoe_create_domain('songs', 'songs', 'listener', 'song', 'at'), learn('songs');
SET client_min_messages = notice;
SET fmoe.domain = 'songs';
SELECT count(*) FROM fmoe_recommend('songs', 3);
SELECT count(*) FROM fmoe_recommend('notes', 3);
SELECT count(*) FROM fmoe_recommend('nobody', 3);
INSERT INTO songs SELECT 'films', song, now() FROM songs LIMIT 1;
SELECT count(*) FROM fmoe_recommend('films', 3);
SET fmoe.domain = 'films';
SELECT count(*) FROM fmoe_recommend('films', 42);
SELECT count(*) FROM fmoe_explain('films', 42);
-- it tells nobody of domains that are not theirs
SET ROLE forms_app;
SELECT count(*) FROM fmoe_recommend('notes', 42);
RESET ROLE;
RESET fmoe.domain;
SET client_min_messages = warning;

-- types that cannot hold what is asked for are refused, whatever the ids
SELECT count(*) FROM fmoe_recommend(1, 1, 'songs');
SELECT count(*) FROM fmoe_recommend(md5('1')::uuid, 1, 'films');
SELECT count(*) FROM fmoe_recommend(md5('1')::uuid, 1, 'songs');
SELECT count(*) FROM fmoe_recommend_next(ARRAY[1], 1, 'songs');
SELECT count(*) FROM fmoe_similar(1, 1, 'notes');
SELECT count(*) FROM fmoe_explain(1, 1, 'notes');
SELECT count(*) FROM fmoe_score(1, ARRAY[1], 'songs');
SELECT fmoe_embedding(1, 'songs');
SELECT count(*) FROM fmoe_recommend('u1', 1, 'songs', exclude => ARRAY['x']);
SELECT count(*) FROM fmoe_recommend(1.0, 1, 'films');
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend('u1', 1, 'songs');
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_as(NULL::uuid, 'u1', 1, 'songs');
SELECT fmoe_create_domain('pages', 'pages', 'visitor', 'page', 'at'), learn('pages');
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend(md5('1'), 1, 'pages');
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_as(NULL::numeric, md5('1')::uuid, 1, 'pages', candidates => ARRAY[625000001.375, 2]);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_next_as(NULL::numeric, ARRAY[625000000.375], 1, 'pages');
SELECT item_id, pg_typeof(item_id) FROM fmoe_similar_as(NULL::mood, 'm1'::mood, 1, 'notes', exclude => ARRAY['m2']);
SELECT item_id, pg_typeof(item_id) FROM fmoe_score_as(NULL::mood, 1, '{m1,m5}', 'notes');
SELECT user_id, pg_typeof(user_id), item_id, pg_typeof(item_id) FROM fmoe_recommend_all_as(NULL::smallint, NULL::mood, 'notes', 1,
	exclude_seen => false, users => ARRAY['1', NULL, '-7'], exclude => '{m2}', candidates => ARRAY['m2', 'm3', 'm3', NULL]);
SELECT item_id FROM fmoe_recommend_as(NULL::numeric, md5('1'), 1, 'pages', candidates => 5);

-- a version by its number
INSERT INTO films SELECT 1, 5000000019, timestamptz '2024-02-01 UTC' + n * interval '1 hour' FROM generate_series(1, 3) n;
CALL fmoe_train('films', '{"model": "popularity", "holdout": "none", "deploy": false}');
SELECT v, array_agg(item_id) FROM generate_series(1, 2) v, LATERAL fmoe_recommend(2, 2, 'films', version => v) GROUP BY v ORDER BY v;
SELECT v, array_agg(item_id) FROM generate_series(1, 2) v, LATERAL fmoe_recommend_as(NULL::bigint, 2, 2, 'films', version => v) GROUP BY v ORDER BY v;
SELECT v, array_agg(item_id) FROM generate_series(1, 2) v, LATERAL fmoe_recommend_next(ARRAY[5000000002], 2, 'films', version => v) GROUP BY v ORDER BY v;
SELECT v, name FROM generate_series(1, 2) v, LATERAL fmoe_explain(2, 1, 'films', version => v) WHERE part = 'expert' ORDER BY v;
SELECT v, score > 1 AS popular FROM generate_series(1, 2) v, LATERAL fmoe_score(2, ARRAY[5000000019], 'films', version => v) ORDER BY v;
SELECT v, item_id FROM generate_series(1, 2) v, LATERAL fmoe_recommend_all('films', 1, users => '{2}', version => v) ORDER BY v;
SELECT v, item_id FROM generate_series(1, 2) v, LATERAL fmoe_similar(5000000002, 1, 'films', version => v) ORDER BY v;
SELECT fmoe_embedding(5000000002, 'films', version => 2);
SELECT count(*) FROM fmoe_recommend(2, 2, 'films', version => 3);
SELECT count(*) FROM fmoe_recommend(2, 2, 'films', version => 0);
-- one that is asked for answers whole, one that stands in for what is not live only by its counts
SELECT fmoe_create_domain('quiet', 'films', 'viewer', 'film', 'at');
CALL fmoe_train('quiet', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT a.source, b.source, cardinality(fmoe_embedding(5000000002, 'quiet', version => 1)) FROM fmoe_recommend(2, 1, 'quiet') a, fmoe_recommend(2, 1, 'quiet', version => 1) b;
SELECT fmoe_embedding(5000000002, 'quiet');
SELECT fmoe_drop_domain('quiet');

-- default privileges of the moment do not matter, and what is revoked stays revoked
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT SELECT ON notes TO forms_joe;
GRANT USAGE ON SCHEMA forms_test TO forms_joe;
SET ROLE forms_joe;
SELECT fmoe_create_domain('more', 'forms_test.notes', 'author', 'mood', 'at');
SELECT count(*) FROM fmoe_recommend('1', 1, 'notes');
SELECT count(*) FROM fmoe_recommend_all('notes', 1);
SELECT count(*) FROM fmoe_recommend_as(NULL::mood, 1, 1, 'notes');
SELECT fmoe_drop_domain('more');
RESET ROLE;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
BEGIN;
REVOKE EXECUTE ON FUNCTION fmoe_recommend(bigint, integer, text, boolean, bigint[], bigint[], timestamptz, integer, text) FROM PUBLIC;
SELECT fmoe_create_domain('other', 'songs', 'listener', 'song', 'at'), fmoe_drop_domain('other');
SELECT has_function_privilege('forms_app', 'fmoe_recommend(bigint, integer, text, boolean, bigint[], bigint[], timestamptz, integer, text)', 'EXECUTE');
ROLLBACK;

-- functions of a domain's own: its types, made and owned by the caller
GRANT CREATE ON SCHEMA forms_test TO forms_app;
GRANT SELECT ON songs TO forms_app;
SET ROLE forms_app;
SELECT fmoe_create_functions('songs');
SELECT p.oid::regprocedure, pg_get_function_result(p.oid) AS result FROM pg_proc p
	WHERE p.pronamespace = 'forms_test'::regnamespace AND p.proname LIKE 'songs%' ORDER BY 1::text;
SELECT count(*), bool_and(proowner = 'forms_app'::regrole), bool_and(obj_description(oid, 'pg_proc') LIKE '%made by%') FROM pg_proc
	WHERE pronamespace = 'forms_test'::regnamespace AND proname LIKE 'songs%';
SELECT item_id, pg_typeof(item_id), source FROM songs_recommend('u1', 1);
SELECT item_id FROM songs_recommend('u1', 2, exclude => ARRAY(SELECT item_id FROM songs_recommend('u1', 1)), candidates => NULL, version => 1);
SELECT count(*) FROM songs_next(ARRAY(SELECT song FROM songs WHERE listener = 'u1' ORDER BY at), 3);
SELECT count(*), bool_and(s.score = r.score) FROM songs_recommend('u1', 5) r, LATERAL songs_score('u1', ARRAY[r.item_id]) s;
SELECT count(*) FROM songs_similar(md5('5000000002')::uuid, 3);
SELECT part, count(*) FROM songs_explain('u1', 1) GROUP BY part ORDER BY part;
SELECT user_id, rank, pg_typeof(item_id), source FROM songs_all(1, users => ARRAY['u1', 'nobody']);
-- inlined
EXPLAIN (COSTS OFF) SELECT * FROM songs_recommend('u1', 1);
-- an array of another type, an id of another type
SELECT count(*) FROM songs_next('{}');
SELECT count(*) FROM songs_recommend(1);
-- they follow the domain when it is renamed
RESET ROLE;
SELECT fmoe_alter_domain('songs', new_name => 'tunes');
SELECT fmoe_create_domain('songs', 'notes', 'author', 'mood', 'at');
SET ROLE forms_app;
SELECT pg_typeof(item_id) FROM songs_recommend('u1', 1);
-- a name that is taken, one that is too long: nothing is made
SELECT fmoe_create_functions('tunes', 'songs');
CREATE FUNCTION tunes_similar() RETURNS integer LANGUAGE sql RETURN 1;
SELECT fmoe_create_functions('tunes');
SELECT fmoe_create_functions('tunes', repeat('x', 54));
SELECT fmoe_create_functions('tunes', '');
SELECT proname FROM pg_proc WHERE pronamespace = 'forms_test'::regnamespace AND proname ~ '^(tunes|x)';
SELECT fmoe_drop_functions('tunes');
DROP FUNCTION tunes_similar();
SELECT fmoe_create_functions('tunes', repeat('x', 53));
SELECT fmoe_create_functions('tunes', 'My "tunes"; --');
SELECT count(*) FROM "My ""tunes""; --_recommend"('u1', 2);
SELECT fmoe_drop_functions('tunes', 'My "tunes"; --'), fmoe_drop_functions('tunes', repeat('x', 53));
-- where the caller may not create, may not use, or does not own
\set SHOW_CONTEXT never
SET search_path = public, forms_test;
SELECT fmoe_create_functions('tunes', 'forms_test');
SET search_path = '';
SELECT public.fmoe_create_functions('tunes', 'forms_test');
SET search_path = forms_test, public;
SELECT fmoe_create_functions('notes');
SET ROLE forms_joe;
SELECT * FROM songs_recommend('u1', 1);
SELECT fmoe._domain_name(0);
RESET ROLE;
GRANT SELECT ON songs TO forms_joe;
SET ROLE forms_joe;
SELECT pg_typeof(item_id) FROM songs_recommend('u1', 1);
SELECT fmoe_drop_functions('tunes', 'songs');
SET ROLE forms_app;
SELECT fmoe_drop_functions('tunes', 'notes');
\set SHOW_CONTEXT errors
-- types with quoted names and those that SQL spells in two words
RESET ROLE;
CREATE TYPE "Odd; type" AS ENUM ('a', 'b');
CREATE TABLE odd AS SELECT (u % 3)::text::varchar(5) AS "User", (CASE u % 2 WHEN 0 THEN 'a' ELSE 'b' END)::"Odd; type" AS item, u AS at FROM generate_series(1, 9) u;
SELECT fmoe_create_domain('odd', 'odd', 'User', 'item', 'at'), learn('odd'), fmoe_create_functions('odd');
SET search_path = pg_catalog;
SELECT item_id, pg_catalog.pg_typeof(item_id) FROM forms_test.odd_recommend('1', 1, exclude_seen => false, candidates => '{a,b}');
SELECT user_id, pg_typeof(user_id) FROM forms_test.odd_all(1, exclude_seen => false, users => ARRAY['2']);
SET search_path = forms_test, public;
-- when their domain is gone
SELECT fmoe_drop_domain('odd');
SELECT * FROM odd_recommend('1');
-- they go with the extension
BEGIN;
DROP VIEW dashboard;
DROP EXTENSION fmoe;
SELECT count(*) FROM pg_proc WHERE proname ~ '^(fmoe|songs_|odd_)';
ROLLBACK;
SELECT fmoe_drop_functions('tunes', 'songs');
SELECT count(*) FROM pg_proc WHERE proname ~ '^songs_';

DEALLOCATE ALL;
SELECT fmoe_drop_domain(domain) FROM fmoe.domains;
DROP SCHEMA forms_test CASCADE;
DROP OWNED BY forms_joe, forms_app;
DROP ROLE forms_joe, forms_app;
