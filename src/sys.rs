//! Raw system calls the C library does not offer, or offers with a cost.
//!
//! Who comes in: every lane and the waiting side. What must hold: nothing
//! here locks or allocates, all of it is async-signal-safe, none of it is a
//! cancellation point, and the calls that an application thread may make leave
//! `errno` as they found it (see [`KeepErrno`]).

pub mod files;
pub mod status;

use std::ffi::CStr;
use std::time::Duration;

use libc::{c_int, c_long};

pub use crate::clock::now_ns;
#[cfg(not(loom))]
use crate::perturb;
#[cfg(not(loom))]
use crate::sync::atomic::AtomicU32;
#[cfg(loom)]
pub use crate::sync::model::{futex_wait, futex_wait_until, futex_wake};

/// The `errno` of the calling thread.
pub fn errno() -> c_int {
    // SAFETY: __errno_location returns the calling thread's own errno, valid
    // for the whole life of the thread.
    unsafe { *libc::__errno_location() }
}

/// Sets the `errno` of the calling thread.
pub fn set_errno(value: c_int) {
    // SAFETY: as in `errno`; nobody else accesses this thread's errno.
    unsafe { *libc::__errno_location() = value }
}

/// Restores `errno` when it goes out of scope: an entry point that succeeds
/// must leave it alone (conformance 19, 45).
pub struct KeepErrno(c_int);

impl KeepErrno {
    pub fn new() -> Self {
        KeepErrno(errno())
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        set_errno(self.0)
    }
}

/// Makes of a system call's answer the value, or the errno.
pub fn result(answer: c_long) -> Result<usize, c_int> {
    if answer < 0 {
        Err(errno())
    } else {
        Ok(answer as usize)
    }
}

/// A duration as the kernel's relative timeout.
pub fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Sleeps while `*word == expected`, at most `timeout`. Ok: woken or changed;
/// Err: EAGAIN (another value), EINTR, ETIMEDOUT.
#[cfg(not(loom))]
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Result<(), c_int> {
    if perturb::refuses(10) {
        // As if another had moved the word.
        return Err(libc::EAGAIN);
    }
    // No error to the program: a word that moved before the sleep.
    let _errno = KeepErrno::new();
    let limit = timeout.map(timespec);
    let limit = limit
        .as_ref()
        .map_or(std::ptr::null(), |limit| limit as *const libc::timespec);
    // SAFETY: `word` outlives the call, `limit` is null or points to a local.
    result(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            limit,
        )
    })
    .map(|_| ())
}

/// Sleeps while `*word == expected`, until the absolute CLOCK_MONOTONIC time
/// `until` (null: without limit). 0, or the errno; errno itself is kept.
#[cfg(not(loom))]
pub fn futex_wait_until(word: &AtomicU32, expected: u32, until: *const libc::timespec) -> c_int {
    if perturb::refuses(4) {
        // A stray wake.
        return 0;
    }
    let _errno = KeepErrno::new();
    // SAFETY: `word` outlives the call; `until` is null or a live timespec of
    // the caller.
    let answer = result(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            until,
            std::ptr::null::<u32>(),
            u32::MAX,
        )
    });
    answer.err().unwrap_or(0)
}

/// Wakes up to `count` sleepers of `word`; the number woken.
///
/// Takes a pointer because the word may be gone by the time of the call: a
/// futex wake only uses the address, and a stray wake is harmless (every
/// sleeper of the library looks at its condition again).
#[cfg(not(loom))]
pub fn futex_wake<T>(word: *const T, count: i32) -> usize {
    // SAFETY: FUTEX_WAKE does not access the word, it only names a queue.
    result(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        )
    })
    .unwrap_or(0)
}

/// The kernel's signal mask, 64 signals: the C library's calls leave out its
/// own two signals, which must not come between us and a lock either.
#[derive(Clone, Copy)]
pub struct SignalMask(u64);

impl SignalMask {
    /// Nothing.
    pub const NONE: SignalMask = SignalMask(0);
    /// Everything.
    pub const ALL: SignalMask = SignalMask(u64::MAX);
    /// Everything but SIGSYS.
    pub const BUT_TRAPS: SignalMask = SignalMask(!(1 << 30));
    /// Everything but the C library's own signals 32 and 33.
    /// And but SIGSYS, which a seccomp filter sends to the thread that made
    /// the call: a program that answers such traps answers for us, too.
    pub const THREADS: SignalMask = SignalMask(!(0b11 << 31 | 1 << 30));
}

/// Blocks every signal of the calling thread; returns the mask before.
pub fn block_all_signals() -> SignalMask {
    set_signal_mask(SignalMask::ALL)
}

/// Sets the calling thread's signal mask; returns the one before.
pub fn set_signal_mask(mask: SignalMask) -> SignalMask {
    let mut before = SignalMask(0);
    // SAFETY: both pointers are to live 8-byte masks, the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &mask.0,
            &mut before.0,
            8usize,
        )
    };
    before
}

/// Runs `body` with every signal blocked, so that no handler can run in the
/// middle of it on this thread.
pub fn with_signals_blocked<R>(body: impl FnOnce() -> R) -> R {
    let before = block_all_signals();
    let answer = body();
    set_signal_mask(before);
    answer
}

/// Sleeps for `duration` (of the library's own threads only).
pub fn sleep(duration: Duration) {
    let limit = timespec(duration);
    // SAFETY: `limit` is valid; a remaining time is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_nanosleep,
            &raw const limit,
            std::ptr::null_mut::<libc::timespec>(),
        )
    };
}

/// Fresh zeroed memory that no allocator knows. `sharing`: MAP_PRIVATE, or
/// MAP_SHARED with children. None: there is none left.
pub fn map(length: usize, sharing: c_int) -> Option<*mut u8> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            sharing | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    (at != libc::MAP_FAILED).then_some(at.cast())
}

/// 64 random bits that no garbage in a control block imitates.
pub fn random() -> u64 {
    let mut value = 0u64;
    // SAFETY: 8 writable bytes; GRND_NONBLOCK never waits.
    let got = unsafe {
        libc::syscall(
            libc::SYS_getrandom,
            &mut value as *mut u64,
            8usize,
            libc::GRND_NONBLOCK,
        )
    };
    if got == 8 {
        return value;
    }
    // A kernel without entropy or a filter without getrandom: the process's
    // own random bytes, the clock and the pid together.
    // SAFETY: AT_RANDOM is 0 or the address of 16 bytes given by the kernel.
    let seed = unsafe {
        let bytes = libc::getauxval(libc::AT_RANDOM) as *const u64;
        if bytes.is_null() {
            0
        } else {
            bytes.read_unaligned()
        }
    };
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { libc::getpid() } as u64;
    seed ^ now_ns().rotate_left(32) ^ pid.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Writes `text` to standard error whole, without the stdio buffer.
pub fn to_stderr(text: &str) {
    // A failing write has no remedy.
    let _ = files::write(2, text.as_bytes());
}

/// A line on standard error made without allocation; longer text is cut.
pub struct Line {
    buffer: [u8; 512],
    used: usize,
}

impl Line {
    pub fn new() -> Self {
        Line {
            buffer: [0; 512],
            used: 0,
        }
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub fn bytes(&mut self, text: &[u8]) -> &mut Self {
        let room = self.buffer.len() - 1 - self.used;
        let taken = &text[..text.len().min(room)];
        self.buffer[self.used..self.used + taken.len()].copy_from_slice(taken);
        self.used += taken.len();
        self
    }

    pub fn number(&mut self, mut value: u64) -> &mut Self {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.bytes(&digits[at..])
    }

    /// Writes the line, with its newline, to standard error.
    pub fn print(&mut self) {
        self.buffer[self.used] = b'\n';
        let _ = files::write(2, &self.buffer[..=self.used]);
    }

    /// The text for a system call, a path say.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.buffer).unwrap_or(c"")
    }
}

/// The symbolic name of the errno values this library explains.
pub fn errno_name(errno: c_int) -> &'static str {
    match errno {
        libc::EPERM => "EPERM",
        libc::ENOSYS => "ENOSYS",
        libc::EINVAL => "EINVAL",
        libc::EACCES => "EACCES",
        libc::ENOMEM => "ENOMEM",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EAGAIN => "EAGAIN",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EFAULT => "EFAULT",
        libc::EBADF => "EBADF",
        _ => "errno",
    }
}
