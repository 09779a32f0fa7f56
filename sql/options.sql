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
CALL fmoe_train('options', '{"epoch": 3}');
\set VERBOSITY terse
CALL fmoe_train('options', '{"": 3}');
\set VERBOSITY default
SELECT fmoe_evaluate('options', '{"metrics": ["ndcg"]}');

-- integers
CALL fmoe_train('options', '{"epochs": "3"}');
CALL fmoe_train('options', '{"epochs": 2.5}');
CALL fmoe_train('options', '{"epochs": 0}');
CALL fmoe_train('options', '{"epochs": -1e400}');
CALL fmoe_train('options', '{"epochs": 99999999999999999999}');
CALL fmoe_train('options', '{"epochs": [3]}');
CALL fmoe_train('options', '{"epochs": {"max": 3}}');
CALL fmoe_train('options', '{"epochs": true}');
CALL fmoe_train('options', '{"seed": -1}');
CALL fmoe_train('options', '{"seed": 9007199254740993.5}');

-- numbers
CALL fmoe_train('options', '{"dropout": "0.1"}');
CALL fmoe_train('options', '{"dropout": 1}');
CALL fmoe_train('options', '{"dropout": -0.1}');
CALL fmoe_train('options', '{"learning_rate": 0}');

-- booleans, choices
CALL fmoe_train('options', '{"deploy": "yes"}');
CALL fmoe_train('options', '{"deploy": 1}');
CALL fmoe_train('options', '{"model": "sasrek"}');
CALL fmoe_train('options', '{"model": 1}');
CALL fmoe_train('options', '{"loss": "a choice whose name is far too long to be shown in any error message"}');

-- lists
SELECT fmoe_evaluate('options', '{"k": "10"}');
SELECT fmoe_evaluate('options', '{"k": []}');
SELECT fmoe_evaluate('options', '{"k": [10, 0]}');
SELECT fmoe_evaluate('options', '{"k": [10, "20"]}');
SELECT fmoe_evaluate('options', '{"k": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}');

-- options that exclude one another
CALL fmoe_train('options', '{"width": 10, "heads": 3}');

-- nothing of all that left anything behind
SELECT count(*) FROM fmoe.versions WHERE domain = 'options';

-- null is the default, integral numbers are integers however written, the last of two equal keys counts
CALL fmoe_train('options', '{"model": "popularity", "holdout": "none", "deploy": false,
	"epochs": null, "width": 3.2e1, "heads": 2.0, "dropout": 0, "seed": 9007199254740992, "layers": 7, "layers": 1}');
SELECT config->'epochs' = to_jsonb(200) AS epochs, config->'width' AS width, config->'heads' AS heads, config->'layers' AS layers,
	config->'dropout' AS dropout, config->'seed' AS seed, config->'model' AS model, config->'deploy' AS deploy
	FROM fmoe.versions WHERE domain = 'options';

-- settings
SHOW fmoe.domain;
SHOW fmoe.max_memory;
SHOW fmoe.cache_size;
SHOW fmoe.training_workers;
SET fmoe.max_memory = '1023kB';
SET fmoe.training_workers = 65;
SET fmoe.training_worker = 1;
SET fmoe.max_memory = '1MB';
INSERT INTO options_test.plays SELECT n, n, n FROM generate_series(1, 100000) n;
CALL fmoe_train('options');
RESET fmoe.max_memory;

SELECT fmoe_drop_domain('options');
DROP SCHEMA options_test CASCADE;
