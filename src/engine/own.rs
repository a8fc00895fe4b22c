//! What the engine carries out itself: small transfers that end in memory.
//!
//! Who comes in: requests that [`super::dispatch`] chose for it. What must
//! hold: the engine itself carries out only what does not wait for a disk as
//! a rule. A write into the page cache may do so all the same: when the file
//! system is frozen, its journal full, or a page must be read first, the
//! buffer's or the file's. The engine then waits, and with it everybody else;
//! that it does so for a small part of the time only is what [`Own`] is for:
//! after such a stall, writes go to the pool for a while, but for those that
//! the file system makes without waiting when it is asked to.

use std::collections::VecDeque;
use std::ffi::c_int;

use super::Engine;
use crate::descriptor::Class;
use crate::lanes::inline;
use crate::lanes::workers::{Progress, positioned, positioned_with};
use crate::perturb;
use crate::probes;
use crate::process::Runtime;
use crate::request::{Kind, Outcome};
use crate::scheduler::Handle;
use crate::stats::Lane;
use crate::sys;

/// Two transfers in a row that take longer than this have met a disk; a
/// single one may only have lost its processor for a while.
const SLOW_NS: u64 = 300_000;
/// To which a copy adds this for each byte, at the least speed there is.
const COPY_NS: u64 = 1;
/// One that takes longer than this has met a disk in any case.
const VERY_SLOW_NS: u64 = 10_000_000;
/// For how long the pool then gets such transfers, at least.
const PENANCE_NS: u64 = 20_000_000;
/// One that takes longer than this did not just lose its processor.
const STALL_NS: u64 = 50_000_000;
/// The pool then gets them for this many times as long...
const STALL_SHARE: u64 = 4;
/// ... and at most for this long.
const PENANCE_MOST_NS: u64 = 10_000_000_000;

/// The engine's own transfers: small ones that end in the page cache. On
/// ext4 a buffered write costs 5 µs in the engine and 21 µs through the ring.
pub struct Own {
    pub(super) queue: VecDeque<Handle>,
    /// The last one was slow.
    slow: bool,
    not_before: u64,
    /// Until then writes that promise not to wait are tried. XFS and btrfs
    /// know them, ext4 does not.
    tries: bool,
}

impl Own {
    pub fn new() -> Self {
        Own {
            queue: VecDeque::new(),
            slow: false,
            not_before: 0,
            tries: false,
        }
    }

    /// May the engine make a buffered write now, if only without waiting?
    pub(super) fn may_write(&self, appends: bool) -> bool {
        self.tries && !appends || !self.is_barred(sys::now_ns())
    }

    /// Has it met a disk a short while ago?
    fn is_barred(&self, now: u64) -> bool {
        now < self.not_before
    }

    /// A write at an offset that does not wait. None: it would have to, or
    /// the file system does not know such writes. (What was cut short is made
    /// anew as a whole.)
    fn try_write(&mut self, fildes: c_int, transfer: &Progress, offset: i64) -> Option<Outcome> {
        match positioned_with(fildes, Kind::Write, transfer, offset, libc::RWF_NOWAIT) {
            Ok(bytes) if bytes == transfer.length => Some(Ok(bytes)),
            Err(libc::EOPNOTSUPP) => {
                self.tries = false;
                None
            }
            _ => None,
        }
    }

    /// A transfer took from `begin` to `end`. True: it has met a disk, and
    /// for a while the engine makes no more of them.
    fn took(&mut self, length: usize, begin: u64, end: u64) -> bool {
        let time = end - begin;
        let slow = time > SLOW_NS + length as u64 * COPY_NS;
        let disk = slow && self.slow || time > VERY_SLOW_NS || perturb::refuses(4);
        self.slow = slow;
        if disk {
            let penance = if time > STALL_NS {
                (time * STALL_SHARE).min(PENANCE_MOST_NS)
            } else {
                PENANCE_NS
            };
            self.not_before = end + penance;
            self.tries = true;
        }
        disk
    }
}

impl Engine {
    /// Is anything left that the engine carries out itself? Also what waits
    /// for room in a pool that has no thread and gets none.
    pub(super) fn has_own(&self) -> bool {
        !self.own.queue.is_empty() || self.pooled == 0 && !self.pool_backlog.is_empty()
    }

    /// Carries the engine's own transfers out, after all else was started.
    pub(super) fn run_own(&mut self, runtime: &'static Runtime) {
        if let Some(ring) = self.ring.as_mut()
            && ring.unsubmitted() > 0
            && ring.submit().is_err()
        {
            // The loop that owns the ring meets the refusal next.
        }
        let mut quick = perturb::bound(16, 2);
        while let Some(handle) = self.own.queue.pop_front() {
            let (kind, transfer, offset) = self.transfer(handle);
            let fildes = self.scheduler.payload(handle).fildes;
            probes::start(self.scheduler.payload(handle).cb, Lane::Engine);
            runtime.stats.engine_call();
            let begin = sys::now_ns();
            let in_memory = self.scheduler.payload(handle).class == Class::Memory;
            let barred = kind == Kind::Write && !in_memory && self.own.is_barred(begin);
            let outcome = if kind == Kind::Read && !in_memory {
                inline::read_cached(fildes, transfer.buffer, transfer.length, offset)
            } else if barred {
                self.own.try_write(fildes, &transfer, offset.max(0))
            } else {
                Some(positioned(fildes, kind, &transfer, offset.max(0)))
            };
            match outcome {
                Some(outcome) => self.finish(runtime, handle, outcome, Lane::Engine),
                None => self.start_in_pool(runtime, handle),
            }
            let end = sys::now_ns();
            if !barred && self.own.took(transfer.length, begin, end) {
                for handle in std::mem::take(&mut self.own.queue) {
                    self.start_in_pool(runtime, handle);
                }
            }
            quick -= 1;
            if quick == 0 {
                // Others wait too: publish, and look what came in.
                self.batch.flush(runtime);
                return;
            }
        }
    }
}
