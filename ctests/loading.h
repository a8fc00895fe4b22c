/* loading.h - the ways the library comes into a process besides the preload that every case has: with another preloaded
 * library around it, and by dlopen. SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef LOADING_H
#define LOADING_H

#include "exercise.h"

/* ctests/fault/around.c counts the calls that end a descriptor, and forwards them. */
typedef int count_calls(void);

/* The LD_PRELOAD that has it in front of the library, or behind it (without the library, on glibc). */
static void list_around(bool in_front, char *list, size_t bytes)
{
    const char *directory = getenv("AIO_TEST_OUT"), *library = getenv("AIO_TEST_LIB");
    char around[4096];
    SETUP(directory && library, "use ctests/run");
    snprintf(around, sizeof around, "%s/fault/around.so", directory);
    SETUP(access(around, R_OK) == 0, "%s", around);
    if (on_glibc())
        snprintf(list, bytes, "%s", around);
    else
        snprintf(list, bytes, "%s:%s", in_front ? around : library, in_front ? library : around);
}

/* Restarts this case so; returns its count. */
UNUSED static count_calls *with_around(bool in_front)
{
    char list[9000];
    list_around(in_front, list, sizeof list);
    with_environment("LD_PRELOAD", list);
    count_calls *calls = (count_calls *)extension("around_calls");
    SETUP(calls != NULL);
    return calls;
}

/* Runs another case of this file in a process without the preload, which opens what `path_to_open` says. */
UNUSED static void run_by_dlopen(const char *inner_case)
{
    SETUP(getenv("AIO_TEST_LIB") != NULL, "use ctests/run");
    pid_t child = fork();
    if (child == 0) {
        setenv("AIO_TEST_BACKEND", "glibc", 1);
        setenv("AIO_TEST_INNER", "1", 1);
        unsetenv("LD_PRELOAD");
        execl(program_path, "case", inner_case, (char *)NULL);
        _exit(99);
    }
    CHECK_EQ(wait_child(child, inner_case), 0);
}

/* NULL in a process that `run_by_dlopen` did not start: there such a case has nothing to show. */
UNUSED static const char *path_to_open(void)
{
    return getenv("AIO_TEST_INNER") ? getenv("AIO_TEST_LIB") : NULL;
}

#endif
