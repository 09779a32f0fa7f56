-- The user table, impressions in histories, rows of single users, and what is left of one who is forgotten.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA users_test;
SET search_path = users_test, public;

CREATE TABLE people (id int PRIMARY KEY, region text, age_group int);
INSERT INTO people SELECT u, 'region' || u % 3, u % 4 FROM generate_series(1, 30) u;
CREATE TABLE films (id int PRIMARY KEY, genre text);
INSERT INTO films SELECT i, 'genre' || i % 5 FROM generate_series(1, 25) i;
CREATE TABLE shown (person bigint, film int, at int, clicked boolean);
INSERT INTO shown SELECT u, 1 + (u * 7 + s * 3) % 25, s, (u + s) % 3 = 0 FROM generate_series(1, 30) u, generate_series(1, 12) s;
SELECT fmoe_create_domain('people', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}',
	users => 'people', user_key => 'id', user_category_columns => '{region,age_group}');
CALL fmoe_train('people', '{"model": "mrff", "private": true, "groups": 1, "epochs": 3, "layers": 1, "learning_rate": 0.05, "deploy": false}');
CALL fmoe_train('people', '{"model": "mrff", "private": true, "groups": 1, "federated": true, "epochs": 3, "layers": 1, "deploy": false, "clip": 0.5, "noise": 1, "sampling": 0.5}');

-- all that was shown trains; a version has the names of categories, and of no user which he has
SELECT version, events, users, metrics -> 'privacy' -> 'rounds' AS rounds, round((metrics -> 'privacy' ->> 'epsilon')::numeric, 2) AS epsilon
FROM fmoe.versions WHERE domain = 'people' ORDER BY version;
SELECT t.name, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
WHERE d.name = 'people' AND v.version = 1 AND t.name ~ '^user_feature.*(offset|term|name_bytes)$|private' ORDER BY 1;
SELECT v.version, count(*), count(DISTINCT octet_length(r.data)) AS lengths FROM fmoe.private_row r JOIN fmoe.version v USING (version_id)
	JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'people' GROUP BY 1 ORDER BY 1;

-- what a user is counts at once, and so does the user's row
CREATE TABLE before AS SELECT item_id, score FROM fmoe_recommend(7, 25, 'people', version => 1, exclude_seen => false);
UPDATE people SET region = 'region0', age_group = 0 WHERE id = 7;
SELECT count(*) FROM before b JOIN fmoe_recommend(7, 25, 'people', version => 1, exclude_seen => false) r USING (item_id) WHERE r.score <> b.score;
UPDATE people SET region = 'region1', age_group = 3 WHERE id = 7;
SELECT count(*) FROM before b JOIN fmoe_recommend(7, 25, 'people', version => 1, exclude_seen => false) r USING (item_id) WHERE r.score <> b.score;
SELECT count(*) AS same FROM fmoe_recommend_all('people', 25, version => 1, exclude_seen => false) r JOIN before b ON b.item_id::text = r.item_id
WHERE user_id = '7' AND abs(r.score - b.score) < 1e-4;

-- a user who is forgotten
\set VERBOSITY terse
SELECT * FROM fmoe_forget_user('people', 'x');
SELECT * FROM fmoe_forget_user('nowhere', '7');
\set VERBOSITY default
SELECT * FROM fmoe_forget_user('people', '07');
SELECT * FROM fmoe_forget_user('people', 7);
SELECT count(*) > 0 AS other FROM before b JOIN fmoe_recommend(7, 25, 'people', version => 1, exclude_seen => false) r USING (item_id) WHERE r.score <> b.score;
DELETE FROM shown WHERE person = 7;
SELECT * FROM fmoe_forget_user('people', '7') WHERE place = 'interactions';
SELECT count(*) FROM fmoe_recommend(7, 3, 'people', version => 1);

-- without a user table, users are as if nothing were known
SELECT fmoe_alter_domain('people', users => 0::regclass);
SELECT count(*) FROM fmoe_recommend(8, 3, 'people', version => 1);

-- rows go with their version, and with the domain
SELECT fmoe_drop_version('people', 1);
SELECT v.version, count(*) FROM fmoe.private_row r JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
WHERE d.name = 'people' GROUP BY 1;
SELECT fmoe_drop_domain('people');
SELECT count(*) FROM fmoe.private_row r WHERE NOT EXISTS (SELECT FROM fmoe.version v WHERE v.version_id = r.version_id);

DROP SCHEMA users_test CASCADE;
