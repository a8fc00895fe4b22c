//! What may be asked about the outstanding requests. Nothing changes here.
//!
//! A handle must name a live request, except for [`Scheduler::live`].

use super::slab::NIL;
use super::streams::Lanes;
use super::table::{Chain, Keeper};
use super::{Handle, Operation, Scheduler, State, StreamId};

/// A place among the requests of a descriptor number. (A list of them would
/// need memory, and more of it than may be had.)
pub struct Walk {
    descriptor: i32,
    /// What was given last, with the number of its call: all that is still to
    /// be given is older.
    last: (u32, u64),
    /// The last of those given that was found alive afterwards: what lay
    /// between the two is gone.
    left: (u32, u64),
}

impl<T> Scheduler<T> {
    /// Whether the handle names a live request.
    pub fn live(&self, handle: Handle) -> bool {
        self.table.get(handle.0).is_some()
    }

    /// The payload of a live request.
    pub fn payload(&self, handle: Handle) -> &T {
        &self.table[handle.0].payload
    }

    /// The payload of a live request.
    pub fn payload_mut(&mut self, handle: Handle) -> &mut T {
        &mut self.table[handle.0].payload
    }

    /// Where a live request stands.
    pub fn state(&self, handle: Handle) -> State {
        self.table[handle.0].state
    }

    /// The descriptor number a live request was submitted with, also after
    /// [`Scheduler::detach`].
    pub fn descriptor(&self, handle: Handle) -> i32 {
        self.groups.descriptor(self.table[handle.0].group)
    }

    /// A number for the file of a live request, which other live requests of
    /// that file share and no others. None: its order does not depend on it.
    pub fn file(&self, handle: Handle) -> Option<u32> {
        let file = self.table[handle.0].file;
        (file != NIL).then_some(file)
    }

    /// The priority of a live request.
    pub fn priority(&self, handle: Handle) -> u8 {
        self.table[handle.0].priority()
    }

    /// The operation of a live request.
    pub fn operation(&self, handle: Handle) -> Operation {
        self.table[handle.0].operation
    }

    /// Of a sync: the error of the first write to fail of those it waited for.
    pub fn carried_error(&self, handle: Handle) -> Option<i32> {
        match self.table[handle.0].error {
            0 => None,
            error => Some(error),
        }
    }

    /// Whether a request of that stream waits. When none does, nobody needs
    /// to hear of the stream's readiness.
    pub fn stream_waits(&self, stream: StreamId) -> bool {
        self.lanes.waits(stream.0)
    }

    /// The stream of a [`Operation::Stream`] request.
    pub fn stream_of(&self, handle: Handle) -> Option<StreamId> {
        let request = &self.table[handle.0];
        match (request.operation, request.keeper) {
            (Operation::Stream(_), Keeper::Lane(lane)) => Some(Lanes::id(lane)),
            _ => None,
        }
    }

    /// Begins a walk through the live requests of a descriptor number.
    pub fn walk(&self, descriptor: i32) -> Walk {
        Walk {
            descriptor,
            last: (NIL, self.calls),
            left: (NIL, self.calls),
        }
    }

    /// The next of a walk, newest first. Between two steps anything may be
    /// submitted, withdrawn or finished: what has ended is passed over, what
    /// is newer than the walk is left out.
    pub fn older(&self, walk: &mut Walk) -> Option<Handle> {
        // (An index may be another's by now, a call's number never is.)
        let lives = |(index, number)| self.table.get(index).is_some_and(|r| r.number() == number);
        if lives(walk.last) {
            walk.left = walk.last;
        }
        let mut index = if lives(walk.left) {
            self.table.previous(walk.left.0, Chain::Descriptor)
        } else {
            self.groups.newest(walk.descriptor)
        };
        while index != NIL && self.table[index].number() >= walk.last.1 {
            index = self.table.previous(index, Chain::Descriptor);
        }
        if index == NIL {
            return None;
        }
        walk.last = (index, self.table[index].number());
        Some(Handle(index))
    }

    /// The live requests of a descriptor number, in call order.
    #[cfg(test)]
    pub fn of_descriptor(&self, descriptor: i32) -> Vec<Handle> {
        let mut walk = self.walk(descriptor);
        let mut all: Vec<Handle> = std::iter::from_fn(|| self.older(&mut walk)).collect();
        all.reverse();
        all
    }

    /// Bytes taken by what grows with reads and writes of few files.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.extents.bytes()
    }
}
