//! How much is outstanding, by descriptor and by file, in tables of hashed
//! counters: what the inline lane and the close family look at first.
//!
//! Who comes in: each submission adds, the engine settles what it takes over,
//! each completion takes away; the inline lane and `close` look. What must
//! hold: while a request is outstanding its counters are not zero. Two
//! descriptors that share a counter cost time, never a wrong answer. Which
//! file a request is for, the engine finds out; until then the request is
//! *unsettled*, and may be for any file. (Asking the kernel at once costs each
//! submission half a microsecond, so that is done only while something inline
//! has to give way to unsettled requests.)

use std::ffi::c_int;

use crate::perturb;
use crate::request::Kind;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const DESCRIPTORS: usize = perturb::bound(1024, 3);
/// Slots by file; the number fits the nine bits of a status word.
const FILES: usize = perturb::bound(512, 3);
/// By descriptor and by file, reads count in the low half of a counter,
/// everything else in the high.
const WRITE: u64 = 1 << 32;
/// Of all, those not settled count in the low half, those outstanding in the
/// high.
const OUTSTANDING: u64 = 1 << 32;

/// The tables. All zero is the empty state.
pub struct Load {
    descriptors: [AtomicU64; DESCRIPTORS],
    files: [AtomicU64; FILES],
    /// By descriptor, those being submitted, or on their way to the engine.
    coming: [AtomicU32; DESCRIPTORS],
    reads: All,
    /// Everything else. (A sync is never unsettled: what overtakes it is not
    /// seen.)
    others: All,
}

/// All that is outstanding.
struct All {
    count: AtomicU64,
    /// How many of the next are to be settled by who submits them.
    wanted: AtomicU32,
}

/// So many, once something inline had to give way.
const WANTED: u32 = 64;

impl All {
    fn unsettled(&self, count: u64) -> bool {
        let some = count as u32 != 0;
        if some {
            self.wanted.store(WANTED, Ordering::Relaxed);
        }
        some
    }
}

fn unit(kind: Kind) -> u64 {
    if kind.is_read() { 1 } else { WRITE }
}

fn unsettled(kind: Kind) -> u64 {
    u64::from(!kind.is_sync())
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

    /// Where the counters of a descriptor lie, for a model to explore them, or
    /// to stop at the first.
    #[cfg(loom)]
    pub fn places(&self, fildes: c_int) -> [std::ops::Range<usize>; 2] {
        use crate::sync::model::place;
        [place(self.descriptor(fildes)), place(self.to_come(fildes))]
    }

    fn all(&self, kind: Kind) -> &All {
        if kind.is_read() {
            &self.reads
        } else {
            &self.others
        }
    }

    fn to_come(&self, fildes: c_int) -> &AtomicU32 {
        &self.coming[fildes as usize % DESCRIPTORS]
    }

    /// A control block is about to be claimed.
    pub fn come(&self, fildes: c_int) {
        self.to_come(fildes).fetch_add(1, Ordering::SeqCst);
    }

    /// The engine has it, or nobody ever will: it is complete, or refused.
    pub fn arrive(&self, fildes: c_int) {
        self.to_come(fildes).fetch_sub(1, Ordering::SeqCst);
    }

    /// A request is submitted.
    pub fn add(&self, fildes: c_int, kind: Kind) {
        self.descriptor(fildes)
            .fetch_add(unit(kind), Ordering::SeqCst);
        self.all(kind)
            .count
            .fetch_add(OUTSTANDING + unsettled(kind), Ordering::SeqCst);
    }

    /// Is something of this descriptor number, or of one that shares its
    /// counter, submitted at this moment, or on its way to the engine?
    pub fn is_coming(&self, fildes: c_int) -> bool {
        self.to_come(fildes).load(Ordering::SeqCst) != 0
    }

    /// Is it to be settled at once?
    pub fn wants_file(&self, kind: Kind) -> bool {
        let wanted = &self.all(kind).wanted;
        let left = wanted.load(Ordering::Relaxed);
        if left == 0 || kind.is_sync() {
            return false;
        }
        // A lost update only changes how many.
        wanted.store(left - 1, Ordering::Relaxed);
        true
    }

    /// Its file is known (0: none that matters). Returns the slot by which it
    /// is to be taken away.
    pub fn settle(&self, slot: u16, kind: Kind) -> u16 {
        let slot = if kind.is_sync() { 0 } else { slot };
        self.file(slot).fetch_add(unit(kind), Ordering::SeqCst);
        // Last: whoever finds it settled finds it counted for its file.
        if unsettled(kind) != 0 {
            let all = &self.all(kind).count;
            all.fetch_sub(unsettled(kind), Ordering::SeqCst);
        }
        slot
    }

    /// It is done.
    pub fn remove(&self, fildes: c_int, slot: u16, kind: Kind) {
        self.descriptor(fildes)
            .fetch_sub(unit(kind), Ordering::SeqCst);
        self.file(slot).fetch_sub(unit(kind), Ordering::SeqCst);
        self.all(kind)
            .count
            .fetch_sub(OUTSTANDING, Ordering::SeqCst);
    }

    /// Is anything outstanding that an inline transfer of this kind must not
    /// overtake: for a read a write, for a write anything? One load or two if
    /// there is nothing at all; `file` is asked for the slot of the file if
    /// that decides (None: not known).
    pub fn anything_before(
        &self,
        kind: Kind,
        fildes: c_int,
        file: impl FnOnce() -> Option<u16>,
    ) -> bool {
        let (reads, least) = if kind.is_read() {
            (0, WRITE)
        } else {
            (self.reads.count.load(Ordering::SeqCst), 1)
        };
        // Before the file's counter: see `settle`.
        let others = self.others.count.load(Ordering::SeqCst);
        if reads | others == 0 {
            return false;
        }
        self.reads.unsettled(reads)
            || self.others.unsettled(others)
            || self.descriptor(fildes).load(Ordering::SeqCst) >= least
            || file().is_none_or(|slot| self.file(slot).load(Ordering::SeqCst) >= least)
    }

    /// How many requests are outstanding?
    pub fn outstanding(&self) -> usize {
        let count = |all: &All| (all.count.load(Ordering::SeqCst) / OUTSTANDING) as usize;
        count(&self.reads) + count(&self.others)
    }

    /// How many of them are not settled?
    pub fn unsettled(&self) -> usize {
        let count = |all: &All| all.count.load(Ordering::SeqCst) as u32 as usize;
        count(&self.reads) + count(&self.others)
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn none() -> All {
        All {
            count: AtomicU64::new(0),
            wanted: AtomicU32::new(0),
        }
    }

    fn empty() -> Load {
        Load {
            descriptors: [const { AtomicU64::new(0) }; DESCRIPTORS],
            files: [const { AtomicU64::new(0) }; FILES],
            coming: [const { AtomicU32::new(0) }; DESCRIPTORS],
            reads: none(),
            others: none(),
        }
    }

    #[test]
    fn what_something_gave_way_to_is_settled_at_once() {
        let load = empty();
        load.add(3, Kind::Write);
        assert!(!load.wants_file(Kind::Write));
        assert!(load.anything_before(Kind::Read, 4, || None));
        for _ in 0..WANTED {
            assert!(load.wants_file(Kind::Write));
        }
        assert!(!load.wants_file(Kind::Write) && !load.wants_file(Kind::Read));
    }

    #[test]
    fn an_unsettled_request_is_for_any_file() {
        let load = empty();
        let never = || -> Option<u16> { panic!("asked for the file") };
        assert!(!load.anything_before(Kind::Write, 5, never));
        load.add(3, Kind::Read);
        assert!(load.anything_before(Kind::Write, 5, never));
        assert!(!load.anything_before(Kind::Read, 5, never));
        load.add(4, Kind::WriteVector);
        assert!(load.anything_before(Kind::Read, 5, never));
        load.settle(7, Kind::Read);
        assert_eq!(load.settle(8, Kind::WriteVector), 8);
        let of = |slot| move || Some(slot);
        assert!(load.anything_before(Kind::Write, 5, of(7)));
        assert!(!load.anything_before(Kind::Read, 5, of(7)));
        assert!(load.anything_before(Kind::Read, 5, of(8)));
        assert!(load.anything_before(Kind::Read, 4, never));
        assert!(!load.anything_before(Kind::Write, 5, of(9)));
        assert!(load.anything_before(Kind::Write, 5, || None));
        load.remove(4, 8, Kind::WriteVector);
        assert!(!load.anything_before(Kind::Read, 4, never));
        load.remove(3, 7, Kind::Read);
        assert!(!load.anything_before(Kind::Write, 3, never));
    }

    #[test]
    fn what_comes_goes() {
        let load = empty();
        for kind in [
            Kind::Read,
            Kind::Write,
            Kind::ReadVector,
            Kind::WriteVector,
            Kind::Sync,
            Kind::DataSync,
        ] {
            load.come(3);
            load.add(3, kind);
            assert!(load.of_descriptor(3) && load.is_coming(3));
            load.arrive(3);
            assert!(load.of_descriptor(3) && !load.is_coming(3));
            let slot = load.settle(9, kind);
            load.remove(3, slot, kind);
            let counters = load.descriptors.iter().chain(&load.files);
            let left = counters.chain([&load.reads.count, &load.others.count]);
            assert!(left.into_iter().all(|one| one.load(Ordering::SeqCst) == 0));
        }
    }
}
