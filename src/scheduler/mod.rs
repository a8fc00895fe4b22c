//! Which request may start, and when. No I/O, no threads, no unsafe code.
//!
//! In: a request by [`Scheduler::submit`]. Out: by [`Scheduler::finish`] once
//! it ran, or by [`Scheduler::withdraw`] if it never did. What must hold
//! meanwhile: [`Scheduler::next_ready`] gives a request as soon as, and not
//! before, nothing that it must wait for is live; and of those the one with
//! the best priority, the oldest among equals.
//!
//! ```text
//! submit -> Held -> Ready -> Running -> finish
//!             ^ \     |        | ^
//!             |  \    v        | |
//!             |   `> withdraw  | |
//!             |       ^     park | unpark
//!             |       |          v
//!             `------------- Parked
//! ```
//!
//! | module | keeps |
//! |---|---|
//! | [`extents`], [`tree`] | call order of overlapping ranges of a file |
//! | [`barrier`] | a sync behind the writes before it |
//! | [`streams`] | one request at a time |
//! | [`ready`], [`heap`] | what may start, best first |
//! | [`files`] | who shares a file or a descriptor number |
//! | [`inspect`] | nothing: the questions one may ask |
//! | [`table`], [`slab`] | the requests and the lists through them |
//!
//! The cost of each call is logarithmic in what is outstanding, amortised (of
//! what that means for overlap see [`extents`]); memory goes back when a burst
//! is over. `tests/cost.rs` measures both.

#![forbid(unsafe_code)]

mod barrier;
mod extents;
mod files;
mod hash;
mod heap;
mod inspect;
mod ready;
mod slab;
mod streams;
mod submission;
mod table;
mod tree;

#[cfg(test)]
mod tests;

pub use submission::{Direction, FileKey, Handle, Operation, Order, State, StreamId, Submission};

use extents::Extents;
use files::{Files, Groups};
use ready::{PRIORITIES, ReadyQueue};
use slab::NIL;
use streams::{Lanes, Owner};
use table::{Chain, Keeper, Request, Table};

/// The outstanding requests and the order they keep. `T` is the payload of a
/// request, given back at its end.
pub struct Scheduler<T> {
    rule: Order,
    calls: u64,
    table: Table<T>,
    ready: ReadyQueue,
    files: Files,
    groups: Groups,
    extents: Extents,
    lanes: Lanes,
}

impl<T> Scheduler<T> {
    /// A scheduler without requests. Allocates nothing.
    pub fn new(order: Order) -> Self {
        Scheduler {
            rule: order,
            calls: 0,
            table: Table::new(),
            ready: ReadyQueue::new(),
            files: Files::new(),
            groups: Groups::new(),
            extents: Extents::new(),
            lanes: Lanes::new(),
        }
    }

    /// How many requests are live.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no request is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room in what holds all requests, where it grows by large steps.
    /// False: there is no memory.
    pub fn make_room(&mut self) -> bool {
        self.table.make_room()
            && self.files.make_room()
            && self.groups.make_room()
            && self.lanes.make_room()
            && self.extents.make_room()
    }

    /// The same for what this request makes necessary, however much that is,
    /// as long as `may` allows to take more. False: there is no memory.
    pub fn make_room_for(&mut self, submission: &Submission, may: impl Fn() -> bool) -> bool {
        if self.rule != Order::Posix || !matches!(submission.operation.extent(), Some((_, _, true)))
        {
            return true;
        }
        self.files.find(submission.file).is_none_or(|file| {
            self.extents
                .map_reads(&mut self.table, &mut file.overlap, may)
        })
    }

    /// Takes a request in. The order of these calls is the call order.
    pub fn submit(&mut self, submission: Submission, payload: T) -> Handle {
        let Submission {
            file,
            descriptor,
            operation,
            priority,
        } = submission;
        let number = self.calls;
        self.calls += 1;
        let order = table::order(priority.min(PRIORITIES as u8 - 1), number);
        let index = self.table.insert(Request::new(order, operation, payload));
        let group = self.groups.join(&mut self.table, descriptor, index);
        if operation == Operation::Free {
            self.make_ready(index);
        } else if self.rule == Order::PerDescriptor && operation.seeks() {
            self.join_descriptor(group, index);
        } else {
            self.join_file(file, index);
        }
        Handle(index)
    }

    fn join_descriptor(&mut self, group: u32, index: u32) {
        let mut lane = self.groups.get(group).lane;
        if lane == NIL {
            lane = self.lanes.open(Owner::Group(group));
            self.groups.get(group).lane = lane;
        }
        self.lanes
            .join(&mut self.table, &mut self.ready, lane, index);
    }

    fn join_file(&mut self, key: FileKey, index: u32) {
        let number = self.files.join(key);
        self.table[index].file = number;
        let file = self.files.get(number);
        let operation = self.table[index].operation;
        let may_start = match operation {
            Operation::Stream(direction) => {
                let lane = file.lane(direction);
                if *lane == NIL {
                    *lane = self.lanes.open(Owner::File(number, direction));
                }
                return self
                    .lanes
                    .join(&mut self.table, &mut self.ready, *lane, index);
            }
            Operation::Sync => {
                self.table[index].keeper = Keeper::Barrier;
                file.barrier.enter(self.table[index].number(), index)
            }
            _ => {
                if operation.writes_file() {
                    file.barrier.write_begins();
                }
                self.extents
                    .enter(&mut self.table, &mut file.overlap, index)
            }
        };
        if may_start {
            self.make_ready(index);
        }
    }

    fn make_ready(&mut self, index: u32) {
        self.table[index].state = State::Ready;
        self.ready.push(&mut self.table, index);
    }

    /// Takes the best request that may start; it is Running from now on.
    pub fn next_ready(&mut self) -> Option<Handle> {
        let index = self.ready.pop(&mut self.table)?;
        self.table[index].state = State::Running;
        if let Keeper::Lane(lane) = self.table[index].keeper {
            self.lanes.started(lane, index);
        }
        Some(Handle(index))
    }

    /// How many requests [`Scheduler::next_ready`] can give now.
    #[cfg(test)]
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    fn is_running(&self, index: u32) -> bool {
        let running = self
            .table
            .get(index)
            .is_some_and(|r| r.state == State::Running);
        debug_assert!(running, "request {index} is Running");
        running
    }

    /// Ends a Running request; what waited for it may start. `failed` is the
    /// errno of a request that failed: a later sync carries that of a write.
    pub fn finish(&mut self, handle: Handle, failed: Option<i32>) -> T {
        debug_assert!(self.is_running(handle.0));
        self.end(handle.0, failed)
    }

    /// Ends a request that does not run. `None` if it runs, or is not live.
    pub fn withdraw(&mut self, handle: Handle) -> Option<T> {
        let Handle(index) = handle;
        let state = self.table.get(index)?.state;
        if state == State::Running {
            return None;
        }
        Some(self.end(index, None))
    }

    fn end(&mut self, index: u32, failed: Option<i32>) -> T {
        if self.table[index].state == State::Ready {
            self.ready.remove(&mut self.table, index);
        }
        self.leave_order(index, failed);
        self.groups.leave(&mut self.table, index);
        match self.table.remove(index) {
            Some(request) => request.payload,
            None => unreachable!("request {index} is live"),
        }
    }

    fn leave_order(&mut self, index: u32, failed: Option<i32>) {
        let (number, operation) = (self.table[index].file, self.table[index].operation);
        if let Keeper::Lane(lane) = self.table[index].keeper {
            match self
                .lanes
                .leave(&mut self.table, &mut self.ready, lane, index)
            {
                Some(Owner::Group(group)) => self.groups.get(group).lane = NIL,
                Some(Owner::File(file, direction)) => *self.files.get(file).lane(direction) = NIL,
                None => {}
            }
        } else if number != NIL {
            if operation == Operation::Sync {
                self.end_sync(index, number);
            } else {
                self.end_extent(index, number);
            }
            if operation.writes_file() {
                self.end_write(index, number, failed);
            }
        }
        if number != NIL {
            self.files.leave(number);
        }
    }

    fn end_extent(&mut self, index: u32, number: u32) {
        let file = self.files.get(number);
        let mut watchers = self
            .extents
            .leave(&mut self.table, &mut file.overlap, index);
        while let Some(watcher) = self.table.pop_front(&mut watchers, Chain::Peer) {
            let file = self.files.get(number);
            if self.extents.ask(&mut self.table, &file.overlap, watcher) {
                self.make_ready(watcher);
            }
        }
    }

    fn end_write(&mut self, index: u32, number: u32, failed: Option<i32>) {
        let table = &mut self.table;
        let barrier = &mut self.files.get(number).barrier;
        let call = table[index].number();
        barrier.write_ends(call, failed.is_some(), |sync| {
            table[sync].error = failed.unwrap_or(0);
        });
        while let Some(sync) = self.files.get(number).barrier.pop_released() {
            self.make_ready(sync);
        }
    }

    fn end_sync(&mut self, index: u32, number: u32) {
        if self.table[index].state == State::Held {
            self.files
                .get(number)
                .barrier
                .withdraw(self.table[index].number());
        }
    }

    /// A Running stream request found nothing to do: it waits for its stream
    /// to be ready, and can be withdrawn again.
    pub fn park(&mut self, handle: Handle) -> StreamId {
        let Handle(index) = handle;
        let Keeper::Lane(lane) = self.table[index].keeper else {
            unreachable!("request {index} is of a stream");
        };
        if self.is_running(index) {
            self.lanes.park(&mut self.table, lane, index);
        }
        Lanes::id(lane)
    }

    /// A parked stream is ready: gives the best that waits there, Running.
    /// `None` if the stream is not parked, or has ended.
    pub fn unpark(&mut self, stream: StreamId) -> Option<Handle> {
        self.lanes.unpark(&mut self.table, stream.0).map(Handle)
    }

    /// The number was closed. Its live requests keep their order, among
    /// themselves and with others of their file, but belong to it no longer;
    /// what is submitted with the number from now on is for another file.
    pub fn detach(&mut self, descriptor: i32) {
        self.groups.forget(descriptor);
        self.files.forget(FileKey::Descriptor(descriptor));
    }

    /// Every live request, in no order.
    pub fn handles(&self) -> Vec<Handle> {
        self.table.indexes().map(Handle).collect()
    }
}
