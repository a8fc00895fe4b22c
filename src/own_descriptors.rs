//! The few descriptors the library itself holds: high numbers, close-on-exec,
//! and left alone by the wrapped close family.
//!
//! Who comes in: lanes that need a descriptor (an eventfd or a visible ring
//! on older kernels, the epoll set of the workers, pins of requests whose
//! descriptor was closed), and the close family. What must hold: no low
//! number is taken; a program that closes everything through the close family
//! does not hit them; a number the library gave back, or never had, is not
//! closed. A child of fork inherits copies of no use, which would keep the
//! other end of a pipe waiting: they are closed as the child begins. Where
//! nothing tells of the child (`_Fork`, a raw clone) it may close and replace
//! them, and what is left is closed when it first uses AIO.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::process::Runtime;
use crate::sys;

/// Numbers from here on are refused: no kernel gives so many by default.
const NUMBERS: usize = 1 << 20;

/// Which numbers are held, a bit each. Made at first need, and only in a
/// process that has a runtime; outside of that, so that a forked child still
/// knows what it inherited.
struct Table {
    bits: [AtomicU64; NUMBERS / 64],
    /// One more than the largest number ever held.
    end: AtomicU32,
}

static TABLE: AtomicPtr<Table> = AtomicPtr::new(null_mut());

/// This process's own table, or one inherited from a parent.
enum Which {
    Own(&'static Table),
    Inherited(&'static Table),
}

/// One load where there is none.
fn table() -> Option<Which> {
    let at = TABLE.load(Ordering::SeqCst);
    // SAFETY: null, or a mapping that stays.
    let table = unsafe { at.as_ref() }?;
    Some(match Runtime::current() {
        Some(_) => Which::Own(table),
        None => Which::Inherited(table),
    })
}

fn own() -> Option<&'static Table> {
    match table()? {
        Which::Own(table) => Some(table),
        Which::Inherited(_) => None,
    }
}

impl Table {
    /// This process's table, made if there is none.
    fn get() -> Result<&'static Table, c_int> {
        if let Some(table) = own() {
            return Ok(table);
        }
        let fresh = sys::map(size_of::<Table>(), libc::MAP_PRIVATE)
            .ok_or(libc::ENOMEM)?
            .cast::<Table>();
        let at = match TABLE.compare_exchange(null_mut(), fresh, Ordering::SeqCst, Ordering::SeqCst)
        {
            Ok(_) => fresh,
            Err(theirs) => {
                // SAFETY: nobody saw `fresh`.
                unsafe { libc::munmap(fresh.cast(), size_of::<Table>()) };
                theirs
            }
        };
        // SAFETY: zeroed memory is an empty table; never unmapped here.
        Ok(unsafe { &*at })
    }

    fn place(&self, number: u32) -> Option<(&AtomicU64, u64)> {
        let word = self.bits.get(number as usize / 64)?;
        Some((word, 1 << (number % 64)))
    }

    fn add(&self, number: u32) -> Result<(), c_int> {
        let (word, bit) = self.place(number).ok_or(libc::EMFILE)?;
        self.end.fetch_max(number + 1, Ordering::SeqCst);
        word.fetch_or(bit, Ordering::SeqCst);
        Ok(())
    }

    /// True: it was held.
    fn remove(&self, number: u32) -> bool {
        self.place(number)
            .is_some_and(|(word, bit)| word.fetch_and(!bit, Ordering::SeqCst) & bit != 0)
    }

    fn has(&self, number: u32) -> bool {
        self.place(number)
            .is_some_and(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0)
    }

    /// The lowest number held in `first..=last`.
    fn lowest_in(&self, first: u32, last: u32) -> Option<u32> {
        let end = self.end.load(Ordering::SeqCst).min(last.saturating_add(1));
        let mut at = first;
        while at < end {
            let word = self.bits[at as usize / 64].load(Ordering::SeqCst) >> (at % 64);
            if word != 0 {
                let found = at + word.trailing_zeros();
                return (found < end).then_some(found);
            }
            at = (at | 63) + 1;
        }
        None
    }
}

/// Where high numbers begin: above what `select` and habits of small
/// programs reach, below what the limit forbids.
fn floor() -> c_int {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let soft = limit.rlim_cur.min(1 << 20) as c_int;
    match soft {
        4096.. => 3000,
        256.. => soft - 128,
        _ => soft / 2,
    }
}

/// Duplicates `fildes` to a high number of ours.
pub fn duplicate(fildes: c_int) -> Result<c_int, c_int> {
    let mut least = floor();
    loop {
        // SAFETY: fcntl with an integer argument.
        let copy = unsafe { libc::fcntl(fildes, libc::F_DUPFD_CLOEXEC, least) };
        if copy >= 0 {
            return remember(copy);
        }
        match sys::errno() {
            libc::EMFILE | libc::EINVAL if least > 3 => least /= 2,
            libc::EMFILE | libc::EINVAL => return beyond_the_limit(fildes),
            error => return Err(error),
        }
    }
}

/// How many numbers above the program's limits may be used.
const ABOVE: u64 = 256;

/// The program has used up its descriptors: makes one above its limit, which
/// is raised for the moment of this call where that is allowed.
fn beyond_the_limit(fildes: c_int) -> Result<c_int, c_int> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for reading and writing; fcntl gets integers.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        let raised = if limit.rlim_cur < limit.rlim_max {
            libc::rlimit {
                rlim_cur: limit.rlim_max,
                ..limit
            }
        } else {
            libc::rlimit {
                rlim_cur: limit.rlim_cur + ABOVE,
                rlim_max: limit.rlim_cur + ABOVE,
            }
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) != 0 {
            return Err(libc::EMFILE);
        }
        let copy = libc::fcntl(fildes, libc::F_DUPFD_CLOEXEC, limit.rlim_cur as c_int);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        if copy < 0 {
            return Err(libc::EMFILE);
        }
        remember(copy)
    }
}

/// Moves a descriptor just made to a high number of ours.
pub fn adopt(fildes: c_int) -> Result<c_int, c_int> {
    let high = duplicate(fildes);
    sys::files::close(fildes);
    high
}

/// Opens the file of a descriptor a second time, as a high number of ours.
pub fn reopen(fildes: c_int, flags: c_int) -> Result<c_int, c_int> {
    let mut path = sys::Line::new();
    path.text("/proc/self/fd/").number(fildes as u32 as u64);
    adopt(sys::files::open(path.as_c_str(), flags)?)
}

/// Closes one of ours. (Not one that the program closed and made anew, by
/// system calls that nobody sees.)
pub fn release(fildes: c_int) {
    if own().is_some_and(|table| table.remove(fildes as u32)) {
        sys::files::close(fildes);
    }
}

/// Notes that a new descriptor is ours; without that it is closed again.
fn remember(fildes: c_int) -> Result<c_int, c_int> {
    match Table::get().and_then(|table| table.add(fildes as u32)) {
        Ok(()) => Ok(fildes),
        Err(error) => {
            sys::files::close(fildes);
            Err(error)
        }
    }
}

/// Is this number one of ours?
pub fn is_own(fildes: c_int) -> bool {
    own().is_some_and(|table| table.has(fildes as u32))
}

/// The lowest number of ours in `first..=last`.
pub fn lowest_in(first: u32, last: u32) -> Option<u32> {
    own()?.lowest_in(first, last)
}

/// The program is about to close these numbers: what a child inherited among
/// them is its own to close, and to use again.
pub fn give_up(first: u32, last: u32) {
    if let Some(Which::Inherited(table)) = table() {
        let mut from = first;
        while let Some(number) = table.lowest_in(from, last) {
            table.remove(number);
            from = number + 1;
        }
    }
}

/// Called before a process gets its runtime: a table there is then was
/// inherited, and what it still has would only keep the parent's files open.
pub fn forget_parents() {
    let at = TABLE.load(Ordering::SeqCst);
    // The table first: one that is there while there is no runtime was made
    // by no thread of this process.
    if !at.is_null() && Runtime::current().is_none() {
        close_inherited(at);
    }
}

/// From now on a child of fork closes what it inherits of ours before fork
/// returns there. This may allocate: to be called when the library is loaded,
/// or by a thread of the library.
pub fn close_in_children() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.load(Ordering::Relaxed) || REGISTERED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the handler is a function of this library, which is never
    // unloaded.
    if unsafe { libc::pthread_atfork(None, None, Some(child_begins)) } != 0 {
        REGISTERED.store(false, Ordering::Relaxed);
    }
}

/// In the child of fork, which has one thread and memory of its own. (A child
/// of vfork, which has not, does not come here.)
extern "C" fn child_begins() {
    // A handler that ran before this one may have used AIO: what there is
    // then is the child's own. Where the kernel does not wipe the runtime, it
    // is the parent's until the handler behind this one.
    if Runtime::current().is_some_and(|runtime| !runtime.is_borrowed()) {
        return;
    }
    let _errno = sys::KeepErrno::new();
    let at = TABLE.load(Ordering::SeqCst);
    if !at.is_null() {
        close_inherited(at);
    }
}

/// Closes what a parent's table has.
fn close_inherited(at: *mut Table) {
    if TABLE
        .compare_exchange(at, null_mut(), Ordering::SeqCst, Ordering::SeqCst)
        .is_err()
    {
        return;
    }
    // SAFETY: not null; inherited, and taken out by this thread alone. Another
    // thread may still look at it in the close family: it stays mapped.
    let table = unsafe { &*at };
    while let Some(number) = table.lowest_in(0, u32::MAX) {
        if table.remove(number) {
            sys::files::close(number as c_int);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn empty() -> &'static Table {
        let at = sys::map(size_of::<Table>(), libc::MAP_PRIVATE)
            .unwrap()
            .cast::<Table>();
        // SAFETY: zeroed memory is an empty table.
        unsafe { &*at }
    }

    #[test]
    fn many_numbers_are_found_in_order() {
        let table = empty();
        let numbers: Vec<u32> = (3000..4000).step_by(7).chain([63, 64, 127]).collect();
        for &number in &numbers {
            table.add(number).unwrap();
        }
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let mut from = 0;
        for &number in &sorted {
            assert_eq!(table.lowest_in(from, u32::MAX), Some(number));
            assert!(table.has(number) && !table.has(number + 1) || number == 63);
            from = number + 1;
        }
        assert_eq!(table.lowest_in(from, u32::MAX), None);
        assert_eq!(table.lowest_in(65, 126), None);
        assert_eq!(table.lowest_in(65, 127), Some(127));
    }

    #[test]
    fn what_is_not_held_is_not_taken_away() {
        let table = empty();
        table.add(3000).unwrap();
        assert!(!table.remove(3001) && table.remove(3000) && !table.remove(3000));
        assert_eq!(table.add(NUMBERS as u32), Err(libc::EMFILE));
    }
}
