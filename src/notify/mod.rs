//! The notifier: tells the program that a request, or a list, is complete.
//!
//! Who comes in: a submitting thread, to have its sigevent checked and a
//! callback thread secured (`Notice::read`, `Notifier::admit`); threads of the
//! library that completed something (`post`), with all signals blocked. Who
//! goes out: signals, callbacks, additions to eventfds; and reports of
//! overflow.
//!
//! What must hold:
//! - what was posted is handed over exactly once, in the order of posting for
//!   each signal number, or merges into an equal one beyond the cap, which is
//!   counted; a full queue or a failing pthread_create only delays;
//! - no thread of the program waits here, and the engine at most for a short
//!   lock;
//! - no aiocb is looked at: a [`Notice`] is a copy;
//! - nothing exists before the first notification: no thread, no allocation;
//! - no descriptor is opened (but by the verbose line).
//!
//! The parts: `notice` (the copy), `lanes` and `fifo` (where they wait),
//! `beyond` (what gives way past the cap), `backlog` (who delivers and who
//! sleeps; checked with loom), `pace` (when to look again), `send` and
//! `turn` (signals, eventfds), `callbacks`, `muster`, `own_thread` and `threads`
//! (SIGEV_THREAD), `tally` and `report` (overflow).

mod backlog;
mod bell;
mod beyond;
mod callbacks;
mod fifo;
mod lane_id;
mod lanes;
mod muster;
mod notice;
mod own_thread;
mod pace;
mod report;
mod send;
mod tally;
mod threads;
mod turn;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use std::ffi::c_void;
use std::time::Duration;

use libc::c_int;

pub use notice::{Notice, Origin};
pub use tally::{Counters, KINDS, KindCounters};

use crate::config::OverflowSignal;
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use crate::sys;
use crate::thread::{self, Stack};
use backlog::{Backlog, World};
use fifo::Waiting;
use lanes::{Claim, Done};
use muster::Muster;
use notice::Form;
use pace::Hold;
use turn::Turns;

/// What the options say about notification.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What to raise when an episode begins.
    pub overflow_signal: OverflowSignal,
    /// Notifications kept before equal ones merge.
    pub max_waiting: u64,
    /// How long threads stay without work.
    pub idle: Duration,
    /// Report each episode on standard error.
    pub verbose: bool,
}

struct Settings {
    overflow_signal: AtomicI32,
    max_waiting: AtomicU64,
    idle_ns: AtomicU64,
    verbose: AtomicBool,
    /// When a line was last printed, and episodes without a line since.
    printed_at: AtomicU64,
    unprinted: AtomicU64,
}

/// The notifier of one process.
pub struct Notifier {
    backlog: Backlog,
    muster: Muster,
    settings: Settings,
    /// This process, once known; a child of fork has another notifier.
    pid: AtomicI32,
    processors: AtomicU32,
    /// Queued signals are refused, plain ones are sent.
    plain: AtomicBool,
    /// Turns at the signal queue.
    turns: Turns,
    /// When the signal queue was last full; 0: never.
    refused_at: AtomicU64,
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Notifier {
    /// A notifier at rest: no allocation, no thread.
    pub const fn new() -> Self {
        Notifier {
            backlog: Backlog::new(),
            muster: Muster::new(),
            settings: Settings {
                overflow_signal: AtomicI32::new(report::encode(OverflowSignal::Auto)),
                max_waiting: AtomicU64::new(1_000_000),
                idle_ns: AtomicU64::new(1_000_000_000),
                verbose: AtomicBool::new(false),
                printed_at: AtomicU64::new(0),
                unprinted: AtomicU64::new(0),
            },
            pid: AtomicI32::new(0),
            processors: AtomicU32::new(0),
            plain: AtomicBool::new(false),
            turns: Turns::new(),
            refused_at: AtomicU64::new(0),
        }
    }

    /// Sets the options; to be called before the first request is accepted.
    pub fn configure(&self, config: Config) {
        let settings = &self.settings;
        let idle = u64::try_from(config.idle.as_nanos()).unwrap_or(u64::MAX);
        settings
            .overflow_signal
            .store(report::encode(config.overflow_signal), Ordering::Relaxed);
        settings
            .max_waiting
            .store(config.max_waiting, Ordering::Relaxed);
        settings.idle_ns.store(idle, Ordering::Relaxed);
        settings.verbose.store(config.verbose, Ordering::Relaxed);
        self.pid();
    }

    /// Called by the submitting thread before it accepts a request (or a
    /// list) with this notice. SIGEV_THREAD: from now on there is at least
    /// one callback thread, until the callback was begun; Err(EAGAIN): none
    /// can be made. Eventfd: EBADF if closed, EINVAL if it is something else.
    ///
    /// Neither locks nor allocates, but for the first callback thread.
    pub fn admit(&'static self, notice: &Notice) -> Result<(), c_int> {
        match notice.form {
            Form::Callback => {
                if self.muster.secure() || self.secure_slowly() {
                    return Ok(());
                }
                self.muster.release();
                Err(libc::EAGAIN)
            }
            Form::Eventfd => {
                let _errno = sys::KeepErrno::new();
                match send::check_eventfd(notice.signo) {
                    0 => Ok(()),
                    errno => Err(errno),
                }
            }
            _ => Ok(()),
        }
    }

    /// Takes an `admit` back: the request was not accepted after all, and
    /// this notice will not be posted. Async-signal-safe.
    pub fn withdraw(&self, notice: &Notice) {
        if notice.is_thread() {
            let _errno = sys::KeepErrno::new();
            self.muster.release();
        }
    }

    /// Tells the program what completed together, now or as soon as the
    /// kernel lets us. Called by threads of the library only, all signals
    /// blocked, after the status is visible. At most a few are sent by the
    /// calling thread, a larger batch is left to the notifier's thread whole.
    /// Afterwards, look at [`help_wanted`](Self::help_wanted).
    pub fn post_batch(&'static self, notices: &mut [Notice]) {
        for notice in notices.iter_mut() {
            if notice.form == Form::Callback && !notice.attributes.is_null() {
                own_thread::copy_attributes(notice);
            }
        }
        self.backlog.post(&self, notices);
    }

    /// The counters. Async-signal-safe.
    pub fn counters(&self) -> Counters {
        self.backlog.tally.read()
    }

    /// Changes the overflow signal; the setting before. Async-signal-safe.
    pub fn set_overflow_signal(&self, signal: OverflowSignal) -> OverflowSignal {
        let setting = &self.settings.overflow_signal;
        report::decode(setting.swap(report::encode(signal), Ordering::Relaxed))
    }

    /// The notifier's thread is needed and could not be made: how long until
    /// a thread of the library has to call [`retry`](Self::retry).
    pub fn help_wanted(&self) -> Option<Duration> {
        let at = self.backlog.help_at()?;
        Some(Duration::from_nanos(at.saturating_sub(sys::now_ns())))
    }

    /// Does one round of the notifier's work and tries to make its thread
    /// again.
    pub fn retry(&'static self) {
        self.backlog.retry(&self);
    }

    fn idle_ns(&self) -> u64 {
        self.settings.idle_ns.load(Ordering::Relaxed)
    }

    /// This process.
    fn pid(&self) -> c_int {
        let known = self.pid.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        // SAFETY: getpid has no preconditions.
        let pid = unsafe { libc::getpid() };
        self.pid.store(pid, Ordering::Relaxed);
        pid
    }

    /// Is this the memory of a parent, seen from the child of a fork?
    fn is_foreign(&self) -> bool {
        // SAFETY: getpid has no preconditions.
        self.pid() != unsafe { libc::getpid() }
    }

    /// Processors this process may use.
    fn processors(&self) -> u32 {
        let known = self.processors.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: a writable set of the size given; all zeroes is a set.
        let count = unsafe {
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
            libc::CPU_COUNT(&set.assume_init())
        };
        let count = u32::try_from(count).unwrap_or(1).max(1);
        self.processors.store(count, Ordering::Relaxed);
        count
    }

    /// The address given to threads that this notifier makes.
    fn address(&'static self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }
}

impl World for &'static Notifier {
    fn now(&self) -> u64 {
        sys::now_ns()
    }

    fn limits(&self) -> (u64, u64) {
        let max_waiting = self.settings.max_waiting.load(Ordering::Relaxed);
        (max_waiting, self.idle_ns())
    }

    fn deliver(
        &self,
        claim: &Claim,
        entries: &[Option<Waiting>],
        done: &mut [Done],
    ) -> (usize, Option<Hold>) {
        self.hand_over(claim, entries, done)
    }

    fn start_notifier(&self) -> bool {
        thread::detached(notifier_main, self.address(), Stack::Small).is_ok()
    }

    fn callback_threads(&self) -> u32 {
        self.muster.threads()
    }

    fn wake_callback_thread(&self) {
        self.muster.bell.ring(1);
    }

    fn tend_callbacks(&self, now: u64) {
        self.tend_crew(now);
    }

    fn announce(&self, cause: Hold) {
        self.report(cause);
    }

    fn yield_now(&self) {
        // SAFETY: sched_yield has no preconditions.
        unsafe { libc::sched_yield() };
    }

    fn out_of_memory(&self) {
        sys::sleep(Duration::from_millis(1));
    }
}

/// The notifier's thread.
extern "C" fn notifier_main(notifier: *mut c_void) -> *mut c_void {
    thread::begin_as(c"aio-shim-notify");
    threads::sleep_exactly();
    // SAFETY: `spawn` was given `self.address()` of a `&'static Notifier`.
    let notifier: &'static Notifier = unsafe { &*notifier.cast::<Notifier>() };
    notifier.backlog.tend(&notifier);
    std::ptr::null_mut()
}
