-- training: options, versions, going live, degenerate tables

SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA train;
SET search_path = train, public;

-- what comes next hangs on the item before the last one: users walk two rings in turn
CREATE TABLE plays (listener integer, song integer, at timestamptz);
INSERT INTO plays
	SELECT u, CASE s % 2 WHEN 0 THEN (u * 7 + s / 2) % 30 ELSE 30 + (u * 11 + s / 2) % 30 END,
		timestamptz '2024-01-01 UTC' + s * interval '1 hour'
	FROM generate_series(1, 240) u, generate_series(0, 11) s;
SELECT fmoe_create_domain('train_plays', 'plays', 'listener', 'song', 'at');

CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 32, "layers": 1, "dropout": 0.1, "epochs": 40, "max_length": 20, "learning_rate": 0.005, "batch_size": 32}');
SELECT version, model, live, events, users, items, last_event = '2024-01-01 11:00 UTC' AS last_event,
	origin, complete, holdout, seconds > 0 AS seconds, bytes > 0 AS bytes, created_by = current_user AS created_by
	FROM fmoe.versions WHERE domain = 'train_plays' ORDER BY version;

-- the metrics stored with it
SELECT jsonb_object_keys(metrics) AS key FROM fmoe.versions WHERE domain = 'train_plays' ORDER BY key;
SELECT (metrics -> 'cases')::integer = 240 AS cases,
	(metrics #>> '{main,ndcg@10}')::float8 > (metrics #>> '{popularity,ndcg@10}')::float8 AS beats_popularity,
	(metrics #>> '{main,ndcg@10}')::float8 > (metrics #>> '{markov,ndcg@10}')::float8 AS beats_markov,
	(metrics #>> '{main,ndcg@10}')::float8 > 0.5 AS learnt,
	(metrics #>> '{main,hr@10}')::float8 BETWEEN (metrics #>> '{main,ndcg@10}')::float8 AND 1 AS hr,
	(metrics #>> '{main,mrr}')::float8 > (metrics #>> '{popularity,mrr}')::float8 AS mrr,
	(metrics -> 'best_epoch')::integer BETWEEN 1 AND (metrics -> 'epochs')::integer AS best_epoch
	FROM fmoe.versions WHERE domain = 'train_plays';

-- nothing unfinished is left
SELECT count(*) FROM fmoe.training;
SELECT count(*) FROM fmoe.checkpoint;
SELECT count(*) FROM fmoe.progress;

-- worse than what is live, worse than counting: stored, not live
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 4, "layers": 1, "epochs": 1, "max_length": 20}');
SELECT version, live FROM fmoe.versions WHERE domain = 'train_plays' ORDER BY version;

-- not asked to go live
CALL fmoe_train('train_plays', '{"model": "gru4rec", "width": 16, "layers": 1, "epochs": 2, "deploy": false}');
SELECT version, model, live FROM fmoe.versions WHERE domain = 'train_plays' ORDER BY version;

-- starting from the live version
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 32, "layers": 1, "epochs": 1, "max_length": 20, "warm_start": true, "learning_rate": 1e-7, "deploy": false}');
SELECT (metrics #>> '{main,ndcg@10}')::float8 > 0.5 AS went_on
	FROM fmoe.versions WHERE domain = 'train_plays' AND version = 4;
-- with other items, so that every row has another place
INSERT INTO plays SELECT u, -s, timestamptz '2023-01-01 UTC' + s * interval '1 hour'
	FROM generate_series(1001, 1040) u, generate_series(1, 5) s;
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 32, "layers": 1, "epochs": 1, "max_length": 20, "warm_start": true, "learning_rate": 1e-7, "deploy": false}');
SELECT (metrics #>> '{main,ndcg@10}')::float8 > 0.4 AS went_on
	FROM fmoe.versions WHERE domain = 'train_plays' AND version = 5;
-- not from one that has seen what is kept back now
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 32, "layers": 1, "epochs": 1, "max_length": 20, "warm_start": true, "holdout": "test"}');
DELETE FROM plays WHERE song < 0;

-- experts that only count
CALL fmoe_train('train_plays', '{"model": "popularity", "deploy": false}');
CALL fmoe_train('train_plays', '{"model": "markov", "deploy": false}');
SELECT version, model, (metrics -> 'epochs')::integer AS epochs,
	metrics -> 'main' = metrics -> model AS own_row
	FROM fmoe.versions WHERE domain = 'train_plays' AND version > 5 ORDER BY version;

-- the same seed gives the same weights, another seed others
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "seed": 7, "deploy": false}');
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "seed": 7, "deploy": false}');
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "seed": 8, "deploy": false}');
SELECT a.version AS a, b.version AS b, a.checksum = b.checksum AS same
	FROM fmoe.version a JOIN fmoe.version b ON a.domain_id = b.domain_id AND a.version < b.version
	WHERE a.version BETWEEN 8 AND 10 AND b.version BETWEEN 8 AND 10 ORDER BY 1, 2;

-- without validation nothing is checked, and the last epoch's weights are kept
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "holdout": "none"}');
SELECT version, live, holdout, metrics ? 'main' AS compared FROM fmoe.versions WHERE domain = 'train_plays' AND version = 11;

-- in a transaction block, a DO block and a function
BEGIN;
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT max(version) FROM fmoe.versions WHERE domain = 'train_plays';
ROLLBACK;
SELECT max(version) FROM fmoe.versions WHERE domain = 'train_plays';
DO $$
BEGIN
	CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
END $$;
DO $$
BEGIN
	BEGIN
		CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
		RAISE EXCEPTION 'undo';
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
END $$;
CREATE FUNCTION train_here() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
END $$;
SELECT train_here();
SELECT max(version) FROM fmoe.versions WHERE domain = 'train_plays';

-- every domain in turn, in a loop over a query
DO $$
DECLARE
	d text;
BEGIN
	FOR d IN SELECT domain FROM fmoe.domains WHERE domain = 'train_plays' ORDER BY domain LOOP
		CALL fmoe_train(d, '{"model": "markov", "deploy": false}');
		CALL fmoe_train(d, '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "deploy": false}');
	END LOOP;
END $$;
SELECT max(version) FROM fmoe.versions WHERE domain = 'train_plays';

-- nobody keeps the lock
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

-- errors
CALL fmoe_train('no_such_domain', '{"model": "sasrec"}');
CALL fmoe_train('train_plays', NULL);
CALL fmoe_train('train_plays', '[]');
\set VERBOSITY terse
CALL fmoe_train('train_plays', '{"model": "sasrec", "epoch": 3}');
\set VERBOSITY default
CALL fmoe_train('train_plays', '{"model": "sasrec", "epochs": 0}');
-- the hint lists all models
\set VERBOSITY terse
CALL fmoe_train('train_plays', '{"model": "oracle"}');
\set VERBOSITY default
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 30, "heads": 4}');
BEGIN READ ONLY;
CALL fmoe_train('train_plays', '{"model": "sasrec"}');
ROLLBACK;
\set VERBOSITY sqlstate
SET fmoe.max_memory = '1MB';
CALL fmoe_train('train_plays', '{"model": "sasrec"}');
RESET fmoe.max_memory;
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 3, "learning_rate": 1, "weight_decay": 10, "batch_size": 1, "deploy": false}');
\set VERBOSITY default

-- no event, one event, one item, one user, users with one event
CREATE TABLE few (u text, i uuid, t double precision);
SELECT fmoe_create_domain('train_few', 'few', 'u', 'i', 't');
CALL fmoe_train('train_few', '{"model": "sasrec"}');
INSERT INTO few VALUES (NULL, md5('1')::uuid, 1), ('a', NULL, 1), ('a', md5('1')::uuid, NULL), ('a', md5('1')::uuid, 'NaN');
\set VERBOSITY terse
CALL fmoe_train('train_few', '{"model": "sasrec"}');
\set VERBOSITY default
INSERT INTO few VALUES ('a', md5('1')::uuid, 1);
CALL fmoe_train('train_few', '{"model": "sasrec", "epochs": 2}');
INSERT INTO few SELECT 'a', md5('1')::uuid, s FROM generate_series(2, 10) s;
CALL fmoe_train('train_few', '{"model": "sasrec", "epochs": 2}');
TRUNCATE few;
INSERT INTO few SELECT 'a', md5(s::text)::uuid, s FROM generate_series(1, 10) s;
CALL fmoe_train('train_few', '{"model": "sasrec", "epochs": 2, "deploy": false}');
TRUNCATE few;
INSERT INTO few SELECT 'user ' || s, md5(s::text)::uuid, s FROM generate_series(1, 10) s;
CALL fmoe_train('train_few', '{"model": "sasrec", "epochs": 2}');
SELECT version, live, events, users, items, (metrics ->> 'cases')::integer AS cases, (metrics ->> 'epochs')::integer AS epochs
	FROM fmoe.versions WHERE domain = 'train_few' ORDER BY version;

-- a table of which others may see less trains what they see
CREATE ROLE regress_fmoe_trainer;
GRANT USAGE ON SCHEMA train TO regress_fmoe_trainer;
SET ROLE regress_fmoe_trainer;
CALL fmoe_train('train_plays', '{"model": "sasrec"}');
RESET ROLE;
GRANT SELECT ON plays TO regress_fmoe_trainer;
SET ROLE regress_fmoe_trainer;
CALL fmoe_train('train_plays', '{"model": "sasrec"}');
RESET ROLE;
ALTER TABLE plays ENABLE ROW LEVEL SECURITY;
CREATE POLICY half ON plays USING (listener <= 120);
SELECT fmoe_alter_domain('train_plays', owner => 'regress_fmoe_trainer');
SET ROLE regress_fmoe_trainer;
CALL fmoe_train('train_plays', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT users, created_by FROM fmoe.versions WHERE domain = 'train_plays' ORDER BY version DESC LIMIT 1;
RESET ROLE;

-- parts of the loss, by name where the model has names: in progress those of the epoch before, when an epoch is saved
CREATE TABLE seen (n serial, model text, epoch integer, epoch_loss float8, losses jsonb);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO train.seen (model, epoch, epoch_loss, losses)
		SELECT NEW.config ->> 'model', p.epoch, OLD.loss, p.losses FROM fmoe.progress p WHERE p.domain = 'train_losses';
	RETURN NULL;
END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE ON fmoe.training FOR EACH ROW EXECUTE FUNCTION see();
CREATE VIEW losses AS SELECT * FROM plays WHERE listener <= 60;
SELECT fmoe_create_domain('train_losses', 'losses', 'listener', 'song', 'at');
CALL fmoe_train('train_losses', '{"model": "fmoe", "gate": "user", "experts": [], "count_experts": true, "kl": 0.5, "width": 8, "layers": 1, "epochs": 2, "checkpoint_every": 0, "deploy": false}');
CALL fmoe_train('train_losses', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 2, "checkpoint_every": 0, "deploy": false}');
SELECT model, epoch, losses IS NOT NULL AS losses FROM seen ORDER BY n;
SELECT name, value::float8 > 0 AS something FROM seen, jsonb_each_text(losses) e (name, value) ORDER BY name;
SELECT abs(sum(value::float8) / epoch_loss - 1) < 1e-4 AS parts_of_loss FROM seen, jsonb_each_text(losses) e (name, value) GROUP BY epoch_loss;
SELECT model, jsonb_typeof(metrics -> 'losses') AS losses, (SELECT abs(sum(value::float8) / (metrics ->> 'loss')::float8 - 1) < 1e-4
	FROM jsonb_each_text(metrics -> 'losses') e (name, value)) AS parts_of_loss
	FROM fmoe.versions WHERE domain = 'train_losses' ORDER BY version;
DROP TRIGGER see ON fmoe.training;

-- in a block that goes on after COMMIT, where no statement has a snapshot of its own
DO $$ BEGIN
	COMMIT;
	CREATE TABLE train.now AS SELECT * FROM train.plays WHERE listener <= 20;
	PERFORM fmoe_create_domain('train_now', 'train.now', 'listener', 'song', 'at');
	INSERT INTO train.now SELECT * FROM train.plays WHERE listener = 21;
	CALL fmoe_train('train_now', '{"model": "markov", "deploy": false}');
	INSERT INTO train.now SELECT * FROM train.plays WHERE listener = 22;
	CALL fmoe_train('train_now', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
END $$;
SELECT version, model, users FROM fmoe.versions WHERE domain = 'train_now' ORDER BY version;

SELECT fmoe_drop_domain('train_plays'), fmoe_drop_domain('train_now'), fmoe_drop_domain('train_few'), fmoe_drop_domain('train_losses');
DROP SCHEMA train CASCADE;
DROP ROLE regress_fmoe_trainer;
