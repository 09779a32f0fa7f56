
-- ---------------------------------------------------------------- what 0.9 had

-- all belongs to who had 0.9, not to who updates
DO $$
DECLARE
	owner name := (SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
		WHERE c.oid = 'fmoe_0_9.domain'::pg_catalog.regclass);
	member record;
BEGIN
	IF owner = CURRENT_USER THEN
		RETURN;
	END IF;
	FOR member IN
		SELECT i.type, i.identity
		FROM pg_catalog.pg_depend d, pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'fmoe')
			AND i.identity !~ '^fmoe_0_9\M'
			AND (i.type IN ('table', 'view', 'function', 'procedure', 'aggregate')
				OR i.type = 'type' AND EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = d.objid AND t.typtype = 'b' AND t.typelem = 0))
	LOOP
		EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', member.type, member.identity, owner);
	END LOOP;
	-- PostgreSQL before 18 leaves the former owner in what it remembers of the privileges
	UPDATE pg_catalog.pg_init_privs i SET initprivs = COALESCE(c.relacl, i.initprivs) FROM pg_catalog.pg_class c, pg_catalog.pg_depend d
	WHERE i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = i.objoid AND i.objsubid = 0 AND i.privtype = 'e'
		AND c.relnamespace <> 'fmoe_0_9'::pg_catalog.regnamespace AND d.classid = i.classoid AND d.objid = i.objoid AND d.deptype = 'e'
		AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'fmoe');
	UPDATE pg_catalog.pg_init_privs i SET initprivs = COALESCE(p.proacl, i.initprivs) FROM pg_catalog.pg_proc p, pg_catalog.pg_depend d
	WHERE i.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = i.objoid AND i.privtype = 'e'
		AND p.pronamespace <> 'fmoe_0_9'::pg_catalog.regnamespace AND d.classid = i.classoid AND d.objid = i.objoid AND d.deptype = 'e'
		AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'fmoe');
END
$$;

-- rows: the columns of a name, and of renamed ones; all others have their defaults
DO $$
DECLARE
	brought record;
	last record;
BEGIN
	FOR brought IN
		SELECT o.relname AS old, n.relname AS new,
			pg_catalog.string_agg(pg_catalog.quote_ident(new.attname), ', ' ORDER BY new.attnum) AS columns,
			pg_catalog.string_agg(CASE
				WHEN new.atttypid = old.atttypid THEN pg_catalog.quote_ident(old.attname)
				-- references by type of their own, whose input takes all that the old output gives
				WHEN type.typnamespace = 'fmoe'::pg_catalog.regnamespace THEN
					pg_catalog.format('%s(%s(%I))', type.typinput, was.typoutput, old.attname)
				ELSE pg_catalog.format('%I::%s', old.attname, pg_catalog.format_type(new.atttypid, new.atttypmod))
				END, ', ' ORDER BY new.attnum) AS values
		FROM pg_catalog.pg_class o
			JOIN pg_catalog.pg_class n ON n.relnamespace = 'fmoe'::pg_catalog.regnamespace AND n.relkind = 'r'
				AND n.relname = CASE o.relname WHEN 'expert' THEN 'version' ELSE o.relname END
			JOIN pg_catalog.pg_attribute old ON old.attrelid = o.oid AND old.attnum > 0 AND NOT old.attisdropped
			JOIN pg_catalog.pg_attribute new ON new.attrelid = n.oid AND new.attnum > 0 AND NOT new.attisdropped
				AND new.attname = CASE old.attname WHEN 'expert_id' THEN 'version_id' ELSE old.attname END
			JOIN pg_catalog.pg_type type ON type.oid = new.atttypid
			JOIN pg_catalog.pg_type was ON was.oid = old.atttypid
		WHERE o.relnamespace = 'fmoe_0_9'::pg_catalog.regnamespace AND o.relkind = 'r'
		GROUP BY o.relname, n.relname
	LOOP
		EXECUTE pg_catalog.format('INSERT INTO fmoe.%I (%s) SELECT %s FROM fmoe_0_9.%I',
			brought.new, brought.columns, brought.values, brought.old);
	END LOOP;
	FOR brought IN
		SELECT s.relname AS old, pg_catalog.replace(s.relname, 'expert_expert', 'version_version') AS new FROM pg_catalog.pg_class s
		WHERE s.relnamespace = 'fmoe_0_9'::pg_catalog.regnamespace AND s.relkind = 'S'
	LOOP
		EXECUTE pg_catalog.format('SELECT last_value, is_called FROM fmoe_0_9.%I', brought.old) INTO last;
		PERFORM pg_catalog.setval(pg_catalog.format('fmoe.%I', brought.new)::pg_catalog.regclass, last.last_value, last.is_called);
	END LOOP;
	-- owners were names; whose role is gone falls to the owner of the tables
	PERFORM fmoe._set_owner('domain', d.domain_id, r.oid::pg_catalog.regrole)
	FROM fmoe_0_9.domain d JOIN pg_catalog.pg_roles r ON r.rolname = d.owner;
	PERFORM fmoe._set_owner('peer', p.peer_id, r.oid::pg_catalog.regrole)
	FROM fmoe_0_9.peer p JOIN pg_catalog.pg_roles r ON r.rolname = p.created_by;
END
$$;

-- privileges that somebody granted or revoked; they are theirs, not the extension's, so pg_dump has to see them
DO $$
DECLARE
	members oid[] := ARRAY(SELECT d.objid FROM pg_catalog.pg_depend d
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.refobjid = (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'fmoe'));
	initial pg_catalog.pg_init_privs[] := ARRAY(SELECT p FROM pg_catalog.pg_init_privs p WHERE p.objoid = ANY (members));
	change record;
BEGIN
	FOR change IN
		WITH thing AS (
			SELECT c.oid, 'TABLE' AS kind, CASE c.relname WHEN 'expert' THEN 'version' ELSE c.relname END AS name,
				c.oid::pg_catalog.regclass::text AS named, c.relnamespace AS schema, 'pg_catalog.pg_class'::pg_catalog.regclass AS class,
				c.relacl AS acl, pg_catalog.acldefault('r', c.relowner) AS usual
			FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v')
			UNION ALL
			SELECT p.oid, 'ROUTINE', p.proname, p.oid::pg_catalog.regprocedure::text, p.pronamespace,
				'pg_catalog.pg_proc'::pg_catalog.regclass, p.proacl, pg_catalog.acldefault('f', p.proowner)
			FROM pg_catalog.pg_proc p
		), had AS (
			SELECT t.kind, t.name, a.grantee, a.privilege_type, a.is_grantable, was.ordinality = 1 AS now
			FROM thing t LEFT JOIN pg_catalog.pg_init_privs i ON i.classoid = t.class AND i.objoid = t.oid AND i.objsubid = 0,
				ROWS FROM (pg_catalog.unnest(ARRAY[1, 2])) WITH ORDINALITY was,
				pg_catalog.aclexplode(CASE was.ordinality WHEN 1 THEN COALESCE(t.acl, t.usual)
					ELSE COALESCE(i.initprivs, t.usual) END) a
			WHERE t.schema = 'fmoe_0_9'::pg_catalog.regnamespace
		)
		SELECT DISTINCT n.kind, n.named, d.privilege_type, d.is_grantable, d.now,
			CASE d.grantee WHEN 0 THEN 'PUBLIC' ELSE d.grantee::pg_catalog.regrole::text END AS grantee
		FROM (SELECT h.kind, h.name, h.grantee, h.privilege_type, h.is_grantable, pg_catalog.bool_or(h.now) AS now
			FROM had h GROUP BY 1, 2, 3, 4, 5 HAVING pg_catalog.count(*) FILTER (WHERE h.now) = 0 OR pg_catalog.count(*) FILTER (WHERE NOT h.now) = 0) d
			JOIN thing n ON n.kind = d.kind AND n.name = d.name
				AND n.oid = ANY (members) AND n.schema <> 'fmoe_0_9'::pg_catalog.regnamespace
		ORDER BY d.now
	LOOP
		EXECUTE CASE WHEN change.now THEN
			pg_catalog.format('GRANT %s ON %s %s TO %s%s', change.privilege_type, change.kind, change.named, change.grantee,
				CASE WHEN change.is_grantable AND change.grantee <> 'PUBLIC' THEN ' WITH GRANT OPTION' ELSE '' END)
			ELSE pg_catalog.format('REVOKE %s ON %s %s FROM %s', change.privilege_type, change.kind, change.named, change.grantee) END;
	END LOOP;
	DELETE FROM pg_catalog.pg_init_privs WHERE objoid = ANY (members);
	INSERT INTO pg_catalog.pg_init_privs SELECT (i).* FROM pg_catalog.unnest(initial) i;
END
$$;

-- objects of somebody else that use them are in the way, and named in the error
DO $$
DECLARE
	kind record;
BEGIN
	FOR kind IN
		SELECT pg_catalog.format('DROP VIEW %s', pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ')) AS drop, 1 AS nth
		FROM pg_catalog.pg_class c WHERE c.relnamespace = 'fmoe_0_9'::pg_catalog.regnamespace AND c.relkind = 'v'
		UNION ALL
		SELECT pg_catalog.format('DROP ROUTINE %s', pg_catalog.string_agg(p.oid::pg_catalog.regprocedure::text, ', ')), 3
		FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'fmoe_0_9'::pg_catalog.regnamespace
		UNION ALL
		SELECT pg_catalog.format('DROP TABLE %s', pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ')), 2
		FROM pg_catalog.pg_class c WHERE c.relnamespace = 'fmoe_0_9'::pg_catalog.regnamespace AND c.relkind = 'r'
		ORDER BY nth
	LOOP
		EXECUTE kind.drop;
	END LOOP;
END
$$;

DROP SCHEMA fmoe_0_9;
