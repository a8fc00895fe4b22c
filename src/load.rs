//! How much is outstanding, by descriptor and by file, in tables of hashed
//! counters: what the inline lane and the close family look at first.
//!
//! Who comes in: each submission adds, each completion takes away; the inline
//! lane and `close` read with one load. What must hold: while a request is
//! outstanding its counters are not zero. Two descriptors that share a
//! counter cost time, never a wrong answer.

use std::ffi::c_int;

use crate::request::Kind;
use crate::sync::atomic::{AtomicU64, Ordering};

const DESCRIPTORS: usize = 1024;
/// Slots by file; the number fits the nine bits of a status word.
const FILES: usize = 512;
/// Reads count in the low half of a counter, everything else in the high.
const WRITE: u64 = 1 << 32;

/// The tables. All zero is the empty state.
pub struct Load {
    descriptors: [AtomicU64; DESCRIPTORS],
    files: [AtomicU64; FILES],
}

fn unit(kind: Kind) -> u64 {
    if kind.is_read() { 1 } else { WRITE }
}

/// The file slot of a file's identity; 0 is for what is not known.
pub fn file_slot(device: u64, inode: u64) -> u16 {
    let hash = (inode ^ device.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (hash % (FILES as u64 - 1)) as u16 + 1
}

impl Load {
    fn descriptor(&self, fildes: c_int) -> &AtomicU64 {
        &self.descriptors[fildes as usize % DESCRIPTORS]
    }

    fn file(&self, slot: u16) -> &AtomicU64 {
        &self.files[usize::from(slot) % FILES]
    }

    /// Where the counter of a descriptor lies, for a model to stop there.
    #[cfg(loom)]
    pub fn place(&self, fildes: c_int) -> usize {
        std::ptr::from_ref(self.descriptor(fildes)).addr()
    }

    /// A request is submitted.
    pub fn add(&self, fildes: c_int, slot: u16, kind: Kind) {
        self.descriptor(fildes)
            .fetch_add(unit(kind), Ordering::SeqCst);
        self.file(slot).fetch_add(unit(kind), Ordering::SeqCst);
    }

    /// It is done.
    pub fn remove(&self, fildes: c_int, slot: u16, kind: Kind) {
        self.descriptor(fildes)
            .fetch_sub(unit(kind), Ordering::SeqCst);
        self.file(slot).fetch_sub(unit(kind), Ordering::SeqCst);
    }

    /// Is a write outstanding that an inline read must not overtake?
    pub fn writes(&self, fildes: c_int, slot: u16) -> bool {
        self.descriptor(fildes).load(Ordering::SeqCst) >= WRITE
            || self.file(slot).load(Ordering::SeqCst) >= WRITE
    }

    /// Is anything outstanding that an inline write must not overtake?
    pub fn anything(&self, fildes: c_int, slot: u16) -> bool {
        self.descriptor(fildes).load(Ordering::SeqCst) != 0
            || self.file(slot).load(Ordering::SeqCst) != 0
    }

    /// Is anything outstanding for this descriptor number? One load.
    pub fn of_descriptor(&self, fildes: c_int) -> bool {
        self.descriptor(fildes).load(Ordering::SeqCst) != 0
    }

    /// Is anything outstanding for a number from `first` to `last`?
    pub fn of_range(&self, first: c_int, last: c_int) -> bool {
        let span = (last as i64 - first as i64 + 1).clamp(0, DESCRIPTORS as i64);
        (0..span).any(|step| self.of_descriptor((first as i64 + step) as c_int))
    }
}
