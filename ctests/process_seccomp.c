/* process_seccomp.c - io_uring refused, by every errno that sandboxes use or by a trap, before first use and after.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <ucontext.h>

enum { RING_SETUP = 425, RING_ENTER = 426, RING_REGISTER = 427 }; /* the same on every architecture */

/* From now on, in every thread, system calls first..last end with `action`; false where filters cannot be had. */
static void refuse(int first, int last, unsigned action)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (unsigned)first, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (unsigned)last, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT(filter), filter};
    SETUP(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        SKIP("no seccomp filters");
}
/* Which backend is asked for is the runner's; forced io_uring has nothing to fall back on. */
static void any_backend(void) { with_environment("AIO_SHIM_BACKEND", on_workers() ? "threads" : "auto"); }

static const int refusals[] = {EPERM, ENOSYS, EACCES, EINVAL, EOPNOTSUPP, ENOMEM, EMFILE, ENODEV};

/* ---- before first use ------------------------------------------------------------------------------------------ */

static void refused_at_setup(int first, int last)
{
    any_backend();
    for (size_t i = 0; i < COUNT(refusals); i++) {
        pid_t child = fork();
        if (child == 0) {
            struct kit kit = make_kit();
            refuse(first, last, SECCOMP_RET_ERRNO | (unsigned)refusals[i]);
            for (int k = 0; k < 3; k++)
                CHECK(exercise(&kit, EXERCISE_PLAIN) == 0, "errno %d", refusals[i]);
            _exit(0);
        }
        int status = wait_child(child, "with io_uring refused");
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            SKIP("no seccomp filters");
        CHECK(status == 0, "errno %d: %#x", refusals[i], status);
    }
}
CASE(44, io_uring_refused_before_first_use, GLIBC_OK, 60) { refused_at_setup(RING_SETUP, RING_REGISTER); }
/* Setup is allowed, the rest is not: gVisor and half-made filters. */
CASE(44, entering_the_ring_refused_before_first_use, GLIBC_OK, 60) { refused_at_setup(RING_ENTER, RING_ENTER); }
CASE(44, registering_refused_before_first_use, GLIBC_OK, 60) { refused_at_setup(RING_REGISTER, RING_REGISTER); }

/* A backend that was asked for by name is not replaced: EAGAIN at submission, and no hang. (What needs no backend, such as
 * a read from the page cache, may succeed.) */
CASE(44, io_uring_alone_and_refused, SHIM_ONLY | NEEDS_RING, 30)
{
    struct kit kit = make_kit();
    static char data[16];
    refuse(RING_SETUP, RING_REGISTER, SECCOMP_RET_ERRNO | EPERM);
    for (int i = 0; i < 10; i++) {
        struct aiocb cb = request(kit.file, data, sizeof data, 0), waits = request(kit.pipe.reader, data, 1, 0), *list[1] = {&waits};
        waits.aio_lio_opcode = LIO_READ;
        CHECK_FAILS(aio_read(&waits), EAGAIN);
        CHECK_FAILS(aio_write(&cb), EAGAIN);
        CHECK_FAILS(aio_fsync(O_SYNC, &cb), EAGAIN);
        CHECK(lio_listio(LIO_WAIT, list, 1, NULL) == -1 && (errno == EAGAIN || errno == EIO), "errno %d", errno);
        CHECK(aio_error(&waits) != EINPROGRESS && aio_error(&cb) != EINPROGRESS);
    }
}

/* What a filter does to io_uring is found out by a child; fork copies the page tables of all that the process has, so that is
 * done once and not whenever the engine starts, until there is a filter more. */
static long pages_of_children(void)
{
    struct rusage usage;
    SETUP(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    return usage.ru_minflt;
}
CASE(44, a_filter_is_tried_once, GLIBC_OK, 30)
{
    struct kit kit = make_kit();
    long before = 0;
    for (int filters = 1; filters <= 2; filters++) {
        refuse(0x7fff, 0x7fff, SECCOMP_RET_ERRNO | ENOSYS); /* a filter that does nothing */
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
            if (i == 0) {
                CHECK((pages_of_children() > before) == on_ring(), "%d filters", filters);
                before = pages_of_children();
            }
            CHECK_EQ(pages_of_children(), before);
            WAIT_FOR(library_threads() == 0);
        }
    }
}

/* ---- traps --------------------------------------------------------------------------------------------------------- */

/* Sandboxes such as Chromium's answer the trap with -ENOSYS in a SIGSYS handler. */
static atomic_int trapped;
static void answer_enosys(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info;
    ucontext_t *machine = context;
    atomic_fetch_add(&trapped, 1);
#if defined(__x86_64__)
    machine->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#elif defined(__aarch64__)
    machine->uc_mcontext.regs[0] = (unsigned long long)-ENOSYS;
#endif
}
/* Others only count: the call seems to return its own number. */
static void answer_nothing(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    atomic_fetch_add(&trapped, 1);
}
static void trapped_with(void (*handler)(int, siginfo_t *, void *), bool after)
{
    any_backend();
    struct kit kit = make_kit();
    if (after)
        exercise(&kit, EXERCISE_PLAIN);
    on_signal(SIGSYS, handler, 0);
    refuse(RING_SETUP, RING_REGISTER, SECCOMP_RET_TRAP);
    for (int k = 0; k < 5; k++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
CASE(44, a_trap_answered_with_enosys, GLIBC_OK, 30) { trapped_with(answer_enosys, false); }
CASE(44, a_trap_answered_with_nothing, GLIBC_OK, 30) { trapped_with(answer_nothing, false); }
CASE(44, a_trap_answered_with_enosys_after_first_use, GLIBC_OK, 30) { trapped_with(answer_enosys, true); }

/* ---- after first use -------------------------------------------------------------------------------------------------- */

/* Requests are on the way when the sandbox closes: none is lost, the next ones go another way. */
static void refused_later(int first, int last, int error)
{
    enum { READS = 12, WRITES = 16, BYTES = 4096 };
    struct kit kit = make_kit();
    struct ends ends[3] = {open_stream(PIPE), open_stream(UNIX_SOCKET), open_stream(PTY_SLAVE)}, full = open_stream(PIPE);
    static struct aiocb reads[3][READS], writes[WRITES], big;
    static unsigned char got[3][READS][8], data[WRITES][BYTES], much[200000];
    exercise(&kit, EXERCISE_PLAIN);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < READS; i++) {
            reads[k][i] = request(ends[k].reader, got[k][i], 8, 0);
            CHECK_EQ(aio_read(&reads[k][i]), 0);
        }
    pattern_fill(much, sizeof much, 0, 6);
    big = request(full.writer, much, sizeof much, 0);
    CHECK_EQ(aio_write(&big), 0);
    for (int i = 0; i < WRITES; i++) {
        writes[i] = request(kit.file, data[i], BYTES, i * BYTES);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    refuse(first, last, SECCOMP_RET_ERRNO | (unsigned)error);
    for (int i = 0; i < WRITES; i++)
        CHECK_DONE(&writes[i], BYTES);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
    struct aiocb *victim = &reads[0][READS - 1];
    if (!on_glibc()) {
        CHECK_EQ(aio_cancel(ends[0].reader, victim), AIO_CANCELED);
        CHECK_ENDS(victim, ECANCELED);
    }
    for (int k = 0; k < 3; k++) {
        int wanted = k == 0 && !on_glibc() ? READS - 1 : READS;
        feed(ends[k].writer, (size_t)wanted * 8, 0, 4);
        size_t place = 0;
        for (int i = 0; i < wanted; i++) {
            CHECK(wait_done(&reads[k][i]) == 0, "stream %d, read %d: %d", k, i, aio_error(&reads[k][i]));
            size_t part = (size_t)aio_return(&reads[k][i]);
            CHECK(part > 0 && part <= 8 && pattern_wrong(got[k][i], part, place, 4) < 0, "stream %d, read %d: %zu", k, i, part);
            place += part;
        }
        drain(ends[k].reader, (size_t)wanted * 8 - place, place, 4);
    }
    drain(full.reader, sizeof much, 0, 6);
    CHECK_DONE(&big, sizeof much);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
static void refused_later_with_each(int first, int last)
{
    static const int errors[] = {EPERM, ENOSYS, EACCES};
    any_backend();
    for (size_t i = 0; i < COUNT(errors); i++) {
        pid_t child = fork();
        if (child == 0) {
            refused_later(first, last, errors[i]);
            _exit(0);
        }
        int status = wait_child(child, "with io_uring refused");
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            SKIP("no seccomp filters");
        CHECK(status == 0, "errno %d: %#x", errors[i], status);
    }
}
CASE(44, io_uring_refused_after_first_use, GLIBC_OK, 60) { refused_later_with_each(RING_SETUP, RING_REGISTER); }
CASE(44, entering_refused_after_first_use, GLIBC_OK, 60) { refused_later_with_each(RING_ENTER, RING_ENTER); }
CASE(44, setup_refused_between_two_uses, GLIBC_OK, 60)
{
    any_backend();
    struct kit kit = make_kit();
    exercise(&kit, EXERCISE_PLAIN);
    WAIT_FOR(threads() == 1);
    refuse(RING_SETUP, RING_SETUP, SECCOMP_RET_ERRNO | EPERM);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}

/* Sandboxes refuse other things that a library may like: futex_waitv, prctl, membarrier, madvise's newer advice, eventfd,
 * epoll, rseq. None of them may be needed. */
static void without_call(int number, const char *name, int error)
{
    pid_t child = fork();
    if (child == 0) {
        struct kit kit = make_kit();
        refuse(number, number, SECCOMP_RET_ERRNO | (unsigned)error);
        for (int i = 0; i < 2; i++)
            CHECK(exercise(&kit, EXERCISE_PLAIN) == 0, "without %s", name);
        _exit(0);
    }
    int status = wait_child(child, name);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("no seccomp filters");
    CHECK(status == 0, "without %s (errno %d): %#x", name, error, status);
}
CASE(44, without_newer_system_calls, GLIBC_OK, 90)
{
    any_backend();
    for (int i = 0; i < 2; i++) {
        int error = i ? EPERM : ENOSYS;
        without_call(449, "futex_waitv", error);
        without_call(454, "futex_wake", error);
        without_call(455, "futex_wait", error);
        without_call(SYS_membarrier, "membarrier", error);
        without_call(SYS_prctl, "prctl", error);
        without_call(SYS_madvise, "madvise", error);
        without_call(SYS_preadv2, "preadv2", error);
        without_call(SYS_pwritev2, "pwritev2", error);
        without_call(SYS_statx, "statx", error);
        without_call(SYS_kcmp, "kcmp", error);
        without_call(SYS_eventfd2, "eventfd", error);
    }
}
