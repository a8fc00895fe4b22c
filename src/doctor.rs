//! What `aio-shim --doctor` needs system calls for: may this process use
//! io_uring, what does the kernel offer, and if it refuses, who refuses.
//!
//! In: [`on_request`], from the library's constructor, and [`report`], from the
//! exported `aio_shim_doctor`. Out: `key=value` lines on a descriptor.
//! Meanwhile: nothing is allocated, no lock is taken, no thread is made, and
//! the process keeps no descriptor and no mapping afterwards.
//!
//! The questions to the kernel are in `probe.rs`; here their answers are
//! judged and printed.

mod probe;

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::ptr;

use crate::config::{self, Backend};
use crate::sys::{self, files};
use probe::Stage;
pub(crate) use probe::{Probe, probe};

/// Text gathered on the stack and written with one call.
struct Text {
    bytes: [u8; 3072],
    len: usize,
}

impl Text {
    const fn new() -> Text {
        Text {
            bytes: [0; 3072],
            len: 0,
        }
    }

    fn write_to(&self, fd: i32) {
        files::write_all(fd, &self.bytes[..self.len]);
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let n = s.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

fn c_variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: a C string; the report runs in the constructor or in a caller
    // who, as everywhere, must not change the environment meanwhile.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: what getenv gives is a C string that lives as long as the environment.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

fn variable(name: &CStr) -> &'static str {
    c_variable(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

fn exists(path: &CStr) -> bool {
    // SAFETY: path is a C string.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut r = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: r is a whole rlimit.
    (unsafe { libc::getrlimit(resource, &raw mut r) } == 0).then_some(r.rlim_cur)
}

fn errno_name(e: i32) -> &'static str {
    match e {
        0 => "0",
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::ENOSYS => "ENOSYS",
        libc::EINVAL => "EINVAL",
        libc::ENOMEM => "ENOMEM",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EAGAIN => "EAGAIN",
        libc::EFAULT => "EFAULT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        _ => "other",
    }
}

fn utsname() -> libc::utsname {
    // SAFETY: utsname is plain bytes; uname fills it with C strings.
    unsafe {
        let mut u: libc::utsname = core::mem::zeroed();
        libc::uname(&raw mut u);
        u
    }
}

fn text_of(chars: &[libc::c_char]) -> &str {
    // SAFETY: c_char and u8 have one size and alignment.
    let bytes = unsafe { core::slice::from_raw_parts(chars.as_ptr().cast::<u8>(), chars.len()) };
    CStr::from_bytes_until_nul(bytes)
        .ok()
        .and_then(|c| c.to_str().ok())
        .unwrap_or("unknown")
}

/// What sort of container this looks like. Hints only: there is no sure sign.
fn container(version: &str) -> &'static str {
    if version == "#1 SMP Sun Jan 10 15:06:54 PST 2016" {
        "gvisor" // the fixed build date gVisor answers uname(2) with
    } else if !variable(c"KUBERNETES_SERVICE_HOST").is_empty() {
        "kubernetes"
    } else if exists(c"/run/.containerenv") {
        "podman"
    } else if exists(c"/.dockerenv") {
        "docker"
    } else if !variable(c"container").is_empty() {
        "other"
    } else {
        "none"
    }
}

/// Who refused, in a word for scripts and in a sentence for people.
fn cause(p: &Probe, sysctl: Option<&str>, seccomp: Option<&str>) -> (&'static str, &'static str) {
    let filtered = seccomp.is_some_and(|s| s != "0");
    match p.errno {
        _ if p.signal == libc::SIGSYS => (
            "seccomp",
            "a seccomp filter kills the process that calls io_uring",
        ),
        _ if p.signal != 0 => ("unknown", "the process that tried io_uring was killed"),
        libc::EPERM if sysctl == Some("2") => (
            "sysctl",
            "kernel.io_uring_disabled=2 refuses it to everybody",
        ),
        libc::EPERM if sysctl == Some("1") && !filtered => (
            "sysctl",
            "kernel.io_uring_disabled=1 refuses it to this user",
        ),
        _ if filtered
            && p.errno != libc::ENOMEM
            && p.errno != libc::EMFILE
            && p.errno != libc::ENFILE =>
        {
            (
                "seccomp",
                "a seccomp filter refuses it, as containers and service managers do",
            )
        }
        libc::EPERM | libc::EACCES => (
            "security_module",
            "a security module or an outer sandbox refuses it",
        ),
        libc::ENOSYS => ("kernel", "this kernel has no io_uring"),
        libc::ENOMEM => (
            "memlock",
            "not enough memory may be locked (RLIMIT_MEMLOCK)",
        ),
        libc::EMFILE | libc::ENFILE => ("descriptors", "no descriptor is left (RLIMIT_NOFILE)"),
        _ => ("unknown", "the kernel refuses it"),
    }
}

fn wipe_on_fork() -> bool {
    const PAGE: usize = 4096;
    let Some(page) = sys::map(PAGE, libc::MAP_PRIVATE) else {
        return false;
    };
    // SAFETY: a page of our own, advised and unmapped; nobody else knows it.
    unsafe {
        let yes = libc::madvise(page.cast(), PAGE, libc::MADV_WIPEONFORK) == 0;
        libc::munmap(page.cast(), PAGE);
        yes
    }
}

/// What serves without io_uring: nothing, for who insists on io_uring.
fn fallback(wanted: Backend) -> &'static str {
    if wanted == Backend::Uring {
        "none"
    } else {
        "threads"
    }
}

/// Does this file gain capabilities when it is executed? Then the dynamic
/// linker drops LD_PRELOAD. (A shell cannot ask this without extra tools.)
fn has_capabilities(path: &CStr) -> bool {
    // SAFETY: two C strings; a null buffer of size 0 asks for the length only.
    unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            ptr::null_mut(),
            0,
        ) > 0
    }
}

/// Writes what was found to `fd`, a `key=value` a line. Of the program named
/// by AIO_SHIM_DOCTOR_PROGRAM, if any, what the launcher cannot see itself.
/// Returns 0 when io_uring will serve, 1 when the worker pool will, 2 when nothing will.
pub(crate) fn report(fd: i32) -> i32 {
    let mut out = Text::new();
    let uts = utsname();
    let mut buffers = ([0u8; 16], [0u8; 4096]);
    let sysctl = files::begin(c"/proc/sys/kernel/io_uring_disabled", &mut buffers.0)
        .and_then(|text| core::str::from_utf8(text).ok())
        .map(str::trim_end);
    let status = files::begin(c"/proc/self/status", &mut buffers.1);
    let seccomp = status.and_then(|s| files::field(s, "Seccomp"));
    let queued = status
        .and_then(|s| files::field(s, "SigQ"))
        .and_then(|s| s.split_once('/'));
    let config::Config {
        backend: wanted,
        without,
        ..
    } = config::get();

    let p = probe();
    let (backend, (cause, reason)) = if wanted == Backend::Threads {
        (
            "threads",
            ("requested", "AIO_SHIM_BACKEND=threads asks for it"),
        )
    } else if without.io_uring {
        (
            fallback(wanted),
            ("switched_off", "AIO_SHIM_WITHOUT=io_uring"),
        )
    } else if p.usable() {
        ("uring", ("none", "io_uring works"))
    } else {
        (fallback(wanted), cause(&p, sysctl, seccomp))
    };
    let call = if p.stage == Stage::Enter {
        "io_uring_enter"
    } else {
        "io_uring_setup"
    };
    let number = |o: &mut Text, key: &str, value: Option<u64>| match value {
        Some(libc::RLIM_INFINITY) => writeln!(o, "{key}=unlimited"),
        Some(v) => writeln!(o, "{key}={v}"),
        None => writeln!(o, "{key}=unknown"),
    };
    let feature = |o: &mut Text, name: &str, found: bool, off: bool| {
        writeln!(
            o,
            "feature.{name}={}",
            if off { "off" } else { yes_no(found) }
        )
    };
    // Text::write_str cannot fail.
    let _ = writeln!(out, "version={}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "backend={backend}\ncause={cause}\nreason={reason}");
    let _ = writeln!(
        out,
        "io_uring={}\nrefused_call={}",
        yes_no(p.usable()),
        if p.usable() { "none" } else { call }
    );
    let _ = writeln!(
        out,
        "errno={}\nerrno.number={}\nsignal={}",
        errno_name(p.errno),
        p.errno,
        p.signal
    );
    let _ = writeln!(
        out,
        "kernel={}\nmachine={}",
        text_of(&uts.release),
        text_of(&uts.machine)
    );
    let _ = feature(
        &mut out,
        "defer_taskrun",
        p.defer_taskrun,
        without.defer_taskrun,
    );
    let _ = feature(
        &mut out,
        "single_issuer",
        p.single_issuer,
        without.single_issuer,
    );
    let _ = feature(&mut out, "futex_wait", p.futex_wait, without.futex_wait);
    let _ = feature(
        &mut out,
        "registered_ring",
        p.registered_ring,
        without.registered_ring,
    );
    let _ = feature(&mut out, "ext_arg", p.ext_arg, without.ext_arg);
    let _ = feature(
        &mut out,
        "wipe_on_fork",
        wipe_on_fork(),
        without.wipe_on_fork,
    );
    let _ = number(&mut out, "sigpending.limit", limit(libc::RLIMIT_SIGPENDING));
    let _ = number(
        &mut out,
        "sigpending.used",
        queued.and_then(|(used, _)| used.parse().ok()),
    );
    let _ = number(&mut out, "memlock.limit", limit(libc::RLIMIT_MEMLOCK));
    let _ = writeln!(out, "seccomp={}", seccomp.unwrap_or("unknown"));
    let missing = if status.is_some() {
        "absent"
    } else {
        "unknown"
    };
    let _ = writeln!(
        out,
        "sysctl.io_uring_disabled={}",
        sysctl.unwrap_or(missing)
    );
    let _ = writeln!(out, "container={}", container(text_of(&uts.version)));
    if let Some(program) = c_variable(c"AIO_SHIM_DOCTOR_PROGRAM") {
        let _ = writeln!(
            out,
            "program.capabilities={}",
            yes_no(has_capabilities(program))
        );
    }
    out.write_to(fd);
    match backend {
        "uring" => 0,
        "threads" => 1,
        _ => 2,
    }
}

/// Writes the option table: NAME, VALUES, DEFAULT and TEXT with tabs between,
/// a variable a line. The manual page is made from it.
fn options(fd: i32) {
    for v in &config::VARIABLES {
        let mut out = Text::new();
        let _ = writeln!(out, "{}\t{}\t{}\t{}", v.name, v.values, v.default, v.text);
        out.write_to(fd);
    }
}

/// Ends the process with a report on standard output if AIO_SHIM_DOCTOR asks
/// for one: `1` for what io_uring does here, `options` for the option table.
/// For the constructor. A program that runs with more rights than its caller
/// does not listen: the caller could keep it from running.
pub(crate) fn on_request() {
    let wish = variable(c"AIO_SHIM_DOCTOR");
    if wish.is_empty() || wish == "0" || config::get().secure {
        return;
    }
    match wish {
        "options" => options(libc::STDOUT_FILENO),
        _ => _ = report(libc::STDOUT_FILENO),
    }
    // SAFETY: ends the process; nothing of the program has run yet.
    unsafe { libc::_exit(0) }
}

fn yes_no(b: bool) -> &'static str {
    if b { "yes" } else { "no" }
}
