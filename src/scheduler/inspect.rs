//! What may be asked about the outstanding requests. Nothing changes here.
//!
//! A handle must name a live request, except for [`Scheduler::live`].

use super::slab::NIL;
use super::streams::Lanes;
use super::table::{Chain, Keeper};
use super::{Handle, Operation, Scheduler, State, StreamId};

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

    /// The live requests of a descriptor number, in call order.
    pub fn of_descriptor(&self, descriptor: i32) -> impl Iterator<Item = Handle> + '_ {
        let mut next = self.groups.first(descriptor);
        std::iter::from_fn(move || {
            let index = next;
            if index == NIL {
                return None;
            }
            next = self.table.next(index, Chain::Descriptor);
            Some(Handle(index))
        })
    }

    /// Bytes taken by what grows with reads and writes of few files.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.extents.bytes() + self.ready.bytes()
    }
}
