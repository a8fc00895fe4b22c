/* listio_wait.c - what others see while a thread waits in lio_listio(LIO_WAIT): the engine may leave the elements of
 * such a list to end together, but must serve everybody else, and show each end in time.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { COUNT = 64, ROUNDS = 300 };

struct lists {
    int fd;
    size_t bytes;              /* of an element */
    atomic_int begun, ended;
    atomic_bool over;
    struct aiocb cb[COUNT];
};

static void *wait_for_lists(void *argument)
{
    struct lists *lists = argument;
    unsigned char *data = pages(COUNT * lists->bytes);
    struct aiocb *entries[COUNT];
    while (!lists->over) {
        for (size_t i = 0; i < COUNT; i++) {
            lists->cb[i] = request(lists->fd, data + i * lists->bytes, lists->bytes, (off_t)(i * lists->bytes));
            lists->cb[i].aio_lio_opcode = LIO_READ;
            entries[i] = &lists->cb[i];
        }
        lists->begun++;
        CHECK_EQ(lio_listio(LIO_WAIT, entries, COUNT, NULL), 0);
        lists->ended++;
    }
    return NULL;
}

/* More than one or two: an engine that sleeps for the whole list is woken by its last ones. */
static bool many_in_progress(struct lists *lists)
{
    int count = 0;
    for (int i = 0; i < COUNT; i++)
        count += aio_error(&lists->cb[i]) == EINPROGRESS;
    return count >= COUNT / 8;
}

/* How many of a list have ended. (A control block that was made anew and is not submitted yet has no error, but
 * returns 0.) */
static int elements_ended(struct lists *lists)
{
    int count = 0;
    for (int i = 0; i < COUNT; i++)
        count += aio_error(&lists->cb[i]) == 0 && aio_return(&lists->cb[i]) == (ssize_t)lists->bytes;
    return count;
}

/* Writes to a pipe in the midst of lists: the share of those that ended while elements were still in
 * progress, in percent. (The list's caller may be slow to wake: its return says little.) */
static int ended_before_the_list(void)
{
    enum { BYTES = 1 << 14 }; /* the list ends before the engine would look by itself */
    struct lists lists = {.fd = temp_file(DIRECT, COUNT * BYTES, 1, 0), .bytes = BYTES};
    int ends[2], seen = 0, midst = 0, before = 0;
    unsigned char byte = 1;
    SETUP(pipe2(ends, O_CLOEXEC) == 0);
    pthread_t thread = start_thread(wait_for_lists, &lists);
    for (int i = 0; i < ROUNDS; i++) {
        WAIT_FOR(lists.begun > seen);
        seen = lists.begun;
        nanosleep(&(struct timespec){.tv_nsec = 400000}, NULL);
        struct aiocb cb = request(ends[1], &byte, 1, 0);
        CHECK_EQ(aio_write(&cb), 0);
        bool in_midst = lists.ended < seen && many_in_progress(&lists);
        while (aio_error(&cb) == EINPROGRESS)
            ;
        midst += in_midst;
        before += in_midst && lists.ended < seen && many_in_progress(&lists);
        CHECK_DONE(&cb, 1);
    }
    lists.over = true;
    join_thread(thread);
    close(ends[0]), close(ends[1]), close(lists.fd);
    SETUP(midst >= ROUNDS / 20, "the lists are too short: only %d of %d writes met one", midst, ROUNDS);
    return before * 100 / midst;
}
/* On a busy machine a list may end before the watching thread sees its write end; an engine that sleeps gives 8 to 25. */
CASE(31, a_waiting_list_holds_up_nobody, SHIM_ONLY | AS_BUILT, 60)
{
    int most = 0;
    for (int i = 0; i < 3 && most < 30; i++) {
        int share = ended_before_the_list();
        most = share > most ? share : most;
    }
    CHECK(most >= 30, "only %d of 100 writes ended before the list that was under way", most);
}

/* POSIX lets a thread look at one element of a list that another waits for. */
CASE(31, elements_are_seen_to_end_during_a_waiting_list, GLIBC_OK, 60)
{
    enum { BYTES = 1 << 20 };
    struct lists lists = {.fd = temp_file(DIRECT, COUNT * BYTES, 1, 0), .bytes = BYTES};
    pthread_t thread = start_thread(wait_for_lists, &lists);
    int between = 0;
    for (int64_t until = now_ns() + patience_ns() / 2; between < 3 && now_ns() < until;) {
        int ended = lists.ended;
        WAIT_FOR(lists.begun > ended || lists.ended > ended);
        int done = elements_ended(&lists);
        if (done == 0 || done == COUNT)
            continue;
        sleep_ms(2); /* results that are published together are out by then */
        done = elements_ended(&lists);
        if (done > 0 && done < COUNT && lists.ended == ended && lists.begun == ended + 1) {
            between++;
            while (lists.ended == ended)
                sleep_ms(1);
        }
    }
    lists.over = true;
    join_thread(thread);
    CHECK(between >= 3, "elements were seen to end before their list in %d lists", between);
}
