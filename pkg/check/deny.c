/* deny VERDICT SYSCALL PROGRAM ARGS...: runs PROGRAM under a seccomp filter
 * that answers the system call by VERDICT: an errno number, "kill" or "trap".
 * SYSCALL is setup or enter (of io_uring). "deny ask": is io_uring to be had
 * here (status 0) or not (1)? For the tests of the doctor. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "ask")) {
		unsigned params[30] = { 0 };
		return syscall(SYS_io_uring_setup, 8, params) < 0;
	}
	if (argc < 4) {
		fprintf(stderr, "usage: deny ERRNO|kill|trap setup|enter PROGRAM... or deny ask\n");
		return 2;
	}
	unsigned verdict = SECCOMP_RET_ERRNO | ((unsigned)atoi(argv[1]) & SECCOMP_RET_DATA);
	if (!strcmp(argv[1], "kill"))
		verdict = SECCOMP_RET_KILL_PROCESS;
	else if (!strcmp(argv[1], "trap"))
		verdict = SECCOMP_RET_TRAP;
	unsigned number = strcmp(argv[2], "enter") ? SYS_io_uring_setup : SYS_io_uring_enter;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, verdict),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof code[0], code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("deny: seccomp");
		return 3;
	}
	execvp(argv[3], argv + 3);
	perror("deny: exec");
	return 127;
}
