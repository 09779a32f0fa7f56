-- mixtures of experts: training with lent ones, going live, rounds, what leaves

SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS fmoe;
CREATE SCHEMA mixtures;
SET search_path = mixtures, public;

-- three shops whose customers walk in the same way, over items of their own
CREATE TABLE books (reader integer, book text, at integer);
INSERT INTO books SELECT u, 'b' || (u * 7 + s * (1 + u % 2)) % 30, s
	FROM generate_series(1, 120) u, generate_series(0, 11) s;
CREATE TABLE films (viewer text, film bigint, at timestamptz);
INSERT INTO films SELECT 'v' || u, 1000 + (u * 5 + s * (1 + u % 2)) % 40, timestamptz '2024-01-01 UTC' + s * interval '1 day'
	FROM generate_series(1, 150) u, generate_series(0, 9) s;
CREATE TABLE songs (listener integer, song integer, at integer);
INSERT INTO songs SELECT u, (u * 3 + s * (1 + u % 2)) % 25, s
	FROM generate_series(1, 100) u, generate_series(0, 9) s;
SELECT fmoe_create_domain('mix_books', 'books', 'reader', 'book', 'at'),
	fmoe_create_domain('mix_films', 'films', 'viewer', 'film', 'at'),
	fmoe_create_domain('mix_songs', 'songs', 'listener', 'song', 'at');

-- nobody has lent anything yet
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "experts": ["nobody.nothing"]}');
CALL fmoe_train('mix_books', '{"model": "sasrec", "start_encoder": "nobody.nothing"}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "width": 16, "layers": 1, "epochs": 1, "deploy": false}');
SELECT model, config -> 'experts' AS experts FROM fmoe.versions WHERE domain = 'mix_books';

-- encoders of two kinds and widths are lent
CALL fmoe_train('mix_films', '{"model": "sasrec", "width": 24, "heads": 2, "layers": 1, "dropout": 0.1, "epochs": 30, "learning_rate": 0.005, "batch_size": 32, "max_length": 20}');
CALL fmoe_train('mix_songs', '{"model": "gru4rec", "width": 12, "layers": 1, "dropout": 0.1, "epochs": 30, "learning_rate": 0.005, "batch_size": 32, "max_length": 20}');
SELECT fmoe_lend('mix_films', 1) IS NOT NULL AS films, fmoe_lend('mix_songs', 1) IS NOT NULL AS songs;

SET fmoe.domain = 'mix_books';
CALL fmoe_train(options => '{"model": "fmoe", "gate": "user", "width": 16, "layers": 1, "dropout": 0.1, "epochs": 40, "learning_rate": 0.005, "batch_size": 32,
	"max_length": 20, "lora_rank": 2, "gate_loss": 0.1, "blend": 0}');
SELECT model, metrics ?& '{own,main,popularity}' AS compared,
	(metrics #>> '{main,ndcg@10}')::float8 > (metrics #>> '{popularity,ndcg@10}')::float8 AS learnt,
	-- no negative transfer: it is live only if it is not below its own expert alone
	NOT live OR (metrics #>> '{main,ndcg@10}')::float8 >= (metrics #>> '{own,ndcg@10}')::float8 AS not_harmed
	FROM fmoe.versions WHERE domain = 'mix_books' AND version = 2;
SELECT split_part(e ->> 'name', '.', 2) AS name, e ->> 'model' AS model, e ->> 'width' AS width, e ->> 'heads' AS heads
	FROM fmoe.versions, jsonb_array_elements(config -> 'experts') e WHERE domain = 'mix_books' AND version = 2;

-- it is served like any other expert
SELECT fmoe_deploy('mix_books', 2);
SELECT count(*) AS ten, count(DISTINCT item_id) AS different, min(source) AS source, bool_and(score <> 0) AS scored FROM fmoe_recommend('3', 10);
SELECT array_agg(item_id ORDER BY score DESC, item_id) = (SELECT array_agg(item_id ORDER BY score DESC, item_id) FROM fmoe_recommend_all_as(NULL::integer, NULL::text, 'mix_books', 5) WHERE user_id = 7) AS same
	FROM fmoe_recommend_as(NULL::text, 7, 5);
SELECT count(*) AS five FROM fmoe_similar('b3', 5);
SELECT array_length(fmoe_embedding('b3'), 1) AS own_and_lent_columns;

-- its own encoder is what leaves, under its own name
SELECT encode(fmoe_export('mix_books', 2), 'escape') LIKE '%"model":"sasrec"%' AS own_class,
	position('expert.1'::bytea IN fmoe_export('mix_books', 2)) AS lent_array, position('films'::bytea IN fmoe_export('mix_books', 2)) AS lent_name;
SELECT fmoe_import('mix_songs', 'books', fmoe_export('mix_books', 2)) AS version;

-- an encoder to begin with must have the shape of the own one
CALL fmoe_train('mix_songs', '{"model": "sasrec", "width": 16, "layers": 1, "epochs": 1, "start_encoder": "books", "deploy": false}');
CALL fmoe_train('mix_songs', '{"model": "sasrec", "width": 32, "layers": 1, "epochs": 1, "start_encoder": "books", "deploy": false}');
CALL fmoe_train('mix_songs', '{"model": "gru4rec", "width": 16, "layers": 1, "epochs": 1, "start_encoder": "books", "deploy": false}');

-- every switch
CALL fmoe_train('mix_songs', '{"model": "fmoe", "encoder": "gru4rec", "width": 8, "layers": 1, "epochs": 2, "experts": ["books"], "head": "own",
	"item_graph": true, "gate": "batch", "gate_layers": 1, "count_experts": true, "kl": 0.1, "contrast": 0.1, "deploy": false}');
CALL fmoe_train('mix_songs', '{"model": "fmoe", "width": 8, "layers": 1, "epochs": 2, "gate": "equal", "warm_start": true, "deploy": false}');
CALL fmoe_train('mix_songs', '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "epochs": 2, "gate_top": 1, "loss": "gbce", "negatives": 8, "deploy": false}');
SELECT version, model, config ->> 'gate' AS gate, jsonb_array_length(config -> 'experts') AS experts
	FROM fmoe.versions WHERE domain = 'mix_songs' AND model = 'fmoe' ORDER BY version;
-- the one with the graph and count experts answers, together and alone
SELECT fmoe_deploy('mix_songs', 4);
SELECT bool_and(same) AS same FROM (
	SELECT array_agg(a.item_id ORDER BY rank) = (SELECT array_agg(item_id ORDER BY score DESC, item_id) FROM fmoe_recommend_as(NULL::integer, user_id, 5, 'mix_songs')) AS same
	FROM fmoe_recommend_all_as(NULL::integer, NULL::integer, 'mix_songs', 5) a WHERE user_id < 20 GROUP BY user_id) s;
SELECT count(*) AS five, min(source) AS source FROM fmoe_recommend_next(ARRAY[3, 4, 5], 5, 'mix_songs');
SET fmoe.scan = exact;
SELECT count(*) AS five, bool_and(score IS NOT NULL) AS scored FROM fmoe_recommend_next(ARRAY[3, 4, 5], 5, 'mix_songs');
RESET fmoe.scan;

-- rounds: the encoder goes out after each, and the last one stays
CALL fmoe_train('mix_songs', '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "rounds": 2, "local_epochs": 2, "patience": 100}');
SELECT (metrics ->> 'epochs')::integer AS epochs FROM fmoe.versions WHERE domain = 'mix_songs' ORDER BY version DESC LIMIT 1;
SELECT domain, model, width FROM fmoe.experts WHERE domain = 'mix_songs' ORDER BY created_at DESC LIMIT 1;

-- the same seed gives the same mixture
CALL fmoe_train('mix_songs', '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "epochs": 2, "experts": ["books"], "deploy": false}');
CALL fmoe_train('mix_songs', '{"model": "fmoe", "gate": "user", "width": 8, "layers": 1, "epochs": 2, "experts": ["books"], "deploy": false, "workers": 1}');
SELECT count(*) AS two, count(DISTINCT checksum) AS one FROM fmoe.version WHERE config -> 'experts' -> 0 ->> 'name' = 'books' AND config ->> 'epochs' = '2'
	AND jsonb_array_length(config -> 'experts') = 1 AND config ->> 'gate' = 'user';

-- mistakes
CALL fmoe_train('mix_books', '{"model": "sasrec", "gate": "user"}');
CALL fmoe_train('mix_books', '{"model": "gru4rec", "rounds": 3}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "experts": "all"}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "experts": [1]}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "experts": ["a", "a"]}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "experts": ["a", "b", "c", "d", "e", "f", "g", "h"]}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "experts": [""]}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "loss": "gbce", "gate_loss": 1}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "loss": "gbce", "count_experts": true}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "loss": "gbce", "item_graph": true}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "equal", "gate_loss": 0.1}');
\echo :LAST_ERROR_SQLSTATE
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "lora_alpha": 4}');
\echo :LAST_ERROR_SQLSTATE
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "rounds": 0, "local_epochs": 2}');
CALL fmoe_train('mix_books', '{"model": "fmoe", "gate": "user", "encoder": "popularity"}');

SELECT fmoe_drop_domain('mix_books'), fmoe_drop_domain('mix_films'), fmoe_drop_domain('mix_songs');
RESET fmoe.domain;
SET client_min_messages = error;
DROP SCHEMA mixtures CASCADE;
