//! The one way out of a request: its result, its waiters, its notification.
//!
//! Who comes in: whoever carried the request out (ring, worker, engine, or
//! the inline lane). What must hold, in this order: what notification needs
//! is copied; value and code are published; then nothing of the control block
//! is touched; the counters are lowered (no sooner: who finds them at zero
//! takes all for complete); waiters wake; the notifier gets the copy. Waiters
//! of a batch are woken once each, before any of its notifications is posted.

use std::ffi::c_int;

use crate::abi::Aiocb;
use crate::notify::{Notice, Origin};
use crate::perturb;
use crate::probes;
use crate::process::Runtime;
use crate::request::{self, Outcome};
use crate::stats::Lane;
use crate::wait::Wakes;

/// Completions that are published and whose wakes and notifications are due.
pub struct Batch {
    wakes: Wakes,
    notices: Vec<Notice>,
}

/// Notices collected before they are handed over.
const NOTICES: usize = perturb::bound(64, 2);

impl Batch {
    pub const fn new() -> Self {
        Batch {
            wakes: Wakes::new(),
            notices: Vec::new(),
        }
    }

    /// Publishes the result of a request.
    ///
    /// # Safety
    /// `cb` is in progress and owned by the caller, who gives it up here.
    pub unsafe fn complete(
        &mut self,
        runtime: &'static Runtime,
        cb: Aiocb,
        outcome: Outcome,
        lane: Lane,
    ) {
        // SAFETY: in progress, so the members are valid and still.
        let (progress, fildes) = unsafe { (request::progress(cb), cb.members().fildes) };
        // SAFETY: as above; `publish` is the last access.
        let mark = unsafe {
            let notice = Notice::read(cb.sigevent(), Origin::Request).unwrap_or(None);
            probes::complete(cb, lane, progress.kind, outcome);
            runtime.stats.complete(cb, progress.kind, lane, outcome);
            if let Some(notice) = notice {
                self.notices.push(notice);
            }
            runtime.collector.publish(cb, outcome, false)
        };
        perturb::pause(40, 1000);
        runtime
            .load
            .remove(fildes, progress.file_slot, progress.kind);
        self.wakes.add(mark);
        if self.notices.len() >= NOTICES {
            self.flush(runtime);
        }
    }

    /// Posts the notification of a list, after those of its elements.
    pub fn notify(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Wakes the waiters and hands over the notifications.
    pub fn flush(&mut self, runtime: &'static Runtime) {
        self.wakes.flush(&runtime.slots);
        runtime.collector.flush();
        if !self.notices.is_empty() {
            runtime.notifier.post_batch(&mut self.notices);
            self.notices.clear();
            self.notices.shrink_to(NOTICES);
        }
    }
}

/// Publishes the result of a request that was carried out, or refused, in
/// the submitting thread: it asks for no notification.
///
/// # Safety
/// `cb` is claimed by the caller and was never handed over.
pub unsafe fn complete_inline(runtime: &'static Runtime, cb: Aiocb, outcome: Outcome, lane: Lane) {
    // SAFETY: by contract.
    let mark = unsafe {
        let kind = request::progress(cb).kind;
        probes::complete(cb, lane, kind, outcome);
        runtime.stats.complete(cb, kind, lane, outcome);
        runtime.collector.publish(cb, outcome, true)
    };
    if mark != 0 {
        let mut wakes = Wakes::new();
        wakes.add(mark);
        wakes.flush(&runtime.slots);
    }
    runtime.collector.flush();
}

/// Gives a claimed request back to the program with the error its submission
/// returns. Nobody is notified; who already waits for it wakes.
///
/// # Safety
/// `cb` is claimed by the caller and was never handed over.
pub unsafe fn refuse_claimed(runtime: &'static Runtime, cb: Aiocb, error: c_int) {
    // SAFETY: by contract.
    let mark = unsafe {
        runtime.collector.forget(cb);
        request::publish(cb, Err(error))
    };
    let mut wakes = Wakes::new();
    wakes.add(mark);
    wakes.flush(&runtime.slots);
}
