//! Lanes: where notices wait, each for what it waits for.
//!
//! One lane for each signal number, one for each thread or eventfd that is
//! addressed directly, one for callbacks. A lane is first in, first out;
//! lanes do not hold each other up.
//!
//! Who comes in: the protocol in `backlog.rs`, always with the lock held; no
//! system call is made here and nothing waits. What must hold:
//! - an entry stays in its lane until it was handed over: whoever finds a
//!   lane empty may send at once without overtaking anybody;
//! - at most one thread delivers from a lane (`claimed`), and only that
//!   thread removes entries from it;
//! - an episode begins when the first lane is refused by a limit, and ends
//!   when the last such lane is empty.

use super::beyond::Beyond;
use super::callbacks::Crew;
use super::fifo::{Fifo, NoMemory, Waiting};
use super::lane_id::FIXED;
pub(super) use super::lane_id::LaneId;
use super::notice::{Notice, Origin};
use super::pace::{Hold, Pace};
use super::tally::{Kind, Tally};

/// How the delivery of one notice ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Done {
    /// The kernel, or a thread of its own, has it.
    Sent,
    /// As a plain signal: something forbids queued ones.
    WithoutValue,
    /// The receiver is gone.
    Undeliverable,
}

/// The right to deliver from a lane.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub id: LaneId,
    /// Entries copied.
    pub count: usize,
    /// How long its front has been refused, in ns.
    pub stuck_for: u64,
}

struct Lane {
    fifo: Fifo,
    /// Entries that are notifications of lists.
    lists: u64,
    /// Somebody is delivering from it.
    claimed: bool,
    /// All entries were deferred, and so will be those that join.
    held: bool,
    /// A limit refused it: part of the episode.
    limited: bool,
    /// When its front may be tried again.
    next_try: u64,
    pace: Pace,
}

impl Lane {
    const fn new() -> Self {
        Lane {
            fifo: Fifo::new(),
            lists: 0,
            claimed: false,
            held: false,
            limited: false,
            next_try: 0,
            pace: Pace::new(),
        }
    }

    /// Counts every entry as deferred.
    fn hold(&mut self, tally: &Tally) {
        let Some(front) = self.fifo.front() else {
            return;
        };
        if self.held {
            return;
        }
        self.held = true;
        let mut plain = front.notice;
        plain.origin = Origin::Request;
        let len = self.fifo.len() as u64;
        tally.deferred(plain.kind(), len - self.lists);
        tally.deferred(Kind::List, self.lists);
    }
}

/// Everything behind the backlog's lock.
pub(super) struct State {
    fixed: [Lane; FIXED],
    /// Bit by bit the fixed lanes that are not empty.
    active: u128,
    /// Lanes made on demand, by name; removed when empty.
    others: Vec<(LaneId, Lane)>,
    /// Lanes of the present episode.
    limited: u32,
    /// An episode began and has not been announced.
    pub news: Option<Hold>,
    /// Signals that were ever asked for as a notification.
    pub asked: u64,
    /// Notices kept beyond the cap: equal ones merge into them.
    beyond: Beyond,
    /// The cached callback threads.
    pub crew: Crew,
    /// The notifier's thread exists, or is being made.
    pub present: bool,
    /// It sleeps, until then.
    pub asleep_until: Option<u64>,
}

impl State {
    pub const fn new() -> Self {
        State {
            fixed: [const { Lane::new() }; FIXED],
            active: 0,
            others: Vec::new(),
            limited: 0,
            news: None,
            asked: 0,
            beyond: Beyond::new(),
            crew: Crew::new(),
            present: false,
            asleep_until: None,
        }
    }

    fn find(&self, id: LaneId) -> Option<&Lane> {
        if let Some(index) = id.index() {
            return self.fixed.get(index);
        }
        let at = self.others.binary_search_by_key(&id, |lane| lane.0).ok()?;
        Some(&self.others[at].1)
    }

    fn find_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        if let Some(index) = id.index() {
            return self.fixed.get_mut(index);
        }
        let at = self.others.binary_search_by_key(&id, |lane| lane.0).ok()?;
        Some(&mut self.others[at].1)
    }

    fn find_or_make(&mut self, id: LaneId) -> Result<&mut Lane, NoMemory> {
        if let Some(index) = id.index() {
            return Ok(&mut self.fixed[index]);
        }
        let at = match self.others.binary_search_by_key(&id, |lane| lane.0) {
            Ok(at) => at,
            Err(at) => {
                self.others.try_reserve(1).map_err(|_| NoMemory)?;
                self.others.insert(at, (id, Lane::new()));
                at
            }
        };
        Ok(&mut self.others[at].1)
    }

    /// Entries in a lane.
    pub fn len(&self, id: LaneId) -> usize {
        self.find(id).map_or(0, |lane| lane.fifo.len())
    }

    /// Since when the front of a lane is there.
    pub fn front_since(&self, id: LaneId) -> Option<u64> {
        Some(self.find(id)?.fifo.front()?.since)
    }

    /// Nothing kept, nothing being delivered.
    pub fn is_empty(&self) -> bool {
        self.active == 0 && self.others.is_empty()
    }

    /// A limit refuses some lane.
    #[cfg(test)]
    pub fn in_episode(&self) -> bool {
        self.limited > 0
    }

    /// Puts a notice at the end of its lane. `Ok(true)`: the lane was empty,
    /// and whoever pushed has to see to it that somebody delivers.
    pub fn push(
        &mut self,
        mut entry: Waiting,
        max_waiting: u64,
        tally: &Tally,
    ) -> Result<bool, NoMemory> {
        let id = entry.notice.lane();
        let kind = entry.notice.kind();
        let lane = self.find_or_make(id)?;
        let (was_empty, held) = (lane.fifo.is_empty(), lane.held);
        if held && tally.waiting() >= max_waiting {
            let last = lane.fifo.back().map(|last| last.notice);
            if self.beyond.absorbs(id, &mut entry.notice, last.as_ref()) {
                tally.merged(kind);
                self.limit(id, Hold::TooMany, tally);
                return Ok(false);
            }
        }
        let lane = self.find_or_make(id)?;
        if let Err(no_memory) = lane.fifo.push(entry) {
            self.beyond.forget(id, &entry.notice);
            if was_empty {
                self.retire(id);
            }
            return Err(no_memory);
        }
        lane.lists += u64::from(entry.notice.origin == Origin::List);
        if held {
            tally.deferred(kind, 1);
        }
        if let Some(index) = id.index() {
            self.active |= 1 << index;
        }
        self.asked |= id.signal_bit();
        Ok(was_empty)
    }

    /// Takes the right to deliver from a lane and copies its first entries
    /// to `room`; None when it is empty or somebody else delivers.
    pub fn claim(&mut self, id: LaneId, room: &mut [Option<Waiting>], now: u64) -> Option<Claim> {
        let lane = self.find_mut(id)?;
        if lane.claimed || lane.fifo.is_empty() {
            return None;
        }
        lane.claimed = true;
        Some(Claim {
            id,
            count: lane.fifo.peek(room),
            stuck_for: lane.pace.stuck_for(now),
        })
    }

    /// Ends a claim: the first `done.len()` entries are handed over as told;
    /// `hold` says why the next was not. When the front is to be tried again,
    /// or None: the lane is empty.
    pub fn settle(
        &mut self,
        id: LaneId,
        done: &[Done],
        hold: Option<Hold>,
        now: u64,
        max_waiting: u64,
        tally: &Tally,
    ) -> Option<u64> {
        for &how in done {
            self.hand_over(id, how, now, tally);
        }
        let lane = self.find_mut(id)?;
        lane.claimed = false;
        if !done.is_empty() {
            lane.pace.restart();
        }
        if lane.fifo.is_empty() {
            self.retire(id);
            return None;
        }
        let Some(hold) = hold else {
            lane.next_try = now;
            return Some(now);
        };
        lane.next_try = now + lane.pace.pause(hold, now);
        let next_try = lane.next_try;
        if hold == Hold::Busy {
            // Nothing refused it: it is only not sent yet.
            return Some(next_try);
        }
        self.hold(id, hold, max_waiting, tally);
        Some(next_try)
    }

    /// Marks a lane as unable to hand over for now.
    pub fn hold(&mut self, id: LaneId, hold: Hold, max_waiting: u64, tally: &Tally) {
        let Some(lane) = self.find_mut(id) else {
            return;
        };
        if !lane.held {
            let all = tally.waiting() + lane.fifo.len() as u64;
            let thinned = all > max_waiting && self.thin(id, all - max_waiting, tally);
            if let Some(lane) = self.find_mut(id) {
                lane.hold(tally);
            }
            if thinned {
                self.limit(id, Hold::TooMany, tally);
            }
        }
        if hold.is_limit() {
            self.limit(id, hold, tally);
        }
    }

    /// What came in before it was known that the lane has to wait may be more
    /// than the cap allows: of the last `excess`, equal ones merge. True if
    /// any did.
    fn thin(&mut self, id: LaneId, excess: u64, tally: &Tally) -> bool {
        let Some(lane) = self.find_mut(id) else {
            return false;
        };
        let mut fifo = std::mem::replace(&mut lane.fifo, Fifo::new());
        let excess = usize::try_from(excess).unwrap_or(usize::MAX);
        let keep = fifo.len().saturating_sub(excess).max(1);
        let (before, mut lists) = (fifo.len(), 0);
        fifo.thin(keep, |entry, last| {
            let notice = &mut entry.notice;
            let gone = self.beyond.absorbs(id, notice, Some(&last.notice));
            if gone {
                lists += u64::from(notice.origin == Origin::List);
                tally.merged(notice.kind());
            }
            gone
        });
        let thinned = fifo.len() < before;
        if let Some(lane) = self.find_mut(id) {
            lane.fifo = fifo;
            lane.lists -= lists;
        }
        thinned
    }

    /// A limit refuses this lane: it belongs to the episode, or begins one.
    fn limit(&mut self, id: LaneId, cause: Hold, tally: &Tally) {
        let Some(lane) = self.find_mut(id) else {
            return;
        };
        if lane.limited || lane.fifo.is_empty() {
            return;
        }
        lane.limited = true;
        self.limited += 1;
        if self.limited == 1 {
            tally.episode();
            self.news = Some(cause);
        }
    }

    /// Takes the front of a lane away and counts it.
    fn hand_over(&mut self, id: LaneId, how: Done, now: u64, tally: &Tally) {
        let Some(lane) = self.find_mut(id) else {
            return;
        };
        let held = lane.held;
        let Some(entry) = lane.fifo.pop() else {
            return;
        };
        let kind = entry.notice.kind();
        lane.lists -= u64::from(entry.notice.origin == Origin::List);
        self.beyond.forget(id, &entry.notice);
        match how {
            Done::Undeliverable => tally.undeliverable(),
            _ => tally.sent(kind),
        }
        if how == Done::WithoutValue {
            tally.without_value();
        }
        if held {
            tally.ended_waiting(kind);
            if how != Done::Undeliverable {
                tally.late(kind, now.saturating_sub(entry.since));
            }
        }
    }

    /// Takes the front of the callback lane: it is about to be called.
    pub fn take_callback(&mut self, now: u64, tally: &Tally) -> Option<Notice> {
        let entry = *self.fixed[0].fifo.front()?;
        self.hand_over(LaneId::CALLBACKS, Done::Sent, now, tally);
        if self.fixed[0].fifo.is_empty() {
            self.retire(LaneId::CALLBACKS);
        }
        Some(entry.notice)
    }

    /// An empty lane forgets what it was held by.
    fn retire(&mut self, id: LaneId) {
        let Some(lane) = self.find_mut(id) else {
            return;
        };
        lane.held = false;
        lane.pace.restart();
        if std::mem::take(&mut lane.limited) {
            self.limited -= 1;
        }
        if let Some(index) = id.index() {
            self.active &= !(1 << index);
        } else if let Ok(at) = self.others.binary_search_by_key(&id, |lane| lane.0) {
            self.others.remove(at);
        }
    }

    /// Lanes that the notifier serves (not the callbacks), not empty and
    /// not claimed, with their next try.
    fn served(&self) -> impl Iterator<Item = (LaneId, u64)> + '_ {
        let mut bits = self.active & !1;
        let fixed = std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let at = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            Some((LaneId::at(at), &self.fixed[at]))
        });
        let others = self.others.iter().map(|(id, lane)| (*id, lane));
        fixed
            .chain(others)
            .filter(|(_, lane)| !lane.claimed && !lane.fifo.is_empty())
            .map(|(id, lane)| (id, lane.next_try))
    }

    /// The earliest next try of a lane that the notifier serves.
    pub fn next_try(&self) -> Option<u64> {
        self.served().map(|(_, at)| at).min()
    }

    /// The first lane after `last` that is due.
    pub fn due_after(&self, last: Option<LaneId>, now: u64) -> Option<LaneId> {
        self.served()
            .find(|&(id, at)| at <= now && last.is_none_or(|last| id > last))
            .map(|(id, _)| id)
    }
}

#[cfg(test)]
impl State {
    /// No notice beyond the cap is remembered.
    pub fn nothing_beyond(&self) -> bool {
        self.beyond.is_empty()
    }
}
