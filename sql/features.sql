-- The item table as features of a version: what is read, of whom, and what is odd.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA features_test;
SET search_path = features_test, public;

-- numbers of a version's array, as PostgreSQL on a little-endian machine has them
CREATE FUNCTION stored(domain text, array_name text) RETURNS bytea LANGUAGE sql AS $$
	SELECT string_agg(t.data, '' ORDER BY part) FROM fmoe.tensor t JOIN fmoe.version v USING (version_id)
	JOIN fmoe.domain d USING (domain_id)
	WHERE d.name = domain AND t.name = array_name AND v.version = (SELECT max(version) FROM fmoe.version x WHERE x.domain_id = d.domain_id)
$$;
CREATE FUNCTION number(data bytea, at bigint, bytes integer) RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(get_byte(data, (at * bytes + i)::integer)::bigint << (8 * i))::bigint FROM generate_series(0, bytes - 1) i
$$;
CREATE FUNCTION real_at(data bytea, at bigint) RETURNS real LANGUAGE sql AS $$
	SELECT CASE WHEN bits & 2139095040 = 2139095040 THEN 'NaN'
		WHEN bits = 0 THEN 0
		ELSE ((CASE WHEN bits >> 31 & 1 = 1 THEN -1 ELSE 1 END) * (1 + (bits & 8388607) / 8388608.0::float8)
			* 2.0::float8 ^ ((bits >> 23 & 255) - 127))::real END
	FROM number(data, at, 4) bits
$$;
CREATE FUNCTION term_name(domain text, feature text, term bigint) RETURNS text LANGUAGE sql AS $$
	SELECT convert_from(substring(stored(domain, feature || '.name_bytes') FROM n.first + 1 FOR n.last - n.first), 'UTF8')
	FROM (SELECT number(o, term, 8)::integer AS first, number(o, term + 1, 8)::integer AS last
		FROM stored(domain, feature || '.name_offset') o) n
$$;
-- the items of a version in their order, and each one's terms
CREATE FUNCTION bag(domain text, feature text) RETURNS TABLE (item bigint, terms text) LANGUAGE sql AS $$
	WITH a AS (SELECT stored(domain, 'vocabulary.integer') AS id, stored(domain, feature || '.offset') AS o,
		stored(domain, feature || '.term') AS t, stored(domain, feature || '.weight') AS w)
	SELECT number(a.id, i, 8), string_agg(term_name(domain, feature, number(a.t, k, 4)) ||
		CASE WHEN w IS NULL OR real_at(a.w, k) = 1 THEN '' ELSE ' ' || round(real_at(a.w, k)::numeric, 3) END, ', ' ORDER BY k)
	FROM a, generate_series(0, length(a.id) / 8 - 1) i
	LEFT JOIN LATERAL generate_series(number(a.o, i, 8), number(a.o, i + 1, 8) - 1) k ON true
	GROUP BY 1 ORDER BY 1
$$;
CREATE FUNCTION dense(domain text, feature text, width integer) RETURNS TABLE (item bigint, numbers real[]) LANGUAGE sql AS $$
	WITH a AS (SELECT stored(domain, 'vocabulary.integer') AS id, stored(domain, feature || '.value') AS v)
	SELECT number(a.id, i, 8), array_agg(real_at(a.v, i * width + c) ORDER BY c)
	FROM a, generate_series(0, length(a.id) / 8 - 1) i, generate_series(0, width - 1) c
	GROUP BY 1 ORDER BY 1
$$;
CREATE VIEW arrays AS
	SELECT d.name AS domain, t.name, t.dtype, t.shape FROM fmoe.tensor t JOIN fmoe.version v USING (version_id)
	JOIN fmoe.domain d USING (domain_id)
	WHERE t.name LIKE 'feature.%' AND part = 0 AND v.version = (SELECT max(version) FROM fmoe.version x WHERE x.domain_id = d.domain_id);

CREATE TABLE orders (customer bigint, product bigint, at timestamptz);
INSERT INTO orders SELECT c, p, timestamptz '2024-01-01 UTC' + p * interval '1 day'
	FROM (VALUES (1, 1), (1, 2), (2, 2), (2, 3), (2, 9), (3, 1), (3, 3)) AS o (c, p);
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TABLE products (id integer, title text, tags varchar(40)[], blurb text, kind text, shelf smallint,
	colors color[], cost numeric, look real[], feel double precision[]);
INSERT INTO products (id, title, tags, blurb, kind, shelf, colors, cost, look, feel) VALUES
	(1, 'Green TEA, green', '{}', 'not counted', ' Hot drinks ', 1, '{red,green}', 4.50, '{1,2}', '{1,0,0}'),
	(2, NULL, '{leaf,NULL,"old leaf"}', 'black 茶 of 1872', 'Hot drinks', 2, '{green,NULL}', 9, '{3,NULL}', '{1e300,0,0}'),
	(3, ' -- ', NULL, repeat('word ', 39) || 'forty and more', '', NULL, '{}', 0, NULL, '{0,NaN,1}'),
	(4, 'Never chosen', NULL, NULL, 'Hot drinks', 2, NULL, 'NaN', '{4,5}', NULL),
	(5, '', '{}', '', NULL, NULL, NULL, -1, '{}', '{}'),
	(6, 'Costs as much', NULL, NULL, 'Cold drinks', 1, NULL, 9.00, '{6,7}', '{0,1,0}'),
	(NULL, 'of no item', NULL, NULL, 'none', 7, NULL, 1, '{8,8}', '{8,8,8}');
SELECT fmoe_create_domain('shop', 'orders', 'customer', 'product', 'at', items => 'products', item_key => 'id',
	text_columns => '{title,tags,blurb}', category_columns => '{kind,shelf,colors}', price_column => 'cost',
	vector_columns => '{look,feel}');
CREATE FUNCTION train(domain text DEFAULT 'shop') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CALL fmoe_train(%L, %L)', domain, '{"model": "content", "holdout": "none", "deploy": false}');
	RETURN (SELECT string_agg(format('%s %s', name, shape), ', ' ORDER BY name) FROM arrays a WHERE a.domain = train.domain);
END
$$;
SET client_min_messages = notice;
SELECT regexp_replace(train(), ', ', E'\n', 'g');
SET client_min_messages = warning;
SELECT * FROM bag('shop', 'feature.text.text');
SELECT term_name('shop', 'feature.text.text', n) AS word, real_at(stored('shop', 'feature.text.text.scale'), n) AS scale
	FROM generate_series(0, 3) n;
SELECT * FROM dense('shop', 'feature.vector_1.vector', 2);
SELECT * FROM dense('shop', 'feature.vector_2.vector', 3);

-- what nothing is known of, is no item's: the catalogue is the items of both tables
SELECT items, events FROM fmoe.versions WHERE domain = 'shop';
SELECT item_id FROM fmoe_recommend_next('{2}'::bigint[], 10, domain => 'shop', version => 1);
SELECT item_id FROM fmoe_similar(4::bigint, 2, domain => 'shop', version => 1);

-- the same rows in another order, and rows of one key, are the same features
CREATE TABLE other_products AS SELECT * FROM products ORDER BY cost DESC NULLS FIRST, title;
SELECT fmoe_create_domain('other', 'orders', 'customer', 'product', 'at', items => 'other_products', item_key => 'id',
	text_columns => '{title,tags,blurb}', category_columns => '{kind,shelf,colors}', price_column => 'cost',
	vector_columns => '{look,feel}');
SELECT train('other') = train('shop') AS same_arrays;
SELECT count(*), bool_and(stored('other', name) = stored('shop', name)) AS same FROM arrays WHERE domain = 'shop';
INSERT INTO other_products (id, title, kind, look) VALUES (1, 'green', 'Hot drinks', '{0,9}'), (9, 'of another row', NULL, NULL);
INSERT INTO other_products (id, title, look) VALUES (9, NULL, '{7,7}');
SET client_min_messages = notice;
SELECT train('other') IS NOT NULL;
SET client_min_messages = warning;
SELECT * FROM bag('other', 'feature.text.text') WHERE item IN (1, 9);
SELECT * FROM dense('other', 'feature.vector_1.vector', 2) WHERE item IN (1, 9);

-- long texts, hostile ones, and a catalogue of which most has no text
CREATE TABLE long_products (id bigint, title text, cat text);
INSERT INTO long_products VALUES (1, repeat('lorem ipsum ', 9000), repeat('x', 1000)), (2, repeat('é', 60000), ''),
	(3, U&'\FEFF \200B\FFFD \0001 \D83D\DE00', E'\t\r\n'), (4, '東京タワー', '茶'), (5, 'القهوة العربية', 'МОСКВА');
INSERT INTO long_products SELECT i, NULL, NULL FROM generate_series(6, 3000) i;
SELECT fmoe_create_domain('long', 'orders', 'customer', 'product', 'at', items => 'long_products', item_key => 'id',
	text_columns => '{title}', category_columns => '{cat}');
SELECT train('long') IS NOT NULL;
-- psql's versions do not agree on how wide these are
\pset format unaligned
SELECT item, left(terms, 60) AS terms, length(terms) FROM bag('long', 'feature.text.text') WHERE terms IS NOT NULL OR item = 9;
\pset format aligned

-- nothing known: no features, and the catalogue is there all the same
UPDATE long_products SET title = ' ', cat = NULL;
SELECT train('long');
SELECT items FROM fmoe.versions WHERE domain = 'long' AND version = 2;
-- a class that reads nothing leaves the item table alone
CALL fmoe_train('long', '{"model": "popularity", "holdout": "none", "deploy": false}');
SELECT items FROM fmoe.versions WHERE domain = 'long' AND version = 3;
SELECT count(*) FROM arrays WHERE domain = 'long';

-- what cannot be read
INSERT INTO other_products (id, look) VALUES (7, '{1,2,3}');
SELECT train('other');
DELETE FROM other_products WHERE id = 7;
ALTER TABLE other_products ALTER feel TYPE text USING 'text';
SELECT train('other');
ALTER TABLE other_products DROP feel;
SELECT train('other');
SELECT fmoe_alter_domain('other', vector_columns => '{look}');
SELECT train('other') IS NOT NULL;
DROP TABLE other_products;
SELECT train('other');
SELECT fmoe_alter_domain('other', items => '0');
SELECT train('other');
CREATE TABLE wide (id bigint, t1 text, t2 text, t3 text, t4 text, t5 text, t6 text, t7 text, t8 text, t9 text, t10 text, t11 text);
SELECT fmoe_alter_domain('other', items => 'wide', item_key => 'id', category_columns => '{t1,t2,t3,t4,t5,t6,t7,t8,t9,t10,t11}');
SELECT fmoe_drop_domain('other', true);

-- vectors of another type that has a cast, as pgvector's have
CREATE TYPE vector AS (numbers real[]);
CREATE FUNCTION numbers(vector) RETURNS real[] LANGUAGE sql IMMUTABLE AS 'SELECT $1.numbers';
CREATE TABLE looks (id bigint, look vector);
INSERT INTO looks VALUES (1, row('{1,2,3}')), (2, NULL), (3, row('{3,2,1}'));
SELECT fmoe_create_domain('looks', 'orders', 'customer', 'product', 'at', items => 'looks', item_key => 'id', vector_columns => '{look}');
SELECT train('looks');
CREATE CAST (vector AS real[]) WITH FUNCTION numbers(vector);
SELECT train('looks');
SELECT * FROM dense('looks', 'feature.vector_1.vector', 3);
SELECT fmoe_drop_domain('looks', true);

-- as whom the item table is read
CREATE ROLE features_trainer;
CREATE ROLE features_stranger;
GRANT USAGE ON SCHEMA features_test TO features_trainer, features_stranger;
GRANT SELECT ON orders TO features_trainer;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO features_trainer;
GRANT SELECT (id, title) ON products TO features_trainer;
SET ROLE features_trainer;
SELECT fmoe_create_domain('secret', 'orders', 'customer', 'product', 'at', items => 'products', item_key => 'id', text_columns => '{blurb}');
SELECT fmoe_create_domain('secret', 'orders', 'customer', 'product', 'at', items => 'products', item_key => 'id', text_columns => '{title}');
RESET ROLE;
REVOKE SELECT (title) ON products FROM features_trainer;
SET ROLE features_trainer;
CALL fmoe_train('secret', '{"model": "content", "holdout": "none", "deploy": false}');
RESET ROLE;
GRANT SELECT (title) ON products TO features_trainer;
ALTER TABLE products ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_rows ON products USING (id > 3);
SET ROLE features_trainer;
CALL fmoe_train('secret', '{"model": "content", "holdout": "none", "deploy": false}');
RESET ROLE;
SELECT * FROM bag('secret', 'feature.text.text');
-- who may more does not read a stranger's view as himself
CREATE VIEW strange AS SELECT i AS id, current_user::text AS title FROM generate_series(1, 3) i;
ALTER VIEW strange OWNER TO features_stranger;
GRANT SELECT ON strange TO features_trainer;
SELECT fmoe_alter_domain('secret', items => 'strange', item_key => 'id', text_columns => '{title}');
SELECT train('secret') IS NOT NULL;
SELECT * FROM bag('secret', 'feature.text.text') WHERE item = 1;
SELECT fmoe_drop_domain('secret', true);
DROP OWNED BY features_trainer, features_stranger;
DROP ROLE features_trainer, features_stranger;

-- versions with features are evaluated, exported and imported, and stay what they are
CALL fmoe_train('shop', '{"model": "content", "holdout": "test", "deploy": false}');
SELECT DISTINCT model FROM fmoe_evaluate('shop', '{"version": 3, "k": [2]}') ORDER BY model;
SELECT fmoe_alter_domain('shop', sharing => 'full');
SELECT fmoe_import('shop', 'copy', fmoe_export('shop', 1)) AS copy \gset
SELECT bool_and(a.data = b.data) AS same, count(*) FROM fmoe.tensor a JOIN fmoe.tensor b USING (name, part)
	JOIN fmoe.version v ON v.version_id = a.version_id JOIN fmoe.version w ON w.version_id = b.version_id
	WHERE v.domain_id = w.domain_id AND v.version = 1 AND w.version = :copy
	AND v.domain_id = (SELECT domain_id FROM fmoe.domain WHERE name = 'shop');
SELECT array_agg((a.item_id, a.score)) = array_agg((b.item_id, b.score)) AS same_answers
	FROM fmoe_recommend_next('{2,4}'::bigint[], 9, domain => 'shop', version => 1) WITH ORDINALITY a
	JOIN fmoe_recommend_next('{2,4}'::bigint[], 9, domain => 'shop', version => :copy) WITH ORDINALITY b USING (ordinality);

-- in databases of other encodings the words are the same
\set first_database :DBNAME
CREATE DATABASE features_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0;
CREATE DATABASE features_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
\c features_ascii
SET client_min_messages = warning;
CREATE EXTENSION fmoe;
CREATE TABLE orders (customer bigint, product bigint, at timestamptz);
INSERT INTO orders VALUES (1, 1, '2024-01-01'), (1, 2, '2024-01-02');
CREATE TABLE products (id bigint, title text, kind text);
INSERT INTO products VALUES (1, E'Caf\xE9 au lait', E'\xFF\xFE'), (2, 'Café 茶の湯', 'fine'), (3, E'\xE8\x8C', NULL);
SELECT fmoe_create_domain('ascii', 'orders', 'customer', 'product', 'at', items => 'products', item_key => 'id',
	text_columns => '{title}', category_columns => '{kind}');
CALL fmoe_train('ascii', '{"model": "content", "holdout": "none"}');
SELECT convert_from(data, 'UTF8') IS NOT NULL AS utf8, encode(data, 'escape') AS names FROM fmoe.tensor WHERE name = 'feature.text.text.name_bytes';
SELECT item_id FROM fmoe_recommend_next('{1}'::bigint[], 5);
\c features_latin1
\encoding UTF8
SET client_min_messages = warning;
CREATE EXTENSION fmoe;
CREATE TABLE orders (customer bigint, product bigint, at timestamptz);
INSERT INTO orders VALUES (1, 1, '2024-01-01'), (1, 2, '2024-01-02');
CREATE TABLE products (id bigint, title text);
INSERT INTO products VALUES (1, 'CAFÉ crème'), (2, 'Café noir'), (3, 'Thé');
SELECT fmoe_create_domain('latin1', 'orders', 'customer', 'product', 'at', items => 'products', item_key => 'id', text_columns => '{title}');
CALL fmoe_train('latin1', '{"model": "content", "holdout": "none"}');
SELECT encode(data, 'escape') AS names FROM fmoe.tensor WHERE name = 'feature.text.text.name_bytes';
SELECT item_id FROM fmoe_recommend_next('{1}'::bigint[], 5);
\c :first_database
SET client_min_messages = warning;
SET search_path = features_test, public;
DROP DATABASE features_ascii;
DROP DATABASE features_latin1;

SELECT fmoe_drop_domain(d, true) FROM unnest('{shop,long}'::text[]) d;
DROP SCHEMA features_test CASCADE;
