-- order_column and basket_column: what came first among events of one time, and what was one basket.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA orders;
SET search_path = orders, public;

-- the model of version 1 of a domain: every array but the item ids
CREATE FUNCTION weights(domain text) RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(t.name || md5(t.data), ',' ORDER BY t.name, t.part)) FROM fmoe.tensor t JOIN fmoe.version USING (version_id)
		JOIN fmoe.domain d USING (domain_id) WHERE d.name = $1 AND version = 1
$$;
CREATE FUNCTION weights_of(domain text, options jsonb, relation regclass, order_column name DEFAULT NULL, basket_column name DEFAULT NULL,
	time_column name DEFAULT 't') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	PERFORM fmoe_create_domain(domain, relation, 'u', 'i', time_column, order_column => order_column, basket_column => basket_column);
	CALL fmoe_train(domain, '{"model": "sasrec", "deploy": false}' || options);
	result := weights(domain);
	PERFORM fmoe_drop_domain(domain);
	RETURN result;
END $$;

-- seven events a user, in no order of the items and of the rows; "at" is their order, "day" is one time for three of them
CREATE TYPE place AS ENUM ('first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'seventh');
CREATE TYPE pair AS (a int, b int);
CREATE TABLE e AS SELECT u, (u * 7 + n * n * 5) % 31 AS i, n AS at, n / 3 AS day, 1 AS once,
	n::smallint AS small, n * 1e30 AS numeric, (n - 0.5)::real AS real, 'n' || n AS text, decode(n::text, 'escape') AS bytea,
	chr(ascii('a') + n) COLLATE "C" AS c, date '2024-01-01' + n AS date, n * interval '1 hour' AS interval,
	('00000000-0000-0000-0000-00000000000' || n)::uuid AS uuid, (enum_range(NULL::place))[n] AS enum, ARRAY[1, n] AS array,
	int4range(n, 9) AS range, n::money AS money, n::bit(4) AS bit, (1, n)::pair AS pair
	FROM generate_series(1, 80) u, generate_series(1, 7) n ORDER BY hashint4(u * 10 + n);

-- with an order that tells all events apart, weights are bit for bit those of times that do; not so what is recent
SELECT model, weights_of('orders_times', options, 'e', time_column => 'at') = weights_of('orders_times', options, 'e', 'at', time_column => 'once') AS order_is_time,
	weights_of('orders_times', options, 'e', time_column => 'at') = weights_of('orders_times', options, 'e', 'at', time_column => 'day') AS order_in_days,
	weights_of('orders_times', options, 'e', time_column => 'at') <> weights_of('orders_times', options, 'e', time_column => 'day') AS not_without
	FROM unnest('{sasrec,gru4rec,markov,fmoe}'::text[]) model,
		LATERAL (SELECT jsonb_build_object('model', model, 'holdout', 'none')
			|| CASE WHEN model <> 'markov' THEN '{"epochs": 2, "width": 8}' ELSE '{}' END::jsonb
			|| CASE WHEN model = 'fmoe' THEN '{"gate": "user"}' ELSE '{}' END::jsonb AS options) o
	ORDER BY model;
-- an order may be of any type that has one
SELECT c, weights_of('orders_types', '{"model": "markov", "holdout": "none"}', 'e', c, time_column => 'once')
	= weights_of('orders_types', '{"model": "markov", "holdout": "none"}', 'e', time_column => 'at') AS alike
	FROM unnest('{at,small,numeric,real,text,bytea,c,date,interval,uuid,enum,array,range,money,bit,pair}'::name[]) c;
-- it is the order of the column's collation
CREATE TABLE collated AS SELECT u, (u + n) % 11 AS i, 1 AS t, n AS at, (ARRAY['a', 'B', 'c', 'D'])[n] COLLATE "C" AS c,
	(ARRAY['B', 'D', 'a', 'c'])[n] COLLATE "C" AS bytes FROM generate_series(1, 40) u, generate_series(1, 4) n;
SELECT c, weights_of('orders_collated', '{"model": "markov", "holdout": "none"}', 'collated', c)
	= weights_of('orders_collated', '{"model": "markov", "holdout": "none"}', 'collated', 'at') AS alike FROM unnest('{c,bytes}'::name[]) c;
ALTER TABLE collated ALTER c TYPE text COLLATE "en-x-icu";
SELECT weights_of('orders_collated', '{"model": "markov", "holdout": "none"}', 'collated', 'c')
	= weights_of('orders_collated', '{"model": "markov", "holdout": "none"}', 'collated', 'at') AS alike;
-- what is equal in time and order is one basket, and null, which is after all others, is equal to null
CREATE TABLE pairs AS SELECT u, i, 1 AS t, n AS three, nullif(n, 3) AS holes, n * 1.0 AS spelled
	FROM generate_series(1, 30) u, generate_series(1, 3) n, LATERAL (SELECT (u + n * 5 + k * 3) % 17 AS i FROM generate_series(1, 2) k) k;
UPDATE pairs SET spelled = spelled::numeric(5, 3) WHERE i > 8;
SELECT c, weights_of('orders_pairs', '{"model": "markov", "holdout": "none"}', 'pairs', c)
	= weights_of('orders_pairs', '{"model": "markov", "holdout": "none"}', 'pairs', time_column => 'three') AS alike
	FROM unnest('{three,holes,spelled}'::name[]) c;

-- who is served has the history that was learned
SELECT fmoe_create_domain('orders_served', 'e', 'u', 'i', 'day', order_column => 'text'), fmoe_create_domain('orders_at', 'e', 'u', 'i', 'at');
CALL fmoe_train('orders_served', '{"model": "markov", "holdout": "none"}');
CALL fmoe_train('orders_at', '{"model": "markov", "holdout": "none"}');
CREATE VIEW both_domains AS SELECT u, (SELECT array_agg(r::text) FROM fmoe_recommend(u, 5, 'orders_served') r) AS served,
	(SELECT array_agg(r::text) FROM fmoe_recommend(u, 5, 'orders_at') r) AS at,
	(SELECT array_agg((r.item_id, r.score, r.source)::text ORDER BY r.rank) FROM fmoe_recommend_all('orders_served', 5, users => ARRAY[u::text]) r) AS listed
	FROM (SELECT DISTINCT u FROM e) u;
SELECT count(*), bool_and(served = at) AS as_by_time, bool_and(served = listed) AS listed FROM both_domains;
SELECT count(*), bool_and(a.item_id = b.item_id AND a.score = b.score) AS as_by_time
	FROM fmoe_recommend_all('orders_served', 3) a JOIN fmoe_recommend_all('orders_at', 3) b USING (user_id, rank);
SELECT fmoe_alter_domain('orders_served', order_column => ''), order_column FROM fmoe.domains WHERE domain = 'orders_served';
SELECT count(*), bool_and(served = at) AS as_by_time FROM both_domains;
-- the last event alone is kept back and asked for
SELECT fmoe_alter_domain('orders_served', order_column => 'numeric');
SELECT weights_of('orders_kept', '{"model": "markov", "holdout": "test"}', 'e', 'at', time_column => 'once')
	= weights_of('orders_kept', '{"model": "markov", "holdout": "test"}', 'e', time_column => 'at') AS alike;
CALL fmoe_train('orders_served', '{"model": "markov", "holdout": "test", "deploy": false}');
CALL fmoe_train('orders_at', '{"model": "markov", "holdout": "test", "deploy": false}');
SELECT count(*), bool_and(a.value IS NOT DISTINCT FROM b.value AND a.users = b.users) AS alike
	FROM fmoe_evaluate('orders_served', '{"version": 2}') a JOIN fmoe_evaluate('orders_at', '{"version": 2}') b USING (model, metric, k);

-- named baskets: whenever their lines came, and whatever type the names have
CREATE TABLE o AS SELECT u, i, b, t, b * 2.0 AS numeric, 'order ' || b AS text, b::text::xid AS xid, b::money AS money, b::bit(4) AS bit,
	ARRAY[b] AS array, (b, 1)::pair AS pair, b > 1 AS bool, 10 * b AS stands
	FROM generate_series(1, 60) u, generate_series(1, 3) b, LATERAL (SELECT (u + b * 7 + k * 4) % 23 AS i, CASE WHEN k = 3 THEN 10 * b ELSE u % 7 END AS t
		FROM generate_series(1, 3) k) k ORDER BY hashint4(u * 10 + i);
UPDATE o SET numeric = numeric::numeric(6, 3) WHERE i > 11;
SELECT model, weights_of('orders_named', options, 'o', basket_column => 'b') = weights_of('orders_named', options, 'o', time_column => 'stands') AS as_if_at_once,
	weights_of('orders_named', options, 'o', basket_column => 'b') <> weights_of('orders_named', options, 'o') AS not_without
	FROM unnest('{sasrec,gru4rec,markov,fmoe}'::text[]) model,
		LATERAL (SELECT jsonb_build_object('model', model, 'holdout', 'none')
			|| CASE WHEN model <> 'markov' THEN '{"epochs": 2, "width": 8, "max_length": 5}' ELSE '{}' END::jsonb AS options) o
	ORDER BY model;
SELECT c, weights_of('orders_named', '{"model": "markov", "holdout": "none"}', 'o', basket_column => c)
	= weights_of('orders_named', '{"model": "markov", "holdout": "none"}', 'o', time_column => 'stands') AS alike
	FROM unnest('{b,numeric,text,xid,money,bit,array,pair}'::name[]) c;
-- names are a user's own; one that is null is none
UPDATE o SET text = u || text;
SELECT weights_of('orders_named', '{"model": "markov", "holdout": "none"}', 'o', basket_column => 'text')
	= weights_of('orders_named', '{"model": "markov", "holdout": "none"}', 'o', time_column => 'stands') AS alike;
UPDATE o SET text = NULL;
SELECT weights_of('orders_named', '{"model": "markov", "holdout": "none"}', 'o', basket_column => 'text')
	= weights_of('orders_named', '{"model": "markov", "holdout": "none"}', 'o') AS alike;
-- kept back and asked for as a whole
SELECT fmoe_create_domain('orders_o', 'o', 'u', 'i', 't', basket_column => 'b'), fmoe_create_domain('orders_stands', 'o', 'u', 'i', 'stands');
SET client_min_messages = notice;
CALL fmoe_train('orders_o', '{"model": "markov", "holdout": "test"}');
SET client_min_messages = warning;
CALL fmoe_train('orders_stands', '{"model": "markov", "holdout": "test"}');
SELECT count(*), bool_and(a.value IS NOT DISTINCT FROM b.value AND a.users = b.users) AS alike
	FROM fmoe_evaluate('orders_o') a JOIN fmoe_evaluate('orders_stands') b USING (metric, k) WHERE a.model <> 'popularity' AND a.model = b.model;
SELECT domain, metrics ->> 'tied' AS tied, metrics ->> 'cases' AS cases FROM fmoe.versions WHERE domain IN ('orders_o', 'orders_stands') ORDER BY domain;
SELECT fmoe_deploy('orders_o', 1), fmoe_deploy('orders_stands', 1);
SELECT count(*), bool_and(a = b) AS alike FROM (SELECT DISTINCT u FROM o) u,
	LATERAL (SELECT (SELECT array_agg(r) FROM fmoe_recommend(u, 4, 'orders_o') r) AS a, (SELECT array_agg(r) FROM fmoe_recommend(u, 4, 'orders_stands') r) AS b) r;
SELECT count(*), bool_and(a.item_id = b.item_id AND a.score = b.score) AS alike
	FROM fmoe_recommend_all('orders_o', 4) a JOIN fmoe_recommend_all('orders_stands', 4) b USING (user_id, rank);

SELECT count(*) > 10 AS together, count(*) FILTER (WHERE a.score IS DISTINCT FROM b.score OR a.baskets IS DISTINCT FROM b.baskets) AS other
	FROM generate_series(0, 22) i, LATERAL (SELECT * FROM fmoe_together(ARRAY[i], 23, 'orders_o') a
		FULL JOIN fmoe_together(ARRAY[i], 23, 'orders_stands') b USING (item_id)) r (item_id, a_score, a_baskets, b_score, b_baskets),
	LATERAL (SELECT a_score AS score, a_baskets AS baskets) a, LATERAL (SELECT b_score AS score, b_baskets AS baskets) b;

-- what was shown and not chosen was so in its basket, and in its place of the order
CREATE TABLE s AS SELECT u, (u * 7 + (b * 4 + k) * 23) % 97 AS i, b, 10 * b + (k - 4) * 2 + CASE WHEN k = 4 THEN 5 ELSE 0 END AS t, 10 * b + 5 AS stands, k = 4 AS chosen,
	4 * b + k AS at, 0 AS once FROM generate_series(1, 90) u, generate_series(1, 4) b, generate_series(1, 4) k ORDER BY hashint4(u * 20 + b * 4 + k);
SELECT fmoe_create_domain('orders_' || d, 's', 'u', 'i', t, label_column => 'chosen', basket_column => b, order_column => o)
	FROM (VALUES ('s', 't'::name, 'b'::name, NULL::name), ('s_stands', 'stands', NULL, NULL), ('s_apart', 't', NULL, NULL), ('s_order', 'once', NULL, 'at')) v (d, t, b, o);
CALL fmoe_train('orders_s', '{"model": "markov", "holdout": "test"}');
CALL fmoe_train('orders_s_stands', '{"model": "markov", "holdout": "test"}');
CALL fmoe_train('orders_s_apart', '{"model": "markov", "holdout": "test"}');
CALL fmoe_train('orders_s_order', '{"model": "markov", "holdout": "test"}');
CREATE FUNCTION judged(domain text) RETURNS text[] LANGUAGE sql AS
	$$SELECT array_agg((model, metric, k, value, users)::text ORDER BY model, metric, k) FROM fmoe_evaluate($1, '{"version": 1}')$$;
SELECT judged('orders_s') = judged('orders_s_stands') AS in_its_basket, judged('orders_s') <> judged('orders_s_apart') AS not_apart,
	judged('orders_s_order') = judged('orders_s_apart') AS in_its_place;

-- a basket that is half done: the events up to then
CREATE TABLE half (u int, i int, t timestamptz, b text);
INSERT INTO half VALUES (1, 1, '2024-01-01 UTC', 'a'), (1, 2, '2024-01-05 UTC', 'a'), (1, 3, '2024-01-03 UTC', 'b');
-- what follows each item is known
INSERT INTO half SELECT 10 * u + k, i, timestamptz '2024-01-01 UTC' + n * interval '1 day', NULL
	FROM generate_series(1, 3) u, generate_series(1, 3) k, generate_series(1, 2) n, LATERAL (SELECT CASE n WHEN 1 THEN u ELSE 10 * u END AS i) i;
SELECT fmoe_create_domain('orders_half', 'half', 'u', 'i', 't', basket_column => 'b');
CALL fmoe_train('orders_half', '{"model": "markov", "holdout": "none"}');
CREATE FUNCTION follows(moment timestamptz, OUT items bigint[]) LANGUAGE sql AS
	$$SELECT array_agg(item_id ORDER BY item_id) FROM fmoe_recommend(1, 10, 'orders_half', as_of => moment) WHERE score > 0.3$$;
SELECT d, follows(timestamptz '2024-01-01 UTC' + (d - 1) * interval '1 day') FROM generate_series(1, 5) d;
-- an item that came later moves its basket, known or not
INSERT INTO half VALUES (1, 99, '2024-01-07 UTC', 'b');
SELECT follows('2024-01-06 UTC') AS before, follows('2024-01-08 UTC') AS after,
	(SELECT array_agg(item_id ORDER BY item_id) FROM fmoe_recommend_all('orders_half', 10, users => '{1}') WHERE score > 0.3) AS listed;
-- of a user of whom no item is known, popularity is told
INSERT INTO half VALUES (5, 99, '2024-01-07 UTC', 'b'), (5, 98, '2024-01-07 UTC', NULL);
SELECT user_id, source, count(*) FROM fmoe_recommend_all('orders_half', 2) WHERE user_id IN ('1', '5', '11') GROUP BY 1, 2 ORDER BY 1;
SELECT DISTINCT source FROM fmoe_recommend(5, 2, 'orders_half');
CALL fmoe_train('orders_half', '{"model": "markov", "holdout": "test", "deploy": false}');
SELECT metric, users FROM fmoe_evaluate('orders_half', '{"split": "time", "version": 1}') WHERE model = 'markov' AND metric = 'hr';

-- two baskets of one time: a hash decides, not the items, the names or the rows, and the same for who learns and who is served
CREATE TABLE ties AS SELECT u, i, CASE i WHEN 3 THEN 1 ELSE 2 END AS t, i AS b FROM generate_series(1, 400) u, generate_series(1, 3) i;
SELECT fmoe_create_domain('orders_ties', 'ties', 'u', 'i', 't', basket_column => 'b');
CALL fmoe_train('orders_ties', '{"model": "markov", "holdout": "none"}');
CREATE VIEW learned AS SELECT (400 + 400 * (sum(score) FILTER (WHERE item_id = 1) - sum(score) FILTER (WHERE item_id = 2))::numeric) / 2 AS one_first
	FROM fmoe_recommend_next(ARRAY[3], 2, 'orders_ties');
CREATE VIEW served AS SELECT count(*) FILTER (WHERE i = 1) AS one_first FROM (SELECT DISTINCT u FROM ties) u,
	LATERAL (SELECT item_id AS i FROM fmoe_recommend(u, 1, 'orders_ties', exclude_seen => false)) r;
SELECT s.one_first = round(l.one_first) AS alike, s.one_first BETWEEN 150 AND 250 AS about_half,
	s.one_first = (SELECT count(*) FROM fmoe_recommend_all('orders_ties', 1, exclude_seen => false) WHERE item_id = '1') AS all_alike
	FROM learned l, served s;
-- the same when rows come in another order, and with names that every user has of its own
CREATE TABLE shuffled AS SELECT u, i, t, 0 AS b, b AS name FROM ties ORDER BY hashint4(u * 3 + i);
SELECT weights_of('orders_shuffled', '{"model": "markov", "holdout": "none"}', 'shuffled', basket_column => 'name') = weights('orders_ties') AS alike;

-- refused: no such column, no order, no equality; and what becomes of a column later
SELECT fmoe_create_domain('orders_bad', 'e', 'u', 'i', 'at', order_column => 'nothing');
ALTER TABLE e ADD json json, ADD point point, ADD xid xid;
SELECT fmoe_create_domain('orders_bad', 'e', 'u', 'i', 'at', order_column => 'json');
SELECT fmoe_create_domain('orders_bad', 'e', 'u', 'i', 'at', order_column => 'xid');
SELECT fmoe_create_domain('orders_bad', 'e', 'u', 'i', 'at', basket_column => 'json');
SELECT fmoe_create_domain('orders_bad', 'e', 'u', 'i', 'at', basket_column => 'point');
SELECT fmoe_create_domain('orders_bad', 'e', 'u', 'i', 'at', basket_column => 'ctid');
SELECT fmoe_alter_domain('orders_at', basket_column => 'json');
SELECT fmoe_alter_domain('orders_at', order_column => 'text', basket_column => 'xid', weight_column => 'real');
SELECT order_column, basket_column, weight_column FROM fmoe.domains WHERE domain = 'orders_at';
ALTER TABLE e ALTER text TYPE point USING NULL;
SELECT * FROM fmoe_recommend(1, 1, 'orders_at');
SELECT fmoe_alter_domain('orders_at', order_column => '');
ALTER TABLE e DROP xid;
SELECT * FROM fmoe_recommend(1, 1, 'orders_at');
CALL fmoe_train('orders_at', '{"model": "sasrec"}');
SELECT fmoe_alter_domain('orders_at', basket_column => '', weight_column => '');
SELECT order_column, basket_column, weight_column FROM fmoe.domains WHERE domain = 'orders_at';

SELECT count(fmoe_drop_domain(name)) FROM fmoe.domain WHERE name LIKE 'orders%';
DROP SCHEMA orders CASCADE;
