# A dump of a database with domains of several roles restores, and the calls give
# there what they gave: the domains bring no functions, and those made for them
# are like any other.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE owner_of_database LOGIN;
CREATE ROLE joe;
CREATE DATABASE shop OWNER owner_of_database;
CREATE DATABASE restored;
SQL

my $functions = "SELECT oid::regprocedure FROM pg_catalog.pg_proc WHERE proname ~ '^fmoe' ORDER BY 1::text";
$node->safe_psql('shop', 'CREATE EXTENSION fmoe');
my $shipped = $node->safe_psql('shop', $functions);

# a domain first whose id is not that of the next in the other database, unless it comes with the dump
$node->safe_psql('shop', <<'SQL');
CREATE TABLE films (viewer bigint, film bigint, at timestamptz);
INSERT INTO films SELECT u, 5000000000 + (u * 3 + n) % 20, timestamptz '2024-01-01 UTC' + n * interval '1 hour'
	FROM generate_series(1, 40) u, generate_series(1, 6) n;
CREATE TABLE songs AS SELECT 'user ' || viewer AS listener, pg_catalog.md5(film::text)::uuid AS song, at FROM films;
CREATE TABLE steps AS SELECT viewer::integer AS walker, at::date AS day, at FROM films;
GRANT SELECT ON songs, steps TO joe;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO joe;
SELECT fmoe_create_domain('gone', 'films', 'viewer', 'film', 'at'), fmoe_drop_domain('gone');
SELECT fmoe_create_domain('films', 'films', 'viewer', 'film', 'at');
CALL fmoe_train('films', '{"model": "markov", "holdout": "none"}');
SELECT fmoe_deploy('films', 1);
CREATE VIEW dashboard AS SELECT * FROM fmoe_recommend(1::bigint, 2, domain => 'films');
CREATE MATERIALIZED VIEW nightly AS SELECT * FROM fmoe_recommend_all('films', 1);
CREATE TABLE orders AS SELECT viewer, film, at::date AS day, 'order ' || (film + viewer) % 3 AS number, film % 7 AS line,
	1 + film % 2 AS amount FROM films;
SELECT fmoe_create_domain('orders', 'orders', 'viewer', 'film', 'day', order_column => 'line', basket_column => 'number',
	weight_column => 'amount');
CALL fmoe_train('orders', '{"model": "markov", "holdout": "none"}');
CREATE TABLE wares AS SELECT DISTINCT film AS id, 'film ' || film % 4 AS title, ARRAY[film % 3, 1]::real[] AS look FROM films;
INSERT INTO wares VALUES (7, 'film 2', NULL);
SELECT fmoe_create_domain('wares', 'films', 'viewer', 'film', 'at', items => 'wares', item_key => 'id',
	text_columns => '{title}', vector_columns => '{look}');
CALL fmoe_train('wares', '{"model": "content", "holdout": "none"}');
-- what users are, rows of single users, and what they were shown
CREATE TABLE people AS SELECT DISTINCT viewer AS id, 'region ' || viewer % 3 AS region, viewer % 4 AS age FROM films;
CREATE TABLE shown AS SELECT viewer, film, at, (viewer + film) % 3 = 0 AS clicked FROM films;
SELECT fmoe_create_domain('shown', 'shown', 'viewer', 'film', 'at', 'clicked', items => 'wares', item_key => 'id', category_columns => '{title}',
	users => 'people', user_key => 'id', user_category_columns => '{region,age}');
CALL fmoe_train('shown', '{"model": "mrff", "private": true, "holdout": "none", "groups": 1, "layers": 1, "epochs": 2}');
SELECT fmoe_deploy('shown', 1);
-- a version that is built on what another domain has lent, and holds only what is on top
SELECT fmoe_create_domain('pool', 'films', 'viewer', 'film', 'at', items => 'wares', item_key => 'id', text_columns => '{title}');
CALL fmoe_train('pool', '{"model": "foundation", "holdout": "none", "width": 8, "layers": 1, "epochs": 2}');
SELECT fmoe_lend('pool', 1);
SELECT fmoe_create_domain('leaves', 'films', 'viewer', 'film', 'at', items => 'wares', item_key => 'id', text_columns => '{title}');
CALL fmoe_train('leaves', '{"model": "lora", "base": "shop.pool", "holdout": "none", "epochs": 2}');
SELECT fmoe_deploy('leaves', 1);
SET ROLE joe;
SELECT fmoe_create_domain('songs', 'songs', 'listener', 'song', 'at'), fmoe_create_domain('steps', 'steps', 'walker', 'day', 'at');
CALL fmoe_train('songs', '{"model": "markov", "holdout": "none"}');
SELECT fmoe_deploy('songs', 1);
RESET ROLE;
SELECT fmoe_create_functions('songs', prefix => 'tunes');
CREATE VIEW tunes AS SELECT * FROM tunes_recommend('user 1', 3);
SQL
is($node->safe_psql('shop', $functions), $shipped, 'domains bring no functions');

my $answers = <<'SQL';
SELECT * FROM dashboard;
SELECT * FROM nightly ORDER BY user_id;
SELECT * FROM tunes;
SELECT * FROM fmoe_recommend_all('orders', 3);
SELECT * FROM fmoe_recommend_all('wares', 5);
SELECT user_id, item_id FROM fmoe_recommend_all('leaves', 3);
SELECT users, user_key, user_category_columns FROM fmoe.domains ORDER BY domain;
SELECT * FROM fmoe_recommend_all('shown', 3);
SELECT count(*), md5(string_agg(data, NULL ORDER BY user_id)) FROM fmoe.private_row;
SELECT config ->> 'base_checksum' FROM fmoe.versions WHERE domain = 'leaves';
SELECT fmoe_refresh('wares');
SELECT order_column, basket_column, weight_column FROM fmoe.domains ORDER BY domain;
SELECT * FROM fmoe_recommend('user 2', 3, domain => 'songs');
SELECT * FROM tunes_next(ARRAY(SELECT song FROM songs WHERE listener = 'user 3' ORDER BY at), 2);
SQL
my $before = $node->safe_psql('shop', $answers);

$node->command_ok([ 'bash', '-c', 'pg_dump shop | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null restored' ], 'a dump restores');
is($node->safe_psql('restored', $functions), $shipped, 'and has the functions of the extension, no more');
is($node->safe_psql('restored', $answers), $before, 'with the same answers');
my ($code, $out, $error) = $node->psql('restored', "SELECT fmoe_forget('shop')");
like($error, qr/in use.*version 1 of domain "leaves"/s, 'a base that is in use stays there too');
is($node->safe_psql('restored', "SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d ON d.objid = p.oid"
	. " WHERE p.proname LIKE 'tunes%' AND d.deptype = 'x'"), 7, "a domain's own functions still go with the extension");
$node->safe_psql('restored', "SELECT fmoe_drop_domain('films'); DROP VIEW tunes; SELECT fmoe_drop_functions('songs', 'tunes');");
is($node->safe_psql('restored', "SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc WHERE proname LIKE 'tunes%'"), 0, 'and can be dropped');

# who may
my @dump = ('pg_dump', '-U', 'owner_of_database', '-f', PostgreSQL::Test::Utils::tempdir() . '/dump.sql', 'shop');
$node->command_fails_like([@dump], qr/permission denied for/, "the database's owner alone cannot dump what is others'");
$node->safe_psql('postgres', 'GRANT pg_read_all_data TO owner_of_database');
$node->command_ok([@dump], 'with pg_read_all_data it can');

$node->stop;
done_testing();
