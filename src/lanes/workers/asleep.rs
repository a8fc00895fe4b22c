//! What a thread of the pool is doing, as the kernel tells it.
//!
//! Who comes in: the pool, when a descriptor is being closed that a job uses.

/// Does a thread of ours sleep inside a transfer? The kernel takes the file
/// from the descriptor before it can sleep for its data. Without /proc the
/// answer is no: then the end of the job is waited for.
pub fn sleeps_in_a_call(thread: u32) -> bool {
    let mut text = [0u8; 64];
    let mut path = *b"/proc/self/task/0000000000/syscall\0";
    let mut rest = thread;
    for digit in path[16..26].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // Leading zeros are no thread number to the kernel: move the rest up.
    let zeros = path[16..25]
        .iter()
        .take_while(|&&digit| digit == b'0')
        .count();
    path.copy_within(16 + zeros.., 16);
    // SAFETY: a C string; the descriptor stays in this block; `text` is
    // writable for its length.
    let length = unsafe {
        let fildes = libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
        if fildes < 0 {
            return false;
        }
        let length = libc::read(fildes, text.as_mut_ptr().cast(), text.len());
        libc::syscall(libc::SYS_close, fildes);
        length
    };
    let Some(text) = text.get(..length.max(0) as usize) else {
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
