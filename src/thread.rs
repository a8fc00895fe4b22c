//! Threads of the library: small, with the program's signals blocked.
//!
//! What must hold: no signal of the application is ever taken by them. The C
//! library's own two signals stay open: setuid() waits until every thread has
//! taken its one. pthread_create is called through its symbol.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use crate::process::Runtime;
use crate::sys;

/// Enough for the deepest call chain of the library, several times over.
const STACK: usize = 256 * 1024;

pub type Body = extern "C" fn(*mut c_void) -> *mut c_void;

/// Starts a detached thread that runs `body` with the runtime as argument.
/// False when none can be had.
pub fn spawn(body: Body, runtime: &'static Runtime) -> bool {
    create(body, ptr::from_ref(runtime).cast_mut().cast())
}

/// Names the calling thread (15 characters) as tools show it.
pub fn name(name: &'static CStr) {
    // SAFETY: a C string; the kernel copies it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

fn create(body: Body, argument: *mut c_void) -> bool {
    let _errno = sys::KeepErrno::new();
    let before = sys::set_signal_mask(sys::SignalMask::THREADS);
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut error = libc::EINVAL;
    // Our small stack first; a program with a large amount of static
    // thread-local storage needs more (EINVAL), then its default.
    for stack in [Some(STACK), None] {
        // SAFETY: the attribute object is initialised, used and destroyed
        // here; `body` and `argument` live as long as the process.
        unsafe {
            if libc::pthread_attr_init(attributes.as_mut_ptr()) != 0 {
                break;
            }
            libc::pthread_attr_setdetachstate(
                attributes.as_mut_ptr(),
                libc::PTHREAD_CREATE_DETACHED,
            );
            if let Some(stack) = stack {
                libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack);
            }
            error = libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), body, argument);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
        if error != libc::EINVAL {
            break;
        }
    }
    sys::set_signal_mask(before);
    error == 0
}
