-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION fmoe UPDATE" to load this file. \quit

-- All of 0.9 is put aside; 1.0 is made by the statements of its own script; the rows are brought over; and what
-- was put aside is dropped.  So an updated database has what a new one has, whatever changed.

DO $$
DECLARE
	held record;
BEGIN
	SELECT p.pubname AS holder, r.prrelid::pg_catalog.regclass AS named INTO held
	FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
		JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
	WHERE c.relnamespace = 'fmoe'::pg_catalog.regnamespace
	UNION ALL
	SELECT s.subname, r.srrelid::pg_catalog.regclass
	FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
		JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
	WHERE c.relnamespace = 'fmoe'::pg_catalog.regnamespace
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'table % is in publication or subscription "%"', held.named, held.holder
			USING ERRCODE = 'dependent_objects_still_exist',
				HINT = 'Its tables are made anew: drop the publication or subscription, update, and create it again.';
	END IF;
END
$$;

CREATE SCHEMA fmoe_0_9;

DO $$
DECLARE
	member record;
BEGIN
	-- forms of fmoe_recommend that domains brought with them
	FOR member IN
		SELECT d.objid::pg_catalog.regprocedure AS named
		FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.objid
		WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
			AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'fmoe')
			AND d.deptype = 'x' AND p.proname ~ '^fmoe_recommend(_all)?$'
	LOOP
		EXECUTE pg_catalog.format('DROP FUNCTION %s', member.named);
	END LOOP;
	-- sequences first, for they go where their tables go
	FOR member IN
		SELECT i.type, i.identity
		FROM pg_catalog.pg_depend d, pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'fmoe')
			AND i.type IN ('sequence', 'table', 'view', 'function', 'procedure', 'aggregate')
		ORDER BY i.type <> 'sequence', i.type
	LOOP
		IF member.type IN ('sequence', 'table') THEN
			EXECUTE pg_catalog.format('ALTER EXTENSION fmoe DROP %s %s', member.type, member.identity);
		END IF;
		IF member.type <> 'sequence' THEN
			EXECUTE pg_catalog.format('ALTER %s %s SET SCHEMA fmoe_0_9',
				CASE WHEN member.type IN ('table', 'view') THEN member.type ELSE 'ROUTINE' END, member.identity);
		END IF;
	END LOOP;
END
$$;

