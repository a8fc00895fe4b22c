//! The objects that the dynamic linker has loaded, by its own list.
//!
//! Who comes in: `imports`, `clock`, and `exports::closing`, which asks for the
//! [`next`] definition of a name. What must hold: async-signal-safe: only the memory
//! of the dynamic linker's list is read, whose objects stay while they are
//! loaded. (dl_iterate_phdr takes a lock that a handler's thread may hold.)
//! Who gets None does not know, and takes the sure way.

mod definition;
mod next;

use std::ffi::{CStr, c_char};

pub use definition::{Found, Name};
pub use next::next;

/// The main program, as the kernel loaded it.
pub struct Program {
    headers: &'static [libc::Elf64_Phdr],
    bias: usize,
}

impl Program {
    #[unsafe(link_section = ".load_time")]
    pub fn find() -> Option<Program> {
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
        Some(Program {
            headers,
            bias: own.map_or(0, |own| at - own.p_vaddr as usize),
        })
    }

    pub fn contains(&self, address: usize) -> bool {
        self.headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
            .any(|header| {
                let begin = self.bias + header.p_vaddr as usize;
                (begin..begin + header.p_memsz as usize).contains(&address)
            })
    }

    /// What is loaded, the program first. None: nothing is linked
    /// dynamically, or the list is just being changed.
    #[unsafe(link_section = ".load_time")]
    pub fn objects(&self) -> Option<Objects> {
        let header = self
            .headers
            .iter()
            .find(|header| header.p_type == libc::PT_DYNAMIC)?;
        let dynamic = self.bias + header.p_vaddr as usize;
        // SAFETY: the program's dynamic section, mapped for good.
        let debug = unsafe { entries(std::ptr::with_exposed_provenance(dynamic)) }
            .find(|entry| entry.tag == DT_DEBUG)?
            .value;
        // SAFETY: zero, or the dynamic linker's structure for debuggers,
        // which stays.
        let debug = unsafe { std::ptr::with_exposed_provenance::<Debug>(debug).as_ref()? };
        (debug.state == CONSISTENT).then_some(Objects(debug.map))
    }
}

/// The list, from one object on.
pub struct Objects(*const LinkMap);

impl Iterator for Objects {
    type Item = Object;

    #[unsafe(link_section = ".load_time")]
    fn next(&mut self) -> Option<Object> {
        // SAFETY: the list of loaded objects; see the head of this file.
        let map = unsafe { self.0.as_ref()? };
        self.0 = map.next;
        Some(Object::new(map.bias, map.dynamic))
    }
}

/// A loaded object: where its tables are. Zero: it has none such.
pub struct Object {
    bias: usize,
    dynamic: *const Entry,
    symbols: usize,
    strings: usize,
    strings_length: usize,
    gnu_hash: usize,
    sysv_hash: usize,
    versions: usize,
    /// Do other objects define what this one seems to?
    filters: bool,
}

impl Object {
    /// The kernel's own object (the vDSO), which need not be in the list. None:
    /// it mapped none.
    pub fn of_kernel() -> Option<Object> {
        // SAFETY: no preconditions.
        let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
        if base == 0 {
            return None;
        }
        // SAFETY: where the kernel mapped it, for good. An object begins with
        // its header, which says where the program headers are.
        let headers = unsafe {
            let header: &libc::Elf64_Ehdr = &*std::ptr::with_exposed_provenance(base);
            let first = base + header.e_phoff as usize;
            std::slice::from_raw_parts(
                std::ptr::with_exposed_provenance::<libc::Elf64_Phdr>(first),
                header.e_phnum.into(),
            )
        };
        let of_kind = |kind| headers.iter().find(|header| header.p_type == kind);
        let loaded = of_kind(libc::PT_LOAD)?;
        let bias = (base + loaded.p_offset as usize).wrapping_sub(loaded.p_vaddr as usize);
        let dynamic = bias.wrapping_add(of_kind(libc::PT_DYNAMIC)?.p_vaddr as usize);
        Some(Object::new(
            bias,
            std::ptr::with_exposed_provenance(dynamic),
        ))
    }

    #[unsafe(link_section = ".load_time")]
    fn new(bias: usize, dynamic: *const Entry) -> Object {
        let mut object = Object {
            bias,
            dynamic,
            symbols: 0,
            strings: 0,
            strings_length: 0,
            gnu_hash: 0,
            sysv_hash: 0,
            versions: 0,
            filters: false,
        };
        // SAFETY: a loaded object's dynamic section.
        for entry in unsafe { entries(dynamic) } {
            let address = object.address(entry);
            match entry.tag {
                DT_SYMTAB => object.symbols = address,
                DT_STRTAB => object.strings = address,
                DT_STRSZ => object.strings_length = entry.value,
                DT_GNU_HASH => object.gnu_hash = address,
                DT_HASH => object.sysv_hash = address,
                DT_VERSYM => object.versions = address,
                DT_AUXILIARY | DT_FILTER => object.filters = true,
                _ => {}
            }
        }
        object
    }

    /// The dynamic linker has made addresses of most objects' values; those
    /// of the kernel's own object it could not write to.
    fn address(&self, entry: &Entry) -> usize {
        match entry.value < self.bias {
            true => entry.value + self.bias,
            false => entry.value,
        }
    }

    /// Is it the one that this code is part of?
    #[unsafe(link_section = ".load_time")]
    fn is_own(&self) -> bool {
        unsafe extern "C" {
            // src/c/own_object.c
            fn aio_shim_own_dynamic() -> *const Entry;
        }
        // SAFETY: no preconditions.
        self.dynamic == unsafe { aio_shim_own_dynamic() }
    }

    /// Does the object use one of these names without defining it? They begin
    /// with one of these.
    #[unsafe(link_section = ".load_time")]
    pub fn imports_any(&self, begins: &[[u8; 4]], names: &[&CStr]) -> bool {
        if self.symbols == 0 || self.strings == 0 {
            return false;
        }
        (0..self.count_of_imports()).any(|index| {
            // SAFETY: between the symbols' begin and the next table.
            let symbol = unsafe { &*self.symbol(index) };
            let at = symbol.st_name as usize;
            if symbol.st_shndx != SHN_UNDEF || at == 0 || at + 4 > self.strings_length {
                return false;
            }
            // SAFETY: within the object's table of strings.
            let begin =
                unsafe { std::ptr::with_exposed_provenance::<[u8; 4]>(self.strings + at).read() };
            begins.contains(&begin) && names.iter().any(|name| self.is_named(symbol, name))
        })
    }

    /// So many symbols, from the first on, may be ones it does not define.
    #[unsafe(link_section = ".load_time")]
    fn count_of_imports(&self) -> usize {
        // (A program at a fixed place may have hashed a function that it only
        // takes the address of, though it does not define it.)
        if self.gnu_hash != 0 && self.bias != 0 {
            // A GNU table leaves out what is not defined, and that comes
            // first; its second word says how much. In an empty table, which
            // has one empty bucket, that word may say anything.
            let (buckets, first, filters) = (
                word(self.gnu_hash, 0),
                word(self.gnu_hash, 1),
                word(self.gnu_hash, 2),
            );
            if (0..buckets).any(|index| word(self.gnu_hash, 4 + 2 * filters + index) != 0) {
                return first;
            }
        }
        // All symbols.
        if self.sysv_hash != 0 {
            return word(self.sysv_hash, 1);
        }
        // They end, at the latest, where another table begins.
        // SAFETY: a loaded object's dynamic section.
        unsafe { entries(self.dynamic) }
            .filter(|entry| TABLES.contains(&entry.tag))
            .map(|entry| self.address(entry))
            .filter(|&table| table > self.symbols)
            .min()
            .map_or(0, |end| (end - self.symbols) / size_of::<libc::Elf64_Sym>())
    }

    #[unsafe(link_section = ".load_time")]
    fn is_named(&self, symbol: &libc::Elf64_Sym, name: &CStr) -> bool {
        let (at, name) = (symbol.st_name as usize, name.to_bytes_with_nul());
        let text = std::ptr::with_exposed_provenance::<u8>(self.strings + at);
        // SAFETY: within the object's table of strings.
        at + name.len() <= self.strings_length
            && (0..name.len()).all(|index| unsafe { *text.add(index) } == name[index])
    }

    fn symbol(&self, index: usize) -> *const libc::Elf64_Sym {
        std::ptr::with_exposed_provenance(self.symbols + index * size_of::<libc::Elf64_Sym>())
    }
}

/// A word of a hash table that begins at `table`.
fn word(table: usize, index: usize) -> usize {
    let at = std::ptr::with_exposed_provenance::<u32>(table);
    // SAFETY: a hash table of a loaded object; who calls stays within it.
    unsafe { at.add(index).read() as usize }
}

/// The entries of a dynamic section.
///
/// # Safety
/// `dynamic` is one, for good.
unsafe fn entries(dynamic: *const Entry) -> impl Iterator<Item = &'static Entry> {
    // SAFETY: by contract; it ends with DT_NULL.
    (0..)
        .map(move |index| unsafe { &*dynamic.add(index) })
        .take_while(|entry| entry.tag != DT_NULL)
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
const DT_STRSZ: i64 = 10;
const DT_DEBUG: i64 = 21;
const DT_VERSYM: i64 = 0x6fff_fff0;
const DT_AUXILIARY: i64 = 0x7fff_fffd;
const DT_FILTER: i64 = 0x7fff_ffff;
const DT_GNU_HASH: i64 = 0x6fff_fef5;
/// What may lie behind the symbols: strings, hash tables, versions,
/// relocations.
const TABLES: [i64; 8] = [
    DT_STRTAB,
    DT_GNU_HASH,
    DT_VERSYM,
    0x6fff_fffe,
    0x6fff_fffc,
    7,
    17,
    23,
];
const CONSISTENT: i32 = 0;
const SHN_UNDEF: u16 = 0;
