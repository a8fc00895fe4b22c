// Lines 30 to 33: lio_listio.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"
#include <sys/time.h>

enum { PART = 100, PARTS = 20 };
static struct aiocb cbs[PARTS];
static struct aiocb *list[PARTS];
static unsigned char buffer[PARTS * PART];
static int file;

/* Reads of one file, piece by piece. */
static void prepare(void)
{
    if (file == 0)
        file = temp_file(ON_DISK, PARTS * PART, 6, 0);
    memset(buffer, 0, sizeof buffer);
    for (int i = 0; i < PARTS; i++) {
        cbs[i] = request(file, buffer + i * PART, PART, i * PART);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
}
static void check_part(int i)
{
    CHECK_DONE(&cbs[i], PART);
    CHECK(pattern_wrong(buffer + i * PART, PART, (size_t)i * PART, 6) == -1, "part %d", i);
}

/* Which signal came when: a sequence of values. */
static volatile int arrivals[4096], arrived;
static void note(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    int at = __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
    if (at < 4096)
        arrivals[at] = info->si_value.sival_int;
}
static struct sigevent signal_event(int signo, int value)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESTART};
    SETUP(sigaction(signo, &action, NULL) == 0);
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signo;
    event.sigev_value.sival_int = value;
    return event;
}

/* ---- line 30 ---- */

CASE(30, null_and_nop_entries_are_ignored, GLIBC_OK, 10)
{
    for (int mode = LIO_WAIT; mode <= LIO_NOWAIT; mode++) {
        prepare();
        for (int i = 0; i < PARTS; i += 2) {
            if (i % 4)
                list[i] = NULL;
            else
                cbs[i].aio_lio_opcode = LIO_NOP;
        }
        CHECK_EQ(lio_listio(mode, list, PARTS, NULL), 0);
        for (int i = 0; i < PARTS; i++)
            if (i % 2) {
                check_part(i);
            } else {
                CHECK_EQ(aio_error(&cbs[i]), 0);
                for (int k = 0; k < PART; k++)
                    CHECK_EQ(buffer[i * PART + k], 0);
            }
    }
}

CASE(30, reads_and_writes_together, GLIBC_OK, 20)
{
    enum { COUNT = 64, SIZE = 4096 };
    int from = temp_file(ON_DISK, COUNT * SIZE, 7, 0), to = temp_file(ON_DISK, 0, 0, 0);
    unsigned char *in = pages(COUNT * SIZE), *out = pages(COUNT * SIZE), *back = pages(COUNT * SIZE);
    struct aiocb *all = pages(2 * COUNT * sizeof *all), *entries[2 * COUNT];
    pattern_fill(out, COUNT * SIZE, 0, 8);
    for (int i = 0; i < 2 * COUNT; i++) {
        int part = i / 2;
        all[i] = i % 2 ? request(to, out + part * SIZE, SIZE, part * SIZE) : request(from, in + part * SIZE, SIZE, part * SIZE);
        all[i].aio_lio_opcode = i % 2 ? LIO_WRITE : LIO_READ;
        all[i].aio_reqprio = i % 7;
        entries[i] = &all[i];
    }
    CHECK_EQ(lio_listio(LIO_WAIT, entries, 2 * COUNT, NULL), 0);
    for (int i = 0; i < 2 * COUNT; i++) {
        CHECK_EQ(aio_error(&all[i]), 0); /* no more waiting */
        CHECK_EQ(aio_return(&all[i]), SIZE);
    }
    CHECK_EQ(pattern_wrong(in, COUNT * SIZE, 0, 7), -1);
    SETUP(pread(to, back, COUNT * SIZE, 0) == COUNT * SIZE);
    CHECK_EQ(pattern_wrong(back, COUNT * SIZE, 0, 8), -1);
}

CASE(30, one_failure_stops_no_other, GLIBC_OK, 10)
{
    for (int mode = LIO_WAIT; mode <= LIO_NOWAIT; mode++) {
        prepare();
        for (int i = 3; i < PARTS; i += 5)
            cbs[i].aio_fildes = -1;
        if (mode == LIO_WAIT)
            CHECK_FAILS(lio_listio(mode, list, PARTS, NULL), EIO);
        else
            CHECK_EQ(lio_listio(mode, list, PARTS, NULL), 0); /* they were queued; the error is their own */
        for (int i = 0; i < PARTS; i++)
            if (i % 5 == 3)
                CHECK_ENDS(&cbs[i], EBADF);
            else
                check_part(i);
    }
}

CASE(30, each_elements_own_notification, GLIBC_OK, 10)
{
    for (int mode = LIO_WAIT; mode <= LIO_NOWAIT; mode++) {
        unsigned seen = 0;
        prepare();
        arrived = 0;
        for (int i = 0; i < PARTS; i++)
            if (i % 3)
                cbs[i].aio_sigevent = signal_event(SIGRTMIN + i % 3, i);
        CHECK_EQ(lio_listio(mode, list, PARTS, NULL), 0);
        WAIT_FOR(arrived == 13);
        for (int i = 0; i < 13; i++)
            seen |= 1u << arrivals[i];
        for (int i = 0; i < PARTS; i++) {
            CHECK(!(seen >> i & 1) == !(i % 3), "element %d", i);
            check_part(i);
        }
    }
}

CASE(30, empty_lists, GLIBC_OK, 10)
{
    struct aiocb *nothing[4] = {NULL};
    CHECK_EQ(lio_listio(LIO_WAIT, nothing, 0, NULL), 0);
    CHECK_EQ(lio_listio(LIO_NOWAIT, nothing, 0, NULL), 0);
    CHECK_EQ(lio_listio(LIO_WAIT, nothing, 4, NULL), 0);
    CHECK_EQ(lio_listio(LIO_NOWAIT, nothing, 4, NULL), 0);
}

/* The array may go as soon as the call returns, and the sigevent too. */
CASE(30, list_and_event_may_go, GLIBC_OK, 10)
{
    for (int round = 0; round < 50; round++) {
        prepare();
        arrived = 0;
        struct sigevent *event = malloc(sizeof *event);
        struct aiocb **entries = malloc(sizeof list);
        *event = signal_event(SIGRTMIN, 42);
        memcpy(entries, list, sizeof list);
        CHECK_EQ(lio_listio(LIO_NOWAIT, entries, PARTS, event), 0);
        memset(event, 0xff, sizeof *event);
        memset(entries, 0xff, sizeof list);
        free(event);
        free(entries);
        WAIT_FOR(arrived == 1);
        CHECK_EQ(arrivals[0], 42);
        for (int i = 0; i < PARTS; i++)
            check_part(i);
    }
}

static void long_list(int descriptors, int mode)
{
    enum { COUNT = 400000 };
    struct aiocb *many = pages(COUNT * sizeof *many), **entries = pages(COUNT * sizeof *entries);
    unsigned char *got = pages(COUNT);
    int fd = temp_file(ON_DISK, COUNT, 9, 0), copies[400];
    for (int i = 0; i < descriptors; i++)
        SETUP((copies[i] = dup(fd)) >= 0);
    for (int i = 0; i < COUNT; i++) {
        many[i] = request(copies[i % descriptors], got + i, 1, i);
        many[i].aio_lio_opcode = LIO_READ;
        entries[i] = &many[i];
    }
    struct sigevent event = signal_event(SIGRTMIN, 5);
    CHECK_EQ(lio_listio(mode, entries, COUNT, mode == LIO_WAIT ? NULL : &event), 0);
    if (mode == LIO_NOWAIT)
        while (arrived == 0)
            sleep_ms(1);
    for (int i = 0; i < COUNT; i++)
        CHECK(aio_error(&many[i]) == 0 && aio_return(&many[i]) == 1, "request %d: %d", i, aio_error(&many[i]));
    CHECK_EQ(pattern_wrong(got, COUNT, 0, 9), -1);
}
/* glibc keeps its lock for the whole list and takes quadratic time; waited for, its stack overflows as well. */
CASE(3, list_of_400000_waited_for, GLIBC_DEFECT, 60) { long_list(1, LIO_WAIT); }
CASE(3, list_of_400000_in_the_background, GLIBC_DEFECT, 60) { long_list(1, LIO_NOWAIT); }
CASE(3, list_of_400000_on_many_descriptors, SHIM_ONLY, 60) { long_list(400, LIO_WAIT); }

/* ---- line 31 ---- */

CASE(31, waits_for_all, GLIBC_OK, 20)
{
    for (int round = 0; round < 100; round++) {
        prepare();
        CHECK_EQ(lio_listio(LIO_WAIT, list, 1 + round % PARTS, NULL), 0);
        for (int i = 0; i < 1 + round % PARTS; i++) {
            CHECK_EQ(aio_error(&cbs[i]), 0);
            CHECK_EQ(aio_return(&cbs[i]), PART);
        }
    }
}

static void *feed_late(void *argument)
{
    sleep_ms(80);
    SETUP(write(*(int *)argument, "late", 4) == 4);
    return NULL;
}
CASE(31, waits_for_the_slowest, GLIBC_OK, 10)
{
    struct pair pair = make_pair(PIPE);
    char text[4];
    prepare();
    cbs[7] = request(pair.ends[0], text, 4, 0);
    cbs[7].aio_lio_opcode = LIO_READ;
    pthread_t feeder = start_thread(feed_late, &pair.ends[1]);
    CHECK_EQ(lio_listio(LIO_WAIT, list, PARTS, NULL), 0);
    CHECK_EQ(aio_error(&cbs[7]), 0);
    CHECK(memcmp(text, "late", 4) == 0);
    join_thread(feeder);
}

CASE(31, event_of_a_waiting_list_is_ignored, GLIBC_OK, 10)
{
    struct sigevent event = signal_event(SIGRTMIN, 1), bad = event;
    prepare();
    CHECK_EQ(lio_listio(LIO_WAIT, list, PARTS, &event), 0);
    bad.sigev_signo = 4711;
    prepare();
    CHECK_EQ(lio_listio(LIO_WAIT, list, PARTS, &bad), 0);
    sleep_ms(50);
    CHECK_EQ(arrived, 0);
}

static void nudge(int signo) { (void)signo; }
static volatile int scribble_here;
/* Takes the stack that the interrupted call had. */
static __attribute__((noinline)) void reuse_stack(void)
{
    volatile unsigned char room[16384];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0xcc;
    scribble_here = room[77];
}
static void interrupted_list(int rounds)
{
    struct sigaction action = {.sa_handler = nudge};
    sigaction(SIGALRM, &action, NULL);
    for (int round = 0; round < rounds; round++) {
        struct pair pair = make_pair(PIPE);
        char text[4] = "";
        prepare();
        cbs[3] = request(pair.ends[0], text, 4, 0);
        cbs[3].aio_lio_opcode = LIO_READ;
        /* Again and again, or it might come before the call waits. */
        setitimer(ITIMER_REAL, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL);
        CHECK_FAILS(lio_listio(LIO_WAIT, list, PARTS, NULL), EINTR);
        setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
        reuse_stack();
        CHECK_EQ(aio_error(&cbs[3]), EINPROGRESS);
        SETUP(write(pair.ends[1], "late", 4) == 4);
        CHECK_DONE(&cbs[3], 4);
        reuse_stack();
        sleep_ms(2);
        for (int i = 0; i < PARTS; i++)
            if (i != 3)
                check_part(i);
        close_pair(&pair);
    }
}
CASE(31, interrupted_wait_leaves_nothing_behind, GLIBC_DEFECT, 20) { interrupted_list(20); }

/* The time when the list ends is the time when the signal comes. */
static void *feed_after(void *argument)
{
    for (volatile int pause = 0; pause < ((int *)argument)[1] * 2000; pause++) { }
    SETUP(write(((int *)argument)[0], "late", 4) == 4);
    return NULL;
}
CASE(31, interruption_against_completion, GLIBC_RACY, 30)
{
    struct sigaction action = {.sa_handler = nudge};
    sigaction(SIGALRM, &action, NULL);
    for (int round = 0; round < 300; round++) {
        struct pair pair = make_pair(PIPE);
        char text[4] = "";
        struct aiocb cb = request(pair.ends[0], text, 4, 0), *one[] = {&cb};
        cb.aio_lio_opcode = LIO_READ;
        int order[2] = {pair.ends[1], round % 100};
        pthread_t feeder = start_thread(feed_after, order);
        setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 200}}, NULL);
        int result = lio_listio(LIO_WAIT, one, 1, NULL);
        CHECK(result == 0 || (result == -1 && errno == EINTR), "%d", result);
        CHECK(result == -1 || aio_error(&cb) == 0);
        reuse_stack();
        CHECK_DONE(&cb, 4);
        join_thread(feeder);
        close_pair(&pair);
    }
}

static void *many_lists(void *argument)
{
    enum { COUNT = 8, SIZE = 512 };
    int fd = *(int *)argument;
    for (int round = 0; round < 200; round++) {
        struct aiocb mine[COUNT], *entries[COUNT];
        unsigned char got[COUNT * SIZE];
        for (int i = 0; i < COUNT; i++) {
            mine[i] = request(fd, got + i * SIZE, SIZE, i * SIZE);
            mine[i].aio_lio_opcode = LIO_READ;
            entries[i] = &mine[i];
        }
        CHECK_EQ(lio_listio(LIO_WAIT, entries, COUNT, NULL), 0);
        CHECK_EQ(pattern_wrong(got, sizeof got, 0, 11), -1);
    }
    return NULL;
}
CASE(31, lists_of_many_threads, GLIBC_OK, 30)
{
    int fd = temp_file(ON_DISK, 8 * 512, 11, 0);
    pthread_t running[8];
    for (int i = 0; i < 8; i++)
        running[i] = start_thread(many_lists, &fd);
    for (int i = 0; i < 8; i++)
        join_thread(running[i]);
}

/* ---- line 32 ---- */

CASE(32, returns_before_the_end, GLIBC_OK, 10)
{
    struct pair pair = make_pair(PIPE);
    char text[4];
    prepare();
    cbs[0] = request(pair.ends[0], text, 4, 0);
    cbs[0].aio_lio_opcode = LIO_READ;
    struct sigevent event = signal_event(SIGRTMIN, 9);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, PARTS, &event), 0);
    for (int i = 1; i < PARTS; i++)
        check_part(i);
    sleep_ms(50);
    CHECK_EQ(arrived, 0); /* the list is not over */
    CHECK_EQ(aio_error(&cbs[0]), EINPROGRESS);
    SETUP(write(pair.ends[1], "late", 4) == 4);
    CHECK_DONE(&cbs[0], 4);
    WAIT_FOR(arrived == 1);
    sleep_ms(20);
    CHECK_EQ(arrived, 1);
    CHECK_EQ(arrivals[0], 9);
}

static void unqueueable_element(int mode, int reqprio, int opcode)
{
    for (int where = 0; where < PARTS; where += PARTS - 1) { /* the first, then the last of the list */
        prepare();
        arrived = 0;
        struct sigevent event = signal_event(SIGRTMIN, 8);
        cbs[where].aio_reqprio = reqprio;
        cbs[where].aio_lio_opcode = opcode;
        int result = lio_listio(mode, list, PARTS, &event);
        if (result == -1)
            CHECK_EQ(errno, EIO);
        else /* a bad opcode may be found out later: then it was queued */
            CHECK(mode == LIO_NOWAIT && opcode != LIO_READ && result == 0, "%d", result);
        CHECK_ENDS(&cbs[where], EINVAL);
        for (int i = 0; i < PARTS; i++)
            if (i != where)
                check_part(i);
        if (mode == LIO_NOWAIT)
            WAIT_FOR(arrived == 1); /* the list has an end all the same */
        sleep_ms(10);
        CHECK_EQ(arrived, mode == LIO_NOWAIT);
    }
}
CASE(32, element_with_bad_priority_gives_eio, GLIBC_DEFECT, 10) { unqueueable_element(LIO_NOWAIT, -1, LIO_READ); }
CASE(31, element_with_bad_priority_in_a_waiting_list, GLIBC_RACY, 10) { unqueueable_element(LIO_WAIT, 21, LIO_READ); }
CASE(33, element_with_bad_opcode, GLIBC_RACY, 10) { unqueueable_element(LIO_NOWAIT, 0, 99); }
CASE(33, element_with_negative_opcode, GLIBC_RACY, 10) { unqueueable_element(LIO_NOWAIT, 0, -1); }
CASE(33, element_with_bad_opcode_in_a_waiting_list, GLIBC_RACY, 10) { unqueueable_element(LIO_WAIT, 0, 99); }

CASE(32, list_notification_after_the_elements_own, GLIBC_OK, 20)
{
    for (int round = 0; round < 100; round++) {
        prepare();
        arrived = 0;
        struct sigevent event = signal_event(SIGRTMIN, 1000);
        for (int i = 0; i < PARTS; i++)
            cbs[i].aio_sigevent = signal_event(SIGRTMIN, i); /* one signal number: delivered in the order sent */
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, PARTS, &event), 0);
        WAIT_FOR(arrived == PARTS + 1, "%d arrived", arrived);
        CHECK_EQ(arrivals[PARTS], 1000);
    }
}

CASE(32, a_list_with_nothing_to_do_is_notified, GLIBC_OK, 10)
{
    struct sigevent event = signal_event(SIGRTMIN, 3);
    struct aiocb *nothing[4] = {NULL};
    CHECK_EQ(lio_listio(LIO_NOWAIT, nothing, 0, &event), 0);
    WAIT_FOR(arrived == 1);
    CHECK_EQ(lio_listio(LIO_NOWAIT, nothing, 4, &event), 0);
    WAIT_FOR(arrived == 2);
    prepare();
    for (int i = 0; i < PARTS; i++)
        cbs[i].aio_lio_opcode = LIO_NOP;
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, PARTS, &event), 0);
    WAIT_FOR(arrived == 3);
    sleep_ms(20);
    CHECK_EQ(arrived, 3);
    CHECK_EQ(arrivals[2], 3);
}

/* Nothing but elements that cannot be queued. */
CASE(32, a_list_of_refused_elements_is_notified, GLIBC_RACY, 10)
{
    struct sigevent event = signal_event(SIGRTMIN, 3);
    prepare();
    for (int i = 0; i < PARTS; i++)
        cbs[i].aio_reqprio = -1;
    CHECK_FAILS(lio_listio(LIO_NOWAIT, list, PARTS, &event), EIO);
    WAIT_FOR(arrived == 1);
}

static volatile int called;
static volatile int called_with;
static void callback(union sigval value)
{
    called_with = value.sival_int;
    __atomic_add_fetch(&called, 1, __ATOMIC_SEQ_CST);
}
CASE(32, list_notification_by_thread, GLIBC_OK, 20)
{
    for (int round = 1; round <= 50; round++) {
        struct sigevent event = {.sigev_notify = SIGEV_THREAD};
        event.sigev_notify_function = callback;
        event.sigev_value.sival_int = round;
        prepare();
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, PARTS, &event), 0);
        WAIT_FOR(called == round);
        CHECK_EQ(called_with, round);
        for (int i = 0; i < PARTS; i++)
            CHECK_EQ(aio_error(&cbs[i]), 0);
    }
}

CASE(32, no_list_notification_asked, GLIBC_OK, 10)
{
    struct sigevent none = {.sigev_notify = SIGEV_NONE}, zeroed;
    memset(&zeroed, 0, sizeof zeroed);
    struct sigevent *events[] = {NULL, &none};
    for (int k = 0; k < 2; k++) {
        prepare();
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, PARTS, events[k]), 0);
        for (int i = 0; i < PARTS; i++)
            check_part(i);
    }
}

/* Every list once, with its own value, from several threads at one time. */
static void *start_lists(void *argument)
{
    enum { LISTS = 100, EACH = 3 };
    static int next;
    struct aiocb *mine = pages(sizeof *mine * LISTS * EACH);
    char *bytes = pages(LISTS * EACH);
    for (int i = 0; i < LISTS; i++) {
        struct aiocb *entries[EACH];
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
        event.sigev_value.sival_int = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
        for (int k = 0; k < EACH; k++) {
            mine[i * EACH + k] = request(*(int *)argument, bytes + i * EACH + k, 1, k);
            mine[i * EACH + k].aio_lio_opcode = LIO_READ;
            entries[k] = &mine[i * EACH + k];
        }
        CHECK_EQ(lio_listio(LIO_NOWAIT, entries, EACH, &event), 0);
    }
    return NULL;
}
CASE(32, every_list_is_notified_once, GLIBC_OK, 20)
{
    int fd = temp_file(ON_DISK, 100, 1, 0);
    static unsigned char seen[400];
    pthread_t running[4];
    (void)signal_event(SIGRTMIN, 0);
    for (int i = 0; i < 4; i++)
        running[i] = start_thread(start_lists, &fd);
    for (int i = 0; i < 4; i++)
        join_thread(running[i]);
    WAIT_FOR(arrived == 400, "%d arrived", arrived);
    for (int i = 0; i < 400; i++)
        CHECK(seen[arrivals[i]]++ == 0, "value %d twice", arrivals[i]);
}

/* ---- line 33 ---- */

CASE(33, bad_mode, GLIBC_OK, 10)
{
    static const int modes[] = {2, -1, 99, INT_MIN};
    prepare();
    for (size_t i = 0; i < 4; i++)
        CHECK_FAILS(lio_listio(modes[i], list, PARTS, NULL), EINVAL);
    sleep_ms(20);
    for (size_t i = 0; i < sizeof buffer; i++)
        CHECK(buffer[i] == 0, "something ran");
    CHECK_EQ(aio_error(&cbs[0]), 0);
}

CASE(33, negative_count_starts_nothing, GLIBC_OK, 10)
{
    prepare();
    for (int mode = LIO_WAIT; mode <= LIO_NOWAIT; mode++) {
        int result = lio_listio(mode, list, -1, NULL); /* glibc: 0 */
        CHECK(result == 0 || (result == -1 && errno == EINVAL), "%d", result);
    }
    sleep_ms(20);
    for (size_t i = 0; i < sizeof buffer; i++)
        CHECK(buffer[i] == 0, "something ran");
}
