//! Byte ranges of one kind, sorted by where they start: a treap.
//!
//! In: [`Forest::insert`]. Out: [`Forest::remove`]. What must hold: each node
//! knows the furthest end and the lowest and highest call number below it, so
//! that a search passes over whole subtrees that cannot conflict.
//!
//! The trees of all files share one store of nodes; a tree is the index of its
//! root. Depth is logarithmic with high probability, as the weights are a hash
//! of the call number, so recursion is shallow (about 50 at 100 000).

use super::slab::{NIL, Slab};

/// Nodes a search looks at once it has found something. It stops with the
/// best so far then: any conflict is right, the newest one merely the least
/// work later.
const PATIENCE: u32 = 48;

struct Node {
    start: u64,
    end: u64,
    number: u64,
    furthest: u64,
    lowest: u64,
    highest: u64,
    left: u32,
    right: u32,
    request: u32,
}

impl Node {
    #[inline]
    fn key(&self) -> (u64, u64) {
        (self.start, self.number)
    }

    #[inline]
    fn weight(&self) -> u64 {
        weight(self.number)
    }
}

/// A bijective mix of the call number (the finaliser of splitmix64).
#[inline]
fn weight(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
}

pub(super) struct Forest {
    nodes: Slab<Node>,
}

impl Forest {
    pub(super) fn new() -> Self {
        Forest { nodes: Slab::new() }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a range to the tree at `root`; gives the node's index.
    pub(super) fn insert(
        &mut self,
        root: &mut u32,
        (start, end): (u64, u64),
        number: u64,
        request: u32,
    ) -> u32 {
        let index = self.nodes.insert(Node {
            start,
            end,
            number,
            furthest: end,
            lowest: number,
            highest: number,
            left: NIL,
            right: NIL,
            request,
        });
        *root = self.insert_below(*root, index);
        index
    }

    /// Takes the node out of the tree at `root`.
    pub(super) fn remove(&mut self, root: &mut u32, index: u32) {
        *root = self.remove_below(*root, self.nodes[index].key());
        self.nodes.remove(index);
    }

    /// Looks for the newest range in the tree at `root` that `search` asks for.
    pub(super) fn newest(&self, root: u32, search: &Search, found: &mut Found) {
        if root == NIL {
            return;
        }
        let node = &self.nodes[root];
        if node.furthest <= search.start || node.lowest >= search.before {
            return;
        }
        if let Some((best, _)) = found.best
            && (node.highest <= best || found.looked > PATIENCE)
        {
            return;
        }
        found.looked += 1;
        if node.start >= search.end {
            return self.newest(node.left, search, found);
        }
        if node.end > search.start
            && node.number < search.before
            && found.best.is_none_or(|(best, _)| node.number > best)
        {
            found.best = Some((node.number, node.request));
        }
        // The side with the newer ones first: it makes the other needless.
        let (first, second) = if self.highest(node.left) > self.highest(node.right) {
            (node.left, node.right)
        } else {
            (node.right, node.left)
        };
        self.newest(first, search, found);
        self.newest(second, search, found);
    }

    fn highest(&self, index: u32) -> u64 {
        if index == NIL {
            0
        } else {
            self.nodes[index].highest
        }
    }

    /// Makes the summary of a node fit its children.
    fn summarise(&mut self, index: u32) {
        let node = &self.nodes[index];
        let (mut furthest, mut lowest, mut highest) = (node.end, node.number, node.number);
        for child in [node.left, node.right] {
            if child != NIL {
                let child = &self.nodes[child];
                furthest = furthest.max(child.furthest);
                lowest = lowest.min(child.lowest);
                highest = highest.max(child.highest);
            }
        }
        let node = &mut self.nodes[index];
        (node.furthest, node.lowest, node.highest) = (furthest, lowest, highest);
    }

    fn insert_below(&mut self, root: u32, index: u32) -> u32 {
        if root == NIL {
            return index;
        }
        let key = self.nodes[index].key();
        if self.nodes[index].weight() > self.nodes[root].weight() {
            let (left, right) = self.split(root, key);
            let node = &mut self.nodes[index];
            (node.left, node.right) = (left, right);
            self.summarise(index);
            return index;
        }
        if key < self.nodes[root].key() {
            let left = self.insert_below(self.nodes[root].left, index);
            self.nodes[root].left = left;
        } else {
            let right = self.insert_below(self.nodes[root].right, index);
            self.nodes[root].right = right;
        }
        self.summarise(root);
        root
    }

    /// The nodes below `key`, and the others.
    fn split(&mut self, root: u32, key: (u64, u64)) -> (u32, u32) {
        if root == NIL {
            return (NIL, NIL);
        }
        let halves = if self.nodes[root].key() < key {
            let (less, more) = self.split(self.nodes[root].right, key);
            self.nodes[root].right = less;
            (root, more)
        } else {
            let (less, more) = self.split(self.nodes[root].left, key);
            self.nodes[root].left = more;
            (less, root)
        };
        self.summarise(root);
        halves
    }

    fn remove_below(&mut self, root: u32, key: (u64, u64)) -> u32 {
        if root == NIL {
            debug_assert!(false, "the node is in the tree");
            return NIL;
        }
        let at = self.nodes[root].key();
        if at == key {
            return self.merge(self.nodes[root].left, self.nodes[root].right);
        }
        if key < at {
            let left = self.remove_below(self.nodes[root].left, key);
            self.nodes[root].left = left;
        } else {
            let right = self.remove_below(self.nodes[root].right, key);
            self.nodes[root].right = right;
        }
        self.summarise(root);
        root
    }

    /// One tree of two, all keys of `left` being below those of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL {
            return right;
        }
        if right == NIL {
            return left;
        }
        if self.nodes[left].weight() > self.nodes[right].weight() {
            let merged = self.merge(self.nodes[left].right, right);
            self.nodes[left].right = merged;
            self.summarise(left);
            left
        } else {
            let merged = self.merge(left, self.nodes[right].left);
            self.nodes[right].left = merged;
            self.summarise(right);
            right
        }
    }
}
