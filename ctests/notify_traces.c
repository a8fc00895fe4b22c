/* notify_traces.c - what a SIGEV_THREAD function leaves behind in its thread is not there for the next one.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

static int file;
static atomic_int begun, ended;

/* Requests one after the other, so that the library may use one thread for all. */
static void one_call(void (*function)(union sigval), int value)
{
    static char byte;
    struct aiocb cb = request(file, &byte, 1, 0);
    notify_by_thread(&cb, function, NULL);
    cb.aio_sigevent.sigev_value.sival_int = value;
    int before = begun;
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 1);
    WAIT_FOR(begun > before);
    sleep_ms(2);
}
static void open_file(void) { file = temp_file(ON_DISK, 16, 6, 0); }

/* ---- cancellation ------------------------------------------------------------------------------------------- */

enum { ENABLED, DISABLED, ASYNCHRONOUS };
static pthread_key_t key;
static atomic_int destroyed;
static void destroy(void *unused)
{
    (void)unused;
    atomic_fetch_add(&destroyed, 1);
}

static void leave_a_cancellation(union sigval value)
{
    pthread_setspecific(key, &key);
    if (value.sival_int != ENABLED)
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    if (value.sival_int == ASYNCHRONOUS)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    pthread_cancel(pthread_self());
    atomic_fetch_add(&begun, 1);
}
static void pass_cancellation_points(union sigval value)
{
    (void)value;
    atomic_fetch_add(&begun, 1);
    pthread_testcancel();
    usleep(1000);
    pthread_testcancel();
    atomic_fetch_add(&ended, 1);
}
static void after_a_cancellation(int how)
{
    open_file();
    SETUP(pthread_key_create(&key, destroy) == 0);
    for (int round = 0; round < 20; round++) {
        int before = ended;
        one_call(leave_a_cancellation, how);
        for (int i = 0; i < 3; i++)
            one_call(pass_cancellation_points, 0);
        WAIT_FOR(ended == before + 3, "round %d: of 3 functions %d came to their end", round, ended - before);
        WAIT_FOR(destroyed == round + 1, "the cancelled thread ended without its destructors");
    }
}
CASE(38, a_cancellation_left_behind_when_enabled, GLIBC_OK, 60) { after_a_cancellation(ENABLED); }
CASE(38, a_cancellation_left_behind_when_disabled, GLIBC_OK, 60) { after_a_cancellation(DISABLED); }
CASE(38, a_cancellation_left_behind_when_asynchronous, GLIBC_OK, 60) { after_a_cancellation(ASYNCHRONOUS); }

/* The same with many at once, and with functions that have attributes. */
static void many_left(pthread_attr_t *attributes)
{
    enum { MANY = 300 };
    static struct aiocb cb[MANY];
    static char byte[MANY];
    open_file();
    SETUP(pthread_key_create(&key, destroy) == 0);
    for (int i = 0; i < MANY; i++) {
        cb[i] = request(file, &byte[i], 1, 0);
        notify_by_thread(&cb[i], i % 3 ? pass_cancellation_points : leave_a_cancellation, NULL);
        cb[i].aio_sigevent.sigev_notify_attributes = attributes;
        cb[i].aio_sigevent.sigev_value.sival_int = i / 3 % 3;
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int i = 0; i < MANY; i++)
        CHECK_DONE(&cb[i], 1);
    WAIT_FOR(begun == MANY && ended == MANY - MANY / 3, "%d functions began, %d ended", begun, ended);
    WAIT_FOR(destroyed == MANY / 3, "%d threads ended with their destructors", destroyed);
    settle();
    CHECK_EQ(begun, MANY);
}
CASE(38, cancellations_left_behind_among_many, GLIBC_OK, 60) { many_left(NULL); }
CASE(38, cancellations_left_behind_with_attributes, GLIBC_OK, 60)
{
    pthread_attr_t attributes;
    SETUP(pthread_attr_init(&attributes) == 0 && pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0);
    many_left(&attributes);
}

/* ---- settings of the thread ---------------------------------------------------------------------------------- */

static atomic_int changed_tid;
static cpu_set_t mains;

static void change_settings(union sigval value)
{
    cpu_set_t one;
    int cpu = 0;
    changed_tid = gettid();
    while (!CPU_ISSET(cpu, &mains))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    switch (value.sival_int) {
    case 0: SETUP(sched_setaffinity(0, sizeof one, &one) == 0); break;
    case 1: SETUP(setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + 1) == 0); break;
    case 2: SETUP(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}) == 0); break;
    }
    atomic_fetch_add(&begun, 1);
}
static void find_none_changed(union sigval value)
{
    cpu_set_t cpus;
    (void)value;
    SETUP(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    CHECK(CPU_EQUAL(&cpus, &mains), "%d processors", CPU_COUNT(&cpus));
    CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)gettid()), getpriority(PRIO_PROCESS, (id_t)getpid()));
    CHECK_EQ(sched_getscheduler(0), sched_getscheduler(getpid()));
    atomic_fetch_add(&begun, 1);
}
CASE(38, a_changed_scheduling_left_behind, GLIBC_OK, 60)
{
    with_environment("AIO_SHIM_IDLE", "60");
    open_file();
    SETUP(sched_getaffinity(0, sizeof mains, &mains) == 0);
    if (CPU_COUNT(&mains) < 2)
        SKIP("one processor");
    for (int round = 0; round < 12; round++) {
        one_call(change_settings, round % 3);
        /* Without work it ends at once, not after the minute that idle threads stay. */
        WAIT_FOR(syscall(SYS_tgkill, getpid(), changed_tid, 0) != 0, "round %d: the thread stays", round);
        one_call(find_none_changed, 0);
    }
}

static void change_name(union sigval value)
{
    char name[16];
    (void)value;
    SETUP(pthread_getname_np(pthread_self(), name, sizeof name) == 0);
    CHECK(strcmp(name, "mine") != 0, "the name of another function's thread");
    SETUP(pthread_setname_np(pthread_self(), "mine") == 0);
    changed_tid = gettid();
    atomic_fetch_add(&begun, 1);
}
static bool has_its_name(int tid)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, name, sizeof name - 1) : -1;
    close(fd);
    return length > 0 && strcmp(name, "mine\n") == 0;
}
CASE(38, a_name_left_behind, GLIBC_OK, 60)
{
    with_environment("AIO_SHIM_IDLE", "60");
    open_file();
    for (int i = 0; i < 20; i++) {
        one_call(change_name, 0);
        WAIT_FOR(!has_its_name(changed_tid)); /* it has nothing to do */
    }
}
