//! Making threads: the notifier's, the crew's, and those with attributes of
//! the program's own.
//!
//! What must hold: a thread begins with every signal of the program blocked
//! (but SIGSYS, which answers its own system calls), detached; the maker's mask and errno are as before.

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;

use libc::{pthread_attr_t, pthread_t};

use crate::sys::{self, KeepErrno, SignalMask};

/// What a thread runs. pthread_exit may unwind through it: it has nothing to
/// drop while a callback runs. (Not "C-unwind", which makes Rust put an
/// abort on unwinding into its callers.)
pub(super) type Main = extern "C" fn(*mut c_void) -> *mut c_void;

unsafe extern "C" {
    // As in libc, but for the ABI of the start function.
    fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        main: Main,
        argument: *mut c_void,
    ) -> c_int;

    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int;

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

/// Blocks every signal of the program in the calling thread.
pub(super) fn block_signals() {
    sys::set_signal_mask(SignalMask::THREADS);
}

/// What a thread is made with.
#[derive(Clone, Copy)]
pub(super) enum Attributes<'a> {
    /// The defaults of the program: a stack for any callback.
    Default,
    /// A small stack, for what this library does itself: a program may have
    /// all its memory locked (mlockall).
    Small,
    /// These, which say detached.
    Given(&'a pthread_attr_t),
}

/// Enough for the notifier, several times over.
const SMALL_STACK: usize = 256 * 1024;

/// Starts a detached thread with all signals blocked.
pub(super) fn spawn(
    main: Main,
    argument: *mut c_void,
    attributes: Attributes<'_>,
) -> Result<(), c_int> {
    let _errno = KeepErrno::new();
    let mut own = MaybeUninit::<pthread_attr_t>::uninit();
    let before = sys::set_signal_mask(SignalMask::THREADS);
    let mut thread = MaybeUninit::<pthread_t>::uninit();
    // SAFETY: `own` is initialised before use and destroyed once; the mask
    // that is restored is the one that was read; `main` takes `argument` as
    // the caller of `spawn` promises.
    unsafe {
        libc::pthread_attr_init(own.as_mut_ptr());
        libc::pthread_attr_setdetachstate(own.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let used = match attributes {
            Attributes::Given(given) => given as *const _,
            Attributes::Default => own.as_ptr(),
            Attributes::Small => {
                libc::pthread_attr_setstacksize(own.as_mut_ptr(), SMALL_STACK);
                own.as_ptr()
            }
        };
        let errno = pthread_create(thread.as_mut_ptr(), used, main, argument);
        libc::pthread_attr_destroy(own.as_mut_ptr());
        sys::set_signal_mask(before);
        match (errno, attributes) {
            (0, _) => Ok(()),
            // Too small for the program's static thread-local storage.
            (libc::EINVAL, Attributes::Small) => spawn(main, argument, Attributes::Default),
            _ => Err(errno),
        }
    }
}

/// Names the calling thread.
pub(super) fn name(name: &CStr) {
    // SAFETY: PR_SET_NAME reads at most 16 bytes of a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
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
/// thread back afterwards.
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
        block_signals();
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, std::ptr::null_mut());
    }
}
