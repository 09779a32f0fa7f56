-- Recommendations: what is answered, from what, in which order, and what is refused.
-- Exact rows come from the expert that only counts; learnt ones are checked by their properties.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA recommend_test;
CREATE TABLE recommend_test.visits (customer text, product bigint, at timestamptz);
INSERT INTO recommend_test.visits
	SELECT customer, product, timestamptz '2024-01-01 UTC' + number * interval '1 hour'
	FROM (VALUES ('ann', '{1,2,3,4}'::bigint[]), ('bob', '{1,2,3,5}'), ('cat', '{1,2,4}'), ('dan', '{2,3,4}'),
		('eve', '{3,4}'), ('flo', '{5}'), ('gil', '{6,7}')) h (customer, products),
		unnest(products) WITH ORDINALITY p (product, number);
SELECT fmoe_create_domain('visits', 'recommend_test.visits', 'customer', 'product', 'at');
SET fmoe.domain = 'visits';

-- nothing trained yet
SELECT * FROM fmoe_recommend_as(NULL::bigint, 'ann');

CALL fmoe_train('visits', '{"model": "markov", "holdout": "none", "deploy": false}');

-- nothing live: the count experts of the newest version
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann');
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'nobody', 3);

-- the better of the two, as training measured them (versions never change, so a cached one would not be read again)
BEGIN;
SET LOCAL fmoe.cache_size = 0;
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann', 1);
UPDATE fmoe.version SET metrics = '{"popularity": {"ndcg@10": 0.3}, "markov": {"ndcg@10": 0.2}}' WHERE version = 1;
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann', 1);
UPDATE fmoe.version SET metrics = '{"popularity": {"ndcg@10": 0.2}, "markov": {"ndcg@10": 0.3}}' WHERE version = 1;
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann', 1);
ROLLBACK;

SELECT fmoe_deploy('visits', 1);

-- by what followed the last item, then by popularity, then by id
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann');
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'bob', exclude_seen => false);
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'flo', 3);
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'nobody');
SELECT item_id, score = lag(score) OVER () AS tie FROM fmoe_recommend_as(NULL::bigint, 'nobody');

-- forms: ids as text, in the domain's own type, in another; in FROM, LATERAL and the select list
SELECT item_id, pg_typeof(item_id), pg_typeof(score), pg_typeof(source)
	FROM fmoe_recommend_as(NULL::text, 'eve', 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_as(NULL::smallint, 'eve', 1);
SELECT item_id, pg_typeof(item_id) FROM fmoe_recommend_as(NULL::numeric, 'eve'::varchar, 1);
SELECT v.customer, r.item_id, r.source
	FROM (SELECT DISTINCT customer FROM recommend_test.visits) v,
		LATERAL fmoe_recommend_as(NULL::bigint, v.customer, 2) r ORDER BY 1, 2;
SELECT customer, (r).item_id, (r).source
	FROM (SELECT customer, fmoe_recommend_as(NULL::bigint, customer, 2) AS r
		FROM (SELECT DISTINCT customer FROM recommend_test.visits) v) s ORDER BY 1, 2;
SELECT count(*) FROM (SELECT fmoe_recommend(customer, 10) FROM (SELECT DISTINCT customer FROM recommend_test.visits) v) r;
-- a set that is not read to its end, then the next one
SELECT customer, (SELECT item_id FROM fmoe_recommend_as(NULL::bigint, customer) LIMIT 1)
	FROM (VALUES ('ann'), ('flo'), ('nobody'), (NULL), ('gil')) v (customer);
SELECT customer, (fmoe_recommend_as(NULL::bigint, customer, 3)).item_id
	FROM (VALUES ('ann'), (NULL), ('flo')) v (customer) LIMIT 4;
PREPARE top (text, int) AS SELECT item_id FROM fmoe_recommend_as(NULL::bigint, $1, $2);
EXECUTE top ('eve', 2);
EXECUTE top ('flo', 2);
DEALLOCATE top;

-- exclude and candidates: unknown ids, NULLs and repetitions do no harm, any array of ids will do
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', exclude => ARRAY[2, 2, NULL, 99]::bigint[]);
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', candidates => ARRAY[7, 99, 6, 1, NULL, 7, 4]::bigint[]);
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', 2, candidates => ARRAY[[7, 6], [1, 2]]::bigint[]);
SELECT item_id FROM fmoe_recommend_as(NULL::text, 'eve', exclude => ARRAY['5'], candidates => ARRAY['5', '6']);
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', exclude => '{5,6}', candidates => ARRAY[5, 6, 7]);
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', exclude => ARRAY['2']);
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', exclude => 2);
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', exclude => '2');
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', exclude_seen => false, candidates => ARRAY[3, 4]::bigint[]);
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 'eve', candidates => '{}'::bigint[]);
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 'eve', exclude => ARRAY[1, 2, 3, 4, 5, 6, 7]::bigint[]);

-- k: NULL is 10, more than there are gives what there is
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 'nobody', NULL);
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 'nobody', 2147483647);
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 'nobody', 0);
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 'nobody', -1);

-- NULLs
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, NULL);
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, NULL::text);
SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 'eve', 2, NULL, NULL, NULL, NULL, NULL);

-- as_of: the history up to a moment
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann', 2, as_of => '2024-01-01 02:00 UTC');
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann', 2, as_of => '2024-01-01 00:59 UTC');
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann', 2, as_of => 'infinity');
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ann', 2, as_of => '-infinity');

-- a new event counts with the next call; an item the version does not know is passed over
INSERT INTO recommend_test.visits VALUES ('hal', 2, '2024-02-01 UTC');
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'hal', 3);
INSERT INTO recommend_test.visits VALUES ('hal', 99, '2024-02-02 UTC'), ('ian', 99, '2024-02-02 UTC');
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'hal', 3);
SELECT item_id, source FROM fmoe_recommend_as(NULL::bigint, 'ian', 3);
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 'ian', candidates => ARRAY[99]::bigint[]);

-- a history that is in no table
SELECT item_id, source FROM fmoe_recommend_next(ARRAY[1, 2]::bigint[], 3);
SELECT item_id, pg_typeof(item_id), source FROM fmoe_recommend_next(ARRAY['2'], 1);
SELECT item_id, source FROM fmoe_recommend_next(ARRAY[2, NULL, 99, 6, 98]::bigint[], 2, exclude => ARRAY[3]::bigint[]);
SELECT item_id, source FROM fmoe_recommend_next(ARRAY[2]::bigint[], 2, exclude_seen => false, candidates => ARRAY[2, 3]::bigint[]);
SELECT item_id, source FROM fmoe_recommend_next('{}'::bigint[], 2);
SELECT item_id, source FROM fmoe_recommend_next(ARRAY[98, 99]::bigint[], 2);
SELECT count(*) FROM fmoe_recommend_next(NULL::bigint[]);

-- ids that are none
SELECT * FROM fmoe_recommend_as(NULL::bigint, 'eve', candidates => ARRAY[1]::bigint[], domain => 'no such');
SELECT * FROM fmoe_recommend_next(ARRAY['one']);
SELECT * FROM fmoe_recommend_as(NULL::date, 'eve');

-- learnt models, other id types
CREATE TABLE recommend_test.plays (listener integer, song uuid, at date);
INSERT INTO recommend_test.plays
	SELECT u, md5(((u * 5 + s) % 60)::text)::uuid, date '2024-01-01' + s
	FROM generate_series(1, 80) u, generate_series(1, 10) s;
SELECT fmoe_create_domain('plays', 'recommend_test.plays', 'listener', 'song', 'at');
SET fmoe.domain = 'plays';
CALL fmoe_train('plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "max_length": 5, "deploy": false}');
CALL fmoe_train('plays', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 2, "deploy": false}');

CREATE FUNCTION recommend_test.check_version(wanted integer) RETURNS TABLE (property text, holds boolean)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM fmoe_deploy('plays', wanted);
	RETURN QUERY SELECT 'ten rows from the model', count(*) = 10 AND bool_and(source = 'model')
		FROM fmoe_recommend_as(NULL::uuid, 1);
	RETURN QUERY SELECT 'all that was not seen', count(*) = 50 AND count(DISTINCT item_id) = 50
		FROM fmoe_recommend_as(NULL::uuid, 1, 1000);
	RETURN QUERY SELECT 'nothing that was seen', NOT EXISTS (
		SELECT item_id FROM fmoe_recommend_as(NULL::uuid, 1, 1000)
		INTERSECT SELECT song FROM recommend_test.plays WHERE listener = 1);
	RETURN QUERY SELECT 'by score, then id', bool_and(score < before OR (score = before AND item_id > id_before))
		FROM (SELECT item_id, score, lag(score) OVER () AS before, lag(item_id) OVER () AS id_before
			FROM fmoe_recommend_as(NULL::uuid, 1, 1000)) r WHERE before IS NOT NULL;
	RETURN QUERY SELECT 'candidates rank as they do among all', array_agg(item_id) = (
			SELECT array_agg(item_id) FROM fmoe_recommend_as(NULL::uuid, 1, 1000)
			WHERE item_id IN (md5('50')::uuid, md5('40')::uuid, md5('30')::uuid))
		FROM fmoe_recommend_as(NULL::uuid, 1, candidates => ARRAY[md5('30'), md5('40'), md5('50'), md5('60')]::uuid[]);
	RETURN QUERY SELECT 'one candidate', count(*) = 1
		FROM fmoe_recommend_as(NULL::uuid, 1, candidates => ARRAY[md5('30')::uuid]);
	RETURN QUERY SELECT 'the history given is the history stored', array_agg(n) = (
			SELECT array_agg(r) FROM fmoe_recommend_as(NULL::uuid, 7, 5) r)
		FROM fmoe_recommend_next((SELECT array_agg(song ORDER BY at) FROM recommend_test.plays WHERE listener = 7), 5) n;
	RETURN QUERY SELECT 'one by one as all at once', bool_and(r.top = (
			SELECT array_agg(s.item_id) FROM fmoe_recommend_as(NULL::uuid, r.u, 5) s))
		FROM (SELECT u, array_agg(item_id) AS top
			FROM generate_series(1, 80) u, LATERAL fmoe_recommend_as(NULL::uuid, u, 5) GROUP BY u) r;
	RETURN QUERY SELECT 'text ids', array_agg(item_id) = (
			SELECT array_agg(item_id::text) FROM fmoe_recommend_as(NULL::uuid, 1))
		FROM fmoe_recommend_as(NULL::text, '1');
END
$$;
SELECT * FROM recommend_test.check_version(1);
SELECT * FROM recommend_test.check_version(2);

-- the type of the user's id
SELECT count(*) FROM fmoe_recommend_as(NULL::uuid, 1::bigint);
SELECT count(*) FROM fmoe_recommend_as(NULL::uuid, ' 1 ');
SELECT count(*) FROM fmoe_recommend_as(NULL::uuid, 5000000000);
SELECT count(*) FROM fmoe_recommend_as(NULL::uuid, 'alice');
SELECT count(*) FROM fmoe_recommend_as(NULL::bigint, 1);
SELECT count(*) FROM fmoe_recommend_as(NULL::uuid, NULL::date);
SELECT count(*) FROM fmoe_recommend_as(NULL::uuid, date '2024-01-01');
SELECT count(*) FROM fmoe_recommend_as(NULL::uuid, 1, exclude => ARRAY['no uuid']);

-- a table of one row, then none
CREATE TABLE recommend_test.single AS SELECT 'ann'::text AS customer, 'tea'::text AS product, now() AS at;
SELECT fmoe_create_domain('single', 'recommend_test.single', 'customer', 'product', 'at');
CALL fmoe_train('single', '{"model": "markov", "deploy": false}');
SELECT fmoe_deploy('single', 1);
SELECT * FROM fmoe_recommend_as(NULL::text, 'ann', domain => 'single');
SELECT item_id, source FROM fmoe_recommend_as(NULL::text, 'ann', domain => 'single', exclude_seen => false);
SELECT item_id, source FROM fmoe_recommend_as(NULL::text, 'bob', domain => 'single');
SELECT count(*) FROM fmoe_similar('tea', 10, 'single');
TRUNCATE recommend_test.single;
SELECT item_id, source FROM fmoe_recommend_as(NULL::text, 'ann', domain => 'single');
SELECT fmoe_drop_domain('single');

-- two domains in one statement, and a cache too small for either
SET fmoe.cache_size = 0;
SELECT d, count(*) FROM (VALUES ('visits'), ('plays'), ('visits')) v (d), LATERAL fmoe_recommend_as(NULL::text, '1', 3, d) GROUP BY d ORDER BY d;
SELECT count(*) FROM fmoe_recommend_as(NULL::text, '1', 3, 'visits') a, fmoe_recommend_as(NULL::text, '1', 3, 'plays') b;
SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'fmoe model';
RESET fmoe.cache_size;

RESET fmoe.domain;
SELECT fmoe_drop_domain('visits'), fmoe_drop_domain('plays');
DROP SCHEMA recommend_test CASCADE;
