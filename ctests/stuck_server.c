/* stuck_server.c - a file system whose server answers nothing any more, and what goes on beside it: calls return, and
 * everything else is served. (Not under valgrind 3.19, which does not know statmount, and lets no thread run while one
 * waits in fstatfs.) SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"
#include "gate.h"

enum { BYTES = 512, SEED = 7 };

static struct gate *gate;
static pthread_t rescuer;
static atomic_bool is_over, came_late;

/* Whoever waits for the server shall not wait for ever, but be found out. */
static void *rescue(void *unused)
{
    (void)unused;
    for (int64_t until = now_ns() + patience_ns(); !atomic_load(&is_over); sleep_ms(1))
        if (now_ns() > until) {
            atomic_store(&came_late, true);
            atomic_store(&gate->silent, false);
            break;
        }
    return NULL;
}

/* A server of which the kernel has to ask everything each time, and a file of it. */
static int forgetful_file(int flags)
{
    /* Where io_uring is demanded a child tries it first, and its end waits for the server of each file it inherited. */
    with_environment("AIO_SHIM_BACKEND", on_workers() ? "threads" : "auto");
    gate = gate_start();
    atomic_store(&gate->forgetful, true);
    pattern_fill(gate->data[0], GATE_BYTES, 0, SEED);
    return gate_open(0, flags);
}
static void wait_in_silence(void)
{
    SETUP(pthread_create(&rescuer, NULL, rescue, NULL) == 0);
}
static void fall_silent(void)
{
    atomic_store(&gate->silent, true);
    sleep_ms(20); /* it may be about to read a request */
    wait_in_silence();
}
static void speak_again(void)
{
    CHECK(!atomic_load(&came_late), "somebody waited for the server");
    atomic_store(&is_over, true);
    atomic_store(&gate->silent, false);
    pthread_join(rescuer, NULL);
}
/* The call succeeds, and returns before the server speaks again. */
#define RETURNS(call)                                                                                          \
    do {                                                                                                       \
        CHECK_EQ((call), 0);                                                                                   \
        CHECK(atomic_load(&gate->silent), "it waited for the server");                                         \
    } while (0)

/* Through the whole interface, and a close while a request is outstanding. */
static void the_rest_is_served(const struct kit *kit)
{
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(exercise(kit, EXERCISE_PLAIN), 0);
        if (!on_glibc()) { /* which loses the request */
            struct ends ends = open_stream(PIPE);
            unsigned char byte;
            struct aiocb reads = request(ends.reader, &byte, 1, 0);
            CHECK_EQ(aio_read(&reads), 0);
            close(ends.reader);
            feed(ends.writer, 1, 0, 1);
            CHECK_DONE(&reads, 1);
            close(ends.writer);
        }
        CHECK(atomic_load(&gate->silent), "somebody waited for the server");
        sleep_ms(20);
    }
}
static void read_meanwhile(int file, const struct kit *kit)
{
    unsigned char data[BYTES];
    struct aiocb reads = request(file, data, BYTES, BYTES);
    fall_silent();
    RETURNS(aio_read(&reads));
    the_rest_is_served(kit);
    CHECK_EQ(aio_error(&reads), EINPROGRESS);
    speak_again();
    CHECK_DONE(&reads, BYTES);
    CHECK_EQ(pattern_wrong(data, BYTES, BYTES, SEED), -1);
}
static void read_once(int file)
{
    unsigned char data[BYTES];
    struct aiocb reads = request(file, data, BYTES, 0);
    CHECK_EQ(aio_read(&reads), 0);
    CHECK_DONE(&reads, BYTES);
    CHECK_EQ(pattern_wrong(data, BYTES, 0, SEED), -1);
}

/* Nothing was ever asked about the file system, and this is the first call of the process. */
CASE(4, a_first_read_and_a_server_that_is_silent, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 60)
{
    int file = forgetful_file(O_RDONLY);
    struct kit kit = make_kit();
    read_meanwhile(file, &kit);
}
CASE(4, a_later_read_and_a_server_that_is_silent, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 60)
{
    int file = forgetful_file(O_RDONLY);
    struct kit kit = make_kit();
    read_once(file);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
    sleep_ms(100);
    read_meanwhile(file, &kit);
}
/* A kernel that does not say which file system a mount has: it was asked when the server still spoke. */
CASE(4, a_silent_server_and_a_kernel_without_statmount, SHIM_ONLY | NEEDS_ROOT | NO_VALGRIND, 60)
{
    with_fault("fault");
    int (*fault)(const char *) = (int (*)(const char *))extension("aio_fault_set");
    int file = forgetful_file(O_RDONLY);
    struct kit kit = make_kit();
    SETUP(fault != NULL && fault("457:ENOSYS") == 0);
    read_once(file);
    read_meanwhile(file, &kit);
}

/* Submissions are to say of which file they are: something in memory had to give way to an unknown write. */
CASE(4, a_silent_server_and_a_request_that_names_its_file, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 60)
{
    enum { LARGE = 400000, TIMES = 100 };
    static unsigned char much[LARGE], little[BYTES];
    int file = forgetful_file(O_RDONLY), memory = temp_file(ON_TMPFS, BYTES, 1, 0);
    int disk = temp_file(ON_DISK, 0, 0, 0);
    struct kit kit = make_kit();
    for (int i = 0; i < TIMES; i++) {
        struct aiocb writes = request(disk, much, LARGE, 0), reads = request(memory, little, BYTES, 0);
        CHECK_EQ(aio_write(&writes), 0);
        CHECK_EQ(aio_read(&reads), 0);
        CHECK_DONE(&reads, BYTES);
        CHECK_DONE(&writes, LARGE);
    }
    read_meanwhile(file, &kit);
}

/* Each by a descriptor of its own that nobody knows yet, in one list. */
CASE(4, a_list_and_a_server_that_is_silent, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 60)
{
    enum { COUNT = 5 };
    static unsigned char data[COUNT][BYTES];
    struct aiocb cb[COUNT], *list[COUNT];
    int file = forgetful_file(O_RDONLY);
    struct kit kit = make_kit();
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(i ? gate_open(0, O_RDONLY) : file, data[i], BYTES, i * BYTES);
        cb[i].aio_lio_opcode = LIO_READ;
        list[i] = &cb[i];
    }
    fall_silent();
    RETURNS(lio_listio(LIO_NOWAIT, list, COUNT, NULL));
    the_rest_is_served(&kit);
    speak_again();
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(&cb[i], BYTES);
        CHECK_EQ(pattern_wrong(data[i], BYTES, (size_t)i * BYTES, SEED), -1);
    }
}

/* What keeps an order keeps it, and can be cancelled, though nobody says how long the file is. */
CASE(4, appends_and_a_server_that_is_silent, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 60)
{
    enum { END = GATE_BYTES / 2 };
    unsigned char first[BYTES], second[BYTES], both[2 * BYTES], never[BYTES];
    int file = forgetful_file(O_RDWR | O_APPEND);
    struct kit kit = make_kit();
    pattern_fill(first, BYTES, 0, 1);
    pattern_fill(second, BYTES, BYTES, 1);
    struct aiocb append = request(file, first, BYTES, 0), next = request(file, second, BYTES, 0);
    struct aiocb cancelled = request(file, never, BYTES, 0), sync = request(file, NULL, 0, 0);
    struct aiocb reads = request(file, both, sizeof both, END);
    fall_silent();
    RETURNS(aio_write(&append));
    RETURNS(aio_write(&next));
    RETURNS(aio_write(&cancelled));
    RETURNS(aio_fsync(O_SYNC, &sync));
    RETURNS(aio_read(&reads));
    the_rest_is_served(&kit);
    CHECK_EQ(aio_cancel(file, &cancelled), AIO_CANCELED);
    CHECK(atomic_load(&gate->silent), "aio_cancel waited for the server");
    speak_again();
    CHECK_DONE(&append, BYTES);
    CHECK_DONE(&next, BYTES);
    CHECK_ENDS(&cancelled, ECANCELED);
    CHECK_DONE(&sync, 0);
    CHECK_DONE(&reads, 2 * BYTES);
    CHECK_EQ(pattern_wrong(both, sizeof both, 0, 1), -1);
}

/* Who closes a file for the last time tells its server, and waits for the answer. Here that is the library: the program
 * has closed the file with a request outstanding. */
CASE(4, a_closed_file_of_a_server_that_falls_silent, SHIM_ONLY | NEEDS_ROOT | NO_VALGRIND, 60)
{
    struct kit kit = make_kit();
    int file = forgetful_file(O_RDWR), held = gate_hold(gate, GATE_WRITE, 0, 0, GATE_BYTES);
    unsigned char out[BYTES], in[BYTES];
    memset(out, 'w', BYTES);
    struct aiocb writes = request(file, out, BYTES, 0), reads = request(file, in, BYTES, 0);
    CHECK_EQ(aio_write(&writes), 0);
    WAIT_FOR(gate_arrived(gate, GATE_WRITE, 0, 0, GATE_BYTES) > 0);
    CHECK_EQ(aio_read(&reads), 0); /* waits for the write */
    CHECK_EQ(close(file), 0);
    atomic_store(&gate->silent_at_close, true);
    gate_release(gate, held);
    CHECK_DONE(&writes, BYTES);
    CHECK_DONE(&reads, BYTES);
    CHECK(memcmp(in, out, BYTES) == 0);
    WAIT_FOR(atomic_load(&gate->silent));
    wait_in_silence();
    the_rest_is_served(&kit);
    speak_again();
}
