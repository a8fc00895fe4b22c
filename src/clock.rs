//! The clock that the kernel's time limits go by.
//!
//! Who comes in: whoever asks for the time, by `sys::now_ns`. What must hold:
//! async-signal-safe, and the kernel's own CLOCK_MONOTONIC. A deadline is
//! computed here and handed to the kernel as it is; the symbol
//! `clock_gettime` may be that of a library which tells the program another
//! time (libfaketime), and a wait would then end at once or never. So the
//! function is that of the kernel's own object (the vDSO), which the C
//! library calls, too, and which nobody can put a symbol before.
//!
//! It is looked for at the first question, not when the library is loaded:
//! a program that does not use AIO never asks.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::objects::{Found, Name, Object};

/// clock_gettime(2), but that it returns minus the errno.
type Gettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;

#[cfg(any(target_arch = "x86_64", target_arch = "riscv64"))]
const NAME: &CStr = c"__vdso_clock_gettime";
#[cfg(target_arch = "aarch64")]
const NAME: &CStr = c"__kernel_clock_gettime";
/// Not known here: the system call serves.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "riscv64",
    target_arch = "aarch64"
)))]
const NAME: &CStr = c"";

const NOT_LOOKED_FOR: usize = 0;
const NONE: usize = 1;

/// The function's address. Two threads that look for it find the same.
static FOUND: AtomicUsize = AtomicUsize::new(NOT_LOOKED_FOR);

/// Now on CLOCK_MONOTONIC, in nanoseconds.
pub fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let address = match FOUND.load(Ordering::Relaxed) {
        NOT_LOOKED_FOR => find(),
        address => address,
    };
    let mut told = false;
    if address != NONE {
        // SAFETY: `find` gives NONE or the address of this function, whose
        // object the kernel keeps mapped.
        let gettime = unsafe { std::mem::transmute::<usize, Gettime>(address) };
        // SAFETY: `now` is a valid timespec.
        told = unsafe { gettime(libc::CLOCK_MONOTONIC, &mut now) } == 0;
    }
    if !told {
        // SAFETY: `now` is a valid timespec; the clock always exists.
        unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut now) };
    }
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cold]
fn find() -> usize {
    let function = Object::of_kernel().map(|object| object.definition(&Name::new(NAME)));
    let address = match function {
        Some(Found::At(address)) => address,
        _ => NONE,
    };
    FOUND.store(address, Ordering::Relaxed);
    address
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn by_system_call() -> u64 {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is a valid timespec.
        unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut now) };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    #[test]
    fn the_time_is_that_of_the_kernel() {
        for _ in 0..1000 {
            let (before, now, after) = (by_system_call(), now_ns(), by_system_call());
            assert!(before <= now && now <= after, "{before} {now} {after}");
        }
    }

    #[test]
    fn the_function_is_the_one_in_the_kernels_object() {
        // SAFETY: no preconditions.
        let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
        if base == 0 || NAME.is_empty() {
            return assert_eq!(find(), NONE);
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let hex = |text| usize::from_str_radix(text, 16).unwrap();
        assert!((hex(from)..hex(to)).contains(&find()), "{:x}", find());
    }

    #[test]
    fn without_the_function_the_system_call_serves() {
        let before = FOUND.swap(NONE, Ordering::Relaxed);
        let (begin, now) = (by_system_call(), now_ns());
        FOUND.store(before, Ordering::Relaxed);
        assert!(begin <= now && now <= by_system_call());
    }
}
