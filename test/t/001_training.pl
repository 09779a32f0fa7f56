# What training promises beside its rows: cancel, resume after a crash, the
# same weights for the same seed, locks, snapshots, transactions.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cancel_limit_ms = $ENV{FMOE_ASAN} ? 3000 : 300;

my $node = PostgreSQL::Test::Cluster->new('training');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
autovacuum = off
restart_after_crash = on
log_statement = none
CONF
$node->start;

# ---------------------------------------------------------------- helpers

# Waits until the answer is true.
sub wait_for
{
	my ($session, $sql, $name) = @_;

	return wait_until($name // "there comes: $sql", 'true', sub { ask($session, "SELECT ($sql)::text") });
}

sub begin_session { return session($node, 'postgres', '-v', 'VERBOSITY=verbose') }

my $watcher = begin_session();

sub value { return ask($watcher, $_[0]) }

sub train
{
	my ($domain, $options) = @_;
	# every epoch is kept, unless a test says otherwise
	$options =~ s/\{/{"checkpoint_every": 0, / if $options !~ /checkpoint_every/;
	return "CALL fmoe_train('$domain', '$options')";
}

# The newest version's weights, as one number.
sub checksum
{
	my ($domain) = @_;
	return value("SELECT v.checksum || ' ' || (SELECT pg_catalog.md5(pg_catalog.string_agg(name || part || pg_catalog.md5(data), ','"
		  . ' ORDER BY name, part)) FROM fmoe.tensor t WHERE t.version_id = v.version_id)'
		  . " FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = '$domain' ORDER BY version DESC LIMIT 1");
}

sub pid_of
{
	my ($session) = @_;
	return ask($session, 'SELECT pg_catalog.pg_backend_pid()');
}

# ---------------------------------------------------------------- data

value(<<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE small (u bigint, i bigint, t timestamptz, later timestamptz);
INSERT INTO small
	SELECT u, CASE s % 2 WHEN 0 THEN (u * 7 + s / 2) % 150 ELSE 150 + (u * 11 + s / 2) % 150 END,
		timestamptz '2024-01-01 UTC' + s * interval '1 hour', timestamptz '2024-02-01 UTC' + s * interval '1 hour'
	FROM generate_series(1, 1200) u, generate_series(0, 24) s;
SELECT fmoe_create_domain('small', 'small', 'u', 'i', 't');
CREATE TABLE large (u integer, i integer, t integer);
INSERT INTO large
	SELECT u, (u * 31::bigint + s * s * 17) % 5000, s FROM generate_series(1, 20000) u, generate_series(1, 50) s;
SELECT fmoe_create_domain('large', 'large', 'u', 'i', 't');
SQL

# an epoch of a few tenths of a second, six of them
my $six = '{"model": "sasrec", "width": 32, "layers": 1, "epochs": 6, "max_length": 30, "seed": 5, "deploy": false}';
my $long = '{"model": "sasrec", "width": 64, "layers": 2, "epochs": 1000, "patience": 1000, "deploy": false}';

# ---------------------------------------------------------------- the same seed, the same weights

my $trainer = begin_session();
ask($trainer, train('small', $six));
like($trainer->{err}, qr/up to \d+ MB of memory/, 'says beforehand how much memory it takes');
is(scalar(() = $trainer->{err} =~ /epoch \d\/6: loss [\d.]+, validation NDCG\@10 [\d.]+ \(best [\d.]+ in epoch \d\)/g),
	6, 'one notice an epoch');
is(scalar(() = $trainer->{err} =~ /at most \d+ s left/g), 5, 'with the time left');
my $uninterrupted = checksum('small');
ask($trainer, train('small', $six));
is(checksum('small'), $uninterrupted, 'the same seed gives the same weights');
(my $other_seed = $six) =~ s/"seed": 5/"seed": 6/;
ask($trainer, train('small', $other_seed));
isnt(checksum('small'), $uninterrupted, 'another seed gives others');
ask($trainer, 'BEGIN');
ask($trainer, train('small', $six));
like($trainer->{err}, qr/inside a transaction/, 'a transaction block is noticed');
is(value('SELECT count(*) FROM fmoe.versions'), '3', 'nothing is seen before its end');
ask($trainer, 'COMMIT');
is(value('SELECT count(*) FROM fmoe.versions'), '4', 'and all after it');
is(checksum('small'), $uninterrupted, 'inside a transaction the weights are the same');

# ---------------------------------------------------------------- kill -9 and resume

sub crash_after_epoch
{
	my ($epoch, $options) = @_;
	my $victim = begin_session();
	my $pid = pid_of($victim);

	send_to($victim, train('small', $options));
	wait_for($watcher, "SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= $epoch)");
	kill 'KILL', $pid;
	eval { $victim->{run}->finish };
	eval { $watcher->{run}->finish };
	eval { $trainer->{run}->finish };
	wait_server($node);
	$watcher = begin_session();
	$trainer = begin_session();
	return;
}

crash_after_epoch(2, $six);
my $committed = value('SELECT epoch FROM fmoe.training');
cmp_ok($committed, '>=', 2, 'the committed epochs survive kill -9');
cmp_ok($committed, '<', 6, 'and the training was not through');
is(value('SELECT count(*) FROM fmoe.progress'), '0', 'after the restart nothing is in progress');
ask($trainer, train('small', $six));
like($trainer->{err}, qr/cut off after epoch $committed\b/, 'the next CALL continues');
unlike($trainer->{err}, qr/epoch 1\/6/, 'and does not begin again');
is(checksum('small'), $uninterrupted, 'it ends with the weights of an uninterrupted run');
is(value('SELECT count(*) FROM fmoe.training'), '0', 'the unfinished training is gone');
is(value('SELECT count(*) FROM fmoe.checkpoint'), '0', 'with its checkpoint');
is(value("SELECT pg_total_relation_size('fmoe.checkpoint') < 50000"), 't', 'whose space is given back');

# what a training writes does not grow with its epochs: a checkpoint is taken only now and then
sub written_by
{
	my ($epochs) = @_;
	my $before = value('SELECT pg_current_wal_insert_lsn()');

	ask($trainer, train('small', qq({"model": "sasrec", "width": 64, "layers": 1, "epochs": $epochs, "patience": 100, "checkpoint_every": 600, "deploy": false})));
	return value("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$before')");
}

my $written = written_by(2);
cmp_ok(written_by(12), '<', $written * 1.5, 'twelve epochs write no more than two');

# ---------------------------------------------------------------- cancel

# Lets a session run a statement, cancels it when the condition holds, returns the milliseconds it took to end.
sub cancel
{
	my ($session, $sql, $condition) = @_;
	my $pid = pid_of($session);

	send_to($session, $sql);
	wait_for($watcher, $condition =~ s/PID/$pid/r);
	my $started = time;
	ask($watcher, "SELECT pg_catalog.pg_cancel_backend($pid)");
	answer($session);
	my $milliseconds = 1000 * (time - $started);
	like($session->{err}, qr/57014: canceling statement due to user request/, 'the statement ends as cancelled');
	return $milliseconds;
}

# The median of three: the machine may be busy.
sub answers_cancel
{
	my ($what, $sql, $condition, $domain) = @_;
	my @milliseconds;

	foreach (1 .. 3)
	{
		value("DELETE FROM fmoe.training");
		push @milliseconds, cancel($trainer, $sql, $condition);
	}
	@milliseconds = sort { $a <=> $b } @milliseconds;
	cmp_ok($milliseconds[1], '<', $cancel_limit_ms, "$what: cancel answers within $cancel_limit_ms ms");
	is(value('SELECT count(*) FROM fmoe.progress'), '0', "$what: no progress is left");
	is(value("SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"), '0', "$what: no lock is left");
	is(ask($trainer, "SELECT count(*) FROM pg_catalog.pg_backend_memory_contexts WHERE name LIKE 'fmoe training%'"),
		'0', "$what: no memory is left");
	return;
}

my $running = 'SELECT pg_catalog.count(*) = 1 FROM fmoe.progress WHERE pid = PID';
answers_cancel('reading', train('large', $long), "$running AND phase = 'reading'");
answers_cancel('training', train('large', $long), "$running AND phase = 'training' AND batch > 3");
answers_cancel('training in a transaction', 'BEGIN; ' . train('large', $long) . '; ROLLBACK',
	"$running AND phase = 'training' AND batch > 3");
ask($trainer, 'ROLLBACK');

ask($trainer, train('large', '{"model": "markov", "holdout": "test", "deploy": false}'));
my $evaluate = q(SELECT count(*) FROM fmoe_evaluate('large', '{"k": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]}'));
foreach my $delay_ms (100, 1500)
{
	my @milliseconds;

	foreach (1 .. 3)
	{
		my $pid = pid_of($trainer);

		send_to($trainer, $evaluate);
		usleep(1000 * $delay_ms);
		my $started = time;
		ask($watcher, "SELECT pg_catalog.pg_cancel_backend($pid)");
		answer($trainer);
		push @milliseconds, 1000 * (time - $started);
		like($trainer->{err}, qr/57014/, 'the evaluation ends as cancelled');
	}
	@milliseconds = sort { $a <=> $b } @milliseconds;
	cmp_ok($milliseconds[1], '<', $cancel_limit_ms,
		"evaluating, after $delay_ms ms: cancel answers within $cancel_limit_ms ms");
}

# ---------------------------------------------------------------- cut off by cancel, timeout, termination

value('DELETE FROM fmoe.training');
cancel($trainer, train('small', $six), 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 2)');
cmp_ok(value('SELECT epoch FROM fmoe.training'), '>=', 2, 'a cancelled training keeps its epochs');
is(value("SELECT pg_catalog.count(DISTINCT block) FROM fmoe.checkpoint"), '5', 'values, two moments, the best values and the mean');

# the same session goes on
ask($trainer, train('small', $six));
like($trainer->{err}, qr/cut off after epoch/, 'and continues in the same session');
is(checksum('small'), $uninterrupted, 'to the same weights');

(my $endless = $six) =~ s/"epochs": 6/"epochs": 10000, "patience": 10000/;
ask($trainer, "SET statement_timeout = '2s'");
ask($trainer, train('small', $endless));
like($trainer->{err}, qr/57014: canceling statement due to statement timeout/, 'statement_timeout ends a training');
ask($trainer, 'RESET statement_timeout');
my $kept = value('SELECT epoch FROM fmoe.training');
cmp_ok($kept, '>=', 1, 'with its epochs kept');

send_to($trainer, train('small', $endless));
wait_for($watcher, "SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch > $kept)");
value("SELECT pg_catalog.pg_terminate_backend(pid) FROM fmoe.progress");
eval { $trainer->{run}->finish };
wait_for($watcher, 'SELECT NOT EXISTS (SELECT FROM fmoe.progress)', 'a terminated training leaves no progress');
is(value("SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"), '0', 'and no lock');
$trainer = begin_session();

# ---------------------------------------------------------------- what cannot be continued

ask($trainer, train('small', $six));
like($trainer->{err}, qr/discarded\n.*started with other options/, 'other options start again');
is(checksum('small'), $uninterrupted, 'from the beginning');

foreach my $damage (
	[ 'a flipped byte' => 'UPDATE fmoe.checkpoint SET data = set_byte(data, 4000, get_byte(data, 4000) # 1) WHERE block = 1' ],
	[ 'a missing part' => 'DELETE FROM fmoe.checkpoint WHERE block = 0' ],
	[ 'a part too long' => "UPDATE fmoe.checkpoint SET data = data || '\\x00' WHERE block = 2" ],
	[ 'a part too many' => "INSERT INTO fmoe.checkpoint SELECT domain_id, 0, 7, data FROM fmoe.checkpoint WHERE block = 0" ],
	[ 'a block that is none' => "INSERT INTO fmoe.checkpoint SELECT domain_id, 99, 0, data FROM fmoe.checkpoint WHERE block = 0" ],
	[ 'a state of another length' => "UPDATE fmoe.training SET state = state || '\\x00'" ],
	[ 'an empty state' => "UPDATE fmoe.training SET state = ''" ],
	[ 'an altered state' => 'UPDATE fmoe.training SET state = set_byte(state, 100, get_byte(state, 100) # 1)' ])
{
	my ($what, $sql) = @$damage;

	cancel($trainer, train('small', $six), 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 1)');
	value($sql);
	ask($trainer, train('small', $six));
	like($trainer->{err}, qr/discarded\n.*is damaged/, "$what is found");
	is(checksum('small'), $uninterrupted, "$what: the training starts again");
}

cancel($trainer, train('small', $six), 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 1)');
value("UPDATE small SET i = 149 - i WHERE u = 7 AND i < 150");
ask($trainer, train('small', $six));
like($trainer->{err}, qr/discarded\n.*interactions, or what is known of the items, have changed/, 'other interactions start again');
isnt(checksum('small'), $uninterrupted, 'and give other weights');
value("UPDATE small SET i = 149 - i WHERE u = 7 AND i < 150");

# what a model reads of the item table is part of what it was trained on
my $texts = '{"model": "auto", "width": 16, "layers": 1, "epochs": 40, "patience": 40, "deploy": false}';
value("CREATE TABLE goods AS SELECT DISTINCT i AS id, 'number ' || i AS title FROM small");
value("SELECT fmoe_alter_domain('small', items => 'goods', item_key => 'id', text_columns => '{title}')");
cancel($trainer, train('small', $texts), 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 1)');
cancel($trainer, train('small', $texts), 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 2)');
like($trainer->{err}, qr/continuing the training/, 'a training that reads texts is continued');
value("UPDATE goods SET title = title || ' or more' WHERE id = 3");
ask($trainer, train('small', $texts));
like($trainer->{err}, qr/discarded\n.*known of the items, have changed/, 'with another text it starts again');
value("SELECT fmoe_alter_domain('small', items => '0')");

# ---------------------------------------------------------------- two at once

my $rival = begin_session();
my $pid = pid_of($trainer);
send_to($trainer, train('small', $endless));
wait_for($watcher, $running =~ s/PID/$pid/r);
ask($rival, train('small', $six));
like($rival->{err}, qr/55P03: domain "small" is being trained by process $pid\n/, 'a second CALL on the domain is refused');
like($rival->{err}, qr/HINT/, 'with a hint');
ask($rival, 'BEGIN; ' . train('small', $six) . '; ROLLBACK');
like($rival->{err}, qr/55P03/, 'in a transaction block too');
ask($rival, train('large', '{"model": "popularity", "deploy": false}'));
unlike($rival->{err}, qr/ERROR/, 'a CALL on another domain works');
ask($rival, "SELECT fmoe_refresh('small')");
like($rival->{err}, qr/55P03: domain "small" is being trained by process $pid\n/, 'nor is it refreshed meanwhile');

# ---------------------------------------------------------------- progress and snapshots

wait_for($watcher, 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 2)');
is(value("SELECT domain, pid = $pid, phase, epoch >= 1, epochs, batch <= batches, loss > 0, metric BETWEEN 0 AND 1, eta > '0'"
		  . ' FROM fmoe.progress'),
	'small|t|training|t|10000|t|t|t|t', 'progress shows the epoch');
value('CREATE ROLE stranger');
is(value('SET ROLE stranger; SELECT pg_catalog.count(*) FROM fmoe._progress(); RESET ROLE'), '0', 'but not to a stranger');
is(value("SELECT epochs, loss > 0, metric BETWEEN 0 AND 1, seconds > 0 FROM fmoe.training"),
	'10000|t|t|t', 'and so does the checkpoint');

my $horizon = value('SELECT pg_catalog.pg_current_xact_id()');
my ($samples, $none, $stale) = (0, 0, 0);
my $begun = value('SELECT epoch FROM fmoe.training');
wait_for($watcher, "SELECT epoch > $begun + 1 FROM fmoe.training");
foreach (1 .. 100)
{
	my $xmin = value("SELECT backend_xmin FROM pg_catalog.pg_stat_activity WHERE pid = $pid");

	$samples++;
	$none++ if $xmin eq '';
	$stale++ if $xmin ne '' && $xmin < $horizon;
	usleep(3_000);
}
cmp_ok($none, '>', $samples / 2, 'while it computes a training holds no snapshot');
is($stale, 0, 'and never one from before the epoch: vacuum is not held back');

# ---------------------------------------------------------------- the domain changes meanwhile

ask($rival, "SELECT fmoe_alter_domain('small', new_name => 'tiny')");
$begun = value('SELECT epoch FROM fmoe.training');
wait_for($watcher, "SELECT epoch > $begun + 1 FROM fmoe.training", 'a renamed domain goes on being trained');
ask($rival, "SELECT fmoe_alter_domain('tiny', new_name => 'small')");
ask($rival, "SELECT fmoe_alter_domain('small', time_column => 'later')");
is($rival->{err}, '', 'a domain can be altered while it is being trained');
answer($trainer);
like($trainer->{err}, qr/55000: domain "small" was dropped or altered while it was being trained/, 'an altered one is not');
ask($rival, "SELECT fmoe_alter_domain('small', time_column => 't')");
value('DELETE FROM fmoe.training');

value(<<'SQL');
CREATE TABLE doomed AS TABLE small;
SELECT fmoe_create_domain('doomed', 'doomed', 'u', 'i', 't');
SQL
send_to($trainer, train('doomed', $endless));
wait_for($watcher, 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 1)');
ask($rival, "SELECT fmoe_drop_domain('doomed')");
answer($trainer);
like($trainer->{err}, qr/55000: domain "doomed" was dropped or altered/, 'a dropped one is not either');

value("SELECT fmoe_create_domain('doomed', 'doomed', 'u', 'i', 't')");
send_to($trainer, train('doomed', $six =~ s/"epochs": 6/"epochs": 3/r));
wait_for($watcher, 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 1)');
ask($rival, 'DROP TABLE doomed');
answer($trainer);
like($trainer->{err}, qr/ERROR:  \w{5}: .*doomed/, 'a domain whose table is gone is not stored');
is(value("SELECT count(*) FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'doomed'"), '0',
	'it has no version');
value('DELETE FROM fmoe.training');

# ---------------------------------------------------------------- parallel workers

sub with_workers
{
	my ($options, $workers) = @_;
	return $options =~ s/\{/{"workers": $workers, /r;
}

foreach my $workers (0 .. 3)
{
	ask($trainer, train('small', with_workers($six, $workers)));
	is(checksum('small'), $uninterrupted, "the same weights with $workers workers");
}
ask($trainer, 'BEGIN; ' . train('small', with_workers($six, 1)) . '; COMMIT');
is(checksum('small'), $uninterrupted, 'and with a worker inside a transaction');
ask($trainer, 'SET max_parallel_workers = 0; ' . train('small', with_workers($six, 2)) . '; RESET max_parallel_workers');
is(checksum('small'), $uninterrupted, 'and when there is no worker to be had');

$pid = pid_of($trainer);
my $helpers = "FROM pg_catalog.pg_stat_activity WHERE backend_type = 'parallel worker' AND leader_pid = $pid";
my $helped = "SELECT pg_catalog.count(*) = 2 $helpers";

my @milliseconds = sort { $a <=> $b } map { cancel($trainer, train('large', with_workers($long, 2)), $helped) } 1 .. 3;
cmp_ok($milliseconds[1], '<', $cancel_limit_ms, "training with workers: cancel answers within $cancel_limit_ms ms");
wait_for($watcher, "SELECT pg_catalog.count(*) = 0 FROM pg_catalog.pg_stat_activity WHERE backend_type = 'parallel worker'", 'and no worker is left');

# long epochs, in which everybody has let go of the snapshot after the start
send_to($trainer, train('large', with_workers($long, 2)));
wait_for($watcher, "$running AND batch > 5" =~ s/PID/$pid/r);
is(value("SELECT pg_catalog.count(*), pg_catalog.count(backend_xmin) $helpers"), '2|0', 'workers hold no snapshot');
is(value("SELECT pg_catalog.count(backend_xmin) FROM pg_catalog.pg_stat_activity WHERE pid = $pid"), '0', 'nor does the leader');
value("SELECT pg_catalog.pg_terminate_backend(pid) $helpers LIMIT 1");
answer($trainer);
like($trainer->{err}, qr/57P01: terminating background worker/, 'the end of a worker ends the training');
wait_for($watcher, "SELECT pg_catalog.count(*) = 0 $helpers", 'and the other worker');

ask($trainer, "SET statement_timeout = '1s'");
ask($trainer, train('large', with_workers($long, 2)));
like($trainer->{err}, qr/57014: canceling statement due to statement timeout/, 'statement_timeout ends a training with workers');
ask($trainer, 'RESET statement_timeout');
wait_for($watcher, "SELECT pg_catalog.count(*) = 0 $helpers", 'and its workers');
is(value("SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"), '0', 'no lock is left');
ask($trainer, train('small', with_workers($six, 2)));
is(checksum('small'), $uninterrupted, 'the next CALL works');

# kill -9 of a worker restarts the server; the training goes on from its last epoch
value('DELETE FROM fmoe.training');
send_to($trainer, train('small', with_workers($endless =~ s/10000/9999/gr, 2)));
wait_for($watcher, 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 2)');
{
	my $helper = '';
	$helper = value("SELECT pid $helpers LIMIT 1") until $helper ne '';
	kill 'KILL', $helper;
}
eval { $_->{run}->finish } foreach $trainer, $rival, $watcher;
wait_server($node);
($watcher, $rival, $trainer) = (begin_session(), begin_session(), begin_session());
$kept = value('SELECT epoch FROM fmoe.training');
send_to($trainer, train('small', with_workers($endless =~ s/10000/9999/gr, 1)));
wait_for($watcher, "SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch > $kept)");
value('SELECT pg_catalog.pg_cancel_backend(pid) FROM fmoe.progress');
answer($trainer);
like($trainer->{err}, qr/cut off after epoch $kept\b/, 'after kill -9 of a worker the training continues');
value('DELETE FROM fmoe.training');

# ---------------------------------------------------------------- where a CALL may stand

is(ask($trainer, 'SELECT 1'), '1', 'the session goes on');
value(<<'SQL');
CREATE PROCEDURE nightly(INOUT epochs_seen integer) LANGUAGE plpgsql AS $$
BEGIN
	CALL fmoe_train('small', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "deploy": false}');
	COMMIT;
	CALL fmoe_train('small', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 3, "deploy": false}');
	SELECT pg_catalog.sum((metrics -> 'epochs')::integer) INTO epochs_seen
		FROM (SELECT metrics FROM fmoe.versions WHERE domain = 'small' ORDER BY version DESC LIMIT 2) v;
END $$
SQL
is(ask($trainer, 'CALL nightly(NULL)'), '5', 'a procedure that commits may train');
unlike($trainer->{err}, qr/inside a transaction/, 'with its epochs committed one by one');
ask($trainer, q(SET default_transaction_isolation = 'repeatable read'));
ask($trainer, train('small', $six));
unlike($trainer->{err}, qr/ERROR/, 'repeatable read works');
is(checksum('small'), $uninterrupted, 'with the same weights');
ask($trainer, 'RESET default_transaction_isolation');

# ---------------------------------------------------------------- deployment obeys transactions

my $live = "SELECT version FROM fmoe.versions WHERE domain = 'small' AND live";
ask($trainer, "SELECT fmoe_deploy('small', 1)");
is(value($live), '1', 'a deployed version is live');
ask($trainer, "BEGIN; SELECT fmoe_deploy('small', 2)");
is(value($live), '1', 'a deploy that is not committed is not');
ask($trainer, 'ROLLBACK');
is(value($live), '1', 'nor one that is rolled back');
(my $same_deployed = $six) =~ s/, "deploy": false//;
ask($trainer, 'BEGIN; ' . train('small', $same_deployed));
isnt(ask($trainer, $live), '1', 'a training makes its version live in its transaction');
ask($trainer, 'ROLLBACK');
is(value($live), '1', 'and takes it back with it');

leave($_) foreach $rival, $trainer, $watcher;
$node->stop;
done_testing();
