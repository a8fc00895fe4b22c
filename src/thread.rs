//! Threads of the library: detached, with the program's signals blocked.
//!
//! What must hold: no signal of the application is ever taken by them. The C
//! library's own two signals stay open: setuid() waits until every thread has
//! taken its one. pthread_create is called through its symbol. What serves
//! the whole process is scheduled as its main thread, whoever made it.

mod settings;

pub use settings::Settings;

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use crate::process::Runtime;
use crate::sys;

/// Enough for the deepest call chain of the library, several times over.
const STACK: usize = 256 * 1024;

/// What a thread runs. pthread_exit may unwind through it: it has nothing to
/// drop while it calls into the program. (Not "C-unwind", which makes Rust put
/// an abort on unwinding into its callers.)
pub type Body = extern "C" fn(*mut c_void) -> *mut c_void;

/// Starts a detached thread that runs `body` with the runtime as argument.
/// False when none can be had.
#[cfg(loom)]
pub fn spawn(body: Body, runtime: &'static Runtime) -> bool {
    crate::sync::model::start_thread(body, ptr::from_ref(runtime).cast_mut().cast())
}

/// Starts a detached thread that runs `body` with the runtime as argument.
/// False when none can be had.
#[cfg(not(loom))]
pub fn spawn(body: Body, runtime: &'static Runtime) -> bool {
    create(body, ptr::from_ref(runtime).cast_mut().cast())
}

/// What a thread of the library's own does first: it leaves what the thread
/// that made it is scheduled by, and gets its name.
pub fn begin_as(name: &CStr) {
    settings::follow_main_thread();
    show_as(name);
}

/// Names the calling thread (15 characters) as tools show it. A thread for
/// functions of the program keeps what it inherits otherwise.
pub fn show_as(name: &CStr) {
    // SAFETY: a C string; the kernel copies it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Makes a thread of each kind that a first request may need (the engine's,
/// and one for callbacks) and waits for its end. The C library keeps stack and
/// thread-local storage of threads that ended, and gives them to the next that
/// asks for no more: so pthread_create allocates nothing then, and can be
/// called by a signal handler that interrupted malloc.
///
/// Failure is no error: then the first request allocates. Nothing of a thread
/// is left behind, unshare() and other calls for processes with one thread
/// work afterwards.
#[cfg(not(test))]
pub fn prepare() {
    let _errno = sys::KeepErrno::new();
    let before = sys::set_signal_mask(sys::SignalMask::THREADS);
    for stack in [Stack::Small, Stack::Default] {
        let Ok(thread) = start(gettid, ptr::null_mut(), stack, Ending::Joined) else {
            break;
        };
        let mut number = ptr::null_mut();
        // SAFETY: a joinable thread that nobody else joins.
        unsafe { libc::pthread_join(thread, &mut number) };
        // pthread_join returns a little before the kernel has let it go.
        for _ in 0..10_000 {
            // SAFETY: signal 0 is none; the calls only ask, and give way.
            unsafe {
                if libc::syscall(libc::SYS_tgkill, libc::getpid(), number.addr() as c_int, 0) != 0 {
                    break;
                }
                libc::sched_yield();
            }
        }
    }
    sys::set_signal_mask(before);
}

/// The calling thread's number.
#[cfg(not(test))]
extern "C" fn gettid(_: *mut c_void) -> *mut c_void {
    // SAFETY: no preconditions.
    let number = unsafe { libc::syscall(libc::SYS_gettid) };
    ptr::without_provenance_mut(number as usize)
}

/// The stack, and what else a thread is made with.
#[derive(Clone, Copy)]
pub enum Stack<'a> {
    /// Enough for what this library does itself: a program may have all its
    /// memory locked (mlockall). The default where that is too little for the
    /// program's static thread-local storage.
    Small,
    /// The program's default: enough for any callback.
    Default,
    /// These attributes, which say detached.
    Given(&'a libc::pthread_attr_t),
}

/// What becomes of a thread that ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Detached,
    #[cfg(not(test))]
    Joined,
}

fn create(body: Body, argument: *mut c_void) -> bool {
    detached(body, argument, Stack::Small).is_ok()
}

/// Starts a detached thread with the program's signals blocked. Err: the
/// errno of pthread_create.
pub fn detached(body: Body, argument: *mut c_void, stack: Stack<'_>) -> Result<(), c_int> {
    let _errno = sys::KeepErrno::new();
    let before = sys::set_signal_mask(sys::SignalMask::THREADS);
    let mut made = start(body, argument, stack, Ending::Detached);
    if made == Err(libc::EINVAL) && matches!(stack, Stack::Small) {
        made = start(body, argument, Stack::Default, Ending::Detached);
    }
    sys::set_signal_mask(before);
    made.map(drop)
}

fn start(
    body: Body,
    argument: *mut c_void,
    stack: Stack<'_>,
    ending: Ending,
) -> Result<libc::pthread_t, c_int> {
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let mut own = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the attribute object is initialised, used and destroyed here;
    // `body` takes `argument` as the caller promises; `thread` is read only
    // if there is one.
    unsafe {
        match libc::pthread_attr_init(own.as_mut_ptr()) {
            0 => {}
            error => return Err(error),
        }
        if ending == Ending::Detached {
            libc::pthread_attr_setdetachstate(own.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        }
        let attributes = match stack {
            Stack::Given(given) => given as *const _,
            Stack::Default => own.as_ptr(),
            Stack::Small => {
                libc::pthread_attr_setstacksize(own.as_mut_ptr(), STACK);
                own.as_ptr()
            }
        };
        let error = libc::pthread_create(thread.as_mut_ptr(), attributes, body, argument);
        libc::pthread_attr_destroy(own.as_mut_ptr());
        match error {
            0 => Ok(thread.assume_init()),
            error => Err(error),
        }
    }
}
