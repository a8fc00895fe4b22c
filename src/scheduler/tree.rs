//! Byte ranges of one kind, sorted by where they start: a B-tree.
//!
//! In: [`Forest::insert`]. Out: [`Forest::remove`]. What must hold: an entry
//! of an inner node knows the lowest key, the furthest end and the lowest and
//! highest call number of all below it, so that a search passes over whole
//! subtrees that cannot conflict.
//!
//! The standard library's B-tree has no place for such a summary. A binary
//! tree has, and was tried: at 100 000 ranges it spends its time waiting for
//! memory, at one node after the other, and takes three times as long.
//!
//! The trees of all files share one store of nodes.

use super::slab::{NIL, Slab};

/// Entries of a node.
const WIDTH: usize = 16;

/// Nodes a search looks at once it has found something. It stops with the
/// best so far then: any conflict is right, the newest one merely the least
/// work later.
const PATIENCE: u32 = 24;

/// A range of a leaf, or a child of an inner node with what is below it.
#[derive(Clone, Copy)]
struct Entry {
    /// The (lowest) key: start, and call number as starts may be equal.
    key: (u64, u64),
    /// The (furthest) end.
    end: u64,
    lowest: u64,
    highest: u64,
    /// The request, or the child.
    below: u32,
}

impl Entry {
    const NONE: Entry = Entry {
        key: (0, 0),
        end: 0,
        lowest: 0,
        highest: 0,
        below: NIL,
    };
}

/// Some entries in the order of their keys.
struct Node {
    entries: [Entry; WIDTH],
    len: usize,
}

impl Node {
    fn of(entries: &[Entry]) -> Self {
        let mut node = Node {
            entries: [Entry::NONE; WIDTH],
            len: entries.len(),
        };
        node.entries[..entries.len()].copy_from_slice(entries);
        node
    }

    #[inline]
    fn all(&self) -> &[Entry] {
        &self.entries[..self.len]
    }

    fn put(&mut self, at: usize, entry: Entry) {
        self.entries.copy_within(at..self.len, at + 1);
        self.entries[at] = entry;
        self.len += 1;
    }

    fn take(&mut self, at: usize) {
        self.entries.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    /// How many entries have a lower key.
    #[inline]
    fn rank(&self, key: (u64, u64)) -> usize {
        self.all().partition_point(|entry| entry.key < key)
    }

    /// The child whose keys are around `key`.
    #[inline]
    fn child(&self, key: (u64, u64)) -> usize {
        self.all()
            .partition_point(|entry| entry.key <= key)
            .saturating_sub(1)
    }

    /// What the parent says of this node, found at `below`.
    fn summary(&self, below: u32) -> Entry {
        let mut sum = Entry {
            below,
            ..self.entries[0]
        };
        for entry in self.all() {
            sum.end = sum.end.max(entry.end);
            sum.lowest = sum.lowest.min(entry.lowest);
            sum.highest = sum.highest.max(entry.highest);
        }
        sum
    }
}

/// A tree; it is nothing without its [`Forest`].
#[derive(Clone, Copy)]
pub(super) struct Tree {
    root: u32,
    /// Levels of inner nodes above the leaves.
    height: u32,
}

impl Tree {
    pub(super) const EMPTY: Tree = Tree {
        root: NIL,
        height: 0,
    };

    pub(super) fn is_empty(&self) -> bool {
        self.root == NIL
    }
}

/// What a search is for: ranges that overlap `[start, end)` and whose call
/// number is below `before`.
#[derive(Clone, Copy)]
pub(super) struct Search {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) before: u64,
}

/// The best a search has found, over as many trees as it is given to.
pub(super) struct Found {
    best: Option<(u64, u32)>,
    looked: u32,
}

impl Found {
    pub(super) fn nothing() -> Self {
        Found {
            best: None,
            looked: 0,
        }
    }

    pub(super) fn request(&self) -> Option<u32> {
        self.best.map(|(_, request)| request)
    }

    fn improves(&self, number: u64) -> bool {
        self.best.is_none_or(|(best, _)| number > best)
    }
}

pub(super) struct Forest {
    nodes: Slab<Node, 32>,
}

impl Forest {
    pub(super) fn new() -> Self {
        Forest { nodes: Slab::new() }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes()
    }

    /// Room in what holds all nodes. False: no memory.
    pub(super) fn make_room(&mut self) -> bool {
        self.nodes.make_room()
    }

    /// Whether one range more needs no memory.
    pub(super) fn has_storage(&self) -> bool {
        // A tree that splits from its leaf to its root has this height with
        // more ranges than there are indexes.
        self.nodes.has_storage_for(16)
    }

    /// Storage for the nodes of one range more. False: no memory.
    pub(super) fn make_storage(&mut self) -> bool {
        self.nodes.make_storage()
    }

    /// Adds the range `[start, end)` of `request`, the call `number`.
    pub(super) fn insert(
        &mut self,
        tree: &mut Tree,
        (start, end): (u64, u64),
        number: u64,
        request: u32,
    ) {
        if tree.is_empty() {
            *tree = Tree {
                root: self.nodes.insert(Node::of(&[])),
                height: 0,
            };
        }
        let entry = Entry {
            key: (start, number),
            end,
            lowest: number,
            highest: number,
            below: request,
        };
        if let Some(right) = self.insert_below(tree.root, tree.height, entry) {
            let halves = [tree.root, right].map(|half| self.nodes[half].summary(half));
            *tree = Tree {
                root: self.nodes.insert(Node::of(&halves)),
                height: tree.height + 1,
            };
        }
    }

    /// Gives the new right neighbour of `index` if it had to be split.
    fn insert_below(&mut self, index: u32, height: u32, entry: Entry) -> Option<u32> {
        if height == 0 {
            let at = self.nodes[index].rank(entry.key);
            return self.put(index, at, entry);
        }
        let node = &mut self.nodes[index];
        let at = node.child(entry.key);
        let of_child = &mut node.entries[at];
        of_child.key = of_child.key.min(entry.key);
        of_child.end = of_child.end.max(entry.end);
        of_child.lowest = of_child.lowest.min(entry.lowest);
        of_child.highest = of_child.highest.max(entry.highest);
        let child = of_child.below;
        let right = self.insert_below(child, height - 1, entry)?;
        self.nodes[index].entries[at] = self.nodes[child].summary(child);
        let summary = self.nodes[right].summary(right);
        self.put(index, at + 1, summary)
    }

    /// Puts an entry into a node, which may be full: then it is split.
    fn put(&mut self, index: u32, at: usize, entry: Entry) -> Option<u32> {
        let node = &mut self.nodes[index];
        if node.len < WIDTH {
            node.put(at, entry);
            return None;
        }
        // What comes in ascending order leaves full nodes behind.
        let keep = if at == WIDTH { WIDTH } else { WIDTH / 2 };
        let mut right = Node::of(&node.entries[keep..]);
        node.len = keep;
        if at >= keep && keep == WIDTH || at > keep {
            right.put(at - keep, entry);
        } else {
            node.put(at, entry);
        }
        Some(self.nodes.insert(right))
    }

    /// Takes a range out that was inserted with these.
    pub(super) fn remove(&mut self, tree: &mut Tree, (start, end): (u64, u64), number: u64) {
        if tree.is_empty() {
            return;
        }
        let gone = Entry {
            key: (start, number),
            end,
            ..Entry::NONE
        };
        self.remove_below(tree.root, tree.height, &gone);
        while tree.height > 0 && self.nodes[tree.root].len == 1 {
            let only = self.nodes[tree.root].entries[0].below;
            self.nodes.remove(tree.root);
            *tree = Tree {
                root: only,
                height: tree.height - 1,
            };
        }
        if self.nodes[tree.root].len == 0 {
            self.nodes.remove(tree.root);
            *tree = Tree::EMPTY;
        }
    }

    fn remove_below(&mut self, index: u32, height: u32, gone: &Entry) {
        if height == 0 {
            let node = &mut self.nodes[index];
            let at = node.rank(gone.key);
            let there = at < node.len && node.entries[at].key == gone.key;
            debug_assert!(there, "the range is in the tree");
            if there {
                node.take(at);
            }
            return;
        }
        let at = self.nodes[index].child(gone.key);
        let of_child = self.nodes[index].entries[at];
        self.remove_below(of_child.below, height - 1, gone);
        let child = &self.nodes[of_child.below];
        if child.len == 0 {
            self.nodes.remove(of_child.below);
            self.nodes[index].take(at);
            return;
        }
        let sparse = child.len < WIDTH / 4;
        let number = gone.key.1;
        if of_child.key == gone.key
            || of_child.end == gone.end
            || of_child.lowest == number
            || of_child.highest == number
        {
            self.nodes[index].entries[at] = child.summary(of_child.below);
        }
        if sparse {
            self.join(index, at);
        }
    }

    /// Joins a child with few entries to a neighbour that has room for them.
    fn join(&mut self, index: u32, at: usize) {
        let node = &self.nodes[index];
        let len = |at: usize| self.nodes[node.entries[at].below].len;
        let joins = |at: usize| at + 1 < node.len && len(at) + len(at + 1) <= WIDTH * 3 / 4;
        let at = if at > 0 && joins(at - 1) {
            at - 1
        } else if joins(at) {
            at
        } else {
            return;
        };
        let (left, right) = (node.entries[at].below, node.entries[at + 1].below);
        if let Some(gone) = self.nodes.remove(right) {
            let kept = &mut self.nodes[left];
            kept.entries[kept.len..][..gone.len].copy_from_slice(gone.all());
            kept.len += gone.len;
        }
        let summary = self.nodes[left].summary(left);
        let node = &mut self.nodes[index];
        node.entries[at] = summary;
        node.take(at + 1);
    }

    /// Looks for the newest range in the tree that `search` asks for.
    pub(super) fn newest(&self, tree: Tree, search: &Search, found: &mut Found) {
        if !tree.is_empty() {
            self.newest_below(tree.root, tree.height, search, found);
        }
    }

    fn newest_below(&self, index: u32, height: u32, search: &Search, found: &mut Found) {
        found.looked += 1;
        let node = &self.nodes[index];
        let mut open: u32 = 0;
        for (at, entry) in node.all().iter().enumerate() {
            let may = entry.key.0 < search.end
                && entry.end > search.start
                && entry.lowest < search.before;
            open |= u32::from(may) << at;
        }
        // The newest first: it makes the others needless.
        while open != 0 {
            let mut at = open.trailing_zeros() as usize;
            let mut rest = open & (open - 1);
            while rest != 0 {
                let other = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if node.entries[other].highest > node.entries[at].highest {
                    at = other;
                }
            }
            open &= !(1 << at);
            let entry = &node.entries[at];
            if !found.improves(entry.highest) {
                return;
            }
            if height == 0 {
                found.best = Some((entry.key.1, entry.below));
                return;
            }
            if found.best.is_some() && found.looked > PATIENCE {
                return;
            }
            self.newest_below(entry.below, height - 1, search, found);
        }
    }
}

#[cfg(test)]
mod tests;
