//! What the environment asks for: one table of options, read once.
//!
//! Who comes in: the constructor of the library (or the first call, should
//! that come earlier). What must hold: reading allocates nothing and asks no
//! system call; the table below is the only place where an option is
//! declared, and the manual page is generated from it. In secure-execution
//! mode (setuid programs) options that name files are ignored.

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys;

/// Which lanes serve the requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    Auto,
    Uring,
    Threads,
}

/// What is sent when the first notification of an episode is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverflowSignal {
    Auto,
    None,
    Number(i32),
}

/// Where the statistics go at the end.
#[derive(Clone, Copy)]
pub enum Stats {
    Off,
    StandardError,
    File(&'static CStr),
}

/// Kernel features that a diagnostic run does without (`AIO_SHIM_WITHOUT`).
#[derive(Clone, Copy, Default)]
pub struct Without {
    pub defer_taskrun: bool,
    pub single_issuer: bool,
    pub futex_wait: bool,
    pub registered_ring: bool,
    pub ext_arg: bool,
    pub io_uring: bool,
    pub wipe_on_fork: bool,
    pub inline: bool,
}

/// Every option, with its value.
#[derive(Clone, Copy)]
pub struct Config {
    pub backend: Backend,
    pub verbose: bool,
    pub without: Without,
    pub order_by_descriptor: bool,
    pub threads: u32,
    pub threads_given: bool,
    pub idle_seconds: u32,
    pub overflow_signal: OverflowSignal,
    pub max_waiting: u64,
    pub stats: Stats,
    pub secure: bool,
}

impl Config {
    const DEFAULT: Config = Config {
        backend: Backend::Auto,
        verbose: false,
        without: Without {
            defer_taskrun: false,
            single_issuer: false,
            futex_wait: false,
            registered_ring: false,
            ext_arg: false,
            io_uring: false,
            wipe_on_fork: false,
            inline: false,
        },
        order_by_descriptor: false,
        threads: 64,
        threads_given: false,
        idle_seconds: 1,
        overflow_signal: OverflowSignal::Auto,
        max_waiting: 1_000_000,
        stats: Stats::Off,
        secure: false,
    };
}

/// One variable of the environment: its row in the help and in the manual.
pub struct Variable {
    pub name: &'static str,
    pub values: &'static str,
    pub default: &'static str,
    pub text: &'static str,
    set: fn(&mut Config, &'static CStr) -> bool,
}

/// The option table.
pub static VARIABLES: [Variable; 9] = [
    Variable {
        name: "AIO_SHIM_BACKEND",
        values: "auto|uring|threads",
        default: "auto",
        text: "Where requests run: auto takes io_uring and falls back to worker threads on any refusal; \
               uring fails submissions with EAGAIN where io_uring cannot be had; threads never touches io_uring.",
        set: |config, value| {
            config.backend = match value.to_bytes() {
                b"auto" => Backend::Auto,
                b"uring" => Backend::Uring,
                b"threads" => Backend::Threads,
                _ => return false,
            };
            true
        },
    },
    Variable {
        name: "AIO_SHIM_VERBOSE",
        values: "0|1",
        default: "0",
        text: "1 says on standard error which backend serves and why, and reports each overflow of a signal queue.",
        set: |config, value| flag(value, &mut config.verbose),
    },
    Variable {
        name: "AIO_SHIM_ORDER",
        values: "posix|fd",
        default: "posix",
        text: "fd runs the requests of one descriptor one at a time, as glibc does; posix keeps order only where it can be seen.",
        set: |config, value| {
            config.order_by_descriptor = match value.to_bytes() {
                b"posix" => false,
                b"fd" => true,
                _ => return false,
            };
            true
        },
    },
    Variable {
        name: "AIO_SHIM_THREADS",
        values: "1..1024",
        default: "64",
        text: "The largest number of worker threads. Fewer are used as long as fewer do.",
        set: |config, value| match number(value, 1, 1024) {
            Some(threads) => {
                config.threads = threads as u32;
                config.threads_given = true;
                true
            }
            None => false,
        },
    },
    Variable {
        name: "AIO_SHIM_IDLE",
        values: "1..3600",
        default: "1",
        text: "Seconds a thread of the library stays without work before it ends.",
        set: |config, value| match number(value, 1, 3600) {
            Some(seconds) => {
                config.idle_seconds = seconds as u32;
                true
            }
            None => false,
        },
    },
    Variable {
        name: "AIO_SHIM_OVERFLOW_SIGNAL",
        values: "auto|none|1..64",
        default: "auto",
        text: "The signal raised when a notification is first refused because a queue is full; \
               auto raises SIGIO if the program has a handler for it.",
        set: |config, value| {
            config.overflow_signal = match value.to_bytes() {
                b"auto" => OverflowSignal::Auto,
                b"none" => OverflowSignal::None,
                _ => match number(value, 1, 64) {
                    Some(32 | 33) | None => return false,
                    Some(signal) => OverflowSignal::Number(signal as i32),
                },
            };
            true
        },
    },
    Variable {
        name: "AIO_SHIM_MAX_WAITING",
        values: "1..1000000000",
        default: "1000000",
        text: "Notifications kept while they cannot be delivered; beyond it equal ones (signal and value) merge, which is counted.",
        set: |config, value| match number(value, 1, 1_000_000_000) {
            Some(limit) => {
                config.max_waiting = limit;
                true
            }
            None => false,
        },
    },
    Variable {
        name: "AIO_SHIM_STATS",
        values: "0|1|FILE",
        default: "0",
        text: "1 writes statistics to standard error at exit; a FILE receives them instead (%p is the pid; \
               a name that ends in .json gets JSON). Naming a file is ignored in secure-execution mode.",
        set: |config, value| {
            config.stats = match value.to_bytes() {
                b"" | b"0" => Stats::Off,
                b"1" => Stats::StandardError,
                _ if config.secure => Stats::Off,
                _ => Stats::File(value),
            };
            true
        },
    },
    Variable {
        name: "AIO_SHIM_WITHOUT",
        values: "LIST",
        default: "",
        text: "Diagnostic: do without the named kernel features (defer_taskrun, single_issuer, futex_wait, \
               registered_ring, ext_arg, io_uring, wipe_on_fork, inline), as on an older kernel.",
        set: |config, value| {
            let without = &mut config.without;
            for name in value.to_bytes().split(|&byte| byte == b',') {
                match name {
                    b"" => {}
                    b"defer_taskrun" => without.defer_taskrun = true,
                    b"single_issuer" => without.single_issuer = true,
                    b"futex_wait" => without.futex_wait = true,
                    b"registered_ring" => without.registered_ring = true,
                    b"ext_arg" => without.ext_arg = true,
                    b"io_uring" => without.io_uring = true,
                    b"wipe_on_fork" => without.wipe_on_fork = true,
                    b"inline" => without.inline = true,
                    _ => return false,
                }
            }
            true
        },
    },
];

/// Variables that are read by the constructor or the launcher alone.
const ELSEWHERE: [&str; 3] = [
    "AIO_SHIM_DOCTOR",
    "AIO_SHIM_DOCTOR_PROGRAM",
    "AIO_SHIM_LIBRARY",
];

fn flag(value: &CStr, target: &mut bool) -> bool {
    match value.to_bytes() {
        b"" | b"0" => *target = false,
        b"1" => *target = true,
        _ => return false,
    }
    true
}

fn number(value: &CStr, least: u64, most: u64) -> Option<u64> {
    let text = value.to_bytes();
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    let mut number = 0u64;
    for &byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    (least..=most).contains(&number).then_some(number)
}

struct Store(std::cell::UnsafeCell<Config>);

// SAFETY: written only by the one caller that moves READY from UNREAD to
// READING, read only after READY is READ (Release/Acquire).
unsafe impl Sync for Store {}

static STORE: Store = Store(std::cell::UnsafeCell::new(Config::DEFAULT));
static READY: AtomicU8 = AtomicU8::new(UNREAD);
const UNREAD: u8 = 0;
const READING: u8 = 1;
const READ: u8 = 2;

/// The options in force.
pub fn get() -> Config {
    if READY.load(Ordering::Acquire) != READ {
        read();
    }
    // SAFETY: READ was seen with Acquire, so the store is complete and final.
    unsafe { *STORE.0.get() }
}

/// Reads the environment, once. The constructor calls this while the process
/// has one thread; a call from an even earlier constructor does the same.
#[unsafe(link_section = ".load_time")]
pub fn read() {
    if READY
        .compare_exchange(UNREAD, READING, Ordering::Acquire, Ordering::Acquire)
        .is_err()
    {
        // Only constructors run this early, one after the other.
        while READY.load(Ordering::Acquire) == READING {
            std::hint::spin_loop();
        }
        return;
    }
    // SAFETY: getauxval has no preconditions.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    let mut config = Config {
        secure,
        ..Config::DEFAULT
    };
    each_own_variable(|name, value| {
        if let Some(variable) = find(name) {
            let before = config;
            if !(variable.set)(&mut config, value) {
                config = before;
            }
        }
    });
    // SAFETY: this thread moved READY to READING; nobody reads before READ.
    unsafe { *STORE.0.get() = config };
    READY.store(READ, Ordering::Release);
}

/// Says on standard error what in the environment was not understood; called
/// once, by the first use of AIO.
pub fn complain() {
    each_own_variable(|name, value| {
        let Some(variable) = find(name) else {
            if !ELSEWHERE.iter().any(|known| known.as_bytes() == name) {
                sys::Line::new()
                    .text("aio_shim: unknown variable ")
                    .bytes(name)
                    .text(" ignored; see aio_shim(7) for those that exist")
                    .print();
            }
            return;
        };
        let mut scratch = Config::DEFAULT;
        if !(variable.set)(&mut scratch, value) {
            sys::Line::new()
                .text("aio_shim: ")
                .bytes(name)
                .text("=")
                .bytes(value.to_bytes())
                .text(" is not understood; allowed: ")
                .text(variable.values)
                .text("; using the default, ")
                .text(if variable.default.is_empty() {
                    "none"
                } else {
                    variable.default
                })
                .print();
        }
    });
}

fn find(name: &[u8]) -> Option<&'static Variable> {
    VARIABLES
        .iter()
        .find(|variable| variable.name.as_bytes() == name)
}

/// Calls `visit` with each variable that begins with AIO_SHIM_.
fn each_own_variable(mut visit: impl FnMut(&[u8], &'static CStr)) {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the environment is a null-terminated array of C strings. It is
    // read when the process is young; who changes it meanwhile from another
    // thread breaks getenv as well.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            let entry = CStr::from_ptr(*at);
            let bytes = entry.to_bytes();
            if bytes.starts_with(b"AIO_SHIM_")
                && let Some(equals) = bytes.iter().position(|&byte| byte == b'=')
            {
                visit(&bytes[..equals], CStr::from_ptr((*at).add(equals + 1)));
            }
            at = at.add(1);
        }
    }
}
