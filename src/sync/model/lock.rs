//! The library's lock in a model.

use parking_lot::lock_api::RawMutex;

use super::{Kind, WORLD};
use crate::sync::RawFutex;

/// The library's lock. loom's own stands in for it unless the model explores
/// its steps: that is one step instead of many.
#[repr(transparent)]
pub struct RawModelled(RawFutex);

impl RawModelled {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn by_steps(&self) -> bool {
        let scope = WORLD.scope.borrow();
        scope
            .locks
            .iter()
            .any(|range| range.contains(&self.address()))
    }

    fn stand_in(&self) -> &'static loom::sync::Mutex<()> {
        let (index, _) = WORLD.find(Kind::Lock, self.address(), || 0);
        &WORLD.locks[index]
    }
}

// SAFETY: the library's lock, or one of loom's that belongs to this address;
// a guard of loom's is in `held` for as long as the lock is.
unsafe impl RawMutex for RawModelled {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = RawModelled(RawFutex::INIT);
    type Guard = ();

    fn lock(&self) {
        if self.by_steps() {
            return self.0.lock();
        }
        if let Ok(guard) = self.stand_in().lock() {
            WORLD.held.borrow_mut().push((self.address(), guard));
        }
    }

    fn try_lock(&self) -> Option<()> {
        if self.by_steps() {
            return self.0.try_lock();
        }
        let guard = self.stand_in().try_lock().ok()?;
        WORLD.held.borrow_mut().push((self.address(), guard));
        Some(())
    }

    fn is_locked(&self) -> bool {
        if self.by_steps() {
            return self.0.is_locked();
        }
        let held = WORLD.held.borrow();
        held.iter().any(|(address, _)| *address == self.address())
    }

    unsafe fn unlock(&self, (): ()) {
        if self.by_steps() {
            // SAFETY: locked by contract.
            return unsafe { self.0.unlock(()) };
        }
        let mut held = WORLD.held.borrow_mut();
        let index = held
            .iter()
            .position(|(address, _)| *address == self.address());
        let guard = index.map(|index| held.remove(index));
        drop(held);
        drop(guard);
    }
}
