-- Domains: what can be registered, and how it is found.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS fmoe;
RESET client_min_messages;
CREATE SCHEMA domain_test;
SET search_path = domain_test, public;

CREATE TABLE plays (listener bigint, song bigint, at timestamptz, liked boolean, stars numeric, seconds int,
	tags json, spot point);
CREATE TABLE songs (song bigint PRIMARY KEY, title text, genre text, moods text[], price numeric,
	embedding real[], cover bytea, code text);

-- registering
SELECT fmoe_create_domain('plays', 'plays', 'listener', 'song', 'at', 'stars', 'songs', 'song', '{title}', '{genre,moods}',
	'price', '{embedding}');
SELECT domain, interactions, orphaned, user_column, item_column, time_column, label_column, user_type, item_type, items,
	item_key, text_columns, category_columns, price_column, vector_columns, sharing FROM fmoe.domains;

-- refused, and nothing changed
SELECT fmoe_create_domain('plays', 'plays', 'listener', 'song', 'at');
SELECT fmoe_create_domain('', 'plays', 'listener', 'song', 'at');
SELECT fmoe_create_domain(repeat('x', 64), 'plays', 'listener', 'song', 'at');
SELECT fmoe_create_domain(NULL, 'plays', 'listener', 'song', 'at');
SELECT fmoe_create_domain('p', NULL, 'listener', 'song', 'at');
SELECT fmoe_create_domain('p', 'plays', NULL, 'song', 'at');
SELECT fmoe_create_domain('p', 'plays', '', 'song', 'at');
SELECT fmoe_create_domain('p', 'nothing', 'listener', 'song', 'at');
SELECT fmoe_create_domain('p', 0::regclass, 'listener', 'song', 'at');
SELECT fmoe_create_domain('p', 'songs_pkey', 'listener', 'song', 'at');
SELECT fmoe_create_domain('p', 'plays', 'listner', 'song', 'at');
SELECT fmoe_create_domain('p', 'plays', 'ctid', 'song', 'at');
SELECT fmoe_create_domain('p', 'plays', 'song', 'song', 'at');
SELECT fmoe_create_domain('p', 'plays', 'tags', 'song', 'at');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'spot', 'at');
SELECT fmoe_create_domain('p', 'songs', 'moods', 'code', 'price');
SELECT fmoe_create_domain('p', 'songs', 'code', 'embedding', 'price');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'liked');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', 'tags');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', item_key => 'song');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'code');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song', text_columns => '{price}');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song', text_columns => '{title,NULL}');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song', text_columns => '{title,title}');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song', category_columns => '{cover}');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song', vector_columns => '{moods}');
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', items => 'songs', item_key => 'song', price_column => 'title');
CREATE TEMPORARY TABLE shortlived (listener bigint, song bigint, at timestamptz);
SELECT fmoe_create_domain('p', 'shortlived', 'listener', 'song', 'at');
SELECT domain FROM fmoe.domains;

-- every kind of relation and of time
CREATE VIEW liked_plays AS SELECT * FROM plays WHERE liked;
CREATE MATERIALIZED VIEW old_plays AS SELECT * FROM plays;
CREATE TABLE parted_plays (listener bigint, song bigint, at timestamp) PARTITION BY HASH (listener);
CREATE TABLE dated (u int, i int, "date" date, "real" real, "double" double precision, small smallint, big bigint);
SELECT fmoe_create_domain('view', 'liked_plays', 'listener', 'song', 'at');
SELECT fmoe_create_domain('matview', 'old_plays', 'listener', 'song', 'seconds', 'liked');
SELECT fmoe_create_domain('parted', 'parted_plays', 'listener', 'song', 'at');
SELECT fmoe_create_domain(c::text, 'dated', 'u', 'i', c) FROM unnest('{date,real,double,small,big}'::name[]) c;
SELECT count(fmoe_drop_domain(domain)) FROM fmoe.domains WHERE domain <> 'plays';

-- which domain a call means: named, set, or the only one
SELECT fmoe_rollback('nowhere');
SELECT fmoe_rollback(NULL);
SELECT fmoe_create_domain('others', 'plays', 'listener', 'song', 'at');
SELECT fmoe_rollback(NULL);
SET fmoe.domain = 'others';
SELECT fmoe_rollback(NULL);
SET fmoe.domain = 'nowhere';
SELECT fmoe_rollback(NULL);
RESET fmoe.domain;
SELECT fmoe_drop_domain('others'), fmoe_drop_domain('plays');
SELECT fmoe_rollback(NULL);
SELECT fmoe_drop_domain('others');
SELECT fmoe_drop_domain('others', if_exists => true);
SELECT fmoe_drop_domain(NULL);

-- names with spaces, quotes, upper case, 63 bytes
CREATE SCHEMA "Odd schema; --";
CREATE TABLE "Odd schema; --"."Ta""ble '$1" ("User's" text, "It""em" text, "ÄÖÜ" timestamptz, "select" int);
INSERT INTO "Odd schema; --"."Ta""ble '$1" SELECT 'u' || u, 'i' || i, to_timestamp(u * 10 + i), 1
	FROM generate_series(1, 4) u, generate_series(1, 3) i;
SELECT fmoe_create_domain('It''s "odd"', '"Odd schema; --"."Ta""ble ''$1"', 'User''s', 'It"em', 'ÄÖÜ', 'select');
SET client_min_messages = warning;
CALL fmoe_train('It''s "odd"', '{"model": "popularity", "holdout": "none", "deploy": false}');
RESET client_min_messages;
SELECT events, users, items FROM fmoe.versions WHERE domain = 'It''s "odd"';
SELECT item_id FROM fmoe_recommend('u1', domain => 'It''s "odd"', exclude_seen => false) ORDER BY 1;
SELECT fmoe_alter_domain('It''s "odd"', new_name => 'odd');
SELECT fmoe_drop_domain('odd');
DROP SCHEMA "Odd schema; --" CASCADE;
CREATE TABLE long (uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu int,
	iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii int, t int);
SELECT fmoe_create_domain(repeat('n', 63), 'long', repeat('u', 63)::name, repeat('i', 63)::name, 't');
SELECT length(domain), length(user_column::text), length(item_column::text) FROM fmoe.domains;
SELECT fmoe_drop_domain(repeat('n', 63));

-- changing
SELECT fmoe_create_domain('plays', 'plays', 'listener', 'song', 'at', 'stars', 'songs', 'song', '{title}', '{genre}', 'price');
SELECT fmoe_alter_domain('plays', new_name => 'music', label_column => 'liked', text_columns => '{title,code}', sharing => 'full');
SELECT domain, interactions, label_column, items, item_key, text_columns, category_columns, price_column, sharing FROM fmoe.domains;
SELECT fmoe_alter_domain('music', label_column => '', price_column => '', category_columns => '{}');
SELECT label_column, items, item_key, text_columns, category_columns, price_column FROM fmoe.domains;
SELECT fmoe_alter_domain('music', items => 0::regclass);
SELECT items, item_key, text_columns FROM fmoe.domains;
SELECT fmoe_alter_domain('music', user_column => '');
SELECT fmoe_alter_domain('music', user_column => 'nobody');
SELECT fmoe_alter_domain('music', time_column => 'tags');
SELECT fmoe_alter_domain('music', sharing => 'everything');
SELECT fmoe_alter_domain('music', owner => 'regress_nobody');
SELECT fmoe_alter_domain('music', new_name => '');
SELECT fmoe_alter_domain('nothing', new_name => 'something');
SELECT fmoe_alter_domain(NULL, new_name => 'something');
SELECT fmoe_create_domain('taken', 'plays', 'listener', 'song', 'at');
SELECT fmoe_alter_domain('music', new_name => 'taken');
SELECT fmoe_drop_domain('taken');
SELECT domain, user_column, time_column, label_column, sharing FROM fmoe.domains;

-- item ids keep their type once there are versions
INSERT INTO plays SELECT u, i, to_timestamp(u * 10 + i) FROM generate_series(1, 4) u, generate_series(1, 3) i;
SET client_min_messages = warning;
CALL fmoe_train('music', '{"model": "popularity", "holdout": "none", "deploy": false}');
RESET client_min_messages;
ALTER TABLE plays ADD song_name text, ADD song_number int;
SELECT fmoe_alter_domain('music', item_column => 'song_name');
SELECT fmoe_alter_domain('music', item_column => 'song_number');
SELECT fmoe_alter_domain('music', item_column => 'song');

-- the user table
CREATE TABLE people (id int PRIMARY KEY, name text, age_group int, region text, spot point);
SELECT fmoe_alter_domain('music', users => 'people');
SELECT fmoe_alter_domain('music', user_key => 'id');
SELECT fmoe_alter_domain('music', users => 'people', user_key => 'spot');
SELECT fmoe_alter_domain('music', users => 'people', user_key => 'name');
SELECT fmoe_alter_domain('music', users => 'people', user_key => 'id', user_category_columns => '{spot}');
SELECT fmoe_alter_domain('music', users => 'people', user_key => 'id', user_category_columns => '{region,region}');
SELECT fmoe_alter_domain('music', users => 'people', user_key => 'id', user_category_columns => '{nothing}');
SELECT fmoe_alter_domain('music', users => 'people', user_key => 'id', user_category_columns => '{age_group,region}');
SELECT users, user_key, user_category_columns FROM fmoe.domains;
SELECT fmoe_alter_domain('music', user_category_columns => '{region}');
ALTER TABLE people RENAME TO persons;
SELECT users, user_key, user_category_columns FROM fmoe.domains;
DROP TABLE persons;
SELECT fmoe_alter_domain('music', item_column => 'song');
SELECT users IS NULL AS nowhere, user_key, user_category_columns FROM fmoe.domains;
SELECT fmoe_alter_domain('music', users => 0::regclass);
SELECT users, user_key, user_category_columns FROM fmoe.domains;
SELECT fmoe_create_domain('p', 'plays', 'listener', 'song', 'at', user_key => 'id');

-- the table changes under a domain
ALTER TABLE plays RENAME TO listened;
ALTER TABLE listened SET SCHEMA public;
SELECT count(*) FROM fmoe_recommend(1, 2, exclude_seen => false);
ALTER TABLE public.listened RENAME listener TO person;
SELECT * FROM fmoe_recommend(1);
SELECT fmoe_alter_domain('music', user_column => 'person');
SELECT count(*) FROM fmoe_recommend(1, 2, exclude_seen => false);
DROP VIEW liked_plays;
DROP MATERIALIZED VIEW old_plays;
ALTER TABLE public.listened ALTER song TYPE text;
SELECT * FROM fmoe_recommend(1);
CALL fmoe_train('music', '{"model": "sasrec"}');
ALTER TABLE public.listened ALTER song TYPE bigint USING song::bigint, ALTER at TYPE text;
SELECT * FROM fmoe_recommend(1);
DROP TABLE public.listened;
SELECT * FROM fmoe_recommend(1);
CALL fmoe_train('music', '{"model": "sasrec"}');
SELECT domain, orphaned FROM fmoe.domains;
CREATE TABLE plays (listener bigint, song bigint, at timestamptz);
SELECT fmoe_alter_domain('music', interactions => 'plays', user_column => 'listener');
SELECT domain, interactions, orphaned FROM fmoe.domains;
SELECT count(*) FROM fmoe_recommend(1, 2);
ALTER TABLE plays DROP at;
SELECT * FROM fmoe_recommend(1);
DROP TABLE plays;
SELECT fmoe_drop_domain('music');
SELECT count(*) FROM fmoe.domains;

SET client_min_messages = warning;
DROP SCHEMA domain_test CASCADE;
