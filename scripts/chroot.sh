# chroot.sh - another Debian in a directory, for a PostgreSQL that this one does not have.
# Sourced by scripts/test, after lib.sh.
#
# What runs in there has mounts, processes and shared memory of its own: all of that is gone when it
# ends, however it ends, and the directory can be removed without a thought.  Nothing is fetched but by
# apt, from where this machine's own sources say.

# Debian's releases, and which PostgreSQL each of them has
declare -A suite_of_server=([15]=bookworm [17]=trixie [18]=sid)

# The archive that this machine's packages come from.
debian_archive()
{
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
		awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# in_chroot DIRECTORY COMMAND...: as root, in a clean environment
in_chroot()
{
	# the script runs in the new namespaces
	# shellcheck disable=SC2016
	unshare --mount --pid --ipc --fork --kill-child --propagation private /bin/bash -c '
		set -e
		root=$1
		shift
		mount -t proc proc "$root/proc"
		mount --bind /dev "$root/dev"
		mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
			TERM=dumb DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"' in_chroot "$@"
}

# How this machine reaches its archive.
copy_network()
{
	local root=$1

	cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
	# an archive may be a copy of some day, for which its lists were good
	printf 'Acquire::Check-Valid-Until "false";\n' >"$root/etc/apt/apt.conf.d/80snapshot"
	apt-config dump | grep -iE '^Acquire::https?::Proxy' >"$root/etc/apt/apt.conf.d/90proxy" || true
}

# add_suite DIRECTORY SUITE: for packages that the chroot's own release does not have
add_suite()
{
	printf 'deb %s %s main\n' "$(debian_archive)" "$2" >"$1/etc/apt/sources.list.d/$2.list"
	printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$2" >"$1/etc/apt/preferences.d/$2"
}

# make_chroot DIRECTORY MAJOR: a Debian with that PostgreSQL, and with 15, which pg_upgrade begins from
make_chroot()
{
	local root=$1 major=$2 suite=${suite_of_server[$2]} archive

	[[ ! -e $root/made ]] || { copy_network "$root"; return 0; }
	archive=$(debian_archive)
	[[ -n $archive ]] || die "apt's sources name no archive of Debian"
	say "making a chroot of Debian $suite in $root"
	rm -rf "$root"
	start debootstrap --variant=minbase "$suite" "$root" "$archive"
	finish "$started" || return 1
	copy_network "$root"
	# what is installed there starts nothing
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	mkdir -p "$root/etc/postgresql-common/createcluster.d"
	printf 'create_main_cluster = false\n' >"$root/etc/postgresql-common/createcluster.d/none.conf"
	((major == 15)) || add_suite "$root" "${suite_of_server[15]}"
	start in_chroot "$root" apt-get update -q
	finish "$started" || return 1
	start in_chroot "$root" apt-get install -q -y --no-install-recommends \
		"postgresql-$major" "postgresql-server-dev-$major" postgresql-15 postgresql-server-dev-15
	finish "$started" || return 1
	touch "$root/made"
}

# test_in_chroot MAJOR ARGUMENT...: scripts/test with these arguments and that PostgreSQL.  The chroot is in the
# directory that --keep names, and stays there; without it, in the working directory, and goes with that.
test_in_chroot()
{
	local major=$1 root

	shift
	[[ -n ${suite_of_server[$major]:-} ]] || die "no release of Debian has PostgreSQL $major; there are: ${!suite_of_server[*]}"
	((EUID == 0)) || die "a chroot can be made by root only"
	want debootstrap debootstrap --version
	want util-linux unshare --version
	install_missing
	root=${FMOE_BUILD:-$work}/chroot-$major
	update_apt
	make_chroot "$root" "$major" >"$work/chroot.log" 2>&1 || { tail -n 40 "$work/chroot.log" >&2; die "there is no chroot"; }
	rm -rf "$root/fmoe"
	mkdir -p "$root/fmoe" "$root/build"
	tar -C "$top" --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.d' --exclude='*.so' -cf - . | tar -C "$root/fmoe" -xf -
	say "testing with PostgreSQL $major in $root"
	start in_chroot "$root" env "PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config" /fmoe/scripts/test --keep /build "$@"
	finish "$started"
}
