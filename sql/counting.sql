-- Experts that count, as models by themselves: what each of them recommends, and that it is served as it was counted.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA counting;
SET search_path = counting, public;

-- song n is followed by n + 1 on a ring of 40; those who come late all hear song 500
CREATE TABLE plays (listener int, song int, at timestamptz);
INSERT INTO plays SELECT u, (u + s) % 40, timestamptz '2024-01-01 UTC' + u * interval '1 day' + s * interval '1 minute'
	FROM generate_series(1, 100) u, generate_series(1, 8) s;
INSERT INTO plays SELECT u, 500, timestamptz '2024-06-01 UTC' FROM generate_series(1, 90) u;
SELECT fmoe_create_domain('counting', 'plays', 'listener', 'song', 'at');

-- what came soon after 5 and 6 comes first, then what came soon before
CALL fmoe_train('counting', '{"model": "sequence", "holdout": "none"}');
SELECT model, live FROM fmoe.versions WHERE domain = 'counting';
SELECT item_id, source FROM fmoe_recommend_next(ARRAY[5, 6]::bigint[], 3, 'counting');
-- the definition: of A(a, b) = (S + S'/2)(a, b) / sqrt(events of both) the rows of the history, by 0.8^age
WITH event AS (
	SELECT listener, song, row_number() OVER (PARTITION BY listener ORDER BY at) AS n FROM plays
), number AS (
	SELECT song, count(*)::float8 AS n FROM plays GROUP BY song
), pair AS (
	SELECT a.song AS a, b.song AS b, sum(0.8 ^ (b.n - a.n - 1))::float8 AS s
	FROM event a JOIN event b ON a.listener = b.listener AND b.n > a.n GROUP BY 1, 2
), near AS (
	SELECT a, b, sum(s) AS s FROM (SELECT a, b, s FROM pair UNION ALL SELECT b, a, s / 2 FROM pair) both_ways GROUP BY 1, 2
), expected AS (
	SELECT c.song, ln(1 + 100 * coalesce(sum(h.weight * s / sqrt(x.n * c.n)), 0)) / 2 + ln(1 + c.n) / 2000 AS score
	FROM number c CROSS JOIN (VALUES (5, 0.8::float8), (6, 1)) h (song, weight) JOIN number x ON x.song = h.song
	LEFT JOIN near ON near.a = h.song AND near.b = c.song GROUP BY c.song, c.n
)
SELECT count(*) AS songs, count(*) FILTER (WHERE abs(e.score - r.score) < 1e-5) AS agree
	FROM fmoe_recommend_next(ARRAY[5, 6]::bigint[], 100, 'counting', exclude_seen => false) r
	JOIN expected e ON e.song = r.item_id;

-- who heard 20 heard its neighbours on the ring, most of all the nearest
CALL fmoe_train('counting', '{"model": "neighbours", "holdout": "none"}');
SELECT array_agg(item_id ORDER BY item_id) AS nearest FROM fmoe_recommend_next(ARRAY[20]::bigint[], 4, 'counting', version => 2);
SELECT count(*) AS agree FROM fmoe_recommend_next(ARRAY[20]::bigint[], 100, 'counting', version => 2) r
	JOIN LATERAL (SELECT count(DISTINCT a.listener)::float8 AS users FROM plays a JOIN plays b USING (listener)
		WHERE a.song = 20 AND b.song = r.item_id) both_of ON true
	JOIN LATERAL (SELECT (SELECT count(*) FROM plays WHERE song = 20)::float8 AS x,
		(SELECT count(*) FROM plays WHERE song = r.item_id)::float8 AS y) n ON true
	WHERE abs(r.score - (ln(1 + 100 * users / sqrt(x * y)) / 2 + ln(1 + y) / 2000)) < 1e-5;

-- the last fifth of the events: mostly song 500, although others were chosen more often over all
CALL fmoe_train('counting', '{"model": "recent", "holdout": "none"}');
SELECT item_id FROM fmoe_recommend_next(ARRAY[1]::bigint[], 1, 'counting', version => 3);

-- what was had before, the last first; of use where the seen may come again
CALL fmoe_train('counting', '{"model": "repeat", "holdout": "none"}');
SELECT item_id FROM fmoe_recommend_next(ARRAY[3, 9, 27, 3]::bigint[], 3, 'counting', exclude_seen => false, version => 4);

-- each is judged beside popularity and transitions, with the holdout that it has
CALL fmoe_train('counting', '{"model": "sequence", "holdout": "test"}');
SELECT model, value IS NOT NULL AS judged FROM fmoe_evaluate('counting', '{"k": 10, "version": 5}') WHERE metric = 'ndcg' ORDER BY model;
-- all scores and parts agree
SELECT bool_and(abs(s.score - r.score) < 1e-6) AS scores
	FROM fmoe_recommend(7::bigint, 5, 'counting') r
	JOIN fmoe_score(7::bigint, ARRAY(SELECT DISTINCT song::bigint FROM plays), 'counting') s USING (item_id);
SELECT DISTINCT part, name FROM fmoe_explain(7::bigint, 1, 'counting') WHERE part = 'expert';

-- the aggregate takes them too, and gives the same answers
SELECT array_agg(item_id) AS next FROM fmoe_apply(
	(SELECT fmoe_fit(listener, song, at, '{"model": "sequence", "holdout": "none"}') FROM plays), ARRAY[5, 6]::bigint[], 3);

-- one event is enough
CREATE TABLE one (u int, i int, t int);
INSERT INTO one VALUES (1, 1, 1);
SELECT fmoe_create_domain('counting_one', 'one', 'u', 'i', 't');
CALL fmoe_train('counting_one', '{"model": "sequence"}');
CALL fmoe_train('counting_one', '{"model": "neighbours"}');
CALL fmoe_train('counting_one', '{"model": "recent"}');
CALL fmoe_train('counting_one', '{"model": "repeat"}');
SELECT model, live FROM fmoe.versions WHERE domain = 'counting_one' ORDER BY version;
SELECT item_id, source FROM fmoe_recommend(1::bigint, 1, 'counting_one', exclude_seen => false);

SELECT fmoe_drop_domain('counting'), fmoe_drop_domain('counting_one');
DROP SCHEMA counting CASCADE;
