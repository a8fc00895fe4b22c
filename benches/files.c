/*
 * Files of numbered blocks. Every 4 KiB begins with its number, so that data of another place, or of no place, is
 * seen. PREFIX.N with N below --files; together they hold --bytes. All blocks are written: no holes, no unwritten extents.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

static void file_name(char *out, size_t size, const struct options *o, unsigned index)
{
    if ((size_t)snprintf(out, size, "%s.%u", o->file, index) >= size)
        die("file name too long: %s", o->file);
}

void *buffer_new(size_t size)
{
    void *p = NULL;
    int error = posix_memalign(&p, 4096, size);
    if (error != 0)
        die("%zu bytes of memory: %s", size, strerror(error));
    memset(p, 0x5a, size); /* touched now, not in the window */
    return p;
}

uint64_t stamp_number(unsigned file, uint64_t offset)
{
    return (uint64_t)file << 40 | offset / STAMP_EVERY;
}

int file_open(const struct options *o, unsigned index)
{
    char name[4096];
    file_name(name, sizeof name, o, index);
    int fd = open(name, O_RDWR | O_CLOEXEC | (o->direct ? O_DIRECT : 0));
    if (fd < 0)
        die("%s: %s (made by: bench prepare)", name, strerror(errno));
    return fd;
}

/* Is all of it in the page cache? */
static bool file_is_warm(int fd, uint64_t bytes)
{
    size_t pages = (size_t)(bytes / 4096);
    unsigned char *in_core = buffer_new(pages);
    void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
    bool warm = map != MAP_FAILED && mincore(map, (size_t)bytes, in_core) == 0;
    for (size_t i = 0; warm && i < pages; i++)
        warm = in_core[i] & 1;
    if (map != MAP_FAILED)
        munmap(map, (size_t)bytes);
    free(in_core);
    return warm;
}

static bool file_is_good(const char *name, unsigned index, uint64_t bytes, bool direct)
{
    struct stat st;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = fstat(fd, &st) == 0 && (uint64_t)st.st_size == bytes && (uint64_t)st.st_blocks * 512 >= bytes &&
                (direct || file_is_warm(fd, bytes));
    struct stamp s;
    for (unsigned i = 0; good && i < 16; i++) {
        uint64_t offset = bytes / 16 * i / STAMP_EVERY * STAMP_EVERY;
        good = pread(fd, &s, sizeof s, (off_t)offset) == (ssize_t)sizeof s && s.number == stamp_number(index, offset);
    }
    close(fd);
    return good;
}

void files_prepare(const struct options *o)
{
    uint64_t bytes = o->bytes / o->files, random = UINT64_C(0x9E3779B97F4A7C15);
    char *chunk = buffer_new(CHUNK);
    if (bytes % CHUNK != 0)
        die("a file must be a whole number of MiB");
    for (unsigned f = 0; f < o->files; f++) {
        char name[4096];
        file_name(name, sizeof name, o, f);
        if (file_is_good(name, f, bytes, o->direct))
            continue;
        unlink(name);
        int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            die("%s: %s", name, strerror(errno));
        int error = posix_fallocate(fd, 0, (off_t)bytes);
        if (error != 0)
            die("%s: %llu bytes: %s", name, (unsigned long long)bytes, strerror(error));
        for (uint64_t at = 0; at < bytes; at += CHUNK) {
            for (size_t i = 0; i < CHUNK; i += sizeof(uint64_t)) {
                uint64_t word = random_next(&random);
                memcpy(chunk + i, &word, sizeof word);
            }
            for (size_t i = 0; i < CHUNK; i += STAMP_EVERY) {
                struct stamp s = {stamp_number(f, at + i), 0};
                memcpy(chunk + i, &s, sizeof s);
            }
            /* in pieces as the measured writes have them: the page cache keeps them as they came */
            size_t piece = o->block < CHUNK ? o->block : CHUNK;
            for (size_t done = 0; done < CHUNK; done += piece)
                if (pwrite(fd, chunk + done, piece, (off_t)(at + done)) != (ssize_t)piece)
                    die("%s: write: %s", name, strerror(errno));
        }
        if (fsync(fd) != 0)
            die("%s: fsync: %s", name, strerror(errno));
        close(fd);
    }
    free(chunk);
}

void files_warm(const struct options *o)
{
    uint64_t bytes = o->bytes / o->files;
    char *chunk = buffer_new(CHUNK);
    for (unsigned f = 0; f < o->files; f++) {
        int fd = file_open(o, f);
        bool warm = file_is_warm(fd, bytes);
        size_t piece = CHUNK;
        if (o->write && o->block < CHUNK) {
            /* without reading ahead: see files_prepare */
            piece = o->block;
            posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
        }
        for (uint64_t at = 0; !warm && at < bytes; at += piece)
            if (pread(fd, chunk, piece, (off_t)at) != (ssize_t)piece)
                die("%s.%u: short read", o->file, f);
        close(fd);
    }
    free(chunk);
}
