-- Three tables of events, ids of a type each: the same rows in any database.
CREATE FUNCTION drawn(u integer, s integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN h % 10 < 6 THEN (u * 7 + s * 3) % 80 ELSE (h / 10 % 80) * (h / 800 % 80) / 80 END + 1
	FROM (SELECT ('x' || pg_catalog.substr(pg_catalog.md5(u || ' ' || s), 1, 7))::bit(28)::integer) v (h)
$$;
CREATE TABLE films AS SELECT u::bigint AS user_id, drawn(u, s)::bigint AS item_id, 1700000000 + s * 86400.0::double precision + u AS at
	FROM pg_catalog.generate_series(1, 60) u, pg_catalog.generate_series(1, 10 + u % 5) s;
CREATE TABLE songs AS SELECT 'listener ' || u AS user_id, 'song ' || drawn(u + 100, s) AS item_id, timestamptz '2024-01-01 UTC' + s * interval '1 day' AS at
	FROM pg_catalog.generate_series(1, 60) u, pg_catalog.generate_series(1, 10 + u % 5) s;
CREATE TABLE places AS SELECT u AS user_id, pg_catalog.md5('place ' || drawn(u + 200, s))::uuid AS item_id, s AS at
	FROM pg_catalog.generate_series(1, 60) u, pg_catalog.generate_series(1, 10 + u % 5) s;
SELECT fmoe_create_domain(name, name::regclass, 'user_id', 'item_id', 'at') FROM pg_catalog.unnest('{films,songs,places}'::text[]) name;
