# Who owns a domain and a peer when roles are renamed, dropped, made anew under the same name, and when a
# database is restored: what a role owned stays its own, and what nobody owns is the extension's owner's.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE carol; CREATE ROLE dave; CREATE ROLE erin; CREATE ROLE "Odd ""one'"; CREATE ROLE clerk ROLE carol;
CREATE ROLE helper CREATEROLE; GRANT carol, dave TO helper;
CREATE DATABASE shop;
SQL
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION fmoe;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO PUBLIC;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
GRANT USAGE ON FOREIGN SERVER nowhere TO carol, dave;
CREATE TABLE plays (u bigint, i bigint, t timestamptz);
INSERT INTO plays SELECT l, (l * 3 + n) % 20, timestamptz '2024-01-01' + n * interval '1 h'
	FROM generate_series(1, 40) l, generate_series(1, 6) n;
GRANT SELECT ON plays TO PUBLIC;
SET ROLE carol;
SELECT fmoe_create_domain('music', 'plays', 'u', 'i', 't');
CALL fmoe_train('music', '{"model": "markov"}');
SELECT fmoe_add_peer('oslo', 'nowhere');
SET ROLE dave;
SELECT fmoe_create_domain('songs', 'plays', 'u', 'i', 't');
CALL fmoe_train('songs', '{"model": "markov"}');
RESET ROLE;
SELECT fmoe_create_domain('odd', 'plays', 'u', 'i', 't');
SELECT fmoe_alter_domain('odd', owner => 'Odd "one''');
SQL

my $owners = q{SELECT domain, owner FROM fmoe.domains UNION ALL SELECT name, created_by FROM fmoe.peers ORDER BY 1};
my $file = $node->basedir . '/shop.dump';
my ($result, $out, $err);

# refused ROLE, DATABASE, SQL, WHY, NAME
sub refused
{
	my ($role, $database, $sql, $why, $name) = @_;

	($result, $out, $err) = $node->psql($database, qq{SET ROLE "$role"; $sql});
	isnt($result, 0, $name);
	like($err, $why, "$name: why");
	return;
}

# copy DATABASE: one to try things in
sub copy
{
	my ($database, $template) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE " . ($template // 'shop'));
	return;
}

# ---------------------------------------------------------------- roles

my $at_first = qq{music|carol\nodd|Odd "one'\noslo|carol\nsongs|dave};

is($node->safe_psql('shop', $owners), $at_first, 'who makes a domain or a peer owns it');
($result, $out, $err) = $node->psql('shop', 'DROP ROLE carol');
like($err, qr/role "carol" cannot be dropped.*owner of materialized view fmoe\.domain_1_owner/s, 'an owner is not dropped');
like($err, qr/owner of materialized view fmoe\.peer_1_owner/, 'nor the owner of a peer');
($result, $out, $err) = $node->psql('postgres', 'DROP ROLE dave');
like($err, qr/role "dave" cannot be dropped.*\d+ objects? in database shop/s, 'from no database');

copy('renamed');
$node->safe_psql('postgres', 'ALTER ROLE carol RENAME TO caroline; CREATE ROLE carol');
is($node->safe_psql('renamed', $owners), $at_first =~ s/\|carol/|caroline/gr, 'a role may be renamed');
$node->safe_psql('renamed', q{SET ROLE caroline; SELECT fmoe_alter_domain('music', sharing => 'none')});
refused('carol', 'renamed', q{SELECT fmoe_drop_domain('music')}, qr/ERROR:  permission denied/, 'who takes the name takes no domain');
refused('carol', 'renamed', q{SELECT fmoe_drop_peer('oslo')}, qr/ERROR:  /, 'and no peer');
$node->safe_psql('postgres', 'DROP ROLE carol; ALTER ROLE caroline RENAME TO carol');
$node->safe_psql('postgres', 'DROP DATABASE renamed');

copy('reassigned');
$node->safe_psql('reassigned', 'SET ROLE helper; REASSIGN OWNED BY carol TO dave');
is($node->safe_psql('reassigned', $owners), $at_first =~ s/\|carol/|dave/gr, 'REASSIGN OWNED moves domains and peers, also by no superuser');
$node->safe_psql('reassigned', q{SET ROLE dave; CALL fmoe_train('music', '{"model": "markov"}'); SELECT fmoe_drop_peer('oslo')});
refused('carol', 'reassigned', q{SELECT fmoe_rollback('music')}, qr/ERROR:  permission denied/, 'who owned it before does not any more');
$node->safe_psql('postgres', 'DROP DATABASE reassigned');

copy('orphaned');
$node->safe_psql('orphaned', 'DROP OWNED BY carol');
is($node->safe_psql('orphaned', $owners), $at_first =~ s/\|carol/|@{[$node->safe_psql('postgres', 'SELECT current_user')]}/gr,
	"DROP OWNED leaves what it owned to the extension's owner");
is($node->safe_psql('orphaned', q{SELECT count(*) FROM fmoe_recommend(1, 2, domain => 'music')}), '2', 'and loses nothing of it');
refused('carol', 'orphaned', q{SELECT fmoe_rollback('music')}, qr/ERROR:  permission denied/, 'the domain is not its own any more');
$node->safe_psql('orphaned', q{SELECT fmoe_alter_domain('music', owner => 'carol')});
$node->safe_psql('orphaned', q{SET ROLE carol; SELECT fmoe_alter_domain('music', sharing => 'none')});
pass('until it is given back');
refused('carol', 'orphaned', q{SELECT fmoe_alter_domain('music', owner => 'dave')}, qr/must be (a )?member of|must be able to SET ROLE/,
	'who is no member of a role gives it nothing');
$node->safe_psql('orphaned', q{SET ROLE carol; SELECT fmoe_alter_domain('music', owner => 'clerk')});
is($node->safe_psql('orphaned', q{SELECT owner FROM fmoe.domains WHERE domain = 'music'}), 'clerk', 'and to one that it is a member of, it does');

# an owner may do with the marker what owners may, and loses no more than the domain
refused('carol', 'orphaned', 'ALTER MATERIALIZED VIEW fmoe.domain_1_owner RENAME TO domain_3_owner', qr/permission denied for schema fmoe/,
	'a marker does not become that of another domain');
refused('carol', 'orphaned', 'ALTER MATERIALIZED VIEW fmoe.domain_1_owner OWNER TO erin', qr/ERROR:  must be/, 'nor that of any role');
$node->safe_psql('orphaned', 'SET ROLE carol; DROP MATERIALIZED VIEW fmoe.domain_1_owner');
is($node->safe_psql('orphaned', q{SELECT owner = current_user FROM fmoe.domains WHERE domain = 'music'}), 't', 'a marker may be dropped');

# what strangers build on a marker holds nothing up
$node->safe_psql('orphaned', <<'SQL');
SET ROLE dave;
GRANT SELECT ON fmoe.domain_2_owner TO erin;
RESET ROLE;
CREATE SCHEMA erin AUTHORIZATION erin;
SET ROLE erin;
CREATE VIEW erin.nosy AS SELECT * FROM fmoe.domain_2_owner;
SET ROLE dave;
SELECT fmoe_drop_domain('songs');
SQL
is($node->safe_psql('orphaned', q{SELECT count(*) FROM pg_class WHERE relname IN ('domain_2_owner', 'nosy')}), '0',
	'a domain is dropped with its marker and what stands on it');
$node->safe_psql('orphaned', 'DROP EXTENSION fmoe');
is($node->safe_psql('orphaned', q{SELECT count(*) FROM pg_class WHERE relname ~ '_owner$'}), '0', 'markers go with the extension');
$node->safe_psql('postgres', 'DROP DATABASE orphaned');

# ---------------------------------------------------------------- dumps

my $state = q{SELECT domain, version, live, events FROM fmoe.versions ORDER BY 1, 2};
my $state_then = $node->safe_psql('shop', $state);
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('shop') ], 'pg_dump');
foreach my $jobs (1, 4)
{
	my $database = "jobs_$jobs";

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', $jobs, '-d', $node->connstr($database), $file ], "pg_restore -j $jobs");
	is($node->safe_psql($database, $owners), $at_first, 'owners are restored by name');
	is($node->safe_psql($database, $state), $state_then, 'with all versions');
	$node->safe_psql($database, q{SET ROLE carol; SELECT fmoe_alter_domain('music', sharing => 'none')});
	refused('dave', $database, q{SELECT fmoe_rollback('music')}, qr/ERROR:  permission denied/, 'and nobody else');
	($result, $out, $err) = $node->psql($database, 'DROP ROLE carol');
	like($err, qr/owner of materialized view fmoe\.domain_1_owner/, 'who is not dropped');
}
$node->safe_psql('jobs_1', 'SELECT fmoe_drop_domain(domain) FROM fmoe.domains; SELECT fmoe_drop_peer(name) FROM fmoe.peers');
is($node->safe_psql('jobs_1', q{SELECT count(*) FROM pg_class WHERE relname ~ '_owner$'}), '0', 'restored markers go with their domains');
$node->safe_psql('jobs_4', q{SELECT fmoe_drop_peer('oslo'); DROP EXTENSION fmoe});
is($node->safe_psql('jobs_4', q{SELECT count(*) FROM pg_class WHERE relname ~ '_owner$'}), '0', 'and with the extension');

# without_markers DATABASE, NAME, OPTIONS OF pg_restore
sub without_markers
{
	my ($database, $name, @options) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ 'pg_restore', '--exit-on-error', @options, '-d', $node->connstr($database), $file ], $name);
	is($node->safe_psql($database, q{SELECT string_agg(DISTINCT owner, ',') FROM fmoe.domains}), $superuser,
		"$name: all is the extension's owner's");
	is($node->safe_psql($database, $state), $state_then, "$name: no version is lost");
	return;
}

without_markers('no_owner', 'pg_restore --no-owner', '--no-owner');
$node->command_ok([ 'pg_dump', '-Fc', '-T', 'fmoe.*_owner', '-f', $file, $node->connstr('shop') ], 'pg_dump without markers');
without_markers('no_markers', 'a dump without markers', '-j', 4);
$node->safe_psql('no_markers', q{SELECT fmoe_alter_domain('music', owner => 'carol')});
is($node->safe_psql('no_markers', q{SELECT owner FROM fmoe.domains WHERE domain = 'music'}), 'carol', 'a domain without marker is given away');

# the schema alone has markers and no domains: the next domain of that number is its maker's
$node->safe_psql('postgres', 'CREATE DATABASE empty');
$node->command_ok([ 'bash', '-c', 'pg_dump -s "$1" | psql -Xq -v ON_ERROR_STOP=1 "$2"', 'bash', map { $node->connstr($_) } 'shop', 'empty' ],
	'pg_dump --schema-only');
is($node->safe_psql('empty', q{SELECT count(*) FROM fmoe.domains}), '0', 'brings no domain');
$node->safe_psql('empty', q{SET ROLE erin; SELECT fmoe_create_domain('first', 'plays', 'u', 'i', 't')});
is($node->safe_psql('empty', $owners), 'first|erin', 'and no owner of the next');

# a cluster without a role: that one domain is the extension's owner's
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('shop') ], 'pg_dump');
$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(shop jobs_1 jobs_4 no_owner no_markers empty);
$node->safe_psql('postgres', 'DROP ROLE carol; CREATE DATABASE elsewhere');
($result, $out, $err) = (undef, '', '');
$node->command_checks_all([ 'pg_restore', '-d', $node->connstr('elsewhere'), $file ], 1, [qr/^$/],
	[ qr/role "carol" does not exist/, qr/errors ignored on restore/ ], 'pg_restore without a role says so');
is($node->safe_psql('elsewhere', $owners), $at_first =~ s/\|carol/|$superuser/gr, 'only what it owned is without it');
is($node->safe_psql('elsewhere', $state), $state_then, 'no version is lost');
$node->safe_psql('postgres', 'CREATE ROLE carol');
refused('carol', 'elsewhere', q{SELECT fmoe_rollback('music')}, qr/ERROR:  permission denied/, 'and nobody gets it by the name');

$node->stop;
done_testing();
