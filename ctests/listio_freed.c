/* listio_freed.c - an element of a list that is complete is the program's again, though a thread still waits for the
 * others in lio_listio(LIO_WAIT). SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { SLOW = 2 };

static int streams[2];
static struct aiocb slow[SLOW];
static unsigned char slow_byte[SLOW], fast_byte;
static atomic_int called;

static void *feed_later(void *unused)
{
    (void)unused;
    WAIT_FOR(called);
    sleep_ms(20); /* for the waiting thread to look once more, should it */
    write_all(streams[1], "ab", SLOW);
    return NULL;
}

/* A list of an element that ends at once among such that wait for data; its callback does what it may with it. */
static void wait_beside(int place_of_the_fast, void (*callback)(union sigval), struct aiocb *fast)
{
    struct aiocb *entries[SLOW + 1];
    int fd = temp_file(ON_DISK, 1, 1, 0), at = 0;
    called = 0;
    *fast = request(fd, &fast_byte, 1, 0);
    fast->aio_lio_opcode = LIO_READ;
    notify_by_thread(fast, callback, fast);
    for (int i = 0; i <= SLOW; i++) {
        if (i == place_of_the_fast) {
            entries[i] = fast;
            continue;
        }
        slow[at] = request(streams[0], &slow_byte[at], 1, 0);
        slow[at].aio_lio_opcode = LIO_READ;
        entries[i] = &slow[at++];
    }
    pthread_t feeder = start_thread(feed_later, NULL);
    CHECK_EQ(lio_listio(LIO_WAIT, entries, SLOW + 1, NULL), 0);
    for (int i = 0; i < SLOW; i++)
        CHECK_DONE(&slow[i], 1);
    join_thread(feeder);
    close(fd);
}

static void unmap(union sigval value)
{
    munmap(value.sival_ptr, 4096);
    called = 1;
}
CASE(11, an_element_may_be_unmapped_before_its_list_has_ended, GLIBC_RACY, 20)
{
    SETUP(pipe2(streams, O_CLOEXEC) == 0);
    for (int i = 0; i <= SLOW; i++) {
        struct aiocb *fast = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SETUP(fast != MAP_FAILED);
        wait_beside(i, unmap, fast);
    }
}

/* Submitted anew, it is another request, which the list does not wait for. */
static int empty[2];
static void read_what_never_comes(union sigval value)
{
    struct aiocb *cb = value.sival_ptr;
    *cb = request(empty[0], &fast_byte, 1, 0);
    CHECK_EQ(aio_read(cb), 0);
    called = 1;
}
CASE(31, an_element_may_be_submitted_anew_before_its_list_has_ended, GLIBC_OK, 20)
{
    SETUP(pipe2(empty, O_CLOEXEC) == 0);
    SETUP(pipe2(streams, O_CLOEXEC) == 0);
    for (int i = 0; i <= SLOW; i++) {
        static struct aiocb fast[SLOW + 1];
        wait_beside(i, read_what_never_comes, &fast[i]);
        CHECK_EQ(aio_error(&fast[i]), EINPROGRESS);
    }
    write_all(empty[1], "abc", SLOW + 1);
}

/* Many threads wait at once, each for a list. (More than memcheck has room for.) */
enum { WAITERS = 1100 };
static void *wait_for_one(void *argument)
{
    struct aiocb *entry = argument;
    CHECK_EQ(lio_listio(LIO_WAIT, &entry, 1, NULL), 0);
    return NULL;
}
CASE(31, a_thousand_threads_wait_for_lists, GLIBC_RACY | NO_VALGRIND, 60)
{
    static struct aiocb cb[WAITERS];
    static unsigned char bytes[WAITERS];
    pthread_t threads[WAITERS];
    pthread_attr_t small;
    SETUP(pipe2(streams, O_CLOEXEC) == 0);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 1 << 16);
    for (int i = 0; i < WAITERS; i++) {
        cb[i] = request(streams[0], &bytes[i], 1, 0);
        cb[i].aio_lio_opcode = LIO_READ;
        SETUP(pthread_create(&threads[i], &small, wait_for_one, &cb[i]) == 0);
    }
    for (int i = 0; i < WAITERS; i++)
        WAIT_FOR(aio_error(&cb[i]) == EINPROGRESS);
    for (int i = 0; i < WAITERS; i++)
        write_all(streams[1], "x", 1);
    for (int i = 0; i < WAITERS; i++)
        join_thread(threads[i]);
}

/* A signal makes a caller leave; its place is free again when the list has ended. */
static void nothing(int signo) { (void)signo; }
static pthread_t interrupted;
static atomic_bool inside, left;
static void *interrupt_until_it_left(void *unused)
{
    (void)unused;
    WAIT_FOR(inside);
    while (!left) {
        pthread_kill(interrupted, SIGUSR1);
        sleep_ms(0);
        sched_yield();
    }
    return NULL;
}
CASE(31, places_of_those_who_left_are_free_again, SHIM_ONLY, 60)
{
    struct sigaction action = {.sa_handler = nothing};
    SETUP(sigaction(SIGUSR1, &action, NULL) == 0);
    SETUP(pipe2(streams, O_CLOEXEC) == 0);
    interrupted = pthread_self();
    for (int round = 0; round < 1500; round++) {
        struct aiocb *entry = &slow[0];
        slow[0] = request(streams[0], &slow_byte[0], 1, 0);
        slow[0].aio_lio_opcode = LIO_READ;
        left = inside = false;
        pthread_t other = start_thread(interrupt_until_it_left, NULL);
        inside = true;
        int result = lio_listio(LIO_WAIT, &entry, 1, NULL), error = errno;
        left = true;
        join_thread(other);
        CHECK(result == -1 && error == EINTR, "%d, %s", result, strerror(error));
        write_all(streams[1], "x", 1);
        CHECK_DONE(&slow[0], 1);
    }
    wait_beside(1, unmap, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}
