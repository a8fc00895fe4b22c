//! The library's own memory, with a reserve for when there is none.
//!
//! Who comes in: every allocation of the Rust code, and the engine before it
//! takes a request over. What must hold: a request that was taken over is
//! carried through, though memory may be refused at any time by a limit
//! (RLIMIT_AS, RLIMIT_DATA, a control group). So memory is mapped while there
//! is some, and not touched; an allocation that is refused elsewhere comes
//! from there; and a request is taken over only while enough of it is left.
//! (The C library's allocator could not keep the reserve: what one thread
//! gives back to it another need not get.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::sys;

/// Mappings that serve as a reserve, the next one when no other has enough
/// left: pieces may live for long, in a child of fork for good (its parent's
/// are given back by nobody there).
const AREAS: usize = 32;
/// So many stay mapped once they were; the others go with their last piece.
const KEPT: usize = 2;
/// Bytes of one.
const SIZE: usize = 512 << 10;
/// What must be left for a request to be taken over. Those that were need
/// most where the lanes are full: two backlogs of 4096 (`engine/dispatch.rs`)
/// take some 320 KiB, as many of the engine's own transfers 24.
const ENOUGH: usize = 384 << 10;
/// And what of that must be in one piece: the largest thing that is allocated
/// without asking is a chunk of the scheduler's table, 32 KiB. (What grows by
/// larger steps makes room before, where "no" is an answer.)
const PIECE: usize = 64 << 10;
/// Pieces are given out in multiples of this, aligned to no more.
const GRAIN: usize = 64;
const WORDS: usize = SIZE / GRAIN / 64;

/// An area: who sets the bits of its grains has them. No lock, as fork could
/// copy a locked one; a child may find a few grains taken for good.
struct Area {
    /// Null: not mapped, and nothing can be taken.
    place: AtomicPtr<u8>,
    /// Bytes that are taken, or about to be.
    used: AtomicUsize,
    taken: [AtomicU64; WORDS],
}

/// The words that a range of grains touches, and its bits there.
fn words(first: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = first + count;
    (first / 64..end.div_ceil(64)).map(move |word| {
        let from = first.max(word * 64) - word * 64;
        let to = end.min(word * 64 + 64) - word * 64;
        (word, (u64::MAX >> (64 - (to - from))) << from)
    })
}

impl Area {
    #[cfg(all(test, not(loom)))]
    const fn new() -> Area {
        Area {
            place: AtomicPtr::new(null_mut()),
            used: AtomicUsize::new(0),
            taken: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    fn is_mapped(&self) -> bool {
        !self.place.load(Ordering::Acquire).is_null()
    }

    fn has_enough(&self) -> bool {
        if !self.is_mapped() {
            return false;
        }
        let used = self.used.load(Ordering::Acquire);
        used == 0 || used <= SIZE - ENOUGH && self.find(PIECE / GRAIN).is_some()
    }

    /// The first of so many free grains.
    fn find(&self, count: usize) -> Option<usize> {
        let (mut first, mut at) = (0, 0);
        while first + count <= SIZE / GRAIN {
            if at - first >= count {
                return Some(first);
            }
            let taken = self.taken[at / 64].load(Ordering::Acquire) >> (at % 64);
            let rest = 64 - at % 64;
            let free = rest.min(taken.trailing_zeros() as usize);
            at += free;
            if free < rest {
                at += (taken >> free).trailing_ones() as usize;
                first = at;
            }
        }
        None
    }

    /// Takes these grains. False: some are another's.
    fn claim(&self, first: usize, count: usize) -> bool {
        for (done, (word, bits)) in words(first, count).enumerate() {
            let before = self.taken[word].fetch_or(bits, Ordering::AcqRel);
            if before & bits != 0 {
                self.taken[word].fetch_and(before | !bits, Ordering::AcqRel);
                for (word, bits) in words(first, count).take(done) {
                    self.taken[word].fetch_and(!bits, Ordering::AcqRel);
                }
                return false;
            }
        }
        true
    }

    fn free(&self, first: usize, count: usize) {
        for (word, bits) in words(first, count) {
            self.taken[word].fetch_and(!bits, Ordering::AcqRel);
        }
    }

    fn take(&self, layout: Layout) -> *mut u8 {
        let count = layout.size().div_ceil(GRAIN);
        if layout.align() > GRAIN || !self.is_mapped() {
            return null_mut();
        }
        self.used.fetch_add(count * GRAIN, Ordering::AcqRel);
        while let Some(first) = self.find(count) {
            if self.claim(first, count) {
                // It stays mapped from here on, if it still was.
                let place = self.place.load(Ordering::Acquire);
                if !place.is_null() {
                    return place.wrapping_add(first * GRAIN);
                }
                self.free(first, count);
                break;
            }
        }
        self.used.fetch_sub(count * GRAIN, Ordering::AcqRel);
        null_mut()
    }

    fn contains(&self, memory: *mut u8) -> bool {
        let place = self.place.load(Ordering::Acquire);
        !place.is_null() && memory.addr().wrapping_sub(place.addr()) < SIZE
    }

    /// Of a piece only the first `keep` bytes are needed any more. True:
    /// nothing of the area is.
    fn trim(&self, memory: *mut u8, layout: Layout, keep: usize) -> bool {
        let place = self.place.load(Ordering::Acquire);
        let (keep, count) = (keep.div_ceil(GRAIN), layout.size().div_ceil(GRAIN));
        let first = (memory.addr() - place.addr()) / GRAIN + keep;
        let less = (count - keep) * GRAIN;
        self.free(first, count - keep);
        self.used.fetch_sub(less, Ordering::AcqRel) == less
    }

    /// A piece less. True: it was the last.
    fn give_back(&self, memory: *mut u8, layout: Layout) -> bool {
        self.trim(memory, layout, 0)
    }

    /// Maps it. False: no memory.
    fn map(&self) -> bool {
        let Some(at) = sys::map(SIZE, libc::MAP_PRIVATE) else {
            return false;
        };
        if self
            .place
            .compare_exchange(null_mut(), at, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            // SAFETY: mapped above, and known to nobody.
            unsafe { libc::munmap(at.cast(), SIZE) };
        }
        true
    }

    /// Unmaps it if nothing of it lives.
    fn unmap(&self) {
        if self.claim(0, SIZE / GRAIN) {
            // Before the memory goes: what is mapped there next is not ours.
            let at = self.place.swap(null_mut(), Ordering::AcqRel);
            if !at.is_null() {
                // SAFETY: a mapping of ours of which nothing lives: all grains
                // were free, and are taken.
                unsafe { libc::munmap(at.cast(), SIZE) };
            }
            self.free(0, SIZE / GRAIN);
        }
    }
}

struct Reserve {
    /// The areas: AREAS of them, or null. Mapped when the first is: what a
    /// program that never uses AIO need not map is not in the library's data.
    table: AtomicPtr<Area>,
    /// Areas from this one on were never mapped.
    used: AtomicUsize,
}

static RESERVE: Reserve = Reserve::new();

impl Reserve {
    const fn new() -> Reserve {
        Reserve {
            table: AtomicPtr::new(null_mut()),
            used: AtomicUsize::new(0),
        }
    }

    /// All areas. None: they were never needed.
    fn table(&self) -> Option<&[Area]> {
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: null, or AREAS areas that are never unmapped.
        (!table.is_null()).then(|| unsafe { std::slice::from_raw_parts(table, AREAS) })
    }

    /// The same; mapped if they are not. None: no memory.
    fn make_table(&self) -> Option<&[Area]> {
        if let Some(table) = self.table() {
            return Some(table);
        }
        let size = size_of::<[Area; AREAS]>();
        // All zero is an area that is not mapped.
        let fresh = sys::map(size, libc::MAP_PRIVATE)?;
        let published = self.table.compare_exchange(
            null_mut(),
            fresh.cast(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if published.is_err() {
            // SAFETY: mapped above, and known to nobody.
            unsafe { libc::munmap(fresh.cast(), size) };
        }
        self.table()
    }

    /// Those that may be mapped.
    fn areas(&self) -> &[Area] {
        match self.table() {
            Some(table) => &table[..self.used.load(Ordering::Acquire)],
            None => &[],
        }
    }

    fn has_enough(&self) -> bool {
        self.areas().iter().any(Area::has_enough) || self.grow()
    }

    /// Maps one more. False: no memory.
    #[cold]
    fn grow(&self) -> bool {
        let Some(table) = self.make_table() else {
            return false;
        };
        let unmapped = table.iter().enumerate().find(|(_, area)| !area.is_mapped());
        match unmapped {
            Some((index, area)) => {
                // Said before, so that no piece lies where nobody looks.
                self.used.fetch_max(index + 1, Ordering::AcqRel);
                area.map() && area.has_enough()
            }
            // Long-lived pieces are everywhere. Nothing can be kept back any
            // more; but memory that is there now need not be refused.
            None => sys::map(SIZE, libc::MAP_PRIVATE).is_some_and(|at| {
                // SAFETY: mapped above, and known to nobody.
                unsafe { libc::munmap(at.cast(), SIZE) == 0 }
            }),
        }
    }

    /// The number of the area that a piece of memory is of. None: it is the
    /// C library's.
    fn area_of(&self, memory: *mut u8) -> Option<usize> {
        self.areas().iter().position(|area| area.contains(memory))
    }

    #[cold]
    fn take(&self, layout: Layout) -> *mut u8 {
        self.areas()
            .iter()
            .map(|area| area.take(layout))
            .find(|memory| !memory.is_null())
            .unwrap_or(null_mut())
    }

    #[cold]
    fn give_back(&self, index: usize, memory: *mut u8, layout: Layout) {
        let areas = self.areas();
        if areas[index].give_back(memory, layout)
            && index >= KEPT
            && areas[..index].iter().any(Area::has_enough)
        {
            areas[index].unmap();
        }
    }
}

/// Is there enough in reserve to take a request over? Maps memory if there is
/// not and some can be had.
pub fn has_reserve() -> bool {
    RESERVE.has_enough()
}

/// The C library's allocator, and the reserve behind it.
pub struct Reserved;

// SAFETY: memory is the system's, or a piece of an area that nobody else has
// until it is given back; `area_of` tells them apart.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's contract, here and below.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            return RESERVE.take(layout);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match RESERVE.area_of(memory) {
            Some(area) => RESERVE.give_back(area, memory, layout),
            // SAFETY: as above.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let area = RESERVE.area_of(memory);
        if area.is_none() {
            // SAFETY: as above.
            let moved = unsafe { System.realloc(memory, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: as above; a block of a valid layout's alignment.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            } else if let Some(area) = area
                && size <= layout.size()
            {
                // Less is always there.
                RESERVE.areas()[area].trim(memory, layout, size);
                return memory;
            }
            new
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
