//! A cheap hash for descriptor numbers, inode numbers and lane numbers.
//!
//! The keys are given by the program to itself, so there is nobody to defend
//! against; the standard hash would be a third of the cost of a request.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(super) type Mix = BuildHasherDefault<Mixer>;

#[derive(Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The high half of a product depends on all bits of its factors: fold
        // it down, as tables take their place from low and high bits alike.
        let product = u128::from(self.0 ^ value ^ 0x2545_f491_4f6c_dd1d)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_i32(&mut self, value: i32) {
        self.write_u64(u64::from(value as u32));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

/// Gives memory back that a burst has left in the map.
pub(super) fn relax<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V, Mix>) {
    if map.capacity() > 256 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn neighbours_spread() {
        let mix = Mix::default();
        let low: HashSet<u64> = (0..4096i32).map(|n| mix.hash_one(n) & 0xffff).collect();
        let high: HashSet<u64> = (0..4096i32).map(|n| mix.hash_one(n) >> 48).collect();
        // A random function leaves about 3970 of 4096 values distinct.
        assert!(
            low.len() > 3900 && high.len() > 3900,
            "{} {}",
            low.len(),
            high.len()
        );
    }

    #[test]
    fn a_map_shrinks_after_a_burst() {
        let mut map: HashMap<u32, u32, Mix> = HashMap::default();
        map.extend((0..10_000).map(|n| (n, n)));
        for n in 0..10_000 {
            map.remove(&n);
            relax(&mut map);
        }
        assert!(map.capacity() <= 256);
    }
}
