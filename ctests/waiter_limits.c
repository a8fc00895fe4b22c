/* waiter_limits.c - what a thread that carries out its own requests must not be caught in.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "waiting.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { TRAINING = 1000 };

/* fclose closes inside the C library, which nobody is told of; the number is then one whose readers wait. */
static atomic_int rung;
static void ring(int signo) { (void)signo, rung++; }
CASE(23, the_number_of_a_file_is_now_one_that_waits, GLIBC_OK | NEEDS_ROOT, 20)
{
    static char block[BLOCK];
    struct sigaction action = {.sa_handler = ring};
    SETUP(sigaction(SIGALRM, &action, NULL) == 0);
    char path[4096];
    snprintf(path, sizeof path, "%s/ctest-waiter-%d", place_path(ON_DISK), (int)getpid());
    FILE *stream = fopen(path, "w+");
    SETUP(stream != NULL && unlink(path) == 0);
    int number = fileno(stream);
    train(number, TRAINING);
    fclose(stream);
    int log = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
    SETUP(log == number && lseek(log, 0, SEEK_END) >= 0, "%d for %d", log, number);
    struct aiocb cb = request(log, block, BLOCK, 0);
    const struct aiocb *list[1] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    alarm(1);
    int answer = aio_suspend(list, 1, NULL);
    /* Unless the kernel had something to say just now. */
    CHECK(rung > 0 || aio_error(&cb) != EINPROGRESS, "it returned %d", answer);
}

/* Requests that their waiter could not finish, and then the end of main's thread. */
CASE(42, the_process_ends_after_errors, GLIBC_RACY, 20)
{
    static char block[BLOCK];
    pid_t child = fork();
    SETUP(child >= 0);
    if (child == 0) {
        int file = temp_file(ON_DISK, BLOCK, 0, 0), readable = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        SETUP(readable >= 0);
        train(file, TRAINING);
        for (int i = 0; i < 50; i++) {
            struct aiocb cb = request(readable, block, BLOCK, 0);
            CHECK_EQ(aio_write(&cb), 0);
            wait_for(&cb);
            CHECK_ENDS(&cb, EBADF);
        }
        pthread_exit(NULL);
    }
    CHECK_CHILD(child);
}

/* A sandbox whose handler of SIGSYS carries out what its filter does not let through. */
static atomic_int trapped;
static void answer_all_written(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info;
    ucontext_t *machine = context;
    atomic_fetch_add(&trapped, 1);
#if defined(__x86_64__)
    machine->uc_mcontext.gregs[REG_RAX] = BLOCK;
#elif defined(__aarch64__)
    machine->uc_mcontext.regs[0] = BLOCK;
#endif
}
CASE(44, writes_are_trapped_and_answered, GLIBC_RACY, 20)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    struct sigaction action = {.sa_sigaction = answer_all_written, .sa_flags = SA_SIGINFO};
    int fd = temp_file(ON_DISK, BLOCK, 0, 0);
    SETUP(sigaction(SIGSYS, &action, NULL) == 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0)
        SKIP("no seccomp filters");
    train(fd, TRAINING);
    CHECK(trapped >= TRAINING);
}
