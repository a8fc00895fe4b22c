/* process_memory.c - programs that lock their memory: what the library keeps mapped counts, too.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"

/* An ordinary user with the usual limit of 8 MiB. What is kept for callbacks is a stack of the usual size, so the limit
 * of stacks decides whether there is room. */
CASE(44, all_memory_locked_as_an_ordinary_user, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 30)
{
    struct rlimit small = {256 << 10, RLIM_INFINITY}, locked = {8 << 20, 8 << 20};
    SETUP(setrlimit(RLIMIT_STACK, &small) == 0);
    with_environment("SMALL_STACKS", "1"); /* the C library reads the limit when it starts */
    struct kit kit = make_kit();
    SETUP(setrlimit(RLIMIT_MEMLOCK, &locked) == 0);
    SETUP(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    CHECK_EQ(mlockall(MCL_CURRENT), 0);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
