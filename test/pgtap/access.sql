-- Who may do what with every object of the extension, in one list, and that it is so: what is not in the list
-- fails the test.  Who may not use a domain or a peer is told what he would be told if there were none.
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
SELECT plan(22);

/*
 * Who:
 *   anybody    it tells or does nothing that is another's
 *   caller     it shows what is the caller's to see
 *   user       of the domain: SELECT on its interaction columns
 *   manager    of the domain: its owner
 *   syncer     of the peer, and who may drop it
 *   granted    nobody but who was granted it, or the owner of the extension
 *   tables     the owner of the extension's tables, though anybody may call it
 *   inside     support for types, aggregates and triggers: does nothing by itself
 *   nobody     only the extension itself
 * forms: how many functions of that name and number of arguments there are.
 */
CREATE TEMPORARY TABLE access (object text PRIMARY KEY, forms int, who text);
INSERT INTO access VALUES
	('fmoe._cache/0', 1, 'caller'),
	('fmoe._domain_name/1', 1, 'caller'),
	('fmoe._last_event/2', 1, 'anybody'),
	('fmoe._lent_guard/0', 1, 'inside'),
	('fmoe._may_see_peer/1', 1, 'caller'),
	('fmoe._may_use/1', 1, 'caller'),
	('fmoe._options/0', 1, 'anybody'),
	('fmoe._owner/2', 1, 'anybody'),
	('fmoe._party/0', 1, 'anybody'),
	('fmoe._party_id/1', 1, 'anybody'),
	('fmoe._progress/0', 1, 'caller'),
	('fmoe._relation_in/1', 1, 'inside'),
	('fmoe._relation_out/1', 1, 'inside'),
	('fmoe._set_owner/3', 1, 'tables'),
	('fmoe._to_regclass/1', 1, 'anybody'),
	('fmoe._to_relation/1', 1, 'anybody'),
	('fmoe._to_regtype/1', 1, 'anybody'),
	('fmoe._to_type/1', 1, 'anybody'),
	('fmoe._type_in/1', 1, 'inside'),
	('fmoe._type_out/1', 1, 'inside'),
	('fmoe_add_peer/2', 1, 'anybody'),		-- with USAGE on the server
	('fmoe_adopt/2', 1, 'manager'),
	('fmoe_alter_domain/23', 1, 'manager'),
	('fmoe_apply/4', 1, 'anybody'),
	('fmoe_create_domain/20', 1, 'granted'),
	('fmoe_create_functions/2', 1, 'user'),
	('fmoe_deploy/2', 1, 'manager'),
	('fmoe_drop_domain/2', 1, 'manager'),
	('fmoe_drop_functions/2', 1, 'user'),
	('fmoe_drop_peer/1', 1, 'syncer'),
	('fmoe_drop_version/2', 1, 'manager'),
	('fmoe_embedding/5', 3, 'user'),
	('fmoe_evaluate/2', 1, 'user'),
	('fmoe_expert_report/2', 1, 'user'),
	('fmoe_explain/9', 3, 'user'),
	('fmoe_explain_as/10', 1, 'user'),
	('fmoe_export/3', 1, 'manager'),
	('fmoe_fedavg/1', 1, 'anybody'),
	('fmoe_fedavg/2', 1, 'anybody'),
	('fmoe_fedavg_combine/2', 1, 'inside'),
	('fmoe_fedavg_deserialize/2', 1, 'inside'),
	('fmoe_fedavg_final/1', 1, 'inside'),
	('fmoe_fedavg_serialize/1', 1, 'inside'),
	('fmoe_fedavg_transition/2', 1, 'inside'),
	('fmoe_fedavg_transition/3', 1, 'inside'),
	('fmoe_fit/3', 1, 'anybody'),
	('fmoe_fit/4', 1, 'anybody'),
	('fmoe_fit_combine/2', 1, 'inside'),
	('fmoe_fit_deserialize/2', 1, 'inside'),
	('fmoe_fit_final/1', 1, 'inside'),
	('fmoe_fit_serialize/1', 1, 'inside'),
	('fmoe_fit_transition/4', 1, 'inside'),
	('fmoe_fit_transition/5', 1, 'inside'),
	('fmoe_forget/2', 1, 'syncer'),			-- and the owner of the database
	('fmoe_forget_user/2', 3, 'manager'),
	('fmoe_groups/1', 1, 'user'),
	('fmoe_import/3', 1, 'manager'),
	('fmoe_lend/3', 1, 'manager'),
	('fmoe_predict/5', 3, 'user'),
	('fmoe_predict_as/6', 2, 'user'),
	('fmoe_prewarm/2', 1, 'user'),
	('fmoe_recommend/9', 3, 'user'),
	('fmoe_recommend_all/8', 1, 'user'),
	('fmoe_recommend_all_as/10', 1, 'user'),
	('fmoe_recommend_as/10', 1, 'user'),
	('fmoe_recommend_next/9', 4, 'user'),
	('fmoe_recommend_next_as/10', 1, 'user'),
	('fmoe_refresh/1', 1, 'manager'),
	('fmoe_rollback/1', 1, 'manager'),
	('fmoe_score/5', 3, 'user'),
	('fmoe_score_as/6', 2, 'user'),
	('fmoe_similar/7', 3, 'user'),
	('fmoe_similar_as/8', 1, 'user'),
	('fmoe_sync/0', 1, 'caller'),
	('fmoe_sync/6', 1, 'syncer'),
	('fmoe_together/7', 4, 'user'),
	('fmoe_together_as/8', 1, 'user'),
	('fmoe_train/2', 1, 'manager'),
	('fmoe_version/0', 1, 'anybody'),
	('fmoe_withdraw/2', 1, 'manager'),
	('schema fmoe', NULL, 'anybody'),		-- USAGE
	('sequence fmoe.deployment_deployment_id_seq', NULL, 'nobody'),
	('sequence fmoe.domain_domain_id_seq', NULL, 'nobody'),
	('sequence fmoe.peer_peer_id_seq', NULL, 'nobody'),
	('sequence fmoe.version_version_id_seq', NULL, 'nobody'),
	('table fmoe.checkpoint', NULL, 'nobody'),
	('table fmoe.deployment', NULL, 'nobody'),
	('table fmoe.domain', NULL, 'nobody'),
	('table fmoe.lent', NULL, 'nobody'),
	('table fmoe.lent_part', NULL, 'nobody'),
	('table fmoe.party', NULL, 'nobody'),
	('table fmoe.peer', NULL, 'nobody'),
	('table fmoe.private_row', NULL, 'nobody'),
	('table fmoe.tensor', NULL, 'nobody'),
	('table fmoe.training', NULL, 'nobody'),
	('table fmoe.version', NULL, 'nobody'),
	('type fmoe._relation', NULL, 'anybody'),
	('type fmoe._type', NULL, 'anybody'),
	('view fmoe.cache', NULL, 'caller'),
	('view fmoe.domains', NULL, 'caller'),
	('view fmoe.experts', NULL, 'anybody'),
	('view fmoe.options', NULL, 'anybody'),
	('view fmoe.peers', NULL, 'caller'),
	('view fmoe.progress', NULL, 'caller'),
	('view fmoe.shared_expert', NULL, 'granted'),
	('view fmoe.shared_expert_part', NULL, 'granted'),
	('view fmoe.versions', NULL, 'caller');

-- all that there is: members of the extension, and whatever else is in its schema or bears its name
CREATE TEMPORARY VIEW there AS
	SELECT d.classid, d.objid, i.type, i.identity
	FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) i
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'fmoe')
		-- since PostgreSQL 17 the types of rows and arrays of a member are members, too
		AND NOT EXISTS (SELECT FROM pg_type t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND (t.typrelid <> 0 OR t.typelem <> 0))
	UNION
	SELECT 'pg_class'::regclass, c.oid, i.type, i.identity
	FROM pg_class c, pg_identify_object('pg_class'::regclass, c.oid, 0) i
	WHERE c.relnamespace = 'fmoe'::regnamespace AND c.relkind NOT IN ('i', 't')
	UNION
	SELECT 'pg_proc'::regclass, p.oid, i.type, i.identity
	FROM pg_proc p, pg_identify_object('pg_proc'::regclass, p.oid, 0) i
	WHERE p.pronamespace = 'fmoe'::regnamespace OR p.proname ~ '^_?fmoe'
	UNION
	SELECT 'pg_type'::regclass, t.oid, i.type, i.identity
	FROM pg_type t, pg_identify_object('pg_type'::regclass, t.oid, 0) i
	WHERE t.typnamespace = 'fmoe'::regnamespace AND t.typrelid = 0 AND t.typelem = 0;
CREATE TEMPORARY VIEW listed AS
	SELECT CASE WHEN classid = 'pg_proc'::regclass THEN concat(CASE WHEN p.pronamespace = 'fmoe'::regnamespace THEN 'fmoe.' END, p.proname, '/', p.pronargs)
			ELSE format('%s %s', type, identity) END AS object,
		classid, objid, quote_ident(p.pronamespace::regnamespace::text) || '.' || quote_ident(p.proname) AS called, p.prokind, p.proargnames, p.pronargs, p.pronargdefaults, p.proargtypes
	FROM there LEFT JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid;

SELECT is_empty($$SELECT object FROM listed EXCEPT SELECT object FROM access$$, 'everything is in the list');
SELECT is_empty($$SELECT object FROM access EXCEPT SELECT object FROM listed$$, 'and nothing in the list is missing');
SELECT is_empty($$SELECT object, forms, count(*) FROM access JOIN listed USING (object) WHERE forms IS NOT NULL
		GROUP BY 1, 2 HAVING count(*) <> forms$$, 'with all forms of functions');

-- what PUBLIC was granted
CREATE TEMPORARY VIEW tables AS SELECT a.*, objid FROM access a JOIN listed USING (object) WHERE classid = 'pg_class'::regclass;
SELECT is_empty($$SELECT object FROM access JOIN listed USING (object) WHERE classid = 'pg_proc'::regclass
		AND has_function_privilege('public', objid, 'EXECUTE') <> (who <> 'granted')$$,
	'anybody may call functions, but for those that are granted: they check what they do');
SELECT is_empty($$SELECT object FROM tables WHERE who NOT IN ('nobody', 'granted', 'anybody', 'caller')$$, 'tables know four kinds');
SELECT is_empty($$SELECT object FROM tables WHERE CASE WHEN object !~ '^sequence'
		THEN has_table_privilege('public', objid, 'SELECT') <> (who IN ('anybody', 'caller')) END$$,
	'anybody may read what is for anybody, or shows the caller''s, and nothing else');
SELECT is_empty($$SELECT object FROM tables JOIN pg_attribute ON attrelid = objid AND attnum > 0
		WHERE CASE WHEN object !~ '^sequence' AND who IN ('nobody', 'granted')
		THEN has_column_privilege('public', objid, attnum, 'SELECT, INSERT, UPDATE, REFERENCES') END$$,
	'by no column');
SELECT is_empty($$SELECT object FROM tables WHERE CASE WHEN object !~ '^sequence'
		THEN has_table_privilege('public', objid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END$$, 'nobody writes');
SELECT is_empty($$SELECT object FROM tables WHERE CASE WHEN object ~ '^sequence'
		THEN has_sequence_privilege('public', objid, 'USAGE, SELECT, UPDATE') END$$, 'nor takes a number');
SELECT ok(has_schema_privilege('public', 'fmoe', 'USAGE') AND NOT has_schema_privilege('public', 'fmoe', 'CREATE'),
	'the schema fmoe can be used and not written to');

-- what they do: calls are made of the functions' arguments, so that no function is left out
CREATE ROLE regress_fmoe_owner;
CREATE ROLE regress_fmoe_user;
CREATE ROLE regress_fmoe_stranger;
CREATE ROLE regress_fmoe_bystander;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO regress_fmoe_owner;
GRANT SELECT ON access, listed TO PUBLIC;
GRANT CREATE ON SCHEMA public TO regress_fmoe_owner, regress_fmoe_user;		-- for fmoe_create_functions
CREATE TABLE clicks (who bigint, item bigint, at timestamptz);
INSERT INTO clicks SELECT u, (u + n) % 10, timestamptz '2024-01-01 UTC' + n * interval '1 hour'
	FROM generate_series(1, 20) u, generate_series(1, 4) n;
GRANT SELECT ON clicks TO regress_fmoe_owner, regress_fmoe_user;
CREATE FOREIGN DATA WRAPPER regress_fmoe_wrapper;
CREATE SERVER regress_fmoe_server FOREIGN DATA WRAPPER regress_fmoe_wrapper;
GRANT USAGE ON FOREIGN SERVER regress_fmoe_server TO regress_fmoe_owner;
SET ROLE regress_fmoe_owner;
SELECT fmoe_create_domain('secret', 'clicks', 'who', 'item', 'at') \g /dev/null
CALL fmoe_train('secret', '{"model": "gru4rec", "width": 8, "epochs": 1, "deploy": false}');
SELECT fmoe_deploy('secret', 1), fmoe_add_peer('hidden', 'regress_fmoe_server') \g /dev/null
SELECT fmoe_prewarm('secret') \g /dev/null
RESET ROLE;

-- a value for an argument that has no default
CREATE FUNCTION argument(type regtype) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN type IN ('anyelement'::regtype, 'anycompatible'::regtype) THEN '1::bigint'
		WHEN type = 'uuid'::regtype THEN 'gen_random_uuid()'
		WHEN type = 'bytea'::regtype THEN '''\x''::bytea'
		WHEN type IN ('anycompatiblearray'::regtype, 'anyarray'::regtype) THEN '''{1}''::bigint[]'
		WHEN type = 'uuid[]'::regtype THEN 'ARRAY[gen_random_uuid()]'
		WHEN type::text ~ '\[\]$' THEN format('''{1}''::%s', type)
		ELSE format('''1''::%s', type) END $$;

-- a call for each function that names a domain or a peer, with %L for the name; so also for a version that is not there
CREATE TEMPORARY TABLE call AS
	SELECT object, who, CASE WHEN prokind = 'p' THEN 'CALL ' ELSE 'SELECT * FROM ' END || called || '(' || (
			SELECT string_agg(CASE WHEN nth = 1 AND named THEN '%1$L'
				WHEN name = 'domain' THEN 'domain => %1$L'
				WHEN named OR nth > 1 THEN format('%s => %s', name, argument(type))
				ELSE argument(type) END, ', ' ORDER BY nth)
			FROM (SELECT nth, proargnames[nth] AS name, type,
					nth = 1 AND proargnames[1] IN ('domain', 'name', 'peer', 'party') AS named,
					nth > pronargs - pronargdefaults AS optional
				FROM unnest(proargtypes::oid[]) WITH ORDINALITY a (type, nth)) a
			WHERE NOT optional OR named OR name IN ('domain', 'version')) || ')' AS text
	FROM access JOIN listed USING (object) WHERE who IN ('user', 'manager', 'syncer');
GRANT SELECT ON call TO PUBLIC;
SELECT is_empty($$SELECT object FROM call WHERE text !~ '%1\$L'$$, 'every call names a domain or a peer');

-- all that a call says, with the name taken out; what it did is undone
CREATE FUNCTION said(call text, name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE format(call, name);
	RAISE SQLSTATE 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
	RETURN 'done';
WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN replace(concat_ws('|', SQLSTATE, SQLERRM, detail, hint), name, '...');
END$$;

SET ROLE regress_fmoe_stranger;
SELECT is_empty($$SELECT text, said(text, 'secret'), said(text, 'nowhere') FROM call WHERE said(text, 'secret') <> said(text, 'nowhere')$$,
	'to a stranger, a domain is not there');
SELECT is_empty($$SELECT text, said(text, 'hidden'), said(text, 'nowhere') FROM call WHERE said(text, 'hidden') <> said(text, 'nowhere')$$,
	'nor a peer');
SELECT is_empty($$SELECT text, said(text, 'nowhere') FROM call WHERE said(text, 'nowhere') !~ '^42(704|501)'$$, 'which is an error of every call');
SELECT is(said($$SELECT fmoe_drop_domain(%L, if_exists => true)$$, 'secret'), said($$SELECT fmoe_drop_domain(%L, if_exists => true)$$, 'nowhere'),
	'or a notice');
SELECT is(said($$SET fmoe.domain = %L; SELECT * FROM fmoe_recommend(1)$$, 'secret'), said($$SET fmoe.domain = %L; SELECT * FROM fmoe_recommend(1)$$, 'nowhere'),
	'also by the setting');
SELECT results_eq($$SELECT id::int, fmoe._may_use(id), fmoe._may_see_peer(id), said('SELECT fmoe._domain_name(%s)', id::text) = said('SELECT fmoe._domain_name(%s)', '99')
		FROM unnest('{1,99}'::bigint[]) id$$, $$VALUES (1, false, false, true), (99, false, false, true)$$, 'nor by its number');
SELECT is_empty('SELECT version_id FROM fmoe._cache() UNION ALL SELECT domain_id FROM fmoe._progress()', 'what is loaded and trained is not seen');
SELECT is_empty($$SELECT 'domain' FROM fmoe.domains UNION ALL SELECT 'version' FROM fmoe.versions UNION ALL SELECT 'cache' FROM fmoe.cache
		UNION ALL SELECT 'progress' FROM fmoe.progress UNION ALL SELECT 'peer' FROM fmoe.peers$$, 'nor shown by a view');

SET ROLE regress_fmoe_user;
SELECT is_empty($$SELECT text, said(text, 'secret') FROM call
		WHERE who IN ('user', 'manager') AND (said(text, 'secret') ~ '^42501') <> (who = 'manager')$$, 'who may use a domain does not manage it');
SET ROLE regress_fmoe_owner;
SELECT is_empty($$SELECT text, said(text, 'secret') FROM call WHERE who IN ('user', 'manager') AND said(text, 'secret') ~ '^42501|domain "..." does not exist'$$,
	'its owner does');
SELECT results_eq('SELECT count(*)::int FROM fmoe._cache()', 'VALUES (1)', 'and sees what is loaded');

SELECT * FROM finish();
ROLLBACK;
