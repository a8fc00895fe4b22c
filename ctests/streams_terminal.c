// Reads of terminals: what VMIN and VTIME make of them in raw mode, the end of the master, and who is in the background.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "hostile.h"
#include <sys/ioctl.h>
#include <termios.h>

static struct ends raw_terminal(unsigned char least, unsigned char time)
{
    struct ends ends = open_stream(PTY_SLAVE);
    struct termios settings;
    SETUP(tcgetattr(ends.reader, &settings) == 0);
    cfmakeraw(&settings);
    settings.c_cc[VMIN] = least;
    settings.c_cc[VTIME] = time;
    SETUP(tcsetattr(ends.reader, TCSANOW, &settings) == 0);
    return ends;
}

static void type(struct ends ends, const char *text, int there)
{
    SETUP(write(ends.writer, text, strlen(text)) == (ssize_t)strlen(text));
    for (int now = -1; there >= 0 && now != there; sleep_ms(1))
        SETUP(ioctl(ends.reader, FIONREAD, &now) == 0);
}

/* VMIN 0: a read takes what is there, or nothing. */
CASE(9, a_terminal_that_does_not_wait, GLIBC_OK, 20)
{
    struct ends ends = raw_terminal(0, 0);
    char text[8] = "", vector_text[4] = "";
    struct aiocb cb = request(ends.reader, text, sizeof text, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
    type(ends, "abc", 3);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 3);
    CHECK(memcmp(text, "abc", 3) == 0, "%.3s", text);
    struct aiocb back = request(ends.writer, vector_text, sizeof vector_text, 0);
    CHECK_EQ(aio_read(&back), 0); /* the master side waits all the same */
    sleep_ms(100);
    CHECK_EQ(aio_error(&back), EINPROGRESS);
    SETUP(write(ends.reader, "x", 1) == 1);
    CHECK_DONE(&back, 1);
}

/* VMIN 0 with a time: a read ends then, at the latest, and holds up no write. */
CASE(9, a_terminal_that_waits_for_a_time, GLIBC_OK, 20)
{
    struct ends ends = raw_terminal(0, 5);
    char text[8] = "", out[] = "out", seen[4] = "";
    struct aiocb cb = request(ends.reader, text, sizeof text, 0), written = request(ends.reader, out, 3, 0);
    int64_t begin = now_ns();
    CHECK_EQ(aio_read(&cb), 0);
    if (!on_glibc()) { /* there one waits for the other */
        CHECK_EQ(aio_write(&written), 0);
        CHECK_DONE(&written, 3);
        SETUP(read(ends.writer, seen, 3) == 3);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
    }
    CHECK_DONE(&cb, 0);
    CHECK(now_ns() - begin >= 400000000, "%lld ms", (long long)(now_ns() - begin) / 1000000);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(50);
    type(ends, "ab", -1);
    CHECK_DONE(&cb, 2);

    struct ends between = raw_terminal(5, 2); /* beside VMIN the time begins with the first byte */
    cb = request(between.reader, text, sizeof text, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(400);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    type(between, "ab", -1);
    CHECK_DONE(&cb, 2);
}

/* A read of less than VMIN bytes ends with these. */
CASE(9, a_terminal_read_of_less_than_vmin, GLIBC_OK, 20)
{
    struct ends ends = raw_terminal(5, 0);
    char text[8] = "";
    struct aiocb cb = request(ends.reader, text, 2, 0);
    type(ends, "abc", 3);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 2);
    CHECK_EQ(aio_read(&cb), 0); /* one is there */
    sleep_ms(100);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    type(ends, "d", -1);
    CHECK_DONE(&cb, 2);
    CHECK(memcmp(text, "cd", 2) == 0, "%.2s", text);
    struct aiocb all = request(ends.reader, text, 8, 0); /* this one is for VMIN */
    CHECK_EQ(aio_read(&all), 0);
    type(ends, "1234", -1);
    sleep_ms(100);
    CHECK_EQ(aio_error(&all), EINPROGRESS);
    type(ends, "5", -1);
    CHECK_DONE(&all, 5);
}

/* While it waits it is cancelled like any other, and has taken nothing. */
CASE(27, a_terminal_read_of_less_than_vmin_is_cancelled, GLIBC_DEFECT, 20)
{
    struct ends ends = raw_terminal(5, 0);
    char text[8] = "";
    struct aiocb cb = request(ends.reader, text, 2, 0);
    CHECK_EQ(aio_read(&cb), 0);
    type(ends, "a", 1);
    sleep_ms(100);
    CHECK_EQ(aio_cancel(ends.reader, &cb), AIO_CANCELED);
    CHECK_ENDS(&cb, ECANCELED);
    type(ends, "b", 2);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 2);
    CHECK(memcmp(text, "ab", 2) == 0, "%.2s", text);
}

/* A read that waits when the master is closed fails; one that comes later finds the end. */
CASE(9, a_terminal_that_loses_its_master, GLIBC_OK, 20)
{
    for (unsigned char least = 1; least <= 5; least += 4) {
        struct ends ends = raw_terminal(least, 0);
        char text[8];
        struct aiocb cb = request(ends.reader, text, 2, 0);
        CHECK_EQ(aio_read(&cb), 0);
        sleep_ms(100);
        close(ends.writer);
        CHECK_ENDS(&cb, EIO);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0);
        close(ends.reader);
    }
}

/* While it waits its descriptor is closed: it ends as if nothing had happened, and nobody goes on looking for it. */
CASE(42, a_terminal_read_of_less_than_vmin_is_closed, GLIBC_RACY, 30)
{
    struct ends ends = raw_terminal(5, 0);
    char text[8] = "";
    int kept = dup(ends.reader);
    SETUP(kept >= 0);
    struct aiocb cb = request(ends.reader, text, 3, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(100);
    CHECK_EQ(close(ends.reader), 0);
    sleep_ms(100);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(write(ends.writer, "abc", 3) == 3);
    CHECK_DONE(&cb, 3);
    CHECK(memcmp(text, "abc", 3) == 0, "%.3s", text);
    WAIT_FOR(library_threads() == 0, "%d threads stay", library_threads());
}

/* Who is not in the foreground of its terminal gets EIO at once, as a thread that blocks SIGTTIN does; who is waits. */
static void end_with_parent(pid_t parent)
{
    SETUP(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    if (getppid() != parent)
        _exit(99);
}
static void read_in_background(bool lines)
{
    struct ends ends = raw_terminal(1, 0);
    struct termios settings;
    pid_t parent = getpid(), leader = fork();
    if (leader == 0) {
        char text[8] = "";
        struct aiocb cb = request(ends.reader, text, sizeof text, 0);
        end_with_parent(parent);
        SETUP(setsid() > 0 && ioctl(ends.reader, TIOCSCTTY, 0) == 0 && tcgetattr(ends.reader, &settings) == 0);
        if (lines)
            settings.c_lflag |= ICANON;
        SETUP(tcsetattr(ends.reader, TCSANOW, &settings) == 0);
        pid_t child = fork();
        if (child == 0) {
            end_with_parent(getsid(0));
            SETUP(setpgid(0, 0) == 0);
            CHECK_EQ(aio_read(&cb), 0);
            CHECK_ENDS(&cb, EIO);
            _exit(0);
        }
        CHECK_CHILD(child);
        CHECK_EQ(aio_read(&cb), 0);
        sleep_ms(50);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        type(ends, "abc\n", -1);
        CHECK_DONE(&cb, 4);
        _exit(0);
    }
    int status = wait_child(leader, "the session's leader");
    CHECK(status == 0, "%#x", status);
}
CASE(9, a_background_process_does_not_wait_for_its_terminal, GLIBC_OK, 60) { read_in_background(false); }
CASE(9, a_background_process_does_not_wait_for_lines, GLIBC_OK, 60) { read_in_background(true); }
