//! The life of a request, as states of the words in its control block.
//!
//! ```text
//!  never submitted --claim--> in progress --publish--> complete
//!  (zero or garbage)          (stamp valid,            (code, value; ours no more)
//!                              code EINPROGRESS)
//! ```
//! Who comes in: submissions claim, lanes publish, status calls read. What
//! must hold: between claim and publish the library owns the private words;
//! `publish` is the last access, the program may free the memory at once.
//! "In progress" is believed only with the stamp of this very process: in a
//! forked child, or over garbage, it is not.

use std::ffi::c_int;

use crate::abi::Aiocb;
use crate::process::Runtime;
use crate::sync::atomic::Ordering;

/// What is to be done; kept in the status word, because `aio_lio_opcode`
/// belongs to the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Read = 1,
    Write = 2,
    ReadVector = 3,
    WriteVector = 4,
    Sync = 5,
    DataSync = 6,
}

impl Kind {
    pub fn is_write(self) -> bool {
        matches!(self, Kind::Write | Kind::WriteVector)
    }

    pub fn is_read(self) -> bool {
        matches!(self, Kind::Read | Kind::ReadVector)
    }

    pub fn is_sync(self) -> bool {
        matches!(self, Kind::Sync | Kind::DataSync)
    }

    pub fn is_vector(self) -> bool {
        matches!(self, Kind::ReadVector | Kind::WriteVector)
    }
}

/// A request's result: the bytes, or the errno.
pub type Outcome = Result<usize, c_int>;

// The status word.
const CODE: u64 = 0xffff_ffff;
const IN_PROGRESS: u64 = libc::EINPROGRESS as u64;
const MARK_SHIFT: u32 = 32;
const MARK: u64 = 0xffff << MARK_SHIFT;
const KIND_SHIFT: u32 = 48;
const LEADER: u64 = 1 << 52;
const MEMBER: u64 = 1 << 53;
const LAST: u64 = 1 << 54;
const FILE_SHIFT: u32 = 55;

/// Where an element stands in a list whose end somebody is told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ListPlace {
    pub first: bool,
    pub member: bool,
    pub last: bool,
}

impl ListPlace {
    /// Not in such a list.
    pub const NONE: ListPlace = ListPlace {
        first: false,
        member: false,
        last: false,
    };
}

/// What the status word of a request in progress says.
#[derive(Clone, Copy)]
pub struct Progress {
    pub kind: Kind,
    pub place: ListPlace,
    /// Index in the table of outstanding requests by file. 0: not settled, or
    /// of a file that does not matter.
    pub file_slot: u16,
}

fn code(status: u64) -> c_int {
    (status & CODE) as c_int
}

/// The waiter's mark in a status word: 0 for nobody.
pub fn mark_of(status: u64) -> u16 {
    (status >> MARK_SHIFT) as u16
}

/// Is the request in progress in this process?
///
/// # Safety
/// `cb` is valid memory.
pub unsafe fn in_progress(runtime: Option<&Runtime>, cb: Aiocb) -> bool {
    // SAFETY: valid by contract.
    unsafe { code(cb.status().load(Ordering::SeqCst)) == libc::EINPROGRESS && stamped(runtime, cb) }
}

/// Takes the control block for a new request.
///
/// Err(EINVAL) if it is still in progress. On success the caller owns the
/// private words until it pushes the request or [`publish`]es a result.
///
/// # Safety
/// `cb` is valid memory.
pub unsafe fn claim(runtime: &Runtime, cb: Aiocb, kind: Kind) -> Result<(), c_int> {
    // SAFETY: valid by contract, here and below.
    let word = unsafe { cb.status() };
    let before = word.load(Ordering::Relaxed);
    let stamp = runtime.stamp(cb);
    // SAFETY: as above.
    let old = unsafe { cb.stamp() }.load(Ordering::Relaxed);
    if code(before) == libc::EINPROGRESS && old == stamp {
        return Err(libc::EINVAL);
    }
    // The stamp first: whoever sees EINPROGRESS sees that it is ours. Two
    // threads that submit one control block write the same stamp, and only
    // one of them moves the status.
    // SAFETY: as above.
    unsafe { cb.stamp() }.store(stamp, Ordering::Relaxed);
    let claimed = IN_PROGRESS | (kind as u64) << KIND_SHIFT;
    if word
        .compare_exchange(before, claimed, Ordering::SeqCst, Ordering::Relaxed)
        .is_err()
    {
        return Err(libc::EINVAL);
    }
    // SAFETY: as above.
    unsafe { cb.value() }.store(0, Ordering::Relaxed);
    Ok(())
}

/// Adds what the engine will need to a claimed request.
///
/// # Safety
/// `cb` is valid, and claimed by the caller.
pub unsafe fn describe(cb: Aiocb, place: ListPlace) {
    let mut bits = 0;
    if place.first {
        bits |= LEADER;
    }
    if place.member {
        bits |= MEMBER;
    }
    if place.last {
        bits |= LAST;
    }
    // fetch_or: another thread may already mark itself as a waiter.
    // SAFETY: valid by contract.
    unsafe { cb.status() }.fetch_or(bits, Ordering::Relaxed);
}

/// Which file a request is for is known: from now on it counts there.
///
/// # Safety
/// `cb` is in progress and owned by the caller, who settles it once.
pub unsafe fn settle(runtime: &Runtime, cb: Aiocb, kind: Kind, file_slot: u16) {
    let slot = runtime.load.settle(file_slot, kind);
    if slot != 0 {
        // As in `describe`.
        // SAFETY: valid by contract.
        unsafe { cb.status() }.fetch_or(u64::from(slot) << FILE_SHIFT, Ordering::Relaxed);
    }
}

/// Set in a request's notes while the collector counts on it.
pub const COLLECTED: u64 = 1 << 63;

/// What the library notes of a request in progress, in the word that will be
/// the return value: when it began (0: not known) and [`COLLECTED`].
///
/// # Safety
/// `cb` is in progress and owned by the caller.
pub unsafe fn notes(cb: Aiocb) -> u64 {
    // SAFETY: valid by contract.
    unsafe { cb.value() }.load(Ordering::Relaxed) as u64
}

/// Adds to the notes.
///
/// # Safety
/// As for [`notes`].
pub unsafe fn note(cb: Aiocb, bits: u64) {
    // SAFETY: valid by contract; only the owner writes the word.
    unsafe {
        cb.value()
            .store((notes(cb) | bits) as i64, Ordering::Relaxed)
    }
}

/// What a request in progress is.
///
/// # Safety
/// `cb` is in progress and owned by the caller.
pub unsafe fn progress(cb: Aiocb) -> Progress {
    // SAFETY: valid by contract.
    let status = unsafe { cb.status() }.load(Ordering::Relaxed);
    let kind = match (status >> KIND_SHIFT) & 0xf {
        1 => Kind::Read,
        2 => Kind::Write,
        3 => Kind::ReadVector,
        4 => Kind::WriteVector,
        5 => Kind::Sync,
        _ => Kind::DataSync,
    };
    Progress {
        kind,
        place: ListPlace {
            first: status & LEADER != 0,
            member: status & MEMBER != 0,
            last: status & LAST != 0,
        },
        file_slot: (status >> FILE_SHIFT) as u16,
    }
}

/// Publishes the result: return value, then error code. Returns the mark of
/// the waiters (see [`crate::wait`]).
///
/// After this call the control block is the program's again and must not be
/// touched: it may already be freed, unmapped or submitted anew.
///
/// # Safety
/// `cb` is in progress and owned by the caller, who gives it up here.
pub unsafe fn publish(cb: Aiocb, outcome: Outcome) -> u16 {
    let (value, error) = match outcome {
        Ok(bytes) => (bytes as i64, 0),
        Err(error) => (-1, error),
    };
    // SAFETY: valid until the swap below, by contract.
    unsafe { cb.value() }.store(value, Ordering::Relaxed);
    // Release: the buffer and the value are visible to whoever sees the code.
    // SeqCst: in one order with the waiters' marks.
    // SAFETY: as above.
    mark_of(unsafe { cb.status() }.swap(error as u32 as u64, Ordering::SeqCst))
}

/// Sets the result of a request that was refused at submission.
///
/// # Safety
/// `cb` is valid and not in progress.
pub unsafe fn refuse(cb: Aiocb, error: c_int) {
    // SAFETY: valid by contract.
    unsafe {
        cb.value().store(-1, Ordering::Relaxed);
        cb.status().store(error as u32 as u64, Ordering::Release);
    }
}

/// What [`leave_mark`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Marked {
    /// The request is not in progress.
    Complete,
    /// It is, and bore the mark already.
    Before,
    /// It is, and bears it from now on.
    Now,
}

/// Leaves the mark of a waiter on a request in progress: its completion will
/// then wake `mark`. `many` is the mark for more than one waiter.
///
/// # Safety
/// `cb` is valid memory.
pub unsafe fn leave_mark(runtime: &Runtime, cb: Aiocb, mark: u16, many: u16) -> Marked {
    // SAFETY: valid by contract.
    let word = unsafe { cb.status() };
    let mut status = word.load(Ordering::SeqCst);
    loop {
        // SAFETY: as above.
        if code(status) != libc::EINPROGRESS || !unsafe { stamped(Some(runtime), cb) } {
            return Marked::Complete;
        }
        let wanted = match mark_of(status) {
            0 => mark,
            present if present == mark || present == many => return Marked::Before,
            _ => many,
        };
        let marked = status & !MARK | u64::from(wanted) << MARK_SHIFT;
        match word.compare_exchange_weak(status, marked, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Marked::Now,
            Err(now) => status = now,
        }
    }
}

/// aio_error: EINPROGRESS, 0 or the errno.
///
/// # Safety
/// `cb` is valid memory.
pub unsafe fn error(runtime: Option<&Runtime>, cb: Aiocb) -> c_int {
    // Acquire: with the code come the value and the data.
    // SAFETY: valid by contract.
    let status = code(unsafe { cb.status() }.load(Ordering::Acquire));
    // SAFETY: valid by contract.
    if status == libc::EINPROGRESS && !unsafe { stamped(runtime, cb) } {
        // It is in progress in another process: the parent's, not ours.
        return libc::ECANCELED;
    }
    status
}

/// Does the control block carry the stamp of this process? To be asked after
/// EINPROGRESS was seen, with the same look: the stamp is written before the
/// status and stays, whereas a second look at the status could find the next
/// request of the same control block.
///
/// # Safety
/// `cb` is valid memory.
unsafe fn stamped(runtime: Option<&Runtime>, cb: Aiocb) -> bool {
    // SAFETY: valid by contract.
    let stamp = unsafe { cb.stamp() }.load(Ordering::Relaxed);
    runtime.is_some_and(|runtime| stamp == runtime.stamp(cb))
}

/// aio_return: what the synchronous call would have returned.
///
/// # Safety
/// `cb` is valid memory.
pub unsafe fn value(runtime: Option<&Runtime>, cb: Aiocb) -> isize {
    // SAFETY: valid by contract.
    unsafe {
        let status = code(cb.status().load(Ordering::Acquire));
        if status == libc::EINPROGRESS {
            // Until it is published the word holds notes of ours.
            return if stamped(runtime, cb) { 0 } else { -1 };
        }
        cb.value().load(Ordering::Relaxed) as isize
    }
}
