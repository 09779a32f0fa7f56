# What is lent is known by more than its lender's name: a database that was made anew under the name of another,
# and two that have the same, are not taken for one; one that is restored elsewhere is the same.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');

$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;

my ($result, $out, $err);

# lender DATABASE: one that lends an encoder as party north
sub lender
{
	my ($database) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql('postgres', "ALTER DATABASE $database SET fmoe.party = 'north'");
	$node->safe_psql($database, <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE plays (u bigint, i bigint, t timestamptz);
INSERT INTO plays SELECT l, (l * 3 + n) % 20, timestamptz '2024-01-01' + n * interval '1 h'
	FROM generate_series(1, 40) l, generate_series(1, 6) n;
SELECT fmoe_create_domain('music', 'plays', 'u', 'i', 't');
CALL fmoe_train('music', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
SELECT fmoe_lend('music', 1);
SQL
	return $node->safe_psql($database, 'SELECT party_id FROM fmoe.experts');
}

sub borrowed
{
	return $node->safe_psql('south', "SELECT string_agg(name || ' ' || party_id, ',' ORDER BY created_at) FROM fmoe.experts");
}

my $first = lender('north');
like($first, qr/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}$/, 'who lends has an identity');
is($node->safe_psql('north', q{SELECT fmoe_withdraw('music'); SELECT fmoe_lend('music', 1); SELECT party_id FROM fmoe.experts}) =~ s/.*\n//sr,
	$first, 'and keeps it');
my ($host, $port) = ($node->host, $node->port);
$node->safe_psql('postgres', 'CREATE DATABASE south');
$node->safe_psql('south', <<"SQL");
CREATE EXTENSION fmoe;
CREATE EXTENSION postgres_fdw;
CREATE SERVER north FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'north');
CREATE USER MAPPING FOR CURRENT_USER SERVER north;
SELECT fmoe_add_peer('oslo', 'north');
CALL fmoe_sync('oslo');
CREATE TABLE plays (u bigint, i bigint, t timestamptz);
INSERT INTO plays SELECT l, (l * 3 + n) % 20, timestamptz '2024-01-01' + n * interval '1 h'
	FROM generate_series(1, 40) l, generate_series(1, 6) n;
SELECT fmoe_create_domain('music', 'plays', 'u', 'i', 't');
SQL
is(borrowed(), "north.music $first", 'which comes with what it lends');
is($node->safe_psql('south', 'SELECT party, party_id FROM fmoe.peers'), "north|$first", 'and is known of the peer');

# ---------------------------------------------------------------- restored elsewhere

$node->safe_psql('postgres', 'CREATE DATABASE moved');
$node->command_ok([ 'bash', '-c', 'pg_dump "$1" | psql -Xq -o /dev/null -v ON_ERROR_STOP=1 "$2"', 'bash', map { $node->connstr($_) } 'north', 'moved' ],
	'the lender moves');
$node->safe_psql('postgres', "ALTER DATABASE moved SET fmoe.party = 'north'");
$node->safe_psql('south', q{ALTER SERVER north OPTIONS (SET dbname 'moved')});
$node->safe_psql('moved', q{SELECT fmoe_lend('music', 1)});
$node->safe_psql('south', q{CALL fmoe_sync('oslo')});
is(borrowed(), "north.music $first", 'it is the same as before, with what it has lent since');

# ---------------------------------------------------------------- dropped, and made anew under the name

$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(north moved);
my $second = lender('north');
isnt($second, $first, 'a database that is made anew is another');
$node->safe_psql('south', q{ALTER SERVER north OPTIONS (SET dbname 'north')});
($result, $out, $err) = $node->psql('south', q{CALL fmoe_sync('oslo')});
like($err, qr/ERROR:  peer "oslo" is another party of the name "north" than the one that has lent before/, 'is not taken for the first');
like($err, qr/It was $first and is $second now/, 'and told from it');
is(borrowed(), "north.music $first", 'what the first has lent stays');
$node->safe_psql('south', q{SELECT fmoe_drop_peer('oslo'); SELECT fmoe_add_peer('oslo', 'north')});
($result, $out, $err) = $node->psql('south', q{CALL fmoe_sync('oslo')});
like($err, qr/ERROR:  peer "oslo"/, 'nor by a new peer, while that is there');
$node->safe_psql('south', q{SELECT fmoe_forget('north'); CALL fmoe_sync('oslo')});
is(borrowed(), "north.music $second", 'until it is forgotten');

# ---------------------------------------------------------------- two of the same name, as by logical replication

my $third = lender('other');
my $train = q{CALL fmoe_train('music', '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "epochs": 1, "deploy": false, "experts": ["north.music"]}')};
$node->safe_psql('south', $train);
pass('an expert of a party of one database is used');
foreach my $table ('lent', 'lent_part')
{
	$node->command_ok([ 'bash', '-c', "psql -Xqc 'COPY fmoe.$table TO STDOUT' \"\$1\" | psql -Xqc 'COPY fmoe.$table FROM STDIN' \"\$2\"",
			'bash', map { $node->connstr($_) } 'other', 'south' ], "$table of another database arrives");
}
is($node->safe_psql('south', 'SELECT count(DISTINCT party_id), count(DISTINCT name) FROM fmoe.experts'), '2|1', 'two databases are party north');
($result, $out, $err) = $node->psql('south', $train);
like($err, qr/WARNING:  the lent expert "north.music" is not used: more than one database lends as party "north"/, 'neither is taken for the other');
like($err, qr/ERROR:  no expert "north.music" was lent to domain "music"/, 'and none is used by the name');
$node->safe_psql('south', q{DELETE FROM fmoe.lent WHERE fmoe._party_id(lent_id) = '} . $third . q{'});
$node->safe_psql('south', $train);
pass('until one of them is gone');

$node->stop;
done_testing();
