#!/bin/bash
# include/aio_shim.h in every dialect, alone and beside <aio.h>; and that it is the generated one.
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/lib.sh"
need "$CC"
header=$top/include/aio_shim.h
[ -f "$header" ] || { echo "$header does not exist" >&2; exit 2; }

order() { case $1 in
	alone) echo '#include <aio_shim.h>' ;;
	before) printf '#include <aio_shim.h>\n#include <aio.h>\n' ;;
	after) printf '#include <aio.h>\n#include <aio_shim.h>\n' ;;
	twice) printf '#include <aio_shim.h>\n#include <aio_shim.h>\n' ;;
esac; }
# Uses something of everything, so that a macro that does not expand shows.
body='
int use(struct aiocb *cb, struct aiocb **list, struct timespec *limit);
int use(struct aiocb *cb, struct aiocb **list, struct timespec *limit)
{
	struct aio_shim_overflow overflow;
	unsigned want = 1;
	long sum = aio_shim_overflow(&overflow, sizeof overflow);
	sum += aio_shim_set_overflow_signal(-1);
	sum += aio_readv(cb) + aio_writev(cb) + aio_waitcomplete(list, limit) + aio_waitn(list, 1, &want, limit);
	sum += aio_read(cb) + aio_error(cb) + LIO_READV + LIO_WRITEV + LIO_NOP + AIO_SHIM + SIGEV_AIO_SHIM_EVENTFD;
	cb->aio_iov = 0;
	cb->aio_iovcnt = 2;
	sum += (long)overflow.kind[AIO_SHIM_KIND_LIST].sent + (long)overflow.kind[AIO_SHIM_KIND_RT].sent;
	return (int)sum + (aio_shim_version()[0] == 48 && sizeof overflow > 100);
}
'
try() { # try COMPILER LANGUAGE STANDARD EXTRA ORDER
	extra=$4
	{ order "$5"; echo "$body"; } >"$OUT/try.$2"
	if text=$("$1" -x "$2" "-std=$3" $extra -Wall -Wextra -Wpedantic -Werror -I"$top/include" -c -o "$OUT/try.o" "$OUT/try.$2" 2>&1); then
		pass "$1 -std=$3 $extra, $5"
	else
		fail "$1 -std=$3 $extra, $5" "$text"
	fi
}
knows() { echo | "$1" -x "$2" "-std=$3" -fsyntax-only - 2>/dev/null; }

compilers=0
for compiler in "$CC" gcc clang; do
	command -v "$compiler" >/dev/null || continue
	real=$(readlink -f "$(command -v "$compiler")")
	case " ${seen:-} " in *" $real "*) continue ;; esac
	seen="${seen:-} $real"
	compilers=$((compilers + 1))
	for standard in c99 gnu99 c11 gnu17 c2x c23; do
		knows "$compiler" c $standard || continue
		for extra in "" -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE; do
			# strict ISO C hides struct timespec and sigevent unless POSIX is asked for
			case $standard in c*) extra="$extra -D_POSIX_C_SOURCE=200809L" ;; esac
			for where in alone before after twice; do try "$compiler" c $standard "$extra" $where; done
		done
	done
	for standard in c++11 c++17 c++20 c++23; do
		knows "$compiler" c++ $standard || continue
		for extra in "" -D_FILE_OFFSET_BITS=64; do
			for where in alone before after twice; do try "$compiler" c++ $standard "$extra" $where; done
		done
	done
done
[ "$compilers" -gt 1 ] || echo "note: only one compiler here ($seen); clang would be a second"
command -v clang >/dev/null || echo "note: clang is not installed"

# In C without any feature macro asked for, too: strict C99 has no POSIX names, the header must say what it needs.
for standard in c99 c11; do
	for where in alone before after; do try "$CC" c $standard "" $where; done
done

# ---- fresh: the generator gives the file that is committed
if git -C "$top" cat-file -e HEAD:include/aio_shim.h 2>/dev/null; then
	git -C "$top" show HEAD:include/aio_shim.h >"$OUT/committed.h"
	expect "the header is the committed one" diff -u "$OUT/committed.h" "$header"
fi
if command -v "${CARGO:-cargo}" >/dev/null; then
	# build.rs compares and warns; cargo repeats the warning when nothing is to be built.
	if ! text=$(cd "$top" && env -u AIO_SHIM_WRITE_HEADER timeout 900 "${CARGO:-cargo}" build --release 2>&1); then
		fail "the header is the generated one" "$text"
	elif grep -Eq 'is stale|not generated' <<<"$text"; then
		fail "the header is the generated one" "$(grep -E 'is stale|not generated' <<<"$text")"
	else
		pass "the header is the generated one"
	fi
else
	skip "cargo is not here: whether the header is fresh is not known"
fi
finish
