//! Loom models of the concurrent parts, run by `make loom`.
//!
//! What is modelled is the code itself: in the loom build its atomics, locks
//! and futex calls are those of [`crate::sync::model`], its threads are
//! loom's, and a model submits, waits, cancels and lets time pass in every
//! order that loom tries. What a model asserts is said at each; that no wake
//! is lost is asserted by all: a thread that sleeps for good is a deadlock,
//! which loom reports.
//!
//! What is not modelled: the ring (its kernel has no model), signals, and
//! cancelled threads. Most models try all orders with so many preemptions
//! (`LOOM_MAX_PREEMPTIONS` says otherwise), as many as `make check` has time
//! for. loom takes SeqCst accesses for
//! AcqRel, so an order that rests on them alone needs a fence to pass.

mod bench;
mod cancel;
mod deferral;
mod intake;
mod load;
mod lock;
mod pool;
mod recall;
mod starting;
mod waiting;
