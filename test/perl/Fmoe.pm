# What the files of test/t share: sessions that stay open, and waiting for
# something to come true.

package Fmoe;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw($patience_s session send_to answer ask leave wait_until wait_server small_shared_memory small_disk
	long_minutes long_seed orphans);

# Nothing takes longer, on a busy machine either.
our $patience_s = 120;

# session NODE, DATABASE, OPTIONS OF psql...
sub session
{
	my ($node, $database, @options) = @_;
	my %session = (in => '', out => '', err => '', timer => IPC::Run::timeout($patience_s));

	$session{run} = IPC::Run::start([ 'psql', '-XAtq', @options, '-d', $node->connstr($database // 'postgres'), '-f', '-' ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err}, $session{timer});
	return \%session;
}

# Begins statements, and does not wait for them.
sub send_to
{
	my ($session, $sql) = @_;

	($session->{out}, $session->{err}) = ('', '');
	$session->{timer}->start($patience_s);
	$session->{in} .= "$sql;\n\\echo end-of-answer\n\\warn end-of-answer\n";
	$session->{run}->pump_nb;
	return;
}

# What they printed, once they are through; what they said is in {err}.
sub answer
{
	my ($session) = @_;

	$session->{run}->pump
	  until $session->{out} =~ /^end-of-answer\n/m && $session->{err} =~ /^end-of-answer\n/m;
	s/^end-of-answer\n//m foreach $session->{out}, $session->{err};
	chomp $session->{out};
	return $session->{out};
}

sub ask
{
	my ($session, $sql) = @_;

	send_to($session, $sql);
	return answer($session);
}

sub leave
{
	my ($session) = @_;

	$session->{in} .= "\\q\n";
	$session->{run}->finish;
	return;
}

# wait_until NAME, EXPECTED, FUNCTION: a test that passes when the function gives what is
# expected, and fails with its name and what it gave last when it does not.
sub wait_until
{
	my ($name, $expected, $function) = @_;
	my $end = time + $patience_s;
	my $got = '';
	local $Test::Builder::Level = $Test::Builder::Level + 2;

	while (time < $end)
	{
		$got = $function->();
		return pass($name) if $got eq $expected;
		usleep(10_000);
	}
	return is($got, $expected, $name);
}

# Waits for a server that has crashed to answer again.  By a program that reads no input: psql may be gone
# before it has read a query, and writing to it then ends the test.
sub wait_server
{
	my ($node) = @_;

	return wait_until('the server comes back', 0, sub { system('pg_isready', '-q', '-d', $node->connstr('postgres')) });
}

# Runs the program again, with a file system of so many megabytes in place of a directory.
# Skips all of its tests where the kernel lets only root do that.  To be called when the
# program is compiled.
sub on_small_file_system
{
	my ($directory, $megabytes) = @_;
	my $mount = 'mount -t tmpfs -o "size=$1m,mode=1777" tmpfs "$2" && shift 2 && exec unshare --user --map-user=1000 "$@"';
	my @unshare = ('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', $mount, 'sh', $megabytes, $directory);

	return if $ENV{FMOE_SMALL} && $ENV{FMOE_SMALL} eq $directory;
	plan(skip_all => 'name spaces of users are not to be had here') if system("@unshare[0 .. 3] true 2>/dev/null") != 0;
	local $ENV{FMOE_SMALL} = $directory;
	exec @unshare, $^X, (map { "-I$_" } @INC), $0;
	die 'no unshare';
}

sub small_shared_memory
{
	my ($megabytes) = @_;

	return on_small_file_system('/dev/shm', $megabytes);
}

# In place of the directory that holds the clusters of a test, which is empty then.
sub small_disk
{
	my ($megabytes) = @_;
	my $directory = "$ENV{TESTDIR}/tmp_check";

	mkdir $directory;
	return on_small_file_system($directory, $megabytes);
}

# ---------------------------------------------------------------- long tests

# How long a test may go on: a short form without FMOE_LONG_MINUTES.
sub long_minutes
{
	my ($short) = @_;

	return $ENV{FMOE_LONG_MINUTES} // $short;
}

# Seeds perl's random numbers by FMOE_SEED, or by what it says.
sub long_seed
{
	my $seed = $ENV{FMOE_SEED} || time % 1_000_000;

	diag("FMOE_SEED=$seed");
	return srand $seed;
}

# A query: rows of the extension's tables that belong to nothing.
sub orphans
{
	return <<'SQL';
SELECT (SELECT count(*) FROM fmoe.version v WHERE NOT EXISTS (SELECT FROM fmoe.domain d WHERE d.domain_id = v.domain_id))
	+ (SELECT count(*) FROM fmoe.tensor t WHERE NOT EXISTS (SELECT FROM fmoe.version v WHERE v.version_id = t.version_id))
	+ (SELECT count(*) FROM fmoe.deployment p WHERE NOT EXISTS
		(SELECT FROM fmoe.version v WHERE v.version_id = p.version_id AND v.domain_id = p.domain_id))
	+ (SELECT count(*) FROM fmoe.training t WHERE NOT EXISTS (SELECT FROM fmoe.domain d WHERE d.domain_id = t.domain_id))
	+ (SELECT count(*) FROM fmoe.checkpoint c WHERE NOT EXISTS (SELECT FROM fmoe.training t WHERE t.domain_id = c.domain_id))
	+ (SELECT count(*) FROM fmoe.lent_part p WHERE NOT EXISTS (SELECT FROM fmoe.lent l WHERE l.lent_id = p.lent_id))
	+ (SELECT count(*) FROM fmoe.lent l WHERE NOT EXISTS (SELECT FROM fmoe.lent_part p WHERE p.lent_id = l.lent_id))
	+ (SELECT count(*) FROM fmoe.lent l WHERE l.party = fmoe._party()
		AND NOT EXISTS (SELECT FROM fmoe.domain d WHERE d.name = l.domain))
SQL
}

1;
