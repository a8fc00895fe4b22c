//! Lanes: one request at a time, the best that waits next.
//!
//! A lane is one direction of what cannot seek (a stream) or, with
//! [`Order::PerDescriptor`](super::Order::PerDescriptor), the requests of one
//! descriptor. In: by [`Lanes::join`]. Out: by [`Lanes::leave`], finished or
//! cancelled. What must hold meanwhile: of the requests of a lane at most one
//! is Ready, Running or Parked at a time, and a Ready one has the lowest order
//! of all that wait; every other one is Held. A lane without requests is gone.

use std::collections::{BTreeMap, HashMap};

use super::hash::Mix;
use super::ready::ReadyQueue;
use super::submission::{Direction, State, StreamId};
use super::table::{Keeper, Table};

/// Where the lane is known by its number, to be forgotten there at its end.
#[derive(Clone, Copy)]
pub(super) enum Owner {
    File(u32, Direction),
    Group(u32),
}

enum Turn {
    Nobody,
    /// Ready, and not among the waiting.
    Ready(u32),
    /// Running, and not among the waiting.
    Running(u32),
    /// The poll is armed. The one that asked for it waits with the others; a
    /// cancelled one leaves the poll armed for them.
    Parked(Option<u32>),
}

struct Lane {
    owner: Owner,
    turn: Turn,
    waiting: BTreeMap<u64, u32>,
}

pub(super) struct Lanes {
    lanes: HashMap<u32, Lane, Mix>,
    next: u32,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Lanes {
            lanes: HashMap::default(),
            next: 0,
        }
    }

    /// Room for one more. False: no memory.
    pub(super) fn make_room(&mut self) -> bool {
        self.lanes.try_reserve(1).is_ok()
    }

    /// Makes a lane. A number comes again only after all others: an event of
    /// an ended stream that is still on its way must not reach another.
    pub(super) fn open(&mut self, owner: Owner) -> u32 {
        loop {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            if let std::collections::hash_map::Entry::Vacant(place) = self.lanes.entry(number) {
                place.insert(Lane {
                    owner,
                    turn: Turn::Nobody,
                    waiting: BTreeMap::new(),
                });
                return number;
            }
        }
    }

    pub(super) fn join<T>(
        &mut self,
        table: &mut Table<T>,
        ready: &mut ReadyQueue,
        number: u32,
        index: u32,
    ) {
        table[index].keeper = Keeper::Lane(number);
        let Some(lane) = self.lanes.get_mut(&number) else {
            return;
        };
        let order = table[index].order;
        match lane.turn {
            Turn::Ready(other) if order < table[other].order => {
                ready.remove(table, other);
                table[other].state = State::Held;
                lane.waiting.insert(table[other].order, other);
                lane.turn = Turn::Nobody;
            }
            _ => {}
        }
        lane.waiting.insert(order, index);
        lane.promote(table, ready);
    }

    /// The Ready request of the lane was started.
    pub(super) fn started(&mut self, number: u32, index: u32) {
        if let Some(lane) = self.lanes.get_mut(&number) {
            lane.turn = Turn::Running(index);
        }
    }

    /// The Running request found nothing to do.
    pub(super) fn park<T>(&mut self, table: &mut Table<T>, number: u32, index: u32) {
        if let Some(lane) = self.lanes.get_mut(&number) {
            table[index].state = State::Parked;
            lane.waiting.insert(table[index].order, index);
            lane.turn = Turn::Parked(Some(index));
        }
    }

    /// Readiness came: the best of the lane, now Running.
    pub(super) fn unpark<T>(&mut self, table: &mut Table<T>, number: u32) -> Option<u32> {
        let lane = self.lanes.get_mut(&number)?;
        let Turn::Parked(parked) = lane.turn else {
            return None;
        };
        let (_, index) = lane.waiting.pop_first()?;
        if let Some(parked) = parked {
            table[parked].state = State::Held;
        }
        table[index].state = State::Running;
        lane.turn = Turn::Running(index);
        Some(index)
    }

    /// Whether a request of the lane waits for something.
    pub(super) fn waits(&self, number: u32) -> bool {
        self.lanes.get(&number).is_some_and(|lane| {
            !lane.waiting.is_empty() || matches!(lane.turn, Turn::Ready(_) | Turn::Parked(_))
        })
    }

    /// Lets a request go that is not in the ready queue any more. Gives the
    /// owner to forget the lane if it was the last.
    pub(super) fn leave<T>(
        &mut self,
        table: &mut Table<T>,
        ready: &mut ReadyQueue,
        number: u32,
        index: u32,
    ) -> Option<Owner> {
        let lane = self.lanes.get_mut(&number)?;
        match lane.turn {
            Turn::Ready(turn) | Turn::Running(turn) if turn == index => lane.turn = Turn::Nobody,
            _ => {
                lane.waiting.remove(&table[index].order);
                match lane.turn {
                    Turn::Parked(_) if lane.waiting.is_empty() => lane.turn = Turn::Nobody,
                    Turn::Parked(Some(parked)) if parked == index => {
                        lane.turn = Turn::Parked(None);
                    }
                    _ => {}
                }
            }
        }
        lane.promote(table, ready);
        if !matches!(lane.turn, Turn::Nobody) {
            return None;
        }
        let owner = lane.owner;
        self.lanes.remove(&number);
        super::hash::relax(&mut self.lanes);
        Some(owner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn id(number: u32) -> StreamId {
        StreamId(number)
    }
}

impl Lane {
    /// Makes the best that waits Ready, if it is nobody's turn.
    fn promote<T>(&mut self, table: &mut Table<T>, ready: &mut ReadyQueue) {
        if let Turn::Nobody = self.turn
            && let Some((_, index)) = self.waiting.pop_first()
        {
            table[index].state = State::Ready;
            ready.push(table, index);
            self.turn = Turn::Ready(index);
        }
    }
}
