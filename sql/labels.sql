-- Labels: what is positive was chosen; what is not was shown, which is no history, but counts as seen.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA labels_test;
SET search_path = labels_test, public;

-- item n is followed by n + 1; user 77 comes to item 4, after which 5 would come, then 6 and 7 by popularity
CREATE TABLE views (u int, i int, t int, label int);
INSERT INTO views SELECT u, n, n, 1 FROM generate_series(1, 20) u, generate_series(1, 10) n;
INSERT INTO views SELECT u, 5, 100, 1 FROM generate_series(1, 9) u;
INSERT INTO views VALUES (77, 4, 1, 1), (78, 11, 1, 0), (78, 5, 2, 0), (78, 5, 3, -1);
SELECT fmoe_create_domain('views', 'views', 'u', 'i', 't', 'label');
SET client_min_messages = notice;
CALL fmoe_train('views', '{"model": "markov", "holdout": "none"}');
SET client_min_messages = warning;
SELECT users, items, events FROM fmoe.versions WHERE domain = 'views';
SELECT item_id FROM fmoe_recommend_as(NULL::int, 77, 1, 'views');

-- shown and not chosen: 5 does not come back, and it is no last event either
INSERT INTO views VALUES (77, 5, 2, 0);
SELECT item_id, source FROM fmoe_recommend_as(NULL::int, 77, 3, 'views');
SELECT item_id FROM fmoe_recommend_as(NULL::int, 77, 1, 'views', as_of => to_timestamp(1));
SELECT item_id FROM fmoe_recommend_as(NULL::int, 77, 1, 'views', exclude_seen => false);
SELECT DISTINCT part, nth, name FROM fmoe_explain(77, 1, 'views');
-- chosen after all
INSERT INTO views VALUES (77, 5, 3, 1);
SELECT item_id FROM fmoe_recommend_as(NULL::int, 77, 1, 'views');
DELETE FROM views WHERE u = 77 AND t = 3;

-- a user to whom things were only shown is answered by popularity, without them
SELECT item_id, source FROM fmoe_recommend_as(NULL::int, 78, 2, 'views');
SELECT item_id, source FROM fmoe_recommend_as(NULL::int, 79, 1, 'views');
-- all users at once
SELECT a.user_id, a.item_ids = ARRAY(SELECT item_id FROM fmoe_recommend_as(NULL::int, a.user_id, 4, 'views')) AS same, a.item_ids
FROM (SELECT user_id, array_agg(item_id ORDER BY rank) AS item_ids
	FROM fmoe_recommend_all_as(NULL::int, NULL::int, 'views', 4) GROUP BY 1) a WHERE user_id IN (1, 77, 78) ORDER BY 1;
SELECT user_id, array_agg(item_id ORDER BY rank)
FROM fmoe_recommend_all_as(NULL::int, NULL::int, 'views', 2, false) WHERE user_id IN (77, 78) GROUP BY 1 ORDER BY 1;

-- an encoder answers all users at once in another way
CALL fmoe_train('views', '{"model": "sasrec", "epochs": 1, "width": 8, "holdout": "none", "deploy": false}');
SELECT fmoe_deploy('views', 2);
SELECT a.user_id, a.item_ids = ARRAY(SELECT item_id FROM fmoe_recommend_as(NULL::int, a.user_id, 8, 'views')) AS same, 5 = ANY (item_ids) AS shown
FROM (SELECT user_id, array_agg(item_id ORDER BY rank) AS item_ids
	FROM fmoe_recommend_all_as(NULL::int, NULL::int, 'views', 8) GROUP BY 1) a WHERE user_id IN (77, 78) ORDER BY 1;

-- every type of labels; what is none of 0, 1, true and false is told
CREATE TABLE typed AS SELECT u, i, t, label > 0 AS bool, label::smallint AS small, label::bigint AS big, label::real AS real,
	label::float8 AS double, label::numeric AS numeric, label * 1e-400 AS tiny, label * 4.5 AS stars FROM views;
SET client_min_messages = notice;
CREATE FUNCTION answers(label_column name) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	answer int[];
BEGIN
	PERFORM fmoe_create_domain('typed', 'typed', 'u', 'i', 't', label_column);
	CALL fmoe_train('typed', '{"model": "markov", "holdout": "none"}');
	answer := ARRAY(SELECT item_id FROM fmoe_recommend_as(NULL::int, 77, 2, 'typed'));
	PERFORM fmoe_drop_domain('typed');
	RETURN answer;
END $$;
SELECT c, answers(c) FROM unnest('{bool,small,big,real,double,numeric,tiny,stars}'::name[]) c;

-- rows that are left out, with their reasons
UPDATE typed SET real = 'NaN' WHERE u = 1 AND t < 3;
UPDATE typed SET real = NULL WHERE u = 2 AND t < 4;
ALTER TABLE typed ALTER t TYPE float8;
UPDATE typed SET t = 'infinity' WHERE u = 3 AND t = 1;
SELECT answers('real');
DELETE FROM typed WHERE real > 0;
SELECT answers('real');
SELECT fmoe_drop_domain('views');

-- weights: numbers that are not negative; what has none is left out, and so is what they cannot be
CREATE TABLE weighed (u int, i int, t int, w float8);
INSERT INTO weighed SELECT u, (u + n) % 8, n, 1 + n / 2.0 FROM generate_series(1, 40) u, generate_series(1, 5) n;
SELECT fmoe_create_domain('weighed', 'weighed', 'u', 'i', 't', weight_column => 'nothing');
SELECT fmoe_create_domain('weighed', 'typed', 'u', 'i', 't', weight_column => 'bool');
SELECT fmoe_create_domain('weighed', 'weighed', 'u', 'i', 't', weight_column => 'w');
SELECT weight_column FROM fmoe.domains WHERE domain = 'weighed';
CALL fmoe_train('weighed', '{"model": "markov", "holdout": "none"}');
UPDATE weighed SET w = -1 WHERE u = 1 AND t = 1;
UPDATE weighed SET w = 'NaN' WHERE u = 2 AND t = 1;
UPDATE weighed SET w = 'infinity' WHERE u = 3 AND t = 1;
UPDATE weighed SET w = NULL WHERE u = 4 AND t < 3;
UPDATE weighed SET w = 0 WHERE u = 5 AND t < 3;
CALL fmoe_train('weighed', '{"model": "markov", "holdout": "none"}');
SELECT count(*) FROM fmoe_recommend_as(NULL::int, 4, 3, 'weighed');
ALTER TABLE weighed ALTER w TYPE boolean USING true;
CALL fmoe_train('weighed', '{"model": "markov", "holdout": "none"}');
SELECT fmoe_alter_domain('weighed', weight_column => '');
SELECT weight_column FROM fmoe.domains WHERE domain = 'weighed';
SELECT fmoe_drop_domain('weighed');
SET client_min_messages = warning;

-- what is judged is what is served: 3 is followed by 4, and 9, 8 and 2 are chosen most often
CREATE TABLE judged (u int, i int, t float8, label int);
INSERT INTO judged SELECT u, n, n, 1 FROM generate_series(1, 20) u, generate_series(3, 4) n;
INSERT INTO judged SELECT 1000 + n, CASE WHEN n <= 100 THEN 9 WHEN n <= 150 THEN 8 ELSE 2 END, 1, 1 FROM generate_series(1, 180) n;
INSERT INTO judged SELECT u, i, t, 1 FROM generate_series(101, 145) u, (VALUES (1, 1), (3, 2), (9, 3), (2, 4)) e(i, t);
-- to these 4 was shown before they chose 9, and 8 before 2; to these 8 was shown with 2; these had been shown what they chose
INSERT INTO judged SELECT u, i, t, -1 FROM generate_series(101, 130) u, (VALUES (4, 2.5), (8, 3.5), (4, 7), (77, 2)) e(i, t);
INSERT INTO judged SELECT u, 8, 4, 0 FROM generate_series(131, 140) u;
INSERT INTO judged SELECT u, 2, 3.5, 0 FROM generate_series(141, 145) u;
INSERT INTO judged VALUES (888, 3, 1, 0);
SELECT fmoe_create_domain('judged', 'judged', 'u', 'i', 't', 'label');
CALL fmoe_train('judged', '{"model": "markov", "holdout": "test", "deploy": false}');
SELECT users, items, events FROM fmoe.versions WHERE domain = 'judged';
CREATE VIEW judgement AS
	SELECT metric, abs(value - CASE metric WHEN 'hr' THEN 30 / 40.0 WHEN 'mrr' THEN 35 / 40.0 WHEN 'repeated' THEN 5 / 45.0 END) < 1e-9 AS as_served, users
	FROM fmoe_evaluate('judged', '{"k": [1], "version": 1}') WHERE model = 'markov' AND metric IN ('hr', 'mrr', 'repeated');
SELECT * FROM judgement ORDER BY metric;
SELECT metric, value, users FROM fmoe_evaluate('judged', '{"k": [1], "version": 1, "exclude_seen": false}')
	WHERE model = 'markov' AND metric IN ('hr', 'repeated') ORDER BY metric;
-- the events kept back for validation alike: going live, early stopping, the blend
SELECT abs((metrics->'markov'->>'ndcg@10')::float8 - (30 + 15 / log(2, 3)::float8) / 45) < 1e-5 AS as_served, metrics->'cases' AS cases
	FROM fmoe.versions WHERE domain = 'judged';
-- items that the version does not know
INSERT INTO judged VALUES (2000, 0, 1, 1), (2000, 5, 2, 1), (101, 0, 3.5, 0), (131, 5, 3.5, 0);
SELECT * FROM judgement ORDER BY metric;
-- by whichever process
CALL fmoe_train('judged', '{"model": "fmoe", "gate": "user", "epochs": 2, "width": 8, "workers": 0, "deploy": false}');
CALL fmoe_train('judged', '{"model": "fmoe", "gate": "user", "epochs": 2, "width": 8, "workers": 1, "deploy": false}');
-- who evaluates says which rows are left out, too
INSERT INTO judged VALUES (1, NULL, 1, 1), (1, 3, 'NaN', 1);
SET client_min_messages = notice;
SELECT count(*) > 0 FROM fmoe_evaluate('judged', '{"version": 1}');
SELECT count(*) FROM fmoe_expert_report('judged', '{"version": 2}');
SET client_min_messages = warning;
SELECT count(*), count(DISTINCT metrics) FROM fmoe.versions WHERE domain = 'judged' AND model = 'fmoe';
-- however much was shown, memory is bounded
CREATE TABLE feed AS SELECT n % 500 AS u, n % 7000 AS i, n AS t, false AS chosen FROM generate_series(1, 100000) n;
INSERT INTO feed SELECT n, n % 10, n, true FROM generate_series(1, 100) n;
SELECT fmoe_create_domain('feed', 'feed', 'u', 'i', 't', 'chosen');
SET fmoe.max_memory = '6MB';
DO $$
BEGIN
	CALL fmoe_train('feed', '{"model": "popularity", "holdout": "none"}');
EXCEPTION WHEN program_limit_exceeded THEN
	RAISE WARNING '%', regexp_replace(SQLERRM, '[0-9]+ MB', 'some MB');
END $$;
RESET fmoe.max_memory;
CALL fmoe_train('feed', '{"model": "popularity", "holdout": "none"}');
SELECT users, items, events FROM fmoe.versions WHERE domain = 'feed';
SELECT fmoe_drop_domain('feed');
SELECT fmoe_drop_domain('judged');
SET client_min_messages = warning;
DROP SCHEMA labels_test CASCADE;
