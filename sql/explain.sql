-- why these items, and what each expert of a mixture is good for

SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA explained;
SET search_path = explained, public;
SET fmoe.party = 'explained';

-- three shops whose customers walk in the same way; a reader of one book, and one of thirty
CREATE TABLE books (reader integer, book text, at integer);
INSERT INTO books SELECT u, 'b' || (u * 7 + s * (1 + u % 2)) % 30, s
	FROM generate_series(1, 120) u, generate_series(0, 11) s;
INSERT INTO books VALUES (1000, 'b3', 1);
INSERT INTO books SELECT 1001, 'b' || (s * s) % 23, s FROM generate_series(1, 30) s;
CREATE TABLE films (viewer text, film bigint, at timestamptz);
INSERT INTO films SELECT 'v' || u, 1000 + (u * 5 + s * (1 + u % 2)) % 40, timestamptz '2024-01-01 UTC' + s * interval '1 day'
	FROM generate_series(1, 150) u, generate_series(0, 9) s;
CREATE TABLE noise (listener integer, song integer, at integer);
INSERT INTO noise SELECT u, (u * u * 13 + s * s * u * 7 + s * 5) % 41, s
	FROM generate_series(1, 60) u, generate_series(0, 9) s;
SELECT fmoe_create_domain('explain_books', 'books', 'reader', 'book', 'at'),
	fmoe_create_domain('explain_films', 'films', 'viewer', 'film', 'at'),
	fmoe_create_domain('explain_noise', 'noise', 'listener', 'song', 'at');
CALL fmoe_train('explain_films', '{"model": "sasrec", "width": 24, "heads": 2, "layers": 1, "dropout": 0.1, "epochs": 15, "learning_rate": 0.005, "batch_size": 32, "max_length": 20}');
CALL fmoe_train('explain_noise', '{"model": "gru4rec", "width": 2, "layers": 1, "epochs": 1, "deploy": false}');
SELECT fmoe_lend('explain_films', 1) IS NOT NULL AS films, fmoe_lend('explain_noise', 1) IS NOT NULL AS noise;

SET fmoe.domain = 'explain_books';
-- nothing to explain, nothing to report
SELECT * FROM fmoe_explain('1');
SELECT * FROM fmoe_expert_report();

CALL fmoe_train(options => '{"model": "sasrec", "width": 16, "layers": 1, "dropout": 0.1, "epochs": 15, "learning_rate": 0.005, "batch_size": 32, "max_length": 5,
	"blend": 0.5, "deploy": false}');
CALL fmoe_train(options => '{"model": "fmoe", "gate": "user", "width": 16, "layers": 1, "dropout": 0.1, "epochs": 30, "learning_rate": 0.005, "batch_size": 32,
	"max_length": 12, "blend": 0, "holdout": "test", "experts": ["explained.explain_films", "explained.explain_noise"], "count_experts": true,
	"deploy": false}');
-- without lent experts, all weights equal, and an own expert that was trained to forget
CALL fmoe_train(options => '{"model": "fmoe", "encoder": "gru4rec", "width": 16, "layers": 1, "epochs": 1, "learning_rate": 1, "batch_size": 32,
	"max_length": 12, "blend": 0, "experts": [], "count_experts": true, "gate": "equal", "deploy": false}');
CALL fmoe_train(options => '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "epochs": 1, "max_length": 12, "holdout": "none", "experts": [], "deploy": false}');
CALL fmoe_train(options => '{"model": "markov", "deploy": false}');

-- what a score is made of
CREATE FUNCTION near(a double precision, b double precision) RETURNS boolean LANGUAGE sql IMMUTABLE
	RETURN abs(a - b) <= 1e-4 * greatest(1, abs(a), abs(b));
CREATE FUNCTION adds_up(reader integer, k integer) RETURNS TABLE (items bigint, listed boolean, sums boolean) LANGUAGE sql
BEGIN ATOMIC
	WITH explained AS (SELECT rank, item_id, score, sum(contribution) FILTER (WHERE part <> 'history') AS total
			FROM fmoe_explain_as(NULL::text, reader, k) GROUP BY rank, item_id, score),
		recommended AS (SELECT row_number() OVER () AS rank, item_id, score FROM fmoe_recommend_as(NULL::text, reader, k))
	SELECT count(*), bool_and(r.score IS NOT DISTINCT FROM e.score), bool_and(near(e.total, e.score))
	FROM explained e FULL JOIN recommended r ON r.rank = e.rank AND r.item_id = e.item_id;
END;
-- the score without an event, asked in another way; a reader's items are all different
CREATE FUNCTION left_out(who integer, k integer) RETURNS TABLE (compared bigint, exact boolean, moved boolean) LANGUAGE sql
BEGIN ATOMIC
	SELECT count(*), bool_and(near(e.score - e.contribution, n.score)), bool_or(e.contribution <> 0)
	FROM fmoe_explain_as(NULL::text, who, k) e, LATERAL fmoe_recommend_next((SELECT array_agg(b.book ORDER BY b.at) FROM books b
		WHERE b.reader = who AND b.book <> e.name), 1, candidates => ARRAY[e.item_id], exclude_seen => false) n
	WHERE e.part = 'history';
END;

SELECT fmoe_deploy('explain_books', 1);
SELECT rank, part, nth, name, weight FROM fmoe_explain_as(NULL::text, 3, 2) ORDER BY rank, part, nth;
SELECT * FROM adds_up(3, 10);
SELECT * FROM adds_up(4, 1000);
SELECT * FROM left_out(3, 4);
-- beyond max_length an event changes nothing, and before it each does
SELECT nth, bool_and(contribution = 0) AS nothing FROM fmoe_explain_as(NULL::text, 3, 5) WHERE part = 'history' GROUP BY nth ORDER BY nth;
-- what followed the last item in training is what transitions add to
SELECT name, name = (SELECT book FROM books WHERE reader = 3 ORDER BY at DESC LIMIT 1) AS last, weight, count(*) FILTER (WHERE contribution > 0) > 0 AS some,
	bool_and((contribution > 0) = EXISTS (SELECT FROM books a JOIN books b ON b.reader = a.reader AND b.at = a.at + 1
		WHERE a.book = e.name AND b.book = e.item_id)) AS counted
	FROM fmoe_explain_as(NULL::text, 3, 1000) e WHERE part = 'transitions' GROUP BY name, weight;

SELECT fmoe_deploy('explain_books', 2);
SELECT rank, part, nth, name FROM fmoe_explain_as(NULL::text, 3, 1) WHERE part <> 'history' ORDER BY rank, nth;
SELECT * FROM adds_up(3, 10);
SELECT * FROM adds_up(1001, 1000);
SELECT * FROM left_out(5, 2);
SELECT count(DISTINCT rank) AS items, bool_and(near(total, 1)) AS sum_to_one, count(DISTINCT weights) AS same_for_all
	FROM (SELECT rank, sum(weight) AS total, array_agg(weight ORDER BY nth) AS weights FROM fmoe_explain_as(NULL::text, 3, 7) WHERE part = 'expert' GROUP BY rank) g;
-- the last 20 of thirty events
SELECT count(*), min(nth), max(nth) FROM fmoe_explain_as(NULL::text, 1001, 1) WHERE part = 'history';
-- without its only event a history is empty
SELECT part, name, contribution FROM fmoe_explain_as(NULL::text, 1000, 1) WHERE part = 'history';

-- ids of any type; NULLs and what nobody knows
SELECT count(DISTINCT item_id) FROM fmoe_explain('3');
SELECT count(DISTINCT item_id) FROM fmoe_explain_as(NULL::text, 3::bigint, NULL, NULL);
SELECT count(*) FROM fmoe_explain(3);
SELECT count(*), bool_and(e.item_id = r.item_id::text) AS same FROM fmoe_explain('v7', 3, 'explain_films') e
	JOIN fmoe_recommend('v7', 3, 'explain_films') r USING (score) WHERE part = 'expert' AND name = 'own';
SELECT count(*) FROM fmoe_explain(NULL);
SELECT rank, part, name, weight, contribution = score AS whole FROM fmoe_explain_as(NULL::text, -1, 2);
SELECT reader, count(*) FROM (VALUES (1), (-1), (NULL)) r (reader), LATERAL fmoe_explain_as(NULL::text, r.reader, 1) GROUP BY reader ORDER BY reader;
SELECT count(*) FROM fmoe_explain_as(NULL::text, 3, 0);
SELECT count(*) FROM fmoe_explain('not a number');
SELECT count(*) FROM fmoe_explain_as(NULL::text, 3, 1, 'nowhere');

-- a model that only counts, and one that stands in for what is not live
SELECT fmoe_deploy('explain_books', 5);
SELECT DISTINCT part, name, weight FROM fmoe_explain_as(NULL::text, 3, 3) WHERE part <> 'history';
SELECT * FROM adds_up(3, 30);
SELECT nth, bool_and(contribution = 0) AS nothing FROM fmoe_explain_as(NULL::text, 3, 30) WHERE part = 'history' GROUP BY nth ORDER BY nth LIMIT 3;
DELETE FROM fmoe.deployment p USING fmoe.domain d WHERE d.domain_id = p.domain_id AND d.name = 'explain_books';
SELECT DISTINCT part, name, weight FROM fmoe_explain_as(NULL::text, 3, 3) WHERE part <> 'history';

-- the report agrees with what training found
SELECT expert, CASE WHEN expert IN ('markov', 'all but own') THEN verdict END AS verdict, users FROM fmoe_expert_report(options => '{"version": 2}');
SELECT bool_and(near(ndcg, (metrics #>> '{main,ndcg@10}')::float8)) AS entire,
	bool_and(near(without, (metrics #>> '{own,ndcg@10}')::float8)) FILTER (WHERE expert = 'all but own') AS own_alone,
	bool_and(near(difference, ndcg - without)) AS difference, bool_and(low <= difference AND difference <= high) AS around,
	near(sum(weight) FILTER (WHERE expert <> 'all but own'), 1) AS weights, near(sum(largest) FILTER (WHERE expert <> 'all but own'), 1) AS largest,
	near(sum(weight) FILTER (WHERE expert IN ('own', 'all but own')), 1) AS complement,
	bool_and(verdict = CASE WHEN expert = 'all but own' AND difference < 0 THEN 'stays behind the own expert'
		WHEN low > 0 THEN 'helps' WHEN high < 0 THEN 'harms' ELSE 'no clear effect' END) AS judged
	FROM generate_series(2, 3) v, LATERAL fmoe_expert_report(options => jsonb_build_object('version', v)),
		LATERAL (SELECT metrics FROM fmoe.versions WHERE domain = 'explain_books' AND version = v) m
	GROUP BY v ORDER BY v;
SELECT near(r.ndcg, e.value) AS evaluated, r.users = e.users AS users
	FROM fmoe_expert_report(options => '{"version": 2, "split": "leave_one_out"}') r, fmoe_evaluate(options => '{"version": 2}') e
	WHERE r.expert = 'own' AND e.model = 'version 2' AND e.metric = 'ndcg';
-- an expert that harms is named
SELECT expert, near(weight, 1 / 3::float8) AS third, near(largest, 1 / 3::float8) AS equal, CASE WHEN expert <> 'popularity' THEN verdict END AS verdict
	FROM fmoe_expert_report(options => '{"version": 3}') WHERE expert <> 'all but own';
-- with one expert there is nothing to compare
CALL fmoe_train('explain_noise', '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "epochs": 1, "experts": [], "deploy": false}');
SET client_min_messages = notice;
SELECT expert, weight, largest, without, difference, low, high, verdict, users FROM fmoe_expert_report('explain_noise');
SET client_min_messages = error;

-- the same seed, another one; some users, and too few
SELECT count(*) AS rows, count(*) FILTER (WHERE a.low = b.low AND a.high = b.high) AS same, bool_or(a.low <> c.low) AS other
	FROM fmoe_expert_report(options => '{"version": 2}') a JOIN fmoe_expert_report(options => '{"version": 2, "resamples": 1000, "seed": 42}') b USING (expert)
		JOIN fmoe_expert_report(options => '{"version": 2, "seed": 1}') c USING (expert) WHERE expert = 'markov' OR a.low = a.high;
SELECT expert, users FROM fmoe_expert_report(options => '{"version": 3, "limit_users": 50, "resamples": 100}');
SELECT DISTINCT verdict FROM fmoe_expert_report(options => '{"version": 3, "limit_users": 29}') WHERE expert <> 'all but own';

-- readers go on with what the own expert would have had: the mixture stays behind it
SELECT fmoe_deploy('explain_books', 3);
INSERT INTO books SELECT DISTINCT ON (u) u, item_id, 100 FROM generate_series(1, 120) u, LATERAL fmoe_explain_as(NULL::text, u, 1000)
	WHERE part = 'expert' AND name = 'own' ORDER BY u, contribution DESC;
SELECT expert, verdict, without > 0.9 AS nearly_all_right
	FROM fmoe_expert_report() WHERE expert IN ('markov', 'all but own');

-- what is refused
SELECT * FROM fmoe_expert_report(options => '{"version": 1}');
SELECT * FROM fmoe_expert_report(options => '{"version": 4}');
SELECT * FROM fmoe_expert_report(options => '{"version": 3, "split": "leave_one_out"}');
SELECT * FROM fmoe_expert_report(options => '{"version": 99}');
SELECT * FROM fmoe_expert_report(options => '{"resamples": 99}');
SELECT * FROM fmoe_expert_report(options => '{"split": "time"}');
SELECT * FROM fmoe_expert_report(options => '{"k": 10}');
SELECT * FROM fmoe_expert_report(options => '[]');
SELECT * FROM fmoe_expert_report(options => NULL);
SELECT * FROM fmoe_expert_report('nowhere');
TRUNCATE books;
SELECT * FROM fmoe_expert_report(options => '{"version": 3}');

RESET fmoe.domain;
SELECT fmoe_drop_domain('explain_books'), fmoe_drop_domain('explain_films'), fmoe_drop_domain('explain_noise');
DROP SCHEMA explained CASCADE;
