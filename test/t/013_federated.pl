# Training in rounds of users across three databases: what is shared is the same bit for bit
# after each exchange, a party that is away is gone on without, what will not do changes nothing,
# and nothing of a single user leaves.

use strict;
use warnings;

use Fmoe;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @names = qw(east north west);
my %node;

# ---------------------------------------------------------------- three parties, each a peer of both others

foreach my $name (@names)
{
	$node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node{$name}->init;
	$node{$name}->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nrestart_after_crash = on\nfmoe.party = '$name'\n");
	$node{$name}->start;
}

sub value
{
	my ($name, $sql) = @_;
	return $node{$name}->safe_psql('postgres', $sql);
}

# A statement that goes on by itself.
sub begin
{
	my ($name, $sql) = @_;
	my %run = (out => '', err => '');

	$run{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node{$name}->connstr('postgres'), '-c', $sql ],
		'>', \$run{out}, '2>', \$run{err}, IPC::Run::timeout($patience_s));
	return \%run;
}

# Trains at all of them at once; returns what each is told.
sub train
{
	my ($options, @who) = @_;
	my %run = map { $_ => begin($_, "CALL fmoe_train('feed', '$options')") } @who;

	foreach my $name (@who)
	{
		$run{$name}{run}->finish;
		note("$name: $run{$name}{err}") if $run{$name}{err} =~ /ERROR/;
	}
	return map { $_ => $run{$_}{err} } @who;
}

# State after each round, as a party tells it.
sub states
{
	my ($told) = @_;
	return join ' ', $told =~ /round \d+\/\d+: state (\d+, [0-9a-f]{16})/g;
}

my $users = 50;

# What makes a domain of a database's own users, of whom each has so many impressions.
sub domain_of
{
	my ($name, $each) = @_;

	# names of users, and what they click, are found in no byte that leaves
	return <<SQL;
CREATE EXTENSION fmoe;
CREATE TABLE people (id text PRIMARY KEY, region text);
INSERT INTO people SELECT 'secret_${name}_' || u, 'region' || u % 3 FROM generate_series(1, $users) u;
CREATE TABLE films (id int PRIMARY KEY, genre text, mood text);
INSERT INTO films SELECT i, 'genre' || i % 5, 'mood' || i % 3 FROM generate_series(1, 40) i;
CREATE TABLE shown (person text, film int, at int, clicked boolean);
INSERT INTO shown SELECT 'secret_${name}_' || u, 1 + (u * 7 + s * 5) % 40, s, (u * 7 + s * 5) % 5 < 2 OR (u + s) % 7 = 0
	FROM generate_series(1, $users) u, generate_series(1, $each) s;
SELECT fmoe_create_domain('feed', 'shown', 'person', 'film', 'at', 'clicked', items => 'films', item_key => 'id',
	category_columns => '{genre,mood}', users => 'people', user_key => 'id', user_category_columns => '{region}');
SQL
}
value($names[$_], 'CREATE EXTENSION postgres_fdw; ' . domain_of($names[$_], 15 + $_)) foreach 0 .. $#names;

foreach my $name (@names)
{
	foreach my $other (grep { $_ ne $name } @names)
	{
		my ($host, $port) = ($node{$other}->host, $node{$other}->port);

		value($name, <<SQL);
CREATE SERVER $other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER $other;
SELECT fmoe_add_peer('$other', '$other');
SQL
	}
}

# ---------------------------------------------------------------- bit for bit

my $options = '{"model": "mrff", "federated": true, "rounds": 3, "local_epochs": 2, "layers": 1, "max_length": 20, "exchange_wait": 60, "deploy": false, "patience": 100}';
my %told = train($options, @names);
like(states($told{east}), qr/^1, \w+ 2, \w+ 3, \w+$/, 'three exchanges');
is(states($told{$_}), states($told{east}), "$_ has the same states") foreach qw(north west);
my @added = map { scalar(() = $told{$_} =~ /Changes of 3 parties were added up here/g) } @names;
is_deeply(\@added, [ 1, 1, 1 ], 'each has added up in its turn');

# ---------------------------------------------------------------- one that is named

value($_, "SELECT fmoe_withdraw('feed')") foreach @names;
%told = train($options =~ s/"rounds": 3/"rounds": 2, "aggregator": "north.feed"/r, @names);
like(states($told{east}), qr/^1, \w+ 2, \w+$/, 'two exchanges');
is(states($told{$_}), states($told{east}), "$_ has the same states") foreach qw(north west);
@added = map { scalar(() = $told{$_} =~ /Changes of 3 parties were added up here/g) } @names;
is_deeply(\@added, [ 0, 2, 0 ], 'the one that is named adds up each time');

# ---------------------------------------------------------------- nothing of a single user leaves

foreach my $name (@names)
{
	is(value($name, q(SELECT count(*) FROM fmoe.lent_part WHERE position('secret_'::bytea IN data) > 0 OR position('region'::bytea IN data) > 0
		OR position('genre'::bytea IN data) > 0)), '0', "$name: no id and no category is in a byte that was lent");
	is(value($name, q(SELECT count(*) FROM fmoe.lent l WHERE l::text ~ 'secret_|region[0-9]|genre[0-9]')), '0', "$name: nor in a row");
	# the header of a safetensors file is a JSON object behind its length, of eight bytes
	is(value($name, q(SELECT count(*), count(*) FILTER (WHERE key !~ '^(state|change)\.(position|label|block|norm|head|rates)\.|^exchange$|^__metadata__$')
		FROM fmoe.lent_part p, LATERAL json_each(convert_from(substr(data, 9, get_byte(data, 0) + 256 * get_byte(data, 1)), 'UTF8')::json) WHERE part = 0)) =~ /^(\d+)\|0$/
		&& $1 > 50 ? 'so' : 'not so', 'so', "$name: what was lent are shared parameters only");
}

# ---------------------------------------------------------------- a party that is away, one that is large, one that is another

my $two = $options =~ s/"exchange_wait": 60/"exchange_wait": 2, "parties": 3/r =~ s/"rounds": 3/"rounds": 1/r;
value($_, "SELECT fmoe_withdraw('feed')") foreach @names;
%told = train($two, qw(east north));
is(states($told{north}), states($told{east}), 'two parties go on without the third');
like($told{east} . $told{north}, qr/Changes of 2 parties were added up here/, 'and add up what they have');

value('west', q(INSERT INTO shown SELECT 'secret_west_more' || u, 1 + (u * 3 + s) % 40, s, (u + s) % 2 = 0
	FROM generate_series(1, 300) u, generate_series(1, 5) s));
value($_, "SELECT fmoe_withdraw('feed')") foreach @names;
my $one = $options =~ s/"rounds": 3/"rounds": 1/r;
%told = train($one, @names);
like($told{east}, qr/WARNING: +"west.feed" says that it has 350 users, and counts as 100/, 'a party counts at most twice the median');
is(states($told{west}), states($told{east}), 'and all have the same state');

value($_, "SELECT fmoe_withdraw('feed')") foreach @names;
$one =~ s/"rounds": 1/"rounds": 1, "aggregator": "north.feed"/;
value('north', "CALL fmoe_train('feed', '" . ($one =~ s/"layers": 1/"layers": 1, "width": 4/r =~ s/"exchange_wait": 60/"exchange_wait": 1/r) . "')");
%told = train($one =~ s/"exchange_wait": 60/"exchange_wait": 2/r, qw(east west));
like($told{east}, qr/WARNING: +what "north.feed" gives to the exchange is not used: parameter "\S+" is missing there or has another shape/,
	'an aggregator of another shape is not used');
like($told{east} . $told{west}, qr/Changes of 2 parties were added up here/, 'and one of the others adds up');
is(states($told{west}), states($told{east}), 'and the others have the same state');

# the last number of a file is no number any more
value($_, "SELECT fmoe_withdraw('feed')") foreach qw(east west);
value('north', "CALL fmoe_train('feed', '" . ($one =~ s/"exchange_wait": 60/"exchange_wait": 1/r) . "')");
value('north', q(UPDATE fmoe.lent_part SET data = overlay(data PLACING '\x0000c07f'::bytea FROM length(data) - 3)));
%told = train($one =~ s/"exchange_wait": 60/"exchange_wait": 2/r, qw(east west));
like($told{east}, qr/WARNING: +could not sync peer "north"/, 'what is not finite is not fetched from an aggregator');
is(states($told{west}), states($told{east}), 'and the others have the same state again');
value('north', "SELECT fmoe_withdraw('feed')");

# a head that says more than its file
value($_, "SELECT fmoe_withdraw('feed')") foreach qw(east west);
value('north', "CALL fmoe_train('feed', '" . ($one =~ s/"exchange_wait": 60/"exchange_wait": 1/r) . "')");
value('north', 'UPDATE fmoe.lent SET users = 1000000');
%told = train($one =~ s/"exchange_wait": 60/"exchange_wait": 2/r, qw(east west));
like($told{east}, qr/WARNING: +could not sync peer "north".*DETAIL: [^\n]*users/s, 'a head that is not what its file says is not fetched');
unlike($told{east}, qr/counts as/, 'and counts nothing');
is(states($told{west}), states($told{east}), 'and the others have the same state once more');
value('north', "SELECT fmoe_withdraw('feed')");

# ---------------------------------------------------------------- a crash

value($_, "SELECT fmoe_withdraw('feed')") foreach @names;
my $four = $options =~ s/"rounds": 3/"rounds": 4/r =~ s/"exchange_wait": 60/"exchange_wait": 30/r;
my %run = map { $_ => begin($_, "CALL fmoe_train('feed', '$four')") } @names;
my $witness = begin('north', 'SELECT pg_catalog.pg_sleep(600)');
wait_until('an exchange is committed', 't', sub { value('north', 'SELECT EXISTS (SELECT FROM fmoe.training WHERE epoch >= 2)') });
kill 'KILL', value('north', 'SELECT pid FROM fmoe.progress');
eval { $_->{run}->finish } foreach $run{north}, $witness;
wait_server($node{north});
my $north = begin('north', "CALL fmoe_train('feed', '$four')");
$_->finish foreach $north->{run}, map { $run{$_}{run} } qw(east west);
like($north->{err}, qr/continuing the training that was cut off after epoch/, 'a training goes on with the last exchange');
my ($last) = reverse split / (?=\d+,)/, states($north->{err});
is($last, (reverse split / (?=\d+,)/, states($run{$_}{err}))[0], "and ends with the state of $_") foreach qw(east west);

# ---------------------------------------------------------------- noise

value($_, "SELECT fmoe_withdraw('feed')") foreach @names;
my $private = $options =~ s/"rounds": 3/"rounds": 3, "clip": 0.5, "noise": 1, "sampling": 0.5/r;
%told = train($private, @names);
is(states($told{$_}), states($told{east}), "with noise, too, $_ has the same states") foreach qw(north west);
is(value($_, q(SELECT round((metrics -> 'privacy' ->> 'epsilon')::numeric, 2) FROM fmoe.versions ORDER BY version DESC LIMIT 1)), '9.91',
	"$_: epsilon of six rounds") foreach @names;
is(value($_, q(SELECT DISTINCT round((privacy ->> 'epsilon')::numeric, 2) FROM fmoe.experts)), '9.91', "$_: as what was exchanged says") foreach @names;

# a budget that one of them has spent in the middle: it ends, the others go on without it
value($_, "SELECT fmoe_withdraw('feed')") foreach @names;
my $short = $private =~ s/"exchange_wait": 60/"exchange_wait": 3/r;
my $spends = begin('east', "CALL fmoe_train('feed', '" . ($short =~ s/"noise": 1/"noise": 1, "epsilon": 8/r) . "')");
%told = train($short, qw(north west));
$spends->{run}->finish;
like($spends->{err}, qr/WARNING: +training of domain "feed" ends early, as its epsilon is spent/, 'who has spent the budget is told');
is(value('east', q(SELECT (metrics -> 'privacy' ->> 'epsilon')::float8 <= 8 AND (metrics -> 'privacy' ->> 'spent')::boolean FROM fmoe.versions ORDER BY version DESC LIMIT 1)),
	't', 'and has spent no more');
my @others = split / (?=\d+,)/, states($told{west});
my @states = split / (?=\d+,)/, states($spends->{err});
is(scalar(@others), 3, 'the others have all exchanges');
is(states($told{north}), states($told{west}), 'with the same states');
ok(@states > 0 && @states < 3 && $states[0] eq $others[0], 'the first of which is that of all');

# ---------------------------------------------------------------- what comes by replication

my @replicated = qw(ash oak);
foreach my $name (@replicated)
{
	$node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node{$name}->init(allows_streaming => 'logical');
	$node{$name}->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nfmoe.party = '$name'\n");
	$node{$name}->start;
	value($name, domain_of($name, 15));
	value($name, "CREATE PUBLICATION experts FOR TABLE fmoe.lent WHERE (shared AND party = '$name'), fmoe.lent_part WHERE (shared AND party = '$name')");
}
foreach my $k (0, 1)
{
	my ($at, $from) = @replicated[ $k, 1 - $k ];

	value($at, "CREATE SUBSCRIPTION ${at}_from_$from CONNECTION '" . $node{$from}->connstr . " dbname=postgres' PUBLICATION experts");
	wait_until('a subscription is ready', 't', sub { value($at, "SELECT bool_and(srsubstate = 'r') AND count(*) = 2 FROM pg_subscription_rel") });
}
%told = train($options =~ s/"rounds": 3/"rounds": 3, "parties": 2/r, @replicated);
like(states($told{oak}), qr/^1, \w+ 2, \w+ 3, \w+$/, 'three exchanges by replication');
is(states($told{ash}), states($told{oak}), 'with the same states');
is(() = ($told{ash} . $told{oak}) =~ /Changes of 2 parties were added up here/g, 3, 'of both');
is(value($_, q(SELECT count(*) FROM fmoe.lent_part WHERE position('secret_'::bytea IN data) > 0)), '0', "$_: no id is in a byte that came") foreach @replicated;
# a subscriber without its publisher leaves a slot that nobody drops
value($_, "DROP SUBSCRIPTION ${_}_from_" . ($_ eq 'ash' ? 'oak' : 'ash')) foreach @replicated;

done_testing();
