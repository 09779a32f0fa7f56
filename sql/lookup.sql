-- Scores of given items, neighbours of an item, vectors.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA lookup_test;
CREATE TABLE lookup_test.visits (customer text, product bigint, at timestamptz);
INSERT INTO lookup_test.visits
	SELECT customer, product, timestamptz '2024-01-01 UTC' + number * interval '1 hour'
	FROM (VALUES ('ann', '{1,2,3,4}'::bigint[]), ('bob', '{1,2,3,5}'), ('cat', '{1,2,4}'), ('dan', '{2,3,4}'),
		('eve', '{3,4}'), ('flo', '{5}'), ('gil', '{6,7}')) h (customer, products),
		unnest(products) WITH ORDINALITY p (product, number);
SELECT fmoe_create_domain('visits', 'lookup_test.visits', 'customer', 'product', 'at');
SET fmoe.domain = 'visits';
CALL fmoe_train('visits', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "holdout": "none", "deploy": false}');
CALL fmoe_train('visits', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 2, "holdout": "none", "deploy": false}');
CALL fmoe_train('visits', '{"model": "markov", "holdout": "none", "deploy": false}');

-- nothing live: counts answer, vectors are refused
SELECT item_id FROM fmoe_similar(2::bigint, 3);
SELECT fmoe_embedding(2);

CREATE FUNCTION lookup_test.dot(a real[], b real[]) RETURNS double precision LANGUAGE sql
	RETURN (SELECT sum(x::double precision * y) FROM unnest(a, b) v (x, y));
CREATE FUNCTION lookup_test.check_version(wanted integer) RETURNS TABLE (property text, holds boolean)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM fmoe_deploy('visits', wanted);
	RETURN QUERY SELECT 'scores are those of the recommendations',
		(SELECT array_agg(s) FROM fmoe_score_as(NULL::bigint, 'ann', (SELECT array_agg(item_id) FROM fmoe_recommend_as(NULL::bigint, 'ann'))) s)
		= (SELECT array_agg((item_id, score)) FROM fmoe_recommend_as(NULL::bigint, 'ann'));
	RETURN QUERY SELECT 'a score is the product of two vectors',
		bool_and(abs(score - lookup_test.dot(fmoe_embedding('ann', kind => 'user'), fmoe_embedding(item_id))) < 1e-4)
		FROM fmoe_score_as(NULL::bigint, 'ann', ARRAY[1, 2, 3, 4, 5, 6, 7]::bigint[]);
	RETURN QUERY SELECT 'vectors have the width of the model',
		cardinality(fmoe_embedding(1)) = 8 AND cardinality(fmoe_embedding('flo', 'visits', 'user')) = 8;
	RETURN QUERY SELECT 'all other items are neighbours', count(*) = 6 AND NOT bool_or(item_id = 2)
		FROM fmoe_similar(2::bigint);
	RETURN QUERY SELECT 'by cosine', bool_and(abs(score - lookup_test.dot(a, b) / sqrt(lookup_test.dot(a, a) * lookup_test.dot(b, b))) < 1e-4)
		FROM (SELECT score, fmoe_embedding(2) AS a, fmoe_embedding(item_id) AS b FROM fmoe_similar(2::bigint)) s;
	RETURN QUERY SELECT 'best first', bool_and(score <= before)
		FROM (SELECT score, lag(score) OVER () AS before FROM fmoe_similar(2::bigint)) s WHERE before IS NOT NULL;
END
$$;
SELECT * FROM lookup_test.check_version(1);
SELECT * FROM lookup_test.check_version(2);

-- scores: in the order given, repeated as given, NULL for what has none
SELECT item_id, score = '-Infinity' AS unknown FROM fmoe_score_as(NULL::bigint, 'ann', ARRAY[7, 99, NULL, 1, 7]::bigint[]);
SELECT item_id, pg_typeof(item_id), score = '-Infinity' AS unknown FROM fmoe_score('ann'::text, ARRAY['7', '99', NULL]);
SELECT count(*) FROM fmoe_score('ann', ARRAY[[1, 2], [3, 4]]::text[]);
SELECT count(*) FROM fmoe_score('ann', '{}');
SELECT count(*) FROM fmoe_score(NULL, ARRAY[1]);
SELECT count(*) FROM fmoe_score('ann', NULL);
SELECT customer, (fmoe_score(customer, '{1,99}')).item_id FROM (VALUES ('ann'), (NULL), ('nobody')) v (customer);
SELECT a.score <> b.score AS other_history
	FROM fmoe_score('ann', '{3}', as_of => '2024-01-01 02:00 UTC') a, fmoe_score('ann', '{3}') b;
SELECT * FROM fmoe_score('ann', ARRAY['one']);

-- neighbours: text, unknown and NULL items
SELECT count(*), pg_typeof(min(item_id)) FROM fmoe_similar('2', 3);
SELECT count(*) FROM fmoe_similar('99');
SELECT count(*) FROM fmoe_similar(NULL::bigint);
SELECT count(*) FROM fmoe_similar('two');
SELECT count(*) FROM fmoe_similar('2', 0);

-- vectors: unknown and NULL ids, kinds
SELECT fmoe_embedding(99) IS NULL, fmoe_embedding(NULL) IS NULL, fmoe_embedding('nobody', kind => 'user') IS NULL,
	fmoe_embedding('1', NULL, NULL) = fmoe_embedding(1::smallint);
SELECT fmoe_embedding(1, kind => 'shop');

-- a version that only counts
SELECT fmoe_deploy('visits', 3);
SELECT item_id FROM fmoe_similar(2::bigint, 3);
SELECT array_agg(item_id ORDER BY score DESC, item_id) FROM fmoe_score_as(NULL::bigint, 'nobody', ARRAY[7, 6, 5, 4, 3, 2, 1]);
SELECT fmoe_embedding(2);
SELECT fmoe_embedding('ann', kind => 'user');

-- the data type of an item changes under a cached version
ALTER TABLE lookup_test.visits ALTER COLUMN product TYPE integer;
SELECT item_id FROM fmoe_similar(2::bigint, 3);
SELECT fmoe_alter_domain('visits', item_column => 'product');
SELECT item_id FROM fmoe_similar(2::bigint, 3);

RESET fmoe.domain;
SELECT fmoe_drop_domain('visits');
DROP SCHEMA lookup_test CASCADE;
