//! Storage with stable `u32` indexes that gives memory back.
//!
//! In: [`Slab::insert`]. Out: [`Slab::remove`]. What must hold: an index stays
//! valid, and its value in place, until it is removed; at most one empty chunk
//! is kept, so that a burst does not leave its memory behind, and a load that
//! swings around a chunk's border costs no more than one allocation a swing.

use std::collections::BTreeSet;

/// No index: the end of a list, an empty tree.
pub(super) const NIL: u32 = u32::MAX;

enum Slot<T> {
    /// The next free slot of the chunk, or `NIL`.
    Free(u32),
    Used(T),
}

struct Chunk<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    used: u32,
}

impl<T> Chunk<T> {
    fn new() -> Self {
        Chunk {
            slots: Vec::new(),
            free: NIL,
            used: 0,
        }
    }
}

/// A slab that takes memory in chunks of `CHUNK` values.
pub(super) struct Slab<T, const CHUNK: usize> {
    chunks: Vec<Chunk<T>>,
    /// Chunks with storage and room. The lowest is filled first, so that the
    /// upper ones become empty.
    roomy: BTreeSet<u32>,
    /// Chunks without storage, whose indexes are used again.
    bare: Vec<u32>,
    len: usize,
}

impl<T, const CHUNK: usize> Slab<T, CHUNK> {
    pub(super) fn new() -> Self {
        Slab {
            chunks: Vec::new(),
            roomy: BTreeSet::new(),
            bare: Vec::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes taken, used or not.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(|chunk| chunk.slots.capacity()).sum();
        slots * size_of::<Slot<T>>() + self.chunks.capacity() * size_of::<Chunk<T>>()
    }

    /// Room for another chunk in the lists of them. False: no memory.
    pub(super) fn make_room(&mut self) -> bool {
        // (All of them may be without storage one day.)
        let bare = self.chunks.len() + 1 - self.bare.len();
        self.chunks.try_reserve(1).is_ok() && self.bare.try_reserve(bare).is_ok()
    }

    /// Whether so many more, not more than a chunk has, find storage.
    pub(super) fn has_storage_for(&self, values: usize) -> bool {
        (self.chunks.len() - self.bare.len()) * CHUNK >= self.len + values
    }

    /// Gives storage to one chunk more. False: no memory.
    pub(super) fn make_storage(&mut self) -> bool {
        let mut slots = Vec::new();
        if !self.make_room() || slots.try_reserve_exact(CHUNK).is_err() {
            return false;
        }
        self.furnish(slots);
        true
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = match self.roomy.first() {
            Some(&number) => number,
            None => self.furnish(Vec::with_capacity(CHUNK)),
        };
        let chunk = &mut self.chunks[number as usize];
        let within = if chunk.free != NIL {
            let within = chunk.free;
            if let Slot::Free(next) = chunk.slots[within as usize] {
                chunk.free = next;
            }
            chunk.slots[within as usize] = Slot::Used(value);
            within
        } else {
            chunk.slots.push(Slot::Used(value));
            chunk.slots.len() as u32 - 1
        };
        chunk.used += 1;
        if chunk.used as usize == CHUNK {
            self.roomy.remove(&number);
        }
        self.len += 1;
        number * CHUNK as u32 + within
    }

    /// Gives this storage to a chunk, and its number.
    fn furnish(&mut self, slots: Vec<Slot<T>>) -> u32 {
        let number = self.bare.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk::new());
            self.chunks.len() as u32 - 1
        });
        self.chunks[number as usize].slots = slots;
        self.roomy.insert(number);
        number
    }

    /// Takes the value out. `None` if nothing has that index.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let (number, within) = Self::split(index);
        let chunk = self.chunks.get_mut(number as usize)?;
        let slot = chunk.slots.get_mut(within)?;
        if let Slot::Free(_) = slot {
            return None;
        }
        let taken = std::mem::replace(slot, Slot::Free(chunk.free));
        chunk.free = within as u32;
        chunk.used -= 1;
        self.len -= 1;
        if chunk.used as usize == CHUNK - 1 {
            self.roomy.insert(number);
        }
        if chunk.used == 0 && self.roomy.len() > 1 {
            *chunk = Chunk::new();
            self.roomy.remove(&number);
            self.bare.push(number);
        }
        match taken {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// Every index in use.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            let used = |slot: &Slot<T>| matches!(slot, Slot::Used(_));
            chunk
                .slots
                .iter()
                .enumerate()
                .filter(move |(_, slot)| used(slot))
                .map(move |(within, _)| (number * CHUNK + within) as u32)
        })
    }

    #[inline]
    fn split(index: u32) -> (u32, usize) {
        (index / CHUNK as u32, index as usize % CHUNK)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (number, within) = Self::split(index);
        match self.chunks.get(number as usize)?.slots.get(within)? {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (number, within) = Self::split(index);
        match self
            .chunks
            .get_mut(number as usize)?
            .slots
            .get_mut(within)?
        {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }
}

impl<T, const CHUNK: usize> std::ops::Index<u32> for Slab<T, CHUNK> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        self.get(index).expect("an index of the slab is in use")
    }
}

impl<T, const CHUNK: usize> std::ops::IndexMut<u32> for Slab<T, CHUNK> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect("an index of the slab is in use")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_stay_and_come_back() {
        let mut slab = Slab::<_, 256>::new();
        let indexes: Vec<u32> = (0..1000).map(|n| slab.insert(n)).collect();
        for (n, &index) in indexes.iter().enumerate() {
            assert_eq!(slab[index], n);
        }
        for &index in indexes.iter().step_by(2) {
            assert!(slab.remove(index).is_some());
            assert!(slab.remove(index).is_none());
        }
        for (n, &index) in indexes.iter().enumerate() {
            assert_eq!(slab.get(index), (n % 2 == 1).then_some(&n));
        }
        let highest = *indexes.last().unwrap();
        for n in 0..500 {
            assert!(
                slab.insert(n) <= highest,
                "free slots are used before new ones"
            );
        }
        assert_eq!(slab.len(), 1000);
    }

    #[test]
    fn storage_goes_when_a_burst_is_over() {
        let mut slab = Slab::<_, 256>::new();
        let indexes: Vec<u32> = (0..100_000u32).map(|n| slab.insert(n)).collect();
        for index in indexes {
            slab.remove(index);
        }
        assert_eq!(slab.len(), 0);
        let furnished = slab
            .chunks
            .iter()
            .filter(|chunk| chunk.slots.capacity() > 0)
            .count();
        assert_eq!(furnished, 1);
        let index = slab.insert(7);
        assert_eq!(slab[index], 7);
    }

    #[test]
    fn an_unknown_index_is_nothing() {
        let mut slab: Slab<u8, 8> = Slab::new();
        assert!(slab.get(0).is_none());
        assert!(slab.remove(NIL).is_none());
        let index = slab.insert(1);
        assert!(slab.get(index + 1).is_none());
    }
}
