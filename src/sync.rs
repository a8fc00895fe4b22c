//! Atomics and locks of the library, in one place so that loom can replace them.
//!
//! Who comes in: every module that shares memory between threads. What must
//! hold: nothing here has state outside the object itself. A lock of
//! `parking_lot` proper keeps its waiters in a table of the whole process,
//! and `fork` copies that table in whatever state another thread left it;
//! here the child would then wait for ever. So [`Mutex`] is `lock_api`'s
//! guard (the one `parking_lot` uses) around a plain futex word that lives in
//! the protected object and is left behind with it.

#[cfg(loom)]
pub mod model;

#[cfg(loom)]
pub use self::model::atomic;
#[cfg(not(loom))]
pub use std::sync::atomic;

use parking_lot::lock_api::{self, RawMutex};

use self::atomic::{AtomicU32, Ordering};
use crate::sys;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// A futex word: free, held, or held with somebody waiting.
pub struct RawFutex(AtomicU32);

// SAFETY: `lock` returns only after it moved the word away from FREE
// itself (compare-exchange or a swap that read FREE), and `unlock` is the
// only store of FREE; so at most one caller is inside at a time. Acquire
// and Release on these give the happens-before a mutex must give.
unsafe impl RawMutex for RawFutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = RawFutex(AtomicU32::new(FREE));
    type Guard = ();

    fn lock(&self) {
        if self.try_lock().is_some() {
            return;
        }
        // Marked contended by everybody who waits: the holder then wakes
        // one, who marks it again because others may still sleep.
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            let _ = sys::futex_wait(&self.0, CONTENDED, None);
        }
    }

    fn try_lock(&self) -> Option<()> {
        self.0
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| ())
    }

    fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    unsafe fn unlock(&self, _: ()) {
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            sys::futex_wake(self.0.as_ptr(), 1);
        }
    }
}

#[cfg(not(loom))]
type Raw = RawFutex;
#[cfg(loom)]
type Raw = model::RawModelled;

/// Mutual exclusion among the library's own threads. Never taken by an
/// entry point on its async-signal-safe way.
pub type Mutex<T> = lock_api::Mutex<Raw, T>;
/// Guard of a [`Mutex`].
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, Raw, T>;
