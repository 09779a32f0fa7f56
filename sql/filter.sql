-- What the item table and a filter let through, and what was in the same basket.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA filter_test;
SET search_path = filter_test, public;
CREATE TABLE orders (customer bigint, product bigint, at timestamptz);
CREATE TABLE products (id bigint PRIMARY KEY, category text, price numeric, for_sale boolean DEFAULT true);
INSERT INTO products SELECT i, CASE WHEN i % 3 = 0 THEN 'toys' ELSE 'food' END, i FROM generate_series(1, 400) i;
-- baskets of three, in which 2n and 2n + 1 come together
INSERT INTO orders
	SELECT c, CASE n % 3 WHEN 0 THEN 1 + (c * 37 + n * 11) % 400 WHEN 1 THEN 2 * (1 + (c * 7 + n) % 199)
		ELSE 2 * (1 + (c * 7 + n - 1) % 199) + 1 END,
		timestamptz '2024-01-01 UTC' + (n / 3) * interval '1 day'
	FROM generate_series(1, 300) c, generate_series(0, 11) n;
SELECT fmoe_create_domain('shop', 'orders', 'customer', 'product', 'at', items => 'products', item_key => 'id');
SET fmoe.domain = 'shop';
CALL fmoe_train('shop', '{"model": "markov", "holdout": "none", "deploy": false}');
CALL fmoe_train('shop', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "holdout": "none", "deploy": false}');
SELECT fmoe_deploy('shop', 2);

-- the same rows as with these candidates, by each function, scan and version
CREATE FUNCTION same(wanted text, version integer) RETURNS TABLE (call text, rows bigint, same boolean) LANGUAGE plpgsql AS $$
DECLARE
	allowed bigint[];
BEGIN
	EXECUTE format('SELECT array_agg(id) FROM products WHERE %s', wanted) INTO allowed;
	RETURN QUERY SELECT 'recommend', count(*), array_agg(a) =
		(SELECT array_agg(b) FROM fmoe_recommend(7, 20, candidates => allowed, version => same.version) b)
		FROM fmoe_recommend(7, 20, filter => wanted, version => same.version) a;
	RETURN QUERY SELECT 'with candidates', count(*), array_agg(a) =
		(SELECT array_agg(b) FROM fmoe_recommend(7, 20, version => same.version,
			candidates => ARRAY(SELECT i FROM unnest(allowed) i WHERE i < 200)) b)
		FROM fmoe_recommend(7, 20, filter => wanted, version => same.version,
			candidates => ARRAY(SELECT generate_series(1, 199))) a;
	RETURN QUERY SELECT 'next', count(*), array_agg(a) =
		(SELECT array_agg(b) FROM fmoe_recommend_next('{4,5}'::bigint[], 20, candidates => allowed, version => same.version) b)
		FROM fmoe_recommend_next('{4,5}'::bigint[], 20, filter => wanted, version => same.version) a;
	RETURN QUERY SELECT 'all', count(*), array_agg((user_id, rank, item_id, source) ORDER BY user_id, rank) =
		(SELECT array_agg((user_id, rank, item_id, source) ORDER BY user_id, rank)
			FROM fmoe_recommend_all(k => 4, candidates => allowed::text[], version => same.version) b)
		FROM fmoe_recommend_all(k => 4, filter => wanted, version => same.version) a;
	RETURN QUERY SELECT 'similar', count(*), array_agg(a) =
		(SELECT array_agg(b) FROM fmoe_similar(17, 20, candidates => allowed, version => same.version) b)
		FROM fmoe_similar(17, 20, filter => wanted, version => same.version) a;
	RETURN QUERY SELECT 'explain', count(DISTINCT rank), array_agg(a) =
		(SELECT array_agg(b) FROM fmoe_explain(7, 5, candidates => allowed, version => same.version) b)
		FROM fmoe_explain(7, 5, filter => wanted, version => same.version) a;
	RETURN QUERY SELECT 'together', count(*), array_agg(a) =
		(SELECT array_agg(b) FROM fmoe_together('{4,5}'::bigint[], 20, candidates => allowed, version => same.version) b)
		FROM fmoe_together('{4,5}'::bigint[], 20, filter => wanted, version => same.version) a;
END
$$;
SELECT * FROM same('true', 1);
SELECT * FROM same('category = ''toys'' AND price < 300', 1);
SELECT * FROM same('category = ''toys'' AND price < 300', 2);
SELECT * FROM same('price > 20', 2);
SELECT * FROM same('price <= 40', 2);
SET fmoe.scan = 'exact';
SELECT * FROM same('category = ''toys''', 2);
RESET fmoe.scan;

-- one item in a hundred is exactly k rows, and fewer are all there are
SELECT count(*), bool_and(item_id % 100 = 0) FROM fmoe_recommend(7, 4, exclude_seen => false, filter => 'id % 100 = 0');
SELECT count(*) FROM fmoe_recommend(7, 10, exclude_seen => false, filter => 'id % 100 = 0');
SELECT count(*) FROM fmoe_recommend(7, filter => 'false');
SELECT count(*) FROM fmoe_recommend(7, filter => NULL);
SELECT count(*), count(DISTINCT user_id) FROM fmoe_recommend_all(k => 4, exclude_seen => false, filter => 'id % 100 = 0');
-- values by format(), comments and line ends, other tables, stable functions, the table's own name
SELECT count(*) FROM fmoe_recommend(7, filter => format('category = %L', 'it''s'));
SELECT count(*) FROM fmoe_recommend(7, filter => format('category = %L', 'toys') || ' -- and no more');
SELECT count(*) FROM fmoe_recommend(7, filter => E'category = ''toys''\n/* or what */ OR price < 3');
SELECT count(*) FROM fmoe_recommend(7, filter => 'now() > ''2024-01-01'' AND products.price = 3');
CREATE TABLE stock (product bigint, pieces int);
INSERT INTO stock VALUES (3, 10), (5, 0);
SELECT item_id FROM fmoe_recommend(7, filter => 'EXISTS (SELECT FROM stock WHERE product = id AND pieces > 0)');

-- evaluated once for a call site and filter, not for every user; and again where rows have changed
CREATE FUNCTION counted(price numeric) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF price = 1 THEN RAISE WARNING 'the filter is evaluated'; END IF;
	RETURN price < 100;
END
$$;
SELECT count(*) FROM generate_series(1, 50) u, fmoe_recommend(u, 2, filter => 'counted(price)');
SELECT count(*) FROM generate_series(1, 20) u, (VALUES ('price < 50'), ('counted(price)')) f (f), fmoe_recommend(u::bigint, 2, filter => f);
CREATE FUNCTION changing() RETURNS TABLE (cheap bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 2 LOOP
		RETURN QUERY SELECT count(*) FROM fmoe_recommend(7, 400, exclude_seen => false, filter => 'price < 11');
		UPDATE products SET price = 1000 WHERE price < 6;
	END LOOP;
END
$$;
BEGIN;
SELECT * FROM changing();
ROLLBACK;

-- not one condition, or one that may not be
CREATE SEQUENCE numbers;
CREATE FUNCTION later(n bigint DEFAULT nextval('numbers')) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT n > 0';
CREATE FUNCTION tried(filter text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text;
BEGIN
	PERFORM fmoe_recommend(7, filter => tried.filter);
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
	RETURN concat_ws(' | ', state, message, nullif(detail, ''));
END
$$;
SELECT f AS filter, tried(f) FROM unnest(ARRAY['true; DROP TABLE products', 'true;', 'DROP TABLE products', '', ' ', '-- nothing',
	'1) OR (1=1 --', '1=1) OR (1=1', 'true) --', '(true', 'true /*', 'true */ /*', '''unclosed', '$$unclosed', 'true, true',
	'true AS x', 'true x', 'ALL true', 'DISTINCT true', '*', 'products.*', 'true FROM stock', 'true WHERE true', 'true UNION SELECT true',
	'true ORDER BY 1', 'true LIMIT 1', 'true FOR UPDATE', 'true GROUP BY 1', 'true INTO other', 'price', 'price < ''x''', '$1', 'nothing = 1',
	'count(*) > 1', 'row_number() OVER () = 1', 'generate_series(1, 2) = 1',
	'pg_sleep(1) IS NULL', 'nextval(''numbers'') > 0', 'random() < 0.5', 'later()', 'id IN (SELECT nextval(''numbers''))',
	'EXISTS (SELECT FROM stock FOR UPDATE)', 'EXISTS (WITH gone AS (DELETE FROM stock RETURNING 1) SELECT FROM gone)',
	'EXISTS (SELECT FROM pg_sleep(1))', 'set_config(''fmoe.domain'', ''x'', false) IS NULL']) f;
SELECT last_value, is_called FROM numbers;
-- positions are the filter's own
SELECT count(*) FROM fmoe_recommend(7, filter => 'price < 5 AND colour = 1');
SELECT count(*) FROM fmoe_recommend(7, filter => 'price < 5 AND (');
SELECT count(*) FROM fmoe_recommend(7, filter => 'true; true');
SELECT count(*) FROM fmoe_recommend(7, filter => 'random() < 1');

-- rows that are gone, or not available, are not recommended
CREATE FUNCTION offered() RETURNS TABLE (by text, n bigint, gone bigint) LANGUAGE sql AS $$
	SELECT 'recommend', count(*), count(*) FILTER (WHERE item_id <= 300) FROM fmoe_recommend(7, 10, exclude_seen => false)
	UNION ALL SELECT 'most', count(*), count(*) FILTER (WHERE item_id <= 300) FROM fmoe_recommend(7, 300, exclude_seen => false)
	UNION ALL SELECT 'few', count(*), count(*) FILTER (WHERE item_id <= 300)
		FROM fmoe_recommend(7, 2, exclude_seen => false, candidates => '{1,2,3,301,302}')
	UNION ALL SELECT 'next', count(*), count(*) FILTER (WHERE item_id <= 300) FROM fmoe_recommend_next('{1,2}'::bigint[])
	UNION ALL SELECT 'all', count(*), count(*) FILTER (WHERE item_id::bigint <= 300) FROM fmoe_recommend_all(k => 3)
	UNION ALL SELECT 'many', count(*), count(*) FILTER (WHERE item_id <= 300)
		FROM generate_series(1, 100) u, fmoe_recommend(u::bigint, 3)
	UNION ALL SELECT 'similar', count(*), count(*) FILTER (WHERE item_id <= 300) FROM fmoe_similar(1)
	UNION ALL SELECT 'explain', count(DISTINCT rank), count(*) FILTER (WHERE item_id <= 300) FROM fmoe_explain(7, 3)
	UNION ALL SELECT 'filter', count(*), count(*) FILTER (WHERE item_id <= 300) FROM fmoe_recommend(7, filter => 'price > 290')
	UNION ALL SELECT 'together', count(*), count(*) FILTER (WHERE item_id <= 300) FROM fmoe_together('{1,2,3}'::bigint[], 300)
$$;
BEGIN;
DELETE FROM products WHERE id <= 300;
SELECT * FROM offered();
SELECT fmoe_deploy('shop', 1);
SELECT * FROM offered();
ROLLBACK;
BEGIN;
SELECT fmoe_alter_domain('shop', available_column => 'for_sale');
SELECT available_column FROM fmoe.domains WHERE domain = 'shop';
UPDATE products SET for_sale = CASE WHEN id <= 200 THEN false END WHERE id <= 300;
SELECT * FROM offered();
SELECT fmoe_alter_domain('shop', available_column => '');
SELECT sum(gone) > 0 FROM offered();
ROLLBACK;
-- and nothing else changes: the same rows as without an item table
CREATE TABLE kept AS SELECT u, r.* FROM generate_series(1, 100) u, fmoe_recommend(u::bigint) r;
BEGIN;
SELECT fmoe_alter_domain('shop', items => 0);
SELECT count(*) FROM (SELECT u, r.* FROM generate_series(1, 100) u, fmoe_recommend(u::bigint) r EXCEPT SELECT * FROM kept) s;
SELECT * FROM fmoe_recommend(7, filter => 'true');
ROLLBACK;
-- what the item table was
BEGIN;
ALTER TABLE products DROP COLUMN id;
SELECT * FROM fmoe_recommend(7);
ROLLBACK;
BEGIN;
DROP TABLE products;
SELECT * FROM fmoe_recommend(7);
ROLLBACK;
SELECT fmoe_alter_domain('shop', available_column => 'category');
SELECT fmoe_create_domain('other', 'orders', 'customer', 'product', 'at', available_column => 'for_sale');

-- a key of another type and range than the ids
BEGIN;
CREATE TABLE small (customer bigint, product smallint, at timestamptz);
INSERT INTO small SELECT customer, product, at FROM orders;
CREATE TABLE big (id bigint PRIMARY KEY);
INSERT INTO big SELECT id FROM products WHERE id <> 5 UNION ALL VALUES (5000000000);
SELECT fmoe_create_domain('small', 'small', 'customer', 'product', 'at', items => 'big', item_key => 'id');
CALL fmoe_train('small', '{"model": "markov", "holdout": "none"}');
SELECT count(*), count(*) FILTER (WHERE item_id = 5) FROM fmoe_recommend(7, 400, domain => 'small', exclude_seen => false);
SELECT count(*), count(*) FILTER (WHERE item_id = 5) FROM fmoe_recommend(7, 5, domain => 'small', exclude_seen => false, candidates => '{4,5,6}');
SELECT count(*) FROM fmoe_recommend(7, 400, domain => 'small', exclude_seen => false, filter => 'id < 10 OR id > 1000');
ROLLBACK;

-- unknown items have no score, and come last
SELECT item_id, score = '-Infinity' AS unknown, score IS NULL AS no_item FROM fmoe_score(7, ARRAY[1, 12345, NULL]);

-- baskets: 1 and 2 are together in four of five, 1 and 3 in two of five, one of them with an item twice
CREATE TABLE carts (customer text, product text, at timestamp);
INSERT INTO carts VALUES ('a', 'tea', '2024-01-01'), ('a', 'milk', '2024-01-01'), ('a', 'tea', '2024-01-01'),
	('a', 'tea', '2024-01-02'), ('a', 'milk', '2024-01-02'), ('a', 'cake', '2024-01-02'),
	('b', 'tea', '2024-01-01'), ('b', 'milk', '2024-01-01'), ('b', 'cake', '2024-01-01'),
	('b', 'milk', '2024-01-03'), ('b', 'tea', '2024-01-03'), ('c', 'rope', '2024-01-01'), ('c', 'soap', '2024-01-01'),
	('d', 'soap', '2024-01-01'), ('d', 'rope', '2024-01-02');
SELECT fmoe_create_domain('carts', 'carts', 'customer', 'product', 'at');
CALL fmoe_train('carts', '{"model": "popularity", "holdout": "none"}');
SELECT item_id, baskets, round(score::numeric, 4) AS score FROM fmoe_together('{tea}', domain => 'carts');
SELECT round(ln((4 + 5) / (4 * 4 / 7.0 + 5)), 4) AS milk, round(ln((2 + 5) / (4 * 2 / 7.0 + 5)), 4) AS cake;
SELECT item_id, baskets FROM fmoe_together('{tea,milk,tea,nothing,NULL}'::text[], domain => 'carts');
SELECT item_id, baskets FROM fmoe_together('{rope,tea}', 2, domain => 'carts', exclude => '{milk}');
SELECT item_id, pg_typeof(item_id), baskets FROM fmoe_together_as(NULL::varchar, ARRAY['soap'], domain => 'carts');
SELECT * FROM fmoe_together('{nothing}', domain => 'carts');
SELECT * FROM fmoe_together(NULL::text[], domain => 'carts');
SELECT item_id, baskets FROM fmoe_together(ARRAY[4::bigint], 1);
-- a version without these counts
SELECT fmoe_import('carts', 'fitted', (SELECT fmoe_fit(customer, product, at, '{"model": "popularity"}') FROM carts));
SELECT item_id FROM fmoe_together('{tea}', domain => 'carts', version => 2);

RESET fmoe.domain;
SELECT fmoe_drop_domain('shop');
SELECT fmoe_drop_domain('carts');
DROP SCHEMA filter_test CASCADE;
