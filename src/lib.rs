//! aio_shim: POSIX AIO for Linux on io_uring, or on worker threads.
//!
//! The way of a request, and the modules along it:
//!
//! ```text
//! exports ─ submission ─ lanes::inline ──────────────────────────┐
//!               │                                                ▼
//!            intake ─ engine ─ scheduler ─ lanes::ring ──── completion ─ wait
//!                        │                 lanes::workers        └───── notify
//!                        └ streams, cancel, close
//! ```
//! `abi` and `request` say what lies in a control block, `process` what
//! belongs to a process, `config` what the environment asks for.
//! ARCHITECTURE.md has the invariants.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]
// The contract of the exported functions is POSIX's, told in their comments.
#![allow(clippy::missing_safety_doc)]
// The test programs do without the exported functions.
#![cfg_attr(test, allow(dead_code, unused_imports))]

pub mod abi;
// Not in the test programs: their own close() is not to be replaced.
#[cfg(not(test))]
pub mod exports;

mod clock;
mod collect;
mod completion;
mod config;
mod deferral;
mod descriptor;
mod doctor;
mod engine;
mod imports;
mod intake;
mod lanes;
mod listio;
mod lists;
mod load;
#[cfg(all(test, loom))]
mod loom_tests;
mod memory;
mod message;
mod notify;
mod objects;
mod own_descriptors;
mod perturb;
mod probes;
mod process;
mod recall;
mod refusal;
mod request;
mod scheduler;
mod stats;
mod submission;
mod sync;
mod sys;
mod thread;
mod wait;
mod wakeup;

#[cfg(not(any(test, loom)))]
#[global_allocator]
static ALLOCATOR: memory::Reserved = memory::Reserved;

/// What is prepared when the library is loaded: the options are read and the
/// next definitions of the close family looked up. In a program that uses AIO
/// the C library is brought to keep what a thread needs, so that its first
/// request may come from a signal handler. No thread, no descriptor; in a
/// program that does not use AIO, no mapping.
#[cfg(not(test))]
#[ctor::ctor(unsafe, body(link_section = ".load_time"))]
fn load() {
    config::read();
    stats::remember_file(&config::get());
    exports::closing::resolve();
    doctor::on_request();
    if imports::submitting() {
        thread::prepare();
        own_descriptors::close_in_children();
        process::look_for_leak_checker();
    }
}
