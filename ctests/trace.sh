#!/bin/bash
# What strace sees of the library's system calls: who makes them, how many, and none at rest.
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/lib.sh"
need strace "$CC"
mkdir -p "$OUT/tmp"
"$CC" -std=c11 -O1 -g -pthread -I"$top/include" -o "$OUT/traced" "$here/trace/traced.c" -lrt -ldl || exit 2
if ! strace -o /dev/null true 2>/dev/null; then
	echo "strace may not trace here (ptrace is refused)" >&2
	exit 2
fi

# Each row: pid, time, call. Unfinished and resumed halves are two rows; only the first names its arguments.
trace() { # trace NAME BACKEND [VARIABLE=VALUE...]
	name=$1 backend=$2 log=$OUT/$1-$2.log
	shift 2
	kind=uring test=ring
	[ "$backend" = workers ] && kind=threads test=workers
	text=$(env AIO_TEST_BACKEND=$test AIO_TEST_DIR="$OUT/tmp" timeout 60 \
		strace -f -ttt -E LD_PRELOAD="$LIB" -E AIO_SHIM_BACKEND=$kind "$@" -o "$log" "$OUT/traced" "$name" 2>&1) ||
		fail "$name on $backend runs" "$text"
}
between() { # between FROM TO: the rows from one marker to the other, of every round
	awk -v from="\"/$1\"" -v to="\"/$2\"" 'index($0, from) {on = 1; next} index($0, to) {on = 0} on' "$log"
}
main_pid() { awk '{print $1; exit}' "$log"; }

for backend in ring workers; do
	trace rest $backend
	# A child process that only asks what the kernel can do is not one of the threads; it may not submit anything.
	# (Its number is in the row of the call, or in the one where the call is resumed.)
	children=$(awk '$3 ~ /^(clone|clone3|fork|vfork)\(/ {process[$1] = !/CLONE_THREAD/; if (process[$1] && !/unfinished/) print $NF}
		/<\.\.\. (clone|clone3|fork|vfork) resumed>/ && process[$1] {print $NF}' "$log" | tr '\n' ' ')
	makers() { awk -v call="$1" -v children=" $children " 'index($3, call "(") == 1 && !index(children, " " $1 " ") {print $1}' | sort -u; }
	equal "a probing child submits nothing ($backend)" "$(awk -v children=" $children " \
		'index(children, " " $1 " ") && index($3, "io_uring_enter(") == 1 {split($0, part, ","); if (part[2] + 0 > 0) print}' "$log")" ""
	# An engine that ended and one that began after the rest are two threads, one after the other.
	ring_threads=$(awk 'index($0, "\"/rest-begins\"") {exit} {print}' "$log" | makers io_uring_enter)
	if [ $backend = ring ]; then
		equal "one thread enters the ring" "$(wc -w <<<"$ring_threads")" 1
		application=$(awk 'index($0, "\"/rest-begins\"") {print $1; exit}' "$log")
		if [ "$ring_threads" != "$application" ]; then pass "it is not the application's"; else fail "it is not the application's" "$ring_threads"; fi
		equal "one engine before the rest, one after it" "$(makers io_uring_enter <"$log" | wc -w)" 2
	else
		equal "no ring on the workers backend" "$(makers io_uring_enter <"$log"; makers io_uring_setup <"$log")" ""
	fi
	begin=$(awk 'index($0, "\"/rest-begins\"") {print $1}' "$log")
	# The sleeping main thread's clock_nanosleep begins after the marker; nothing else may show.
	restless=$(between rest-begins rest-ends | grep -v -E "^$begin .*(clock_nanosleep|nanosleep|restart_syscall)")
	equal "no system call at rest ($backend)" "$restless" ""
	# Without a file descriptor left: what was opened for the engine is gone, or the program's table never held it.
	equal "no busy polling ($backend)" "$(awk '{split($3, c, "("); n[c[1]]++} END {for (k in n) if ((k == "sched_yield" || k == "epoll_wait" || k == "epoll_pwait") && n[k] > 2000) print k, n[k]}' "$log")" ""
done

trace list ring
rounds=$(grep -c '"/list-begins"' "$log")
equal "ten lists" "$rounds" 10
enters() { # per round: how many enters submit something, how many there are, how many system calls the engine made
	awk -v main="$(main_pid)" '
		index($0, "\"/list-begins\"") {on = 1; submits = 0; all = 0; calls = 0; next}
		index($0, "\"/list-ends\"") {print submits, all, calls; on = 0}
		on && $1 != main && $3 !~ /^(<\.\.\.|---|\+\+\+)/ {
			calls++
			if (index($3, "io_uring_enter(") == 1 || index($3, "io_uring_enter2(") == 1) {
				split($0, part, ","); n = part[2] + 0; if (n > 0) submits++; all++
			}
		}' "$log"
}
per_round=$(enters)
fewest=$(sort -n <<<"$per_round" | head -1 | cut -d' ' -f1)
typical=$(awk '{print $1}' <<<"$per_round" | sort -n | sed -n 5p)
all=$(awk '{print $2}' <<<"$per_round" | sort -n | sed -n 5p)
calls=$(awk '{print $3}' <<<"$per_round" | sort -n | sed -n 5p)
echo "a list of 64 direct reads: $typical submitting enters (fewest $fewest), $all enters, $calls system calls by the engine in all (medians of 10, traced)"
# One hands it over and waits for the whole of it, one waits for what comes next; a slow disk takes more.
if [ "$all" -le 4 ]; then pass "a list that is waited for is not reaped one by one"; else fail "a list that is waited for is not reaped one by one" "$per_round"; fi
if [ "$typical" -ge 1 ] && [ "$typical" -le 2 ]; then pass "a list is one submission"; else fail "a list is one submission" "$per_round"; fi
own=$(awk -v main="$(main_pid)" '
	index($0, "\"/list-begins\"") {on = 1; next} index($0, "\"/list-ends\"") {on = 0}
	on && $1 == main && $3 !~ /^(<\.\.\.|---|\+\+\+)/ {split($3, c, "("); n[c[1]]++}
	END {for (k in n) print k, n[k]}' "$log")
equal "the caller itself only waits" "$(grep -v -E '^futex' <<<"$own")" ""

for backend in ring workers; do
	trace ask $backend
	begin=$(awk 'index($0, "\"/asking-begins\"") {print $1}' "$log")
	equal "aio_error and aio_return make no system call ($backend)" "$(between asking-begins asking-ends | grep "^$begin " | grep -v 'access resumed')" ""
	waits=$(between asking-ends waiting-ends | grep "^$begin ")
	if grep -q futex <<<"$waits"; then pass "aio_suspend waits on futexes ($backend)"; else fail "aio_suspend waits on futexes ($backend)" "$waits"; fi
	equal "aio_suspend does not use the wall clock ($backend)" "$(grep CLOCK_REALTIME <<<"$waits")" ""
done
finish
