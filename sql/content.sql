-- The expert content: from the first day on, by the words of the item table, and with its words in explanations.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA content;
SET search_path = content, public;

CREATE TABLE plays (listener int, song int, at timestamptz);
CREATE TABLE songs (song int, title text, notes text, genre text[]);
INSERT INTO songs VALUES (1, 'Red river blues', 'not read: there is a title', '{blues}'), (2, 'River of blues', NULL, '{blues,slow}'),
	(3, 'A red, red rose', NULL, '{folk}'), (4, 'Techno one', NULL, '{techno}'), (5, NULL, NULL, NULL),
	(6, '', 'Rose garden', '{country}'), (7, 'ÉTÉ rouge', NULL, NULL), (8, 'été', NULL, '{slow}');
SELECT fmoe_create_domain('content', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song',
	text_columns => '{title,notes}', category_columns => '{genre}');

-- nobody has played anything yet
CALL fmoe_train('content', '{"model": "sasrec"}');
CALL fmoe_train('content', '{"model": "content"}');
SELECT version, model, live, events, users, items, last_event FROM fmoe.versions WHERE domain = 'content';
SELECT count(*) AS songs, bool_and(source = 'popularity') AS popular FROM fmoe_recommend(1::bigint, 10, 'content');
INSERT INTO plays VALUES (1, 1, '2024-01-01 UTC'), (1, 3, '2024-01-02 UTC'), (2, 5, '2024-01-01 UTC'), (3, 8, '2024-01-01 UTC');
SELECT item_id, source FROM fmoe_recommend(1::bigint, 3, 'content');

-- the definition: cosine of (1 + ln(times)) ln((songs + 1) / songs that have it) with the decayed history, over .1
WITH text AS (
	SELECT song, lower(w) AS word, 1 + ln(count(*)::float8) AS often FROM songs,
		unnest(regexp_split_to_array(coalesce(nullif(title, ''), notes) || ' ' || array_to_string(genre, ' '), '[ ,]+')) w
	WHERE song < 7 GROUP BY 1, 2
), scale AS (
	SELECT word, ln((SELECT count(*) FROM songs) + 1.0::float8) - ln(count(*) + CASE WHEN word = 'slow' THEN 1 ELSE 0 END) AS scale
	FROM text GROUP BY word
), entry AS (
	SELECT song, word, often * scale / sqrt(sum((often * scale) ^ 2) OVER (PARTITION BY song)) AS x FROM text JOIN scale USING (word)
), profile AS (
	SELECT word, sum(x * weight) AS x FROM entry JOIN (VALUES (1, 0.8::float8), (3, 1)) h (song, weight) USING (song) GROUP BY word
), expected AS (
	SELECT e.song, sum(e.x * p.x) / sqrt((SELECT sum(x ^ 2) FROM profile)) / 0.1 AS score
	FROM entry e JOIN profile p USING (word) GROUP BY e.song
)
SELECT r.item_id, round(r.score::numeric, 3) AS score, abs(r.score - e.score) < 1e-4 AS agrees
	FROM fmoe_recommend(1::bigint, 6, 'content', exclude_seen => false) r JOIN expected e ON e.song = r.item_id ORDER BY r.score DESC;

-- words add up to what the expert adds
SELECT item_id, part, nth, name, weight, round(contribution::numeric, 3) AS contribution
	FROM fmoe_explain(1::bigint, 2, 'content') WHERE part <> 'history';
SELECT item_id, name FROM fmoe_explain(3::bigint, 2, 'content') WHERE part = 'word';
SELECT bool_and(abs(expert - words) < 1e-4) AS adds_up FROM (SELECT sum(contribution) FILTER (WHERE part = 'expert') AS expert,
	coalesce(sum(contribution) FILTER (WHERE part = 'word'), 0) AS words FROM fmoe_explain(1::bigint, 6, 'content') GROUP BY rank) s;
-- after a history without text only popularity is left, and there are no words
SELECT max(score) AS score FROM fmoe_recommend(2::bigint, 10, 'content');
SELECT count(*) FROM fmoe_explain(2::bigint, 10, 'content') WHERE part = 'word';

-- words are for who may read all texts, and the rows
CREATE ROLE fmoe_reader;
GRANT USAGE ON SCHEMA content TO fmoe_reader;
GRANT SELECT ON plays TO fmoe_reader;
GRANT SELECT (song, title, notes) ON songs TO fmoe_reader;
SET ROLE fmoe_reader;
SELECT count(*) FILTER (WHERE part = 'word') AS words, count(*) > 0 AS explained FROM fmoe_explain(1::bigint, 2, 'content');
RESET ROLE;
GRANT SELECT (genre) ON songs TO fmoe_reader;
SET ROLE fmoe_reader;
SELECT count(*) FILTER (WHERE part = 'word') > 0 AS words FROM fmoe_explain(1::bigint, 2, 'content');
RESET ROLE;
ALTER TABLE songs ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_songs ON songs USING (true);
SET ROLE fmoe_reader;
SELECT count(*) FILTER (WHERE part = 'word') AS words FROM fmoe_explain(1::bigint, 2, 'content');
RESET ROLE;
DROP POLICY all_songs ON songs;
ALTER TABLE songs DISABLE ROW LEVEL SECURITY;

-- a version goes elsewhere with what it reads
SELECT fmoe_alter_domain('content', sharing => 'full');
SELECT fmoe_import('content', 'copy', fmoe_export('content', 1));
SELECT bool_and(a.score = b.score) AS same, count(*) FROM fmoe_recommend(1::bigint, 8, 'content', version => 1) a
	JOIN fmoe_recommend(1::bigint, 8, 'content', version => 2) b USING (item_id);

-- vectors: the nearest, and of unknown length or direction none; with texts, the mean of both
ALTER TABLE songs ADD mood real[];
UPDATE songs SET mood = CASE song WHEN 1 THEN '{1,0}'::real[] WHEN 2 THEN '{2,2}' WHEN 3 THEN '{0,3}' WHEN 4 THEN '{-1,0}'
	WHEN 6 THEN '{0,0}' WHEN 7 THEN '{NaN,1}' END;
SELECT fmoe_alter_domain('content', text_columns => '{}', category_columns => '{}', vector_columns => '{mood}');
CALL fmoe_train('content', '{"model": "content", "deploy": false}');
SELECT item_id, round(score::numeric, 2) AS score FROM fmoe_recommend_next(ARRAY[1]::bigint[], 8, 'content', version => 3);
SELECT fmoe_alter_domain('content', text_columns => '{title}');
CALL fmoe_train('content', '{"model": "content", "deploy": false}');
SELECT fmoe_alter_domain('content', vector_columns => '{}');
CALL fmoe_train('content', '{"model": "content", "deploy": false}');
-- but for the order of equal ones, which is that of popularity
SELECT bool_and(abs(b.score - (t.score + v.score) / 2) < 1e-4) AS mean, count(*)
	FROM fmoe_recommend_next(ARRAY[1]::bigint[], 8, 'content', version => 4) b
	JOIN fmoe_recommend_next(ARRAY[1]::bigint[], 8, 'content', version => 3) v USING (item_id)
	JOIN fmoe_recommend_next(ARRAY[1]::bigint[], 8, 'content', version => 5) t USING (item_id);

SELECT fmoe_drop_domain('content');
DROP OWNED BY fmoe_reader;
DROP ROLE fmoe_reader;
DROP SCHEMA content CASCADE;
