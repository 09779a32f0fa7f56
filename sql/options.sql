-- Options: one jsonb object, checked against a table; every complaint says what is allowed.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA options_test;
CREATE TABLE options_test.plays (listener int, song int, at int);
INSERT INTO options_test.plays SELECT u, i, u * 10 + i FROM generate_series(1, 4) u, generate_series(1, 3) i;
SELECT fmoe_create_domain('options', 'options_test.plays', 'listener', 'song', 'at');

-- not an object
CALL fmoe_train('options', '[]');
CALL fmoe_train('options', '"epochs"');
CALL fmoe_train('options', '3');
CALL fmoe_train('options', 'null');

-- unrecognized names
CALL fmoe_train('options', '{"model": "sasrec", "epoch": 3}');
\set VERBOSITY terse
CALL fmoe_train('options', '{"model": "sasrec", "": 3}');
\set VERBOSITY default
SELECT fmoe_evaluate('options', '{"metrics": ["ndcg"]}');

-- integers
CALL fmoe_train('options', '{"model": "sasrec", "epochs": "3"}');
CALL fmoe_train('options', '{"model": "sasrec", "epochs": 2.5}');
CALL fmoe_train('options', '{"model": "sasrec", "epochs": 0}');
CALL fmoe_train('options', '{"model": "sasrec", "epochs": -1e400}');
CALL fmoe_train('options', '{"model": "sasrec", "epochs": 99999999999999999999}');
CALL fmoe_train('options', '{"model": "sasrec", "epochs": [3]}');
CALL fmoe_train('options', '{"model": "sasrec", "epochs": {"max": 3}}');
CALL fmoe_train('options', '{"model": "sasrec", "epochs": true}');
CALL fmoe_train('options', '{"model": "sasrec", "seed": -1}');
CALL fmoe_train('options', '{"model": "sasrec", "seed": 9007199254740993.5}');
CALL fmoe_train('options', '{"model": "sasrec", "seed": 9007199254740993}');

-- numbers
CALL fmoe_train('options', '{"model": "sasrec", "dropout": "0.1"}');
CALL fmoe_train('options', '{"model": "sasrec", "dropout": 1}');
CALL fmoe_train('options', '{"model": "sasrec", "dropout": -0.1}');
CALL fmoe_train('options', '{"model": "sasrec", "learning_rate": 0}');

-- booleans, choices
CALL fmoe_train('options', '{"model": "sasrec", "deploy": "yes"}');
CALL fmoe_train('options', '{"model": "sasrec", "deploy": 1}');
CALL fmoe_train('options', '{"model": "sasrek"}');
CALL fmoe_train('options', '{"model": 1}');
CALL fmoe_train('options', '{"model": "sasrec", "loss": "a choice whose name is far too long to be shown in any error message"}');

-- lists
SELECT fmoe_evaluate('options', '{"k": "10"}');
SELECT fmoe_evaluate('options', '{"k": []}');
SELECT fmoe_evaluate('options', '{"k": [10, 0]}');
SELECT fmoe_evaluate('options', '{"k": [10, "20"]}');
SELECT fmoe_evaluate('options', '{"k": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}');

-- options that exclude one another
CALL fmoe_train('options', '{"model": "sasrec", "width": 10, "heads": 3}');

-- options of a model that need another one
\set VERBOSITY terse
CALL fmoe_train('options', '{"model": "mrff", "local_steps": 2}');
CALL fmoe_train('options', '{"model": "mrff", "federated": true, "parties": 2}');
\set VERBOSITY default

-- nothing of all that left anything behind
SELECT count(*) FROM fmoe.versions WHERE domain = 'options';

-- null is the default, integral numbers are integers however written, the last of two equal keys counts
CALL fmoe_train('options', '{"model": "sasrec", "holdout": "none", "deploy": false, "epochs": null,
	"width": 3.2e1, "heads": 2.0, "dropout": 0, "seed": 9007199254740992, "layers": 7, "layers": 1}');
SELECT config->'epochs' = to_jsonb(200) AS epochs, config->'width' AS width, config->'heads' AS heads, config->'layers' AS layers,
	config->'dropout' AS dropout, config->'seed' AS seed, config->'model' AS model, config->'deploy' AS deploy
	FROM fmoe.versions WHERE domain = 'options';

-- common options that say nothing to the model, or with the others that are given, are ignored, and it is said; null says nothing anywhere
CALL fmoe_train('options', '{"model": "popularity", "deploy": false, "epochs": 3, "width": null, "seed": 1, "workers": 0}');
CALL fmoe_train('options', '{"model": "gru4rec", "deploy": false, "epochs": 1, "width": 8, "heads": 1}');
\set VERBOSITY terse
CALL fmoe_train('options', '{"model": "fmoe", "deploy": false, "epochs": 1, "width": 8, "encoder": "gru4rec", "heads": 2}');
CALL fmoe_train('options', '{"model": "markov", "deploy": false, "blend": 1}');
CALL fmoe_train('options', '{"model": "sasrec", "deploy": false, "epochs": 1, "width": 8, "loss": "softmax", "negatives": 8}');
CALL fmoe_train('options', '{"model": "mrff", "loss": "softmax", "blend": 0, "start_encoder": "north.films"}');
CALL fmoe_train('options', '{"model": "mrff", "federated": true, "learning_rate": 0.1}');
CALL fmoe_train('options', '{"model": "ant", "pretrain": true, "loss": "gbce"}');
SELECT length(fmoe_fit(listener, song, at, '{"model": "markov", "epochs": 3}')) > 0 AS fitted FROM options_test.plays;
\set VERBOSITY default

-- the view of all of them: from the tables that the calls read, in their order
SELECT call, model, count(*) FROM fmoe.options GROUP BY call, model ORDER BY call COLLATE "C", model COLLATE "C" NULLS FIRST;
SELECT name, takes, "default", meaning FROM fmoe.options
	WHERE (call, name) IN (('fmoe_train', 'model'), ('fmoe_train', 'learning_rate'), ('fmoe_train', 'start_encoder'), ('fmoe_train', 'deploy'),
		('fmoe_train', 'experts'), ('fmoe_evaluate', 'candidates'), ('fmoe_evaluate', 'k'), ('fmoe_expert_report', 'resamples'), ('fmoe_lend', 'delta'));
SELECT array_agg(name) = ARRAY['model', 'width', 'layers', 'heads', 'max_length'] AS in_order
	FROM (SELECT name FROM fmoe.options WHERE call = 'fmoe_train' LIMIT 5) o;
SELECT count(*) FROM fmoe.options WHERE call IS NULL OR name IS NULL OR takes IS NULL OR meaning IS NULL;
SELECT call, model, name FROM fmoe.options GROUP BY call, model, name HAVING count(*) > 1;
-- a model of the option "model" has options of its own or none, and no other name is a model
SELECT m.model, count(o.name) FROM fmoe.options c, string_to_table(replace(c.takes, 'one of: ', ''), ', ') m (model)
	LEFT JOIN fmoe.options o ON o.call = 'fmoe_train' AND o.model = m.model
	WHERE c.call = 'fmoe_train' AND c.name = 'model' GROUP BY m.model ORDER BY m.model COLLATE "C";
SELECT DISTINCT o.call, o.model FROM fmoe.options o, fmoe.options c
	WHERE c.call = 'fmoe_train' AND c.name = 'model' AND o.model <> ALL (string_to_array(replace(c.takes, 'one of: ', ''), ', '));
-- fmoe_fit has those of fmoe_train that do not concern a domain, which it refuses; lending and exporting have the same
SELECT model, name FROM fmoe.options o WHERE call = 'fmoe_train'
	AND NOT EXISTS (SELECT FROM fmoe.options f WHERE f.call = 'fmoe_fit' AND f.name = o.name AND f.model IS NOT DISTINCT FROM o.model);
\set VERBOSITY terse
SELECT fmoe_fit(listener, song, at, '{"workers": 1}') FROM options_test.plays;
\set VERBOSITY default
SELECT model, name, takes, "default", meaning FROM fmoe.options WHERE call = 'fmoe_lend'
EXCEPT SELECT model, name, takes, "default", meaning FROM fmoe.options WHERE call = 'fmoe_export';

-- settings
SHOW fmoe.domain;
SHOW fmoe.max_memory;
SHOW fmoe.cache_size;
SHOW fmoe.training_workers;
-- PostgreSQL 17 says the unit of the range, too
\set VERBOSITY sqlstate
SET fmoe.max_memory = '1023kB';
\set VERBOSITY default
SET fmoe.training_workers = 65;
SET fmoe.training_worker = 1;
SET fmoe.max_memory = '1MB';
INSERT INTO options_test.plays SELECT n, n, n FROM generate_series(1, 100000) n;
CALL fmoe_train('options', '{"model": "sasrec"}');
RESET fmoe.max_memory;

SELECT fmoe_drop_domain('options');
DROP SCHEMA options_test CASCADE;
