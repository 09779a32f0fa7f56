-- What test/data/make has a build store and lend: versions of all kinds in three
-- domains, live ones with a history, and lent experts.
SET client_min_messages = warning;
\ir events.sql

CREATE VIEW films_even AS SELECT * FROM films WHERE user_id % 2 = 0;
CREATE VIEW films_odd AS SELECT * FROM films WHERE user_id % 2 = 1;
SELECT fmoe_create_domain('even', 'films_even', 'user_id', 'item_id', 'at'), fmoe_create_domain('odd', 'films_odd', 'user_id', 'item_id', 'at');
CALL fmoe_train('even', '{"model": "sasrec", "width": 8, "layers": 1, "heads": 2, "max_length": 12, "epochs": 3, "deploy": false}');
CALL fmoe_train('odd', '{"model": "gru4rec", "width": 8, "layers": 1, "epochs": 3, "deploy": false}');
SET fmoe.party = 'north';
SELECT fmoe_lend('even', 1);
SET fmoe.party = 'west';
SELECT fmoe_lend('odd', 1, '{"precision": "int8"}');
SET fmoe.party = 'south';
SELECT fmoe_lend('even', 1, '{"precision": "float16", "clip": 5, "noise": 0.01}');
SET fmoe.party = 'home';

CREATE TEMP TABLE recipe (domain text, n integer, options jsonb);
INSERT INTO recipe VALUES
	('films', 1, '{"model": "sasrec", "layers": 2, "heads": 2}'),
	('films', 2, '{"model": "gru4rec", "width": 12}'),
	('films', 3, '{"model": "popularity", "half_life_days": 5}'),
	('films', 4, '{"model": "markov"}'),
	('films', 5, '{"model": "fmoe", "experts": ["north.even", "west.odd"]}'),
	('films', 6, '{"model": "fmoe", "experts": ["north.even", "west.odd"], "lora_rank": 2, "count_experts": true, "item_graph": true, "gate": "batch"}'),
	('films', 7, '{"model": "fmoe", "experts": ["west.odd", "south.even"], "head": "own", "encoder": "gru4rec", "gate": "equal"}'),
	('films', 8, '{"model": "sasrec", "loss": "gbce", "negatives": 16, "blend": 1.5}'),
	('songs', 1, '{"model": "sasrec"}'),
	('songs', 2, '{"model": "fmoe", "experts": ["north.even", "west.odd"], "lora_rank": 2, "head": "own", "gate_layers": 1, "gate_top": 2}'),
	('songs', 3, '{"model": "popularity"}'),
	('songs', 4, '{"model": "gru4rec", "layers": 2}'),
	('places', 1, '{"model": "gru4rec"}'),
	('places', 2, '{"model": "markov"}'),
	('places', 3, '{"model": "fmoe", "experts": [], "count_experts": true}'),
	('places', 4, '{"model": "fmoe", "experts": ["west.odd"], "gate": "batch"}');
SELECT format('CALL fmoe_train(%L, %L)', domain, '{"width": 16, "layers": 1, "max_length": 12, "epochs": 8, "batch_size": 16, "learning_rate": 0.01,
	"dropout": 0.1, "patience": 100, "deploy": false}' || options) FROM recipe ORDER BY domain, n \gexec

SELECT fmoe_deploy('films', n) FROM unnest('{1,4,5,2}'::integer[]) WITH ORDINALITY v (n, o) ORDER BY o;
SELECT fmoe_rollback('films');
SELECT fmoe_deploy('films', 6);
SELECT fmoe_deploy('songs', 1), fmoe_deploy('songs', 2);
SELECT fmoe_rollback('songs');
SELECT fmoe_deploy('places', 3);
