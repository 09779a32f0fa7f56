-- Makes films and ratings when there is no real data at hand: the same rows
-- every time for the same seed, on the same major version of PostgreSQL.
--
--   psql -v users=600 -v films=400 -v seed=0.42 -f scripts/generate.sql
--
-- Every film has a genre and, within the genre, a successor (its "sequel").
-- A viewer has two favourite genres and takes now from the one, now from the
-- other: of ten films, seven are the sequel of the last film seen in that genre,
-- two are much seen films of it, one is any much seen film.  So what comes next
-- is told by the history, by its last film only in part, by popularity hardly.

CREATE TABLE films (
	film_id bigint PRIMARY KEY,
	title text NOT NULL,
	year integer,
	genres text
);

CREATE TABLE ratings (
	user_id bigint NOT NULL,
	film_id bigint NOT NULL REFERENCES films,
	rating real,
	rated_at timestamptz NOT NULL,
	PRIMARY KEY (user_id, film_id)
);

SELECT set_config('generate.users', :'users', false), set_config('generate.films', :'films', false),
	setseed(:seed) \g /dev/null

DO $$
DECLARE
	names CONSTANT text[] := '{Comedy,Drama,Horror,Romance,Thriller,Western,Animation,Documentary}';
	genre_count CONSTANT integer := array_length(names, 1);
	user_count CONSTANT integer := current_setting('generate.users');
	film_count CONSTANT integer := current_setting('generate.films')::integer / genre_count * genre_count;
	per_genre CONSTANT integer := film_count / genre_count;
	favourite integer[];
	seen boolean[];
	last_place integer[];
	genre integer;
	place integer;
	film integer;
	chance double precision;
	moment timestamptz;
BEGIN
	-- genre g has the films g + 1, g + 1 + genre_count, ...: place p in it is film p * genre_count + g + 1
	INSERT INTO films
	SELECT n, format('Film %s (%s)', n, names[(n - 1) % genre_count + 1]), 1950 + n % 70, names[(n - 1) % genre_count + 1]
	FROM generate_series(1, film_count) AS n;

	FOR viewer IN 1 .. user_count LOOP
		genre := floor(random() * genre_count);
		favourite := ARRAY[genre, (genre + 1 + floor(random() * (genre_count - 1))::integer) % genre_count];
		seen := array_fill(false, ARRAY[film_count]);
		last_place := array_fill(NULL::integer, ARRAY[genre_count]);
		moment := timestamptz '2020-01-01 UTC' + random() * interval '300 days';
		FOR event IN 1 .. 20 + floor(random() * 30)::integer LOOP
			genre := favourite[1 + floor(random() * 2)::integer];
			chance := random();
			IF chance >= 0.9 THEN
				genre := floor(random() * genre_count);
			END IF;
			IF chance < 0.7 AND last_place[genre + 1] IS NOT NULL THEN
				place := (last_place[genre + 1] * 7 + 1) % per_genre;
			ELSE
				place := floor(power(random(), 3) * per_genre);
			END IF;
			film := place * genre_count + genre + 1;
			last_place[genre + 1] := place;
			moment := moment + random() * interval '2 days';
			IF NOT seen[film] THEN
				seen[film] := true;
				INSERT INTO ratings VALUES (viewer, film, 1 + floor(random() * 5), moment);
			END IF;
		END LOOP;
	END LOOP;
END
$$;
