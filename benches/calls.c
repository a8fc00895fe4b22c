/*
 * The small calls on their own: aio_error and aio_return of a finished request, aio_error of one in progress; and the
 * yardstick "one wake": FUTEX_WAKE of a thread that sleeps, which is the least a hand-over to another thread can cost.
 */
#include "bench.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 2000000, WAKES = 3000 };

static double per_call(const struct aiocb *cb, int (*call)(const struct aiocb *), int want)
{
    uint64_t from = now_ns();
    for (unsigned i = 0; i < CALLS; i++)
        if (call(cb) != want)
            die("an unexpected status");
    return (double)(now_ns() - from) / CALLS;
}

static int call_return(const struct aiocb *cb)
{
    return (int)aio_return((struct aiocb *)cb);
}

struct caller {
    const struct aiocb *cb;
    double ns;
};

static void *call_error_loop(void *arg)
{
    struct caller *c = arg;
    c->ns = per_call(c->cb, aio_error, 0);
    return NULL;
}

int mode_calls(const struct options *o)
{
    struct aiocb done[2], waiting;
    int pipe_fds[2], fd = file_open(o, 0);
    uint64_t word = 0;
    memset(done, 0, sizeof done);
    memset(&waiting, 0, sizeof waiting);
    for (int i = 0; i < 2; i++) {
        done[i].aio_fildes = fd;
        done[i].aio_buf = buffer_new(o->block);
        done[i].aio_nbytes = o->block;
        done[i].aio_sigevent.sigev_notify = SIGEV_NONE;
        const struct aiocb *list[1] = {&done[i]};
        if (aio_read(&done[i]) != 0)
            die("aio_read: %s", strerror(errno));
        while (aio_error(&done[i]) == EINPROGRESS)
            aio_suspend(list, 1, NULL);
    }
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        die("pipe: %s", strerror(errno));
    waiting.aio_fildes = pipe_fds[0];
    waiting.aio_buf = &word;
    waiting.aio_nbytes = sizeof word;
    waiting.aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_read(&waiting) != 0)
        die("aio_read: %s", strerror(errno));

    double error_done = per_call(&done[0], aio_error, 0), error_waiting = per_call(&waiting, aio_error, EINPROGRESS);
    double return_done = per_call(&done[0], call_return, (int)o->block);
    struct caller callers[2] = {{&done[0], 0}, {&done[1], 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, call_error_loop, &callers[i]) != 0)
            die("pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("{\"aio_error_done_ns\": %.2f, \"aio_error_in_progress_ns\": %.2f, \"aio_return_ns\": %.2f, "
           "\"aio_error_two_threads_ns\": %.2f, \"shim\": %s}\n",
           error_done, error_waiting, return_done, (callers[0].ns + callers[1].ns) / 2,
           shim_is_loaded() ? "true" : "false");
    fflush(stdout);
    _Exit(0); /* the waiting read is still out */
}

static atomic_int futex_word, asleep;

static void *sleeper(void *arg)
{
    (void)arg;
    for (int seen = 0; seen < WAKES;) {
        atomic_store(&asleep, 1);
        syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        int now = atomic_load(&futex_word);
        if (now != seen) {
            atomic_store(&asleep, 0);
            seen = now;
        }
    }
    return NULL;
}

int mode_wake(const struct options *o)
{
    (void)o;
    static struct histogram h;
    pthread_t thread;
    if (pthread_create(&thread, NULL, sleeper, NULL) != 0)
        die("pthread_create");
    for (int i = 1; i <= WAKES; i++) {
        struct timespec settle = {0, 50000};
        do
            nanosleep(&settle, NULL);
        while (atomic_load(&asleep) == 0);
        atomic_store(&futex_word, i);
        uint64_t from = now_ns();
        syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        histogram_add(&h, now_ns() - from);
    }
    pthread_join(thread, NULL);
    printf("{\"wakes\": %d", WAKES);
    histogram_print("wake_ns", &h);
    puts("}");
    return 0;
}
