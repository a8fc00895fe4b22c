/* Clock, CPU of the process, and a histogram with a constant relative error (1/64). */
#include "bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS };

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t cpu_ns(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return ((uint64_t)r.ru_utime.tv_sec + (uint64_t)r.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)r.ru_utime.tv_usec + (uint64_t)r.ru_stime.tv_usec) * 1000u;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    size_t index = (size_t)value;
    if (value >= SUB) {
        unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
        index = (shift + 1) * (size_t)SUB + (size_t)((value >> shift) - SUB);
    }
    h->counts[index]++;
    h->total++;
    h->sum += value;
    if (value > h->max)
        h->max = value;
}

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

uint64_t histogram_at(const struct histogram *h, double share)
{
    uint64_t want = (uint64_t)(share * (double)h->total), seen = 0;
    for (size_t i = 0; i < sizeof h->counts / sizeof h->counts[0]; i++) {
        seen += h->counts[i];
        if (seen > want) {
            if (i < SUB)
                return i;
            unsigned shift = (unsigned)(i / SUB) - 1;
            return ((uint64_t)(i % SUB + SUB) << shift) + ((UINT64_C(1) << shift) >> 1); /* the middle of its bucket */
        }
    }
    return h->max;
}

void histogram_print(const char *name, const struct histogram *h)
{
    if (h->total == 0)
        return;
    printf(", \"%s\": {\"mean\": %.1f, \"p50\": %llu, \"p90\": %llu, \"p99\": %llu, \"p999\": %llu, \"max\": %llu}", name,
           (double)h->sum / (double)h->total, (unsigned long long)histogram_at(h, 0.5),
           (unsigned long long)histogram_at(h, 0.9), (unsigned long long)histogram_at(h, 0.99),
           (unsigned long long)histogram_at(h, 0.999), (unsigned long long)h->max);
}

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(stderr);
    _Exit(1);
}

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

bool shim_is_loaded(void)
{
    return dlsym(RTLD_DEFAULT, "aio_shim_version") != NULL;
}
