// aio_waitcomplete and aio_waitn found by dlsym: completions are kept from the first call on, and not before.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"

typedef ssize_t waitcomplete_call(struct aiocb **, struct timespec *);
typedef int waitn_call(struct aiocb **, unsigned, unsigned *, const struct timespec *);
static struct timespec at_once = {0, 0};

CASE(39, collection_begins_with_a_call_by_address, SHIM_ONLY, 20)
{
    waitcomplete_call *waitcomplete = (waitcomplete_call *)extension("aio_waitcomplete");
    waitn_call *waitn = (waitn_call *)extension("aio_waitn");
    SETUP(waitcomplete && waitn);
    enum { COUNT = 4 };
    char byte[COUNT];
    int fd = temp_file(ON_DISK, 8, 1, 0);
    struct pair pair = make_pair(PIPE);
    struct aiocb early = request(fd, byte, 1, 0), cb[COUNT], *done, *list[COUNT];
    CHECK_EQ(aio_read(&early), 0);
    CHECK_EQ(wait_done(&early), 0);
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(pair.ends[0], &byte[i], 1, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    CHECK_FAILS(waitcomplete(&done, &at_once), EAGAIN);
    /* What was in progress already counts as outstanding, and is reported. */
    unsigned want = 1;
    CHECK_FAILS(waitn(list, COUNT, &want, &at_once), ETIME);
    SETUP(write(pair.ends[1], "abcd", 4) == 4);
    CHECK_EQ(waitcomplete(&done, NULL), 1);
    CHECK(done == &cb[0]);
    want = COUNT;
    CHECK_EQ(waitn(list, COUNT, &want, NULL), 0);
    CHECK(want == COUNT - 1 && list[0] == &cb[1] && list[2] == &cb[3]);
    want = 1;
    CHECK_FAILS(waitn(list, COUNT, &want, NULL), EAGAIN);
    CHECK_EQ(aio_read(&early), 0);
    CHECK_EQ(waitcomplete(&done, NULL), 1);
    CHECK(done == &early);
}

/* A program that never calls them may unmap a control block without aio_return. */
CASE(39, nothing_is_kept_for_who_never_collects, SHIM_ONLY, 20)
{
    waitcomplete_call *waitcomplete = (waitcomplete_call *)extension("aio_waitcomplete");
    static char byte;
    int fd = temp_file(ON_DISK, 8, 1, 0);
    for (int i = 0; i < 2000; i++) {
        struct aiocb *cb = pages(4096);
        *cb = request(fd, &byte, 1, 0);
        CHECK_EQ(aio_read(cb), 0);
        CHECK_EQ(wait_done(cb), 0);
        munmap(cb, 4096);
    }
    struct aiocb *done;
    CHECK_FAILS(waitcomplete(&done, &at_once), EAGAIN);
}
