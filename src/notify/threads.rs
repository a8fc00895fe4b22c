//! What a thread of the notifier does to itself, and how it calls a
//! notification function. (`crate::thread` makes it.)
//!
//! What must hold: the function is called as in a new thread, whatever the
//! one before it did; between two calls every signal of the program is
//! blocked, and the thread cannot be cancelled. Of a cancellation that a
//! function leaves behind the thread ends, before it is given another.

use std::ffi::{CStr, c_int, c_void};

use crate::sys::{self, SignalMask};

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int;
    fn pthread_testcancel();

    /// The C library's list of what to run when this thread ends; `home` is
    /// an address in the shared object that must stay loaded until then.
    fn __cxa_thread_atexit_impl(
        run: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        home: *const c_void,
    ) -> c_int;
}

const PTHREAD_CANCEL_ENABLE: c_int = 0;
const PTHREAD_CANCEL_DISABLE: c_int = 1;
const PTHREAD_CANCEL_DEFERRED: c_int = 0;
/// PTHREAD_KEYS_MAX of the C library.
const KEYS_MAX: libc::pthread_key_t = 1024;

/// The name of a thread for callbacks.
pub(super) const CALL: &CStr = c"aio-shim-call";

/// Blocks every signal of the program in the calling thread; returns the
/// mask before.
pub(super) fn block_signals() -> SignalMask {
    sys::set_signal_mask(SignalMask::THREADS)
}

/// Before a thread ends that has just run a callback: the destructors of the
/// program's thread-specific data then run as in a thread of its own. (Never
/// of one that has rested: it would take a signal of the program's, which
/// knows of no thread any more.)
pub(super) fn leave() {
    sys::set_signal_mask(SignalMask::NONE);
}

/// Whether the end of the calling thread will destroy thread-specific data.
/// Nobody tells which keys there are; so each that there can be is asked, in
/// about two microseconds. (What C++ has for each thread cannot be asked for.)
pub(super) fn keeps_data() -> bool {
    // SAFETY: of a number that is no key the C library says NULL.
    (0..KEYS_MAX).any(|key| unsafe { !libc::pthread_getspecific(key).is_null() })
}

/// Lets sleeps of the calling thread end when they shall, not 50 µs later.
pub(super) fn sleep_exactly() {
    // SAFETY: PR_SET_TIMERSLACK takes a number of nanoseconds.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) };
}

/// Has `run` called with `argument` when the calling thread ends, by a
/// return from its main function or by pthread_exit.
pub(super) fn at_thread_exit(run: extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: `home` is an address in this shared object, which is never
    // unloaded (-z nodelete).
    unsafe { __cxa_thread_atexit_impl(run, argument, run as *const c_void) };
}

/// Calls a program's notification function as in a new thread, and takes the
/// thread back afterwards. The function may end the thread, also by a
/// cancellation that is still pending when it returns: then this does not
/// return.
///
/// # Safety
/// `function` is the address of a `void (*)(union sigval)`.
pub(super) unsafe extern "C" fn call(function: usize, value: usize) {
    // SAFETY: the function is the caller's promise; sigval is passed as the
    // pointer it may hold.
    unsafe {
        pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, std::ptr::null_mut());
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, std::ptr::null_mut());
        *libc::__errno_location() = 0;
        sys::set_signal_mask(SignalMask::NONE);
        let function: extern "C" fn(libc::sigval) = std::mem::transmute(function);
        function(libc::sigval {
            sival_ptr: value as *mut c_void,
        });
        // Deferred first: with the other type a pending cancellation would
        // be acted upon within the C library's call, at no known point.
        pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, std::ptr::null_mut());
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, std::ptr::null_mut());
        pthread_testcancel();
        block_signals();
        // The memory of an alternate stack may go with the function.
        let none = libc::stack_t {
            ss_sp: std::ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        };
        libc::sigaltstack(&none, std::ptr::null_mut());
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, std::ptr::null_mut());
    }
}
