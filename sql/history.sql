-- The query that reads a history is kept from call to call: it follows whatever changes under it.
-- Item n is followed by n + 1, so the first answer says which event was read as the last.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA history_test;
SET search_path = history_test, public;
CREATE TABLE visits (person text, item bigint, at int, thing bigint, moment int, liked int);
INSERT INTO visits
	SELECT u::text, n, n, n, n, 1 FROM generate_series(1, 20) u, generate_series(1, 30) n;
INSERT INTO visits VALUES
	('77', 1, 1, 10, 9, 1),
	('77', 2, 2, 12, 1, 1),
	('77', 4, 3, 14, 2, 0);
SELECT fmoe_create_domain('history', 'visits', 'person', 'item', 'at');
CALL fmoe_train('history', '{"model": "markov", "holdout": "none"}');
PREPARE ask AS SELECT item_id FROM fmoe_recommend_as(NULL::bigint, '77'::text, 1, 'history');
EXECUTE ask;
EXECUTE ask;

-- other columns
SELECT fmoe_alter_domain('history', item_column => 'thing');
EXECUTE ask;
SELECT fmoe_alter_domain('history', time_column => 'moment');
EXECUTE ask;
SELECT fmoe_alter_domain('history', item_column => 'item', time_column => 'at', label_column => 'liked');
EXECUTE ask;

-- a label of other types: each has a condition of its own
ALTER TABLE visits ALTER liked TYPE boolean USING liked > 0;
EXECUTE ask;
ALTER TABLE visits ALTER liked TYPE float8 USING CASE WHEN liked THEN 'NaN'::float8 ELSE 0.5 END;
EXECUTE ask;
ALTER TABLE visits ALTER liked TYPE text;
EXECUTE ask;
SELECT fmoe_alter_domain('history', label_column => '');
EXECUTE ask;

-- columns that are renamed, and another that takes the name
ALTER TABLE visits RENAME at TO was_at;
EXECUTE ask;
ALTER TABLE visits RENAME moment TO at;
EXECUTE ask;
SELECT fmoe_alter_domain('history', time_column => 'was_at');
EXECUTE ask;

-- a table that is renamed, and another that takes the name
ALTER TABLE visits RENAME TO stays;
CREATE TABLE visits (person text, item bigint, was_at int);
INSERT INTO visits VALUES ('77', 20, 1);
EXECUTE ask;
SELECT fmoe_alter_domain('history', interactions => 'visits');
EXECUTE ask;
ALTER SCHEMA history_test RENAME TO history_renamed;
CREATE SCHEMA history_test;
CREATE TABLE history_test.visits (person text, item bigint, was_at int);
INSERT INTO history_test.visits VALUES ('77', 22, 1);
EXECUTE ask;
DROP SCHEMA history_test CASCADE;
ALTER SCHEMA history_renamed RENAME TO history_test;
EXECUTE ask;

-- a table that is dropped and made again
DROP TABLE visits;
EXECUTE ask;
CREATE TABLE visits (person text, item bigint, was_at int);
INSERT INTO visits VALUES ('77', 24, 1);
EXECUTE ask;
SELECT fmoe_alter_domain('history', interactions => 'visits');
EXECUTE ask;

-- users of another type
ALTER TABLE visits ALTER person TYPE bigint USING person::bigint;
EXECUTE ask;
SELECT fmoe_alter_domain('history', user_column => 'person');
EXECUTE ask;

-- in one transaction, and back
BEGIN;
INSERT INTO visits VALUES (77, 26, 2);
EXECUTE ask;
SELECT fmoe_alter_domain('history', interactions => 'stays', user_column => 'person');
EXECUTE ask;
ALTER TABLE stays RENAME item TO product;
SELECT fmoe_alter_domain('history', item_column => 'product');
EXECUTE ask;
ROLLBACK;
EXECUTE ask;

-- the domain itself
SELECT fmoe_alter_domain('history', new_name => 'history of old');
EXECUTE ask;
SELECT fmoe_create_domain('history', 'stays', 'person', 'item', 'was_at');
EXECUTE ask;
CALL fmoe_train('history', '{"model": "markov", "holdout": "none"}');
EXECUTE ask;
SELECT fmoe_drop_domain('history');
SELECT fmoe_alter_domain('history of old', new_name => 'history');
EXECUTE ask;

-- a type of ids with operators of its own, which move
CREATE SCHEMA history_operators;
CREATE TYPE whom AS (number int);
CREATE FUNCTION whom_compare(whom, whom) RETURNS int LANGUAGE sql IMMUTABLE
	AS $$ SELECT pg_catalog.btint4cmp(($1).number, ($2).number) $$;
CREATE FUNCTION whom_hash(whom) RETURNS int LANGUAGE sql IMMUTABLE
	AS $$ SELECT pg_catalog.hashint4(($1).number) $$;
CREATE FUNCTION whom_equal(whom, whom) RETURNS boolean LANGUAGE sql IMMUTABLE
	AS $$ SELECT ($1).number OPERATOR(pg_catalog.=) ($2).number $$;
CREATE FUNCTION whom_less(whom, whom) RETURNS boolean LANGUAGE sql IMMUTABLE
	AS $$ SELECT ($1).number OPERATOR(pg_catalog.<) ($2).number $$;
CREATE OPERATOR history_operators.=== (FUNCTION = whom_equal, LEFTARG = whom, RIGHTARG = whom);
CREATE OPERATOR history_operators.<<< (FUNCTION = whom_less, LEFTARG = whom, RIGHTARG = whom);
CREATE OPERATOR CLASS whom_order DEFAULT FOR TYPE whom USING btree
	AS OPERATOR 1 history_operators.<<<, OPERATOR 3 history_operators.===, FUNCTION 1 whom_compare(whom, whom);
CREATE OPERATOR CLASS whom_hashes DEFAULT FOR TYPE whom USING hash
	AS OPERATOR 1 history_operators.===, FUNCTION 1 whom_hash(whom);
CREATE TABLE calls AS SELECT ROW(person)::whom AS person, item, was_at FROM visits;
SELECT fmoe_alter_domain('history', interactions => 'calls');
PREPARE ask_whom AS SELECT item_id FROM fmoe_recommend_as(NULL::bigint, ROW(77)::whom, 1, 'history');
EXECUTE ask_whom;
ALTER SCHEMA history_operators RENAME TO history_signs;
EXECUTE ask_whom;
CREATE SCHEMA history_operators;
CREATE FUNCTION never(whom, whom) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR history_operators.=== (FUNCTION = never, LEFTARG = whom, RIGHTARG = whom);
EXECUTE ask_whom;
ALTER OPERATOR history_signs.=== (whom, whom) SET SCHEMA history_test;
EXECUTE ask_whom;

-- a plan that is dropped while it runs: reading the view alters the domain and asks again
CREATE TABLE base AS SELECT u::bigint AS person, n::bigint AS item, n AS at, 1 AS liked
	FROM generate_series(1, 20) u, generate_series(1, 9) n WHERE u > 1 OR n < 6;
CREATE TABLE switch (on_ boolean, cursors text, other regclass);
CREATE VIEW endless AS SELECT 1::bigint AS person, 2::bigint AS item, 3 AS at, 1 AS liked;
CREATE VIEW circle AS SELECT * FROM endless;
CREATE OR REPLACE VIEW endless AS SELECT person, item, at, liked FROM circle;
CREATE FUNCTION meddle() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	name text;
	other_table regclass;
BEGIN
	UPDATE switch SET on_ = false WHERE on_ RETURNING cursors, other INTO name, other_table;
	IF FOUND THEN
		PERFORM fmoe_alter_domain('meddled', interactions => other_table, label_column => 'liked');
		BEGIN
			PERFORM * FROM fmoe_recommend_as(NULL::bigint, 1::bigint, 3, 'meddled');
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
		-- whatever was freed is written over
		FOR k IN 1..400 LOOP
			EXECUTE format('DECLARE %s%s CURSOR FOR SELECT (SELECT count(*) FROM pg_am WHERE oid > %s), %s', name, k, k, k);
		END LOOP;
		PERFORM fmoe_alter_domain('meddled', interactions => 'watched', label_column => 'liked');
		IF name = 'c' THEN
			RAISE EXCEPTION 'enough';
		END IF;
	END IF;
	RETURN true;
END $$;
CREATE VIEW watched AS SELECT person, item, at, liked FROM base WHERE meddle();
INSERT INTO switch VALUES (false, 'a', 'base');
SELECT fmoe_create_domain('meddled', 'watched', 'person', 'item', 'at', label_column => 'liked');
CALL fmoe_train('meddled', '{"model": "markov", "holdout": "none"}');
PREPARE ask_meddled AS SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 1::bigint, 1, 'meddled', exclude_seen => false);
EXECUTE ask_meddled;
UPDATE switch SET on_ = true;
EXECUTE ask_meddled;
SELECT * FROM switch;
UPDATE switch SET on_ = true, cursors = 'b', other = 'endless';
EXECUTE ask_meddled;
SELECT * FROM switch;
EXECUTE ask_meddled;
UPDATE switch SET on_ = true, cursors = 'c', other = 'base';
EXECUTE ask_meddled;
UPDATE switch SET on_ = false;
EXECUTE ask_meddled;

SELECT fmoe_drop_domain('meddled'), fmoe_drop_domain('history');
DROP SCHEMA history_operators CASCADE;
DROP SCHEMA history_test CASCADE;
DROP SCHEMA history_signs CASCADE;
