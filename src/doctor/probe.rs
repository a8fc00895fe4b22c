//! Asks the kernel what of io_uring this process may use.
//!
//! In: [`probe`], from the report (or from whoever must not be killed by
//! asking). Out: a [`Probe`]. Meanwhile: the questions are put by a
//! short-lived child process, because a seccomp filter may answer
//! io_uring_setup by killing who asks. The child is made with no exit signal,
//! so the program's SIGCHLD handler never hears of it; it shares one page with
//! its parent and writes each answer there before it puts the next question.
//!
//! All other memory is a copy, which takes long to make in a large program. A
//! child that shares it (CLONE_VM) would be quicker, but before Linux 5.16
//! the core dump of one that a filter kills ends everybody who shares.

use core::ptr;

use crate::sys::{self, errno, files};

const SETUP_CQSIZE: u32 = 1 << 3;
const SETUP_CLAMP: u32 = 1 << 4;
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
const FEAT_SINGLE_MMAP: u32 = 1 << 0;
const FEAT_NODROP: u32 = 1 << 1;
const FEAT_EXT_ARG: u32 = 1 << 8;
const REGISTER_PROBE: u32 = 8;
const REGISTER_RING_FDS: u32 = 20;
const OP_FUTEX_WAIT: usize = 51;
const OP_SUPPORTED: u16 = 1;

/// As large as the engine's own ring, so that RLIMIT_MEMLOCK judges alike.
const ENTRIES: u32 = 256;
const COMPLETIONS: u32 = 2048;

/// How far the probing child came; left in shared memory for the parent.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
#[repr(u32)]
pub(super) enum Stage {
    Setup = 0,
    Enter = 1,
    Register = 2,
    Done = 3,
}

/// What the kernel said. Written by the child, read by the parent after the
/// child is gone.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Probe {
    pub(super) stage: Stage,
    /// errno of io_uring_setup or io_uring_enter; 0: a ring can be had.
    pub(crate) errno: i32,
    /// Signal that ended the child (SIGSYS: seccomp kills or traps); 0: none.
    pub(crate) signal: i32,
    pub(crate) ext_arg: bool,
    pub(crate) single_issuer: bool,
    pub(crate) defer_taskrun: bool,
    pub(crate) futex_wait: bool,
    pub(crate) registered_ring: bool,
}

impl Probe {
    const EMPTY: Probe = Probe {
        stage: Stage::Setup,
        errno: 0,
        signal: 0,
        ext_arg: false,
        single_issuer: false,
        defer_taskrun: false,
        futex_wait: false,
        registered_ring: false,
    };

    /// True when a ring can be made and entered.
    pub(crate) fn usable(&self) -> bool {
        self.errno == 0 && self.signal == 0
    }
}

/// The kernel's `struct io_uring_params`, of which only `features` is read.
#[repr(C)]
struct Params {
    entries: [u32; 2],
    flags: u32,
    sq_thread: [u32; 2],
    features: u32,
    rest: [u32; 24],
}
const _: () = assert!(core::mem::size_of::<Params>() == 120);

/// The kernel's `struct io_uring_probe` with room for every opcode.
#[repr(C)]
struct Operations {
    last: u8,
    len: u8,
    reserved: [u16; 7],
    ops: [Op; 256],
}
#[derive(Clone, Copy)]
#[repr(C)]
struct Op {
    op: u8,
    reserved: u8,
    flags: u16,
    reserved2: u32,
}
const _: () = assert!(core::mem::size_of::<Operations>() == 16 + 256 * 8);

/// The kernel's `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingFd {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// io_uring_setup with `flags`; the descriptor and the features, or errno.
fn setup(flags: u32) -> Result<(i32, u32), i32> {
    let flags = flags | SETUP_CQSIZE | SETUP_CLAMP;
    let mut p = Params {
        entries: [0, COMPLETIONS],
        flags,
        sq_thread: [0; 2],
        features: 0,
        rest: [0; 24],
    };
    // SAFETY: p is a whole io_uring_params (size asserted above) and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut p) };
    if fd < 0 {
        Err(errno())
    } else {
        Ok((fd as i32, p.features))
    }
}

fn accepts(flags: u32) -> bool {
    match setup(flags) {
        Ok((fd, _)) => {
            files::close(fd);
            true
        }
        Err(_) => false,
    }
}

/// Asks the kernel. Runs in the child; async-signal-safe calls only.
/// Every answer goes out at once: the next question may be the last.
fn ask(out: *mut Probe) {
    let put = |p: &Probe| {
        // SAFETY: out is a mapped, aligned Probe that only this process writes.
        unsafe { ptr::write_volatile(out, *p) }
    };
    let mut p = Probe::EMPTY;
    put(&p);
    let (fd, features) = match setup(0) {
        Ok(ring) => ring,
        Err(e) => {
            p.errno = e;
            put(&p);
            return;
        }
    };
    if features & FEAT_SINGLE_MMAP == 0 || features & FEAT_NODROP == 0 {
        // Before Linux 5.5, where completions could be dropped: not for us.
        p.errno = libc::ENOSYS;
        put(&p);
        files::close(fd);
        return;
    }
    p.ext_arg = features & FEAT_EXT_ARG != 0;
    p.stage = Stage::Enter;
    put(&p);
    // SAFETY: an empty enter: nothing to submit, nothing to wait for, no pointer.
    if unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, 0u64, 0u64, 0u64, 0u64, 0u64) } < 0 {
        p.errno = errno();
        put(&p);
        files::close(fd);
        return;
    }
    p.stage = Stage::Register;
    put(&p);
    let mut ops = Operations {
        last: 0,
        len: 0,
        reserved: [0; 7],
        ops: [Op {
            op: 0,
            reserved: 0,
            flags: 0,
            reserved2: 0,
        }; 256],
    };
    // SAFETY: ops is a zeroed io_uring_probe with room for 256 operations, as said in the last argument.
    let r = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            REGISTER_PROBE,
            &raw mut ops,
            256,
        )
    };
    p.futex_wait = r >= 0 && ops.ops[OP_FUTEX_WAIT].flags & OP_SUPPORTED != 0;
    let mut update = RingFd {
        offset: u32::MAX,
        reserved: 0,
        data: fd as u64,
    };
    // SAFETY: update is one io_uring_rsrc_update, as said in the last argument.
    let r = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            REGISTER_RING_FDS,
            &raw mut update,
            1,
        )
    };
    p.registered_ring = r == 1;
    files::close(fd);
    p.single_issuer = accepts(SETUP_SINGLE_ISSUER);
    p.defer_taskrun = accepts(SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN);
    p.stage = Stage::Done;
    put(&p);
}

/// Finds out what io_uring does in this process, even where asking is deadly.
pub(crate) fn probe() -> Probe {
    const PAGE: usize = 4096;
    let Some(page) = sys::map(PAGE, libc::MAP_SHARED) else {
        return Probe {
            errno: libc::ENOMEM,
            ..Probe::EMPTY
        };
    };
    let shared = page.cast::<Probe>();
    // SAFETY: clone with no flags is fork without an exit signal; the child
    // makes system calls only (ask), touches no libc state and ends by exit_group.
    let child = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if child == 0 {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: plain system calls of the child; a killed child leaves no core file.
        unsafe {
            libc::syscall(
                libc::SYS_prlimit64,
                0,
                libc::RLIMIT_CORE,
                &raw const none,
                0,
            )
        };
        ask(shared);
        // SAFETY: ends the child without running anything of the program.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    }
    let mut signal = 0;
    if child > 0 {
        let mut status = 0;
        // SAFETY: waits for our own child only; __WALL because it has no exit
        // signal. The system call itself is no cancellation point.
        while unsafe {
            libc::syscall(
                libc::SYS_wait4,
                child,
                &raw mut status,
                libc::__WALL,
                ptr::null_mut::<libc::rusage>(),
            )
        } < 0
            && errno() == libc::EINTR
        {}
        if libc::WIFSIGNALED(status) {
            signal = libc::WTERMSIG(status);
        }
    } else {
        // No process to be had: ask here. A filter that kills would have to
        // let clone fail first; that risk is left.
        ask(shared);
    }
    // SAFETY: the child is gone (or was never there); the page was written by
    // `ask` or is zero, and an all-zero Probe is valid (Stage::Setup, false).
    let mut p = unsafe { ptr::read_volatile(shared) };
    // SAFETY: our mapping, used no more.
    unsafe { libc::munmap(page.cast(), PAGE) };
    if p.stage <= Stage::Enter {
        p.signal = signal;
    }
    p
}
