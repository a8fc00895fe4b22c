//! Lists that a caller waits for: `lio_listio(LIO_WAIT)`.
//!
//! An element's control block is the program's again when the element is
//! complete: another thread, or its callback, may free it or submit it anew
//! while the caller still waits for the others. So the caller looks at none of
//! them: it takes a place here, the engine counts the elements down (see
//! `engine/groups.rs`) and says here how the list ended. What must hold: a
//! place is given up by whoever is the last to know of it, the caller that
//! read the end, or the engine if a signal made the caller leave before; and
//! nothing here lies in a frame, so one that is torn down leaves at most a
//! place that is taken for good. Nobody allocates or locks.

use std::ffi::c_int;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sys;

/// Callers that can wait at once: more threads than that a process hardly
/// has, and one beyond it is told EAGAIN. Only what is used takes memory.
const PLACES: usize = if cfg!(loom) { 2 } else { 1 << 16 };

const FREE: u32 = 0;
/// The list is under way, and its caller waits for the end.
const WAITED_FOR: u32 = 1;
/// It is under way, and its caller has left.
const LEFT: u32 = 2;
/// It has ended, and all its elements have succeeded.
const SUCCEEDED: u32 = 3;
/// It has ended, and one of them has failed.
const FAILED: u32 = 4;

/// The places of a process. All zero: nobody waits.
pub struct Lists([AtomicU32; PLACES]);

impl Lists {
    /// Where the places lie, for a model to explore them.
    #[cfg(loom)]
    pub fn extent(&self) -> std::ops::Range<usize> {
        let at = self.0.as_ptr().addr();
        at..at + size_of_val(&self.0)
    }

    /// Takes a place, looking from `from` on. None: there is none left.
    pub fn enter(&self, from: u16) -> Option<u16> {
        (0..PLACES)
            .map(|step| (usize::from(from) + step) % PLACES)
            .find(|&place| {
                self.0[place]
                    .compare_exchange(FREE, WAITED_FOR, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok()
            })
            .map(|place| place as u16)
    }

    /// Gives a place back whose list was never handed over.
    pub fn give_back(&self, place: u16) {
        self.0[usize::from(place)].store(FREE, Ordering::SeqCst);
    }

    /// Waits for the end of the list: did an element fail? Err(EINTR): a
    /// signal came, and the list goes on.
    pub fn wait(&self, place: u16) -> Result<bool, c_int> {
        let word = &self.0[usize::from(place)];
        loop {
            match word.load(Ordering::SeqCst) {
                WAITED_FOR => {
                    if sys::futex_wait(word, WAITED_FOR, None) == Err(libc::EINTR)
                        && word
                            .compare_exchange(WAITED_FOR, LEFT, Ordering::SeqCst, Ordering::SeqCst)
                            .is_ok()
                    {
                        return Err(libc::EINTR);
                    }
                }
                end => {
                    word.store(FREE, Ordering::SeqCst);
                    return Ok(end == FAILED);
                }
            }
        }
    }

    /// The last element of a list has ended.
    pub fn end(&self, place: u16, failed: bool) {
        let word = &self.0[usize::from(place) % PLACES];
        let end = if failed { FAILED } else { SUCCEEDED };
        if word.swap(end, Ordering::SeqCst) == LEFT {
            word.store(FREE, Ordering::SeqCst);
        } else {
            // Should the caller have read the end meanwhile and another taken
            // the place: that one looks again.
            sys::futex_wake(word.as_ptr(), 1);
        }
    }
}
