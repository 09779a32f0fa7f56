-- Loaded versions: fmoe.cache, fmoe_prewarm, ids of all kinds in shared memory.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA cache_test;
CREATE TABLE cache_test.plays (listener integer, track bigint, at integer);
INSERT INTO cache_test.plays SELECT l, (l * 3 + n * (1 + l % 4)) % 20 + 1, n FROM generate_series(1, 30) l, generate_series(1, 6) n;
SELECT fmoe_create_domain('plays', 'cache_test.plays', 'listener', 'track', 'at');

SHOW fmoe.shared_cache_size;
SET fmoe.shared_cache_size = '1MB';

-- what there is to load
SELECT fmoe_prewarm('nowhere');
SELECT fmoe_prewarm('plays');
CALL fmoe_train('plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
CALL fmoe_train('plays', '{"model": "markov", "deploy": false}');
SELECT fmoe_prewarm('plays');
SELECT fmoe_prewarm('plays', 0);
SELECT fmoe_prewarm('plays', 3);
SELECT count(*) FROM fmoe.cache WHERE domain = 'plays';

-- it is loaded once; who finds it loaded is a hit
SELECT fmoe_prewarm('plays', 1) = (SELECT bytes FROM fmoe.cache WHERE domain = 'plays') AS bytes;
SELECT bytes > (SELECT bytes FROM fmoe.versions v WHERE v.domain = 'plays' AND v.version = c.version) AS bytes,
	version, place, hits, sessions, active, loaded_at > now() - interval '1 hour' AS loaded_at
	FROM fmoe.cache c WHERE domain = 'plays';
SELECT fmoe_deploy('plays', 1);
SELECT count(*) FROM fmoe_recommend(1, 5, 'plays');
SELECT count(*) FROM generate_series(1, 30) listener, LATERAL fmoe_recommend(listener, 5, 'plays');
SELECT fmoe_prewarm('plays') > 0, fmoe_prewarm('plays', 2) > 0;
SELECT version, place, hits, sessions FROM fmoe.cache WHERE domain = 'plays' ORDER BY version;
BEGIN;
DECLARE c CURSOR FOR SELECT item_id FROM fmoe_recommend(1, 5, 'plays');
MOVE 1 FROM c;
SELECT version, active FROM fmoe.cache WHERE domain = 'plays' ORDER BY version;
COMMIT;
SELECT version, active FROM fmoe.cache WHERE domain = 'plays' ORDER BY version;

-- a new session finds it there
\c
SET client_min_messages = warning;
SELECT count(*) FROM fmoe_recommend(2, 5, 'plays');
SELECT version, place, hits FROM fmoe.cache WHERE domain = 'plays' ORDER BY version;

-- to use is to load; others neither load nor see
CREATE ROLE cache_stranger;
SET ROLE cache_stranger;
SELECT fmoe_prewarm('plays', 1);
SELECT count(*) FROM fmoe.cache;
RESET ROLE;
GRANT USAGE ON SCHEMA cache_test TO cache_stranger;
GRANT SELECT ON cache_test.plays TO cache_stranger;
SET ROLE cache_stranger;
SELECT fmoe_prewarm('plays', 1) > 0;
SELECT count(*) FROM fmoe.cache;
RESET ROLE;
DROP OWNED BY cache_stranger;
DROP ROLE cache_stranger;

-- what is dropped need not stay, and nothing is lost when it is not dropped after all
BEGIN;
SELECT fmoe_drop_version('plays', 2);
SELECT count(*) FROM fmoe._cache();
ROLLBACK;
SELECT fmoe_prewarm('plays', 2) > 0;
SELECT version, place, hits FROM fmoe.cache WHERE domain = 'plays' ORDER BY version;
SELECT fmoe_drop_version('plays', 2);
SELECT version, place FROM fmoe.cache WHERE domain = 'plays' ORDER BY version;

-- a query goes on with what is dropped under it
BEGIN;
DECLARE c CURSOR FOR SELECT item_id FROM fmoe_recommend(1, 20, 'plays', exclude_seen => false);
MOVE 3 FROM c;
SELECT fmoe_drop_domain('plays');
SELECT place, sessions, active FROM fmoe._cache();
MOVE ALL FROM c;
COMMIT;
SELECT place, sessions, active FROM fmoe._cache();

-- ids of every kind of storage: tracks by any other name have the same neighbours
CREATE TYPE cache_test.mood AS ENUM ('sad', 'so so', 'happy', 'mad', 'blue', 'glad', 'cross');
CREATE FUNCTION cache_test.check_type(expression text, OUT type regtype, OUT places text, OUT neighbours text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE cache_test.typed AS SELECT listener, %s AS item, track, at
		FROM (SELECT listener, track %% 7 AS track, at FROM cache_test.plays) p', expression);
	PERFORM fmoe_create_domain('typed', 'cache_test.typed', 'listener', 'item', 'at');
	CALL fmoe_train('typed', '{"model": "markov", "deploy": false}');
	PERFORM fmoe_deploy('typed', 1);
	EXECUTE 'WITH name AS (SELECT DISTINCT item, track FROM cache_test.typed),
			pair AS (SELECT a.track, b.track AS near FROM name a, LATERAL fmoe_similar_as(a.item, a.item, 2, $1) s JOIN name b ON b.item = s.item_id)
		SELECT (SELECT min(pg_typeof(item)::text) FROM name)::regtype, string_agg(format($2, track, near), $3 ORDER BY track, near) FROM pair'
		INTO type, neighbours USING 'typed', '%s-%s', ' ';
	SELECT string_agg(place, ', ') INTO places FROM fmoe.cache WHERE domain = 'typed';
	PERFORM fmoe_drop_domain('typed');
	DROP TABLE cache_test.typed;
END
$$;
SELECT * FROM cache_test.check_type('track::smallint');
SELECT * FROM cache_test.check_type('track');
SELECT * FROM cache_test.check_type($$date '2024-01-01' + track::integer$$);
SELECT * FROM cache_test.check_type('track::real');
SELECT * FROM cache_test.check_type($$(enum_range(NULL::cache_test.mood))[track + 1]$$);
SELECT * FROM cache_test.check_type($$repeat('long and ', track::integer * 20) || track$$);
SELECT * FROM cache_test.check_type('track::numeric / 8');
SELECT * FROM cache_test.check_type($$md5(track::text)::uuid$$);
SELECT * FROM cache_test.check_type($$interval '1 hour' * track$$);
SELECT * FROM cache_test.check_type($$to_jsonb(track)$$);
SELECT * FROM cache_test.check_type($$track::text::name$$);

DROP SCHEMA cache_test CASCADE;
