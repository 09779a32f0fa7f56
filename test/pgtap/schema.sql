-- What the extension consists of: every object with its kind, volatility and parallel label, and nothing
-- else.  Who may do what with it: access.sql.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP 1
SET client_min_messages = warning;

BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION fmoe;
SELECT plan(16);

-- since PostgreSQL 17 the types of rows and arrays of a member are members, too; they are nothing of their own
CREATE TEMPORARY VIEW member AS
	SELECT d.classid, d.objid, i.type, i.identity FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) i
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'fmoe')
		AND NOT EXISTS (SELECT FROM pg_type t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
			AND (t.typtype = 'c' OR t.typsubscript = 'array_subscript_handler'::regproc));

-- functions, by name and number of arguments
CREATE TEMPORARY VIEW member_function AS
	SELECT format('%s/%s', p.oid::regproc, p.pronargs) AS name, p.*
	FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;

SELECT bag_eq($$SELECT pronamespace::regnamespace::text, proname::text, pronargs::int, prokind::text, provolatile::text,
		proparallel::text FROM member_function$$,
	$$VALUES
	('fmoe', '_cache', 0, 'f', 'v', 'r'),
	('fmoe', '_domain_name', 1, 'f', 's', 's'),
	('fmoe', '_last_event', 2, 'f', 's', 's'),
	('fmoe', '_lent_guard', 0, 'f', 'v', 'u'),
	('fmoe', '_may_see_peer', 1, 'f', 's', 'r'),
	('fmoe', '_may_use', 1, 'f', 's', 's'),
	('fmoe', '_options', 0, 'f', 's', 's'),
	('fmoe', '_owner', 2, 'f', 's', 's'),
	('fmoe', '_party', 0, 'f', 's', 's'),
	('fmoe', '_party_id', 1, 'f', 'i', 's'),
	('fmoe', '_progress', 0, 'f', 'v', 'r'),
	('fmoe', '_relation_in', 1, 'f', 's', 's'),
	('fmoe', '_relation_out', 1, 'f', 's', 's'),
	('fmoe', '_set_owner', 3, 'f', 'v', 'u'),
	('fmoe', '_to_regclass', 1, 'f', 's', 's'),
	('fmoe', '_to_regtype', 1, 'f', 's', 's'),
	('fmoe', '_to_relation', 1, 'f', 's', 's'),
	('fmoe', '_to_type', 1, 'f', 's', 's'),
	('fmoe', '_type_in', 1, 'f', 's', 's'),
	('fmoe', '_type_out', 1, 'f', 's', 's'),
	('public', 'fmoe_add_peer', 2, 'f', 'v', 'u'),
	('public', 'fmoe_adopt', 2, 'f', 'v', 'u'),
	('public', 'fmoe_alter_domain', 23, 'f', 'v', 'u'),
	('public', 'fmoe_apply', 4, 'f', 's', 's'),
	('public', 'fmoe_create_domain', 20, 'f', 'v', 'u'),
	('public', 'fmoe_create_functions', 2, 'f', 'v', 'u'),
	('public', 'fmoe_deploy', 2, 'f', 'v', 'u'),
	('public', 'fmoe_drop_domain', 2, 'f', 'v', 'u'),
	('public', 'fmoe_drop_functions', 2, 'f', 'v', 'u'),
	('public', 'fmoe_drop_version', 2, 'f', 'v', 'u'),
	('public', 'fmoe_drop_peer', 1, 'f', 'v', 'u'),
	('public', 'fmoe_evaluate', 2, 'f', 's', 'r'),
	('public', 'fmoe_expert_report', 2, 'f', 's', 'r'),
	('public', 'fmoe_export', 3, 'f', 'v', 'r'),
	('public', 'fmoe_fedavg', 1, 'a', 'i', 's'),
	('public', 'fmoe_fedavg', 2, 'a', 'i', 's'),
	('public', 'fmoe_fedavg_combine', 2, 'f', 'v', 's'),
	('public', 'fmoe_fedavg_deserialize', 2, 'f', 'v', 's'),
	('public', 'fmoe_fedavg_final', 1, 'f', 'v', 's'),
	('public', 'fmoe_fedavg_serialize', 1, 'f', 'v', 's'),
	('public', 'fmoe_fedavg_transition', 2, 'f', 'v', 's'),
	('public', 'fmoe_fedavg_transition', 3, 'f', 'v', 's'),
	('public', 'fmoe_fit', 3, 'a', 'i', 's'),
	('public', 'fmoe_fit', 4, 'a', 'i', 's'),
	('public', 'fmoe_fit_combine', 2, 'f', 'v', 's'),
	('public', 'fmoe_fit_deserialize', 2, 'f', 'v', 's'),
	('public', 'fmoe_fit_final', 1, 'f', 'v', 's'),
	('public', 'fmoe_fit_serialize', 1, 'f', 'v', 's'),
	('public', 'fmoe_fit_transition', 4, 'f', 'v', 's'),
	('public', 'fmoe_fit_transition', 5, 'f', 'v', 's'),
	('public', 'fmoe_forget', 2, 'f', 'v', 'u'),
	('public', 'fmoe_forget_user', 2, 'f', 'v', 'u'),
	('public', 'fmoe_forget_user', 2, 'f', 'v', 'u'),
	('public', 'fmoe_forget_user', 2, 'f', 'v', 'u'),
	('public', 'fmoe_groups', 1, 'f', 's', 'r'),
	('public', 'fmoe_import', 3, 'f', 'v', 'u'),
	('public', 'fmoe_lend', 3, 'f', 'v', 'u'),
	('public', 'fmoe_predict', 5, 'f', 's', 'r'),
	('public', 'fmoe_predict', 5, 'f', 's', 'r'),
	('public', 'fmoe_predict', 5, 'f', 's', 'r'),
	('public', 'fmoe_predict_as', 6, 'f', 's', 'r'),
	('public', 'fmoe_predict_as', 6, 'f', 's', 'r'),
	('public', 'fmoe_prewarm', 2, 'f', 'v', 'r'),
	('public', 'fmoe_embedding', 5, 'f', 's', 'r'),
	('public', 'fmoe_embedding', 5, 'f', 's', 'r'),
	('public', 'fmoe_embedding', 5, 'f', 's', 'r'),
	('public', 'fmoe_explain', 9, 'f', 's', 'r'),
	('public', 'fmoe_explain', 9, 'f', 's', 'r'),
	('public', 'fmoe_explain', 9, 'f', 's', 'r'),
	('public', 'fmoe_explain_as', 10, 'f', 's', 'r'),
	('public', 'fmoe_recommend', 9, 'f', 's', 'r'),
	('public', 'fmoe_recommend', 9, 'f', 's', 'r'),
	('public', 'fmoe_recommend', 9, 'f', 's', 'r'),
	('public', 'fmoe_recommend_all', 8, 'f', 's', 'r'),
	('public', 'fmoe_recommend_all_as', 10, 'f', 's', 'r'),
	('public', 'fmoe_recommend_as', 10, 'f', 's', 'r'),
	('public', 'fmoe_recommend_next', 9, 'f', 's', 'r'),
	('public', 'fmoe_recommend_next', 9, 'f', 's', 'r'),
	('public', 'fmoe_recommend_next', 9, 'f', 's', 'r'),
	('public', 'fmoe_recommend_next', 9, 'f', 's', 'r'),
	('public', 'fmoe_recommend_next_as', 10, 'f', 's', 'r'),
	('public', 'fmoe_score', 5, 'f', 's', 'r'),
	('public', 'fmoe_score', 5, 'f', 's', 'r'),
	('public', 'fmoe_score', 5, 'f', 's', 'r'),
	('public', 'fmoe_score_as', 6, 'f', 's', 'r'),
	('public', 'fmoe_score_as', 6, 'f', 's', 'r'),
	('public', 'fmoe_similar', 7, 'f', 's', 'r'),
	('public', 'fmoe_similar', 7, 'f', 's', 'r'),
	('public', 'fmoe_similar', 7, 'f', 's', 'r'),
	('public', 'fmoe_similar_as', 8, 'f', 's', 'r'),
	('public', 'fmoe_together', 7, 'f', 's', 'r'),
	('public', 'fmoe_together', 7, 'f', 's', 'r'),
	('public', 'fmoe_together', 7, 'f', 's', 'r'),
	('public', 'fmoe_together', 7, 'f', 's', 'r'),
	('public', 'fmoe_together_as', 8, 'f', 's', 'r'),
	('public', 'fmoe_refresh', 1, 'f', 'v', 'u'),
	('public', 'fmoe_rollback', 1, 'f', 'v', 'u'),
	('public', 'fmoe_sync', 0, 'p', 'v', 'u'),
	('public', 'fmoe_sync', 6, 'p', 'v', 'u'),
	('public', 'fmoe_train', 2, 'p', 'v', 'u'),
	('public', 'fmoe_version', 0, 'f', 's', 's'),
	('public', 'fmoe_withdraw', 2, 'f', 'v', 'u')$$,
	'functions, procedures and aggregates');

SELECT set_eq($$SELECT type, identity FROM member WHERE classid <> 'pg_proc'::regclass$$,
	$$VALUES
	('schema', 'fmoe'),
	('sequence', 'fmoe.deployment_deployment_id_seq'),
	('sequence', 'fmoe.domain_domain_id_seq'),
	('sequence', 'fmoe.peer_peer_id_seq'),
	('sequence', 'fmoe.version_version_id_seq'),
	('table', 'fmoe.checkpoint'),
	('table', 'fmoe.deployment'),
	('table', 'fmoe.domain'),
	('table', 'fmoe.lent'),
	('table', 'fmoe.lent_part'),
	('table', 'fmoe.party'),
	('table', 'fmoe.peer'),
	('table', 'fmoe.private_row'),
	('table', 'fmoe.tensor'),
	('table', 'fmoe.training'),
	('table', 'fmoe.version'),
	('type', 'fmoe._relation'),
	('type', 'fmoe._type'),
	('view', 'fmoe.cache'),
	('view', 'fmoe.domains'),
	('view', 'fmoe.experts'),
	('view', 'fmoe.options'),
	('view', 'fmoe.peers'),
	('view', 'fmoe.progress'),
	('view', 'fmoe.shared_expert'),
	('view', 'fmoe.shared_expert_part'),
	('view', 'fmoe.versions')$$,
	'tables, views and sequences');

SELECT is_empty($$SELECT identity FROM member WHERE obj_description(objid, classid::regclass::name) IS NULL$$,
	'every object has a comment');
SELECT is_empty($$SELECT identity FROM member WHERE obj_description(objid, classid::regclass::name) ~ '\.$|^\s*$|\n'$$,
	'comments are one line without a full stop');

-- columns that others read
SELECT columns_are('fmoe', 'options', ARRAY['call', 'model', 'name', 'takes', 'default', 'meaning']);
SELECT results_eq($$SELECT attname::text COLLATE "default", atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'fmoe.progress'::regclass AND attnum > 0
		ORDER BY attnum DESC LIMIT 2$$, $$VALUES ('losses', 'jsonb'), ('eta', 'interval')$$, 'losses come last in progress');

-- what pg_dump takes along
SELECT set_eq($$SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'fmoe'$$,
	$$SELECT objid::regclass::text FROM member WHERE type IN ('table', 'sequence')$$,
	'every table and sequence is dumped with its contents');
SELECT is_empty($$SELECT c FROM pg_extension, unnest(extcondition) c WHERE extname = 'fmoe' AND c <> ''$$,
	'and with all rows');
SELECT is_empty($$SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN member m ON m.type = 'table' AND m.objid = a.attrelid
		JOIN pg_type t ON t.oid = a.atttypid
		WHERE a.attnum > 0 AND t.typname ~ '^_?reg' AND t.typnamespace = 'pg_catalog'::regnamespace$$,
	'no column has a type whose input fails, and the rows of a restore with it, or that stops pg_upgrade');
SELECT is_empty($$SELECT conname FROM pg_constraint JOIN member m ON m.type = 'table' AND m.objid = conrelid
		WHERE contype NOT IN ('p', 'u', 'c', 'n')$$, 'nor has a table foreign keys, which a parallel restore would break');
SELECT is_empty($$SELECT identity FROM member WHERE type = 'table' AND NOT EXISTS
		(SELECT FROM pg_constraint WHERE conrelid = objid AND contype = 'p')$$,
	'every table has a primary key, as logical replication wants');
SELECT is_empty($$SELECT identity FROM member JOIN pg_class c ON c.oid = objid AND classid = 'pg_class'::regclass
		WHERE relpersistence <> 'p'$$,
	'everything is logged, as standbys want');
SELECT set_eq($$SELECT attrelid::regclass::text, attname::text FROM pg_attribute a JOIN member m ON m.type = 'table' AND m.objid = attrelid
		WHERE atttypid = 'bytea'::regtype AND attnum > 0 AND attstorage = 'e'$$,
	$$VALUES ('fmoe.checkpoint', 'data'), ('fmoe.lent_part', 'data'), ('fmoe.private_row', 'data'), ('fmoe.tensor', 'data')$$,
	'weights are stored out of line and uncompressed');

SELECT is_empty($$SELECT name FROM member_function WHERE prosecdef$$, 'no function is SECURITY DEFINER');
SELECT is_empty($$SELECT identity FROM member JOIN pg_class c ON c.oid = objid WHERE type = 'view'
		AND NOT COALESCE('security_barrier=true' = ANY (reloptions), false)$$,
	'views are security barriers');

-- in a schema of one's own choice
DROP EXTENSION fmoe;
CREATE SCHEMA "Elsewhere";
CREATE EXTENSION fmoe SCHEMA "Elsewhere";
CREATE TABLE public.clicks (u int, i int, t int);
INSERT INTO clicks SELECT u, i, u + i FROM generate_series(1, 4) u, generate_series(1, 4) i;
SELECT "Elsewhere".fmoe_create_domain('clicks', 'clicks', 'u', 'i', 't') \g /dev/null
CALL "Elsewhere".fmoe_train('clicks', '{"model": "popularity", "holdout": "none", "deploy": false}');
SELECT results_eq($$SELECT count(*), pg_typeof(min(item_id))::text FROM "Elsewhere".fmoe_recommend(1, 3, exclude_seen => false)$$,
	$$VALUES (3::bigint, 'bigint')$$, 'works in a schema that is not on the search_path');

SELECT * FROM finish();
ROLLBACK;
