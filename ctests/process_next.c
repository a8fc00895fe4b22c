/* process_next.c - the calls that end a descriptor go on to the next definition of their name, which is the one that
 * dlsym(RTLD_NEXT) gives: behind other preloaded libraries, in front of them, and opened after the C library; and it is
 * found without dlsym where that can be. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "loading.h"

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }
static int opened(void)
{
    int fd = open("/dev/null", O_RDWR);
    SETUP(fd >= 0);
    return fd;
}
/* Wrong answers show: its own definition again is a recursion without end, one too far on is not counted. */
static void each_reaches(bool in_front)
{
    count_calls *calls = with_around(in_front);
    int from = opened(), to = opened(), before = calls();

    CHECK_EQ(dup2(from, to), to);
    CHECK(calls() == before + 1, "dup2: %d", calls() - before);
    before = calls();
    CHECK_EQ(dup3(from, to, O_CLOEXEC), to);
    CHECK(calls() == before + 1, "dup3: %d", calls() - before);
    CHECK_EQ(fcntl(to, F_GETFD), FD_CLOEXEC);
    before = calls();
    CHECK_EQ(close(to), 0);
    CHECK(calls() == before + 1, "close: %d", calls() - before);
    CHECK(!is_open(to));
    to = opened();
    before = calls();
    CHECK_EQ(close_range((unsigned)to, (unsigned)to, 0), 0);
    CHECK(calls() == before + 1, "close_range: %d", calls() - before);
    CHECK(!is_open(to) && is_open(from));
    to = opened();
    before = calls();
    closefrom(3);
    CHECK(calls() == before + 1, "closefrom: %d", calls() - before);
    CHECK(!is_open(to) && !is_open(from) && is_open(2));
}
CASE(44, the_next_behind_another_library, SHIM_ONLY | NO_VALGRIND, 30) { each_reaches(true); }
CASE(44, the_next_in_front_of_another_library, SHIM_ONLY | NO_VALGRIND, 30) { each_reaches(false); }

/* The library alone, opened when the C library is there: that one's close is its next, and a cancellation point, which
 * the bare system call is not. */
static int (*close_by_dlopen)(int);
static void *cancelled_in_close(void *returned)
{
    int fd = opened();
    pthread_cancel(pthread_self());
    close_by_dlopen(fd);
    *(bool *)returned = true;
    return NULL;
}
CASE(44, the_next_when_opened_later, SHIM_ONLY | NO_VALGRIND, 30) { run_by_dlopen("the_next_inside"); }
CASE(44, the_next_inside, GLIBC_OK, 30) /* its other half; by itself it shows nothing */
{
    if (!path_to_open())
        return;
    void *library = dlopen(path_to_open(), RTLD_NOW | RTLD_LOCAL), *result = NULL;
    CHECK(library != NULL, "%s", dlerror());
    close_by_dlopen = (int (*)(int))dlsym(library, "close");
    CHECK(close_by_dlopen != NULL && close_by_dlopen != close);
    int fd = opened();
    CHECK_EQ(close_by_dlopen(fd), 0);
    CHECK(!is_open(fd));
    pthread_t thread;
    static bool returned;
    SETUP(pthread_create(&thread, NULL, cancelled_in_close, &returned) == 0);
    SETUP(pthread_join(thread, &result) == 0);
    CHECK(!returned && result == PTHREAD_CANCELED);
}

/* How often the dynamic linker looks for closefrom while /bin/true starts. That imports no such name: it is dlsym. */
static int lookups(const char *list)
{
    char output[4096], file[4200], line[4096];
    int found = 0, whole = 0;
    snprintf(output, sizeof output, "%s/lookups", getenv("AIO_TEST_OUT"));
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_PRELOAD", list, 1);
        setenv("LD_DEBUG", "symbols", 1);
        setenv("LD_DEBUG_OUTPUT", output, 1);
        execl("/bin/true", "true", (char *)NULL);
        _exit(99);
    }
    SETUP(wait_child(child, "/bin/true") == 0);
    snprintf(file, sizeof file, "%s.%d", output, (int)child);
    FILE *text = fopen(file, "r");
    SETUP(text != NULL, "%s", file);
    while (fgets(line, sizeof line, text)) {
        whole++;
        found += strstr(line, "symbol=closefrom;") != NULL;
    }
    fclose(text);
    unlink(file);
    SETUP(whole > 0, "no lookup is seen at all");
    return found;
}
CASE(44, the_next_is_found_without_dlsym, SHIM_ONLY | NO_VALGRIND, 30)
{
    char list[9000];
    CHECK_EQ(lookups(getenv("AIO_TEST_LIB")), 0);
    list_around(false, list, sizeof list);
    CHECK_EQ(lookups(list), 0);
    list_around(true, list, sizeof list); /* a definition in front: dlsym is asked, and would be seen above */
    CHECK(lookups(list) > 0);
}
