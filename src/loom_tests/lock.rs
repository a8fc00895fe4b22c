//! The library's own lock, step by step.

use std::sync::Arc;

use loom::cell::UnsafeCell;

use super::bench::{check, spawn};
use crate::sync::Mutex;
use crate::sync::model::{self, Scope, place};

struct Guarded {
    lock: Mutex<()>,
    content: UnsafeCell<u32>,
}

/// Adds one under the lock: loom reports two threads inside at once, and
/// contents that are not seen.
fn add(guarded: &Guarded) {
    let guard = guarded.lock.lock();
    // SAFETY: loom's own check.
    guarded.content.with_mut(|place| unsafe { *place += 1 });
    drop(guard);
}

/// One thread at a time, and whoever waits gets in.
#[test]
fn loom_the_lock() {
    check(Some(3), || {
        let guarded = Arc::new(Guarded {
            lock: Mutex::new(()),
            content: UnsafeCell::new(0),
        });
        model::begin(Scope::default());
        model::explore_lock(place(&guarded.lock));
        let others = [(); 2].map(|()| {
            let guarded = guarded.clone();
            spawn(move || {
                add(&guarded);
                add(&guarded);
            })
        });
        if let Some(guard) = guarded.lock.try_lock() {
            // SAFETY: loom's own check.
            guarded.content.with_mut(|place| unsafe { *place += 1 });
            drop(guard);
        } else {
            add(&guarded);
        }
        for other in others {
            other.join().unwrap();
        }
        assert!(!guarded.lock.is_locked());
        // SAFETY: loom's own check.
        assert_eq!(guarded.content.with(|place| unsafe { *place }), 5);
    });
}
