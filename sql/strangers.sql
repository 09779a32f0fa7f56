-- What roles and databases that do not trust one another can do to each other: rows that others write.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SCHEMA strangers_test;
SET search_path = strangers_test, public;
SET fmoe.party = 'north';

CREATE TABLE plays AS SELECT u, (u * 7 + s) % 20 AS i, s AS at FROM generate_series(1, 40) u, generate_series(1, 6) s;
SELECT fmoe_create_domain('strangers_lender', 'plays', 'u', 'i', 'at');
SELECT fmoe_create_domain('strangers_mix', 'plays', 'u', 'i', 'at');
CALL fmoe_train('strangers_lender', '{"model": "sasrec", "width": 8, "layers": 1, "heads": 1, "epochs": 1, "max_length": 5, "deploy": false}');
SELECT fmoe_lend('strangers_lender', 1) IS NOT NULL AS lent;

-- rows as logical replication may bring them: one that is as it should be, and one that lies
CREATE TABLE good AS SELECT l.*, p.data FROM fmoe.lent l JOIN fmoe.lent_part p USING (lent_id);
CREATE TABLE lies (n serial, what text, head jsonb, data bytea);
INSERT INTO lies (what, head, data)
SELECT what, head || CASE WHEN v.data IS NULL THEN '{}' ELSE jsonb_build_object('bytes', octet_length(v.data)) END, v.data
FROM good g, LATERAL (VALUES
	('a model that counts', '{"model": "markov", "config": {"model": "markov"}}'::jsonb, NULL::bytea),
	('another one', '{"model": "popularity", "config": {"model": "popularity"}}', 'abc'),
	('a mixture', '{"model": "fmoe", "config": {"model": "fmoe"}}', NULL),
	('a mixture of none', '{"model": "fmoe", "config": {"model": "fmoe", "experts": []}}', NULL),
	('a mixture of a lent one', '{"model": "fmoe", "config": {"model": "fmoe", "experts": [{"name": "a.b", "model": "sasrec", "width": 8}]}}', NULL),
	('an unknown model', '{"model": "oracle", "config": {"model": "oracle"}}', NULL),
	('two models', '{"model": "gru4rec"}', NULL),
	('a width that is not', '{"config": {"model": "sasrec", "width": -8}}', NULL),
	('a width too large', '{"config": {"model": "sasrec", "width": 99999999999}}', NULL),
	('layers too many', '{"config": {"model": "sasrec", "layers": 1000000}}', NULL),
	('heads that do not divide', '{"config": {"model": "sasrec", "width": 8, "heads": 3}}', NULL),
	('a larger shape than the file''s', jsonb_build_object('config', config || '{"width": 1024, "layers": 16}'), NULL),
	('another length', jsonb_build_object('config', config || '{"max_length": 10000}'), NULL),
	('options that are none', '{"config": [1, 2]}', NULL),
	('options in a string', '{"config": "model"}', NULL),
	('no options', '{"config": {}}', NULL),
	('items below zero', '{"items": -5}', NULL),
	('no items', '{"items": 0}', NULL),
	('events below zero', '{"events": -1}', NULL),
	('the largest numbers', '{"events": 9223372036854775807, "users": 9223372036854775807, "items": 2147483647}', NULL),
	('a version below zero', '{"version": -1}', NULL),
	('a round below zero', '{"round": -2147483648}', NULL),
	('a party with a dot', '{"party": "so.uth"}', NULL),
	('a party with a bell', '{"party": "so\u0007uth"}', NULL),
	('a name longer than any option', jsonb_build_object('domain', repeat('x', 200)), NULL),
	('another precision', '{"precision": "int8"}', NULL),
	('an unknown precision', '{"precision": "int1"}', NULL),
	('another checksum', '{"checksum": "zzz"}', NULL),
	('another privacy', '{"privacy": [1]}', NULL),
	('no file', '{}', ''),
	('half a file', '{}', substr(g.data, 1, octet_length(g.data) / 2)),
	('a file of zeros', '{}', decode(repeat('00', 4000), 'hex')),
	('a header longer than the file', '{}', '\xffffffffffffff7f'::bytea || substr(g.data, 9)),
	('a bit flipped', '{}', set_byte(g.data, octet_length(g.data) - 1, get_byte(g.data, octet_length(g.data) - 1) # 1)),
	('a size that is not', '{"bytes": -1}', NULL)
) v (what, head, data);
CREATE FUNCTION replicate(head jsonb, file bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	row fmoe.lent := jsonb_populate_record(NULL::fmoe.lent, (SELECT to_jsonb(g) FROM good g) || '{"party": "south"}' || head
		|| '{"lent_id": "11111111-1111-1111-1111-111111111111"}');
BEGIN
	DELETE FROM fmoe.lent WHERE lent_id = row.lent_id;
	DELETE FROM fmoe.lent_part WHERE lent_id = row.lent_id;
	INSERT INTO fmoe.lent SELECT row.*;
	INSERT INTO fmoe.lent_part SELECT row.lent_id, 0, row.party, true, COALESCE(file, data) FROM good;
END $$;

-- each is passed over with a WARNING or not listed at all, and the mixture is trained with the other expert
SET client_min_messages = warning;
\pset tuples_only
\set ECHO none
SELECT format('SELECT %L, replicate(head, data) FROM lies WHERE n = %s', what, n),
	'CALL fmoe_train(''strangers_mix'', ''{"model": "fmoe", "gate": "user", "epochs": 1, "width": 4, "layers": 1, "heads": 1, "max_length": 5, "deploy": false}'')'
FROM lies ORDER BY n \gexec
\set ECHO all
\pset tuples_only
SELECT (SELECT string_agg(e ->> 'name', ' ') FROM jsonb_array_elements(config -> 'experts') e) AS experts, count(*) = (SELECT count(*) FROM lies) AS all
	FROM fmoe.versions WHERE domain = 'strangers_mix' GROUP BY 1;
-- who names it is told, and nothing is trained
SELECT replicate('{"model": "markov", "config": {"model": "markov"}}', NULL);
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "gate": "user", "experts": ["south.strangers_lender"], "epochs": 1}');
SELECT replicate('{}', data || '\x00') FROM good;
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "gate": "user", "experts": ["south.strangers_lender"], "epochs": 1}');
SELECT replicate(jsonb_build_object('bytes', octet_length(data) + 1), data || '\x00') FROM good;
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "gate": "user", "experts": ["south.strangers_lender"], "epochs": 1}');
SET client_min_messages = error;


-- as whom tables are read: a view runs what its owner likes
CREATE ROLE strangers_mallory;
CREATE ROLE strangers_bob;
GRANT CREATE, USAGE ON SCHEMA strangers_test TO strangers_mallory;
GRANT USAGE ON SCHEMA strangers_test TO strangers_bob;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO strangers_mallory;
SET ROLE strangers_mallory;
CREATE TABLE her_plays AS SELECT u::bigint AS u, (u * 7 + s)::bigint % 20 AS i, s AS at FROM generate_series(1, 40) u, generate_series(1, 6) s;
CREATE TABLE her_items AS SELECT i::bigint AS i, i % 2 AS odd FROM generate_series(0, 19) i;
CREATE FUNCTION spy(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% as %, superuser: %', what, current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
	IF current_setting('strangers.leave', true) = 'on' THEN
		PERFORM set_config('search_path', 'nowhere', false), set_config('fmoe.domain', 'nowhere', false);
	END IF;
	IF current_setting('strangers.fail', true) = 'on' THEN
		RAISE EXCEPTION 'the spy fails';
	END IF;
	BEGIN
		CREATE TEMP TABLE left_behind (x int);
		DROP TABLE left_behind;
	EXCEPTION WHEN insufficient_privilege THEN
		RAISE NOTICE '%', SQLERRM;
	END;
	RETURN true;
END $$;
CREATE VIEW her_view AS SELECT p.* FROM her_plays p, (SELECT spy('history') OFFSET 0) s;
CREATE VIEW her_shop AS SELECT p.* FROM her_items p, (SELECT spy('items') OFFSET 0) s;
SELECT fmoe_create_domain('strangers_hers', 'her_view', 'u', 'i', 'at', items => 'her_shop', item_key => 'i');
RESET ROLE;
SET client_min_messages = notice;
\set VERBOSITY terse
SET strangers.leave = on;
CALL fmoe_train('strangers_hers', '{"model": "markov", "holdout": "test"}');
SELECT count(*) FROM fmoe_recommend(1::bigint, 3, domain => 'strangers_hers');
SELECT count(*) FROM fmoe_recommend_all('strangers_hers', 1);
SELECT count(*) FROM fmoe_recommend_all('strangers_hers', 1, users => '{1}');
SELECT count(*) FROM fmoe_score(1::bigint, '{1,2}', domain => 'strangers_hers');
SELECT count(*) FROM fmoe_explain(1::bigint, 1, domain => 'strangers_hers');
SELECT count(*) FROM fmoe_similar(1::bigint, 2, domain => 'strangers_hers');
SELECT count(*) > 0 AS some FROM fmoe_evaluate('strangers_hers');
SET client_min_messages = error;
CALL fmoe_train('strangers_hers', '{"model": "fmoe", "width": 8, "layers": 1, "heads": 1, "epochs": 1, "holdout": "test", "deploy": false}');
SET client_min_messages = notice;
SELECT cardinality(fmoe_embedding(1::bigint, 'strangers_hers', version => 2)) AS item;
SELECT cardinality(fmoe_embedding(1::bigint, 'strangers_hers', 'user', version => 2)) AS "user";
SELECT count(*) > 0 AS some FROM fmoe_expert_report('strangers_hers', '{"version": 2}');
-- functions that were made for the domain read as the others do, and making them reads nothing
SELECT fmoe_create_functions('strangers_hers', 'hers');
SELECT count(*) FROM hers_recommend(1, 3);
SELECT fmoe_drop_functions('strangers_hers', 'hers');
-- within a transaction, by a cursor, from a function, and caught
BEGIN;
DECLARE c CURSOR FOR SELECT item_id FROM fmoe_recommend(1::bigint, 2, domain => 'strangers_hers');
MOVE 1 IN c;
SELECT current_user = session_user AS myself, current_setting('search_path') AS path, current_setting('fmoe.domain') AS domain;
COMMIT;
SET strangers.fail = on;
DO $$
BEGIN
	PERFORM fmoe_recommend(1::bigint, 2, domain => 'strangers_hers');
EXCEPTION WHEN raise_exception THEN
	RAISE NOTICE '%: myself %, path %', SQLERRM, current_user = session_user, current_setting('search_path');
END $$;
SELECT fmoe_recommend(1::bigint, 2, domain => 'strangers_hers');
CALL fmoe_train('strangers_hers', '{"model": "markov"}');
RESET strangers.fail;
RESET strangers.leave;
SELECT current_user = session_user AS myself, current_setting('search_path') AS path, current_setting('fmoe.domain') AS domain;
-- a filter is the caller's: evaluated as himself, over rows that were read as she
CREATE FUNCTION lucky(i bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF current_user <> session_user THEN
		RAISE EXCEPTION 'the filter runs as %', current_user;
	END IF;
	RETURN i IN (3, 4, 5);
END $$;
SELECT item_id FROM fmoe_recommend(1::bigint, 9, domain => 'strangers_hers', exclude_seen => false,
	filter => 'strangers_test.lucky(i) AND her_shop.odd = 1') ORDER BY 1;
SELECT count(*) FROM fmoe_recommend(1::bigint, 9, domain => 'strangers_hers', filter => 'nothing > 1');
-- also over a table that has lost a column, of which her part is a part
CREATE TABLE wares (gone int, i bigint, secret int, odd int);
ALTER TABLE wares DROP COLUMN gone;
INSERT INTO wares SELECT i, 1, i % 2 FROM generate_series(0, 19) i;
GRANT SELECT (i, odd) ON wares TO strangers_mallory;
SET ROLE strangers_mallory;
SELECT fmoe_alter_domain('strangers_hers', items => 'wares');
RESET ROLE;
SELECT string_agg(item_id::text, ' ' ORDER BY item_id) FROM fmoe_recommend(1::bigint, 20, domain => 'strangers_hers', exclude_seen => false, filter => 'wares.odd = 1');
SELECT count(*) FROM fmoe_recommend(1::bigint, 9, domain => 'strangers_hers', filter => 'secret = 1');
SET ROLE strangers_mallory;
SELECT fmoe_alter_domain('strangers_hers', items => 'her_shop');
RESET ROLE;
-- who has no more rights than she reads as himself, as he would by SELECT
SET ROLE strangers_mallory;
GRANT SELECT ON her_view, her_shop TO strangers_bob;
SET ROLE strangers_bob;
SELECT count(*) FROM fmoe_recommend(1::bigint, 3, domain => 'strangers_hers');
SELECT cardinality(fmoe_embedding(1::bigint, 'strangers_hers', 'user', version => 2)) AS "user";
SELECT count(*) > 0 AS some FROM fmoe_expert_report('strangers_hers', '{"version": 2}');
-- who could act as she reads as she, though the plan was made for him before
RESET ROLE;
GRANT strangers_mallory TO strangers_bob;
SET ROLE strangers_bob;
SELECT count(*) FROM fmoe_recommend(1::bigint, 3, domain => 'strangers_hers');
RESET ROLE;
REVOKE strangers_mallory FROM strangers_bob;
-- and a domain of ours over her view is read as she, too
SELECT fmoe_create_domain('strangers_ours', 'her_view', 'u', 'i', 'at');
CALL fmoe_train('strangers_ours', '{"model": "markov"}');
-- a cast that she made for her type is not called
SET ROLE strangers_mallory;
CREATE TYPE kind AS ENUM ('a', 'b', 'c');
CREATE FUNCTION kind_text(kind) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'cast as %', current_user; RETURN 'x'; END$$;
CREATE CAST (kind AS text) WITH FUNCTION kind_text(kind) AS IMPLICIT;
CREATE TABLE kinds AS SELECT u::bigint AS u, (enum_range(NULL::kind))[1 + (u + s) % 3] AS i, s AS at FROM generate_series(1, 20) u, generate_series(1, 4) s;
SELECT fmoe_create_domain('strangers_kinds', 'kinds', 'u', 'i', 'at');
CALL fmoe_train('strangers_kinds', '{"model": "markov"}');
RESET ROLE;
SELECT item_id FROM fmoe_recommend('1', 3, domain => 'strangers_kinds', exclude_seen => false) ORDER BY 1;

-- which domain a call without a name means: never a stranger's
SELECT fmoe_drop_domain(d) FROM unnest('{strangers_lender,strangers_mix,strangers_ours}'::text[]) d;
SELECT * FROM fmoe_recommend(1::bigint);
CALL fmoe_train(options => '{"model": "sasrec"}');
SET ROLE strangers_mallory;
SELECT fmoe_drop_domain('strangers_kinds');
GRANT SELECT ON her_view, her_shop TO PUBLIC;
SELECT count(*) FROM fmoe_recommend(1::bigint, 3);
SET ROLE strangers_bob;
SELECT count(*) FROM fmoe_recommend(1::bigint, 3);
RESET ROLE;
REVOKE SELECT ON her_view FROM strangers_bob;
SET ROLE strangers_bob;
SELECT count(*) FROM fmoe_recommend(1::bigint, 3);
RESET ROLE;
SELECT fmoe_create_domain('strangers_lender', 'plays', 'u', 'i', 'at');
CALL fmoe_train('strangers_lender', '{"model": "markov"}');
SELECT count(*) FROM fmoe_recommend(1::bigint, 3);
GRANT SELECT ON plays TO strangers_bob;
SET ROLE strangers_bob;
SELECT count(*) FROM fmoe_recommend(1::bigint, 3);
RESET ROLE;

-- who borrows may read what is lent, and what was borrowed does not leave
SET client_min_messages = warning;
CALL fmoe_train('strangers_lender', '{"model": "sasrec", "width": 8, "layers": 1, "heads": 1, "epochs": 1, "max_length": 5, "deploy": false}');
SELECT fmoe_forget('south');
SELECT fmoe_lend('strangers_lender', 2) IS NOT NULL AS lent;
SET ROLE strangers_mallory;
SELECT fmoe_create_domain('strangers_mix', 'her_plays', 'u', 'i', 'at');
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "gate": "user", "experts": ["north.strangers_lender"], "epochs": 1, "width": 8, "layers": 1, "deploy": false}');
CALL fmoe_train('strangers_mix', '{"model": "sasrec", "start_encoder": "north.strangers_lender", "epochs": 1, "width": 8, "layers": 1, "deploy": false}');
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "gate": "user", "epochs": 1, "width": 8, "layers": 1, "deploy": false}');
RESET ROLE;
-- nor for her does who may
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "gate": "user", "experts": ["north.strangers_lender"], "epochs": 1, "width": 8, "layers": 1, "deploy": false}');
SELECT version, jsonb_array_length(config -> 'experts') AS experts FROM fmoe.versions WHERE domain = 'strangers_mix';
-- a grant on one expert, on all of a party, on everything
SELECT 'fmoe.domain_' || domain_id || '_owner' AS marker FROM fmoe.domain WHERE name = 'strangers_lender' \gset
\set mix 'CALL fmoe_train(''strangers_mix'', ''{"model": "fmoe", "gate": "user", "experts": ["north.strangers_lender"], "epochs": 1, "width": 8, "layers": 1, "deploy": false}'')'
\set ECHO none
GRANT SELECT ON :marker TO strangers_mallory;
SET ROLE strangers_mallory;
:mix;
RESET ROLE;
REVOKE SELECT ON :marker FROM strangers_mallory;
GRANT SELECT ON fmoe.shared_expert_part TO strangers_mallory;
SET ROLE strangers_mallory;
:mix;
RESET ROLE;
REVOKE SELECT ON fmoe.shared_expert_part FROM strangers_mallory;
GRANT SELECT ON fmoe.lent_part TO strangers_mallory;
SET ROLE strangers_mallory;
:mix;
RESET ROLE;
REVOKE SELECT ON fmoe.lent_part FROM strangers_mallory;
SET ROLE strangers_mallory;
:mix;
RESET ROLE;
\set ECHO all
SELECT version, jsonb_array_length(config -> 'experts') AS experts FROM fmoe.versions WHERE domain = 'strangers_mix' ORDER BY version;
-- a row that has lost the list of them, or their shapes, is refused: without a word they would be left out
BEGIN;
UPDATE fmoe.version SET config = config - 'experts' WHERE version = 2 AND domain_id = (SELECT domain_id FROM fmoe.domain WHERE name = 'strangers_mix');
SELECT fmoe_recommend(1::bigint, 3, 'strangers_mix', version => 2);
ROLLBACK;
BEGIN;
UPDATE fmoe.version SET config = config || '{"experts": ["north.strangers_lender"]}'
	WHERE version = 2 AND domain_id = (SELECT domain_id FROM fmoe.domain WHERE name = 'strangers_mix');
SELECT fmoe_recommend(1::bigint, 3, 'strangers_mix', version => 2);
ROLLBACK;
-- her export is her own encoder, however much she would share
SET ROLE strangers_mallory;
SELECT fmoe_alter_domain('strangers_mix', sharing => 'full');
SELECT fmoe_export('strangers_mix', 2);
SELECT octet_length(fmoe_export('strangers_mix', 1)) > 0 AS without_experts;
SELECT fmoe_alter_domain('strangers_mix', sharing => 'encoder');
SELECT octet_length(fmoe_export('strangers_mix', 2)) > 0 AS encoder;
RESET ROLE;
SELECT count(*) > 0 AS arrays, bool_or(position(substr(t.data, 1, 100) IN fmoe_export('strangers_mix', 2)) > 0) AS stolen
	FROM fmoe.tensor t JOIN fmoe.version v USING (version_id) JOIN fmoe.domain d USING (domain_id) JOIN fmoe.lent l ON l.domain = d.name
		JOIN fmoe.lent_part p USING (lent_id)
	WHERE v.version = 2 AND octet_length(t.data) > 200 AND position(substr(t.data, 1, 100) IN p.data) > 0;
-- who exports may read the interactions
ALTER TABLE her_plays OWNER TO strangers_bob;
SET ROLE strangers_mallory;
SELECT fmoe_export('strangers_mix', 2);
RESET ROLE;
ALTER TABLE her_plays OWNER TO strangers_mallory;
SELECT fmoe_drop_domain('strangers_mix');
SET client_min_messages = notice;

-- which peers are all peers, and as whom they are read: her server would be told to connect as a superuser
GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO strangers_mallory;
\set ECHO none
SELECT format('CREATE SERVER strangers_evil FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname %L, port %L, host %L)',
	current_database(), current_setting('port'), trim(split_part(current_setting('unix_socket_directories'), ',', 1))) AS server,
	format('CREATE USER MAPPING FOR PUBLIC SERVER strangers_evil OPTIONS (user %L)', session_user) AS mapping \gset
SET ROLE strangers_mallory;
:server;
:mapping;
\set ECHO all
SELECT fmoe_add_peer('strangers_friendly', 'strangers_evil');
RESET ROLE;
CALL fmoe_sync();
SELECT synced_at IS NULL AS untouched, error FROM fmoe.peers WHERE name = 'strangers_friendly';
-- the words are those of postgres_fdw, and others since PostgreSQL 16
\set VERBOSITY sqlstate
CALL fmoe_sync('strangers_friendly');
\set VERBOSITY terse
\set ECHO none
SET ROLE strangers_mallory;
SELECT format('GRANT SELECT ON %s, %s TO %I', expert_table, part_table, session_user) FROM
	(SELECT max(c.oid::regclass::text) FILTER (WHERE relname ~ 'expert$') AS expert_table,
		max(c.oid::regclass::text) FILTER (WHERE relname ~ 'part$') AS part_table FROM pg_class c WHERE relkind = 'f' AND relname ~ '^peer_') t \gexec
RESET ROLE;
\set ECHO all
CALL fmoe_sync();
SELECT synced_at IS NULL AS untouched, error IS NOT NULL AS refused FROM fmoe.peers WHERE name = 'strangers_friendly';
SELECT fmoe_drop_peer('strangers_friendly');
DROP SERVER strangers_evil CASCADE;
REVOKE USAGE ON FOREIGN DATA WRAPPER postgres_fdw FROM strangers_mallory;
\set VERBOSITY default
SET client_min_messages = error;

SELECT fmoe_drop_domain(d) FROM unnest('{strangers_lender,strangers_hers}'::text[]) d;
DROP SCHEMA strangers_test CASCADE;
REVOKE EXECUTE ON FUNCTION fmoe_create_domain FROM strangers_mallory;
DROP ROLE strangers_mallory, strangers_bob;
