# Calls that meet: an open transaction of one role does not keep another from its own
# domains and tables; of two calls on one domain the second sees what the first did,
# or says in its own words that it cannot go on; extension and database may be dropped
# while a training runs.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('races');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
autovacuum = off
CONF
$node->start;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE EXTENSION postgres_fdw;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC;
CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE ROLE anna LOGIN;
CREATE ROLE boris LOGIN;
GRANT USAGE ON FOREIGN SERVER nowhere TO anna, boris;
CREATE SCHEMA anna AUTHORIZATION anna;
CREATE SCHEMA boris AUTHORIZATION boris;
CREATE TABLE events AS SELECT u::bigint u, ((u * 7 + n * n) % 30)::bigint i, n::bigint t
	FROM generate_series(1, 40) u, generate_series(1, 8) n;
-- a read waits here while somebody holds the gate
CREATE FUNCTION at_gate() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('test.gate', true) = 'on' THEN
		PERFORM pg_advisory_xact_lock_shared(42);
		PERFORM set_config('test.gate', 'off', false);
	END IF;
	RETURN true;
END $$;
CREATE VIEW gated AS SELECT u, i, t FROM events WHERE at_gate();
GRANT SELECT ON events, gated TO PUBLIC;
SQL

my $small = '{"model": "sasrec", "width": 8, "layers": 1, "max_length": 8, "epochs": 2, "workers": 0, "holdout": "test", "deploy": %s}';
my $counts = '{"model": "markov", "deploy": %s}';

# A domain with versions 1 and 2 of counts, 2 live, and 3, which can be lent.
sub domain_of
{
	my ($name, $table) = @_;

	return <<"SQL";
SELECT fmoe_create_domain('$name', '$table', 'u', 'i', 't');
CALL fmoe_train('$name', '@{[$counts =~ s/%s/true/r]}');
CALL fmoe_train('$name', '@{[$counts =~ s/%s/true/r]}');
CALL fmoe_train('$name', '@{[$small =~ s/%s/false/r]}');
SELECT fmoe_deploy('$name', 1), fmoe_deploy('$name', 2);
SQL
}

# ---------------------------------------------------------------- one role's transaction and another's

foreach my $role ('anna', 'boris')
{
	$node->safe_psql('postgres', <<"SQL" . domain_of($role, "$role.events") . "SELECT fmoe_alter_domain('$role', sharing => 'full');", extra_params => [ '-U', $role ]);
CREATE TABLE $role.events AS SELECT * FROM events;
CREATE TABLE $role.items AS SELECT DISTINCT i, 'title ' || i AS title FROM events;
SQL
}
$node->safe_psql('postgres', "CREATE TABLE file AS SELECT fmoe_export('anna', 3) AS expert; GRANT SELECT ON file TO PUBLIC");

# Each can be done again and again inside transactions that roll back.
my %of_a_role = (
	create_domain => q{SELECT fmoe_create_domain('%1$s_2', '%1$s.events', 'u', 'i', 't')},
	alter_domain => q{SELECT fmoe_alter_domain('%1$s', new_name => '%1$s_3', items => '%1$s.items', item_key => 'i')},
	drop_domain => q{SELECT fmoe_drop_domain('%1$s')},
	train => qq{CALL fmoe_train('%1\$s', '@{[$small =~ s/%s/true/r]}')},
	deploy => q{SELECT fmoe_deploy('%1$s', 1)},
	rollback => q{SELECT fmoe_rollback('%1$s')},
	drop_version => q{SELECT fmoe_drop_version('%1$s', 1)},
	import => q{SELECT fmoe_import('%1$s', 'imported', expert) FROM file},
	lend => q{SELECT fmoe_lend('%1$s', 3)},
	withdraw => q{SELECT fmoe_withdraw('%1$s')},
	add_peer => q{SELECT fmoe_add_peer('%1$s', 'nowhere')},
	drop_peer => q{SELECT fmoe_add_peer('%1$s', 'nowhere'), fmoe_drop_peer('%1$s')},
	create_functions => q{SET LOCAL search_path = %1$s, public; SELECT fmoe_create_functions('%1$s')},
	recommend => q{SELECT * FROM fmoe_recommend(1::bigint, 3, '%1$s')},
	recommend_all => q{SELECT count(*) FROM fmoe_recommend_all('%1$s', 3)},
	evaluate => q{SELECT count(*) FROM fmoe_evaluate('%1$s', '{"version": 3}')},
	views => q{SELECT count(*) FROM fmoe.domains, fmoe.versions, fmoe.peers, fmoe.experts, fmoe.cache, fmoe.progress},
	tables => q{CREATE TABLE %1$s.more (LIKE %1$s.events); ALTER TABLE %1$s.items ADD COLUMN more integer; DROP TABLE %1$s.more},
);

sub done_by
{
	my ($call, $role) = @_;

	return $of_a_role{$call} =~ s/%1\$s/$role/gr;
}

my $anna = session($node, 'postgres', '-U', 'anna', '-v', 'ON_ERROR_STOP=0');
my $boris = session($node, 'postgres', '-U', 'boris');
ask($_, q(SET client_min_messages = error; SET lock_timeout = '5s'; SET fmoe.training_workers = 0)) foreach $anna, $boris;

foreach my $open (sort keys %of_a_role)
{
	my @problems;

	ask($anna, 'BEGIN; ' . done_by($open, 'anna'));
	push @problems, "$open: $anna->{err}" if $anna->{err} ne '';
	foreach my $meanwhile (sort keys %of_a_role)
	{
		ask($boris, 'BEGIN; ' . done_by($meanwhile, 'boris'));
		push @problems, "$meanwhile: $boris->{err}" if $boris->{err} ne '';
		ask($boris, 'ROLLBACK');
	}
	ask($boris, 'CREATE TABLE boris.unrelated (a integer); DROP TABLE boris.unrelated');
	push @problems, "tables: $boris->{err}" if $boris->{err} ne '';
	is(join(' ', @problems), '', "while one role's transaction is open behind $open another does all it may");
	ask($anna, 'ROLLBACK');
}
leave($_) foreach $anna, $boris;

# ---------------------------------------------------------------- two calls on one domain

my $orphans = orphans();
my %on_a_domain = (
	deploy => q{SELECT fmoe_deploy('d', 1)},
	deploy_lent => q{SELECT fmoe_deploy('d', 3)},
	rollback => q{SELECT fmoe_rollback('d')},
	drop_version => q{SELECT fmoe_drop_version('d', 1)},
	drop_lent => q{SELECT fmoe_drop_version('d', 3)},
	drop_domain => q{SELECT fmoe_drop_domain('d')},
	alter_domain => q{SELECT fmoe_alter_domain('d', time_unit => 'seconds')},
	rename_domain => q{SELECT fmoe_alter_domain('d', new_name => 'e')},
	share_nothing => q{SELECT fmoe_alter_domain('d', sharing => 'none')},
	train => qq{CALL fmoe_train('d', '@{[$small =~ s/%s/true/r]}')},
	lend => q{SELECT fmoe_lend('d', 3)},
	withdraw => q{SELECT fmoe_withdraw('d')},
	import => q{SELECT fmoe_import('d', 'imported', expert) FROM file},
	recommend => q{SELECT count(*) FROM fmoe_recommend(1::bigint, 3, 'd')},
	recommend_all => q{SELECT count(*) FROM fmoe_recommend_all('d', 3)},
	evaluate => q{SELECT count(*) FROM fmoe_evaluate('d', '{"version": 3}')},
);

# what a call may say that came too late: no such object, not in the state for it, in use, there already,
# not to be shared, in training
my $in_words = qr/ERROR:  (42704|55000|55006|42710|42501|55P03):/;

my $first = session($node, 'postgres', '-v', 'VERBOSITY=verbose');
my $second = session($node, 'postgres', '-v', 'VERBOSITY=verbose');
my $watcher = session($node);
ask($_, 'SET client_min_messages = error; SET fmoe.training_workers = 0') foreach $first, $second, $watcher;
my $second_pid = ask($second, 'SELECT pg_catalog.pg_backend_pid()');

# Until the second session waits for a lock, or is through with what was sent to it; which of the two.
sub second_waits
{
	while ($second->{out} !~ /^end-of-answer/m)
	{
		return 1 if ask($watcher, "SELECT wait_event_type = 'Lock' FROM pg_catalog.pg_stat_activity WHERE pid = $second_pid") eq 't';
		$second->{run}->pump_nb;
	}
	return 0;
}

sub begin_again
{
	ask($watcher, "SELECT fmoe_drop_domain('d', true), fmoe_drop_domain('e', true);" . domain_of('d', 'gated')
		  . "SELECT fmoe_alter_domain('d', sharing => 'full'), fmoe_lend('d', 3)");
	return;
}

# Whether what the second session said is an answer, or an error in words.
sub problem
{
	my ($what) = @_;

	return () if $second->{err} eq '' || $second->{err} =~ $in_words;
	return "$what: $second->{err}";
}

# The first call's transaction is open when the second begins.
foreach my $one (sort keys %on_a_domain)
{
	my @problems;
	my $waited = 0;

	foreach my $other (sort keys %on_a_domain)
	{
		begin_again();
		ask($first, "BEGIN; $on_a_domain{$one}");
		push @problems, "alone: $first->{err}" if $first->{err} ne '';
		send_to($second, $on_a_domain{$other});
		$waited += second_waits();
		ask($first, 'COMMIT');
		answer($second);
		push @problems, problem($other);
		my $left = ask($watcher, $orphans);
		push @problems, "$other: $left rows that belong to nothing" if $left ne '0';
	}
	is(join("\n", @problems), '', "each call that begins before $one is committed ends in words ($waited waited)");
}

# The second call reads the table when the first one is committed.
foreach my $reader ('train', 'recommend', 'recommend_all', 'evaluate')
{
	my @problems;
	my $waited = 0;

	foreach my $one (sort keys %on_a_domain)
	{
		begin_again();
		ask($watcher, 'BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(42)');
		ask($second, "SET test.gate = 'on'");
		send_to($second, $on_a_domain{$reader});
		$waited += second_waits();
		ask($first, $on_a_domain{$one});
		push @problems, "$one: $first->{err}" if $first->{err} ne '' && $first->{err} !~ $in_words;
		ask($watcher, 'COMMIT');
		answer($second);
		push @problems, problem($one);
		my $left = ask($watcher, $orphans);
		push @problems, "$one: $left rows that belong to nothing" if $left ne '0';
	}
	is(join("\n", @problems), '', "$reader ends in words whatever happens while it reads");
	is($waited, scalar keys %on_a_domain, 'and did wait each time');
}

# in particular
begin_again();
ask($first, "BEGIN; SELECT fmoe_drop_version('d', 1)");
send_to($second, $on_a_domain{deploy});
ok(second_waits(), 'a deployment waits for a version that is being dropped');
ask($first, 'COMMIT');
answer($second);
like($second->{err}, qr/ERROR:  42704: the version was dropped while it was being deployed/, 'and says that it was');
ask($first, "BEGIN; SELECT fmoe_drop_version('d', 3)");
send_to($second, $on_a_domain{deploy_lent});
second_waits();
ask($first, 'ROLLBACK');
answer($second);
is($second->{err}, '', 'or deploys it, if it was not dropped after all');
leave($_) foreach $first, $second, $watcher;

# ---------------------------------------------------------------- dropped while a training runs

my $long = '{"model": "sasrec", "width": 16, "layers": 1, "max_length": 8, "epochs": 10000, "patience": 10000, "deploy": false, "checkpoint_every": 0, "workers": %d}';
my $prepare = <<'SQL';
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE TABLE IF NOT EXISTS events AS SELECT u::bigint u, ((u * 7 + n * n) % 30)::bigint i, n::bigint t
	FROM generate_series(1, 40) u, generate_series(1, 8) n;
SELECT fmoe_create_domain('d', 'events', 'u', 'i', 't');
SQL

sub in_training
{
	my ($database, $workers) = @_;
	my $trainer = session($node, $database, '-v', 'VERBOSITY=verbose');

	send_to($trainer, "CALL fmoe_train('d', '" . sprintf($long, $workers) . "')");
	wait_until("a training runs with $workers workers", 't',
		sub { $node->safe_psql($database, 'SELECT EXISTS (SELECT FROM fmoe.progress WHERE epoch > 1)') });
	return $trainer;
}

foreach my $workers (0, 2)
{
	$node->safe_psql('postgres', 'CREATE DATABASE one');
	$node->safe_psql('one', $prepare);
	my $trainer = in_training('one', $workers);
	$node->safe_psql('one', 'DROP EXTENSION fmoe');
	answer($trainer);
	like($trainer->{err}, qr/ERROR:  55000: the extension fmoe was dropped while domain "d" was being trained/, 'the extension may be dropped, and the training says so');
	$node->safe_psql('one', $prepare);
	is(ask($trainer, 'SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE locktype = \'advisory\''), '0', 'it leaves no lock');
	is(ask($trainer, 'SELECT pg_catalog.count(*) FROM fmoe.progress'), '0', 'and no progress');
	leave($trainer);

	# the same ids, the same table: but not what was being trained
	$trainer = in_training('one', $workers);
	$node->safe_psql('one', "DROP EXTENSION fmoe; $prepare");
	answer($trainer);
	like($trainer->{err}, qr/ERROR:  55000: the extension fmoe was dropped while domain "d" was being trained/, 'nor is a training taken for one of the extension that was made anew');
	is($node->safe_psql('one', 'SELECT (SELECT count(*) FROM fmoe.version) + (SELECT count(*) FROM fmoe.training) + (SELECT count(*) FROM fmoe.checkpoint)'),
		'0', 'it leaves nothing in it');
	leave($trainer);

	$trainer = in_training('one', $workers);
	$node->safe_psql('postgres', 'DROP DATABASE one WITH (FORCE)');
	eval { $trainer->{run}->finish };
	is($node->safe_psql('postgres', "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE datname = 'one' OR backend_type ~ 'parallel'"),
		'0', 'and the database');
}
is($node->safe_psql('postgres', 'SELECT pg_catalog.count(*) FROM fmoe.progress'), '0', 'no training is left in shared memory');
$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS one');

$node->stop;
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|XX000|TRAP/, 'nothing went wrong that the log would know of');
done_testing;
