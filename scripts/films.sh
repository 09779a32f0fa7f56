# films.sh - films and who rated them, for scripts/demo and bench/fmoe.  Sourced
# after lib.sh, by programs that have a database "films".
#
# The cut: three databases that have no film and no viewer in common.  A film
# belongs to one of them by its genres, a viewer by the number of its id, and
# what viewers of one rated of another's films is left out.

parties=(drama comedy action)

# MovieLens as two CSV files; fails where R or the package cannot be had.
export_movielens()
{
	want r-base-core has_command Rscript
	want r-cran-dslabs Rscript --vanilla -e 'stopifnot(requireNamespace("dslabs", quietly = TRUE))'
	if ! install_missing optional; then
		missing=()
		return 1
	fi
	with_user Rscript --vanilla - "$work/films.csv" "$work/ratings.csv" <"$top/scripts/movielens.R" >"$work/r.log" 2>&1
}

load_movielens()
{
	with_user psql -X -q -v ON_ERROR_STOP=1 -d films <<-SQL
		CREATE TABLE films (film_id bigint PRIMARY KEY, title text NOT NULL, year integer, genres text);
		CREATE TABLE ratings (user_id bigint NOT NULL, film_id bigint NOT NULL REFERENCES films, rating real,
			seconds bigint, rated_at timestamptz, PRIMARY KEY (user_id, film_id));
		\\copy films FROM '$work/films.csv' (FORMAT csv, HEADER)
		\\copy ratings (user_id, film_id, rating, seconds) FROM '$work/ratings.csv' (FORMAT csv, HEADER)
		UPDATE ratings SET rated_at = to_timestamp(seconds);
		ALTER TABLE ratings DROP COLUMN seconds, ALTER COLUMN rated_at SET NOT NULL;
	SQL
}

generate_films()
{
	say "generating ratings of $1 viewers (scripts/generate.sql)"
	with_user psql -X -q -v ON_ERROR_STOP=1 -d films -v "users=$1" -v "films=$2" -v seed=0.42 <"$top/scripts/generate.sql"
}

# load_films [QUICK]: real ones, or generated ones where there are none or it has to be quick
load_films()
{
	if [[ -n ${1:-} ]]; then
		generate_films 300 160
	elif export_movielens; then
		say 'loading MovieLens (ml-latest-small of GroupLens, as packaged in r-cran-dslabs)'
		load_movielens
	else
		say 'MovieLens could not be had here (packages r-base-core, r-cran-dslabs)'
		generate_films 800 400
	fi
	run psql -X -q -v ON_ERROR_STOP=1 -d films -c 'CREATE INDEX ON ratings (user_id, rated_at)' -c 'ANALYZE'
}

# define_cut [NEWCOMER]: which database a film and a viewer belong to, functions of_film and of_viewer in the database
# films.  A newcomer gets an eighth of the films and a tenth of the viewers.
define_cut()
{
	with_user psql -X -q -v ON_ERROR_STOP=1 -d films -v newcomer="${1:-}" <<-'SQL'
		SELECT format($$CREATE FUNCTION of_film(film_id bigint, genres text) RETURNS text LANGUAGE sql IMMUTABLE
			RETURN CASE WHEN %L <> '' AND film_id %% 8 = 0 THEN %1$L WHEN genres ~ 'Comedy|Animation|Children' THEN 'comedy'
				WHEN genres ~ 'Drama|Documentary|Romance' THEN 'drama' ELSE 'action' END$$, :'newcomer') \gexec
		SELECT format($$CREATE FUNCTION of_viewer(id bigint) RETURNS text LANGUAGE sql IMMUTABLE
			RETURN CASE WHEN %L <> '' AND id %% 10 = 0 THEN %1$L ELSE ('{drama,comedy,action}'::text[])[1 + id %% 3] END$$, :'newcomer') \gexec
	SQL
}

# cut_films DATABASE: its films and ratings as $work/DATABASE-films.csv and $work/DATABASE-ratings.csv
cut_films()
{
	run psql -X -q -v ON_ERROR_STOP=1 -d films \
		-c "\\copy (SELECT film_id, title, year, genres FROM films WHERE of_film(film_id, genres) = '$1' ORDER BY film_id) TO '$work/$1-films.csv' (FORMAT csv, HEADER)" \
		-c "\\copy (SELECT user_id, film_id, rated_at, rating FROM ratings JOIN films USING (film_id) WHERE of_film(film_id, genres) = '$1' AND of_viewer(user_id) = '$1' ORDER BY rated_at, user_id, film_id) TO '$work/$1-ratings.csv' (FORMAT csv, HEADER)"
}
