-- Versions: deploying, rolling back, dropping; what is stored of them and what damage does.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA versions_test;
SET search_path = versions_test, public;
CREATE TABLE plays (listener text, song int, at int);
INSERT INTO plays SELECT 'u' || u, i, u * 10 + i FROM generate_series(1, 4) u, generate_series(1, 3) i;
SELECT fmoe_create_domain('versions', 'plays', 'listener', 'song', 'at');
CREATE VIEW versions AS SELECT version, model, live, origin, complete, holdout, events, users, items, last_event, bytes > 0 AS stored
	FROM fmoe.versions WHERE domain = 'versions' ORDER BY version;

CALL fmoe_train('versions', '{"model": "popularity", "holdout": "none", "deploy": false}');
INSERT INTO plays VALUES ('u5', 4, 100);
CALL fmoe_train('versions', '{"model": "markov", "holdout": "none", "deploy": false}');
CALL fmoe_train('versions', '{"model": "sasrec", "width": 8, "epochs": 1, "holdout": "none", "deploy": false}');
SELECT * FROM versions;

-- nothing is live
SELECT fmoe_rollback('versions');

-- there and back
SELECT fmoe_deploy('versions', 1);
SELECT fmoe_deploy('versions', 3);
SELECT fmoe_deploy('versions', 3);
SELECT version FROM versions WHERE live;
SELECT fmoe_rollback('versions');
SELECT fmoe_deploy('versions', 2);
SELECT version FROM versions WHERE live;
SELECT fmoe_rollback('versions');
SELECT fmoe_rollback('versions');
SELECT fmoe_rollback('versions');
SELECT version FROM versions WHERE live;
SELECT count(*), count(undone_at) FROM fmoe.deployment;

-- a deployment obeys its transaction
BEGIN;
SELECT fmoe_deploy('versions', 2);
SELECT version FROM versions WHERE live;
SELECT DISTINCT source FROM fmoe_recommend('u1', exclude_seen => false);
ROLLBACK;
SELECT version FROM versions WHERE live;
BEGIN;
SELECT fmoe_deploy('versions', 1);
SAVEPOINT s;
SELECT fmoe_deploy('versions', 2);
ROLLBACK TO s;
COMMIT;
SELECT version FROM versions WHERE live;

-- refused
SELECT fmoe_deploy('versions', 4);
SELECT fmoe_deploy('versions', 0);
SELECT fmoe_deploy('versions', -1);
SELECT fmoe_deploy('versions', NULL);
SELECT fmoe_deploy('nothing', 1);
SELECT fmoe_drop_version('versions', 1);
SELECT fmoe_drop_version('versions', 4);
SELECT fmoe_drop_version('versions', NULL);

-- dropping takes a version's log entries along, so a rollback passes it over; numbers are not used again
SELECT fmoe_deploy('versions', 2);
SELECT fmoe_deploy('versions', 3);
SELECT fmoe_drop_version('versions', 2);
SELECT fmoe_rollback('versions');
CALL fmoe_train('versions', '{"model": "popularity", "holdout": "none", "deploy": false}');
SELECT version FROM versions;
SELECT count(*) FROM fmoe.tensor t WHERE NOT EXISTS (SELECT FROM fmoe.version v WHERE v.version_id = t.version_id);

-- a version without an item table cannot go live
SELECT fmoe_alter_domain('versions', sharing => 'encoder');
SELECT fmoe_import('versions', 'lent', fmoe_export('versions', 3));
SELECT version, model, live, origin, complete FROM versions WHERE NOT complete;
SELECT fmoe_deploy('versions', (SELECT version FROM versions WHERE NOT complete));

-- what a statement has done is there for the rest of it
SELECT fmoe_alter_domain('versions', sharing => 'full');
SELECT fmoe_deploy('versions', fmoe_import('versions', 'whole', fmoe_export('versions', 1)));
SELECT version, live FROM versions ORDER BY version DESC LIMIT 1;
SELECT fmoe_rollback('versions');

-- damage is found when a version is loaded, and named
CREATE FUNCTION damaged(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE change;
	PERFORM fmoe_recommend_as(NULL::int, 'u1', exclude_seen => false);
	RETURN 'not noticed';
EXCEPTION WHEN data_corrupted THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN regexp_replace(detail, '\d{4,}', 'N', 'g');
END
$$;
SELECT fmoe_deploy('versions', 3);
CREATE VIEW stored AS SELECT * FROM fmoe.tensor WHERE name = 'vocabulary.integer' AND version_id =
	(SELECT v.version_id FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'versions' AND v.version = 3);
SELECT name, part, dtype, shape, octet_length(data) FROM stored;
SELECT damaged($$UPDATE stored SET data = set_byte(data, 3, get_byte(data, 3) # 1)$$);
SELECT damaged($$UPDATE stored SET data = substr(data, 2)$$);
SELECT damaged($$UPDATE stored SET data = data || data$$);
SELECT damaged($$UPDATE stored SET dtype = 'I65'$$);
SELECT damaged($$UPDATE stored SET dtype = 'F64'$$);
SELECT damaged($$UPDATE stored SET shape = '{-4}'$$);
SELECT damaged($$UPDATE stored SET shape = '{4611686018427387904,4}'$$);
SELECT damaged($$UPDATE stored SET shape = '{2,2}'$$);
SELECT damaged($$UPDATE stored SET shape = '{2,2,1,1,1}'$$);
SELECT damaged($$UPDATE stored SET shape = '{NULL}'$$);
SELECT damaged($$UPDATE stored SET part = 1$$);
SELECT damaged($$UPDATE stored SET name = repeat('x', 64)$$);
SELECT damaged($$UPDATE stored SET name = 'vocabulary'$$);
SELECT damaged($$INSERT INTO fmoe.tensor SELECT version_id, name, part + 1, 'F32', shape, data FROM stored$$);
SELECT damaged($$INSERT INTO fmoe.tensor SELECT version_id, 'more', 0, dtype, '{0}', '' FROM stored$$);
SELECT damaged($$DELETE FROM fmoe.tensor t USING stored s WHERE t.version_id = s.version_id AND t.name = s.name$$);
SELECT damaged($$UPDATE fmoe.version SET bytes = bytes + 1 WHERE version = 3$$);
SELECT damaged($$UPDATE fmoe.version SET checksum = '0' WHERE version = 3$$);
SELECT damaged($$SELECT$$);

-- one that a newer fmoe stored
SELECT fmoe_deploy('versions', 1);
UPDATE fmoe.version SET format = 2 WHERE version = 1;
SELECT * FROM fmoe_recommend('u1');

-- a domain goes with all it has
SELECT fmoe_drop_domain('versions');
SELECT (SELECT count(*) FROM fmoe.version), (SELECT count(*) FROM fmoe.tensor), (SELECT count(*) FROM fmoe.deployment);
DROP SCHEMA versions_test CASCADE;
