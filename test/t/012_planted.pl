# What somebody put into the extension's schema before the extension: nothing of it is taken
# over, or called in place of one of its functions.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('planted');

$node->init;
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE mallory');

# planted NAME, WHAT SHE MAKES, HOW THE EXTENSION IS CREATED, EXPECTED
sub planted
{
	my ($name, $hers, $create, $expected) = @_;
	my ($out, $err) = ('', '');

	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS shop');
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	$node->safe_psql('shop', "GRANT CREATE ON DATABASE shop TO mallory; GRANT CREATE ON SCHEMA public TO mallory; SET ROLE mallory; $hers");
	$node->psql('shop', $create, stdout => \$out, stderr => \$err);
	return like($err, $expected, $name);
}

my $body = q{LANGUAGE sql AS 'SELECT 1'};

planted('a function that fits an integer better', "CREATE FUNCTION public.fmoe_recommend(user_id int) RETURNS int $body",
	'CREATE EXTENSION fmoe', qr/function fmoe_recommend\(integer\) was there before the extension/);
planted('one with the arguments of ours', "CREATE FUNCTION public.fmoe_version() RETURNS text $body",
	'CREATE EXTENSION fmoe', qr/function fmoe_version\(\) (was there before|already exists)/);
planted('an aggregate\'s transition', "CREATE FUNCTION public.fmoe_fit_final(int) RETURNS int $body",
	'CREATE EXTENSION fmoe', qr/function fmoe_fit_final\(integer\) was there before/);
planted('the schema of the tables', 'CREATE SCHEMA fmoe', 'CREATE EXTENSION fmoe', qr/schema "fmoe" already exists/);
planted('that schema as the extension\'s own', 'CREATE SCHEMA fmoe', 'CREATE EXTENSION fmoe SCHEMA fmoe',
	qr/schema fmoe belongs to another role/);
planted('what has nothing to do with it', "CREATE FUNCTION public.recommend(int) RETURNS int $body", 'CREATE EXTENSION fmoe', qr/^$/);
is($node->safe_psql('shop', "SELECT pg_catalog.count(*) FROM pg_catalog.pg_extension WHERE extname = 'fmoe'"), '1', 'is no obstacle');

$node->stop;
done_testing();
