//! The waiter's lane: a thread that waits for what it submitted carries it out
//! itself.
//!
//! Who comes in: aio_suspend without a limit of time, while all that is
//! outstanding was submitted by its thread, and still lies on the intake. The
//! thread has nothing else to do, and handing a request to another thread and
//! back costs two wakes: as much as a device takes, or ten times what the page
//! cache does. It does so for one transfer, or for several that only copy: what
//! a device does side by side is the ring's. What must hold: the engine learns of the
//! requests before it accepts anything younger ([`crate::recall`]); they are
//! transfers on local disks, which end by themselves and by no signal, so they
//! are made with all signals blocked; and where such a transfer was slow, the
//! next are the engine's, for the program's handlers have to wait meanwhile.
//! What cannot be finished goes to the engine as if it had not been tried.

use std::ffi::c_int;

use super::inline;
use crate::abi::{Aiocb, Members, aiocb};
use crate::completion::Batch;
use crate::descriptor::{self, Local};
use crate::intake;
use crate::lanes::workers::{Progress, positioned};
use crate::message::Message;
use crate::notify::{Notice, Origin};
use crate::perturb;
use crate::process::Runtime;
use crate::recall::{Number, Owner};
use crate::request::{self, Kind, ListPlace};
use crate::stats::Lane;
use crate::sync::atomic::Ordering;
use crate::sys;

/// Largest single transfer: what a device does in a fraction of a millisecond.
const LARGEST: usize = 1 << 20;
/// Largest of several, and how many.
const LARGEST_OF_SEVERAL: usize = 64 * 1024;
const MOST: usize = 128;
/// For so long the waiter of several carries on, or until the engine waits:
/// others may wait, too.
const LONG_ENOUGH: u64 = 500_000;

/// Is it a request that its waiter may carry out, as far as is known?
pub fn serves(runtime: &Runtime, kind: Kind, members: &Members, several: bool) -> bool {
    let largest = if several { LARGEST_OF_SEVERAL } else { LARGEST };
    matches!(kind, Kind::Read | Kind::Write)
        && (1..=largest).contains(&members.length)
        // Several are carried out in call order.
        && (!several || members.priority == 0)
        && members.offset >= 0
        && runtime.may_inline()
        && runtime
            .hints
            .get(members.fildes)
            .is_some_and(|hint| match hint.local {
                Local::No => false,
                Local::Direct => !several,
                Local::Cached => !several || kind.is_write(),
                Local::Memory => true,
            })
}

/// The same of a request in progress.
///
/// # Safety
/// `cb` is a valid control block.
unsafe fn serves_request(runtime: &Runtime, cb: Aiocb, several: bool) -> bool {
    // SAFETY: by contract.
    let (progress, members, notice) = unsafe {
        (
            request::progress(cb),
            cb.members(),
            Notice::read(cb.sigevent(), Origin::Request),
        )
    };
    progress.place == ListPlace::NONE
        && matches!(notice, Ok(None))
        && serves(runtime, progress.kind, &members, several)
}

/// What came of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// At least one of the requests is complete.
    Done,
    /// Some are with the engine, and the others are left for when the first of
    /// those ends.
    Begun,
    /// They are the engine's.
    Left,
}

/// Waits for requests of a list by carrying them out, with all else that the
/// calling thread has outstanding.
///
/// # Safety
/// `list` has `count` readable entries, each null or a valid control block.
pub unsafe fn attempt(
    runtime: &'static Runtime,
    list: *const *const aiocb,
    count: usize,
) -> Attempt {
    let outstanding = runtime.load.outstanding();
    if outstanding > MOST {
        return Attempt::Left;
    }
    let now = sys::now_ns();
    let several = outstanding > 1;
    let on_top = runtime.intake.top();
    let mut own = 0;
    let mut own_on_top = false;
    let mut begun = false;
    for index in 0..count {
        // SAFETY: index < count, and a non-null entry is a valid control block.
        unsafe {
            let Some(cb) = Aiocb::new(list.add(index).read_volatile()) else {
                continue;
            };
            if !request::in_progress(Some(runtime), cb) {
                // Not any more.
                return Attempt::Done;
            }
            if !serves_request(runtime, cb, several) {
                return Attempt::Left;
            }
            // The engine settles what it takes over; what was settled before,
            // it was called for.
            begun |= request::progress(cb).file_slot != 0;
            own_on_top |= on_top == Some(cb.to_word());
        }
        own += 1;
    }
    if own < outstanding && !runtime.deferral.is_by_caller() {
        runtime.deferral.meets_others();
        return Attempt::Left;
    }
    // More than are outstanding: some are just being submitted. One of several:
    // the others are to go on while the program does something else.
    if own > outstanding || own < outstanding && own == 1 {
        return Attempt::Left;
    }
    runtime.deferral.waits(now, outstanding);
    if !runtime.deferral.may_recall(now) {
        return Attempt::Left;
    }
    if several && begun {
        return Attempt::Begun;
    }
    if several && runtime.load.unsettled() != outstanding {
        // The engine has others.
        return Attempt::Left;
    }
    let is_ours = |&word: &u64| Aiocb::from_word(word).is_some();
    let newest = on_top.filter(|word| own_on_top || own < outstanding && is_ours(word));
    let Some(newest) = newest else {
        return Attempt::Left;
    };
    let _errno = sys::KeepErrno::new();
    // Not SIGSYS, by which a seccomp filter may answer the calls made here.
    let before = sys::set_signal_mask(sys::SignalMask::BUT_TRAPS);
    // A child of vfork has the parent's requests, and not its descriptors.
    let done = !runtime.is_borrowed() && take_back(runtime, newest, outstanding);
    sys::set_signal_mask(before);
    if done { Attempt::Done } else { Attempt::Left }
}

fn take_back(runtime: &'static Runtime, newest: u64, count: usize) -> bool {
    let Some(number) = runtime.recall.begin(newest) else {
        return false;
    };
    perturb::pause(8, 500);
    if !runtime.intake.recall(newest, number) {
        runtime.recall.give_up(number);
        return false;
    }
    perturb::pause(4, 1000);
    let mut taken = Taken::new();
    // Asked now: as many are outstanding as were taken back, so there is none
    // that they would have to follow, and what is submitted from here on comes
    // after them. (A request counts until after it is published.)
    let alone = taken.fill(runtime, newest, count) && runtime.load.outstanding() == count;
    if !alone {
        runtime.deferral.in_vain();
    }
    let done = if alone {
        if count == 1 {
            runtime.recall.is_single();
        }
        taken.carry_out(runtime, number)
    } else {
        0
    };
    if !alone || done < count {
        // To be accepted in place of what lies at the bottom now.
        runtime.recall.failed(number);
        runtime.wakeup.wake();
    }
    done > 0
}

/// What was taken back, newest first.
struct Taken {
    requests: [Option<Aiocb>; MOST],
    count: usize,
}

impl Taken {
    fn new() -> Taken {
        Taken {
            requests: [None; MOST],
            count: 0,
        }
    }

    /// Walks along the chain. False: it is not what was to be expected, and
    /// all of it the engine's.
    fn fill(&mut self, runtime: &Runtime, newest: u64, count: usize) -> bool {
        let mut node = newest;
        let mut writes = false;
        let mut local = None;
        while !intake::is_last(node) {
            // SAFETY: taken off the intake by us; a message is only looked at.
            if self.count == count || unsafe { Message::from_word(node) }.is_some() {
                return false;
            }
            let Some(cb) = Aiocb::from_word(node) else {
                return false;
            };
            // SAFETY: in progress, and taken off the intake by us.
            let (members, next) = unsafe {
                if !serves_request(runtime, cb, count > 1) {
                    return false;
                }
                writes |= request::progress(cb).kind.is_write();
                (cb.members(), cb.link().load(Ordering::Relaxed))
            };
            // The number may have been closed unseen (by fclose, say) and be
            // of something now that lets its readers wait.
            if local != Some(members.fildes) && !descriptor::is_local(members.fildes) {
                runtime.hints.forget(members.fildes);
                return false;
            }
            local = Some(members.fildes);
            self.requests[self.count] = Some(cb);
            self.count += 1;
            node = next;
        }
        // A write past RLIMIT_FSIZE would send SIGXFSZ to the program's thread.
        self.count == count && !(writes && inline::is_limited())
    }

    /// Carries them out, oldest first, and says how many. Those left over are
    /// a chain from the newest on.
    fn carry_out(&self, runtime: &'static Runtime, number: Number) -> usize {
        let begin = sys::now_ns();
        let mut batch = Batch::new();
        let mut done = 0;
        let mut owner = Owner::Waiter;
        for cb in self.requests[..self.count].iter().rev().flatten() {
            // SAFETY: in progress, and taken off the intake by us.
            let (progress, members) = unsafe { (request::progress(*cb), cb.members()) };
            let late = done > 0
                && (runtime.recall.is_awaited(number) || sys::now_ns() - begin > LONG_ENOUGH);
            let outcome = match late || perturb::refuses(8) {
                true => Err(libc::EAGAIN),
                false => transfer(progress.kind, &members),
            };
            if outcome.is_err() {
                if self.count > 1 {
                    // SAFETY: as above; the older ones are done. (Of a single
                    // one the engine may have written the link by now.)
                    intake::end_at(unsafe { cb.link() });
                }
                break;
            }
            if done + 1 == self.count {
                // From here on the engine does not look at the last.
                owner = runtime.recall.done(number);
                runtime.intake.forget(number);
            }
            if owner == Owner::Waiter && progress.file_slot == 0 {
                // SAFETY: as above.
                unsafe { request::settle(runtime, *cb, progress.kind, 0) };
            }
            runtime.stats.withdraw();
            // SAFETY: in progress, and its end was left to us; given up here.
            unsafe { batch.complete(runtime, *cb, outcome, Lane::Inline) };
            if owner == Owner::Waiter {
                // Not before: aio_cancel does not find it with the engine.
                runtime.load.arrive(members.fildes);
            }
            done += 1;
        }
        runtime.deferral.recalled(begin, sys::now_ns());
        batch.flush(runtime);
        if owner == Owner::Engine {
            perturb::pause(4, 500);
            runtime.recall.ended(number);
            runtime.wakeup.wake();
        }
        done
    }
}

fn transfer(kind: Kind, members: &Members) -> Result<usize, c_int> {
    let transfer = Progress {
        buffer: members.buffer,
        length: members.length,
        done: 0,
    };
    positioned(members.fildes, kind, &transfer, members.offset)
}
