-- Weights: how much an event counts; what weighs 0 is context only.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA weights;
SET search_path = weights, public;

-- what was looked at often was bought seldom
CREATE TABLE shop (u int, i int, t int, w numeric);
INSERT INTO shop SELECT u, 1, 1, 0.5 FROM generate_series(1, 30) u;
INSERT INTO shop SELECT u, 2, 2, 4 FROM generate_series(1, 10) u;
INSERT INTO shop SELECT u, 3, 3, 0 FROM generate_series(1, 50) u;
INSERT INTO shop SELECT u, 4, 4, 1e-60 FROM generate_series(1, 5) u;
SELECT fmoe_create_domain('weights_shop', 'shop', 'u', 'i', 't', weight_column => 'w');
SET client_min_messages = notice;
CALL fmoe_train('weights_shop', '{"model": "popularity", "holdout": "none"}');
SET client_min_messages = warning;
SELECT item_id, score > 0 AS counts, round(score) FROM fmoe_recommend(1000, 4, 'weights_shop') ORDER BY score DESC, item_id;

-- context is part of the history, and seen: after 1 the next is 2 by weight, and after looking at 3 it is 5
CREATE TABLE path (u int, i int, t int, w real);
INSERT INTO path SELECT u, i, t, w FROM generate_series(1, 20) u, (VALUES (1, 1, 1), (2, 2, 3)) e(i, t, w);
INSERT INTO path SELECT u, i, t, w FROM generate_series(101, 140) u, (VALUES (1, 1, 1), (4, 2, 1)) e(i, t, w);
INSERT INTO path SELECT u, i, t, w FROM generate_series(201, 220) u, (VALUES (1, 1, 1), (3, 2, 0), (5, 3, 1)) e(i, t, w);
INSERT INTO path VALUES (777, 1, 1, 1), (778, 1, 1, 1), (778, 3, 2, 0), (779, 3, 1, 0), (780, 1, 1, 1), (780, 2, 2, NULL), (780, 4, 3, -1);
SELECT fmoe_create_domain('weights_path', 'path', 'u', 'i', 't', weight_column => 'w');
SET client_min_messages = notice;
CALL fmoe_train('weights_path', '{"model": "markov", "holdout": "none"}');
SET client_min_messages = warning;
SELECT u, (SELECT array_agg(item_id ORDER BY score DESC, item_id) FROM fmoe_recommend(u, 5, 'weights_path')) FROM unnest(ARRAY[777, 778, 779, 780]) u;
SELECT user_id, array_agg(item_id ORDER BY rank) FROM fmoe_recommend_all('weights_path', 2, users => '{777,778,779,780}') GROUP BY 1 ORDER BY 1;

-- a row that was not chosen has no weight to be asked for: it is seen
CREATE TABLE labelled AS SELECT *, true AS chosen FROM path WHERE w >= 0;
INSERT INTO labelled VALUES (777, 2, 2, NULL, false), (777, 4, 2, 'NaN', false);
SELECT fmoe_create_domain('weights_labelled', 'labelled', 'u', 'i', 't', 'chosen', weight_column => 'w');
SET client_min_messages = notice;
CALL fmoe_train('weights_labelled', '{"model": "markov", "holdout": "none"}');
SET client_min_messages = warning;
SELECT array_agg(item_id ORDER BY score DESC) FROM fmoe_recommend(777, 1, 'weights_labelled');

-- the last basket that counts is kept back, and what comes after it
CREATE TABLE held AS
	SELECT u, (u + n) % 20 AS i, n AS t, 1.0 AS w FROM generate_series(1, 60) u, generate_series(1, 4) n
	UNION ALL SELECT u, (u + 5) % 20, 5, 0 FROM generate_series(1, 60) u WHERE u <= 40
	UNION ALL SELECT u, (u + n + 7) % 20, n, 0 FROM generate_series(101, 110) u, generate_series(1, 5) n;
SELECT fmoe_create_domain('weights_held', 'held', 'u', 'i', 't', weight_column => 'w');
CALL fmoe_train('weights_held', '{"model": "markov", "holdout": "test", "deploy": false}');
SELECT metrics->'cases' AS cases, metrics->'repeated' AS repeated, metrics->'markov'->'hr@10' AS hit FROM fmoe.versions WHERE domain = 'weights_held';
SELECT metric, value, users FROM fmoe_evaluate('weights_held', '{"version": 1, "k": [1]}') WHERE model = 'markov' AND metric IN ('hr', 'repeated') ORDER BY metric;
INSERT INTO held SELECT u, (u + 9) % 20, 6, 0 FROM generate_series(1, 60) u UNION ALL SELECT u, (u + 10) % 20, 7, 0.5 FROM generate_series(1, 10) u;
SELECT metric, value, users FROM fmoe_evaluate('weights_held', '{"version": 1, "k": [1], "split": "time"}') WHERE model = 'markov' AND metric IN ('hr', 'repeated') ORDER BY metric;
UPDATE held SET w = 0 WHERE t > 1;
SELECT metric, value, users FROM fmoe_evaluate('weights_held', '{"version": 1, "k": [1]}') WHERE model = 'markov' AND metric = 'hr';
UPDATE held SET w = 0;
CALL fmoe_train('weights_held', '{"model": "markov"}');

-- weights of 1 are none, twice all weights is the same objective, and neither depends on who computes
CREATE TABLE walks (u int, i int, t int, w real, one real, half real);
INSERT INTO walks SELECT u, (u * 7 + n * n * (u % 5 + 1)) % 31, n, (u + n) % 4 / 2.0, 1, 0.5
	FROM generate_series(1, 80) u, generate_series(1, 9) n;
SELECT fmoe_create_domain(d, 'walks', 'u', 'i', 't', weight_column => c)
	FROM (VALUES ('weights_none', NULL), ('weights_one', 'one'), ('weights_half', 'half'), ('weights_w', 'w')) x(d, c);
CREATE PROCEDURE train_all(options jsonb) LANGUAGE plpgsql AS $$
BEGIN
	CALL fmoe_train('weights_none', options);
	CALL fmoe_train('weights_one', options);
	CALL fmoe_train('weights_half', options);
END $$;
CALL train_all('{"model": "sasrec", "epochs": 2, "width": 16, "blend": 0, "deploy": false}');
CALL train_all('{"model": "gru4rec", "epochs": 2, "width": 16, "blend": 0, "loss": "gbce", "deploy": false}');
SELECT model, count(*), count(DISTINCT metrics - 'popularity' - 'markov') FROM fmoe.versions
	WHERE domain IN ('weights_none', 'weights_one', 'weights_half') GROUP BY 1 ORDER BY 1;
CALL fmoe_train('weights_none', '{"model": "fmoe", "gate": "user", "count_experts": true, "epochs": 2, "width": 16, "deploy": false}');
CALL fmoe_train('weights_one', '{"model": "fmoe", "gate": "user", "count_experts": true, "epochs": 2, "width": 16, "deploy": false}');
SELECT count(*), count(DISTINCT metrics) FROM fmoe.versions WHERE domain IN ('weights_none', 'weights_one') AND model = 'fmoe';
CALL fmoe_train('weights_w', '{"model": "fmoe", "gate": "user", "count_experts": true, "epochs": 2, "width": 16, "workers": 0, "deploy": false}');
CALL fmoe_train('weights_w', '{"model": "fmoe", "gate": "user", "count_experts": true, "epochs": 2, "width": 16, "workers": 1, "deploy": false}');
CALL fmoe_train('weights_w', '{"model": "fmoe", "gate": "user", "count_experts": true, "epochs": 2, "width": 16, "workers": 3, "deploy": false}');
SELECT count(*), count(DISTINCT metrics) FROM fmoe.versions WHERE domain = 'weights_w';

-- what weighs 0 is in no basket that fmoe_together counts
CREATE TABLE orders (u int, i int, t int, w int);
INSERT INTO orders SELECT u, i, 1, w FROM generate_series(1, 20) u, (VALUES (1, 1), (2, 5), (3, 0)) e(i, w);
SELECT fmoe_create_domain('weights_orders', 'orders', 'u', 'i', 't', weight_column => 'w');
CALL fmoe_train('weights_orders', '{"model": "popularity", "holdout": "none"}');
SELECT item_id, baskets FROM fmoe_together(ARRAY[1], 5, 'weights_orders');

SELECT count(fmoe_drop_domain(domain)) FROM fmoe.domains WHERE domain LIKE 'weights\_%';
DROP SCHEMA weights CASCADE;
