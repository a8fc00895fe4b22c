//! The close family, wrapped so that requests stay bound to their open file.
//!
//! Each function tells the engine when something is outstanding for a number
//! that is about to be closed, then forwards to the next definition of its
//! name (glibc's, or another preloaded library's). With nothing outstanding
//! that costs one load. What must hold: close stays a cancellation point and
//! async-signal-safe; our own few descriptors are left alone.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::message::{self, Question};
use crate::objects::{self, Name};
use crate::own_descriptors;
use crate::process::Runtime;
use crate::sys;

/// The next definition of a name after this library's.
struct Next {
    name: Name,
    at: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Next {
        Next {
            name: Name::new(name),
            at: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// None: before the constructor has run, or the name does not exist.
    fn get(&self) -> Option<*mut c_void> {
        let at = self.at.load(Ordering::Acquire);
        (!at.is_null()).then_some(at)
    }
}

static CLOSE: Next = Next::new(c"close");
static DUP2: Next = Next::new(c"dup2");
static DUP3: Next = Next::new(c"dup3");
static CLOSE_RANGE: Next = Next::new(c"close_range");
static CLOSEFROM: Next = Next::new(c"closefrom");

/// Looks the next definitions up, for the constructor: dlsym is not
/// async-signal-safe.
#[unsafe(link_section = ".load_time")]
pub(crate) fn resolve() {
    let wrapped = [&CLOSE, &DUP2, &DUP3, &CLOSE_RANGE, &CLOSEFROM];
    let found = objects::next(&wrapped.map(|next| &next.name));
    for (next, found) in wrapped.into_iter().zip(found) {
        let at = match found {
            Some(address) => std::ptr::with_exposed_provenance_mut(address),
            // SAFETY: RTLD_NEXT and a C string.
            None => unsafe { libc::dlsym(libc::RTLD_NEXT, next.name.text().as_ptr()) },
        };
        next.at.store(at, Ordering::Release);
    }
}

/// Lets the engine take over, or pin, what is outstanding for these numbers.
fn let_go(first: c_int, last: c_int) {
    let Some(runtime) = Runtime::current() else {
        // A child of fork that has not used AIO.
        own_descriptors::give_up(first as u32, last as u32);
        return;
    };
    runtime.hints.forget_range(first, last);
    // A child of vfork closes its own copies.
    if runtime.load.of_range(first, last) && !runtime.is_borrowed() {
        // Err: no engine, so nothing is queued.
        let _ = message::ask(runtime, Question::Close { first, last });
        // The engine may have learnt it anew meanwhile.
        runtime.hints.forget_range(first, last);
    }
}

fn as_result(answer: libc::c_long) -> c_int {
    answer as c_int
}

/// close(2). Requests that are queued for `fd` complete as if it had stayed
/// open. Async-signal-safe; a cancellation point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if fd >= 0 {
        if own_descriptors::is_own(fd) {
            sys::set_errno(libc::EBADF);
            return -1;
        }
        let_go(fd, fd);
    }
    match CLOSE.get() {
        // SAFETY: the next definition of close has its type.
        Some(next) => unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> c_int>(next)(fd)
        },
        // SAFETY: plain arguments.
        None => as_result(unsafe { libc::syscall(libc::SYS_close, fd) }),
    }
}

/// dup2(2); requests queued for `newfd` complete as if it had stayed open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(oldfd: c_int, newfd: c_int) -> c_int {
    if let Some(error) = before_replacing(oldfd, newfd, 0) {
        sys::set_errno(error);
        return -1;
    }
    match DUP2.get() {
        // SAFETY: the next definition of dup2 has its type.
        Some(next) => unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int, c_int) -> c_int>(next)(
                oldfd, newfd,
            )
        },
        None if oldfd == newfd => {
            // SAFETY: plain arguments.
            if unsafe { libc::fcntl(oldfd, libc::F_GETFD) } < 0 {
                -1
            } else {
                newfd
            }
        }
        // SAFETY: plain arguments.
        None => as_result(unsafe { libc::syscall(libc::SYS_dup3, oldfd, newfd, 0) }),
    }
}

/// dup3(2); as dup2().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(oldfd: c_int, newfd: c_int, flags: c_int) -> c_int {
    if let Some(error) = before_replacing(oldfd, newfd, flags) {
        sys::set_errno(error);
        return -1;
    }
    match DUP3.get() {
        // SAFETY: the next definition of dup3 has its type.
        Some(next) => unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int, c_int, c_int) -> c_int>(
                next,
            )(oldfd, newfd, flags)
        },
        // SAFETY: plain arguments.
        None => as_result(unsafe { libc::syscall(libc::SYS_dup3, oldfd, newfd, flags) }),
    }
}

/// `newfd` is about to be replaced. Some(error): it may not be.
fn before_replacing(oldfd: c_int, newfd: c_int, flags: c_int) -> Option<c_int> {
    if oldfd == newfd || newfd < 0 || flags & !libc::O_CLOEXEC != 0 {
        return None;
    }
    if own_descriptors::is_own(oldfd) {
        return Some(libc::EBADF);
    }
    if own_descriptors::is_own(newfd) {
        // The one number a program cannot have while we use it.
        return Some(libc::EBUSY);
    }
    let Some(runtime) = Runtime::current() else {
        let_go(newfd, newfd);
        return None;
    };
    runtime.hints.forget(newfd);
    if runtime.load.of_descriptor(newfd) {
        let _errno = sys::KeepErrno::new();
        // A bad oldfd closes nothing.
        // SAFETY: F_GETFD takes no argument.
        if unsafe { libc::fcntl(oldfd, libc::F_GETFD) } >= 0 {
            let_go(newfd, newfd);
        }
    }
    None
}

/// close_range(2); as close() for each number, and around ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    const CLOSES: c_int = !(libc::CLOSE_RANGE_CLOEXEC as c_int);
    if first > last || flags & !CLOSES != 0 {
        return close_range_next(first, last, flags);
    }
    let clip = |number: c_uint| number.min(c_int::MAX as c_uint) as c_int;
    let_go(clip(first), clip(last));
    let mut from = first;
    while let Some(own) = own_descriptors::lowest_in(from, last) {
        if own > from && close_range_next(from, own - 1, flags) != 0 {
            return -1;
        }
        if own == last {
            return 0;
        }
        from = own + 1;
    }
    close_range_next(from, last, flags)
}

fn close_range_next(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    match CLOSE_RANGE.get() {
        // SAFETY: the next definition of close_range has its type.
        Some(next) => unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_uint, c_uint, c_int) -> c_int>(
                next,
            )(first, last, flags)
        },
        // SAFETY: plain arguments.
        None => as_result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }),
    }
}

/// closefrom(3); as close() for each number, and around ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(lowfd: c_int) {
    let low = lowfd.max(0);
    let_go(low, c_int::MAX);
    let next = |from: c_int| match CLOSEFROM.get() {
        // SAFETY: the next definition of closefrom has its type.
        Some(next) => unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int)>(next)(from)
        },
        None => {
            close_range_next(from as c_uint, c_uint::MAX, 0);
        }
    };
    if own_descriptors::lowest_in(low as c_uint, c_uint::MAX).is_none() {
        return next(low);
    }
    // Around ours, which only close_range can do.
    // SAFETY: plain arguments.
    if unsafe { close_range(low as c_uint, c_uint::MAX, 0) } != 0 {
        for fildes in low..1 << 16 {
            if !own_descriptors::is_own(fildes) {
                // SAFETY: plain arguments; a number that is not open is
                // refused.
                unsafe { libc::syscall(libc::SYS_close, fildes) };
            }
        }
    }
}
