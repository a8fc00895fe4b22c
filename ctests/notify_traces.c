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
static void many_left(const pthread_attr_t *attributes)
{
    enum { MANY = 300 };
    static struct aiocb cb[MANY];
    static char byte[MANY];
    open_file();
    SETUP(pthread_key_create(&key, destroy) == 0);
    for (int i = 0; i < MANY; i++) {
        cb[i] = request(file, &byte[i], 1, 0);
        notify_by_thread(&cb[i], i % 3 ? pass_cancellation_points : leave_a_cancellation, (pthread_attr_t *)attributes);
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
