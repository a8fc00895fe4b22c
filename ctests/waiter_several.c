/* waiter_several.c - a program that waits for several requests at once: its thread may carry them all out, and that
 * must not show. SPDX-License-Identifier: MIT OR Apache-2.0
 */
// libs: -Wl,-z,dynamic-undefined-weak
#include "waiting.h"

/* A window of requests, as many programs have it: all places are filled, some of them waited for, and what is done is
 * taken, and submitted anew. */
enum { DEEPEST = 160 };
struct window {
    int fd, depth, listed, blocks;
    unsigned first_block;
    bool reads;
    struct aiocb cbs[DEEPEST];
    bool out[DEEPEST];
    uint32_t data[DEEPEST][BLOCK / 4];
    uint32_t sequence, last[BLOCKS]; /* what was written last to each block */
};

static void window_submit(struct window *w, int place)
{
    /* Blocks are met again while they are still being written: the last one must win. */
    unsigned block = w->sequence * 7 % (unsigned)w->blocks;
    uint32_t number = ++w->sequence;
    for (size_t i = 0; i < BLOCK / 4; i++)
        w->data[place][i] = number;
    w->last[block] = number;
    w->cbs[place] = request(w->fd, w->data[place], BLOCK, (off_t)(w->first_block + block) * BLOCK);
    CHECK_EQ(aio_write(&w->cbs[place]), 0);
    w->out[place] = true;
}

static int window_wait(struct window *w)
{
    const struct aiocb *list[DEEPEST];
    int count = 0;
    for (int i = 0; i < w->depth && count < w->listed; i++)
        if (w->out[i] && aio_error(&w->cbs[i]) == EINPROGRESS)
            list[count++] = &w->cbs[i];
    return count == 0 ? 0 : aio_suspend(list, count, NULL);
}

static int window_take(struct window *w)
{
    int taken = 0;
    for (int i = 0; i < w->depth; i++)
        if (w->out[i] && aio_error(&w->cbs[i]) != EINPROGRESS) {
            CHECK_EQ(aio_error(&w->cbs[i]), 0);
            CHECK_EQ(aio_return(&w->cbs[i]), BLOCK);
            w->out[i] = false;
            taken++;
        }
    return taken;
}

static int window_out(const struct window *w)
{
    int out = 0;
    for (int i = 0; i < w->depth; i++)
        out += w->out[i];
    return out;
}

static void window_rounds(struct window *w, int rounds)
{
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < w->depth; i++)
            if (!w->out[i])
                window_submit(w, i);
        CHECK_EQ(window_wait(w), 0);
        window_take(w);
    }
}

/* Takes what is still out, and looks at the file. */
static void window_end(struct window *w)
{
    while (window_out(w) > 0) {
        CHECK_EQ(window_wait(w), 0);
        window_take(w);
    }
    static _Thread_local uint32_t back[BLOCK / 4];
    for (int block = 0; block < w->blocks; block++) {
        if (w->last[block] == 0)
            continue;
        CHECK_EQ(pread(w->fd, back, BLOCK, (off_t)(w->first_block + (unsigned)block) * BLOCK), BLOCK);
        CHECK(back[0] == w->last[block] && back[BLOCK / 4 - 1] == w->last[block], "block %d: %u and %u, not %u", block,
              back[0], back[BLOCK / 4 - 1], w->last[block]);
    }
    munmap(w, sizeof *w);
}

/* `listed` of `depth` are waited for at a time. */
static struct window *window_new(int fd, int depth, int listed)
{
    struct window *w = pages(sizeof *w);
    w->fd = fd;
    w->depth = depth;
    w->listed = listed;
    w->blocks = 61;
    return w;
}

/* ---- it is done ---------------------------------------------------------------------------------------- */

/* Several small ones, all of which are waited for: in call order where they overlap. */
CASE(15, several_at_once_keep_their_order, GLIBC_OK, 60)
{
    enum { DEPTH = 8 };
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    static unsigned char data[DEPTH][BLOCK], read_back[BLOCK + DEPTH * 64];
    for (int round = 0; round < 2000; round++) {
        struct aiocb cbs[DEPTH];
        const struct aiocb *list[DEPTH];
        for (int i = 0; i < DEPTH; i++) {
            memset(data[i], round * DEPTH + i, BLOCK);
            cbs[i] = request(fd, data[i], BLOCK, i * 64); /* over the one before, but for 64 bytes */
            list[i] = &cbs[i];
            CHECK_EQ(aio_write(&cbs[i]), 0);
        }
        for (int left = DEPTH; left > 0;) {
            CHECK_EQ(aio_suspend(list, DEPTH, NULL), 0);
            for (int i = 0; i < DEPTH; i++)
                if (list[i] && aio_error(list[i]) != EINPROGRESS) {
                    CHECK_DONE(&cbs[i], BLOCK);
                    list[i] = NULL;
                    left--;
                }
        }
        CHECK_EQ(pread(fd, read_back, sizeof read_back, 0), (ssize_t)sizeof read_back);
        for (int i = 0; i < DEPTH; i++)
            CHECK_EQ(read_back[i * 64], (unsigned char)(round * DEPTH + i));
        CHECK_EQ(read_back[DEPTH * 64 + BLOCK - 65], (unsigned char)(round * DEPTH + DEPTH - 1));
    }
}

CASE(14, appends_that_are_waited_for_land_in_call_order, GLIBC_OK, 60)
{
    enum { DEPTH = 6, ROUNDS = 1500 };
    int fd = temp_file(ON_DISK, 0, 0, O_APPEND);
    static uint32_t numbers[ROUNDS * DEPTH], found[ROUNDS * DEPTH];
    for (int round = 0; round < ROUNDS; round++) {
        struct aiocb cbs[DEPTH];
        const struct aiocb *list[DEPTH];
        int depth = round % DEPTH + 1;
        for (int i = 0; i < DEPTH; i++) {
            uint32_t *number = &numbers[round * DEPTH + i];
            *number = (uint32_t)(round * DEPTH + i);
            cbs[i] = request(fd, number, sizeof *number, 0);
            list[i] = &cbs[i];
            if (i < depth)
                CHECK_EQ(aio_write(&cbs[i]), 0);
        }
        CHECK_EQ(aio_suspend(list, depth, NULL), 0);
        for (int i = depth; i < DEPTH; i++)
            CHECK_EQ(aio_write(&cbs[i]), 0);
        for (int i = 0; i < DEPTH; i++)
            wait_for(&cbs[i]);
    }
    CHECK_EQ(pread(fd, found, sizeof found, 0), (ssize_t)sizeof found);
    for (int i = 0; i < ROUNDS * DEPTH; i++)
        CHECK_EQ(found[i], i);
}

/* As fio waits: for the first eight of those that are out. */
CASE(21, waited_for_by_the_first_few, GLIBC_OK, 60)
{
    struct window *w = window_new(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), 32, 8);
    window_rounds(w, 1500);
    window_end(w);
}
CASE(15, as_many_as_a_waiter_carries_out_and_more, GLIBC_OK, 60)
{
    for (int depth = 120; depth <= DEEPEST; depth += 8) {
        struct window *w = window_new(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), depth, depth);
        window_rounds(w, 60);
        window_end(w);
    }
}
/* Deep, and single, and deep again. */
CASE(15, a_depth_that_changes, GLIBC_OK, 60)
{
    struct window *w = window_new(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), 1, DEEPEST);
    for (int i = 0; i < 60; i++) {
        w->depth = (int[]){1, 32, 2, 64, 7}[i % 5];
        window_rounds(w, 100);
        int most = w->depth;
        for (w->depth = DEEPEST; window_out(w) > 0;) {
            CHECK_EQ(window_wait(w), 0);
            window_take(w);
        }
        w->depth = most;
    }
    w->depth = DEEPEST;
    window_end(w);
}

/* The point of it: neither thread nor wake. */
static void most_in_caller(int depth, int listed)
{
    struct window *w = window_new(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), depth, listed);
    window_rounds(w, 600);
    uint64_t before = in_caller();
    uint32_t sequence = w->sequence;
    window_rounds(w, 600);
    uint64_t share = (in_caller() - before) * 100 / (w->sequence - sequence);
    window_end(w);
    CHECK(share > 50, "%d %% of them", (int)share);
}
CASE(45, most_of_a_window_are_carried_out_by_who_waits, SHIM_ONLY | AS_BUILT | ALONE, 60) { most_in_caller(32, 32); }
CASE(45, most_are_carried_out_by_who_waits_for_some, SHIM_ONLY | AS_BUILT | ALONE, 60) { most_in_caller(32, 8); }

/* ---- the program does something else, all of a sudden ---------------------------------------------------- */

CASE(4, several_not_waited_for_after_all, GLIBC_OK, 60)
{
    struct window *w = window_new(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), 32, 32);
    for (int round = 0; round < 20; round++) {
        window_rounds(w, 200);
        for (int i = 0; i < w->depth; i++)
            if (!w->out[i])
                window_submit(w, i);
        for (int i = 0; i < w->depth; i++)
            CHECK_EQ(wait_done(&w->cbs[i]), 0); /* asks, and sleeps, and asks */
        window_take(w);
    }
    window_end(w);
}

/* One that only the engine can carry out comes in between, and nobody waits for it but by asking. */
CASE(4, one_for_the_engine_in_between, GLIBC_OK, 60)
{
    struct window *w = window_new(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), 32, 8);
    int ends[2];
    SETUP(pipe2(ends, O_CLOEXEC) == 0);
    for (int round = 0; round < 200; round++) {
        char byte = 0;
        window_rounds(w, 20);
        struct aiocb read_ = request(ends[0], &byte, 1, 0);
        CHECK_EQ(aio_read(&read_), 0);
        window_rounds(w, round % 3);
        SETUP(write(ends[1], "x", 1) == 1);
        CHECK_DONE(&read_, 1);
        CHECK_EQ(byte, 'x');
    }
    window_end(w);
}

/* ---- beside others ------------------------------------------------------------------------------------- */

static void *a_window(void *argument)
{
    struct window *w = argument;
    for (int i = 0; i < 40; i++) {
        window_rounds(w, 30);
        if (i % 7 == 0)
            sleep_ms(1);
    }
    window_end(w);
    return NULL;
}

/* Each has a part of the file. */
CASE(15, threads_that_each_wait_for_a_window, GLIBC_OK, 60)
{
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    pthread_t workers[4];
    for (int i = 0; i < 4; i++) {
        struct window *w = window_new(fd, 8 + 8 * i, i % 2 ? 4 : 32);
        w->first_block = (unsigned)i * 64;
        workers[i] = start_thread(a_window, w);
    }
    for (int i = 0; i < 4; i++)
        join_thread(workers[i]);
}
