-- The user table of a domain: who reads it, what row-level security hides of it, and what becomes of the domain when it changes or goes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA users_table_test;
SET search_path = users_table_test, public;

CREATE TABLE films (id int PRIMARY KEY, genre text);
INSERT INTO films SELECT i, 'genre' || i % 5 FROM generate_series(1, 25) i;
CREATE TABLE shown (person int, film int, at int, clicked boolean);
INSERT INTO shown SELECT u, 1 + (u * 7 + s * 3) % 25, s, (u + s) % 3 = 0 FROM generate_series(1, 30) u, generate_series(1, 12) s;
CREATE TABLE people (id int PRIMARY KEY, region text, age_group int, note text);
INSERT INTO people SELECT u, 'region' || u % 3, u % 4, 'n' FROM generate_series(1, 30) u;
CREATE ROLE users_table_owner;
CREATE ROLE users_table_reader;
CREATE ROLE users_table_partial;
CREATE ROLE users_table_stranger;
GRANT USAGE ON SCHEMA users_table_test TO PUBLIC;
GRANT SELECT ON shown, films TO PUBLIC;
GRANT SELECT (id, region, age_group) ON people TO users_table_owner, users_table_reader;
GRANT SELECT (id, region) ON people TO users_table_partial;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO users_table_owner, users_table_partial;
-- the error of a statement, by its SQLSTATE, or what it gives
CREATE FUNCTION code(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE statement INTO answer;
	RETURN COALESCE(answer, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

-- registering takes SELECT on the key and each column
SET ROLE users_table_partial;
SELECT code($$SELECT fmoe_create_domain('known', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}', users => 'people', user_key => 'id', user_category_columns => '{region,age_group}')$$);
SET ROLE users_table_owner;
SELECT code($$SELECT fmoe_create_domain('known', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}', users => 'people', user_key => 'id', user_category_columns => '{region,note}')$$);
SELECT code($$SELECT fmoe_create_domain('known', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}', users => 'people', user_key => 'note', user_category_columns => '{region}')$$);
SELECT code($$SELECT fmoe_create_domain('known', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}', users => 'people', user_category_columns => '{region}')$$);
SELECT code($$SELECT fmoe_create_domain('known', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}', user_key => 'id')$$);
SELECT code($$SELECT fmoe_create_domain('known', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}', users => 'people', user_key => 'id', user_category_columns => '{region,nothing}')$$);
SELECT fmoe_create_domain('known', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}', users => 'people', user_key => 'id', user_category_columns => '{region,age_group}');
CALL fmoe_train('known', '{"model": "mrff", "groups": 1, "epochs": 3, "layers": 1, "learning_rate": 0.05, "deploy": false, "holdout": "none"}');
RESET ROLE;

-- and so does asking
CREATE TABLE asked (n int, who text, score real[]);
GRANT ALL ON asked TO PUBLIC;
CREATE FUNCTION ask(n int, u int) RETURNS text LANGUAGE sql AS $$
	INSERT INTO asked SELECT n, current_user, array_agg(score ORDER BY item_id)
	FROM fmoe_recommend(u, 25, 'known', version => 1, exclude_seen => false) RETURNING cardinality(score) || ' scores'
$$;
SET ROLE users_table_reader;
SELECT code('SELECT ask(1, 7)');
SET ROLE users_table_partial;
SELECT code('SELECT ask(1, 7)');
SET ROLE users_table_stranger;
SELECT code('SELECT ask(1, 7)');
RESET ROLE;
SELECT ask(1, 7);

-- a row that row-level security hides is that of a user of whom nothing is known
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY one ON people TO users_table_reader USING (id <> 7);
CREATE POLICY others ON people TO users_table_owner USING (region <> 'region2');
SELECT ask(2, 7);
SET ROLE users_table_reader;
SELECT code('SELECT ask(2, 7)');
RESET ROLE;
DELETE FROM people WHERE id = 7;
SELECT ask(3, 7);
INSERT INTO people VALUES (7, 'region1', 3, 'n');
SELECT a.n, a.who = 'users_table_reader' AS reader, a.score = b.score AS as_before, a.score = c.score AS as_without
FROM asked a, asked b, asked c WHERE b.n = 1 AND b.who <> 'users_table_reader' AND c.n = 3 ORDER BY 1, 2;

-- training learns the names of what its caller may see, no others
SET ROLE users_table_owner;
CALL fmoe_train('known', '{"model": "mrff", "groups": 1, "epochs": 1, "layers": 1, "deploy": false, "holdout": "none"}');
RESET ROLE;
CREATE FUNCTION names() RETURNS TABLE (version int, region int, age_group int) LANGUAGE sql AS $$
	SELECT v.version, max(t.shape[1]) FILTER (WHERE t.name = 'user_feature.category_1.category.name_offset') - 1,
		max(t.shape[1]) FILTER (WHERE t.name = 'user_feature.category_2.category.name_offset') - 1
	FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = 'known' GROUP BY 1 ORDER BY 1
$$;
SELECT * FROM names();
ALTER TABLE people DISABLE ROW LEVEL SECURITY;

-- columns that change
ALTER TABLE people RENAME COLUMN region TO area;
SELECT code('SELECT ask(4, 7)');
SELECT code($$SELECT user_key || user_category_columns::text FROM fmoe.domains WHERE domain = 'known'$$);
ALTER TABLE people RENAME COLUMN area TO region;
SELECT code('SELECT ask(5, 7)');
ALTER TABLE people ALTER age_group TYPE text;
SELECT code('SELECT ask(6, 7)');
DROP POLICY one ON people;
DROP POLICY others ON people;
ALTER TABLE people ALTER id TYPE bigint;
SELECT code('SELECT ask(7, 7)');
ALTER TABLE people ALTER age_group TYPE point USING NULL;
SELECT code('SELECT ask(8, 7)');
CALL fmoe_train('known', '{"model": "mrff", "groups": 1, "epochs": 1, "layers": 1, "deploy": false, "holdout": "none"}');
ALTER TABLE people DROP COLUMN age_group;
SELECT code('SELECT ask(9, 7)');
CALL fmoe_train('known', '{"model": "mrff", "groups": 1, "epochs": 1, "layers": 1, "deploy": false, "holdout": "none"}');
SELECT fmoe_alter_domain('known', user_category_columns => '{region}');
SELECT code('SELECT ask(10, 7)');
CALL fmoe_train('known', '{"model": "mrff", "groups": 1, "epochs": 1, "layers": 1, "deploy": false, "holdout": "none"}');
SELECT a.n, a.score = b.score AS as_before FROM asked a, asked b WHERE b.n = 1 AND b.who <> 'users_table_reader' AND a.n > 3 ORDER BY 1;
SELECT * FROM names();

-- a table that goes
DROP TABLE people;
SELECT users, user_key FROM fmoe.domains WHERE domain = 'known';
SELECT code('SELECT ask(11, 7)');
CALL fmoe_train('known', '{"model": "mrff", "groups": 1, "epochs": 1, "layers": 1, "deploy": false, "holdout": "none"}');
SELECT * FROM fmoe_forget_user('known', '7');
SELECT fmoe_alter_domain('known', users => 0::regclass);
SELECT code('SELECT ask(12, 7)');
CALL fmoe_train('known', '{"model": "mrff", "groups": 1, "epochs": 1, "layers": 1, "deploy": false, "holdout": "none"}');
SELECT * FROM names();

SELECT fmoe_drop_domain('known');
REVOKE EXECUTE ON FUNCTION fmoe_create_domain FROM users_table_owner, users_table_partial;
DROP SCHEMA users_table_test CASCADE;
DROP ROLE users_table_owner, users_table_reader, users_table_partial, users_table_stranger;
