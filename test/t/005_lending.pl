# Three databases that share no user and no item lend one another their experts:
# by postgres_fdw and by logical replication.  What the borrower has afterwards
# and what it may read; peers that are away, cancels, crashes; dump and restore.

use strict;
use warnings;

use Fmoe;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my %node;
my %tag = (north => 'zqnorth', south => 'zqsouth', west => 'zqwest');

# ---------------------------------------------------------------- helpers

sub wait_for
{
	my ($at, $sql, $expected, $name) = @_;

	return wait_until($name, $expected, sub { $node{$at}->safe_psql('postgres', $sql) });
}

# What other sessions of a database wait for.
my $waiting = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'borrower'";

# What a database has, as one line: names, versions, and whether files are whole.
sub experts
{
	my ($at, $database) = @_;

	return $node{$at}->safe_psql($database // 'postgres', <<'SQL');
SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', l.party || '.' || l.domain, l.version,
		CASE WHEN (SELECT pg_catalog.sum(pg_catalog.octet_length(p.data)) FROM fmoe.lent_part p WHERE p.lent_id = l.lent_id) = l.bytes
			THEN 'whole' END), ', ' ORDER BY l.party COLLATE "C", l.domain COLLATE "C", l.version)
FROM fmoe.lent l
SQL
}

# CALL fmoe_sync as the role that may; fetched|skipped|removed|sent|received, and what was said.
sub sync_peer
{
	my ($at, $peer, $database) = @_;
	my ($out, $err) = ('', '');
	my $result = $node{$at}->psql($database // 'postgres', $peer ? "CALL fmoe_sync('$peer')" : 'CALL fmoe_sync(NULL)',
		stdout => \$out, stderr => \$err, extra_params => [ '-U', 'syncer' ]);

	return ($out, $err, $result);
}

# Which of the strings are in some bytes: as they are, in hexadecimal, or with every byte escaped.
sub found
{
	my ($bytes, @strings) = @_;
	my @found;

	foreach my $string (@strings)
	{
		my $hex = unpack 'H*', $string;
		my $octal = join '', map { sprintf '\\\\?\\\\%03o', ord } split //, $string;
		my $wide = join '', map { "$_\0" } split //, $string;

		push @found, "$string" if index($bytes, $string) >= 0;
		push @found, "$string in hex" if $bytes =~ /$hex/i;
		push @found, "$string in octal" if $bytes =~ /$octal/;
		push @found, "$string in 16 bits" if index($bytes, $wide) >= 0;
	}
	return join ', ', @found;
}

sub dump_of
{
	my ($at) = @_;
	my $file = $node{$at}->basedir . '/dump.sql';

	$node{$at}->command_ok([ 'pg_dump', '-d', $node{$at}->connstr('postgres'), '-f', $file ], "$at is dumped");
	return $file;
}

# ---------------------------------------------------------------- three parties

foreach my $name ('north', 'south', 'west')
{
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nfmoe.party = '$name'\n");
	$node->start;
	$node{$name} = $node;
	my $model = $name eq 'south' ? '"model": "gru4rec", "width": 12' : '"model": "sasrec", "width": 16, "max_length": 10';
	$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION fmoe;
CREATE EXTENSION postgres_fdw;
CREATE TABLE films (film text PRIMARY KEY, title text);
INSERT INTO films SELECT '$tag{$name}item' || n, '$tag{$name}title ' || n FROM pg_catalog.generate_series(0, 39) n;
CREATE TABLE plays (listener text, film text, at timestamptz);
INSERT INTO plays SELECT '$tag{$name}user' || u, '$tag{$name}item' || (u * 7 + s * 3) % 40, timestamptz '2024-01-01 UTC' + s * interval '1 hour'
	FROM pg_catalog.generate_series(1, 100) u, pg_catalog.generate_series(1, 10) s;
SELECT fmoe_create_domain('films', 'plays', 'listener', 'film', 'at', items => 'films', item_key => 'film', text_columns => '{title}');
SET client_min_messages = warning;
CALL fmoe_train('films', '{$model, "layers": 1, "epochs": 1, "deploy": false}');
SELECT fmoe_deploy('films', 1), fmoe_lend('films');
CREATE ROLE borrower LOGIN;
GRANT USAGE ON SCHEMA fmoe TO borrower;
GRANT SELECT ON fmoe.shared_expert, fmoe.shared_expert_part TO borrower;
CREATE ROLE syncer LOGIN;
SQL
}
foreach my $other ('north', 'west')
{
	my ($host, $port) = ($node{$other}->host, $node{$other}->port);

	$node{south}->safe_psql('postgres', <<"SQL");
CREATE SERVER $other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
GRANT USAGE ON FOREIGN SERVER $other TO syncer;
CREATE USER MAPPING FOR syncer SERVER $other OPTIONS (user 'borrower', password_required 'false');
CREATE FOREIGN TABLE ${other}_plays (listener text, film text) SERVER $other OPTIONS (schema_name 'public', table_name 'plays');
CREATE FOREIGN TABLE ${other}_tensors (data bytea) SERVER $other OPTIONS (schema_name 'fmoe', table_name 'tensor');
CREATE FOREIGN TABLE ${other}_lent (data bytea) SERVER $other OPTIONS (schema_name 'fmoe', table_name 'lent_part');
GRANT SELECT ON ${other}_plays, ${other}_tensors, ${other}_lent TO syncer;
SET ROLE syncer;
SELECT fmoe_add_peer('$other', '$other');
SQL
}
my ($out, $err, $result);

# ---------------------------------------------------------------- by postgres_fdw

($out, $err) = sync_peer('south', 'north');
like($out, qr/^1\|0\|0\|\d+\|\d+$/, 'an expert is fetched');
like($err, qr/NOTICE:  peer "north": 1 experts fetched, 0 skipped, 0 removed; \d+ bytes sent, \d+ received/, 'and told of');
my ($received) = $out =~ /(\d+)$/;
my $bytes = $node{south}->safe_psql('postgres', "SELECT bytes FROM fmoe.experts WHERE party = 'north'");
cmp_ok($received, '>', 2 * $bytes, 'received is what came over the wire, where bytes are two digits each');
cmp_ok($received, '<', 2 * $bytes + 3000, 'and little else');
is(experts('south'), 'north.films 1 whole, south.films 1 whole', 'it stands beside the own one');
is($node{south}->safe_psql('postgres', "SELECT pg_catalog.md5(data) FROM fmoe.lent_part WHERE party = 'north'"),
	$node{north}->safe_psql('postgres', "SELECT pg_catalog.md5(fmoe_export('films'))"), 'byte for byte what the lender exports');
($out) = sync_peer('south');
like($out, qr/^1\|1\|0\|/, 'from all peers, only what is not there is fetched');
($out, $err) = sync_peer('south');
like($out, qr/^0\|2\|0\|\d+\|\d+$/, 'and then nothing');
($received) = $out =~ /(\d+)$/;
cmp_ok($received, '<', 3000, 'at the price of looking');
$node{north}->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CALL fmoe_train('films', '{"model": "sasrec", "width": 24, "layers": 1, "heads": 2, "epochs": 1, "max_length": 10, "deploy": false}');
SELECT fmoe_lend('films', 2, '{"precision": "int8"}');
SQL
($out) = sync_peer('south', 'north');
like($out, qr/^1\|1\|0\|/, 'a new version is fetched alone');
is(experts('south'), 'north.films 1 whole, north.films 2 whole, south.films 1 whole, west.films 1 whole', 'and stands beside the old one');
$node{north}->safe_psql('postgres', "SELECT fmoe_withdraw('films', 1)");
($out) = sync_peer('south', 'north');
like($out, qr/^0\|1\|1\|/, 'what was withdrawn is forgotten');
is(experts('south'), 'north.films 2 whole, south.films 1 whole, west.films 1 whole', 'the rest stays');

# ---------------------------------------------------------------- what the borrower has, and may read

foreach my $other ('north', 'west')
{
	foreach my $table ('plays', 'tensors', 'lent')
	{
		my $name = { plays => 'plays', tensors => 'tensor', lent => 'lent_part' }->{$table};

		($result, $out, $err) = $node{south}->psql('postgres', "SELECT * FROM ${other}_$table", extra_params => [ '-U', 'syncer' ]);
		like($err, qr/permission denied for table $name/, "through its server, $other\'s table $name is closed");
	}
	foreach my $table ('public.plays', 'public.films', 'fmoe.tensor', 'fmoe.lent', 'fmoe.lent_part', 'fmoe.domain', 'fmoe.version')
	{
		($result, $out, $err) = $node{$other}->psql('postgres', "SELECT * FROM $table", extra_params => [ '-U', 'borrower' ]);
		like($err, qr/permission denied for table/, "and so is $table directly");
	}
	is($node{$other}->safe_psql('postgres', 'SELECT pg_catalog.count(*) FROM fmoe.shared_expert', extra_params => [ '-U', 'borrower' ]),
		'1', 'but what it lends is open');
}
($result, $out, $err) = $node{north}->psql('postgres', "SET fmoe.party = 'south'; SELECT DISTINCT party FROM fmoe.shared_expert; SET fmoe.party = 'south'",
	extra_params => [ '-U', 'borrower' ]);
is($out, 'north', 'a borrower does not say whose experts it reads');
like($err, qr/WARNING:  permission denied to set parameter "fmoe.party".*ERROR:  permission denied to set parameter "fmoe.party"/s,
	'neither before nor after the library is loaded');

my $dump = dump_of('south');
my $text = slurp_file($dump);
like($text, qr/CREATE FOREIGN TABLE fmoe\.peer_/, 'the foreign tables are in the dump');
foreach my $other ('north', 'west')
{
	is(found($text, $tag{$other}), '', "no user, item or title of $other is in the borrower's database");
	is(found($node{south}->safe_psql('postgres', "SELECT pg_catalog.encode(data, 'escape') FROM fmoe.lent_part WHERE party = '$other'"), $tag{$other}),
		'', 'nor in what was transferred');
	is(found(pack('H*', $node{$other}->safe_psql('postgres', "SELECT pg_catalog.encode(fmoe_export('films'), 'hex')")), $tag{$other}),
		'', 'nor in what it exports');
}
# the search finds what is there
is(found(slurp_file(dump_of('north')), map { "$tag{north}$_" } 'user', 'item', 'title'),
	join(', ', "$tag{north}user", "$tag{north}item", "$tag{north}item in hex", "$tag{north}title"), 'which the same search finds at the lender');

# ---------------------------------------------------------------- dump and restore

$node{south}->safe_psql('postgres', 'CREATE DATABASE restored');
$node{south}->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node{south}->connstr('restored'), '-f', $dump ], 'the dump is restored');
is(experts('south', 'restored'), experts('south'), 'with all experts');
($out, $err) = sync_peer('south', 'north', 'restored');
like($out, qr/^0\|1\|0\|/, 'and peers that can be synced by who could');
$node{south}->safe_psql('restored', 'DROP EXTENSION fmoe');
is($node{south}->safe_psql('restored', "SELECT pg_catalog.count(*) FROM pg_catalog.pg_class WHERE relname LIKE 'peer%'"),
	'0', 'their foreign tables go with the extension');
$node{south}->safe_psql('postgres', 'DROP DATABASE restored');

# ---------------------------------------------------------------- interrupted

# North withdraws one version and lends another, whose file cannot be read for a while.
$node{north}->safe_psql('postgres', "SELECT fmoe_withdraw('films'), fmoe_lend('films', 1)");
my $before = experts('south');
my %locker = (in => "BEGIN; LOCK TABLE fmoe.lent_part IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n", out => '', err => '');
$locker{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node{north}->connstr('postgres'), '-f', '-' ],
	'<', \$locker{in}, '>', \$locker{out}, '2>', \$locker{err}, IPC::Run::timeout($patience_s));
$locker{run}->pump until $locker{out} =~ /locked/;

sub begin_sync
{
	my %session = (out => '', err => '');

	$session{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node{south}->connstr('postgres'), '-U', 'syncer', '-c', "CALL fmoe_sync('north')" ],
		'>', \$session{out}, '2>', \$session{err}, IPC::Run::timeout($patience_s));
	return \%session;
}

my $started = time;
($result, $out, $err) = $node{south}->psql('postgres', "SET statement_timeout = '300ms'; CALL fmoe_sync()", extra_params => [ '-U', 'syncer' ]);
like($err, qr/canceling statement due to statement timeout/, 'a sync that waits for a peer can be cancelled');
cmp_ok(time - $started, '<', 10, 'soon');
is(experts('south'), $before, 'and has changed nothing');
wait_for('north', $waiting, '0', 'nothing is left running at the peer');

my $session = begin_sync();
wait_for('north', $waiting, '1', 'a sync is waiting');
$node{north}->safe_psql('postgres', "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = 'borrower'");
$session->{run}->finish;
like($session->{err}, qr/ERROR:  (FATAL:  )?terminating connection|ERROR:  server closed the connection/, 'a lost connection is an error');
is(experts('south'), $before, 'that changes nothing');

$session = begin_sync();
wait_for('north', $waiting, '1', 'again a sync is waiting');
$node{south}->stop('immediate');
$session->{run}->finish;
$node{south}->start;
is(experts('south'), $before, 'a crash in the middle leaves nothing half');

$locker{in} .= "COMMIT;\n\\q\n";
$locker{run}->finish;
($out) = sync_peer('south', 'north');
like($out, qr/^1\|0\|1\|/, 'later all of it is done');
is(experts('south'), 'north.films 1 whole, south.films 1 whole, west.films 1 whole', 'at once');

# ---------------------------------------------------------------- a peer is away

$node{west}->stop('fast');
$node{north}->safe_psql('postgres', "SELECT fmoe_lend('films', 2)");
($out, $err, $result) = sync_peer('south', 'west');
like($err, qr/ERROR:  could not connect to server "west"/, 'a peer that is away is an error when it is named');
isnt($result, 0, 'and only then');
($out, $err, $result) = sync_peer('south');
is($result, 0, 'among all');
like($err, qr/WARNING:  could not sync peer "west": could not connect to server "west"/, 'it is a warning');
like($out, qr/^1\|1\|0\|/, 'and the others are synced');
is($node{south}->safe_psql('postgres', "SELECT name, error ~ 'could not connect' FROM fmoe.peers ORDER BY name"), "north|\nwest|t", 'the view tells');
is(experts('south'), 'north.films 1 whole, north.films 2 whole, south.films 1 whole, west.films 1 whole', 'what it has lent stays');
$node{west}->start;
($out) = sync_peer('south');
like($out, qr/^0\|3\|0\|/, 'it is back');
is($node{south}->safe_psql('postgres', "SELECT pg_catalog.count(*) FROM fmoe.peers WHERE error IS NOT NULL"), '0', 'and the error is gone');

# a file of several parts
$node{west}->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CALL fmoe_train('films', '{"model": "gru4rec", "width": 600, "layers": 1, "epochs": 1, "deploy": false}');
SELECT fmoe_lend('films', 2);
SQL
($out, $err) = sync_peer('south', 'west');
like($out, qr/^1\|1\|0\|/, 'a large expert is fetched');
is($node{south}->safe_psql('postgres', "SELECT pg_catalog.string_agg(pg_catalog.md5(data), ' ' ORDER BY part) FROM fmoe.lent_part JOIN fmoe.lent l USING (lent_id)"
		. " WHERE l.party = 'west' AND version = 2"),
	$node{west}->safe_psql('postgres', "SELECT pg_catalog.md5(pg_catalog.substr(f, 1, 8388608)) || ' ' || pg_catalog.md5(pg_catalog.substr(f, 8388609))"
		. " FROM fmoe_export('films', 2) f"), 'in two parts');
$node{west}->safe_psql('postgres', "SELECT fmoe_withdraw('films', 2)");

# one that claims to be us
$node{west}->safe_psql('postgres', "ALTER DATABASE postgres SET fmoe.party = 'south'");
$node{west}->safe_psql('postgres', "SELECT fmoe_lend('films')");
($out, $err) = sync_peer('south', 'west');
like($err, qr/ERROR:  peer "west" says that it is party "south", which is this database itself/, 'nobody else is us');
$node{west}->safe_psql('postgres', "SELECT fmoe_withdraw('films')");
$node{west}->safe_psql('postgres', 'ALTER DATABASE postgres RESET fmoe.party');

# ---------------------------------------------------------------- by logical replication, both ways at once

$node{south}->safe_psql('postgres', "SELECT fmoe_drop_peer('west'), fmoe_forget('west'), fmoe_drop_peer('north'), fmoe_forget('north')");
foreach my $name ('south', 'west', 'north')
{
	$node{$name}->safe_psql('postgres', <<"SQL");
CREATE PUBLICATION experts FOR TABLE fmoe.lent WHERE (shared AND party = '$name'),
	fmoe.lent_part WHERE (shared AND party = '$name');
SQL
}

# subscribe AT, PUBLISHER
sub subscribe
{
	my ($at, $publisher) = @_;
	my $connection = $node{$publisher}->connstr . ' dbname=postgres';

	$node{$at}->safe_psql('postgres', "CREATE SUBSCRIPTION ${at}_from_$publisher CONNECTION '$connection' PUBLICATION experts");
	return;
}

my $names = 'SELECT pg_catalog.string_agg(name || version, \' \' ORDER BY name COLLATE "C", version) FROM fmoe.experts';
my $parts = 'SELECT pg_catalog.string_agg(party, \' \' ORDER BY party COLLATE "C") FROM fmoe.lent_part';

# one direction
subscribe('south', 'north');
wait_for('south', $names, 'north.films1 north.films2 south.films1', 'what was there is replicated');
wait_for('south', $parts, 'north north south', 'with its parts');
is(experts('north'), 'north.films 1 whole, north.films 2 whole', 'in one direction');
$node{north}->safe_psql('postgres', "SELECT fmoe_withdraw('films', 1)");
wait_for('south', $names, 'north.films2 south.films1', 'a withdrawal arrives');
wait_for('south', $parts, 'north south', 'for parts too');
$node{north}->safe_psql('postgres', 'UPDATE fmoe.lent_part SET shared = false; UPDATE fmoe.lent SET shared = false');
wait_for('south', $names, 'south.films1', 'as does the end of sharing');
wait_for('south', $parts, 'south', 'for parts too');
is(found($node{south}->safe_psql('postgres', 'SELECT l, p FROM fmoe.lent l, fmoe.lent_part p'), $tag{north}), '', 'nothing else came');

# both directions
subscribe('south', 'west');
subscribe('west', 'south');
$node{west}->safe_psql('postgres', "SELECT fmoe_lend('films')");
wait_for('south', $names, 'south.films1 west.films1', 'both directions: one');
wait_for('west', $names, 'south.films1 west.films1', 'and the other');
foreach my $name (('south', 'west') x 3)
{
	$node{$name}->safe_psql('postgres', "SELECT fmoe_lend('films', 1)");
}
my $ids = 'SELECT pg_catalog.string_agg(lent_id::text, \' \' ORDER BY lent_id) FROM fmoe.lent';
wait_for('south', "SELECT pg_catalog.count(*) FROM fmoe.lent WHERE lent_id = '"
		. $node{west}->safe_psql('postgres', "SELECT lent_id FROM fmoe.lent WHERE party = 'west'") . "'", '1', 'what replaces something arrives');
wait_for('west', $ids, $node{south}->safe_psql('postgres', $ids), 'and both have the same');
is(experts($_), 'south.films 1 whole, west.films 1 whole', "whole and once, at $_") foreach 'south', 'west';

# who publishes without a filter does not write what is ours
$node{north}->safe_psql('postgres', 'CREATE PUBLICATION everything FOR TABLE fmoe.lent, fmoe.lent_part; DELETE FROM fmoe.lent; DELETE FROM fmoe.lent_part');
$node{south}->safe_psql('postgres', 'ALTER SUBSCRIPTION south_from_north DISABLE');
wait_for('north', "SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = 'south_from_north'", 'f', 'a subscription pauses');
$node{south}->safe_psql('postgres', 'ALTER SUBSCRIPTION south_from_north SET PUBLICATION everything WITH (refresh = false)');
$node{south}->safe_psql('postgres', 'ALTER SUBSCRIPTION south_from_north ENABLE');
$node{north}->safe_psql('postgres', <<'SQL');
SET fmoe.party = 'south';
SELECT fmoe_lend('films', 1);
SET fmoe.party = 'north';
SELECT fmoe_lend('films', 1);
SQL
wait_for('south', $names, 'north.films1 south.films1 west.films1', 'an expert that claims to be our own is passed over');
is($node{south}->safe_psql('postgres', $parts), 'north south west', 'with its parts');
like(slurp_file($node{south}->logfile), qr/WARNING:  ignored a row of this database's own party "south" that was replicated from elsewhere/, 'with a warning');

$node{south}->safe_psql('postgres', "SELECT fmoe_withdraw('films')");
wait_for('west', $names, 'west.films1', 'a withdrawal arrives there as well');
$node{$_}->stop('fast') foreach 'north', 'south', 'west';
done_testing();
