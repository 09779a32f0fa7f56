-- Rounds of users: options that do not fit each other, and a budget of epsilon that is spent.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA federated_test;
SET search_path = federated_test, public;

CREATE TABLE films (id int PRIMARY KEY, genre text);
INSERT INTO films SELECT i, 'genre' || i % 5 FROM generate_series(1, 25) i;
CREATE TABLE shown (person int, film int, at int, clicked boolean);
INSERT INTO shown SELECT u, 1 + (u * 7 + s * 3) % 25, s, (u + s) % 3 = 0 FROM generate_series(1, 30) u, generate_series(1, 12) s;
SELECT fmoe_create_domain('federated', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id', category_columns => '{genre}');

-- what was to be private is not trained as if it were not
CALL fmoe_train('federated', '{"model": "mrff", "clip": 0.5}');
CALL fmoe_train('federated', '{"model": "mrff", "noise": 1}');
CALL fmoe_train('federated', '{"model": "mrff", "epsilon": 3}');
CALL fmoe_train('federated', '{"model": "mrff", "rounds": 2}');
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "noise": 1}');
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "noise": 1, "clip": 0.5, "warm_start": true}');
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "epsilon": 3}');
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "epsilon": 3, "clip": 0.5}');
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "epsilon": 0.5, "clip": 0.5, "noise": 1}');
CALL fmoe_train('federated', '{"model": "sasrec", "federated": true}');

-- each says so by its SQLSTATE, and so do numbers and names that cannot be
CREATE FUNCTION code(options jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	CALL fmoe_train('federated', '{"model": "mrff", "epochs": 1}' || options);
	RETURN 'trained';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
SELECT code(option) AS sqlstate, option FROM unnest('{
	"{\"clip\": 0.5}", "{\"noise\": 1}", "{\"epsilon\": 3}", "{\"rounds\": 2}",
	"{\"federated\": true, \"noise\": 1}",
	"{\"federated\": true, \"noise\": 1, \"clip\": 0.5, \"warm_start\": true}",
	"{\"federated\": true, \"epsilon\": 3}",
	"{\"federated\": true, \"epsilon\": 0.5, \"clip\": 0.5, \"noise\": 1}",
	"{\"federated\": 2}", "{\"federated\": true, \"local_steps\": 0}", "{\"federated\": true, \"local_rate\": 0}",
	"{\"federated\": true, \"local_optimiser\": \"lamb\"}", "{\"federated\": true, \"server\": \"fedprox\"}",
	"{\"federated\": true, \"sampling\": 0}", "{\"federated\": true, \"sampling\": 1.5}",
	"{\"federated\": true, \"exchange_every\": 0}", "{\"federated\": true, \"clip\": -1}",
	"{\"federated\": true, \"delta\": 0}", "{\"federated\": true, \"delta\": 1}",
	"{\"federated\": true, \"clip\": 0.5, \"noise\": -1}", "{\"federated\": true, \"clip\": 0.5, \"noise\": 1e20}",
	"{\"federated\": true, \"epsilon\": \"NaN\"}", "{\"federated\": true, \"parties\": -1}",
	"{\"federated\": true, \"exchange_wait\": 0}", "{\"federated\": true, \"aggregator\": 5}"
	}'::jsonb[]) WITH ORDINALITY o (option, n) ORDER BY n;
SELECT count(*) AS versions FROM fmoe.versions WHERE domain = 'federated';

-- the budget ends a training, which says so; one that needs less does not
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "clip": 0.5, "noise": 1, "sampling": 0.5, "epsilon": 10, "epochs": 50, "patience": 50, "layers": 1, "groups": 1, "deploy": false}');
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "clip": 0.5, "noise": 1, "sampling": 0.5, "epsilon": 10, "epochs": 1, "layers": 1, "groups": 1, "deploy": false}');
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "clip": 0.5, "noise": 1, "sampling": 0.5, "epochs": 1, "layers": 1, "groups": 1, "deploy": false}');
-- rounds that are not exchanged spend nothing
CALL fmoe_train('federated', '{"model": "mrff", "federated": true, "clip": 0.5, "noise": 1, "sampling": 0.5, "epsilon": 10, "exchange_every": 3, "epochs": 50, "patience": 50, "layers": 1, "groups": 1, "deploy": false}');
SELECT version, metrics -> 'epochs' AS epochs, p -> 'rounds' AS rounds, round((p ->> 'epsilon')::numeric, 2) AS epsilon, p -> 'budget' AS budget, p -> 'spent' AS spent
FROM fmoe.versions, LATERAL (SELECT metrics -> 'privacy') m (p) WHERE domain = 'federated' ORDER BY version;

SELECT fmoe_drop_domain('federated');
DROP SCHEMA federated_test CASCADE;
