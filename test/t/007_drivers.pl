# The calls as users of drivers write them: DBD::Pg, psycopg 3 and node-postgres.
# What a driver sends a parameter as decides in which type the ids come back.

use strict;
use warnings;

use File::Temp;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $npm_limit_s = 120;
my $node = PostgreSQL::Test::Cluster->new('drivers');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;

# film ids beyond the range of integer; the next one is the one that followed
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE films (viewer bigint, film bigint, at timestamptz);
INSERT INTO films SELECT u, 5000000000 + (u * 3 + n) % 20, timestamptz '2024-01-01 UTC' + n * interval '1 hour'
	FROM generate_series(1, 40) u, generate_series(1, 6) n;
CREATE TABLE songs AS SELECT 'user ' || viewer AS listener, pg_catalog.md5(film::text)::uuid AS song, at FROM films;
SELECT fmoe_create_domain('films', 'films', 'viewer', 'film', 'at'), fmoe_create_domain('songs', 'songs', 'listener', 'song', 'at');
CALL fmoe_train('films', '{"model": "markov", "holdout": "none"}');
CALL fmoe_train('songs', '{"model": "markov", "holdout": "none"}');
SELECT fmoe_deploy('films', 1), fmoe_deploy('songs', 1), fmoe_create_functions('songs');
SQL
my $next_song = $node->safe_psql('postgres', "SELECT pg_catalog.md5('5000000010')::uuid");

# What a driver's program prints: a line a question, the type and the answer.
sub check_answers
{
	my ($driver, $printed, %expected) = @_;
	my %answer = map { /^(.*?): (.*)$/ ? ($1 => $2) : ($_ => 'what is this?') } split /\n/, $printed;

	is($answer{$_}, $expected{$_}, "$driver: $_") foreach sort keys %expected;
	is(join(' ', sort keys %answer), join(' ', sort keys %expected), "$driver: no other answers");
	return;
}

# run_program NAME, COMMAND...: what it prints; it has to succeed
sub run_program
{
	my ($name, @command) = @_;
	my ($printed, $complaints) = ('', '');

	ok(IPC::Run::run(\@command, '>', \$printed, '2>', \$complaints, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default)),
		"$name: its program ends well")
	  or diag($complaints);
	return $printed;
}

# ---------------------------------------------------------------- DBD::Pg

# Placeholders have no type.
sub check_dbd_pg
{
	my $perl = <<'PERL';
use DBI;
my $db = DBI->connect("dbi:Pg:dbname=postgres;host=$ARGV[0];port=$ARGV[1]", '', '', { RaiseError => 1 });
sub answer { my ($what, $sql, @values) = @_; my $s = $db->prepare($sql); $s->execute(@values);
	printf "%s: %s\n", $what, join ' ', map { join ' ', @$_ } @{ $s->fetchall_arrayref } }
answer('number', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend(?::bigint, ?, domain => 'films')", 1, 1);
answer('untyped', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend(?, ?, domain => ?)", 1, 1, 'films');
answer('text', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend(?, 1, domain => 'songs')", 'user 1');
answer('lists', "SELECT item_id FROM fmoe_recommend(?, 1, domain => 'films', exclude => ?, candidates => ?)", 1,
	[5000000010], [5000000010, 5000000012]);
answer('next', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend_next(?, 1, domain => 'films')", [5000000002]);
answer('score', "SELECT pg_typeof(item_id), item_id FROM fmoe_score(?, ?, domain => 'films')", 1, [5000000002]);
answer('similar', "SELECT pg_typeof(item_id), item_id FROM fmoe_similar(?, 1, domain => 'films')", 5000000002);
answer('explain', "SELECT DISTINCT pg_typeof(item_id), item_id FROM fmoe_explain(?, 1, domain => 'films')", 1);
answer('all', "SELECT user_id, item_id FROM fmoe_recommend_all(?, 1, users => ?)", 'films', [1]);
answer('as', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend_as(NULL::uuid, ?, 1, domain => 'songs')", 'user 1');
answer('own', "SELECT pg_typeof(item_id), item_id FROM songs_recommend(?, 1)", 'user 1');
PERL

	check_answers('DBD::Pg', run_program('DBD::Pg', $^X, '-e', $perl, $node->host, $node->port), untyped_answers());
	return;
}

# What drivers get that send parameters without a type.
sub untyped_answers
{
	return (
		number => 'bigint 5000000010',
		untyped => 'text 5000000010',
		text => "text $next_song",
		lists => '5000000012',
		next => 'text 5000000003',
		score => 'text 5000000002',
		similar => 'text 5000000003',
		explain => 'text 5000000010',
		all => '1 5000000010',
		as => "uuid $next_song",
		own => "uuid $next_song");
}

SKIP:
{
	skip 'there is no DBD::Pg', 1 unless eval { require DBD::Pg };
	check_dbd_pg();
}

# ---------------------------------------------------------------- psycopg 3

# Numbers are sent in the smallest integer type, strings without a type, lists as arrays.
sub check_psycopg
{
	my ($python) = @_;
	my $program = <<'PYTHON';
import sys, uuid, psycopg
db = psycopg.connect(dbname="postgres", host=sys.argv[1], port=sys.argv[2])
def answer(what, sql, *values):
    rows = db.execute(sql, values).fetchall()
    print(f"{what}: " + " ".join(f"{type(v).__name__} {v}" for row in rows for v in row))
answer("number", "SELECT item_id FROM fmoe_recommend(%s, %s, domain => 'films')", 1, 1)
answer("large number", "SELECT count(*) FROM fmoe_recommend(%s, 1, domain => 'films')", 5000000000)
answer("string", "SELECT item_id FROM fmoe_recommend(%s, 1, domain => %s)", "1", "films")
answer("text", "SELECT item_id FROM fmoe_recommend(%s, 1, domain => 'songs')", "user 1")
answer("lists", "SELECT item_id FROM fmoe_recommend(%s, 1, domain => 'films', exclude => %s, candidates => %s)", 1, [5000000010],
       [5000000010, 5000000012])
answer("next", "SELECT item_id FROM fmoe_recommend_next(%s, 1, domain => 'films')", [1, 5000000002])
answer("next of strings", "SELECT item_id FROM fmoe_recommend_next(%s, 1, domain => 'films')", ["5000000002"])
answer("next of uuids", "SELECT item_id FROM fmoe_recommend_next(%s, 1, domain => 'songs')", [uuid.UUID(sys.argv[3])])
answer("score", "SELECT item_id FROM fmoe_score(%s, %s, domain => 'films')", 1, [5000000002, 7])
answer("similar", "SELECT item_id FROM fmoe_similar(%s, 1, domain => 'films')", 5000000002)
answer("explain", "SELECT DISTINCT item_id FROM fmoe_explain(%s, 1, domain => 'films')", 1)
answer("all", "SELECT user_id, item_id FROM fmoe_recommend_all(%s, 1, users => %s)", "films", ["1"])
answer("as", "SELECT item_id FROM fmoe_recommend_as(NULL::uuid, %s, 1, domain => 'songs', exclude => %s)", "user 1", [uuid.UUID(sys.argv[3])])
answer("own", "SELECT item_id FROM songs_recommend(%s, 1)", "user 1")
PYTHON
	my $printed = run_program('psycopg', $python, '-c', $program, $node->host, $node->port, $next_song);
	my $second = $node->safe_psql('postgres', "SELECT item_id FROM songs_recommend('user 1', 1, exclude => ARRAY['$next_song']::uuid[])");
	my $after = $node->safe_psql('postgres', "SELECT item_id FROM songs_next(ARRAY['$next_song']::uuid[], 1)");

	check_answers(
		'psycopg', $printed,
		number => 'int 5000000010',
		'large number' => 'int 1',
		string => 'str 5000000010',
		text => "str $next_song",
		lists => 'int 5000000012',
		next => 'int 5000000003',
		'next of strings' => 'str 5000000003',
		'next of uuids' => "UUID $after",
		score => 'int 5000000002 int 7',
		similar => 'int 5000000003',
		explain => 'int 5000000010',
		all => 'str 1 str 5000000010',
		as => "UUID $second",
		own => "UUID $next_song");
	return;
}

# The interpreter that Debian's package is for need not be the first.
my ($python) = grep { IPC::Run::run([ $_, '-c', 'import psycopg' ], '>&', \my $nothing) }
  grep { -x } map { "$_/python3" } split(/:/, $ENV{PATH}), '/usr/bin';

SKIP:
{
	skip 'there is no Python with psycopg', 1 unless $python;
	check_psycopg($python);
}

# ---------------------------------------------------------------- node-postgres

# Parameters have no type, and arrays are literals.
sub check_node_postgres
{
	my ($directory) = @_;

	append_to_file("$directory/ask.js", <<'JAVASCRIPT');
const { Client } = require('pg');
async function main(host, port) {
  const db = new Client({ host, port: Number(port), database: 'postgres', user: process.argv[4] });
  await db.connect();
  async function answer(what, text, values) {
    const result = await db.query({ text, values, rowMode: 'array' });
    console.log(`${what}: ${result.rows.map(row => row.join(' ')).join(' ')}`);
  }
  await answer('number', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend($1::bigint, $2, domain => 'films')", [1, 1]);
  await answer('untyped', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend($1, $2, domain => $3)", [1, 1, 'films']);
  await answer('text', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend($1, 1, domain => 'songs')", ['user 1']);
  await answer('lists', "SELECT item_id FROM fmoe_recommend($1, 1, domain => 'films', exclude => $2, candidates => $3)",
    [1, [5000000010], [5000000010, 5000000012]]);
  await answer('next', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend_next($1, 1, domain => 'films')", [[5000000002]]);
  await answer('score', "SELECT pg_typeof(item_id), item_id FROM fmoe_score($1, $2, domain => 'films')", [1, [5000000002]]);
  await answer('similar', "SELECT pg_typeof(item_id), item_id FROM fmoe_similar($1, 1, domain => 'films')", [5000000002]);
  await answer('explain', "SELECT DISTINCT pg_typeof(item_id), item_id FROM fmoe_explain($1, 1, domain => 'films')", [1]);
  await answer('all', "SELECT user_id, item_id FROM fmoe_recommend_all($1, 1, users => $2)", ['films', [1]]);
  await answer('as', "SELECT pg_typeof(item_id), item_id FROM fmoe_recommend_as(NULL::uuid, $1, 1, domain => 'songs')", ['user 1']);
  await answer('own', "SELECT pg_typeof(item_id), item_id FROM songs_recommend($1, 1)", ['user 1']);
  await db.end();
}
main(process.argv[2], process.argv[3]);
JAVASCRIPT
	my $user = $node->safe_psql('postgres', 'SELECT current_user');

	check_answers('node-postgres', run_program('node-postgres', 'node', "$directory/ask.js", $node->host, $node->port, $user),
		untyped_answers());
	return;
}

# Its package, in a directory of its own; false when it cannot be had.
sub install_node_postgres
{
	my ($directory) = @_;
	my @command = ('npm', 'install', '--prefix', $directory, '--cache', "$directory/cache", '--no-audit', '--no-fund', '--fetch-retries=0', 'pg');
	my $output;

	return 0 unless eval { IPC::Run::run([ 'node', '--version' ], '>&', \$output) };
	return eval { IPC::Run::run(\@command, '<', \undef, '>&', \$output, IPC::Run::timeout($npm_limit_s)) } // 0;
}

SKIP:
{
	my $directory = PostgreSQL::Test::Utils::tempdir('npm');

	skip 'node-postgres cannot be installed with npm here', 1 unless install_node_postgres($directory);
	check_node_postgres($directory);
}

$node->stop;
done_testing();
