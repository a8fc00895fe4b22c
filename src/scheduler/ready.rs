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

use super::heap::Heap;
use super::table::{Chain, Keeper, List, Table};

/// `aio_reqprio` goes from 0 to 20.
pub(super) const PRIORITIES: usize = 21;

pub(super) struct ReadyQueue {
    lists: [List; PRIORITIES],
    /// A bit for each list that is not empty.
    occupied: u32,
    heap: Heap,
    len: usize,
}

impl ReadyQueue {
    pub(super) fn new() -> Self {
        ReadyQueue {
            lists: [List::EMPTY; PRIORITIES],
            occupied: 0,
            heap: Heap::new(),
            len: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
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
            debug_assert!(table[index].keeper != Keeper::Unmapped);
            self.heap.push(table, index);
            table[index].in_heap = true;
            return;
        }
        self.occupied |= 1 << priority;
    }

    pub(super) fn pop<T>(&mut self, table: &mut Table<T>) -> Option<u32> {
        let priority = self.occupied.trailing_zeros() as usize;
        let listed = (priority < PRIORITIES).then(|| self.lists[priority].head);
        let index = match (listed, self.heap.peek()) {
            (None, None) => return None,
            (Some(head), None) => head,
            (Some(head), Some(other)) if table[head].order < table[other].order => head,
            (_, Some(index)) => {
                self.heap.pop(table);
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
        self.heap.remove(table, index);
    }

    fn take_from_list<T>(&mut self, table: &mut Table<T>, priority: usize, index: u32) {
        let list = &mut self.lists[priority];
        table.unlink(list, Chain::Ready, index);
        if list.is_empty() {
            self.occupied &= !(1 << priority);
        }
    }
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
        assert!(
            queue.heap.peek().is_some(),
            "the heap must have been needed"
        );
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
}
