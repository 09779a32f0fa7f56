# Shared memory that is full, or full of what nobody can ask for any more.
#
# The file runs again in name spaces of its own, with a small /dev/shm: root is not
# needed for that, but a kernel that lets anybody make name spaces of users.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# before PostgreSQL::Test::Utils redirects what the tests print
BEGIN { small_shared_memory(6) }

my $node = PostgreSQL::Test::Cluster->new('room');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
autovacuum = off
shared_buffers = 16MB
dynamic_shared_memory_type = posix
max_parallel_workers = 4
CONF
$node->start;

sub loaded
{
	return $node->safe_psql('postgres',
		"SELECT pg_catalog.string_agg(version || ' ' || place, ', ' ORDER BY version) FROM fmoe.cache");
}

sub segments
{
	my @segments = glob '/dev/shm/PostgreSQL.*';

	return scalar @segments;
}

# What a session says and answers that loads the live version.
sub everyone
{
	my ($result, $out, $err) = $node->psql('postgres',
		"SELECT pg_catalog.md5(pg_catalog.string_agg(r::text, '|')) FROM generate_series(1, 50) u, fmoe_recommend(u::bigint, 5, 'd') r");

	return ($out, $err);
}

sub deploy
{
	my ($version) = @_;

	$node->safe_psql('postgres', "SELECT fmoe_deploy('d', $version)");
	return;
}

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE p AS SELECT u::bigint u, ((u * 7 + n * n) % 8000)::bigint i, (n * 100)::bigint t
	FROM generate_series(1, 4000) u, generate_series(1, 12) n;
CREATE INDEX ON p (u);
SELECT fmoe_create_domain('d', 'p', 'u', 'i', 't');
CALL fmoe_train('d', '{"model": "sasrec", "epochs": 1, "width": 128, "max_length": 12, "loss": "gbce", "workers": 0, "deploy": false}');
CALL fmoe_train('d', '{"model": "sasrec", "epochs": 1, "width": 64, "max_length": 12, "loss": "gbce", "workers": 0, "deploy": false}');
CALL fmoe_train('d', '{"model": "sasrec", "epochs": 1, "width": 32, "max_length": 12, "loss": "gbce", "workers": 0, "deploy": false}');
ALTER SYSTEM SET fmoe.shared_cache_size = 0;
SELECT pg_catalog.pg_reload_conf();
SQL

my %private;

foreach my $version (1, 2, 3)
{
	deploy($version);
	($private{$version}) = everyone();
}
$node->safe_psql('postgres', 'ALTER SYSTEM RESET fmoe.shared_cache_size');
$node->safe_psql('postgres', 'SELECT pg_catalog.pg_reload_conf()');

# ---------------------------------------------------------------- an unused version gives way

my $before = segments();

foreach my $version (3, 2, 3, 2)
{
	deploy($version);
	my ($answer, $err) = everyone();
	is($answer, $private{$version}, "version $version answers");
	is($err, '', 'from shared memory');
	is(loaded(), "$version shared", 'where the one before gave way');
}
is(segments(), $before + 2, 'which leaves no segment behind');
like(slurp_file($node->logfile), qr/LOG:  a loaded version gives way/, 'the log says so');

# in the session that has it mapped
my $session = session($node);
ask($session, "SELECT fmoe_prewarm('d', 2)");
ask($session, "SELECT fmoe_prewarm('d', 3)");
is($session->{err}, '', 'what the session itself has mapped gives way to what it asks for');
is(loaded(), '3 shared', 'and is unmapped');

# what others have mapped: their next statement lets go of it
my $other = session($node);
ask($other, "SELECT fmoe_prewarm('d', 2)");
like($other->{err}, qr/WARNING:  version 2 .* this session only.*No space left on device/s, 'a version does not take what others have mapped');
is(loaded(), '3 evicted', 'but they will let go');
ask($session, 'SELECT 1');
is(loaded(), '', 'with their next statement');
leave($other);
my ($answer, $err) = everyone();
is("$answer $err", "$private{2} ", 'then there is room');

# what a query uses
ask($session, "BEGIN; DECLARE c CURSOR FOR SELECT item_id FROM fmoe_recommend(1, 100, 'd'); FETCH 2 FROM c");
deploy(3);
($answer, $err) = everyone();
is($answer, $private{3}, 'where a query uses all there is, a private copy answers');
like($err, qr/WARNING:  version 3 .* this session only.*No space left on device/s, 'with a warning');
is(ask($session, 'FETCH ALL FROM c') =~ tr/\n//, 97, 'and the query gets all of it');
is(ask($session, 'SELECT place FROM fmoe.cache'), 'shared', 'from what it has mapped');
ask($session, 'COMMIT');

# a version that never fits pushes nobody out whom others have mapped
deploy(1);
($answer, $err) = everyone();
is($answer, $private{1}, 'a version larger than all there is answers');
like($err, qr/WARNING:  version 1 .* this session only/, 'from a private copy');
is(loaded(), '2 shared', 'what others have mapped stays');
leave($session);

# ---------------------------------------------------------------- trainings

deploy(2);
everyone();
my $train = q(CALL fmoe_train('d', '{"model": "sasrec", "epochs": 2, "width": %d, "max_length": 12, "workers": 2, "deploy": false}'));

(undef, undef, $err) = $node->psql('postgres', sprintf $train, 12);
like($err, qr/version 4 of domain "d" is stored/, 'a training comes to its end');
unlike($err, qr/one process/, 'with workers');
is(loaded(), '', 'for whose memory a version gave way');
(undef, undef, $err) = $node->psql('postgres', sprintf $train, 128);
like($err, qr/in one process.*No space left on device.*version 5 of domain "d" is stored/s, 'or in one process');

# ---------------------------------------------------------------- the last byte

open my $fill, '>', '/dev/shm/fill' or die;
my $written = 1;
$written = syswrite $fill, "\0" x 4096 while $written;
close $fill;
deploy(3);
($answer, $err) = everyone();
is($answer, $private{3}, 'with no byte left versions are loaded');
like($err, qr/WARNING.*this session only/, 'with a warning');
(undef, undef, $err) = $node->psql('postgres', sprintf $train, 16);
like($err, qr/in one process.*version 6 of domain "d" is stored/s, 'and trained');
unlink '/dev/shm/fill';

# ---------------------------------------------------------------- segments that are used up

$node->append_conf('postgresql.conf', <<'CONF');
max_connections = 5
superuser_reserved_connections = 1
max_wal_senders = 0
max_worker_processes = 0
autovacuum_max_workers = 1
CONF
$node->restart;
$node->safe_psql('postgres', <<'SQL' . join ";\n", map { qq(CALL fmoe_train('many', '{"model": "popularity", "deploy": false}')) } 1 .. 60);
CREATE TABLE few (u integer, i integer, t integer);
INSERT INTO few SELECT n % 5, n % 7, n FROM generate_series(1, 50) n;
SELECT fmoe_create_domain('many', 'few', 'u', 'i', 't');
SQL
$session = session($node);
ask($session, "SELECT fmoe_prewarm('many', $_)") foreach 1 .. 60;
is($session->{err}, '', 'there are fewer segments than versions: those that nobody uses give way');
is(ask($session, "SELECT pg_catalog.count(*) BETWEEN 20 AND 50, pg_catalog.max(version) FROM fmoe.cache WHERE place = 'shared'"),
	't|60', 'the oldest first');
leave($session);

# ---------------------------------------------------------------- databases and extensions that are gone

$node->restart;
$before = segments();
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE few (u integer, i integer, t integer);
INSERT INTO few SELECT n % 5, n % 7, n FROM generate_series(1, 50) n;
SELECT fmoe_create_domain('few', 'few', 'u', 'i', 't');
CALL fmoe_train('few', '{"model": "popularity"}');
SELECT fmoe_prewarm('few', 1);
SQL
is(segments(), $before + 2, 'a version is in shared memory');
$node->safe_psql('other', 'DROP EXTENSION fmoe; CREATE EXTENSION fmoe; SELECT FROM fmoe.cache');
is(segments(), $before, 'it is no more when its extension was dropped and somebody looks');
$node->safe_psql('other', <<'SQL');
SELECT fmoe_create_domain('few', 'few', 'u', 'i', 't');
CALL fmoe_train('few', '{"model": "popularity"}');
SELECT fmoe_prewarm('few', 1);
SQL
is(segments(), $before + 2, 'another of the same name is loaded for itself');
$node->safe_psql('postgres', 'DROP DATABASE other');
is(segments(), $before + 2, 'the version of a dropped database stays');
$node->safe_psql('postgres', "SELECT fmoe_prewarm('many', 1)");
is(segments(), $before + 2, 'until anybody loads another');
is(loaded(), '1 shared', 'which then is all there is');

$node->stop;
done_testing;
