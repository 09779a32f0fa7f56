-- What bench/pairs asks of two builds: trains every kind of model over the table
-- events (user_id, item_id, at) and prints what was stored and what it answers,
-- a line each: kind, model, name, value, separated by tabs.  The same lines come
-- from builds before and after the rename of fmoe.expert to fmoe.version.

SET client_min_messages = warning;
SET extra_float_digits = 1;
\o /dev/null
SELECT CASE WHEN to_regclass('fmoe.version') IS NULL THEN 'fmoe.expert' ELSE 'fmoe.version' END AS versions,
	CASE WHEN to_regclass('fmoe.version') IS NULL THEN 'expert_id' ELSE 'version_id' END AS version_key,
	-- builds without that view have no mean of the weights to be left out
	CASE WHEN to_regclass('fmoe.options') IS NULL THEN '{}' ELSE '{"average": "none"}' END AS unaveraged \gset

CREATE TABLE result (kind text, model text, name text, value text);
CREATE VIEW events_even AS SELECT e.* FROM events e JOIN (SELECT user_id, row_number() OVER (ORDER BY user_id) AS n FROM
	(SELECT DISTINCT user_id FROM events) u) u USING (user_id) WHERE n % 2 = 0;
CREATE VIEW events_odd AS SELECT * FROM events EXCEPT SELECT * FROM events_even;
SELECT fmoe_create_domain('even', 'events_even', 'user_id', 'item_id', 'at'),
	fmoe_create_domain('odd', 'events_odd', 'user_id', 'item_id', 'at'),
	fmoe_create_domain('all', 'events', 'user_id', 'item_id', 'at');
CREATE TABLE asked_user AS SELECT user_id FROM (SELECT user_id, row_number() OVER (ORDER BY user_id) AS n, count(*) OVER () AS all_of
	FROM (SELECT DISTINCT user_id FROM events) u) u WHERE n % greatest(all_of / 25, 1) = 0;
CREATE TABLE asked_item AS SELECT item_id FROM (SELECT item_id, row_number() OVER (ORDER BY item_id) AS n, count(*) OVER () AS all_of
	FROM (SELECT DISTINCT item_id FROM events) i) i WHERE n % greatest(all_of / 10, 1) = 0;

-- ---------------------------------------------------------------- arrays of versions and of files

-- The weight of counted transitions is the array blend.weight, or in earlier builds
-- the option blend of what was stored; as the bits of a number, it is compared.
CREATE FUNCTION bits(number float8) RETURNS text LANGUAGE sql AS $$SELECT encode(float8send(greatest(number, 0)), 'hex')$$;
CREATE FUNCTION bits(little_endian bytea) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(substr(encode(little_endian, 'hex'), 2 * i + 1, 2), '' ORDER BY i DESC) FROM generate_series(0, 7) i$$;

CREATE VIEW stored AS SELECT d.name AS domain, v.version, t.name,
		concat_ws(' ', t.dtype, t.shape::text, md5(string_agg(t.data, '' ORDER BY t.part))) AS value
	FROM :versions v JOIN fmoe.domain d USING (domain_id) JOIN fmoe.tensor t USING (:version_key)
	WHERE t.name <> 'blend.weight' AND t.name NOT LIKE 'together.%'
	GROUP BY d.name, v.version, t.name, t.dtype, t.shape
	UNION ALL
	SELECT d.name, v.version, 'blend.weight', COALESCE(bits(t.data), bits((v.config ->> 'blend')::float8))
	FROM :versions v JOIN fmoe.domain d USING (domain_id)
		LEFT JOIN fmoe.tensor t ON t.:version_key = v.:version_key AND t.name = 'blend.weight'
	WHERE v.complete AND v.model NOT IN ('popularity', 'markov');

CREATE FUNCTION keep_file(what text, file bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	size CONSTANT integer := get_byte(file, 0) + 256 * get_byte(file, 1) + 65536 * get_byte(file, 2);
	header CONSTANT jsonb := convert_from(substr(file, 9, size), 'UTF8');
	metadata CONSTANT jsonb := header -> '__metadata__';
BEGIN
	INSERT INTO result
	SELECT 'array', what, key, concat_ws(' ', value ->> 'dtype', value ->> 'shape', md5(substr(file, 9 + size + (value #>> '{data_offsets,0}')::integer,
		(value #>> '{data_offsets,1}')::integer - (value #>> '{data_offsets,0}')::integer)))
	FROM jsonb_each(header) WHERE key NOT IN ('__metadata__', 'blend.weight') AND key NOT LIKE 'together.%';
	IF metadata ->> 'sharing' = 'full' AND metadata ->> 'model' NOT IN ('popularity', 'markov') THEN
		INSERT INTO result VALUES ('array', what, 'blend.weight',
			COALESCE(bits(substr(file, 9 + size + (header #>> '{blend.weight,data_offsets,0}')::integer, 8)),
				bits(((metadata ->> 'config')::jsonb ->> 'blend')::float8)));
	END IF;
END $$;

-- ---------------------------------------------------------------- what a live version says

CREATE FUNCTION keep_answers(what text, asked_version integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	-- the source of what a version that is popularity answers was "model" before 0.9
	INSERT INTO result SELECT 'answer', what, 'recommend ' || user_id,
			string_agg(concat_ws(' ', item_id, score, CASE WHEN what LIKE 'popularity%' THEN 'model' ELSE source END), ', ')
		FROM asked_user, LATERAL fmoe_recommend(user_id, 10, 'all') GROUP BY user_id;
	SET LOCAL fmoe.scan = int8;
	INSERT INTO result SELECT 'answer', what, 'recommend by int8 ' || user_id,
			string_agg(concat_ws(' ', item_id, score, CASE WHEN what LIKE 'popularity%' THEN 'model' ELSE source END), ', ')
		FROM asked_user, LATERAL fmoe_recommend(user_id, 5, 'all', exclude_seen => false) GROUP BY user_id;
	SET LOCAL fmoe.scan = auto;
	INSERT INTO result SELECT 'answer', what, 'score ' || user_id, string_agg(concat_ws(' ', item_id, score), ', ')
		FROM asked_user, LATERAL fmoe_score(user_id, ARRAY(SELECT item_id FROM asked_item ORDER BY 1), 'all') GROUP BY user_id;
	INSERT INTO result SELECT 'answer', what, 'similar ' || i.item_id, string_agg(concat_ws(' ', s.item_id, score), ', ')
		FROM asked_item i, LATERAL fmoe_similar(i.item_id, 10, 'all') s GROUP BY i.item_id;
	INSERT INTO result SELECT 'answer', what, 'recommend_all ' || user_id, string_agg(concat_ws(' ', rank, item_id, score), ', ' ORDER BY rank)
		FROM fmoe_recommend_all('all', 5) GROUP BY user_id;
	INSERT INTO result SELECT 'answer', what, 'explain ' || user_id,
			string_agg(concat_ws(' ', rank, item_id, score, part, nth, name, weight, contribution), ', ')
		FROM (SELECT user_id FROM asked_user ORDER BY 1 LIMIT 5) u, LATERAL fmoe_explain(user_id, 3, 'all') GROUP BY user_id;
	INSERT INTO result SELECT 'answer', what, concat_ws(' ', 'evaluate', model, metric, k), concat_ws(' ', value, users)
		FROM fmoe_evaluate('all', jsonb_build_object('version', asked_version, 'k', '[5, 10]'::jsonb))
		-- the first is of the whole list since 0.9, where it ended at k; the second is new
		WHERE metric NOT IN ('mrr', 'repeated');
	INSERT INTO result SELECT 'metric', what, concat_ws('.', m.key, e.key), COALESCE(e.value, m.value)
		FROM fmoe.versions v, jsonb_each(v.metrics) m
			LEFT JOIN LATERAL jsonb_each(CASE jsonb_typeof(m.value) WHEN 'object' THEN m.value END) e ON true
		WHERE domain = 'all' AND version = asked_version;
	IF (SELECT model = 'fmoe' FROM fmoe.versions WHERE domain = 'all' AND version = asked_version) THEN
		INSERT INTO result SELECT 'answer', what, 'expert_report ' || expert, r::text
			FROM fmoe_expert_report('all', jsonb_build_object('version', asked_version, 'resamples', 200)) r;
	END IF;
	IF (SELECT model NOT IN ('popularity', 'markov') FROM fmoe.versions WHERE domain = 'all' AND version = asked_version) THEN
		INSERT INTO result SELECT 'answer', what, 'embedding ' || user_id, fmoe_embedding(user_id, 'all', 'user') FROM asked_user;
	END IF;
END $$;

-- ---------------------------------------------------------------- two parties lend

SET fmoe.party = 'north';
CALL fmoe_train('even', '{"model": "sasrec", "width": 12, "layers": 1, "heads": 2, "max_length": 20, "epochs": 2, "workers": 0, "deploy": false}'::jsonb || :'unaveraged');
SELECT fmoe_lend('even', 1);
SET fmoe.party = 'west';
CALL fmoe_train('odd', '{"model": "gru4rec", "width": 8, "layers": 2, "epochs": 2, "workers": 0, "deploy": false}'::jsonb || :'unaveraged');
SELECT fmoe_lend('odd', 1, '{"precision": "int8"}');
SET fmoe.party = 'home';
SELECT fmoe_import('all', 'even again', fmoe_export('even', 1));
SELECT fmoe_import('all', 'averaged', fmoe_fedavg(f, n)) FROM (VALUES (fmoe_export('even', 1), 3), (fmoe_export('even', 1, '{"precision": "float16"}'), 4)) v (f, n);
SELECT keep_file('export float16', fmoe_export('even', 1, '{"precision": "float16"}')),
	keep_file('export int8', fmoe_export('even', 1, '{"precision": "int8"}')),
	keep_file('export with noise', fmoe_export('odd', 1, '{"clip": 2, "noise": 0.1, "seed": 7}'));

-- ---------------------------------------------------------------- models; each but "warm" begins from nothing

CREATE TABLE model (n serial, name text, options jsonb);
INSERT INTO model (name, options) VALUES
	('sasrec', '{"model": "sasrec", "layers": 2, "heads": 2, "loss": "softmax"}'),
	('sasrec warm', '{"model": "sasrec", "layers": 2, "heads": 2, "loss": "softmax", "warm_start": true}'),
	('sasrec gbce', '{"model": "sasrec", "layers": 1, "loss": "gbce", "negatives": 32, "calibration": 0.5}'),
	('sasrec one worker', '{"model": "sasrec", "layers": 2, "heads": 4, "loss": "softmax", "workers": 1}'),
	('sasrec schedules', '{"model": "sasrec", "layers": 1, "clip_norm": 0.5, "warmup_steps": 5, "learning_rate_decay": 0.9, "weight_decay": 0.01, "blend": 2}'),
	('sasrec start_encoder', '{"model": "sasrec", "width": 12, "layers": 1, "heads": 2, "start_encoder": "north.even"}'),
	('sasrec averaged', '{"model": "sasrec", "width": 12, "layers": 1, "heads": 2, "start_encoder": "averaged"}'),
	('gru4rec', '{"model": "gru4rec", "layers": 2, "loss": "softmax", "blend": 0}'),
	('gru4rec gbce', '{"model": "gru4rec", "layers": 1, "loss": "gbce", "negatives": 32}'),
	('popularity', '{"model": "popularity"}'),
	('popularity half_life', '{"model": "popularity", "half_life_days": 20}'),
	('markov', '{"model": "markov"}');
-- mixtures, with all options written out
INSERT INTO model (name, options)
SELECT 'fmoe ' || name, '{"model": "fmoe", "encoder": "sasrec", "layers": 1, "loss": "softmax", "experts": ["north.even", "west.odd"],
	"head": "tied", "item_graph": false, "lora_rank": 0, "gate": "user", "gate_layers": 2, "gate_top": 0, "gate_loss": 0,
	"count_experts": false, "kl": 0, "contrast": 0, "rounds": 0}'::jsonb || options::jsonb
FROM (VALUES (1, 'plain', '{}'),
	(2, 'lora', '{"lora_rank": 3, "lora_alpha": 6}'),
	(3, 'batch', '{"gate": "batch", "count_experts": true}'),
	(4, 'equal', '{"gate": "equal", "item_graph": true}'),
	(5, 'own head', '{"head": "own", "kl": 0.1, "contrast": 0.1, "encoder": "gru4rec", "layers": 2}'),
	(6, 'gate', '{"gate_loss": 0.5, "gate_top": 2, "gate_layers": 1}'),
	(7, 'gbce', '{"loss": "gbce", "negatives": 32}'),
	(8, 'all', '{"lora_rank": 2, "item_graph": true, "count_experts": true, "head": "own", "experts": ["even again", "west.odd", "north.even"], "kl": 0.05, "contrast": 0.05, "gate_loss": 0.1}'),
	(9, 'alone', '{"experts": [], "count_experts": true}')) v (n, name, options) ORDER BY n;

-- the version's number is asked for, as imports have one, too
SELECT s.statement FROM model, LATERAL (VALUES
	(1, format('CALL fmoe_train(''all'', %L)', '{"max_length": 20, "seed": 42, "holdout": "test", "deploy": false}'::jsonb ||
		CASE WHEN options ->> 'model' IN ('popularity', 'markov') THEN '{}' ELSE '{"width": 16, "dropout": 0.2, "epochs": 2, "batch_size": 64, "learning_rate": 0.003,
		"patience": 10, "workers": 0, "blend": -1}'::jsonb || :'unaveraged' END || options)),
	(2, 'SELECT fmoe_deploy(''all'', max(version)) FROM fmoe.versions WHERE domain = ''all'''),
	(3, format('SELECT keep_answers(%L, version) FROM fmoe.versions WHERE domain = ''all'' AND live', name)),
	(4, format('INSERT INTO result SELECT ''array'', %L, name, value FROM stored WHERE domain = ''all''
		AND version = (SELECT max(version) FROM fmoe.versions WHERE domain = ''all'')', name))) s (n, statement)
ORDER BY model.n, s.n \gexec

INSERT INTO result SELECT 'array', 'stored ' || domain || ' ' || version, name, value FROM stored WHERE domain <> 'all' OR version <= 2;

-- ---------------------------------------------------------------- models over a query

CREATE TABLE fitted AS
	SELECT 'fit sasrec' AS name, fmoe_fit(user_id, item_id, at, '{"width": 16, "layers": 1, "epochs": 2, "max_length": 20}'::jsonb || :'unaveraged') AS file FROM events
	UNION ALL SELECT 'fit gru4rec', fmoe_fit(user_id, item_id, at, '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 2, "loss": "gbce"}'::jsonb || :'unaveraged') FROM events
	UNION ALL SELECT 'fit markov', fmoe_fit(user_id, item_id, at, '{"model": "markov"}') FROM events
	UNION ALL SELECT 'fit popularity', fmoe_fit(user_id, item_id, at, '{"model": "popularity"}') FROM events;
SELECT keep_file(name, file) FROM fitted;
INSERT INTO result SELECT 'answer', name, 'apply ' || user_id, string_agg(concat_ws(' ', item_id, score), ', ')
	FROM fitted, (SELECT user_id, array_agg(item_id ORDER BY at, item_id) AS history FROM events JOIN asked_user USING (user_id) GROUP BY user_id) h,
		LATERAL fmoe_apply(file, history, 10) GROUP BY name, user_id;

\o
COPY (SELECT * FROM result ORDER BY kind COLLATE "C", model COLLATE "C", name COLLATE "C") TO STDOUT;
