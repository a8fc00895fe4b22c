/*
 * One program, several contestants: every mode is the same loop whatever does the I/O behind it.
 *
 *   main.c         options, choice of mode
 *   files.c        files of numbered blocks: made, opened, warmed, checked
 *   load.c         what the next request is, and whether the last one was right; the measured window
 *   engine_*.c     the loop of a program on pread/pwrite, on POSIX AIO, on its own io_uring
 *   notify.c list.c waiters.c outstanding.c calls.c memory.c    the other questions
 *
 * The POSIX AIO loop knows nothing of the library: it is the same binary with and without LD_PRELOAD.
 * Each run prints one JSON object on stdout; a wrong byte, a short count or an error ends it with status 1.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { STAMP_EVERY = 4096 }; /* each 4 KiB of a file begins with its own number */

struct options {
    const char *mode, *engine, *file, *how;
    bool direct, write, verify, time_calls;
    unsigned files, depth, threads;
    size_t block;
    uint64_t bytes, count, seed;
    double seconds;
};

/* clock, histogram, CPU: measure.c */

struct histogram {
    uint64_t counts[64 * 64];
    uint64_t total, sum, max;
};

uint64_t now_ns(void);
uint64_t cpu_ns(void); /* user + system of the whole process, kernel workers of its rings included */
void histogram_add(struct histogram *h, uint64_t value);
void histogram_clear(struct histogram *h);
uint64_t histogram_at(const struct histogram *h, double share);
void histogram_print(const char *name, const struct histogram *h);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t random_next(uint64_t *state);
bool shim_is_loaded(void);

/* files.c */

struct stamp {
    uint64_t number; /* file index << 40 | offset / STAMP_EVERY */
    uint64_t nonce;  /* 0 as made, else who wrote it last */
};

void *buffer_new(size_t size);
int file_open(const struct options *o, unsigned index);
void files_prepare(const struct options *o);
void files_warm(const struct options *o);
uint64_t stamp_number(unsigned file, uint64_t offset);

/* load.c */

struct slot {
    uint64_t block; /* number over all files: file = block % files, offset = block / files * size */
    uint64_t nonce;
    uint64_t started;
    int fd;
    off_t offset;
    char *buffer;
};

struct load {
    const struct options *o;
    struct slot *slots;
    int *fds;
    uint64_t blocks, stride, random, sequence;
    uint64_t now, began, window_from, window_to; /* ns */
    bool running, measuring;
    uint64_t done, outstanding;
    /* the window */
    uint64_t done_from, done_to, cpu_from, cpu_to, from, to;
    struct histogram latency, calls;
    uint64_t *written; /* --verify: nonce last written into each block */
    uint64_t notified, lost;
};

struct load *load_new(const struct options *o);
void load_begin(struct load *l);
void load_next(struct load *l, unsigned index);          /* choose, stamp */
void load_clock(struct load *l);                         /* once a wake */
void load_done(struct load *l, unsigned index, ssize_t result); /* check, count */
void load_check_block(const struct load *l, const struct slot *s);
void load_finish(struct load *l);                        /* data of the last writes, then the JSON */

void engine_sync(struct load *l);
void engine_aio(struct load *l, int notify, int signo); /* sigev_notify, sigev_signo */
void engine_uring(struct load *l, bool batched);

int mode_notify(const struct options *o);
int mode_list(const struct options *o);
int mode_waiters(const struct options *o);
int mode_outstanding(const struct options *o);
int mode_calls(const struct options *o);
int mode_wake(const struct options *o);
int mode_memory(const struct options *o);

#endif
