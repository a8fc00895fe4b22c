/* thread_settings.c - the library's own threads serve the whole process: they do not stay on the processors, nor in the
 * scheduling, of the thread that happened to make the first request.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"
#include <sched.h>
#include <sys/resource.h>

struct wish {
    int policy, priority, nice;
    bool pinned;
};
static int file, ends[2];
static struct aiocb waiting;
static char byte, *big;
enum { BIG = 1 << 20 };

static int first_processor(const cpu_set_t *cpus)
{
    int cpu = 0;
    while (!CPU_ISSET(cpu, cpus))
        cpu++;
    return cpu;
}

/* Looks at every thread but the main one and the caller; the number of those. On glibc they have no name of their own. */
static int each_thread(void (*look)(int tid, const char *name))
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    SETUP(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int tid = atoi(entry->d_name);
        char path[64], name[32] = "";
        if (tid == 0 || tid == getpid() || tid == gettid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd >= 0 ? read(fd, name, sizeof name - 1) : -1;
        close(fd);
        if (length <= 0 || (!on_glibc() && strncmp(name, "aio-shim-", 9) != 0))
            continue; /* it has just ended */
        name[strcspn(name, "\n")] = 0;
        count++;
        look(tid, name);
    }
    closedir(directory);
    return count;
}

/* A read that keeps the threads there, and a write of which a worker is made. */
static void make_requests(void)
{
    waiting = request(ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    struct aiocb cb = request(file, big, BIG, 0), sync = request(file, NULL, 0, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&cb, BIG);
    CHECK_DONE(&sync, 0);
}
static void *make_first(void *argument)
{
    struct wish *wish = argument;
    cpu_set_t cpus;
    SETUP(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    int one = first_processor(&cpus);
    CPU_ZERO(&cpus);
    CPU_SET(one, &cpus);
    SETUP(!wish->pinned || sched_setaffinity(0, sizeof cpus, &cpus) == 0);
    if (sched_setscheduler(0, wish->policy, &(struct sched_param){.sched_priority = wish->priority}) != 0)
        SKIP("no real-time scheduling here");
    SETUP(setpriority(PRIO_PROCESS, (id_t)gettid(), wish->nice) == 0);
    make_requests();
    return NULL;
}
static void first_request(struct wish wish)
{
    cpu_set_t cpus;
    SETUP(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    if (wish.pinned && CPU_COUNT(&cpus) < 2)
        SKIP("one processor");
    file = temp_file(ON_DISK, 16, 1, 0);
    big = pages(BIG);
    SETUP(pipe(ends) == 0);
    join_thread(start_thread(make_first, &wish));
}
static void finish(void)
{
    SETUP(write(ends[1], "x", 1) == 1);
    CHECK_DONE(&waiting, 1);
}

static void look_for_main(int tid, const char *name)
{
    cpu_set_t own, mains;
    struct sched_param parameter;
    int policy = sched_getscheduler(tid);
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, (id_t)tid), mains_nice = getpriority(PRIO_PROCESS, (id_t)getpid());
    if (sched_getaffinity(tid, sizeof own, &own) != 0 || sched_getparam(tid, &parameter) != 0 || errno != 0)
        return; /* it has just ended */
    SETUP(sched_getaffinity(getpid(), sizeof mains, &mains) == 0);
    CHECK(CPU_EQUAL(&own, &mains), "%s runs on %d processors", name, CPU_COUNT(&own));
    CHECK(policy == sched_getscheduler(getpid()), "%s has policy %d", name, policy);
    CHECK(nice <= mains_nice, "%s has nice value %d, the main thread %d", name, nice, mains_nice);
}
static void take_after_main(struct wish wish)
{
    first_request(wish);
    CHECK(each_thread(look_for_main) > 0);
    finish();
}
/* Root may leave SCHED_IDLE and lower a nice value. */
CASE(44, the_first_request_from_a_pinned_thread, GLIBC_DEFECT, 20) { take_after_main((struct wish){.pinned = true}); }
CASE(44, the_first_request_from_an_idle_thread, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    take_after_main((struct wish){.policy = SCHED_IDLE, .pinned = true});
}
CASE(44, the_first_request_from_a_batch_thread, GLIBC_DEFECT, 20) { take_after_main((struct wish){.policy = SCHED_BATCH}); }
CASE(44, the_first_request_from_a_nice_thread, GLIBC_DEFECT | NEEDS_ROOT, 20) { take_after_main((struct wish){.nice = 15}); }
CASE(44, a_process_that_is_idle_stays_so, GLIBC_OK, 20)
{
    SETUP(sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}) == 0 && setpriority(PRIO_PROCESS, 0, 7) == 0);
    take_after_main((struct wish){.policy = SCHED_IDLE, .nice = 7});
}

/* With the main thread on a processor that it may keep busy, they may run where the requests are made, too; glibc's run there
 * alone. */
static cpu_set_t wanted;
static void look_for_wanted(int tid, const char *name)
{
    cpu_set_t own;
    if (sched_getaffinity(tid, sizeof own, &own) == 0)
        CHECK(CPU_EQUAL(&own, &wanted), "%s may run on %d processors", name, CPU_COUNT(&own));
}
static void *make_there(void *cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(*(int *)cpu, &one);
    SETUP(sched_setaffinity(0, sizeof one, &one) == 0);
    make_requests();
    return NULL;
}
CASE(44, threads_run_where_their_maker_does_too, GLIBC_OK, 20)
{
    cpu_set_t mains, others;
    SETUP(sched_getaffinity(0, sizeof others, &others) == 0);
    if (CPU_COUNT(&others) < 2)
        SKIP("one processor");
    int first = first_processor(&others);
    CPU_CLR(first, &others);
    int second = first_processor(&others);
    CPU_ZERO(&mains);
    CPU_SET(first, &mains);
    SETUP(sched_setaffinity(0, sizeof mains, &mains) == 0);
    file = temp_file(ON_DISK, 16, 1, 0);
    big = pages(BIG);
    SETUP(pipe(ends) == 0);
    join_thread(start_thread(make_there, &second));
    CPU_SET(second, &wanted);
    if (!on_glibc())
        CPU_SET(first, &wanted);
    CHECK(each_thread(look_for_wanted) > 0);
    finish();
}

static void look_for_real_time(int tid, const char *name)
{
    int policy = sched_getscheduler(tid);
    CHECK(policy == SCHED_FIFO || policy == -1, "%s has policy %d", name, policy);
}
CASE(44, a_real_time_policy_is_kept, GLIBC_OK | NEEDS_ROOT, 20)
{
    first_request((struct wish){.policy = SCHED_FIFO, .priority = 1});
    CHECK(each_thread(look_for_real_time) > 0);
    finish();
}

/* ---- the end of a thread for callbacks ---- */

/* The destructors of thread-specific data run as in a thread of the program's: with no signal blocked. */
static pthread_key_t own_data;
static atomic_int destroyed, blocked_there;
static void destroy(void *data)
{
    sigset_t mask;
    (void)data;
    SETUP(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
    for (int signo = 1; signo < 65; signo++)
        blocked_there += sigismember(&mask, signo) == 1;
    destroyed++;
}
static void keep_data(union sigval value)
{
    pthread_setspecific(own_data, &own_data);
    if (value.sival_int)
        pthread_exit(NULL);
}
static void data_is_destroyed(int leaves, pthread_attr_t *attributes)
{
    unsigned char byte;
    int fd = temp_file(ON_DISK, 1, 1, 0);
    SETUP(pthread_key_create(&own_data, destroy) == 0);
    struct aiocb cb = request(fd, &byte, 1, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = keep_data;
    cb.aio_sigevent.sigev_notify_attributes = attributes;
    cb.aio_sigevent.sigev_value.sival_int = leaves;
    CHECK_EQ(aio_read(&cb), 0);
    WAIT_FOR(destroyed == 1);
    CHECK(blocked_there == 0, "%d signals are blocked", blocked_there);
}
CASE(38, destructors_after_a_callback_that_returns, GLIBC_OK, 20) { data_is_destroyed(0, NULL); }
CASE(38, destructors_after_a_callback_that_ends_its_thread, GLIBC_OK, 20) { data_is_destroyed(1, NULL); }
CASE(38, destructors_after_a_callback_with_attributes, GLIBC_OK, 20)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 1 << 18);
    data_is_destroyed(0, &attributes);
}

/* Long after a callback that left data there its thread is gone, or rests and takes no signal of the program's, not even
 * when it ends. */
static atomic_int taken_by;
static void note_taker(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    taken_by = thread_id();
}
/* Every other thread of the process sleeps and has the signal blocked. */
static bool others_rest(int signo)
{
    bool rest = true;
    DIR *directory = opendir("/proc/self/task");
    SETUP(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[300], line[200], state = 0;
        unsigned long long blocked = 0;
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *status = fopen(path, "re");
        while (status && fgets(line, sizeof line, status)) {
            sscanf(line, "State: %c", &state);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        if (status)
            fclose(status);
        rest &= state == 0 || (state == 'S' && (blocked >> (signo - 1) & 1));
    }
    closedir(directory);
    return rest;
}
static atomic_int left;
static void leave_data(union sigval value)
{
    (void)value;
    pthread_setspecific(own_data, &own_data);
    left++;
}
static void signal_after_data(void (*destructor)(void *))
{
    unsigned char byte;
    siginfo_t info;
    sigset_t pending;
    int fd = temp_file(ON_DISK, 1, 1, 0);
    SETUP(pthread_key_create(&own_data, destructor) == 0);
    block_signal(SIGUSR1);
    on_signal(SIGUSR1, note_taker, 0);
    struct aiocb cb = request(fd, &byte, 1, 0);
    notify_by_thread(&cb, leave_data, NULL);
    CHECK_EQ(aio_read(&cb), 0);
    WAIT_FOR(left == 1);
    for (int quiet = 0; quiet < 20; sleep_ms(5)) /* one that is just about to end may sleep for a moment, too */
        quiet = others_rest(SIGUSR1) ? quiet + 1 : 0;
    SETUP(kill(getpid(), SIGUSR1) == 0);
    sleep_ms(100);
    WAIT_FOR(on_glibc() || library_threads() == 0);
    CHECK(taken_by == 0, "taken by thread %d", taken_by);
    SETUP(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGUSR1) == 1, "it is not pending any more");
    CHECK_EQ(take_signal(SIGUSR1, &info), SIGUSR1);
}
CASE(45, a_signal_after_a_callback_that_left_data, GLIBC_OK, 30) { signal_after_data(NULL); }
CASE(45, a_signal_after_a_callback_that_left_data_to_destroy, GLIBC_OK, 30) { signal_after_data(destroy); }
