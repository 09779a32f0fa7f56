# Functions that are called again while they run: a domain's tables are views, whose
# function calls anything of fmoe while anything of fmoe reads them.  Every pair of a
# call that reads and one that changes or reads, on the same domain and on another,
# with versions in shared memory and in the session's own.  What is in use must stay.
#
# FMOE_LONG_MINUTES: all pairs, else one of three.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('reentry');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
autovacuum = off
log_statement = none
CONF
$node->start;

my $sasrec = '{"model": "sasrec", "width": 8, "layers": 1, "max_length": 8, "epochs": 1, "holdout": "test", "workers": 0}';
my $mixture = '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "max_length": 8, "epochs": 1, "holdout": "test", "workers": 0}';

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC;
CREATE EXTENSION postgres_fdw;
CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE ROLE mallory LOGIN;
GRANT USAGE ON FOREIGN SERVER nowhere TO mallory;
CREATE SCHEMA mallory AUTHORIZATION mallory;
SQL

# What a session does that makes domains a and b, over views that call hook().
my $prepare = <<"SQL";
SET client_min_messages = error;
SET fmoe.training_workers = 0;
SET search_path = mallory, public;
CREATE TABLE events AS SELECT u::bigint u, ((u * 7 + n * n) % 30)::bigint i, n::bigint t, 1 l
	FROM generate_series(1, 30) u, generate_series(1, 8) n;
CREATE INDEX ON events (u);
CREATE TABLE goods AS SELECT i::bigint, 'title ' || i AS title, true AS there FROM generate_series(0, 29) i;
CREATE TABLE hook (what text, nth integer, caught boolean);
INSERT INTO hook VALUES (NULL, 0, true);
-- does once, at the nth row, what the table says; gone is what it is not there for
CREATE FUNCTION hook() RETURNS boolean LANGUAGE plpgsql AS \$\$
DECLARE
	todo text;
	catch boolean;
BEGIN
	UPDATE hook SET nth = nth - 1, what = CASE WHEN nth > 1 THEN what END WHERE what IS NOT NULL
		RETURNING CASE WHEN nth < 1 THEN (SELECT h.what FROM hook h) END, caught INTO todo, catch;
	IF todo IS NULL THEN
		RETURN true;
	END IF;
	IF catch THEN
		BEGIN
			EXECUTE todo;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	ELSE
		EXECUTE todo;
	END IF;
	-- what was freed is used for something else
	PERFORM repeat('x', n * 100) FROM generate_series(1, 50) n;
	RETURN true;
END \$\$;
CREATE VIEW v AS SELECT u, i, t, l FROM events WHERE hook();
CREATE VIEW w AS SELECT i, title, there FROM goods WHERE hook();
SELECT fmoe_create_domain('b', 'events', 'u', 'i', 't');
CALL fmoe_train('b', '$sasrec');
CALL fmoe_train('b', '{"model": "markov", "deploy": false}');
CALL fmoe_train('b', '$mixture');
SELECT fmoe_alter_domain('b', sharing => 'full'), fmoe_deploy('b', 1);
CREATE TABLE file AS SELECT fmoe_export('b', 3) AS expert, (SELECT fmoe_fit(u, i, t, '{"model": "markov"}') FROM events) AS model;
SQL

# Domain a as it is to be at the start of each pair: versions 1 (a mixture), 2 and 3 (counts).
my $again = <<"SQL";
UPDATE hook SET what = NULL;
CREATE OR REPLACE VIEW v AS SELECT u, i, t, l FROM events WHERE hook();
CREATE OR REPLACE VIEW w AS SELECT i, title, there FROM goods WHERE hook();
SELECT fmoe_drop_domain('a', true), fmoe_drop_domain('c', true);
SELECT fmoe_create_domain('a', 'v', 'u', 'i', 't', items => 'w', item_key => 'i', available_column => 'there');
SELECT fmoe_import('a', 'imported', expert) FROM file;
CALL fmoe_train('a', '{"model": "markov", "deploy": false}');
CALL fmoe_train('a', '{"model": "popularity", "deploy": false}');
SELECT fmoe_alter_domain('a', sharing => 'full'), fmoe_deploy('a', 1), fmoe_deploy('a', 2), fmoe_deploy('a', 1);
SELECT fmoe_drop_domain('b', true) WHERE NOT EXISTS (SELECT FROM fmoe.versions WHERE domain = 'b' AND live);
SQL

# Each reads a table of domain a.
my %reads = (
	recommend => q{SELECT count(*) FROM fmoe_recommend(1::bigint, 5, 'a')},
	recommend_sites => q{SELECT count(*) FROM generate_series(1, 3) u, fmoe_recommend(u::bigint, 5, 'a')},
	recommend_as => q{SELECT count(*) FROM fmoe_recommend_as(NULL::text, '1'::text, 5, 'a', version => 2)},
	recommend_next => q{SELECT count(*) FROM fmoe_recommend_next(ARRAY[1, 2]::bigint[], 5, 'a')},
	filter => q{SELECT count(*) FROM fmoe_recommend(1::bigint, 5, 'a', filter => 'title <> ''x''')},
	recommend_all => q{SELECT count(*) FROM fmoe_recommend_all('a', 5)},
	recommend_users => q{SELECT count(*) FROM fmoe_recommend_all('a', 5, users => '{1,2,3}')},
	score => q{SELECT count(*) FROM fmoe_score(1::bigint, ARRAY[1, 2]::bigint[], 'a')},
	similar => q{SELECT count(*) FROM fmoe_similar(1::bigint, 5, 'a')},
	together => q{SELECT count(*) FROM fmoe_together(ARRAY[1]::bigint[], 5, 'a')},
	embedding => q{SELECT fmoe_embedding(1::bigint, 'a', 'user') IS NULL},
	explain => q{SELECT count(*) FROM fmoe_explain(1::bigint, 5, 'a')},
	evaluate => q{SELECT count(*) FROM fmoe_evaluate('a', '{"version": 1}')},
	report => q{SELECT count(*) FROM fmoe_expert_report('a', '{"version": 1}')},
	train => qq{CALL fmoe_train('a', '$sasrec')},
	train_mixture => qq{CALL fmoe_train('a', '$mixture')},
	train_counts => q{CALL fmoe_train('a', '{"model": "markov"}')},
	fit => q{SELECT octet_length(fmoe_fit(u, i, t, '{"model": "markov"}')) > 0 FROM v},
	apply => q{SELECT count(*) FROM v, file, fmoe_apply(model, ARRAY[i], 3)},
	cursor => q{DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM fmoe_recommend(1::bigint, 5, 'a'), v LOOP NULL; END LOOP; END $$},
);

# What is done meanwhile, on domain %s.
my %does = (
	(map { ("then_$_" => $reads{$_} =~ s/'a'/'%s'/r) } grep { !/cursor|apply|fit/ } keys %reads),
	alter => q{SELECT fmoe_alter_domain('%s', interactions => 'events', label_column => 'l')},
	alter_and_read => q{SELECT fmoe_alter_domain('%s', interactions => 'events'), count(*) FROM fmoe_recommend(1::bigint, 5, '%s')},
	alter_items => q{SELECT fmoe_alter_domain('%s', items => 0)},
	rename => q{SELECT fmoe_alter_domain('%s', new_name => 'c')},
	drop_domain => q{SELECT fmoe_drop_domain('%s')},
	drop_and_create => q{SELECT fmoe_drop_domain('%s'), fmoe_create_domain('%s', 'v', 'u', 'i', 't')},
	drop_version => q{SELECT fmoe_drop_version('%s', 2)},
	drop_live => q{SELECT fmoe_deploy('%s', 2), fmoe_drop_version('%s', 1)},
	deploy => q{SELECT fmoe_deploy('%s', 2)},
	rollback => q{SELECT fmoe_rollback('%s')},
	lend => q{SELECT fmoe_lend('%s', 1)},
	withdraw => q{SELECT fmoe_withdraw('%s')},
	import => q{SELECT fmoe_import('%s', 'again', expert) FROM file},
	export => q{SELECT fmoe_export('%s', 1)},
	functions => q{SELECT fmoe_create_functions('%s'), fmoe_drop_functions('%s')},
	peer => q{SELECT fmoe_add_peer('p', 'nowhere'), fmoe_drop_peer('p')},
	sync => q{CALL fmoe_sync()},
	fit => q{SELECT fmoe_fit(u, i, t, '{"model": "markov"}') FROM events -- %s},
	apply => q{SELECT count(*) FROM file, fmoe_apply(model, ARRAY[1]::bigint[], 3) -- %s},
	fedavg => q{SELECT fmoe_fedavg(expert) FROM file -- %s},
	views => q{SELECT count(*) FROM fmoe.domains, fmoe.versions, fmoe.cache, fmoe.progress, fmoe.options -- %s},
	small_cache => q{SELECT set_config('fmoe.cache_size', '0', false), fmoe_prewarm('%s', 1), fmoe_prewarm('%s', 2), fmoe_prewarm('%s', 3)},
	small_memory => q{SELECT set_config('fmoe.max_memory', '64MB', false), count(*) FROM fmoe_recommend(1::bigint, 5, '%s')},
	plans => q{DO $$ BEGIN FOR k IN 1..3 LOOP PERFORM fmoe_alter_domain('%s', label_column => CASE k %% 2 WHEN 0 THEN 'l' ELSE '' END); PERFORM * FROM fmoe_recommend(1::bigint, 3, '%s'); END LOOP; END $$},
	drop_view => q{DROP VIEW v; CREATE VIEW v AS SELECT u, i, t, l FROM events WHERE hook() -- %s},
	replace_view => q{CREATE OR REPLACE VIEW w AS SELECT i, title, there FROM goods -- %s},
	drop_index => q{CREATE INDEX more ON events (i); DROP INDEX more -- %s},
	error => q{SELECT 1 / 0 -- %s},
);

sub begin_session { return session($node, 'postgres', '-U', 'mallory') }

my $session = begin_session();
ask($session, $prepare);
is($session->{err}, '', 'two domains are made');
ask($session, $again);
is($session->{err}, '', 'and can be made again');

# What each answers when nothing happens meanwhile.
my %calm = map { ($_ => ask($session, $reads{$_})) } keys %reads;
foreach my $read (sort keys %reads)
{
	ask($session, $reads{$read});
	is($session->{err}, '', "$read works by itself") or diag($session->{err});
	ask($session, "UPDATE hook SET what = 'SELECT 1', nth = 1");
	ask($session, $reads{$read});
	is(ask($session, 'SELECT what IS NULL FROM hook'), 't', "and reads a table of the domain");
}
ask($session, $again);

my ($pairs, $done, $fired) = (0, 0, 0);

foreach my $place ('shared memory', 'private memory')
{
	if ($place eq 'private memory')
	{
		$node->append_conf('postgresql.conf', 'fmoe.shared_cache_size = 0');
		$node->reload;
	}
	leave($session);
	$session = begin_session();
	ask($session, 'SET client_min_messages = error; SET fmoe.training_workers = 0; SET search_path = mallory, public');
	foreach my $read (sort keys %reads)
	{
		my @problems;
		my $pid = ask($session, 'SELECT pg_catalog.pg_backend_pid()');

		foreach my $does (sort keys %does)
		{
			# on a different row of the table each time, and sometimes without catching errors
			my $nth = 1 + $done % 4;
			my $caught = $done % 3 != 0 ? 'true' : 'false';
			my $on = $does =~ /^(alter|rename|drop|plans)/ || $done % 2 == 0 ? 'a' : 'b';
			my $todo = $does{$does} =~ s/%s/$on/gr =~ s/%%/%/gr;

			next if $pairs++ % 3 != 0 && !$ENV{FMOE_LONG_MINUTES};
			$done++;
			ask($session, "UPDATE hook SET what = \$hook\$$todo\$hook\$, nth = $nth, caught = $caught");
			ask($session, $reads{$read});
			push @problems, "$does: $session->{err}" if $session->{err} =~ /server closed|internal|cache lookup|could not find|XX000/;
			# an error takes it back that the hook was used
			$fired++ if $session->{err} ne '' || ask($session, 'SELECT what IS NULL FROM mallory.hook') eq 't';
			# once more, with whatever is kept now
			ask($session, "UPDATE hook SET what = NULL; $reads{$read}");
			push @problems, "$does, again: $session->{err}" if $session->{err} =~ /server closed|cache lookup|could not find/;
			ask($session, $again . 'RESET fmoe.cache_size; RESET fmoe.max_memory');
			push @problems, "$does, anew: $session->{err}" if $session->{err} ne '';
			ask($session, $reads{$read}) if $read !~ /train/;
			push @problems, "$does, at last: $session->{err}" if $session->{err} ne '';
		}
		push @problems, 'another process' if ask($session, 'SELECT pg_catalog.pg_backend_pid()') ne $pid;
		is(join("\n", @problems), '', "$read stands whatever is called while it reads, in $place");
		last if !$node->safe_psql('postgres', 'SELECT 1');
	}
}
is(ask($session, $reads{recommend}), $calm{recommend}, 'and answers as before');
leave($session);
cmp_ok($fired, '>', 0.95 * $done, "of $done pairs nearly all were reached: $fired");

$node->stop;
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP|WARNING:  (snapshot|resource|plancache|relcache|cache)/, 'nothing crashed, nothing leaked');
done_testing;
