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
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::sys;

/// Mappings that serve as a reserve, one after the other. More than one: what
/// lives long in the first must not keep the reserve from being whole again.
const AREAS: usize = 4;
/// Bytes of one; the first size that can be had.
const SIZES: [usize; 2] = [256 << 10, 128 << 10];
/// What must be left for a request to be taken over. The largest thing that
/// is allocated for one is a chunk of the scheduler's table, 32 KiB.
const ENOUGH: usize = 96 << 10;

struct Area {
    /// Null: not mapped yet. Never unmapped.
    at: AtomicPtr<u8>,
    /// Bytes given out in the low half, how many pieces live in the upper;
    /// all is free again when none does. The size in `size`.
    state: AtomicU64,
    size: AtomicU64,
}

const PIECE: u64 = 1 << 32;

static RESERVE: [Area; AREAS] = [const {
    Area {
        at: AtomicPtr::new(null_mut()),
        state: AtomicU64::new(0),
        size: AtomicU64::new(0),
    }
}; AREAS];

impl Area {
    fn left(&self) -> usize {
        // The size is 0 until the area is mapped.
        let used = self.state.load(Ordering::Acquire) & (PIECE - 1);
        (self.size.load(Ordering::Acquire) - used) as usize
    }

    /// Maps it. False: no memory.
    fn map(&self) -> bool {
        for size in SIZES {
            let Some(at) = sys::map(size, libc::MAP_PRIVATE) else {
                continue;
            };
            if self
                .at
                .compare_exchange(null_mut(), at, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                self.size.store(size as u64, Ordering::Release);
            } else {
                // SAFETY: mapped above, and known to nobody.
                unsafe { libc::munmap(at.cast(), size) };
            }
            return true;
        }
        false
    }

    fn take(&self, layout: Layout) -> *mut u8 {
        let size = self.size.load(Ordering::Acquire);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let begin = (state & (PIECE - 1)).next_multiple_of(layout.align() as u64);
            let end = begin + layout.size() as u64;
            if end > size {
                return null_mut();
            }
            let next = ((state & !(PIECE - 1)) + PIECE) | end;
            match self
                .state
                .compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    return self.at.load(Ordering::Acquire).wrapping_add(begin as usize);
                }
                Err(now) => state = now,
            }
        }
    }

    fn contains(&self, memory: *mut u8) -> bool {
        let begin = self.at.load(Ordering::Acquire).addr();
        begin != 0
            && (begin..begin + self.size.load(Ordering::Acquire) as usize).contains(&memory.addr())
    }

    fn give_back(&self) {
        let last = |state: u64| {
            let rest = state - PIECE;
            Some(if rest < PIECE { 0 } else { rest })
        };
        let _ = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, last);
    }
}

/// Is there enough in reserve to take a request over? Maps memory if there is
/// not and some can be had.
pub fn has_reserve() -> bool {
    RESERVE.iter().any(|area| {
        (!area.at.load(Ordering::Acquire).is_null() || area.map()) && area.left() >= ENOUGH
    })
}

/// The area that a piece of memory is of. None: the C library's.
fn area_of(memory: *mut u8) -> Option<&'static Area> {
    RESERVE.iter().find(|area| area.contains(memory))
}

#[cold]
fn from_reserve(layout: Layout) -> *mut u8 {
    RESERVE
        .iter()
        .map(|area| area.take(layout))
        .find(|memory| !memory.is_null())
        .unwrap_or(null_mut())
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
            return from_reserve(layout);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match area_of(memory) {
            Some(area) => area.give_back(),
            // SAFETY: as above.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if area_of(memory).is_none() {
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

    #[test]
    fn an_area_is_whole_again_when_nothing_of_it_lives() {
        assert!(has_reserve());
        let area = &RESERVE[0];
        let whole = area.left();
        let layout = Layout::from_size_align(1000, 64).unwrap();
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
            area.give_back();
        }
        assert!(area.left() < whole, "one still lives");
        area.give_back();
        assert_eq!(area.left(), whole);
        let all = Layout::from_size_align(whole, 1).unwrap();
        assert!(!area.take(all).is_null());
        assert!(area.take(layout).is_null());
        area.give_back();
    }

    #[test]
    fn what_comes_from_the_reserve_may_grow_and_goes_back() {
        assert!(has_reserve());
        let area = &RESERVE[1];
        assert!(!area.at.load(Ordering::Acquire).is_null() || area.map());
        let layout = Layout::from_size_align(100, 8).unwrap();
        let piece = area.take(layout);
        // SAFETY: 100 bytes that are ours; the layouts are those of the
        // pieces.
        unsafe {
            piece.write_bytes(7, 100);
            let grown = Reserved.realloc(piece, layout, 5000);
            assert!(area_of(grown).is_none(), "there is memory elsewhere");
            assert!((0..100).all(|index| *grown.add(index) == 7));
            assert_eq!(area.left(), area.size.load(Ordering::Relaxed) as usize);
            Reserved.dealloc(grown, Layout::from_size_align_unchecked(5000, 8));
        }
    }
}
