//! The library's own use of files, by the system calls themselves.
//!
//! Who comes in: whoever needs a descriptor of ours, or a line of /proc. What
//! must hold: none of it is a cancellation point, as the C library's functions
//! of these names are: a thread that was cancelled would leave a request that
//! it has claimed and not handed over. And the close family is this library's
//! own: its symbols have an eye on requests.

use std::ffi::{CStr, c_int};
use std::str;

use super::result;

/// Opens a file by its path, closed at exec.
pub fn open(path: &CStr, flags: c_int) -> Result<c_int, c_int> {
    create(path, flags, 0)
}

/// The same with the mode of a file that O_CREAT makes.
pub fn create(path: &CStr, flags: c_int, mode: libc::mode_t) -> Result<c_int, c_int> {
    // SAFETY: a C string, and integers.
    result(unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        )
    })
    .map(|fildes| fildes as c_int)
}

/// Closes a descriptor that the caller made.
pub fn close(fildes: c_int) {
    // SAFETY: the caller's; nobody uses it any more.
    unsafe { libc::syscall(libc::SYS_close, fildes) };
}

pub fn read(fildes: c_int, buffer: &mut [u8]) -> Result<usize, c_int> {
    // SAFETY: writable for its length.
    result(unsafe { libc::syscall(libc::SYS_read, fildes, buffer.as_mut_ptr(), buffer.len()) })
}

/// From the begin of the file, wherever its position is.
pub fn read_begin(fildes: c_int, buffer: &mut [u8]) -> Result<usize, c_int> {
    // SAFETY: writable for its length; the position is 0.
    result(unsafe {
        libc::syscall(
            libc::SYS_pread64,
            fildes,
            buffer.as_mut_ptr(),
            buffer.len(),
            0i64,
        )
    })
}

pub fn write(fildes: c_int, bytes: &[u8]) -> Result<usize, c_int> {
    // SAFETY: readable for its length.
    result(unsafe { libc::syscall(libc::SYS_write, fildes, bytes.as_ptr(), bytes.len()) })
}

/// Writes all of it. False: that cannot be.
pub fn write_all(fildes: c_int, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(fildes, bytes) {
            Ok(0) => return false,
            Ok(written) => bytes = &bytes[written..],
            Err(libc::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Adds to the counter of an eventfd.
pub fn add(eventfd: c_int, count: u64) -> Result<(), c_int> {
    match write(eventfd, &count.to_ne_bytes())? {
        8 => Ok(()),
        _ => Err(libc::EINVAL),
    }
}

/// Would a write not block, or fail at once?
pub fn has_room(fildes: c_int) -> bool {
    let mut entry = libc::pollfd {
        fd: fildes,
        events: libc::POLLOUT,
        revents: 0,
    };
    let at_once = super::timespec(std::time::Duration::ZERO);
    // SAFETY: one valid entry; a valid time; no signal mask.
    unsafe {
        libc::syscall(
            libc::SYS_ppoll,
            &raw mut entry,
            1usize,
            &raw const at_once,
            std::ptr::null::<libc::sigset_t>(),
            0usize,
        )
    };
    entry.revents & libc::POLLOUT != 0
}

/// The begin of a small file. None: it cannot be read.
pub fn begin<'a>(path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let fildes = open(path, libc::O_RDONLY).ok()?;
    let length = read(fildes, buffer);
    close(fildes);
    Some(&buffer[..length.ok()?])
}

/// The value of `name:` in the text of a status file of /proc. (Not all of
/// such a text need be UTF-8: it has the program's name in it.)
pub fn field<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        str::from_utf8(value).ok().map(str::trim)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::Line;

    #[test]
    fn what_is_written_is_read() {
        // SAFETY: a name, and a flag.
        let fildes = unsafe { libc::memfd_create(c"text".as_ptr(), 0) };
        let written = [b'x'; 3000];
        assert!(write_all(fildes, &written) && has_room(fildes));
        let mut buffer = [0; 4000];
        assert_eq!(read(fildes, &mut buffer), Ok(0), "at the end");
        assert_eq!(read_begin(fildes, &mut buffer), Ok(3000));
        assert_eq!(buffer[..3000], written);

        let mut path = Line::new();
        let path = path.text("/proc/self/fd/").number(fildes as u64);
        let mut small = [0; 10];
        assert_eq!(begin(path.as_c_str(), &mut small), Some(&b"xxxxxxxxxx"[..]));
        let mut path = Line::new();
        let path = path.text("/proc/self/fd/").number(1 << 30);
        assert_eq!(begin(path.as_c_str(), &mut small), None);
        assert_eq!(open(c"/no such file", libc::O_RDONLY), Err(libc::ENOENT));
        close(fildes);
        assert_eq!(write(fildes, &written), Err(libc::EBADF));
        assert!(!write_all(fildes, &written) && !has_room(fildes));
    }

    #[test]
    fn a_field_is_found_beside_any_name() {
        let status = b"Name:\t\xff\xfe\nSigQ:\t3/9\nSigQu: 1\nEmpty:\n";
        assert_eq!(field(status, "SigQ"), Some("3/9"));
        assert_eq!(field(status, "Empty"), Some(""));
        assert_eq!(field(status, "Name"), None);
        assert_eq!(field(status, "Sig"), None);
    }

    #[test]
    fn a_full_eventfd_has_no_room() {
        // SAFETY: integers.
        let fildes = unsafe { libc::eventfd(1, libc::EFD_NONBLOCK) };
        assert_eq!(add(fildes, u64::MAX - 2), Ok(()));
        assert!(!has_room(fildes));
        assert_eq!(add(fildes, 1), Err(libc::EAGAIN));
        close(fildes);
    }
}
