/*
 * fault.c - makes calls fail for a while, for tests.
 *
 * A library to preload in front of the one under test:
 *
 *   cc -std=c11 -O2 -fPIC -shared -pthread -o fault.so fault.c -ldl
 *   AIO_FAULT="rt_sigqueueinfo:EAGAIN:count=100:after=10,pthread_create:EAGAIN:ms=500" \
 *   LD_PRELOAD=./fault.so:./libaio_shim.so program
 *
 * AIO_FAULT is a list of rules, separated by commas. A rule is
 *
 *   CALL:ERRNO[:option]...
 *
 * CALL    pthread_create, or a system call made through syscall(3):
 *         rt_sigqueueinfo, rt_tgsigqueueinfo, rt_sigtimedwait, io_uring_setup,
 *         io_uring_enter, io_uring_register, futex, or a plain number
 * ERRNO   EAGAIN, EPERM, ENOSYS, EINVAL, ENOMEM, EACCES, EOPNOTSUPP, EMFILE,
 *         ENFILE, EBUSY, EINTR, ESRCH, EBADF, or a plain number
 * after=N the first N calls succeed (0)
 * count=N at most N calls fail, then no more (no limit)
 * ms=T    calls fail for T milliseconds, counted from the first that fails
 *         (no limit)
 * every=N only each Nth call fails (1)
 * from=S  only calls from a library whose file name contains S fail, and only
 *         these are counted. ("from=aio_shim" leaves the threads of the
 *         program alone; a static build is not told apart from it.)
 *
 * A call that several rules name follows the first that lets it fail. A rule
 * that cannot be read ends the process with status 99 and a line that says
 * why: a test that believes in a fault which never comes proves nothing.
 *
 * A program may also find these with dlsym(RTLD_DEFAULT, ...):
 *
 *   int aio_fault_set(const char *rules);         new rules (NULL or "": none);
 *                                                 0, or -1 if unreadable. No
 *                                                 other thread may be inside a
 *                                                 call that has a rule.
 *   unsigned long aio_fault_hits(const char *call);   calls that failed so far,
 *                                                     all rules, since loading
 *
 * Not reached: system calls that the C library makes itself, and glibc's own
 * AIO, which calls its internal pthread_create.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PTHREAD_CREATE (-1L)
#define MOST_RULES 16
#define MOST_CALLS 16

struct name {
    const char *name;
    long number;
};

static const struct name calls[] = {
    {"pthread_create", PTHREAD_CREATE},
    {"rt_sigqueueinfo", SYS_rt_sigqueueinfo},
    {"rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo},
    {"rt_sigtimedwait", SYS_rt_sigtimedwait},
    {"io_uring_setup", SYS_io_uring_setup},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"futex", SYS_futex},
    {NULL, 0},
};

static const struct name errnos[] = {
    {"EAGAIN", EAGAIN}, {"EPERM", EPERM},   {"ENOSYS", ENOSYS},
    {"EINVAL", EINVAL}, {"ENOMEM", ENOMEM}, {"EACCES", EACCES},
    {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"EOPNOTSUPP", EOPNOTSUPP},
    {"EBUSY", EBUSY},   {"EINTR", EINTR},   {"ESRCH", ESRCH},
    {"EBADF", EBADF},   {NULL, 0},
};

struct rule {
    long call;
    int errno_value;
    unsigned long after, count, every;
    long long ms;
    char from[64];
    atomic_ulong seen, failed;
    atomic_llong first; /* when it first made a call fail, ns; 0: not yet */
};

static struct rule rules[MOST_RULES];
static atomic_int rule_count;

/* Failed calls by name, over all rules. */
static struct {
    atomic_long call;
    atomic_ulong failed;
} hits[MOST_CALLS];
static atomic_int hit_count;

static long (*real_syscall)(long, ...);
static int (*real_pthread_create)(pthread_t *, const pthread_attr_t *,
                                  void *(*)(void *), void *);

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* The number that a name stands for, or a plain number. */
static int look_up(const struct name *names, const char *text, long *number)
{
    for (; names->name != NULL; names++) {
        if (strcmp(names->name, text) == 0) {
            *number = names->number;
            return 0;
        }
    }
    char *end;
    *number = strtol(text, &end, 10);
    return *text == '\0' || *end != '\0' || *number < 0 ? -1 : 0;
}

static int read_option(struct rule *rule, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL)
        return -1;
    size_t length = (size_t)(equals - text);
    const char *value = equals + 1;
    if (length == 4 && strncmp(text, "from", 4) == 0) {
        if (*value == '\0' || strlen(value) >= sizeof rule->from)
            return -1;
        strcpy(rule->from, value);
        return 0;
    }
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    if (*value == '\0' || *value == '-' || *end != '\0')
        return -1;
    if (length == 5 && strncmp(text, "after", 5) == 0)
        rule->after = number;
    else if (length == 5 && strncmp(text, "count", 5) == 0)
        rule->count = number;
    else if (length == 2 && strncmp(text, "ms", 2) == 0)
        rule->ms = (long long)number;
    else if (length == 5 && strncmp(text, "every", 5) == 0 && number > 0)
        rule->every = number;
    else
        return -1;
    return 0;
}

static int read_rule(struct rule *rule, char *text)
{
    char *rest;
    char *call = strtok_r(text, ":", &rest);
    char *error = strtok_r(NULL, ":", &rest);
    long number;

    if (call == NULL || error == NULL || look_up(errnos, error, &number) != 0)
        return -1;
    rule->errno_value = (int)number;
    if (look_up(calls, call, &rule->call) != 0)
        return -1;
    rule->after = 0;
    rule->count = (unsigned long)-1;
    rule->every = 1;
    rule->ms = -1;
    rule->from[0] = '\0';
    atomic_store(&rule->seen, 0);
    atomic_store(&rule->failed, 0);
    atomic_store(&rule->first, 0);
    for (char *option; (option = strtok_r(NULL, ":", &rest)) != NULL;) {
        if (read_option(rule, option) != 0)
            return -1;
    }
    return 0;
}

/* Gives a call its counter, unless it has one. */
static void prepare_hits(long call)
{
    int count = atomic_load(&hit_count);
    for (int i = 0; i < count; i++) {
        if (atomic_load(&hits[i].call) == call)
            return;
    }
    if (count < MOST_CALLS) {
        atomic_store(&hits[count].call, call);
        atomic_store(&hit_count, count + 1);
    }
}

int aio_fault_set(const char *text)
{
    char copy[1024];

    atomic_store(&rule_count, 0);
    if (text == NULL || *text == '\0')
        return 0;
    if (strlen(text) >= sizeof copy)
        return -1;
    strcpy(copy, text);
    int count = 0;
    char *rest;
    for (char *one = strtok_r(copy, ",", &rest); one != NULL;
         one = strtok_r(NULL, ",", &rest)) {
        if (count == MOST_RULES || read_rule(&rules[count], one) != 0)
            return -1;
        prepare_hits(rules[count].call);
        count++;
    }
    atomic_store(&rule_count, count);
    return 0;
}

unsigned long aio_fault_hits(const char *name)
{
    long call;
    if (look_up(calls, name, &call) != 0)
        return 0;
    int count = atomic_load(&hit_count);
    for (int i = 0; i < count && i < MOST_CALLS; i++) {
        if (atomic_load(&hits[i].call) == call)
            return atomic_load(&hits[i].failed);
    }
    return 0;
}

static void count_hit(long call)
{
    int count = atomic_load(&hit_count);
    for (int i = 0; i < count && i < MOST_CALLS; i++) {
        if (atomic_load(&hits[i].call) == call) {
            atomic_fetch_add(&hits[i].failed, 1);
            return;
        }
    }
}

static int comes_from(const char *name, const void *caller)
{
    Dl_info info;
    if (dladdr(caller, &info) == 0 || info.dli_fname == NULL)
        return 0;
    const char *file = strrchr(info.dli_fname, '/');
    return strstr(file == NULL ? info.dli_fname : file + 1, name) != NULL;
}

/* The errno that this call has to fail with, or 0. */
static int fault_for(long call, const void *caller)
{
    int count = atomic_load_explicit(&rule_count, memory_order_acquire);
    for (int i = 0; i < count; i++) {
        struct rule *rule = &rules[i];
        if (rule->call != call)
            continue;
        if (rule->from[0] != '\0' && !comes_from(rule->from, caller))
            continue;
        unsigned long seen = atomic_fetch_add(&rule->seen, 1);
        if (seen < rule->after || (seen - rule->after) % rule->every != 0)
            continue;
        if (rule->ms >= 0) {
            long long now = now_ns(), first = 0;
            if (atomic_compare_exchange_strong(&rule->first, &first, now))
                first = now;
            if (now - first > rule->ms * 1000000)
                continue;
        }
        if (atomic_fetch_add(&rule->failed, 1) >= rule->count)
            continue;
        count_hit(call);
        return rule->errno_value;
    }
    return 0;
}

static void find_real(void)
{
    /* POSIX lets dlsym's answer be used as a function; ISO C has no cast. */
    void *found = dlsym(RTLD_NEXT, "syscall");
    memcpy(&real_syscall, &found, sizeof found);
    found = dlsym(RTLD_NEXT, "pthread_create");
    memcpy(&real_pthread_create, &found, sizeof found);
}

__attribute__((constructor)) static void load(void)
{
    find_real();
    for (const struct name *call = calls; call->name != NULL; call++)
        prepare_hits(call->number);
    const char *text = getenv("AIO_FAULT");
    if (text != NULL && aio_fault_set(text) != 0) {
        fprintf(stderr, "fault.c: cannot read AIO_FAULT=%s\n", text);
        _exit(99);
    }
}

long syscall(long number, ...)
{
    va_list list;
    long a[6];

    /* More than were given may be read: they come from registers or from
       the caller's frame, and the kernel looks at what the call takes. */
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    int fault = fault_for(number, __builtin_return_address(0));
    if (fault != 0) {
        errno = fault;
        return -1;
    }
    if (real_syscall == NULL)
        find_real();
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*main)(void *), void *argument)
{
    int fault = fault_for(PTHREAD_CREATE, __builtin_return_address(0));
    if (fault != 0)
        return fault;
    if (real_pthread_create == NULL)
        find_real();
    return real_pthread_create(thread, attributes, main, argument);
}
