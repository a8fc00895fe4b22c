//! Overflow, told: the signal and the line at the begin of an episode.
//!
//! Who comes in: the notifier's thread (or the engine that helps it), once an
//! episode. What must hold: it never waits, also when nobody reads standard
//! error, and tells the program nothing it could take for a completion.

use std::mem::MaybeUninit;
use std::time::Duration;

use libc::c_int;

use super::Notifier;
use super::pace::Hold;
use super::turn::Shared;
use crate::config::OverflowSignal;
use crate::sync::atomic::Ordering;
use crate::sys;

/// At most one line in this time; more episodes are counted in the next.
const LINE_NS: u64 = 100_000_000;

impl Notifier {
    pub(super) fn report(&self, cause: Hold) {
        if let Some(signo) = self.overflow_signo() {
            // kill() is never refused, whatever the queue is like, and its
            // si_code (SI_USER) tells it from a completion (SI_ASYNCIO).
            let _turn = self.turn_to_report();
            // SAFETY: a signal to this process; no memory is involved.
            unsafe { libc::syscall(libc::SYS_kill, self.pid(), signo) };
        }
        if self.settings.verbose.load(Ordering::Relaxed) {
            self.print(cause);
        }
    }

    /// A turn at the queue, or none if there is none for long: a value lost in
    /// a rare race is better than a report that never comes.
    fn turn_to_report(&self) -> Option<Shared<'_>> {
        for _ in 0..100 {
            if let Some(turn) = self.turns.share() {
                return Some(turn);
            }
            sys::sleep(Duration::from_micros(10));
        }
        None
    }

    /// The signal to raise now, if any.
    fn overflow_signo(&self) -> Option<c_int> {
        match decode(self.settings.overflow_signal.load(Ordering::Relaxed)) {
            OverflowSignal::None => None,
            OverflowSignal::Number(signo) => Some(signo),
            OverflowSignal::Auto => {
                // A program that takes SIGIO as its completion signal would
                // look for a control block in the value of this one.
                let asked = self.backlog.state.lock().asked;
                let is_completion = asked & 1 << (libc::SIGIO - 1) != 0;
                (!is_completion && has_handler(libc::SIGIO)).then_some(libc::SIGIO)
            }
        }
    }

    fn print(&self, cause: Hold) {
        let now = sys::now_ns();
        let last = self.settings.printed_at.load(Ordering::Relaxed);
        if last != 0 && now - last < LINE_NS {
            self.settings.unprinted.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.settings.printed_at.store(now, Ordering::Relaxed);
        if !sys::files::has_room(2) {
            return;
        }
        let unprinted = self.settings.unprinted.swap(0, Ordering::Relaxed);
        let waiting = self.backlog.tally.waiting();
        let mut line = sys::Line::new();
        line.text("aio_shim: overflow: ");
        let remedy = match cause {
            Hold::SignalQueue => {
                line.text("the signal queue is full (RLIMIT_SIGPENDING ");
                if let Some(used) = queued_signals() {
                    line.text(used.text()).text(" used");
                } else {
                    line.number(signal_limit());
                }
                line.text(", counted per user)");
                "raise it with `ulimit -i`, or take signals faster"
            }
            Hold::Threads(errno) => {
                line.text("no thread for a callback (")
                    .text(sys::errno_name(errno))
                    .text(")");
                "raise `ulimit -u` or the pids limit of the container"
            }
            Hold::EventfdFull => {
                line.text("an eventfd is at its maximum");
                "read it"
            }
            Hold::Refused(errno) => {
                line.text("the kernel refuses queued signals (")
                    .text(sys::errno_name(errno))
                    .text(", a seccomp filter?)");
                "allow rt_sigqueueinfo; after a second plain signals are sent, without values"
            }
            Hold::TooMany | Hold::Pending | Hold::Busy => {
                line.text("more notifications wait than AIO_SHIM_MAX_WAITING; equal ones merge");
                "unblock or handle the signal"
            }
        };
        line.text("; ")
            .number(waiting)
            .text(" notifications kept, none lost, sent as room appears; ")
            .text(remedy);
        if unprinted > 0 {
            line.text(" (and ")
                .number(unprinted)
                .text(" episodes since the last line)");
        }
        line.print();
    }
}

/// The setting as one number: -1 auto, 0 none, else the signal.
pub(super) const fn encode(signal: OverflowSignal) -> i32 {
    match signal {
        OverflowSignal::Auto => -1,
        OverflowSignal::None => 0,
        OverflowSignal::Number(signo) => signo,
    }
}

pub(super) const fn decode(number: i32) -> OverflowSignal {
    match number {
        -1 => OverflowSignal::Auto,
        0 => OverflowSignal::None,
        signo => OverflowSignal::Number(signo),
    }
}

fn has_handler(signo: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the answer is written to a local.
    unsafe {
        if libc::sigaction(signo, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return false;
        }
        let action = action.assume_init().sa_sigaction;
        action != libc::SIG_DFL && action != libc::SIG_IGN
    }
}

/// RLIMIT_SIGPENDING.
pub(super) fn signal_limit() -> u64 {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: a writable struct rlimit.
    unsafe {
        libc::getrlimit(libc::RLIMIT_SIGPENDING, limit.as_mut_ptr());
        limit.assume_init().rlim_cur
    }
}

/// "USED/LIMIT" of the user's signal queue.
struct SigQ {
    bytes: [u8; 48],
    used: usize,
}

impl SigQ {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.used]).unwrap_or("")
    }
}

/// The SigQ line of /proc/self/status. This opens a file, for an instant;
/// only the verbose line does that, which is a diagnostic.
fn queued_signals() -> Option<SigQ> {
    let mut status = [0u8; 2048];
    let status = sys::files::begin(c"/proc/self/status", &mut status)?;
    let value = sys::files::field(status, "SigQ")?.as_bytes();
    let mut out = SigQ {
        bytes: [0; 48],
        used: value.len().min(48),
    };
    out.bytes[..out.used].copy_from_slice(&value[..out.used]);
    Some(out)
}
