//! The live requests, and the lists threaded through them.
//!
//! In: a request at submission. Out: the same at its end. What must hold: a
//! request is on at most one list of each [`Chain`], and on none when it is
//! removed. Lists cost no memory of their own and a request leaves one in
//! constant time.

use super::slab::{NIL, Slab};
use super::submission::{Operation, State};

/// Bits of a call's number in [`Request::order`]; the priority stands above.
const NUMBER_BITS: u32 = 58;

/// Which lists a link belongs to.
#[derive(Clone, Copy)]
pub(super) enum Chain {
    /// The requests of one descriptor, in call order.
    Descriptor,
    /// What may start, of one priority; with the next one, in the heap.
    Ready,
    /// Unmapped reads of one file, or all that watch the same request: a
    /// request that watches is mapped, so it needs one of the two at a time,
    /// and none in the heap: there is only what was held, and watches nothing.
    Peer,
}

const CHAINS: usize = 3;

#[derive(Clone, Copy)]
pub(super) struct Links {
    pub(super) previous: u32,
    pub(super) next: u32,
}

/// The two ends of a list.
#[derive(Clone, Copy)]
pub(super) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl List {
    pub(super) const EMPTY: List = List {
        head: NIL,
        tail: NIL,
    };

    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }
}

/// What keeps the order of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// Nothing does.
    None,
    /// A read of a file without outstanding writes, merely listed there.
    Unmapped,
    /// The extents of the file.
    Mapped,
    /// The fsync barrier of the file.
    Barrier,
    /// A lane, by its number.
    Lane(u32),
}

pub(super) struct Request<T> {
    /// Priority and number of the call in one: less is served first.
    pub(super) order: u64,
    pub(super) operation: Operation,
    links: [Links; CHAINS],
    /// Those that look again once this one has ended.
    pub(super) watchers: List,
    /// The mapped request this one waits for, or `NIL`.
    pub(super) watched: u32,
    pub(super) file: u32,
    pub(super) group: u32,
    pub(super) keeper: Keeper,
    /// For a sync: the first error of a write it waited for, or 0.
    pub(super) error: i32,
    pub(super) state: State,
    /// It is ready, and in the heap and not in a list.
    pub(super) in_heap: bool,
    pub(super) payload: T,
}

impl<T> Request<T> {
    pub(super) fn new(order: u64, operation: Operation, payload: T) -> Self {
        Request {
            order,
            operation,
            links: [Links {
                previous: NIL,
                next: NIL,
            }; CHAINS],
            watchers: List::EMPTY,
            watched: NIL,
            file: NIL,
            group: NIL,
            keeper: Keeper::None,
            error: 0,
            state: State::Held,
            in_heap: false,
            payload,
        }
    }

    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.order & ((1 << NUMBER_BITS) - 1)
    }

    #[inline]
    pub(super) fn priority(&self) -> u8 {
        (self.order >> NUMBER_BITS) as u8
    }
}

/// The key by which requests are served: priority, then call order.
#[inline]
pub(super) fn order(priority: u8, number: u64) -> u64 {
    u64::from(priority) << NUMBER_BITS | number
}

/// All live requests.
pub(super) type Table<T> = Slab<Request<T>, 256>;

impl<T> Table<T> {
    #[inline]
    pub(super) fn links(&mut self, index: u32, chain: Chain) -> &mut Links {
        &mut self[index].links[chain as usize]
    }

    #[inline]
    pub(super) fn previous(&self, index: u32, chain: Chain) -> u32 {
        self[index].links[chain as usize].previous
    }

    pub(super) fn push_back(&mut self, list: &mut List, chain: Chain, index: u32) {
        *self.links(index, chain) = Links {
            previous: list.tail,
            next: NIL,
        };
        match list.tail {
            NIL => list.head = index,
            tail => self.links(tail, chain).next = index,
        }
        list.tail = index;
    }

    pub(super) fn push_front(&mut self, list: &mut List, chain: Chain, index: u32) {
        *self.links(index, chain) = Links {
            previous: NIL,
            next: list.head,
        };
        match list.head {
            NIL => list.tail = index,
            head => self.links(head, chain).previous = index,
        }
        list.head = index;
    }

    /// Takes `index` out of `list`, which it must be on.
    pub(super) fn unlink(&mut self, list: &mut List, chain: Chain, index: u32) {
        let Links { previous, next } = *self.links(index, chain);
        match previous {
            NIL => list.head = next,
            previous => self.links(previous, chain).next = next,
        }
        match next {
            NIL => list.tail = previous,
            next => self.links(next, chain).previous = previous,
        }
    }

    pub(super) fn pop_front(&mut self, list: &mut List, chain: Chain) -> Option<u32> {
        let head = list.head;
        if head == NIL {
            return None;
        }
        self.unlink(list, chain, head);
        Some(head)
    }
}
