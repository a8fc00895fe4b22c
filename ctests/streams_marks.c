// SO_RCVLOWAT: how much a read of a socket waits for. SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"
#include <sys/ioctl.h>

static void set_mark(int fd, int mark) { SETUP(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark) == 0); }

static void put(int fd, const char *data, size_t bytes) { SETUP(write(fd, data, bytes) == (ssize_t)bytes); }

static void wait_for_bytes(int fd, int bytes)
{
    for (int there = -1; there != bytes; sleep_ms(1))
        SETUP(ioctl(fd, FIONREAD, &there) == 0);
}

/* SO_RCVLOWAT: a read of a TCP socket waits for so many bytes, if it asks for so many, or for the end. */
CASE(9, a_read_waits_for_the_low_water_mark, GLIBC_OK, 20)
{
    struct pair pair = tcp_pair();
    static char out[300], in[300];
    int mark = 100;
    struct aiocb cb = request(pair.ends[0], in, 200, 0), less = request(pair.ends[0], in + 200, 5, 0);
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark) == 0);
    pattern_fill(out, 300, 0, 4);
    SETUP(write(pair.ends[1], out, 10) == 10);
    for (int there = 0; there != 10; sleep_ms(1))
        SETUP(ioctl(pair.ends[0], FIONREAD, &there) == 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(100);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(write(pair.ends[1], out + 10, 100) == 100); /* a hundred more: the kernel has taken the ten out for glibc */
    CHECK_DONE(&cb, 110);
    CHECK_EQ(pattern_wrong(in, 110, 0, 4), -1);

    SETUP(write(pair.ends[1], out, 7) == 7); /* enough for a read of five */
    CHECK_EQ(aio_read(&less), 0);
    CHECK_DONE(&less, 5);

    struct timeval limit = {0, 100000}; /* a time limit ends with what is there */
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 2);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_ENDS(&cb, EAGAIN);
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 0}, sizeof limit) == 0);

    SETUP(write(pair.ends[1], out, 3) == 3); /* a nonblocking read takes what there is */
    set_nonblocking(pair.ends[0], true);
    for (int there = 0; there != 3; sleep_ms(1))
        SETUP(ioctl(pair.ends[0], FIONREAD, &there) == 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 3);
    set_nonblocking(pair.ends[0], false);

    CHECK_EQ(aio_read(&cb), 0); /* and so does one at the end */
    SETUP(write(pair.ends[1], out, 20) == 20);
    sleep_ms(50);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(shutdown(pair.ends[1], SHUT_WR) == 0);
    CHECK_DONE(&cb, 20);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
}

/* The same of a socket whose poll(2) does not know the mark. */
CASE(9, a_read_waits_for_the_mark_of_a_unix_socket, GLIBC_OK, 20)
{
    struct pair pair = make_pair(UNIX_STREAM);
    static char out[300], in[300];
    int mark = 100;
    struct aiocb cb = request(pair.ends[0], in, 200, 0), less = request(pair.ends[0], in + 200, 5, 0);
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark) == 0);
    pattern_fill(out, 300, 0, 4);
    for (int there = 0; there < 2; there++) { /* the first bytes come before the read, or after it */
        if (there)
            CHECK_EQ(aio_read(&cb), 0);
        SETUP(write(pair.ends[1], out, 10) == 10);
        if (!there)
            CHECK_EQ(aio_read(&cb), 0);
        sleep_ms(100);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        SETUP(write(pair.ends[1], out + 10, 100) == 100);
        CHECK_DONE(&cb, 110);
        CHECK_EQ(pattern_wrong(in, 110, 0, 4), -1);
    }
    CHECK_EQ(aio_read(&less), 0); /* five are enough for a read of five, and fewer are not */
    SETUP(write(pair.ends[1], out, 4) == 4);
    sleep_ms(100);
    CHECK_EQ(aio_error(&less), EINPROGRESS);
    SETUP(write(pair.ends[1], out + 4, 1) == 1);
    CHECK_DONE(&less, 5);
    if (!on_glibc()) { /* there it runs */
        CHECK_EQ(aio_read(&less), 0);
        SETUP(write(pair.ends[1], out, 4) == 4);
        sleep_ms(100);
        CHECK_EQ(aio_cancel(pair.ends[0], &less), AIO_CANCELED);
        CHECK_ENDS(&less, ECANCELED);
        SETUP(read(pair.ends[0], in, 4) == 4);
    }
    struct timeval limit = {0, 100000}; /* a time limit, or the end, takes what is there */
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    SETUP(write(pair.ends[1], out, 2) == 2);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 2);
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 0}, sizeof limit) == 0);
    CHECK_EQ(aio_read(&cb), 0);
    SETUP(write(pair.ends[1], out, 20) == 20);
    sleep_ms(50);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(shutdown(pair.ends[1], SHUT_WR) == 0);
    CHECK_DONE(&cb, 20);
}

/* A mark above the length of the read: it waits for its length, and poll(2) goes by the mark. (So does the kernel when it
 * wakes a read(2) that sleeps: with glibc as much has to come.) */
CASE(7, a_read_of_less_than_the_mark_waits_for_all_of_it, GLIBC_OK, 20)
{
    struct pair pair = tcp_pair();
    static char out[200], in[200];
    const size_t enough = on_glibc() ? 100 : 60;
    struct aiocb cb = request(pair.ends[0], in, 50, 0);
    set_mark(pair.ends[0], 100);
    pattern_fill(out, sizeof out, 0, 5);
    put(pair.ends[1], out, 10); /* there before the read */
    wait_for_bytes(pair.ends[0], 10);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(200);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    put(pair.ends[1], out + 10, enough); /* more than it wants, less than the mark */
    CHECK_DONE(&cb, 50);
    CHECK_EQ(pattern_wrong(in, 50, 0, 5), -1);
    wait_for_bytes(pair.ends[0], (int)enough - 40);
    SETUP(recv(pair.ends[0], in, sizeof in, MSG_DONTWAIT) == (ssize_t)enough - 40);

    CHECK_EQ(aio_read(&cb), 0); /* nothing there at first */
    sleep_ms(100);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    put(pair.ends[1], out, enough);
    CHECK_DONE(&cb, 50);
    CHECK_EQ(pattern_wrong(in, 50, 0, 5), -1);
}

/* How often the library's threads have gone to sleep. */
static long rests(void)
{
    DIR *directory = opendir("/proc/self/task");
    long sum = 0;
    SETUP(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[300], line[200];
        bool ours = false;
        long count;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *status = fopen(path, "re");
        while (status && fgets(line, sizeof line, status)) {
            ours |= strncmp(line, "Name:\taio-shim", 14) == 0;
            if (ours && sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1)
                sum += count;
        }
        if (status)
            fclose(status);
    }
    closedir(directory);
    return sum;
}

/* What was there, less than the mark, is taken by somebody else: the read waits like one that never saw anything. Soon after
 * it was made it is looked at often; the sockets are drained at different moments of that time. */
CASE(9, reads_below_the_mark_of_drained_sockets_wait_quietly, SHIM_ONLY | NO_VALGRIND, 20)
{
    enum { SOCKETS = 32 };
    struct pair pairs[SOCKETS];
    struct aiocb cbs[SOCKETS];
    char text[SOCKETS][100], drained[3];
    for (int i = 0; i < SOCKETS; i++) {
        pairs[i] = make_pair(UNIX_STREAM);
        cbs[i] = request(pairs[i].ends[0], text[i], sizeof text[i], 0);
        set_mark(pairs[i].ends[0], 8);
        put(pairs[i].ends[1], "abc", 3);
        CHECK_EQ(aio_read(&cbs[i]), 0);
        for (int64_t until = now_ns() + i * 100000; now_ns() < until;) { }
        SETUP(recv(pairs[i].ends[0], drained, 3, MSG_DONTWAIT) == 3);
    }
    sleep_ms(300);
    long before = rests();
    sleep_ms(1000);
    long after = rests();
    CHECK(after - before < 100, "looked %ld times in a second", after - before);
    for (int i = 0; i < SOCKETS; i++) {
        CHECK_EQ(aio_error(&cbs[i]), EINPROGRESS);
        put(pairs[i].ends[1], "12345678", 8);
        CHECK_DONE(&cbs[i], 8);
        CHECK(memcmp(text[i], "12345678", 8) == 0, "%.8s", text[i]);
    }
}
