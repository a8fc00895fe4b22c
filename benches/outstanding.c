/*
 * What one operation costs when very many are outstanding.
 *   file     `count` reads of a file at once from one thread, then each is waited for; rounds until OPERATIONS are done
 *   waiting  `count` reads wait on empty pipes; meanwhile reads of a file are timed; then the pipes are fed
 * A contestant that cannot submit all within the time limit says how far it came ("reached") and is not compared.
 */
#include "bench.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OPERATIONS = 100000, PIPES = 250, PER_FEED = 4, FILE_READS = 20000, FILE_DEPTH = 16 };

static struct aiocb *aiocbs_new(uint64_t count)
{
    struct aiocb *cbs = buffer_new(count * sizeof *cbs); /* all pages touched */
    memset(cbs, 0, count * sizeof *cbs);
    return cbs;
}

static void wait_for(const struct aiocb *cb, ssize_t want)
{
    const struct aiocb *list[1] = {cb};
    while (aio_error(cb) == EINPROGRESS)
        if (aio_suspend(list, 1, NULL) != 0 && errno != EINTR)
            die("aio_suspend: %s", strerror(errno));
    ssize_t n = aio_return((struct aiocb *)cb);
    if (aio_error(cb) != 0 || n != want)
        die("%zd of %zd bytes: %s", n, want, strerror(aio_error(cb)));
}

static void prepare(struct aiocb *cb, int fd, void *buffer, size_t size, off_t offset)
{
    cb->aio_fildes = fd;
    cb->aio_buf = buffer;
    cb->aio_nbytes = size;
    cb->aio_offset = offset;
    cb->aio_sigevent.sigev_notify = SIGEV_NONE;
}

static int of_a_file(const struct options *o)
{
    uint64_t blocks = o->bytes / o->files / o->block, random = o->seed * 31 + 1, submit_ns = 0, ops = 0;
    size_t buffers = 1000; /* reads share buffers: the memory touched is the same at every count */
    struct aiocb *cbs = aiocbs_new(o->count);
    char *buffer = buffer_new(buffers * o->block);
    int fd = file_open(o, 0);
    if (!o->direct)
        files_warm(o);
    prepare(&cbs[0], fd, buffer, o->block, 0);
    if (aio_read(&cbs[0]) != 0)
        die("aio_read: %s", strerror(errno));
    wait_for(&cbs[0], (ssize_t)o->block); /* threads and rings exist now */
    uint64_t from = now_ns(), cpu = cpu_ns(), limit = from + (uint64_t)(o->seconds * 1e9);
    do {
        uint64_t begin = now_ns();
        for (uint64_t i = 0; i < o->count; i++) {
            prepare(&cbs[i], fd, buffer + i % buffers * o->block, o->block,
                    (off_t)(random_next(&random) % blocks * o->block));
            if (aio_read(&cbs[i]) != 0)
                die("aio_read of number %llu: %s", (unsigned long long)i, strerror(errno));
            if (ops == 0 && i % 256 == 0 && now_ns() > limit) {
                printf("{\"reached\": %llu, \"count\": %llu, \"shim\": %s}\n", (unsigned long long)i,
                       (unsigned long long)o->count, shim_is_loaded() ? "true" : "false");
                fflush(stdout);
                _Exit(0);
            }
        }
        submit_ns += now_ns() - begin;
        for (uint64_t i = 0; i < o->count; i++)
            wait_for(&cbs[i], (ssize_t)o->block);
        ops += o->count;
    } while (ops < OPERATIONS && now_ns() < limit);
    uint64_t ns = now_ns() - from;
    cpu = cpu_ns() - cpu;
    printf("{\"count\": %llu, \"ops\": %llu, \"us_per_op\": %.4f, \"submit_us_per_op\": %.4f, \"cpu_us_per_op\": %.4f, "
           "\"shim\": %s}\n",
           (unsigned long long)o->count, (unsigned long long)ops, (double)ns / 1e3 / (double)ops,
           (double)submit_ns / 1e3 / (double)ops, (double)cpu / 1e3 / (double)ops, shim_is_loaded() ? "true" : "false");
    return 0;
}

static double file_reads(const struct options *o)
{
    uint64_t blocks = o->bytes / o->files / o->block, random = o->seed * 77 + 1;
    int fd = file_open(o, 0);
    char *buffer = buffer_new(FILE_DEPTH * o->block);
    struct aiocb cbs[FILE_DEPTH];
    memset(cbs, 0, sizeof cbs);
    /* A sync comes behind all that was submitted before: the cost of a read is measured, not how long it takes to work
     * that off. */
    prepare(&cbs[0], fd, NULL, 0, 0);
    if (aio_fsync(O_DSYNC, &cbs[0]) != 0)
        die("aio_fsync: %s", strerror(errno));
    wait_for(&cbs[0], 0);
    uint64_t from = now_ns();
    for (unsigned i = 0; i < FILE_READS + FILE_DEPTH; i++) {
        struct aiocb *cb = &cbs[i % FILE_DEPTH];
        if (i >= FILE_DEPTH)
            wait_for(cb, (ssize_t)o->block);
        prepare(cb, fd, buffer + i % FILE_DEPTH * o->block, o->block, (off_t)(random_next(&random) % blocks * o->block));
        if (i < FILE_READS && aio_read(cb) != 0)
            die("aio_read: %s", strerror(errno));
    }
    uint64_t ns = now_ns() - from;
    close(fd);
    free(buffer);
    return (double)ns / 1e3 / FILE_READS;
}

static int of_pipes(const struct options *o)
{
    static int pipes[PIPES][2];
    uint64_t rounds = o->count < OPERATIONS / 10 ? OPERATIONS / 10 / o->count : 1, submit_ns = 0, feed_ns = 0, cpu = 0;
    struct aiocb *cbs = aiocbs_new(o->count);
    uint64_t *data = buffer_new(o->count * sizeof *data), number = 0;
    for (unsigned p = 0; p < PIPES; p++)
        if (pipe2(pipes[p], O_CLOEXEC) != 0)
            die("pipe: %s", strerror(errno));
    if (!o->direct)
        files_warm(o);
    file_reads(o);
    double file_us = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t begin = now_ns(), used = cpu_ns();
        for (uint64_t i = 0; i < o->count; i++) {
            prepare(&cbs[i], pipes[i % PIPES][0], &data[i], sizeof data[i], 0);
            if (aio_read(&cbs[i]) != 0)
                die("aio_read of number %llu: %s", (unsigned long long)i, strerror(errno));
        }
        submit_ns += now_ns() - begin;
        cpu += cpu_ns() - used;
        if (round == 0)
            file_us = file_reads(o);
        begin = now_ns();
        used = cpu_ns();
        for (uint64_t i = 0; i < o->count; i += PIPES * PER_FEED) {
            uint64_t left = o->count - i;
            for (unsigned p = 0; p < PIPES && p < left; p++) {
                uint64_t words[PER_FEED];
                unsigned n = 0;
                for (; n < PER_FEED && p + (uint64_t)n * PIPES < left; n++)
                    words[n] = number + i + p + (uint64_t)n * PIPES;
                if (write(pipes[p][1], words, n * sizeof words[0]) != (ssize_t)(n * sizeof words[0]))
                    die("feeding a pipe: %s", strerror(errno));
            }
            uint64_t to = left < PIPES * PER_FEED ? o->count : i + PIPES * PER_FEED;
            for (uint64_t k = i; k < to; k++) {
                wait_for(&cbs[k], sizeof data[k]);
                if (data[k] != number + k)
                    die("read %llu of its pipe got the data of another", (unsigned long long)k);
            }
        }
        feed_ns += now_ns() - begin;
        cpu += cpu_ns() - used;
        number += o->count;
    }
    double ops = (double)(rounds * o->count);
    printf("{\"count\": %llu, \"us_per_op\": %.4f, \"submit_us_per_op\": %.4f, \"finish_us_per_op\": %.4f, "
           "\"cpu_us_per_op\": %.4f, \"file_us_per_op\": %.4f, \"shim\": %s}\n",
           (unsigned long long)o->count, (double)(submit_ns + feed_ns) / 1e3 / ops, (double)submit_ns / 1e3 / ops,
           (double)feed_ns / 1e3 / ops, (double)cpu / 1e3 / ops, file_us, shim_is_loaded() ? "true" : "false");
    return 0;
}

int mode_outstanding(const struct options *o)
{
    if (strcmp(o->how, "file") == 0)
        return of_a_file(o);
    if (strcmp(o->how, "waiting") == 0)
        return of_pipes(o);
    die("--how file or waiting");
}
