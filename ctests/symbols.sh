#!/bin/bash
# What the built library shows to the dynamic linker, and what it takes over. SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/lib.sh"
need objdump readelf "$CC"

posix="aio_read aio_write aio_fsync aio_error aio_return aio_suspend aio_cancel lio_listio"
twins=$(for name in $posix; do echo "${name}64"; done)
# Names of other systems' AIO, and the calls that end a descriptor
others="aio_waitcomplete aio_readv aio_writev aio_waitn close dup2 dup3 close_range closefrom"
others64="aio_waitcomplete64 aio_readv64 aio_writev64 aio_waitn64" # allowed, not asked for

table=$(objdump -T "$LIB" | grep '^[0-9a-f]' | grep -v -F '*UND*')
exported=$(awk '{print $NF}' <<<"$table" | sort)

# ---- exactly these names
for name in $posix $twins aio_init $others aio_shim_version aio_shim_overflow aio_shim_set_overflow_signal aio_shim_stats; do
	if grep -qx "$name" <<<"$exported"; then pass "exports $name"; else fail "exports $name"; fi
done
for name in $exported; do
	case " $(echo $posix $twins aio_init $others $others64) " in
	*" $name "*) ;;
	*) case $name in aio_shim_*) ;; *) fail "exports nothing else" "$name" ;; esac ;;
	esac
done
equal "each name once" "$(uniq -d <<<"$exported")" ""
# A version of our own would make the linker pass over us for a reference to aio_read@GLIBC_2.34.
equal "unversioned" "$(awk 'NF > 6 && $(NF-1) != "Base" {print $(NF-1), $NF}' <<<"$table")" ""
equal "no version definitions" "$(readelf -V "$LIB" | grep -c 'Version definition section')" 0

# ---- how it is linked
dynamic=$(readelf -dW "$LIB") headers=$(readelf -lW "$LIB")
equal "SONAME" "$(sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p' <<<"$dynamic")" libaio_shim.so.0
has() { if grep -Eq "$2" <<<"$3"; then pass "$1"; else fail "$1" "$3"; fi; }
hasnot() { if grep -Eq "$2" <<<"$3"; then fail "$1" "$(grep -E "$2" <<<"$3")"; else pass "$1"; fi; }
has NODELETE 'FLAGS_1.*NODELETE' "$dynamic"
has BIND_NOW 'BIND_NOW|FLAGS_1.*NOW' "$dynamic"
has RELRO GNU_RELRO "$headers"
hasnot "no relocations in the code" TEXTREL "$dynamic"
hasnot "no run path" 'RPATH|RUNPATH' "$dynamic"
hasnot "no executable stack" 'GNU_STACK.*E ' "$headers"
hasnot "no segment both writable and executable" 'LOAD.* RWE ' "$headers"
for needed in $(sed -n 's/.*NEEDED.*\[\(.*\)\].*/\1/p' <<<"$dynamic"); do
	case $needed in
	libc.so.6 | ld-linux* | libgcc_s.so.1 | libpthread.so.0 | libdl.so.2 | librt.so.1) pass "needs $needed" ;;
	*) fail "needs nothing unusual" "$needed" ;;
	esac
done

# ---- none of the C library's cancellation points in its own work: a thread cancelled there would take a request that it
# has claimed, and not handed over, with it. (open64, read and write are the Rust library's, for a panic's message.)
imported=$(objdump -T "$LIB" | grep -F '*UND*' | awk '{print $NF}')
points='open|openat|openat64|creat|pread|pread64|pwrite|pwrite64|readv|writev|preadv2?|pwritev2?|fsync|fdatasync|msync|lockf'
points="$points|poll|ppoll|select|pselect|epoll_p?wait2?|nanosleep|clock_nanosleep|usleep|sleep|pause|sigsuspend|sigtimedwait"
points="$points|sigwait|sigwaitinfo|wait|wait3|wait4|waitpid|waitid|recv|recvmsg|send|sendmsg|sem_wait|pthread_cond_wait"
equal "imports no cancellation point" "$(grep -xE "$points" <<<"$imported")" ""

# ---- what a program asks of any glibc is answered by us
libc=$(ldd /bin/sh | awk '$1 ~ /^libc\.so/ {print $3}')
versions=$(objdump -T "$libc" | awk '$NF ~ /^(aio_read|lio_listio)$/ {gsub(/[()]/, "", $(NF-1)); print $(NF-1)}' | sort -u)
[ -n "$versions" ] || fail "versions of aio_read in $libc"
for version in "" $versions; do
	tag=${version:-unversioned}
	source="$OUT/asks-$tag.c"
	names=""
	{
		echo '#define _GNU_SOURCE 1'
		echo '#include <aio.h>'
		echo '#include <stdio.h>'
		for name in $posix $twins aio_init; do
			offered=$(objdump -T "$libc" | awk -v n="$name" '$NF == n {gsub(/[()]/, "", $(NF-1)); print $(NF-1)}')
			if [ -z "$version" ] || grep -qx "$version" <<<"$offered"; then
				names="$names $name"
				echo "extern void ask_$name(void);"
				echo "__asm__(\".symver ask_$name,$name${version:+@$version}\");"
			fi
		done
		echo 'int main(void) { void *volatile asked; '
		for name in $names; do echo "asked = (void *)ask_$name;"; done
		echo 'printf("%d\n", asked != 0); return 0; }'
		echo "/*$names */"
	} >"$source"
	[ -n "$version" ] || sed -i -e '/__asm__/d' -e '/extern void/d' -e 's/ask_//g' "$source"
	names=$(sed -n 's,^/\* *\(.*\) \*/$,\1,p' "$source")
	# As PIE: else a function's address is that of the program's own stub, and the linker reports that binding too.
	if ! text=$("$CC" -w -O0 -fpie -pie -o "$OUT/asks-$tag" "$source" -lrt 2>&1); then
		fail "a program that asks for $tag can be built" "$text"
		continue
	fi
	bindings=$(LD_DEBUG=bindings LD_BIND_NOW=1 LD_PRELOAD="$LIB" "$OUT/asks-$tag" 2>&1)
	for name in $names; do
		bound=$(grep -F "\`$name'" <<<"$bindings" | grep "asks-$tag" | grep -o 'to [^ ]*' | sort -u)
		equal "$name ($tag) binds to the library" "$bound" "to $LIB"
	done
done

# ---- and works: a whole request by the old names
old=$(grep -v GLIBC_2.34 <<<"$versions" | sort -V | head -1)
if [ -z "$old" ]; then
	skip "this C library has no older names than GLIBC_2.34"
else
	cat >"$OUT/old.c" <<-EOT
		#include <aio.h>
		#include <errno.h>
		#include <string.h>
		#include <unistd.h>
		__asm__(".symver aio_read,aio_read@$old");
		__asm__(".symver aio_error,aio_error@$old");
		__asm__(".symver aio_return,aio_return@$old");
		__asm__(".symver lio_listio,lio_listio@$old");
		int main(void)
		{
			char text[6] = "";
			int ends[2];
			struct aiocb cb, *list[] = {&cb};
			memset(&cb, 0, sizeof cb);
			if (pipe(ends) != 0 || write(ends[1], "hellohello", 10) != 10)
				return 2;
			cb.aio_fildes = ends[0];
			cb.aio_buf = text;
			cb.aio_nbytes = 5;
			if (aio_read(&cb) != 0)
				return 3;
			while (aio_error(&cb) == EINPROGRESS) { }
			if (aio_return(&cb) != 5 || strcmp(text, "hello") != 0)
				return 4;
			return lio_listio(LIO_WAIT, list, 1, 0) == 0 && aio_return(&cb) == 5 ? 0 : 5;
		}
	EOT
	if text=$("$CC" -w -O1 -o "$OUT/old" "$OUT/old.c" -lrt 2>&1); then
		expect "requests by the names of $old" env LD_PRELOAD="$LIB" timeout 10 "$OUT/old"
	else
		fail "a program with the names of $old can be built" "$text"
	fi
fi
finish
