//! Where io_uring is refused: finding out without harm, and saying why.

use std::ffi::c_int;

use crate::config::Backend;
use crate::doctor;
use crate::process::Runtime;
use crate::sys;

/// May this process try to set a ring up? Under a seccomp filter a child
/// tries first: the filter's answer may be a SIGSYS that ends who asks.
pub fn may_set_up(runtime: &Runtime) -> Result<(), c_int> {
    if runtime.config.backend == Backend::Threads
        || !has_filter() && !runtime.config.without.io_uring
    {
        return Ok(());
    }
    probe(runtime)
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
