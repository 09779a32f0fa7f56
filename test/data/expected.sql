-- After make.sql, in the same database: writes files into the directory :out, and
-- the table "expected" with what a later build has to say of them.
SET client_min_messages = warning;
SET fmoe.party = 'home';
\ir answers.sql
CREATE TABLE expected (what text, call text, key text, rank bigint, item text, score real);
INSERT INTO expected SELECT 'dump', * FROM listed();

CREATE FUNCTION keep(what text, file bytea) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	kept CONSTANT oid := lo_from_bytea(0, file);
BEGIN
	RETURN lo_export(kept, current_setting('make.out') || '/' || what || '.safetensors');
END $$;
SELECT set_config('make.out', :'out', false);

-- whole versions
SELECT fmoe_alter_domain(domain, sharing => 'full') FROM unnest('{films,songs,places}'::text[]) domain;
CREATE VIEW whole AS SELECT domain, version, domain || '_' || version AS what, model FROM fmoe.versions WHERE domain IN ('films', 'songs', 'places') AND complete;
CREATE TEMP TABLE numbered AS SELECT * FROM whole;
SELECT keep(what, fmoe_export(domain, version)) FROM numbered;
SELECT s.statement FROM numbered, LATERAL (VALUES (1, format('SELECT fmoe_deploy(%L, %s)', domain, version)),
	(2, format('INSERT INTO expected SELECT %L, * FROM answers(%L)', what, domain))) s (n, statement) ORDER BY what, s.n \gexec

-- encoders
SELECT fmoe_alter_domain('films', sharing => 'encoder');
CREATE TEMP TABLE encoder_file AS SELECT what || '_encoder_' || precision AS what,
		fmoe_export(domain, version, jsonb_build_object('precision', precision)) AS file
	FROM numbered, unnest('{float32,float16,int8}'::text[]) precision WHERE what IN ('films_1', 'films_2') OR what = 'films_6' AND precision = 'float32';
SELECT keep(what, file) FROM encoder_file;
INSERT INTO expected SELECT what, a.* FROM encoder_file, LATERAL encoder(what, file) a;

-- models over a query
CREATE TEMP TABLE fitted AS
	SELECT 'fit_films' AS what, 'films' AS domain, fmoe_fit(user_id, item_id, at, '{"width": 16, "layers": 1, "heads": 2, "max_length": 12, "epochs": 8,
		"learning_rate": 0.01}') AS model FROM films
	UNION ALL
	SELECT 'fit_songs', 'songs', fmoe_fit(user_id, item_id, at, '{"model": "gru4rec", "width": 12, "layers": 1, "epochs": 8, "learning_rate": 0.01}') FROM songs
	UNION ALL
	SELECT 'fit_places', 'places', fmoe_fit(user_id, item_id, at, '{"model": "markov"}') FROM places;
SELECT keep(what, model) FROM fitted;
INSERT INTO expected SELECT what, a.* FROM fitted, LATERAL applied(model, domain) a;

-- lent experts
INSERT INTO expected SELECT 'lent', * FROM lent();

-- Scores may differ by 1e-5 on another CPU, so a list is asked for as far as the next score is further away than twice
-- that.  Counts that are the same are so everywhere.
DELETE FROM expected e USING (SELECT what, call, key, min(rank) AS first FROM (
			SELECT *, lag(score) OVER (PARTITION BY what, call, key ORDER BY rank) AS before FROM expected WHERE call IN ('recommend', 'similar', 'apply')) l
		WHERE before - score < 2e-5 * greatest(1, abs(before)) AND NOT (before = score AND
			(what = 'fit_places' OR what IN (SELECT what FROM numbered WHERE model IN ('popularity', 'markov')))) GROUP BY what, call, key) near
	WHERE (e.what, e.call, e.key) = (near.what, near.call, near.key) AND e.rank >= near.first - 1;
-- the last of a list was asked for to be compared with the one before
DELETE FROM expected WHERE call IN ('recommend', 'apply') AND rank = 11 OR call = 'similar' AND rank = 6;
DO $$
DECLARE
	few text;
BEGIN
	SELECT string_agg(n.what, ', ') INTO few FROM (SELECT what FROM numbered UNION SELECT what FROM fitted) n
	WHERE (SELECT count(*) FROM expected e WHERE e.what = n.what AND call IN ('recommend', 'apply')) < 12;
	IF few IS NOT NULL THEN
		RAISE EXCEPTION 'too few answers whose scores are not almost the same: %', few;
	END IF;
END $$;
