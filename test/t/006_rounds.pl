# Federated rounds: what peers lend meanwhile comes in at the next round, a peer
# that is away is passed over, a crash costs at most a round, a cancel is quick.

use strict;
use warnings;

use Fmoe;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cancel_limit_ms = $ENV{FMOE_ASAN} ? 3000 : 300;

my $node = PostgreSQL::Test::Cluster->new('rounds');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
autovacuum = off
restart_after_crash = on
CONF
$node->start;

# ---------------------------------------------------------------- helpers

sub value
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, $sql);
}

# What a statement says, whether it fails or not.
sub told
{
	my ($database, $sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql($database, $sql, stdout => \$out, stderr => \$err);
	return $err;
}

sub train
{
	my ($domain, $options) = @_;
	return "CALL fmoe_train('$domain', '$options')";
}

# A statement that goes on by itself.
sub begin
{
	my ($database, $sql) = @_;
	my %run = (out => '', err => '');

	$run{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($database), '-c', $sql ],
		'>', \$run{out}, '2>', \$run{err}, IPC::Run::timeout($patience_s));
	return \%run;
}

sub wait_for
{
	my ($database, $sql, $name) = @_;

	return wait_until($name, 't', sub { value($database, "SELECT ($sql)") });
}

sub checksum
{
	my ($database) = @_;
	return value($database, 'SELECT checksum FROM fmoe.version ORDER BY version_id DESC LIMIT 1');
}

# ---------------------------------------------------------------- two parties, each the other's peer

my %first = (north => 0, south => 500);
my ($host, $port) = ($node->host, $node->port);
foreach my $party (sort keys %first)
{
	my $other = $party eq 'north' ? 'south' : 'north';

	$node->safe_psql('postgres', "CREATE DATABASE $party");
	value($party, <<SQL);
CREATE EXTENSION fmoe;
CREATE EXTENSION postgres_fdw;
CREATE TABLE plays (u integer, i integer, t integer);
INSERT INTO plays SELECT u, $first{$party} + CASE s % 2 WHEN 0 THEN (u * 7 + s / 2) % 60 ELSE 60 + (u * 11 + s / 2) % 60 END, s
	FROM generate_series(1, 400) u, generate_series(0, 14) s;
SELECT fmoe_create_domain('plays', 'plays', 'u', 'i', 't');
CREATE SERVER $other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '$other');
CREATE USER MAPPING FOR CURRENT_USER SERVER $other;
SQL
}
value($_, "SELECT fmoe_add_peer('other', '" . ($_ eq 'north' ? 'south' : 'north') . "')") foreach sort keys %first;

my $alone = '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 2, "max_length": 20, "batch_size": 32}';
value('north', train('plays', $alone) . "; SELECT fmoe_lend('plays')");

# ---------------------------------------------------------------- rounds

my $mixture = '{"model": "fmoe", "gate": "user", "width": 16, "layers": 1, "max_length": 20, "batch_size": 32, "patience": 100, "deploy": false, "rounds": 3, "local_epochs": 2}';
value('south', 'CALL fmoe_sync()');
my $said = told('south', train('plays', $mixture));
like($said, qr/round 1\/3: 0 of 1 lent experts are newer/, 'the first round finds what was fetched before');
like($said, qr/epoch 6\/6/, 'three rounds of two epochs');
is(value('south', q(SELECT config -> 'experts' -> 0 ->> 'name' FROM fmoe.versions ORDER BY version DESC LIMIT 1)), 'north.plays',
	'with the expert of the other party');
is(value('south', q(SELECT round FROM fmoe.experts WHERE own)), '3', 'the last round is what is lent');
my $uninterrupted = checksum('south');

# the other party fetches it, and is told of newer ones while it trains
value('north', 'CALL fmoe_sync()');
my $long = $mixture =~ s/"rounds": 3/"rounds": 60/r;
my $training = begin('north', train('plays', $long));
wait_for('north', 'EXISTS (SELECT FROM fmoe.training WHERE epoch >= 2)', 'a round is committed');
value('south', train('plays', $mixture =~ s/"rounds"/"seed": 7, "rounds"/r));
$training->{run}->pump until $training->{err} =~ /round \d+\/60: 1 of 1 lent experts are newer/ || !$training->{run}->pumpable;
like($training->{err}, qr/round \d+\/60: 1 of 1 lent experts are newer/, 'what a peer lends meanwhile comes in at the next round');
is(value('north', 'SELECT epoch % 2 FROM fmoe.training'), '0', 'what is committed are whole rounds');

# ---------------------------------------------------------------- cancel

my $pid = value('north', 'SELECT pid FROM fmoe.progress');
my $started = time;
value('north', "SELECT pg_catalog.pg_cancel_backend($pid)");
$training->{run}->finish;
cmp_ok(1000 * (time - $started), '<', $cancel_limit_ms + 100, 'a mixture in training is cancelled at once');
like($training->{err}, qr/canceling statement/, 'and says so');
value('north', 'DELETE FROM fmoe.training');

# ---------------------------------------------------------------- crash

value('south', "SELECT fmoe_forget('north')");
value('south', 'CALL fmoe_sync()');
my $five = $mixture =~ s/"rounds": 3/"rounds": 5/r;
value('south', train('plays', $five));
$uninterrupted = checksum('south');
$training = begin('south', train('plays', $five));
wait_for('south', 'EXISTS (SELECT FROM fmoe.training WHERE epoch >= 4)', 'two rounds are committed');
kill 'KILL', value('south', 'SELECT pid FROM fmoe.progress');
eval { $training->{run}->finish };
wait_server($node);
my $epoch = value('south', 'SELECT epoch FROM fmoe.training');
is($epoch % 2, 0, 'kill -9 leaves whole rounds');
$said = told('south', train('plays', $five));
like($said, qr/cut off after epoch $epoch\b/, 'the next CALL continues with the round after');
is(checksum('south'), $uninterrupted, 'and ends with the weights of an uninterrupted run');

# ---------------------------------------------------------------- a peer that is away

value('south', q(ALTER SERVER north OPTIONS (SET dbname 'nowhere')));
$said = told('south', train('plays', $mixture));
like($said, qr/WARNING:.*\n?.*other/, 'a peer that is away is a warning');
like($said, qr/epoch 6\/6/, 'and the rounds go on');
is(checksum('south') ne '', 1, 'a version is stored');

# what a domain does not share, rounds do not lend
value('south', q(SELECT fmoe_alter_domain('plays', sharing => 'none')));
value('south', train('plays', $mixture));
is(value('south', 'SELECT pg_catalog.count(*) FROM fmoe.experts WHERE own'), '0', 'rounds of a domain that shares nothing lend nothing');

$node->stop;
done_testing();
