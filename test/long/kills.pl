# kill -9 of a session or a parallel worker, or an immediate shutdown, at a moment
# chosen at random in each kind of call: 100 times with FMOE_LONG_MINUTES, else 12.
# After recovery nothing is half done, every version loads, what was live answers the
# same, and the call can be made again.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{FMOE_LONG_MINUTES} ? 100 : 12;
long_seed();

my $node = PostgreSQL::Test::Cluster->new('kills');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
restart_after_crash = on
log_statement = none
max_parallel_workers = 4
CONF
$node->start;

my ($host, $port) = ($node->host, $node->port);
my $model = '"model": "sasrec", "width": 16, "layers": 1, "max_length": 20, "epochs": 40, "patience": 40, "checkpoint_every": 0, "deploy": false';
my $loop = <<"SQL";
CREATE EXTENSION fmoe;
CREATE EXTENSION postgres_fdw;
CREATE TABLE events AS SELECT u::bigint u, ((u * 7 + n * n) % 300)::bigint i, n::bigint t
	FROM generate_series(1, 600) u, generate_series(1, 12) n;
CREATE INDEX ON events (u);
CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '%s');
CREATE USER MAPPING FOR CURRENT_USER SERVER other;
SELECT fmoe_add_peer('other', 'other');
SELECT fmoe_create_domain(d, 'events', 'u', 'i', 't') FROM unnest('{stable,victim,lender,%s}'::text[]) d;
SELECT fmoe_alter_domain('stable', sharing => 'full');
CALL fmoe_train('stable', '{"model": "sasrec", "width": 16, "layers": 1, "max_length": 20, "epochs": 2}');
CALL fmoe_train('lender', '{"model": "sasrec", "width": 16, "layers": 1, "max_length": 20, "epochs": 1}');
CREATE TABLE file AS SELECT fmoe_export('stable', 1) AS expert;
SQL

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', sprintf($loop, 'postgres', 'there'));
$node->safe_psql('postgres', sprintf($loop, 'other', 'here'));
$node->safe_psql('other', "SELECT fmoe_lend('lender', 1)");

# one call again and again, until it is killed
sub again
{
	my ($sql) = @_;

	return "DO \$\$ BEGIN FOR k IN 1 .. 10000 LOOP $sql; COMMIT; END LOOP; END \$\$";
}

my %calls = (
	train => "CALL fmoe_train('victim', '{$model, \"workers\": 0}')",
	train_with_workers => "CALL fmoe_train('victim', '{$model, \"workers\": 2}')",
	rounds => "CALL fmoe_train('victim', '{" . ($model =~ s/sasrec/fmoe/r) . ", \"workers\": 0, \"rounds\": 20, \"local_epochs\": 2}')",
	deploy => again(q{PERFORM fmoe_deploy('victim', 1 + k % 2)}),
	rollback => again(q{PERFORM fmoe_deploy('victim', 1), fmoe_deploy('victim', 2), fmoe_rollback('victim')}),
	sync => again(q{CALL fmoe_sync(); PERFORM fmoe_forget(party) FROM (SELECT DISTINCT party FROM fmoe.experts WHERE NOT own) p}),
	lend => again(q{PERFORM fmoe_lend('lender', 1); IF k % 2 = 0 THEN PERFORM fmoe_withdraw('lender'); END IF}),
	drop => again(q{PERFORM fmoe_drop_domain('dropped', true), fmoe_create_domain('dropped', 'events', 'u', 'i', 't');
		CALL fmoe_train('dropped', '{"model": "markov"}'); PERFORM fmoe_drop_domain('dropped')}),
	drop_version => again(q{CALL fmoe_train('victim', '{"model": "markov", "deploy": false}');
		PERFORM fmoe_drop_version('victim', (SELECT max(version) FROM fmoe.versions WHERE domain = 'victim'))}),
	import => again(q{PERFORM fmoe_import('victim', 'import ' || k || clock_timestamp(), expert) FROM file}),
	load => again(q{PERFORM fmoe_prewarm('stable', 1); PERFORM fmoe_recommend_all('stable', 5)}),
);

my $answer = "SELECT pg_catalog.md5(pg_catalog.string_agg(r::text, '|')) FROM generate_series(1, 30) u, fmoe_recommend(u::bigint, 5, 'stable') r";
my $truth = $node->safe_psql('postgres', $answer);

# What must hold after any crash; empty: it does.
sub problems
{
	my @problems;
	my $left = $node->safe_psql('postgres', orphans());

	push @problems, "$left rows that belong to nothing" if $left ne '0';
	my ($result, undef, $err) = $node->psql('postgres', 'SELECT fmoe_prewarm(domain, version) FROM fmoe.versions WHERE complete');
	push @problems, "not all versions load: $err" if $result != 0;
	push @problems, 'another answer' if $node->safe_psql('postgres', $answer) ne $truth;
	push @problems, 'a training is shown' if $node->safe_psql('postgres', 'SELECT count(*) FROM fmoe.progress') ne '0';
	push @problems, 'two versions are live' if $node->safe_psql('postgres',
		'SELECT count(*) FROM (SELECT FROM fmoe.versions WHERE live GROUP BY domain HAVING count(*) > 1) d') ne '0';
	push @problems, 'a lent expert is not whole' if $node->safe_psql('postgres', <<'SQL') ne '0';
SELECT count(*) FROM fmoe.lent l WHERE l.bytes <> (SELECT sum(octet_length(p.data)) FROM fmoe.lent_part p WHERE p.lent_id = l.lent_id)
SQL
	return @problems;
}

my $begin = <<'SQL';
SELECT fmoe_drop_domain('victim', true), fmoe_create_domain('victim', 'events', 'u', 'i', 't');
CALL fmoe_train('victim', '{"model": "markov"}');
CALL fmoe_train('victim', '{"model": "markov"}');
SQL

# a call that ends by itself with an error would be killed in vain
foreach my $kind (sort keys %calls)
{
	my ($result, undef, $err) = $node->psql('postgres', "SET client_min_messages = error; SET statement_timeout = '2s'; $begin; $calls{$kind}");

	ok($err eq '' || $err =~ /statement timeout/, "$kind goes on and on") or diag($err);
}

my %killed;
my @kinds = sort keys %calls;

foreach my $n (1 .. $kills)
{
	my $kind = $kinds[($n - 1) % @kinds];
	my $how = $kind eq 'train_with_workers' ? ('worker', 'session', 'immediate')[int rand 3] : ('session', 'session', 'immediate')[int rand 3];
	my $name = "$n: $kind, $how";

	$node->safe_psql('postgres', "SET client_min_messages = error; $begin");
	my $victim = session($node);
	my $pid = ask($victim, 'SELECT pg_catalog.pg_backend_pid()');

	send_to($victim, "SET client_min_messages = error; $calls{$kind}");
	usleep(int rand 600_000);
	if ($how eq 'worker')
	{
		my $worker = '';

		for (my $tries = 0; $worker eq '' && $tries < 200; $tries++)
		{
			$worker = $node->safe_psql('postgres', "SELECT pid FROM pg_catalog.pg_stat_activity WHERE leader_pid = $pid AND pid <> $pid LIMIT 1");
		}
		$worker = $pid if $worker eq '';
		kill 'KILL', $worker;
	}
	elsif ($how eq 'session')
	{
		kill 'KILL', $pid;
	}
	else
	{
		$node->stop('immediate');
	}
	eval { $victim->{run}->finish };
	$node->start if $how eq 'immediate';
	wait_server($node);
	$killed{$kind}++;
	my @problems = problems();
	if ($kind =~ /train|rounds/)
	{
		my ($result, undef, $err) = $node->psql('postgres', $calls{$kind} =~ s/"epochs": 40, "patience": 40/"epochs": 2/r);

		push @problems, "no training: $err" if $result != 0;
	}
	is(join(', ', @problems), '', $name);
}
diag(join ', ', map { "$_: $killed{$_}" } sort keys %killed);
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/, 'no process ended but by the kills');
done_testing;
