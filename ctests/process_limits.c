/* process_limits.c - little of everything: descriptors, memory, threads, stacks, rights, a root directory.
 * It works, or says EAGAIN at submission; it never hangs and never loses what it accepted.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"

/* The answer may depend on the backend: forced io_uring where it cannot be had is refused. */
static void any_backend(void) { with_environment("AIO_SHIM_BACKEND", on_workers() ? "threads" : "auto"); }

/* ---- descriptors -------------------------------------------------------------------------------------------- */

static void use_up_descriptors(void)
{
    set_limit(RLIMIT_NOFILE, 256);
    while (dup(0) >= 0) { }
    SETUP(errno == EMFILE);
}
CASE(44, no_descriptor_left_before_first_use, GLIBC_OK, 30)
{
    any_backend();
    struct kit kit = make_kit();
    use_up_descriptors();
    for (int i = 0; i < 5; i++)
        exercise(&kit, MAY_REFUSE);
    for (int fd = 100; fd < 256; fd++)
        close(fd);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0); /* now it must go */
}
CASE(44, no_descriptor_left_after_first_use, GLIBC_OK, 30)
{
    any_backend();
    struct kit kit = make_kit();
    exercise(&kit, EXERCISE_PLAIN);
    use_up_descriptors();
    for (int i = 0; i < 20; i++)
        exercise(&kit, MAY_REFUSE);
    sleep_ms(1500); /* the engine has ended, and must start without a descriptor */
    for (int i = 0; i < 20; i++)
        exercise(&kit, MAY_REFUSE);
    for (int fd = 100; fd < 256; fd++)
        close(fd);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
/* A limit below what is open already. */
CASE(44, the_descriptor_limit_is_zero, GLIBC_OK, 30)
{
    any_backend();
    struct kit kit = make_kit();
    set_limit(RLIMIT_NOFILE, 0);
    for (int i = 0; i < 5; i++)
        exercise(&kit, MAY_REFUSE);
}

/* close and its family while the last number is taken: what is held back cannot be pinned by another number. */
CASE(44, close_when_no_descriptor_is_left, GLIBC_RACY, 30)
{
    any_backend();
    struct ends ends = open_stream(PIPE);
    struct aiocb cb[4];
    unsigned char data[4][8];
    use_up_descriptors();
    for (int i = 0; i < 4; i++) {
        cb[i] = request(ends.reader, data[i], 8, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    CHECK_EQ(close(ends.reader), 0);
    int zero = open("/dev/zero", O_RDONLY); /* what a lost binding would read */
    CHECK_EQ(zero, ends.reader);
    feed(ends.writer, 32, 0, 3);
    for (int i = 0; i < 4; i++) {
        CHECK_DONE(&cb[i], 8);
        CHECK(pattern_wrong(data[i], 8, (size_t)i * 8, 3) < 0, "read %d has other data", i);
    }
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

CASE(44, no_locked_memory_as_an_ordinary_user, GLIBC_OK | NEEDS_ROOT, 30)
{
    any_backend();
    struct kit kit = make_kit();
    become_own_user();
    set_limit(RLIMIT_MEMLOCK, 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
CASE(44, little_address_space, GLIBC_OK | NO_VALGRIND, 30)
{
    any_backend();
    struct kit kit = make_kit();
    set_limit(RLIMIT_AS, 64 << 20);
    for (int i = 0; i < 5; i++)
        exercise(&kit, MAY_REFUSE);
    set_limit(RLIMIT_AS, 3 << 20); /* less than is mapped: no mmap and no brk works any more */
    static unsigned char data[512];
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(kit.file, data, sizeof data, i);
        if (aio_read(&cb) == 0)
            CHECK_DONE(&cb, sizeof data);
        else
            CHECK(errno == EAGAIN, "errno %d", errno);
    }
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

/* Few threads for the user: from none beside main on. Then the limit is lifted, and all must go. */
CASE(44, few_threads_for_the_user, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    any_backend();
    struct kit kit = make_kit();
    become_own_user();
    int refused = 0;
    struct rlimit before;
    SETUP(getrlimit(RLIMIT_NPROC, &before) == 0);
    for (rlim_t most = 1; most <= 5; most++) {
        set_limit(RLIMIT_NPROC, most);
        for (int i = 0; i < 3; i++)
            refused += exercise(&kit, MAY_REFUSE);
    }
    set_limit(RLIMIT_NPROC, before.rlim_cur);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
    fprintf(stderr, "%d refused\n", refused);
}
/* Threads were had, ended, and cannot be had again: requests on the way are done or refused, not forgotten. */
CASE(44, threads_that_cannot_be_had_again, GLIBC_OK | NEEDS_ROOT, 60)
{
    any_backend();
    struct kit kit = make_kit();
    become_own_user();
    exercise(&kit, EXERCISE_PLAIN);
    struct rlimit before;
    SETUP(getrlimit(RLIMIT_NPROC, &before) == 0);
    set_limit(RLIMIT_NPROC, 1);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10; i++)
            exercise(&kit, MAY_REFUSE);
        sleep_ms(1200);
    }
    set_limit(RLIMIT_NPROC, before.rlim_cur);
    exercise(&kit, on_glibc() ? MAY_REFUSE : EXERCISE_PLAIN);
}

/* ---- stacks ----------------------------------------------------------------------------------------------------------- */

static struct kit stack_kit;
static void *on_a_small_stack(void *unused)
{
    (void)unused;
    for (int i = 0; i < 5; i++)
        exercise(&stack_kit, EXERCISE_PLAIN);
    return NULL;
}
CASE(44, callers_with_small_stacks, GLIBC_OK | NO_VALGRIND, 30)
{
    pthread_attr_t attr;
    pthread_t thread;
    stack_kit = make_kit();
    SETUP(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 32768) == 0); /* the test itself uses half */
    SETUP(pthread_create(&thread, &attr, on_a_small_stack, NULL) == 0);
    join_thread(thread);
}
/* The least that a thread may have: the calls one by one. */
static void *on_the_smallest_stack(void *unused)
{
    (void)unused;
    static struct aiocb cb, *list[2000];
    static const struct aiocb *awaited[2000];
    static unsigned char data[512];
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    for (int i = 0; i < 50; i++) {
        cb = (struct aiocb){.aio_fildes = stack_kit.file, .aio_buf = data, .aio_nbytes = sizeof data, .aio_lio_opcode = LIO_READ};
        list[1999] = &cb, awaited[1999] = &cb;
        int result = i % 4 == 0 ? aio_read(&cb) : i % 4 == 1 ? aio_write(&cb) : i % 4 == 2 ? aio_fsync(O_SYNC, &cb)
                     : lio_listio(LIO_NOWAIT, list, 2000, &none);
        if (result != 0)
            return "not submitted";
        aio_cancel(stack_kit.pipe.reader, NULL);
        if (aio_suspend(awaited, 2000, NULL) != 0)
            return "aio_suspend";
        if (aio_error(&cb) != 0 || aio_return(&cb) < 0)
            return "no result";
        if (lio_listio(LIO_WAIT, list, 2000, NULL) != 0)
            return "lio_listio";
    }
    return NULL;
}
CASE(44, callers_with_the_smallest_stack, GLIBC_DEFECT | NO_VALGRIND, 30)
{
    pthread_attr_t attr;
    pthread_t thread;
    stack_kit = make_kit();
    SETUP(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 16384) == 0);
    SETUP(pthread_create(&thread, &attr, on_the_smallest_stack, NULL) == 0);
    const char *wrong = join_thread(thread);
    CHECK(wrong == NULL, "%s", wrong);
}
/* The library's own threads get the default, too. */
CASE(44, the_default_stack_is_small, GLIBC_OK | NO_VALGRIND, 30)
{
    pthread_attr_t attr;
    struct kit kit = make_kit();
    SETUP(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 16384) == 0);
    SETUP(pthread_setattr_default_np(&attr) == 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}

/* A handler on an alternate stack, of the size that POSIX calls the least. */
static struct kit alternate_kit;
static volatile sig_atomic_t alternate_done;
static void on_alternate_stack(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    static unsigned char data[256];
    static struct aiocb cb;
    static const struct aiocb *const awaited[1] = {&cb};
    struct timespec soon = {5, 0};
    cb = (struct aiocb){.aio_fildes = alternate_kit.file, .aio_buf = data, .aio_nbytes = sizeof data};
    CHECK_EQ(aio_write(&cb), 0);
    while (aio_error(&cb) == EINPROGRESS)
        aio_suspend(awaited, 1, &soon);
    CHECK_EQ(aio_return(&cb), sizeof data);
    CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0);
    while (aio_error(&cb) == EINPROGRESS)
        aio_suspend(awaited, 1, &soon);
    aio_cancel(alternate_kit.pipe.reader, NULL);
    alternate_done++;
}
CASE(44, handlers_on_an_alternate_stack, GLIBC_RACY | NO_VALGRIND, 30)
{
    alternate_kit = make_kit();
    size_t size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 4096, round = (size + 4095) / 4096 * 4096;
    unsigned char *memory = pages(round + 4096);
    SETUP(mprotect(memory, 4096, PROT_NONE) == 0);
    stack_t stack = {.ss_sp = memory + 4096, .ss_size = round};
    SETUP(sigaltstack(&stack, NULL) == 0);
    on_signal(SIGUSR1, on_alternate_stack, SA_ONSTACK);
    exercise(&alternate_kit, EXERCISE_PLAIN);
    for (int i = 0; i < 50; i++)
        raise(SIGUSR1);
    CHECK_EQ(alternate_done, 50);
}

/* ---- rights and places ------------------------------------------------------------------------------------------------ */

CASE(44, chroot_to_an_empty_directory, GLIBC_OK | NEEDS_ROOT, 30)
{
    struct kit kit = make_kit();
    char path[4096];
    snprintf(path, sizeof path, "%s/empty-XXXXXX", place_path(ON_DISK));
    SETUP(mkdtemp(path) && chdir(path) == 0 && rmdir(path) == 0 && chroot(".") == 0);
    SETUP(access("/proc", F_OK) == -1);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}

CASE(44, a_user_namespace_of_its_own_before_first_use, GLIBC_OK, 30)
{
    struct kit kit = make_kit();
    if (unshare(CLONE_NEWUSER) != 0) {
        CHECK(errno != EINVAL, "a thread exists before the first use");
        SKIP("no user namespaces");
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
/* And when all is idle again: no thread of the library is in the way. */
CASE(44, a_user_namespace_of_its_own_when_idle, GLIBC_OK, 30)
{
    struct kit kit = make_kit();
    exercise(&kit, EXERCISE_PLAIN);
    WAIT_FOR(threads() == 1, "%d threads", threads());
    if (unshare(CLONE_NEWUSER) != 0) {
        CHECK(errno != EINVAL, "something is left of the threads");
        SKIP("no user namespaces");
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}

/* After setresuid the kernel must see the new user behind every request: a socket that passes credentials tells. */
static struct ucred sender_of(int socket)
{
    char byte, control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct ucred who = {0, (uid_t)-1, (gid_t)-1};
    CHECK_EQ(recvmsg(socket, &message, 0), 1);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    CHECK(head && head->cmsg_type == SCM_CREDENTIALS);
    memcpy(&who, CMSG_DATA(head), sizeof who);
    return who;
}
CASE(44, setuid_after_use_changes_who_writes, GLIBC_OK | NEEDS_ROOT, 30)
{
    struct kit kit = make_kit();
    struct ends ends = open_stream(UNIX_SOCKET);
    int one = 1;
    char byte = 'c', later = 0;
    struct aiocb waits = request(kit.pipe.reader, &later, 1, 0);
    SETUP(setsockopt(ends.reader, SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
    exercise(&kit, EXERCISE_PLAIN);
    for (int step = 0; step < 4; step++) {
        if (step == 1)
            SETUP(setegid(31337) == 0 && seteuid(31338) == 0); /* with every thread there is: must not hang */
        if (step == 2)
            SETUP(seteuid(0) == 0 && setegid(0) == 0);
        if (step == 3) {
            CHECK_EQ(aio_read(&waits), 0); /* in progress meanwhile */
            become_own_user();
        }
        int before = exercise_calls;
        for (int i = 0; i < 20; i++) {
            struct aiocb cb = request(ends.writer, &byte, 1, 0);
            if (i % 2)
                notify_by_thread(&cb, exercise_called, NULL);
            CHECK_EQ(aio_write(&cb), 0);
            CHECK_DONE(&cb, 1);
            struct ucred who = sender_of(ends.reader);
            CHECK(who.uid == getuid() && who.gid == getgid() && who.pid == getpid(),
                  "step %d: sent by uid %d gid %d pid %d", step, (int)who.uid, (int)who.gid, (int)who.pid);
        }
        WAIT_FOR(exercise_calls == before + 10);
    }
    write_all(kit.pipe.writer, "w", 1);
    CHECK_DONE(&waits, 1);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
/* A user's change beside busy requests: glibc asks every thread by a signal that nobody may have blocked. */
static atomic_bool credentials_over;
static void *keep_busy(void *argument)
{
    int file = *(int *)argument;
    unsigned char data[512];
    while (!credentials_over) {
        struct aiocb cb = request(file, data, sizeof data, 512);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, sizeof data);
    }
    return NULL;
}
CASE(44, credentials_change_beside_requests, GLIBC_OK | NEEDS_ROOT, 60)
{
    int file = temp_file(ON_DISK, 65536, 1, 0);
    pthread_t thread = start_thread(keep_busy, &file);
    for (int i = 0; i < 300; i++) {
        SETUP(seteuid(1000 + (uid_t)i) == 0 && seteuid(0) == 0);
        SETUP(setegid(1000 + (gid_t)i) == 0 && setegid(0) == 0);
        if (i % 50 == 0)
            settle();
    }
    credentials_over = true;
    join_thread(thread);
}
