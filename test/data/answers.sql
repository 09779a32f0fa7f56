-- What versions, files and lent rows say, in one shape: (call, key, rank, item, score).

-- of a domain's live version
CREATE FUNCTION answers(asked text) RETURNS TABLE (call text, key text, rank bigint, item text, score real) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE pg_catalog.replace($sql$
		WITH users AS (SELECT user_id FROM (SELECT user_id, pg_catalog.row_number() OVER (ORDER BY user_id) n
				FROM (SELECT DISTINCT user_id FROM TABLE_NAME) u) u WHERE n % 5 = 0),
			items AS (SELECT item_id FROM (SELECT item_id, pg_catalog.row_number() OVER (ORDER BY item_id) n
				FROM (SELECT DISTINCT item_id FROM TABLE_NAME) i) i WHERE n % 10 = 0)
		SELECT 'recommend', user_id::text, r.* FROM users, LATERAL (SELECT pg_catalog.row_number() OVER (), f.item_id, f.score
			FROM fmoe_recommend_as(NULL::text, user_id, 11, 'TABLE_NAME') f) r
		UNION ALL
		SELECT 'score', user_id::text, r.* FROM (SELECT * FROM users LIMIT 3) u, LATERAL (SELECT pg_catalog.row_number() OVER (), f.item_id::text, f.score
			FROM fmoe_score(user_id::text, ARRAY(SELECT item_id::text FROM items ORDER BY items.item_id), 'TABLE_NAME') f) r
		UNION ALL
		SELECT 'similar', i.item_id::text, r.* FROM items i, LATERAL (SELECT pg_catalog.row_number() OVER (), f.item_id::text, f.score
			FROM fmoe_similar(i.item_id::text, 6, 'TABLE_NAME') f) r$sql$, 'TABLE_NAME', asked);
END $$;

-- of a model of fmoe_fit over such a table
CREATE FUNCTION applied(model bytea, asked text) RETURNS TABLE (call text, key text, rank bigint, item text, score real) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE pg_catalog.format($sql$
		SELECT 'apply', user_id::text, r.* FROM (SELECT user_id, pg_catalog.array_agg(item_id ORDER BY at, item_id) AS history FROM %I
				GROUP BY user_id ORDER BY user_id LIMIT 12) u,
			LATERAL (SELECT pg_catalog.row_number() OVER (), f.item_id::text, f.score FROM fmoe_apply($1, history, 11) f) r$sql$, asked) USING model;
END $$;

-- the arrays of a file: type, shape and digest
CREATE FUNCTION arrays(file bytea) RETURNS TABLE (call text, key text, rank bigint, item text, score real) LANGUAGE plpgsql AS $$
DECLARE
	size CONSTANT integer := pg_catalog.get_byte(file, 0) + 256 * pg_catalog.get_byte(file, 1) + 65536 * pg_catalog.get_byte(file, 2);
BEGIN
	RETURN QUERY SELECT 'array', a.key, 1::bigint, pg_catalog.concat_ws(' ', value ->> 'dtype', value ->> 'shape',
			pg_catalog.md5(pg_catalog.substr(file, 9 + size + (value #>> '{data_offsets,0}')::integer,
				(value #>> '{data_offsets,1}')::integer - (value #>> '{data_offsets,0}')::integer))), NULL::real
		FROM pg_catalog.jsonb_each(pg_catalog.convert_from(pg_catalog.substr(file, 9, size), 'UTF8')::jsonb) a WHERE a.key <> '__metadata__';
END $$;

-- a file of an encoder, as it is once it was imported and is exported again, in 32 bits
CREATE FUNCTION encoder(name text, file bytea) RETURNS TABLE (call text, key text, rank bigint, item text, score real) LANGUAGE plpgsql AS $$
DECLARE
	version CONSTANT integer := fmoe_import('films', name, file);
BEGIN
	RETURN QUERY SELECT * FROM arrays(fmoe_export('films', version));
END $$;

-- what is stored, and what is live
CREATE FUNCTION listed() RETURNS TABLE (call text, key text, rank bigint, item text, score real) LANGUAGE sql AS $$
	SELECT 'version', domain || ' ' || version, 1::bigint, pg_catalog.concat_ws(' ', model, live, name, origin, complete, holdout, events, users, items,
		created_at AT TIME ZONE 'UTC', metrics #>> '{main,ndcg@10}'), NULL::real FROM fmoe.versions
$$;

-- what others have lent: the rows, and their files as encoders
CREATE FUNCTION lent() RETURNS TABLE (call text, key text, rank bigint, item text, score real) LANGUAGE sql AS $$
	SELECT 'lent', name, 1::bigint, pg_catalog.concat_ws(' ', version, model, width, events, users, items, precision, privacy, bytes,
		created_at AT TIME ZONE 'UTC'), NULL::real FROM fmoe.experts WHERE NOT own
	UNION ALL
	SELECT a.call, name || ' ' || a.key, a.rank, a.item, a.score
	FROM (SELECT party || '.' || domain AS name, pg_catalog.string_agg(data, '' ORDER BY part) AS file FROM fmoe.lent JOIN fmoe.lent_part USING (lent_id, party)
			GROUP BY 1) l, LATERAL encoder('file of ' || name, file) a
$$;
