//! Taking over what was submitted, in call order.
//!
//! Who comes in: the chain of the intake, oldest first: requests, and the
//! messages of threads that wait for an answer. What must hold: a request
//! gets its place in the order before the next one is looked at; what a
//! descriptor is, is asked of the kernel once per batch, since the program
//! may have changed it without our knowing.

use std::ffi::c_int;

use super::{AWAITED, Engine, Request};
use crate::abi::{Aiocb, Members, TRANSFER_MAX};
use crate::descriptor::Nature;
use crate::intake::{Chain, Taken};
use crate::memory;
use crate::message::{Message, Question};
use crate::notify::{Notice, Origin};
use crate::perturb;
use crate::process::Runtime;
use crate::request::{self, Kind, Progress};
use crate::scheduler::{Direction, Handle, Operation, Submission};
use crate::stats::Lane;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Descriptors remembered, by their numbers.
const NATURES: usize = perturb::bound(64, 2);

/// What descriptors are, remembered for one batch.
pub struct Natures {
    batch: u64,
    known: [(u64, c_int, Result<Nature, c_int>); NATURES],
}

impl Natures {
    pub fn new() -> Self {
        Natures {
            batch: 1,
            known: [(0, 0, Err(libc::EBADF)); NATURES],
        }
    }

    /// Forgets everything: a new batch, or a descriptor changed hands.
    pub fn forget(&mut self) {
        self.batch += 1;
    }

    pub fn of(&mut self, runtime: &Runtime, fildes: c_int) -> Result<Nature, c_int> {
        let place = &mut self.known[fildes as usize % NATURES];
        if place.0 != self.batch || place.1 != fildes {
            *place = (self.batch, fildes, Nature::of(fildes));
            if let Ok(nature) = &place.2 {
                runtime.hints.learn(fildes, nature);
            }
        }
        place.2
    }
}

/// The link word of a node of the intake.
fn link<'a>(word: u64) -> &'a AtomicU64 {
    // SAFETY: taken from the intake: a message whose thread waits, or a
    // control block in progress, both valid.
    unsafe {
        match Message::from_word(word) {
            Some(message) => message.link(),
            None => match Aiocb::from_word(word) {
                Some(cb) => cb.link(),
                // Only non-null aligned addresses are ever pushed.
                None => std::process::abort(),
            },
        }
    }
}

impl Engine {
    /// Takes over everything on the intake. True if there was something.
    /// What comes meanwhile must wait for what came before: called by itself
    /// this does nothing.
    pub(super) fn take_intake(&mut self, runtime: &'static Runtime) -> bool {
        if self.accepting {
            return false;
        }
        if runtime.intake.is_empty() && !runtime.recall.has_end() {
            return false;
        }
        perturb::pause(20, 1000);
        self.accepting = true;
        self.natures.forget();
        // Older than all that lies on the intake.
        self.see_to_recall(runtime, None);
        runtime.deferral.answers();
        if !runtime.intake.is_empty() {
            runtime.deferral.found();
            self.accept_all(runtime, runtime.intake.take());
        }
        self.accepting = false;
        // A close carries out what came before it; so it waits until all that
        // came is in its place, above all a sync, for the error of a write.
        // (What came after the message is of threads that did not wait for
        // the close: it may go with what came before.)
        self.see_to_closes(runtime);
        true
    }

    /// Takes over a chain.
    pub(super) fn accept_all(&mut self, runtime: &'static Runtime, chain: Chain) {
        chain.drain(link, |taken| match taken {
            Taken::Recalled(number) => self.adopt(runtime, number),
            // SAFETY: as in `link`; a message is answered at most once, here
            // or by the closing it becomes.
            Taken::Node(word) => match unsafe { Message::from_word(word) } {
                Some(message) => self.answer(runtime, message),
                None => {
                    if let Some(cb) = Aiocb::from_word(word) {
                        self.accept(runtime, cb);
                    }
                }
            },
        });
    }

    fn answer(&mut self, runtime: &'static Runtime, message: &'static Message) {
        match message.question {
            Question::Cancel { fildes, one } => {
                let verdict = self.cancel(runtime, fildes, one);
                self.batch.flush(runtime);
                message.reply(verdict as u32);
            }
            Question::Close { .. } => self.closes.push_back(message),
            Question::Notify { event } => {
                // SAFETY: the asking thread keeps its sigevent until the reply.
                if let Ok(Some(notice)) = unsafe { Notice::read(event, Origin::List) } {
                    self.batch.notify(notice);
                    self.batch.flush(runtime);
                }
                message.reply(0);
            }
        }
    }

    /// Makes sure of the memory that a request needs on its way. Err(EAGAIN):
    /// there is none, and the request is not taken over.
    pub(super) fn make_room(&mut self, opens_list: bool) -> Result<(), c_int> {
        if memory::has_reserve()
            && (!opens_list || self.groups.make_room())
            && self.scheduler.make_room()
            // Where room was made, that may have been taken from the reserve.
            && memory::has_reserve()
        {
            Ok(())
        } else {
            Err(libc::EAGAIN)
        }
    }

    fn accept(&mut self, runtime: &'static Runtime, cb: Aiocb) {
        // SAFETY: from the intake: in progress, and ours from here on.
        let (progress, members) = unsafe { (request::progress(cb), cb.members()) };
        self.taken += 1;
        let mut room = self.make_room(progress.place.first);
        let group = self.join_group(cb, progress.place);
        if Self::is_refused(group) {
            room = Err(libc::EAGAIN);
        }
        // SAFETY: as above.
        let awaited = self.is_waited_for(group)
            && matches!(
                unsafe { Notice::read(cb.sigevent(), Origin::Request) },
                Ok(None)
            );
        let fildes = members.fildes;
        runtime.load.arrive(fildes);
        match room.and_then(|()| self.look_at_request(runtime, progress.kind, &members)) {
            Ok((submission, nature)) => {
                // SAFETY: as above.
                unsafe { settle(runtime, cb, &progress, nature.file_slot) };
                let request = Request {
                    group: if awaited { group | AWAITED } else { group },
                    ..Request::new(cb, fildes, &nature)
                };
                self.enter(runtime, submission, request);
                if awaited {
                    self.patience.joined();
                }
            }
            Err(error) => {
                // SAFETY: in progress and ours; given up here.
                unsafe {
                    settle(runtime, cb, &progress, 0);
                    self.batch.complete(runtime, cb, Err(error), Lane::Engine);
                }
                if group != super::NONE {
                    self.leave_group(runtime, group, true);
                }
            }
        }
        self.seal_group(runtime, progress.place);
    }

    /// What a request is for the scheduler. Err: its error, or EAGAIN when
    /// there is no memory for it.
    pub(super) fn look_at_request(
        &mut self,
        runtime: &'static Runtime,
        kind: Kind,
        members: &Members,
    ) -> Result<(Submission, Nature), c_int> {
        let nature = self.natures.of(runtime, members.fildes)?;
        let submission = Submission {
            file: nature.key,
            descriptor: members.fildes,
            operation: operation(kind, members, &nature)?,
            priority: members.priority.clamp(0, 20) as u8,
        };
        if !self
            .scheduler
            .make_room_for(&submission, memory::has_reserve)
        {
            return Err(libc::EAGAIN);
        }
        Ok((submission, nature))
    }

    /// Gives a request to the scheduler.
    pub(super) fn enter(
        &mut self,
        runtime: &'static Runtime,
        submission: Submission,
        request: Request,
    ) -> Handle {
        self.highest = self.highest.max(request.fildes);
        let cb = request.cb;
        let handle = self.scheduler.submit(submission, request);
        runtime.stats.outstanding(self.scheduler.len());
        // Where aio_cancel finds it again.
        // SAFETY: in progress and ours.
        unsafe { cb.link() }.store(u64::from(handle.as_u32()) + 1, Ordering::Relaxed);
        handle
    }
}

/// From now on a request counts for its file, if it does not yet.
///
/// # Safety
/// `cb` is in progress and owned by the caller; `progress` is its own.
pub(super) unsafe fn settle(runtime: &Runtime, cb: Aiocb, progress: &Progress, file_slot: u16) {
    if progress.file_slot == 0 {
        // SAFETY: by contract.
        unsafe { request::settle(runtime, cb, progress.kind, file_slot) };
    }
}

/// What a request means for the order.
fn operation(kind: Kind, members: &Members, nature: &Nature) -> Result<Operation, c_int> {
    if kind.is_sync() {
        // fsync of what cannot seek fails at once and orders nothing.
        return Ok(if nature.seeks() {
            Operation::Sync
        } else {
            Operation::Free
        });
    }
    // As pread and pwrite: before they look at the descriptor, though a stream
    // has no use for it.
    if members.offset < 0 {
        return Err(libc::EINVAL);
    }
    // What is bound to fail waits for nobody: a stream is known by its inode,
    // so a pipe's other end would be waited for. (But a sync carries the error
    // of a write to its file, in order.)
    if kind.is_read() && !nature.readable || kind.is_write() && !nature.writable && !nature.seeks()
    {
        return Err(libc::EBADF);
    }
    if !nature.seeks() {
        if nature.nonblocking {
            return Ok(Operation::Free);
        }
        return Ok(Operation::Stream(if kind.is_read() {
            Direction::Read
        } else {
            Direction::Write
        }));
    }
    if !nature.has_positions() {
        // Each direction in call order.
        return Ok(if kind.is_read() {
            Operation::Stream(Direction::Read)
        } else {
            Operation::Append { from: 0 }
        });
    }
    if kind.is_write() && nature.append {
        return Ok(Operation::Append { from: nature.size });
    }
    let start = members.offset as u64;
    let len = if kind.is_vector() {
        vector_length(members)
    } else {
        members.length.min(TRANSFER_MAX) as u64
    };
    Ok(if kind.is_read() {
        Operation::Read { start, len }
    } else {
        Operation::Write { start, len }
    })
}

/// The bytes of a caller's vector, without touching memory that may not be
/// there: an array the kernel would refuse counts as everything.
fn vector_length(members: &Members) -> u64 {
    const IOV_MAX: usize = 1024;
    if members.length == 0 || members.length > IOV_MAX || members.buffer == 0 {
        return 0;
    }
    let mut copy = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; 64];
    let mut sum = 0u64;
    let mut at = members.buffer;
    let mut left = members.length;
    while left > 0 {
        let count = left.min(copy.len());
        let bytes = count * size_of::<libc::iovec>();
        let local = libc::iovec {
            iov_base: copy.as_mut_ptr().cast(),
            iov_len: bytes,
        };
        let remote = libc::iovec {
            iov_base: at as *mut libc::c_void,
            iov_len: bytes,
        };
        // A bad address is the kernel's to report, not ours to fault on.
        // SAFETY: reads our own process through the kernel into `copy`.
        let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
        if got != bytes as isize {
            return u64::MAX;
        }
        for part in &copy[..count] {
            sum = sum.saturating_add(part.iov_len as u64);
        }
        at += bytes;
        left -= count;
    }
    sum.min(TRANSFER_MAX as u64)
}
