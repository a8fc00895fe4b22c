//! Static probes (SDT), provider `aio_shim`: a look into a running process
//! with perf, bpftrace, SystemTap or gdb. A probe is one `nop` until somebody
//! attaches to it.
//!
//! | probe | arguments |
//! |---|---|
//! | submit | control block, descriptor, kind, offset, length |
//! | start | control block, lane |
//! | complete | control block, lane, kind, result (bytes, or minus the errno) |
//! | notify | kind of notification |
//! | defer | kind of notification, how many |
//! | cancel | descriptor, control block (0: all of it), what aio_cancel returns |
//! | fallback | errno of io_uring's refusal |
//!
//! Kinds of requests: 1 read, 2 write, 3 readv, 4 writev, 5 fsync,
//! 6 fdatasync. Lanes: 0 inline, 1 ring, 2 workers, 3 engine. Kinds of
//! notifications: 0 real-time signal, 1 standard signal, 2 callback, 3 list,
//! 4 eventfd.
//!
//! Who comes in: the places where these things happen. What must hold:
//! nothing is computed for a probe that is not at hand anyway.

use std::ffi::c_int;

use crate::abi::{Aiocb, Members};
use crate::request::{Kind, Outcome};
use crate::stats::Lane;

/// A submission that passed the checks.
#[inline(always)]
pub fn submit(cb: Aiocb, kind: Kind, members: &Members) {
    probe::probe!(
        aio_shim,
        submit,
        cb.as_ptr(),
        members.fildes,
        kind as i32,
        members.offset,
        members.length
    );
}

/// A lane begins to carry a request out.
#[inline(always)]
pub fn start(cb: Aiocb, lane: Lane) {
    probe::probe!(aio_shim, start, cb.as_ptr(), lane as i32);
}

/// A result is about to be published.
#[inline(always)]
pub fn complete(cb: Aiocb, lane: Lane, kind: Kind, outcome: Outcome) {
    let result = match outcome {
        Ok(bytes) => bytes as i64,
        Err(error) => -i64::from(error),
    };
    probe::probe!(
        aio_shim,
        complete,
        cb.as_ptr(),
        lane as i32,
        kind as i32,
        result
    );
}

/// A notification was handed over.
#[inline(always)]
pub fn notify(kind: i32) {
    probe::probe!(aio_shim, notify, kind);
}

/// Notifications were refused, and are kept.
#[inline(always)]
pub fn defer(kind: i32, count: u64) {
    probe::probe!(aio_shim, defer, kind, count);
}

/// aio_cancel has its verdict.
#[inline(always)]
pub fn cancel(fildes: c_int, one: Option<Aiocb>, verdict: c_int) {
    let cb = one.map_or(std::ptr::null_mut(), Aiocb::as_ptr);
    probe::probe!(aio_shim, cancel, fildes, cb, verdict);
}

/// io_uring is refused, and the workers take over.
#[inline(always)]
pub fn fallback(errno: c_int) {
    probe::probe!(aio_shim, fallback, errno);
}
