//! aio_fsync: a sync waits for the writes of its file submitted before it.
//!
//! In: each write of the file by [`Barrier::write_begins`], each sync by
//! [`Barrier::enter`]. Out: by [`Barrier::write_ends`] and
//! [`Barrier::withdraw`]. What must hold: a write is counted once, at the
//! first waiting sync that is younger than it, or in `open` when there is
//! none; so the first sync whose count is 0, with none before it, may start.

use std::collections::{BTreeMap, BTreeSet};

struct Waiting {
    request: u32,
    /// Outstanding writes between the sync before and this one.
    writes: usize,
}

/// What a file knows of its outstanding writes and its waiting syncs.
pub(super) struct Barrier {
    /// Outstanding writes younger than every waiting sync.
    open: usize,
    /// By call number.
    waiting: BTreeMap<u64, Waiting>,
    /// The waiting syncs that carry no error yet. Each leaves once, so a
    /// thousand failed writes before a thousand syncs are no million steps.
    clean: BTreeSet<u64>,
}

impl Barrier {
    pub(super) fn new() -> Self {
        Barrier {
            open: 0,
            waiting: BTreeMap::new(),
            clean: BTreeSet::new(),
        }
    }

    pub(super) fn write_begins(&mut self) {
        self.open += 1;
    }

    /// The write `number` ended. `mark` is called for each sync that waited
    /// for it and now carries its error, if it failed.
    pub(super) fn write_ends(&mut self, number: u64, failed: bool, mut mark: impl FnMut(u32)) {
        if failed {
            while let Some(&sync) = self.clean.range(number..).next() {
                self.clean.remove(&sync);
                if let Some(waiting) = self.waiting.get(&sync) {
                    mark(waiting.request);
                }
            }
        }
        match self.waiting.range_mut(number..).next() {
            Some((_, waiting)) => waiting.writes -= 1,
            None => self.open -= 1,
        }
    }

    /// Takes a sync in; true if it may start at once.
    pub(super) fn enter(&mut self, number: u64, request: u32) -> bool {
        if self.open == 0 && self.waiting.is_empty() {
            return true;
        }
        let writes = std::mem::take(&mut self.open);
        self.waiting.insert(number, Waiting { request, writes });
        self.clean.insert(number);
        false
    }

    /// A sync that still waits was cancelled. What it counted the next counts,
    /// so nobody is released by it: the first that waits counts something.
    pub(super) fn withdraw(&mut self, number: u64) {
        self.clean.remove(&number);
        if let Some(Waiting { writes, .. }) = self.waiting.remove(&number) {
            match self.waiting.range_mut(number..).next() {
                Some((_, next)) => next.writes += writes,
                None => self.open += writes,
            }
        }
    }

    /// The next sync that nothing holds any more.
    pub(super) fn pop_released(&mut self) -> Option<u32> {
        let first = self.waiting.first_entry()?;
        if first.get().writes > 0 {
            return None;
        }
        let (number, Waiting { request, .. }) = first.remove_entry();
        self.clean.remove(&number);
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_waits_for_earlier_writes_only() {
        let mut barrier = Barrier::new();
        assert!(barrier.enter(0, 100), "nothing is outstanding");
        barrier.write_begins(); // 1
        assert!(!barrier.enter(2, 102));
        barrier.write_begins(); // 3
        assert!(!barrier.enter(4, 104));
        barrier.write_ends(3, false, |_| unreachable!());
        assert_eq!(barrier.pop_released(), None, "104 stays behind 1");
        barrier.write_ends(1, false, |_| unreachable!());
        assert_eq!(barrier.pop_released(), Some(102));
        assert_eq!(barrier.pop_released(), Some(104));
        assert_eq!(barrier.pop_released(), None);
    }

    #[test]
    fn a_cancelled_sync_hands_its_count_on() {
        let mut barrier = Barrier::new();
        barrier.write_begins(); // 1
        barrier.enter(2, 102);
        barrier.enter(3, 103);
        barrier.withdraw(2);
        assert_eq!(barrier.pop_released(), None);
        barrier.withdraw(3);
        assert_eq!(barrier.open, 1);
        barrier.enter(4, 104);
        barrier.write_ends(1, false, |_| ());
        assert_eq!(barrier.pop_released(), Some(104));
        assert!(barrier.waiting.is_empty() && barrier.clean.is_empty());
    }

    #[test]
    fn an_error_goes_to_those_that_waited_and_the_first_stays() {
        let mut barrier = Barrier::new();
        for _ in 0..3 {
            barrier.write_begins(); // 1 2 3
        }
        barrier.enter(4, 104);
        barrier.write_begins(); // 5
        barrier.enter(6, 106);
        let mut marked = Vec::new();
        barrier.write_ends(5, true, |sync| marked.push(sync));
        assert_eq!(marked, [106]);
        barrier.write_ends(1, true, |sync| marked.push(sync));
        assert_eq!(marked, [106, 104], "106 keeps the error it has");
        barrier.write_ends(2, true, |sync| marked.push(sync));
        assert_eq!(marked, [106, 104]);
        barrier.enter(7, 107);
        barrier.write_ends(3, true, |sync| marked.push(sync));
        assert_eq!(marked, [106, 104, 107]);
    }
}
