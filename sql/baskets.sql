-- What happens at once is one basket, and what is judged is what is served.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA baskets;
SET search_path = baskets, public;

-- a training that learned nothing does not replace one that did: a load went wrong, and everybody has one event
CREATE TABLE e (u int, i int, t timestamptz);
INSERT INTO e SELECT l, (l * 3 + n) % 40, timestamptz '2024-01-01' + n * interval '8h'
	FROM generate_series(1, 200) l, generate_series(0, 7) n;
SELECT fmoe_create_domain('baskets_e', 'e', 'u', 'i', 't');
CALL fmoe_train('baskets_e', '{"model": "sasrec", "epochs": 3, "width": 16, "learning_rate": 0.01, "batch_size": 16}');
CREATE TABLE good AS SELECT * FROM e;
TRUNCATE e;
INSERT INTO e SELECT l, CASE WHEN l % 10 = 0 THEN l % 40 ELSE 7 END, timestamptz '2024-02-01' FROM generate_series(1, 500) l;
SET client_min_messages = notice;
CALL fmoe_train('baskets_e', '{"model": "sasrec", "epochs": 3, "width": 16}');
SET client_min_messages = warning;
SELECT version, model, live FROM fmoe.versions WHERE domain = 'baskets_e' ORDER BY version;
-- neither do weights that nothing checks
TRUNCATE e;
INSERT INTO e SELECT * FROM good;
SET client_min_messages = notice;
CALL fmoe_train('baskets_e', '{"model": "sasrec", "epochs": 1, "width": 8, "holdout": "none"}');
SET client_min_messages = warning;
SELECT version, model, live FROM fmoe.versions WHERE domain = 'baskets_e' ORDER BY version;
-- where nothing is live popularity may be, and says so
TRUNCATE e;
INSERT INTO e SELECT l, CASE WHEN l % 10 = 0 THEN l % 40 ELSE 7 END, timestamptz '2024-02-01' FROM generate_series(1, 500) l;
SELECT fmoe_create_domain('baskets_new', 'e', 'u', 'i', 't');
CALL fmoe_train('baskets_new', '{"model": "sasrec", "epochs": 3, "width": 16}');
INSERT INTO e VALUES (1000, 10, timestamptz '2024-02-02');
SELECT item_id, source FROM fmoe_recommend(1000, 1, 'baskets_new');

-- mrr is over the whole list: k does not matter
CREATE TABLE plays (u bigint, i bigint, t timestamptz);
INSERT INTO plays SELECT l, (l * 7 + n * n * l) % 101, timestamptz '2024-01-01' + n * interval '1h'
	FROM generate_series(1, 300) l, generate_series(1, 8) n;
SELECT fmoe_create_domain('baskets_music', 'plays', 'u', 'i', 't');
CALL fmoe_train('baskets_music', '{"model": "sasrec", "epochs": 1, "width": 8, "holdout": "test", "deploy": false}');
SELECT model, count(*), count(DISTINCT value) AS different, bool_and(value > 0) AS positive
	FROM fmoe_evaluate('baskets_music', '{"k": [1, 10, 101], "version": 1}') WHERE metric = 'mrr' GROUP BY model ORDER BY model;

-- one basket a user: nobody can be judged, and nothing was learned
SELECT setseed(0.42);
CREATE TABLE one AS SELECT u, i, timestamptz '2024-01-01' + u * interval '1 min' AS t
	FROM generate_series(1, 200) u, LATERAL (SELECT i FROM generate_series(1, 50) i WHERE u = u ORDER BY random() LIMIT 5) x;
SELECT fmoe_create_domain('baskets_one', 'one', 'u', 'i', 't');
SET client_min_messages = notice;
CALL fmoe_train('baskets_one', '{"model": "sasrec", "epochs": 10, "width": 16, "holdout": "test"}');
SELECT metric, value, users FROM fmoe_evaluate('baskets_one', '{"version": 1}') WHERE model = 'markov';
SET client_min_messages = warning;

-- random baskets of four, five a user, tied or each event by itself: nothing is to be learned of either
CREATE TABLE tied AS SELECT u, i, timestamptz '2024-01-01' + b * interval '1 day' AS t
	FROM generate_series(1, 600) u, generate_series(1, 5) b,
		LATERAL (SELECT i FROM generate_series(1, 100) i WHERE u + b = u + b ORDER BY random() LIMIT 4) x;
CREATE TABLE spread AS SELECT u, i, t + row_number() OVER (PARTITION BY u, t ORDER BY random()) * interval '1 s' AS t FROM tied;
SELECT fmoe_create_domain('baskets_tied', 'tied', 'u', 'i', 't'), fmoe_create_domain('baskets_spread', 'spread', 'u', 'i', 't');
SET client_min_messages = error;
CALL fmoe_train('baskets_tied', '{"model": "sasrec", "epochs": 5, "width": 16, "holdout": "test"}');
CALL fmoe_train('baskets_spread', '{"model": "sasrec", "epochs": 5, "width": 16, "holdout": "test"}');
SELECT domain, live, (metrics ->> 'tied')::numeric AS tied FROM fmoe.versions WHERE domain IN ('baskets_tied', 'baskets_spread') ORDER BY domain;
SELECT domain, model, value BETWEEN 0.08 AND 0.16 AS as_a_random_ranking
	FROM (SELECT 'spread' AS domain, * FROM fmoe_evaluate('baskets_spread', '{"version": 1}')
		UNION ALL SELECT 'tied', * FROM fmoe_evaluate('baskets_tied', '{"version": 1}')) v
	WHERE metric = 'recall' ORDER BY domain, model;
-- with the ids in another order the numbers are the same but for noise
CREATE TABLE renamed AS SELECT u, (i * 37) % 101 AS i, t FROM tied;
SELECT fmoe_create_domain('baskets_renamed', 'renamed', 'u', 'i', 't');
CALL fmoe_train('baskets_renamed', '{"model": "sasrec", "epochs": 5, "width": 16, "holdout": "test"}');
SELECT model, metric, abs(a.value - b.value) < 0.03 AS alike
	FROM fmoe_evaluate('baskets_tied', '{"version": 1}') a JOIN fmoe_evaluate('baskets_renamed', '{"version": 1}') b USING (model, metric)
	WHERE metric IN ('ndcg', 'recall') ORDER BY model, metric;

-- an answer that was seen is none: three items, and everybody has had all of them
CREATE TABLE rep AS SELECT l AS u, 1 + (n + l) % 3 AS i, timestamptz '2024-01-01' + n * interval '1h' AS t
	FROM generate_series(1, 100) l, generate_series(1, 9) n;
SELECT fmoe_create_domain('baskets_rep', 'rep', 'u', 'i', 't');
CALL fmoe_train('baskets_rep', '{"model": "sasrec", "epochs": 2, "width": 8, "holdout": "test", "deploy": false}');
SELECT model, metric, value, users FROM fmoe_evaluate('baskets_rep', '{"k": 1, "version": 1}') WHERE metric IN ('hr', 'repeated') ORDER BY 1, 2;
SELECT model, metric, value IS NOT NULL AS judged, users FROM fmoe_evaluate('baskets_rep', '{"k": 1, "version": 1, "exclude_seen": false}')
	WHERE metric IN ('hr', 'repeated') ORDER BY 1, 2;
SELECT (metrics ->> 'cases')::integer AS cases, (metrics ->> 'repeated')::integer AS repeated FROM fmoe.versions WHERE domain = 'baskets_rep';

-- the numbers themselves: after {1 2} come {3} and {3 4}, so from 1 and 2 each 3 counts 1, 4 counts 0.5; an item twice counts once
CREATE TABLE small (u text, i int, t int);
INSERT INTO small VALUES ('a', 1, 1), ('a', 2, 1), ('a', 2, 1), ('a', 3, 2), ('b', 2, 1), ('b', 1, 1), ('b', 4, 2), ('b', 3, 2),
	('c', 1, 1), ('c', 5, 2), ('d', 1, 1), ('d', 2, 1);
SELECT fmoe_create_domain('baskets_small', 'small', 'u', 'i', 't');
CALL fmoe_train('baskets_small', '{"model": "markov", "holdout": "none"}');
SELECT events, users, items FROM fmoe.versions WHERE domain = 'baskets_small';
-- after d's basket: from 1 (1 + 0.5 + 1 in all) and from 2 (1.5 in all) the mean of 1 / 2.5 and 1 / 1.5, and what popularity adds
SELECT item_id, round(score::numeric, 3) AS score FROM fmoe_recommend('d', 3, 'baskets_small');
SELECT item_id, round(((c1 + p / 10.0) / 2.5 + (c2 + p / 10.0) / 1.5) / 2, 3) AS expected
	FROM (VALUES (3, 1.0, 1.0, 2), (4, 0.5, 0.5, 1), (5, 1.0, 0, 1)) v (item_id, c1, c2, p) ORDER BY 2 DESC;
-- a cart is one basket where it is said to be, in whatever order; else each element is one
SELECT b.*, (SELECT array_agg(item_id ORDER BY item_id) FROM fmoe_recommend_next(cart, 3, 'baskets_small', basket => b)) AS items,
	(SELECT array_agg(score) FROM fmoe_recommend_next(cart, 3, 'baskets_small', basket => b))
		= (SELECT array_agg(score) FROM fmoe_recommend('d', 3, 'baskets_small')) AS as_d
	FROM unnest('{true,false,NULL}'::boolean[]) b, (VALUES (ARRAY[1, 2])) v (cart);
SELECT (SELECT array_agg(s) FROM fmoe_recommend_next_as(NULL::int, ARRAY[2, 99, 1, NULL, 2], 3, 'baskets_small', basket => true) s)
	= (SELECT array_agg(s) FROM fmoe_recommend_as(NULL::int, 'd'::text, 3, 'baskets_small') s) AS as_d;
SELECT fmoe_create_functions('baskets_small', 'cart');
SELECT (SELECT array_agg(s) FROM cart_next('{2,1}', 3, basket => true) s) = (SELECT array_agg(s) FROM cart_recommend('d', 3) s) AS as_d;
SELECT fmoe_drop_functions('baskets_small', 'cart');
SELECT array_agg(item_id ORDER BY item_id) AS items, round(min(score)::numeric, 3) AS least, basket
	FROM (SELECT fmoe_fit(u, i, t, '{"model": "markov", "holdout": "none"}') AS model FROM small) f, unnest('{true,false}'::boolean[]) basket,
		fmoe_apply(model, ARRAY[1, 2], 3, basket => basket) GROUP BY basket ORDER BY basket;
-- a user who has three baskets is asked for the whole of the last one
INSERT INTO small VALUES ('a', 4, 3), ('a', 1, 3), ('a', 5, 3);
CALL fmoe_train('baskets_small', '{"model": "popularity", "holdout": "test", "deploy": false}');
SELECT metric, value, users FROM fmoe_evaluate('baskets_small', '{"version": 2, "k": 1}') WHERE model = 'version 2' AND metric IN ('recall', 'hr');

-- how a basket is read belongs to the version; one from before there was the option reads it as a set
CREATE TABLE read AS SELECT l AS u, 1 + (l + b * 5 + n * n) % 20 AS i, b AS t FROM generate_series(1, 60) l, generate_series(1, 5) b, generate_series(1, 3) n;
SELECT fmoe_create_domain('baskets_read', 'read', 'u', 'i', 't');
CALL fmoe_train('baskets_read', '{"model": "sasrec", "epochs": 2, "width": 8}');
CREATE FUNCTION state() RETURNS real[] LANGUAGE sql AS $$ SELECT fmoe_embedding(1::bigint, 'baskets_read', 'user', version => 1) $$;
SELECT config ->> 'baskets' AS baskets FROM fmoe.versions WHERE domain = 'baskets_read';
CREATE TABLE was AS SELECT 'drawn' AS baskets, state();
UPDATE fmoe.version SET config = config || '{"baskets": "set"}' WHERE domain_id = (SELECT domain_id FROM fmoe.domain WHERE name = 'baskets_read');
\c -
SET client_min_messages = warning;
SET search_path = baskets, public;
SET fmoe.cache_size = 0;
INSERT INTO was SELECT 'set', state();
UPDATE fmoe.version SET config = config - 'baskets' WHERE domain_id = (SELECT domain_id FROM fmoe.domain WHERE name = 'baskets_read');
\c -
SET client_min_messages = warning;
SET search_path = baskets, public;
SET fmoe.cache_size = 0;
SELECT baskets, state = state() AS same FROM was ORDER BY 1;
-- in whatever order the rows are, of a basket of three drawn in turn
CREATE TABLE turned AS SELECT * FROM read ORDER BY i DESC, t;
SELECT fmoe_create_domain('baskets_turned', 'turned', 'u', 'i', 't');
CALL fmoe_train('baskets_turned', '{"model": "sasrec", "epochs": 2, "width": 8}');
SELECT fmoe_embedding(1::bigint, 'baskets_turned', 'user') = state AS same FROM was WHERE baskets = 'drawn';

SELECT count(fmoe_drop_domain(name)) FROM fmoe.domain WHERE name LIKE 'baskets%';
DROP SCHEMA baskets CASCADE;
