/* process_exit.c - ends: of the process, of main, of threads, of the program by exec. All are prompt.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"

/* Requests of every kind that will not end by themselves, and some that will. */
static void leave_requests(void)
{
    enum { EACH = 20 };
    static struct aiocb cb[EACH][5];
    static struct ends reads[EACH], full;
    static unsigned char data[EACH][4096];
    static unsigned char *much;
    int file = temp_file(ON_DISK, 1 << 20, 0, 0), direct = temp_file(ON_DISK, 1 << 20, 0, O_APPEND);
    full = open_stream(UNIX_SOCKET);
    much = pages(8 << 20);
    for (int i = 0; i < EACH; i++) {
        reads[i] = open_stream(i % 2 ? PIPE : TCP_SOCKET);
        cb[i][0] = request(reads[i].reader, data[i], 10, 0);
        cb[i][1] = request(full.writer, much, 1 << 20, 0);
        cb[i][2] = request(file, much, 1 << 16, i << 16);
        cb[i][3] = request(direct, data[i], 4096, 0);
        cb[i][4] = request(file, NULL, 0, 0);
        if (i % 3 == 0)
            notify_by_thread(&cb[i][0], exercise_called, NULL);
        CHECK_EQ(aio_read(&cb[i][0]), 0);
        for (int k = 1; k < 4; k++)
            CHECK_EQ(aio_write(&cb[i][k]), 0);
        CHECK_EQ(aio_fsync(O_SYNC, &cb[i][4]), 0);
    }
}

static void at_exit(void)
{
    struct aiocb cb = request(0, NULL, 0, 0);
    aio_error(&cb);
    aio_cancel(0, NULL);
}
static void *end_from_thread(void *unused)
{
    (void)unused;
    exit(9);
}

CASE(41, exit_with_requests_outstanding_is_prompt, GLIBC_OK, 60)
{
    for (int i = 0; i < 15; i++) {
        pid_t child = fork();
        if (child == 0) {
            atexit(at_exit);
            leave_requests();
            if (i % 5 == 4)
                settle();
            if (i % 5 == 0)
                _exit(9);
            if (i % 5 == 1)
                exit(9);
            if (i % 5 == 2)
                start_thread(end_from_thread, NULL), pause();
            if (i % 5 == 3)
                quick_exit(9);
            abort();
        }
        int status = wait_child(child, "exit with requests outstanding");
        CHECK(i % 5 == 4 ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT : status == 9 << 8, "way %d: %#x", i % 5, status);
    }
}

CASE(41, exec_with_requests_outstanding_is_prompt, GLIBC_OK, 60)
{
    for (int i = 0; i < 8; i++) {
        pid_t child = fork();
        if (child == 0) {
            leave_requests();
            if (i % 2)
                settle();
            if (i % 4 < 2)
                execl("/bin/true", "true", (char *)NULL);
            else
                execl("/bin/sh", "sh", "-c", "exit 0", (char *)NULL);
            _exit(1);
        }
        CHECK_EQ(wait_child(child, "exec with requests outstanding"), 0);
    }
}

/* exec from a thread that is not main. */
static void *exec_from_thread(void *unused)
{
    (void)unused;
    execl("/bin/true", "true", (char *)NULL);
    _exit(1);
}
CASE(41, exec_from_another_thread_is_prompt, GLIBC_OK, 30)
{
    pid_t child = fork();
    if (child == 0) {
        leave_requests();
        start_thread(exec_from_thread, NULL);
        for (;;)
            pause();
    }
    CHECK_EQ(wait_child(child, "exec from a thread"), 0);
}

/* ---- main ends, the requests go on, then so does the process ---------------------------------------------- */

CASE(42, pthread_exit_in_main_ends_the_process_when_requests_are_done, GLIBC_OK, 30)
{
    enum { BYTES = 4 << 20 };
    int file = temp_file(ON_DISK, 0, 0, 0);
    struct ends ends = open_stream(PIPE);
    pid_t child = fork();
    if (child == 0) {
        static struct aiocb write_cb, read_cb;
        static char byte;
        unsigned char *data = pages(BYTES);
        pattern_fill(data, BYTES, 0, 2);
        write_cb = request(file, data, BYTES, 0);
        read_cb = request(ends.reader, &byte, 1, 0);
        CHECK_EQ(aio_write(&write_cb), 0);
        CHECK_EQ(aio_read(&read_cb), 0);
        pthread_exit(NULL);
    }
    settle();
    CHECK_EQ(waitpid(child, NULL, WNOHANG), 0); /* a read still waits */
    write_all(ends.writer, "e", 1);
    CHECK_EQ(wait_child(child, "the process after main's pthread_exit"), 0);
    unsigned char *found = pages(BYTES);
    CHECK_EQ(pread(file, found, BYTES, 0), BYTES);
    CHECK_EQ(pattern_wrong(found, BYTES, 0, 2), -1);
}

/* A notification function is the last thing that runs. */
static int last_file;
static struct aiocb last_cb;
static char last_byte = 'L';
static void last_call(union sigval value)
{
    (void)value;
    CHECK_EQ(aio_error(&last_cb), 0);
    SETUP(pwrite(last_file, "done", 4, 0) == 4);
}
CASE(42, notification_functions_run_after_mains_end, GLIBC_OK, 30)
{
    last_file = temp_file(ON_DISK, 0, 0, 0);
    pid_t child = fork();
    if (child == 0) {
        last_cb = request(last_file, &last_byte, 1, 100);
        notify_by_thread(&last_cb, last_call, NULL);
        CHECK_EQ(aio_write(&last_cb), 0);
        pthread_exit(NULL);
    }
    CHECK_EQ(wait_child(child, "the process after main's pthread_exit"), 0);
    char text[5] = "";
    CHECK_EQ(pread(last_file, text, 4, 0), 4);
    CHECK(strcmp(text, "done") == 0, "\"%s\"", text);
}

/* Idle threads end: the process of a main that is gone ends, too, and a living one has its threads back. */
CASE(42, idle_threads_end, GLIBC_OK, 30)
{
    struct kit kit = make_kit();
    exercise(&kit, EXERCISE_PLAIN);
    WAIT_FOR(threads() == 1, "%d threads", threads());
    exercise(&kit, EXERCISE_PLAIN);
    WAIT_FOR(threads() == 1, "%d threads", threads());
    pid_t child = fork();
    if (child == 0) {
        if (on_glibc())
            _exit(0);
        exercise(&kit, EXERCISE_PLAIN);
        pthread_exit(NULL);
    }
    CHECK_EQ(wait_child(child, "the process after main's pthread_exit"), 0);
}

/* In the moment when the threads end, a new request comes: none is lost. */
CASE(42, requests_at_the_moment_of_the_idle_end, GLIBC_OK, 60)
{
    struct kit kit = make_kit();
    uint64_t state = chance_seed();
    int rounds = (int)scaled_seconds(8, 100);
    for (int i = 0; i < rounds; i++) {
        exercise(&kit, i % 2 ? NO_THREADS : EXERCISE_PLAIN);
        int64_t until = now_ns() + 970000000 + (int64_t)below(&state, 80000000);
        while (now_ns() < until)
            sleep_ms(1);
    }
}

/* ---- threads end ------------------------------------------------------------------------------------------- */

static struct ends thread_ends;
static struct aiocb thread_cb[8];
static char thread_bytes[8];
static void *submit_and_end(void *unused)
{
    (void)unused;
    for (int i = 0; i < 8; i++) {
        thread_cb[i] = request(thread_ends.reader, &thread_bytes[i], 1, 0);
        CHECK_EQ(aio_read(&thread_cb[i]), 0);
    }
    return NULL;
}
CASE(41, requests_outlive_the_thread_that_made_them, GLIBC_OK, 30)
{
    for (int round = 0; round < 50; round++) {
        thread_ends = open_stream(round % 2 ? PIPE : UNIX_SOCKET);
        pthread_t thread = start_thread(submit_and_end, NULL);
        if (round % 3 == 0)
            pthread_cancel(thread); /* aio_read is no cancellation point; a cancel before it runs makes none */
        void *result = join_thread(thread);
        int made = result == PTHREAD_CANCELED ? 0 : 8;
        for (int i = 0; i < made; i++)
            CHECK_EQ(aio_error(&thread_cb[i]), EINPROGRESS);
        write_all(thread_ends.writer, "abcdefgh", 8);
        for (int i = 0; i < made; i++) {
            CHECK_DONE(&thread_cb[i], 1);
            CHECK_EQ(thread_bytes[i], 'a' + i);
        }
        close(thread_ends.reader);
        close(thread_ends.writer);
    }
}
