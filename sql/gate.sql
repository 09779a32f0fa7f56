-- The model auto: an encoder and all experts that count, under one gate
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA gate;
SET search_path = gate, public;

-- what comes next is the next song on a ring, or the one after it
CREATE TABLE plays (listener int, song int, at timestamptz);
INSERT INTO plays SELECT u, (u * 7 + s + (u + s) % 3 / 2) % 60, timestamptz '2024-01-01 UTC' + u * interval '1 hour' + s * interval '1 minute'
	FROM generate_series(1, 300) u, generate_series(1, 9) s;
SELECT fmoe_create_domain('gate', 'plays', 'listener', 'song', 'at');
CALL fmoe_train('gate', '{"model": "auto", "width": 16, "layers": 1, "epochs": 3, "holdout": "test"}');
SELECT model, live FROM fmoe.versions WHERE domain = 'gate';

-- the weights of both gates, and what was dropped, are told
SELECT key, jsonb_object_keys(metrics -> key) AS expert FROM fmoe.versions, unnest('{gate,gate_seen_kept}'::text[]) key
	WHERE domain = 'gate' ORDER BY key, expert;
SELECT (metrics #>> '{gate,repeat}')::float8 = 0 AS no_repeat, jsonb_typeof(metrics -> 'dropped') AS dropped,
	(SELECT bool_and((metrics #>> ARRAY['gate', d])::float8 = 0) FROM jsonb_array_elements_text(metrics -> 'dropped') d)
		IS NOT FALSE AS dropped_weigh_nothing,
	(metrics #>> '{own,ndcg@10}')::float8 <= (metrics #>> '{main,ndcg@10}')::float8 AS above_own
	FROM fmoe.versions WHERE domain = 'gate';

-- scores are what the parts add up to, each expert having one
WITH explained AS (
	SELECT item_id, score, sum(contribution) FILTER (WHERE part = 'expert') AS sum, count(*) FILTER (WHERE part = 'expert') AS parts
	FROM fmoe_explain(7::bigint, 5, 'gate') GROUP BY item_id, score
)
SELECT count(*) AS rows, bool_and(abs(e.sum - e.score) < 1e-4) AS add_up, min(parts) AS parts,
	bool_and(e.score = r.score) AS as_recommended, bool_and(abs(s.score - r.score) < 1e-5) AS as_scored
	FROM explained e JOIN fmoe_recommend(7::bigint, 5, 'gate') r USING (item_id)
	JOIN fmoe_score(7::bigint, ARRAY(SELECT DISTINCT song::bigint FROM plays), 'gate') s USING (item_id);
SELECT nth, name FROM fmoe_explain(7::bigint, 1, 'gate') WHERE part = 'expert' ORDER BY nth;
-- one by one or all at once, through both gates
SELECT exclude_seen, count(*) AS rows, count(*) FILTER (WHERE a.score IS DISTINCT FROM r.score AND abs(a.score - r.score) > 1e-5) AS differ
	FROM (VALUES (true), (false)) v (exclude_seen),
	LATERAL fmoe_recommend_all('gate', 3, exclude_seen, users => '{3,4,5}') a,
	LATERAL (SELECT score FROM fmoe_recommend(a.user_id::bigint, 60, 'gate', exclude_seen) WHERE item_id = a.item_id::bigint) r
	GROUP BY exclude_seen ORDER BY exclude_seen;
SELECT model, value > 0.2 AS good FROM fmoe_evaluate('gate', '{"k": 10}') WHERE metric = 'ndcg' AND model = 'live';
SELECT model, value > 0 AS judged FROM fmoe_evaluate('gate', '{"k": 10, "exclude_seen": false}') WHERE metric = 'ndcg' AND model = 'live';
-- who has no history gets what is recent, here and in lists
WITH recent AS (
	SELECT song, count(*) AS plays FROM (SELECT *, row_number() OVER (PARTITION BY listener ORDER BY at DESC) > 2 AS trains FROM plays) p
	WHERE trains AND extract(epoch FROM at)::float8 > (SELECT percentile_cont(0.8) WITHIN GROUP (ORDER BY extract(epoch FROM at)::float8) FROM
		(SELECT at, row_number() OVER (PARTITION BY listener ORDER BY at DESC) > 2 AS trains FROM plays) p WHERE trains) GROUP BY song
)
SELECT r.source, count(*) AS rows, bool_and(recent.plays >= (SELECT plays FROM recent ORDER BY plays DESC OFFSET 4 LIMIT 1)) AS most_played
	FROM fmoe_recommend(-1::bigint, 5, 'gate') r LEFT JOIN recent ON recent.song = r.item_id GROUP BY r.source;
SELECT source, count(*) FROM fmoe_recommend_all('gate', 2, users => '{-1,3}') GROUP BY source ORDER BY source;
SELECT DISTINCT part, name FROM fmoe_explain(-1::bigint, 2, 'gate');
-- vectors are the encoder's own
SELECT array_length(fmoe_embedding(7::bigint, domain => 'gate'), 1) AS width;
SELECT count(*) AS similar FROM fmoe_similar(7::bigint, 3, 'gate');

-- what each expert adds; of the weights, shares are told
SELECT expert, weight >= 0 AS share, users > 100 AS users FROM fmoe_expert_report('gate', '{"split": "leave_one_out"}');
SELECT abs(sum(weight) FILTER (WHERE expert <> 'all but own') - 1) < 1e-6 AS all_of_it,
	bool_and(abs(difference - (ndcg - without)) < 1e-9) AS differences,
	max(without) FILTER (WHERE expert = 'all but own') < max(ndcg) AS more_than_own
	FROM fmoe_expert_report('gate', '{"split": "leave_one_out"}');
SELECT r.without = e.value AS dropped_changes_nothing FROM fmoe_expert_report('gate', '{"split": "leave_one_out"}') r,
	fmoe_evaluate('gate', '{"k": 10}') e WHERE e.model = 'live' AND e.metric = 'ndcg' AND r.expert = 'repeat';

-- as a file, and as a value
SELECT fmoe_alter_domain('gate', sharing => 'full');
CREATE TABLE file AS SELECT fmoe_export('gate') AS bytes;
SELECT fmoe_import('gate', 'copy', bytes) IS NOT NULL AS imported FROM file;
SELECT count(*) AS same FROM fmoe_recommend(9::bigint, 5, 'gate', version => 2) a
	JOIN fmoe_recommend(9::bigint, 5, 'gate', version => 1) b USING (item_id, score);
SELECT count(*) AS rows FROM fmoe_apply((SELECT fmoe_fit(listener, song, at,
	'{"model": "auto", "width": 8, "layers": 1, "epochs": 1}') FROM plays), ARRAY[5, 6]::bigint[], 3);

-- without a model auto is trained, and is what fmoe is without lent experts
CALL fmoe_train('gate', '{"width": 8, "layers": 1, "epochs": 1, "deploy": false}');
CALL fmoe_train('gate', '{"model": "fmoe", "experts": [], "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT count(DISTINCT (model, config, metrics)) AS same, min(config ->> 'gate') AS gate, min(config ->> 'experts') AS experts
	FROM fmoe.versions WHERE domain = 'gate' AND version IN (3, 4);
-- transitions are weighed by the gate
CALL fmoe_train('gate', '{"model": "auto", "blend": 1}');
CALL fmoe_train('gate', '{"count_experts": true}');
CALL fmoe_train('gate', '{"gate_top": 2}');
CALL fmoe_train('gate', '{"gate_loss": 0.5}');
-- without events kept back the gate begins, and ends, with its prior
CALL fmoe_train('gate', '{"model": "auto", "width": 8, "layers": 1, "epochs": 1, "holdout": "none", "deploy": false}');
SELECT metrics -> 'gate' -> 'own' AS own, metrics -> 'gate' -> 'sequence' AS sequence, metrics -> 'dropped' AS dropped
	FROM fmoe.versions WHERE domain = 'gate' AND version = 5;

-- the gate is lent with the encoder, and is what another's weights are pulled towards; fitted to nothing, they are it
CREATE FUNCTION weight(expert text, options jsonb) RETURNS TABLE (weight float8, lent_gates int) LANGUAGE plpgsql AS $$
BEGIN
	CALL fmoe_train('few', '{"width": 8, "layers": 1, "epochs": 1, "holdout": "none", "deploy": false}' || options);
	RETURN QUERY SELECT (metrics -> 'gate' -> expert)::float8, (metrics -> 'lent_gates')::int FROM fmoe.versions
		WHERE domain = 'few' ORDER BY version DESC LIMIT 1;
END $$;
CREATE VIEW some_plays AS SELECT * FROM plays WHERE listener <= 20;
SELECT fmoe_create_domain('few', 'some_plays', 'listener', 'song', 'at');
SET fmoe.party = 'here';
SELECT weight('sequence', '{}'), weight('sequence', '{"gate_prior": "lent"}'), weight('sequence', '{"gate_prior": "none"}');
SELECT weight('sequence', '{"gate_prior": "here.gate"}');
SELECT fmoe_lend('gate', 1) IS NOT NULL AS lent;
SELECT metrics #>> '{gate,sequence}' AS lent FROM fmoe.versions WHERE domain = 'gate' AND version = 1 \gset
SELECT abs(n.weight - :lent) < 1e-4 AS named, n.lent_gates FROM weight('sequence', '{"gate_prior": "here.gate"}') n;
SELECT abs(l.weight - (:lent + 0.5) / 2) < 1e-4 AS mean, l.lent_gates FROM weight('sequence', '{"gate_prior": "lent"}') l;
SELECT weight('sequence', '{}'), weight('sequence', '{"gate_prior": "none"}');
-- lent with noise, or by a model that has none, there is no gate
SELECT fmoe_lend('gate', 1, '{"clip": 1, "noise": 0.1}') IS NOT NULL AS lent;
SELECT weight('sequence', '{"gate_prior": "here.gate"}');
SELECT weight('sequence', '{"gate_prior": "lent"}');
CALL fmoe_train('few', '{"gate": "user", "gate_prior": "none"}');
CALL fmoe_train('few', '{"gate": "user", "gate_prior": "default"}');
-- where there is nothing to learn from, what counts answers, and says by whose weights
CREATE TABLE once AS SELECT u AS listener, u * u % 17 AS song, timestamptz '2024-01-01 UTC' + u * interval '1 hour' AS at FROM generate_series(1, 60) u;
SELECT fmoe_create_domain('once', 'once', 'listener', 'song', 'at');
SET client_min_messages = notice;
CALL fmoe_train('once', '{"width": 8, "layers": 1}');
SET client_min_messages = error;
SELECT model, live, metrics #> '{gate,own}' AS own, metrics -> 'cases' AS cases FROM fmoe.versions WHERE domain = 'once';
SELECT item_id, score > 0 AS positive, source FROM fmoe_recommend(3, 2, 'once');
SELECT source, count(*) FROM fmoe_recommend_all('once', 1) GROUP BY source;

SELECT fmoe_drop_domain(d) FROM unnest('{gate,few,once}'::text[]) d;
DROP SCHEMA gate CASCADE;
