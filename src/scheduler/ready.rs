//! What may start, best first.
//!
//! In: a request when nothing it must wait for is left. Out: by
//! [`ReadyQueue::pop`] to be started, by [`ReadyQueue::remove`] when it is
//! cancelled or must wait again. What must hold: `pop` gives the lowest order
//! of all that are in, and every list is sorted.
//!
//! New requests arrive in call order, so a list for each priority keeps them
//! sorted at no cost. Only what was held, and is older than a list's last and
//! younger than its first, goes to a heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::table::{Chain, List, Table};

/// `aio_reqprio` goes from 0 to 20.
pub(super) const PRIORITIES: usize = 21;

pub(super) struct ReadyQueue {
    lists: [List; PRIORITIES],
    /// A bit for each list that is not empty.
    occupied: u32,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// Entries of the heap whose request was removed.
    stale: usize,
    len: usize,
}

impl ReadyQueue {
    pub(super) fn new() -> Self {
        ReadyQueue {
            lists: [List::EMPTY; PRIORITIES],
            occupied: 0,
            heap: BinaryHeap::new(),
            stale: 0,
            len: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<(u64, u32)>()
    }

    pub(super) fn push<T>(&mut self, table: &mut Table<T>, index: u32) {
        self.len += 1;
        let order = table[index].order;
        let priority = table[index].priority() as usize;
        let list = &mut self.lists[priority];
        if list.is_empty() || table[list.tail].order < order {
            table.push_back(list, Chain::Ready, index);
        } else if order < table[list.head].order {
            table.push_front(list, Chain::Ready, index);
        } else {
            self.heap.push(Reverse((order, index)));
            table[index].in_heap = true;
            return;
        }
        self.occupied |= 1 << priority;
    }

    pub(super) fn pop<T>(&mut self, table: &mut Table<T>) -> Option<u32> {
        self.drop_stale(table);
        let priority = self.occupied.trailing_zeros() as usize;
        let listed = (priority < PRIORITIES).then(|| self.lists[priority].head);
        let index = match (listed, self.heap.peek()) {
            (None, None) => return None,
            (Some(head), None) => head,
            (Some(head), Some(&Reverse((order, _)))) if table[head].order < order => head,
            (_, Some(&Reverse((_, index)))) => {
                self.heap.pop();
                self.shrink();
                table[index].in_heap = false;
                self.len -= 1;
                return Some(index);
            }
        };
        self.take_from_list(table, priority, index);
        self.len -= 1;
        Some(index)
    }

    pub(super) fn remove<T>(&mut self, table: &mut Table<T>, index: u32) {
        self.len -= 1;
        if !table[index].in_heap {
            let priority = table[index].priority() as usize;
            self.take_from_list(table, priority, index);
            return;
        }
        table[index].in_heap = false;
        self.stale += 1;
        if self.stale > 64 && self.stale > self.heap.len() / 2 {
            // Each entry dropped here was pushed once: amortised constant.
            self.heap.retain(|&Reverse(entry)| is_current(table, entry));
            self.stale = 0;
            self.shrink();
        }
    }

    fn take_from_list<T>(&mut self, table: &mut Table<T>, priority: usize, index: u32) {
        let list = &mut self.lists[priority];
        table.unlink(list, Chain::Ready, index);
        if list.is_empty() {
            self.occupied &= !(1 << priority);
        }
    }

    fn drop_stale<T>(&mut self, table: &Table<T>) {
        while self.stale > 0 {
            match self.heap.peek() {
                Some(&Reverse(entry)) if !is_current(table, entry) => {
                    self.heap.pop();
                    self.stale -= 1;
                }
                _ => return,
            }
        }
    }

    fn shrink(&mut self) {
        if self.heap.capacity() > 1024 && self.heap.len() < self.heap.capacity() / 8 {
            self.heap.shrink_to(self.heap.len() * 2);
        }
    }
}

/// Whether the request is still in the heap: the slot may be another's by
/// now, but an order is given only once.
fn is_current<T>(table: &Table<T>, (order, index): (u64, u32)) -> bool {
    table
        .get(index)
        .is_some_and(|request| request.in_heap && request.order == order)
}

#[cfg(test)]
mod tests {
    use super::super::submission::Operation;
    use super::super::table::{Request, order};
    use super::*;

    fn table(orders: &[u64]) -> (Table<()>, Vec<u32>) {
        let mut table = Table::new();
        let indexes = orders
            .iter()
            .map(|&o| table.insert(Request::new(o, Operation::Free, ())))
            .collect();
        (table, indexes)
    }

    fn drain(queue: &mut ReadyQueue, table: &mut Table<()>) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop(table).map(|index| table[index].order)).collect()
    }

    #[test]
    fn best_first_whatever_the_order_of_arrival() {
        let mut orders: Vec<u64> = (0..200)
            .map(|n| order((n * 7 % 21) as u8, n * 37 % 211))
            .collect();
        let (mut table, indexes) = table(&orders);
        let mut queue = ReadyQueue::new();
        for &index in &indexes {
            queue.push(&mut table, index);
        }
        assert!(!queue.heap.is_empty(), "the heap must have been needed");
        assert_eq!(queue.len(), 200);
        orders.sort_unstable();
        assert_eq!(drain(&mut queue, &mut table), orders);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn removed_ones_never_come_out() {
        let orders: Vec<u64> = (0..1000).map(|n| order(0, n * 611 % 1009)).collect();
        let (mut table, indexes) = table(&orders);
        let mut queue = ReadyQueue::new();
        for &index in &indexes {
            queue.push(&mut table, index);
        }
        let mut kept = Vec::new();
        for (n, &index) in indexes.iter().enumerate() {
            if n % 10 == 0 {
                kept.push(orders[n]);
            } else {
                queue.remove(&mut table, index);
                table.remove(index);
            }
        }
        assert!(
            queue.heap.len() <= 2 * 100 + 64,
            "stale entries were dropped"
        );
        // Their slots are taken by others, some of them in the heap again.
        for n in 0..900 {
            let order = order(0, 2000 + n * 611 % 907);
            let index = table.insert(Request::new(order, Operation::Free, ()));
            if n % 3 == 0 {
                queue.push(&mut table, index);
                kept.push(order);
            }
        }
        assert_eq!(queue.len(), kept.len());
        kept.sort_unstable();
        assert_eq!(drain(&mut queue, &mut table), kept);
    }

    #[test]
    fn the_heap_gives_its_memory_back() {
        let orders: Vec<u64> = (0..50_000).map(|n| order(0, n * 7919 % 65_537)).collect();
        let (mut table, indexes) = table(&orders);
        let mut queue = ReadyQueue::new();
        for &index in &indexes {
            queue.push(&mut table, index);
        }
        drain(&mut queue, &mut table);
        assert!(queue.heap.capacity() <= 1024);
    }
}
