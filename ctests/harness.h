/* harness.h - what every C test shares. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A test file is a plain C program: it includes this header first, declares cases and has no main().
 *
 *     CASE(21, null_entries_are_ignored, GLIBC_OK, 10) { ... CHECK(n == 3, "n=%d", n); }
 *
 * 21 is the line of the conformance list that the case proves; 10 is its time limit in seconds (the runner
 * ends it then: a hang is a failure). Each case runs in a process of its own: `PROGRAM CASE` runs one,
 * `PROGRAM` all of them by re-executing itself, `PROGRAM --list` says what there is. ctests/run does that for
 * every file and backend.
 *
 * Exit status: 0 passed, 1 failed, 77 skipped, 99 the test could not be set up (never an expected failure).
 *
 * A source file may open with lines such as
 *     // cflags: -D_FILE_OFFSET_BITS=64
 *     // libs: -lm
 */
#ifndef CTESTS_HARNESS_H
#define CTESTS_HARNESS_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <aio.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* ---- cases -------------------------------------------------------------------------------------------- */

enum case_flags {
    GLIBC_OK = 1,       /* must pass without the library too */
    GLIBC_DEFECT = 2,   /* glibc is known to fail, hang or crash here; that it does proves that the case can fail */
    GLIBC_RACY = 4,     /* glibc may do either */
    SHIM_ONLY = 8,      /* has no meaning without the library */
    NEEDS_RING = 16,    /* ring and plain only (and glibc, unless SHIM_ONLY) */
    NEEDS_WORKERS = 32, /* workers only (and glibc, unless SHIM_ONLY) */
    NEEDS_ROOT = 64,    /* skipped, and counted as skipped, for other users */
    ALONE = 128,        /* compares times or touches limits of the system: nothing runs beside it */
    NO_VALGRIND = 256,  /* too big, or it plays with stacks and limits that valgrind needs itself */
    AS_BUILT = 512,     /* about speed, bounds or moments that a perturbed library has not (src/perturb.rs) */
};

struct test_case {
    int line;
    const char *name;
    unsigned flags;
    int seconds;
    void (*run)(void);
    struct test_case *next;
};

static struct test_case *first_case, **last_case = &first_case;

#define CASE(line_, name_, flags_, seconds_)                                                        \
    static void case_##name_(void);                                                                 \
    static struct test_case entry_##name_ = {line_, #name_, flags_, seconds_, case_##name_, NULL};  \
    __attribute__((constructor)) static void register_##name_(void)                                 \
    {                                                                                               \
        *last_case = &entry_##name_;                                                                \
        last_case = &entry_##name_.next;                                                            \
    }                                                                                               \
    static void case_##name_(void)

/* Ends the case with a message. write(2) and vsnprintf only, so that it may be used in a handler. */
UNUSED static _Noreturn void end_case(int status, const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static _Noreturn void end_case(int status, const char *file, int line, const char *what, const char *format, ...)
{
    char text[1024];
    int saved = errno, used = snprintf(text, sizeof text, "%s:%d: %s", file, line, what);
    va_list arguments;
    va_start(arguments, format);
    if (used > 0 && (size_t)used < sizeof text)
        used += vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
    va_end(arguments);
    if (used > 0 && (size_t)used < sizeof text)
        used += snprintf(text + used, sizeof text - (size_t)used, " [errno %d]\n", saved);
    if ((size_t)used > sizeof text)
        used = sizeof text;
    if (write(2, text, (size_t)used) < 0) { /* nowhere left to say it; the status tells */ }
    _exit(status);
}

/* CHECK(condition) or CHECK(condition, "format", values...): false ends the case as failed. */
#define CHECK(condition, ...) \
    do { if (!(condition)) end_case(1, __FILE__, __LINE__, "not true: " #condition, " " __VA_ARGS__); } while (0)
#define CHECK_EQ(left, right)                                                                                  \
    do {                                                                                                       \
        long long left_ = (long long)(left), right_ = (long long)(right);                                      \
        if (left_ != right_)                                                                                   \
            end_case(1, __FILE__, __LINE__, #left " == " #right, ": %lld, expected %lld", left_, right_);       \
    } while (0)
/* The call returns -1 with this errno. */
#define CHECK_FAILS(call, error)                                                                               \
    do {                                                                                                       \
        errno = 0;                                                                                             \
        long long got_ = (long long)(call);                                                                    \
        if (got_ != -1 || errno != (error))                                                                    \
            end_case(1, __FILE__, __LINE__, #call, " gives %lld, expected -1 with errno %d", got_, (error));    \
    } while (0)
/* What the test itself needs: false is a broken test, not a failed one. */
#define SETUP(condition, ...) \
    do { if (!(condition)) end_case(99, __FILE__, __LINE__, "cannot set up: " #condition, " " __VA_ARGS__); } while (0)
/* A precondition that this machine does not have: said, and counted. */
#define SKIP(...) end_case(77, __FILE__, __LINE__, "skipped:", " " __VA_ARGS__)

/* ---- what runs ---------------------------------------------------------------------------------------- */

UNUSED static const char *backend(void)
{
    const char *name = getenv("AIO_TEST_BACKEND");
    return name ? name : "glibc";
}
UNUSED static bool on_glibc(void) { return strcmp(backend(), "glibc") == 0; }
UNUSED static bool on_workers(void) { return strcmp(backend(), "workers") == 0; }
UNUSED static bool on_ring(void) { return strcmp(backend(), "ring") == 0 || strcmp(backend(), "plain") == 0; }
UNUSED static bool on_valgrind(void) { return getenv("AIO_TEST_VALGRIND") != NULL; }

/* Looked up, so that a test of an extension still links and runs on glibc (where it is NULL). */
UNUSED static void *extension(const char *symbol) { return dlsym(RTLD_DEFAULT, symbol); }

static const char *program_path; /* argv[0]; not /proc/self/exe, which is valgrind's when it runs under that */

/* Restarts this case with NAME=VALUE set (for what the library reads when it starts). */
UNUSED static void with_environment(const char *name, const char *value)
{
    const char *now = getenv(name);
    if (now && strcmp(now, value) == 0)
        return;
    SETUP(setenv(name, value, 1) == 0);
    char *arguments[] = {(char *)program_path, getenv("AIO_TEST_CASE"), NULL};
    execv(program_path, arguments);
    SETUP(false, "execv failed");
}

/* Restarts this case with ctests/fault/NAME.c, built as a shared object, loaded before the library. */
UNUSED static void with_fault(const char *name)
{
    char path[4096], preload[8192];
    const char *directory = getenv("AIO_TEST_OUT"), *now = getenv("LD_PRELOAD");
    SETUP(directory != NULL, "AIO_TEST_OUT is not set: use ctests/run");
    snprintf(path, sizeof path, "%s/fault/%s.so", directory, name);
    if (now && strstr(now, path))
        return;
    SETUP(access(path, R_OK) == 0, "%s", path);
    snprintf(preload, sizeof preload, "%s%s%s", path, now && *now ? ":" : "", now ? now : "");
    with_environment("LD_PRELOAD", preload);
}

/* ---- time --------------------------------------------------------------------------------------------- */

UNUSED static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

UNUSED static void sleep_ms(long milliseconds)
{
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&rest, &rest) == -1 && errno == EINTR) { }
}

/* How long something that must happen is waited for. Short where it is known that it will not happen. */
UNUSED static int64_t patience_ns(void)
{
    const char *milliseconds = getenv("AIO_TEST_PATIENCE");
    return (milliseconds ? atoll(milliseconds) : 10000) * 1000000;
}

/* Polls until the condition holds; fails when patience is over. */
#define WAIT_FOR(condition, ...)                                                                               \
    do {                                                                                                       \
        int64_t until_ = now_ns() + patience_ns();                                                             \
        while (!(condition)) {                                                                                 \
            if (now_ns() > until_)                                                                             \
                end_case(1, __FILE__, __LINE__, "never came: " #condition, " " __VA_ARGS__);                   \
            sleep_ms(1);                                                                                       \
        }                                                                                                      \
    } while (0)

/* Waits (by asking, so that it does not depend on aio_suspend) until the request is done; returns its error. */
#define wait_done(cb) wait_done_at((cb), __FILE__, __LINE__)
UNUSED static int wait_done_at(const struct aiocb *cb, const char *file, int line)
{
    int64_t started = now_ns();
    for (int round = 0;; round++) {
        int error = aio_error(cb);
        if (error != EINPROGRESS)
            return error;
        int64_t waited = now_ns() - started;
        if (waited > patience_ns())
            end_case(1, file, line, "request never ends", ": fd %d, %zu bytes at %lld", cb->aio_fildes,
                     cb->aio_nbytes, (long long)cb->aio_offset);
        if (waited > 200000)
            sleep_ms(waited > 20000000 ? 1 : 0);
    }
}
/* Waits until done; the request must have succeeded with this many bytes. */
#define CHECK_DONE(cb, bytes)                                                                                  \
    do {                                                                                                       \
        struct aiocb *done_ = (cb);                                                                            \
        int error_ = wait_done(done_);                                                                         \
        ssize_t got_ = aio_return(done_);                                                                      \
        if (error_ != 0 || got_ != (ssize_t)(bytes))                                                           \
            end_case(1, __FILE__, __LINE__, #cb, ": error %d (%s), %zd bytes, expected %zd", error_,           \
                     strerror(error_), got_, (ssize_t)(bytes));                                                \
    } while (0)
/* Waits until done; the request must have failed with this error, and return -1. */
#define CHECK_ENDS(cb, error)                                                                                  \
    do {                                                                                                       \
        struct aiocb *done_ = (cb);                                                                            \
        int error_ = wait_done(done_);                                                                         \
        ssize_t got_ = aio_return(done_);                                                                      \
        if (error_ != (error) || got_ != -1)                                                                   \
            end_case(1, __FILE__, __LINE__, #cb, ": error %d (%s), returns %zd, expected error %d and -1",     \
                     error_, strerror(error_), got_, (error));                                                 \
    } while (0)

/* ---- requests and data -------------------------------------------------------------------------------- */

/* A request without notification. */
UNUSED static struct aiocb request(int fd, void *buffer, size_t bytes, off_t offset)
{
    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = buffer;
    cb.aio_nbytes = bytes;
    cb.aio_offset = offset;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

/* A byte that depends on its place and a seed, so that data at a wrong place shows. */
UNUSED static unsigned char pattern_byte(size_t place, unsigned seed)
{
    uint64_t mixed = (place + 1) * 0x9e3779b97f4a7c15u + seed * 0xc2b2ae3d27d4eb4fu;
    return (unsigned char)(mixed >> 29);
}
/* Fills the buffer with what belongs at place `offset` on. */
UNUSED static void pattern_fill(void *buffer, size_t bytes, size_t offset, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)buffer)[i] = pattern_byte(offset + i, seed);
}
/* -1 when all is right, else the first wrong index. */
UNUSED static ssize_t pattern_wrong(const void *buffer, size_t bytes, size_t offset, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        if (((const unsigned char *)buffer)[i] != pattern_byte(offset + i, seed))
            return (ssize_t)i;
    return -1;
}

UNUSED static void *pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    SETUP(memory != MAP_FAILED, "mmap of %zu", bytes);
    return memory;
}

/* ---- files, descriptors, threads ---------------------------------------------------------------------- */

enum place { ON_DISK, ON_TMPFS, DIRECT };

UNUSED static const char *place_path(enum place where)
{
    const char *directory = getenv("AIO_TEST_DIR");
    return where == ON_TMPFS ? "/dev/shm" : directory ? directory : "/var/tmp";
}

/* A fresh file that has no name any more, `bytes` long, filled with pattern(seed) when seed is not 0.
 * `flags` are open(2)'s beyond O_RDWR, such as O_APPEND. DIRECT adds O_DIRECT: use aligned memory and sizes. */
UNUSED static int temp_file(enum place where, size_t bytes, unsigned seed, int flags)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/ctest-XXXXXX", place_path(where));
    int fd = mkostemp(path, O_CLOEXEC);
    SETUP(fd >= 0, "%s", path);
    if (seed != 0) {
        enum { PIECE = 1 << 16 };
        static unsigned char piece[PIECE];
        for (size_t at = 0; at < bytes; at += PIECE) {
            size_t part = bytes - at < PIECE ? bytes - at : PIECE;
            pattern_fill(piece, part, at, seed);
            SETUP(pwrite(fd, piece, part, (off_t)at) == (ssize_t)part, "filling %s", path);
        }
    } else {
        SETUP(ftruncate(fd, (off_t)bytes) == 0, "%s", path);
    }
    if (where == DIRECT)
        flags |= O_DIRECT;
    if (flags != 0) {
        int again = open(path, O_RDWR | O_CLOEXEC | flags);
        if (again < 0 && where == DIRECT && errno == EINVAL) {
            unlink(path);
            SKIP("no O_DIRECT in %s", place_path(where));
        }
        SETUP(again >= 0, "%s with flags %#x", path, flags);
        close(fd);
        fd = again;
    }
    SETUP(unlink(path) == 0, "%s", path);
    return fd;
}

/* Entries of a directory under /proc/self, the two dots and the descriptor that reads it not counted. */
UNUSED static int count_entries(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;
    SETUP(directory != NULL, "%s", path);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory))
            count++;
    closedir(directory);
    return count;
}
UNUSED static int open_descriptors(void) { return count_entries("/proc/self/fd"); }
UNUSED static int threads(void) { return count_entries("/proc/self/task"); }

/* Threads of this process whose name starts so. The library's own start with "aio-shim". */
UNUSED static int threads_named(const char *prefix)
{
    DIR *directory = opendir("/proc/self/task");
    int count = 0;
    SETUP(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (read(fd, name, sizeof name - 1) > 0 && strncmp(name, prefix, strlen(prefix)) == 0)
            count++;
        close(fd);
    }
    closedir(directory);
    return count;
}
UNUSED static int library_threads(void) { return threads_named("aio-shim"); }

/* Reads exactly so many bytes, or fails the case. */
UNUSED static void read_all(int fd, void *buffer, size_t bytes)
{
    for (size_t have = 0; have < bytes;) {
        ssize_t got = read(fd, (char *)buffer + have, bytes - have);
        CHECK(got > 0, "read of %zu bytes stopped at %zu with %zd", bytes, have, got);
        have += (size_t)got;
    }
}

UNUSED static pthread_t start_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, argument);
    SETUP(error == 0, "pthread_create: %d", error);
    return thread;
}
UNUSED static void *join_thread(pthread_t thread)
{
    void *result = NULL;
    SETUP(pthread_join(thread, &result) == 0);
    return result;
}

/* The child ended by itself with status 0. */
#define CHECK_CHILD(pid)                                                                                       \
    do {                                                                                                       \
        int status_ = 0;                                                                                       \
        pid_t ended_ = waitpid((pid), &status_, 0);                                                            \
        if (ended_ < 0 || !WIFEXITED(status_) || WEXITSTATUS(status_) != 0)                                    \
            end_case(1, __FILE__, __LINE__, "child", " %d: waitpid %d, status %#x", (int)(pid), (int)ended_, status_); \
    } while (0)

/* ---- main --------------------------------------------------------------------------------------------- */

static int run_case(const struct test_case *test)
{
    /* A lost preload would turn every case into a test of glibc. */
    bool loaded = extension("aio_shim_version") != NULL;
    SETUP(loaded == !on_glibc(), "backend %s, but the library is %s", backend(), loaded ? "loaded" : "not loaded");
    if ((test->flags & NEEDS_ROOT) && geteuid() != 0)
        SKIP("needs root");
    setenv("AIO_TEST_CASE", test->name, 1);
    test->run();
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (const struct test_case *test = first_case; test; test = test->next)
            printf("%d %s %u %d\n", test->line, test->name, test->flags, test->seconds);
        return 0;
    }
    int failed = 0;
    program_path = argv[0];
    for (const struct test_case *test = first_case; test; test = test->next) {
        if (argc > 1) {
            if (strcmp(argv[1], test->name) == 0)
                return run_case(test);
            continue;
        }
        pid_t child = fork();
        if (child == 0) {
            alarm((unsigned)test->seconds);
            execl(program_path, program_path, test->name, (char *)NULL);
            _exit(99);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFEXITED(status))
            printf("%s %s\n", WEXITSTATUS(status) == 0 ? "ok  " : WEXITSTATUS(status) == 77 ? "skip" : "FAIL", test->name);
        else
            printf("FAIL %s: signal %d\n", test->name, WTERMSIG(status));
        failed += !WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 77);
        fflush(stdout);
    }
    if (argc > 1) {
        fprintf(stderr, "%s: no case named %s\n", argv[0], argv[1]);
        return 99;
    }
    return failed != 0;
}
#endif
