# Loaded versions in shared memory: one copy for all sessions, the limit, what
# happens when there is no room, versions that are gone, sessions that are killed,
# standbys, kinds of shared memory, memory of a session.
#
# Not simulated here: a machine whose memory runs out while a segment is written
# (posix_fallocate finds that out before), and more versions in other databases.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $private_limit_bytes = 4 * 1024 * 1024;

my $node = PostgreSQL::Test::Cluster->new('shared');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
autovacuum = off
restart_after_crash = on
CONF
$node->start;

# ---------------------------------------------------------------- helpers

sub wait_for
{
	my ($sql, $expected, $name) = @_;

	return wait_until($name, $expected, sub { $node->safe_psql('postgres', $sql) });
}

# Top 10 of some users known and unknown.
sub everyone
{
	my ($domain) = @_;

	return join ' UNION ALL ', map {
		"SELECT pg_catalog.string_agg(item_id || ' ' || score || ' ' || source, ', ')"
		  . " FROM fmoe_recommend_as(NULL::text, $_, 10, '$domain')"
	} (1, 2, 17, 99, 4711);
}

# "version place sessions" of what is loaded of a domain
sub loaded
{
	my ($domain, $columns) = @_;

	$columns //= "version || ' ' || place || ' ' || sessions";
	return "SELECT pg_catalog.string_agg($columns, ', ' ORDER BY version) FROM fmoe.cache WHERE domain = '$domain'";
}

sub set_limit
{
	my ($limit) = @_;

	$node->append_conf('postgresql.conf', "fmoe.shared_cache_size = '$limit'\n");
	$node->reload;
	return;
}

# ---------------------------------------------------------------- data and versions

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE events (customer bigint, product bigint, at timestamptz);
INSERT INTO events
	SELECT u, (u * 7 + s * (1 + u % 3)) % 400 + 1, timestamptz '2024-01-01 UTC' + (u * 50 + s) * interval '1 minute'
	FROM generate_series(1, 500) u, generate_series(1, 20) s;
CREATE INDEX ON events (customer);
SELECT fmoe_create_domain('shop', 'events', 'customer', 'product', 'at');
CALL fmoe_train('shop', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 2, "deploy": false}');
CALL fmoe_train('shop', '{"model": "gru4rec", "width": 16, "layers": 1, "epochs": 2, "deploy": false}');
CALL fmoe_train('shop', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 2, "seed": 5, "deploy": false}');
SELECT fmoe_deploy('shop', 1);
SQL

set_limit(0);
my $private = $node->safe_psql('postgres', everyone('shop'));
like($private, qr/model.*popularity/s, 'known users are answered by the model, unknown ones by popularity');
my ($result, $out, $err) = $node->psql('postgres', everyone('shop') . ';' . loaded('shop', "version || ' ' || place"));
is($err, '', 'no shared cache by choice is nothing to warn of');
is((split /\n/, $out)[-1], '1 private', 'what is loaded is the session\'s own');
set_limit('1GB');

# ---------------------------------------------------------------- one copy

my $first = session($node);
my $second = session($node);
is(ask($first, everyone('shop')), $private, 'answers from shared memory');
is(ask($first, loaded('shop')), '1 shared 1', 'the version is in shared memory');
my $segments = $node->safe_psql('postgres', loaded('shop', 'loaded_at::text'));
is(ask($second, everyone('shop')), $private, 'the same in another session');
is(ask($second, loaded('shop')), '1 shared 2', 'which has it mapped too');
is(ask($second, loaded('shop', "loaded_at || ' ' || hits")), "$segments 1", 'and did not load it again');
ask($first, everyone('shop'));
is(ask($first, loaded('shop', 'hits::text')), '2', 'each query that finds it loaded is a hit');
is(ask($first, "SELECT pg_catalog.count(*), pg_catalog.sum(total_bytes) < 300000 FROM pg_catalog.pg_backend_memory_contexts WHERE name = 'fmoe model'"),
	'1|t', 'a session keeps little of its own');
leave($first);
wait_for(loaded('shop'), '1 shared 1', 'a session that leaves lets go');
leave($second);
wait_for(loaded('shop'), '1 shared 0', 'the version stays when nobody has it mapped');
is($node->safe_psql('postgres', everyone('shop')), $private, 'and is found again');

my @crowd = map { session($node) } 1 .. 8;
send_to($_, "SELECT fmoe_prewarm('shop', 2) > 0") foreach @crowd;
is(join(' ', map { answer($_) } @crowd), 't t t t t t t t', 'eight sessions load a version at once');
is(ask($crowd[0], loaded('shop', "version || ' ' || sessions")), '1 0, 2 8', 'into one copy');
is(ask($crowd[0], "SELECT hits FROM fmoe.cache WHERE version = 2"), '7', 'that one of them made');
leave($_) foreach @crowd;

is($node->safe_psql('postgres', <<'SQL'), 't|shared', 'the leader of a parallel query loads too');
SELECT fmoe_drop_version('shop', 2) \g /dev/null
CALL fmoe_train('shop', '{"model": "gru4rec", "width": 16, "layers": 1, "epochs": 2, "deploy": false}');
SELECT fmoe_deploy('shop', 4) \g /dev/null
ANALYZE events;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT pg_catalog.count(*) > 9000, (SELECT item_id FROM fmoe_recommend(1, 1, 'shop')) FROM events \g /dev/null
SELECT pg_catalog.count(*) > 9000, (SELECT place FROM fmoe.cache WHERE version = 4) FROM events;
SQL
$node->safe_psql('postgres', "SELECT fmoe_deploy('shop', 1)");

# ---------------------------------------------------------------- the limit

# room for two of the three
my $bytes = $node->safe_psql('postgres', "SELECT pg_catalog.max(fmoe_prewarm('shop', v)) FROM (VALUES (1), (3), (4)) t (v)");
my $limit_kb = int($bytes * 2.5 / 1024);
set_limit("${limit_kb}kB");
$node->safe_psql('postgres', "SELECT fmoe_prewarm('shop', $_)") foreach (1, 3, 4);
is($node->safe_psql('postgres', loaded('shop', 'version::text')), '3, 4', 'the least recently used version goes');
$node->safe_psql('postgres', "SELECT fmoe_prewarm('shop', $_)") foreach (3, 1);
is($node->safe_psql('postgres', loaded('shop', 'version::text')), '1, 3', 'what was used since stays');

$first = session($node);
$second = session($node);
ask($first, "SELECT fmoe_prewarm('shop', 1)");
ask($second, "SELECT fmoe_prewarm('shop', 3), fmoe_prewarm('shop', 4)");
is(ask($second, loaded('shop')), '1 evicted 1, 3 shared 1, 4 shared 1', 'an idle session does not keep a version from going, but its memory');
is(ask($first, 'SELECT 1'), '1', 'its next statement, whatever that is,');
is(ask($second, loaded('shop')), '3 shared 1, 4 shared 1', 'lets go of it');
is(ask($first, everyone('shop')), $private, 'and the version comes back when it is asked for');

ask($first, "BEGIN; DECLARE c CURSOR FOR SELECT item_id FROM fmoe_recommend(1, 400, 'shop', exclude_seen => false); FETCH 2 FROM c");
ask($second, "SELECT fmoe_prewarm('shop', 3), fmoe_prewarm('shop', 4), fmoe_prewarm('shop', 3)");
is(ask($second, loaded('shop')), '1 shared 1, 3 shared 1', 'a version that a query uses stays, recently used or not');
is(ask($first, 'FETCH ALL FROM c') =~ tr/\n//, 397, 'and the query gets all of it');
ask($first, 'COMMIT');
leave($_) foreach $first, $second;

# ---------------------------------------------------------------- no room

set_limit('64kB');
my $lonely = session($node);
is(ask($lonely, everyone('shop')), $private, 'a version that is larger than the limit answers the same');
like($lonely->{err}, qr/WARNING:  version 1 of domain "shop" is loaded for this session only/, 'with a warning');
like($lonely->{err}, qr/DETAIL:  It needs 1 MB more; fmoe.shared_cache_size is 64kB/, 'that says how much it needs');
is(ask($lonely, loaded('shop')), '1 private 1', 'from a copy of its own');
ask($lonely, "SELECT fmoe_prewarm('shop', 3)");
is($lonely->{err}, '', 'warned is once');
is(ask($lonely, loaded('shop')), '1 private 1, 3 private 1', 'of all that do not fit');
is($node->safe_psql('postgres', loaded('shop', 'sessions::text')), '', 'which other sessions do not see');
set_limit('1GB');
is(ask($lonely, everyone('shop')), $private, 'the copy serves on');
leave($lonely);

# A session that holds as many versions as there are slots, and one more.
$node->safe_psql('postgres', <<'SQL' . join ";\n", map { qq(CALL fmoe_train('many', '{"model": "popularity", "deploy": false}')) } 1 .. 65);
CREATE TABLE few (u integer, i integer, t integer);
INSERT INTO few SELECT n % 5, n % 7, n FROM generate_series(1, 50) n;
SELECT fmoe_create_domain('many', 'few', 'u', 'i', 't');
SELECT fmoe_drop_version('shop', 3), fmoe_drop_version('shop', 4);
SQL
$first = session($node);
ask($first, "SELECT pg_catalog.min(fmoe_prewarm('many', v)) > 0 FROM generate_series(1, 63) v");
is($first->{err}, '', 'one session holds 63 versions');
$node->safe_psql('postgres', "SELECT fmoe_prewarm('shop')");
is($node->safe_psql('postgres', "SELECT pg_catalog.count(*) FROM fmoe.cache WHERE place = 'shared'"), '64', 'and 64 there are');
ask($first, "SELECT pg_catalog.min(fmoe_prewarm('many', v)) > 0 FROM generate_series(1, 64) v");
is($first->{err}, '', 'one that nobody holds makes place');
is(ask($first, "SELECT fmoe_prewarm('many', 65) > 0"), 't', 'a version more than there can be is loaded');
like($first->{err}, qr/WARNING.*Sessions hold 64 versions there already/s, 'with a warning');
is(ask($first, loaded('many', 'place') =~ s/domain = 'many'/version = 65/r), 'private', 'into memory of its own');
leave($first);
wait_for("SELECT pg_catalog.sum(sessions) FROM fmoe.cache", '0', 'all are let go');

# Few sessions may have fewer segments than that.
$node->append_conf('postgresql.conf', <<'CONF');
max_connections = 5
superuser_reserved_connections = 1
max_wal_senders = 0
max_worker_processes = 0
autovacuum_max_workers = 1
CONF
$node->restart;
($result, $out, $err) = $node->psql('postgres',
	"SELECT pg_catalog.min(fmoe_prewarm('many', v)) > 0 FROM generate_series(1, 60) v; SELECT DISTINCT place FROM fmoe.cache ORDER BY place");
is($out, "t\nprivate\nshared", 'versions are loaded when there are no more segments');
like($err, qr/WARNING.*There are too many dynamic shared memory segments/s, 'with a warning');
is(() = $err =~ /WARNING/g, 1, 'one');
$node->append_conf('postgresql.conf', <<'CONF');
max_connections = 60
max_wal_senders = 10
max_worker_processes = 8
CONF

# ---------------------------------------------------------------- kinds of shared memory

foreach my $type ('mmap', 'sysv', 'posix')
{
	$node->append_conf('postgresql.conf', "dynamic_shared_memory_type = $type\n");
	$node->restart;
	is($node->safe_psql('postgres', everyone('shop')), $private, "$type: loading");
	is($node->safe_psql('postgres', everyone('shop')), $private, "$type: finding it loaded");
	is($node->safe_psql('postgres', loaded('shop', "version || ' ' || place || ' ' || hits")), '1 shared 1', "$type: in shared memory");
	next if $type ne 'mmap';

	# an error of the operating system
	my $directory = $node->data_dir . '/pg_dynshmem';
	chmod 0500, $directory;
	($result, $out, $err) = $node->psql('postgres', "SELECT fmoe_prewarm('many', 1) > 0; SELECT 1");
	chmod 0700, $directory;
	is($out, "t\n1", 'a version is loaded when no segment can be made');
	like($err, qr/WARNING.*There was an error: could not open shared memory segment .*Permission denied/s, 'with a warning that says why');
	is($node->safe_psql('postgres', "SELECT fmoe_prewarm('many', 1) > 0; SELECT place FROM fmoe.cache WHERE domain = 'many'"),
		"t\nshared", 'later it is shared');
}

# ---------------------------------------------------------------- versions that are gone, or another's

# What a transaction that rolls back trained and loaded; its version number is given out again.
$first = session($node);
my $rolled_back = ask($first, <<'SQL' . everyone('shop'));
BEGIN;
SET LOCAL client_min_messages = warning;
CALL fmoe_train('shop', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 1, "seed": 8, "deploy": false}');
SELECT fmoe_deploy('shop', 5) \g /dev/null
SQL
is(ask($first, loaded('shop', "version || ' ' || place")), '1 shared, 5 shared', 'a transaction loads what it has trained');
is($node->safe_psql('postgres', loaded('shop', 'version::text')), '1', 'which others do not see');
is($node->safe_psql('postgres', everyone('shop')), $private, 'nor are answered from');
ask($first, 'ROLLBACK');
is(ask($first, everyone('shop')), $private, 'after the rollback the old version answers');
$node->safe_psql('postgres', <<'SQL');
CALL fmoe_train('shop', '{"model": "gru4rec", "width": 16, "layers": 1, "epochs": 1, "seed": 9, "deploy": false}');
SELECT fmoe_deploy('shop', 5);
SQL
my $fifth = ask($first, everyone('shop'));
isnt($fifth, $rolled_back, 'a version of the same number answers for itself');
is($node->safe_psql('postgres', everyone('shop')), $fifth, 'in every session');

# Even an id that is given out again, which takes meddling with the tables, has another checksum.
$node->safe_psql('postgres', <<'SQL');
BEGIN;
CALL fmoe_train('shop', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 1, "seed": 10, "deploy": false}');
SELECT fmoe_prewarm('shop', 6);
SELECT pg_catalog.setval('fmoe.version_version_id_seq', (SELECT pg_catalog.max(version_id) FROM fmoe.version), false);
ROLLBACK;
SQL
$node->safe_psql('postgres', <<'SQL');
CALL fmoe_train('shop', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 1, "seed": 11, "deploy": false}');
SELECT fmoe_deploy('shop', 6);
SQL
is($node->safe_psql('postgres', 'SELECT pg_catalog.count(*) FROM fmoe._cache() c WHERE version_id = (SELECT pg_catalog.max(version_id) FROM fmoe.version)'),
	'1', 'something is loaded under the id of a new version');
my $sixth = $node->safe_psql('postgres', everyone('shop'));
set_limit(0);
is($node->safe_psql('postgres', everyone('shop')), $sixth, 'but it is not what answers');
set_limit('1GB');

# Another database counts its versions from one, too.
# whatever the locale of the tests, collations of ICU need an encoding they know
$node->safe_psql('postgres', q(CREATE DATABASE other TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'));
$node->safe_psql('other', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE events AS SELECT n % 100 + 1 AS customer, 'item ' || (n * n) % 60 AS product, n AS at FROM generate_series(1, 1000) n;
SELECT fmoe_create_domain('shop', 'events', 'customer', 'product', 'at');
CALL fmoe_train('shop', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT fmoe_deploy('shop', 1);
SQL
$node->safe_psql('postgres', "SELECT fmoe_deploy('shop', 1)");
$node->safe_psql('postgres', everyone('shop'));
like($node->safe_psql('other', everyone('shop')), qr/^item \d+ /, 'another database has its own versions');
is($node->safe_psql('other', loaded('shop', "version || ' ' || place")), '1 shared', 'and sees its own');
is($node->safe_psql('postgres', everyone('shop')), $private, 'so does this one');

SKIP:
{
	skip 'no ICU', 2
	  if $node->safe_psql('other', "SELECT pg_catalog.count(*) FROM pg_catalog.pg_collation WHERE collprovider = 'i'") eq '0';

	# ids that are equal by a collation only
	$node->safe_psql('other', <<'SQL');
CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE visits (u integer, page text COLLATE caseless, t integer);
INSERT INTO visits SELECT n % 10, CASE WHEN n % 3 = 0 THEN 'Page ' ELSE 'page ' END || n % 7, n FROM generate_series(1, 200) n;
SELECT fmoe_create_domain('pages', 'visits', 'u', 'page', 't');
CALL fmoe_train('pages', '{"model": "markov", "deploy": false}');
SELECT fmoe_deploy('pages', 1);
SELECT fmoe_prewarm('pages');
SQL
	is($node->safe_psql('other', "SELECT pg_catalog.count(*) FROM fmoe_similar('PAGE 3'::text, 10, 'pages'); "
			. "SELECT hits FROM fmoe.cache WHERE domain = 'pages'"),
		"6\n1", 'ids are found by the collation of their column');
	is($node->safe_psql('other', 'SELECT items FROM fmoe.versions WHERE domain = \'pages\''), '7', 'which makes two spellings one item');
}

# ---------------------------------------------------------------- who ends while loading

# Reading the arrays waits for the lock; the version is claimed by then.
sub hold_loading
{
	my $locker = session($node);

	ask($locker, 'BEGIN; LOCK TABLE fmoe.tensor IN ACCESS EXCLUSIVE MODE');
	return $locker;
}
my $waiting = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'prewarm'";

foreach my $end ('pg_terminate_backend', 'pg_cancel_backend')
{
	my $version = $end eq 'pg_terminate_backend' ? 10 : 11;
	my $locker = hold_loading();
	my $loader = session($node);

	send_to($loader, "SELECT fmoe_prewarm('many', $version)");
	wait_for($waiting, '1', "a session is loading");
	$node->safe_psql('postgres', "SELECT $end(pid) FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'prewarm'");
	wait_for($waiting, '0', "$end ends it");
	ask($locker, 'COMMIT');
	is( $node->safe_psql('postgres', "SELECT fmoe_prewarm('many', $version) > 0; "
			. "SELECT place, hits, sessions FROM fmoe.cache WHERE domain = 'many' AND version = $version"),
		"t\nshared|0|1", 'and another takes over');
	leave($locker);
	$loader->{run}->kill_kill;
}

{
	my $locker = hold_loading();
	my $loader = session($node);
	my $follower = session($node);

	send_to($loader, "SELECT fmoe_prewarm('many', 12) > 0");
	wait_for($waiting, '1', "a session is loading");
	ask($follower, "SET statement_timeout = '200ms'; SELECT fmoe_prewarm('many', 12)");
	like($follower->{err}, qr/canceling statement due to statement timeout/, 'waiting for it can be cancelled');

	# nobody else would ever notice that these two wait for each other
	my $started = time;
	is(ask($locker, "SELECT fmoe_prewarm('many', 12) > 0"), 't', 'who holds the lock it waits for does not wait for it');
	cmp_ok(time - $started, '<', 20, 'for long');
	like($locker->{err}, qr/WARNING.*Another session is loading it and waits for a lock/s, 'and says so');
	ask($locker, 'COMMIT');
	is(answer($loader), 't', 'then the other goes on');
	is(ask($follower, "RESET statement_timeout; SELECT fmoe_prewarm('many', 12) > 0"), 't', 'and so does who had waited');
	is(ask($follower, "SELECT place, sessions FROM fmoe.cache WHERE domain = 'many' AND version = 12"), 'shared|2', 'on one copy');
	leave($_) foreach $locker, $loader, $follower;
}

# A crash empties the cache with all other shared memory.
$first = session($node);
ask($first, everyone('shop'));
my $pid = ask($first, 'SELECT pg_catalog.pg_backend_pid()');
kill 'KILL', $pid;
$first->{run}->kill_kill;
wait_server($node);
is($node->safe_psql('postgres', 'SELECT pg_catalog.count(*) FROM fmoe.cache'), '0', 'after a crash nothing is loaded');
is($node->safe_psql('postgres', everyone('shop')), $private, 'but what is asked for');
is($node->safe_psql('postgres', loaded('shop', 'place')), 'shared', 'into shared memory');

# ---------------------------------------------------------------- standby

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', everyone('shop')), $private, 'a standby answers the same');
is($standby->safe_psql('postgres', "SELECT fmoe_prewarm('shop') > 0; " . loaded('shop', "version || ' ' || place || ' ' || hits")),
	"t\n1 shared 1", 'from shared memory of its own');
$standby->stop;

# ---------------------------------------------------------------- memory of a session

SKIP:
{
	my $sessions = 10;
	my $image;
	my @sessions;
	my @private;

	skip 'no /proc/PID/smaps', 2 if !-r '/proc/self/smaps';

	# Memory of a process that no other has: of mappings that are not shared.
	sub private_bytes
	{
		my ($process) = @_;
		my $shared = 0;
		my $kilobytes = 0;

		foreach (split /\n/, slurp_file("/proc/$process/smaps"))
		{
			$shared = $1 eq 's' if /^[0-9a-f]+-[0-9a-f]+ ...([sp]) /;
			$kilobytes += $1 if !$shared && /^Private_(?:Clean|Dirty): +(\d+) kB/;
		}
		return 1024 * $kilobytes;
	}

	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE large (u integer, i text, t integer);
INSERT INTO large SELECT n % 40000, 'product ' || (n * 7919::bigint) % 200000, n FROM generate_series(0, 239999) n;
CREATE INDEX ON large (u);
SELECT fmoe_create_domain('large', 'large', 'u', 'i', 't');
CALL fmoe_train('large', '{"model": "sasrec", "width": 64, "layers": 1, "heads": 1, "epochs": 1, "loss": "gbce",
	"negatives": 16, "holdout": "none", "workers": 0, "deploy": false}');
SELECT fmoe_deploy('large', 1);
SQL
	my $bare = session($node);
	my $bare_bytes;
	foreach (1 .. $sessions)
	{
		my $session = session($node);

		ask($session, "SELECT item_id FROM fmoe_recommend('$_', 10, 'large')");
		push @sessions, $session;
	}
	$bare_bytes = private_bytes(ask($bare, 'SELECT pg_catalog.pg_backend_pid()'));
	@private = sort { $a <=> $b }
	  map { private_bytes(ask($_, 'SELECT pg_catalog.pg_backend_pid()')) - $bare_bytes } @sessions;
	$image = ask($bare, loaded('large', 'bytes::text'));
	note("private bytes of $sessions sessions beyond a bare one: @private; the version has $image");
	cmp_ok($image, '>', 50_000_000, 'a large version is loaded');
	SKIP:
	{
		skip 'ASan keeps what was freed', 1 if $ENV{FMOE_ASAN};
		cmp_ok($private[-1], '<', $private_limit_bytes, 'and no session has much memory of its own');
	}
	leave($_) foreach @sessions, $bare;
}

$node->stop;
done_testing();
