-- What roles and databases that do not trust one another can do to each other: rows that others write.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA strangers_test;
SET search_path = strangers_test, public;
SET fmoe.party = 'north';

CREATE TABLE plays AS SELECT u, (u * 7 + s) % 20 AS i, s AS at FROM generate_series(1, 40) u, generate_series(1, 6) s;
SELECT fmoe_create_domain('strangers_lender', 'plays', 'u', 'i', 'at');
SELECT fmoe_create_domain('strangers_mix', 'plays', 'u', 'i', 'at');
CALL fmoe_train('strangers_lender', '{"width": 8, "layers": 1, "heads": 1, "epochs": 1, "max_length": 5, "deploy": false}');
SELECT fmoe_lend('strangers_lender', 1) IS NOT NULL AS lent;

-- rows as logical replication may bring them: one that is as it should be, and one that lies
CREATE TABLE good AS SELECT l.*, p.data FROM fmoe.lent l JOIN fmoe.lent_part p USING (lent_id);
CREATE TABLE lies (n serial, what text, head jsonb, data bytea);
INSERT INTO lies (what, head, data)
SELECT what, head || CASE WHEN v.data IS NULL THEN '{}' ELSE jsonb_build_object('bytes', octet_length(v.data)) END, v.data
FROM good g, LATERAL (VALUES
	('a model that counts', '{"model": "markov", "config": {"model": "markov"}}'::jsonb, NULL::bytea),
	('another one', '{"model": "popularity", "config": {"model": "popularity"}}', 'abc'),
	('a mixture', '{"model": "fmoe", "config": {"model": "fmoe"}}', NULL),
	('a mixture of a lent one', '{"model": "fmoe", "config": {"model": "fmoe", "experts": [{"name": "a.b", "model": "sasrec", "width": 8}]}}', NULL),
	('an unknown model', '{"model": "oracle", "config": {"model": "oracle"}}', NULL),
	('two models', '{"model": "gru4rec"}', NULL),
	('a width that is not', '{"config": {"model": "sasrec", "width": -8}}', NULL),
	('a width too large', '{"config": {"model": "sasrec", "width": 99999999999}}', NULL),
	('layers too many', '{"config": {"model": "sasrec", "layers": 1000000}}', NULL),
	('heads that do not divide', '{"config": {"model": "sasrec", "width": 8, "heads": 3}}', NULL),
	('a larger shape than the file''s', jsonb_build_object('config', config || '{"width": 1024, "layers": 16}'), NULL),
	('another length', jsonb_build_object('config', config || '{"max_length": 10000}'), NULL),
	('options that are none', '{"config": [1, 2]}', NULL),
	('options in a string', '{"config": "model"}', NULL),
	('no options', '{"config": {}}', NULL),
	('items below zero', '{"items": -5}', NULL),
	('no items', '{"items": 0}', NULL),
	('events below zero', '{"events": -1}', NULL),
	('the largest numbers', '{"events": 9223372036854775807, "users": 9223372036854775807, "items": 2147483647}', NULL),
	('a version below zero', '{"version": -1}', NULL),
	('a round below zero', '{"round": -2147483648}', NULL),
	('a party with a dot', '{"party": "so.uth"}', NULL),
	('a party with a bell', '{"party": "so\u0007uth"}', NULL),
	('a name longer than any option', jsonb_build_object('domain', repeat('x', 200)), NULL),
	('another precision', '{"precision": "int8"}', NULL),
	('an unknown precision', '{"precision": "int1"}', NULL),
	('another checksum', '{"checksum": "zzz"}', NULL),
	('another privacy', '{"privacy": [1]}', NULL),
	('no file', '{}', ''),
	('half a file', '{}', substr(g.data, 1, octet_length(g.data) / 2)),
	('a file of zeros', '{}', decode(repeat('00', 4000), 'hex')),
	('a header longer than the file', '{}', '\xffffffffffffff7f'::bytea || substr(g.data, 9)),
	('a bit flipped', '{}', set_byte(g.data, octet_length(g.data) - 1, get_byte(g.data, octet_length(g.data) - 1) # 1)),
	('a size that is not', '{"bytes": -1}', NULL)
) v (what, head, data);
CREATE FUNCTION replicate(head jsonb, file bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	row fmoe.lent := jsonb_populate_record(NULL::fmoe.lent, (SELECT to_jsonb(g) FROM good g) || '{"party": "south"}' || head
		|| '{"lent_id": "11111111-1111-1111-1111-111111111111"}');
BEGIN
	DELETE FROM fmoe.lent WHERE lent_id = row.lent_id;
	DELETE FROM fmoe.lent_part WHERE lent_id = row.lent_id;
	INSERT INTO fmoe.lent SELECT row.*;
	INSERT INTO fmoe.lent_part SELECT row.lent_id, 0, row.party, true, COALESCE(file, data) FROM good;
END $$;

-- each is passed over with a WARNING or not listed at all, and the mixture is trained with the other expert
SET client_min_messages = warning;
\pset tuples_only
\set ECHO none
SELECT format('SELECT %L, replicate(head, data) FROM lies WHERE n = %s', what, n),
	'CALL fmoe_train(''strangers_mix'', ''{"model": "fmoe", "epochs": 1, "width": 4, "layers": 1, "heads": 1, "max_length": 5, "deploy": false}'')'
FROM lies ORDER BY n \gexec
\set ECHO all
\pset tuples_only
SELECT (SELECT string_agg(e ->> 'name', ' ') FROM jsonb_array_elements(config -> 'experts') e) AS experts, count(*) = (SELECT count(*) FROM lies) AS all
	FROM fmoe.versions WHERE domain = 'strangers_mix' GROUP BY 1;
-- who names it is told, and nothing is trained
SELECT replicate('{"model": "markov", "config": {"model": "markov"}}', NULL);
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "experts": ["south.strangers_lender"], "epochs": 1}');
SELECT replicate('{}', data || '\x00') FROM good;
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "experts": ["south.strangers_lender"], "epochs": 1}');
SELECT replicate(jsonb_build_object('bytes', octet_length(data) + 1), data || '\x00') FROM good;
CALL fmoe_train('strangers_mix', '{"model": "fmoe", "experts": ["south.strangers_lender"], "epochs": 1}');
SET client_min_messages = error;

SELECT fmoe_forget('south');
SELECT fmoe_drop_domain(d) FROM unnest('{strangers_lender,strangers_mix}'::text[]) d;
DROP SCHEMA strangers_test CASCADE;
