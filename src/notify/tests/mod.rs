//! Tests of the notifier with real signals, threads and limits.
//!
//! Signals, limits and users belong to a process, so each test runs in a
//! child of its own. As root the child becomes a user that nobody else is:
//! RLIMIT_SIGPENDING and RLIMIT_NPROC count per user.

mod callbacks;
mod counting;
mod eventfds;
mod faults;
mod mixed;
mod signals;

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use libc::{c_int, c_void, sigset_t};

use super::notice::{How, SIGEV_AIO_SHIM_EVENTFD, Sigevent};
use super::*;

/// A child that runs longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `body` in a child process and fails if that fails.
fn in_child(body: impl FnOnce()) {
    // SAFETY: the child uses what glibc keeps usable after fork (malloc,
    // threads) and ends with _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            become_nobody_else();
            body();
        }));
        if let Err(panic) = &outcome {
            // The harness's capture is of the parent: write to the terminal.
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(panic.downcast_ref::<&str>().copied())
                .unwrap_or("panic");
            crate::sys::to_stderr(text);
            crate::sys::to_stderr("\n");
        }
        // SAFETY: ends the child without its parent's exit handlers.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let begin = Instant::now();
    let mut status = 0;
    // SAFETY: our own child.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if begin.elapsed() > PATIENCE {
            // SAFETY: as above.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(status, 0, "the child failed (wait status {status:#x})");
}

/// As root: a user of this process's own, so that limits count it alone.
fn become_nobody_else() {
    // SAFETY: plain calls about this process.
    unsafe {
        if libc::getuid() == 0 {
            let user = 2_000_000 + libc::getpid() as u32;
            assert_eq!(libc::setresuid(user, user, user), 0);
        }
    }
}

fn limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let mut now = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: valid structures.
    unsafe {
        assert_eq!(libc::getrlimit(resource, now.as_mut_ptr()), 0);
        let mut now = now.assume_init();
        now.rlim_cur = soft;
        assert_eq!(libc::setrlimit(resource, &now), 0);
    }
}

/// A notifier as a process has it: for ever.
fn notifier() -> &'static Notifier {
    notifier_with(1_000_000)
}

fn notifier_with(max_waiting: u64) -> &'static Notifier {
    let notifier: &'static Notifier = Box::leak(Box::new(Notifier::new()));
    notifier.configure(Config {
        overflow_signal: OverflowSignal::Auto,
        max_waiting,
        idle: Duration::from_millis(100),
        verbose: false,
    });
    notifier
}

fn event(notify: c_int, signo: c_int, value: usize) -> Sigevent {
    Sigevent {
        value,
        signo,
        notify,
        how: How {
            callback: (0, std::ptr::null_mut()),
        },
        _rest: [0; 4],
    }
}

fn read(event: &Sigevent) -> Result<Option<Notice>, c_int> {
    // SAFETY: a valid sigevent.
    unsafe { Notice::read((&raw const *event).cast(), Origin::Request) }
}

fn signal_notice(signo: c_int, value: usize) -> Notice {
    read(&event(libc::SIGEV_SIGNAL, signo, value))
        .unwrap()
        .unwrap()
}

fn callback_notice(
    function: extern "C-unwind" fn(usize),
    value: usize,
    attributes: *mut libc::pthread_attr_t,
) -> Notice {
    let mut event = event(libc::SIGEV_THREAD, 0, value);
    event.how.callback = (function as usize, attributes);
    read(&event).unwrap().unwrap()
}

/// Runs `body` as a thread of the library: all signals blocked.
fn as_library<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    start_library_thread(body).join().unwrap()
}

fn start_library_thread<R: Send + 'static>(
    body: impl FnOnce() -> R + Send + 'static,
) -> std::thread::JoinHandle<R> {
    crate::sys::with_signals_blocked(|| {
        std::thread::spawn(move || {
            threads::block_signals();
            body()
        })
    })
}

fn set_of(signals: &[c_int]) -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialised first.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signo in signals {
            libc::sigaddset(set.as_mut_ptr(), signo);
        }
        set.assume_init()
    }
}

fn block(signals: &[c_int]) {
    // SAFETY: a valid set.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set_of(signals), std::ptr::null_mut()) };
}

fn unblock(signals: &[c_int]) {
    // SAFETY: a valid set.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &set_of(signals), std::ptr::null_mut()) };
}

impl Notifier {
    fn post(&'static self, notice: Notice) {
        self.post_batch(&mut [notice]);
    }

    fn idle(&self) -> bool {
        self.backlog.idle()
    }
}

/// What a signal told: number, code, pid, uid, value.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Told {
    signo: c_int,
    code: c_int,
    pid: c_int,
    uid: u32,
    value: usize,
}

impl Told {
    /// # Safety
    /// `info` is the siginfo of a signal.
    unsafe fn from(info: *const libc::siginfo_t) -> Told {
        // SAFETY: the caller's promise.
        unsafe {
            Told {
                signo: (*info).si_signo,
                code: (*info).si_code,
                pid: (*info).si_pid(),
                uid: (*info).si_uid(),
                value: (*info).si_value().sival_ptr as usize,
            }
        }
    }

    /// What a completion with this signal and value must look like.
    fn completion(signo: c_int, value: usize) -> Told {
        // SAFETY: no preconditions.
        let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
        Told {
            signo,
            code: libc::SI_ASYNCIO,
            pid,
            uid,
            value,
        }
    }
}

/// Takes the next of `signals` (blocked in the caller), or None in time.
fn take(signals: &[c_int], within: Duration) -> Option<Told> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let end = Instant::now() + within;
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        // SAFETY: valid set, info and time.
        let got = unsafe {
            let limit = crate::sys::timespec(rest);
            libc::sigtimedwait(&set_of(signals), info.as_mut_ptr(), &limit)
        };
        if got > 0 {
            // SAFETY: the call filled it.
            return Some(unsafe { Told::from(info.as_ptr()) });
        }
        // A handler of another signal may have run (EINTR).
        if crate::sys::errno() != libc::EINTR {
            return None;
        }
    }
}

/// Waits until `done`, or fails.
fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "waiting for {what}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What a handler wrote down.
struct Log {
    entries: [AtomicUsize; Log::ROOM],
    /// Slots given out, and slots written.
    slots: AtomicUsize,
    count: AtomicUsize,
    bad: AtomicBool,
}

impl Log {
    const ROOM: usize = 20_000;

    const fn new() -> Self {
        Log {
            entries: [const { AtomicUsize::new(0) }; Log::ROOM],
            slots: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            bad: AtomicBool::new(false),
        }
    }

    fn write(&self, value: usize) {
        let at = self.slots.fetch_add(1, SeqCst);
        if at < Log::ROOM {
            self.entries[at].store(value, SeqCst);
        }
        self.count.fetch_add(1, SeqCst);
    }

    fn len(&self) -> usize {
        self.count.load(SeqCst)
    }

    fn values(&self) -> Vec<usize> {
        let len = self.len().min(Log::ROOM);
        self.entries[..len]
            .iter()
            .map(|entry| entry.load(SeqCst))
            .collect()
    }
}

static LOG: Log = Log::new();

/// A handler that writes the value down and checks the rest.
extern "C" fn log_signal(signo: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: given by the kernel.
    let told = unsafe { Told::from(info) };
    if told != Told::completion(signo, told.value) {
        LOG.bad.store(true, SeqCst);
    }
    LOG.write(told.value);
}

fn handle(signo: c_int, handler: usize, flags: c_int) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroed is an empty mask; the handler has the type its flags say.
    unsafe {
        (*action.as_mut_ptr()).sa_sigaction = handler;
        (*action.as_mut_ptr()).sa_flags = flags;
        assert_eq!(
            libc::sigaction(signo, action.as_ptr(), std::ptr::null_mut()),
            0
        );
    }
}

fn log_handler() -> usize {
    log_signal as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize
}

/// Names of this process's threads.
fn thread_names() -> Vec<String> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| {
            let name = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
            Some(name.trim().to_owned())
        })
        .collect()
}

fn own_threads() -> usize {
    thread_names()
        .iter()
        .filter(|name| name.starts_with("aio-shim-"))
        .count()
}

/// At rest: what the counters must say, with `sent` handed over.
fn assert_settled(notifier: &Notifier, sent: u64) {
    wait_for("the backlog to empty", || notifier.idle());
    let counters = notifier.counters();
    assert_eq!(counters.total.sent, sent, "{counters:?}");
    assert_eq!(counters.total.waiting, 0, "{counters:?}");
    assert_eq!(
        counters.total.deferred,
        counters.total.late + counters.total.merged,
        "{counters:?}"
    );
    assert!(!notifier.backlog.state.lock().in_episode());
}
