-- Recommendations for every user: what fmoe_recommend says to each, by every kind of scan.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA recommend_all_test;

SELECT * FROM fmoe_recommend_all('films');

-- 600 users on 3000 items, some users with items that no other has, one with a history of 5000 events
CREATE TABLE recommend_all_test.plays (listener bigint, song integer, at integer, liked boolean);
INSERT INTO recommend_all_test.plays
	SELECT u, CASE WHEN j % 3 = 0 THEN (u * 5 + j) % 3000 ELSE (u * u + j * 37 + u * j) % 200 END, j, true
	FROM generate_series(1, 600) u, generate_series(0, u % 40) j;
INSERT INTO recommend_all_test.plays SELECT 7, j * 11 % 3000, 100 + j % 900, true FROM generate_series(1, 5000) j;
CREATE INDEX ON recommend_all_test.plays (listener, at);
SELECT fmoe_create_domain('plays', 'recommend_all_test.plays', 'listener', 'song', 'at', label_column => 'liked');
SELECT * FROM fmoe_recommend_all('plays');
CALL fmoe_train('plays', '{"model": "sasrec", "epochs": 1, "width": 32, "seed": 5, "holdout": "none", "max_length": 30}');
-- what the version does not know, what does not count
INSERT INTO recommend_all_test.plays VALUES
	(-1, 100001, 1, true), (-2, 100002, 1, true), (-2, 5, 2, true), (-3, 5, 1, false), (NULL, 5, 1, true),
	(-4, NULL, 1, true), (-5, 5, NULL, true), (-6, 5, 1, NULL);

CREATE TEMP TABLE nightly AS SELECT * FROM fmoe_recommend_all_as(NULL::bigint, NULL::integer, 'plays', 10);
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
	WHERE attrelid = 'nightly'::regclass AND attnum > 0 ORDER BY attnum;
SELECT count(*), count(DISTINCT user_id), min(rank), max(rank), min(user_id) FROM nightly;

-- user by user the same as fmoe_recommend says, to the last bit
CREATE TEMP TABLE single AS
	SELECT u.user_id, r.item_id, r.score, r.source, row_number() OVER (PARTITION BY u.user_id ORDER BY r.score DESC, r.item_id) AS rank
	FROM (SELECT DISTINCT user_id FROM nightly) u, LATERAL fmoe_recommend(u.user_id, 10) r;
SELECT count(*) AS differences FROM nightly FULL JOIN single USING (user_id, rank, item_id, score, source)
	WHERE nightly.* IS NULL OR single.* IS NULL;
SELECT source, count(*) FROM single GROUP BY 1 ORDER BY 1;
-- nothing that was seen, unless it may be
SELECT count(*) FROM nightly n JOIN recommend_all_test.plays p ON p.listener = n.user_id AND p.song = n.item_id;
SELECT count(*) > 0 FROM fmoe_recommend_all_as(NULL::bigint, NULL::integer, 'plays', 10, exclude_seen => false) n
	JOIN recommend_all_test.plays p ON p.listener = n.user_id AND p.song = n.item_id AND p.liked;
SELECT count(*) AS differences FROM fmoe_recommend_all_as(NULL::bigint, NULL::integer, 'plays', 3, false) n FULL JOIN
		(SELECT u.user_id, r.item_id, r.score FROM (SELECT DISTINCT listener AS user_id FROM recommend_all_test.plays
				WHERE listener IS NOT NULL) u,
			LATERAL fmoe_recommend(u.user_id, 3, exclude_seen => false) r) s USING (user_id, item_id, score)
	WHERE n.* IS NULL OR s.* IS NULL;
-- k larger than the catalogue; listener 7 has heard everything
SELECT user_id, count(*), count(DISTINCT item_id) FROM fmoe_recommend_all_as(NULL::bigint, NULL::integer, 'plays', 100000) WHERE user_id IN (6, 7) GROUP BY 1;

-- every scan gives the same rows, of all items and of candidates
SET fmoe.scan = exact;
CREATE TEMP TABLE exact AS
	SELECT u, r.* FROM generate_series(1, 600, 7) u, LATERAL fmoe_recommend(u::bigint, 20) r;
CREATE TEMP TABLE exact_few AS
	SELECT u, r.* FROM generate_series(1, 600, 7) u, LATERAL fmoe_recommend(u::bigint, 20,
		candidates => ARRAY(SELECT generate_series(u % 100, 2999, 100))) r;
SET fmoe.scan = int8;
SELECT count(*) AS differences FROM exact FULL JOIN
		(SELECT u, r.* FROM generate_series(1, 600, 7) u, LATERAL fmoe_recommend(u::bigint, 20) r) coded
		USING (u, item_id, score) WHERE exact.* IS NULL OR coded.* IS NULL;
SELECT count(*) AS differences FROM exact_few FULL JOIN
		(SELECT u, r.* FROM generate_series(1, 600, 7) u, LATERAL fmoe_recommend(u::bigint, 20,
			candidates => ARRAY(SELECT generate_series(u % 100, 2999, 100))) r) coded
		USING (u, item_id, score) WHERE exact_few.* IS NULL OR coded.* IS NULL;
SELECT count(*), bool_and(item_id % 100 = u % 100) FROM exact_few;
-- many candidates, given twice
SELECT count(*), count(DISTINCT item_id), bool_and(item_id % 2 = 0) FROM fmoe_recommend(1::bigint, 20,
	candidates => ARRAY(SELECT generate_series(0, 2998, 2)) || ARRAY(SELECT generate_series(0, 2998, 2)));
SET fmoe.scan = fastest;
RESET fmoe.scan;

-- what it would take is said before anything is read, and is enough
CREATE FUNCTION recommend_all_test.needed(k integer) RETURNS text LANGUAGE plpgsql SET fmoe.max_memory = '1MB' AS $$
DECLARE
	hint text;
BEGIN
	PERFORM fmoe_recommend_all('plays', k);
	RETURN 'nothing';
EXCEPTION WHEN program_limit_exceeded THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE NOTICE '%', regexp_replace(SQLERRM, '\d+', 'N');
	RETURN substring(hint, 'to at least .(\d+MB)');
END $$;
SET client_min_messages = notice;
SELECT recommend_all_test.needed(3000) AS needed \gset
SET client_min_messages = warning;
SELECT pg_size_bytes(:'needed') BETWEEN pg_size_bytes('12MB') AND pg_size_bytes('24MB') AS needed;
SET fmoe.max_memory = :'needed';
SELECT count(*) FROM fmoe_recommend_all('plays', 3000, exclude_seen => false);
SET fmoe.max_memory = '8MB';
SELECT count(*) FROM fmoe_recommend_all('plays', 3000, users => '{1,2}', exclude_seen => false);
SELECT count(*) FROM fmoe_recommend_all('plays', 3);
RESET fmoe.max_memory;

-- forms: chosen types, text, in the select list, with a LIMIT
SELECT pg_typeof(user_id), pg_typeof(item_id) FROM fmoe_recommend_all_as(NULL::text, NULL::bigint, 'plays', 1) LIMIT 1;
SELECT (fmoe_recommend_all_as(NULL::bigint, NULL::text, k => 1)).user_id LIMIT 1;
SELECT user_id, pg_typeof(user_id), rank, pg_typeof(item_id) FROM fmoe_recommend_all('plays'::text, 2) LIMIT 3;
SELECT count(*) FROM fmoe_recommend_all(k => 1);
SELECT count(*) FROM fmoe_recommend_all('plays'::name, 1);
SELECT count(*) FROM fmoe_recommend_all_as(NULL::smallint, NULL::uuid, 'plays', 1);
SELECT count(*) FROM fmoe_recommend_all('plays', 0);
SELECT count(*) FROM fmoe_recommend_all('nowhere');

-- nothing live: what counting says
DELETE FROM fmoe.deployment;
CREATE TEMP TABLE counted AS SELECT * FROM fmoe_recommend_all_as(NULL::bigint, NULL::integer, 'plays', 5);
SELECT count(*) AS differences FROM counted FULL JOIN
		(SELECT u.user_id, r.item_id, r.score FROM (SELECT DISTINCT user_id FROM counted) u,
			LATERAL fmoe_recommend(u.user_id, 5) r) s USING (user_id, item_id, score)
	WHERE counted.* IS NULL OR s.* IS NULL;
SELECT fmoe_deploy('plays', 1);

-- the caller reads the table: row-level security holds, privileges are needed
CREATE ROLE recommend_all_reader;
GRANT USAGE ON SCHEMA recommend_all_test TO recommend_all_reader;
SET ROLE recommend_all_reader;
SELECT count(*) FROM fmoe_recommend_all('plays');
RESET ROLE;
GRANT SELECT ON recommend_all_test.plays TO recommend_all_reader;
ALTER TABLE recommend_all_test.plays ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON recommend_all_test.plays TO recommend_all_reader USING (listener <= 3);
SET ROLE recommend_all_reader;
SELECT user_id, count(*) FROM fmoe_recommend_all_as(NULL::bigint, NULL::integer, 'plays') GROUP BY 1 ORDER BY 1;
RESET ROLE;
ALTER TABLE recommend_all_test.plays DISABLE ROW LEVEL SECURITY;

SELECT fmoe_drop_domain('plays');
DROP SCHEMA recommend_all_test CASCADE;
DROP ROLE recommend_all_reader;
