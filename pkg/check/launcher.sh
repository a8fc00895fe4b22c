#!/bin/sh
# aio-shim starts what can be served and refuses the rest with a reason; under
# every POSIX shell there is.
# shellcheck disable=SC2016,SC2086,SC2154 # quoted for a later shell; $shell and $as_nobody are lists
set -u
. pkg/check/lib.sh

programs=$scratch/programs
mkdir "$programs"
cp bin/aio-shim bin/doctor.sh "$scratch"
chmod 755 "$scratch/aio-shim"
mkdir -p "$scratch/lib with space" "$scratch/lib"
cp "$LIB" "$scratch/lib/libaio_shim.so"
cp "$LIB" "$scratch/lib with space/libaio_shim.so"
export AIO_SHIM_LIBRARY="$scratch/lib/libaio_shim.so"

echo 'int main(void) { return 42; }' >"$programs/main.c"
build() { "$CC" -O1 -o "$programs/$1" "$programs/main.c" $2; }
build plain ''
build static -static
build static-pie -static-pie
build musl -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1
build nowhere -Wl,--dynamic-linker=/lib64/ld-linux-nowhere.so.2
build odd -Wl,--dynamic-linker=/system/bin/linker64
build object.o -c
chmod +x "$programs/object.o"
echo 'int dummy;' | "$CC" -shared -fPIC -x c -o "$scratch/other.so" -
patched() { # NAME OFFSET OCTAL
	cp "$programs/plain" "$programs/$1"
	# shellcheck disable=SC2059 # the format is the byte
	printf "\\$3" | dd of="$programs/$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
patched word32 4 001
patched bigendian 5 002
patched aarch64 18 267
head -c 10 "$programs/plain" >"$programs/cut"
head -c 100 "$programs/plain" >"$programs/nosegments"
printf '#!/bin/sh\nexit 42\n' >"$programs/script"
printf '#!/usr/bin/env -S sh -e\nexit 42\n' >"$programs/env-script"
printf 'exit 42\n' >"$programs/bare-script"
printf '#! %s -x\n' "$programs/static" >"$programs/static-script"
printf '#!%s\n' "$programs/static-script" >"$programs/nested-script"
printf '#!%s/missing\n' "$programs" >"$programs/missing-script"
printf '#!/usr/bin/env no-such-interpreter\n' >"$programs/missing-env-script"
printf '#!\n' >"$programs/empty-script"
printf '#!%s/loop-script\n' "$programs" >"$programs/loop-script"
chmod +x "$programs/cut" "$programs/nosegments" "$programs"/*script
printf '#!/bin/sh\n' >"$programs/no-x"
chmod 644 "$programs/no-x"

refusals() {
	try "$shell: no arguments" 125 'Usage' $shell bin/aio-shim
	try "$shell: unknown option" 125 'unknown option --no' $shell bin/aio-shim --no "$programs/plain"
	try "$shell: bad backend" 125 'auto, uring, threads' $shell bin/aio-shim --backend=fast "$programs/plain"
	try "$shell: backend without value" 125 'needs a value' $shell bin/aio-shim --backend
	try "$shell: bad order" 125 'posix, fd' $shell bin/aio-shim --order lifo "$programs/plain"
	try "$shell: --json alone" 125 'with --doctor' $shell bin/aio-shim --json "$programs/plain"
	try "$shell: not found" 127 'not found in PATH' $shell bin/aio-shim no-such-program-here
	try "$shell: no such file" 127 'no such file' $shell bin/aio-shim "$programs/none"
	try "$shell: directory" 126 'is a directory' $shell bin/aio-shim "$programs"
	try "$shell: not executable" 126 'not executable.*chmod' $shell bin/aio-shim "$programs/no-x"
	try "$shell: static" 126 'static is statically linked' $shell bin/aio-shim "$programs/static"
	try "$shell: static-pie" 126 'statically linked' $shell bin/aio-shim "$programs/static-pie"
	try "$shell: musl" 126 'built for musl' $shell bin/aio-shim "$programs/musl"
	try "$shell: no dynamic linker" 126 'nowhere.so.2, which is missing' $shell bin/aio-shim "$programs/nowhere"
	try "$shell: other dynamic linker" 126 "linker64, which is not glibc's" $shell bin/aio-shim "$programs/odd"
	try "$shell: 32 bit" 126 '32-bit program' $shell bin/aio-shim "$programs/word32"
	try "$shell: byte order" 126 'byte order' $shell bin/aio-shim "$programs/bigendian"
	try "$shell: other machine" 126 'another machine' $shell bin/aio-shim "$programs/aarch64"
	try "$shell: object file" 126 'no program' $shell bin/aio-shim "$programs/object.o"
	try "$shell: cut ELF" 126 'damaged' $shell bin/aio-shim "$programs/cut"
	try "$shell: ELF without segments" 126 'static' $shell bin/aio-shim "$programs/nosegments"
	try "$shell: script of static" 126 'script.*static is statically' $shell bin/aio-shim "$programs/static-script"
	try "$shell: script of a script of static" 126 'statically' $shell bin/aio-shim "$programs/nested-script"
	try "$shell: script without interpreter" 126 'missing is missing' $shell bin/aio-shim "$programs/missing-script"
	try "$shell: env script without interpreter" 126 'no-such-interpreter: not found' $shell bin/aio-shim "$programs/missing-env-script"
	try "$shell: script with empty #!" 126 'names no interpreter' $shell bin/aio-shim "$programs/empty-script"
	try "$shell: script of itself" 126 'more than 4 deep' $shell bin/aio-shim "$programs/loop-script"
	try "$shell: library missing" 125 'no such file' env AIO_SHIM_LIBRARY=/none $shell bin/aio-shim "$programs/plain"
	try "$shell: library is none" 125 'cannot be loaded' env AIO_SHIM_LIBRARY="$programs/script" $shell bin/aio-shim "$programs/plain"
	try "$shell: library with a space" 125 'space or a colon' \
		env AIO_SHIM_LIBRARY="$scratch/lib with space/libaio_shim.so" $shell bin/aio-shim "$programs/plain"
}

starts() {
	try "$shell: plain" 42 '^$' $shell bin/aio-shim "$programs/plain"
	try "$shell: script" 42 '^$' $shell bin/aio-shim "$programs/script"
	try "$shell: env script" 42 '^$' $shell bin/aio-shim "$programs/env-script"
	try "$shell: script without #!" 42 '^$' $shell bin/aio-shim "$programs/bare-script"
	try "$shell: library is loaded" 0 "$scratch/lib/libaio_shim.so" $shell bin/aio-shim grep libaio_shim /proc/self/maps
	try "$shell: preload alone" 0 "^$AIO_SHIM_LIBRARY$" $shell bin/aio-shim sh -c 'echo $LD_PRELOAD'
	try "$shell: preload kept" 0 "^$scratch/other.so:$AIO_SHIM_LIBRARY$" \
		env LD_PRELOAD="$scratch/other.so" $shell bin/aio-shim sh -c 'echo $LD_PRELOAD'
	try "$shell: preload not doubled" 0 "^$AIO_SHIM_LIBRARY$" \
		$shell bin/aio-shim $shell bin/aio-shim sh -c 'echo $LD_PRELOAD'
	try "$shell: arguments" 0 '^<a  b><--stats><>$' $shell bin/aio-shim -- printf '<%s>' 'a  b' --stats ''
	try "$shell: program's own options" 0 '^AIO_SHIM_BACKEND=threads$' $shell bin/aio-shim --backend threads env
	try "$shell: --order" 0 '^AIO_SHIM_ORDER=fd$' $shell bin/aio-shim --order=fd env
	try "$shell: --stats" 0 '^AIO_SHIM_STATS=1$' $shell bin/aio-shim --stats env
	try "$shell: --stats=FILE" 0 '^AIO_SHIM_STATS=/dev/null$' $shell bin/aio-shim --stats=/dev/null env
	try "$shell: --verbose" 0 '^AIO_SHIM_VERBOSE=1$' $shell bin/aio-shim --verbose env
	try "$shell: name of the program" 0 '^sh$' $shell bin/aio-shim sh -c 'tr "\0" "\n" </proc/$$/cmdline | head -n 1'
	try "$shell: --help" 0 'doctor' $shell bin/aio-shim --help
	try "$shell: --version" 0 '^aio-shim [0-9]+[.][0-9]+[.][0-9]+$' $shell bin/aio-shim --version
}

identities() {
	if ! root; then
		skip "$shell: setuid, setgid, file capabilities, unreadable: only as root"
		return
	fi
	cp "$programs/plain" "$programs/setuid" && chmod 4755 "$programs/setuid"
	cp "$programs/plain" "$programs/setgid" && chmod 2755 "$programs/setgid"
	cp "$programs/plain" "$programs/secret" && chmod 711 "$programs/secret"
	printf '#!/bin/sh\nexit 42\n' >"$programs/setuid-script" && chmod 4755 "$programs/setuid-script"
	cp "$programs/plain" "$programs/own-setuid" && chown 65534:65534 "$programs/own-setuid" && chmod 6755 "$programs/own-setuid"
	try "$shell: setuid" 126 'setuid \(to user 0\).*LD_PRELOAD' $as_nobody $shell "$scratch/aio-shim" "$programs/setuid"
	try "$shell: setgid" 126 'setgid \(to group 0\)' $as_nobody $shell "$scratch/aio-shim" "$programs/setgid"
	try "$shell: setuid to oneself" 42 '^$' $as_nobody $shell "$scratch/aio-shim" "$programs/own-setuid"
	try "$shell: setuid root, by root" 42 '^$' $shell "$scratch/aio-shim" "$programs/setuid"
	try "$shell: setuid script gains nothing" 42 '^$' $as_nobody $shell "$scratch/aio-shim" "$programs/setuid-script"
	try "$shell: unreadable" 126 'but not read' $as_nobody $shell "$scratch/aio-shim" "$programs/secret"
	cp "$programs/plain" "$programs/capable"
	if setcap cap_net_raw+ep "$programs/capable" 2>/dev/null; then
		try "$shell: file capabilities" 126 'file capabilities.*LD_PRELOAD' $as_nobody $shell "$scratch/aio-shim" "$programs/capable"
		try "$shell: file capabilities, by root" 42 '^$' $shell "$scratch/aio-shim" "$programs/capable"
	else
		skip "$shell: setcap does not work on this file system"
	fi
}

# Where the library is found: beside the launcher, through links, but never in
# the working directory.
places() {
	unset AIO_SHIM_LIBRARY
	tree=$scratch/tree
	mkdir -p "$tree/bin" "$tree/elsewhere"
	cp bin/aio-shim bin/doctor.sh "$tree/bin"
	try "no library" 125 'not found in' "$tree/bin/aio-shim" true
	try "planted in the working directory" 125 'not found in' sh -c "
		mkdir -p '$scratch/cwd/@LIBDIR@' && cp '$LIB' '$scratch/cwd/@LIBDIR@/libaio_shim.so' &&
		cd '$scratch/cwd' && '$tree/bin/aio-shim' true"
	ln -sf "$tree/bin/aio-shim" "$scratch/linked"
	for place in target/release lib "lib/$(uname -m)-linux-gnu" lib64; do
		mkdir -p "$tree/$place"
		cp "$LIB" "$tree/$place/libaio_shim.so"
		try "beside, $place" 0 "^$tree/$place/libaio_shim.so$" "$tree/bin/aio-shim" sh -c 'echo $LD_PRELOAD'
		try "through a link, $place" 0 "^$tree/$place/libaio_shim.so$" "$scratch/linked" sh -c 'echo $LD_PRELOAD'
		mv "$tree/$place/libaio_shim.so" "$tree/$place/libaio_shim.so.0"
		try "SONAME only, $place" 0 "^$tree/$place/libaio_shim.so.0$" "$tree/bin/aio-shim" sh -c 'echo $LD_PRELOAD'
		rm "$tree/$place/libaio_shim.so.0"
	done
}

for shell in dash bash 'busybox sh' ksh mksh; do
	command -v "${shell%% *}" >/dev/null || continue
	refusals
	starts
	identities
done
places
finish
