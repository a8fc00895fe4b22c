//! The protocol of the backlog: who delivers, who sleeps, who wakes whom.
//!
//! Who comes in: threads of the library that completed something (`post`),
//! and the notifier's thread (`tend`). Who goes out: whoever holds a claim
//! calls [`World::deliver`], without the lock. What must hold:
//! - a lane that is not empty has somebody responsible: the thread that
//!   claimed it, or the notifier, which is awake, or asleep until the lane's
//!   next try at the latest, or being made; if it cannot be made, `help_at`
//!   says when an engine thread has to look (`retry`);
//! - the lock is held for counting and moving only, never over a system call
//!   that may wait;
//! - a posting thread hands over a few notices itself (a signal costs less
//!   than waking somebody to send it) and leaves batches to the notifier.
//!
//! The world outside is a trait, so that loom can check this file as it is.

use std::time::Duration;

use super::bell::Bell;
use super::callbacks::Wake;
use super::fifo::Waiting;
use super::lanes::{Claim, Done, LaneId, State};
use super::notice::Notice;
use super::pace::Hold;
use super::tally::Tally;
use crate::perturb;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Notices that a posting thread hands over itself, at most.
const INLINE: usize = perturb::bound(4, 1);
/// Entries handed over in one claim, at most.
const BATCH: usize = if cfg!(loom) { 2 } else { perturb::bound(32, 2) };
/// When to try again after the notifier's thread could not be made.
const HELP_NS: u64 = 10_000_000;

/// What is outside: the kernel, the clock, the threads.
pub(super) trait World {
    fn now(&self) -> u64;
    /// Cap of what waits, and idle time in ns.
    fn limits(&self) -> (u64, u64);
    /// Hands over `entries` in order until one is held up. `done` is as long
    /// as `entries`; how many were handed over, and why the next was not.
    fn deliver(
        &self,
        claim: &Claim,
        entries: &[Option<Waiting>],
        done: &mut [Done],
    ) -> (usize, Option<Hold>);
    /// Makes the thread that calls `tend`.
    fn start_notifier(&self) -> bool;
    /// Cached callback threads that exist, busy or not.
    fn callback_threads(&self) -> u32;
    /// Wakes one of those that are idle.
    fn wake_callback_thread(&self);
    /// Looks after the callback threads.
    fn tend_callbacks(&self, now: u64);
    /// Reports the begin of an episode.
    fn announce(&self, cause: Hold);
    /// Gives the processor away.
    fn yield_now(&self);
    /// Waits a moment: memory ran out.
    fn out_of_memory(&self);
}

pub(super) struct Backlog {
    pub state: Mutex<State>,
    pub tally: Tally,
    /// Rung for the notifier's thread.
    pub bell: Bell,
    /// When an engine thread has to help (ns); 0: no need.
    help_at: AtomicU64,
}

impl Backlog {
    pub const fn new() -> Self {
        Backlog {
            state: Mutex::new(State::new()),
            tally: Tally::new(),
            bell: Bell::new(),
            help_at: AtomicU64::new(0),
        }
    }

    /// Takes over notices, first come first sent in each lane.
    pub fn post(&self, world: &impl World, notices: &[Notice]) {
        let mut left = notices;
        loop {
            left = &left[self.take_over(world, left)..];
            if left.is_empty() {
                return;
            }
            // Memory ran out. Losing a notice is not an answer, so the poster
            // waits: deliveries make room, also of what was just taken over;
            // its own, where there is no thread for the notifier.
            world.out_of_memory();
            if self.help_at().is_some() {
                self.retry(world);
            }
        }
    }

    /// Takes over what there is memory for, and sees to its delivery; how
    /// many that are.
    fn take_over(&self, world: &impl World, notices: &[Notice]) -> usize {
        let now = world.now();
        let (max_waiting, _) = world.limits();
        let inline = notices.len() <= INLINE;
        let mut mine: Option<LaneId> = None;
        let mut at = None;
        let mut callbacks = false;
        let mut taken = 0;

        let mut state = self.state.lock();
        for &notice in notices {
            let id = notice.lane();
            let entry = Waiting { notice, since: now };
            let Ok(was_empty) = state.push(entry, max_waiting, &self.tally) else {
                break;
            };
            taken += 1;
            if id == LaneId::CALLBACKS {
                callbacks = true;
            } else if was_empty {
                if inline && mine.is_none() && id != LaneId::OWN_THREADS {
                    mine = Some(id);
                } else {
                    at = Some(now);
                }
            }
        }
        let mut room = [None; INLINE];
        let claim = mine.and_then(|id| state.claim(id, share(id, &mut room), now));
        let mut wake = false;
        if callbacks {
            match state.crew.posted(world.callback_threads(), now) {
                Wake::One => wake = true,
                Wake::Watch(then) => at = Some(at.unwrap_or(then).min(then)),
                Wake::Nobody => {}
            }
        }
        if state.news.is_some() {
            at = Some(now);
        }
        match at {
            Some(at) => self.summon(world, state, at),
            None => drop(state),
        }
        if wake {
            world.wake_callback_thread();
        }
        if let Some(claim) = claim {
            self.deliver(world, claim, &room[..claim.count]);
        }
        taken
    }

    /// Delivers what was claimed, and sees to the rest of the lane.
    fn deliver(&self, world: &impl World, claim: Claim, entries: &[Option<Waiting>]) {
        let mut done = [Done::Sent; BATCH];
        let (count, hold) = world.deliver(&claim, entries, &mut done[..entries.len()]);
        perturb::pause(30, 500);
        let now = world.now();
        let mut state = self.state.lock();
        let (max_waiting, _) = world.limits();
        let left = state.settle(
            claim.id,
            &done[..count],
            hold,
            now,
            max_waiting,
            &self.tally,
        );
        if state.news.is_some() {
            self.summon(world, state, now);
        } else if let Some(next_try) = left {
            self.summon(world, state, next_try);
        }
    }

    /// Sees to it that the notifier looks at `at`, at the latest.
    pub fn summon<'a>(&'a self, world: &impl World, mut state: MutexGuard<'a, State>, at: u64) {
        if state.present {
            let late = state.asleep_until.is_some_and(|until| at < until);
            if late {
                // Nobody rings twice for the same sleep.
                state.asleep_until = Some(at);
                drop(state);
                self.bell.ring(1);
            }
            return;
        }
        let help_at = self.help_at.load(Ordering::Relaxed);
        if help_at > world.now() {
            return;
        }
        state.present = true;
        drop(state);
        if world.start_notifier() {
            self.help_at.store(0, Ordering::Relaxed);
            return;
        }
        let mut state = self.state.lock();
        state.present = false;
        self.help_at.store(world.now() + HELP_NS, Ordering::Relaxed);
    }

    /// Tries every lane that is due, once. True: something was due.
    fn round(&self, world: &impl World) -> bool {
        let mut last = None;
        let mut busy = false;
        let begin = world.now();
        loop {
            let mut room = [None; BATCH];
            let mut state = self.state.lock();
            if let Some(cause) = state.news.take() {
                drop(state);
                world.announce(cause);
                continue;
            }
            let Some(id) = state.due_after(last, begin) else {
                break;
            };
            let claim = state.claim(id, share(id, &mut room), begin);
            drop(state);
            last = Some(id);
            busy = true;
            if let Some(claim) = claim {
                self.deliver(world, claim, &room[..claim.count]);
            }
        }
        world.tend_callbacks(begin);
        busy
    }

    /// The notifier's thread: returns when there was nothing to do for the
    /// idle time.
    pub fn tend(&self, world: &impl World) {
        let mut last_work = world.now();
        while self.tend_once(world, &mut last_work) {}
    }

    /// One round and the sleep after it. False: the thread has left.
    fn tend_once(&self, world: &impl World, last_work: &mut u64) -> bool {
        let before = self.tally.handed_over();
        if self.round(world) {
            *last_work = world.now();
        }
        let progress = self.tally.handed_over() != before;
        let now = world.now();
        let mut state = self.state.lock();
        let next = [state.next_try(), state.crew.watch_at()]
            .into_iter()
            .flatten()
            .min();
        let until = match next {
            _ if state.news.is_some() => return true,
            Some(at) if at <= now => {
                drop(state);
                if !progress {
                    world.yield_now();
                }
                return true;
            }
            Some(at) => at,
            None => {
                let (_, idle) = world.limits();
                if now.saturating_sub(*last_work) >= idle {
                    state.present = false;
                    return false;
                }
                last_work.saturating_add(idle)
            }
        };
        state.asleep_until = Some(until);
        let sampled = self.bell.sample();
        drop(state);
        let limit = (until != u64::MAX).then(|| Duration::from_nanos(until - now));
        self.bell.wait(sampled, limit);
        self.state.lock().asleep_until = None;
        true
    }

    /// Nothing is kept and nothing is being handed over.
    #[cfg(test)]
    pub fn idle(&self) -> bool {
        self.state.lock().is_empty()
    }

    /// When `retry` is to be called (ns), because the notifier's thread
    /// could not be made.
    pub fn help_at(&self) -> Option<u64> {
        Some(self.help_at.load(Ordering::Relaxed)).filter(|&at| at != 0)
    }

    /// In place of the notifier: delivers what it can, then tries to make
    /// the thread again while something is left.
    pub fn retry(&self, world: &impl World) {
        self.round(world);
        let state = self.state.lock();
        if state.is_empty() && state.news.is_none() {
            self.help_at.store(0, Ordering::Relaxed);
            return;
        }
        let now = world.now();
        self.help_at.store(now, Ordering::Relaxed);
        self.summon(world, state, now);
    }
}

/// The part of `room` that a claim of this lane may fill. Of a gated lane,
/// one: the second has to wait until the first was taken in any case.
fn share(id: LaneId, room: &mut [Option<Waiting>]) -> &mut [Option<Waiting>] {
    if id.is_gated() || id == LaneId::OWN_THREADS {
        &mut room[..1]
    } else {
        room
    }
}
