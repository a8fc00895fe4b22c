/*
 * Resident memory of this program: before its first AIO call, after 1 000 requests (all threads still there), and while
 * `count` reads wait on empty pipes. Its own aiocbs and buffers are touched from the start, so the difference between two
 * runs of the same form, with and without the library, is the library's.
 */
#include "bench.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIPES = 250 };

static unsigned long long resident_kib(const char *key)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    if (f == NULL)
        die("/proc/self/smaps_rollup: %s", strerror(errno));
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoull(line + strlen(key), NULL, 10);
    fclose(f);
    return kib;
}

static int threads_now(void)
{
    char line[256];
    int n = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return n;
}

static void begin(struct aiocb *cb, int fd, void *buffer, size_t size, off_t offset)
{
    cb->aio_fildes = fd;
    cb->aio_buf = buffer;
    cb->aio_nbytes = size;
    cb->aio_offset = offset;
    cb->aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_read(cb) != 0)
        die("aio_read: %s", strerror(errno));
}

int mode_memory(const struct options *o)
{
    static int pipes[PIPES][2];
    struct aiocb *cbs = buffer_new(o->count * sizeof *cbs);
    uint64_t *data = buffer_new(o->count * sizeof *data);
    char *buffer = buffer_new(o->block);
    int fd = file_open(o, 0);
    memset(cbs, 0, o->count * sizeof *cbs);
    for (unsigned p = 0; p < PIPES; p++)
        if (pipe2(pipes[p], O_CLOEXEC) != 0)
            die("pipe: %s", strerror(errno));
    resident_kib("Rss:"); /* stdio's own buffers exist from here on */
    threads_now();
    unsigned long long before = resident_kib("Rss:"), idle = before, loaded = before;
    int idle_threads = threads_now();
    if (strcmp(o->how, "none") != 0) {
        for (unsigned i = 0; i < 1000; i++) {
            const struct aiocb *list[1] = {&cbs[0]};
            begin(&cbs[0], fd, buffer, o->block, (off_t)(i % 1024 * o->block));
            while (aio_error(&cbs[0]) == EINPROGRESS)
                aio_suspend(list, 1, NULL);
            if (aio_return(&cbs[0]) != (ssize_t)o->block)
                die("a read: %s", strerror(aio_error(&cbs[0])));
        }
        idle = resident_kib("Rss:");
        idle_threads = threads_now();
    }
    if (strcmp(o->how, "outstanding") == 0) {
        for (uint64_t i = 0; i < o->count; i++)
            begin(&cbs[i], pipes[i % PIPES][0], &data[i], sizeof data[i], 0);
        usleep(300000); /* let it settle: the engine has taken them all */
        for (uint64_t i = 0; i < o->count; i++)
            if (aio_error(&cbs[i]) != EINPROGRESS)
                die("request %llu did not wait: %s", (unsigned long long)i, strerror(aio_error(&cbs[i])));
        loaded = resident_kib("Rss:");
    }
    printf("{\"before_kib\": %llu, \"idle_kib\": %llu, \"outstanding_kib\": %llu, \"idle_threads\": %d, \"shim\": %s}\n",
           before, idle, loaded, idle_threads, shim_is_loaded() ? "true" : "false");
    fflush(stdout);
    _Exit(0); /* the reads are still out */
}
