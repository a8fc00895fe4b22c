#!/bin/sh
# The Debian package: built, read, and (as root, where an overlay can be
# mounted) installed with dpkg, used, removed and purged. The machine is not
# touched: /usr, /etc and /var are overlays in a mount namespace of its own.
# shellcheck disable=SC2016,SC2086 # quoted for a later shell; a list
set -u
. pkg/check/lib.sh

if ! command -v dpkg-deb >/dev/null; then
	skip "no dpkg-deb: no package is built"
	finish
fi
TARGET=$(dirname "$LIB")
export TARGET
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
try "build" 0 "aio-shim_$version-1_.*[.]deb$" sh pkg/deb "$scratch/deb"
package=$(ls "$scratch"/deb/*.deb)
sum=$(md5sum <"$package")
try "build again" 0 'deb$' sh pkg/deb "$scratch/deb"
if [ "$(md5sum <"$package")" = "$sum" ]; then pass; else fail "two builds of one tree differ"; fi
try "name" 0 "^aio-shim$" dpkg-deb -f "$package" Package
try "depends" 0 '^libc6 \(>= 2[.][0-9]+\), libgcc-s1$' dpkg-deb -f "$package" Depends
try "owner" 0 '^$' sh -c "dpkg-deb -c '$package' | grep -v ' root/root ' || :"
try "triggers" 0 'activate-noawait ldconfig' dpkg-deb -I "$package" triggers
try "library" 0 "usr/lib/[a-z0-9_]*-linux-gnu/libaio_shim.so.$version" dpkg-deb -c "$package"
dpkg-deb -x "$package" "$scratch/tree"
try "launcher of the unpacked tree" 0 "$scratch/tree/usr/lib" "$scratch/tree/usr/bin/aio-shim" sh -c 'echo $LD_PRELOAD'
try "the stripped library has its probes" 0 'Provider: aio_shim' readelf -n "$scratch/tree/usr/lib/$(uname -m)-linux-gnu/libaio_shim.so.0"
dpkg-deb -e "$package" "$scratch/control"
try "md5sums" 0 '^$' sh -c "cd '$scratch/tree' && md5sum --quiet -c '$scratch/control/md5sums'"
try "every file is in md5sums" 0 '^$' sh -c "cd '$scratch/tree' && find usr -type f | sort >'$scratch/files' &&
	sed 's/^[^ ]*  //' '$scratch/control/md5sums' | diff - '$scratch/files'"
if command -v lintian >/dev/null; then
	# One package for library, headers and launcher is meant.
	mkdir -m 777 "$scratch/lint"
	lintian=lintian
	! root || lintian="$as_nobody env HOME=/nonexistent TMPDIR=$scratch/lint lintian"
	try "lintian" 0 '^$' env -C "$scratch/lint" $lintian -F --suppress-tags package-name-doesnt-match-sonames,link-to-shared-library-in-wrong-package \
		--fail-on error,warning "$package"
else
	skip "no lintian"
fi

# Inside the namespace: $1 the package, $2 the scratch directory.
cat >"$scratch/life" <<'END'
set -eu
# Under set -e a failing "! command" is passed over.
none() { if "$@"; then echo "there should be none: $*"; exit 1; fi; }
for d in usr etc var; do
	mkdir -p "$2/over/$d" "$2/work/$d"
	mount -t overlay overlay -o "lowerdir=/$d,upperdir=$2/over/$d,workdir=$2/work/$d" "/$d"
done
step() { echo "== $*"; }
# Whatever dpkg is told not to unpack (documentation, in slim images) is wanted here.
rm -f /etc/dpkg/dpkg.cfg.d/docker /etc/dpkg/dpkg.cfg.d/excludes
step install
dpkg -i "$1" >/dev/null
dpkg --verify aio-shim
ldconfig -p | grep -q 'libaio_shim.so.0'
step use
cd "$2"
aio-shim --version
aio-shim sh -c 'case $LD_PRELOAD in /usr/lib/*) ;; *) exit 1 ;; esac'
aio-shim --doctor >/dev/null || [ $? -eq 1 ]
man -P cat aio-shim | grep -q 'run a program'
man -P cat aio_writev | grep -q aio_writev
cc -D_GNU_SOURCE -o used example.c $(pkg-config --cflags --libs aio_shim)
./used
cmake -S /usr/share/doc/aio-shim/example -B built >/dev/null
cmake --build built >/dev/null
built/example_cpp
step purge
dpkg -P aio-shim >/dev/null
hash -r
none command -v aio-shim
none sh -c 'ldconfig -p | grep libaio_shim'
# dpkg's own books and the caches of man-db, ldconfig and debconf are not the package's.
left=$(find "$2/over" ! -type d ! -path '*/var/lib/dpkg/*' ! -path '*/var/cache/*' ! -path '*/etc/ld.so.cache' \
	! -path '*/var/log/*' ! -path '*/etc/dpkg/*' ! -type c)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
none sh -c "find /usr /etc /var/lib/dpkg/info -name '*aio?shim*' | grep ."
step gone
END
cp pkg/example/example.c "$scratch"
if root && unshare -m sh -c "mkdir -p '$scratch/try/u' '$scratch/try/w' &&
	mount -t tmpfs none '$scratch/try' && mkdir '$scratch/try/u' '$scratch/try/w' &&
	mount -t overlay overlay -o lowerdir=/usr,upperdir=$scratch/try/u,workdir=$scratch/try/w /usr" 2>/dev/null; then
	# dpkg, ldconfig and the man pages' index take their time on a busy machine.
	TRY_SECONDS=600
	try "install, use, purge with dpkg" 0 '^== gone$' unshare -m sh -c "
		mkdir '$scratch/life.d' && mount -t tmpfs none '$scratch/life.d' &&
		cp '$scratch/example.c' '$scratch/life.d' && cp '$package' '$scratch/life.d/it.deb' &&
		sh '$scratch/life' '$scratch/life.d/it.deb' '$scratch/life.d'"
else
	skip "dpkg -i and -P: not root, or no overlay can be mounted"
fi
finish
