# What earlier builds have stored, exported and lent is read by this one: the same
# items, scores to 1e-5 on any CPU.  Each directory in test/data has the files of
# one build; test/data/make tells what they are, and makes more.

use strict;
use warnings;

use File::Basename;
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = "$FindBin::RealBin/../data";
my $rename = "$FindBin::RealBin/../../scripts/rename-dump";
my @formats = sort map { dirname($_) } glob "$data/*/expected.tsv";

my $node = PostgreSQL::Test::Cluster->new('formats');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
SELECT 'CREATE ROLE postgres' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'postgres') \gexec
CREATE DATABASE named_as_now;
\c named_as_now
CREATE EXTENSION fmoe;
SQL
my $renamed = $node->safe_psql('named_as_now', "SELECT pg_catalog.to_regclass('fmoe.version') IS NOT NULL") eq 't';

# ---------------------------------------------------------------- helpers

# The rows of a dump, named as the tables are now.
sub load_dump
{
	my ($database, $file) = @_;
	my $read = $file =~ /\.gz$/ ? "gzip -dc '$file'" : "cat '$file'";

	$read .= " | '$rename'" if $renamed;
	return $node->command_ok([ 'bash', '-c', "set -o pipefail; $read | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d $database" ],
		basename($file) . ' is loaded');
}

sub psql_file
{
	my ($database, $file) = @_;

	system_or_bail('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr($database), '-f', $file);
}

# The functions that ask, and what is expected.
sub begin_asking
{
	my ($database, $format) = @_;

	psql_file($database, "$data/answers.sql");
	$node->safe_psql($database, <<"SQL");
CREATE TABLE expected (what text, call text, key text, rank bigint, item text, score real);
\\copy expected FROM '$format/expected.tsv'
SQL
}

# Compares what is said with what the file of expectations has for it; what is not the same is shown.
sub same
{
	my ($database, $what, $answers, $name) = @_;

	is($node->safe_psql($database, <<"SQL"), '', $name);
WITH said AS MATERIALIZED (SELECT * FROM $answers a (call, key, rank, item, score)),
	wanted AS (SELECT * FROM expected WHERE what = '$what')
SELECT pg_catalog.format('%s %s %s: %s %s, expected %s %s', call, key, rank, s.item, s.score, w.item, w.score)
	FROM wanted w LEFT JOIN said s USING (call, key, rank)
	WHERE s.item IS DISTINCT FROM w.item OR (s.score IS NULL) <> (w.score IS NULL)
		OR pg_catalog.abs(s.score::float8 - w.score) > 1e-5 * greatest(1, pg_catalog.abs(w.score::float8))
UNION ALL
SELECT 'nothing was expected' WHERE NOT EXISTS (SELECT FROM wanted)
UNION ALL
SELECT pg_catalog.format('%s %s was not expected', call, key) FROM said s LEFT JOIN wanted w USING (call, key)
	WHERE w.item IS NULL AND call IN ('version', 'lent', 'array')
LIMIT 10
SQL
}

# ---------------------------------------------------------------- files

sub try_file
{
	my ($database, $file) = @_;
	my $what = basename($file, '.safetensors');
	my ($domain) = $what =~ /(films|songs|places)/;
	my $bytes = "pg_catalog.pg_read_binary_file('$file')";

	return same($database, $what, "applied($bytes, '$domain')", "$what answers") if $what =~ /^fit_/;
	return same($database, $what, "encoder('$what', $bytes)", "$what has the weights it had") if $what =~ /_encoder_/;
	$node->safe_psql($database, "SELECT fmoe_deploy('$domain', fmoe_import('$domain', '$what', $bytes))");
	return same($database, $what, "answers('$domain')", "$what answers");
}

sub try_lent
{
	my ($database, $format) = @_;

	load_dump($database, "$format/lent.sql");
	same($database, 'lent', 'lent()', 'what was lent is listed, with the weights it had');
	my ($versions, $key) = $renamed ? ('fmoe.version', 'version_id') : ('fmoe.expert', 'expert_id');
	$node->safe_psql($database, <<'SQL');
SET client_min_messages = warning;
CALL fmoe_train('films', '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "epochs": 1, "experts": ["north.even", "west.odd", "south.even"], "deploy": false}');
SQL
	# what is between the norm that goes in and the one that comes out stays as it was lent
	is($node->safe_psql($database, <<"SQL"), 't|t|t', 'a mixture is trained with them');
WITH stored AS (SELECT t.name, pg_catalog.md5(pg_catalog.string_agg(t.data, '' ORDER BY part)) AS digest
	FROM fmoe.tensor t WHERE $key = (SELECT pg_catalog.max($key) FROM $versions) GROUP BY t.name)
SELECT pg_catalog.bool_or(key ~ '^north'), pg_catalog.bool_or(key ~ '^west'),
	pg_catalog.bool_and(EXISTS (SELECT FROM stored s WHERE s.digest = pg_catalog.split_part(item, ' ', -1)))
FROM expected WHERE what = 'lent' AND call = 'array' AND key ~ ' (block|layer)[.].*weight\$'
SQL
}

# ---------------------------------------------------------------- a database

sub try_dump
{
	my ($database, $format) = @_;

	load_dump($database, "$format/dump.sql.gz");
	begin_asking($database, $format);
	same($database, 'dump', 'listed()', 'versions are those that were stored, and live what was');
	same($database, 'films_6', q(answers('films')), 'the live version answers');
	is($node->safe_psql($database, "SELECT fmoe_rollback('films')"), '5', 'its deployment is undone');
	is($node->safe_psql($database, "SELECT DISTINCT owner FROM fmoe.domains"), 'postgres', 'domains belong to the role that they named')
	  if $renamed;
	same($database, 'films_5', q(answers('films')), 'the one before answers');
	is($node->safe_psql($database, "SELECT fmoe_rollback('films')"), '4', 'and the one before that, past what was undone');
	foreach my $what (split /\n/, $node->safe_psql($database, q(SELECT DISTINCT what FROM expected WHERE what ~ '^[a-z]+_[0-9]+$' ORDER BY 1)))
	{
		my ($domain, $version) = split /_/, $what;

		$node->safe_psql($database, "SELECT fmoe_deploy('$domain', $version)");
		same($database, $what, "answers('$domain')", "$domain, version $version answers");
	}
	is($node->safe_psql($database, <<'SQL'), '5', 'the next version has the next number');
SET client_min_messages = warning;
CALL fmoe_train('songs', '{"model": "popularity", "deploy": false}');
SELECT pg_catalog.max(version) FROM fmoe.versions WHERE domain = 'songs';
SQL
}

# ---------------------------------------------------------------- all formats

isnt(scalar @formats, 0, 'there are files of earlier builds');
foreach my $n (0 .. $#formats)
{
	my $format = $formats[$n];

	note(basename($format));
	$node->safe_psql('postgres', "CREATE DATABASE $_") foreach "files_$n", "restored_$n";
	$node->safe_psql("files_$n", 'CREATE EXTENSION fmoe');
	psql_file("files_$n", "$data/events.sql");
	begin_asking("files_$n", $format);
	try_file("files_$n", $_) foreach sort glob "$format/*.safetensors";
	try_lent("files_$n", $format);
	try_dump("restored_$n", $format);
}

# what a dump's rows say is not touched, whatever it looks like
my $rows = "COPY public.notes (expert_id) FROM stdin;\nCOPY fmoe.tensor (expert_id, name) FROM stdin;\n\\.\n";
my $in = "COPY fmoe.tensor (expert_id, name, part) FROM stdin;\n1\tb\t0\n\\.\n${rows}COPY fmoe.deployment (deployment_id, domain_id, expert_id) FROM stdin;\n\\.\n"
	. "COPY fmoe.expert (expert_id, domain_id) FROM stdin;\n\\.\nSELECT pg_catalog.setval('fmoe.expert_expert_id_seq', 18, true);\n";
my $out = '';
IPC::Run::run([$rename], '<', \$in, '>', \$out);
is($out, "COPY fmoe.tensor (version_id, name, part) FROM stdin;\n1\tb\t0\n\\.\n${rows}COPY fmoe.deployment (deployment_id, domain_id, version_id) FROM stdin;\n\\.\n"
		. "COPY fmoe.version (version_id, domain_id) FROM stdin;\n\\.\nSELECT pg_catalog.setval('fmoe.version_version_id_seq', 18, true);\n",
	'rename-dump names tables and columns, and nothing in their rows');
my $forms = "CREATE FUNCTION public.fmoe_recommend(user_id integer) RETURNS TABLE(item_id integer)\n    AS \$_\$SELECT 1\$_\$;\n"
	. "ALTER FUNCTION public.fmoe_recommend(user_id integer) DEPENDS ON EXTENSION fmoe;\n"
	. "COMMENT ON FUNCTION public.fmoe_recommend_all(domain text) IS 'x';\n";
my $kept = "CREATE FUNCTION public.fmoe_recommender() RETURNS integer\n    AS \$\$SELECT 1\$\$;\nCOPY public.notes (note) FROM stdin;\n${forms}\\.\n";
IPC::Run::run([$rename], '<', \($forms . $kept), '>', \$out);
is($out, $kept, 'and leaves out forms that domains brought');
$node->stop;
done_testing();
