//! What POSIX lacks: `aio_shim_*`, and names of FreeBSD and illumos.

use std::ffi::{c_char, c_int};

use super::answer;
use crate::abi::aiocb;
use crate::config::OverflowSignal;
use crate::notify::{self, KindCounters};
use crate::process::Runtime;
use crate::request::Kind;
use crate::submission::{self, control_block};
use crate::{doctor, stats, sys};

/// Kinds of notifications, the indices of `aio_shim_overflow.kind`: a
/// real-time signal.
pub const AIO_SHIM_KIND_RT: c_int = 0;
/// A standard signal.
pub const AIO_SHIM_KIND_STANDARD: c_int = 1;
/// A function called in a thread (SIGEV_THREAD).
pub const AIO_SHIM_KIND_THREAD: c_int = 2;
/// The notification of a whole list, whatever its form.
pub const AIO_SHIM_KIND_LIST: c_int = 3;

const _: () = assert!(notify::KINDS == 4);

/// The version of the library, "major.minor.patch". The text is static: it is
/// not to be freed. Async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn aio_shim_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Starts a read at `aio_offset` into the buffers of a vector: `aio_iovcnt`
/// elements of struct iovec at `aio_iov`.
///
/// The vector, like control block and buffers, stays valid and untouched until
/// completion. Otherwise as aio_read(). What is wrong with the vector comes
/// through aio_error() as readv(2) would say it: EINVAL (more than IOV_MAX
/// elements, or lengths beyond SSIZE_MAX in sum), EFAULT. Async-signal-safe.
/// Source: FreeBSD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_readv(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: valid by the caller's contract.
    answer(
        control_block(aiocbp, "aio_readv")
            .and_then(|cb| unsafe { submission::submit(cb, Kind::ReadVector) }),
    )
}

/// Starts a write from the buffers of a vector, made whole as by aio_write().
/// See aio_readv(). Async-signal-safe. Source: FreeBSD.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_writev(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: valid by the caller's contract.
    answer(
        control_block(aiocbp, "aio_writev")
            .and_then(|cb| unsafe { submission::submit(cb, Kind::WriteVector) }),
    )
}

/// Numbers of notifications, since the process began to use AIO.
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

/// What aio_shim_overflow() tells. All but the delay are numbers of
/// notifications since the process began to use AIO.
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
    /// The same for SIGEV_AIO_SHIM_EVENTFD (lists are in `kind`).
    pub eventfd: aio_shim_overflow_kind,
    /// The receiver was gone: a thread had ended, an eventfd was closed.
    pub undeliverable: u64,
    /// Sent without their value, because something (a seccomp filter) forbids
    /// queued signals.
    pub without_value: u64,
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

/// What of the total is in no kind.
fn rest(total: &KindCounters, kinds: &[KindCounters]) -> aio_shim_overflow_kind {
    let less =
        |part: fn(&KindCounters) -> u64| part(total).saturating_sub(kinds.iter().map(part).sum());
    aio_shim_overflow_kind {
        sent: less(|kind| kind.sent),
        deferred: less(|kind| kind.deferred),
        late: less(|kind| kind.late),
        merged: less(|kind| kind.merged),
        waiting: less(|kind| kind.waiting),
    }
}

/// Reads the counters of notifications that could not be delivered at once.
///
/// Fills the first `size` bytes of `*out`, or all the library knows (pass
/// sizeof; another version may know more members or fewer; clear the struct
/// first if that matters). Returns 0, or -1 with EINVAL (NULL). Nothing is
/// reset. Async-signal-safe.
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
            eventfd: rest(&found.total, &found.kind),
            undeliverable: found.undeliverable,
            without_value: found.without_value,
        };
    }
    // SAFETY: the caller gives `size` writable bytes.
    unsafe { fill(out, &counters, size) };
    0
}

/// Reads the statistics of the process: what AIO_SHIM_STATS writes at exit.
///
/// Fills the first `size` bytes of `*out`, as aio_shim_overflow() does. The
/// counters are always on; the latencies are taken from the first call on, or
/// from the start with AIO_SHIM_STATS. Reading stops nothing: two figures may
/// be a moment apart. Returns 0, or -1 with EINVAL (NULL). Async-signal-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_shim_stats(out: *mut stats::aio_shim_stats, size: usize) -> c_int {
    if out.is_null() {
        return answer(Err(libc::EINVAL));
    }
    let Some(runtime) = Runtime::get() else {
        return answer(Err(libc::EAGAIN));
    };
    // SAFETY: the caller gives `size` writable bytes.
    unsafe { fill(out, &runtime.stats.read(), size) };
    0
}

/// Copies the first `size` bytes of `from`.
///
/// # Safety
/// `out` has `size` writable bytes.
unsafe fn fill<T>(out: *mut T, from: &T, size: usize) {
    // SAFETY: by contract; not more than there is.
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(from).cast::<u8>(),
            out.cast::<u8>(),
            size.min(size_of::<T>()),
        );
    }
}

/// Sets the signal raised when a notification is first refused: a number, 0
/// for none, -1 for SIGIO if the program has a handler for it (the default).
///
/// The signal is plain (si_code SI_USER) and comes once an episode: from the
/// first refusal until nothing waits any more. Returns the setting before, or
/// -2 with EINVAL (not a signal) or EAGAIN (no memory). Async-signal-safe.
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
/// will, 2 if nothing will. Not async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn aio_shim_doctor(fd: c_int) -> c_int {
    doctor::report(fd)
}
