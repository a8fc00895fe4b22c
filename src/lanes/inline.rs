//! The inline lane: what is in memory is served in the submitting thread.
//!
//! Who comes in: a submission that asks for no notification. A read that is
//! in the page cache costs under a microsecond here and ten through any other
//! thread. What must hold: nothing here waits for a device; nothing overtakes
//! an outstanding request that it could be seen to overtake, of the file that
//! the descriptor names now; and a hint that is wrong costs a system call,
//! never a wrong result: what this lane cannot finish goes to the engine as if
//! it had not been tried.

use std::ffi::c_int;

use crate::abi::Members;
use crate::descriptor::{self, Hint, Inline};
use crate::lanes::workers::{Progress, positioned, positioned_with};
use crate::perturb;
use crate::process::Runtime;
use crate::request::{Kind, Outcome};
use crate::sys;

/// Largest transfer tried: the call must stay short.
const LARGEST: usize = 64 * 1024;

/// Tries it. None: it is the engine's.
pub fn attempt(runtime: &Runtime, kind: Kind, members: &Members, hint: Hint) -> Option<Outcome> {
    let refused = perturb::refuses(3);
    if refused || members.length > LARGEST || members.length == 0 || members.offset < 0 {
        return None;
    }
    let fildes = members.fildes;
    let anything_before = || {
        let file = || descriptor::file_slot(fildes);
        runtime.load.anything_before(kind, fildes, file)
    };
    match (kind, hint.inline) {
        (Kind::Read, Inline::CacheReads | Inline::Memory) => {
            if anything_before() {
                return None;
            }
            let _errno = sys::KeepErrno::new();
            if hint.inline == Inline::Memory {
                return in_memory(runtime, kind, members);
            }
            if runtime.hints.is_cold(fildes) {
                return None;
            }
            let outcome = read_cached(fildes, members.buffer, members.length, members.offset);
            runtime.hints.found(fildes, outcome.is_some());
            if outcome.is_none() {
                runtime.stats.missed_inline();
            }
            outcome
        }
        (Kind::Write, Inline::Memory) => {
            // A write past RLIMIT_FSIZE would send SIGXFSZ to the program's
            // own thread; only the library's threads block it.
            if anything_before() || is_limited() {
                return None;
            }
            let _errno = sys::KeepErrno::new();
            in_memory(runtime, kind, members)
        }
        _ => None,
    }
}

/// A read of what is in the page cache, without waiting. None: not all of it
/// is, or the file cannot be asked that way.
pub fn read_cached(fildes: c_int, buffer: usize, length: usize, offset: i64) -> Option<Outcome> {
    let part = |done: usize| {
        positioned_with(
            fildes,
            Kind::Read,
            &Progress {
                buffer: buffer + done,
                length: length - done,
                done: 0,
            },
            offset.checked_add(done as i64).ok_or(libc::EINVAL)?,
            libc::RWF_NOWAIT,
        )
    };
    if perturb::refuses(3) {
        return None;
    }
    let bytes = part(0).ok()?;
    if bytes == length {
        return Some(Ok(bytes));
    }
    // Short: the end of the file, or the end of what is cached. A read that
    // finds nothing behind it, without waiting, proves the former.
    match part(bytes) {
        Ok(0) => Some(Ok(bytes)),
        _ => None,
    }
}

/// A transfer on a file that is memory. None: it is not, or the engine
/// reports the error.
fn in_memory(runtime: &Runtime, kind: Kind, members: &Members) -> Option<Outcome> {
    // The number may have been closed unseen (by fclose, say) and be another
    // file's, where a plain call would wait.
    if !descriptor::is_shared_memory(members.fildes) {
        runtime.hints.forget(members.fildes);
        return None;
    }
    let transfer = Progress {
        buffer: members.buffer,
        length: members.length,
        done: 0,
    };
    positioned(members.fildes, kind, &transfer, members.offset)
        .ok()
        .map(Ok)
}

/// Is there a limit to the size of files? Where a write ends only the kernel
/// knows: O_APPEND may have been set by now.
pub fn is_limited() -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    asked != 0 || limit.rlim_cur != libc::RLIM_INFINITY
}
