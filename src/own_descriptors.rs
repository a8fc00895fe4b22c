//! The few descriptors the library itself holds: high numbers, close-on-exec,
//! and left alone by the wrapped close family.
//!
//! Who comes in: lanes that need a descriptor (an eventfd or a visible ring
//! on older kernels, the epoll set of the workers, pins of requests whose
//! descriptor was closed). What must hold: no low number is taken; a program
//! that closes everything does not hit them; a forked child closes those it
//! inherited when it first uses AIO.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use crate::sys;

const PLACES: usize = 256;

/// Numbers held, each plus one; 0 is a free place. Outside the runtime, so
/// that a forked child still knows what it inherited.
static HELD: [AtomicI32; PLACES] = [const { AtomicI32::new(0) }; PLACES];
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where high numbers begin: above what `select` and habits of small
/// programs reach, below what the limit forbids.
fn floor() -> c_int {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let soft = limit.rlim_cur.min(1 << 20) as c_int;
    match soft {
        4096.. => 3000,
        256.. => soft - 128,
        _ => soft / 2,
    }
}

/// Duplicates `fildes` to a high number of ours.
pub fn duplicate(fildes: c_int) -> Result<c_int, c_int> {
    let mut least = floor();
    loop {
        // SAFETY: fcntl with an integer argument.
        let copy = unsafe { libc::fcntl(fildes, libc::F_DUPFD_CLOEXEC, least) };
        if copy >= 0 {
            remember(copy);
            return Ok(copy);
        }
        match sys::errno() {
            libc::EMFILE | libc::EINVAL if least > 3 => least /= 2,
            libc::EMFILE | libc::EINVAL => return beyond_the_limit(fildes),
            error => return Err(error),
        }
    }
}

/// The program has used up its descriptors: makes one above its limit, which
/// is raised for the moment of this call where that is allowed.
fn beyond_the_limit(fildes: c_int) -> Result<c_int, c_int> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for reading and writing; fcntl gets integers.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_cur + PLACES as u64,
            rlim_max: limit.rlim_max.max(limit.rlim_cur + PLACES as u64),
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) != 0 {
            return Err(libc::EMFILE);
        }
        let copy = libc::fcntl(fildes, libc::F_DUPFD_CLOEXEC, limit.rlim_cur as c_int);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        if copy < 0 {
            return Err(libc::EMFILE);
        }
        remember(copy);
        Ok(copy)
    }
}

/// Moves a descriptor just made to a high number of ours.
pub fn adopt(fildes: c_int) -> Result<c_int, c_int> {
    let high = duplicate(fildes);
    // SAFETY: the caller made `fildes` and gives it up.
    unsafe { libc::syscall(libc::SYS_close, fildes) };
    high
}

/// Opens the file of a descriptor a second time, as a high number of ours.
pub fn reopen(fildes: c_int, flags: c_int) -> Result<c_int, c_int> {
    let mut path = *b"/proc/self/fd/0000000000\0";
    let mut rest = fildes as u32;
    for digit in path[14..24].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // Leading zeros are no number to the kernel: move the rest up.
    let zeros = path[14..23]
        .iter()
        .take_while(|&&digit| digit == b'0')
        .count();
    path.copy_within(14 + zeros.., 14);
    // SAFETY: a C string.
    let opened = unsafe { libc::open(path.as_ptr().cast(), flags | libc::O_CLOEXEC) };
    if opened < 0 {
        return Err(sys::errno());
    }
    adopt(opened)
}

/// Closes one of ours.
pub fn release(fildes: c_int) {
    for place in &HELD {
        if place
            .compare_exchange(fildes + 1, 0, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
        {
            COUNT.fetch_sub(1, Ordering::SeqCst);
            break;
        }
    }
    // SAFETY: ours; nobody uses it any more.
    unsafe { libc::syscall(libc::SYS_close, fildes) };
}

fn remember(fildes: c_int) {
    for place in &HELD {
        if place
            .compare_exchange(0, fildes + 1, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
        {
            COUNT.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
    // More than the table holds: it is merely not hidden from the program.
}

/// Is this number one of ours?
pub fn is_own(fildes: c_int) -> bool {
    any()
        && HELD
            .iter()
            .any(|place| place.load(Ordering::SeqCst) == fildes + 1)
}

/// Do we hold any at all? One load.
pub fn any() -> bool {
    COUNT.load(Ordering::SeqCst) != 0
}

/// The lowest number of ours in `first..=last`.
pub fn lowest_in(first: u32, last: u32) -> Option<u32> {
    if !any() {
        return None;
    }
    HELD.iter()
        .map(|place| place.load(Ordering::SeqCst))
        .filter(|&held| held > 0)
        .map(|held| (held - 1) as u32)
        .filter(|number| (first..=last).contains(number))
        .min()
}

/// Called when a process gets its runtime: what is in the table then was
/// inherited from the parent and would only keep its files open.
pub fn forget_parents() {
    for place in &HELD {
        let held = place.swap(0, Ordering::SeqCst);
        if held > 0 {
            COUNT.fetch_sub(1, Ordering::SeqCst);
            // SAFETY: inherited copy of a descriptor of the parent's library.
            unsafe { libc::syscall(libc::SYS_close, held - 1) };
        }
    }
}
