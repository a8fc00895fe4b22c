//! The ring is refused after it has worked: the workers take over.
//!
//! A seccomp filter installed late makes io_uring_enter fail while transfers
//! are in flight. They may still be writing into buffers, and with
//! DEFER_TASKRUN their completions would never appear. So the engine's thread
//! ends: the kernel then cancels what waits, waits for what runs, and posts
//! all results into the shared memory, which stays mapped. What must hold:
//! nothing is started again before that thread is gone; what has a result
//! keeps it, what was cancelled or never handed over is carried out by the
//! workers: exactly once each.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::{Engine, Place};
use crate::lanes::ring::Token;
use crate::process::Runtime;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::{probes, sys, thread};

/// The thread to wait for: the one whose ring it was.
static ENDING: AtomicU64 = AtomicU64::new(0);

/// Lets another thread go on without the ring once the calling thread, which
/// used it, has ended. Must be the caller's last act.
pub fn replace(
    runtime: &'static Runtime,
    place: MutexGuard<'static, Option<Box<Engine>>>,
    error: c_int,
) {
    if runtime.config.verbose {
        sys::to_stderr("aio_shim: io_uring is refused from now on: backend=threads\n");
    }
    probes::fallback(error);
    runtime.stats.fallback();
    // The successor waits for our end in the kernel, by our thread number:
    // that word is cleared only when the kernel is done with our ring.
    // SAFETY: gettid has no preconditions.
    let number = unsafe { libc::syscall(libc::SYS_gettid) } as u64;
    ENDING.store(number, Ordering::SeqCst);
    // The lock stays taken: it is handed to the successor with the engine.
    std::mem::forget(place);
    while !thread::spawn(successor, runtime) {
        // Accepted requests may not be lost: a thread must be had.
        sys::sleep(Duration::from_millis(10));
    }
}

extern "C" fn successor(argument: *mut c_void) -> *mut c_void {
    thread::begin_as(c"aio-shim-worker");
    // SAFETY: `thread::spawn` passes the runtime, which is never freed.
    let runtime: &'static Runtime = unsafe { &*argument.cast_const().cast() };
    let number = ENDING.load(Ordering::SeqCst);
    // The task is gone when no signal can be sent to it: that is after the
    // kernel has cancelled and reaped what its ring had in flight.
    // SAFETY: signal 0 is not sent, only asked about.
    while unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), number, 0i32) } == 0 {
        sys::sleep(Duration::from_micros(200));
    }
    // SAFETY: `replace` forgot the guard and ended; the lock is ours by
    // succession.
    unsafe { runtime.engine.force_unlock(()) };
    {
        let mut place = runtime.engine.lock();
        if let Some(engine) = place.as_mut() {
            engine.abandon_ring(runtime);
        }
        runtime.pool.set_leads(true);
        runtime.wakeup.set_eventfd(None);
    }
    runtime.pool.join_as_leader(runtime);
    null_mut()
}

impl Engine {
    /// Settles everything that was in the ring.
    fn abandon_ring(&mut self, runtime: &'static Runtime) {
        let Some(mut ring) = self.ring.take() else {
            return;
        };
        while let Some((token, result)) = ring.pop() {
            if let Token::Request(handle) = token {
                self.ring_completed(runtime, handle, result);
            }
        }
        for handle in ring.take_back() {
            self.start_in_pool(runtime, handle);
        }
        while let Some(handle) = self.ring_backlog.pop() {
            self.queue_for_pool(handle);
        }
        for handle in self.scheduler.handles() {
            if self.scheduler.payload(handle).place == Place::Ring {
                self.start_in_pool(runtime, handle);
            }
        }
        ring.abandon();
        self.rearm_all(runtime);
        self.batch.flush(runtime);
    }
}
