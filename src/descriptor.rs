//! What a descriptor is: asked of the kernel by the engine, remembered as a
//! hint for the inline lane.
//!
//! Who comes in: the engine, once per descriptor and batch ([`Nature::of`]),
//! and submissions, which look up a [`Hint`]. What must hold: the engine
//! never relies on a hint, and a wrong hint can cost time but never a wrong
//! result.

mod file_system;

use std::ffi::c_int;

use crate::load;
use crate::perturb;
use crate::scheduler::FileKey;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys;
use crate::sys::status::{Status, status};
use file_system::FileSystem;

/// The slot of the file that `fildes` names now. None: it cannot be asked.
pub fn file_slot(fildes: c_int) -> Option<u16> {
    let _errno = sys::KeepErrno::new();
    let file = status(fildes).ok()?;
    Some(load::file_slot(file.device, file.inode))
}

/// How requests on a descriptor are carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// A file of a disk, through the page cache.
    Buffered,
    /// The same, but each write waits for the disk (O_SYNC, O_DSYNC).
    Synchronous,
    /// A file opened with O_DIRECT.
    Direct,
    /// A file of a file system of which it is not known that it keeps its
    /// promise not to wait (FUSE, network file systems).
    Foreign,
    /// A file that is memory: tmpfs, ramfs, memfd.
    Memory,
    /// Seeks, but is neither: a character device such as /dev/zero.
    Device,
    /// A character device that has no positions, though its lseek succeeds,
    /// or a regular file without them: what is read or written depends on the
    /// order alone.
    Sequential,
    /// Cannot seek: pipe, FIFO, socket, terminal, eventfd…
    Stream,
    /// A pipe or FIFO, of which a second open file can be had.
    Pipe,
}

/// What the engine knows of a descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    pub class: Class,
    pub key: FileKey,
    pub append: bool,
    pub nonblocking: bool,
    /// Open for reading, for writing.
    pub readable: bool,
    pub writable: bool,
    /// The size at the time of asking, or less: what an append lies behind.
    pub size: u64,
    pub file_slot: u16,
    /// See [`is_shared_memory`].
    shared_memory: bool,
}

/// Is this number, now, a regular file of the kernel's shared memory (tmpfs,
/// memfd), where no transfer waits for anything? Only such files have seals
/// to be asked for.
pub fn is_shared_memory(fildes: c_int) -> bool {
    // SAFETY: F_GET_SEALS takes no argument.
    unsafe { libc::fcntl(fildes, libc::F_GET_SEALS) >= 0 }
}

/// Is this number, now, a file of a local file system or of memory, or a block
/// device: does each transfer end by itself?
pub fn is_local(fildes: c_int) -> bool {
    status(fildes).is_ok_and(|file| match file.mode & libc::S_IFMT {
        libc::S_IFREG => file_system::of(fildes, &file) != FileSystem::Foreign,
        kind => kind == libc::S_IFBLK,
    })
}

impl Nature {
    /// Asks the kernel. Err: EBADF.
    pub fn of(fildes: c_int) -> Result<Nature, c_int> {
        let file = status(fildes)?;
        // SAFETY: F_GETFL takes no argument.
        let flags = unsafe { libc::fcntl(fildes, libc::F_GETFL) };
        if flags < 0 {
            return Err(sys::errno());
        }
        let inode = FileKey::Inode {
            dev: file.device,
            ino: file.inode,
        };
        let (class, key) = match file.mode & libc::S_IFMT {
            libc::S_IFREG => (regular(fildes, &file, flags), inode),
            libc::S_IFBLK if flags & libc::O_DIRECT != 0 => (Class::Direct, inode),
            libc::S_IFBLK => (cached(flags), inode),
            libc::S_IFDIR => (Class::Foreign, inode),
            libc::S_IFIFO => (Class::Pipe, inode),
            libc::S_IFSOCK => (Class::Stream, inode),
            // Character devices, and descriptors of the kernel that all share
            // one anonymous inode: known by their number only.
            libc::S_IFCHR => (device(fildes, file.special), FileKey::Descriptor(fildes)),
            _ => (Class::Stream, FileKey::Descriptor(fildes)),
        };
        let (access, usable) = (flags & libc::O_ACCMODE, flags & libc::O_PATH == 0);
        Ok(Nature {
            class,
            key,
            append: flags & libc::O_APPEND != 0,
            nonblocking: flags & libc::O_NONBLOCK != 0,
            readable: usable && matches!(access, libc::O_RDONLY | libc::O_RDWR),
            writable: usable && matches!(access, libc::O_WRONLY | libc::O_RDWR),
            // Nobody knows without its server what that is by now.
            size: match class {
                Class::Foreign => 0,
                _ => file.size,
            },
            file_slot: match class {
                Class::Stream | Class::Pipe | Class::Device | Class::Sequential => 0,
                _ => load::file_slot(file.device, file.inode),
            },
            shared_memory: class == Class::Memory && is_shared_memory(fildes),
        })
    }

    /// Does the offset count?
    pub fn seeks(&self) -> bool {
        !matches!(self.class, Class::Stream | Class::Pipe)
    }

    /// Are there positions, so that requests for different ones may run side
    /// by side?
    pub fn has_positions(&self) -> bool {
        self.seeks() && self.class != Class::Sequential
    }

    fn hint(&self) -> Hint {
        let inline = match self.class {
            Class::Buffered | Class::Synchronous => Inline::CacheReads,
            Class::Memory if self.shared_memory && !self.append => Inline::Memory,
            Class::Memory => Inline::CacheReads,
            _ => Inline::Never,
        };
        Hint {
            inline,
            local: match self.class {
                Class::Direct => Local::Direct,
                Class::Buffered => Local::Cached,
                Class::Memory => Local::Memory,
                _ => Local::No,
            },
        }
    }
}

/// A character device.
fn device(fildes: c_int, number: libc::dev_t) -> Class {
    const MEMORY: libc::c_uint = 1;
    const KMSG: libc::c_uint = 11;
    match (libc::major(number), libc::minor(number)) {
        // The log of the kernel; its lseek has a use for every question.
        (MEMORY, KMSG) => return Class::Sequential,
        // null, zero, full, random, mem: no order shows, or positions count.
        (MEMORY, _) => return Class::Device,
        _ => {}
    }
    // SAFETY: lseek moves nothing with offset 0 from the position; and no
    // device has holes, so SEEK_DATA fails, unless every lseek succeeds and
    // does nothing, as that of hidraw, printers and tapes.
    unsafe {
        if libc::lseek(fildes, 0, libc::SEEK_CUR) < 0 {
            Class::Stream
        } else if libc::lseek(fildes, 0, libc::SEEK_DATA) >= 0 {
            Class::Sequential
        } else {
            Class::Device
        }
    }
}

/// A regular file.
fn regular(fildes: c_int, file: &Status, flags: c_int) -> Class {
    match file_system::of(fildes, file) {
        FileSystem::Memory => return Class::Memory,
        FileSystem::Local if flags & libc::O_DIRECT != 0 => return Class::Direct,
        FileSystem::Local => return cached(flags),
        FileSystem::Foreign => {}
    }
    // FUSE and tracefs have files without positions. lseek may fail where
    // there are some; a transfer of nothing, which does not reach the file,
    // says ESPIPE exactly where there are none.
    // SAFETY: no vector, so nothing is read through the null pointer.
    let answer = unsafe { libc::syscall(libc::SYS_preadv, fildes, 0usize, 0usize, 0usize, 0usize) };
    if answer < 0 && sys::errno() == libc::ESPIPE {
        Class::Sequential
    } else {
        Class::Foreign
    }
}

/// What goes through the page cache, by the flags of its descriptor.
fn cached(flags: c_int) -> Class {
    // O_SYNC contains O_DSYNC.
    if flags & libc::O_DSYNC != 0 {
        Class::Synchronous
    } else {
        Class::Buffered
    }
}

/// What the inline lane may try on a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Inline {
    Never = 1,
    /// Reads with RWF_NOWAIT.
    CacheReads = 2,
    /// Plain reads and writes: they cannot wait for a disk.
    Memory = 3,
}

/// What is remembered of a descriptor number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hint {
    pub inline: Inline,
    pub local: Local,
}

/// Is it a file whose transfers end by themselves, without a server?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Local {
    No = 0,
    /// Each transfer waits for the device.
    Direct = 1,
    /// Through the page cache; no write waits for the device as a rule.
    Cached = 2,
    Memory = 3,
}

const HINTS: usize = perturb::bound(1024, 3);

// A hint's word: the way in bits 0..8, whether it is local in 8..10, how
// many reads to leave unasked in 18..23, misses in a row in 23..26, the number
// in 32..64.
const LOCAL_SHIFT: u32 = 8;
const SKIP_SHIFT: u32 = 18;
const SKIP_MOST: u64 = 31;
const MISSES_SHIFT: u32 = 23;
const MISSES_MOST: u64 = 7;
const KNOWN: u64 = !(SKIP_MOST << SKIP_SHIFT | MISSES_MOST << MISSES_SHIFT);

/// Hints by descriptor number. All zero: nothing is known.
pub struct Hints([AtomicU64; HINTS]);

impl Hints {
    fn place(&self, fildes: c_int) -> &AtomicU64 {
        &self.0[fildes as usize % HINTS]
    }

    /// The hint for `fildes`; asks the kernel when there is none. None for a
    /// bad descriptor. Keeps errno.
    pub fn get(&self, fildes: c_int) -> Option<Hint> {
        let word = self.place(fildes).load(Ordering::Relaxed);
        if word >> 32 == fildes as u32 as u64 && word & 0xff != 0 {
            return Some(Hint {
                inline: match word & 0xff {
                    2 => Inline::CacheReads,
                    3 => Inline::Memory,
                    _ => Inline::Never,
                },
                local: match word >> LOCAL_SHIFT & 3 {
                    1 => Local::Direct,
                    2 => Local::Cached,
                    3 => Local::Memory,
                    _ => Local::No,
                },
            });
        }
        let _errno = sys::KeepErrno::new();
        let nature = Nature::of(fildes).ok()?;
        self.learn(fildes, &nature);
        Some(nature.hint())
    }

    /// Were the last reads of this number not in memory? Asking in vain costs
    /// microseconds, so after each miss in a row twice as many reads go to
    /// the engine unasked, up to 31.
    pub fn is_cold(&self, fildes: c_int) -> bool {
        let place = self.place(fildes);
        let word = place.load(Ordering::Relaxed);
        let skip = word >> SKIP_SHIFT & SKIP_MOST;
        if skip > 0 {
            // A lost update only changes a guess.
            place.store(word - (1 << SKIP_SHIFT), Ordering::Relaxed);
        }
        skip > 0
    }

    /// A read of this number was, or was not, in memory.
    pub fn found(&self, fildes: c_int, in_memory: bool) {
        let place = self.place(fildes);
        let word = place.load(Ordering::Relaxed);
        let misses = word >> MISSES_SHIFT & MISSES_MOST;
        let known = word & KNOWN;
        if !in_memory {
            let misses = (misses + 1).min(5);
            let skip = (1 << misses) - 1;
            place.store(
                known | misses << MISSES_SHIFT | skip << SKIP_SHIFT,
                Ordering::Relaxed,
            );
        } else if misses > 0 {
            place.store(known, Ordering::Relaxed);
        }
    }

    /// Remembers what the engine, or a first look, found.
    pub fn learn(&self, fildes: c_int, nature: &Nature) {
        let hint = nature.hint();
        let word = u64::from(fildes as u32) << 32
            | (hint.local as u64) << LOCAL_SHIFT
            | hint.inline as u64;
        let place = self.place(fildes);
        if place.load(Ordering::Relaxed) & KNOWN != word {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// These numbers are being closed.
    pub fn forget_range(&self, first: c_int, last: c_int) {
        let span = (last as i64 - first as i64 + 1).clamp(0, HINTS as i64);
        for step in 0..span {
            self.forget((first as i64 + step) as c_int);
        }
    }

    /// The number is being closed.
    pub fn forget(&self, fildes: c_int) {
        let place = self.place(fildes);
        if place.load(Ordering::Relaxed) != 0 {
            place.store(0, Ordering::Relaxed);
        }
    }
}
