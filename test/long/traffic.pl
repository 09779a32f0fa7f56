# Sessions that train, recommend, deploy, roll back and drop all at once, for
# FMOE_LONG_MINUTES, else a few seconds: every answer is that of the version which is
# live in the same snapshot.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = int(60 * long_minutes(0.3));
my $seed = long_seed();

my $node = PostgreSQL::Test::Cluster->new('traffic');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
log_statement = none
fmoe.shared_cache_size = '300kB'
CONF
$node->start;

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION fmoe;
CREATE TABLE events AS SELECT u::bigint u, ((u * 7 + n * n) % 200)::bigint i, n::bigint t
	FROM generate_series(1, 200) u, generate_series(1, 10) n;
CREATE INDEX ON events (u);
SELECT fmoe_create_domain('d', 'events', 'u', 'i', 't');
-- what a version answers some users; written in one transaction with what makes it known
CREATE TABLE truth (version integer, u bigint, answer text, PRIMARY KEY (version, u));
CREATE TABLE seen (who text, what text, n bigint DEFAULT 0, wrong text, PRIMARY KEY (who, what));

CREATE FUNCTION answer(u bigint, v integer) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT string_agg(item_id || ' ' || score || ' ' || source, ', ') FROM fmoe_recommend($1, 5, 'd', version => $2) $$;

CREATE PROCEDURE count_it(who text, what text, wrong text DEFAULT NULL) LANGUAGE sql AS $$
	INSERT INTO seen VALUES (who, what, 1, wrong) ON CONFLICT ON CONSTRAINT seen_pkey
		DO UPDATE SET n = seen.n + 1, wrong = COALESCE(seen.wrong, EXCLUDED.wrong) $$;

-- each does its part again and again; what it may not do, it is told in words
CREATE PROCEDURE work(who text, seconds double precision) LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + seconds * interval '1 second';
	part text := split_part(who, ' ', 1);
	done text;
	one bigint;
	v integer;
	got text;
	expected text;
BEGIN
	WHILE clock_timestamp() < until LOOP
		done := 'done';
		expected := NULL;
		got := NULL;
		BEGIN
			one := 1 + floor(random() * 20);
			CASE part
				WHEN 'read' THEN
					-- one statement, one snapshot
					SELECT t.version, t.answer, (SELECT string_agg(item_id || ' ' || score || ' ' || source, ', ')
							FROM fmoe_recommend(one, 5, 'd'))
						INTO v, expected, got
						FROM fmoe.versions l JOIN truth t USING (version) WHERE l.live AND t.u = one;
				WHEN 'all' THEN
					SELECT count(*)::text, '0' INTO got, expected FROM (
						SELECT user_id::bigint AS u, string_agg(item_id || ' ' || score || ' ' || source, ', ' ORDER BY rank) AS answer
							FROM fmoe_recommend_all('d', 5) WHERE user_id::bigint <= 20 GROUP BY 1) a
						JOIN truth t USING (u) JOIN fmoe.versions l USING (version) WHERE l.live AND t.answer IS DISTINCT FROM a.answer;
				WHEN 'deploy' THEN
					PERFORM fmoe_deploy('d', (SELECT version FROM truth ORDER BY random() LIMIT 1));
				WHEN 'rollback' THEN
					PERFORM fmoe_rollback('d');
				WHEN 'drop' THEN
					SELECT min(version) INTO v FROM truth HAVING count(DISTINCT version) > 4;
					IF v IS NOT NULL THEN
						PERFORM fmoe_drop_version('d', v);
						DELETE FROM truth WHERE version = v;
					END IF;
				WHEN 'train' THEN
					CALL fmoe_train('d', format('{"model": %s, "max_length": 10, "seed": %s, "deploy": false}',
						(ARRAY['"sasrec", "width": 16, "layers": 1, "epochs": 1, "workers": 0', '"gru4rec", "width": 16, "layers": 1, "epochs": 1, "workers": 0',
							'"markov"'])[1 + floor(random() * 3)], floor(random() * 1000))::jsonb);
					SELECT max(version) INTO v FROM fmoe.versions;
					INSERT INTO truth SELECT v, u, answer(u, v) FROM generate_series(1, 20) u;
			END CASE;
		EXCEPTION WHEN OTHERS THEN
			done := SQLSTATE || ' ' || regexp_replace(SQLERRM, '\d+', 'N', 'g');
		END;
		IF expected IS DISTINCT FROM got THEN
			CALL count_it(who, 'wrong', format('version %s, user %s: %s, not %s', v, one, got, expected));
		END IF;
		CALL count_it(who, done);
		COMMIT;
		IF part NOT IN ('read', 'all', 'train') THEN
			PERFORM pg_sleep(0.02 * random());
		END IF;
	END LOOP;
END $$;
SET client_min_messages = error;
CALL work('train 0', 2);
SELECT fmoe_deploy('d', 1);
SQL

my @who = ('read 1', 'read 2', 'read 3', 'all 1', 'train 1', 'deploy 1', 'deploy 2', 'rollback 1', 'drop 1');
$patience_s += $seconds;
my @sessions = map { session($node) } @who;

foreach my $n (0 .. $#who)
{
	my $cache = $who[$n] eq 'read 3' ? '64kB' : '512MB';

	ask($sessions[$n], "SET client_min_messages = error; SET fmoe.cache_size = '$cache'; SELECT setseed($seed / 1000000.0)");
	send_to($sessions[$n], "CALL work('$who[$n]', $seconds)");
}
foreach my $n (0 .. $#who)
{
	answer($sessions[$n]);
	is($sessions[$n]->{err}, '', "$who[$n] comes to its end");
	leave($sessions[$n]);
}

diag($node->safe_psql('postgres', "SELECT who || ': ' || what || ' ' || n FROM seen ORDER BY who, n DESC"));
is($node->safe_psql('postgres', "SELECT string_agg(who || ': ' || wrong, E'\\n') FROM seen WHERE what = 'wrong'"), '', 'no answer is wrong');
my $answers = $node->safe_psql('postgres', "SELECT sum(n) FROM seen WHERE who ~ 'read|all' AND what = 'done'");
cmp_ok($answers, '>', 10 * $seconds, "of $answers");
# no such version, in use, nothing to roll back to; two trainings at once; a version that went while it was read
is($node->safe_psql('postgres', "SELECT string_agg(who || ': ' || what, E'\\n') FROM seen WHERE what <> 'done' AND what !~ '^(42704|55006|55000|55P03|22004) '"), '',
	'what was refused was refused in words');
is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE who ~ 'read|all' AND what <> 'done' AND what !~ '^(42704|55000) '"), '0', 'reading never fails');
is($node->safe_psql('postgres', orphans()), '0', 'there are no rows that belong to nothing');
is($node->safe_psql('postgres', 'SELECT COALESCE(sum(sessions), 0) FROM fmoe.cache'), '0', 'and no version is held');
$node->stop;
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP|WARNING/, 'nothing crashed, nothing leaked');
done_testing;
