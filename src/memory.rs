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

/// Mappings that serve as a reserve. A piece that lives for long keeps the
/// rest of its area from being used again, in a child of fork for good: its
/// parent's pieces are given back by nobody there. So there are as many as are
/// needed, one at a time: the next when none has enough left.
const AREAS: usize = 64;
/// So many stay mapped once they were; the others go with their last piece.
const KEPT: usize = 4;
/// Bytes of one; the first size that can be had.
const SIZES: [usize; 2] = [256 << 10, 128 << 10];
/// What must be left for a request to be taken over. The largest thing that
/// is allocated for one is a chunk of the scheduler's table, 32 KiB; what
/// grows by larger steps makes room before, where "no" is an answer.
const ENOUGH: usize = 96 << 10;

struct Area {
    /// Null: not mapped. The lowest bit says which of the sizes it has.
    place: AtomicPtr<u8>,
    /// Bytes given out in the low half, how many pieces live in the upper;
    /// all is free again when none does.
    state: AtomicU64,
}

const PIECE: u64 = 1 << 32;
/// Nothing lives, and nothing is given out: it is being unmapped or mapped.
const CLOSED: u64 = PIECE - 1;

impl Area {
    const fn new() -> Area {
        Area {
            place: AtomicPtr::new(null_mut()),
            state: AtomicU64::new(0),
        }
    }

    /// Where it begins, and its size: 0 if it is not mapped.
    fn extent(&self) -> (*mut u8, usize) {
        let place = self.place.load(Ordering::Acquire);
        if place.is_null() {
            return (place, 0);
        }
        (place.map_addr(|at| at & !1), SIZES[place.addr() & 1])
    }

    fn left(&self) -> usize {
        let used = self.state.load(Ordering::Acquire) & (PIECE - 1);
        self.extent().1.saturating_sub(used as usize)
    }

    /// Maps it. False: no memory.
    fn map(&self) -> bool {
        for (which, size) in SIZES.into_iter().enumerate() {
            let Some(at) = sys::map(size, libc::MAP_PRIVATE) else {
                continue;
            };
            let place = at.map_addr(|at| at | which);
            if self
                .place
                .compare_exchange(null_mut(), place, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                // (0 already if it is the first time.)
                let _ = self
                    .state
                    .compare_exchange(CLOSED, 0, Ordering::AcqRel, Ordering::Relaxed);
            } else {
                // SAFETY: mapped above, and known to nobody.
                unsafe { libc::munmap(at.cast(), size) };
            }
            return true;
        }
        false
    }

    /// Unmaps it if nothing of it lives.
    fn unmap(&self) {
        if self
            .state
            .compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            let (at, size) = self.extent();
            // Before the memory goes: what is mapped there next is not ours.
            self.place.store(null_mut(), Ordering::Release);
            // SAFETY: a mapping of ours; nothing of it lives, and while it is
            // closed nothing is given out.
            unsafe { libc::munmap(at.cast(), size) };
        }
    }

    fn take(&self, layout: Layout) -> *mut u8 {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let begin = (state & (PIECE - 1)).next_multiple_of(layout.align() as u64);
            let end = begin + layout.size() as u64;
            if end > self.extent().1 as u64 {
                return null_mut();
            }
            let next = ((state & !(PIECE - 1)) + PIECE) | end;
            match self
                .state
                .compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    // From here on it stays mapped; it may have been another,
                    // smaller mapping's turn just before.
                    let (at, size) = self.extent();
                    if end > size as u64 {
                        self.give_back();
                        return null_mut();
                    }
                    return at.wrapping_add(begin as usize);
                }
                Err(now) => state = now,
            }
        }
    }

    fn contains(&self, memory: *mut u8) -> bool {
        let (at, size) = self.extent();
        memory.addr().wrapping_sub(at.addr()) < size
    }

    /// A piece less. True: it was the last.
    fn give_back(&self) -> bool {
        let last = |state: u64| {
            let rest = state - PIECE;
            Some(if rest < PIECE { 0 } else { rest })
        };
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, last)
            .is_ok_and(|state| state < 2 * PIECE)
    }
}

struct Reserve {
    areas: [Area; AREAS],
    /// Areas from this one on were never mapped.
    used: AtomicUsize,
}

static RESERVE: Reserve = Reserve::new();

impl Reserve {
    const fn new() -> Reserve {
        Reserve {
            areas: [const { Area::new() }; AREAS],
            used: AtomicUsize::new(0),
        }
    }

    fn areas(&self) -> &[Area] {
        &self.areas[..self.used.load(Ordering::Acquire)]
    }

    fn has_enough(&self) -> bool {
        self.areas().iter().any(|area| area.left() >= ENOUGH) || self.grow()
    }

    /// Maps one more. False: no memory.
    #[cold]
    fn grow(&self) -> bool {
        let unmapped = |area: &Area| area.place.load(Ordering::Acquire).is_null();
        match self.areas.iter().position(unmapped) {
            Some(index) => {
                // Said before, so that no piece lies where nobody looks.
                self.used.fetch_max(index + 1, Ordering::AcqRel);
                self.areas[index].map() && self.areas[index].left() >= ENOUGH
            }
            // Long-lived pieces are everywhere. Nothing can be kept back any
            // more; but memory that is there now need not be refused.
            None => sys::map(ENOUGH, libc::MAP_PRIVATE).is_some_and(|at| {
                // SAFETY: mapped above, and known to nobody.
                unsafe { libc::munmap(at.cast(), ENOUGH) == 0 }
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
    fn give_back(&self, index: usize) {
        if self.areas[index].give_back()
            && index >= KEPT
            && self.areas[..index].iter().any(|area| area.left() >= ENOUGH)
        {
            self.areas[index].unmap();
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
            Some(area) => RESERVE.give_back(area),
            // SAFETY: as above.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if RESERVE.area_of(memory).is_none() {
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
            }
            new
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A piece that leaves less than enough of an area.
    fn most() -> Layout {
        Layout::from_size_align(SIZES[0] - ENOUGH + 1, 8).unwrap()
    }

    #[test]
    fn an_area_is_whole_again_when_nothing_of_it_lives() {
        let area = Area::new();
        let layout = Layout::from_size_align(1000, 64).unwrap();
        assert!(area.take(layout).is_null(), "it is not mapped");
        assert!(area.map());
        let whole = area.left();
        let pieces: Vec<*mut u8> = (0..100).map(|_| area.take(layout)).collect();
        for (index, &piece) in pieces.iter().enumerate() {
            assert!(piece.addr().is_multiple_of(64) && area.contains(piece));
            // SAFETY: a piece of 1000 bytes.
            unsafe { piece.write_bytes(index as u8, 1000) };
        }
        for (index, &piece) in pieces.iter().enumerate() {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(piece, 1000) };
            assert!(bytes.iter().all(|&byte| byte == index as u8), "{index}");
        }
        assert!(area.left() <= whole - 100 * 1000);
        for _ in 0..99 {
            assert!(!area.give_back());
        }
        assert!(area.left() < whole, "one still lives");
        assert!(area.give_back());
        assert_eq!(area.left(), whole);
        let all = Layout::from_size_align(whole, 1).unwrap();
        assert!(!area.take(all).is_null());
        assert!(area.take(layout).is_null());
        assert!(area.give_back());
        area.unmap();
        assert!(area.left() == 0 && area.take(layout).is_null());
        assert!(area.map() && area.left() == whole && !area.take(layout).is_null());
        area.unmap();
        assert!(area.left() > 0, "a piece of it lives");
        area.give_back();
        area.unmap();
    }

    #[test]
    fn what_lives_for_long_does_not_use_the_reserve_up() {
        let reserve = Reserve::new();
        let mut pieces = Vec::new();
        for round in 0..AREAS {
            assert!(reserve.has_enough(), "round {round}");
            assert_eq!(reserve.areas().len(), round + 1);
            pieces.push(reserve.take(most()));
        }
        assert!(reserve.has_enough(), "there is memory all the same");
        for (index, &piece) in pieces.iter().enumerate() {
            assert_eq!(reserve.area_of(piece), Some(index));
        }
        // What is not needed any more goes.
        for &piece in &pieces {
            if let Some(area) = reserve.area_of(piece) {
                reserve.give_back(area);
            }
        }
        let mapped = |area: &&Area| area.left() > 0;
        assert_eq!(reserve.areas().iter().filter(mapped).count(), KEPT);
        // And comes again.
        for _ in 0..=KEPT {
            assert!(reserve.has_enough());
            pieces.push(reserve.take(most()));
        }
        assert_eq!(reserve.area_of(pieces[AREAS + KEPT]), Some(KEPT));
        for index in 0..=KEPT {
            reserve.give_back(index);
        }
        for area in reserve.areas() {
            area.unmap();
        }
    }

    #[test]
    fn no_piece_is_given_out_twice() {
        static RESERVE: Reserve = Reserve::new();
        // All that is kept is taken, so the others come and go.
        for _ in 0..KEPT {
            assert!(RESERVE.has_enough() && !RESERVE.take(most()).is_null());
        }
        let threads: Vec<_> = (1..=4u8)
            .map(|mark| {
                std::thread::spawn(move || {
                    for round in 0..20_000usize {
                        let size = 1 + (round * 7919 + usize::from(mark)) % (90 << 10);
                        let layout = Layout::from_size_align(size, 16).unwrap();
                        RESERVE.has_enough();
                        let piece = RESERVE.take(layout);
                        if piece.is_null() {
                            continue;
                        }
                        let ends = [piece, piece.wrapping_add(size - 1)];
                        // SAFETY: a piece of `size` bytes that is ours.
                        unsafe {
                            ends.iter().for_each(|&end| end.write(mark));
                            std::thread::yield_now();
                            assert!(ends.iter().all(|&end| end.read() == mark));
                        }
                        let area = RESERVE.area_of(piece).expect("it is of the reserve");
                        RESERVE.give_back(area);
                        if round % 16 == 0 {
                            // As if the kept ones had been whole meanwhile.
                            RESERVE.areas[area].unmap();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn what_comes_from_the_reserve_may_grow_and_goes_back() {
        assert!(has_reserve());
        let area = &RESERVE.areas[0];
        let whole = area.left();
        let layout = Layout::from_size_align(100, 8).unwrap();
        let piece = area.take(layout);
        // SAFETY: 100 bytes that are ours; the layouts are those of the
        // pieces.
        unsafe {
            piece.write_bytes(7, 100);
            let grown = Reserved.realloc(piece, layout, 5000);
            assert!(
                RESERVE.area_of(grown).is_none(),
                "there is memory elsewhere"
            );
            assert!((0..100).all(|index| *grown.add(index) == 7));
            assert_eq!(area.left(), whole);
            Reserved.dealloc(grown, Layout::from_size_align_unchecked(5000, 8));
        }
    }
}
