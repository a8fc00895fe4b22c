// aio_shim_stats, and the report that AIO_SHIM_STATS asks for, however the process ends.
// SPDX-License-Identifier: MIT OR Apache-2.0
// libs: -Wl,-z,dynamic-undefined-weak
#include "kinds.h"
#include <aio_shim.h>
#include <sys/prctl.h>

#pragma weak aio_shim_stats

static struct aio_shim_stats stats_now(void)
{
    struct aio_shim_stats stats;
    memset(&stats, 0xff, sizeof stats);
    CHECK_EQ(aio_shim_stats(&stats, sizeof stats), 0);
    return stats;
}
static uint64_t of_kind(const struct aio_shim_stats *stats, int kind, int result)
{
    uint64_t sum = 0;
    for (int lane = 0; lane < 4; lane++)
        sum += stats->requests[kind][lane][result];
    return sum;
}

enum { READS = 40, WRITES = 30, VECTORS = 20, SYNCS = 3, BYTES = 1000 };
static char data[BYTES];

static void run(struct aiocb cb, int (*start)(struct aiocb *))
{
    CHECK_EQ(start(&cb), 0);
    wait_done(&cb);
    aio_return(&cb);
}
static int sync_data(struct aiocb *cb) { return aio_fsync(O_DSYNC, cb); }

CASE(39, counters_are_exact, SHIM_ONLY | AS_BUILT, 30)
{
    int fd = temp_file(ON_DISK, BYTES, 1, 0), tmpfs = temp_file(ON_TMPFS, BYTES, 1, 0);
    struct pair pair = make_pair(PIPE);
    struct aio_shim_stats stats = stats_now();
    CHECK(stats.succeeded == 0 && stats.in_flight == 0 && stats.peak_in_flight == 0 && stats.refused == 0);
    struct iovec vector[2] = {{data, 100}, {data + 500, 50}};
    for (int i = 0; i < READS; i++)
        run(request(i % 2 ? fd : tmpfs, data, BYTES, 0), aio_read);
    for (int i = 0; i < WRITES; i++)
        run(request(i % 2 ? fd : tmpfs, data, BYTES / 2, 0), aio_write);
    int (*readv_)(struct aiocb *) = (int (*)(struct aiocb *))extension("aio_readv");
    for (int i = 0; i < VECTORS; i++)
        run(request(fd, vector, 2, 0), readv_);
    for (int i = 0; i < SYNCS; i++)
        run(request(fd, NULL, 0, 0), sync_data);
    run(request(-1, data, 1, 0), aio_read); /* fails */
    struct aiocb refused = request(fd, data, 1, 0);
    refused.aio_reqprio = -1;
    CHECK_FAILS(aio_read(&refused), EINVAL);
    CHECK_FAILS(aio_fsync(12345, &refused), EINVAL);
    struct aiocb waiting[5];
    for (int i = 0; i < 5; i++) {
        waiting[i] = request(pair.ends[0], data, 1, 0);
        CHECK_EQ(aio_read(&waiting[i]), 0);
    }
    WAIT_FOR(stats_now().peak_in_flight >= 5);
    CHECK_EQ(stats_now().in_flight, 5);
    CHECK_EQ(aio_cancel(pair.ends[0], &waiting[4]), AIO_CANCELED);
    CHECK_EQ(aio_cancel(pair.ends[0], &waiting[4]), AIO_ALLDONE);
    SETUP(write(pair.ends[1], "abcd", 4) == 4);
    for (int i = 0; i < 4; i++)
        CHECK_DONE(&waiting[i], 1);

    stats = stats_now();
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_READ, AIO_SHIM_RESULT_SUCCEEDED), READS + 4);
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_READ, AIO_SHIM_RESULT_FAILED), 1);
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_READ, AIO_SHIM_RESULT_CANCELLED), 1);
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_WRITE, AIO_SHIM_RESULT_SUCCEEDED), WRITES);
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_READV, AIO_SHIM_RESULT_SUCCEEDED), VECTORS);
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_WRITEV, AIO_SHIM_RESULT_SUCCEEDED), 0);
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_SYNC, AIO_SHIM_RESULT_SUCCEEDED), 0);
    CHECK_EQ(of_kind(&stats, AIO_SHIM_REQUEST_DSYNC, AIO_SHIM_RESULT_SUCCEEDED), SYNCS);
    CHECK_EQ(stats.succeeded, READS + 4 + WRITES + VECTORS + SYNCS);
    CHECK_EQ(stats.failed, 1);
    CHECK_EQ(stats.cancelled, 1);
    CHECK_EQ(stats.refused, 2);
    CHECK_EQ(stats.bytes_read, READS * BYTES + VECTORS * 150 + 4);
    CHECK_EQ(stats.bytes_written, WRITES * BYTES / 2);
    CHECK_EQ(stats.in_flight, 0);
    CHECK_EQ(stats.peak_in_flight, 5);
    CHECK(stats.cancel_calls[AIO_CANCELED] == 1 && stats.cancel_calls[AIO_ALLDONE] == 1);
    CHECK_EQ(stats.cancel_calls[AIO_NOTCANCELED], 0);
    uint64_t requests = 0, read_ = 0, written = 0;
    for (int lane = 0; lane < 4; lane++) {
        requests += stats.lane[lane].requests;
        read_ += stats.lane[lane].bytes_read;
        written += stats.lane[lane].bytes_written;
    }
    CHECK_EQ(requests, stats.succeeded + stats.failed + stats.cancelled);
    CHECK(read_ == stats.bytes_read && written == stats.bytes_written);
    CHECK(stats.elapsed_ns > 0 && stats.wakes > 0);
    if (on_ring())
        CHECK(stats.ring_enters > 0 && stats.fallbacks == 0);
    else
        CHECK(stats.ring_enters == 0 && stats.lane[AIO_SHIM_LANE_RING].requests == 0 && stats.worker_calls > 0);
}

CASE(39, the_caller_says_how_much_it_knows, SHIM_ONLY, 10)
{
    unsigned char room[sizeof(struct aio_shim_stats) + 64];
    CHECK_FAILS(aio_shim_stats(NULL, sizeof room), EINVAL);
    memset(room, 0xee, sizeof room);
    CHECK_EQ(aio_shim_stats((struct aio_shim_stats *)(void *)room, 8), 0);
    for (size_t i = 8; i < sizeof room; i++)
        CHECK_EQ(room[i], 0xee);
    CHECK_EQ(aio_shim_stats((struct aio_shim_stats *)(void *)room, sizeof room), 0);
    for (size_t i = sizeof(struct aio_shim_stats); i < sizeof room; i++)
        CHECK_EQ(room[i], 0xee);
    CHECK_EQ(aio_shim_stats((struct aio_shim_stats *)(void *)room, 0), 0);
}

CASE(39, times_are_those_of_the_requests, SHIM_ONLY, 30)
{
    struct pair pair = make_pair(PIPE);
    stats_now(); /* from here on times are taken */
    for (int i = 0; i < 20; i++) {
        struct aiocb cb = request(pair.ends[0], data, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
        sleep_ms(i == 0 ? 300 : 10);
        SETUP(write(pair.ends[1], "x", 1) == 1);
        CHECK_DONE(&cb, 1);
    }
    struct aio_shim_stats stats = stats_now();
    const struct aio_shim_stats_lane *lane = &stats.lane[AIO_SHIM_LANE_ENGINE];
    CHECK_EQ(lane->requests, 20);
    CHECK_EQ(lane->timed, 20);
    CHECK(lane->p50_ns >= 10000000 && lane->p50_ns < 300000000, "%llu", (unsigned long long)lane->p50_ns);
    CHECK(lane->longest_ns >= 300000000);
    CHECK(lane->mean_ns >= (300000000 + 19 * 10000000) / 20);
    CHECK(lane->p50_ns <= lane->p90_ns && lane->p90_ns <= lane->p99_ns && lane->p99_ns <= lane->p999_ns
          && lane->p999_ns <= lane->longest_ns);
}

/* ---- reports ------------------------------------------------------------------------------------------------ */

static char pattern[4096]; /* of the reports' names, with %p */

static void ask_for_reports(const char *suffix)
{
    snprintf(pattern, sizeof pattern, "%s/ctest-stats-%%p%s", place_path(ON_DISK), suffix);
    with_environment("AIO_SHIM_STATS", pattern);
}
static const char *report_of(pid_t pid)
{
    static char path[4096];
    const char *at = strstr(pattern, "%p");
    snprintf(path, sizeof path, "%.*s%d%s", (int)(at - pattern), pattern, (int)pid, at + 2);
    return path;
}
/* Waits for a file with so many lines; takes it away. */
static char *take_report(const char *path, int lines)
{
    static char text[32768];
    ssize_t length = 0;
    int found = 0;
    for (int64_t until = now_ns() + patience_ns(); found < lines; sleep_ms(1)) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        close(fd);
        text[length > 0 ? length : 0] = 0;
        found = 0;
        for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
            found++;
        CHECK(now_ns() < until, "no report in %s (%d lines)", path, found);
    }
    unlink(path);
    return text;
}
static void some_reads(int count)
{
    int fd = temp_file(ON_TMPFS, 8, 1, 0);
    for (int i = 0; i < count; i++)
        run(request(fd, data, 8, 0), aio_read);
    close(fd);
}
/* So many times the word is in the text. */
static int times(const char *text, const char *word)
{
    int count = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        count++;
    return count;
}

static void end_by(int way)
{
    if (way == 0)
        exit(0);
    if (way == 1)
        _exit(0);
    if (way == 2)
        quick_exit(0);
    if (way == 3)
        raise(SIGKILL);
    if (way == 4)
        execl("/bin/true", "true", (char *)NULL);
    if (way == 5)
        pthread_exit(NULL);
    abort();
}
CASE(39, every_end_has_its_report, SHIM_ONLY, 60)
{
    static const char *const names[] = {"exit", "_exit", "quick_exit", "SIGKILL", "exec", "pthread_exit"};
    static const char *const ends[] = {"\"exit\"", "\"gone\"", "\"gone\"", "\"gone\"", NULL, "\"exit\""};
    ask_for_reports(".json");
    for (int way = 0; way < 6; way++) {
        pid_t child = fork();
        if (child == 0) {
            some_reads(way + 10);
            end_by(way);
        }
        SETUP(waitpid(child, NULL, 0) == child);
        char *text = take_report(report_of(child), 1), expected[100];
        snprintf(expected, sizeof expected, "\"succeeded\":%d,\"failed\":0,\"cancelled\":0,\"refused\":0", way + 10);
        CHECK_EQ(times(text, expected), 1);
        snprintf(expected, sizeof expected, "\"pid\":%d,", (int)child);
        CHECK_EQ(times(text, expected), 1);
        CHECK(ends[way] == NULL || times(text, ends[way]) == 1, "%s: %.200s", names[way], text);
        CHECK_EQ(times(text, "{"), times(text, "}"));
    }
    CHECK(access(report_of(getpid()), F_OK) != 0); /* this one made no request */
}

/* What a program did before exec stays, and what comes after it is added. */
CASE(39, a_report_survives_the_next_program, SHIM_ONLY | NO_VALGRIND, 30)
{
    ask_for_reports(".json");
    if (getenv("AIO_TEST_SECOND")) {
        sleep_ms(200); /* the first one's report comes meanwhile: exec is seen */
        some_reads(22);
        exit(0);
    }
    pid_t child = fork();
    if (child == 0) {
        some_reads(11);
        setenv("AIO_TEST_SECOND", "1", 1);
        execl(program_path, program_path, getenv("AIO_TEST_CASE"), (char *)NULL);
        _exit(1);
    }
    CHECK_CHILD(child);
    char *text = take_report(report_of(child), 2);
    CHECK_EQ(times(text, "\"succeeded\":11,\"failed\":0,\"cancelled\":0,\"refused\""), 1);
    CHECK_EQ(times(text, "\"succeeded\":22,\"failed\":0,\"cancelled\":0,\"refused\""), 1);
    CHECK_EQ(times(text, "\"end\":\"exec\""), 1);
    CHECK_EQ(times(text, "\"end\":\"exit\""), 1);
}

static bool begins_with_ours(const char *path)
{
    char start[8] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ours = read(fd, start, 8) == 8 && memcmp(start, "aio_shim", 8) == 0;
    close(fd);
    return ours;
}
/* But a file of another process, or of long ago, is replaced. */
CASE(39, an_old_report_is_replaced, SHIM_ONLY, 30)
{
    ask_for_reports("");
    for (int round = 0; round < 2; round++) {
        pid_t child = fork();
        if (child == 0) {
            int fd = open(report_of(getpid()), O_WRONLY | O_CREAT | O_EXCL, 0600);
            SETUP(fd >= 0 && dprintf(fd, "{\"aio_shim\":\"0\",\"pid\":%d,\"started\":1,old\n%s", getpid(), "old\n") > 0);
            close(fd);
            some_reads(1);
            if (round)
                _exit(0);
            exit(0);
        }
        CHECK_CHILD(child);
        WAIT_FOR(begins_with_ours(report_of(child)));
        CHECK_EQ(times(take_report(report_of(child), 5), "old"), 0);
    }
}

CASE(39, the_name_is_that_of_the_start, SHIM_ONLY, 30)
{
    if (!getenv("AIO_TEST_SECOND")) {
        SETUP(chdir(place_path(ON_DISK)) == 0);
        setenv("AIO_TEST_SECOND", "1", 1);
        with_environment("AIO_SHIM_STATS", "ctest-relative-%p.json");
    }
    snprintf(pattern, sizeof pattern, "%s/ctest-relative-%%p.json", place_path(ON_DISK));
    for (int way = 0; way < 2; way++) {
        pid_t child = fork();
        if (child == 0) {
            SETUP(chdir("/") == 0);
            char *name = getenv("AIO_SHIM_STATS");
            SETUP(name != NULL);
            memset(name, 'x', strlen(name)); /* as programs do that show their state in ps */
            some_reads(5);
            end_by(way);
        }
        CHECK_CHILD(child);
        CHECK_EQ(times(take_report(report_of(child), 1), "\"succeeded\":5,\"failed\":0,\"cancelled\":0,\"refused\""), 1);
    }
}

CASE(39, the_table_goes_to_standard_error, SHIM_ONLY, 30)
{
    with_environment("AIO_SHIM_STATS", "1");
    for (int way = 0; way < 2; way++) {
        struct pair pair = make_pair(PIPE);
        pid_t child = fork();
        if (child == 0) {
            SETUP(dup2(pair.ends[1], 2) == 2);
            close(pair.ends[1]);
            some_reads(3);
            end_by(way);
        }
        close(pair.ends[1]);
        char text[8192];
        size_t length = 0;
        /* To the end of the pipe: whoever waits for that has the whole report. */
        for (ssize_t got; (got = read(pair.ends[0], text + length, sizeof text - 1 - length)) > 0;)
            length += (size_t)got;
        text[length] = 0;
        CHECK_CHILD(child);
        CHECK_EQ(times(text, "statistics: process "), 1);
        CHECK_EQ(times(text, "latency, us"), 1);
        CHECK_EQ(times(text, "ended without exit"), way);
        close(pair.ends[0]);
    }
}

static volatile sig_atomic_t children_ended;
static void child_ended(int signo)
{
    (void)signo;
    children_ended++;
}
CASE(39, the_witness_is_not_noticed, SHIM_ONLY, 30)
{
    ask_for_reports(".json");
    struct sigaction action = {.sa_handler = child_ended};
    struct pair pair = make_pair(PIPE);
    SETUP(sigaction(SIGCHLD, &action, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        int before = open_descriptors();
        some_reads(1);
        CHECK_FAILS(waitpid(-1, NULL, 0), ECHILD);
        CHECK_FAILS(waitid(P_ALL, 0, NULL, WEXITED), ECHILD);
        /* One end of a pipe, above all numbers that programs look at. */
        CHECK(open_descriptors() - before <= 1 + (on_workers() ? 1 : 2), "%d, %d before", open_descriptors(), before);
        int low = dup(0);
        CHECK(low < 20, "%d", low);
        /* The witness has no hold on our pipe: this is its last writing end but the parent's. */
        close(pair.ends[1]);
        kill(0, 0);
        kill(getpid(), SIGCONT);
        sleep_ms(50);
        CHECK_EQ(children_ended, 0);
        _exit(7);
    }
    close(pair.ends[1]);
    char byte;
    CHECK_EQ(read(pair.ends[0], &byte, 1), 0);
    int status;
    SETUP(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 7 << 8);
    take_report(report_of(child), 1);
}

/* A child of a child of a child, each with its own requests and its own end. */
static void generations(int left, int report)
{
    pid_t child = 0;
    for (; left > 0 && child == 0; left--) {
        some_reads(left);
        child = left > 1 ? fork() : -1;
    }
    if (child > 0) {
        left++;
        CHECK_CHILD(child);
    }
    pid_t self = getpid();
    SETUP(write(report, &self, sizeof self) == sizeof self);
    if (left % 2)
        _exit(0);
    exit(0);
}
CASE(39, each_child_has_its_own_report, SHIM_ONLY, 30)
{
    enum { GENERATIONS = 6 };
    ask_for_reports(".json");
    struct pair pair = make_pair(PIPE);
    pid_t child = fork();
    if (child == 0)
        generations(GENERATIONS, pair.ends[1]);
    CHECK_CHILD(child);
    for (int i = 1; i <= GENERATIONS; i++) {
        pid_t pid;
        char expected[80];
        read_all(pair.ends[0], &pid, sizeof pid);
        snprintf(expected, sizeof expected, "\"succeeded\":%d,\"failed\":0,\"cancelled\":0,\"refused\"", i);
        CHECK_EQ(times(take_report(report_of(pid), 1), expected), 1);
    }
}

CASE(39, nothing_is_written_that_was_not_asked_for, SHIM_ONLY | AS_BUILT, 30)
{
    ask_for_reports(".json");
    pid_t child = fork();
    if (child == 0)
        exit(0); /* no request: no report */
    CHECK_CHILD(child);
    sleep_ms(50);
    CHECK(access(report_of(child), F_OK) != 0);
    /* A place that cannot be written to is no reason to fail. */
    child = fork();
    if (child == 0) {
        setenv("AIO_SHIM_STATS", "/proc/no/such/place", 1);
        execl(program_path, program_path, "counters_are_exact", (char *)NULL);
        _exit(1);
    }
    CHECK_CHILD(child);
}
