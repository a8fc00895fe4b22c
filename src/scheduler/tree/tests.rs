//! The tree against a look at all ranges, and its shape.

use super::*;

impl Forest {
    /// Checks what must hold below a node; gives how many ranges are there.
    fn check(&self, index: u32, height: u32) -> usize {
        let node = &self.nodes[index];
        assert!(node.len > 0 && node.all().is_sorted_by(|a, b| a.key < b.key));
        if height == 0 {
            return node.len;
        }
        let of = |entry: &Entry| {
            let sum = self.nodes[entry.below].summary(entry.below);
            assert_eq!((entry.end, entry.lowest), (sum.end, sum.lowest));
            assert_eq!(entry.highest, sum.highest);
            // A removal may leave a key too low, which divides as well.
            assert!(entry.key <= sum.key);
            self.check(entry.below, height - 1)
        };
        node.all().iter().map(of).sum()
    }
}

#[test]
fn finds_what_a_look_at_all_finds() {
    let mut state = 1u64;
    let mut random = |limit: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % limit
    };
    let (mut forest, mut tree) = (Forest::new(), Tree::EMPTY);
    let mut ranges: Vec<(u64, u64, u64)> = Vec::new();
    for number in 0..6000 {
        // Up to about 2000, then down to nothing.
        if random(3) > 0 && number < 5000 && ranges.len() < 2000 {
            let start = random(3000);
            let end = start + 1 + random(40);
            forest.insert(&mut tree, (start, end), number, number as u32);
            ranges.push((start, end, number));
        } else if !ranges.is_empty() {
            let (start, end, number) = ranges.swap_remove(random(ranges.len() as u64) as usize);
            forest.remove(&mut tree, (start, end), number);
        }
        if number % 50 == 0 && !tree.is_empty() {
            assert_eq!(forest.check(tree.root, tree.height), ranges.len());
        }
        let start = random(3000);
        let search = Search {
            start,
            end: start + 30,
            before: random(number + 2),
        };
        let newest = ranges
            .iter()
            .filter(|range| range.0 < search.end && range.1 > search.start)
            .map(|range| range.2)
            .filter(|&number| number < search.before)
            .max();
        let mut found = Found::nothing();
        forest.newest(tree, &search, &mut found);
        if found.looked <= PATIENCE {
            assert_eq!(found.request(), newest.map(|number| number as u32));
        } else {
            assert_eq!(found.request().is_some(), newest.is_some());
        }
    }
    while let Some((start, end, number)) = ranges.pop() {
        forest.remove(&mut tree, (start, end), number);
    }
    assert!(tree.is_empty());
    assert_eq!(forest.len(), 0);
}

#[test]
fn ascending_ranges_fill_their_nodes() {
    let (mut forest, mut tree) = (Forest::new(), Tree::EMPTY);
    for number in 0..10_000 {
        forest.insert(&mut tree, (number, number + 1), number, 0);
    }
    assert!(
        forest.len() < 10_000 / WIDTH * 11 / 10,
        "{} nodes",
        forest.len()
    );
}

#[test]
fn sparse_nodes_are_joined() {
    let (mut forest, mut tree) = (Forest::new(), Tree::EMPTY);
    for number in 0..10_000 {
        forest.insert(&mut tree, (number, number + 1), number, 0);
    }
    for number in (0..10_000).filter(|number| number % 100 != 0) {
        forest.remove(&mut tree, (number, number + 1), number);
    }
    assert!(forest.len() < 60, "{} nodes for 100 ranges", forest.len());
}
