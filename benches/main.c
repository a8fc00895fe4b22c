/* Options, and the choice of what to run. The driver (run.py) calls this; by hand: see BENCHMARKS.md. */
#include "bench.h"

#include <dlfcn.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench MODE --file PREFIX [options]\n"
    "  modes  prepare  rw  notify  list  waiters  outstanding  calls  wake  memory\n"
    "  --engine sync|aio|uring|uring-batch (rw)   --how WAY (notify, outstanding, memory)\n"
    "  --bytes N --files N --block N --depth N --threads N --count N --seconds S --seed N\n"
    "  --write --direct --verify --time-calls\n";

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        die("not a number: %s", text);
    return n;
}

static int mode_prepare(const struct options *o)
{
    files_prepare(o);
    return 0;
}

static int mode_version(const struct options *o)
{
    (void)o;
    const char *(*version)(void);
    *(void **)&version = dlsym(RTLD_DEFAULT, "aio_shim_version");
    puts(version != NULL ? version() : "not loaded");
    return 0;
}

static int mode_rw(const struct options *o)
{
    struct load *l = load_new(o);
    if (strcmp(o->engine, "sync") == 0)
        engine_sync(l);
    else if (strcmp(o->engine, "aio") == 0)
        engine_aio(l, SIGEV_NONE, 0);
    else if (strcmp(o->engine, "uring") == 0)
        engine_uring(l, false);
    else if (strcmp(o->engine, "uring-batch") == 0)
        engine_uring(l, true);
    else
        die("no such engine: %s", o->engine);
    load_finish(l);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"engine", 1, 0, 'e'}, {"file", 1, 0, 'f'},    {"how", 1, 0, 'h'},    {"bytes", 1, 0, 'B'},
        {"files", 1, 0, 'n'},  {"block", 1, 0, 'b'},   {"depth", 1, 0, 'd'},  {"threads", 1, 0, 't'},
        {"count", 1, 0, 'c'},  {"seconds", 1, 0, 's'}, {"seed", 1, 0, 'S'},   {"write", 0, 0, 'w'},
        {"direct", 0, 0, 'D'}, {"verify", 0, 0, 'v'},  {"time-calls", 0, 0, 'T'}, {0, 0, 0, 0},
    };
    static const struct {
        const char *name;
        int (*run)(const struct options *);
    } modes[] = {
        {"prepare", mode_prepare},         {"rw", mode_rw},       {"notify", mode_notify}, {"list", mode_list},
        {"waiters", mode_waiters},         {"wake", mode_wake},   {"calls", mode_calls},
        {"outstanding", mode_outstanding}, {"memory", mode_memory}, {"version", mode_version},
    };
    struct options o = {.engine = "aio", .how = "none", .files = 1, .depth = 1, .threads = 1, .block = 4096,
                        .bytes = 64 << 20, .seconds = 0.2, .seed = 1};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'e': o.engine = optarg; break;
        case 'f': o.file = optarg; break;
        case 'h': o.how = optarg; break;
        case 'B': o.bytes = number(optarg); break;
        case 'n': o.files = (unsigned)number(optarg); break;
        case 'b': o.block = number(optarg); break;
        case 'd': o.depth = (unsigned)number(optarg); break;
        case 't': o.threads = (unsigned)number(optarg); break;
        case 'c': o.count = number(optarg); break;
        case 's': o.seconds = atof(optarg); break;
        case 'S': o.seed = number(optarg); break;
        case 'w': o.write = true; break;
        case 'D': o.direct = true; break;
        case 'v': o.verify = true; break;
        case 'T': o.time_calls = true; break;
        default: fputs(usage, stderr); return 2;
        }
    }
    if (optind + 1 != argc || o.files == 0 || o.depth == 0 || o.threads == 0 || o.block == 0 || o.block % STAMP_EVERY != 0 ||
        o.bytes < o.block * o.files || o.seconds <= 0) {
        fputs(usage, stderr);
        return 2;
    }
    o.mode = argv[optind];
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(o.mode, modes[i].name) != 0)
            continue;
        if (o.file == NULL && modes[i].run != mode_wake && modes[i].run != mode_version) {
            fputs(usage, stderr);
            return 2;
        }
        alarm((unsigned)o.seconds + 20); /* a contestant that hangs ends here, and is said to have hung */
        return modes[i].run(&o);
    }
    fputs(usage, stderr);
    return 2;
}
