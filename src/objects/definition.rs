//! Where an object defines a function.
//!
//! In: `next`. The rules are those of dlsym(3) for a name without a version;
//! what they do not settle plainly is [`Found::Unclear`], and left to it.

use std::ffi::CStr;

use super::{Object, SHN_UNDEF, word};

/// The name of a function, with its hash.
pub struct Name {
    text: &'static CStr,
    hash: u32,
}

pub enum Found {
    Nothing,
    At(usize),
    /// A definition of another kind than a plain function, or several.
    Unclear,
}

impl Name {
    pub const fn new(text: &'static CStr) -> Name {
        let bytes = text.to_bytes();
        let (mut hash, mut index) = (5381u32, 0);
        while index < bytes.len() {
            hash = hash.wrapping_mul(33).wrapping_add(bytes[index] as u32);
            index += 1;
        }
        Name { text, hash }
    }

    pub const fn text(&self) -> &'static CStr {
        self.text
    }

    fn sysv_hash(&self) -> u32 {
        self.text.to_bytes().iter().fold(0u32, |hash, &byte| {
            let hash = (hash << 4).wrapping_add(byte.into());
            let high = hash & 0xf000_0000;
            (hash ^ (high >> 24)) & !high
        })
    }
}

impl Object {
    /// The object's default version of a function.
    #[unsafe(link_section = ".load_time")]
    pub fn definition(&self, name: &Name) -> Found {
        if self.filters {
            return Found::Unclear;
        }
        if self.symbols == 0 || self.strings == 0 {
            return Found::Nothing;
        }
        let mut found = Found::Nothing;
        let mut judge = |index| {
            // SAFETY: the hash tables name symbols that there are.
            let symbol = unsafe { &*self.symbol(index) };
            if self.is_named(symbol, name.text) && symbol.st_value != 0 && !self.is_old(index) {
                found = match found {
                    Found::Nothing if is_plain_function(symbol) => {
                        Found::At(self.bias + symbol.st_value as usize)
                    }
                    _ => Found::Unclear,
                };
            }
        };
        if self.gnu_hash != 0 {
            self.each_by_gnu_hash(name.hash, &mut judge);
        } else if self.sysv_hash != 0 {
            self.each_by_sysv_hash(name.sysv_hash(), &mut judge);
        }
        found
    }

    /// Is it kept only for programs that ask for its version?
    fn is_old(&self, index: usize) -> bool {
        const HIDDEN: u16 = 0x8000;
        if self.versions == 0 {
            return false;
        }
        let versions = std::ptr::with_exposed_provenance::<u16>(self.versions);
        // SAFETY: a table with an entry for each symbol.
        unsafe { *versions.add(index) & HIDDEN != 0 }
    }

    /// A header of four words (buckets, the first symbol in them, words of
    /// the filter, its shift), the filter, the buckets, and the hashes of the
    /// symbols; the lowest bit of a hash says that its bucket ends.
    #[unsafe(link_section = ".load_time")]
    fn each_by_gnu_hash(&self, hash: u32, judge: &mut impl FnMut(usize)) {
        let table = self.gnu_hash;
        let (buckets, first, filters, shift) = (
            word(table, 0),
            word(table, 1),
            word(table, 2),
            word(table, 3),
        );
        if buckets == 0 || !filters.is_power_of_two() {
            return;
        }
        let at = (hash as usize / 64) & (filters - 1);
        let filter = word(table, 4 + 2 * at) as u64 | (word(table, 5 + 2 * at) as u64) << 32;
        let bits = 1 << (hash % 64) | 1 << (hash.wrapping_shr(shift as u32) % 64);
        if filter & bits != bits {
            return;
        }
        let begin = 4 + 2 * filters;
        let mut index = word(table, begin + hash as usize % buckets);
        if index < first {
            return;
        }
        loop {
            let of_symbol = word(table, begin + buckets + index - first);
            if (of_symbol ^ hash as usize) >> 1 == 0 {
                judge(index);
            }
            if of_symbol & 1 != 0 {
                return;
            }
            index += 1;
        }
    }

    /// Buckets, symbols; for each bucket its first symbol, for each symbol
    /// the next one; 0 ends.
    #[unsafe(link_section = ".load_time")]
    fn each_by_sysv_hash(&self, hash: u32, judge: &mut impl FnMut(usize)) {
        let table = self.sysv_hash;
        let buckets = word(table, 0);
        if buckets == 0 {
            return;
        }
        let mut index = word(table, 2 + hash as usize % buckets);
        while index != 0 {
            judge(index);
            index = word(table, 2 + buckets + index);
        }
    }
}

/// Global or weak, in a section, visible to all, and code that need not be
/// asked for the function's address (STT_GNU_IFUNC).
fn is_plain_function(symbol: &libc::Elf64_Sym) -> bool {
    const STT_FUNC: u8 = 2;
    const SHN_LORESERVE: u16 = 0xff00;
    let (binding, kind, visibility) = (
        symbol.st_info >> 4,
        symbol.st_info & 15,
        symbol.st_other & 3,
    );
    matches!(binding, 1 | 2)
        && kind == STT_FUNC
        && visibility == 0
        && symbol.st_shndx != SHN_UNDEF
        && symbol.st_shndx < SHN_LORESERVE
}
