# lib.sh - what scripts/test, scripts/demo and bench/* share.  Sourced by bash.
#
# A program that sources this file works in a directory of its own that is
# removed when it ends, however it ends:
#
#   $work/source     a copy of the tree, so that the tree itself stays clean
#   $work/server     a private PostgreSQL: the installed binaries copied, share/,
#                    lib/ and include/ as symbolic links, and fmoe installed into
#                    it.  PostgreSQL and pg_config find these relative to their
#                    own place, so the installed PostgreSQL never sees this fmoe.
#   $work/data       a cluster that listens on a socket in $work only
#
# FMOE_BUILD=DIRECTORY keeps the first two there, and the next run compiles only
# what has changed since.  FMOE_SERVER=DIRECTORY takes a private PostgreSQL that
# another program made.  FMOE_KEEP=1 keeps all of $work.
#
# Nothing but apt and the removal runs as root: PostgreSQL refuses to, so under
# root all the rest runs as the user postgres, that Debian's packages make.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
program=${0##*/}
work=
declare -A groups=()			# process groups that are ours, to be ended with us
user=
cluster_setting_file=
apt_updated=
missing=()

say()
{
	printf '==> %s\n' "$*"
}

die()
{
	printf '%s: %s\n' "$program" "$*" >&2
	exit 1
}

# ---------------------------------------------------------------- ending

# Whether a process is the server of a data directory: the file of a server that was
# killed may name a process that is not ours.
serves()
{
	[[ $1 =~ ^[0-9]+$ && $(readlink "/proc/$1/cwd") == "$2" ]]
}

stop_servers()
{
	local pid_file pid

	while IFS= read -r pid_file; do
		pid=$(head -n 1 "$pid_file" 2>/dev/null)
		serves "$pid" "${pid_file%/*}" && kill -QUIT "$pid" 2>/dev/null || continue
		for _ in {1..100}; do
			serves "$pid" "${pid_file%/*}" || break
			sleep 0.1
		done
	done < <(find "$work" -name postmaster.pid -type f 2>/dev/null)
}

clean_up()
{
	local status=$? group

	trap '' INT TERM HUP
	set +e
	for group in "${!groups[@]}"; do
		kill -TERM -- "-$group" 2>/dev/null
	done
	for group in "${!groups[@]}"; do
		for _ in {1..50}; do
			kill -0 -- "-$group" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL -- "-$group" 2>/dev/null
	done
	[[ -n $cluster_setting_file ]] && rm -f "$cluster_setting_file"
	if [[ -n $work && -d $work ]]; then
		stop_servers
		if [[ -n ${FMOE_KEEP:-} ]]; then
			say "kept $work"
		else
			rm -rf "$work"
		fi
	fi
	exit "$status"
}

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ---------------------------------------------------------------- packages

# want PACKAGE COMMAND...: the package is missing unless the command succeeds
want()
{
	local package=$1

	shift
	"$@" >/dev/null 2>&1 || missing+=("$package")
}

has_command()
{
	# pg_bsd_indent and others may be in a directory that only a login shell has
	PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin command -v "$1"
}

# compiles HEADERS STATEMENT [OPTION...]: whether a program of that statement compiles and links
compiles()
{
	printf '%s\nint main(void) { %s; return 0; }\n' "$1" "$2" |
		"${CC:-gcc}" -x c - -o "$work/tmp/compiles" "${@:3}"
}

has_gcc()
{
	"${CC:-gcc}" --version
}

has_libc()
{
	compiles '#include <stdio.h>' 'puts("")'
}

# What OpenBLAS alone has: the reference implementation has a cblas.h, too.
has_openblas()
{
	compiles $'#include <cblas.h>\nint openblas_get_parallel(void);' 'cblas_snrm2(0, 0, 1); openblas_get_parallel()' -lopenblas
}

# The PostgreSQL that pg_config names; before there is one, the one Debian would install.
pg_config_program()
{
	printf '%s\n' "${PG_CONFIG:-pg_config}"
}

pg_of()
{
	"$(pg_config_program)" "--$1"
}

pg_major()
{
	local version

	if version=$(pg_of version 2>/dev/null); then
		sed -E 's/^PostgreSQL ([0-9]+).*/\1/' <<<"$version"
	elif version=$(apt-cache depends postgresql 2>/dev/null | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p' | head -n 1); [[ -n $version ]]; then
		printf '%s\n' "$version"
	else
		printf '15\n'
	fi
}

has_server()
{
	"$(pg_of bindir)/postgres" --version && "$(pg_of bindir)/initdb" --version
}

# compiled only: the functions are the server's
has_server_headers()
{
	[[ -f $(pg_of pgxs) ]] && printf '#include "postgres.h"\n#include "fmgr.h"\nPG_MODULE_MAGIC;\n' |
		"${CC:-gcc}" -x c - -c -o "$work/tmp/compiles" -I"$(pg_of includedir-server)"
}

want_build()
{
	local major

	# without a pg_config, apt has to be asked which PostgreSQL there is
	has_command "$(pg_config_program)" >/dev/null || update_apt
	major=$(pg_major)
	want make make --version
	want gcc has_gcc
	want libc6-dev has_libc
	want libopenblas-dev has_openblas
	want "postgresql-$major" has_server
	want "postgresql-server-dev-$major" has_server_headers
}

apt_get()
{
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
		-o Dpkg::Options::=--force-confold "$@" </dev/null
}

# Once, and only when something is missing.  Offline, what apt already knows has to do.
update_apt()
{
	((EUID == 0)) && [[ -z $apt_updated ]] && has_command apt-get >/dev/null || return 0
	apt_updated=yes
	say "asking apt for its package lists"
	apt_get update >"$work/apt-update.log" 2>&1 || grep -E '^(E|W|Err)' "$work/apt-update.log" >&2 || true
}

# Debian's server package makes and starts a cluster when it is installed; ours shall not.
no_main_cluster()
{
	local directory=/etc/postgresql-common/createcluster.d

	[[ " $* " == *" postgresql-"[0-9]* ]] || return 0
	mkdir -p "$directory"
	cluster_setting_file=$directory/fmoe-no-main-cluster.conf
	printf 'create_main_cluster = false\n' >"$cluster_setting_file"
}

# Installs what is in missing; with "optional", failing is the caller's business.
install_missing()
{
	local log status=0

	((${#missing[@]})) || return 0
	mapfile -t missing < <(printf "%s\n" "${missing[@]}" | sort -u)
	if ((EUID != 0)); then
		[[ ${1:-} == optional ]] && return 1
		die "these Debian packages are missing; install them as root and run this again:
  apt-get install --no-install-recommends ${missing[*]}"
	fi
	has_command apt-get >/dev/null || die "these packages are missing, and there is no apt-get to install them: ${missing[*]}"
	say "installing ${missing[*]}"
	log=$work/apt.log
	update_apt
	no_main_cluster "${missing[@]}"
	apt_get install --no-install-recommends "${missing[@]}" >>"$log" 2>&1 &
	wait_with_dots $! "$log" || status=$?
	[[ -n $cluster_setting_file ]] && rm -f "$cluster_setting_file"
	cluster_setting_file=
	if ((status != 0)); then
		grep -E '^(E|W):' "$log" >&2 || tail -n 20 "$log" >&2
		[[ ${1:-} == optional ]] && return 1
		die "apt-get could not install ${missing[*]}"
	fi
	missing=()
}

# Says every few seconds how far apt has come.
wait_with_dots()
{
	local pid=$1 log=$2 seconds=0

	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		if ((++seconds % 15 == 0)); then
			printf '    %d s: %s\n' "$seconds" "$(tail -n 1 "$log" | cut -c1-90)"
		fi
	done
	wait "$pid"
}

# ---------------------------------------------------------------- running

begin_work()
{
	work=$(mktemp -d "${TMPDIR:-/tmp}/fmoe.XXXXXX")
	work=$(cd "$work" && pwd -P)
	mkdir "$work/tmp"
	build=$work
	if [[ -n ${FMOE_BUILD:-} ]]; then
		mkdir -p "$FMOE_BUILD"
		build=$(cd "$FMOE_BUILD" && pwd -P)
		[[ $build/ != "$top"/* && $top/ != "$build"/* ]] || die "$build is not beside the tree"
	fi
	source=$build/source
	data=$work/data
	port=5432
}

# Two programs cannot build in one place.
lock_build()
{
	[[ $build != "$work" ]] || return 0
	exec {build_lock}>"$build/lock"
	flock -n "$build_lock" || die "another program builds in $build"
}

# After the packages: the user that everything runs as, and the environment.
begin_user()
{
	user=$(id -un)
	if ((EUID == 0)); then
		user=postgres
		id "$user" >/dev/null 2>&1 || die "there is no user $user to run PostgreSQL as"
		chown "$user:" "$work" "$work/tmp" "$build"
		setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups test -w "$build" ||
			die "the user $user, that everything runs as, cannot write to $build"
	fi
	ask_pg_config
	server=${FMOE_SERVER:-$build/server}
	jobs=$(nproc 2>/dev/null || echo 2)
}

ask_pg_config()
{
	pg_bin=$(pg_of bindir)
	pg_share=$(pg_of sharedir)
	pg_lib=$(pg_of pkglibdir)
	pg_include=$(pg_of pkgincludedir)
}

# The private PostgreSQL's, once there is one: what it is asked to install goes there.
private_pg_config()
{
	if [[ -x $server$pg_bin/pg_config ]]; then
		printf '%s\n' "$server$pg_bin/pg_config"
	else
		command -v "$(pg_config_program)"
	fi
}

# with_user VARIABLE=VALUE... COMMAND...: as the user, in $work, in a clean environment
with_user()
{
	local environment=(
		"PATH=$server$pg_bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" "HOME=$work" "TMPDIR=$work/tmp"
		"USER=$user" "LOGNAME=$user" "LC_ALL=C.UTF-8" "TERM=${TERM:-dumb}"
		"PG_CONFIG=$(private_pg_config)"
		"PGHOST=$work" "PGPORT=$port" "PGUSER=postgres" "PGDATABASE=postgres" "PGOPTIONS="
	)

	if ((EUID == 0)); then
		setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups env -i -C "$work" "${environment[@]}" "$@"
	else
		env -i -C "$work" "${environment[@]}" "$@"
	fi
}

# start COMMAND...: in the background, as a process group that clean_up can end; its id is in $started
start()
{
	set -m
	"$@" </dev/null &
	started=$!
	set +m
	groups[$started]=yes
}

finish()
{
	local status=0

	wait "$1" || status=$?
	unset "groups[$1]"
	return "$status"
}

# run COMMAND...: with_user, and waits
run()
{
	start with_user "$@"
	finish "$started"
}

# ---------------------------------------------------------------- building

# copy_source [DIRECTORY]: a copy that was kept loses what the tree has no more, and keeps its objects
copy_source()
{
	local to=${1:-$source}

	mkdir -p "$to"
	find "$to" -type f ! -path "$to/build/*" ! -name '*.[od]' ! -name '*.so' -delete
	tar -C "$top" --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.d' --exclude='*.so' -cf - . |
		tar -C "$to" -xf -
	((EUID != 0)) || chown -R "$user:" "$to"
	chmod -R u+w "$to"
}

# copy_server DIRECTORY: PostgreSQL as installed, without any fmoe.  One that was kept gets what has been installed since.
copy_server()
{
	local to=$1 new=$1.new

	if [[ -d $to ]]; then
		link_installed "$to"
		return
	fi
	run rm -rf "$new"
	run mkdir -p "$new$pg_bin" "$new$pg_share" "$new$pg_lib" "$new$pg_include" || return 1
	run cp -R "$pg_bin/." "$new$pg_bin/" || return 1
	link_installed "$new" || return 1
	run mv "$new" "$to"
}

link_installed()
{
	local to=$1 directory

	for directory in "$pg_share" "$pg_lib" "$pg_include"; do
		[[ $directory/ == "$pg_bin/"* ]] || run cp -asn "$directory/." "$to$directory/" || return 1
	done
	run find "$to" -type l '(' -name 'fmoe*.sql' -o -name fmoe.control -o -name 'fmoe.so' ')' -delete
}

# build_server [MAKE ARGUMENT...]: the private PostgreSQL with fmoe in it
build_server()
{
	copy_server "$server" || return 1
	run make -C "$source" -s -j"$jobs" "$@" || return 1
	run make -C "$source" -s install "$@"
}

# Builds unless another program of ours did already and says where.
provide_server()
{
	if [[ -n ${FMOE_SERVER:-} ]]; then
		[[ -x $server$pg_bin/postgres ]] || die "there is no server in $server"
		return 0
	fi
	say "building fmoe for PostgreSQL $(pg_major)"
	lock_build
	copy_source
	build_server "$@" >"$work/build.log" 2>&1 && return 0
	cat "$work/build.log" >&2
	die "the build failed"
}

# ---------------------------------------------------------------- the cluster

# start_cluster [SETTING...]: as in postgresql.conf
start_cluster()
{
	say "starting a throwaway cluster in $work"
	run initdb -D "$data" -U postgres -A trust --no-locale -E UTF8 -N >"$work/initdb.log" 2>&1 ||
		{ cat "$work/initdb.log" >&2; die "initdb failed"; }
	with_user tee -a "$data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$work'
		fsync = off
		max_wal_size = 4GB
		shared_buffers = 256MB
		$(printf '%s\n' "$@")
	CONF
	run pg_ctl -D "$data" -w -t 60 -l "$data.log" start >/dev/null ||
		{ cat "$data.log" >&2; die "PostgreSQL did not start"; }
}
