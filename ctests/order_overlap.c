/* order_overlap.c - requests of one file that touch the same bytes, when one of them writes, act as if each was
 * finished before the next was called. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

/* write, read, write, read ... on one block, all queued at once: each read has what the write before it wrote. */
static void chain_on_one_block(enum place where, const int *fds, int descriptors)
{
    enum { LINKS = 400, BYTES = 4096 };
    static struct aiocb out[LINKS], in[LINKS];
    unsigned char *data = pages(LINKS * BYTES), *found = pages(LINKS * BYTES);
    pattern_fill(data, LINKS * BYTES, 0, 31);
    for (int i = 0; i < LINKS; i++) {
        out[i] = request(fds[i % descriptors], data + i * BYTES, BYTES, 8192);
        in[i] = request(fds[(i / 2) % descriptors], found + i * BYTES, BYTES, 8192);
        CHECK_EQ(aio_write(&out[i]), 0);
        CHECK_EQ(aio_read(&in[i]), 0);
    }
    for (int i = 0; i < LINKS; i++) {
        CHECK_DONE(&out[i], BYTES);
        CHECK_DONE(&in[i], BYTES);
        CHECK(memcmp(found + i * BYTES, data + i * BYTES, BYTES) == 0, "read %d is stale or ahead (place %d)", i, where);
    }
}

CASE(15, a_chain_on_one_block_is_in_call_order, GLIBC_OK, 30)
{
    int fd = temp_file(ON_DISK, 1 << 16, 1, 0);
    chain_on_one_block(ON_DISK, &fd, 1);
}
CASE(15, a_chain_on_one_block_of_tmpfs_is_in_call_order, GLIBC_OK, 30)
{
    int fd = temp_file(ON_TMPFS, 1 << 16, 1, 0);
    chain_on_one_block(ON_TMPFS, &fd, 1);
}
CASE(15, a_chain_on_one_direct_block_is_in_call_order, GLIBC_OK, 30)
{
    int fd = temp_file(DIRECT, 1 << 16, 1, 0);
    chain_on_one_block(DIRECT, &fd, 1);
}
CASE(15, a_chain_through_dup_is_in_call_order, GLIBC_RACY, 30)
{
    int fd = temp_file(ON_DISK, 1 << 16, 1, 0), fds[3] = {fd, dup(fd), dup(fd)};
    chain_on_one_block(ON_DISK, fds, 3);
}
CASE(15, a_chain_through_another_open_is_in_call_order, GLIBC_RACY, 30)
{
    int fd = temp_file(ON_DISK, 1 << 16, 1, 0), fds[2] = {fd, -1};
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fds[1] = open(path, O_RDWR | O_CLOEXEC);
    SETUP(fds[1] >= 0);
    chain_on_one_block(ON_DISK, fds, 2);
}

/* Random reads and writes on a few pages; the buffers must be what a program that waited for each would have. */
static void random_overlaps(enum place where, unsigned unit)
{
    enum { FILE_UNITS = 256, MOST_UNITS = 24, REQUESTS = 1500 };
    size_t bytes = (size_t)FILE_UNITS * unit, most = (size_t)MOST_UNITS * unit;
    int fd = temp_file(where, bytes, 17, 0);
    static struct aiocb cb[REQUESTS];
    static bool writes[REQUESTS];
    unsigned char *model = pages(bytes), *data = pages(most * REQUESTS), *wanted = pages(most * REQUESTS);
    uint64_t seed = chance_seed(), state = seed;
    pattern_fill(model, bytes, 0, 17);
    for (int i = 0; i < REQUESTS; i++) {
        size_t at = below(&state, FILE_UNITS - MOST_UNITS) * unit, size = (1 + below(&state, MOST_UNITS)) * unit;
        unsigned char *mine = data + most * (size_t)i;
        writes[i] = chance(&state) & 1;
        cb[i] = request(fd, mine, size, (off_t)at);
        if (writes[i]) {
            pattern_fill(mine, size, (size_t)i * 77, (unsigned)i);
            memcpy(model + at, mine, size);
            CHECK_EQ(aio_write(&cb[i]), 0);
        } else {
            memcpy(wanted + most * (size_t)i, model + at, size);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
    }
    for (int i = 0; i < REQUESTS; i++) {
        CHECK_DONE(&cb[i], cb[i].aio_nbytes);
        if (!writes[i])
            CHECK(memcmp(data + most * (size_t)i, wanted + most * (size_t)i, cb[i].aio_nbytes) == 0,
                  "seed %#llx: read %d of %zu at %lld", (unsigned long long)seed, i, cb[i].aio_nbytes, (long long)cb[i].aio_offset);
    }
    unsigned char *found = pages(bytes);
    CHECK_EQ(pread(fd, found, bytes, 0), bytes);
    CHECK(memcmp(found, model, bytes) == 0, "seed %#llx: the file is not what the writes leave", (unsigned long long)seed);
}
CASE(15, random_overlaps_match_a_model, GLIBC_OK, 30) { random_overlaps(ON_DISK, 37); }
CASE(15, random_overlaps_on_tmpfs_match_a_model, GLIBC_OK, 30) { random_overlaps(ON_TMPFS, 37); }
CASE(15, random_direct_overlaps_match_a_model, GLIBC_OK, 60) { random_overlaps(DIRECT, 512 * 8); }

/* A read just before the caller changes the file by write(2) may see either; but what write(2) did before the call
 * must be seen, whatever lane serves the read. */
CASE(15, what_was_written_before_the_call_is_read, GLIBC_OK, 30)
{
    enum { ROUNDS = 5000 };
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    for (int i = 0; i < ROUNDS; i++) {
        int found = -1;
        struct aiocb cb = request(fd, &found, sizeof found, 100);
        SETUP(pwrite(fd, &i, sizeof i, 100) == sizeof i);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, sizeof found);
        CHECK_EQ(found, i);
    }
}
/* And the other way: what a finished aio_write wrote is seen by read(2) and by a mapping. */
CASE(15, what_a_finished_write_wrote_is_seen, GLIBC_OK, 30)
{
    enum { ROUNDS = 3000 };
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    volatile int *mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    SETUP(mapped != MAP_FAILED);
    for (int i = 0; i < ROUNDS; i++) {
        int found = -1;
        struct aiocb cb = request(fd, &i, sizeof i, 64);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, sizeof i);
        CHECK_EQ(pread(fd, &found, sizeof found, 64), sizeof found);
        CHECK_EQ(found, i);
        CHECK_EQ(mapped[16], i);
    }
}

/* Elements of one list, too: a cached read that could be served in the calling thread waits for the write before it. */
CASE(15, a_read_behind_a_write_of_its_list_sees_it, GLIBC_OK, 20)
{
    enum { ROUNDS = 200, SIZE = 4096 };
    static unsigned char out[SIZE], in[SIZE];
    int fd = temp_file(ON_DISK, SIZE, 1, 0);
    struct aiocb first = request(fd, in, SIZE, 0);
    CHECK_EQ(aio_read(&first), 0); /* what the descriptor is, is known from here on */
    CHECK_DONE(&first, SIZE);
    for (int i = 0; i < ROUNDS; i++) {
        struct aiocb write = request(fd, out, SIZE, 0), read = request(fd, in, SIZE, 0), *list[] = {&write, &read};
        memset(out, i + 1, SIZE);
        write.aio_lio_opcode = LIO_WRITE;
        read.aio_lio_opcode = LIO_READ;
        CHECK_EQ(lio_listio(LIO_WAIT, list, 2, NULL), 0);
        CHECK_DONE(&write, SIZE);
        CHECK_DONE(&read, SIZE);
        CHECK(memcmp(in, out, SIZE) == 0, "round %d: the read has %d", i, in[0]);
    }
}
