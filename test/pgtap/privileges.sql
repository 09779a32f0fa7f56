-- Who may do what: an owner, a member of the owning role, a user with SELECT on the columns, a
-- user under row-level security, and a stranger.
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
SELECT plan(129);

CREATE ROLE regress_fmoe_owner;
CREATE ROLE regress_fmoe_team;
CREATE ROLE regress_fmoe_member IN ROLE regress_fmoe_team;
CREATE ROLE regress_fmoe_table_owner;
CREATE ROLE regress_fmoe_user;
CREATE ROLE regress_fmoe_partial;
CREATE ROLE regress_fmoe_stranger;

CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
CREATE TABLE shop.orders (customer text, product int, at timestamptz, note text);
INSERT INTO shop.orders SELECT 'c' || c, p, timestamptz '2024-01-01 UTC' + (c * 10 + p) * interval '1 hour'
	FROM generate_series(1, 4) c, generate_series(1, 4) p WHERE c + p < 8;
ALTER TABLE shop.orders OWNER TO regress_fmoe_table_owner;
CREATE TABLE shop.products (product int, title text, price numeric);
INSERT INTO shop.products SELECT p, 'product ' || p, p FROM generate_series(1, 4) p;
CREATE TABLE shop.secrets (product int);
INSERT INTO shop.secrets VALUES (1);
GRANT SELECT (customer, product, at) ON shop.orders TO regress_fmoe_owner, regress_fmoe_user, regress_fmoe_team;
GRANT SELECT (customer, product) ON shop.orders TO regress_fmoe_partial;
GRANT SELECT (product, title) ON shop.products TO regress_fmoe_owner, regress_fmoe_user, regress_fmoe_team,
	regress_fmoe_table_owner;

CREATE FUNCTION denied(statement text, description text) RETURNS text LANGUAGE sql AS
	$$SELECT throws_ok(statement, '42501', NULL, description)$$;
-- what one may not know of is not there
CREATE FUNCTION hidden(statement text, description text) RETURNS text LANGUAGE sql AS
	$$SELECT throws_ok(statement, '42704', NULL, description)$$;

-- registering takes a privilege, and SELECT on the columns
SET ROLE regress_fmoe_owner;
SELECT throws_ok($$SELECT fmoe_create_domain('shop', 'shop.orders', 'customer', 'product', 'at')$$, '42501',
	'permission denied for function fmoe_create_domain', 'not everybody registers domains');
RESET ROLE;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO PUBLIC;
SET ROLE regress_fmoe_stranger;
SELECT denied($$SELECT fmoe_create_domain('shop', 'shop.orders', 'customer', 'product', 'at')$$, 'a stranger registers nothing');
SET ROLE regress_fmoe_partial;
SELECT denied($$SELECT fmoe_create_domain('shop', 'shop.orders', 'customer', 'product', 'at')$$, 'nor who may read two of three columns');
SET ROLE regress_fmoe_owner;
SELECT denied($$SELECT fmoe_create_domain('shop', 'shop.orders', 'customer', 'product', 'at', 'note')$$, 'nor who may not read the label');
SELECT denied(format($$SELECT fmoe_create_domain('shop', 'shop.orders', 'customer', 'product', 'at', %I => 'note')$$, c), 'nor the ' || c)
	FROM unnest('{order_column,basket_column,weight_column}'::text[]) c;
SET ROLE regress_fmoe_table_owner;
SELECT fmoe_create_domain('noted', 'shop.orders', 'customer', 'product', 'at', basket_column => 'note') \g /dev/null
SET ROLE regress_fmoe_user;
SELECT hidden($$SELECT * FROM fmoe_recommend('c1', domain => 'noted')$$, 'who may not read the baskets is served nothing');
SELECT is_empty('SELECT domain FROM fmoe.domains', 'and does not see the domain');
SET ROLE regress_fmoe_table_owner;
SELECT fmoe_drop_domain('noted') \g /dev/null
SET ROLE regress_fmoe_owner;
SELECT denied($$SELECT fmoe_create_domain('shop', 'shop.orders', 'customer', 'product', 'at', items => 'shop.products', item_key => 'product',
	text_columns => '{title}', price_column => 'price')$$, 'nor who may not read a column of the item table');
SELECT lives_ok($$SELECT fmoe_create_domain('shop', 'shop.orders', 'customer', 'product', 'at', items => 'shop.products', item_key => 'product',
	text_columns => '{title}')$$, 'SELECT on the columns is enough');
SELECT results_eq('SELECT domain, owner::text COLLATE "default" FROM fmoe.domains', $$VALUES ('shop', 'regress_fmoe_owner')$$, 'who registers a domain owns it');
SELECT lives_ok($$CALL fmoe_train('shop', '{"model": "popularity", "holdout": "none", "deploy": false}')$$, 'the owner trains');
SELECT lives_ok($$CALL fmoe_train('shop', '{"model": "markov", "holdout": "none", "deploy": false}')$$, 'again');
SELECT lives_ok($$SELECT fmoe_deploy('shop', 1)$$, 'the owner deploys');
SELECT results_eq('SELECT version, live, created_by::text COLLATE "default" FROM fmoe.versions ORDER BY version',
	$$VALUES (1, true, 'regress_fmoe_owner'), (2, false, 'regress_fmoe_owner')$$, 'versions say who made them');

-- a user
SET ROLE regress_fmoe_user;
SELECT results_eq('SELECT domain FROM fmoe.domains', $$VALUES ('shop')$$, 'a user sees the domain');
SELECT results_eq('SELECT count(*)::int FROM fmoe.versions', 'VALUES (2)', 'and its versions');
SELECT results_eq($$SELECT count(*)::int FROM fmoe_recommend('c1', 2, exclude_seen => false)$$, 'VALUES (2)', 'gets recommendations');
SELECT results_eq($$SELECT count(*)::int FROM fmoe_recommend_next(ARRAY[1, 2])$$, 'VALUES (2)', 'for a history of its own');
SELECT results_eq($$SELECT count(*)::int FROM fmoe_score('c1', '{1,2}')$$, 'VALUES (2)', 'scores');
SELECT results_eq($$SELECT part, name FROM fmoe_explain('nobody', 1)$$, $$VALUES ('fallback', 'popularity')$$, 'explanations');
SELECT throws_ok($$SELECT * FROM fmoe_expert_report('shop')$$, '55000', NULL, 'and the report of a mixture, if it is one');
SELECT results_eq($$SELECT item_id FROM fmoe_recommend('c1', exclude_seen => false, filter => 'title = ''product 2''')$$, $$VALUES ('2')$$,
	'filters by a column that it may read');
SELECT denied($$SELECT * FROM fmoe_recommend('c1', filter => 'price < 3')$$, 'not by another');
SELECT denied($$SELECT * FROM fmoe_similar('1', filter => 'price < 3')$$, 'by no function');
SELECT denied($$SELECT * FROM fmoe_recommend('c1', filter => 'product IN (SELECT s.product FROM shop.secrets s)')$$, 'nor by a table that it may not read');
SELECT throws_ok($$SELECT * FROM fmoe_recommend('c1', filter => 'true; DELETE FROM shop.products')$$, '22023', NULL, 'nor with another statement');
RESET ROLE;
REVOKE SELECT (product) ON shop.products FROM regress_fmoe_user;
SET ROLE regress_fmoe_user;
SELECT denied($$SELECT * FROM fmoe_recommend('c1')$$, 'who may not read which items there are gets nothing');
RESET ROLE;
GRANT SELECT (product) ON shop.products TO regress_fmoe_user;
SET ROLE regress_fmoe_user;
SELECT denied($$CALL fmoe_train('shop')$$, 'but does not train');
SELECT denied($$SELECT fmoe_deploy('shop', 2)$$, 'does not deploy');
SELECT denied($$SELECT fmoe_rollback('shop')$$, 'does not roll back');
SELECT denied($$SELECT fmoe_refresh('shop')$$, 'does not refresh');
SELECT denied($$SELECT fmoe_drop_version('shop', 2)$$, 'does not drop versions');
SELECT denied($$SELECT fmoe_forget_user('shop', 'c1')$$, 'nor lets users be forgotten');
SELECT denied($$SELECT fmoe_export('shop')$$, 'does not export');
SELECT denied($$SELECT fmoe_import('shop', 'x', '')$$, 'does not import');
SELECT denied($$SELECT fmoe_alter_domain('shop', new_name => 'mine')$$, 'does not alter');
SELECT denied($$SELECT fmoe_drop_domain('shop')$$, 'does not drop');
SELECT throws_ok($$SELECT fmoe_rollback(NULL)$$, '42704', NULL, 'manages no domain at all');

-- half a user
SET ROLE regress_fmoe_partial;
SELECT is_empty('SELECT * FROM fmoe.domains', 'who may read two of three columns sees no domain');
SELECT hidden($$SELECT * FROM fmoe_recommend('c1', domain => 'shop')$$, 'and gets nothing');

-- a stranger
SET ROLE regress_fmoe_stranger;
SELECT is_empty('SELECT * FROM fmoe.domains', 'a stranger sees no domain');
SELECT is_empty('SELECT * FROM fmoe.versions', 'no version');
SELECT is_empty('SELECT * FROM fmoe.progress', 'no training');
SELECT isnt_empty('SELECT * FROM fmoe.options', 'but what may be asked for, which is no secret');
SELECT hidden($$SELECT * FROM fmoe_recommend('c1', domain => 'shop')$$, 'gets no recommendation');
SELECT hidden($$SELECT * FROM fmoe_recommend_next(ARRAY[1, 2], domain => 'shop')$$, 'none for a history');
SELECT hidden($$SELECT * FROM fmoe_score('c1', '{1}', 'shop')$$, 'no score');
SELECT hidden($$SELECT * FROM fmoe_similar(1, 3, 'shop')$$, 'no similar items');
SELECT hidden($$SELECT fmoe_embedding(1::bigint, 'shop')$$, 'no vector of an item');
SELECT hidden($$SELECT fmoe_embedding('c1', 'shop', 'user')$$, 'nor of a user');
SELECT hidden($$SELECT fmoe_create_functions('shop')$$, 'no functions');
SELECT hidden($$SELECT * FROM fmoe_evaluate('shop')$$, 'no evaluation');
SELECT hidden($$SELECT * FROM fmoe_explain('c1', domain => 'shop')$$, 'no explanation');
SELECT hidden($$SELECT * FROM fmoe_expert_report('shop')$$, 'no report');
SELECT hidden($$CALL fmoe_train('shop')$$, 'does not train');
SELECT hidden($$SELECT fmoe_export('shop')$$, 'does not export');
SELECT hidden($$SELECT fmoe_drop_domain('shop')$$, 'does not drop');
SELECT throws_ok($$SELECT * FROM fmoe_recommend('c1')$$, '42704', NULL, 'finds no domain that it may use');
SELECT denied('SELECT * FROM fmoe.domain', 'reads no table of the extension');
SELECT denied('SELECT data FROM fmoe.tensor', 'and no weights');
SELECT denied('INSERT INTO fmoe.deployment (domain_id, version_id, deployed_by) VALUES (1, 2, current_user)', 'and writes none');

-- nothing in the way to the extension's tables runs what a caller put into its search_path
RESET ROLE;
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap sprang'; END$$;
CREATE FUNCTION trap.sprung(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap sprang'; END$$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung);
CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.sprung);
CREATE FUNCTION in_trap(statement text) RETURNS text LANGUAGE plpgsql SET search_path = trap, pg_catalog, public AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no trap';
EXCEPTION WHEN raise_exception THEN
	RETURN SQLERRM;
END$$;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
SELECT is(in_trap($$SELECT 'a'::text = 'b'::text$$), 'the trap sprang', 'a trap in the search_path');
SET ROLE regress_fmoe_user;
SELECT is(in_trap($$SELECT * FROM fmoe_recommend('c1', domain => 'shop')$$), 'no trap', 'is not run into by recommending');
SELECT is(in_trap($$SELECT * FROM fmoe.versions$$), 'no trap', 'by the views');
SET ROLE regress_fmoe_owner;
SELECT is(in_trap($$SELECT fmoe_alter_domain('shop', sharing => 'full'), fmoe_create_domain('two', 'shop.orders', 'customer', 'product', 'at'),
	fmoe_drop_domain('two')$$), 'no trap', 'by registering');
SELECT is(in_trap($$SELECT fmoe_deploy('shop', 2), fmoe_rollback('shop'), fmoe_export('shop', 1)$$), 'no trap', 'nor by managing');
SET ROLE regress_fmoe_user;
SELECT is(current_user::text, 'regress_fmoe_user', 'the caller is the caller afterwards');
SELECT throws_ok($$SELECT * FROM fmoe_recommend('c1', domain => 'nowhere')$$, '42704', NULL, 'an error in between');
SELECT is(current_user::text || ' ' || current_setting('search_path'), 'regress_fmoe_user "$user", public', 'leaves nothing changed');

-- who lends and who borrows
RESET ROLE;
CREATE ROLE regress_fmoe_borrower;
CREATE ROLE regress_fmoe_peer;
CREATE FOREIGN DATA WRAPPER regress_fmoe_wrapper;
CREATE SERVER regress_fmoe_server FOREIGN DATA WRAPPER regress_fmoe_wrapper;
GRANT USAGE ON FOREIGN SERVER regress_fmoe_server TO regress_fmoe_peer;
SET ROLE regress_fmoe_owner;
CALL fmoe_train('shop', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 1, "holdout": "none", "deploy": false}');
SELECT lives_ok($$SELECT fmoe_lend('shop', 3)$$, 'the owner lends');
SELECT denied('SELECT * FROM fmoe.shared_expert', 'which is not for anybody to read');
SET ROLE regress_fmoe_user;
SELECT denied($$SELECT fmoe_lend('shop', 3)$$, 'a user does not lend');
SELECT denied($$SELECT fmoe_withdraw('shop')$$, 'does not withdraw');
SELECT denied('SELECT * FROM fmoe.shared_expert', 'does not read what is lent');
SELECT denied('SELECT * FROM fmoe.shared_expert_part', 'nor its files');
SELECT results_eq('SELECT domain, own FROM fmoe.experts', $$VALUES ('shop', true)$$, 'but sees that it is');
RESET ROLE;
GRANT USAGE ON SCHEMA fmoe TO regress_fmoe_borrower;
GRANT SELECT ON fmoe.shared_expert, fmoe.shared_expert_part TO regress_fmoe_borrower;
SET ROLE regress_fmoe_borrower;
SELECT results_eq('SELECT domain, version FROM fmoe.shared_expert', $$VALUES ('shop', 3)$$, 'a borrower reads what is lent');
SELECT results_eq('SELECT part FROM fmoe.shared_expert_part', 'VALUES (0)', 'and its files');
SELECT denied('SELECT * FROM shop.orders', 'and no interactions');
SELECT denied('SELECT * FROM fmoe.lent', 'no table about lending');
SELECT denied('SELECT * FROM fmoe.lent_part', 'nor the other one');
SELECT denied('SELECT * FROM fmoe.tensor', 'no weights');
SELECT denied('SELECT * FROM fmoe.version', 'no versions');
SELECT denied('SELECT * FROM fmoe.domain', 'no domains');
SELECT is_empty('SELECT domain FROM fmoe.domains UNION ALL SELECT domain FROM fmoe.versions', 'nor by the views');
SELECT denied('DELETE FROM fmoe.shared_expert', 'writes nothing');
SELECT hidden($$SELECT fmoe_export('shop', 3)$$, 'exports nothing');
SELECT denied($$SET fmoe.party = 'other'$$, 'and does not pretend that this is another party');
SELECT is(in_trap('SELECT * FROM fmoe.shared_expert'), 'no trap', 'a trap in its search_path is not run into');
SELECT denied($$SELECT fmoe_add_peer('p', 'regress_fmoe_server')$$, 'a peer takes USAGE on its server');
SELECT denied($$SELECT fmoe_forget('elsewhere')$$, 'to forget takes a peer of that party');
SET ROLE regress_fmoe_peer;
SELECT lives_ok($$SELECT fmoe_add_peer('p', 'regress_fmoe_server')$$, 'who has it adds one');
SELECT results_eq('SELECT name, created_by::text COLLATE "default" FROM fmoe.peers', $$VALUES ('p', 'regress_fmoe_peer')$$, 'and sees it');
SELECT is(in_trap($$SELECT fmoe_add_peer('q', 'regress_fmoe_server'), fmoe_drop_peer('q')$$), 'no trap', 'traps are not run into');
SET ROLE regress_fmoe_user;
SELECT is_empty('SELECT * FROM fmoe.peers', 'others do not');
SELECT hidden($$CALL fmoe_sync('p')$$, 'do not sync it');
SELECT hidden($$SELECT fmoe_drop_peer('p')$$, 'and do not drop it');
RESET ROLE;
SELECT results_eq($$SELECT relname::text COLLATE "default", has_table_privilege('regress_fmoe_peer', oid, 'SELECT WITH GRANT OPTION'),
		has_table_privilege('regress_fmoe_user', oid, 'SELECT') FROM pg_class WHERE relkind = 'f' ORDER BY relname$$,
	$$SELECT 'peer_' || peer_id || kind, true, false FROM fmoe.peer, unnest('{_expert,_part}'::text[]) kind$$, 'foreign tables are for who added the peer');
SET ROLE regress_fmoe_owner;
SELECT results_eq($$SELECT fmoe_withdraw('shop')$$, 'VALUES (1)', 'the owner withdraws');
SELECT lives_ok($$SELECT fmoe_drop_version('shop', 3)$$, 'and drops');

-- the owner of the table, and roles that own the domain
SET ROLE regress_fmoe_table_owner;
SELECT lives_ok($$SELECT fmoe_deploy('shop', 2)$$, 'the owner of the interaction table manages');
SET ROLE regress_fmoe_owner;
SELECT denied($$SELECT fmoe_alter_domain('shop', owner => 'regress_fmoe_team')$$, 'a domain is not given to a role that one is no member of');
RESET ROLE;
SELECT lives_ok($$SELECT fmoe_alter_domain('shop', owner => 'regress_fmoe_team')$$, 'a superuser gives it to anyone');
SET ROLE regress_fmoe_owner;
SELECT denied($$SELECT fmoe_rollback('shop')$$, 'who has given it away manages no more');
SET ROLE regress_fmoe_member;
SELECT denied('SELECT fmoe._set_owner(''domain'', domain_id, ''regress_fmoe_member'') FROM generate_series(1, 3) domain_id',
	'nobody makes himself the owner');
SELECT lives_ok($$SELECT fmoe_rollback('shop')$$, 'members of the owning role manage');
SELECT lives_ok($$CALL fmoe_train('shop', '{"model": "popularity", "holdout": "none", "deploy": false}')$$, 'and train');
SELECT results_eq('SELECT created_by::text COLLATE "default" FROM fmoe.versions WHERE version = 4', $$VALUES ('regress_fmoe_member')$$, 'under their own name');
SELECT denied($$SELECT fmoe_alter_domain('shop', label_column => 'note')$$, 'but name no column that they may not read');

-- row-level security filters what is read for whoever it applies to
RESET ROLE;
ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY;
CREATE POLICY late ON shop.products FOR SELECT TO regress_fmoe_user USING (product > 2);
CREATE POLICY whole ON shop.products FOR SELECT TO regress_fmoe_owner, regress_fmoe_team USING (true);
SET ROLE regress_fmoe_user;
SELECT results_eq($$SELECT item_id FROM fmoe_recommend('c1', exclude_seen => false) ORDER BY 1$$, $$VALUES ('3'), ('4')$$,
	'items that row-level security hides are not recommended');
SELECT results_eq($$SELECT item_id FROM fmoe_recommend('c1', exclude_seen => false, filter => 'product < 4')$$, $$VALUES ('3')$$,
	'with a filter neither');
SELECT results_eq($$SELECT DISTINCT item_id FROM fmoe_recommend_all('shop', exclude_seen => false) ORDER BY 1$$, $$VALUES ('3'), ('4')$$,
	'nor to all users');
RESET ROLE;
ALTER TABLE shop.products DISABLE ROW LEVEL SECURITY;
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.orders FOR SELECT TO regress_fmoe_user USING (customer = 'c1');
CREATE POLICY early ON shop.orders FOR SELECT TO regress_fmoe_team USING (product <= 2);
SET ROLE regress_fmoe_user;
SELECT hidden($$SELECT * FROM fmoe_recommend('c1')$$, 'a call that names no domain runs no policy of another owner''s');
SELECT results_eq($$SELECT source FROM fmoe_recommend('c1', 1, 'shop', version => 2, exclude_seen => false)$$, $$VALUES ('model')$$, 'a user whose rows are visible has a history');
SELECT isnt_empty($$SELECT FROM fmoe_recommend('c2', domain => 'shop') WHERE item_id = '1'$$, 'of a user whose rows are hidden nothing is seen');
SET ROLE regress_fmoe_table_owner;
SELECT is_empty($$SELECT FROM fmoe_recommend('c2', domain => 'shop') WHERE item_id = '1'$$, 'which the table owner sees');
SET ROLE regress_fmoe_member;
SELECT lives_ok($$CALL fmoe_train('shop', '{"model": "popularity", "holdout": "none", "deploy": false}')$$, 'training reads the rows that the caller may see');
SELECT results_eq('SELECT items, events FROM fmoe.versions WHERE version = 5', $$VALUES (2, 8::bigint)$$, 'and no others');

-- privileges that go
RESET ROLE;
REVOKE SELECT (at) ON shop.orders FROM regress_fmoe_user;
SET ROLE regress_fmoe_user;
SELECT hidden($$SELECT * FROM fmoe_recommend('c1', domain => 'shop')$$, 'a revoked privilege counts at once');
SELECT is_empty('SELECT * FROM fmoe.domains', 'in the views too');

-- a domain whose table or owner is gone
RESET ROLE;
DROP TABLE shop.orders;
SET ROLE regress_fmoe_user;
SELECT hidden($$SELECT * FROM fmoe_recommend('c1', domain => 'shop')$$, 'an orphaned domain is closed to users');
SET ROLE regress_fmoe_member;
SELECT results_eq('SELECT domain, orphaned FROM fmoe.domains', $$VALUES ('shop', true)$$, 'its owners see it');
RESET ROLE;
DROP OWNED BY regress_fmoe_team;
SET ROLE regress_fmoe_member;
SELECT hidden($$SELECT fmoe_drop_domain('shop')$$, 'after DROP OWNED it is the extension''s owner''s');
RESET ROLE;
SELECT results_eq('SELECT owner::text COLLATE "default" FROM fmoe.domains', 'SELECT current_user::text COLLATE "default"', 'who sees it as its own');
SELECT lives_ok($$SELECT fmoe_drop_domain('shop')$$, 'and can drop it');
SELECT is_empty($$SELECT FROM pg_class WHERE relkind = 'm' AND relnamespace = 'fmoe'::regnamespace AND relname LIKE 'domain%'$$,
	'no marker of an owner stays behind');
DROP ROLE regress_fmoe_team;

-- foreign tables of peers go with the extension
DROP EXTENSION fmoe;
SELECT is_empty($$SELECT FROM pg_class WHERE relkind = 'f'$$, 'foreign tables of peers go with the extension');

SELECT * FROM finish();
ROLLBACK;
