//! What POSIX lacks: `aio_shim_*`, and names of FreeBSD and illumos.

use std::ffi::{c_char, c_int};

use super::answer;
use crate::abi::aiocb;
use crate::config::OverflowSignal;
use crate::notify::{self, KindCounters};
use crate::process::Runtime;
use crate::request::Kind;
use crate::submission::{self, control_block};
use crate::{doctor, sys};

/// The version of the library, "major.minor.patch". Static storage.
/// Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn aio_shim_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Starts a read into the vector of `aio_iovcnt` struct iovec at `aio_iov`
/// (the vector, too, stays valid until completion). Otherwise as aio_read().
/// Async-signal-safe. Source: FreeBSD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_readv(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: valid by the caller's contract.
    answer(
        control_block(aiocbp, "aio_readv")
            .and_then(|cb| unsafe { submission::submit(cb, Kind::ReadVector) }),
    )
}

/// Starts a write from a vector; see aio_readv().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_writev(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: valid by the caller's contract.
    answer(
        control_block(aiocbp, "aio_writev")
            .and_then(|cb| unsafe { submission::submit(cb, Kind::WriteVector) }),
    )
}

/// Notifications of one kind, since the process began to use AIO.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct aio_shim_overflow_kind {
    /// Delivered.
    pub sent: u64,
    /// Refused at first, and kept.
    pub deferred: u64,
    /// Delivered after having been kept.
    pub late: u64,
    /// Merged into an equal one, beyond AIO_SHIM_MAX_WAITING.
    pub merged: u64,
    /// Kept at this moment.
    pub waiting: u64,
}

/// What aio_shim_overflow() tells.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct aio_shim_overflow {
    /// Delivered.
    pub sent: u64,
    /// Refused at first, and kept.
    pub deferred: u64,
    /// Delivered after having been kept.
    pub late: u64,
    /// Merged into an equal one, beyond AIO_SHIM_MAX_WAITING.
    pub merged: u64,
    /// Kept at this moment.
    pub waiting: u64,
    /// The most that ever were.
    pub peak_waiting: u64,
    /// The longest a notification was kept, in nanoseconds.
    pub longest_delay_ns: u64,
    /// How often a queue became full.
    pub episodes: u64,
    /// The same by AIO_SHIM_KIND_RT, _STANDARD, _THREAD, _LIST.
    pub kind: [aio_shim_overflow_kind; 4],
}

impl From<KindCounters> for aio_shim_overflow_kind {
    fn from(kind: KindCounters) -> Self {
        aio_shim_overflow_kind {
            sent: kind.sent,
            deferred: kind.deferred,
            late: kind.late,
            merged: kind.merged,
            waiting: kind.waiting,
        }
    }
}

/// Reads the counters of notifications that could not be delivered at once.
///
/// Fills at most `size` bytes of `*out` (pass sizeof; a later version may know
/// more members than your header). Returns 0, or -1 with EINVAL (NULL).
/// Nothing is reset. Async-signal-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_shim_overflow(out: *mut aio_shim_overflow, size: usize) -> c_int {
    if out.is_null() {
        return answer(Err(libc::EINVAL));
    }
    let mut counters = aio_shim_overflow::default();
    if let Some(runtime) = Runtime::current() {
        let found: notify::Counters = runtime.notifier.counters();
        counters = aio_shim_overflow {
            sent: found.total.sent,
            deferred: found.total.deferred,
            late: found.total.late,
            merged: found.total.merged,
            waiting: found.total.waiting,
            peak_waiting: found.peak_waiting,
            longest_delay_ns: found.longest_delay_ns,
            episodes: found.episodes,
            kind: found.kind.map(Into::into),
        };
    }
    // SAFETY: the caller gives `size` writable bytes; the source is as long
    // as what is copied.
    unsafe {
        std::ptr::copy_nonoverlapping(
            (&raw const counters).cast::<u8>(),
            out.cast::<u8>(),
            size.min(size_of::<aio_shim_overflow>()),
        );
    }
    0
}

/// Sets the signal raised when a notification is first refused: a number, 0
/// for none, -1 for SIGIO if the program has a handler for it (the default).
///
/// Returns the setting before, or -2 with EINVAL. Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn aio_shim_set_overflow_signal(signo: c_int) -> c_int {
    let signal = match signo {
        -1 => OverflowSignal::Auto,
        0 => OverflowSignal::None,
        1..=31 | 34..=64 => OverflowSignal::Number(signo),
        _ => {
            sys::set_errno(libc::EINVAL);
            return -2;
        }
    };
    let Some(runtime) = Runtime::get() else {
        sys::set_errno(libc::EAGAIN);
        return -2;
    };
    match runtime.notifier.set_overflow_signal(signal) {
        OverflowSignal::Auto => -1,
        OverflowSignal::None => 0,
        OverflowSignal::Number(before) => before,
    }
}

/// Writes what `aio-shim --doctor` shows to the descriptor `fd`, a
/// `key=value` a line. Returns 0 if io_uring will serve, 1 if the workers
/// will, 2 if nothing will.
#[unsafe(no_mangle)]
pub extern "C" fn aio_shim_doctor(fd: c_int) -> c_int {
    doctor::report(fd)
}
