//! A heap threaded through the requests: a pairing heap.
//!
//! In: [`Heap::push`]. Out: [`Heap::pop`], [`Heap::remove`]. What must hold:
//! no request comes before the one it hangs below; a request that is in has
//! both links to itself, [`Chain::Ready`] and [`Chain::Peer`]. It takes no
//! memory: any number of requests may become ready while none can be had.
//!
//! The children of a request are a list. The first knows its parent as the one
//! before it, the others the sibling. Each call is logarithmic, amortised.

use super::slab::NIL;
use super::table::{Chain, Table};

pub(super) struct Heap {
    /// The best, or `NIL`.
    root: u32,
}

impl Heap {
    pub(super) fn new() -> Self {
        Heap { root: NIL }
    }

    /// The best of all that are in.
    pub(super) fn peek(&self) -> Option<u32> {
        (self.root != NIL).then_some(self.root)
    }

    pub(super) fn push<T>(&mut self, table: &mut Table<T>, index: u32) {
        *child(table, index) = NIL;
        self.root = meld(table, self.root, index);
    }

    /// Takes the best out.
    pub(super) fn pop<T>(&mut self, table: &mut Table<T>) -> Option<u32> {
        let index = self.peek()?;
        let below = *child(table, index);
        self.root = join(table, below);
        Some(index)
    }

    /// Takes `index` out, which must be in.
    pub(super) fn remove<T>(&mut self, table: &mut Table<T>, index: u32) {
        if index == self.root {
            self.pop(table);
            return;
        }
        let (before, after) = (*before(table, index), *after(table, index));
        if *child(table, before) == index {
            *child(table, before) = after;
        } else {
            *self::after(table, before) = after;
        }
        if after != NIL {
            *self::before(table, after) = before;
        }
        let below = *child(table, index);
        let below = join(table, below);
        self.root = meld(table, self.root, below);
    }
}

/// The first child, or `NIL`.
fn child<T>(table: &mut Table<T>, index: u32) -> &mut u32 {
    &mut table.links(index, Chain::Peer).next
}

/// The next sibling, or `NIL`.
fn after<T>(table: &mut Table<T>, index: u32) -> &mut u32 {
    &mut table.links(index, Chain::Ready).next
}

/// The sibling before, or the parent.
fn before<T>(table: &mut Table<T>, index: u32) -> &mut u32 {
    &mut table.links(index, Chain::Ready).previous
}

/// One heap of two, each of which may be `NIL`: the worse root becomes the
/// first child of the other.
fn meld<T>(table: &mut Table<T>, one: u32, other: u32) -> u32 {
    if one == NIL || other == NIL {
        return if one == NIL { other } else { one };
    }
    let (best, worse) = if table[one].order < table[other].order {
        (one, other)
    } else {
        (other, one)
    };
    let first = std::mem::replace(child(table, best), worse);
    if first != NIL {
        *before(table, first) = worse;
    }
    *after(table, worse) = first;
    *before(table, worse) = best;
    best
}

/// One heap of a list of siblings: in pairs first, then all of those, the last
/// first; that is what makes it logarithmic.
fn join<T>(table: &mut Table<T>, first: u32) -> u32 {
    let (mut at, mut pairs) = (first, NIL);
    while at != NIL {
        let second = *after(table, at);
        let rest = match second {
            NIL => NIL,
            second => *after(table, second),
        };
        let pair = meld(table, at, second);
        *after(table, pair) = pairs;
        (at, pairs) = (rest, pair);
    }
    let mut root = NIL;
    while pairs != NIL {
        let rest = *after(table, pairs);
        root = meld(table, root, pairs);
        pairs = rest;
    }
    root
}
