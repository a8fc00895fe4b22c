//! What file a descriptor has, without a question to a file's server.
//!
//! Who comes in: the engine and submissions, signal handlers among them. What
//! must hold: where the kernel can answer of itself, nothing here waits for
//! the server of a FUSE or network file system, which may be stuck, or be the
//! very thread that asks.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use libc::c_long;

use super::errno;

/// What `fstat` says, as far as it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub device: u64,
    pub inode: u64,
    pub mode: u32,
    /// Of a device file: which one it is.
    pub special: u64,
    /// Zero where it would have to be asked for; else what the kernel has.
    pub size: u64,
    /// The mount by a number that is never given again while the kernel runs.
    pub mount: Option<u64>,
}

// Newer than some C libraries that the library is built with.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const SYS_STATMOUNT: c_long = 457;

/// Err: EBADF, or what the file system says.
pub fn status(fildes: c_int) -> Result<Status, c_int> {
    if fildes < 0 {
        // AT_FDCWD is no descriptor.
        return Err(libc::EBADF);
    }
    // What the kernel has is enough: a device and an inode do not change.
    // Nor is the size asked for, since a network file system may have all
    // data taken to the server first; a local one gives it all the same.
    let mut answer = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: an empty path names the descriptor itself; `answer` is writable
    // for a whole struct statx, read on success.
    let answer = unsafe {
        let failed = libc::syscall(
            libc::SYS_statx,
            fildes,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
            libc::STATX_TYPE | libc::STATX_INO | STATX_MNT_ID_UNIQUE,
            answer.as_mut_ptr(),
        );
        if failed != 0 {
            return match errno() {
                libc::EBADF => Err(libc::EBADF),
                // A kernel or a seccomp filter without statx.
                _ => by_fstat(fildes),
            };
        }
        answer.assume_init()
    };
    let has = |what: u32| answer.stx_mask & what != 0;
    Ok(Status {
        device: libc::makedev(answer.stx_dev_major, answer.stx_dev_minor),
        inode: answer.stx_ino,
        mode: answer.stx_mode.into(),
        special: libc::makedev(answer.stx_rdev_major, answer.stx_rdev_minor),
        size: if has(libc::STATX_SIZE) {
            answer.stx_size
        } else {
            0
        },
        mount: has(STATX_MNT_ID_UNIQUE).then_some(answer.stx_mnt_id),
    })
}

fn by_fstat(fildes: c_int) -> Result<Status, c_int> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is writable for a whole struct stat.
    if unsafe { libc::fstat(fildes, stat.as_mut_ptr()) } != 0 {
        return Err(errno());
    }
    // SAFETY: fstat succeeded and filled it.
    let stat = unsafe { stat.assume_init() };
    Ok(Status {
        device: stat.st_dev,
        inode: stat.st_ino,
        mode: stat.st_mode,
        special: stat.st_rdev,
        size: stat.st_size as u64,
        mount: None,
    })
}

/// The magic number of a mount's file system, which the kernel knows of
/// itself. None: it does not say (before Linux 6.8, or the mount cannot be
/// reached from the root directory), or must not be asked.
pub fn magic_of_mount(mount: u64) -> Option<i64> {
    #[repr(C)]
    struct Question {
        size: u32,
        reserved: u32,
        mount: u64,
        what: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Answer {
        size: u32,
        options: u32,
        what: u64,
        major: u32,
        minor: u32,
        magic: u64,
    }
    const STATMOUNT_SB_BASIC: u64 = 1;
    // Hardly any seccomp filter knows this call, and a filter may end who
    // makes a call that it does not know.
    // SAFETY: no arguments. In strict mode this would be fatal, but there so
    // is nearly everything else.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP) } != 0 {
        return None;
    }
    let question = Question {
        size: size_of::<Question>() as u32,
        reserved: 0,
        mount,
        what: STATMOUNT_SB_BASIC,
    };
    let mut answer = Answer::default();
    // SAFETY: both structures live; the kernel writes at most the size given.
    let failed = unsafe {
        libc::syscall(
            SYS_STATMOUNT,
            &raw const question,
            &raw mut answer,
            size_of::<Answer>(),
            0,
        )
    };
    (failed == 0 && answer.what & STATMOUNT_SB_BASIC != 0).then_some(answer.magic as i64)
}

/// The magic number of a descriptor's file system. Asks its server, if it has
/// one.
pub fn magic_of_file(fildes: c_int) -> Option<i64> {
    let mut statfs = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `statfs` is writable for a whole struct statfs, read on success.
    unsafe {
        (libc::fstatfs(fildes, statfs.as_mut_ptr()) == 0).then(|| statfs.assume_init().f_type)
    }
}
