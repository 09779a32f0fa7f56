# interactions.sh - a file of interactions as the table "events", and one of items
# as "items", for bench/compare and others beside it.  Sourced after lib.sh.
#
# A file has the columns user, item, time; more are ignored, a header line and
# gzip are recognised, fields are not quoted.  Ids that are all integers become
# bigint, others text; times are numbers or timestamps.  "place" is a row's line.

# The first three columns and the line, without the header
rows()
{
	if [[ $1 == *.gz ]]; then gzip -dc -- "$1"; else cat -- "$1"; fi |
		awk -F, 'NR == 1 && $3 !~ /^"?-?[0-9]/ { next } { sub(/\r$/, ""); print $1 "," $2 "," $3 "," NR }'
}

# load_events DATABASE FILE
load_events()
{
	local psql=(psql -X -q -v ON_ERROR_STOP=1 -d "$1")

	run "${psql[@]}" -c 'CREATE TABLE events (user_id text NOT NULL, item_id text NOT NULL, at text NOT NULL, place bigint NOT NULL)'
	rows "$2" | with_user "${psql[@]}" -c '\copy events FROM pstdin (FORMAT csv)'
	with_user "${psql[@]}" <<-'SQL'
		SELECT format('ALTER TABLE events ALTER %I TYPE %s USING %1$I::%2$s', c, t)
		FROM (SELECT bool_and(user_id ~ '^-?\d{1,18}$') AS users, bool_and(item_id ~ '^-?\d{1,18}$') AS items,
				bool_and(at ~ '^-?\d+(\.\d*)?([eE][+-]?\d+)?$') AS times FROM events) AS numeric,
			LATERAL (VALUES ('user_id', CASE WHEN users THEN 'bigint' ELSE 'text' END),
				('item_id', CASE WHEN items THEN 'bigint' ELSE 'text' END),
				('at', CASE WHEN times THEN 'double precision' ELSE 'timestamptz' END)) AS columns (c, t) \gexec
		CREATE INDEX ON events (user_id, at);
		ANALYZE events;
	SQL
}

# load_items DATABASE FILE: the table "items", as far as the file has its columns
load_items()
{
	local file=$2 header psql=(env "PGOPTIONS=-c client_min_messages=warning" psql -X -q -v ON_ERROR_STOP=1 -d "$1")

	header=$(gzip -dc -- "$file" | head -n 1 | tr -d '\r') || true
	[[ $header =~ ^[a-z_]+(,[a-z_]+)*$ && ,$header, == *,item_id,* ]] || die "$file has no line of column names with item_id"
	run "${psql[@]}" -c "CREATE TABLE raw (${header//,/ text, } text)"
	gzip -dc -- "$file" | with_user "${psql[@]}" -c '\copy raw FROM pstdin (FORMAT csv, HEADER)'
	with_user "${psql[@]}" <<-'SQL'
		ALTER TABLE raw ADD IF NOT EXISTS title text, ADD IF NOT EXISTS categories text, ADD IF NOT EXISTS description text,
			ADD IF NOT EXISTS price text, ADD IF NOT EXISTS image_vec text;
		CREATE TABLE items AS SELECT item_id, title, string_to_array(categories, '|') AS categories, description,
			price::double precision AS price, image_vec::real[] AS image_vec FROM raw;
		DROP TABLE raw;
		SELECT format('ALTER TABLE items ALTER item_id TYPE %s USING item_id::%1$s', format_type(atttypid, atttypmod))
		FROM pg_attribute WHERE attrelid = 'events'::regclass AND attname = 'item_id' \gexec
		CREATE UNIQUE INDEX ON items (item_id);
		ANALYZE items;
	SQL
}

# data_name FILE: …/ml_100k/interactions.csv.gz is ml_100k; elsewhere the file's own name tells more
data_name()
{
	local name=${1##*/}

	name=${name%.gz}
	name=${name%.csv}
	[[ $name != interactions ]] || name=$(basename "$(dirname "$(realpath "$1")")")
	printf '%s' "${name//[^A-Za-z0-9_.-]/_}"
}
