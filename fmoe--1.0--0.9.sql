-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION fmoe UPDATE TO '0.9'" to load this file. \quit

-- The builds before the release called themselves 1.0.  This gives them the number 0.9, from which they are updated;
-- it changes nothing, and the release itself is refused.

DO $$
BEGIN
	IF pg_catalog.to_regclass('fmoe.expert') IS NULL THEN
		RAISE EXCEPTION 'fmoe in this database is of the release 1.0 or later'
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'ALTER EXTENSION fmoe UPDATE is all it needs.';
	END IF;
END
$$;
