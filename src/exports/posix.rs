//! The names of POSIX `<aio.h>`, and glibc's `aio_init`.

use std::ffi::c_int;

use super::answer;
use crate::abi::{AIO_ALLDONE, Aiocb, aiocb, aioinit};
use crate::engine;
use crate::process::Runtime;
use crate::request::{self, Kind};
use crate::submission::{self, control_block};
use crate::wait::{self, Deadline};
use crate::{listio, probes, sys};

/// Starts a read of `aio_nbytes` bytes at `aio_offset` into `aio_buf`.
///
/// The request is queued, or already complete, when the call returns; control
/// block and buffer must stay valid and untouched until aio_error() says
/// something else than EINPROGRESS. The file position is not used and does
/// not move; on what cannot seek the offset is ignored unless it is negative
/// (EINVAL). More than 0x7ffff000 bytes are cut to that, as by read(2).
///
/// Returns 0, or -1 with EINVAL (aio_reqprio outside 0..20, a signal number
/// that does not exist, a control block still in progress) or EAGAIN (no
/// thread or memory to be had). All other errors come through aio_error().
/// Async-signal-safe. Source: POSIX.1-2024.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_read(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: the caller's contract (POSIX): a valid control block.
    unsafe { start(aiocbp, Kind::Read, "aio_read") }
}

/// Starts a write of `aio_nbytes` bytes from `aio_buf` at `aio_offset`, or at
/// the end of a file opened with O_APPEND. Otherwise as aio_read().
///
/// A write to a pipe, socket or terminal is made whole, as by write(2), unless
/// O_NONBLOCK is set. Async-signal-safe. Source: POSIX.1-2024.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_write(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: as in aio_read.
    unsafe { start(aiocbp, Kind::Write, "aio_write") }
}

/// Starts an fsync (`op` O_SYNC) or fdatasync (O_DSYNC) of the file
/// `aio_fildes`, after all writes to the same file that were queued before,
/// through any descriptor. Of the other members only aio_sigevent is used.
///
/// If one of these writes fails, its error is this request's error too.
/// Returns 0, or -1 with EINVAL (another `op`), EBADF or EAGAIN.
/// Async-signal-safe. Source: POSIX.1-2024.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_fsync(op: c_int, aiocbp: *mut aiocb) -> c_int {
    let checked = (|| {
        let kind = match op {
            libc::O_SYNC => Kind::Sync,
            libc::O_DSYNC => Kind::DataSync,
            _ => return Err(libc::EINVAL),
        };
        let cb = control_block(aiocbp, "aio_fsync")?;
        // SAFETY: valid by the caller's contract.
        descriptor_exists(unsafe { cb.members() }.fildes)?;
        Ok((cb, kind))
    })();
    answer(match checked {
        // SAFETY: as above.
        Ok((cb, kind)) => unsafe { submission::submit(cb, kind) },
        Err(error) => {
            if let Some(runtime) = Runtime::current() {
                runtime.stats.refuse();
            }
            Err(error)
        }
    })
}

unsafe fn start(aiocbp: *mut aiocb, kind: Kind, caller: &str) -> c_int {
    // SAFETY: valid by the caller's contract.
    answer(control_block(aiocbp, caller).and_then(|cb| unsafe { submission::submit(cb, kind) }))
}

fn descriptor_exists(fildes: c_int) -> Result<(), c_int> {
    // SAFETY: F_GETFL takes no argument.
    if unsafe { libc::fcntl(fildes, libc::F_GETFL) } < 0 {
        return Err(libc::EBADF);
    }
    Ok(())
}

/// The error status of a request: EINPROGRESS, 0, or the errno it failed
/// with. A control block that was never submitted and is all zero gives 0; a
/// request of the parent process gives ECANCELED in a child of fork().
///
/// A load: no system call, no lock, errno is left alone. Async-signal-safe.
/// Source: POSIX.1-2024.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_error(aiocbp: *const aiocb) -> c_int {
    match Aiocb::new(aiocbp) {
        // SAFETY: valid by the caller's contract.
        Some(cb) => unsafe { request::error(Runtime::current(), cb) },
        None => {
            let _ = answer(control_block(aiocbp, "aio_error").map(drop));
            libc::EINVAL
        }
    }
}

/// The return status of a completed request: what read, write or fsync would
/// have returned (-1 if it failed; aio_error() has the errno). May be called
/// again, or never. While the request is in progress it gives 0.
///
/// A load, as aio_error(). (In a program that uses aio_waitcomplete() or
/// aio_waitn() it also takes the request from what these will report.)
/// Async-signal-safe. Source: POSIX.1-2024.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_return(aiocbp: *mut aiocb) -> libc::ssize_t {
    match Aiocb::new(aiocbp) {
        // SAFETY: valid by the caller's contract.
        Some(cb) => unsafe {
            let runtime = Runtime::current();
            let value = request::value(runtime, cb);
            if let Some(runtime) = runtime {
                runtime.collector.returned(cb);
            }
            value
        },
        None => answer(control_block(aiocbp, "aio_return").map(drop)) as isize,
    }
}

/// Waits until a request of the list is complete, a signal handler has run,
/// or `timeout` (CLOCK_MONOTONIC, relative; NULL: for ever) is over.
///
/// NULL entries are ignored. The list is only read, and not used after the
/// call; the control blocks must stay valid meanwhile. Returns 0 at once if
/// an entry is complete, was never submitted, or if nothing is in the list.
/// Returns -1 with EAGAIN (time over; {0,0} polls), EINTR, or EINVAL (`nent`
/// < 0, invalid tv_nsec). Cancellation point; async-signal-safe, also in a
/// handler that interrupted aio_suspend(). Without a timeout it may carry out
/// itself what is outstanding; handlers then run when a transfer has ended.
/// Source: POSIX.1-2024.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_suspend(
    list: *const *const aiocb,
    nent: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    if nent < 0 {
        return answer(Err(libc::EINVAL));
    }
    let deadline = if timeout.is_null() {
        None
    } else {
        // SAFETY: readable by the caller's contract.
        match Deadline::after(unsafe { &*timeout }) {
            Ok(deadline) => Some(deadline),
            Err(error) => return answer(Err(error)),
        }
    };
    let Some(runtime) = Runtime::current() else {
        // Nothing can be in progress in this process.
        return 0;
    };
    let count = if list.is_null() { 0 } else { nent as usize };
    // SAFETY: the caller's list.
    let waited = unsafe { wait::wait_any(runtime, list, count, deadline) };
    // SAFETY: nothing here has a destructor.
    unsafe { wait::cancellation_point() };
    answer(waited)
}

/// Cancels the request of `aiocbp`, or with NULL all requests of `fildes`.
///
/// Returns AIO_CANCELED (all of them ended with ECANCELED, and notified),
/// AIO_NOTCANCELED (at least one is being carried out and will complete),
/// AIO_ALLDONE (there was none), or -1 with EBADF, or EINVAL if the control
/// block names another descriptor. A cancelled read has consumed nothing.
/// For a moment after a request has ended, all of its descriptor may still be
/// AIO_NOTCANCELED; the request itself is AIO_ALLDONE at once.
/// Async-signal-safe. Source: POSIX.1-2024.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_cancel(fildes: c_int, aiocbp: *mut aiocb) -> c_int {
    let verdict = (|| {
        descriptor_exists(fildes)?;
        let one = if aiocbp.is_null() {
            None
        } else {
            let cb = control_block(aiocbp, "aio_cancel")?;
            // SAFETY: valid by the caller's contract.
            if unsafe { cb.members() }.fildes != fildes {
                return Err(libc::EINVAL);
            }
            Some(cb)
        };
        let Some(runtime) = Runtime::current() else {
            return Ok(AIO_ALLDONE);
        };
        // SAFETY: as above.
        let verdict = unsafe { engine::cancel(runtime, fildes, one) };
        probes::cancel(fildes, one, verdict);
        runtime.stats.cancelled(verdict);
        Ok(verdict)
    })();
    match verdict {
        Ok(verdict) => verdict,
        Err(error) => answer(Err(error)),
    }
}

/// Submits the requests of a list together, by their `aio_lio_opcode`:
/// LIO_READ, LIO_WRITE, LIO_NOP (ignored, as NULL entries are), and FreeBSD's
/// LIO_READV and LIO_WRITEV.
///
/// LIO_WAIT returns when all are complete: 0 if all succeeded, else -1 with
/// EIO; EINTR if a signal handler ran (the requests go on). LIO_NOWAIT returns
/// 0 when all are queued, -1 with EIO if one was refused (its aio_error() says
/// why), and `sig`, if not NULL, notifies once after the last of them.
/// Further errors: EINVAL (`mode`, `nent` < 0, `sig`), EAGAIN. `list` and `sig`
/// are not used after the call, the control blocks are, as with aio_read().
/// There is no limit to `nent`. Async-signal-safe.
/// Source: POSIX.1-2024, FreeBSD.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lio_listio(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    sig: *mut libc::sigevent,
) -> c_int {
    // SAFETY: the caller's list and sigevent.
    answer(unsafe { listio::submit(mode, list, nent, sig) })
}

/// Takes glibc's hints: `aio_threads` limits the worker threads (unless
/// AIO_SHIM_THREADS does), `aio_idle_time` is the seconds an idle thread
/// stays. The other members have no meaning here; `init` is not used after
/// the call. Async-signal-safe. Source: glibc.
///
/// cbindgen:postfix=AIO_SHIM_NOTHROW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_init(init: *const aioinit) {
    let Some(runtime) = Runtime::get() else {
        return;
    };
    let _errno = sys::KeepErrno::new();
    // SAFETY: readable by the caller's contract; null does nothing.
    let Some(init) = (unsafe { init.as_ref() }) else {
        return;
    };
    if init.aio_threads > 0 && !runtime.config.threads_given {
        runtime.pool.set_most(init.aio_threads as u32);
    }
    if init.aio_idle_time > 0 {
        runtime.set_idle_seconds(init.aio_idle_time as u32);
    }
}
