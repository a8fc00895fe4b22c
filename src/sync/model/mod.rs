//! The library's words as loom sees them: the loom build's [`atomic`] and its
//! futexes, so that the models run the code as it is.
//!
//! A word keeps its size and place, because control blocks, zeroed memory
//! and futex calls know words by their address. Its value in a model is an
//! atomic of loom found by that address: one of a stock that is made before
//! the model's threads are, so that which thread comes first orders nothing.
//! An atomic of the stock begins at zero and stands for the difference to
//! what the word held when it was first met; the word's own memory is not
//! written, and every execution begins with the same values.
//!
//! Not every word has to be explored: see [`Scope`]. What is not is an
//! ordinary atomic, which never lets another thread run.

pub mod atomic;
mod lock;

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use loom::sync::atomic as modelled;
use loom::thread::{self, JoinHandle, Thread};

use self::atomic::{AtomicU32, Ordering};
pub use self::lock::RawModelled;

/// What a model explores. Without one, every word.
#[derive(Default)]
pub struct Scope {
    /// The words that are explored, by address.
    pub only: Option<Vec<Range<usize>>>,
    /// The locks whose every step is explored; the others are loom's.
    pub locks: Vec<Range<usize>>,
    /// How many threads [`start_thread`] may still start.
    pub threads: usize,
    /// Marks that waiters get; 0: each its own.
    pub marks: usize,
}

impl Scope {
    fn explores(&self, address: usize) -> bool {
        match &self.only {
            None => true,
            Some(only) => only.iter().any(|range| range.contains(&address)),
        }
    }
}

/// Where a value lies, for a [`Scope`].
pub fn place<T>(value: &T) -> Range<usize> {
    let at = std::ptr::from_ref(value).addr();
    at..at + size_of::<T>()
}

/// Words of one kind that one execution can meet.
const STOCK: usize = 32;

/// The kinds: words of four and of eight bytes, locks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Narrow,
    Wide,
    Lock,
}

/// Words met so far: address, kind, number in its kind's stock, what it held.
/// Outside of loom's world, because a word may be dropped when that is gone.
type Known = Vec<(usize, Kind, usize, u64)>;
std::thread_local!(static KNOWN: RefCell<Known> = const { RefCell::new(Vec::new()) });

/// The next word at this address is another one.
fn forget(address: usize) {
    let _ = KNOWN.try_with(|known| known.borrow_mut().retain(|entry| entry.0 != address));
}

/// What one execution of a model knows.
struct World {
    scope: RefCell<Scope>,
    narrow: Vec<modelled::AtomicU32>,
    wide: Vec<modelled::AtomicU64>,
    /// For each of these what `World::before_load` touches.
    loads: [Vec<loom::sync::Condvar>; 2],
    /// How many of the stock are in use.
    used: [Cell<usize>; 3],
    locks: Vec<loom::sync::Mutex<()>>,
    held: RefCell<Vec<(usize, loom::sync::MutexGuard<'static, ()>)>>,
    sleepers: RefCell<Vec<Sleeper>>,
    gate: Cell<Option<usize>>,
    /// No sleep with a limit lasts; the second is for loom's own order.
    late: Cell<bool>,
    lateness: modelled::AtomicBool,
    started: RefCell<Vec<JoinHandle<()>>>,
    waiters: RefCell<Vec<thread::ThreadId>>,
    workers: RefCell<Vec<thread::ThreadId>>,
}

loom::lazy_static! {
    static ref WORLD: World = World {
        scope: RefCell::default(),
        narrow: (0..STOCK).map(|_| modelled::AtomicU32::new(0)).collect(),
        wide: (0..STOCK).map(|_| modelled::AtomicU64::new(0)).collect(),
        loads: [(); 2].map(|()| (0..STOCK).map(|_| loom::sync::Condvar::new()).collect()),
        used: KNOWN.with(|known| {
            known.borrow_mut().clear();
            <[Cell<usize>; 3]>::default()
        }),
        locks: (0..STOCK).map(|_| loom::sync::Mutex::new(())).collect(),
        held: RefCell::default(),
        sleepers: RefCell::default(),
        gate: Cell::default(),
        late: Cell::new(false),
        lateness: modelled::AtomicBool::new(false),
        started: RefCell::default(),
        waiters: RefCell::default(),
        workers: RefCell::default(),
    };
}

/// Sets what this execution explores. First act of a model's first thread.
pub fn begin(scope: Scope) {
    *WORLD.scope.borrow_mut() = scope;
}

/// Explores these words too, from now on.
pub fn explore(range: Range<usize>) {
    if let Some(only) = &mut WORLD.scope.borrow_mut().only {
        only.push(range);
    }
}

/// How many marks waiters share; 0: each has its own.
pub fn set_marks(marks: usize) {
    WORLD.scope.borrow_mut().marks = marks;
}

/// Explores these locks step by step, from now on.
pub fn explore_lock(range: Range<usize>) {
    explore(range.clone());
    WORLD.scope.borrow_mut().locks.push(range);
}

/// The mark of the calling thread as a waiter.
pub fn waiter_mark() -> u16 {
    let own = thread::current().id();
    let mut waiters = WORLD.waiters.borrow_mut();
    let number = match waiters.iter().position(|id| *id == own) {
        Some(number) => number,
        None => {
            waiters.push(own);
            waiters.len() - 1
        }
    };
    match WORLD.scope.borrow().marks {
        0 => number as u16 + 1,
        marks => (number % marks) as u16 + 1,
    }
}

/// A gate at a word: a thread of [`start_thread`] that comes there stays
/// until [`open_gate`].
pub fn set_gate(address: usize) {
    WORLD.gate.set(Some(address));
}

/// Lets the threads at the gate go on.
pub fn open_gate() {
    WORLD.gate.set(None);
    WORLD.wake(GATE, usize::MAX);
}

/// The address at which those at the gate sleep.
const GATE: usize = 1;

/// pthread_create as a model has it: false when no thread can be had.
pub fn start_thread(
    body: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> bool {
    let left = WORLD.scope.borrow().threads;
    if left == 0 {
        return false;
    }
    WORLD.scope.borrow_mut().threads -= 1;
    let argument = argument.expose_provenance();
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
        let own = thread::current().id();
        WORLD.workers.borrow_mut().push(own);
        body(std::ptr::with_exposed_provenance_mut(argument));
    });
    match thread {
        Ok(thread) => WORLD.started.borrow_mut().push(thread),
        Err(_) => return false,
    }
    true
}

/// Words of stack for a thread that runs the library's code.
pub const STACK: usize = 16 * 1024;

/// Waits for the end of every thread that [`start_thread`] started.
pub fn join_all() {
    loop {
        let thread = WORLD.started.borrow_mut().pop();
        match thread {
            Some(thread) => thread.join().unwrap(),
            None => return,
        }
    }
}

/// Time passes: every sleep with a limit that lasts now is over.
pub fn pass_time() {
    WORLD.lateness.swap(WORLD.late.get(), Ordering::SeqCst);
    WORLD.sleepers.borrow_mut().retain(|sleeper| {
        if sleeper.limited {
            sleeper.over.set(true);
            sleeper.thread.unpark();
        }
        !sleeper.limited
    });
}

/// From now on no sleep with a limit lasts at all.
pub fn end_time() {
    WORLD.late.set(true);
    pass_time();
}

/// A thread in a futex call.
struct Sleeper {
    address: usize,
    thread: Thread,
    limited: bool,
    over: Rc<Cell<bool>>,
}

/// As futex(2): comparison and falling asleep are one step, and what is
/// compared is the newest value.
fn sleep_on(word: &AtomicU32, expected: u32, limited: bool) -> Result<(), c_int> {
    if limited {
        // A step that the passing of time is ordered against.
        WORLD.lateness.swap(WORLD.late.get(), Ordering::SeqCst);
    }
    if word.newest() != expected {
        return Err(libc::EAGAIN);
    }
    if limited && WORLD.late.get() {
        thread::yield_now();
        return Err(libc::ETIMEDOUT);
    }
    if WORLD.sleep(word.as_ptr().addr(), limited) {
        Ok(())
    } else {
        Err(libc::ETIMEDOUT)
    }
}

impl World {
    /// Sleeps until woken; nobody else runs before the thread is on the list.
    /// False: the time was over.
    fn sleep(&self, address: usize, limited: bool) -> bool {
        let own = thread::current();
        let id = own.id();
        let over = Rc::new(Cell::new(false));
        self.sleepers.borrow_mut().push(Sleeper {
            address,
            thread: own,
            limited,
            over: over.clone(),
        });
        let asleep = || {
            let sleepers = self.sleepers.borrow();
            sleepers.iter().any(|sleeper| sleeper.thread.id() == id)
        };
        while asleep() {
            thread::park();
        }
        !over.get()
    }

    /// Wakes up to `count` sleepers, who slept longest first.
    fn wake(&self, address: usize, count: usize) -> usize {
        let mut sleepers = self.sleepers.borrow_mut();
        let mut woken = 0;
        let mut index = 0;
        while index < sleepers.len() && woken < count {
            if sleepers[index].address == address {
                sleepers.remove(index).thread.unpark();
                woken += 1;
            } else {
                index += 1;
            }
        }
        woken
    }

    /// Which atomic is the word at this address, and what did it hold?
    fn find(&self, kind: Kind, address: usize, held: impl FnOnce() -> u64) -> (usize, u64) {
        KNOWN.with(|known| {
            let mut known = known.borrow_mut();
            let same = |entry: &&(usize, Kind, usize, u64)| entry.0 == address && entry.1 == kind;
            if let Some((_, _, index, held)) = known.iter().find(same) {
                return (*index, *held);
            }
            let used = &self.used[kind as usize];
            let index = used.replace(used.get() + 1);
            assert!(index < STOCK, "the model meets more than {STOCK} words");
            let held = held();
            known.push((address, kind, index, held));
            (index, held)
        })
    }

    /// A step before each load of a word, which the other threads' are tried
    /// before and after. Of a word's last accesses loom remembers one, so a
    /// thread that loads and then writes would hide the loads of the others
    /// from itself: nobody would try its write before those. A condition
    /// variable without waiters orders nothing else.
    fn before_load(&self, kind: Kind, index: usize) {
        self.loads[kind as usize][index].notify_one();
    }

    /// Is the word explored? Stops at the gate first.
    fn meet(&self, address: usize) -> bool {
        if self.gate.get() == Some(address) {
            let own = thread::current().id();
            if self.workers.borrow().contains(&own) {
                self.sleep(GATE, false);
            }
        }
        self.scope.borrow().explores(address)
    }
}

/// [`crate::sys::futex_wait`] in a model.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Result<(), c_int> {
    sleep_on(word, expected, timeout.is_some())
}

/// [`crate::sys::futex_wait_until`] in a model.
pub fn futex_wait_until(word: &AtomicU32, expected: u32, until: *const libc::timespec) -> c_int {
    sleep_on(word, expected, !until.is_null())
        .err()
        .unwrap_or(0)
}

/// [`crate::sys::futex_wake`] in a model.
pub fn futex_wake<T>(word: *const T, count: i32) -> usize {
    let address = word.addr();
    // The call is a step of its own, ordered against the comparisons: but
    // for a word that is gone, which nobody compares.
    let known = KNOWN.with(|known| {
        let known = known.borrow();
        let same =
            |entry: &&(usize, Kind, usize, u64)| entry.0 == address && entry.1 == Kind::Narrow;
        known.iter().find(same).map(|entry| entry.2)
    });
    if let Some(index) = known {
        newest(&WORLD.narrow[index]);
    }
    WORLD.wake(address, count.max(0) as usize)
}

/// The newest value, which only a read-modify-write is sure to see: here one
/// that fails.
fn newest(atomic: &modelled::AtomicU32) -> u32 {
    const UNLIKELY: u32 = 0xdead_beef;
    match atomic.compare_exchange(UNLIKELY, UNLIKELY, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(value) | Err(value) => value,
    }
}
