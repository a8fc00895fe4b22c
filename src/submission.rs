//! The way in: what `aio_read` and its kin do before they return.
//!
//! Who comes in: entry points, from any thread or signal handler. What must
//! hold: nothing here locks, allocates or waits (but for the start of the
//! engine's thread by the first call); the caller's errno survives success;
//! and a request that is refused here leaves nothing behind.

use std::ffi::c_int;

use crate::abi::{Aiocb, Members, PRIORITY_MAX, aiocb};
use crate::completion;
use crate::descriptor;
use crate::engine;
use crate::intake::Push;
use crate::lanes::{inline, waiter};
use crate::notify::{Notice, Origin};
use crate::perturb;
use crate::probes;
use crate::process::Runtime;
use crate::request::{self, Kind, ListPlace};
use crate::stats::Lane;
use crate::sys;

/// The control block a caller passed, or EINVAL with a word about it.
pub fn control_block(at: *const aiocb, caller: &str) -> Result<Aiocb, c_int> {
    Aiocb::new(at).ok_or_else(|| {
        sys::Line::new()
            .text("aio_shim: ")
            .text(caller)
            .text(if at.is_null() {
                ": the aiocb pointer is NULL"
            } else {
                ": the aiocb is not aligned to 8 bytes"
            })
            .text(" (EINVAL)")
            .print();
        libc::EINVAL
    })
}

/// A request that was claimed and is not yet handed over.
pub struct Claimed {
    pub cb: Aiocb,
    pub kind: Kind,
    pub members: Members,
    notice: Option<Notice>,
}

/// Validates and claims. On refusal status and return value say so, unless
/// the control block is still in progress, which is then left alone.
///
/// # Safety
/// `cb` is a valid control block of the caller.
pub unsafe fn claim(runtime: &'static Runtime, cb: Aiocb, kind: Kind) -> Result<Claimed, c_int> {
    // SAFETY: by contract.
    let fildes = unsafe { cb.members() }.fildes;
    // Before it can be seen to be in progress.
    runtime.load.come(fildes);
    // SAFETY: by contract.
    unsafe { try_claim(runtime, cb, kind) }.inspect_err(|_| runtime.load.arrive(fildes))
}

/// # Safety
/// As for [`claim`].
unsafe fn try_claim(runtime: &'static Runtime, cb: Aiocb, kind: Kind) -> Result<Claimed, c_int> {
    // SAFETY: valid by contract, here and below.
    unsafe {
        if request::in_progress(Some(runtime), cb) {
            return Err(libc::EINVAL);
        }
        let members = cb.members();
        let refuse = |error| {
            request::refuse(cb, error);
            Err(error)
        };
        // aio_fsync has no priority (POSIX), whatever the member holds.
        if !kind.is_sync() && !(0..=PRIORITY_MAX).contains(&members.priority) {
            return refuse(libc::EINVAL);
        }
        let notice = match Notice::read(cb.sigevent(), Origin::Request) {
            Ok(notice) => notice,
            Err(error) => return refuse(error),
        };
        request::claim(runtime, cb, kind)?;
        if let Err(error) = runtime.collector.expect(cb) {
            completion::refuse_claimed(runtime, cb, error);
            return Err(error);
        }
        probes::submit(cb, kind, &members);
        if let Some(notice) = &notice
            && let Err(error) = runtime.notifier.admit(notice)
        {
            completion::refuse_claimed(runtime, cb, error);
            return Err(error);
        }
        Ok(Claimed {
            cb,
            kind,
            members,
            notice,
        })
    }
}

impl Claimed {
    /// Serves it at once if it is in memory. True: it is complete.
    pub fn try_inline(&self, runtime: &'static Runtime) -> bool {
        if self.notice.is_some() || !runtime.may_inline() {
            return false;
        }
        let Some(hint) = runtime.hints.get(self.members.fildes) else {
            return false;
        };
        // SAFETY: claimed by us and not handed over.
        unsafe { runtime.stats.try_inline(self.cb) };
        match inline::attempt(runtime, self.kind, &self.members, hint) {
            Some(outcome) => {
                runtime.load.arrive(self.members.fildes);
                // SAFETY: claimed by us and not handed over.
                unsafe { completion::complete_inline(runtime, self.cb, outcome, Lane::Inline) };
                true
            }
            None => false,
        }
    }

    /// The last preparation before it is pushed. True: it is settled already.
    pub fn prepare(&self, runtime: &'static Runtime, place: ListPlace) -> bool {
        // SAFETY: claimed by us and not handed over.
        unsafe {
            request::describe(self.cb, place);
            runtime.stats.submit(self.cb);
        }
        runtime.load.add(self.members.fildes, self.kind);
        if runtime.load.wants_file(self.kind)
            && let Some(file_slot) = descriptor::file_slot(self.members.fildes)
        {
            // SAFETY: as above.
            unsafe { request::settle(runtime, self.cb, self.kind, file_slot) };
            return true;
        }
        false
    }

    /// Hands it to the engine.
    pub fn push(self, runtime: &'static Runtime) -> Result<(), c_int> {
        perturb::pause(100, 300);
        let settled = self.prepare(runtime, ListPlace::NONE);
        let outstanding = runtime.load.outstanding();
        runtime.deferral.note_submitter(outstanding);
        // By whether it is settled its waiter knows if the engine has it.
        let for_waiter = self.notice.is_none()
            && !settled
            && outstanding <= runtime.deferral.expected()
            && waiter::serves(runtime, self.kind, &self.members, outstanding > 1);
        if for_waiter {
            runtime.deferral.pushes(runtime.intake.is_empty());
        }
        perturb::pause(100, 1000);
        let word = self.cb.to_word();
        // SAFETY: claimed by us; once pushed, it is not touched.
        let link = unsafe { self.cb.link() };
        while runtime.intake.push(word, link) == Push::Closed {
            if let Err(error) = engine::ensure_running(runtime) {
                // SAFETY: prepared above, and not handed over.
                unsafe { refuse_pushed(runtime, self.cb, error) };
                return Err(error);
            }
        }
        // Asked after the push: see there.
        if for_waiter && runtime.deferral.is_on() {
            return Ok(());
        }
        if runtime.call_engine() {
            runtime.stats.woke();
        }
        if for_waiter {
            runtime.deferral.submitted();
        }
        Ok(())
    }
}

/// Takes a prepared request back that could not be handed over.
///
/// # Safety
/// `cb` is claimed and prepared by the caller, and not handed over.
pub unsafe fn refuse_pushed(runtime: &'static Runtime, cb: Aiocb, error: c_int) {
    // SAFETY: by contract.
    unsafe {
        let mut progress = request::progress(cb);
        runtime.load.arrive(cb.members().fildes);
        if progress.file_slot == 0 {
            progress.file_slot = runtime.load.settle(0, progress.kind);
        }
        runtime
            .load
            .remove(cb.members().fildes, progress.file_slot, progress.kind);
        runtime.stats.withdraw();
        if let Ok(Some(notice)) = Notice::read(cb.sigevent(), Origin::Request) {
            runtime.notifier.withdraw(&notice);
        }
        completion::refuse_claimed(runtime, cb, error);
    }
}

/// aio_read, aio_write and the like.
///
/// # Safety
/// `cb` is a valid control block; its buffer stays valid until completion.
pub unsafe fn submit(cb: Aiocb, kind: Kind) -> Result<(), c_int> {
    let runtime = Runtime::get().ok_or(libc::EAGAIN)?;
    // SAFETY: by contract.
    let pushed = unsafe { claim(runtime, cb, kind) }.and_then(|claimed| {
        if !kind.is_sync() && claimed.try_inline(runtime) {
            return Ok(());
        }
        claimed.push(runtime)
    });
    if pushed.is_err() {
        runtime.stats.refuse();
    }
    pushed
}
