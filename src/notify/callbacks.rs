//! Callback threads: the crew that runs SIGEV_THREAD functions.
//!
//! glibc makes a thread for each callback. Here threads are kept and used
//! again; to the callback each looks new: no signal blocked, cancellation
//! enabled, detached. What a callback leaves in thread-specific data stays
//! with the thread, and so does what no cheap question tells (credentials, an
//! unshared working directory or descriptor table): aio_shim(7) lists it.
//!
//! Who comes in: a submitting thread (`secure`), which may be in a handler
//! and so takes no lock unless there is no thread at all; the notifier, once
//! a millisecond while callbacks wait (`tend`); the crew itself. What must
//! hold:
//! - while accepted requests will ask for a callback (`secured`), the last
//!   thread does not leave;
//! - a callback may block for ever, so a thread that runs one is not counted
//!   on: if nothing was begun for a millisecond, the crew grows, by doubling;
//! - a callback may end its thread (pthread_exit): the frames below it have
//!   nothing to drop, and a thread-exit destructor puts the counts right;
//! - a callback may fork: in the child none of this is touched again.

use std::cell::Cell;
use std::ffi::c_void;
use std::time::Duration;

use super::Notifier;
use super::lanes::{LaneId, State};
use super::notice::Notice;
use super::pace::{Hold, Pace};
use super::threads;
use crate::sync::MutexGuard;
use crate::sys;
use crate::thread::{self, Settings, Stack};

/// How long the front callback waits before the crew grows.
const TICK_NS: u64 = 1_000_000;
/// Ticks without a waiting callback after which nobody keeps watch.
const CALM_TICKS: u32 = 8;
/// Threads added at once, at most.
const BURST: u32 = 64;
/// With callbacks ending all the time the crew grows only up to twice the
/// processors, and only when the front waits this long.
const SLOW_NS: u64 = 10_000_000;

/// Whom a posting thread has to wake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// Somebody already sees to it.
    Nobody,
    /// An idle thread of the crew.
    One,
    /// The notifier, to look then.
    Watch(u64),
}

/// The part of the crew's state that is behind the backlog's lock.
pub(super) struct Crew {
    idle: u32,
    /// Idle threads that were woken and have not looked yet.
    waking: u32,
    running: u32,
    /// Threads made that have not looked yet.
    starting: u32,
    /// Callbacks begun, now and at the last tick.
    begun: u64,
    seen: u64,
    watch_at: Option<u64>,
    calm: u32,
    burst: u32,
    pace: Pace,
}

impl Crew {
    pub const fn new() -> Self {
        Crew {
            idle: 0,
            waking: 0,
            running: 0,
            starting: 0,
            begun: 0,
            seen: 0,
            watch_at: None,
            calm: 0,
            burst: 1,
            pace: Pace::new(),
        }
    }

    /// When the notifier has to look after the crew.
    pub fn watch_at(&self) -> Option<u64> {
        self.watch_at
    }

    /// Callbacks were put into the lane; `threads` of the crew exist.
    pub fn posted(&mut self, threads: u32, now: u64) -> Wake {
        if self.waking > 0 {
            // It looks at the lane, and wakes the next if there is more.
            return Wake::Nobody;
        }
        if self.idle > 0 {
            self.waking = 1;
            return Wake::One;
        }
        let at = if threads + self.starting == 0 {
            now
        } else {
            now + TICK_NS
        };
        self.watch(at)
    }

    fn watch(&mut self, at: u64) -> Wake {
        if self.watch_at.is_some_and(|already| already <= at) {
            return Wake::Nobody;
        }
        self.watch_at = Some(at);
        self.calm = 0;
        Wake::Watch(at)
    }

    /// Idle threads to wake and threads to make, `waiting` callbacks in line,
    /// the first for `age` ns.
    fn plan(&mut self, waiting: u32, age: u64, threads: u32, processors: u32) -> (u32, u32) {
        let stuck = self.begun == self.seen;
        self.seen = self.begun;
        if waiting == 0 {
            self.calm += 1;
            self.burst = 1;
            self.pace.restart();
            return (0, 0);
        }
        self.calm = 0;
        let asleep = self.idle.saturating_sub(self.waking);
        if asleep > 0 {
            return (asleep.min(waiting), 0);
        }
        if self.starting > 0 || self.waking > 0 {
            return (0, 0);
        }
        if threads == 0 {
            return (0, 1);
        }
        if !stuck {
            self.burst = 1;
            let slow = age > SLOW_NS && threads < 2 * processors;
            return (0, u32::from(slow));
        }
        if age < TICK_NS {
            return (0, 0);
        }
        let wanted = self.burst.min(waiting);
        self.burst = (self.burst * 2).min(BURST);
        (0, wanted)
    }
}

/// How a thread of the crew ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// After a callback that left something to destroy.
    WithData,
    /// No code of the program is meant to run in it any more.
    AtRest,
}

impl Notifier {
    /// Makes the first thread of the crew; what `Muster::secure` began.
    pub(super) fn secure_slowly(&'static self) -> bool {
        // With signals blocked no handler can come in between on this thread
        // and want the same lock.
        sys::with_signals_blocked(|| {
            let mut state = self.backlog.state.lock();
            if self.muster.threads() > 0 {
                return true;
            }
            state.crew.starting += 1;
            let made = thread::detached(crew_main, self.address(), Stack::Default);
            match made {
                Ok(()) => self.muster.joined(),
                Err(_) => state.crew.starting -= 1,
            }
            made.is_ok()
        })
    }

    /// Looks after the crew; called by the notifier when it is time.
    pub(super) fn tend_crew(&'static self, now: u64) {
        let mut state = self.backlog.state.lock();
        if state.crew.watch_at.is_none_or(|at| now < at) {
            return;
        }
        let waiting = u32::try_from(state.len(LaneId::CALLBACKS)).unwrap_or(u32::MAX);
        let since = state.front_since(LaneId::CALLBACKS).unwrap_or(now);
        let (wake, make) = state.crew.plan(
            waiting,
            now.saturating_sub(since),
            self.muster.threads(),
            self.processors(),
        );
        let calm = waiting == 0 && state.crew.calm >= CALM_TICKS;
        state.crew.watch_at = (!calm).then_some(now + TICK_NS);
        state.crew.waking += wake;
        state.crew.starting += make;
        drop(state);
        if wake > 0 {
            self.muster.bell.ring(wake as i32);
        }
        for made in 0..make {
            if let Err(errno) = self.grow() {
                let mut state = self.backlog.state.lock();
                state.crew.starting -= make - made;
                self.hold_callbacks(&mut state, errno, now);
                return;
            }
        }
    }

    /// Makes a thread of the crew that is already counted as starting.
    fn grow(&'static self) -> Result<(), i32> {
        thread::detached(crew_main, self.address(), Stack::Default)?;
        self.muster.joined();
        Ok(())
    }

    /// No thread can be made and the callbacks have to wait for one.
    fn hold_callbacks(&self, state: &mut State, errno: i32, now: u64) {
        let hold = Hold::Threads(errno);
        // Callbacks never give way to each other, so there is no cap.
        state.hold(LaneId::CALLBACKS, hold, u64::MAX, &self.backlog.tally);
        let pause = state.crew.pace.pause(hold, now);
        state.crew.watch_at = Some(now + pause);
    }

    /// The next callback for a thread of the crew, or how it shall end.
    ///
    /// A thread that has nothing to do is given its name again; one that a
    /// callback has moved to other processors, or given another priority,
    /// ends then, if it is not needed. (To set it back could undo what
    /// somebody did to all threads, and is not always allowed.) So does one
    /// in which a callback left thread-specific data: what destroys that is
    /// the program's, as is the thread while it has just run a callback, not
    /// when it has rested. Between two callbacks in a row the questions would
    /// cost a third of the rate.
    fn next_callback(&'static self, first: bool, began: &Settings) -> Result<Notice, End> {
        let mut asked = first;
        let mut changed = false;
        let mut end = End::AtRest;
        let mut now = sys::now_ns();
        let idle = self.idle_ns();
        let leave_at = now.saturating_add(idle);
        let mut state = self.backlog.state.lock();
        if first {
            state.crew.starting -= 1;
        } else {
            state.crew.running -= 1;
        }
        loop {
            if let Some(notice) = state.take_callback(now, &self.backlog.tally) {
                state.crew.running += 1;
                state.crew.begun += 1;
                state.crew.pace.restart();
                self.see_to_the_rest(state, now);
                self.muster.release();
                return Ok(notice);
            }
            if (changed || now >= leave_at) && self.muster.leave() {
                return Err(end);
            }
            state.crew.idle += 1;
            let sampled = self.muster.bell.sample();
            drop(state);
            if !asked {
                // Counted as idle meanwhile: who posts rings.
                thread::show_as(threads::CALL);
                changed = began.have_changed();
                if threads::keeps_data() {
                    changed = true;
                    end = End::WithData;
                }
            }
            if asked || !changed {
                end = End::AtRest;
                let rest = if now < leave_at { leave_at - now } else { idle };
                self.muster.sleep(sampled, Duration::from_nanos(rest));
                now = sys::now_ns();
            }
            asked = true;
            state = self.backlog.state.lock();
            state.crew.idle -= 1;
            state.crew.waking = state.crew.waking.saturating_sub(1);
        }
    }

    /// A thread takes one callback and goes: who looks after the others?
    fn see_to_the_rest(&'static self, mut state: MutexGuard<'static, State>, now: u64) {
        if state.len(LaneId::CALLBACKS) == 0 || state.crew.waking > 0 {
            return;
        }
        if state.crew.idle > 0 && state.crew.running < self.processors() {
            state.crew.waking = 1;
            drop(state);
            self.muster.bell.ring(1);
        } else if let Wake::Watch(at) = state.crew.watch(now + TICK_NS) {
            self.backlog.summon(&self, state, at);
        }
    }

    /// A callback ended its thread.
    fn lost_a_thread(&'static self) {
        let now = sys::now_ns();
        self.muster.died();
        let mut state = self.backlog.state.lock();
        state.crew.running -= 1;
        let waiting = state.len(LaneId::CALLBACKS) > 0;
        let alone = self.muster.threads() + state.crew.starting == 0;
        let wanted = waiting || alone && self.muster.secured() > 0;
        if !wanted {
            return;
        }
        state.crew.starting += 1;
        drop(state);
        if let Err(errno) = self.grow() {
            let mut state = self.backlog.state.lock();
            state.crew.starting -= 1;
            if state.len(LaneId::CALLBACKS) > 0 {
                self.hold_callbacks(&mut state, errno, now);
                self.backlog.summon(&self, state, now);
            }
        }
    }
}

thread_local! {
    /// This thread is inside a callback.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// A thread of the crew. pthread_exit in a callback unwinds through it, so
/// nothing here has anything to drop while one runs.
extern "C" fn crew_main(notifier: *mut c_void) -> *mut c_void {
    thread::show_as(threads::CALL);
    let began = Settings::own();
    // SAFETY: `spawn` was given `self.address()` of a `&'static Notifier`.
    let notifier: &'static Notifier = unsafe { &*notifier.cast::<Notifier>() };
    threads::at_thread_exit(crew_exit, notifier.address());
    let mut first = true;
    let end = loop {
        let notice = match notifier.next_callback(first, &began) {
            Ok(notice) => notice,
            Err(end) => break end,
        };
        first = false;
        IN_CALLBACK.set(true);
        // SAFETY: the program gave this function for this value.
        unsafe { threads::call(notice.target, notice.value) };
        if notifier.is_foreign() {
            // The callback forked and this is the child: its one thread
            // ends here, as it would in glibc.
            break End::WithData;
        }
        IN_CALLBACK.set(false);
    };
    if end == End::WithData {
        threads::leave();
    }
    std::ptr::null_mut()
}

/// Runs at the end of every crew thread, whichever way it ends.
extern "C" fn crew_exit(notifier: *mut c_void) {
    if !IN_CALLBACK.get() {
        return;
    }
    let before = threads::block_signals();
    // SAFETY: as in `crew_main`.
    let notifier: &'static Notifier = unsafe { &*notifier.cast::<Notifier>() };
    if !notifier.is_foreign() {
        notifier.lost_a_thread();
    }
    sys::set_signal_mask(before);
}
