//! First in, first out, in blocks.
//!
//! A `VecDeque` of the notices themselves would copy a million of them, under
//! the lock that the engine takes, each time it grows. Here growing costs one
//! block, giving back costs nothing, and running out of memory is an answer,
//! not an abort.

use std::collections::VecDeque;

use super::notice::Notice;
use crate::perturb;

/// Notices in one block: about 5 KiB.
const BLOCK: usize = perturb::bound(126, 2);

/// A notice that is kept, and since when (CLOCK_MONOTONIC, ns).
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub notice: Notice,
    pub since: u64,
}

const _: () = assert!(size_of::<Waiting>() <= 40);

/// Memory ran out; the entry was not taken.
#[derive(Debug)]
pub(super) struct NoMemory;

pub(super) struct Fifo {
    blocks: VecDeque<Vec<Waiting>>,
    /// Entries of the front block that are already gone.
    taken: usize,
    len: usize,
}

impl Fifo {
    pub const fn new() -> Self {
        Fifo {
            blocks: VecDeque::new(),
            taken: 0,
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push(&mut self, entry: Waiting) -> Result<(), NoMemory> {
        if self.blocks.back().is_none_or(|block| block.len() == BLOCK) {
            let mut block = Vec::new();
            block.try_reserve_exact(BLOCK).map_err(|_| NoMemory)?;
            self.blocks.try_reserve(1).map_err(|_| NoMemory)?;
            self.blocks.push_back(block);
        }
        if let Some(block) = self.blocks.back_mut() {
            block.push(entry);
        }
        self.len += 1;
        Ok(())
    }

    pub fn front(&self) -> Option<&Waiting> {
        self.blocks.front()?.get(self.taken)
    }

    pub fn back(&self) -> Option<&Waiting> {
        if self.len == 0 {
            None
        } else {
            self.blocks.back()?.last()
        }
    }

    /// Copies entries from the front until `room` is full; how many.
    pub fn peek(&self, room: &mut [Option<Waiting>]) -> usize {
        let Some(front) = self.blocks.front() else {
            return 0;
        };
        let behind = self.blocks.iter().skip(1).flatten();
        let all = front[self.taken..].iter().chain(behind);
        let mut copied = 0;
        for (slot, entry) in room.iter_mut().zip(all) {
            *slot = Some(*entry);
            copied += 1;
        }
        copied
    }

    /// Drops the entries from `keep` on that `gone` picks; it is shown each
    /// with the one that was kept before it.
    pub fn thin(&mut self, keep: usize, mut gone: impl FnMut(&mut Waiting, &Waiting) -> bool) {
        let mut kept = keep;
        for at in keep..self.len {
            let before = *self.at(kept - 1);
            let mut entry = *self.at(at);
            if !gone(&mut entry, &before) {
                *self.at(kept) = entry;
                kept += 1;
            }
        }
        let slots = self.taken + kept;
        let last = (slots - 1) / BLOCK;
        self.blocks.truncate(last + 1);
        self.blocks[last].truncate(slots - last * BLOCK);
        self.len = kept;
    }

    /// All blocks but the last are full, so any entry is found at once.
    fn at(&mut self, index: usize) -> &mut Waiting {
        let slot = self.taken + index;
        &mut self.blocks[slot / BLOCK][slot % BLOCK]
    }

    pub fn pop(&mut self) -> Option<Waiting> {
        let front = self.blocks.front_mut()?;
        let entry = *front.get(self.taken)?;
        self.taken += 1;
        self.len -= 1;
        if self.len == 0 {
            // The last block stays for the next entry: a queue that goes
            // back and forth between none and one allocates nothing.
            front.clear();
            self.taken = 0;
        } else if self.taken == BLOCK {
            self.blocks.pop_front();
            self.taken = 0;
        }
        Some(entry)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::notice::{Form, Origin};
    use super::*;

    fn entry(value: usize) -> Waiting {
        Waiting {
            notice: Notice {
                value,
                target: 0,
                attributes: std::ptr::null_mut(),
                signo: 40,
                form: Form::Signal,
                origin: Origin::Request,
                remembered: false,
            },
            since: 0,
        }
    }

    #[test]
    fn order_is_kept_over_many_blocks() {
        let mut fifo = Fifo::new();
        let (mut pushed, mut popped) = (0, 0);
        // Two in, one out, then all out: the front crosses block borders
        // while the back moves on.
        for round in 0..3 * BLOCK {
            for _ in 0..2 {
                fifo.push(entry(pushed)).unwrap();
                pushed += 1;
            }
            assert_eq!(fifo.pop().unwrap().notice.value, popped, "round {round}");
            popped += 1;
            assert_eq!(fifo.len(), pushed - popped);
            assert_eq!(fifo.front().unwrap().notice.value, popped);
            assert_eq!(fifo.back().unwrap().notice.value, pushed - 1);
        }
        while let Some(next) = fifo.pop() {
            assert_eq!(next.notice.value, popped);
            popped += 1;
        }
        assert_eq!(popped, pushed);
        assert!(fifo.is_empty() && fifo.front().is_none() && fifo.back().is_none());
    }

    #[test]
    fn peek_sees_what_pop_takes() {
        let mut fifo = Fifo::new();
        for value in 0..BLOCK + 10 {
            fifo.push(entry(value)).unwrap();
        }
        for _ in 0..BLOCK - 3 {
            fifo.pop();
        }
        let mut room = [None; 8];
        assert_eq!(fifo.peek(&mut room), 8);
        for slot in room {
            assert_eq!(slot.unwrap().notice.value, fifo.pop().unwrap().notice.value);
        }
        assert_eq!(fifo.peek(&mut [None; 64]), 5);
    }

    #[test]
    fn thinning_keeps_the_rest_in_order() {
        for len in [2, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let mut fifo = Fifo::new();
            for value in 0..len + 40 {
                fifo.push(entry(value)).unwrap();
            }
            for _ in 0..40 {
                fifo.pop();
            }
            // From the second on, all that are multiples of three go.
            let mut expected = vec![40];
            expected.extend((41..len + 40).filter(|value| value % 3 != 0));
            let mut before = 40;
            fifo.thin(1, |entry, kept| {
                assert_eq!(kept.notice.value, before);
                let gone = entry.notice.value.is_multiple_of(3);
                if !gone {
                    before = entry.notice.value;
                }
                gone
            });
            assert_eq!(fifo.len(), expected.len());
            fifo.push(entry(9999)).unwrap();
            expected.push(9999);
            for value in expected {
                assert_eq!(fifo.pop().unwrap().notice.value, value);
            }
            assert!(fifo.is_empty());
        }
    }

    #[test]
    fn an_emptied_queue_keeps_one_block() {
        let mut fifo = Fifo::new();
        for _ in 0..10 * BLOCK {
            fifo.push(entry(1)).unwrap();
            fifo.pop().unwrap();
        }
        assert_eq!(fifo.blocks.len(), 1);
    }
}
