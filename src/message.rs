//! Questions to the engine that need an answer: cancel, and "this descriptor
//! is about to be closed".
//!
//! A message lies on the stack of the thread that asks, which waits, with
//! every signal blocked, until the engine has answered: no handler can run in
//! between and ask again, and the frame cannot go away. It travels through
//! the intake like a request, so it comes after all that was submitted
//! before it. What must hold: the engine answers each message exactly once,
//! and does not touch it afterwards.

use std::ffi::c_int;

use crate::abi::Aiocb;
use crate::engine;
use crate::intake::Push;
use crate::process::Runtime;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys;

/// What is asked.
#[derive(Clone, Copy)]
pub enum Question {
    /// aio_cancel of one request, or of all of a descriptor.
    Cancel { fildes: c_int, one: Option<Aiocb> },
    /// These descriptor numbers are about to be closed.
    Close { first: c_int, last: c_int },
    /// A list with nothing to do asks for its notification.
    Notify { event: *const libc::sigevent },
}

const PENDING: u32 = u32::MAX;

/// A question with the place for its answer. Aligned so that the lowest bit
/// of its address is free to tell it from a control block.
#[repr(align(8))]
pub struct Message {
    link: AtomicU64,
    pub question: Question,
    answer: AtomicU32,
}

/// The bit that tells a message from a control block on the intake.
const TAG: u64 = 1;

impl Message {
    /// The message at `word` of the intake, if it is one.
    ///
    /// # Safety
    /// `word` was taken from the intake and is not answered yet.
    pub unsafe fn from_word<'a>(word: u64) -> Option<&'a Message> {
        if word & TAG == 0 {
            return None;
        }
        let at: *const Message = std::ptr::with_exposed_provenance((word & !TAG) as usize);
        // SAFETY: the asking thread keeps the message until it is answered.
        Some(unsafe { &*at })
    }

    /// The link word, for the intake.
    pub fn link(&self) -> &AtomicU64 {
        &self.link
    }

    /// Answers. The message is gone afterwards.
    pub fn reply(&self, answer: u32) {
        let word = self.answer.as_ptr();
        self.answer.store(answer, Ordering::Release);
        // Only the address is used: the frame may be gone already.
        sys::futex_wake(word, 1);
    }
}

/// Asks the engine and waits for its answer. Err(EAGAIN) when no engine could
/// be started (there is then nothing queued either).
pub fn ask(runtime: &'static Runtime, question: Question) -> Result<u32, c_int> {
    let _errno = sys::KeepErrno::new();
    sys::with_signals_blocked(|| {
        let message = Message {
            link: AtomicU64::new(0),
            question,
            answer: AtomicU32::new(PENDING),
        };
        let word = (&raw const message).expose_provenance() as u64 | TAG;
        while runtime.intake.push(word, &message.link) == Push::Closed {
            // Only a notification needs an engine where there is none: with
            // none running nothing is queued that could be cancelled.
            match question {
                Question::Notify { .. } => engine::ensure_running(runtime)?,
                _ => return Err(libc::EAGAIN),
            }
        }
        runtime.call_engine();
        loop {
            match message.answer.load(Ordering::Acquire) {
                PENDING => {
                    let _ = sys::futex_wait(&message.answer, PENDING, None);
                }
                answer => return Ok(answer),
            }
        }
    })
}
