/*
 * Start-up of a program that never uses AIO: PROGRAM is started ROUNDS times in turn with nothing, each of the LIBRARYs
 * preloaded. Prints one JSON object: for each, the median and quartiles of the time from posix_spawn to its end, in µs,
 * and of its CPU.
 *   usage: spawn ROUNDS PROGRAM LIBRARY...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { MOST = 8 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc - 3 + 1 > MOST) {
        fputs("usage: spawn ROUNDS PROGRAM LIBRARY...\n", stderr);
        return 2;
    }
    size_t rounds = strtoul(argv[1], NULL, 10), contestants = (size_t)argc - 3 + 1;
    double *wall[MOST], *cpu[MOST];
    for (size_t c = 0; c < contestants; c++) {
        wall[c] = calloc(rounds, sizeof(double));
        cpu[c] = calloc(rounds, sizeof(double));
        if (wall[c] == NULL || cpu[c] == NULL || rounds == 0)
            return 2;
    }
    for (size_t i = 0; i < rounds; i++) {
        for (size_t k = 0; k < contestants; k++) {
            size_t c = (k + i) % contestants; /* nobody always follows the same one */
            char preload[4096], *arguments[] = {argv[2], NULL}, *environment[] = {preload, NULL};
            pid_t pid;
            int status;
            struct rusage used;
            if (c == 0)
                environment[0] = NULL;
            else
                snprintf(preload, sizeof preload, "LD_PRELOAD=%s", argv[2 + c]);
            double from = now_us();
            int error = posix_spawn(&pid, argv[2], NULL, NULL, arguments, environment);
            if (error != 0) {
                fprintf(stderr, "spawn: %s: %s\n", argv[2], strerror(error));
                return 1;
            }
            if (wait4(pid, &status, 0, &used) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                fprintf(stderr, "spawn: %s failed with %s\n", argv[2], c == 0 ? "no library" : argv[2 + c]);
                return 1;
            }
            wall[c][i] = now_us() - from;
            cpu[c][i] = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                        (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
        }
    }
    printf("{");
    for (size_t c = 0; c < contestants; c++) {
        qsort(wall[c], rounds, sizeof(double), by_value);
        qsort(cpu[c], rounds, sizeof(double), by_value);
        printf("%s\"%zu\": {\"wall_us\": %.1f, \"wall_q1\": %.1f, \"wall_q3\": %.1f, \"cpu_us\": %.1f}", c == 0 ? "" : ", ", c,
               wall[c][rounds / 2], wall[c][rounds / 4], wall[c][rounds * 3 / 4], cpu[c][rounds / 2]);
    }
    puts("}");
    return 0;
}
