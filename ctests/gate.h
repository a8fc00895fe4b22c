/* gate.h - a file whose reads and writes finish when the test says so. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A FUSE file system served by a child process: requests that match a hold are kept unanswered until it is
 * released, or answered with an error, and the order in which requests reached the file system is on record. So
 * "B runs while A has not finished", "the fsync was not begun before the write had ended", "this transfer is
 * running" are facts that can be asked, not guesses about time.
 *
 * The files are opened for direct I/O: every read, write and fsync is one request, nothing is cached.
 * All that the test and the server share is one shared mapping: the test owns no descriptor of it. When the test
 * ends, in whatever way, the server is killed, which ends what it still holds.
 *
 * A server that is silent answers nothing at all, nor what is asked about a file: its attributes, its file system.
 */
#ifndef CTESTS_GATE_H
#define CTESTS_GATE_H
#include "hostile.h"
#include <linux/fuse.h>
#include <sys/mount.h>

enum gate_op { GATE_READ = 1, GATE_WRITE = 2, GATE_FSYNC = 4, GATE_ANY = 7 };
enum { GATE_FILES = 4, GATE_BYTES = 1 << 20, GATE_RULES = 64, GATE_LOG = 8192, GATE_PARKED = 1024 };
enum { GATE_ROOT = FUSE_ROOT_ID, GATE_FIRST = 100 }; /* inode of file 0 */

struct gate_rule {
    atomic_int active;
    int op, file, error;   /* error 0: hold; else answer with it at once */
    int parting_error;     /* what a held request is answered with when it is released; 0: it is carried out */
    int64_t from, to;
};
struct gate_entry {
    int op, file;
    int64_t offset;
    size_t size;
};
struct gate {
    struct gate_rule rules[GATE_RULES];
    struct gate_entry log[GATE_LOG]; /* in the order of arrival */
    atomic_int logged, answered[8];
    atomic_bool no_positions[GATE_FILES]; /* what is opened then cannot seek */
    atomic_bool forgetful;                /* from now on the kernel is to ask for attributes each time */
    atomic_bool silent;
    atomic_bool silent_at_close; /* it falls silent when it is told of the next one */
    int64_t sizes[GATE_FILES];
    unsigned char data[GATE_FILES][GATE_BYTES];
};

struct gate_parked {
    uint64_t unique;
    int op, file, rule;
    int64_t offset;
    size_t size;
    unsigned char *data;
};

static void gate_reply(int device, uint64_t unique, int error, const void *body, size_t bytes)
{
    static unsigned char reply[GATE_BYTES + sizeof(struct fuse_out_header)];
    struct fuse_out_header head = {.len = (uint32_t)(sizeof head + bytes), .error = -error, .unique = unique};
    memcpy(reply, &head, sizeof head);
    if (bytes)
        memcpy(reply + sizeof head, body, bytes);
    if (write(device, reply, head.len) < 0 && errno != ENOENT)
        _exit(1);
}

static void gate_attributes(struct gate *gate, uint64_t inode, struct fuse_attr *attr)
{
    memset(attr, 0, sizeof *attr);
    attr->ino = inode;
    attr->mode = inode == GATE_ROOT ? S_IFDIR | 0777 : S_IFREG | 0666;
    attr->nlink = 1;
    attr->blksize = 4096;
    if (inode >= GATE_FIRST)
        attr->size = (uint64_t)gate->sizes[inode - GATE_FIRST];
}

static void gate_carry_out(struct gate *gate, int device, const struct gate_parked *work, int error)
{
    atomic_fetch_add(&gate->answered[work->op], 1);
    if (error) {
        gate_reply(device, work->unique, error, NULL, 0);
    } else if (work->op == GATE_READ) {
        int64_t left = gate->sizes[work->file] - work->offset;
        size_t bytes = left < 0 ? 0 : (int64_t)work->size < left ? work->size : (size_t)left;
        gate_reply(device, work->unique, 0, gate->data[work->file] + work->offset, bytes);
    } else if (work->op == GATE_WRITE) {
        struct fuse_write_out out = {.size = (uint32_t)work->size};
        if (work->offset + (int64_t)work->size > GATE_BYTES) {
            gate_reply(device, work->unique, ENOSPC, NULL, 0);
            return;
        }
        memcpy(gate->data[work->file] + work->offset, work->data, work->size);
        if (work->offset + (int64_t)work->size > gate->sizes[work->file])
            gate->sizes[work->file] = work->offset + (int64_t)work->size;
        gate_reply(device, work->unique, 0, &out, sizeof out);
    } else {
        gate_reply(device, work->unique, 0, NULL, 0);
    }
}

/* Holds or answers a transfer; the rule that holds it is remembered. */
static void gate_transfer(struct gate *gate, int device, struct gate_parked work, struct gate_parked *parked, int *count)
{
    int at = atomic_load(&gate->logged);
    if (at < GATE_LOG) {
        gate->log[at] = (struct gate_entry){work.op, work.file, work.offset, work.size};
        atomic_store(&gate->logged, at + 1);
    }
    for (int i = 0; i < GATE_RULES; i++) {
        struct gate_rule *rule = &gate->rules[i];
        if (!atomic_load(&rule->active) || !(rule->op & work.op) || rule->file != work.file)
            continue;
        if (work.op != GATE_FSYNC && (work.offset >= rule->to || work.offset + (int64_t)work.size <= rule->from))
            continue;
        if (rule->error) {
            gate_carry_out(gate, device, &work, rule->error);
        } else {
            if (*count == GATE_PARKED)
                _exit(2);
            work.rule = i;
            if (work.op == GATE_WRITE) {
                unsigned char *copy = malloc(work.size);
                if (!copy)
                    _exit(3);
                memcpy(copy, work.data, work.size);
                work.data = copy;
            }
            parked[(*count)++] = work;
        }
        return;
    }
    gate_carry_out(gate, device, &work, 0);
}

static void gate_request(struct gate *gate, int device, unsigned char *buffer, struct gate_parked *parked, int *count)
{
    struct fuse_in_header *in = (struct fuse_in_header *)buffer;
    void *body = buffer + sizeof *in;
    int file = in->nodeid >= GATE_FIRST ? (int)(in->nodeid - GATE_FIRST) : -1;
    struct gate_parked work = {.unique = in->unique, .file = file};
    uint64_t valid = atomic_load(&gate->forgetful) ? 0 : 1000;
    struct fuse_entry_out entry = {.attr_valid = valid, .entry_valid = 1000};
    struct fuse_attr_out attr = {.attr_valid = valid};
    struct fuse_statfs_out statfs = {.st = {.bsize = 4096, .namelen = 255}};
    struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
    switch (in->opcode) {
    case FUSE_INIT: {
        struct fuse_init_in *asked = body;
        struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
                                    .max_write = 1 << 17, .max_background = 512, .congestion_threshold = 500};
        out.max_readahead = asked->max_readahead;
        out.flags = asked->flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES);
        out.max_pages = 32;
        gate_reply(device, in->unique, 0, &out, sizeof out);
        return;
    }
    case FUSE_LOOKUP: {
        const char *name = body;
        if (name[0] < '0' || name[0] >= '0' + GATE_FILES || name[1]) {
            gate_reply(device, in->unique, ENOENT, NULL, 0);
            return;
        }
        entry.nodeid = (uint64_t)(GATE_FIRST + name[0] - '0');
        entry.generation = 1;
        gate_attributes(gate, entry.nodeid, &entry.attr);
        gate_reply(device, in->unique, 0, &entry, sizeof entry);
        return;
    }
    case FUSE_SETATTR: {
        struct fuse_setattr_in *set = body;
        if (set->valid & FATTR_SIZE)
            gate->sizes[file] = (int64_t)set->size;
    } /* fall through */
    case FUSE_GETATTR:
        gate_attributes(gate, in->nodeid, &attr.attr);
        gate_reply(device, in->unique, 0, &attr, sizeof attr);
        return;
    case FUSE_STATFS:
        gate_reply(device, in->unique, 0, &statfs, sizeof statfs);
        return;
    case FUSE_OPEN:
        if (file >= 0 && atomic_load(&gate->no_positions[file]))
            opened.open_flags |= FOPEN_NONSEEKABLE;
        gate_reply(device, in->unique, 0, &opened, sizeof opened);
        return;
    case FUSE_READ: {
        struct fuse_read_in *read_in = body;
        work.op = GATE_READ, work.offset = (int64_t)read_in->offset, work.size = read_in->size;
        gate_transfer(gate, device, work, parked, count);
        return;
    }
    case FUSE_WRITE: {
        struct fuse_write_in *write_in = body;
        work.op = GATE_WRITE, work.offset = (int64_t)write_in->offset, work.size = write_in->size;
        work.data = (unsigned char *)body + sizeof *write_in;
        gate_transfer(gate, device, work, parked, count);
        return;
    }
    case FUSE_FSYNC:
        work.op = GATE_FSYNC;
        gate_transfer(gate, device, work, parked, count);
        return;
    case FUSE_FLUSH: /* a close */
        if (atomic_load(&gate->silent_at_close))
            atomic_store(&gate->silent, true);
        while (atomic_load(&gate->silent))
            sleep_ms(1);
        gate_reply(device, in->unique, 0, NULL, 0);
        return;
    case FUSE_RELEASE:
        gate_reply(device, in->unique, 0, NULL, 0);
        return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    default:
        gate_reply(device, in->unique, ENOSYS, NULL, 0);
    }
}

static _Noreturn void gate_serve(struct gate *gate, int device)
{
    static unsigned char buffer[(1 << 17) + 8192];
    static struct gate_parked parked[GATE_PARKED];
    int count = 0;
    for (;;) {
        struct pollfd ready = {.fd = device, .events = POLLIN};
        int found = poll(&ready, 1, count ? 1 : 1000);
        while (atomic_load(&gate->silent))
            sleep_ms(1);
        if (found > 0) {
            ssize_t got = read(device, buffer, sizeof buffer);
            if (got > 0)
                gate_request(gate, device, buffer, parked, &count);
            else if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
                _exit(0); /* unmounted */
        }
        for (int i = 0; i < count;) {
            struct gate_parked work = parked[i];
            if (atomic_load(&gate->rules[work.rule].active)) {
                i++;
                continue;
            }
            memmove(&parked[i], &parked[i + 1], (size_t)(--count - i) * sizeof parked[0]);
            gate_carry_out(gate, device, &work, gate->rules[work.rule].parting_error);
            if (work.op == GATE_WRITE)
                free(work.data);
        }
    }
}

/* Mounts the file system where only this process sees it. Call it before any thread is made. */
UNUSED static struct gate *gate_start(void)
{
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0)
        SKIP("no /dev/fuse");
    if (unshare(CLONE_NEWNS) != 0)
        SKIP("no mount namespace of its own");
    SETUP(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    char options[64];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", device, (int)getuid(),
             (int)getgid());
    if (mount("gate", "/mnt", "fuse", MS_NOSUID | MS_NODEV, options) != 0)
        SKIP("cannot mount a FUSE file system");
    struct gate *gate = mmap(NULL, sizeof *gate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SETUP(gate != MAP_FAILED);
    for (int i = 0; i < GATE_FILES; i++)
        gate->sizes[i] = GATE_BYTES / 2; /* writes that do not extend the file may run side by side */
    pid_t parent = getpid(), server = fork();
    SETUP(server >= 0);
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
        signal(SIGPIPE, SIG_IGN);
        gate_serve(gate, device);
    }
    close(device);
    return gate;
}

UNUSED static int gate_open(int file, int flags)
{
    char path[16];
    snprintf(path, sizeof path, "/mnt/%d", file);
    int fd = open(path, flags | O_CLOEXEC);
    SETUP(fd >= 0, "%s", path);
    return fd;
}

/* Keeps (error 0) or refuses what is of this kind and touches [from, to) of the file. Returns the rule. */
UNUSED static int gate_rule(struct gate *gate, int op, int file, int64_t from, int64_t to, int error)
{
    for (int i = 0; i < GATE_RULES; i++) {
        struct gate_rule *rule = &gate->rules[i];
        if (atomic_load(&rule->active) || rule->op)
            continue;
        rule->op = op, rule->file = file, rule->from = from, rule->to = to, rule->error = error;
        atomic_store(&rule->active, 1);
        return i;
    }
    SETUP(false, "more than %d rules", GATE_RULES);
    return -1;
}
UNUSED static int gate_hold(struct gate *gate, int op, int file, int64_t from, int64_t to)
{
    return gate_rule(gate, op, file, from, to, 0);
}
UNUSED static void gate_release(struct gate *gate, int rule) { atomic_store(&gate->rules[rule].active, 0); }
/* What the rule holds fails, what comes later does not. */
UNUSED static void gate_release_failed(struct gate *gate, int rule, int error)
{
    gate->rules[rule].parting_error = error;
    gate_release(gate, rule);
}

/* How many of these reached the file system, that touch [from, to) of the file. */
UNUSED static int gate_arrived(struct gate *gate, int op, int file, int64_t from, int64_t to)
{
    int count = 0;
    for (int i = 0; i < atomic_load(&gate->logged); i++) {
        struct gate_entry *entry = &gate->log[i];
        count += (entry->op & op) && entry->file == file
                 && (entry->op == GATE_FSYNC || (entry->offset < to && entry->offset + (int64_t)entry->size > from));
    }
    return count;
}
#endif
