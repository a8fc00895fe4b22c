/*
 * What is asked of every contestant, and the check that it was done.
 *
 * Slot i of a depth of n takes only blocks whose number is i modulo n: no two outstanding requests overlap, so nobody is
 * held up by order, and each slot's last write is known and is read back at the end. With 32 files and a depth of up to
 * 32, no two outstanding requests share a descriptor either: the kindest case for an implementation that runs one request
 * at a time on a descriptor.
 *
 * The window opens after a warm-up (threads and rings exist by then) and closes before the requests still out are
 * drained: what is counted is the steady state.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct load *load_new(const struct options *o)
{
    struct load *l = calloc(1, sizeof *l);
    if (l == NULL || (l->slots = calloc(o->depth, sizeof *l->slots)) == NULL ||
        (l->fds = calloc(o->files, sizeof *l->fds)) == NULL)
        die("no memory");
    l->o = o;
    l->blocks = o->bytes / o->files / o->block * o->files;
    l->stride = o->depth < l->blocks ? o->depth : l->blocks;
    if (o->write && l->stride < o->depth)
        die("%llu blocks are too few to write at depth %u", (unsigned long long)l->blocks, o->depth);
    l->random = o->seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    if (o->verify && o->write && (l->written = calloc(l->blocks, sizeof *l->written)) == NULL)
        die("no memory");
    for (unsigned f = 0; f < o->files; f++)
        l->fds[f] = file_open(o, f);
    for (unsigned i = 0; i < o->depth; i++) {
        l->slots[i].buffer = buffer_new(o->block);
        for (size_t at = 0; o->write && at + sizeof(uint64_t) <= o->block; at += sizeof(uint64_t)) {
            uint64_t word = random_next(&l->random);
            memcpy(l->slots[i].buffer + at, &word, sizeof word);
        }
    }
    if (!o->direct)
        files_warm(o);
    return l;
}

void load_begin(struct load *l)
{
    uint64_t length = (uint64_t)(l->o->seconds * 1e9), warm = length / 5;
    l->began = l->now = now_ns();
    l->window_from = l->began + (warm < 30000000 ? 30000000 : warm);
    l->window_to = l->window_from + length;
    l->running = true;
}

void load_clock(struct load *l)
{
    l->now = now_ns();
    if (!l->measuring && l->from == 0 && l->now >= l->window_from) {
        l->measuring = true;
        l->from = l->now;
        l->done_from = l->done;
        l->cpu_from = cpu_ns();
        l->window_to = l->now + (uint64_t)(l->o->seconds * 1e9);
        histogram_clear(&l->latency);
        histogram_clear(&l->calls);
    } else if (l->measuring && l->now >= l->window_to) {
        l->measuring = false;
        l->to = l->now;
        l->done_to = l->done;
        l->cpu_to = cpu_ns();
        l->running = false;
    }
    /* --count is for verification: so many requests, whatever the time */
    if (l->o->count != 0 && l->running && l->done + l->outstanding >= l->o->count) {
        l->running = l->measuring = false;
        if (l->from == 0)
            l->from = l->began;
        l->to = l->now;
        l->done_to = l->done;
        l->cpu_to = cpu_ns();
    }
}

void load_next(struct load *l, unsigned index)
{
    struct slot *s = &l->slots[index];
    uint64_t lane = index % l->stride, choices = (l->blocks - lane + l->stride - 1) / l->stride;
    s->block = lane + random_next(&l->random) % choices * l->stride;
    unsigned file = (unsigned)(s->block % l->o->files);
    s->fd = l->fds[file];
    s->offset = (off_t)(s->block / l->o->files * l->o->block);
    s->started = l->now;
    if (l->o->write) {
        s->nonce = l->o->seed << 32 | ++l->sequence;
        for (size_t at = 0; at < l->o->block; at += STAMP_EVERY) {
            struct stamp t = {stamp_number(file, (uint64_t)s->offset + at), s->nonce};
            memcpy(s->buffer + at, &t, sizeof t);
        }
    }
}

static void check(const struct load *l, const struct slot *s, const char *data, bool all, uint64_t nonce)
{
    unsigned file = (unsigned)(s->block % l->o->files);
    for (size_t at = 0; at < (all ? l->o->block : 1); at += STAMP_EVERY) {
        struct stamp t;
        memcpy(&t, data + at, sizeof t);
        if (t.number != stamp_number(file, (uint64_t)s->offset + at))
            die("wrong data: file %u offset %llu holds number %llx", file, (unsigned long long)s->offset + at,
                (unsigned long long)t.number);
        if (nonce != 0 && t.nonce != nonce)
            die("lost write: file %u offset %llu holds write %llx, not %llx", file, (unsigned long long)s->offset + at,
                (unsigned long long)t.nonce, (unsigned long long)nonce);
    }
}

void load_check_block(const struct load *l, const struct slot *s)
{
    check(l, s, s->buffer, l->o->verify, 0);
}

void load_done(struct load *l, unsigned index, ssize_t result)
{
    struct slot *s = &l->slots[index];
    if (result != (ssize_t)l->o->block)
        die("offset %lld: %zd of %zu bytes%s%s", (long long)s->offset, result, l->o->block, result < 0 ? ": " : "",
            result < 0 ? strerror((int)-result) : "");
    if (!l->o->write) {
        load_check_block(l, s);
        /* the next read must bring the number itself */
        for (size_t at = 0; at < (l->o->verify ? l->o->block : 1); at += STAMP_EVERY)
            memset(s->buffer + at, 0xff, sizeof(struct stamp));
    } else if (l->written != NULL) {
        l->written[s->block] = s->nonce;
    }
    histogram_add(&l->latency, l->now - s->started);
    l->done++;
}

static void read_back(struct load *l)
{
    char *data = buffer_new(l->o->block);
    for (uint64_t b = 0; l->written != NULL && b < l->blocks; b++) {
        struct slot s = {.block = b, .offset = (off_t)(b / l->o->files * l->o->block)};
        if (l->written[b] == 0)
            continue;
        if (pread(l->fds[b % l->o->files], data, l->o->block, s.offset) != (ssize_t)l->o->block)
            die("read back: %s", strerror(errno));
        check(l, &s, data, true, l->written[b]);
    }
    for (unsigned i = 0; l->written == NULL && i < l->o->depth; i++) {
        struct slot *s = &l->slots[i];
        if (s->nonce == 0)
            continue;
        if (pread(s->fd, data, l->o->block, s->offset) != (ssize_t)l->o->block)
            die("read back: %s", strerror(errno));
        check(l, s, data, true, s->nonce);
    }
    free(data);
}

void load_finish(struct load *l)
{
    if (l->to == 0)
        die("the window never closed");
    uint64_t ops = l->done_to - l->done_from, ns = l->to - l->from;
    if (ops == 0)
        die("nothing completed in the window");
    if (l->o->write)
        read_back(l);
    printf("{\"ops\": %llu, \"seconds\": %.6f, \"iops\": %.1f, \"cpu_us_per_op\": %.4f, \"cpu_window_us\": %llu, "
           "\"cpu_total_us\": %llu, \"verified\": %s, \"shim\": %s",
           (unsigned long long)ops, (double)ns / 1e9, (double)ops * 1e9 / (double)ns,
           (double)(l->cpu_to - l->cpu_from) / 1e3 / (double)ops, (unsigned long long)(l->cpu_to - l->cpu_from) / 1000,
           (unsigned long long)cpu_ns() / 1000, l->o->verify ? "true" : "false", shim_is_loaded() ? "true" : "false");
    if (l->notified != 0 || l->lost != 0)
        printf(", \"notified\": %llu, \"lost\": %llu", (unsigned long long)l->notified, (unsigned long long)l->lost);
    histogram_print("latency_ns", &l->latency);
    histogram_print("call_ns", &l->calls);
    puts("}");
    fflush(stdout);
}
