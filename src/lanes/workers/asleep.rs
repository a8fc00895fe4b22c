//! What a thread of the pool is doing, as the kernel tells it.
//!
//! Who comes in: the pool, when a descriptor is being closed that a job uses.

use crate::perturb;
use crate::sys;

/// Does a thread of ours sleep inside a transfer? The kernel takes the file
/// from the descriptor before it can sleep for its data. Without /proc the
/// answer is no: then the end of the job is waited for.
pub fn sleeps_in_a_call(thread: u32) -> bool {
    if perturb::refuses(2) {
        return false;
    }
    let mut text = [0u8; 64];
    let mut path = sys::Line::new();
    path.text("/proc/self/task/")
        .number(thread.into())
        .text("/syscall");
    let Some(text) = sys::files::begin(path.as_c_str(), &mut text) else {
        return false;
    };
    // "running", or the number of the call the thread sleeps in.
    let number = text.split(|&byte| byte == b' ').next().unwrap_or(text);
    [
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_preadv2,
        libc::SYS_pwritev2,
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
    ]
    .iter()
    .any(|call| std::str::from_utf8(number).is_ok_and(|text| text.parse::<i64>() == Ok(*call)))
}
