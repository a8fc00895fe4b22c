/* The waits that are cancellation points (POSIX: aio_suspend, close).
 *
 * Written in C because pthread_cleanup_push is a macro of C, and because a
 * cancelled thread unwinds from inside the system call: these frames are the
 * only ones with something to undo, and the Rust frames above have nothing to
 * drop. Async-signal-safe: glibc's pthread_setcanceltype only touches the
 * thread's own descriptor.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct waiter {
    uint32_t *word, *waiters;
};

/* A cancelled thread may have been woken for something that it does not take
 * any more: it passes the wake on. */
static void leave(void *argument)
{
    struct waiter *waiter = argument;
    __atomic_fetch_sub(waiter->waiters, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, waiter->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

/* Sleeps while *word == expected until the absolute CLOCK_MONOTONIC time
 * `until` (NULL: without limit). Returns 0 or an errno. Nothing is left to
 * undo, however this call ends: a thread may be cancelled in it, and a signal
 * handler may leave it by longjmp. */
int aio_shim_cancellable_wait(uint32_t *word, uint32_t expected,
                              const struct timespec *until)
{
    int type, saved = errno, answer = 0;

    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
                until, NULL, FUTEX_BITSET_MATCH_ANY) != 0)
        answer = errno;
    pthread_setcanceltype(type, NULL);
    errno = saved;
    return answer;
}

/* For a wait that ended without a sleep: who was cancelled before it must not
 * go on behind it. */
void aio_shim_cancellation_point(void)
{
    pthread_testcancel();
}

/* The same for one of several waiters of which each takes a wake of its own.
 * *waiters was raised by the caller and is lowered here, also when the thread
 * is cancelled; not when it jumps away. */
int aio_shim_cancellable_turn(uint32_t *word, uint32_t expected,
                              const struct timespec *until, uint32_t *waiters)
{
    volatile int answer = 0;
    struct waiter waiter = {word, waiters};

    pthread_cleanup_push(leave, &waiter);
    answer = aio_shim_cancellable_wait(word, expected, until);
    pthread_cleanup_pop(0);
    __atomic_fetch_sub(waiters, 1, __ATOMIC_SEQ_CST);
    return answer;
}
