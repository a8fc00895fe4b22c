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

#include <aio.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/** This header, and the library behind it, are present. */
#define AIO_SHIM 1

/** FreeBSD's names for the members that aio_readv() and aio_writev() use: the
 *  vector, and the number of its elements. They are macros for aio_buf and
 *  aio_nbytes: set them by assignment, `cb.aio_iov = vector`. */
#ifndef aio_iov
# define aio_iov aio_buf
#endif
#ifndef aio_iovcnt
# define aio_iovcnt aio_nbytes
#endif

/* What <aio.h> declares not to throw, C++ wants declared so again. */
#if defined __cplusplus && defined __THROW
# define AIO_SHIM_NOTHROW __THROW
#else
# define AIO_SHIM_NOTHROW
#endif

/* Strict C hides these, or <aio.h> does. */
struct aioinit;
struct iovec;
struct sigevent;
struct timespec;


/**
 * `lio_listio` opcode of FreeBSD: the element is an `aio_readv`.
 */
#define LIO_READV 16

/**
 * `lio_listio` opcode of FreeBSD: the element is an `aio_writev`.
 */
#define LIO_WRITEV 17

/**
 * `sigev_notify` of the eventfd form: 1 is added to the eventfd in
 * `sigev_signo` for each completion.
 */
#define SIGEV_AIO_SHIM_EVENTFD 0x41494f45

/**
 * Kinds of notifications, the indices of `aio_shim_overflow.kind`: a
 * real-time signal.
 */
#define AIO_SHIM_KIND_RT 0

/**
 * A standard signal.
 */
#define AIO_SHIM_KIND_STANDARD 1

/**
 * A function called in a thread (SIGEV_THREAD).
 */
#define AIO_SHIM_KIND_THREAD 2

/**
 * The notification of a whole list, whatever its form.
 */
#define AIO_SHIM_KIND_LIST 3

/**
 * First indices of `aio_shim_stats.requests`, the kinds: aio_read().
 */
#define AIO_SHIM_REQUEST_READ 0

/**
 * aio_write().
 */
#define AIO_SHIM_REQUEST_WRITE 1

/**
 * aio_readv().
 */
#define AIO_SHIM_REQUEST_READV 2

/**
 * aio_writev().
 */
#define AIO_SHIM_REQUEST_WRITEV 3

/**
 * aio_fsync() with O_SYNC.
 */
#define AIO_SHIM_REQUEST_SYNC 4

/**
 * aio_fsync() with O_DSYNC.
 */
#define AIO_SHIM_REQUEST_DSYNC 5

/**
 * Second indices of `aio_shim_stats.requests`, and those of `.lane`: served
 * in a thread of the program, at once by the one that called, or by the one
 * that waits in aio_suspend().
 */
#define AIO_SHIM_LANE_INLINE 0

/**
 * Served by the kernel through io_uring.
 */
#define AIO_SHIM_LANE_RING 1

/**
 * Served by worker threads.
 */
#define AIO_SHIM_LANE_WORKERS 2

/**
 * Served by the library's engine itself: pipes, sockets and terminals, small
 * buffered writes, and what ended without being carried out.
 */
#define AIO_SHIM_LANE_ENGINE 3

/**
 * Third indices of `aio_shim_stats.requests`, the results: success.
 */
#define AIO_SHIM_RESULT_SUCCEEDED 0

/**
 * An error other than ECANCELED.
 */
#define AIO_SHIM_RESULT_FAILED 1

/**
 * Ended with ECANCELED.
 */
#define AIO_SHIM_RESULT_CANCELLED 2

/**
 * Numbers of notifications, since the process began to use AIO.
 */
struct aio_shim_overflow_kind {
  /**
   * Delivered.
   */
  uint64_t sent;
  /**
   * Refused at first, and kept.
   */
  uint64_t deferred;
  /**
   * Delivered after having been kept.
   */
  uint64_t late;
  /**
   * Merged into an equal one, beyond AIO_SHIM_MAX_WAITING.
   */
  uint64_t merged;
  /**
   * Kept at this moment.
   */
  uint64_t waiting;
};

/**
 * What aio_shim_overflow() tells. All but the delay are numbers of
 * notifications since the process began to use AIO.
 */
struct aio_shim_overflow {
  /**
   * Delivered.
   */
  uint64_t sent;
  /**
   * Refused at first, and kept.
   */
  uint64_t deferred;
  /**
   * Delivered after having been kept.
   */
  uint64_t late;
  /**
   * Merged into an equal one, beyond AIO_SHIM_MAX_WAITING.
   */
  uint64_t merged;
  /**
   * Kept at this moment.
   */
  uint64_t waiting;
  /**
   * The most that ever were.
   */
  uint64_t peak_waiting;
  /**
   * The longest a notification was kept, in nanoseconds.
   */
  uint64_t longest_delay_ns;
  /**
   * How often a queue became full.
   */
  uint64_t episodes;
  /**
   * The same by AIO_SHIM_KIND_RT, _STANDARD, _THREAD, _LIST.
   */
  struct aio_shim_overflow_kind kind[4];
  /**
   * The same for SIGEV_AIO_SHIM_EVENTFD (lists are in `kind`).
   */
  struct aio_shim_overflow_kind eventfd;
  /**
   * The receiver was gone: a thread had ended, an eventfd was closed.
   */
  uint64_t undeliverable;
  /**
   * Sent without their value, because something (a seccomp filter) forbids
   * queued signals.
   */
  uint64_t without_value;
};

/**
 * What one lane did. The times are from the submitting call to the result,
 * in nanoseconds; a percentile is at most 1/16 too large.
 */
struct aio_shim_stats_lane {
  /**
   * Requests completed, with any result.
   */
  uint64_t requests;
  /**
   * Bytes read by them.
   */
  uint64_t bytes_read;
  /**
   * Bytes written by them.
   */
  uint64_t bytes_written;
  /**
   * Requests whose time was taken: all, but of those served at
   * once one in 16.
   */
  uint64_t timed;
  /**
   * Mean time.
   */
  uint64_t mean_ns;
  /**
   * Median.
   */
  uint64_t p50_ns;
  /**
   * What 90 % did not exceed.
   */
  uint64_t p90_ns;
  /**
   * What 99 % did not exceed.
   */
  uint64_t p99_ns;
  /**
   * What 99.9 % did not exceed.
   */
  uint64_t p999_ns;
  /**
   * The longest time.
   */
  uint64_t longest_ns;
};

/**
 * What aio_shim_stats() tells: numbers since the process began to use AIO.
 */
struct aio_shim_stats {
  /**
   * Nanoseconds since then.
   */
  uint64_t elapsed_ns;
  /**
   * Completed requests by kind, lane and result: indexed by
   * AIO_SHIM_REQUEST_..., AIO_SHIM_LANE_..., AIO_SHIM_RESULT_...
   */
  uint64_t requests[6][4][3];
  /**
   * Completed requests that succeeded.
   */
  uint64_t succeeded;
  /**
   * Those that ended with an error.
   */
  uint64_t failed;
  /**
   * Those that ended with ECANCELED.
   */
  uint64_t cancelled;
  /**
   * Submissions that returned an error; not counted above.
   */
  uint64_t refused;
  /**
   * Bytes read by them.
   */
  uint64_t bytes_read;
  /**
   * Bytes written by them.
   */
  uint64_t bytes_written;
  /**
   * Requests queued or being carried out now.
   */
  uint64_t in_flight;
  /**
   * The most that were with the library's engine at once.
   */
  uint64_t peak_in_flight;
  /**
   * Answers of aio_cancel(), indexed by AIO_CANCELED, AIO_NOTCANCELED,
   * AIO_ALLDONE.
   */
  uint64_t cancel_calls[3];
  /**
   * Notifications delivered; see aio_shim_overflow().
   */
  uint64_t notifications;
  /**
   * Those that had to wait because a queue was full.
   */
  uint64_t notifications_deferred;
  /**
   * Times that io_uring was refused and the workers took over.
   */
  uint64_t fallbacks;
  /**
   * System calls made by the library: io_uring_enter().
   */
  uint64_t ring_enters;
  /**
   * Transfers begun by worker threads.
   */
  uint64_t worker_calls;
  /**
   * Transfers made, and streams tried, by the engine.
   */
  uint64_t engine_calls;
  /**
   * Transfers tried in the submitting threads.
   */
  uint64_t inline_calls;
  /**
   * Calls that woke the sleeping engine.
   */
  uint64_t wakes;
  /**
   * By lane, indexed by AIO_SHIM_LANE_...
   */
  struct aio_shim_stats_lane lane[4];
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Starts a read of `aio_nbytes` bytes at `aio_offset` into `aio_buf`.
 *
 * The request is queued, or already complete, when the call returns; control
 * block and buffer must stay valid and untouched until aio_error() says
 * something else than EINPROGRESS. The file position is not used and does
 * not move; on what cannot seek the offset is ignored unless it is negative
 * (EINVAL). More than 0x7ffff000 bytes are cut to that, as by read(2).
 *
 * Returns 0, or -1 with EINVAL (aio_reqprio outside 0..20, a signal number
 * that does not exist, a control block still in progress) or EAGAIN (no
 * thread or memory to be had). All other errors come through aio_error().
 * Async-signal-safe. Source: POSIX.1-2024.
 *
 */
int aio_read(struct aiocb *aiocbp) AIO_SHIM_NOTHROW;

/**
 * Starts a write of `aio_nbytes` bytes from `aio_buf` at `aio_offset`, or at
 * the end of a file opened with O_APPEND. Otherwise as aio_read().
 *
 * A write to a pipe, socket or terminal is made whole, as by write(2), unless
 * O_NONBLOCK is set. Async-signal-safe. Source: POSIX.1-2024.
 *
 */
int aio_write(struct aiocb *aiocbp) AIO_SHIM_NOTHROW;

/**
 * Starts an fsync (`op` O_SYNC) or fdatasync (O_DSYNC) of the file
 * `aio_fildes`, after all writes to the same file that were queued before,
 * through any descriptor. Of the other members only aio_sigevent is used.
 *
 * If one of these writes fails, its error is this request's error too.
 * Returns 0, or -1 with EINVAL (another `op`), EBADF or EAGAIN.
 * Async-signal-safe. Source: POSIX.1-2024.
 *
 */
int aio_fsync(int op, struct aiocb *aiocbp) AIO_SHIM_NOTHROW;

/**
 * The error status of a request: EINPROGRESS, 0, or the errno it failed
 * with. A control block that was never submitted and is all zero gives 0; a
 * request of the parent process gives ECANCELED in a child of fork().
 *
 * A load: no system call, no lock, errno is left alone. Async-signal-safe.
 * Source: POSIX.1-2024.
 *
 */
int aio_error(const struct aiocb *aiocbp) AIO_SHIM_NOTHROW;

/**
 * The return status of a completed request: what read, write or fsync would
 * have returned (-1 if it failed; aio_error() has the errno). May be called
 * again, or never. While the request is in progress it gives 0.
 *
 * A load, as aio_error(). (In a program that uses aio_waitcomplete() or
 * aio_waitn() it also takes the request from what these will report.)
 * Async-signal-safe. Source: POSIX.1-2024.
 *
 */
ssize_t aio_return(struct aiocb *aiocbp) AIO_SHIM_NOTHROW;

/**
 * Waits until a request of the list is complete, a signal handler has run,
 * or `timeout` (CLOCK_MONOTONIC, relative; NULL: for ever) is over.
 *
 * NULL entries are ignored. The list is only read, and not used after the
 * call; the control blocks must stay valid meanwhile. Returns 0 at once if
 * an entry is complete, was never submitted, or if nothing is in the list.
 * Returns -1 with EAGAIN (time over; {0,0} polls), EINTR, or EINVAL (`nent`
 * < 0, invalid tv_nsec). Cancellation point; async-signal-safe, also in a
 * handler that interrupted aio_suspend(). Without a timeout it may carry out
 * itself what is outstanding; handlers then run when a transfer has ended.
 * Source: POSIX.1-2024.
 */
int aio_suspend(const struct aiocb *const *list, int nent, const struct timespec *timeout);

/**
 * Cancels the request of `aiocbp`, or with NULL all requests of `fildes`.
 *
 * Returns AIO_CANCELED (all of them ended with ECANCELED, and notified),
 * AIO_NOTCANCELED (at least one is being carried out and will complete),
 * AIO_ALLDONE (there was none), or -1 with EBADF, or EINVAL if the control
 * block names another descriptor. A cancelled read has consumed nothing.
 * For a moment after a request has ended, all of its descriptor may still be
 * AIO_NOTCANCELED; the request itself is AIO_ALLDONE at once.
 * Async-signal-safe. Source: POSIX.1-2024.
 *
 */
int aio_cancel(int fildes, struct aiocb *aiocbp) AIO_SHIM_NOTHROW;

/**
 * Submits the requests of a list together, by their `aio_lio_opcode`:
 * LIO_READ, LIO_WRITE, LIO_NOP (ignored, as NULL entries are), and FreeBSD's
 * LIO_READV and LIO_WRITEV.
 *
 * LIO_WAIT returns when all are complete: 0 if all succeeded, else -1 with
 * EIO; EINTR if a signal handler ran (the requests go on). LIO_NOWAIT returns
 * 0 when all are queued, -1 with EIO if one was refused (its aio_error() says
 * why), and `sig`, if not NULL, notifies once after the last of them.
 * Further errors: EINVAL (`mode`, `nent` < 0, `sig`), EAGAIN. `list` and `sig`
 * are not used after the call, the control blocks are, as with aio_read().
 * There is no limit to `nent`. Async-signal-safe.
 * Source: POSIX.1-2024, FreeBSD.
 *
 */
int lio_listio(int mode,
               struct aiocb *const *list,
               int nent,
               struct sigevent *sig)
AIO_SHIM_NOTHROW;

/**
 * Takes glibc's hints: `aio_threads` limits the worker threads (unless
 * AIO_SHIM_THREADS does), `aio_idle_time` is the seconds an idle thread
 * stays. The other members have no meaning here; `init` is not used after
 * the call. Async-signal-safe. Source: glibc.
 *
 */
void aio_init(const struct aioinit *init) AIO_SHIM_NOTHROW;

/**
 * The version of the library, "major.minor.patch". The text is static: it is
 * not to be freed. Async-signal-safe.
 */
const char *aio_shim_version(void);

/**
 * Starts a read at `aio_offset` into the buffers of a vector: `aio_iovcnt`
 * elements of struct iovec at `aio_iov`.
 *
 * The vector, like control block and buffers, stays valid and untouched until
 * completion. Otherwise as aio_read(). What is wrong with the vector comes
 * through aio_error() as readv(2) would say it: EINVAL (more than IOV_MAX
 * elements, or lengths beyond SSIZE_MAX in sum), EFAULT. Async-signal-safe.
 * Source: FreeBSD.
 */
int aio_readv(struct aiocb *aiocbp);

/**
 * Starts a write from the buffers of a vector, made whole as by aio_write().
 * See aio_readv(). Async-signal-safe. Source: FreeBSD.
 */
int aio_writev(struct aiocb *aiocbp);

/**
 * Reads the counters of notifications that could not be delivered at once.
 *
 * Fills the first `size` bytes of `*out`, or all the library knows (pass
 * sizeof; another version may know more members or fewer; clear the struct
 * first if that matters). Returns 0, or -1 with EINVAL (NULL). Nothing is
 * reset. Async-signal-safe.
 */
int aio_shim_overflow(struct aio_shim_overflow *out, size_t size);

/**
 * Reads the statistics of the process: what AIO_SHIM_STATS writes at exit.
 *
 * Fills the first `size` bytes of `*out`, as aio_shim_overflow() does. The
 * counters are always on; the latencies are taken from the first call on, or
 * from the start with AIO_SHIM_STATS. Reading stops nothing: two figures may
 * be a moment apart. Returns 0, or -1 with EINVAL (NULL). Async-signal-safe.
 */
int aio_shim_stats(struct aio_shim_stats *out, size_t size);

/**
 * Sets the signal raised when a notification is first refused: a number, 0
 * for none, -1 for SIGIO if the program has a handler for it (the default).
 *
 * The signal is plain (si_code SI_USER) and comes once an episode: from the
 * first refusal until nothing waits any more. Returns the setting before, or
 * -2 with EINVAL (not a signal) or EAGAIN (no memory). Async-signal-safe.
 */
int aio_shim_set_overflow_signal(int signo);

/**
 * Writes what `aio-shim --doctor` shows to the descriptor `fd`, a
 * `key=value` a line. Returns 0 if io_uring will serve, 1 if the workers
 * will, 2 if nothing will. Not async-signal-safe.
 */
int aio_shim_doctor(int fd);

/**
 * Waits for the next completion of any request of the process, stores its
 * control block in `*done`, and returns what aio_return() would have: -1
 * with the request's own error in errno if it failed.
 *
 * Each completed request is reported once, the first completed first, to one
 * caller; not those for which aio_return() was called, or which were
 * submitted again. aio_return() need not be called for what is reported.
 * `timeout` is relative (CLOCK_MONOTONIC; NULL: for ever; {0,0} polls). The
 * cost does not depend on how many requests are outstanding.
 *
 * If there is no request to report: -1 with `*done` NULL and EAGAIN (the
 * time is over, or there is no memory), EINTR, EINVAL (invalid `timeout`) or
 * EFAULT (`done` NULL). It waits also while nothing is outstanding: another
 * thread may submit something.
 *
 * Completions are kept from the process's first AIO call on if a loaded
 * object imports this function or aio_waitn(); a program that looks them up
 * by dlsym() gets what completes after its first call. A control block must
 * then stay valid until it was reported or aio_return() was called for it.
 * Cancellation point. Async-signal-safe. Source: FreeBSD.
 */
ssize_t aio_waitcomplete(struct aiocb **done, struct timespec *timeout);

/**
 * Waits until `*nwait` requests of the process have completed, and stores
 * the control blocks of up to `nent` completed ones in `list`, their number
 * in `*nwait`. Their results are asked with aio_error() and aio_return().
 *
 * Each completed request is reported once, by this function or by
 * aio_waitcomplete(), which see. When nothing more is in progress it returns
 * with what there is. `timeout` as there.
 *
 * Returns 0, or -1 with ETIME (the time is over; {0,0}: fewer than `*nwait`
 * have completed), EINTR, EAGAIN (nothing is outstanding), EINVAL (`nent` or
 * `*nwait` is 0, `*nwait` > `nent`, invalid `timeout`) or EFAULT (NULL).
 * With ETIME and EINTR, too, `*nwait` says how many are in `list`; with
 * EAGAIN it is 0. Cancellation point: a cancelled call takes no request.
 * Async-signal-safe. Source: illumos.
 */
int aio_waitn(struct aiocb **list,
              unsigned int nent,
              unsigned int *nwait,
              const struct timespec *timeout);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AIO_SHIM_H */
