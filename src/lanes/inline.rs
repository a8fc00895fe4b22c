//! The inline lane: what is in memory is served in the submitting thread.
//!
//! Who comes in: a submission that asks for no notification. A read that is
//! in the page cache costs under a microsecond here and ten through any other
//! thread. What must hold: nothing here waits for a device; nothing overtakes
//! an outstanding request that it could be seen to overtake; and a hint that
//! is wrong costs a system call, never a wrong result: what this lane cannot
//! finish goes to the engine as if it had not been tried.

use std::ffi::c_int;

use crate::abi::Members;
use crate::descriptor::{Hint, Inline};
use crate::lanes::workers::{Progress, positioned_with};
use crate::process::Runtime;
use crate::request::{Kind, Outcome};
use crate::sys;

/// Largest transfer tried: the call must stay short.
const LARGEST: usize = 64 * 1024;

/// Tries it. None: it is the engine's.
pub fn attempt(runtime: &Runtime, kind: Kind, members: &Members, hint: Hint) -> Option<Outcome> {
    if members.length > LARGEST || members.length == 0 || members.offset < 0 {
        return None;
    }
    let fildes = members.fildes;
    match (kind, hint.inline) {
        (Kind::Read, Inline::CacheReads | Inline::Memory) => {
            if runtime.load.writes(fildes, hint.file_slot) {
                return None;
            }
            let _errno = sys::KeepErrno::new();
            let outcome = read(members, hint.inline);
            if outcome.is_none() {
                runtime.stats.missed_inline();
            }
            outcome
        }
        (Kind::Write, Inline::Memory) => {
            // A write past RLIMIT_FSIZE would send SIGXFSZ to the program's
            // own thread; only the library's threads block it.
            if runtime.load.anything(fildes, hint.file_slot) || beyond_limit(members) {
                return None;
            }
            let _errno = sys::KeepErrno::new();
            transfer(Kind::Write, members, 0, 0).ok().map(Ok)
        }
        _ => None,
    }
}

fn read(members: &Members, inline: Inline) -> Option<Outcome> {
    let flags = match inline {
        Inline::Memory => 0,
        _ => libc::RWF_NOWAIT,
    };
    let bytes = transfer(Kind::Read, members, 0, flags).ok()?;
    if bytes == members.length || inline == Inline::Memory {
        return Some(Ok(bytes));
    }
    // Short: the end of the file, or the end of what is cached. A read that
    // finds nothing behind it, without waiting, proves the former.
    match transfer(Kind::Read, members, bytes, flags) {
        Ok(0) => Some(Ok(bytes)),
        _ => None,
    }
}

/// Skips `done` bytes.
fn transfer(kind: Kind, members: &Members, done: usize, flags: c_int) -> Outcome {
    positioned_with(
        members.fildes,
        kind,
        &Progress {
            buffer: members.buffer + done,
            length: members.length - done,
            done: 0,
        },
        members
            .offset
            .checked_add(done as i64)
            .ok_or(libc::EINVAL)?,
        flags,
    )
}

fn beyond_limit(members: &Members) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } != 0 {
        return true;
    }
    (members.offset as u64).saturating_add(members.length as u64) > limit.rlim_cur
}
