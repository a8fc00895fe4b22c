//! Overlap in one file: call order where byte ranges overlap and one writes.
//!
//! In: a read or write of a file that seeks, by [`Extents::enter`]. Out: by
//! [`Extents::leave`], finished or cancelled alike. What must hold meanwhile:
//! a request that may not start *watches* one live, older request it conflicts
//! with; one that watches nothing conflicts with nothing older.
//!
//! A conflict is asked of the ranges that are live now, never remembered. So
//! there are no edges to keep, a wide write over 100 000 reads costs as much
//! memory as any other, and a cancelled request simply leaves: who watched it
//! asks again and finds what is still older. The watched one is the newest
//! conflict, as a rule the last to end, so asking again is rare.
//!
//! Ranges are kept apart by direction, and by length in coarse steps: where a
//! range starts then tells nearly whether it overlaps, and a few enormous ones
//! do not make every search look at all the small ones before them. A search
//! is logarithmic in what a class holds, plus what it must look at beside its
//! own range: disjoint ranges of one class are at most 256 there.
//!
//! While no write of a file is outstanding its reads are only listed. The next
//! write maps them, each at most once in its life.

use super::slab::NIL;
use super::table::{Chain, Keeper, List, Table};
use super::tree::{Forest, Found, Search, Tree};

/// What a file knows of its outstanding ranges.
pub(super) struct Overlap {
    unmapped: List,
    /// Each tree that is not empty, with its class.
    trees: Vec<(u8, Tree)>,
    writes: usize,
}

impl Overlap {
    pub(super) fn new() -> Self {
        Overlap {
            unmapped: List::EMPTY,
            trees: Vec::new(),
            writes: 0,
        }
    }
}

/// Reads have even classes, writes odd ones.
fn class(start: u64, end: u64, writes: bool) -> u8 {
    let bits = u64::BITS - (end - start).leading_zeros();
    (bits.div_ceil(8) as u8) << 1 | u8::from(writes)
}

fn is_writes(class: u8) -> bool {
    class & 1 == 1
}

pub(super) struct Extents {
    forest: Forest,
}

impl Extents {
    pub(super) fn new() -> Self {
        Extents {
            forest: Forest::new(),
        }
    }

    /// Room in what holds all ranges. False: no memory.
    pub(super) fn make_room(&mut self) -> bool {
        self.forest.make_room()
    }

    /// Maps all reads of a file, as the next write would. False: there is no
    /// memory, or `may` forbids to take more; the others stay as they are.
    pub(super) fn map_reads<T>(
        &mut self,
        table: &mut Table<T>,
        file: &mut Overlap,
        may: impl Fn() -> bool,
    ) -> bool {
        while !file.unmapped.is_empty() {
            if !(self.forest.has_storage() || may() && self.forest.make_storage()) {
                return false;
            }
            if let Some(read) = table.pop_front(&mut file.unmapped, Chain::Peer) {
                self.map(table, file, read);
            }
        }
        true
    }

    /// Takes a request in; true if it may start at once.
    pub(super) fn enter<T>(
        &mut self,
        table: &mut Table<T>,
        file: &mut Overlap,
        index: u32,
    ) -> bool {
        let Some((_, _, writes)) = table[index].operation.extent() else {
            return true;
        };
        if !writes && file.writes == 0 {
            table[index].keeper = Keeper::Unmapped;
            table.push_back(&mut file.unmapped, Chain::Peer, index);
            return true;
        }
        if writes {
            while let Some(read) = table.pop_front(&mut file.unmapped, Chain::Peer) {
                self.map(table, file, read);
            }
            file.writes += 1;
        }
        // Asked before it is mapped: then all in the trees are older.
        let free = self.ask(table, file, index);
        self.map(table, file, index);
        free
    }

    /// Whether nothing older conflicts. If something does, `index` watches it.
    pub(super) fn ask<T>(&self, table: &mut Table<T>, file: &Overlap, index: u32) -> bool {
        let request = &table[index];
        let Some((start, end, writes)) = request.operation.extent() else {
            return true;
        };
        let search = Search {
            start,
            end,
            before: request.number(),
        };
        let mut found = Found::nothing();
        for &(class, tree) in &file.trees {
            if writes || is_writes(class) {
                self.forest.newest(tree, &search, &mut found);
            }
        }
        let Some(conflict) = found.request() else {
            table[index].watched = NIL;
            return true;
        };
        table[index].watched = conflict;
        let mut watchers = table[conflict].watchers;
        table.push_back(&mut watchers, Chain::Peer, index);
        table[conflict].watchers = watchers;
        false
    }

    /// Lets a request go. Those that watched it must [`Extents::ask`] again.
    pub(super) fn leave<T>(
        &mut self,
        table: &mut Table<T>,
        file: &mut Overlap,
        index: u32,
    ) -> List {
        match table[index].keeper {
            Keeper::Unmapped => table.unlink(&mut file.unmapped, Chain::Peer, index),
            Keeper::Mapped => self.unmap(table, file, index),
            _ => {}
        }
        std::mem::replace(&mut table[index].watchers, List::EMPTY)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.forest.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.forest.bytes()
    }

    fn map<T>(&mut self, table: &mut Table<T>, file: &mut Overlap, index: u32) {
        let request = &mut table[index];
        let Some((start, end, writes)) = request.operation.extent() else {
            return;
        };
        let class = class(start, end, writes);
        let known = file.trees.iter().position(|&(each, _)| each == class);
        let place = known.unwrap_or_else(|| {
            file.trees.push((class, Tree::EMPTY));
            file.trees.len() - 1
        });
        let tree = &mut file.trees[place].1;
        self.forest
            .insert(tree, (start, end), request.number(), index);
        request.keeper = Keeper::Mapped;
    }

    fn unmap<T>(&mut self, table: &mut Table<T>, file: &mut Overlap, index: u32) {
        let watched = table[index].watched;
        if watched != NIL {
            let mut watchers = table[watched].watchers;
            table.unlink(&mut watchers, Chain::Peer, index);
            table[watched].watchers = watchers;
        }
        let Some((start, end, writes)) = table[index].operation.extent() else {
            return;
        };
        file.writes -= usize::from(writes);
        let class = class(start, end, writes);
        if let Some(place) = file.trees.iter().position(|&(each, _)| each == class) {
            let tree = &mut file.trees[place].1;
            self.forest
                .remove(tree, (start, end), table[index].number());
            if tree.is_empty() {
                file.trees.swap_remove(place);
            }
        }
    }
}
