-- Models over any query: fmoe_fit and fmoe_apply.
-- Exact rows come from the experts that only count; learnt ones are checked by their properties.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA aggregate_test;
SET search_path = aggregate_test, public;

CREATE TABLE visits (shop text, customer text, product bigint, at timestamptz);
INSERT INTO visits
	SELECT shop, customer, product, timestamptz '2024-01-01 UTC' + number * interval '1 hour'
	FROM (VALUES ('a', 'ann', '{1,2,3,4}'::bigint[]), ('a', 'bob', '{1,2,3,5}'), ('a', 'cat', '{1,2,4}'), ('a', 'dan', '{2,3,4}'),
		('b', 'ann', '{70,80}'), ('b', 'bob', '{80,70,90}'), ('c', 'eve', '{7}')) h (shop, customer, products),
		unnest(products) WITH ORDINALITY p (product, number);

-- what a model says of itself
CREATE FUNCTION header(file bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE
	RETURN convert_from(substr(file, 9, get_byte(file, 0) + 256 * get_byte(file, 1)), 'UTF8')::jsonb;

CREATE TABLE model AS
	SELECT shop, fmoe_fit(customer, product, at, '{"model": "markov", "holdout": "none"}') AS file FROM visits GROUP BY shop;
SELECT shop, (header(file) -> '__metadata__') - '{config,checksum}'::text[] AS metadata FROM model ORDER BY shop;
SELECT shop, key, value - 'data_offsets' AS array FROM model, jsonb_each(header(file)) WHERE key <> '__metadata__' ORDER BY shop, key;

-- what followed the last item most often, then popularity, then id; the history is left out
SELECT item_id, pg_typeof(item_id) FROM model, fmoe_apply(file, ARRAY[1, 2]) WHERE shop = 'a';
SELECT item_id FROM model, fmoe_apply(file, ARRAY[2::bigint, 99, NULL], 2) WHERE shop = 'a';
SELECT shop, array_agg(item_id) FROM model, fmoe_apply(file, ARRAY['80']) GROUP BY shop ORDER BY shop;
-- nothing known of the history: by popularity
SELECT array_agg(item_id) FROM model, fmoe_apply(file, '{}'::bigint[]) WHERE shop = 'a';
SELECT array_agg(item_id) FROM model, fmoe_apply(file, ARRAY[99], NULL) WHERE shop = 'a';
SELECT count(*) FROM model, fmoe_apply(file, NULL::bigint[]);
SELECT count(*) FROM fmoe_apply(NULL, ARRAY[1]);
SELECT count(*) FROM model, fmoe_apply(file, ARRAY[1, 2, 3, 4, 5]) WHERE shop = 'a';
-- in the select list, one model and then another, and back
SELECT shop, (fmoe_apply(file, ARRAY[v]::bigint[], 1)).item_id FROM generate_series(1, 2) v, model ORDER BY v, shop;
SET fmoe.cache_size = 0;
SELECT shop, (fmoe_apply(file, ARRAY[v]::bigint[], 1)).item_id FROM generate_series(1, 2) v, model ORDER BY v, shop;
RESET fmoe.cache_size;

-- a learnt model: the same rows give the same bytes, in whatever order they come
CREATE TABLE walks AS
	SELECT 'u' || u AS who, u % 3 AS team, md5((CASE s % 2 WHEN 0 THEN 'x' || (u * 7 + s / 2) % 30 ELSE 'y' || (u * 11 + s / 2) % 30 END))::uuid AS place,
		date '2024-01-01' + s AS at
	FROM generate_series(1, 200) u, generate_series(0, 11) s;
\set options '''{"width": 16, "layers": 1, "epochs": 3, "max_length": 10, "seed": 7}'''
CREATE TABLE learnt AS SELECT fmoe_fit(who, place, at, :options) AS file FROM walks;
SELECT fmoe_fit(who, place, at, :options ORDER BY md5(who || at)) = file AS shuffled FROM walks, learnt GROUP BY file;
SELECT fmoe_fit(who, place, at, :options ORDER BY at DESC, who DESC) = file AS reversed FROM walks, learnt GROUP BY file;
SELECT fmoe_fit(who, place, at, '{"width": 16, "layers": 1, "epochs": 3, "max_length": 10, "seed": 8}') = file AS other_seed FROM walks, learnt GROUP BY file;
-- recommendations of a learnt model
SELECT count(*) = 10 AS ten, count(DISTINCT item_id) = 10 AS distinct_items, bool_and(score <= previous) AS descending, min(pg_typeof(item_id)::text) AS type
	FROM (SELECT *, lag(score, 1, 'infinity') OVER () AS previous
		FROM learnt, fmoe_apply(file, ARRAY(SELECT place FROM walks WHERE who = 'u1' ORDER BY at))) r;
SELECT count(*) FROM learnt, fmoe_apply(file, ARRAY(SELECT place FROM walks WHERE who = 'u1' ORDER BY at)) r
	WHERE r.item_id IN (SELECT place FROM walks WHERE who = 'u1');

-- parallel workers collect the same model
ALTER TABLE walks SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT fmoe_fit(who, place, at, :options) FROM walks;
SELECT (SELECT fmoe_fit(who, place, at, :options) FROM walks) = file AS parallel FROM learnt;
ANALYZE walks;
EXPLAIN (COSTS OFF) SELECT team, fmoe_fit(who, place, at, '{"model": "markov"}') AS file FROM walks GROUP BY team;
CREATE TABLE parts AS SELECT team, fmoe_fit(who, place, at, '{"model": "markov"}') AS file FROM walks GROUP BY team;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET parallel_leader_participation;
SET max_parallel_workers_per_gather = 0;
SELECT team, file = (SELECT fmoe_fit(who, place, at, '{"model": "markov"}') FROM walks w WHERE w.team = p.team) AS same FROM parts p ORDER BY team;
RESET max_parallel_workers_per_gather;

-- by default: sasrec, each user's last event kept back
SELECT header(file) #>> '{__metadata__,model}' AS model, header(file) #>> '{__metadata__,holdout}' AS holdout
	FROM (SELECT fmoe_fit(customer, product, at, '{"epochs": 1}') AS file FROM visits) f;
-- over a window
SELECT DISTINCT shop, fmoe_fit(customer, product, at, '{"model": "markov", "holdout": "none"}') OVER (PARTITION BY shop) = file AS same
	FROM visits JOIN model USING (shop) ORDER BY shop;

-- no rows, rows that do not count, one event
SELECT fmoe_fit(customer, product, at) IS NULL AS none FROM visits WHERE false;
SELECT fmoe_fit(u, i, t) IS NULL AS none FROM (VALUES (NULL::int, 1, 1.0), (1, NULL, 1), (1, 1, NULL), (1, 1, 'NaN')) v (u, i, t);
SELECT fmoe_fit(u, i, t) IS NULL AS none FROM (VALUES (1, 1, timestamp 'infinity'), (1, 1, '-infinity')) v (u, i, t);
SET client_min_messages = notice;
CREATE TABLE tiny AS SELECT fmoe_fit(u, i, t) AS file FROM (VALUES (1, 'x', 1), (2, 'y', 5), (3, 'x', 2), (3, NULL, 2)) v (u, i, t);
SET client_min_messages = warning;
SELECT (header(file) -> '__metadata__') - '{config,checksum}'::text[] AS metadata FROM tiny;
SELECT item_id FROM tiny, fmoe_apply(file, '{}'::text[]);
SELECT item_id FROM tiny, fmoe_apply(file, ARRAY['x']);
-- one item, many users
SELECT (fmoe_apply(fmoe_fit(u, 'only'::text, s, '{"epochs": 1, "width": 4}'), '{}'::text[])).item_id FROM generate_series(1, 5) u, generate_series(1, 4) s;

-- what is refused
\set VERBOSITY terse
SELECT fmoe_fit(customer, product, at, '{"epoch": 3}') FROM visits;
SELECT fmoe_fit(customer, product, at, '{"deploy": true}') FROM visits;
\set VERBOSITY default
SELECT fmoe_fit(customer, product, at, '{"width": 5, "heads": 2}') FROM visits;
SELECT fmoe_fit(customer, product, at, '{"width": 0}') FROM visits WHERE shop = 'c';
SELECT fmoe_fit(customer, product, at, jsonb_build_object('epochs', product)) FROM visits;
SELECT fmoe_fit(customer, product, at, CASE shop WHEN 'a' THEN '{"epochs": 1}'::jsonb END) FROM visits;
SELECT fmoe_fit(customer, product, product > 1) FROM visits;
SELECT fmoe_fit(customer, point(product, product), at) FROM visits;
SELECT fmoe_fit(customer, ARRAY[product], at) FROM visits;
SELECT fmoe_fit(ARRAY[customer], product, at) FROM visits;
SELECT fmoe_fit('ann', product, at) FROM visits;
SET fmoe.max_memory = '1MB';
SELECT fmoe_fit(n, n, n) FROM generate_series(1, 100000) n;
RESET fmoe.max_memory;
SELECT fmoe_apply(file, ARRAY[1], 0) FROM model;
SELECT fmoe_apply(file, ARRAY['x']) FROM model;
SELECT fmoe_apply(file, ARRAY[point '(1,2)']) FROM learnt;
SELECT fmoe_apply('', ARRAY[1]);
SELECT fmoe_apply('\x0102030405060708', ARRAY[1]);
SELECT fmoe_apply(set_byte(file, length(file) - 1, 1), ARRAY[1]) FROM model WHERE shop = 'a';
SELECT fmoe_apply(substr(file, 1, length(file) - 1), ARRAY[1]) FROM model WHERE shop = 'a';

DROP SCHEMA aggregate_test CASCADE;
