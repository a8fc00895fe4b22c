#!/bin/sh
# make install into an empty DESTDIR, programs built against it by pkg-config,
# CMake and plain make, C and C++, shared and static; make uninstall takes all
# of it away again.
# shellcheck disable=SC2016 # quoted for a later shell
set -u
. pkg/check/lib.sh

top=$PWD
dest=$scratch/dest

try "install says what is missing" 2 'run make first' make -s -f mk/install.mk install LIB=/none DESTDIR="$dest"
try "install" 0 '^$' sh -c "make -s -f mk/install.mk install LIB='$LIB' DESTDIR='$dest'"
prefix=$dest/usr/local
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

there() { if [ -e "$1" ]; then pass; else fail "not installed: $1"; fi; }
for file in bin/aio-shim lib/libaio_shim.so "lib/libaio_shim.so.$version" lib/libaio_shim.a include/aio_shim.h \
	lib/pkgconfig/aio_shim.pc lib/cmake/aio_shim/aio_shim-config.cmake share/aio_shim/doctor.sh \
	share/man/man1/aio-shim.1 share/man/man7/aio_shim.7 share/man/man3/aio_shim.3 \
	share/man/man3/aio_readv.3 share/man/man3/aio_writev.3 share/man/man3/aio_waitcomplete.3 \
	share/man/man3/aio_waitn.3 share/man/man3/aio_shim_overflow.3 share/man/man3/aio_shim_set_overflow_signal.3 \
	share/man/man3/aio_shim_stats.3 share/man/man3/aio_shim_version.3 \
	share/doc/aio_shim/LICENSE-MIT share/doc/aio_shim/LICENSE-APACHE; do
	there "$prefix/$file"
done
try "SONAME link" 0 "^libaio_shim.so.$version$" readlink "$prefix/lib/libaio_shim.so.0"
try "no placeholder is left" 1 '^$' grep -r -l -E '@(PREFIX|LIBDIR|INCLUDEDIR|DATADIR|VERSION)@' "$prefix/bin" "$prefix/lib/pkgconfig" "$prefix/lib/cmake"
try "nothing names the DESTDIR" 1 '^$' grep -r -l -F "$dest" "$dest"
try "all may be read by everybody" 0 '^$' find "$dest" ! -type l ! -perm -444
try "nothing may be written by others" 0 '^$' find "$dest" ! -type l -perm /022

# The launcher, moved with its prefix.
try "launcher" 0 "^$prefix/lib/libaio_shim.so.0$" "$prefix/bin/aio-shim" sh -c 'echo $LD_PRELOAD'
try "launcher, version" 0 "^aio-shim $version$" "$prefix/bin/aio-shim" --version
try "launcher, doctor" "$("$prefix/bin/aio-shim" --doctor >/dev/null; echo $?)" 'verdict +requests run on' "$prefix/bin/aio-shim" --doctor
try "man page" 0 'run a program with its POSIX AIO' man -M "$prefix/share/man" -P cat aio-shim
try "man page by its other name" 0 'aio_writev' man -M "$prefix/share/man" -P cat aio_writev

# Programs.
PKG_CONFIG_PATH=$prefix/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$dest
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
cp -r pkg/example "$scratch/example"
try "pkg-config version" 0 "^$version$" pkg-config --modversion aio_shim
try "C by pkg-config" 0 '^$' sh -c "$CC -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -o '$scratch/c' '$scratch/example/example.c' \$(pkg-config --cflags --libs aio_shim)"
try "C runs" 0 "written asynchronously, by aio_shim $version" env LD_LIBRARY_PATH="$prefix/lib" "$scratch/c"
try "C needs the SONAME" 127 'libaio_shim.so.0' "$scratch/c"
try "C, static library" 0 '^$' sh -c "$CC -D_GNU_SOURCE -Wall -Werror -o '$scratch/cs' '$scratch/example/example.c' \$(pkg-config --cflags aio_shim) '$prefix/lib/libaio_shim.a' \$(pkg-config --static --libs-only-l aio_shim | sed s/-laio_shim//)"
try "C, static library, runs" 0 "by aio_shim $version" "$scratch/cs"
try "C++ by pkg-config" 0 '^$' sh -c "c++ -std=c++17 -Wall -Wextra -Werror -o '$scratch/cpp' '$scratch/example/example.cpp' \$(pkg-config --cflags --libs aio_shim)"
try "C++ runs" 0 "512 zeros, by aio_shim $version" env LD_LIBRARY_PATH="$prefix/lib" "$scratch/cpp"
try "plain make" 0 'example' make -C "$scratch/example"
try "plain make, runs" 0 "by aio_shim $version" env LD_LIBRARY_PATH="$prefix/lib" "$scratch/example/example"
unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
try "CMake configures" 0 'Build files' cmake -S "$scratch/example" -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$prefix"
try "CMake builds" 0 'example_cpp' cmake --build "$scratch/cmake"
try "CMake, shared" 0 "by aio_shim $version" env LD_LIBRARY_PATH="$prefix/lib" "$scratch/cmake/example"
try "CMake, static" 0 "by aio_shim $version" "$scratch/cmake/example_static"
try "CMake, C++" 0 "by aio_shim $version" env LD_LIBRARY_PATH="$prefix/lib" "$scratch/cmake/example_cpp"
sed 's/aio_shim 0.1/aio_shim 9.0/' pkg/example/CMakeLists.txt >"$scratch/example/CMakeLists.txt"
try "CMake refuses another version" 1 'not compatible|compatible with requested' cmake -S "$scratch/example" -B "$scratch/cmake9" -DCMAKE_PREFIX_PATH="$prefix"

# What others have installed stays.
echo theirs >"$prefix/lib/libother.so"
try "install over itself" 0 '^$' sh -c "make -s -f mk/install.mk install LIB='$LIB' DESTDIR='$dest'"
try "uninstall" 0 '^$' sh -c "make -s -f mk/install.mk uninstall LIB='$LIB' DESTDIR='$dest'"
try "uninstall leaves only others'" 0 "^$prefix/lib/libother.so$" find "$dest" ! -type d
try "uninstall leaves no directory of ours" 0 '^$' find "$dest" -name '*aio_shim*'
try "uninstall again" 0 '^$' sh -c "make -s -f mk/install.mk uninstall LIB='$LIB' DESTDIR='$dest'"

# Directories: those that were made go, those that were there stay, also after
# an installation over another, and with nothing else there nothing is left.
mkdir -p "$scratch/four/usr/local/lib"
for round in 1 2; do
	try "install beside an old directory, $round" 0 '^$' sh -c "make -s -f mk/install.mk install LIB='$LIB' DESTDIR='$scratch/four'"
done
try "uninstall, directories" 0 '^$' sh -c "make -s -f mk/install.mk uninstall LIB='$LIB' DESTDIR='$scratch/four'"
try "uninstall leaves the old directory" 0 "^$scratch/four/usr/local/lib$" sh -c "find '$scratch/four' -mindepth 3"
try "install, nothing there" 0 '^$' sh -c "make -s -f mk/install.mk install LIB='$LIB' DESTDIR='$scratch/five' PREFIX=/p"
try "uninstall, nothing left" 0 '^1$' sh -c "make -s -f mk/install.mk uninstall LIB='$LIB' DESTDIR='$scratch/five' PREFIX=/p
	find '$scratch/five' | wc -l"

# Other directories.
try "PREFIX, LIBDIR" 0 '^$' sh -c "make -s -f mk/install.mk install LIB='$LIB' DESTDIR='$scratch/two' PREFIX=/opt/aio LIBDIR=/opt/aio/lib64"
try "PREFIX, LIBDIR: found" 0 '^libdir=/opt/aio/lib64$' cat "$scratch/two/opt/aio/lib64/pkgconfig/aio_shim.pc"
try "PREFIX, LIBDIR: launcher" 0 'opt/aio/lib64' "$scratch/two/opt/aio/bin/aio-shim" sh -c 'echo $LD_PRELOAD'
try "a PREFIX that cannot be" 2 'cannot be preloaded' make -s -f mk/install.mk install LIB="$LIB" DESTDIR="$scratch/three" PREFIX='/a b'
cd "$top" || exit
finish
