//! A small slab: values with stable numbers.
//!
//! What must hold: only [`Slab::make_room`] takes memory, and says so when
//! there is none; one value more has a place all the same.

/// The slab.
pub struct Slab<T> {
    values: Vec<Slot<T>>,
    /// The next free place, or [`NIL`].
    free: u32,
    used: usize,
    last_resort: Option<T>,
}

enum Slot<T> {
    /// The next free place, or [`NIL`].
    Free(u32),
    Used(T),
}

const NIL: u32 = u32::MAX;
/// The number of the value for which there was no memory. (Those who mark
/// numbers by the highest bit can do so with this one, too.)
pub const LAST_RESORT: u32 = (1 << 31) - 2;

impl<T> Slab<T> {
    pub fn new() -> Self {
        Slab {
            values: Vec::new(),
            free: NIL,
            used: 0,
            last_resort: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Room for one more. False: no memory.
    pub fn make_room(&mut self) -> bool {
        self.free != NIL || self.values.try_reserve(1).is_ok()
    }

    /// Adds a value; its number, which is [`LAST_RESORT`] where no room was
    /// made. Only one can be there.
    pub fn insert(&mut self, value: T) -> u32 {
        let place = Slot::Used(value);
        if self.free != NIL {
            self.used += 1;
            let number = self.free;
            if let Slot::Free(next) = std::mem::replace(&mut self.values[number as usize], place) {
                self.free = next;
            }
            number
        } else if self.values.len() < self.values.capacity() {
            self.used += 1;
            self.values.push(place);
            self.values.len() as u32 - 1
        } else {
            if let Slot::Used(value) = place {
                self.last_resort = Some(value);
            }
            LAST_RESORT
        }
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        if number == LAST_RESORT {
            return self.last_resort.as_mut();
        }
        match self.values.get_mut(number as usize)? {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// Removes a value and gives memory back when none is left.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        if number == LAST_RESORT {
            return self.last_resort.take();
        }
        let place = self.values.get_mut(number as usize)?;
        if let Slot::Free(_) = place {
            return None;
        }
        let Slot::Used(value) = std::mem::replace(place, Slot::Free(self.free)) else {
            return None;
        };
        self.free = number;
        self.used -= 1;
        if self.used == 0 {
            self.values = Vec::new();
            self.free = NIL;
        }
        Some(value)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_a_place_without_memory() {
        let mut slab = Slab::new();
        assert_eq!(slab.insert(7), LAST_RESORT);
        assert!(slab.is_empty());
        assert!(slab.make_room());
        let mut numbers = vec![slab.insert(0)];
        while slab.values.len() < slab.values.capacity() {
            numbers.push(slab.insert(numbers.len()));
        }
        assert_eq!(slab.get_mut(LAST_RESORT), Some(&mut 7));
        assert_eq!(slab.remove(LAST_RESORT), Some(7));
        assert_eq!(slab.remove(LAST_RESORT), None);
        // A place that is given up is room.
        assert_eq!(slab.remove(numbers[1]), Some(1));
        assert_eq!(slab.get_mut(numbers[1]), None);
        assert_eq!(slab.remove(numbers[1]), None);
        assert_eq!(slab.insert(1), numbers[1]);
        assert_eq!(slab.insert(8), LAST_RESORT);
        for (value, &number) in numbers.iter().enumerate() {
            assert_eq!(slab.remove(number), Some(value));
        }
        assert!(slab.is_empty(), "memory goes back with the last");
        assert_eq!(slab.remove(LAST_RESORT), Some(8));
    }
}
