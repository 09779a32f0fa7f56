-- evaluation: protocols, options, what is refused

SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA evaluate;
SET search_path = evaluate, public;

CREATE TABLE visits (who bigint, page text, at timestamp);
INSERT INTO visits
	SELECT u, CASE s % 2 WHEN 0 THEN 'a' || (u * 7 + s / 2) % 30 ELSE 'b' || (u * 11 + s / 2) % 30 END,
		timestamp '2024-01-01' + s * interval '1 hour'
	FROM generate_series(1, 240) u, generate_series(0, 11) s;
SELECT fmoe_create_domain('evaluate_visits', 'visits', 'who', 'page', 'at');

-- nothing to evaluate yet
SELECT * FROM fmoe_evaluate('evaluate_visits');

-- a version that was trained on the events it would be evaluated on
CALL fmoe_train('evaluate_visits', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"version": 1}');

CALL fmoe_train('evaluate_visits', '{"model": "sasrec", "width": 32, "layers": 1, "dropout": 0.1, "epochs": 40, "max_length": 20, "learning_rate": 0.005, "batch_size": 32, "holdout": "test", "deploy": false}');
-- none is live: the newest, with a notice
SET client_min_messages = notice;
SELECT DISTINCT model FROM fmoe_evaluate('evaluate_visits') ORDER BY model;
SET client_min_messages = error;
SELECT fmoe_deploy('evaluate_visits', 2);

-- the rows
SELECT model, metric, k, users FROM fmoe_evaluate('evaluate_visits');
SELECT model, metric, k, users FROM fmoe_evaluate('evaluate_visits', '{"version": 2, "k": [1, 5]}')
	WHERE model LIKE 'version%';
SELECT bool_and(live.value > other.value) AS better
	FROM fmoe_evaluate('evaluate_visits') live JOIN fmoe_evaluate('evaluate_visits') other USING (metric, k)
	WHERE live.model = 'live' AND other.model <> 'live' AND metric IN ('ndcg', 'hr', 'mrr', 'recall');

-- popularity has all items alike, and a tie counts against it
SELECT metric, value = 0 AS nothing FROM fmoe_evaluate('evaluate_visits', '{"k": 1}')
	WHERE model = 'popularity' AND metric IN ('ndcg', 'hr', 'recall');

-- one answer a user: recall is hr
SELECT bool_and(a.value = b.value) AS same
	FROM fmoe_evaluate('evaluate_visits', '{"k": [1, 3, 10]}') a
	JOIN fmoe_evaluate('evaluate_visits', '{"k": [1, 3, 10]}') b USING (model, k)
	WHERE a.metric = 'hr' AND b.metric = 'recall';
-- longer lists hit no less, and cover no less
SELECT bool_and(a.value <= b.value) AS grows
	FROM fmoe_evaluate('evaluate_visits', '{"k": [3, 10]}') a
	JOIN fmoe_evaluate('evaluate_visits', '{"k": [3, 10]}') b USING (model, metric)
	WHERE a.k = 3 AND b.k = 10;
-- a list of all items hits always
SELECT model, value FROM fmoe_evaluate('evaluate_visits', '{"k": 60}') WHERE metric = 'hr';
SELECT model, value FROM fmoe_evaluate('evaluate_visits', '{"k": 60, "exclude_seen": false}') WHERE metric = 'coverage';

-- sampled candidates: easier, repeatable, without coverage
SELECT count(*) FILTER (WHERE metric = 'coverage') AS coverage, count(*) AS rows
	FROM fmoe_evaluate('evaluate_visits', '{"candidates": 5}');
SELECT bool_and(sampled.value >= entire.value) AS easier
	FROM fmoe_evaluate('evaluate_visits', '{"candidates": 5}') sampled
	JOIN fmoe_evaluate('evaluate_visits') entire USING (model, metric, k);
SELECT bool_and(a.value = b.value) AS repeatable
	FROM fmoe_evaluate('evaluate_visits', '{"candidates": 20, "k": 3, "seed": 3}') a
	JOIN fmoe_evaluate('evaluate_visits', '{"candidates": "20", "k": 3, "seed": 3}') b USING (model, metric, k);
SELECT model, value FROM fmoe_evaluate('evaluate_visits', '{"candidates": 5, "k": 6}') WHERE metric = 'hr';

-- some users
SELECT DISTINCT users FROM fmoe_evaluate('evaluate_visits', '{"limit_users": 17}');
SELECT DISTINCT users FROM fmoe_evaluate('evaluate_visits', '{"limit_users": 100000}');

-- seen items are candidates or not
SELECT bool_and(without.value >= including.value) AS easier
	FROM fmoe_evaluate('evaluate_visits') without
	JOIN fmoe_evaluate('evaluate_visits', '{"exclude_seen": false}') including USING (model, metric, k)
	WHERE metric <> 'coverage';

-- by time: nothing is later than the training yet
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"split": "time"}');
-- users go on: two events each of 100 users
INSERT INTO visits
	SELECT u, CASE s % 2 WHEN 0 THEN 'a' || (u * 7 + s / 2) % 30 ELSE 'b' || (u * 11 + s / 2) % 30 END,
		timestamp '2024-01-01' + s * interval '1 hour'
	FROM generate_series(1, 100) u, generate_series(12, 13) s;
SELECT model, metric, k, users FROM fmoe_evaluate('evaluate_visits', '{"split": "time", "k": 5}') WHERE metric = 'recall';
SELECT a.value > b.value AS learnt
	FROM fmoe_evaluate('evaluate_visits', '{"split": "time"}') a JOIN fmoe_evaluate('evaluate_visits', '{"split": "time"}') b USING (metric, k)
	WHERE a.model = 'live' AND b.model = 'markov' AND metric = 'ndcg';
-- a user without a history cannot be asked; items the version does not know are misses
INSERT INTO visits VALUES (5001, 'a1', '2024-06-01');
SELECT DISTINCT users FROM fmoe_evaluate('evaluate_visits', '{"split": "time"}');
CREATE TABLE before AS SELECT * FROM fmoe_evaluate('evaluate_visits', '{"split": "time"}');
INSERT INTO visits SELECT u, 'never heard of', '2024-06-01' FROM generate_series(101, 200) u;
SELECT DISTINCT users FROM fmoe_evaluate('evaluate_visits', '{"split": "time"}');
SELECT model, metric, abs(now.value - before.value / 2) < 1e-9 AS half
	FROM fmoe_evaluate('evaluate_visits', '{"split": "time"}') now JOIN before USING (model, metric, k)
	WHERE metric = 'recall';
-- two thirds of the cases, and half of the users, are known ones
SELECT model, abs(now.value - before.value * 2 / 3) < 1e-9 AS two_thirds
	FROM fmoe_evaluate('evaluate_visits', '{"split": "time"}') now JOIN before USING (model, metric, k)
	WHERE metric = 'ndcg';
-- an item of no version anywhere in the history changes no other answer
DELETE FROM visits WHERE at >= '2024-06-01';
CREATE TABLE complete AS SELECT * FROM fmoe_evaluate('evaluate_visits');
INSERT INTO visits SELECT u, 'never heard of', '2024-01-01 11:30' FROM generate_series(1, 100) u;
SELECT bool_and(abs(now.value - before.value) < 1e-9) AS same
	FROM fmoe_evaluate('evaluate_visits') now JOIN complete before USING (model, metric, k);

-- errors
SELECT * FROM fmoe_evaluate('no_such_domain');
SELECT * FROM fmoe_evaluate('evaluate_visits', NULL);
\set VERBOSITY terse
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"splits": "time"}');
\set VERBOSITY default
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"split": "random"}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"candidates": 0}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"candidates": "some"}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"candidates": 10.5}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"candidates": true}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"k": []}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"k": 0}');
SELECT * FROM fmoe_evaluate('evaluate_visits', '{"version": 99}');
\set VERBOSITY sqlstate
SET fmoe.max_memory = '1MB';
INSERT INTO visits SELECT u, 'a' || s, timestamp '2024-01-01' + s * interval '1 hour'
	FROM generate_series(2001, 5000) u, generate_series(0, 11) s;
SELECT count(*) FROM fmoe_evaluate('evaluate_visits');
RESET fmoe.max_memory;
\set VERBOSITY default

-- the numbers themselves: items 1 to 5 are trained 7, 3, 2, 1 and 0 times, the answers are 2, 4 and 5
CREATE TABLE known (who text, item smallint, at date);
INSERT INTO known SELECT i || ' ' || n, i, '2024-01-01' FROM generate_series(1, 4) i, generate_series(1, 5 - i) n;
INSERT INTO known SELECT who, unnest(ARRAY[1, 1, answer]), unnest('{2024-01-01,2024-01-02,2024-01-03}'::date[])
	FROM (VALUES ('a', 2), ('b', 4), ('c', 5)) v (who, answer);
SELECT fmoe_create_domain('evaluate_known', 'known', 'who', 'item', 'at');
CALL fmoe_train('evaluate_known', '{"model": "popularity", "holdout": "test"}');
CREATE FUNCTION gain(rank integer) RETURNS float8 LANGUAGE sql AS 'SELECT (1 / log(2.0, rank + 1.0))::float8';
SELECT k, metric, model, abs(value - expected) < 1e-9 AS right, users
	FROM fmoe_evaluate('evaluate_known', '{"k": [1, 4], "exclude_seen": false}')
	JOIN (VALUES (1, 'ndcg', 0), (1, 'hr', 0), (1, 'mrr', (1 / 2.0 + 1 / 4.0 + 1 / 5.0) / 3), (1, 'recall', 0),
		(1, 'coverage', 1 / 5.0), (4, 'ndcg', (gain(2) + gain(4)) / 3), (4, 'hr', 2 / 3.0), (4, 'mrr', (1 / 2.0 + 1 / 4.0 + 1 / 5.0) / 3),
		(4, 'recall', 2 / 3.0), (4, 'coverage', 4 / 5.0)) v (k, metric, expected) USING (k, metric)
	WHERE model <> 'markov' ORDER BY model, k, metric;
-- without item 1, which all have seen
SELECT k, metric, abs(value - expected) < 1e-9 AS right, users
	FROM fmoe_evaluate('evaluate_known', '{"k": [1, 4]}')
	JOIN (VALUES (1, 'ndcg', 1 / 3.0), (1, 'hr', 1 / 3.0), (1, 'mrr', (1 + 1 / 3.0 + 1 / 4.0) / 3), (1, 'recall', 1 / 3.0), (1, 'coverage', 1 / 5.0),
		(4, 'ndcg', (1 + gain(3) + gain(4)) / 3), (4, 'hr', 1), (4, 'mrr', (1 + 1 / 3.0 + 1 / 4.0) / 3),
		(4, 'recall', 1), (4, 'coverage', 4 / 5.0)) v (k, metric, expected) USING (k, metric)
	WHERE model = 'live' ORDER BY k, metric;
-- by time: a goes on with 2 and 5, b with 4; half of a's answers and all of b's are in the list
INSERT INTO known VALUES ('a', 2, '2024-01-04'), ('a', 5, '2024-01-05'), ('b', 4, '2024-01-04'), ('new', 2, '2024-01-04');
SELECT k, metric, abs(value - expected) < 1e-9 AS right, users
	FROM fmoe_evaluate('evaluate_known', '{"k": [4], "exclude_seen": false, "split": "time"}')
	JOIN (VALUES (4, 'ndcg', (gain(2) + gain(4)) / 3), (4, 'hr', 2 / 3.0), (4, 'mrr', (1 / 2.0 + 1 / 4.0 + 1 / 5.0) / 3),
		(4, 'recall', (1 / 2.0 + 1) / 2), (4, 'coverage', 4 / 5.0)) v (k, metric, expected) USING (k, metric)
	WHERE model = 'live' ORDER BY k, metric;

-- no user with three events: nobody is evaluated
CREATE TABLE short (who bigint, page text, at timestamp);
INSERT INTO short SELECT u, 'a' || (u + s) % 5, timestamp '2024-01-01' + s * interval '1 hour'
	FROM generate_series(1, 20) u, generate_series(1, 2) s;
SELECT fmoe_create_domain('evaluate_short', 'short', 'who', 'page', 'at');
CALL fmoe_train('evaluate_short', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "holdout": "test"}');
SELECT * FROM fmoe_evaluate('evaluate_short');

SELECT fmoe_drop_domain('evaluate_visits'), fmoe_drop_domain('evaluate_known'), fmoe_drop_domain('evaluate_short');
DROP SCHEMA evaluate CASCADE;
