//! The lock-free hand-over of requests to the engine.
//!
//! Many threads (and signal handlers) push; whoever plays the engine takes
//! the whole stack at once and turns it round, so requests come out in call
//! order. The links are inside the control blocks: pushing allocates nothing
//! and cannot fail. What must hold: a node that was pushed is taken exactly
//! once; a chain pushed as one stays together; and while there is no engine
//! the stack is closed, so that a push can never be left lying.
//!
//! Words on the stack: the address of a control block, or the address of a
//! [`Message`](crate::message::Message) with the lowest bit set. Below the
//! oldest lies END, or the number of a [recall](crate::recall).

use crate::recall::Number;
use crate::sync::atomic::{AtomicU64, Ordering};

/// No engine: it must be started before anything can be pushed.
const CLOSED: u64 = 0;
/// The end of every chain: no node has this address.
const END: u64 = 2;
/// Set in the end of a chain whose oldest request was taken back by its
/// waiter; the bits above say which recall it was.
const RECALL: u64 = 4;
const RECALL_SHIFT: u32 = 3;

/// Is this link the end of a chain?
pub fn is_last(link: u64) -> bool {
    link & (END | RECALL) != 0
}

/// Makes the node of this link the oldest of what was taken off the stack.
pub fn end_at(link: &AtomicU64) {
    link.store(END, Ordering::Relaxed);
}

fn recall_end(number: Number) -> u64 {
    number.0 << RECALL_SHIFT | RECALL
}

/// The stack.
pub struct Intake {
    head: AtomicU64,
}

/// What a push found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push {
    Done,
    Closed,
}

impl Intake {
    pub const fn new() -> Self {
        Intake {
            head: AtomicU64::new(CLOSED),
        }
    }

    /// Pushes a chain: `newest` is its last node in call order, and `oldest`
    /// the link word of its first. The nodes between are linked already.
    pub fn push(&self, newest: u64, oldest: &AtomicU64) -> Push {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return Push::Closed;
            }
            oldest.store(head, Ordering::Relaxed);
            // Release: who takes the node sees the request in it. SeqCst: the
            // push comes before the look at whether the engine sleeps, in one
            // order with the engine's "asleep" and its last look here.
            match self
                .head
                .compare_exchange_weak(head, newest, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return Push::Done,
                Err(now) => head = now,
            }
        }
    }

    /// The newest node, if there is one.
    pub fn top(&self) -> Option<u64> {
        let head = self.head.load(Ordering::SeqCst);
        (!is_last(head) && head != CLOSED).then_some(head)
    }

    /// Takes everything back if this node is still the newest; the number is
    /// left in its place.
    pub fn recall(&self, newest: u64, number: Number) -> bool {
        self.head
            .compare_exchange(
                newest,
                recall_end(number),
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// What was recalled is done: nobody need hear of it.
    pub fn forget(&self, number: Number) {
        let _ = self.head.compare_exchange(
            recall_end(number),
            END,
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
    }

    /// Takes everything; the oldest node comes first in the chain returned
    /// (see [`Chain`]).
    pub fn take(&self) -> Chain {
        if self.is_empty() {
            return Chain(END);
        }
        // Acquire: the contents of the nodes pushed with Release.
        Chain(self.head.swap(END, Ordering::SeqCst))
    }

    /// Is there nothing to take? (SeqCst: the last look before sleeping.)
    pub fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::SeqCst);
        is_last(head) || head == CLOSED
    }

    /// Opens the stack: from now on somebody takes.
    pub fn open(&self) {
        let _ = self
            .head
            .compare_exchange(CLOSED, END, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Closes the stack if it is empty; false if somebody pushed meanwhile.
    pub fn close(&self) -> bool {
        self.head
            .compare_exchange(END, CLOSED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    pub fn is_closed(&self) -> bool {
        self.head.load(Ordering::SeqCst) == CLOSED
    }
}

/// What is found in a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Before all others: an older request than these was taken back.
    Recalled(Number),
    Node(u64),
}

/// A chain of nodes taken from the stack.
pub struct Chain(u64);

impl Chain {
    /// The chain whose newest node this is.
    pub fn from(newest: u64) -> Chain {
        Chain(newest)
    }

    /// Turns the chain round, newest first to oldest first, through the link
    /// words that `link` finds; calls `visit` for each node, oldest first. A
    /// node's link is free for other use once it is visited.
    pub fn drain<'a>(self, link: impl Fn(u64) -> &'a AtomicU64, mut visit: impl FnMut(Taken)) {
        let mut older = END;
        let mut node = self.0;
        while !is_last(node) {
            let next = link(node).load(Ordering::Relaxed);
            link(node).store(older, Ordering::Relaxed);
            older = node;
            node = next;
        }
        if node & RECALL != 0 {
            visit(Taken::Recalled(Number(node >> RECALL_SHIFT)));
        }
        node = older;
        while !is_last(node) {
            let next = link(node).load(Ordering::Relaxed);
            visit(Taken::Node(node));
            node = next;
        }
    }
}
