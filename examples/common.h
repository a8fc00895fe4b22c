/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What every example needs and what has nothing to do with AIO: a file whose
 * content is known at each offset, a check of that content, and a way out. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void check(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

/* The byte at `offset` of every example file. Period 251 (a prime), so that
 * data read from a wrong block never looks right. */
static inline unsigned char pattern(off_t offset)
{
    return (unsigned char)(offset % 251);
}

static inline void fill(void *buffer, size_t size, off_t offset)
{
    unsigned char *byte = buffer;
    for (size_t i = 0; i < size; i++)
        byte[i] = pattern(offset + (off_t)i);
}

static inline bool is_filled(const void *buffer, size_t size, off_t offset)
{
    const unsigned char *byte = buffer;
    for (size_t i = 0; i < size; i++)
        if (byte[i] != pattern(offset + (off_t)i))
            return false;
    return true;
}

/* An unlinked file: nothing stays behind, whatever way the program ends. */
static inline int empty_file(void)
{
    const char *directory = getenv("TMPDIR");
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/aio-example-XXXXXX", directory ? directory : "/tmp");
    check(length > 0 && (size_t)length < sizeof path, "TMPDIR");
    int fd = mkstemp(path);
    check(fd >= 0, path);
    check(unlink(path) == 0, "unlink");
    return fd;
}

static inline int filled_file(size_t size)
{
    int fd = empty_file();
    char *content = malloc(size);
    check(content != NULL, "malloc");
    fill(content, size, 0);
    check(pwrite(fd, content, size, 0) == (ssize_t)size, "pwrite");
    free(content);
    return fd;
}

#endif
