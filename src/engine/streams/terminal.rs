//! What poll(2) does not know of a terminal that is read.
//!
//! Who comes in: [`super`], with a read that cannot be tried without waiting.
//! What must hold: nothing here takes a byte out of the terminal.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use crate::sys;

/// When a read ends that poll calls not ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// By itself, soon: at once, or after VTIME (25.5 s at most).
    Soon,
    /// When there are as many bytes as it asks for. They are fewer than VMIN,
    /// and for VMIN bytes poll waits.
    Filled,
    /// When poll says so.
    Ready,
}

/// When does a read of `wanted` bytes end?
pub fn read_ends(fildes: c_int, wanted: usize) -> Ends {
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: room for the settings. Only a terminal has some.
    if unsafe { libc::tcgetattr(fildes, settings.as_mut_ptr()) } != 0 {
        return Ends::Ready;
    }
    // SAFETY: tcgetattr succeeded and filled it.
    let settings = unsafe { settings.assume_init() };
    let (least, time) = (
        usize::from(settings.c_cc[libc::VMIN]),
        settings.c_cc[libc::VTIME],
    );
    if is_master(fildes) {
        // A pseudoterminal's master side, which answers with the settings of
        // the other side, is read by the byte.
        return Ends::Ready;
    }
    if is_in_background(fildes) {
        // A thread that blocks SIGTTIN gets EIO.
        return Ends::Soon;
    }
    if settings.c_lflag & libc::ICANON != 0 {
        // Poll knows lines.
        return Ends::Ready;
    }
    if least == 0 {
        return Ends::Soon;
    }
    // With a time between bytes poll tells of the first one, from which on
    // the read ends by itself.
    if time > 0 || wanted >= least {
        return Ends::Ready;
    }
    if there(fildes) >= wanted {
        return Ends::Soon;
    }
    Ends::Filled
}

/// The bytes that could be read now.
pub fn there(fildes: c_int) -> usize {
    number(fildes, libc::FIONREAD).map_or(0, |count| usize::try_from(count).unwrap_or(0))
}

/// Only master sides know whether they are in packet mode.
fn is_master(fildes: c_int) -> bool {
    number(fildes, libc::TIOCGPKT).is_some()
}

/// Is it the terminal of this process's session, and another group of
/// processes in its foreground? (Of another session's it is not told.)
fn is_in_background(fildes: c_int) -> bool {
    // SAFETY: no preconditions.
    let own = unsafe { libc::getpgrp() };
    number(fildes, libc::TIOCGPGRP).is_some_and(|group| group != 0 && group != own)
}

/// What an ioctl answers that asks for an integer.
fn number(fildes: c_int, question: libc::Ioctl) -> Option<c_int> {
    let mut answer: c_int = 0;
    // SAFETY: room for an integer.
    let result =
        sys::result(unsafe { libc::syscall(libc::SYS_ioctl, fildes, question, &raw mut answer) });
    result.ok().map(|_| answer)
}

/// Is it a pseudoterminal's slave side whose master was closed? The name in
/// /dev/pts goes with the master.
pub fn has_lost_master(fildes: c_int) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for the answer.
    if unsafe { libc::fstat(fildes, stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: fstat succeeded and filled it.
    let stat = unsafe { stat.assume_init() };
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR
        && SLAVES.contains(&libc::major(stat.st_rdev))
        && stat.st_nlink == 0
}

/// The device numbers of these.
const SLAVES: std::ops::RangeInclusive<u32> = 136..=143;
