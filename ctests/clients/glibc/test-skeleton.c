/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What glibc's own test programs include at their end (some in their middle) to get a main(). Written for
 * them from their use of it: PREPARE, TEST_FUNCTION, TIMEOUT, test_dir, add_temp_file, xmalloc. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *test_dir = ".";
static char *temporary[16];
static int temporaries;

static void add_temp_file(const char *name)
{
    if (temporaries < 16)
        temporary[temporaries++] = strdup(name);
}

static void *xmalloc(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        abort();
    return memory;
}

#ifndef TEST_FUNCTION
#define TEST_FUNCTION do_test(argc, argv)
#endif

int main(int argc, char *argv[])
{
    alarm(30);
    setvbuf(stdout, NULL, _IOLBF, 0);
#ifdef PREPARE
    PREPARE(argc, argv);
#endif
    int status = TEST_FUNCTION;
    while (temporaries > 0)
        unlink(temporary[--temporaries]);
    return status;
}
