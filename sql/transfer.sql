-- Experts out and in as safetensors: what is shared, what comes back, what is refused.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA transfer_test;
SET search_path = transfer_test, public;

CREATE TABLE plays (listener integer, film text, at timestamptz);
INSERT INTO plays
	SELECT u, CASE s % 2 WHEN 0 THEN 'film-' || (u * 7 + s / 2) % 30 ELSE 'série-' || (u * 11 + s / 2) % 30 END,
		timestamptz '2024-01-01 UTC' + s * interval '1 hour'
	FROM generate_series(1, 120) u, generate_series(0, 9) s;
CREATE TABLE other_plays (listener integer, film text, at timestamptz);
INSERT INTO other_plays VALUES (1, 'film-1', '2024-01-01 UTC'), (1, 'none', '2024-01-02 UTC');
CREATE TABLE clicks (who integer, what bigint, at integer);
SELECT fmoe_create_domain('transfer_a', 'plays', 'listener', 'film', 'at');
SELECT fmoe_create_domain('transfer_b', 'other_plays', 'listener', 'film', 'at');
SELECT fmoe_create_domain('transfer_c', 'clicks', 'who', 'what', 'at');
CALL fmoe_train('transfer_a', '{"model": "sasrec", "width": 16, "layers": 1, "heads": 2, "epochs": 4, "max_length": 10, "deploy": false}');
CALL fmoe_train('transfer_a', '{"model": "gru4rec", "width": 8, "layers": 2, "epochs": 1, "deploy": false}');
CALL fmoe_train('transfer_a', '{"model": "markov", "deploy": false}');

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
CREATE FUNCTION changed_option(file bytea, option text, value jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT
	RETURN changed(file, '{__metadata__,config}', to_jsonb((CASE WHEN value IS NULL
		THEN (header(file) #>> '{__metadata__,config}')::jsonb - option
		ELSE jsonb_set((header(file) #>> '{__metadata__,config}')::jsonb, ARRAY[option], value) END)::text));

-- by default only the encoder leaves: no item, no count
CREATE TABLE lent AS SELECT version, fmoe_export('transfer_a', version) AS file FROM generate_series(1, 2) version;
SELECT version, key, value ->> 'dtype' AS dtype, value ->> 'shape' AS shape
	FROM lent, jsonb_each(header(file)) WHERE key <> '__metadata__' ORDER BY version, key COLLATE "C";
SELECT version, (header(file) -> '__metadata__') - '{config,checksum,created}'::text[] AS metadata,
	(header(file) #>> '{__metadata__,created}')::timestamptz = v.created_at AS created
	FROM lent JOIN fmoe.versions v USING (version) WHERE v.domain = 'transfer_a' ORDER BY version;
SELECT bool_or(position('film' IN encode(file, 'escape')) > 0) AS names FROM lent;
SELECT file = fmoe_export('transfer_a', version) AS same_again FROM lent;
SELECT fmoe_export('transfer_a', 3);
SELECT fmoe_export('transfer_a');
SELECT fmoe_export('transfer_a', 4);
SELECT fmoe_export('transfer_a', 0);
SELECT fmoe_export('transfer_d', 1);
SELECT fmoe_alter_domain('transfer_a', sharing => 'none');
SELECT fmoe_export('transfer_a', 1);
SELECT fmoe_alter_domain('transfer_a', sharing => 'full');
CREATE TABLE shared AS SELECT version, fmoe_export('transfer_a', version) AS file FROM generate_series(1, 3) version;
SELECT version, key, value ->> 'dtype' AS dtype, value ->> 'shape' AS shape
	FROM shared, jsonb_each(header(file)) WHERE key <> '__metadata__' AND version <> 2 ORDER BY version, key COLLATE "C";
SELECT (header(file) -> '__metadata__') - '{config,checksum,created}'::text[] AS metadata FROM shared WHERE version = 1;

-- a whole version comes back as it was; it is not live by itself
SELECT version, fmoe_import('transfer_b', 'copy of ' || version, file) FROM shared ORDER BY version;
SELECT version, name, model, live, origin, complete, holdout, events, users, items, last_event = '2024-01-01 09:00 UTC' AS last_event
	FROM fmoe.versions WHERE domain = 'transfer_b' ORDER BY version;
SELECT a.config = b.config AS same_config FROM fmoe.versions a JOIN fmoe.versions b USING (version) WHERE a.domain = 'transfer_a' AND b.domain = 'transfer_b';
CREATE FUNCTION same_answers(v integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM fmoe_deploy('transfer_a', v), fmoe_deploy('transfer_b', v);
	RETURN (SELECT count(*) = 8 AND bool_and(a = b)
		FROM fmoe_recommend_next(ARRAY['film-1', 'série-2'], 8, 'transfer_a') WITH ORDINALITY a (item, score, source, n)
		JOIN fmoe_recommend_next(ARRAY['film-1', 'série-2'], 8, 'transfer_b') WITH ORDINALITY b (item, score, source, n) USING (n))
		AND (SELECT array_agg((item_id, score)) FROM fmoe_apply((SELECT file FROM shared WHERE version = v), ARRAY['film-1', 'série-2'], 8))
			= (SELECT array_agg((item_id, score)) FROM fmoe_recommend_next(ARRAY['film-1', 'série-2'], 8, 'transfer_b'));
END $$;
SELECT v, same_answers(v) FROM generate_series(1, 3) v;
-- and goes out again
SELECT fmoe_alter_domain('transfer_b', sharing => 'full');
SELECT version, data(file) = data(again) AS same_data, header(file) #- '{__metadata__,created}' = header(again) #- '{__metadata__,created}' AS same_header
	FROM (SELECT version, file, fmoe_export('transfer_b', version) AS again FROM shared) s ORDER BY version;

-- an encoder waits to be lent
SELECT fmoe_import('transfer_c', 'lent ' || version, file) FROM lent ORDER BY version;
SELECT version, name, model, live, origin, complete FROM fmoe.versions WHERE domain = 'transfer_c' ORDER BY version;
SELECT fmoe_deploy('transfer_c', 1);
SELECT data(fmoe_export('transfer_c', 1)) = data(file) AS passed_on FROM lent WHERE version = 1;
SELECT fmoe_apply(file, ARRAY['film-1']) FROM lent WHERE version = 1;

-- a model of fmoe_fit is such a file, too
INSERT INTO clicks SELECT u, (u * 7 + s) % 20, s FROM generate_series(1, 20) u, generate_series(1, 5) s;
SELECT fmoe_import('transfer_c', 'fitted', (SELECT fmoe_fit(who, what, at, '{"epochs": 1, "width": 8, "layers": 1}') FROM clicks));
SELECT fmoe_deploy('transfer_c', 3);
SELECT count(*), min(source) AS source FROM fmoe_recommend(1, 5, 'transfer_c');

-- who may
CREATE ROLE transfer_reader;
GRANT USAGE ON SCHEMA transfer_test TO transfer_reader;
GRANT SELECT ON plays, lent TO transfer_reader;
SET ROLE transfer_reader;
SELECT fmoe_export('transfer_a', 1);
SELECT fmoe_import('transfer_a', 'mine', file) FROM lent WHERE version = 1;
RESET ROLE;

-- arguments
SELECT fmoe_import('transfer_c', 'lent 1', file) FROM lent WHERE version = 1;
SELECT fmoe_import('transfer_c', NULL, file) FROM lent WHERE version = 1;
SELECT fmoe_import('transfer_c', '', file) FROM lent WHERE version = 1;
SELECT fmoe_import('transfer_c', 'x', NULL);
SELECT fmoe_import('transfer_c', 'x', file) FROM shared WHERE version = 1;
SET fmoe.max_memory = '1MB';
SELECT fmoe_import('transfer_c', 'x', convert_to(repeat('x', 1000000), 'UTF8'));
RESET fmoe.max_memory;

-- files that are not what they claim: the container
\set file '(SELECT file FROM shared WHERE version = 1)'
\set encoder '(SELECT file FROM lent WHERE version = 1)'
\set counts '(SELECT file FROM shared WHERE version = 3)'
SELECT fmoe_import('transfer_b', 'x', '');
SELECT fmoe_import('transfer_b', 'x', '\x01');
SELECT fmoe_import('transfer_b', 'x', '\xffffffffffffffff7b7d');
SELECT fmoe_import('transfer_b', 'x', '\x05000000000000007b7d');
SELECT fmoe_import('transfer_b', 'x', put_together('{', ''));
SELECT fmoe_import('transfer_b', 'x', put_together('[]', ''));
SELECT fmoe_import('transfer_b', 'x', put_together('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}', '\x000000000000'));
SELECT fmoe_import('transfer_b', 'x', put_together('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', '\x0000000000000000'));
SELECT fmoe_import('transfer_b', 'x', put_together('{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}', ''));
SELECT fmoe_import('transfer_b', 'x', put_together('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}}', ''));
SELECT fmoe_import('transfer_b', 'x', put_together('{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}', '\x0000000000000000'));
SELECT fmoe_import('transfer_b', 'x', put_together('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', '\x0000c07f'));
SELECT fmoe_import('transfer_b', 'x', substr(:file, 1, length(:file) - 1));
SELECT fmoe_import('transfer_b', 'x', :file || '\x00');
-- the expert
SELECT fmoe_import('transfer_b', 'x', put_together('{}', ''));
SELECT fmoe_import('transfer_b', 'x', put_together('{"__metadata__":{"format":"pt"}}', ''));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,format_version}', '"2"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,format_version}', '"one"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,format_version}', NULL));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,model}', '"transformer9"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,model}', '"gru4rec"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,config}', '"{"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,config}', '"[1]"'));
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'width', NULL));
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'width', '100000'));
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'width', '"wide"'));
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'width', '32'));
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'layers', '2'));
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'heads', '3'));
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'max_length', '1000'));
\set VERBOSITY terse
SELECT fmoe_import('transfer_b', 'x', changed_option(:file, 'color', '1'));
\set VERBOSITY default
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,items}', '"0"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,items}', '"-1"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,items}', '"2147483646"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,items}', '"61"'));
SELECT fmoe_import('transfer_b', 'x', changed(:counts, '{__metadata__,items}', '"61"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,events}', '"9223372036854775808"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,users}', '"1e3"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,last_event}', '"nan"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,holdout}', '"all"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,sharing}', '"some"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,sharing}', '"encoder"'));
SELECT fmoe_import('transfer_b', 'x', changed(:encoder, '{__metadata__,sharing}', '"full"'));
SELECT fmoe_import('transfer_b', 'x', changed(changed(:encoder, '{__metadata__,sharing}', '"full"'), '{__metadata__,item_type}', '"text"'));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,checksum}', '"0000000000000000"'));
SELECT fmoe_import('transfer_b', 'x', set_byte(:file, length(:file) - 1, 1));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,item_type}', NULL));
SELECT fmoe_import('transfer_b', 'x', changed(:file, '{__metadata__,item_type}', '"int8"'));
-- arrays that do not belong there, with a checksum that fits
SELECT fmoe_import('transfer_c', 'x', fmoe_fit(1, 'x'::text, 1, '{"model": "markov"}'));
SELECT fmoe_import('transfer_c', 'x', changed(fmoe_fit(1, 'x'::text, 1, '{"model": "markov"}'), '{__metadata__,item_type}', '"int8"'));
-- ids: of the type, distinct and in its order
CREATE TABLE readings (who integer, what numeric, at integer);
SELECT fmoe_create_domain('transfer_numeric', 'readings', 'who', 'what', 'at');
SELECT fmoe_import('transfer_numeric', 'x', changed(fmoe_fit(1, v, 1, '{"model": "markov"}'), '{__metadata__,item_type}', '"numeric"')) FROM (VALUES ('1'::text), ('two')) v (v);
SELECT fmoe_import('transfer_numeric', 'x', changed(fmoe_fit(1, v, 1, '{"model": "markov"}'), '{__metadata__,item_type}', '"numeric"')) FROM (VALUES ('1'::text), ('1.0')) v (v);
SELECT fmoe_import('transfer_numeric', 'x', changed(fmoe_fit(1, v, 1, '{"model": "markov"}'), '{__metadata__,item_type}', '"numeric"')) FROM (VALUES ('10'::text COLLATE "C"), ('9')) v (v);
CREATE TABLE shorts (who integer, what smallint, at integer);
SELECT fmoe_create_domain('transfer_short', 'shorts', 'who', 'what', 'at');
SELECT fmoe_import('transfer_short', 'x', changed(fmoe_fit(1, v, 1, '{"model": "markov"}'), '{__metadata__,item_type}', '"int2"')) FROM (VALUES (1), (40000)) v (v);
SELECT fmoe_apply(changed(fmoe_fit(1, 1, 1, '{"model": "markov"}'), '{__metadata__,item_type}', '"public.mine"'), ARRAY[1]);
SELECT fmoe_apply(changed(fmoe_fit(1, 1, 1, '{"model": "markov"}'), '{__metadata__,item_type}', '"pg_class"'), ARRAY[1]);

-- a mixture lists the lent experts that it consists of, with their shapes
CREATE TABLE mixture AS SELECT fmoe_fit(listener, film, at, '{"model": "fmoe", "width": 8, "layers": 1, "epochs": 1}') AS file FROM plays;
SELECT (header(file) #>> '{__metadata__,config}')::jsonb -> 'experts' AS experts FROM mixture;
SELECT fmoe_import('transfer_b', 'x', changed_option(file, 'experts', '["north.films"]')) FROM mixture;
SELECT fmoe_import('transfer_b', 'x', changed_option(file, 'experts', '[{"name": "north.films"}]')) FROM mixture;
SELECT fmoe_apply(changed_option(file, 'experts', '["north.films"]'), ARRAY['film-1']) FROM mixture;
SELECT fmoe_import('transfer_b', 'x', changed_option(file, 'experts',
	'[{"name": "north.films", "model": "sasrec", "width": 8, "layers": 1, "heads": 1}]')) FROM mixture;
-- no list is none
SELECT fmoe_import('transfer_b', 'mixture ' || coalesce(value::text, ''), changed_option(file, 'experts', value)) > 0 AS made
	FROM mixture, unnest('{NULL,"null",[]}'::jsonb[]) value;
SELECT version, name, config -> 'experts' AS experts,
	(SELECT count(*) FROM fmoe_recommend_next(ARRAY['film-1'], 5, 'transfer_b', version => v.version)) AS answers
	FROM fmoe.versions v WHERE domain = 'transfer_b' AND name ~ '^mixture' ORDER BY version;
SELECT fmoe_drop_version('transfer_b', version) FROM fmoe.versions WHERE domain = 'transfer_b' AND name ~ '^mixture' \g /dev/null

-- in a database of another encoding
SELECT encode(file, 'hex') AS file, encode(fmoe_fit(1, 'снег'::text, 1, '{"model": "popularity"}'), 'hex') AS snow FROM shared WHERE version = 1 GROUP BY file \gset
\set first_database :DBNAME
CREATE DATABASE transfer_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
\c transfer_latin1
\encoding UTF8
SET client_min_messages = warning;
CREATE EXTENSION fmoe;
CREATE TABLE plays (listener integer, film text, at timestamptz);
SELECT fmoe_create_domain('transfer_latin1', 'plays', 'listener', 'film', 'at');
SELECT fmoe_alter_domain('transfer_latin1', sharing => 'full');
SELECT fmoe_import('transfer_latin1', 'copy', decode(:'file', 'hex'));
SELECT fmoe_deploy('transfer_latin1', 1);
SELECT item_id, score > '-Infinity' AS known FROM fmoe_score('1', ARRAY['série-2', 'nothing'], 'transfer_latin1');
CREATE FUNCTION data(file bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN substr(file, 9 + get_byte(file, 0) + 256 * get_byte(file, 1));
SELECT data(fmoe_export('transfer_latin1', 1)) = data(decode(:'file', 'hex')) AS same_data;
SELECT fmoe_import('transfer_latin1', 'snow', decode(:'snow', 'hex'));
\c :first_database
SET client_min_messages = error;
SET search_path = transfer_test, public;
DROP DATABASE transfer_latin1;

-- none of it left anything behind
SELECT domain, count(*) FROM fmoe.versions WHERE domain LIKE 'transfer%' GROUP BY domain ORDER BY domain;

SELECT fmoe_drop_domain(d) FROM unnest('{transfer_a,transfer_b,transfer_c,transfer_numeric,transfer_short}'::text[]) d;
DROP SCHEMA transfer_test CASCADE;
DROP ROLE transfer_reader;
