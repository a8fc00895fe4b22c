//! The witness: a small process that writes the report where no destructor
//! of the library runs: _exit(), quick_exit(), exec, a deadly signal.
//!
//! Who comes in: the process's first AIO call, when AIO_SHIM_STATS asks for
//! statistics; never otherwise. The witness shares the counters' memory. It
//! sees the end of the process by a pidfd, and exec by the end of a pipe
//! whose other side is closed by exec. What must hold: the program does not
//! notice it: no SIGCHLD, wait() does not see it, it holds none of the
//! program's descriptors (but standard error, when the report goes there),
//! no signal reaches it. Where it cannot be made (a limit, a filter), reports
//! are written at exit only.

use std::ffi::c_int;

use super::report::{self, End};
use crate::config;
use crate::own_descriptors;
use crate::process::Runtime;
use crate::sync::atomic::Ordering;
use crate::{sys, thread};

/// How long an exit may take after it closed its descriptors, milliseconds.
const AFTERMATH: c_int = 10;

/// Starts the witness of the calling process.
pub fn start(runtime: &'static Runtime) {
    let _errno = sys::KeepErrno::new();
    const FILTER: c_int = 2;
    // A filter may answer a fork with death.
    // SAFETY: no pointers.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP) } == FILTER {
        return;
    }
    let mut pipe = [0; 2];
    // SAFETY: room for two numbers.
    if unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return;
    }
    let [reading, writing] = pipe;
    // The side that stays here goes to a high number. Without it the witness
    // does not see exec; it tells by the closed pipe at once.
    let high = own_descriptors::duplicate(writing);
    sys::with_signals_blocked(|| {
        // SAFETY: no flags but the signal at its end, which is none: a child
        // that wait() does not see. Only this thread is in it, every signal
        // is blocked there, and it calls nothing that locks or allocates.
        let child =
            unsafe { libc::syscall(libc::SYS_clone, 0usize, 0usize, 0usize, 0usize, 0usize) };
        if child == 0 {
            testify(runtime, reading, high.is_ok());
        }
        if child < 0
            && let Ok(high) = high
        {
            own_descriptors::release(high);
        }
    });
    for fildes in pipe {
        sys::files::close(fildes);
    }
}

/// The life of the witness.
fn testify(runtime: &'static Runtime, pipe: c_int, sees_exec: bool) -> ! {
    thread::begin_as(c"aio-shim-stats");
    let pid = runtime.stats.area().pid.load(Ordering::Relaxed) as c_int;
    let keeps_stderr = matches!(runtime.config.stats, config::Stats::StandardError);
    let pipe = leave_all(pipe, keeps_stderr);
    // SAFETY: plain arguments. Where there are no pidfds (before Linux 5.3)
    // the end of the pipe tells.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as c_int;
    let mut watched = [
        libc::pollfd {
            fd: process,
            events: libc::POLLIN,
            revents: 0,
        },
        libc::pollfd {
            fd: if sees_exec { pipe } else { -1 },
            events: 0,
            revents: 0,
        },
    ];
    loop {
        let [exit, exec] = &watched;
        if exit.fd < 0 && exec.fd < 0 {
            // Nothing would ever tell.
            break;
        }
        // SAFETY: two valid entries.
        if unsafe { libc::syscall(libc::SYS_poll, watched.as_mut_ptr(), 2usize, -1i32) } <= 0 {
            continue;
        }
        let [exit, _] = &mut watched;
        let mut ended = exit.revents != 0 || exit.fd < 0;
        if !ended {
            // The pipe has ended: by exec, or as the first part of an exit.
            // SAFETY: one valid entry.
            ended = unsafe { libc::syscall(libc::SYS_poll, exit, 1usize, AFTERMATH) } > 0;
        }
        let area = runtime.stats.area();
        if area.reported.load(Ordering::SeqCst) == 0 {
            report::write(runtime, if ended { End::Gone } else { End::Exec });
        }
        break;
    }
    loop {
        // SAFETY: ends this process, without the program's exit handlers.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    }
}

/// Lets go of everything of the program; the pipe's new number.
fn leave_all(pipe: c_int, keeps_stderr: bool) -> c_int {
    const PIPE: c_int = 0;
    // SAFETY: plain arguments; descriptors of this process only.
    unsafe {
        libc::syscall(libc::SYS_dup3, pipe, PIPE, libc::O_CLOEXEC);
        libc::syscall(libc::SYS_close, 1);
        if !keeps_stderr {
            libc::syscall(libc::SYS_close, 2);
        }
        if libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) != 0 {
            for fildes in 3..1 << 16 {
                libc::syscall(libc::SYS_close, fildes);
            }
        }
        libc::syscall(libc::SYS_chdir, c"/".as_ptr());
    }
    PIPE
}
