//! Which file systems may be trusted not to wait.
//!
//! Who comes in: [`Nature::of`](super::Nature::of), in the engine and in
//! submissions. What must hold: a server is not asked what its file system
//! is, where the kernel can say it; and no answer outlives what it is about.

use std::ffi::c_int;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::status::{self, Status};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FileSystem {
    /// tmpfs, ramfs.
    Memory = 1,
    /// Of a disk here, known to answer RWF_NOWAIT and io_uring's own asking
    /// without waiting.
    Local = 2,
    /// Anything else.
    Foreign = 3,
}

/// ext2/3/4, XFS, btrfs, f2fs, bcachefs, overlay.
const LOCAL: [i64; 6] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0xca45_1a4e,
    0x794c_7630,
];
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// The file systems of block devices, by device number: they stay what they
/// are for as long as the device is mounted. (Numbers without a device, as
/// FUSE and tmpfs have them, are given anew too often.)
static LOCAL_DEVICES: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// Those of other mounts, which stay what they are for good: what it is in
/// bits 0..2, above them the mount's number.
static MOUNTS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
const KIND_BITS: u32 = 2;

/// Of a regular file.
pub fn of(fildes: c_int, file: &Status) -> FileSystem {
    let has_device = libc::major(file.device) != 0;
    let device = &LOCAL_DEVICES[file.device as usize % LOCAL_DEVICES.len()];
    if has_device && device.load(Ordering::Relaxed) == file.device {
        return FileSystem::Local;
    }
    let Some(mount) = file.mount else {
        let kind = kind(status::magic_of_file(fildes));
        if has_device && kind == FileSystem::Local {
            device.store(file.device, Ordering::Relaxed);
        }
        return kind;
    };
    let place = &MOUNTS[mount as usize % MOUNTS.len()];
    let word = place.load(Ordering::Relaxed);
    if word >> KIND_BITS == mount {
        match word & 3 {
            1 => return FileSystem::Memory,
            2 => return FileSystem::Local,
            3 => return FileSystem::Foreign,
            _ => {}
        }
    }
    // Shared memory has no server, and the kernel's own mount of it, memfd's,
    // is not known by its number.
    let said = match super::is_shared_memory(fildes) {
        true => None,
        false => status::magic_of_mount(mount),
    };
    let magic = said.or_else(|| status::magic_of_file(fildes));
    let kind = kind(magic);
    // A refusal may be one for this thread only.
    if magic.is_some() {
        place.store(mount << KIND_BITS | kind as u64, Ordering::Relaxed);
    }
    kind
}

fn kind(magic: Option<i64>) -> FileSystem {
    match magic {
        Some(TMPFS | RAMFS) => FileSystem::Memory,
        Some(magic) if LOCAL.contains(&magic) => FileSystem::Local,
        _ => FileSystem::Foreign,
    }
}
