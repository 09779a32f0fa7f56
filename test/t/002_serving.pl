# What serving promises beyond its rows: one thread, the floating-point control
# word untouched, cancel, standby, dump and restore, transactions, freshness.

use strict;
use warnings;

use File::Spec;
use Fmoe;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cancel_limit_ms = $ENV{FMOE_ASAN} ? 3000 : 300;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$primary->start;

# ---------------------------------------------------------------- helpers

sub top
{
	my ($user, $domain) = @_;

	$domain //= 'shop';
	return "SELECT pg_catalog.string_agg(item_id || ' ' || score || ' ' || source, ', ')"
	  . " FROM fmoe_recommend_as(NULL::bigint, $user, 10, '$domain')";
}

# Top 10 of some users known and unknown.
my $everyone = join ' UNION ALL ', map { top($_) } (1, 2, 17, 99, 300, 4711);

# ---------------------------------------------------------------- data and two versions

$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE events (customer bigint, product bigint, at timestamptz);
INSERT INTO events
	SELECT u, (u * 7 + s * (1 + u % 3)) % 400 + 1, timestamptz '2024-01-01 UTC' + (u * 50 + s) * interval '1 minute'
	FROM generate_series(1, 500) u, generate_series(1, 20) s;
CREATE INDEX ON events (customer);
SELECT fmoe_create_domain('shop', 'events', 'customer', 'product', 'at');
CALL fmoe_train('shop', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 3, "deploy": false}');
CALL fmoe_train('shop', '{"model": "gru4rec", "width": 16, "layers": 1, "epochs": 3, "deploy": false}');
SELECT fmoe_deploy('shop', 1);
SQL

my $first = $primary->safe_psql('postgres', $everyone);
like($first, qr/model.*popularity/s, 'known users are answered by the model, unknown ones by popularity');

# ---------------------------------------------------------------- one thread

is( $primary->safe_psql(
		'postgres', top(1) . q(\g /dev/null
SELECT (pg_catalog.regexp_match(pg_catalog.pg_read_file('/proc/self/status'), 'Threads:\s+(\d+)'))[1])),
	'1',
	'a backend that recommended has one thread');

# ---------------------------------------------------------------- floating-point control word

SKIP:
{
	# PostgreSQL 17 has it relative to where the test began
	my $directory = File::Spec->rel2abs($primary->basedir);
	my $source = $directory . '/mxcsr.c';
	my $library = $directory . '/mxcsr.so';
	my $include;

	foreach my $program (grep { defined } $ENV{PG_CONFIG}, 'pg_config', '/usr/bin/pg_config')
	{
		chomp(my $directory = `$program --includedir-server 2>/dev/null` // '');
		$include //= $directory if -f "$directory/postgres.h";
	}
	skip 'no x86-64, compiler or server headers', 2
	  if !defined $include || `uname -m` !~ /x86_64/ || system('cc --version >/dev/null 2>&1') != 0;

	append_to_file($source, <<'C');
#include "postgres.h"
#include "fmgr.h"
#include <xmmintrin.h>
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(mxcsr);
/* bits 0 to 5 are status flags, set by any inexact result */
Datum mxcsr(PG_FUNCTION_ARGS) { PG_RETURN_INT32(_mm_getcsr() & ~0x3f); }
C
	system_or_bail('cc', '-shared', '-fPIC', "-I$include", '-o', $library, $source);
	$primary->safe_psql('postgres', "CREATE FUNCTION mxcsr() RETURNS integer VOLATILE LANGUAGE C AS '$library'");
	my @words = split /\n/, $primary->safe_psql('postgres',
		"SELECT mxcsr(); LOAD 'fmoe'; SELECT mxcsr(); " . top(1) . "\\g /dev/null\nSELECT mxcsr();");
	is($words[1], $words[0], 'LOAD leaves MXCSR as it was');
	is($words[2], $words[0], 'recommending leaves MXCSR as it was');
}

# ---------------------------------------------------------------- cancel

# Milliseconds from pg_cancel_backend to the end of the statement.
sub cancel_milliseconds
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	my $psql = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $primary->connstr('postgres') . ' application_name=victim', '-c', $sql ],
		'>', \$out, '2>', \$err);
	my $watcher = session($primary);
	my $alive = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity"
	  . " WHERE application_name = 'victim' AND state = 'active' AND query ~ 'fmoe'";

	usleep(20_000) until ask($watcher, $alive) eq '1';
	usleep(700_000);
	my $started = time;
	ask($watcher, "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity"
		  . " WHERE application_name = 'victim'");
	usleep(2_000) while ask($watcher, $alive) eq '1';
	my $milliseconds = 1000 * (time - $started);
	$psql->finish;
	leave($watcher);
	like($err, qr/canceling statement due to user request/, 'the statement ends as cancelled');
	return $milliseconds;
}

my %long = (
	'recommending for many users' =>
	  'SELECT pg_catalog.count(*) FROM pg_catalog.generate_series(1, 100000000) u,'
	  . ' LATERAL fmoe_recommend_as(NULL::bigint, u % 500, 10)',
	'recommending in the select list' =>
	  'SELECT pg_catalog.count(*) FROM (SELECT fmoe_recommend(u % 500, 10) FROM pg_catalog.generate_series(1, 100000000) u) r',
	'recommending from many candidates' =>
	  'SELECT pg_catalog.count(*) FROM fmoe_recommend_as(NULL::bigint, 1, 10, candidates =>'
	  . ' (SELECT pg_catalog.array_agg(i % 400) FROM pg_catalog.generate_series(1, 60000000) i))',
	'scoring many items' =>
	  'SELECT pg_catalog.count(*) FROM pg_catalog.generate_series(1, 100000000) u, LATERAL fmoe_score(u % 500, ARRAY[1, 2])');

foreach my $what (sort keys %long)
{
	my @milliseconds = sort { $a <=> $b } map { cancel_milliseconds($long{$what}) } 1 .. 3;
	cmp_ok($milliseconds[1], '<', $cancel_limit_ms, "$what: cancel answers within $cancel_limit_ms ms");
}

# ---------------------------------------------------------------- standby

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $everyone), $first, 'a standby gives the same top 10');

my $reader = session($standby);
is(ask($reader, $everyone), $first, 'a session on the standby gives the same top 10');
$primary->safe_psql('postgres', "SELECT fmoe_deploy('shop', 2)");
my $second = $primary->safe_psql('postgres', $everyone);
isnt($second, $first, 'another version answers otherwise');
$primary->wait_for_catchup($standby);
is(ask($reader, $everyone), $second, 'a deploy is seen by the next call on the standby');
leave($reader);
$standby->stop;

# ---------------------------------------------------------------- transactions and sessions

my $session = session($primary);
is(ask($session, $everyone), $second, 'the session begins with version 2');
ask($session, "BEGIN; SELECT fmoe_deploy('shop', 1)");
is(ask($session, $everyone), $first, 'a deploy counts at once in its own transaction');
is($primary->safe_psql('postgres', $everyone), $second, 'but not in others');
ask($session, 'ROLLBACK');
is(ask($session, $everyone), $second, 'a rolled-back deploy is not live');

$primary->safe_psql('postgres', "SELECT fmoe_deploy('shop', 1)");
is(ask($session, $everyone), $first, "another session's deploy is seen by the next call");
$primary->safe_psql('postgres', "SELECT fmoe_rollback('shop')");
is(ask($session, $everyone), $second, "so is another session's rollback");

ask($session, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
$primary->safe_psql('postgres', "SELECT fmoe_deploy('shop', 1)");
is(ask($session, $everyone), $second, 'one snapshot, one version');
ask($session, 'COMMIT');
is(ask($session, $everyone), $first, 'the next snapshot sees the deploy');

# A function that deploys and asks in turn, always at the same call site.
ask($session, <<'SQL');
CREATE FUNCTION vector_now() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN fmoe_embedding(1::bigint, 'shop')::text;
END $$;
CREATE FUNCTION alternating() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	first text;
	second text;
	undone text;
BEGIN
	PERFORM fmoe_deploy('shop', 1);
	first := vector_now();
	PERFORM fmoe_deploy('shop', 2);
	second := vector_now();
	BEGIN
		PERFORM fmoe_deploy('shop', 1);
		undone := vector_now();
		RAISE EXCEPTION 'undo';
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	RETURN first <> second AND undone = first AND vector_now() = second;
END $$
SQL
is(ask($session, 'SELECT alternating()'), 't', 'calls within one statement see what it deployed and undid');

# ---------------------------------------------------------------- freshness

ask($session, $everyone);
my $before = ask($session, top(17));
$primary->safe_psql('postgres', "INSERT INTO events VALUES (17, 5, '2025-01-01 UTC')");
my $after = ask($session, top(17));
isnt($after, $before, 'a new event changes the next call without retraining');
unlike($after, qr/(^|, )5 /, 'and is not recommended again');
$primary->safe_psql('postgres', "DELETE FROM events WHERE at = '2025-01-01 UTC'");
is(ask($session, top(17)), $before, 'taking it back takes its effect back');

like(ask($session, top(90001)), qr/popularity/, 'a user nobody knows is answered by popularity');
$primary->safe_psql('postgres', "INSERT INTO events VALUES (90001, 5, '2025-01-01 UTC')");
like(ask($session, top(90001)), qr/model/, 'after the first event by the model');
$primary->safe_psql('postgres', "DELETE FROM events WHERE customer = 90001");

# ---------------------------------------------------------------- versions that go

$primary->safe_psql('postgres', "SELECT fmoe_deploy('shop', 2)");
is(ask($session, $everyone), $second, 'version 2 is cached');
$primary->safe_psql('postgres', "SELECT fmoe_deploy('shop', 1)");
$primary->safe_psql('postgres', "SELECT fmoe_drop_version('shop', 2)");
is(ask($session, $everyone), $first, 'a cached version that was dropped is not asked any more');

# The cursor keeps what it began with, whatever happens to the version meanwhile.
$primary->safe_psql('postgres',
	q(CALL fmoe_train('shop', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}')));
my $third = $primary->safe_psql('postgres', "SELECT pg_catalog.max(version) FROM fmoe.versions");
is(ask($session, "BEGIN; DECLARE c CURSOR FOR SELECT item_id FROM fmoe_recommend_as(NULL::bigint, 1, 400) LIMIT 5; FETCH 2 FROM c") =~ tr/\n//,
	1, 'a cursor begins');
$primary->safe_psql('postgres',
	"SELECT fmoe_deploy('shop', $third); SELECT fmoe_drop_version('shop', 1)");
ask($session, 'SET fmoe.cache_size = 0');
ask($session, top(1));
is(ask($session, 'FETCH 10 FROM c') =~ tr/\n//, 2, 'and goes on after its version was dropped');
ask($session, 'COMMIT');
like(ask($session, top(1)), qr/model/, 'the session serves the new version');
is(ask($session, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_backend_memory_contexts WHERE name = 'fmoe model'"),
	'0', 'nothing stays in a cache of no size');
ask($session, 'RESET fmoe.cache_size');

# A re-created extension counts its versions from one again.
ask($session, $everyone);
$primary->safe_psql('postgres', <<'SQL');
DROP EXTENSION fmoe CASCADE;
CREATE EXTENSION fmoe;
SELECT fmoe_create_domain('shop', 'events', 'customer', 'product', 'at');
CALL fmoe_train('shop', '{"model": "gru4rec", "width": 16, "layers": 1, "epochs": 2, "deploy": false}');
SELECT fmoe_deploy('shop', 1);
SQL
is(ask($session, $everyone), $primary->safe_psql('postgres', $everyone),
	'a session that had cached the old extension answers like a new one');
leave($session);

# ---------------------------------------------------------------- dump and restore

my $dump = $primary->basedir . '/dump.sql';
my $original = $primary->safe_psql('postgres', $everyone);
$primary->safe_psql('postgres', 'DROP FUNCTION IF EXISTS mxcsr(), vector_now(), alternating()');
$primary->command_ok([ 'pg_dump', '-f', $dump, $primary->connstr('postgres') ], 'pg_dump');
$primary->safe_psql('postgres', 'CREATE DATABASE restored');
$primary->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $primary->connstr('restored') ],
	'its restore');
is($primary->safe_psql('restored', $everyone), $original, 'a restored database gives the same top 10');
$primary->safe_psql('restored',
	q(CALL fmoe_train('shop', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1}')));
is($primary->safe_psql('restored', 'SELECT pg_catalog.max(version) FROM fmoe.versions'),
	'2', 'and goes on counting versions');

$primary->stop;
done_testing();
