# Bytes from outside, changed at random: files that are imported, applied and averaged,
# rows that were lent, what a peer offers, options, and rows of versions, of their arrays
# and of an unfinished training, as a damaged table or an edited dump has them.  Nothing may crash, and what is
# refused is refused in words, not by an internal error.
#
# FMOE_MUTATIONS: how many, else 2500, or 5000 for each of FMOE_LONG_MINUTES.

use strict;
use warnings;

use Fmoe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $mutations = $ENV{FMOE_MUTATIONS} // 5000 * long_minutes(0.5);
my $seed = long_seed();

my $node = PostgreSQL::Test::Cluster->new('mutations');
$node->init(extra => [ '--encoding', 'UTF8', '--locale', 'C' ]);
$node->append_conf('postgresql.conf', <<'CONF');
fsync = off
log_statement = none
log_min_error_statement = panic
log_min_messages = log
restart_after_crash = on
CONF
$node->start;

# the functions that take files apart and seal them are those of sql/lending.sql
my ($files) = slurp_file('sql/lending.sql') =~ /^(CREATE FUNCTION header_size.*?)^-- the numbers of a float32 file/ms;
my $socket = $node->host;
my $port = $node->port;

$node->safe_psql('postgres', "CREATE EXTENSION fmoe; CREATE EXTENSION postgres_fdw; $files");
$node->safe_psql('postgres', <<"SQL");
SET client_min_messages = error;
CREATE TABLE events AS SELECT u::bigint u, ((u * 7 + n * n) % 12)::bigint i, n::bigint t
	FROM generate_series(1, 20) u, generate_series(1, 6) n;
SELECT fmoe_create_domain(d, 'events', 'u', 'i', 't'), fmoe_alter_domain(d, sharing => 'full') FROM unnest('{d,e}'::text[]) d;
CALL fmoe_train('d', '{"model": "sasrec", "width": 4, "layers": 1, "max_length": 4, "epochs": 1, "workers": 0}');
CALL fmoe_train('d', '{"model": "fmoe", "gate": "user", "width": 4, "layers": 1, "max_length": 4, "epochs": 1, "workers": 0, "deploy": false}');
CALL fmoe_train('d', '{"model": "markov", "deploy": false}');
CALL fmoe_train('e', '{"model": "markov"}');
CREATE TABLE seed_file (id serial, kind text, file bytea);
INSERT INTO seed_file (kind, file) SELECT 'whole', fmoe_export('d', v) FROM generate_series(1, 3) v;
SELECT fmoe_alter_domain('d', sharing => 'encoder');
INSERT INTO seed_file (kind, file) SELECT 'encoder', fmoe_export('d', 1, o::jsonb) FROM unnest(ARRAY['{}', '{"precision": "float16"}', '{"precision": "int8"}']) o;
INSERT INTO seed_file (kind, file) SELECT 'model', fmoe_fit(u, i, t, o::jsonb) FROM events,
	unnest(ARRAY['{"model": "markov"}', '{"model": "sasrec", "width": 4, "layers": 1, "max_length": 4, "epochs": 1}']) o GROUP BY o;
SELECT fmoe_lend('d', 1);
CREATE TABLE offer AS SELECT to_jsonb(l) || '{"party": "north", "domain": "wares"}' AS head, p.data AS file
	FROM fmoe.lent l JOIN fmoe.lent_part p USING (lent_id);
CREATE TABLE offer_once AS TABLE offer;
SELECT fmoe_withdraw('d');
CREATE VIEW expert AS SELECT (jsonb_populate_record(NULL::fmoe.shared_expert, head)).* FROM offer;
CREATE VIEW part AS SELECT (head ->> 'lent_id')::uuid AS lent_id, 0 AS part, file AS data FROM offer;
CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$socket', port '$port', dbname 'postgres', keep_connections 'on');
CREATE USER MAPPING FOR CURRENT_USER SERVER loop;
SELECT fmoe_add_peer('north', 'loop');
DO \$\$ BEGIN
	EXECUTE format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''public'', SET table_name ''expert'')',
		(SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'f' AND relname ~ 'expert'));
	EXECUTE format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''public'', SET table_name ''part'')',
		(SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'f' AND relname ~ 'part'));
END \$\$;
CREATE TABLE outcome (target text, code text, message text, n bigint, PRIMARY KEY (target, code));
SQL

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION at_random(n double precision) RETURNS integer LANGUAGE sql VOLATILE RETURN floor(random() * n)::integer;

-- numbers and words that readers like least
CREATE FUNCTION odd_value() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT v FROM unnest(ARRAY['0', '-1', '1', '2147483647', '2147483648', '-2147483648', '9223372036854775807', '1e308', '1e-320', 'null',
		'true', '""', '"x"', '"F32"', '"NaN"', '"-Infinity"', '[]', '[0]', '[4,4]', '[1,2,3,4,5]', '{}', '"markov"', '"sasrec"', '"fmoe"', '4', '12',
		'"{}"', '"{\"width\": 4}"', '0.5', '"\u00e4"']::jsonb[]) v ORDER BY random() LIMIT 1 $$;

-- a place in a document, chosen evenly on each level
CREATE FUNCTION some_path(document jsonb) RETURNS text[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	path text[] := '{}';
	at jsonb := document;
	step text;
BEGIN
	LOOP
		step := CASE jsonb_typeof(at)
			WHEN 'object' THEN (SELECT k FROM jsonb_object_keys(at) k ORDER BY random() LIMIT 1)
			WHEN 'array' THEN (at_random(jsonb_array_length(at)))::text END;
		EXIT WHEN step IS NULL;
		path := path || step;
		at := at -> step;
		IF jsonb_typeof(at) IS NULL THEN
			at := document #> path;
		END IF;
		EXIT WHEN random() < 0.2;
	END LOOP;
	RETURN path;
END $$;

CREATE FUNCTION mutated(document jsonb) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	path text[] := some_path(document);
BEGIN
	IF path = '{}' THEN
		RETURN odd_value();
	END IF;
	RETURN CASE at_random(4)
		WHEN 0 THEN document #- path
		WHEN 1 THEN jsonb_set(document, path, COALESCE(document #> some_path(document), 'null'))
		ELSE jsonb_set(document, path, odd_value()) END;
END $$;

CREATE FUNCTION mutated(file bytea) RETURNS bytea LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	result bytea := file;
	inner_config jsonb;
BEGIN
	CASE at_random(8)
		WHEN 0, 1 THEN
			FOR k IN 0 .. at_random(4) LOOP
				result := set_byte(result, at_random(octet_length(result)), at_random(256));
			END LOOP;
		WHEN 2 THEN
			-- in the header, where most of the reading is
			FOR k IN 0 .. at_random(3) LOOP
				result := set_byte(result, at_random(least(octet_length(result), 8 + header_size(file))), at_random(256));
			END LOOP;
		WHEN 3 THEN
			result := substr(file, 1, at_random(octet_length(file)));
		WHEN 4 THEN
			result := put_together(mutated(header(file))::text, data(file));
		WHEN 5 THEN
			inner_config := (header(file) #>> '{__metadata__,config}')::jsonb;
			result := changed(file, '{__metadata__,config}', to_jsonb(mutated(inner_config)::text));
		WHEN 6 THEN
			-- another number, with a right checksum
			result := file;
			FOR k IN 0 .. at_random(3) LOOP
				result := set_byte(result, 8 + header_size(file) + at_random(octet_length(file) - 8 - header_size(file)), at_random(256));
			END LOOP;
			result := sealed(result);
		ELSE
			result := substr(file, 1, at_random(octet_length(file))) || substr(file, at_random(octet_length(file)));
	END CASE;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN substr(file, 1, at_random(octet_length(file)));
END $$;

-- a row with another value that its column can hold
CREATE FUNCTION odd_row(one jsonb, type anyelement, kept text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	FOR attempt IN 1 .. 20 LOOP
		BEGIN
			result := jsonb_set(one, ARRAY[(SELECT k FROM jsonb_object_keys(one) k WHERE k <> ALL (kept) ORDER BY random() LIMIT 1)], odd_value());
			PERFORM jsonb_populate_record(type, result);
			RETURN result;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
	RETURN one;
END $$;
CREATE FUNCTION odd_head(head jsonb) RETURNS jsonb LANGUAGE sql RETURN odd_row(head, NULL::fmoe.lent, '{lent_id}');

-- some bytes of a row's data are others, or not there
CREATE FUNCTION odd_bytes(data bytea) RETURNS bytea LANGUAGE sql VOLATILE AS $$
	SELECT CASE at_random(3) WHEN 0 THEN substr(data, 1, at_random(octet_length(data)))
		WHEN 1 THEN data || data
		ELSE set_byte(data, at_random(octet_length(data)), at_random(256)) END WHERE octet_length(data) > 0
	UNION ALL SELECT data WHERE octet_length(data) = 0 $$;

-- a version of domain d once more, with something changed in its row or in its arrays; its number
CREATE FUNCTION odd_version() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	one fmoe.version;
	row jsonb;
	array_row fmoe.tensor;
	made bigint := nextval('fmoe.version_version_id_seq');
BEGIN
	SELECT v.* INTO one FROM fmoe.version v JOIN fmoe.domain d USING (domain_id) WHERE d.name = 'd' ORDER BY random() LIMIT 1;
	row := to_jsonb(one);
	CASE at_random(4)
		WHEN 0 THEN row := jsonb_set(row, '{config}', mutated(one.config));
		WHEN 1 THEN row := odd_row(row, one, '{version_id,domain_id,version}');
		WHEN 2 THEN row := jsonb_set(row, '{metrics}', mutated(one.metrics));
		ELSE NULL;
	END CASE;
	row := row || jsonb_build_object('version_id', made, 'version', 1000, 'name', NULL);
	INSERT INTO fmoe.version SELECT (jsonb_populate_record(one, row)).*;
	INSERT INTO fmoe.tensor (version_id, name, part, dtype, shape, data)
		SELECT made, name, part, dtype, shape, data FROM fmoe.tensor WHERE version_id = one.version_id;
	IF row - '{version_id,version,name}'::text[] = to_jsonb(one) - '{version_id,version,name}'::text[] THEN
		SELECT * INTO array_row FROM fmoe.tensor WHERE version_id = made ORDER BY random() LIMIT 1;
		DELETE FROM fmoe.tensor WHERE version_id = made AND name = array_row.name AND part = array_row.part;
		IF random() < 0.3 THEN
			array_row.data := odd_bytes(array_row.data);
		ELSIF random() < 0.8 THEN
			INSERT INTO fmoe.tensor SELECT (jsonb_populate_record(array_row, odd_row(to_jsonb(array_row) - 'data', array_row, '{version_id}'))).*
				ON CONFLICT DO NOTHING;
		END IF;
	END IF;
	RETURN 1000;
END $$;

CREATE PROCEDURE try(target text, number integer) LANGUAGE plpgsql AS $$
DECLARE
	one bytea;
	other bytea;
	made integer;
	fetched integer; skipped integer; removed integer; sent bigint; received bigint;
BEGIN
	SELECT file INTO one FROM seed_file WHERE kind <> 'model' OR target = 'apply' ORDER BY random() LIMIT 1;
	other := one;
	one := mutated(one);
	CASE target
		WHEN 'import' THEN
			made := fmoe_import('e', 'import ' || number, one);
			IF (SELECT complete FROM fmoe.versions WHERE domain = 'e' AND version = made) THEN
				PERFORM fmoe_recommend(u::bigint, 5, 'e', version => made) FROM generate_series(1, 3) u;
				PERFORM fmoe_explain(1::bigint, 2, 'e', version => made);
				PERFORM fmoe_recommend_all('e', 2, version => made);
			END IF;
			PERFORM fmoe_drop_version('e', made);
		WHEN 'apply' THEN
			PERFORM fmoe_apply(one, ARRAY[1, 2, 3]::bigint[], 5);
		WHEN 'fedavg' THEN
			PERFORM fmoe_fedavg(f) FROM unnest(ARRAY[other, one, other]) f;
		WHEN 'lent' THEN
			-- as replication would write it: no check
			INSERT INTO fmoe.lent SELECT (jsonb_populate_record(NULL::fmoe.lent, CASE WHEN random() < 0.5 THEN head ELSE odd_head(head) END)).*
				FROM offer_once;
			INSERT INTO fmoe.lent_part SELECT l.lent_id, 0, l.party, l.shared, CASE WHEN random() < 0.5 THEN mutated(o.file) ELSE o.file END
				FROM fmoe.lent l, offer_once o;
			PERFORM FROM fmoe.experts;
			CALL fmoe_train('e', '{"model": "fmoe", "gate": "user", "width": 4, "layers": 1, "max_length": 4, "epochs": 1, "workers": 0, "deploy": false, "experts": ["north.wares"]}');
			RAISE EXCEPTION 'taken' USING ERRCODE = 'P0099';
		WHEN 'options' THEN
			CASE at_random(4)
				WHEN 0 THEN PERFORM fmoe_evaluate('d', mutated('{"version": 3, "split": "leave_one_out", "exclude_seen": true, "candidates": 5, "k": [5, 10], "seed": 1}'::jsonb));
				WHEN 1 THEN PERFORM fmoe_export('d', 1, mutated('{"precision": "int8", "noise": 0.1, "clip": 1.0, "seed": 3}'::jsonb));
				WHEN 2 THEN PERFORM fmoe_lend('d', 1, mutated('{"precision": "int8", "noise": 0.1, "clip": 1.0, "seed": 3}'::jsonb));
				ELSE CALL fmoe_train('e', mutated('{"model": "sasrec", "deploy": false, "width": 4, "heads": 1, "holdout": "test", "epochs": 1, "workers": 0, "batch_size": 8, "seed": 2}'::jsonb));
			END CASE;
			RAISE EXCEPTION 'taken' USING ERRCODE = 'P0099';
		WHEN 'version' THEN
			made := odd_version();
			CASE at_random(9)
				WHEN 0 THEN PERFORM fmoe_recommend(u::bigint, 5, 'd', version => made) FROM generate_series(1, 3) u;
				WHEN 1 THEN PERFORM fmoe_explain(1::bigint, 2, 'd', version => made);
				WHEN 2 THEN PERFORM fmoe_recommend_all('d', 2, version => made);
				WHEN 3 THEN PERFORM fmoe_evaluate('d', jsonb_build_object('version', made, 'split', 'leave_one_out'));
				WHEN 4 THEN PERFORM fmoe_embedding(1::bigint, 'd', (ARRAY['user', 'item'])[1 + at_random(2)], version => made),
					fmoe_similar(1::bigint, 3, 'd', version => made), fmoe_together(ARRAY[1, 2]::bigint[], 3, 'd', version => made);
				WHEN 5 THEN PERFORM fmoe_export('d', made);
				WHEN 6 THEN PERFORM fmoe_lend('d', made);
				WHEN 7 THEN PERFORM fmoe_deploy('d', made), fmoe_recommend(1::bigint, 5, 'd');
				ELSE
					PERFORM fmoe_deploy('d', made);
					CALL fmoe_train('d', '{"model": "sasrec", "width": 4, "layers": 1, "max_length": 4, "epochs": 1, "workers": 0, "warm_start": true}');
			END CASE;
			RAISE EXCEPTION 'taken' USING ERRCODE = 'P0099';
		WHEN 'checkpoint' THEN
			CASE at_random(4)
				WHEN 0 THEN UPDATE fmoe.training t SET config = mutated(t.config);
				WHEN 1 THEN UPDATE fmoe.training t SET state = odd_bytes(t.state);
				WHEN 2 THEN UPDATE fmoe.checkpoint c SET data = odd_bytes(c.data) WHERE random() < 0.5;
				ELSE
					WITH gone AS (DELETE FROM fmoe.checkpoint WHERE random() < 0.5 RETURNING *)
					INSERT INTO fmoe.checkpoint SELECT domain_id, block + at_random(3) - 1, part + at_random(3) - 1, data FROM gone ON CONFLICT DO NOTHING;
			END CASE;
			CALL fmoe_train('c', '{"model": "sasrec", "width": 4, "layers": 1, "max_length": 4, "epochs": 3, "workers": 0, "checkpoint_every": 0}');
			RAISE EXCEPTION 'taken' USING ERRCODE = 'P0099';
		WHEN 'peer' THEN
			CALL fmoe_sync('north', fetched, skipped, removed, sent, received);
			RAISE EXCEPTION 'taken' USING ERRCODE = 'P0099';
	END CASE;
END $$;

CREATE PROCEDURE fuzz(mutations integer) LANGUAGE plpgsql AS $$
DECLARE
	target text;
	code text;
	said text;
BEGIN
	FOR number IN 1 .. mutations LOOP
		-- trainings and exchanges take longest
		target := (ARRAY['import', 'import', 'import', 'apply', 'apply', 'apply', 'fedavg', 'fedavg', 'options', 'lent', 'peer',
			'version', 'version', 'version', 'checkpoint'])[1 + at_random(15)];
		IF target = 'peer' THEN
			DELETE FROM offer;
			INSERT INTO offer SELECT CASE WHEN random() < 0.5 THEN head ELSE odd_head(head) END,
				CASE WHEN random() < 0.7 THEN mutated(file) ELSE file END FROM offer_once;
			COMMIT;
		END IF;
		code := '00000';
		said := '';
		BEGIN
			CALL try(target, number);
		EXCEPTION WHEN OTHERS THEN
			code := SQLSTATE;
			said := SQLERRM;
		END;
		INSERT INTO outcome VALUES (target, code, said, 1) ON CONFLICT ON CONSTRAINT outcome_pkey DO UPDATE SET n = outcome.n + 1;
		COMMIT;
	END LOOP;
END $$;
SQL

# a training that failed after its first epoch, for whoever asks for it again
$node->psql('postgres', <<'SQL');
SELECT fmoe_create_domain('c', 'events', 'u', 'i', 't');
CREATE FUNCTION enough() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.epoch > 1 THEN RAISE 'enough'; END IF; RETURN NEW; END$$;
CREATE TRIGGER enough BEFORE UPDATE ON fmoe.training FOR EACH ROW EXECUTE FUNCTION enough();
CALL fmoe_train('c', '{"model": "sasrec", "width": 4, "layers": 1, "max_length": 4, "epochs": 3, "workers": 0, "checkpoint_every": 0}');
SQL
is($node->safe_psql('postgres', 'DROP FUNCTION enough CASCADE; SELECT epoch, (SELECT count(*) > 2 FROM fmoe.checkpoint) FROM fmoe.training'), '1|t',
	'there is an unfinished training');

my $begun = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my ($result, $out, $err) = $node->psql('postgres',
	"SET client_min_messages = error; SET fmoe.max_memory = '64MB'; SELECT setseed($seed / 1000000.0); CALL fuzz($mutations);", timeout => 7200);
is($result, 0, 'all mutations are tried') or diag($err);
diag($node->safe_psql('postgres', "SELECT target || ' ' || code || ' ' || n || '  ' || left(message, 70) FROM outcome ORDER BY target, n DESC"));
is($node->safe_psql('postgres', 'SELECT sum(n) FROM outcome'), $mutations, "$mutations mutations");
is($node->safe_psql('postgres', "SELECT string_agg(target || ': ' || code || ' ' || message, E'\\n') FROM outcome WHERE code ~ '^(XX000|58|53|57)'"), '',
	'no internal error');
is($node->safe_psql('postgres', q(SELECT count(DISTINCT target) FROM outcome WHERE code NOT IN ('00000', 'P0099') OR target = 'checkpoint')), '8', 'of each kind some are refused');
is($node->safe_psql('postgres', "SELECT count(*) FROM fmoe.lent WHERE party <> fmoe._party()"), '0', 'nothing that was refused is here');
is($node->safe_psql('postgres', orphans()), '0', 'nor rows that belong to nothing');
is($node->safe_psql('postgres', "SELECT count(*) FROM fmoe_recommend(1::bigint, 3, 'd')"), '3', 'domains answer as before');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $begun, 'the server was never restarted');
$node->stop;
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'nor any of its processes');
done_testing;
