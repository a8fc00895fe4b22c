//! The report at the end, and where it goes.
//!
//! Who comes in: the library's last function at exit, and the
//! [`witness`](super::witness). What must hold: no allocator is used; nothing
//! is written where the user did not ask; a report is written whole, with one
//! system call; and one process never overwrites what an earlier program of
//! the same process (before exec) reported.

use core::ffi::{CStr, c_char};
use core::fmt::{self, Write};

use super::{json, summary, text};
use crate::config::{self, Config};
use crate::process::Runtime;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sys::{self, files};

/// How the process ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By exit(), or by returning from main.
    Exit,
    /// The witness saw it end otherwise.
    Gone,
    /// The witness saw another program take its place.
    Exec,
}

impl End {
    pub fn in_words(self) -> &'static str {
        match self {
            End::Exit => "",
            End::Gone => " (ended without exit)",
            End::Exec => " (went over to another program)",
        }
    }

    pub fn as_key(self) -> &'static str {
        match self {
            End::Exit => "exit",
            End::Gone => "gone",
            End::Exec => "exec",
        }
    }
}

/// What a report begins with.
pub struct Header<'a> {
    pub version: &'a str,
    pub program: &'a str,
    pub pid: u32,
    /// When the process started, in the unit of /proc; with the pid it names
    /// a process for good, also across exec.
    pub started: u64,
    pub end: End,
}

const PATH_MAX: usize = 4096;
const TEXT_MAX: usize = 16 * 1024;

/// AIO_SHIM_STATS as it was when the library was loaded, made absolute: the
/// program may change its directory, and write over its environment.
static PATH: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Fresh memory for good; static memory would be mapped in every process.
fn memory(length: usize) -> Option<&'static mut [u8]> {
    let at = sys::map(length, libc::MAP_PRIVATE)?;
    // SAFETY: never unmapped, and ours alone.
    Some(unsafe { core::slice::from_raw_parts_mut(at, length) })
}

/// Keeps the name of the file that statistics go to. For the constructor.
pub fn remember_file(config: &Config) {
    let config::Stats::File(name) = config.stats else {
        return;
    };
    let Some(path) = memory(PATH_MAX) else {
        return;
    };
    let mut used = 0;
    if !name.to_bytes().starts_with(b"/") {
        // SAFETY: writable for the size given.
        let answer = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), PATH_MAX / 2) };
        match usize::try_from(answer) {
            // The length counts the terminating zero.
            Ok(length) if length > 1 && path[0] == b'/' => {
                path[length - 1] = b'/';
                used = length;
            }
            _ => used = 0,
        }
    }
    let name = name.to_bytes();
    if used + name.len() < PATH_MAX {
        path[used..used + name.len()].copy_from_slice(name);
        path[used + name.len()] = 0;
        PATH.store(path.as_mut_ptr(), Ordering::Relaxed);
    }
}

/// The file to write to. None: there is no name, or it is too long.
fn target(pid: u32) -> Option<&'static CStr> {
    let pattern = PATH.load(Ordering::Relaxed);
    if pattern.is_null() {
        return None;
    }
    // SAFETY: set by the constructor, to a C string that stays.
    let mut rest = unsafe { CStr::from_ptr(pattern.cast()) }.to_bytes();
    let mut out = Sink::new(memory(PATH_MAX)?);
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' && after.first() == Some(&b'p') {
            let _ = write!(out, "{pid}");
            rest = &after[1..];
        } else {
            out.put(&[byte]);
            rest = after;
        }
    }
    out.put(&[0]);
    if !out.whole {
        return None;
    }
    CStr::from_bytes_until_nul(out.bytes).ok()
}

/// Gathers text in memory of a fixed size.
struct Sink<'a> {
    bytes: &'a mut [u8],
    used: usize,
    whole: bool,
}

impl<'a> Sink<'a> {
    fn new(bytes: &'a mut [u8]) -> Sink<'a> {
        Sink {
            bytes,
            used: 0,
            whole: true,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.bytes.len() - self.used);
        self.bytes[self.used..self.used + taken].copy_from_slice(&bytes[..taken]);
        self.used += taken;
        self.whole &= taken == bytes.len();
    }
}

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// At exit: writes the report, so that the witness need not.
pub fn at_exit(runtime: &Runtime) {
    let area = runtime.stats.area();
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { libc::getpid() } as u32;
    // A child of vfork that calls exit() by mistake is not the process.
    if pid == area.pid.load(Ordering::Relaxed) && write(runtime, End::Exit) {
        area.reported.store(1, Ordering::SeqCst);
    }
}

/// Writes the report. False: it could not be written.
pub fn write(runtime: &Runtime, end: End) -> bool {
    let area = runtime.stats.area();
    let stats = summary::read(area);
    let header = Header {
        version: env!("CARGO_PKG_VERSION"),
        program: program(),
        pid: area.pid.load(Ordering::Relaxed),
        started: area.started.load(Ordering::Relaxed),
        end,
    };
    let Some(text) = memory(TEXT_MAX) else {
        return false;
    };
    let mut out = Sink::new(text);
    if !matches!(runtime.config.stats, config::Stats::File(_)) {
        let _ = text::write(&mut out, &header, &stats);
        return files::write_all(2, &out.bytes[..out.used]);
    }
    let Some(path) = target(header.pid) else {
        return false;
    };
    let mut mark = [0; 64];
    let mut mark = Sink::new(&mut mark);
    let _ = if path.to_bytes().ends_with(b".json") {
        let _ = json::mark(&mut mark, &header);
        json::write(&mut out, &header, &stats)
    } else {
        let _ = text::mark(&mut mark, &header);
        text::write(&mut out, &header, &stats)
    };
    write_file(
        path,
        &mark.bytes[..mark.used],
        header.started != 0,
        &out.bytes[..out.used],
    )
}

/// Writes the file anew; or behind what is in it, if that has the `mark` of
/// this very process in its first line: the report of the program that it was
/// before exec.
fn write_file(path: &CStr, mark: &[u8], marked: bool, text: &[u8]) -> bool {
    const FLAGS: i32 = libc::O_NOCTTY | libc::O_NONBLOCK;
    let opened = files::create(path, libc::O_RDWR | libc::O_CREAT | FLAGS, 0o666)
        // A terminal or a pipe, say: nothing to look at.
        .or_else(|_| files::open(path, libc::O_WRONLY | FLAGS));
    let Ok(file) = opened else {
        return false;
    };
    let mut first = [0u8; 256];
    let got = files::read_begin(file, &mut first);
    let first = &first[..got.unwrap_or(0)];
    // SAFETY: plain arguments; what cannot seek or be cut refuses both.
    unsafe {
        if marked && first.windows(mark.len()).any(|part| part == mark) {
            libc::lseek(file, 0, libc::SEEK_END);
        } else {
            libc::ftruncate(file, 0);
        }
    }
    let whole = files::write_all(file, text);
    files::close(file);
    whole
}

/// The name of the program, as the C library knows it.
fn program() -> &'static str {
    unsafe extern "C" {
        static program_invocation_short_name: *const c_char;
    }
    // SAFETY: a C string, set before main and valid for good, or null.
    unsafe {
        let name = program_invocation_short_name;
        if name.is_null() {
            return "?";
        }
        CStr::from_ptr(name).to_str().unwrap_or("?")
    }
}

/// When the process started, from /proc; 0 if that cannot be read.
pub fn started() -> u64 {
    let mut stat = [0u8; 1024];
    let Some(stat) = files::begin(c"/proc/self/stat", &mut stat) else {
        return 0;
    };
    // The name in parentheses may hold anything; after it come the fields
    // from the third on, and the start is the 22nd.
    stat.iter()
        .rposition(|&byte| byte == b')')
        .and_then(|at| core::str::from_utf8(&stat[at + 1..]).ok())
        .and_then(|fields| fields.split_ascii_whitespace().nth(22 - 3))
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}
