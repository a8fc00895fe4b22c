/* safety_first.c - the first AIO call of a process comes from a handler that interrupted malloc: it must not allocate,
 * nor wait for anybody who does. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

/* The C library's allocator under a guard: while the handler runs, the main program is thought to be inside malloc, and
 * its lock held. Whoever allocates on this thread then would wait for ever, or destroy the heap. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
static _Thread_local volatile sig_atomic_t inside;
static void guard(const char *what)
{
    if (inside)
        end_case(1, __FILE__, __LINE__, what, " in the handler, which interrupted the allocator");
}
void *malloc(size_t size) { return guard("malloc"), __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return guard("calloc"), __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return guard("realloc"), __libc_realloc(old, size); }
void *memalign(size_t align, size_t size) { return guard("memalign"), __libc_memalign(align, size); }
void *aligned_alloc(size_t align, size_t size) { return guard("aligned_alloc"), __libc_memalign(align, size); }
int posix_memalign(void **at, size_t align, size_t size)
{
    guard("posix_memalign");
    *at = __libc_memalign(align, size);
    return *at ? 0 : ENOMEM;
}
void free(void *old)
{
    if (old)
        guard("free");
    __libc_free(old);
}

enum { BYTES = 4096 };
static struct ends ends;
static int file;
static struct aiocb cb[3];
static unsigned char data[3][BYTES];
static void (*first)(void);
static volatile sig_atomic_t result;

static void on_alarm(int signo)
{
    (void)signo;
    int saved = errno;
    inside = 1;
    first();
    inside = 0;
    errno = saved;
}
/* Everything that the test itself needs is there before; the handler makes the first AIO call. */
static void by_handler(void (*call)(void))
{
    ends = open_stream(PIPE);
    file = temp_file(ON_DISK, 3 * BYTES, 3, 0);
    for (int i = 0; i < 3; i++)
        cb[i] = request(i ? file : ends.reader, data[i], i ? BYTES : 16, i * BYTES);
    first = call;
    on_signal(SIGALRM, (void (*)(int, siginfo_t *, void *))(void *)on_alarm, SA_RESTART);
    SETUP(raise(SIGALRM) == 0);
    CHECK_EQ(result, 0);
}
static void feed_pipe(void)
{
    SETUP(write(ends.writer, "sixteen letters.", 16) == 16);
    CHECK_DONE(&cb[0], 16);
    CHECK(memcmp(data[0], "sixteen letters.", 16) == 0);
}

static void read_a_pipe(void) { result = aio_read(&cb[0]); }
CASE(20, a_read_of_a_pipe, GLIBC_DEFECT | NO_VALGRIND, 20)
{
    by_handler(read_a_pipe);
    feed_pipe();
}

static void read_and_wait(void)
{
    const struct aiocb *list[] = {&cb[1]};
    result = aio_read(&cb[1]) || aio_suspend(list, 1, NULL) || aio_error(&cb[1]) || aio_return(&cb[1]) != BYTES;
}
CASE(20, a_read_of_a_file_that_is_waited_for, GLIBC_DEFECT | NO_VALGRIND, 20)
{
    by_handler(read_and_wait);
    CHECK_EQ(pattern_wrong(data[1], BYTES, BYTES, 3), -1);
}

static void write_and_sync(void) { result = aio_write(&cb[1]) || aio_fsync(O_SYNC, &cb[2]); }
CASE(20, a_write_and_a_sync, GLIBC_DEFECT | NO_VALGRIND, 20)
{
    by_handler(write_and_sync);
    CHECK_DONE(&cb[1], BYTES);
    CHECK_DONE(&cb[2], 0);
}

static void a_whole_list(void)
{
    static struct aiocb *list[] = {&cb[0], &cb[1], &cb[2]};
    static struct sigevent by_signal;
    by_signal = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
    for (int i = 0; i < 3; i++)
        cb[i].aio_lio_opcode = LIO_READ;
    result = lio_listio(LIO_NOWAIT, list, 3, &by_signal);
}
CASE(20, a_list_that_notifies, GLIBC_DEFECT | NO_VALGRIND, 20)
{
    siginfo_t info;
    block_signal(SIGRTMIN + 1);
    by_handler(a_whole_list);
    feed_pipe();
    CHECK(take_signal(SIGRTMIN + 1, &info) == SIGRTMIN + 1);
    CHECK_DONE(&cb[1], BYTES);
    CHECK_DONE(&cb[2], BYTES);
}

static atomic_int calls;
static void called(union sigval value) { (void)value, atomic_fetch_add(&calls, 1); }
static void read_with_a_callback(void)
{
    notify_by_thread(&cb[0], called, NULL);
    result = aio_read(&cb[0]);
}
CASE(20, a_read_with_a_callback, GLIBC_DEFECT | NO_VALGRIND, 20)
{
    by_handler(read_with_a_callback);
    feed_pipe();
    WAIT_FOR(calls == 1);
}

static void read_and_cancel(void)
{
    result = aio_read(&cb[0]) || aio_cancel(ends.reader, &cb[0]) != AIO_CANCELED || aio_error(&cb[0]) != ECANCELED;
}
CASE(20, a_read_that_is_cancelled, GLIBC_DEFECT | NO_VALGRIND, 20)
{
    by_handler(read_and_cancel);
}

/* After a second of rest the threads are gone, and the next call comes from a handler again. */
CASE(20, the_first_after_a_rest, GLIBC_DEFECT | NO_VALGRIND, 20)
{
    by_handler(read_a_pipe);
    feed_pipe();
    for (int i = 0; i < 2; i++) {
        sleep_ms(1500);
        cb[0] = request(ends.reader, data[0], 16, 0);
        SETUP(raise(SIGALRM) == 0);
        CHECK_EQ(result, 0);
        feed_pipe();
    }
}

/* A process with one thread is one after the library was loaded, too. */
CASE(45, a_program_that_uses_aio_begins_with_one_thread, GLIBC_OK | NEEDS_ROOT, 20)
{
    CHECK_EQ(unshare(CLONE_NEWUSER), 0);
}
