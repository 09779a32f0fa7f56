# A primary that goes down in the middle of a training, and its standby that is promoted:
# what was live answers the same, the training goes on from its last checkpoint, and all
# that writes works.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "autovacuum = off\nlog_statement = none\n");
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE events AS SELECT u::bigint u, ((u * 7 + n * n) % 300)::bigint i, n::bigint t
	FROM generate_series(1, 2000) u, generate_series(1, 15) n;
CREATE INDEX ON events (u);
SELECT fmoe_create_domain('d', 'events', 'u', 'i', 't');
CALL fmoe_train('d', '{"model": "sasrec", "width": 16, "layers": 1, "max_length": 15, "epochs": 1}');
SELECT fmoe_deploy('d', 1);
SQL
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

my $answer = "SELECT pg_catalog.md5(pg_catalog.string_agg(r::text, '|')) FROM generate_series(1, 50) u, fmoe_recommend(u::bigint, 5, 'd') r";
my $truth = $primary->safe_psql('postgres', $answer);
my $train = q(CALL fmoe_train('d', '{"model": "sasrec", "width": 16, "layers": 1, "max_length": 15, "epochs": %d, "patience": 1000, "checkpoint_every": 0, "deploy": false, "workers": %d, "seed": 3}'));
my $minutes = long_minutes(0);

foreach my $round (1 .. 1 + ($minutes > 0))
{
	my $workers = $round - 1;
	my $trainer = session($primary);

	send_to($trainer, sprintf $train, 1000, $workers);
	wait_until('checkpoints reach the standby', 't',
		sub { $standby->safe_psql('postgres', 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 2)') });
	is($standby->safe_psql('postgres', $answer), $truth, 'the standby answers like the primary while that trains');
	my (undef, undef, $err) = $standby->psql('postgres', sprintf $train, 1, 0);
	like($err, qr/recovery|read-only/, 'and does not train');
	$primary->stop('immediate');
	eval { $trainer->{run}->finish };
	$standby->promote;
	is($standby->safe_psql('postgres', $answer), $truth, 'promoted, it answers as before');
	is($standby->safe_psql('postgres', orphans()), '0', 'nothing is half there');
	my $epoch = $standby->safe_psql('postgres', 'SELECT epoch FROM fmoe.training');
	my $resumed = session($standby);
	send_to($resumed, sprintf $train, 1000, $workers);
	wait_until('the training goes on', 't',
		sub { $standby->safe_psql('postgres', "SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch > $epoch)") });
	$standby->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM fmoe.progress');
	answer($resumed);
	like($resumed->{err}, qr/cut off after epoch $epoch\b/, 'from its last checkpoint');
	leave($resumed);
	$standby->safe_psql('postgres', (sprintf $train, 2, 0) . '; SELECT fmoe_deploy(\'d\', max(version)) FROM fmoe.versions; SELECT fmoe_rollback(\'d\')');
	is($standby->safe_psql('postgres', $answer), $truth, 'trained, deployed and rolled back');
	last if $round == 1 + ($minutes > 0);
	# once more, with workers and the roles changed
	$standby->stop;
	$standby->start;
	$standby->backup("backup $round" =~ s/ /_/r);
	$primary = $standby;
	$standby = PostgreSQL::Test::Cluster->new("standby$round");
	$standby->init_from_backup($primary, "backup_$round", has_streaming => 1);
	$standby->start;
}
$standby->stop;
unlike(slurp_file($standby->logfile), qr/terminated by signal|PANIC|TRAP/, 'nothing crashed');
done_testing;
