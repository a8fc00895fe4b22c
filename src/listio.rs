//! `lio_listio`: many requests handed over as one chain.
//!
//! Who comes in: one call with its list. What must hold: all that the inline
//! lane does not serve on the way is one push, so the engine takes it over in
//! one go, and a list that notifies as a whole stays together; an element
//! that is refused stops no other.

use std::ffi::c_int;

use crate::abi::{
    Aiocb, LIO_NOP, LIO_NOWAIT, LIO_READ, LIO_READV, LIO_WAIT, LIO_WRITE, LIO_WRITEV, ListEvent,
    aiocb,
};
use crate::engine;
use crate::intake::Push;
use crate::message::{self, Question};
use crate::notify::{Notice, Origin};
use crate::process::Runtime;
use crate::request::{self, Kind, ListPlace};
use crate::submission::{self, Claimed};
use crate::sync::atomic::Ordering;
use crate::wait;

fn kind(opcode: c_int) -> Option<Kind> {
    match opcode {
        LIO_READ => Some(Kind::Read),
        LIO_WRITE => Some(Kind::Write),
        LIO_READV => Some(Kind::ReadVector),
        LIO_WRITEV => Some(Kind::WriteVector),
        _ => None,
    }
}

/// Who is told of the end of a list.
#[derive(Clone, Copy)]
enum Told {
    Nobody,
    /// As its sigevent says.
    BySigevent(*const libc::sigevent),
    /// The caller, who waits at a place of [`crate::lists`], once there is
    /// something to wait for.
    Caller(Option<u16>),
}

/// A chain under construction, oldest element first.
struct Chain {
    told: Told,
    oldest: Option<Aiocb>,
    newest: Option<Aiocb>,
    length: usize,
}

/// # Safety
/// `list` has `count` entries, each null or a valid control block that stays
/// valid until its completion; `event` is null or readable.
pub unsafe fn submit(
    mode: c_int,
    list: *const *mut aiocb,
    count: c_int,
    event: *const libc::sigevent,
) -> Result<(), c_int> {
    if mode != LIO_WAIT && mode != LIO_NOWAIT || count < 0 {
        return Err(libc::EINVAL);
    }
    let count = if list.is_null() { 0 } else { count as usize };
    let runtime = Runtime::get().ok_or(libc::EAGAIN)?;
    // SAFETY: by contract.
    unsafe { submit_to(runtime, mode, list, count, event) }
}

/// # Safety
/// As for [`submit`]; `list` has entries if `count` is not 0.
pub unsafe fn submit_to(
    runtime: &'static Runtime,
    mode: c_int,
    list: *const *mut aiocb,
    count: usize,
    event: *const libc::sigevent,
) -> Result<(), c_int> {
    let notice = match mode {
        LIO_NOWAIT if !event.is_null() => {
            // SAFETY: readable by contract.
            unsafe { Notice::read(event, Origin::List)? }
        }
        _ => None,
    };
    if let Some(notice) = &notice {
        runtime.notifier.admit(notice)?;
    }
    let mut chain = Chain::new(match (&notice, mode) {
        (Some(_), _) => Told::BySigevent(event),
        (None, LIO_WAIT) => Told::Caller(None),
        (None, _) => Told::Nobody,
    });
    let mut refused = 0;
    for index in 0..count {
        // SAFETY: index < count.
        let Some(cb) = Aiocb::new(unsafe { *list.add(index) }) else {
            continue;
        };
        // SAFETY: a non-null entry is valid.
        let opcode = unsafe { cb.members() }.opcode;
        if opcode == LIO_NOP {
            continue;
        }
        // SAFETY: as above.
        match unsafe { element(runtime, cb, opcode) } {
            Ok(claimed) => {
                if claimed.try_inline(runtime) {
                    continue;
                }
                // SAFETY: both are claimed by us and not handed over.
                unsafe { chain.add(runtime, claimed) }
            }
            Err(_) => {
                runtime.stats.refuse();
                refused += 1;
            }
        }
    }
    // SAFETY: the chain's elements are claimed by us.
    let pushed = unsafe { chain.push(runtime) };
    if pushed.is_err() {
        if let Some(notice) = &notice {
            runtime.notifier.withdraw(notice);
        }
        if let Told::Caller(Some(place)) = chain.told {
            runtime.lists.give_back(place);
        }
        // Nothing was queued: POSIX's answer for want of resources.
        return Err(libc::EAGAIN);
    }
    let failed = match chain.told {
        Told::Caller(Some(place)) => runtime.lists.wait(place)?,
        Told::BySigevent(event) if chain.length == 0 => {
            message::ask(runtime, Question::Notify { event })
                .inspect_err(|_| notice.iter().for_each(|it| runtime.notifier.withdraw(it)))?;
            false
        }
        _ => false,
    };
    if refused == 0 && !failed {
        Ok(())
    } else {
        Err(libc::EIO)
    }
}

/// Validates and claims one element.
///
/// # Safety
/// `cb` is valid.
unsafe fn element(runtime: &'static Runtime, cb: Aiocb, opcode: c_int) -> Result<Claimed, c_int> {
    // SAFETY: by contract.
    unsafe {
        match kind(opcode) {
            Some(kind) => submission::claim(runtime, cb, kind),
            None => {
                if !request::in_progress(Some(runtime), cb) {
                    request::refuse(cb, libc::EINVAL);
                }
                Err(libc::EINVAL)
            }
        }
    }
}

impl Chain {
    fn new(told: Told) -> Chain {
        Chain {
            told,
            oldest: None,
            newest: None,
            length: 0,
        }
    }

    /// What the engine is to know of the list's end. None: nothing.
    ///
    /// # Safety
    /// The sigevent, if there is one, is readable.
    unsafe fn event(&mut self, runtime: &Runtime) -> Option<ListEvent> {
        match &mut self.told {
            Told::Nobody => None,
            // SAFETY: by contract; a sigevent is longer than a ListEvent.
            Told::BySigevent(event) => Some(unsafe { event.cast::<ListEvent>().read() }),
            Told::Caller(place) => {
                *place = runtime.lists.enter(wait::own_mark());
                place.map(ListEvent::waiter)
            }
        }
    }

    /// # Safety
    /// `claimed` and the chain's elements are claimed by us; the sigevent, if
    /// there is one, is readable.
    unsafe fn add(&mut self, runtime: &'static Runtime, claimed: Claimed) {
        let cb = claimed.cb;
        let Some(before) = self.newest else {
            // SAFETY: by contract.
            let event = unsafe { self.event(runtime) };
            claimed.prepare(
                runtime,
                ListPlace {
                    first: event.is_some(),
                    member: event.is_some(),
                    last: false,
                },
            );
            if let Some(event) = event {
                // SAFETY: the reserved bytes are ours while in progress.
                unsafe { cb.list_event().write(event) };
            }
            self.oldest = Some(cb);
            self.newest = Some(cb);
            self.length = 1;
            return;
        };
        // SAFETY: claimed by us.
        let member = unsafe { request::progress(before) }.place.member;
        claimed.prepare(
            runtime,
            ListPlace {
                first: false,
                member,
                last: false,
            },
        );
        // SAFETY: by contract; the link is ours while in progress.
        unsafe { cb.link().store(before.to_word(), Ordering::Relaxed) };
        self.newest = Some(cb);
        self.length += 1;
    }

    /// Pushes the whole chain.
    ///
    /// # Safety
    /// The elements are claimed by us.
    unsafe fn push(&self, runtime: &'static Runtime) -> Result<(), c_int> {
        let (Some(oldest), Some(newest)) = (self.oldest, self.newest) else {
            return Ok(());
        };
        // All places are taken.
        if let Told::Caller(None) = self.told {
            // SAFETY: by contract.
            unsafe { self.refuse(runtime, libc::EAGAIN) };
            return Err(libc::EAGAIN);
        }
        runtime.deferral.note_submitter(runtime.load.outstanding());
        // SAFETY: by contract.
        unsafe {
            if request::progress(newest).place.member {
                request::describe(
                    newest,
                    ListPlace {
                        first: false,
                        member: true,
                        last: true,
                    },
                );
            }
            while runtime.intake.push(newest.to_word(), oldest.link()) == Push::Closed {
                if let Err(error) = engine::ensure_running(runtime) {
                    self.refuse(runtime, error);
                    return Err(error);
                }
            }
        }
        if runtime.call_engine() {
            runtime.stats.woke();
        }
        Ok(())
    }

    /// Takes every element back.
    ///
    /// # Safety
    /// The elements are claimed by us and not handed over.
    unsafe fn refuse(&self, runtime: &'static Runtime, error: c_int) {
        let mut at = self.newest;
        while let Some(cb) = at {
            // SAFETY: by contract; the link of the oldest was never set by
            // us, so the walk ends there.
            unsafe {
                at = if self.oldest == Some(cb) {
                    None
                } else {
                    Aiocb::from_word(cb.link().load(Ordering::Relaxed))
                };
                submission::refuse_pushed(runtime, cb, error);
                runtime.stats.refuse();
            }
        }
    }
}
