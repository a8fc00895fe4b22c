//! SO_RCVLOWAT where poll(2) does not know it: AF_UNIX.
//!
//! Who comes in: [`super`], before a read of a socket that has a mark. What
//! must hold: nothing here takes a byte out of the socket.

use std::ffi::c_int;

use super::terminal;

/// The largest mark that is kept to. A blocking read empties the socket while
/// it waits; this one leaves the bytes there, and each message to such a
/// socket takes up most of a kilobyte, however short: with a larger mark the
/// sender could find no room any more, and both would wait for ever.
const LARGEST: usize = 256;

/// Has it something, but less than a read of `wanted` bytes waits for?
pub fn lacks(fildes: c_int, mark: usize, wanted: usize) -> bool {
    if option(fildes, libc::SO_DOMAIN) != Some(libc::AF_UNIX)
        || option(fildes, libc::SO_TYPE) != Some(libc::SOCK_STREAM)
    {
        return false;
    }
    let there = terminal::there(fildes);
    there > 0 && there < mark.min(wanted).min(LARGEST)
}

fn option(fildes: c_int, option: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: room for an integer, and for its length.
    let answer = unsafe {
        libc::getsockopt(
            fildes,
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    (answer == 0).then_some(value)
}
