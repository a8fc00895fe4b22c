/* aio_shim.h - POSIX AIO for Linux on io_uring or worker threads.
 *
 * Includes <aio.h>, whose functions the library provides, and declares what
 * POSIX lacks. Works in C99 and later and in C++, before or after <aio.h>.
 * Link with -laio_shim.
 *
 * Generated from the sources of the library; do not edit.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef AIO_SHIM_H
#define AIO_SHIM_H

#ifndef _GNU_SOURCE
# define AIO_SHIM_UNDEF_GNU_SOURCE_
#endif
#include <aio.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/** This header, and the library behind it, are present. */
#define AIO_SHIM 1

/** FreeBSD's names for the members that aio_readv() and aio_writev() use:
 *  the vector, and the number of its elements. */
#ifndef aio_iov
# define aio_iov aio_buf
#endif
#ifndef aio_iovcnt
# define aio_iovcnt aio_nbytes
#endif

/* What <aio.h> declares so, C++ wants repeated. */
#if defined __cplusplus && defined __THROW
# define AIO_SHIM_NOTHROW __THROW
#else
# define AIO_SHIM_NOTHROW
#endif


#define AIO_CANCELED 0

#define AIO_NOTCANCELED 1

#define AIO_ALLDONE 2

#define LIO_READ 0

#define LIO_WRITE 1

#define LIO_NOP 2

#define LIO_WAIT 0

#define LIO_NOWAIT 1

/*
 `lio_listio` opcode of FreeBSD: the element is an `aio_readv`.
 */
#define LIO_READV 16

/*
 `lio_listio` opcode of FreeBSD: the element is an `aio_writev`.
 */
#define LIO_WRITEV 17

/*
 The largest aio_reqprio, AIO_PRIO_DELTA_MAX of glibc.
 */
#define PRIORITY_MAX 20

/*
 What one transfer of the kernel carries at most (MAX_RW_COUNT).
 */
#define TRANSFER_MAX 2147479552

/*
 `sigev_notify` of the eventfd form: 1 is added to the eventfd in
 `sigev_signo` for each completion.
 */
#define SIGEV_AIO_SHIM_EVENTFD 1095323461

/*
 The largest signal number of Linux.
 */
#define LAST_SIGNAL 64

/*
 The first real-time signal; the C library keeps 32 and 33 for itself.
 */
#define FIRST_RT_SIGNAL 32

/*
 Notifications of one kind, since the process began to use AIO.
 */
struct aio_shim_overflow_kind {
  /*
   Delivered.
   */
  uint64_t sent;
  /*
   Refused at first, and kept.
   */
  uint64_t deferred;
  /*
   Delivered after having been kept.
   */
  uint64_t late;
  /*
   Merged into an equal one, beyond AIO_SHIM_MAX_WAITING.
   */
  uint64_t merged;
  /*
   Kept at this moment.
   */
  uint64_t waiting;
};

/*
 What aio_shim_overflow() tells.
 */
struct aio_shim_overflow {
  /*
   Delivered.
   */
  uint64_t sent;
  /*
   Refused at first, and kept.
   */
  uint64_t deferred;
  /*
   Delivered after having been kept.
   */
  uint64_t late;
  /*
   Merged into an equal one, beyond AIO_SHIM_MAX_WAITING.
   */
  uint64_t merged;
  /*
   Kept at this moment.
   */
  uint64_t waiting;
  /*
   The most that ever were.
   */
  uint64_t peak_waiting;
  /*
   The longest a notification was kept, in nanoseconds.
   */
  uint64_t longest_delay_ns;
  /*
   How often a queue became full.
   */
  uint64_t episodes;
  /*
   The same by AIO_SHIM_KIND_RT, _STANDARD, _THREAD, _LIST.
   */
  struct aio_shim_overflow_kind kind[4];
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Starts a read of `aio_nbytes` bytes at `aio_offset` into `aio_buf`.

 The request is queued when the call returns; the control block and the
 buffer must stay valid and untouched until aio_error() says something else
 than EINPROGRESS. The file position is not used and does not move; on what
 cannot seek the offset is ignored.

 Returns 0, or -1 with EINVAL (aio_reqprio outside 0..20, a signal number
 that does not exist, a control block still in progress) or EAGAIN (no
 thread or memory to be had). All other errors come through aio_error().
 Async-signal-safe. Source: POSIX.1-2024.
 */
int aio_read(struct aiocb *aiocbp);

/*
 Starts a write of `aio_nbytes` bytes from `aio_buf` at `aio_offset`, or at
 the end of a file opened with O_APPEND. Otherwise as aio_read().

 A write to a pipe, socket or terminal is made whole, as by write(2), unless
 O_NONBLOCK is set. Async-signal-safe. Source: POSIX.1-2024.
 */
int aio_write(struct aiocb *aiocbp);

/*
 Starts an fsync (`op` O_SYNC) or fdatasync (O_DSYNC) of the file, after all
 writes to the same file that were queued before, through any descriptor.

 If one of these writes fails, its error is this request's error too.
 Returns 0, or -1 with EINVAL (another `op`), EBADF or EAGAIN.
 Async-signal-safe. Source: POSIX.1-2024.
 */
int aio_fsync(int op, struct aiocb *aiocbp);

/*
 The error status of a request: EINPROGRESS, 0, or the errno it failed
 with. A control block that was never submitted and is all zero gives 0.

 A load: no system call, no lock, errno is left alone. Async-signal-safe.
 Source: POSIX.1-2024.
 */
int aio_error(const struct aiocb *aiocbp);

/*
 The return status of a completed request: what read, write or fsync would
 have returned (-1 if it failed; aio_error() has the errno). May be called
 again. While the request is in progress it gives 0.

 A load, as aio_error(). Async-signal-safe. Source: POSIX.1-2024.
 */
ptrdiff_t aio_return(struct aiocb *aiocbp);

/*
 Waits until a request of the list is complete, a signal handler has run,
 or `timeout` (CLOCK_MONOTONIC, relative; NULL: for ever) is over.

 NULL entries are ignored. Returns 0 at once if an entry is complete, was
 never submitted, or if nothing is in the list. Returns -1 with EAGAIN (time
 over), EINTR, or EINVAL (`nent` < 0, invalid tv_nsec). Cancellation point;
 async-signal-safe, also in a handler that interrupted aio_suspend().
 Source: POSIX.1-2024.
 */
int aio_suspend(const struct aiocb *const *list, int nent, const struct timespec *timeout);

/*
 Cancels the request of `aiocbp`, or with NULL all requests of `fildes`.

 Returns AIO_CANCELED (all of them ended with ECANCELED, and notified),
 AIO_NOTCANCELED (at least one is being carried out and will complete),
 AIO_ALLDONE (there was none), or -1 with EBADF, or EINVAL if the control
 block names another descriptor. A cancelled read has consumed nothing.
 Async-signal-safe. Source: POSIX.1-2024.
 */
int aio_cancel(int fildes, struct aiocb *aiocbp);

/*
 Submits the requests of a list together, by their `aio_lio_opcode`:
 LIO_READ, LIO_WRITE, LIO_NOP (ignored, as NULL entries are), and FreeBSD's
 LIO_READV and LIO_WRITEV.

 LIO_WAIT returns when all are complete: 0 if all succeeded, else -1 with
 EIO; EINTR if a signal handler ran (the requests go on). LIO_NOWAIT returns
 0 when all are queued, -1 with EIO if one was refused (its aio_error() says
 why), and `sig`, if not NULL, notifies once after the last of them.
 Further errors: EINVAL (`mode`, `nent` < 0, `sig`), EAGAIN.
 Async-signal-safe. Source: POSIX.1-2024, FreeBSD.
 */
int lio_listio(int mode, struct aiocb *const *list, int nent, struct sigevent *sig);

/*
 Takes glibc's hints: `aio_threads` limits the worker threads (unless
 AIO_SHIM_THREADS does), `aio_idle_time` is the seconds an idle thread
 stays. The other members have no meaning here. Source: glibc.
 */
void aio_init(const aioinit *init);

/*
 The version of the library, "major.minor.patch". Static storage.
 Async-signal-safe.
 */
const char *aio_shim_version(void);

/*
 Starts a read into the vector of `aio_iovcnt` struct iovec at `aio_iov`
 (the vector, too, stays valid until completion). Otherwise as aio_read().
 Async-signal-safe. Source: FreeBSD.
 */
int aio_readv(struct aiocb *aiocbp);

/*
 Starts a write from a vector; see aio_readv().
 */
int aio_writev(struct aiocb *aiocbp);

/*
 Reads the counters of notifications that could not be delivered at once.

 Fills at most `size` bytes of `*out` (pass sizeof; a later version may know
 more members than your header). Returns 0, or -1 with EINVAL (NULL).
 Nothing is reset. Async-signal-safe.
 */
int aio_shim_overflow(struct aio_shim_overflow *out, size_t size);

/*
 Sets the signal raised when a notification is first refused: a number, 0
 for none, -1 for SIGIO if the program has a handler for it (the default).

 Returns the setting before, or -2 with EINVAL. Async-signal-safe.
 */
int aio_shim_set_overflow_signal(int signo);

/*
 Writes what `aio-shim --doctor` shows to the descriptor `fd`, a
 `key=value` a line. Returns 0 if io_uring will serve, 1 if the workers
 will, 2 if nothing will.
 */
int aio_shim_doctor(int fd);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AIO_SHIM_H */
