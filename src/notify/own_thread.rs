//! Callbacks with thread attributes: a thread of its own for each.
//!
//! The attributes are copied when the notification is posted, right after
//! the completion, which is when glibc reads them; a program need not keep
//! them longer, even if the thread can only be made later. Stack size, a
//! given stack, guard size, scheduling, scope and affinity are honoured; the
//! detach state is not: nobody could join a thread whose name nobody knows.

use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, size_of};

use libc::{cpu_set_t, pthread_attr_t, sched_param};

use super::Notifier;
use super::notice::Notice;
use super::threads;
use crate::thread::{self, Stack};

unsafe extern "C" {
    fn pthread_attr_getstack(
        from: *const pthread_attr_t,
        base: *mut *mut c_void,
        size: *mut usize,
    ) -> c_int;
    fn pthread_attr_setstack(to: *mut pthread_attr_t, base: *mut c_void, size: usize) -> c_int;
    fn pthread_attr_getguardsize(from: *const pthread_attr_t, size: *mut usize) -> c_int;
    fn pthread_attr_setguardsize(to: *mut pthread_attr_t, size: usize) -> c_int;
    fn pthread_attr_getinheritsched(from: *const pthread_attr_t, inherit: *mut c_int) -> c_int;
    fn pthread_attr_setinheritsched(to: *mut pthread_attr_t, inherit: c_int) -> c_int;
    fn pthread_attr_getschedpolicy(from: *const pthread_attr_t, policy: *mut c_int) -> c_int;
    fn pthread_attr_setschedpolicy(to: *mut pthread_attr_t, policy: c_int) -> c_int;
    fn pthread_attr_getschedparam(from: *const pthread_attr_t, param: *mut sched_param) -> c_int;
    fn pthread_attr_setschedparam(to: *mut pthread_attr_t, param: *const sched_param) -> c_int;
    fn pthread_attr_getscope(from: *const pthread_attr_t, scope: *mut c_int) -> c_int;
    fn pthread_attr_setscope(to: *mut pthread_attr_t, scope: c_int) -> c_int;
    fn pthread_attr_getaffinity_np(
        from: *const pthread_attr_t,
        size: usize,
        cpus: *mut cpu_set_t,
    ) -> c_int;
    fn pthread_attr_setaffinity_np(
        to: *mut pthread_attr_t,
        size: usize,
        cpus: *const cpu_set_t,
    ) -> c_int;
}

/// A notifier's own copy of a program's attributes, in memory of malloc.
type Copied = pthread_attr_t;

/// What the new thread is told.
struct Call {
    function: usize,
    value: usize,
}

/// Replaces the pointer to the program's attributes by a copy. Without
/// memory for it: by none, and a cached thread with a default stack serves.
pub(super) fn copy_attributes(notice: &mut Notice) {
    let from: *const pthread_attr_t = notice.attributes.cast();
    // SAFETY: malloc has no preconditions.
    let to: *mut Copied = unsafe { libc::malloc(size_of::<Copied>()) }.cast();
    if !to.is_null() {
        // SAFETY: `from` points to an initialised attributes object until
        // the notification (the program's part of SIGEV_THREAD); `to` is
        // memory of the right size.
        unsafe { copy(from, to) };
    }
    notice.attributes = to.cast();
}

/// # Safety
/// `from` is initialised, `to` writable and large enough.
unsafe fn copy(from: *const pthread_attr_t, to: *mut pthread_attr_t) {
    // SAFETY: the caller's promise; every getter writes a local. What cannot
    // be read or set stays at its default.
    unsafe {
        libc::pthread_attr_init(to);
        libc::pthread_attr_setdetachstate(to, libc::PTHREAD_CREATE_DETACHED);
        let mut base = std::ptr::null_mut();
        let mut size = 0;
        if pthread_attr_getstack(from, &mut base, &mut size) == 0 {
            // Without a stack of its own the "base" is the size below null.
            if (base as usize).wrapping_add(size) != 0 {
                pthread_attr_setstack(to, base, size);
            } else if size != 0 {
                libc::pthread_attr_setstacksize(to, size);
            }
        }
        if pthread_attr_getguardsize(from, &mut size) == 0 {
            pthread_attr_setguardsize(to, size);
        }
        let mut number = 0;
        if pthread_attr_getschedpolicy(from, &mut number) == 0 {
            pthread_attr_setschedpolicy(to, number);
        }
        let mut param = MaybeUninit::<sched_param>::zeroed();
        if pthread_attr_getschedparam(from, param.as_mut_ptr()) == 0 {
            pthread_attr_setschedparam(to, param.as_ptr());
        }
        if pthread_attr_getinheritsched(from, &mut number) == 0 {
            pthread_attr_setinheritsched(to, number);
        }
        if pthread_attr_getscope(from, &mut number) == 0 {
            pthread_attr_setscope(to, number);
        }
        let mut cpus = MaybeUninit::<cpu_set_t>::zeroed();
        let size = size_of::<cpu_set_t>();
        if pthread_attr_getaffinity_np(from, size, cpus.as_mut_ptr()) == 0 {
            let cpus = cpus.assume_init();
            // All processors is what it says when nothing was set; setting
            // that would undo an affinity the thread is to inherit.
            let all = (0..libc::CPU_SETSIZE as usize).all(|cpu| libc::CPU_ISSET(cpu, &cpus));
            if !all {
                pthread_attr_setaffinity_np(to, size, &cpus);
            }
        }
    }
}

/// Gives back a copy made by `copy_attributes`.
fn free_attributes(notice: &Notice) {
    let copied: *mut Copied = notice.attributes.cast();
    // SAFETY: made by `copy_attributes`, used by nobody any more.
    unsafe {
        libc::pthread_attr_destroy(copied);
        libc::free(copied.cast());
    }
}

impl Notifier {
    /// Starts the thread for a callback with attributes. Err: the errno; no
    /// thread can be made now.
    pub(super) fn start_own_thread(&self, notice: &Notice) -> Result<(), c_int> {
        // SAFETY: malloc has no preconditions.
        let call: *mut Call = unsafe { libc::malloc(size_of::<Call>()) }.cast();
        if call.is_null() {
            return Err(libc::ENOMEM);
        }
        // SAFETY: fresh memory of the right size.
        unsafe {
            call.write(Call {
                function: notice.target,
                value: notice.value,
            })
        };
        // SAFETY: the copy lives until `free_attributes` below.
        let attributes = unsafe { &*notice.attributes.cast::<Copied>() };
        let mut made = thread::detached(own_main, call.cast(), Stack::Given(attributes));
        if matches!(made, Err(errno) if errno != libc::EAGAIN && errno != libc::ENOMEM) {
            // Attributes that no thread can have (EINVAL, EPERM) will not
            // get better: the callback is worth more than they are.
            made = thread::detached(own_main, call.cast(), Stack::Default);
        }
        match made {
            Ok(()) => free_attributes(notice),
            // SAFETY: no thread got it.
            Err(_) => unsafe { libc::free(call.cast()) },
        }
        made
    }
}

extern "C" fn own_main(call: *mut c_void) -> *mut c_void {
    thread::show_as(threads::CALL);
    let call: *mut Call = call.cast();
    // SAFETY: written by `start_own_thread`, and this thread's alone.
    unsafe {
        let Call { function, value } = call.read();
        libc::free(call.cast());
        threads::call(function, value);
    }
    threads::leave();
    std::ptr::null_mut()
}
