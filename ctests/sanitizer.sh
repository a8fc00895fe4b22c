#!/bin/bash
# A program under AddressSanitizer and LeakSanitizer, linked with the library: nothing of ours counts as lost at its exit,
# while requests wait and callback threads rest. SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/lib.sh"
need "$CC"
cat >"$OUT/leak.c" <<-'EOT'
	#include <aio.h>
	#include <signal.h>
	#include <stdatomic.h>
	#include <stdlib.h>
	#include <string.h>
	#include <unistd.h>
	static atomic_int calls;
	static void called(union sigval value) { (void)value, atomic_fetch_add(&calls, 1); }
	int main(int count, char **arguments)
	{
		static struct aiocb cb[20], waiting;
		static char data[65536], byte;
		char name[] = "leak-XXXXXX";
		int ends[2], file = mkstemp(name);
		if (file < 0 || unlink(name) || pipe(ends))
			return 2;
		for (int i = 0; i < 20; i++) {
			cb[i] = (struct aiocb){.aio_fildes = file, .aio_buf = data, .aio_nbytes = sizeof data};
			cb[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
			cb[i].aio_sigevent.sigev_notify_function = called;
			if (aio_write(&cb[i]))
				return 3;
		}
		waiting = (struct aiocb){.aio_fildes = ends[0], .aio_buf = &byte, .aio_nbytes = 1};
		if (aio_read(&waiting))
			return 4;
		while (calls < 20)
			usleep(1000);
		if (count > 1) { /* what the checker must find, or it was not there */
			char *volatile lost = strdup(arguments[1]);
			lost = NULL;
			(void)lost;
		}
		return 0;
	}
EOT
ln -sf "$LIB" "$OUT/libaio_shim.so.0"
if ! text=$("$CC" -g -fsanitize=address -pthread -o "$OUT/leak" "$OUT/leak.c" "$LIB" -Wl,-rpath,"$OUT" 2>&1); then
	skip "the compiler has no AddressSanitizer: ${text##*$'\n'}"
	finish
fi
cd "$OUT" || exit 2
for backend in uring threads; do
	run() { AIO_SHIM_BACKEND=$backend LSAN_OPTIONS=exitcode=23 timeout 60 ./leak "$@" 2>&1; echo "status $?"; }
	equal "$backend: nothing is lost" "$(run | tail -25)" "status 0"
	equal "$backend: what is lost is found" "$(run something | tail -1)" "status 23"
done
finish
