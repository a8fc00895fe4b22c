//! Where io_uring is refused: finding out without harm, and saying why.
//!
//! Who comes in: each engine that starts. What must hold: under a seccomp
//! filter that may end who asks, nobody asks but a child. A child costs a
//! program with much memory far more than a request, so its answer is kept
//! for as long as the calling thread has the same number of filters: they
//! are inherited and never taken away. (Threads that give themselves as many
//! filters each, but different ones, are not told apart.)

use std::ffi::c_int;
use std::sync::atomic::AtomicU64;

use crate::config::Backend;
use crate::doctor;
use crate::process::Runtime;
use crate::sync::atomic::Ordering;
use crate::sys;

/// May this process try to set a ring up? Under a seccomp filter a child
/// tries first: the filter's answer may be a SIGSYS that ends who asks.
pub fn may_set_up(runtime: &Runtime) -> Result<(), c_int> {
    if runtime.config.backend == Backend::Threads
        || !has_filter() && !runtime.config.without.io_uring
    {
        return Ok(());
    }
    if runtime.config.without.io_uring {
        return Err(libc::ENOSYS);
    }
    let Some(filters) = filters() else {
        return probe(runtime);
    };
    let kept = KEPT.load(Ordering::Relaxed);
    if kept >> 32 == u64::from(filters) {
        return match kept as u32 as c_int {
            0 => Ok(()),
            error => Err(error),
        };
    }
    let answer = probe(runtime);
    let error = answer.err().unwrap_or(0);
    // Others may pass, such as ENOMEM.
    if let 0 | libc::EPERM | libc::EACCES | libc::ENOSYS = error {
        KEPT.store(
            u64::from(filters) << 32 | u64::from(error as u32),
            Ordering::Relaxed,
        );
    }
    answer
}

/// What a child said: the number of filters it had in bits 32..64 (0: none
/// was asked), the errno in 0..32. A child of fork has the same filters.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// How many seccomp filters the calling thread has. None before Linux 5.9 and
/// without /proc.
fn filters() -> Option<u32> {
    let mut text = [0u8; 4096];
    let status = sys::files::begin(c"/proc/thread-self/status", &mut text)?;
    sys::files::field(status, "Seccomp_filters")?
        .parse()
        .ok()
        .filter(|&filters| filters > 0)
}

/// Lets a child try.
pub fn probe(runtime: &Runtime) -> Result<(), c_int> {
    if runtime.config.without.io_uring {
        return Err(libc::ENOSYS);
    }
    let answer = doctor::probe();
    if answer.usable() {
        Ok(())
    } else if answer.errno != 0 {
        Err(answer.errno)
    } else {
        Err(libc::ENOSYS)
    }
}

/// Does a seccomp filter sit on this thread?
fn has_filter() -> bool {
    const FILTER: c_int = 2;
    // SAFETY: no arguments. In strict mode this would be fatal, but there so
    // is nearly everything else.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) == FILTER }
}

/// Adds cause and likely reason of a refused ring to a line.
pub fn explain(line: &mut sys::Line, runtime: &Runtime, error: c_int) {
    if runtime.config.without.io_uring {
        line.text("switched off by AIO_SHIM_WITHOUT=io_uring");
        return;
    }
    line.text("io_uring_setup: ")
        .text(sys::errno_name(error))
        .text(" (")
        .number(error as u64)
        .text("), likely ")
        .text(match error {
            libc::EPERM if has_filter() => "a seccomp filter (containers install one by default)",
            libc::EPERM => "sysctl kernel.io_uring_disabled, or a seccomp filter",
            libc::ENOSYS if has_filter() => "a seccomp filter",
            libc::ENOSYS => "a kernel older than 5.5 or built without io_uring",
            libc::ENOMEM => "RLIMIT_MEMLOCK is used up (ulimit -l)",
            libc::EMFILE | libc::ENFILE => "no descriptor is free (ulimit -n)",
            libc::EACCES => "a security module",
            _ => "this kernel or its policy",
        });
}
