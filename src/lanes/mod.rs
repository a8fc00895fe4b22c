//! The ways a request can be carried out.
//!
//! | lane | runs in | serves |
//! |---|---|---|
//! | [`inline`] | the submitting thread | small reads that are in memory |
//! | [`waiter`] | the waiting thread | a transfer that its waiter has nothing to do beside |
//! | [`ring`] | the kernel, through the engine's ring | O_DIRECT, cold reads, fsync |
//! | [`workers`] | a pool of threads | buffered writes, and everything without a ring |
//!
//! What cannot seek waits for readiness (in the ring or in the workers'
//! [poller](workers::Poller)) and is then tried by the engine itself.

pub mod inline;
pub mod ring;
pub mod waiter;
pub mod workers;
