# Where there is nothing to learn, nothing goes live: random orders, many seeds, items of a
# basket at one time or spread, all items as likely or some more, so that popularity is the
# one to beat; and where all are as likely, the items of the basket that was kept back are
# found as often as in a random ranking.
#
# A lead of 2.326 standard errors over counting is had by chance in one of a hundred trainings.
# So as many may go live as have a probability of 1 % or more where one of a hundred does.

use strict;
use warnings;

use Fmoe;
use List::Util qw(sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $trainings = 40 * (int(long_minutes(0) / 5) || 1);
my $seed = long_seed();
my @models = ('{"model": "sasrec", "width": 16, "layers": 1, "heads": 1, "epochs": 40, "holdout": "test"}', '{"model": "auto", "width": 16, "layers": 1, "heads": 1, "epochs": 40, "holdout": "test"}');

my $node = PostgreSQL::Test::Cluster->new('chance');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = error\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE orders (u integer, i integer, at timestamptz);
SELECT fmoe_create_domain('orders', 'orders', 'u', 'i', 'at');
SQL

# The largest number that is not beyond chance: P(more than it of n | p) is below 1 %.
sub most_by_chance
{
	my ($n, $p) = @_;
	my $term = (1 - $p)**$n;
	my $up_to = $term;
	my $k = 0;

	while ($up_to <= 0.99)
	{
		$term *= ($n - $k) / ($k + 1) * $p / (1 - $p);
		$k++;
		$up_to += $term;
	}
	return $k;
}

my @live;
my @ratios = ([], []);			# recall beside that of a random ranking, where items are as likely: spread, tied
foreach my $n (1 .. $trainings)
{
	my $tied = $n % 2;
	my $model = $models[($n >> 1) % 2];
	my $skewed = ($n >> 2) % 2;
	my $data = ($seed + $n) % 1_000_000 / 1_000_000;
	my $options = $model =~ s/\}/, "seed": $n}/r;

	# 300 users, six baskets each, of one to five items out of 100
	my $out = $node->safe_psql('postgres', <<"SQL");
SELECT fmoe_drop_version('orders', version) FROM fmoe.versions WHERE domain = 'orders' AND NOT live \\g /dev/null
TRUNCATE orders;
SELECT setseed($data) \\g /dev/null
INSERT INTO orders SELECT u, floor(100 * power(random(), ${\ (1 + $skewed)})), timestamptz '2024-01-01 UTC' + b * interval '1 day' + n * interval '${\ ($tied ? 0 : 1)} hour'
	FROM generate_series(1, 300) u, generate_series(1, 6) b, LATERAL generate_series(1, 1 + floor(random() * 5)::integer + 0 * u * b) n;
SELECT NOT EXISTS (SELECT FROM fmoe.versions WHERE domain = 'orders' AND live) AS first \\gset
\\if :first
CALL fmoe_train('orders', '{"model": "popularity"}');
\\endif
CALL fmoe_train('orders', '$options');
SELECT max(version) AS version FROM fmoe.versions WHERE domain = 'orders' \\gset
SELECT model || ' ' || live FROM fmoe.versions WHERE domain = 'orders' AND version = :version;
WITH basket AS (SELECT u, i, at, max(at) OVER (PARTITION BY u) AS last, (SELECT count(DISTINCT i) FROM orders) AS items FROM orders),
	had AS (SELECT u, max(items) - count(DISTINCT i) AS others FROM basket WHERE at < last GROUP BY u),
	judged AS (SELECT DISTINCT u FROM basket b WHERE at = last AND NOT EXISTS (SELECT FROM basket h WHERE h.u = b.u AND h.i = b.i AND h.at < h.last))
SELECT value / avg(10.0 / others) FROM fmoe_evaluate('orders', jsonb_build_object('version', :version)) e, had JOIN judged USING (u)
	WHERE e.model = 'version ' || :version AND metric = 'recall' AND k = 10 GROUP BY value;
SQL
	my ($went, $ratio) = split /\n/, $out;
	note("$n, " . ($tied ? 'tied' : 'spread') . ($skewed ? ', some items more likely' : '') . ": $went, recall@10 $ratio times that of chance");
	push @{ $ratios[$tied] }, $ratio if !$skewed;
	next if $went !~ / true/;
	push @live, $n;
	$node->safe_psql('postgres', "SELECT fmoe_rollback('orders')");
}
diag(scalar(@live) . " of $trainings trainings went live: @live");
foreach my $kind (0 .. $#models)
{
	my $of = grep { ($_ >> 1) % 2 == $kind } 1 .. $trainings;
	my $went = grep { ($_ >> 1) % 2 == $kind } @live;
	my ($name) = $models[$kind] =~ /"model": "(\w+)"/;

	cmp_ok($went, '<=', most_by_chance($of, 0.01), "random orders do not put $name live: $went of $of");
}
foreach my $tied (0, 1)
{
	my @of = @{ $ratios[$tied] };
	my $mean = sum(@of) / @of;
	my $error = sqrt(sum(map { ($_ - $mean)**2 } @of) / (@of * (@of - 1)));
	my $said = sprintf '%s: recall@10 is %.3f times that of chance, standard error %.3f', $tied ? 'tied' : 'spread', $mean, $error;

	diag($said);
	cmp_ok(abs($mean - 1), '<', 4 * $error, $said);
	cmp_ok($error, '<', 0.1, 'which is measured well enough');
}
$node->stop;
done_testing;
