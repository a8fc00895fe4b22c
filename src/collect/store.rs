//! Results kept until somebody takes them: in order of completion, and to be
//! found by the address of their control block.
//!
//! Who comes in: the [`Collector`](super::Collector), which holds the lock.
//! What must hold: no operation depends on how many results are kept (growing
//! is paid for by what it makes room for); a control block is only an address
//! here, never touched; memory comes from the kernel directly, because a
//! signal handler may be who asks; all zero is the empty store.

use crate::perturb;
use crate::request::Outcome;
use crate::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::sys;

/// Nodes of the first chunk; each further one has twice as many.
const FIRST: u32 = perturb::bound(256, 2) as u32;
const CHUNKS: usize = 22;

/// No node; a node is its number plus one.
const NONE: u32 = 0;

/// A result that is kept, or a place for one.
struct Node {
    address: u64,
    outcome: Outcome,
    /// Neighbours in order of completion; `newer` also links free nodes.
    older: u32,
    newer: u32,
    /// Next in the same bucket.
    chain: u32,
}

/// Buckets of node numbers by address. A table that has become too small
/// stays mapped: somebody may be looking at it.
#[repr(C)]
struct Table {
    mask: u32,
    /// The first of `mask + 1` buckets.
    first: AtomicU32,
}

impl Table {
    fn bucket(&self, address: u64) -> &AtomicU32 {
        let hash = (address >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        // SAFETY: the mapping holds `mask + 1` buckets from `first` on.
        unsafe { &*(&raw const self.first).add((hash as u32 & self.mask) as usize) }
    }
}

/// A result taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    pub address: u64,
    pub outcome: Outcome,
}

/// The part of the store that is read without the lock.
pub struct Index {
    table: AtomicPtr<Table>,
}

impl Index {
    /// Is there certainly no result of this control block? To be asked by
    /// who knows of its completion, if there was one.
    pub fn lacks(&self, address: u64) -> bool {
        // Acquire: the table was filled before it was published.
        // SAFETY: null, or a table, which stays mapped.
        match unsafe { self.table.load(Ordering::Acquire).as_ref() } {
            Some(table) => table.bucket(address).load(Ordering::Relaxed) == NONE,
            None => true,
        }
    }
}

/// The store.
pub struct Store {
    chunks: [*mut Node; CHUNKS],
    capacity: u32,
    /// Nodes used at least once.
    touched: u32,
    free: u32,
    oldest: u32,
    newest: u32,
    kept: u32,
}

// SAFETY: the chunks are the store's own mappings.
unsafe impl Send for Store {}

impl Store {
    /// Results kept.
    pub fn len(&self) -> u32 {
        self.kept
    }

    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    fn node(&mut self, number: u32) -> &mut Node {
        let index = number - 1;
        let chunk = ((index / FIRST + 1).ilog2()) as usize;
        let begin = FIRST * ((1 << chunk) - 1);
        // SAFETY: the number of a node, so its chunk is mapped and this long;
        // the store is borrowed for as long as the node.
        unsafe { &mut *self.chunks[chunk].add((index - begin) as usize) }
    }

    /// Doubles the room. False: no memory.
    pub fn grow(&mut self, index: &Index) -> bool {
        let Some(chunk) = self.chunks.iter().position(|chunk| chunk.is_null()) else {
            return false;
        };
        let added = FIRST << chunk;
        let Some(nodes) = sys::map(added as usize * size_of::<Node>(), libc::MAP_PRIVATE) else {
            return false;
        };
        let capacity = self.capacity + added;
        let buckets = capacity.next_power_of_two();
        let Some(table) = sys::map(size_of::<u32>() * (buckets as usize + 1), libc::MAP_PRIVATE)
        else {
            // SAFETY: just mapped, seen by nobody.
            unsafe { libc::munmap(nodes.cast(), added as usize * size_of::<Node>()) };
            return false;
        };
        self.chunks[chunk] = nodes.cast();
        self.capacity = capacity;
        let table = table.cast::<Table>();
        // SAFETY: just mapped, large enough, aligned to a page.
        let fresh = unsafe {
            (&raw mut (*table).mask).write(buckets - 1);
            &*table
        };
        let mut at = self.oldest;
        while at != NONE {
            let node = self.node(at);
            let bucket = fresh.bucket(node.address);
            node.chain = bucket.load(Ordering::Relaxed);
            let newer = node.newer;
            bucket.store(at, Ordering::Relaxed);
            at = newer;
        }
        index.table.store(table, Ordering::Release);
        true
    }

    /// Keeps a result, as the newest; there must be room, and none of this
    /// control block yet.
    pub fn add(&mut self, index: &Index, address: u64, outcome: Outcome) {
        let number = if self.free != NONE {
            let number = self.free;
            self.free = self.node(number).newer;
            number
        } else {
            self.touched += 1;
            self.touched
        };
        let Some(table) = table(index) else {
            return;
        };
        let bucket = table.bucket(address);
        let older = self.newest;
        let chain = bucket.load(Ordering::Relaxed);
        *self.node(number) = Node {
            address,
            outcome,
            older,
            newer: NONE,
            chain,
        };
        bucket.store(number, Ordering::Relaxed);
        match older {
            NONE => self.oldest = number,
            older => self.node(older).newer = number,
        }
        self.newest = number;
        self.kept += 1;
    }

    /// Takes the oldest result.
    pub fn take_oldest(&mut self, index: &Index) -> Option<Kept> {
        if self.oldest == NONE {
            return None;
        }
        let address = self.node(self.oldest).address;
        self.take(index, address)
    }

    /// Takes the result of a control block.
    pub fn take(&mut self, index: &Index, address: u64) -> Option<Kept> {
        let bucket = table(index)?.bucket(address);
        let mut before = NONE;
        let mut at = bucket.load(Ordering::Relaxed);
        while at != NONE && self.node(at).address != address {
            before = at;
            at = self.node(at).chain;
        }
        if at == NONE {
            return None;
        }
        let free = self.free;
        let node = self.node(at);
        let (older, newer, chain) = (node.older, node.newer, node.chain);
        let kept = Kept {
            address,
            outcome: node.outcome,
        };
        node.newer = free;
        self.free = at;
        match before {
            NONE => bucket.store(chain, Ordering::Relaxed),
            before => self.node(before).chain = chain,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.node(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.node(newer).older = older,
        }
        self.kept -= 1;
        Some(kept)
    }
}

fn table(index: &Index) -> Option<&'static Table> {
    // SAFETY: null, or a table, which stays mapped.
    unsafe { index.table.load(Ordering::Relaxed).as_ref() }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn empty() -> (Store, Index) {
        // SAFETY: all zero is the empty store, and its index.
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) }
    }

    #[test]
    fn order_is_that_of_completion() {
        let (mut store, index) = empty();
        assert_eq!(store.take_oldest(&index), None);
        assert!(index.lacks(8));
        for number in 1..=5000u64 {
            if store.len() == store.capacity() {
                assert!(store.grow(&index));
            }
            store.add(&index, number * 8, Ok(number as usize));
            assert!(!index.lacks(number * 8));
        }
        for number in 1..=5000u64 {
            let kept = store.take_oldest(&index).unwrap();
            assert_eq!(kept.address, number * 8);
            assert_eq!(kept.outcome, Ok(number as usize));
        }
        assert_eq!(store.take_oldest(&index), None);
        assert_eq!(store.len(), 0);
    }

    proptest::proptest! {
        /// Against a list that is searched.
        #[test]
        fn as_a_plain_list(steps in proptest::collection::vec((0..3u8, 1..600u64), 1..3000)) {
            let (mut store, index) = empty();
            let mut model: VecDeque<Kept> = VecDeque::new();
            for (count, (what, block)) in steps.into_iter().enumerate() {
                let address = block * 8;
                let found = model.iter().position(|kept| kept.address == address);
                match what {
                    0 => {
                        let expected = model.pop_front();
                        assert_eq!(store.take_oldest(&index), expected);
                    }
                    1 => {
                        let expected = found.and_then(|at| model.remove(at));
                        assert_eq!(store.take(&index, address), expected);
                    }
                    _ if found.is_some() => assert!(!index.lacks(address)),
                    _ => {
                        if store.len() == store.capacity() {
                            assert!(store.grow(&index));
                        }
                        let outcome = if count % 3 == 0 { Err(5) } else { Ok(count) };
                        store.add(&index, address, outcome);
                        model.push_back(Kept { address, outcome });
                    }
                }
                assert_eq!(store.len() as usize, model.len());
            }
        }
    }
}
