-- Bases and adapters that are lent: who may build on which, what stays while it is in use, what is fetched when.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SCHEMA bases_test;
SET search_path = bases_test, public;
SET fmoe.party = 'north';
CREATE TABLE films AS SELECT i AS item, (ARRAY['calm', 'loud', 'sad'])[1 + i % 3] || ' ' || (ARRAY['river', 'road', 'night', 'heart', 'train'])[1 + i % 5] AS title FROM generate_series(0, 59) i;
CREATE TABLE views AS SELECT u AS visitor, u % 3 + 3 * ((u * 7 + s) % 20) AS item, s AS at FROM generate_series(1, 40) u, generate_series(1, 8) s;
SELECT fmoe_create_domain(d, 'views', 'visitor', 'item', 'at', items => 'films', item_key => 'item', text_columns => '{title}') FROM unnest('{pool,songs,toys}'::text[]) d;
CALL fmoe_train('pool', '{"model": "foundation", "width": 16, "layers": 2, "epochs": 2, "max_length": 10, "deploy": false}');
SELECT fmoe_lend('pool', 1) IS NOT NULL AS lent;

-- a domain adapts the base that it has lent itself, and mixes its own adapter with others'
CALL fmoe_train('pool', '{"model": "lora", "base": "north.pool", "lora_rank": 2, "epochs": 1, "deploy": false}');
CALL fmoe_train('songs', '{"model": "lora", "base": "north.pool", "lora_rank": 2, "epochs": 1, "deploy": false}');
SELECT fmoe_lend('songs', 1) IS NOT NULL AS songs, fmoe_lend('pool', 2) IS NOT NULL AS pool;
CALL fmoe_train('songs', '{"model": "xcross", "experts": ["north.songs", "north.pool"], "epochs": 1, "deploy": false}');
SELECT version, model, config ->> 'base' AS base FROM fmoe.versions WHERE domain IN ('pool', 'songs') ORDER BY domain, version;
-- under the name of a domain is what it lent last; a checksum says which
CALL fmoe_train('toys', '{"model": "lora", "base": "north.pool", "epochs": 1, "deploy": false}');
SELECT checksum AS base FROM fmoe.lent WHERE model = 'foundation' \gset
CALL fmoe_train('toys', format('{"model": "lora", "base_checksum": "%s", "epochs": 1, "deploy": false}', :'base')::jsonb);
SELECT config ->> 'base_checksum' = :'base' AS same FROM fmoe.versions WHERE domain = 'toys';

-- the mean of weights: there is nothing to train, whatever the number of epochs
CALL fmoe_train('toys', '{"model": "xcross", "experts": ["north.songs", "north.pool"], "mix": "weights", "epochs": 500, "blend": 0, "deploy": false}');
SELECT version, metrics -> 'epochs' AS epochs, (metrics ->> 'cases')::integer > 0 AS judged FROM fmoe.versions WHERE domain = 'toys' AND version = 2;
SELECT count(*) AS recommended, bool_and(score <> 0) AS scored FROM fmoe_recommend(1, domain => 'toys', version => 2);

-- an adapter that is lent uses its base, as a version does
SELECT fmoe_withdraw('pool', 1);
SELECT fmoe_drop_version(d, v) FROM (VALUES ('toys', 2), ('toys', 1), ('songs', 2), ('songs', 1), ('pool', 2)) t(d, v);
SELECT fmoe_withdraw('pool', 1);
-- both at once are no use of one another
SELECT fmoe_withdraw('songs') AS songs;
SELECT fmoe_withdraw('pool') AS base_and_adapter;

-- what peers lend, here tables of this database: east a base and an adapter of it, south an adapter of east's base
CALL fmoe_train('songs', '{"model": "lora", "base": "north.pool"}');
SELECT fmoe_lend('pool', 1) IS NOT NULL AS base;
CALL fmoe_train('songs', '{"model": "lora", "base": "north.pool", "lora_rank": 2, "epochs": 1, "deploy": false}');
CALL fmoe_train('pool', '{"model": "lora", "base": "north.pool", "lora_rank": 2, "epochs": 1, "deploy": false}');
SELECT fmoe_lend(domain, max(version)) IS NOT NULL AS lent FROM fmoe.versions WHERE domain IN ('pool', 'songs') GROUP BY domain;
CREATE TABLE east AS SELECT * FROM fmoe.lent WHERE domain = 'pool';
CREATE TABLE south AS SELECT * FROM fmoe.lent WHERE domain = 'songs';
CREATE TABLE parts AS SELECT * FROM fmoe.lent_part;
UPDATE east SET party = 'east', lent_id = overlay(lent_id::text placing 'aaaaaaaa' from 1 for 8)::uuid;
UPDATE south SET party = 'south', lent_id = overlay(lent_id::text placing 'bbbbbbbb' from 1 for 8)::uuid;
CREATE VIEW east_part AS SELECT overlay(lent_id::text placing 'aaaaaaaa' from 1 for 8)::uuid AS lent_id, part, data FROM parts;
CREATE VIEW south_part AS SELECT overlay(lent_id::text placing 'bbbbbbbb' from 1 for 8)::uuid AS lent_id, part, data FROM parts;
SELECT count(fmoe_drop_version(domain, version)) AS dropped FROM fmoe.versions WHERE domain IN ('pool', 'songs') AND model <> 'foundation';
SELECT fmoe_withdraw('songs') AS songs;
SELECT fmoe_withdraw('pool') AS pool;
\set ECHO none
SELECT format('CREATE SERVER bases_loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname %L, port %L, host %L)',
	current_database(), current_setting('port'), trim(split_part(current_setting('unix_socket_directories'), ',', 1))) \gexec
CREATE USER MAPPING FOR CURRENT_USER SERVER bases_loop;
SELECT fmoe_add_peer('south', 'bases_loop'), fmoe_add_peer('west', 'bases_loop') \gset
SELECT format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''bases_test'', SET table_name %L)', expert_table, CASE name WHEN 'south' THEN 'south' ELSE 'east' END),
	format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''bases_test'', SET table_name %L)', part_table, CASE name WHEN 'south' THEN 'south_part' ELSE 'east_part' END) FROM fmoe.peer \gexec
\set ECHO all
\set VERBOSITY terse
-- alone it is held back, with a warning that names the base
CALL fmoe_sync('south') \gset
SELECT :fetched AS fetched, :skipped AS skipped;
SELECT count(*) AS lent FROM fmoe.lent;
-- whoever is asked first: it comes when its base has come, which its domain has lent before something newer
CALL fmoe_sync(NULL) \gset
SELECT :fetched AS fetched, :skipped AS skipped;
SELECT party, domain, model FROM fmoe.lent ORDER BY party, model;
CALL fmoe_sync(NULL) \gset
SELECT :fetched AS fetched, :skipped AS skipped;
\set VERBOSITY default
-- a base that others' adapters use stays
SELECT fmoe_forget('east');
SELECT fmoe_forget('south') AS south;
-- no longer lent, both go: the base once its adapter has gone
UPDATE east SET lent_id = gen_random_uuid(), domain = 'another', created_at = now() WHERE model = 'lora';
DELETE FROM east WHERE model = 'foundation';
\set VERBOSITY terse
CALL fmoe_sync('west') \gset
\set VERBOSITY default
SELECT :fetched AS fetched, :skipped AS skipped, :removed AS removed;
SELECT count(*) AS lent FROM fmoe.lent;
-- an import is such a base as well
SELECT fmoe_drop_peer(name) FROM fmoe.peer ORDER BY name;
SELECT fmoe_import('toys', 'the base', fmoe_export('pool', 1)) AS imported;
\set ECHO none
SELECT fmoe_add_peer('south', 'bases_loop') \gset
SELECT format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''bases_test'', SET table_name ''south'')', expert_table),
	format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''bases_test'', SET table_name ''south_part'')', part_table) FROM fmoe.peer \gexec
\set ECHO all
CALL fmoe_sync('south') \gset
SELECT :fetched AS fetched, :skipped AS skipped;
SELECT fmoe_drop_version('toys', max(version)) FROM fmoe.versions WHERE domain = 'toys';
SELECT fmoe_drop_domain('toys');
SELECT fmoe_forget('south') AS south;

SELECT fmoe_drop_peer('south');
DROP SERVER bases_loop CASCADE;
SELECT fmoe_drop_domain(d) FROM unnest('{toys,songs,pool}'::text[]) d;
SELECT count(*) AS lent FROM fmoe.lent;
DROP SCHEMA bases_test CASCADE;
