/* process_load.c - how the library comes in: dlopen and dlclose, other preloaded libraries around it, the first call in
 * a handler. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "loading.h"
#include <sys/time.h>

/* ---- dlopen ------------------------------------------------------------------------------------------------------ */

/* In a process without the preload: the library is opened, used by its symbols, closed while it works, and opened again. */
static void used_by_dlopen(const char *path)
{
    for (int round = 0; round < 5; round++) {
        void *library = dlopen(path, RTLD_NOW | (round % 2 ? RTLD_GLOBAL : RTLD_LOCAL));
        CHECK(library != NULL, "%s", dlerror());
        int (*submit)(struct aiocb *) = (int (*)(struct aiocb *))dlsym(library, "aio_read");
        int (*status)(const struct aiocb *) = (int (*)(const struct aiocb *))dlsym(library, "aio_error");
        ssize_t (*result)(struct aiocb *) = (ssize_t (*)(struct aiocb *))dlsym(library, "aio_return");
        CHECK(submit && status && result && submit != aio_read);
        struct ends ends = open_stream(PIPE);
        static char byte;
        static struct aiocb cb;
        cb = request(ends.reader, &byte, 1, 0);
        CHECK_EQ(submit(&cb), 0);
        CHECK_EQ(dlclose(library), 0); /* its threads run in it */
        settle();
        CHECK_EQ(status(&cb), EINPROGRESS);
        write_all(ends.writer, "d", 1);
        WAIT_FOR(status(&cb) != EINPROGRESS);
        CHECK_EQ(status(&cb), 0);
        CHECK_EQ(result(&cb), 1);
        CHECK_EQ(byte, 'd');
        close(ends.reader);
        close(ends.writer);
    }
}
CASE(44, dlopen_and_dlclose, SHIM_ONLY | NO_VALGRIND, 30) { run_by_dlopen("dlopen_inside"); }
CASE(44, dlopen_inside, GLIBC_OK, 30) /* its other half; by itself it shows nothing */
{
    if (path_to_open())
        used_by_dlopen(path_to_open());
}

/* ---- among other preloaded libraries ------------------------------------------------------------------------------- */

/* The other library is found between: in front of the library, then behind it. */
static void in_company(bool in_front)
{
    count_calls *calls = with_around(in_front);
    for (int i = 0; i < 5; i++) {
        struct kit kit = make_kit();
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
        closefrom(3);
    }
    struct ends first = open_stream(PIPE), second = open_stream(PIPE); /* close still reaches the library */
    unsigned char data[2][8];
    struct aiocb cb[2];
    for (int i = 0; i < 2; i++) {
        cb[i] = request(first.reader, data[i], 8, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    int before = calls();
    CHECK_EQ(close(first.reader), 0);
    CHECK(calls() > before, "close did not reach the other library");
    CHECK_EQ(dup(second.reader), first.reader);
    feed(first.writer, 16, 0, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_DONE(&cb[i], 8);
        CHECK_EQ(pattern_wrong(data[i], 8, (size_t)i * 8, 1), -1);
    }
}
CASE(44, behind_another_preloaded_library, GLIBC_RACY | NO_VALGRIND, 30) { in_company(true); }
CASE(44, in_front_of_another_preloaded_library, GLIBC_RACY | NO_VALGRIND, 30) { in_company(false); }

/* ---- the first call of all in a handler ------------------------------------------------------------------------------ */

static int first_file;
static struct aiocb first_cb;
static unsigned char first_data[256];
static volatile sig_atomic_t first_result = -1;
static int (*first_function)(struct aiocb *) = aio_read;
static void first_call(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    int saved = errno;
    struct itimerval off = {.it_value.tv_sec = 0};
    setitimer(ITIMER_REAL, &off, NULL);
    first_cb = request(first_file, first_data, sizeof first_data, 512);
    first_result = first_function(&first_cb);
    errno = saved;
}
CASE(20, the_first_call_may_come_from_a_handler, GLIBC_OK, 20)
{
    first_file = temp_file(ON_DISK, 4096, 8, 0);
    on_signal(SIGUSR1, first_call, 0);
    raise(SIGUSR1);
    CHECK_EQ(first_result, 0);
    CHECK_DONE(&first_cb, sizeof first_data);
    CHECK_EQ(pattern_wrong(first_data, sizeof first_data, 512, 8), -1);
}
/* At any moment: in the middle of malloc, of stdio, and of another thread's start where the call itself starts none. */
static void *nothing(void *argument) { return argument; }
static void interrupt_anything(bool threads)
{
    first_file = temp_file(ON_DISK, 4096, 8, 0);
    bool writes = first_function == aio_write;
    unsigned char found[sizeof first_data];
    uint64_t state = chance_seed();
    for (int i = 0; i < 150; i++) {
        unsigned seed = writes ? (unsigned)i + 9 : 8; /* each child writes something else */
        if (writes)
            pattern_fill(first_data, sizeof first_data, 512, seed);
        pid_t child = fork();
        if (child == 0) {
            struct itimerval soon = {.it_value.tv_usec = 50 + (long)below(&state, 3000)};
            FILE *sink = fopen("/dev/null", "w");
            void *blocks[64] = {NULL};
            on_signal(SIGALRM, first_call, SA_RESTART);
            setitimer(ITIMER_REAL, &soon, NULL);
            for (long k = 0; first_result == -1; k++) {
                void **block = &blocks[below(&state, 64)];
                free(*block);
                *block = malloc(1 + below(&state, k % 32 ? 2000 : 300000));
                if (k % 3 == 0)
                    fprintf(sink, "%p %ld\n", *block, k);
                if (threads && k % 20 == 0) {
                    pthread_t thread;
                    if (pthread_create(&thread, NULL, nothing, NULL) == 0)
                        pthread_join(thread, NULL);
                }
            }
            CHECK_EQ(first_result, 0);
            CHECK_DONE(&first_cb, sizeof first_data);
            SETUP(pread(first_file, found, sizeof found, 512) == sizeof found);
            CHECK_EQ(pattern_wrong(writes ? found : first_data, sizeof found, 512, seed), -1);
            _exit(0);
        }
        chance(&state);
        CHECK(wait_child(child, "first call in a handler") == 0, "child %d", i);
    }
}
/* A read of what is in memory needs no thread. */
CASE(20, the_first_call_may_interrupt_anything, GLIBC_RACY | AS_BUILT, 60) { interrupt_anything(true); }
/* A write to a disk does; to start it is what pthread_create, too, has a lock for. */
CASE(20, the_first_call_may_interrupt_malloc, GLIBC_RACY, 60)
{
    first_function = aio_write;
    interrupt_anything(false);
}
