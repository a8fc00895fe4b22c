//! Notices beyond the cap: of equal ones, one waits.
//!
//! A program that blocks a signal for good would have its notifications kept
//! until memory ends. Beyond the cap, a notice that tells nothing which one
//! already waiting does not tell gives way to that one. Each different one is
//! kept, so memory grows with their number, no longer with their count.
//!
//! What must hold: a notice is in the set only while it waits in its lane, or
//! another would give way to nothing.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use super::lanes::LaneId;
use super::notice::{Notice, Origin};

/// What two notices must have in common to be the same to the program.
type Face = (LaneId, usize, bool);

fn face(id: LaneId, notice: &Notice) -> Face {
    (id, notice.value, notice.origin == Origin::List)
}

/// The notices that were kept although there were too many; no set before the
/// first (an empty one has a pointer in it, and what a notifier begins as
/// would then have to be relocated in every process).
pub(super) struct Beyond(Option<HashSet<Face, BuildHasherDefault<FaceHasher>>>);

impl Beyond {
    pub const fn new() -> Self {
        Beyond(None)
    }

    /// Beyond the cap: does `notice` give way to an equal one? `last` is the
    /// one before it in the lane. If not, it is to be kept, and remembered.
    pub fn absorbs(&mut self, id: LaneId, notice: &mut Notice, last: Option<&Notice>) -> bool {
        if !notice.may_merge() {
            return false;
        }
        let face_of = face(id, notice);
        let set = self.0.get_or_insert_default();
        if last.is_some_and(|last| face(id, last) == face_of) || set.contains(&face_of) {
            return true;
        }
        if set.try_reserve(1).is_ok() {
            set.insert(face_of);
            notice.remembered = true;
        }
        false
    }

    /// A notice has left its lane.
    pub fn forget(&mut self, id: LaneId, notice: &Notice) {
        if notice.remembered
            && let Some(set) = &mut self.0
        {
            set.remove(&face(id, notice));
        }
    }

    /// Nothing is remembered.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(HashSet::is_empty)
    }
}

/// Multiplies and rotates: the set is ours alone, nobody attacks it.
#[derive(Default)]
struct FaceHasher(u64);

impl Hasher for FaceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
