# An update gives what CREATE EXTENSION gives, object by object, and loses nothing: neither rows
# nor privileges.  What is updated is the build that test/data has the files of.

use strict;
use warnings;

use FindBin;
use IO::Uncompress::Gunzip qw(gunzip);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $format = "$FindBin::RealBin/../data/1.0-b414e07";
my $share = `pg_config --sharedir`;
my $library = `pg_config --pkglibdir`;
chomp($share, $library);
my $script = "$share/extension/fmoe--0.9.sql";

plan skip_all => "cannot write into $share/extension" if !-w "$share/extension";

sub unzipped
{
	my ($file) = @_;
	my $text;

	gunzip("$format/$file" => \$text) or die "$file cannot be read";
	return $text;
}

# Functions that the library has no more are another one, as they would be in a database that had the
# earlier library: there, nobody looks.
my %has = map { $_ => 1 } split /\n/, `nm -D --defined-only '$library/fmoe.so' | sed 's/.* //'`;

sub with_symbols
{
	my ($sql) = @_;

	$sql =~ s/(CREATE (?:FUNCTION|PROCEDURE)\s+(?:\w+\.)?(\w+)\((?:(?!CREATE ).)*?AS '(?:MODULE_PATHNAME|\$libdir\/fmoe)')(?:, '(\w+)')?/
		"$1, '" . ($has{$3 \/\/ $2} ? $3 \/\/ $2 : 'fmoe_version') . "'"/gse;
	return $sql;
}

open my $install, '>', $script or die "$script: $!";
print $install with_symbols(unzipped('fmoe.sql.gz'));
close $install;
END { unlink $script if defined $script }

my $node = PostgreSQL::Test::Cluster->new('update');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
SELECT 'CREATE ROLE postgres SUPERUSER' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'postgres') \gexec
CREATE ROLE keeper SUPERUSER LOGIN;
CREATE ROLE partner;
CREATE DATABASE fresh;
CREATE DATABASE updated;
CREATE DATABASE elsewhere;
CREATE DATABASE elsewhere_fresh;
CREATE DATABASE data;
CREATE DATABASE restored;
SQL

# What the catalogue has of the extension, a line a thing.
my $catalogue = <<'SQL';
CREATE TEMP VIEW member AS SELECT d.classid, d.objid, i.type, i.identity
	FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) i
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'fmoe');
CREATE TEMP VIEW line (kind, name, a, b, c) AS
SELECT 'extension', extversion || ' ' || extnamespace::regnamespace || ' ' || extowner::regrole, extconfig::regclass[]::text, extcondition::text, '' FROM pg_extension WHERE extname = 'fmoe'
UNION ALL SELECT type, identity, obj_description(objid, classid::regclass::text::name), '', '' FROM member
UNION ALL SELECT 'function', m.identity, CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END, p.proacl::text, concat(p.proowner::regrole, p.prokind, p.prosrc, p.procost, p.prorows, p.prosupport)
	FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
UNION ALL SELECT 'aggregate', m.identity, a::text, '', '' FROM member m JOIN pg_aggregate a ON m.classid = 'pg_proc'::regclass AND a.aggfnoid = m.objid
UNION ALL SELECT 'relation', m.identity, concat(c.relkind, c.relpersistence, c.relreplident, c.reloptions, c.relhastriggers, c.relrowsecurity, c.relispartition), c.relacl::text, c.relowner::regrole::text
	FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
UNION ALL SELECT 'view', m.identity, pg_get_viewdef(c.oid), '', '' FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'v'
UNION ALL SELECT 'column', m.identity || ' ' || a.attnum || ' ' || a.attname, concat(format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, a.attcompression, a.attidentity, a.attgenerated, a.attcollation::regcollation),
		pg_get_expr(d.adbin, d.adrelid), a.attacl::text || ' ' || col_description(a.attrelid, a.attnum)
	FROM member m JOIN pg_attribute a ON m.classid = 'pg_class'::regclass AND a.attrelid = m.objid AND a.attnum > 0
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL SELECT 'constraint', m.identity || ' ' || c.conname, pg_get_constraintdef(c.oid), c.contype::text, '' FROM member m JOIN pg_constraint c ON m.classid = 'pg_class'::regclass AND c.conrelid = m.objid
UNION ALL SELECT 'index', m.identity || ' ' || i.indexrelid::regclass, pg_get_indexdef(i.indexrelid), concat(i.indisreplident, i.indisprimary, i.indisvalid), obj_description(i.indexrelid, 'pg_class')
	FROM member m JOIN pg_index i ON m.classid = 'pg_class'::regclass AND i.indrelid = m.objid
UNION ALL SELECT 'trigger', m.identity || ' ' || t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text, '' FROM member m JOIN pg_trigger t ON m.classid = 'pg_class'::regclass AND t.tgrelid = m.objid
UNION ALL SELECT 'sequence', m.identity, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle), '', '' FROM member m JOIN pg_sequence s ON m.classid = 'pg_class'::regclass AND s.seqrelid = m.objid
UNION ALL SELECT 'type', m.identity, concat_ws(' ', t.typowner::regrole, t.typlen, t.typbyval, t.typtype, t.typcategory, t.typalign, t.typstorage, t.typinput, t.typoutput, t.typreceive, t.typsend), t.typacl::text, ''
	FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
UNION ALL SELECT 'schema', m.identity, n.nspowner::regrole::text, n.nspacl::text, '' FROM member m JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
UNION ALL SELECT 'initial privileges', i.type || ' ' || i.identity, p.initprivs::text, p.privtype::text, '' FROM pg_init_privs p JOIN member m ON m.classid = p.classoid AND m.objid = p.objoid, pg_identify_object(p.classoid, p.objoid, p.objsubid) i
UNION ALL SELECT 'dependency', m.identity || ' ' || d.deptype::text, r.type, r.identity, '' FROM member m JOIN pg_depend d ON d.classid = m.classid AND d.objid = m.objid, pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) r
UNION ALL SELECT 'left behind', n.nspname, '', '', '' FROM pg_namespace n WHERE n.nspname LIKE 'fmoe\_%';
SELECT * FROM line l ORDER BY l::text COLLATE "C";
SQL

# The earlier build, which called itself 1.0.
my $earlier = "VERSION '0.9'; UPDATE pg_catalog.pg_extension SET extversion = '1.0' WHERE extname = 'fmoe'";
my $update = "ALTER EXTENSION fmoe UPDATE TO '0.9'; ALTER EXTENSION fmoe UPDATE";

sub lines_of
{
	my ($database) = @_;

	return $node->safe_psql($database, $catalogue);
}

# What differs, which is shown.
sub same_catalogue
{
	my ($one, $other, $name) = @_;
	my %seen;
	my @of_one = split /\n/, lines_of($one);
	my @of_other = split /\n/, lines_of($other);

	$seen{$_}++ foreach @of_one;
	$seen{$_}-- foreach @of_other;
	cmp_ok(scalar @of_one, '>', 500, 'the catalogue has the extension');
	return is(join("\n", map { ($seen{$_} > 0 ? "$one: " : "$other: ") . $_ } grep { $seen{$_} } sort keys %seen), '', $name);
}

# ---------------------------------------------------------------- object by object

$node->safe_psql('fresh', 'SET ROLE keeper; CREATE EXTENSION fmoe');
my ($result, $out, $err) = $node->psql('fresh', "ALTER EXTENSION fmoe UPDATE TO '0.9'");
like($err, qr/fmoe in this database is of the release 1[.]0 or later/, 'the release is not taken for what came before');
$node->safe_psql('updated', "SET ROLE keeper; CREATE EXTENSION fmoe $earlier");
# by another than who has it, who is no superuser any more
$node->safe_psql('postgres', 'ALTER ROLE keeper NOSUPERUSER');
my $trusted = slurp_file("$share/extension/fmoe.control") =~ /^trusted = true/m;
SKIP:
{
	skip 'the extension is trusted', 2 if $trusted;
	($result, $out, $err) = $node->psql('updated', "SET ROLE keeper; $update");
	like($err, qr/permission denied to update extension "fmoe"/, 'who is no superuser does not update');
	is($node->safe_psql('updated', "SELECT to_regclass('fmoe.expert')"), 'fmoe.expert', 'and changes nothing');
}
$node->safe_psql('updated', ($trusted ? 'SET ROLE keeper; ' : '') . $update);
same_catalogue('updated', 'fresh', 'an updated extension has what a new one has');
$node->safe_psql('elsewhere', "CREATE SCHEMA \"Shop 1\"; CREATE EXTENSION fmoe SCHEMA \"Shop 1\" $earlier; $update");
$node->safe_psql('elsewhere_fresh', 'CREATE SCHEMA "Shop 1"; CREATE EXTENSION fmoe SCHEMA "Shop 1"');
same_catalogue('elsewhere', 'elsewhere_fresh', 'in another schema, too');
my $before = lines_of('fresh');
$node->safe_psql('fresh', 'ALTER TABLE fmoe.domain ADD forgotten integer');
isnt(lines_of('fresh'), $before, 'a column that was forgotten would show');

# ---------------------------------------------------------------- with rows

my $dump = with_symbols(unzipped('dump.sql.gz'));
$dump =~ s/^(CREATE EXTENSION IF NOT EXISTS fmoe WITH SCHEMA public);/$1 $earlier;/m or die 'the dump has no extension';
my $file = $node->basedir . '/dump.sql';
append_to_file($file, $dump);
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('data'), '-f', $file ], 'the rows of the earlier build');
my $counts = "SELECT (SELECT count(*) FROM fmoe.domain), (SELECT count(*) FROM fmoe.tensor), (SELECT count(*) FROM fmoe.lent), (SELECT count(*) FROM fmoe.lent_part),"
	. " (SELECT count(*) FROM fmoe.deployment), (SELECT count(*) FROM fmoe.training), (SELECT sum(length(data)) FROM fmoe.tensor)";
my $had = $node->safe_psql('data', $counts);
$node->safe_psql('data', <<'SQL');
GRANT SELECT ON fmoe.shared_expert TO partner WITH GRANT OPTION;
REVOKE EXECUTE ON PROCEDURE fmoe_train FROM PUBLIC;
REVOKE SELECT ON fmoe.peers FROM PUBLIC;
CREATE VIEW dashboard AS SELECT version FROM fmoe.versions;
CREATE PUBLICATION lent FOR TABLE fmoe.lent;
SQL
($result, $out, $err) = $node->psql('data', $update);
like($err, qr/table fmoe.lent is in publication or subscription "lent"/, 'a publication is in the way');
$node->safe_psql('data', 'DROP PUBLICATION lent');
($result, $out, $err) = $node->psql('data', $update);
like($err, qr/view dashboard depends on view fmoe_0_9.versions/, 'and so is what others made of it');
is($node->safe_psql('data', $counts), $had, 'which changes nothing');
$node->safe_psql('data', "DROP VIEW dashboard; $update");
is($node->safe_psql('data', $counts), $had, 'all rows are there');

sub check_data
{
	my ($database) = @_;

	my $live = $node->safe_psql($database, q(SELECT domain || '_' || version FROM fmoe.versions WHERE live AND domain = 'films'));
	is($live, 'films_6', 'what was live is live');
	is($node->safe_psql($database, <<"SQL"), 't|0', 'and answers as it did');
SELECT count(*) > 10, count(*) FILTER (WHERE s.item IS DISTINCT FROM w.item OR abs(s.score::float8 - w.score) > 1e-5 * greatest(1, abs(w.score::float8)))
FROM (SELECT * FROM expected WHERE what = '$live') w LEFT JOIN answers('films') s (call, key, rank, item, score) USING (call, key, rank)
SQL
	is($node->safe_psql($database, q(SELECT count(*), bool_and(owner = 'postgres') FROM fmoe.domains)), '5|t', 'domains have their owners');
	is($node->safe_psql($database, q(SELECT has_table_privilege('partner', 'fmoe.shared_expert', 'SELECT WITH GRANT OPTION'),
			has_function_privilege('partner', 'fmoe_train(text, jsonb)', 'EXECUTE'), has_table_privilege('partner', 'fmoe.peers', 'SELECT'),
			has_table_privilege('partner', 'fmoe.versions', 'SELECT'))), 't|f|f|t', 'privileges are what they were');
}

$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('data'), '-f', "$format/../answers.sql",
		'-c', 'CREATE TABLE expected (what text, call text, key text, rank bigint, item text, score real)', '-c', "\\copy expected FROM '$format/expected.tsv'" ], 'functions that ask');
check_data('data');
$node->command_ok([ 'bash', '-c', 'pg_dump data | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null restored' ], 'a dump of it restores');
check_data('restored');
is($node->safe_psql('data', q(CALL fmoe_train('songs', '{"model": "sasrec", "epochs": 1, "width": 8, "layers": 1, "deploy": false}');
	SELECT max(version) FROM fmoe.versions WHERE domain = 'songs')), '5', 'trainings go on, and numbers too');
is($node->safe_psql('data', q(SELECT fmoe_rollback('films'))), '5', 'a deployment can be undone');

done_testing();
