/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What happens when the kernel's signal queue is full: 32 reads, each notified
 * by one blocked real-time signal, and room for 8 signals. With glibc the
 * results of finished reads turn into EAGAIN and most signals are lost; exit
 * status 1 then. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "common.h"

enum { BLOCK = 4096, REQUESTS = 32, ROOM = 8 };

/* The limit counts what every process of this user has waiting now. */
static rlim_t signals_waiting(void)
{
    unsigned long waiting = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    check(status != NULL, "/proc/self/status");
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "SigQ: %lu", &waiting) == 1)
            break;
    fclose(status);
    return waiting;
}

int main(void)
{
    static char buffer[REQUESTS][BLOCK];
    static struct aiocb cb[REQUESTS];
    static bool told[REQUESTS];

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGRTMIN);
    check(sigprocmask(SIG_BLOCK, &signals, NULL) == 0, "sigprocmask");
    struct rlimit limit;
    check(getrlimit(RLIMIT_SIGPENDING, &limit) == 0, "getrlimit");
    limit.rlim_cur = signals_waiting() + ROOM;
    check(setrlimit(RLIMIT_SIGPENDING, &limit) == 0, "setrlimit");

    int fd = filled_file(sizeof buffer);
    for (int i = 0; i < REQUESTS; i++) {
        cb[i].aio_fildes = fd;
        cb[i].aio_buf = buffer[i];
        cb[i].aio_nbytes = BLOCK;
        cb[i].aio_offset = (off_t)i * BLOCK;
        cb[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb[i].aio_sigevent.sigev_signo = SIGRTMIN;
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        check(aio_read(&cb[i]) == 0, "aio_read");
    }
    for (int i = 0; i < REQUESTS; i++)
        while (aio_error(&cb[i]) == EINPROGRESS)
            usleep(1000);

    /* Only now are signals taken: the queue has been full for a while. */
    int signals_got = 0;
    siginfo_t info;
    struct timespec patience = {.tv_sec = 1};
    while (signals_got < REQUESTS && sigtimedwait(&signals, &info, &patience) == SIGRTMIN) {
        int i = info.si_value.sival_int;
        check(i >= 0 && i < REQUESTS && !told[i], "a signal's value");
        told[i] = true;
        signals_got++;
    }

    int results_right = 0, data_right = 0;
    for (int i = 0; i < REQUESTS; i++) {
        results_right += aio_error(&cb[i]) == 0 && aio_return(&cb[i]) == BLOCK;
        data_right += is_filled(buffer[i], BLOCK, cb[i].aio_offset);
    }
    printf("full_queue: of %d reads %d have their data, %d their result, %d their signal\n",
           REQUESTS, data_right, results_right, signals_got);
    return !(data_right == REQUESTS && results_right == REQUESTS && signals_got == REQUESTS);
}
