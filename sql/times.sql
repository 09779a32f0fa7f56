-- Times of every type: how they are compared with as_of, what numbers count, what a double cannot hold.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA times_test;
SET search_path = times_test, public;
SET TimeZone = 'UTC';

-- timestamps and dates without a time zone: as PostgreSQL compares them, by the session's time zone
CREATE TABLE local_times (u int, i int, t timestamp, d date);
INSERT INTO local_times SELECT u, n, timestamp '2024-04-01 12:00' + n * interval '1 h', date '2024-04-01' + n
	FROM generate_series(1, 20) u, generate_series(0, 9) n;
SELECT fmoe_create_domain('stamps', 'local_times', 'u', 'i', 't');
SELECT fmoe_create_domain('dates', 'local_times', 'u', 'i', 'd');
CALL fmoe_train('stamps', '{"model": "popularity"}');
CALL fmoe_train('dates', '{"model": "popularity"}');
CREATE FUNCTION seen(domain text, at timestamptz) RETURNS bigint LANGUAGE sql
	AS $$ SELECT 10 - count(*) FROM fmoe_recommend_as(NULL::int, 1, 20, domain, as_of => at) $$;
CREATE VIEW compared AS
	SELECT seen('stamps', m) AS stamps, (SELECT count(*) FROM local_times WHERE u = 1 AND t <= m) AS stamps_by_postgresql,
		seen('dates', m) AS dates, (SELECT count(*) FROM local_times WHERE u = 1 AND d <= m) AS dates_by_postgresql
	FROM unnest('{2024-04-01 13:00,2024-04-03 23:59,2024-04-04 00:00,infinity,-infinity}'::timestamptz[]) m;
SELECT * FROM compared;
SET TimeZone = 'America/New_York';
SELECT * FROM compared;
SELECT domain, last_event FROM fmoe.versions WHERE domain IN ('stamps', 'dates') ORDER BY 1;
SET TimeZone = 'Asia/Tokyo';
SELECT * FROM compared;
SELECT domain, last_event FROM fmoe.versions WHERE domain IN ('stamps', 'dates') ORDER BY 1;

-- an hour that the clock has twice: 01:30 is the second one, as for PostgreSQL
SET TimeZone = 'America/New_York';
UPDATE local_times SET t = timestamp '2024-11-03 00:00' + i * interval '15 min';
SELECT m, seen('stamps', m) = (SELECT count(*) FROM local_times WHERE u = 1 AND t <= m) AS as_postgresql
FROM unnest('{2024-11-03 01:30-04,2024-11-03 01:30-05,2024-11-03 02:00-05}'::timestamptz[]) m;
SET TimeZone = 'UTC';
SELECT fmoe_drop_domain('stamps'), fmoe_drop_domain('dates');

-- numbers: what they count
CREATE TABLE numbers AS SELECT u, n AS i, 1711972800 + n * 3600::bigint AS s, (1711972800 + n * 3600) * 1000::bigint AS ms,
	(1711972800 + n * 3600) * 1000000::numeric AS us, (19814 + n)::float8 AS days
	FROM generate_series(1, 20) u, generate_series(0, 9) n;
SET client_min_messages = notice;
SELECT fmoe_create_domain('numbers', 'numbers', 'u', 'i', 's');
CALL fmoe_train('numbers', '{"model": "popularity", "deploy": false}');
SELECT fmoe_alter_domain('numbers', time_column => 'ms');
CALL fmoe_train('numbers', '{"model": "popularity", "deploy": false}');
SELECT fmoe_alter_domain('numbers', time_unit => 'milliseconds');
CALL fmoe_train('numbers', '{"model": "popularity", "deploy": false}');
SELECT fmoe_alter_domain('numbers', time_column => 'us', time_unit => '');
CALL fmoe_train('numbers', '{"model": "popularity", "deploy": false}');
SELECT fmoe_alter_domain('numbers', time_unit => 'seconds');
CALL fmoe_train('numbers', '{"model": "popularity", "deploy": false}');
SELECT fmoe_alter_domain('numbers', time_unit => 'microseconds');
CALL fmoe_train('numbers', '{"model": "popularity", "deploy": false}');
SELECT fmoe_alter_domain('numbers', time_column => 'days', time_unit => 'days');
CALL fmoe_train('numbers', '{"model": "popularity", "deploy": false}');
SET client_min_messages = warning;
SELECT version, last_event FROM fmoe.versions WHERE domain = 'numbers' ORDER BY 1;
SELECT time_column, time_unit FROM fmoe.domains WHERE domain = 'numbers';

-- refused
SELECT fmoe_alter_domain('numbers', time_unit => 'hours');
SELECT fmoe_create_domain('stamps', 'local_times', 'u', 'i', 't', time_unit => 'milliseconds');

-- as_of counts by the unit
SELECT fmoe_deploy('numbers', 1);
SELECT seen('numbers', '2024-04-03 12:00') AS days;
SELECT fmoe_alter_domain('numbers', time_column => 'ms', time_unit => 'milliseconds');
SELECT seen('numbers', '2024-04-01 14:00') AS milliseconds;
SELECT fmoe_alter_domain('numbers', time_column => 'us', time_unit => 'microseconds');
SELECT seen('numbers', '2024-04-01 14:00') AS microseconds;
SELECT fmoe_drop_domain('numbers');

-- the view never fails, whatever the times
CREATE TABLE wild (u int, i int, t float8);
SELECT fmoe_create_domain('wild', 'wild', 'u', 'i', 't', time_unit => 'seconds');
INSERT INTO wild VALUES (1, 1, -1e300), (1, 2, -1e299);
CALL fmoe_train('wild', '{"model": "popularity", "holdout": "none", "deploy": false}');
INSERT INTO wild VALUES (1, 1, 9224318015999), (1, 2, 0);
CALL fmoe_train('wild', '{"model": "popularity", "holdout": "none", "deploy": false}');
INSERT INTO wild VALUES (1, 1, 9224318016000), (1, 2, 'infinity');
CALL fmoe_train('wild', '{"model": "popularity", "holdout": "none", "deploy": false}');
INSERT INTO wild VALUES (1, 1, 1e300);
CALL fmoe_train('wild', '{"model": "popularity", "holdout": "none", "deploy": false}');
SELECT version, last_event FROM fmoe.versions WHERE domain = 'wild' ORDER BY 1;
SELECT fmoe_drop_domain('wild');

-- times that are one double are not one time: item n comes after item n + 1 here, and by the id before it
CREATE TABLE fine AS SELECT u, n AS i, 9007199254740992::bigint + 10 - n AS big, 9223372036854775807 - n AS largest,
	1711972800.000000001::numeric + (10 - n) * 0.000000001 AS nanoseconds,
	timestamp '280000-01-01' + (10 - n) * interval '1 us' AS late
	FROM generate_series(1, 20) u, generate_series(0, 9) n;
INSERT INTO fine VALUES (99, 4, 0, 0, 0, '2000-01-01');
CREATE FUNCTION after_item_4(time_column name, unit text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	answer int;
BEGIN
	PERFORM fmoe_create_domain('fine', 'fine', 'u', 'i', time_column, time_unit => unit);
	CALL fmoe_train('fine', '{"model": "markov", "holdout": "none"}');
	SELECT item_id INTO answer FROM fmoe_recommend_as(NULL::int, 99, 1, 'fine');
	PERFORM fmoe_drop_domain('fine');
	RETURN answer;
END $$;
SELECT c, unit, after_item_4(c, unit) FROM unnest('{big,largest,nanoseconds}'::name[]) c,
	unnest('{NULL,milliseconds,microseconds,days}'::text[]) unit;
SELECT after_item_4('late', NULL);
SELECT item_id FROM fmoe_apply((SELECT fmoe_fit(u, i, big, '{"model": "markov", "holdout": "none"}') FROM fine), ARRAY[4], 1);
-- what parallel workers collect keeps it, too
ALTER TABLE fine SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SELECT item_id FROM fmoe_apply((SELECT fmoe_fit(u, i, big, '{"model": "markov", "holdout": "none"}') FROM fine), ARRAY[4], 1);
DROP SCHEMA times_test CASCADE;
