# Restores that lose nothing: in parallel, without a table, over a materialized view, under another name,
# by another role.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop_owner; CREATE ROLE keeper LOGIN; CREATE DATABASE shop OWNER keeper');
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION fmoe;
CREATE SCHEMA "Odd.name";
CREATE TABLE plays (u bigint, i bigint, t timestamptz);
INSERT INTO plays SELECT l, (l * 3 + n) % 20, timestamptz '2024-01-01' + n * interval '1 h'
	FROM generate_series(1, 40) l, generate_series(1, 6) n;
CREATE TABLE big_table AS SELECT * FROM plays;
CREATE TABLE "Odd.name"."Big ""one" AS SELECT * FROM plays;
CREATE TABLE songs (i bigint PRIMARY KEY, title text);
INSERT INTO songs SELECT i, 'song ' || i FROM generate_series(0, 19) i;
-- grouping by a primary key: pg_dump makes the view after the indexes, so after all rows are copied
CREATE TABLE likes (id bigint PRIMARY KEY, u bigint, i bigint, t timestamptz);
INSERT INTO likes SELECT row_number() OVER (), u, i, t FROM plays;
CREATE MATERIALIZED VIEW liked AS SELECT u, i, t FROM likes GROUP BY id;
SELECT fmoe_create_domain('music', 'plays', 'u', 'i', 't', items => 'songs', item_key => 'i');
SELECT fmoe_create_domain('big', 'big_table', 'u', 'i', 't', items => 'songs', item_key => 'i');
SELECT fmoe_create_domain('odd', '"Odd.name"."Big ""one"', 'u', 'i', 't');
SELECT fmoe_create_domain('liked', 'liked', 'u', 'i', 't');
SELECT fmoe_alter_domain('music', owner => 'shop_owner');
GRANT SELECT ON plays, songs TO shop_owner;
CALL fmoe_train('music', '{"model": "sasrec", "epochs": 1, "width": 8}');
CALL fmoe_train('music', '{"model": "markov", "deploy": false}');
SELECT fmoe_deploy('music', 2);
CALL fmoe_train('big', '{"model": "sasrec", "epochs": 1, "width": 8}');
CALL fmoe_train('odd', '{"model": "popularity", "holdout": "none"}');
CALL fmoe_train('liked', '{"model": "markov"}');
SQL

my $state = q{SELECT domain, owner, interactions, d.items, orphaned, version, model, live, v.events, v.last_event
	FROM fmoe.domains d LEFT JOIN fmoe.versions v USING (domain) ORDER BY domain, version};
my $answers = q{SELECT domain, u, array_agg(item_id::text || score ORDER BY item_id)
	FROM unnest('{music,liked,odd,big}'::text[]) domain, generate_series(1, 5) u, fmoe_recommend_as(NULL::bigint, u, 3, domain)
	GROUP BY 1, 2 ORDER BY 1, 2};
my $state_then = $node->safe_psql('shop', $state);
my $answers_then = $node->safe_psql('shop', $answers);
my $file = $node->basedir . '/shop.dump';

# restore DATABASE, OPTIONS OF pg_restore...: of the file, with no error
sub restore
{
	my ($database, @options) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ 'pg_restore', '--exit-on-error', @options, '-d', $node->connstr($database), $file ],
		"pg_restore @options into $database");
	return;
}

# ---------------------------------------------------------------- all of it, in parallel, under another name

$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('shop') ], 'pg_dump');
foreach my $jobs (1, 4)
{
	restore("jobs_$jobs", '-j', $jobs);
	is($node->safe_psql("jobs_$jobs", $state), $state_then, 'domains, versions and what is live are the same');
	is($node->safe_psql("jobs_$jobs", $answers), $answers_then, 'and so are the answers');
}
is($node->safe_psql('jobs_4', q{CALL fmoe_train('liked', '{"model": "markov", "deploy": false}');
	SELECT fmoe_deploy('liked', 2), fmoe_drop_version('music', 1); SELECT fmoe_rollback('liked');
	SELECT max(version) FROM fmoe.versions WHERE domain = 'liked'}) =~ s/\n+/ /gr, '| 1 2',
	'versions are added, dropped and rolled back from');

# ---------------------------------------------------------------- a table is left out

$node->command_ok([ 'pg_dump', '-Fc', '-T', 'big_table', '-T', 'songs', '-T', '"Odd.name".*', '-f', $file, $node->connstr('shop') ],
	'pg_dump without some tables');
restore('partly', '-j', 4);
is($node->safe_psql('partly', q{SELECT domain, orphaned, interactions, items FROM fmoe.domains ORDER BY 1}),
	"big|t||\nliked|f|liked|\nmusic|f|plays|\nodd|t||", 'only their domains are orphaned');
is($node->safe_psql('partly', 'SELECT count(*) FROM fmoe.versions'), '5', 'no version is lost');
is($node->safe_psql('partly', $answers =~ s/odd,big/music/r), $node->safe_psql('shop', $answers =~ s/odd,big/music/r),
	'the others answer as before');
my ($result, $out, $err) = $node->psql('partly', q{SELECT fmoe_recommend_as(NULL::bigint, 1, 3, 'big')});
like($err, qr/interaction table of domain "big" no longer exists/, 'an orphaned domain says so');
$node->safe_psql('partly', q{SELECT fmoe_alter_domain('big', sharing => 'none'), fmoe_alter_domain('music', sharing => 'none')});
$node->command_ok([ 'sh', '-c', 'pg_dump -t big_table -t songs -t \'"Odd.name".*\' "$1" | (echo \'CREATE SCHEMA IF NOT EXISTS "Odd.name";\'; cat) | psql -Xq -v ON_ERROR_STOP=1 "$2"',
		'sh', $node->connstr('shop'), $node->connstr('partly') ], 'the tables come later');
is($node->safe_psql('partly', $state), $state_then, 'and belong to their domains again');
is($node->safe_psql('partly', $answers), $answers_then, 'which answer as before');
$node->safe_psql('partly', 'ALTER TABLE big_table RENAME TO bigger; CREATE TABLE big_table (u bigint, i bigint, t timestamptz)');
is($node->safe_psql('jobs_1', q{ALTER TABLE big_table RENAME TO bigger; CREATE TABLE big_table (u bigint, i bigint, t timestamptz);
	SELECT interactions FROM fmoe.domains WHERE domain = 'big'}), 'bigger', 'a table may be renamed, and its name be taken');

# ---------------------------------------------------------------- a type is left out

$node->safe_psql('shop', <<'SQL');
CREATE SCHEMA kinds;
CREATE TYPE kinds."odd kind" AS ENUM ('a', 'b', 'c', 'd');
CREATE TABLE kinds.picks AS SELECT u, (ARRAY['a', 'b', 'c', 'd'])[1 + i % 4]::kinds."odd kind" AS i, t FROM plays;
SELECT fmoe_create_domain('kinds', 'kinds.picks', 'u', 'i', 't');
CALL fmoe_train('kinds', '{"model": "markov"}');
SQL
my $kinds = q{SELECT domain, user_type, item_type, version FROM fmoe.domains JOIN fmoe.versions USING (domain) WHERE domain = 'kinds'};
my $picks = q{SELECT array_agg(item_id ORDER BY score) FROM fmoe_recommend_as(NULL::text, 1, 3, 'kinds', exclude_seen => false)};
my $picks_then = $node->safe_psql('shop', $picks);
$node->command_ok([ 'pg_dump', '-Fc', '-N', 'kinds', '-f', $file, $node->connstr('shop') ], 'pg_dump without the schema of a type');
restore('untyped', '-j', 4);
is($node->safe_psql('untyped', $kinds), 'kinds|bigint||1', 'costs no version');
is($node->safe_psql('untyped', 'SELECT count(*) FROM fmoe.domains'), '5', 'nor a domain');
$node->safe_psql('untyped', q{SELECT fmoe_alter_domain('kinds', sharing => 'none')});
$node->command_ok([ 'sh', '-c', 'pg_dump -n kinds "$1" | psql -Xq -v ON_ERROR_STOP=1 "$2"', 'sh', map { $node->connstr($_) } 'shop', 'untyped' ],
	'the type comes later');
is($node->safe_psql('untyped', $kinds), 'kinds|bigint|kinds."odd kind"|1', 'and is the type of its ids again');
is($node->safe_psql('untyped', $picks), $picks_then, 'which are answered with');
is($node->safe_psql('untyped', q{SELECT fmoe_alter_domain('kinds', sharing => 'full');
	ALTER TYPE kinds."odd kind" RENAME TO sort; SELECT item_type FROM fmoe.domains WHERE domain = 'kinds'}), "\nkinds.sort", 'a type may be renamed');
$node->safe_psql('shop', q{SELECT fmoe_drop_domain('kinds'); DROP SCHEMA kinds CASCADE});

# ---------------------------------------------------------------- who may dump

$node->command_fails_like([ 'pg_dump', '-U', 'keeper', '-f', '/dev/null', $node->connstr('shop') ], qr/permission denied for (table|sequence)/,
	'the owner of a database does not dump what is private');
$node->safe_psql('postgres', 'GRANT pg_read_all_data TO keeper');
$node->command_ok([ 'pg_dump', '-U', 'keeper', '-f', '/dev/null', $node->connstr('shop') ], 'but does with pg_read_all_data');

# ---------------------------------------------------------------- rows without foreign keys

is($node->safe_psql('shop', q{SELECT fmoe_drop_domain('music');
	SELECT (SELECT count(*) FROM fmoe.version WHERE domain_id NOT IN (SELECT domain_id FROM fmoe.domain)),
		(SELECT count(*) FROM fmoe.tensor WHERE version_id NOT IN (SELECT version_id FROM fmoe.version)),
		(SELECT count(*) FROM fmoe.deployment WHERE version_id NOT IN (SELECT version_id FROM fmoe.version)),
		(SELECT count(*) FROM fmoe.version) > 0, (SELECT count(*) FROM fmoe.tensor) > 0}), "\n0|0|0|t|t",
	'a dropped domain leaves nothing behind, and takes nothing of others');

# a version that is dropped while another session deploys it
my $dropper = session($node, 'shop');
my $deployer = session($node, 'shop', '-v', 'VERBOSITY=verbose');

$node->safe_psql('shop', q{CALL fmoe_train('odd', '{"model": "markov", "deploy": false}')});
ask($dropper, q{BEGIN; SELECT fmoe_drop_version('odd', 2)});
send_to($deployer, q{SELECT fmoe_deploy('odd', 2)});
wait_until('the deployment waits', 't',
	sub { $node->safe_psql('shop', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query ~ 'fmoe_deploy' AND wait_event_type = 'Lock'}) });
ask($dropper, 'COMMIT');
answer($deployer);
like($deployer->{err}, qr/ERROR:  42704: the version was dropped while it was being deployed/, 'and finds the version gone');
is($node->safe_psql('shop', q{SELECT version FROM fmoe.versions WHERE domain = 'odd' AND live}), '1', 'what was live is live');
leave($_) foreach $dropper, $deployer;

done_testing();
