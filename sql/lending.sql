-- Experts lent and borrowed: what is published, in which precision, what noise buys, averages, peers
-- that lie, and what is refused.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SCHEMA lending_test;
SET search_path = lending_test, public;
SET fmoe.party = 'north';

CREATE TABLE plays AS SELECT u AS listener, 'film-' || (u * 7 + s) % 30 AS film, s AS at
	FROM generate_series(1, 120) u, generate_series(1, 10) s;
CREATE TABLE loans AS SELECT u AS reader, (u * 5 + s * 3) % 40 AS book, s AS at
	FROM generate_series(1, 60) u, generate_series(1, 8) s;
SELECT fmoe_create_domain('lending_films', 'plays', 'listener', 'film', 'at');
SELECT fmoe_create_domain('lending_books', 'loans', 'reader', 'book', 'at');
CALL fmoe_train('lending_films', '{"model": "sasrec", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false}');
CALL fmoe_train('lending_films', '{"model": "sasrec", "width": 16, "layers": 1, "heads": 2, "epochs": 2, "max_length": 10, "deploy": false, "seed": 7}');
CALL fmoe_train('lending_films', '{"model": "markov", "deploy": false}');
CALL fmoe_train('lending_books', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 1, "deploy": false}');

-- files taken apart and put together
CREATE FUNCTION header_size(file bytea) RETURNS integer LANGUAGE sql IMMUTABLE
	RETURN get_byte(file, 0) + 256 * get_byte(file, 1) + 65536 * get_byte(file, 2);
CREATE FUNCTION header(file bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE
	RETURN convert_from(substr(file, 9, header_size(file)), 'UTF8')::jsonb;
CREATE FUNCTION data(file bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN substr(file, 9 + header_size(file));
CREATE FUNCTION put_together(header text, data bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN (SELECT string_agg(set_byte('\x00', 0, (octet_length(header) >> shift) & 255), '' ORDER BY shift) || '\x0000000000'
		FROM unnest('{0,8,16}'::int[]) shift) || convert_to(header, 'UTF8') || data;
-- the file with something else in its header; NULL: without that
CREATE FUNCTION changed(file bytea, path text[], value jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT
	RETURN put_together(CASE WHEN value IS NULL THEN header(file) #- path ELSE jsonb_set(header(file), path, value) END::text, data(file));
CREATE FUNCTION array_bytes(file bytea, name text) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN substr(data(file), 1 + (header(file) #>> ARRAY[name, 'data_offsets', '0'])::int,
		(header(file) #>> ARRAY[name, 'data_offsets', '1'])::int - (header(file) #>> ARRAY[name, 'data_offsets', '0'])::int);
CREATE FUNCTION array_names(file bytea) RETURNS SETOF text LANGUAGE sql IMMUTABLE
	BEGIN ATOMIC SELECT k FROM jsonb_object_keys(header(file)) k WHERE k <> '__metadata__' ORDER BY k COLLATE "C"; END;
-- the checksum in the terms of numeric and bigint: the reader is asked with files that have a right one
CREATE FUNCTION fold(a bigint, b bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	two64 CONSTANT numeric := 18446744073709551616;
	product numeric := mod(a + two64, two64) * mod(b + two64, two64);
	low numeric := mod(product, two64);
	high numeric := div(product, two64);
BEGIN
	RETURN (CASE WHEN low >= two64 / 2 THEN low - two64 ELSE low END)::bigint # (CASE WHEN high >= two64 / 2 THEN high - two64 ELSE high END)::bigint;
END $$;
CREATE FUNCTION plus(a bigint, b bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	total numeric := a::numeric + b;
BEGIN
	RETURN CASE WHEN total >= 9223372036854775808 THEN total - 18446744073709551616
		WHEN total < -9223372036854775808 THEN total + 18446744073709551616 ELSE total END::bigint;
END $$;
CREATE FUNCTION rotate(x bigint, n int) RETURNS bigint LANGUAGE sql IMMUTABLE
	RETURN ((x::bit(64) << n) | (x::bit(64) >> (64 - n)))::bigint;
CREATE FUNCTION word(bytes bytea, at int) RETURNS bigint LANGUAGE sql IMMUTABLE
	RETURN ('x' || (SELECT string_agg(lpad(to_hex(get_byte(bytes, at + i)), 2, '0'), '' ORDER BY i DESC) FROM generate_series(0, 7) i))::bit(64)::bigint;
CREATE FUNCTION hash(seed bigint, bytes bytea) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	key0 CONSTANT bigint := x'6a09e667f3bcc909'::bigint;
	key1 CONSTANT bigint := x'bb67ae8584caa73b'::bigint;
	key2 CONSTANT bigint := x'3c6ef372fe94f82b'::bigint;
	key3 CONSTANT bigint := x'a54ff53a5f1d36f1'::bigint;
	a bigint := fold(seed # key2, key0);
	b bigint := a # key3;
	padded bytea := bytes || decode(repeat('00', (32 - octet_length(bytes) % 32) % 32), 'hex');
BEGIN
	FOR at IN 0 .. octet_length(padded) - 1 BY 32 LOOP
		a := plus(fold(word(padded, at) # a, word(padded, at + 8) # key0), rotate(a, 23));
		b := plus(fold(word(padded, at + 16) # b, word(padded, at + 24) # key1), rotate(b, 29));
	END LOOP;
	a := fold(a # octet_length(bytes), key2) # rotate(a, 31);
	RETURN fold(a # key1, b # key3) # fold(b # key0, key2);
END $$;
CREATE FUNCTION int8_bytes(value bigint) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN (SELECT string_agg(set_byte('\x00', 0, ((value >> shift) & 255)::int), '' ORDER BY shift) FROM generate_series(0, 56, 8) shift);
CREATE FUNCTION checksum(file bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	total bigint := 0;
	name text;
BEGIN
	FOR name IN SELECT array_names(file) LOOP
		total := plus(total, hash(hash(hash(hash(0, convert_to(name, 'UTF8')), convert_to(header(file) #>> ARRAY[name, 'dtype'], 'UTF8')),
			(SELECT string_agg(int8_bytes(d::bigint), '' ORDER BY n) FROM jsonb_array_elements_text(header(file) #> ARRAY[name, 'shape'])
				WITH ORDINALITY s (d, n))), array_bytes(file, name)));
	END LOOP;
	RETURN lpad(to_hex(total), 16, '0');
END $$;
CREATE FUNCTION sealed(file bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN changed(file, '{__metadata__,checksum}', to_jsonb(checksum(file)));
-- the numbers of a float32 file
CREATE FUNCTION floats(bytes bytea) RETURNS double precision[] LANGUAGE sql IMMUTABLE
	RETURN (SELECT array_agg(CASE WHEN bits & 2147483648 <> 0 THEN -1 ELSE 1 END * (CASE WHEN (bits >> 23) & 255 = 0 THEN 0::double precision
			ELSE (8388608 + (bits & 8388607)) * power(2::double precision, ((bits >> 23) & 255)::int - 150) END) ORDER BY i)
		FROM generate_series(0, octet_length(bytes) / 4 - 1) i,
			LATERAL (SELECT get_byte(bytes, 4 * i) + 256 * get_byte(bytes, 4 * i + 1) + 65536 * get_byte(bytes, 4 * i + 2)
				+ 16777216 * get_byte(bytes, 4 * i + 3)::bigint AS bits) b);
CREATE FUNCTION weights(file bytea) RETURNS TABLE (name text, n bigint, row_number bigint, value double precision) LANGUAGE sql IMMUTABLE
	BEGIN ATOMIC
	SELECT name, n, (n - 1) / (header(file) #>> ARRAY[name, 'shape', '1'])::int, value
		FROM array_names(file) name, unnest(floats(array_bytes(file, name))) WITH ORDINALITY v (value, n);
	END;

CREATE FUNCTION with_nan(file bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN overlay(file PLACING '\x0000c07f' FROM 9 + header_size(file) + (header(file) #>> '{norm.bias,data_offsets,0}')::int);

-- lending: the same version takes its own place, another one stands beside it
SELECT fmoe_lend('lending_films', 1) IS NOT NULL AS lent;
SELECT fmoe_lend('lending_films', 1, '{"precision": "int8"}') IS NOT NULL AS lent;
SELECT fmoe_lend('lending_films', 2) IS NOT NULL AS lent;
SELECT fmoe_lend('lending_books', 1) IS NOT NULL AS lent;
SELECT name, party, domain, version, round, own, shared, model, width, events, users, items, precision, privacy
	FROM fmoe.experts ORDER BY name, version;
SELECT count(*), bool_and(octet_length(p.data) = e.bytes) AS whole FROM fmoe.lent_part p JOIN fmoe.shared_expert e USING (lent_id);
SELECT count(*) FROM fmoe.shared_expert_part;
-- what is lent is what an export of the encoder is
SELECT e.version, p.data = fmoe_export('lending_films', e.version, '{"precision": "float32"}') AS exported
	FROM fmoe.shared_expert e JOIN fmoe.shared_expert_part p USING (lent_id) WHERE e.domain = 'lending_films' AND precision = 'float32';
SELECT header(data) -> '__metadata__' ? 'last_event' AS tells_time, position('film' IN encode(data, 'escape')) > 0 AS names_items,
	header(data) #>> '{__metadata__,checksum}' = checksum(data) AS checksum
	FROM fmoe.shared_expert_part p JOIN fmoe.shared_expert USING (lent_id) WHERE domain = 'lending_films';
-- also when whole versions may leave
SELECT fmoe_alter_domain('lending_films', sharing => 'full');
SELECT fmoe_lend('lending_films', 2, '{"precision": "float16"}') IS NOT NULL AS lent;
SELECT header(data) #>> '{__metadata__,sharing}' AS sharing FROM fmoe.shared_expert_part p JOIN fmoe.shared_expert USING (lent_id) WHERE version = 2;
SELECT fmoe_export('lending_films', 2, '{"precision": "float16"}');
SELECT octet_length(fmoe_export('lending_films', 2, '{"precision": "float32"}')) > 0 AS exact;
SELECT fmoe_alter_domain('lending_films', sharing => 'encoder');
-- what cannot be lent
SELECT fmoe_lend('lending_films', 3);
SELECT fmoe_lend('lending_films');
SELECT fmoe_lend('lending_films', 9);
SELECT fmoe_lend('lending_films', 0);
SELECT fmoe_lend('lending_films', 1, '{"precision": "int4"}');
SELECT fmoe_lend('lending_films', 1, '{"clip": -1}');
SELECT fmoe_lend('lending_films', 1, '{"noise": 1}');
SELECT fmoe_lend('lending_films', 1, '{"delta": 0}');
SELECT fmoe_lend('lending_films', 1, '{"color": 1}');
-- names of parties
SET fmoe.party = 'a.b';
SET fmoe.party = '';
SELECT fmoe._party() = current_database() AS default_party;
SELECT count(*) FROM fmoe.shared_expert;
SET fmoe.party = 'north';
-- a lending goes with its domain
SELECT fmoe_alter_domain('lending_films', new_name => 'lending_movies');
SELECT name, version FROM fmoe.experts ORDER BY name, version;
SELECT fmoe_alter_domain('lending_movies', new_name => 'lending_films');
SELECT fmoe_withdraw('lending_films', 1), fmoe_withdraw('lending_films', 1);
SELECT fmoe_alter_domain('lending_books', sharing => 'none');
SELECT fmoe_lend('lending_books', 1);
SELECT fmoe_alter_domain('lending_books', sharing => 'encoder');
SELECT name, version FROM fmoe.experts ORDER BY name, version;
SELECT fmoe_withdraw('lending_films');
SELECT count(*) FROM fmoe.lent, fmoe.lent_part;

-- precision: what is read back
CREATE TABLE files AS SELECT p, fmoe_export('lending_films', 1, jsonb_build_object('precision', p)) AS file,
		fmoe_import('lending_films', 'as ' || p, fmoe_export('lending_films', 1, jsonb_build_object('precision', p))) AS version
	FROM unnest('{float32,float16,int8}'::text[]) p;
SELECT p, header(file) #>> '{__metadata__,precision}' AS precision, string_agg(DISTINCT header(file) #>> ARRAY[name, 'dtype'], ' ') AS dtypes,
	checksum(file) = header(file) #>> '{__metadata__,checksum}' AS checksum
	FROM files, array_names(file) name GROUP BY p, file, version ORDER BY version;
SELECT p, data(fmoe_export('lending_films', version)) = data(f.file) AS exact FROM files f WHERE p = 'float32';
CREATE TABLE exact AS SELECT * FROM weights((SELECT file FROM files WHERE p = 'float32'));
SELECT count(*) > 1000 AS many FROM exact;
SELECT bool_and(abs(w.value - e.value) <= abs(e.value) / 2048 + 3e-8) AS half_a_step, bool_or(w.value <> e.value) AS rounded
	FROM files f, weights(fmoe_export('lending_films', f.version)) w JOIN exact e USING (name, n) WHERE p = 'float16';
SELECT bool_and(abs(w.value - e.value) <= largest / 254 * 1.0001) AS half_a_step, bool_or(w.value <> e.value) AS rounded
	FROM files f, weights(fmoe_export('lending_films', f.version)) w JOIN exact e USING (name, n)
		JOIN (SELECT name, row_number, max(abs(value)) AS largest FROM exact GROUP BY 1, 2) l ON l.name = e.name AND l.row_number = e.row_number
	WHERE p = 'int8';
-- rounding what is rounded changes nothing
SELECT p, data(fmoe_export('lending_films', f.version, jsonb_build_object('precision', p))) = data(f.file) AS same FROM files f WHERE p = 'float16';

-- clip and noise
SELECT round(sqrt(sum(value * value))::numeric, 4) AS norm FROM weights(fmoe_export('lending_films', 1, '{"clip": 0.5}'));
SELECT round((max(w.value / e.value) / min(w.value / e.value))::numeric, 4) AS ratio
	FROM weights(fmoe_export('lending_films', 1, '{"clip": 0.5}')) w JOIN exact e USING (name, n) WHERE abs(e.value) > 1e-6;
SELECT data(fmoe_export('lending_films', 1, '{"clip": 1000}')) = data(file) AS untouched FROM files WHERE p = 'float32';
SELECT header(fmoe_export('lending_films', 1, '{"clip": 1000}')) #>> '{__metadata__,privacy}' AS privacy;
SELECT abs(stddev(w.value - e.value) / 3000 - 1) < 0.1 AS deviation, abs(avg(w.value - e.value)) < 400 AS centred,
	max(abs(w.value - e.value)) / 3000 BETWEEN 2.5 AND 6 AS tails
	FROM weights(fmoe_export('lending_films', 1, '{"clip": 1000, "noise": 3}')) w JOIN exact e USING (name, n);
SELECT fmoe_export('lending_films', 1, '{"clip": 1, "noise": 1}') = fmoe_export('lending_films', 1, '{"clip": 1, "noise": 1}') AS foretold,
	fmoe_export('lending_films', 1, '{"clip": 1, "noise": 1, "seed": 5}') = fmoe_export('lending_films', 1, '{"clip": 1, "noise": 1, "seed": 5}') AS seeded,
	fmoe_export('lending_films', 1, '{"clip": 1, "noise": 1, "seed": 5}') = fmoe_export('lending_films', 1, '{"clip": 1, "noise": 1, "seed": 6}') AS other_seed;
-- a known seed guarantees nothing
SELECT header(fmoe_export('lending_films', 1, '{"clip": 1, "noise": 1, "seed": 5}')) #>> '{__metadata__,privacy}' AS privacy;
-- the analytic Gaussian mechanism: sensitivity 1 and sigma 1, 2, 3.7306 ("epsilon 1"), 5 at delta 1e-5 are clip 0.5 and noise twice that
SELECT sigma, abs(((header(fmoe_export('lending_films', 1, jsonb_build_object('clip', 0.5, 'noise', 2 * sigma, 'delta', 1e-5)))
		#>> '{__metadata__,privacy}')::jsonb ->> 'epsilon')::numeric - epsilon) < 5e-5 AS known
	FROM (VALUES (1, 4.3771781), (2, 1.9930914), (3.730631634, 1.0), (5, 0.7255218)) v (sigma, epsilon);
SELECT noise, (header(fmoe_export('lending_films', 1, jsonb_build_object('clip', 2, 'noise', noise, 'delta', delta)))
		#>> '{__metadata__,privacy}')::jsonb - 'epsilon' AS privacy,
	((header(fmoe_export('lending_films', 1, jsonb_build_object('clip', 2, 'noise', noise, 'delta', delta)))
		#>> '{__metadata__,privacy}')::jsonb ->> 'epsilon')::numeric BETWEEN low AND high AS epsilon
	FROM (VALUES (0.001, 1e-6, 2e6, 2.1e6), (1e6, 1e-6, 0, 0), (1e6, 1e-15, 0, 1e-3), (10, 0.5, 0, 0)) v (noise, delta, low, high);

-- averages
CREATE TABLE two AS SELECT version, fmoe_export('lending_films', version) AS file FROM generate_series(1, 2) version;
CREATE FUNCTION seal(file bytea) RETURNS text LANGUAGE sql IMMUTABLE RETURN header(file) #>> '{__metadata__,checksum}';
SELECT seal(fmoe_fedavg(file)) = seal(file) AS itself FROM two WHERE version = 1 GROUP BY file;
SELECT seal(fmoe_fedavg(file)) = seal(file) AS itself, (header(fmoe_fedavg(file)) -> '__metadata__') - '{config,checksum}'::text[] AS metadata
	FROM (SELECT file FROM two, generate_series(1, 3) WHERE version = 1) t GROUP BY file;
SELECT max(abs(f.value - (a.value + 3 * b.value) / 4)) < 1e-7 AS weighted, max(abs(f.value - (a.value + b.value) / 2)) > 1e-3 AS not_the_mean
	FROM weights((SELECT fmoe_fedavg(file, CASE version WHEN 1 THEN 10 ELSE 30 END) FROM two)) f
		JOIN weights((SELECT file FROM two WHERE version = 1)) a USING (name, n) JOIN weights((SELECT file FROM two WHERE version = 2)) b USING (name, n);
-- events weigh when no number is given: these two had the same
SELECT fmoe_fedavg(file) = fmoe_fedavg(file, 5) AS by_events FROM two;
SELECT fmoe_import('lending_films', 'average', (SELECT fmoe_fedavg(file) FROM two)) > 0 AS imported;
SELECT seal(fmoe_fedavg(f.file)) = seal((SELECT file FROM two WHERE version = 1)) AS of_whole_versions
	FROM (SELECT fmoe_alter_domain('lending_films', sharing => 'full')) s,
		LATERAL (SELECT fmoe_export('lending_films', 1) AS file WHERE s IS NOT NULL) f;
SELECT fmoe_alter_domain('lending_films', sharing => 'encoder');
SELECT fmoe_fedavg(NULL::bytea) IS NULL AS nothing, fmoe_fedavg(NULL, 1) IS NULL AS nothing, fmoe_fedavg(file, NULL) IS NULL AS nothing FROM two;
SELECT fmoe_fedavg(file) IS NULL AS nothing FROM two WHERE false;
SELECT seal(fmoe_fedavg(file, w)) = seal((SELECT file FROM two WHERE version = 1)) AS without_nulls FROM two, LATERAL (SELECT CASE version WHEN 1 THEN 1 END AS w) w;
SELECT fmoe_fedavg(file, 0) FROM two;
SELECT fmoe_fedavg(file, -1) FROM two;
SELECT fmoe_fedavg(changed(file, '{__metadata__,events}', '"0"')) FROM two;
SELECT fmoe_fedavg(file, 9223372036854775807) FROM two;
SELECT fmoe_fedavg(file) FROM (SELECT file FROM two UNION ALL SELECT fmoe_export('lending_books', 1)) f;
SELECT fmoe_fedavg(with_nan(file)) FROM two;
SELECT fmoe_fedavg('\x00'::bytea);
SELECT fmoe_fedavg(fmoe_fit) FROM (SELECT fmoe_fit(reader, book, at, '{"model": "markov"}') FROM loans) f;
-- workers' states put together
CREATE TABLE many (file bytea, examples bigint);
INSERT INTO many SELECT file, n FROM two, generate_series(1, 20) n;
SELECT fmoe_fedavg(file, examples) AS average FROM many \gset serial_
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
ALTER TABLE many SET (parallel_workers = 2);
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END$$;
SELECT count(*) > 0 AS partial FROM plan_of('SELECT fmoe_fedavg(file, examples) FROM many') l WHERE l ~ 'Partial Aggregate';
SELECT max(abs(a.value - b.value)) < 1e-7 AS same
	FROM weights((SELECT fmoe_fedavg(file, examples) FROM many)) a JOIN weights(:'serial_average'::bytea) b USING (name, n);
SELECT (header(fmoe_fedavg(file, examples)) -> '__metadata__') - '{checksum}'::text[] = (header(:'serial_average'::bytea) -> '__metadata__') - '{checksum}'::text[] AS same_facts FROM many;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET parallel_leader_participation;

-- a peer, here by a connection to this database itself, which is no peer of its own
\set ECHO none
SELECT format('CREATE SERVER lending_loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname %L, port %L, host %L)',
	current_database(), current_setting('port'), trim(split_part(current_setting('unix_socket_directories'), ',', 1))) \gexec
\set ECHO all
CREATE USER MAPPING FOR CURRENT_USER SERVER lending_loop;
SELECT fmoe_add_peer('mirror', 'lending_loop');
SELECT fmoe_add_peer('mirror', 'lending_loop');
SELECT fmoe_add_peer('other', 'nowhere');
SELECT fmoe_add_peer('', 'lending_loop');
SELECT fmoe_add_peer(NULL, 'lending_loop');
ALTER DATABASE :DBNAME SET fmoe.party = 'north';
SELECT fmoe_lend('lending_films', 1) IS NOT NULL AS lent;
CALL fmoe_sync('mirror');
CALL fmoe_sync('nobody');
SELECT name, server, party, synced_at, bytes_sent, bytes_received, error FROM fmoe.peers;
ALTER DATABASE :DBNAME RESET fmoe.party;

-- one that says what we tell it to say
CREATE TABLE offers (n serial, what text, head jsonb, file bytea);
CREATE TABLE offered (n int);
INSERT INTO offered VALUES (1);
CREATE TABLE base AS SELECT l.*, p.data FROM fmoe.lent l JOIN fmoe.lent_part p USING (lent_id);
CREATE VIEW expert AS
	SELECT (jsonb_populate_record(NULL::fmoe.shared_expert, to_jsonb(b) || '{"party": "south", "domain": "wares"}' || o.head)).*
	FROM offers o JOIN offered USING (n), base b;
CREATE VIEW part AS
	SELECT b.lent_id, g.part, substr(COALESCE(o.file, b.data), 1 + 8388608 * g.part, 8388608) AS data
	FROM offers o JOIN offered USING (n), base b, generate_series(0, (octet_length(COALESCE(o.file, b.data)) - 1) / 8388608) AS g (part)
	WHERE o.head ->> 'parts' IS DISTINCT FROM '0';
\set ECHO none
SELECT format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''lending_test'', SET table_name ''expert'')', expert_table),
	format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''lending_test'', SET table_name ''part'')', part_table) FROM fmoe.peer \gexec
\set ECHO all
SELECT fmoe_withdraw('lending_films');

INSERT INTO offers (what, head, file) SELECT 'as it should be', '{}', NULL::bytea;
CALL fmoe_sync('mirror', NULL, NULL, NULL, NULL, NULL) \gset
SELECT :fetched AS fetched, :skipped AS skipped, :removed AS removed, :bytes_sent BETWEEN 200 AND 1000 AS sent,
	:bytes_received BETWEEN 2 * octet_length(data) AND 2 * octet_length(data) + 2000 AS received FROM base;
CALL fmoe_sync(NULL) \gset
SELECT :fetched AS fetched, :skipped AS skipped, :removed AS removed;
SELECT name, party, own, model, precision FROM fmoe.experts;
SELECT p.data = b.data AS same_file FROM fmoe.lent_part p, base b;
SELECT name, server, party, synced_at > created_at AS synced, bytes_received > bytes_sent AS bytes, error FROM fmoe.peers;
-- what was lent to us is not ours to lend
SELECT count(*) FROM fmoe.shared_expert;
SELECT fmoe_import('lending_films', 'south.wares', data) FROM base;
UPDATE offers SET head = '{"domain": "goods"}';
CALL fmoe_sync('mirror') \gset
SELECT name, :skipped AS skipped FROM fmoe.experts;
DELETE FROM offers;
CALL fmoe_sync('mirror') \gset
SELECT count(*), :removed AS removed FROM fmoe.experts;

-- from a block and a function, where results would need variables
DO $$ BEGIN CALL fmoe_sync(); END $$;
CREATE FUNCTION nightly() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	CALL fmoe_sync();
	RETURN (SELECT count(*) FROM fmoe.experts);
END $$;
INSERT INTO offers (what, head, file) VALUES ('again', '{}', NULL);
UPDATE offered SET n = (SELECT n FROM offers);
BEGIN;
SELECT nightly();
ROLLBACK;
SELECT count(*) FROM fmoe.experts;
SELECT nightly();
DELETE FROM offers;
SELECT nightly();
UPDATE offered SET n = 1;

-- and lies
INSERT INTO offers (what, head, file)
SELECT what, COALESCE(head, '{}') || jsonb_build_object('bytes', COALESCE((head ->> 'bytes')::bigint, octet_length(file)),
		'checksum', COALESCE(head ->> 'checksum', CASE WHEN octet_length(file) > 8 THEN seal(file) ELSE '' END)), file
FROM base b, LATERAL (VALUES
	('unknown model', NULL::jsonb, changed(data, '{__metadata__,model}', '"transformer9"')),
	('unknown option', NULL, changed(data, '{__metadata__,config}', to_jsonb(((header(data) #>> '{__metadata__,config}')::jsonb || '{"color": 1}')::text))),
	('wider than its arrays', NULL, changed(data, '{__metadata__,config}', to_jsonb(((header(data) #>> '{__metadata__,config}')::jsonb || '{"width": 32}')::text))),
	('more layers than arrays', NULL, changed(data, '{__metadata__,config}', to_jsonb(((header(data) #>> '{__metadata__,config}')::jsonb || '{"layers": 2}')::text))),
	('heads that do not divide', NULL, changed(data, '{__metadata__,config}', to_jsonb(((header(data) #>> '{__metadata__,config}')::jsonb || '{"heads": 3}')::text))),
	('NaN', NULL, with_nan(data)),
	('newer format', NULL, changed(data, '{__metadata__,format_version}', '"2"')),
	('a bit flipped', NULL, set_byte(data, length(data) - 1, get_byte(data, length(data) - 1) # 1)),
	('an array too many', NULL, sealed(put_together(jsonb_set(header(data), '{item.weight}', format('{"dtype":"F32","shape":[1,1],"data_offsets":[%s,%s]}',
		length(data(data)), length(data(data)) + 4)::jsonb)::text, data(data) || '\x00000000'))),
	('items inside', NULL, (SELECT fmoe_fit(reader, book, at, '{"epochs": 1, "width": 8, "layers": 1}') FROM loans)),
	('no file', NULL, '\x00'),
	('another number of events', '{"events": 7}', data),
	('another checksum', '{"checksum": "0000000000000000"}', data),
	('another model in the row', '{"model": "gru4rec"}', data),
	('another option in the row', jsonb_build_object('config', config || '{"dropout": 0.125}'), data),
	('an unknown option in the row', jsonb_build_object('config', config || '{"color": 1}'), data),
	('another precision in the row', '{"precision": "int8"}', data),
	('another privacy in the row', '{"privacy": {"epsilon": 0.1}}', data),
	('privacy that is none', NULL, changed(data, '{__metadata__,privacy}', '"[1]"')),
	('unknown precision', NULL, changed(data, '{__metadata__,precision}', '"int4"')),
	('float32 that says int8', NULL, changed(data, '{__metadata__,precision}', '"int8"')),
	('negative bytes', '{"bytes": -1}', data),
	('too many bytes', '{"bytes": 1000000000}', data),
	('fewer bytes', '{"bytes": 100}', data),
	('more parts than there are', '{"bytes": 9000000}', data),
	('no parts', '{"parts": "0"}', data),
	('our own party', '{"party": "north"}', data),
	('a party with a dot', '{"party": "so.uth"}', data),
	('a party without a name', '{"party": ""}', data),
	('a domain with a bell', '{"domain": "wa\u0007res"}', data),
	('no model', '{"model": null}', data)
) v (what, head, file);
INSERT INTO offers (what, head, file)
SELECT what, jsonb_build_object('bytes', octet_length(v.file), 'precision', p, 'checksum', seal(v.file)), v.file
FROM files f, LATERAL (VALUES
	('int8', 'as it should be', file),
	('int8', 'a scale of -1', sealed(put_together(header(file)::text, overlay(data(file) PLACING '\x000080bf' FROM 1 + (header(file) #>> '{norm.gain.scale,data_offsets,0}')::int)))),
	('int8', 'a scale too large', sealed(put_together(header(file)::text, overlay(data(file) PLACING '\xffff7f7f' FROM 1 + (header(file) #>> '{norm.gain.scale,data_offsets,0}')::int)))),
	('int8', 'a scale of another shape', sealed(changed(file, '{norm.gain.scale,shape}', '[1]'))),
	('int8', 'a scale of another name', sealed(put_together(replace(header(file)::text, '"norm.gain.scale"', '"norm.gain.skale"'), data(file)))),
	('int8', 'int8 that says float16', changed(file, '{__metadata__,precision}', '"float16"')),
	('int8', 'int8 that says nothing', changed(file, '{__metadata__,precision}', NULL)),
	('float16', 'as it should be', file),
	('float16', 'infinity', sealed(put_together(header(file)::text, overlay(data(file) PLACING '\x007c' FROM 1 + (header(file) #>> '{norm.bias,data_offsets,0}')::int)))),
	('float16', 'float16 that says int8', changed(file, '{__metadata__,precision}', '"int8"'))
) v (precision, what, file) WHERE p = precision;

CREATE FUNCTION outcome() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	fetched int; skipped int; removed int; sent bigint; received bigint;
	message text; detail text;
BEGIN
	CALL fmoe_sync('mirror', fetched, skipped, removed, sent, received);
	RETURN format('%s fetched, %s forgotten', fetched, fmoe_forget('south'));
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || message || CASE WHEN detail = '' THEN '' ELSE ': ' || regexp_replace(detail, 'have \d\d\d+ bytes', 'have N bytes') END;
END $$;
SET fmoe.max_memory = '1GB';
\pset tuples_only
\set ECHO none
SELECT format('UPDATE offered SET n = %s', n), format('SELECT what || '': '' || outcome() FROM offers WHERE n = %s', n) FROM offers ORDER BY n \gexec
\set ECHO all
\pset tuples_only
RESET fmoe.max_memory;
-- names in use: of an import, of another peer's party; two parties at once
UPDATE offered SET n = (SELECT n FROM offers WHERE what = 'another number of events');
UPDATE offers SET head = head - 'events' WHERE what = 'another number of events';
SELECT fmoe_import('lending_books', 'south.wares', data) AS version FROM base \gset
SELECT outcome();
SELECT fmoe_drop_version('lending_books', :version);
SELECT outcome();
SELECT fmoe_add_peer('second', 'lending_loop');
\set ECHO none
SELECT format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''lending_test'', SET table_name ''expert'')', expert_table),
	format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''lending_test'', SET table_name ''part'')', part_table) FROM fmoe.peer WHERE name = 'second' \gexec
\set ECHO all
CALL fmoe_sync('second');
-- one peer's lies keep no other from being heard
SET client_min_messages = warning;
CALL fmoe_sync(NULL) \gset
SET client_min_messages = error;
SELECT :fetched AS fetched, :removed AS removed;
SELECT name, party, error FROM fmoe.peers ORDER BY name;
-- nor does a peer take a name over
SELECT fmoe_drop_peer('mirror');
CALL fmoe_sync('second') \gset
SELECT :fetched AS fetched, :skipped AS skipped;
UPDATE base SET lent_id = gen_random_uuid();
SELECT fmoe_drop_peer('second');
SELECT fmoe_add_peer('second', 'lending_loop'), fmoe_add_peer('mirror', 'lending_loop');
\set ECHO none
SELECT format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''lending_test'', SET table_name ''expert'')', expert_table),
	format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name ''lending_test'', SET table_name ''part'')', part_table) FROM fmoe.peer \gexec
\set ECHO all
CALL fmoe_sync('second');
SELECT fmoe_forget('south');
CALL fmoe_sync('mirror') \gset
UPDATE offers SET head = head || '{"party": "east"}' WHERE what = 'another number of events';
CALL fmoe_sync('mirror');
SELECT fmoe_drop_peer('second'), fmoe_drop_peer('second');
SELECT fmoe_drop_peer('second');
INSERT INTO base SELECT gen_random_uuid(), 'west', domain, version, round, shared, model, config, events, users, items, precision, privacy, bytes, checksum, created_at, data FROM base;
CREATE OR REPLACE VIEW expert AS SELECT (jsonb_populate_record(NULL::fmoe.shared_expert, to_jsonb(b))).* FROM base b;
SELECT outcome();
-- nothing was changed by any of this
SELECT name FROM fmoe.experts;
SELECT count(*) FROM fmoe.lent_part;
-- who forgets
SELECT fmoe_forget('north');
SELECT fmoe_forget(NULL);
SELECT fmoe_forget('south', 'other'), fmoe_forget('south', 'wares'), fmoe_forget('south');

-- the foreign tables go with their peer, and a peer outlives its tables
SELECT count(*) FROM pg_class WHERE relkind = 'f' AND relnamespace = 'fmoe'::regnamespace;
DROP SERVER lending_loop CASCADE;
CALL fmoe_sync('mirror');
SET client_min_messages = warning;
CALL fmoe_sync();
SET client_min_messages = error;
SELECT fmoe_drop_peer('mirror');

SELECT fmoe_drop_domain(d) FROM unnest('{lending_films,lending_books}'::text[]) d;
SELECT (SELECT count(*) FROM fmoe.lent) AS lent, (SELECT count(*) FROM fmoe.lent_part) AS parts, (SELECT count(*) FROM fmoe.peer) AS peers;
DROP SCHEMA lending_test CASCADE;
