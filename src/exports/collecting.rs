//! Waiting for whichever request completes next: FreeBSD's
//! `aio_waitcomplete`, illumos's `aio_waitn`.

use std::ffi::{c_int, c_uint};

use super::answer;
use crate::abi::{Aiocb, aiocb};
use crate::process::Runtime;
use crate::sys;
use crate::wait::Deadline;

/// Waits for the next completion of any request of the process, stores its
/// control block in `*done`, and returns what aio_return() would have: -1
/// with the request's own error in errno if it failed.
///
/// Each completed request is reported once, the first completed first, to one
/// caller; not those for which aio_return() was called, or which were
/// submitted again. aio_return() need not be called for what is reported.
/// `timeout` is relative (CLOCK_MONOTONIC; NULL: for ever; {0,0} polls). The
/// cost does not depend on how many requests are outstanding.
///
/// If there is no request to report: -1 with `*done` NULL and EAGAIN (the
/// time is over, or there is no memory), EINTR, EINVAL (invalid `timeout`) or
/// EFAULT (`done` NULL). It waits also while nothing is outstanding: another
/// thread may submit something.
///
/// Completions are kept from the process's first AIO call on if a loaded
/// object imports this function or aio_waitn(); a program that looks them up
/// by dlsym() gets what completes after its first call. A control block must
/// then stay valid until it was reported or aio_return() was called for it.
/// Cancellation point. Async-signal-safe. Source: FreeBSD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_waitcomplete(
    done: *mut *mut aiocb,
    timeout: *mut libc::timespec,
) -> libc::ssize_t {
    if done.is_null() {
        return answer(Err(libc::EFAULT)) as isize;
    }
    // SAFETY: writable by the caller's contract, here and below.
    unsafe { done.write(std::ptr::null_mut()) };
    // SAFETY: null or readable.
    let limit = match unsafe { Limit::read(timeout) } {
        Ok(limit) => limit,
        Err(error) => return answer(Err(error)) as isize,
    };
    let Some(runtime) = Runtime::get() else {
        return answer(Err(libc::EAGAIN)) as isize;
    };
    runtime.collector.begin(|| runtime.stats.in_flight());
    runtime.wake_for_wait();
    match runtime.collector.wait_one(limit.deadline, limit.poll) {
        Ok(kept) => {
            // SAFETY: as above.
            unsafe { done.write(block(kept.address)) };
            match kept.outcome {
                Ok(bytes) => bytes as isize,
                Err(error) => answer(Err(error)) as isize,
            }
        }
        Err(error) => answer(Err(error)) as isize,
    }
}

/// Waits until `*nwait` requests of the process have completed, and stores
/// the control blocks of up to `nent` completed ones in `list`, their number
/// in `*nwait`. Their results are asked with aio_error() and aio_return().
///
/// Each completed request is reported once, by this function or by
/// aio_waitcomplete(), which see. When nothing more is in progress it returns
/// with what there is. `timeout` as there.
///
/// Returns 0, or -1 with ETIME (the time is over; {0,0}: fewer than `*nwait`
/// have completed), EINTR, EAGAIN (nothing is outstanding), EINVAL (`nent` or
/// `*nwait` is 0, `*nwait` > `nent`, invalid `timeout`) or EFAULT (NULL).
/// With ETIME and EINTR, too, `*nwait` says how many are in `list`; with
/// EAGAIN it is 0. Cancellation point: a cancelled call takes no request.
/// Async-signal-safe. Source: illumos.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_waitn(
    list: *mut *mut aiocb,
    nent: c_uint,
    nwait: *mut c_uint,
    timeout: *const libc::timespec,
) -> c_int {
    if list.is_null() || nwait.is_null() {
        return answer(Err(libc::EFAULT));
    }
    // SAFETY: readable by the caller's contract.
    let least = unsafe { nwait.read() };
    if nent == 0 || least == 0 || least > nent {
        return answer(Err(libc::EINVAL));
    }
    // SAFETY: writable by the caller's contract, here and below.
    let store = |count: c_uint| unsafe { nwait.write(count) };
    // SAFETY: null or readable.
    let limit = match unsafe { Limit::read(timeout) } {
        Ok(limit) => limit,
        Err(error) => {
            store(0);
            return answer(Err(error));
        }
    };
    let Some(runtime) = Runtime::get() else {
        store(0);
        return answer(Err(libc::EAGAIN));
    };
    runtime.collector.begin(|| runtime.stats.in_flight());
    runtime.wake_for_wait();
    let (count, reason) =
        runtime
            .collector
            .wait_many(least, nent, limit.deadline, limit.poll, |at, address| {
                // SAFETY: `at` < `nent`.
                unsafe { list.add(at as usize).write(block(address)) }
            });
    store(count);
    match reason {
        0 => 0,
        error => answer(Err(error)),
    }
}

/// The control block that was kept as an address.
fn block(address: u64) -> *mut aiocb {
    Aiocb::from_word(address).map_or(std::ptr::null_mut(), Aiocb::as_ptr)
}

/// How long to wait.
struct Limit {
    deadline: Option<Deadline>,
    poll: bool,
}

impl Limit {
    /// # Safety
    /// `timeout` is null or readable.
    unsafe fn read(timeout: *const libc::timespec) -> Result<Limit, c_int> {
        // SAFETY: by contract.
        let Some(timeout) = (unsafe { timeout.as_ref() }) else {
            return Ok(Limit {
                deadline: None,
                poll: false,
            });
        };
        if timeout.tv_sec < 0 {
            return Err(libc::EINVAL);
        }
        let _errno = sys::KeepErrno::new();
        Ok(Limit {
            deadline: Some(Deadline::after(timeout)?),
            poll: timeout.tv_sec == 0 && timeout.tv_nsec == 0,
        })
    }
}
