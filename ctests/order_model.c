/* order_model.c - random programs over files, pipes, sockets and ttys, end to end, against a simple model.
 * AIO_TEST_SEED repeats what a failure prints. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

static uint64_t seed, state;

/* ---- files: reads, writes, appends, fsyncs and cancels through three descriptors ------------------------ */

enum { FILE_BYTES = 3000, FILE_REQUESTS = 400, FILE_MOST = 300 };
enum kind { READ, WRITE, SYNC };
struct file_step {
    struct aiocb cb;
    enum kind kind;
    bool cancelled;
    unsigned char data[FILE_MOST];
};

static void random_file_program(enum place where)
{
    static struct file_step step[FILE_REQUESTS];
    static unsigned char model[FILE_BYTES], found[FILE_BYTES];
    int first = temp_file(where, FILE_BYTES, 77, 0), fds[3] = {first, dup(first), -1};
    char path[64];
    int count = 50 + (int)below(&state, FILE_REQUESTS - 50);
    snprintf(path, sizeof path, "/proc/self/fd/%d", first);
    fds[2] = open(path, O_RDWR | O_CLOEXEC);
    SETUP(fds[1] >= 0 && fds[2] >= 0);
    pattern_fill(model, FILE_BYTES, 0, 77);
    for (int i = 0; i < count; i++) {
        struct file_step *now = &step[i];
        size_t size = below(&state, FILE_MOST), at = below(&state, FILE_BYTES - size);
        now->kind = chance(&state) % 8 == 0 ? SYNC : chance(&state) & 1 ? READ : WRITE;
        now->cancelled = false;
        /* glibc has order on one descriptor only */
        now->cb = request(fds[on_glibc() ? 0 : below(&state, 3)], now->data, size, (off_t)at);
        now->cb.aio_reqprio = chance(&state) % 4 == 0 && !on_glibc() ? (int)below(&state, 21) : 0;
        if (now->kind == WRITE)
            pattern_fill(now->data, size, (size_t)i * 1000, (unsigned)i);
        CHECK_EQ(now->kind == READ ? aio_read(&now->cb) : now->kind == WRITE ? aio_write(&now->cb) : aio_fsync(O_DSYNC, &now->cb), 0);
        if (chance(&state) % 10 == 0 && !on_glibc()) { /* there, a cancelled head takes what is behind it along */
            struct file_step *victim = &step[below(&state, (size_t)i + 1)];
            if (!victim->cancelled) {
                int verdict = aio_cancel(victim->cb.aio_fildes, &victim->cb);
                CHECK(verdict == AIO_CANCELED || verdict == AIO_NOTCANCELED || verdict == AIO_ALLDONE, "%d", verdict);
                victim->cancelled = verdict == AIO_CANCELED;
            }
        }
        if (chance(&state) % 16 == 0)
            wait_done(&step[below(&state, (size_t)i + 1)].cb);
    }
    for (int i = 0; i < count; i++) { /* the model does them one by one, without those that were cancelled */
        struct file_step *now = &step[i];
        if (now->cancelled) {
            CHECK_ENDS(&now->cb, ECANCELED);
            continue;
        }
        if (now->kind == SYNC) {
            int error = wait_done(&now->cb);
            CHECK(error == 0 || error == ECANCELED, "fsync: %d", error); /* behind a cancelled write */
            continue;
        }
        CHECK_DONE(&now->cb, now->cb.aio_nbytes);
        if (now->kind == WRITE)
            memcpy(model + now->cb.aio_offset, now->data, now->cb.aio_nbytes);
        else
            CHECK(memcmp(model + now->cb.aio_offset, now->data, now->cb.aio_nbytes) == 0,
                  "seed %#llx: step %d, read of %zu at %lld", (unsigned long long)seed, i, now->cb.aio_nbytes, (long long)now->cb.aio_offset);
    }
    CHECK_EQ(pread(first, found, FILE_BYTES, 0), FILE_BYTES);
    CHECK(memcmp(found, model, FILE_BYTES) == 0, "seed %#llx: the file at the end", (unsigned long long)seed);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}
CASE(15, random_programs_on_a_file, GLIBC_OK, 60)
{
    state = seed = chance_seed();
    int64_t until = now_ns() + (int64_t)(scaled_seconds(3, 60) * 1e9);
    int programs = 0;
    do
        random_file_program(programs++ % 2 ? ON_TMPFS : ON_DISK);
    while (now_ns() < until);
    printf("%d programs\n", programs);
}

/* ---- streams: reads, writes and cancels in both directions ---------------------------------------------- */

enum { STREAM_REQUESTS = 200, STREAM_MOST = 3000 };
struct direction {
    int reader, writer;
    struct aiocb reads[STREAM_REQUESTS], writes[STREAM_REQUESTS];
    bool read_cancelled[STREAM_REQUESTS], write_cancelled[STREAM_REQUESTS], write_tried[STREAM_REQUESTS];
    int made_reads, made_writes;
    unsigned char in[STREAM_REQUESTS][STREAM_MOST], out[STREAM_REQUESTS][STREAM_MOST];
};

static void try_cancel(struct aiocb *cb, bool *cancelled)
{
    if (*cancelled)
        return;
    int verdict = aio_cancel(cb->aio_fildes, cb);
    CHECK(verdict == AIO_CANCELED || verdict == AIO_NOTCANCELED || verdict == AIO_ALLDONE, "%d", verdict);
    *cancelled = verdict == AIO_CANCELED;
}

static void random_step(struct direction *way, int cancels)
{
    if (chance(&state) % 2 && way->made_reads < STREAM_REQUESTS) {
        struct aiocb *cb = &way->reads[way->made_reads];
        *cb = request(way->reader, way->in[way->made_reads], 1 + below(&state, STREAM_MOST), (off_t)(chance(&state) % 5000));
        way->read_cancelled[way->made_reads++] = false;
        CHECK_EQ(aio_read(cb), 0);
    } else if (way->made_writes < STREAM_REQUESTS) {
        int i = way->made_writes;
        struct aiocb *cb = &way->writes[i];
        *cb = request(way->writer, way->out[i], 1 + below(&state, STREAM_MOST), 0);
        pattern_fill(way->out[i], cb->aio_nbytes, (size_t)i * 5000, (unsigned)i + 1);
        way->write_cancelled[i] = way->write_tried[i] = false;
        way->made_writes++;
        CHECK_EQ(aio_write(cb), 0);
    }
    if (cancels && chance(&state) % 12 == 0) {
        bool read = chance(&state) & 1;
        int made = read ? way->made_reads : way->made_writes;
        size_t victim = made ? below(&state, (size_t)made) : 0;
        if (made && !read)
            way->write_tried[victim] = true;
        if (made)
            try_cancel(read ? &way->reads[victim] : &way->writes[victim],
                       read ? &way->read_cancelled[victim] : &way->write_cancelled[victim]);
    }
}

static bool all_done(const struct aiocb *cb, int count)
{
    for (int i = 0; i < count; i++)
        if (aio_error(&cb[i]) == EINPROGRESS)
            return false;
    return true;
}

/* All that was written, in call order, is what the reads got, in call order, and then read(2) got. */
static void verify_direction(struct direction *way, const char *name)
{
    static unsigned char sent[STREAM_REQUESTS * STREAM_MOST], rest[1 << 20];
    size_t put = 0, have = 0, left = 0;
    int64_t until = now_ns() + patience_ns();
    while (!all_done(way->writes, way->made_writes)) { /* when no read takes it any more, take it here */
        struct pollfd ready = {.fd = way->reader, .events = POLLIN};
        if (all_done(way->reads, way->made_reads) && poll(&ready, 1, 1) == 1) {
            ssize_t part = read(way->reader, rest + left, sizeof rest - left);
            CHECK(part > 0, "%s: %zd", name, part);
            left += (size_t)part;
        }
        CHECK(now_ns() < until, "seed %#llx: %s: writes do not end", (unsigned long long)seed, name);
    }
    for (int i = 0; i < way->made_writes; i++) {
        struct aiocb *cb = &way->writes[i];
        if (way->write_cancelled[i]) {
            CHECK_ENDS(cb, ECANCELED);
            continue;
        }
        CHECK_EQ(wait_done(cb), 0);
        size_t bytes = (size_t)aio_return(cb);
        CHECK(bytes == cb->aio_nbytes || (way->write_tried[i] && bytes > 0 && bytes < cb->aio_nbytes),
              "seed %#llx: %s: write %d: %zu of %zu", (unsigned long long)seed, name, i, bytes, cb->aio_nbytes);
        memcpy(sent + put, way->out[i], bytes);
        put += bytes;
    }
    for (int i = 0; i < way->made_reads; i++) {
        struct aiocb *cb = &way->reads[i];
        if (way->read_cancelled[i]) {
            CHECK_ENDS(cb, ECANCELED);
            continue;
        }
        if (have == put) { /* nothing is left for this one: it waits */
            CHECK_EQ(aio_error(cb), EINPROGRESS);
            if (!on_glibc())
                CHECK_EQ(aio_cancel(way->reader, cb), AIO_CANCELED);
            continue;
        }
        CHECK(wait_done(cb) == 0, "seed %#llx: %s: read %d: %d", (unsigned long long)seed, name, i, aio_error(cb));
        size_t bytes = (size_t)aio_return(cb);
        CHECK(bytes > 0 && bytes <= cb->aio_nbytes && have + bytes <= put, "read %d: %zu", i, bytes);
        CHECK(memcmp(way->in[i], sent + have, bytes) == 0, "seed %#llx: %s: read %d has not the bytes at %zu",
              (unsigned long long)seed, name, i, have);
        have += bytes;
    }
    CHECK(have + left <= put, "seed %#llx: %s: %zu bytes came, %zu were written", (unsigned long long)seed, name, have + left, put);
    read_all(way->reader, rest + left, put - have - left);
    CHECK(memcmp(rest, sent + have, put - have) == 0, "seed %#llx: %s: the rest from %zu on", (unsigned long long)seed, name, have);
}

static void random_stream_program(enum stream kind)
{
    static struct direction ways[2];
    struct ends ends = open_stream(kind);
    int directions = is_duplex(kind) && !on_glibc() ? 2 : 1, steps = 20 + (int)below(&state, 300);
    bool cancels = chance(&state) & 1 && !on_glibc();
    for (int i = 0; i < directions; i++) {
        ways[i].made_reads = ways[i].made_writes = 0;
        ways[i].reader = i ? ends.writer : ends.reader;
        ways[i].writer = i ? ends.reader : ends.writer;
    }
    for (int i = 0; i < steps; i++)
        random_step(&ways[below(&state, (size_t)directions)], cancels);
    for (int i = 0; i < directions; i++)
        verify_direction(&ways[i], stream_name(kind));
    close(ends.reader);
    close(ends.writer);
}
static void random_streams(enum stream a, enum stream b)
{
    state = seed = chance_seed();
    int64_t until = now_ns() + (int64_t)(scaled_seconds(2, 60) * 1e9);
    int programs = 0;
    do
        random_stream_program(programs++ % 2 ? a : b);
    while (now_ns() < until && !(on_glibc() && programs == 10)); /* there, waiting reads keep their threads */
    printf("%d programs\n", programs);
}
/* glibc: reads that one program leaves waiting may be served under the number's next owner. */
CASE(14, random_programs_on_pipes, GLIBC_RACY, 60) { random_streams(PIPE, FIFO); }
CASE(14, random_programs_on_sockets, GLIBC_RACY, 60) { random_streams(UNIX_SOCKET, TCP_SOCKET); }
CASE(14, random_programs_on_ttys, GLIBC_RACY, 60) { random_streams(PTY_SLAVE, PTY_MASTER); }
