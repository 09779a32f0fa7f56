# A data directory without room: calls fail in words or the server stops, and when there
# is room again all is as before.  The file runs again in name spaces of its own, with a
# small file system for the clusters.

use strict;
use warnings;

use Fmoe;
# before PostgreSQL::Test::Utils opens its log there
BEGIN { small_disk(320) }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

long_seed();
my $rounds = $ENV{FMOE_LONG_MINUTES} ? 20 : 4;
my $node = PostgreSQL::Test::Cluster->new('disk');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
restart_after_crash = on
log_statement = none
shared_buffers = 16MB
min_wal_size = 32MB
max_wal_size = 64MB
wal_recycle = off
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE events AS SELECT u::bigint u, ((u * 7 + n * n) % 3000)::bigint i, n::bigint t
	FROM generate_series(1, 2000) u, generate_series(1, 10) n;
CREATE INDEX ON events (u);
SELECT fmoe_create_domain('d', 'events', 'u', 'i', 't'), fmoe_alter_domain('d', sharing => 'full');
CALL fmoe_train('d', '{"model": "sasrec", "width": 32, "layers": 1, "max_length": 10, "epochs": 1}');
SELECT fmoe_deploy('d', 1);
CREATE TABLE file AS SELECT fmoe_export('d', 1) AS expert;
SQL

my $answer = "SELECT pg_catalog.md5(pg_catalog.string_agg(r::text, '|')) FROM generate_series(1, 50) u, fmoe_recommend(u::bigint, 5, 'd') r";
my $truth = $node->safe_psql('postgres', $answer);
my $fill = $node->basedir . '/fill';
my %said;
my @calls = (
	q(CALL fmoe_train('d', '{"model": "sasrec", "width": 128, "layers": 1, "max_length": 10, "epochs": 3, "checkpoint_every": 0, "workers": 0, "deploy": false}')),
	q(DO $$ BEGIN FOR k IN 1 .. 100 LOOP PERFORM fmoe_import('d', 'import ' || k || clock_timestamp(), expert) FROM file; COMMIT; END LOOP; END $$),
	q(DO $$ BEGIN FOR k IN 1 .. 200 LOOP PERFORM fmoe_lend('d', 1); COMMIT; END LOOP; END $$),
);

# leaves so many kilobytes of the file system
sub fill_but
{
	my ($kilobytes) = @_;
	my ($free) = qx(df -k --output=avail "${\$node->basedir}") =~ /(\d+)/;
	my $more = $free - $kilobytes;

	system('dd', 'if=/dev/zero', "of=$fill", 'bs=1k', "count=$more", 'status=none') if $more > 0;
	return;
}

# Whether it recovers by itself; it may also have tried while there was no room, and is gone.
sub comes_back
{
	my $end = time + $patience_s;

	while (time < $end && kill 0, $node->{_pid})
	{
		my ($result) = $node->psql('postgres', 'SELECT 1');

		return 1 if $result == 0;
		usleep(100_000);
	}
	return 0;
}

foreach my $round (1 .. $rounds)
{
	my $call = $calls[$round % @calls];

	fill_but(500 + int rand 30_000);
	my ($result, undef, $err) = $node->psql('postgres', "SET client_min_messages = error; $call", timeout => 300);
	my ($first) = ($err // '') =~ /(ERROR:.*|server closed.*|PANIC.*)/;
	$said{ ($first // 'nothing') =~ s/[\d"].*//r }++;
	unlink $fill;
	# without room for WAL the server stops
	if (!comes_back())
	{
		$node->{_pid} = undef;
		$node->start;
	}
	$node->safe_psql('postgres', 'CHECKPOINT');
	is($node->safe_psql('postgres', $answer), $truth, "$round: with room again what is live answers as before");
	is($node->safe_psql('postgres', orphans()), '0', "$round: nothing is half there");
	$node->safe_psql('postgres', <<'SQL');
SET client_min_messages = error;
SELECT fmoe_drop_version(domain, version) FROM fmoe.versions WHERE NOT live;
SELECT fmoe_withdraw('d');
VACUUM fmoe.tensor, fmoe.checkpoint, fmoe.lent_part;
CHECKPOINT;
SQL
}
diag(join ', ', map { "$_: $said{$_}" } sort keys %said);
cmp_ok(scalar(grep { /ERROR|server closed/ } keys %said), '>', 0, 'some calls failed for want of room');
$node->safe_psql('postgres', q(CALL fmoe_train('d', '{"model": "sasrec", "width": 32, "layers": 1, "max_length": 10, "epochs": 2, "deploy": false}')));
$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|terminated by signal 11/, 'and nothing crashed for another reason');
done_testing;
