//! Waiting for completions: `aio_suspend` and `lio_listio(LIO_WAIT)`.
//!
//! A waiter has a slot, chosen by its thread: a futex word and a count of
//! sleepers. It leaves the slot's number as a mark in the status word of each
//! request it waits for and sleeps on the word. The completion swaps the
//! status, sees the mark in the same instruction, moves the word and wakes.
//! What must hold: either the waiter's mark is seen by the swap, or the
//! waiter sees the final status; both are accesses to one word, so there is
//! no third case. A slot shared by two threads, or a mark left behind by a
//! waiter that went away, costs a wake for nothing and never a lost one.
//! Nobody allocates, nobody locks, and no waiter is on any list: a frame
//! that is torn down by a cancellation, or by a handler that jumps out of it,
//! leaves nothing dangling. It leaves its slot's count of sleepers raised,
//! which costs later completions of that slot a wake for nothing.

use std::ffi::c_int;

use crate::abi::{Aiocb, aiocb};
use crate::lanes::waiter::{self, Attempt};
use crate::perturb;
use crate::process::Runtime;
use crate::request::{self, Marked};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sys;

/// Slots; a mark is an index in 1..SLOTS.
const SLOTS: usize = perturb::bound(1024, 64);
/// The mark of a request that several threads wait for.
const MANY: u16 = u16::MAX;

#[repr(align(64))]
struct Slot {
    /// Moved by each completion that found this slot's mark.
    word: AtomicU32,
    /// Threads that sleep, or are about to.
    sleepers: AtomicU32,
}

/// The slots of a process. All zero: nobody waits.
pub struct Slots([Slot; SLOTS]);

impl Slots {
    /// Where the slot of a mark lies, for a model to explore it.
    #[cfg(loom)]
    pub fn place(&self, mark: u16) -> std::ops::Range<usize> {
        let at = std::ptr::from_ref(&self.0[usize::from(mark)]).addr();
        at..at + size_of::<Slot>()
    }

    fn wake(&self, mark: u16) {
        let slot = &self.0[usize::from(mark) % SLOTS];
        slot.word.fetch_add(1, Ordering::SeqCst);
        if slot.sleepers.load(Ordering::SeqCst) > 0 {
            wake_all(&slot.word);
        }
    }

    fn wake_everybody(&self) {
        for slot in &self.0 {
            if slot.sleepers.load(Ordering::SeqCst) > 0 {
                slot.word.fetch_add(1, Ordering::SeqCst);
                wake_all(&slot.word);
            }
        }
    }
}

fn wake_all(word: &AtomicU32) {
    sys::futex_wake(word.as_ptr(), i32::MAX);
}

/// Marks of completions that were published and whose waiters are still to
/// be woken: one wake for each waiter of a batch.
pub struct Wakes {
    set: [u64; SLOTS / 64],
    any: bool,
    everybody: bool,
}

impl Wakes {
    pub const fn new() -> Self {
        Wakes {
            set: [0; SLOTS / 64],
            any: false,
            everybody: false,
        }
    }

    /// Adds the mark that a publication returned.
    pub fn add(&mut self, mark: u16) {
        match mark {
            0 => {}
            MANY => {
                self.everybody = true;
                self.any = true;
            }
            mark => {
                let mark = usize::from(mark) % SLOTS;
                self.set[mark / 64] |= 1 << (mark % 64);
                self.any = true;
            }
        }
    }

    /// Wakes them.
    pub fn flush(&mut self, slots: &Slots) {
        if !self.any {
            return;
        }
        self.any = false;
        for (index, word) in self.set.iter_mut().enumerate() {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                slots.wake((index * 64 + bit) as u16);
            }
        }
        if std::mem::take(&mut self.everybody) {
            slots.wake_everybody();
        }
    }
}

/// The mark of the calling thread: in a model, what the model says.
#[cfg(loom)]
pub fn own_mark() -> u16 {
    crate::sync::model::waiter_mark()
}

/// The mark of the calling thread. pthread_self is a register, no
/// thread-local of ours: safe in a handler and in a thread's last moments.
#[cfg(not(loom))]
pub fn own_mark() -> u16 {
    // SAFETY: pthread_self has no preconditions.
    let thread = unsafe { libc::pthread_self() } as u64;
    let hash = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (hash % (SLOTS as u64 - 1)) as u16 + 1
}

/// A point in time on CLOCK_MONOTONIC.
#[derive(Clone, Copy)]
pub struct Deadline(libc::timespec);

impl Deadline {
    /// `timeout` from now. Err(EINVAL) for an invalid tv_nsec. Far times are
    /// far, not an error.
    pub fn after(timeout: &libc::timespec) -> Result<Deadline, c_int> {
        if !(0..1_000_000_000).contains(&timeout.tv_nsec) {
            return Err(libc::EINVAL);
        }
        let now = sys::now_ns();
        let nanoseconds = (now % 1_000_000_000) as i64 + timeout.tv_nsec;
        Ok(Deadline(libc::timespec {
            tv_sec: ((now / 1_000_000_000) as i64)
                .saturating_add(timeout.tv_sec.max(0))
                .saturating_add(nanoseconds / 1_000_000_000)
                .min(i64::MAX / 4),
            tv_nsec: nanoseconds % 1_000_000_000,
        }))
    }
}

// Not "C-unwind": with panic=abort the compiler would end the process when a
// cancelled thread unwinds through its caller. The frames above have nothing
// to drop, and unwind tables lead through them.
unsafe extern "C" {
    // src/c/cancellable.c: cancellation points.
    fn aio_shim_cancellable_wait(
        word: *mut u32,
        expected: u32,
        until: *const libc::timespec,
    ) -> c_int;
    fn aio_shim_cancellation_point();
    fn aio_shim_cancellable_turn(
        word: *mut u32,
        expected: u32,
        until: *const libc::timespec,
        waiters: *mut u32,
    ) -> c_int;
}

/// Sleeps while `*word == expected`, at most until `deadline`: 0 or an errno.
/// Lowers `*waiters`, also when the thread is cancelled meanwhile; another
/// sleeper is then woken in its place. (A handler must not jump out of it.)
///
/// # Safety
/// Both words outlive the call. A cancelled thread unwinds through the
/// caller's frames: nothing may be pending there.
pub unsafe fn cancellable_turn(
    word: *mut u32,
    expected: u32,
    deadline: Option<&Deadline>,
    waiters: *mut u32,
) -> c_int {
    let until = deadline.map_or(std::ptr::null(), |deadline| &raw const deadline.0);
    // SAFETY: by contract.
    unsafe { aio_shim_cancellable_turn(word, expected, until, waiters) }
}

/// Acts on a cancellation of the calling thread, also where a wait ended
/// without a sleep.
///
/// # Safety
/// A cancelled thread unwinds through the caller's frames: nothing may be
/// pending there.
pub unsafe fn cancellation_point() {
    // SAFETY: by contract.
    unsafe { aio_shim_cancellation_point() };
}

/// What one look at a list found.
struct Look {
    /// An entry is complete, or nothing is in progress.
    done: bool,
    /// An entry had to be marked that no earlier look had marked.
    fresh: bool,
    /// Which entries the list had, as a hash.
    entries: u64,
}

/// Looks at each entry once; with a mark, leaves it on what is in progress.
///
/// # Safety
/// `list` has `count` readable entries, each null or a valid control block.
unsafe fn look(
    runtime: &Runtime,
    list: *const *const aiocb,
    count: usize,
    mark: Option<u16>,
) -> Look {
    let mut waiting = false;
    let mut look = Look {
        done: true,
        fresh: false,
        entries: 0,
    };
    for index in 0..count {
        // Volatile: another thread may change the entries meanwhile; each is
        // read once.
        // SAFETY: index < count.
        let entry = unsafe { list.add(index).read_volatile() };
        let Some(cb) = Aiocb::new(entry) else {
            continue;
        };
        look.entries = look.entries.rotate_left(5) ^ cb.to_word();
        // SAFETY: a non-null entry is a valid control block.
        let in_progress = unsafe {
            match mark {
                Some(mark) => match request::leave_mark(runtime, cb, mark, MANY) {
                    Marked::Complete => false,
                    Marked::Before => true,
                    Marked::Now => {
                        look.fresh = true;
                        true
                    }
                },
                None => request::in_progress(Some(runtime), cb),
            }
        };
        if !in_progress {
            return look;
        }
        waiting = true;
    }
    look.done = !waiting;
    look
}

/// Waits until an entry of the list is complete.
///
/// Err: EAGAIN when the time is over, EINTR for a signal. A cancellation
/// point. No destructor is pending in this frame while it
/// sleeps: a cancelled thread unwinds through it.
///
/// # Safety
/// As for [`look`].
pub unsafe fn wait_any(
    runtime: &'static Runtime,
    list: *const *const aiocb,
    count: usize,
    deadline: Option<Deadline>,
) -> Result<(), c_int> {
    // SAFETY: by contract, here and below.
    if unsafe { look(runtime, list, count, None) }.done {
        return Ok(());
    }
    let attempt = match deadline {
        // SAFETY: by contract.
        None => unsafe { waiter::attempt(runtime, list, count) },
        Some(_) => Attempt::Left,
    };
    // (Of a list that another thread changes meanwhile it may have been none.)
    // SAFETY: by contract.
    if attempt == Attempt::Done && unsafe { look(runtime, list, count, None) }.done {
        return Ok(());
    }
    if attempt != Attempt::Begun {
        runtime.wake_for_wait();
    }
    let until = match &deadline {
        Some(deadline) => &raw const deadline.0,
        None => std::ptr::null(),
    };
    let mark = own_mark();
    let slot = &runtime.slots.0[usize::from(mark)];
    let mut marked = None;
    loop {
        // Announced before the word is sampled, and the word sampled before
        // the marks are left: a completion that sees a mark moves the word
        // after this sample and finds the sleeper.
        slot.sleepers.fetch_add(1, Ordering::SeqCst);
        let sample = slot.word.load(Ordering::SeqCst);
        // SAFETY: by contract.
        let seen = unsafe { look(runtime, list, count, Some(mark)) };
        // A mark that is gone from an entry of the same list: that request
        // completed, and was submitted again before we looked.
        if seen.done || seen.fresh && marked == Some(seen.entries) {
            slot.sleepers.fetch_sub(1, Ordering::SeqCst);
            return Ok(());
        }
        marked = Some(seen.entries);
        let answer = if cfg!(loom) {
            // A model has no cancellation.
            sys::futex_wait_until(&slot.word, sample, until)
        } else {
            // SAFETY: the slot is static; `until` is null or points into this
            // frame.
            unsafe { aio_shim_cancellable_wait(slot.word.as_ptr(), sample, until) }
        };
        slot.sleepers.fetch_sub(1, Ordering::SeqCst);
        match answer {
            libc::EINTR => return Err(libc::EINTR),
            libc::ETIMEDOUT => {
                // SAFETY: by contract.
                return if unsafe { look(runtime, list, count, None) }.done {
                    Ok(())
                } else {
                    Err(libc::EAGAIN)
                };
            }
            // Woken, or the word had moved: look again.
            _ => {}
        }
    }
}
