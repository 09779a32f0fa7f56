# parties.sh - databases of the throwaway cluster that lend one another their
# experts, for scripts/demo and bench/fmoe.  Sourced after lib.sh.
#
# Each is a party of its own: it reaches the others through postgres_fdw over
# the cluster's socket, as the role "borrower", which may read what they lend.

# party_psql DATABASE ARGUMENT...
party_psql()
{
	local database=$1

	shift
	run psql -X -q -v ON_ERROR_STOP=1 -P pager=off -P null=- -d "$database" "$@" 2>&1
}

# party_value DATABASE SQL
party_value()
{
	run psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$1" -c "$2"
}

make_borrower()
{
	party_psql postgres -c 'CREATE ROLE borrower LOGIN'
}

make_party()
{
	run createdb "$1"
	party_psql "$1" -c 'CREATE EXTENSION fmoe' -c 'CREATE EXTENSION postgres_fdw'
}

# What a database says so that others may fetch what it lends
lending_sql()
{
	printf 'GRANT SELECT ON fmoe.shared_expert, fmoe.shared_expert_part TO borrower;'
}

# peer_sql DATABASE: what another one says to fetch from it
peer_sql()
{
	printf "CREATE SERVER \"%s\" FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', dbname '%s');
CREATE USER MAPPING FOR CURRENT_USER SERVER \"%s\" OPTIONS (user 'borrower');
SELECT fmoe_add_peer('%s', '%s');" "$1" "$work" "$1" "$1" "$1" "$1"
}

# connect_party DATABASE ALL...
connect_party()
{
	local own=$1 other

	shift
	party_psql "$own" -c "$(lending_sql)"
	for other; do
		[[ $other == "$own" ]] || party_psql "$own" -o /dev/null -c "$(peer_sql "$other")"
	done
}
