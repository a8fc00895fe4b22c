//! Which of this library's functions does the program import?
//!
//! Asked when the library is loaded (does the program use AIO at all?) and at
//! the first AIO call (does it collect completions?).
//!
//! What must hold: async-signal-safe: only the memory of the dynamic linker's
//! list is read, whose objects stay while they are loaded. (dl_iterate_phdr
//! takes a lock that a handler's thread may hold.) When in doubt the answer
//! is yes, which costs time only. Who finds a function by dlsym() is not
//! seen.

use std::ffi::{CStr, c_char};

/// The functions that submit a request.
const SUBMITTING: [&CStr; 10] = [
    c"aio_read",
    c"aio_read64",
    c"aio_write",
    c"aio_write64",
    c"aio_fsync",
    c"aio_fsync64",
    c"lio_listio",
    c"lio_listio64",
    c"aio_readv",
    c"aio_writev",
];

/// The functions that collect completions of any request.
const COLLECTING: [&CStr; 2] = [c"aio_waitcomplete", c"aio_waitn"];

/// Does a loaded object import a function that submits requests?
pub fn submitting() -> bool {
    any(&SUBMITTING)
}

/// Does one import aio_waitcomplete or aio_waitn?
pub fn collecting() -> bool {
    any(&COLLECTING)
}

// <link.h>, <elf.h>
#[repr(C)]
struct LinkMap {
    bias: usize,
    name: *const c_char,
    dynamic: *const Entry,
    next: *const LinkMap,
}

#[repr(C)]
struct Debug {
    version: i32,
    map: *const LinkMap,
    breakpoint: usize,
    state: i32,
}

#[repr(C)]
struct Entry {
    tag: i64,
    value: usize,
}

const DT_NULL: i64 = 0;
const DT_HASH: i64 = 4;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_DEBUG: i64 = 21;
const DT_GNU_HASH: i64 = 0x6fff_fef5;
const DT_STRSZ: i64 = 10;
/// What may lie behind the symbols: strings, hash tables, versions,
/// relocations.
const TABLES: [i64; 8] = [
    DT_STRTAB,
    DT_GNU_HASH,
    0x6fff_fff0,
    0x6fff_fffe,
    0x6fff_fffc,
    7,
    17,
    23,
];
const CONSISTENT: i32 = 0;
const SHN_UNDEF: u16 = 0;

fn any(names: &[&CStr]) -> bool {
    let Some(main) = Main::find() else {
        return true;
    };
    // Linked in statically: the program has taken what it uses, and imports
    // nothing.
    if main.contains(any as *const () as usize) {
        return true;
    }
    let Some(debug) = main.debug() else {
        return true;
    };
    // SAFETY: the dynamic linker's own structure, which stays.
    let debug = unsafe { &*debug };
    if debug.state != CONSISTENT {
        return true;
    }
    let mut map = debug.map;
    // SAFETY: the list of loaded objects; see the head of this file.
    while let Some(object) = unsafe { map.as_ref() } {
        // SAFETY: a loaded object.
        if unsafe { imports(object, names) } {
            return true;
        }
        map = object.next;
    }
    false
}

/// The main program, as the kernel loaded it.
struct Main {
    headers: &'static [libc::Elf64_Phdr],
    bias: usize,
}

impl Main {
    fn find() -> Option<Main> {
        // SAFETY: no preconditions.
        let (at, count) = unsafe {
            (
                libc::getauxval(libc::AT_PHDR) as usize,
                libc::getauxval(libc::AT_PHNUM) as usize,
            )
        };
        if at == 0 {
            return None;
        }
        // SAFETY: the program headers, where the kernel says they are; they
        // stay mapped.
        let headers =
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(at), count) };
        let own = headers
            .iter()
            .find(|header: &&libc::Elf64_Phdr| header.p_type == libc::PT_PHDR);
        Some(Main {
            headers,
            bias: own.map_or(0, |own| at - own.p_vaddr as usize),
        })
    }

    fn contains(&self, address: usize) -> bool {
        self.headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
            .any(|header| {
                let begin = self.bias + header.p_vaddr as usize;
                (begin..begin + header.p_memsz as usize).contains(&address)
            })
    }

    /// The dynamic linker's structure for debuggers.
    fn debug(&self) -> Option<*const Debug> {
        let header = self
            .headers
            .iter()
            .find(|header| header.p_type == libc::PT_DYNAMIC)?;
        let dynamic = self.bias + header.p_vaddr as usize;
        // SAFETY: the program's dynamic section, mapped for good.
        let debug = unsafe { find(std::ptr::with_exposed_provenance(dynamic), DT_DEBUG)? };
        (debug != 0).then(|| std::ptr::with_exposed_provenance(debug))
    }
}

/// The value of a tag.
///
/// # Safety
/// `dynamic` is a dynamic section.
unsafe fn find(mut dynamic: *const Entry, tag: i64) -> Option<usize> {
    // SAFETY: by contract; it ends with DT_NULL.
    unsafe {
        while (*dynamic).tag != DT_NULL {
            if (*dynamic).tag == tag {
                return Some((*dynamic).value);
            }
            dynamic = dynamic.add(1);
        }
    }
    None
}

/// # Safety
/// `object` is loaded.
unsafe fn imports(object: &LinkMap, names: &[&CStr]) -> bool {
    // The dynamic linker has made addresses of most objects' values; those
    // of the kernel's own object it could not write to.
    // SAFETY: a loaded object's dynamic section.
    let address = |tag| unsafe {
        find(object.dynamic, tag).map(|value| {
            if value < object.bias {
                value + object.bias
            } else {
                value
            }
        })
    };
    let (Some(symbols), Some(strings)) = (address(DT_SYMTAB), address(DT_STRTAB)) else {
        return false;
    };
    let word = |at: usize, index: usize| -> usize {
        let at = std::ptr::with_exposed_provenance::<u32>(at);
        // SAFETY: the first words of a hash table of the object.
        unsafe { at.add(index).read() as usize }
    };
    let size = size_of::<libc::Elf64_Sym>();
    let count = match (address(DT_HASH), address(DT_GNU_HASH)) {
        (Some(sysv), _) => word(sysv, 1),
        // A GNU table leaves out what is not defined, and that comes first;
        // its second word says how much. An empty table says 1; then the
        // symbols end, at the latest, where another table begins.
        (None, Some(gnu)) if word(gnu, 1) > 1 => word(gnu, 1),
        _ => TABLES
            .iter()
            .filter_map(|&tag| address(tag))
            .filter(|&table| table > symbols)
            .min()
            .map_or(0, |end| (end - symbols) / size),
    };
    // SAFETY: as above; a size is not an address.
    let length = unsafe { find(object.dynamic, DT_STRSZ) }.unwrap_or(0);
    let symbols = std::ptr::with_exposed_provenance::<libc::Elf64_Sym>(symbols);
    let strings = std::ptr::with_exposed_provenance::<c_char>(strings);
    (0..count).any(|index| {
        // SAFETY: between the symbols' begin and the next table; the name is
        // looked at only if it lies in the table of strings, which ends with
        // a zero. Few names get past their first bytes.
        unsafe {
            let symbol = &*symbols.add(index);
            let at = symbol.st_name as usize;
            symbol.st_shndx == SHN_UNDEF && at != 0 && at + 4 <= length && {
                let name = strings.add(at);
                matches!(&name.cast::<[u8; 4]>().read(), b"aio_" | b"lio_")
                    && names.contains(&CStr::from_ptr(name))
            }
        }
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    /// The test program has the code in itself: as if linked statically.
    #[test]
    fn what_is_linked_in_counts_as_used() {
        assert!(super::submitting() && super::collecting());
    }
}
