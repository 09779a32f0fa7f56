# pg_upgrade from an older PostgreSQL: domains, versions, what is live, lent experts and
# owners are those of before, give the same answers, and all of it goes on.
#
# FMOE_OLDER: where an older PostgreSQL with fmoe is, which scripts/test makes of one that
# is installed beside that under test.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $older = $ENV{FMOE_OLDER} // plan(skip_all => 'no older PostgreSQL is installed beside this one');
my @init = ('--encoding', 'UTF8', '--locale', 'C');

my $old = PostgreSQL::Test::Cluster->new('old', install_path => $older);
my $new = PostgreSQL::Test::Cluster->new('new');
$old->init(extra => \@init);
# which is the default since 18, and cannot change on the way
push @init, '--no-data-checksums' if $new->pg_version >= 18;
$new->init(extra => \@init);
$_->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nclient_min_messages = warning\n") foreach $old, $new;
note('from PostgreSQL ' . $old->pg_version . ' to ' . $new->pg_version);

# ---------------------------------------------------------------- before

$old->start;
$old->safe_psql('postgres', <<'SQL');
CREATE ROLE joe LOGIN;
CREATE EXTENSION fmoe;
CREATE EXTENSION postgres_fdw;
GRANT EXECUTE ON FUNCTION fmoe_create_domain TO joe;
GRANT CREATE ON SCHEMA public TO joe;
ALTER DATABASE postgres SET fmoe.party = 'north';
CREATE TYPE genre AS ENUM ('drama', 'comedy');
CREATE TABLE films (film bigint, genre genre, sold boolean);
INSERT INTO films SELECT f, (enum_range(NULL::genre))[1 + f % 2], f % 9 > 0 FROM generate_series(0, 29) f;
CREATE TABLE views AS SELECT u::bigint AS viewer, (u * 7 + n * (1 + u % 3))::bigint % 30 AS film, timestamptz '2024-01-01 UTC' + n * interval '1 hour' AS at
	FROM generate_series(1, 90) u, generate_series(1, 8) n;
CREATE TABLE songs AS SELECT 'user ' || viewer AS listener, pg_catalog.md5(film::text)::uuid AS song, at FROM views;
CREATE TABLE orders AS SELECT viewer, (enum_range(NULL::genre))[1 + film % 2] AS genre, at::date AS day, 'order ' || film % 3 AS number FROM views;
ALTER TABLE songs OWNER TO joe;
SQL
$old->safe_psql('postgres', <<'SQL');
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere;
SELECT fmoe_add_peer('elsewhere', 'elsewhere');
SELECT fmoe_create_domain('gone', 'views', 'viewer', 'film', 'at'), fmoe_drop_domain('gone');
SELECT fmoe_create_domain('films', 'views', 'viewer', 'film', 'at', items => 'films', item_key => 'film', available_column => 'sold');
SELECT fmoe_create_domain('lender', 'views', 'viewer', 'film', 'at');
SELECT fmoe_create_domain('orders', 'orders', 'viewer', 'genre', 'day', basket_column => 'number');
SET ROLE joe;
SELECT fmoe_create_domain('songs', 'songs', 'listener', 'song', 'at');
CALL fmoe_train('songs', '{"model": "markov", "deploy": false}');
SELECT fmoe_deploy('songs', 1);
RESET ROLE;
CALL fmoe_train('lender', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 2, "deploy": false}');
SELECT fmoe_lend('lender', 1), fmoe_lend('lender', 1, '{"precision": "int8"}');
CALL fmoe_train('orders', '{"model": "markov", "deploy": false}');
SELECT fmoe_deploy('orders', 1);
CALL fmoe_train('films', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 2, "deploy": false}');
CALL fmoe_train('films', '{"model": "fmoe", "width": 8, "layers": 1, "epochs": 2, "experts": ["north.lender"], "holdout": "test", "deploy": false}');
CALL fmoe_train('films', '{"model": "popularity", "deploy": false}');
SELECT fmoe_deploy('films', 1), fmoe_deploy('films', 3), fmoe_deploy('films', 2);
SELECT fmoe_create_functions('songs', 'tunes');
CREATE VIEW tune AS SELECT * FROM tunes_recommend('user 1', 3);
CREATE TABLE kept_file AS SELECT fmoe_export('films', 1) AS file;
SQL

# What is asked before and after.  Two compilers made the libraries, so scores may differ in the last bits.
$old->safe_psql('postgres', <<'SQL');
CREATE FUNCTION answers() RETURNS TABLE (what text, answer jsonb) LANGUAGE sql AS $$
	SELECT 'version ' || v, to_jsonb(r) FROM generate_series(1, 3) v, generate_series(1, 5) u, fmoe_recommend(u::bigint, 4, 'films', version => v) r
	UNION ALL SELECT 'films', to_jsonb(r) FROM fmoe_recommend_all('films', 3) r
	UNION ALL SELECT 'filter', to_jsonb(r) FROM fmoe_recommend(3::bigint, 4, 'films', filter => 'genre = ''comedy''') r
	UNION ALL SELECT 'songs', to_jsonb(r) FROM tunes_recommend('user 7', 4) r
	UNION ALL SELECT 'tune', to_jsonb(r) FROM tune r
	UNION ALL SELECT 'orders', to_jsonb(r) FROM fmoe_recommend('5', 2, 'orders', exclude_seen => false) r
	UNION ALL SELECT 'together', to_jsonb(r) FROM fmoe_together(ARRAY['drama'], 2, 'orders') r
	UNION ALL SELECT 'similar', to_jsonb(r) FROM fmoe_similar(3::bigint, 4, 'films') r
	UNION ALL SELECT 'explain', to_jsonb(r) FROM fmoe_explain(3::bigint, 2, 'films') r
	UNION ALL SELECT 'evaluate', to_jsonb(r) FROM fmoe_evaluate('films') r
	UNION ALL SELECT 'embedding', to_jsonb(fmoe_embedding(3::bigint, 'films', version => 2))
	UNION ALL (SELECT 'domain', to_jsonb(r) FROM fmoe.domains r ORDER BY domain)
	UNION ALL (SELECT 'version', to_jsonb(r) FROM fmoe.versions r ORDER BY domain, version)
	UNION ALL (SELECT 'lent', to_jsonb(r) FROM fmoe.experts r ORDER BY r::text)
	UNION ALL (SELECT 'deployment', to_jsonb(r) FROM fmoe.deployment r ORDER BY deployment_id)
	UNION ALL SELECT 'peer', to_jsonb(r) FROM fmoe.peers r
	UNION ALL SELECT 'party', to_jsonb(fmoe._party())
	UNION ALL SELECT 'weights', jsonb_build_array(count(*), md5(string_agg(md5(data), ' ' ORDER BY version_id, name, part))) FROM fmoe.tensor
	UNION ALL SELECT 'lent files', jsonb_build_array(count(*), md5(string_agg(md5(data), ' ' ORDER BY lent_id, part))) FROM fmoe.lent_part
$$;
CREATE FUNCTION same(a jsonb, b jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN CASE WHEN jsonb_typeof(a) IS DISTINCT FROM jsonb_typeof(b) THEN false
		WHEN jsonb_typeof(a) = 'number' THEN abs(a::float8 - b::float8) <= 1e-5 * greatest(1, abs(a::float8))
		WHEN jsonb_typeof(a) = 'array' THEN jsonb_array_length(a) = jsonb_array_length(b)
			AND NOT EXISTS (SELECT FROM generate_series(0, jsonb_array_length(a) - 1) n WHERE NOT same(a -> n, b -> n))
		WHEN jsonb_typeof(a) = 'object' THEN NOT EXISTS (SELECT FROM jsonb_each(a || b) e WHERE NOT coalesce(same(a -> key, b -> key), false))
		ELSE a = b END;
END $$;
CREATE TABLE before AS SELECT * FROM answers() WITH ORDINALITY a (what, answer, n);
CREATE VIEW different AS SELECT coalesce(b.what, a.what) AS what, b.answer AS before, a.answer AS now
	FROM before b FULL JOIN answers() WITH ORDINALITY a (what, answer, n) USING (n)
	WHERE b.what IS DISTINCT FROM a.what OR NOT same(b.answer, a.answer) LIMIT 10;
SQL
is($old->safe_psql('postgres', 'SELECT pg_catalog.count(DISTINCT what) FROM before WHERE answer IS NOT NULL'), '21', 'something of each kind is asked');
is($old->safe_psql('postgres', 'SELECT * FROM different'), '', 'twice it is the same');
is($old->safe_psql('postgres', q(SELECT pg_catalog.jsonb_array_length(config -> 'experts') FROM fmoe.versions WHERE domain = 'films' AND version = 2)),
	'1', 'a mixture has a lent expert');
$old->stop;

# ---------------------------------------------------------------- the upgrade

my @upgrade = ('pg_upgrade', '-d', $old->data_dir, '-D', $new->data_dir, '-b', "$older/bin", '-B', $new->config_data('--bindir'),
	'-s', $new->host, '-p', $old->port, '-P', $new->port);
chdir PostgreSQL::Test::Utils::tempdir() or die;
command_ok([ @upgrade, '--check' ], 'pg_upgrade finds nothing that it cannot take');
command_ok(\@upgrade, 'and takes it');
$new->start;

# ---------------------------------------------------------------- after

is($new->safe_psql('postgres', 'SELECT * FROM different'), '', 'all answers and all rows are those of before');
my ($result, $out, $err) = $new->psql('postgres', 'DROP ROLE joe');
like($err, qr/cannot be dropped because some objects depend on it.*fmoe\.domain_\d+_owner/s, 'owners are who they were');
is($new->safe_psql('postgres', "SELECT fmoe_rollback('films'), fmoe_rollback('films')"), '3|1', 'what was live before can be again');
is($new->safe_psql('postgres', <<'SQL'), '5', 'trainings go on');
SET client_min_messages = error;
SET ROLE joe;
CALL fmoe_train('songs', '{"model": "sasrec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');
RESET ROLE;
SELECT fmoe_lend('lender', 1, '{"precision": "float16"}') IS NOT NULL \g /dev/null
CALL fmoe_train('films', '{"model": "fmoe", "width": 8, "layers": 1, "epochs": 1, "experts": ["north.lender"], "deploy": false}');
SELECT fmoe_import('films', 'a file of before', file) FROM kept_file;
SQL
is($new->safe_psql('postgres', q(SELECT pg_catalog.string_agg(version::text, ',' ORDER BY version) FROM fmoe.versions WHERE domain = 'songs')), '1,2', 'by whom they may');
$new->stop;
done_testing();
