/* cancel_early.c - aio_cancel while requests are being submitted: what is in progress is not said to be done.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

#include <sys/time.h>

enum { MANY = 200000 };

static struct aiocb *many, *list[MANY];
static int many_fd;

static void make_many(int fd)
{
    static char byte;
    many_fd = fd;
    many = pages(MANY * sizeof *many);
    for (int i = 0; i < MANY; i++) {
        many[i] = request(fd, &byte, 1, 0);
        many[i].aio_lio_opcode = LIO_READ;
        list[i] = &many[i];
    }
}

static void end_many(void)
{
    CHECK_EQ(aio_cancel(many_fd, NULL), AIO_CANCELED);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(aio_error(&many[i]), ECANCELED);
    CHECK_EQ(aio_cancel(many_fd, NULL), AIO_ALLDONE);
}

static volatile int early_verdict, early_one;
static void on_alarm(int signo)
{
    (void)signo;
    if (early_verdict != -1 || aio_error(&many[0]) != EINPROGRESS)
        return;
    int one = aio_cancel(many_fd, &many[0]), verdict = aio_cancel(many_fd, NULL);
    if (aio_error(&many[0]) == EINPROGRESS)
        early_one = one, early_verdict = verdict;
}

/* A handler interrupts the submission of a long list, and cancels. */
static void in_a_handler(bool engine_runs)
{
    int ends[2], idle[2];
    SETUP(pipe(ends) == 0 && pipe(idle) == 0);
    char byte;
    struct aiocb first = request(idle[0], &byte, 1, 0);
    if (engine_runs)
        CHECK_EQ(aio_read(&first), 0);
    make_many(ends[0]);
    early_verdict = early_one = -1;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    SETUP(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    SETUP(setitimer(ITIMER_REAL, &every, NULL) == 0);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, MANY, NULL), 0);
    SETUP(setitimer(ITIMER_REAL, &never, NULL) == 0);
    SETUP(early_verdict != -1, "no signal came while the list was submitted");
    CHECK_EQ(early_one, AIO_NOTCANCELED);
    CHECK_EQ(early_verdict, AIO_NOTCANCELED);
    end_many();
}
CASE(26, cancelling_in_a_handler_while_a_list_is_submitted, SHIM_ONLY, 60) { in_a_handler(true); }
CASE(26, cancelling_in_a_handler_while_the_first_list_is_submitted, SHIM_ONLY, 60) { in_a_handler(false); }

static atomic_int seen_verdict;
static void *cancel_when_in_progress(void *unused)
{
    while (aio_error(&many[0]) != EINPROGRESS) { }
    int verdict = aio_cancel(many_fd, NULL);
    seen_verdict = aio_error(&many[0]) == EINPROGRESS ? verdict : AIO_CANCELED;
    return unused;
}

/* Another thread sees one in progress, and cancels all. */
CASE(26, cancelling_in_another_thread_while_a_list_is_submitted, GLIBC_OK, 60)
{
    int ends[2];
    SETUP(pipe(ends) == 0);
    make_many(ends[0]);
    pthread_t thread = start_thread(cancel_when_in_progress, NULL);
    /* glibc looks at all that waits for each that comes */
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, on_glibc() ? 2000 : MANY, NULL), 0);
    join_thread(thread);
    CHECK(seen_verdict != AIO_ALLDONE, "said to be done what is in progress");
}

/* What a close left behind is no request of the number's next file. */
CASE(26, requests_of_the_file_before_do_not_count, GLIBC_DEFECT, 30)
{
    int ends[2], next[2];
    SETUP(pipe(ends) == 0);
    char byte;
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(20);
    close(ends[0]);
    SETUP(pipe(next) == 0 && next[0] == ends[0]);
    CHECK_EQ(aio_cancel(next[0], NULL), AIO_ALLDONE);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK_DONE(&cb, 1);
    CHECK_EQ(aio_cancel(next[0], NULL), AIO_ALLDONE);
}
