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
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    // SAFETY: no preconditions.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    // SAFETY: zero, or where the kernel has mapped its object.
    let address = unsafe { function(base, NAME) }.unwrap_or(NONE);
    FOUND.store(address, Ordering::Relaxed);
    address
}

/// The address of a function that the object at `base` defines. (Not by
/// `objects`: a program linked statically has no list of them.)
///
/// # Safety
/// `base` is zero, or a whole ELF object is mapped there for good.
unsafe fn function(base: usize, name: &CStr) -> Option<usize> {
    const STT_FUNC: u8 = 2;
    if base == 0 || name.is_empty() {
        return None;
    }
    // SAFETY: an object begins with its header, which says where the program
    // headers are, and these where the dynamic section is.
    let headers = unsafe {
        let header: &libc::Elf64_Ehdr = &*ptr::with_exposed_provenance(base);
        let first =
            ptr::with_exposed_provenance::<libc::Elf64_Phdr>(base + header.e_phoff as usize);
        std::slice::from_raw_parts(first, header.e_phnum.into())
    };
    let of_kind = |kind| headers.iter().find(|header| header.p_type == kind);
    let loaded = of_kind(libc::PT_LOAD)?;
    let bias = (base + loaded.p_offset as usize).wrapping_sub(loaded.p_vaddr as usize);
    let dynamic = bias.wrapping_add(of_kind(libc::PT_DYNAMIC)?.p_vaddr as usize);

    // The dynamic linker may have made addresses of the values.
    let address = |value: usize| match value < base {
        true => bias.wrapping_add(value),
        false => value,
    };
    let (mut symbols, mut strings) = (0, 0);
    let mut entry = ptr::with_exposed_provenance::<[usize; 2]>(dynamic);
    // SAFETY: a dynamic section ends with an entry of kind 0.
    unsafe {
        while (*entry)[0] != 0 {
            match *entry {
                [DT_SYMTAB, value] => symbols = address(value),
                [DT_STRTAB, value] => strings = address(value),
                _ => {}
            }
            entry = entry.add(1);
        }
    }
    // The kernel's linker scripts put the names right behind the symbols.
    if symbols == 0 || strings < symbols {
        return None;
    }
    let count = (strings - symbols) / size_of::<libc::Elf64_Sym>();
    // SAFETY: up to where the names begin.
    let table = unsafe {
        std::slice::from_raw_parts(
            ptr::with_exposed_provenance::<libc::Elf64_Sym>(symbols),
            count,
        )
    };
    let symbol = table.iter().find(|symbol| {
        let text = ptr::with_exposed_provenance(strings + symbol.st_name as usize);
        symbol.st_info & 15 == STT_FUNC
            && symbol.st_shndx != 0
            // SAFETY: a symbol's name is one of the strings.
            && unsafe { CStr::from_ptr(text) } == name
    })?;
    let inside = (symbol.st_value as usize).wrapping_sub(loaded.p_vaddr as usize);
    (inside < loaded.p_memsz as usize).then(|| bias.wrapping_add(symbol.st_value as usize))
}

const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;

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
        // SAFETY: as in `find`.
        assert_eq!(unsafe { function(base, c"no_such_function") }, None);
    }

    #[test]
    fn without_an_object_the_system_call_serves() {
        // SAFETY: zero.
        assert_eq!(unsafe { function(0, NAME) }, None);
        let before = FOUND.swap(NONE, Ordering::Relaxed);
        let (begin, now) = (by_system_call(), now_ns());
        FOUND.store(before, Ordering::Relaxed);
        assert!(begin <= now && now <= by_system_call());
    }
}
