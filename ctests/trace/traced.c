// The programs that trace.sh looks at under strace. A marker is an access(2) to a path that does not exist.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "../harness.h"

enum { BLOCK = 4096, BLOCKS = 64 };
static int fd;
static char *memory;

static void mark(const char *name) { (void)!access(name, F_OK); }

static void *reads(void *argument)
{
    struct aiocb cbs[32];
    int half = argument != NULL;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 32; i++) {
            cbs[i] = request(fd, memory + (half * 32 + i) * BLOCK, BLOCK, i * BLOCK);
            SETUP(aio_read(&cbs[i]) == 0);
        }
        for (int i = 0; i < 32; i++) {
            const struct aiocb *list[] = {&cbs[i]};
            while (aio_error(&cbs[i]) == EINPROGRESS)
                aio_suspend(list, 1, NULL);
            SETUP(aio_return(&cbs[i]) == BLOCK);
        }
    }
    return NULL;
}

static void everything(void)
{
    char byte;
    int ends[2];
    SETUP(pipe(ends) == 0);
    struct aiocb get = request(ends[0], &byte, 1, 0), put = request(ends[1], &byte, 1, 0);
    reads(NULL);
    join_thread(start_thread(reads, &fd)); /* this thread ends */
    reads(NULL);
    SETUP(aio_read(&get) == 0 && aio_write(&put) == 0);
    CHECK_DONE(&get, 1);
    CHECK_DONE(&put, 1);
    struct aiocb sync = request(fd, NULL, 0, 0);
    SETUP(aio_fsync(O_SYNC, &sync) == 0);
    CHECK_DONE(&sync, 0);
}

CASE(43, rest, SHIM_ONLY, 60)
{
    fd = temp_file(DIRECT, BLOCKS * BLOCK, 1, 0);
    memory = pages(BLOCKS * BLOCK);
    everything();
    sleep_ms(1500);
    mark("/rest-begins");
    sleep_ms(1500);
    mark("/rest-ends");
    CHECK_EQ(library_threads(), 0);
    CHECK_EQ(threads(), 1);
    everything(); /* and again, with a new engine */
    mark("/end");
}

CASE(34, list, SHIM_ONLY, 60)
{
    struct aiocb cbs[BLOCKS], *list[BLOCKS];
    fd = temp_file(DIRECT, BLOCKS * BLOCK, 1, 0);
    memory = pages(BLOCKS * BLOCK);
    reads(NULL); /* the engine runs */
    for (int round = 0; round < 10; round++) {
        sleep_ms(20);
        for (int i = 0; i < BLOCKS; i++) {
            cbs[i] = request(fd, memory + i * BLOCK, BLOCK, i * BLOCK);
            cbs[i].aio_lio_opcode = LIO_READ;
            list[i] = &cbs[i];
        }
        mark("/list-begins");
        SETUP(lio_listio(LIO_WAIT, list, BLOCKS, NULL) == 0);
        mark("/list-ends");
        CHECK_EQ(pattern_wrong(memory, BLOCKS * BLOCK, 0, 1), -1);
    }
}

CASE(19, ask, SHIM_ONLY, 60)
{
    int ends[2];
    char byte;
    SETUP(pipe(ends) == 0);
    struct aiocb waiting = request(ends[0], &byte, 1, 0), done;
    memset(&done, 0, sizeof done);
    SETUP(aio_read(&waiting) == 0);
    const struct aiocb *list[] = {&waiting};
    mark("/asking-begins");
    for (int i = 0; i < 1000; i++)
        SETUP(aio_error(&waiting) == EINPROGRESS && aio_error(&done) == 0 && aio_return(&done) == 0);
    mark("/asking-ends");
    for (int i = 0; i < 3; i++)
        SETUP(aio_suspend(list, 1, &(struct timespec){0, 20000000}) == -1 && errno == EAGAIN);
    mark("/waiting-ends");
    SETUP(write(ends[1], "x", 1) == 1);
    CHECK_DONE(&waiting, 1);
}
