-- Items that a version does not know, but the item table does, are read by their features.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA newcomers_test;
SET search_path = newcomers_test, public;

-- listeners stay with a mood, which the songs' titles and kinds tell
CREATE TABLE plays AS
	SELECT u AS listener, 1 + (u % 3) * 20 + (u * 7 + s * s) % 20 AS song, s AS at
	FROM generate_series(1, 150) u, generate_series(1, 9) s;
CREATE TABLE songs AS
	SELECT song, mood || ' ' || (ARRAY['river', 'road', 'night', 'heart', 'train'])[1 + song % 5] AS title,
		ARRAY[mood, 'all'] AS kinds, (2.5 + song % 4)::numeric AS price, true AS on_sale,
		CASE WHEN song % 9 <> 0 THEN ARRAY[song % 3, 1, 0.5]::real[] END AS sound
	FROM (SELECT song, (ARRAY['calm', 'loud', 'sad'])[1 + (song - 1) / 20] AS mood FROM generate_series(1, 60) song) s;
SELECT fmoe_create_domain('newcomers', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song', available_column => 'on_sale',
	text_columns => '{title}', category_columns => '{kinds}', price_column => 'price', vector_columns => '{sound}');
CALL fmoe_train('newcomers', '{"model": "content"}');
CALL fmoe_train('newcomers', '{"model": "sasrec", "features": true, "width": 16, "layers": 1, "epochs": 15, "max_length": 10, "learning_rate": 0.01, "holdout": "none", "deploy": false}');
CALL fmoe_train('newcomers', '{"width": 16, "layers": 1, "epochs": 5, "max_length": 10, "learning_rate": 0.01, "holdout": "none", "deploy": false}');
CALL fmoe_train('newcomers', '{"features": true, "width": 16, "layers": 1, "epochs": 15, "max_length": 10, "learning_rate": 0.01, "holdout": "none", "deploy": false}');
CALL fmoe_train('newcomers', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 1, "deploy": false}');
SELECT version, model FROM fmoe.versions WHERE domain = 'newcomers' ORDER BY version;
SELECT fmoe_deploy('newcomers', 1);

INSERT INTO songs VALUES (101, 'sad river', '{sad,all}', 3.5, true, '{0,1,0.5}'), (102, 'loud train', '{loud,all}', 3.5, true, '{1,1,0.5}'),
	(103, 'calm road', '{calm,all}', 1, false, NULL);
INSERT INTO plays VALUES (500, 101, 1), (501, 102, 1), (502, 999, 1), (503, 103, 1);
-- histories of nothing else: answers of the same mood; nobody knows 999; what is not on sale is read, too
SELECT v, u, bool_and(r.item_id BETWEEN 41 AND 60) AS sad, bool_and(r.item_id BETWEEN 21 AND 40) AS loud, bool_and(r.item_id BETWEEN 1 AND 20) AS calm, min(source) AS source
	FROM generate_series(1, 5) v, generate_series(500, 503) u, fmoe_recommend(u, k => 3, domain => 'newcomers', version => v) r GROUP BY v, u ORDER BY v, u;
SELECT v, bool_and(r.item_id BETWEEN 41 AND 60) AS sad, min(source) AS source
	FROM generate_series(1, 5) v, fmoe_recommend_next(ARRAY[101, 999]::bigint[], k => 3, domain => 'newcomers', version => v) r GROUP BY v ORDER BY v;
-- candidates: those on sale that are not taken out, each once
SELECT v, count(*), count(DISTINCT r.item_id) AS different, array_agg(r.item_id ORDER BY r.item_id) FILTER (WHERE r.item_id > 60) AS newcomers
	FROM generate_series(1, 5) v, fmoe_recommend(5, k => 10, domain => 'newcomers', version => v, exclude_seen => false, candidates => ARRAY[102, 101, 1, 103, 999, 101]::bigint[]) r GROUP BY v ORDER BY v;
SELECT v, array_agg(r.item_id ORDER BY r.item_id) AS items
	FROM generate_series(1, 4) v, fmoe_recommend(5, k => 10, domain => 'newcomers', version => v, exclude_seen => false, exclude => ARRAY[101]::bigint[], filter => 'price > 2',
		candidates => ARRAY[102, 101, 1, 103, 999]::bigint[]) r GROUP BY v ORDER BY v;
SELECT array_agg(item_id) AS items FROM fmoe_recommend(500, domain => 'newcomers', candidates => ARRAY[101]::bigint[]);
-- listeners of the mood like them better
SELECT v, avg(s.score) FILTER (WHERE u % 3 = 2) > avg(s.score) FILTER (WHERE u % 3 = 0) AS sad_likes_it
	FROM generate_series(1, 4) v, generate_series(1, 30) u, fmoe_score(u, ARRAY[101]::bigint[], domain => 'newcomers', version => v) s GROUP BY v ORDER BY v;
SELECT v, s.item_id, s.score > '-Infinity' AS known FROM generate_series(1, 5) v, fmoe_score(5, ARRAY[101, 999, NULL, 7]::bigint[], domain => 'newcomers', version => v) s ORDER BY v, s.item_id;
-- what is similar, and by what
SELECT v, i, count(*) AS n, bool_and(r.item_id BETWEEN 41 AND 60) AS sad, min(source) AS source
	FROM generate_series(1, 5) v, unnest(ARRAY[101, 44, 999]::bigint[]) i, fmoe_similar(i, k => 3, domain => 'newcomers', version => v) r GROUP BY v, i ORDER BY i, v;
SELECT v, array_agg(r.item_id ORDER BY r.item_id) AS items FROM generate_series(1, 4) v, fmoe_similar(101::bigint, domain => 'newcomers', version => v, candidates => ARRAY[101, 102, 103, 999, 44]::bigint[]) r GROUP BY v ORDER BY v;
-- all users at once are told the same, with what they had and candidates that are new
CREATE VIEW everybody AS SELECT v, r.user_id, r.rank, r.item_id, r.score, r.source FROM generate_series(1, 5) v, fmoe_recommend_all('newcomers', k => 3, version => v) r;
SELECT v, count(*) AS users, bool_and(a.items = b.items AND a.source = b.source) AS same FROM (
	SELECT v, user_id, array_agg(item_id ORDER BY rank) AS items, min(source) AS source FROM everybody GROUP BY v, user_id) a,
	LATERAL (SELECT array_agg(item_id::text ORDER BY score DESC, item_id) AS items, min(source) AS source FROM fmoe_recommend(a.user_id::bigint, k => 3, domain => 'newcomers', version => v)) b
	GROUP BY v ORDER BY v;
SELECT v, count(*) AS rows, count(*) FILTER (WHERE a.item_id::integer > 60) > 0 AS newcomers, bool_and(abs(a.score - b.score) < 1e-4) AS same
	FROM generate_series(1, 4) v, fmoe_recommend_all('newcomers', k => 4, version => v, exclude_seen => false, users => '{500,501,5,7,999}', candidates => '{102,101,1,103,999,101}') a
	JOIN LATERAL fmoe_recommend(a.user_id::bigint, k => 4, domain => 'newcomers', version => v, exclude_seen => false, candidates => ARRAY[102, 101, 1, 103, 999, 101]::bigint[]) b ON b.item_id::text = a.item_id GROUP BY v ORDER BY v;
-- vectors of them, and of who had nothing else
SELECT v, cardinality(fmoe_embedding(101::bigint, 'newcomers', version => v)) = cardinality(fmoe_embedding(44::bigint, 'newcomers', version => v)) AS item,
	fmoe_embedding(999::bigint, 'newcomers', version => v) IS NULL AS unknown, fmoe_embedding(500::bigint, 'newcomers', 'user', version => v) IS NOT NULL AS listener FROM unnest('{2,4}'::integer[]) v;
SELECT v, abs(s.score - p.product) < 1e-3 AS product_is_score FROM unnest('{2}'::integer[]) v, fmoe_score(500, ARRAY[102]::bigint[], domain => 'newcomers', version => v) s,
	LATERAL (SELECT sum(a * b) AS product FROM unnest(fmoe_embedding(102::bigint, 'newcomers', version => v), fmoe_embedding(500::bigint, 'newcomers', 'user', version => v)) t(a, b)) p;
-- shares add up
SELECT v, bool_and(abs(score - sum) < 1e-4) AS adds_up FROM (
	SELECT v, e.item_id, max(e.score) AS score, sum(e.contribution) FILTER (WHERE e.part NOT IN ('word', 'history')) AS sum
		FROM generate_series(1, 4) v, fmoe_explain(500, k => 5, domain => 'newcomers', version => v, exclude_seen => false, candidates => ARRAY[101, 102, 7]::bigint[]) e GROUP BY v, e.item_id) e GROUP BY v ORDER BY v;

-- a refresh would say the same, but for how rare words then are and where prices stand
CREATE TABLE said AS SELECT v, u, s.* FROM generate_series(1, 4) v, generate_series(500, 501) u, fmoe_score(u, ARRAY[101, 102, 7, 27, 47]::bigint[], domain => 'newcomers', version => v) s;
SELECT fmoe_deploy('newcomers', 2);
SELECT fmoe_refresh('newcomers');
SELECT fmoe_deploy('newcomers', 4);
SELECT fmoe_refresh('newcomers');
SELECT s.v, max(abs(s.score - r.score)) < 0.3 AS near FROM said s, LATERAL fmoe_score(s.u, ARRAY[s.item_id], domain => 'newcomers', version => CASE s.v WHEN 2 THEN 6 ELSE 7 END) r
	WHERE s.v IN (2, 4) GROUP BY s.v ORDER BY s.v;

-- who may read the key and not the rest knows nothing of them; nor does anybody what is no longer there
CREATE ROLE newcomers_guest;
GRANT USAGE ON SCHEMA newcomers_test TO newcomers_guest;
GRANT SELECT ON plays TO newcomers_guest;
GRANT SELECT (song, on_sale) ON songs TO newcomers_guest;
SET ROLE newcomers_guest;
SELECT v, min(source) AS source, count(*) FROM generate_series(1, 4) v, fmoe_recommend(500, k => 3, domain => 'newcomers', version => v) r GROUP BY v ORDER BY v;
RESET ROLE;
DROP OWNED BY newcomers_guest;
DROP ROLE newcomers_guest;
ALTER TABLE songs DROP COLUMN sound;
ALTER TABLE songs ALTER price TYPE text;
SELECT v, bool_and(r.item_id BETWEEN 41 AND 60) AS sad FROM generate_series(1, 4) v, fmoe_recommend(500, k => 3, domain => 'newcomers', version => v) r GROUP BY v ORDER BY v;
UPDATE songs SET title = NULL, kinds = NULL WHERE song = 101;
SELECT v, count(*) FROM generate_series(1, 4) v, fmoe_recommend(500, k => 3, domain => 'newcomers', version => v) r GROUP BY v ORDER BY v;

-- what was in one basket with an item like it
CREATE TABLE carts AS SELECT u AS listener, 1 + (u % 3) * 20 + (u * 7 + s) % 20 AS song, u AS at FROM generate_series(1, 90) u, generate_series(1, 4) s;
SELECT fmoe_create_domain('newcomer_carts', 'carts', 'listener', 'song', 'at', items => 'songs', item_key => 'song', text_columns => '{title}', category_columns => '{kinds}');
DELETE FROM songs WHERE song > 60;
CALL fmoe_train('newcomer_carts', '{"model": "content"}');
INSERT INTO songs VALUES (101, 'sad river', '{sad,all}', '3.5', true), (102, 'loud train', '{loud,all}', '3.5', true);
SELECT i, count(*) AS n, bool_and(item_id BETWEEN 41 AND 60) AS sad, bool_and(item_id BETWEEN 21 AND 40) AS loud, bool_and(baskets > 0) AS baskets
	FROM unnest(ARRAY[101, 102, 999]::bigint[]) i, fmoe_together(ARRAY[i], k => 3, domain => 'newcomer_carts') GROUP BY i ORDER BY i;
-- more unknown items than a call takes are said to be left out
SELECT count(*) FROM fmoe_recommend(1, k => 3, domain => 'newcomer_carts', candidates => (SELECT array_agg(n) FROM generate_series(1000, 67000) n) || ARRAY[1, 2]::bigint[]);
SELECT fmoe_drop_domain('newcomer_carts');

SELECT fmoe_drop_domain('newcomers');
DROP SCHEMA newcomers_test CASCADE;
