//! What a program has set for a socket, and io_uring does not keep to.
//!
//! Who comes in: [`super::streams`], for each attempt at a request. What must
//! hold: what is not a socket has nothing set.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use crate::lanes::workers::Way;

/// A socket's own time limit for this direction, in nanoseconds.
pub fn timeout(fildes: c_int, way: Way) -> Option<u64> {
    let option = match way {
        Way::In => libc::SO_RCVTIMEO,
        Way::Out => libc::SO_SNDTIMEO,
    };
    // SAFETY: two integers.
    let limit: libc::timeval = unsafe { socket_option(fildes, option) }?;
    let nanoseconds = limit.tv_sec as u64 * 1_000_000_000 + limit.tv_usec as u64 * 1000;
    (nanoseconds > 0).then_some(nanoseconds)
}

/// May the close of a socket wait for what it still has to send?
pub fn lingers(fildes: c_int) -> bool {
    // SAFETY: two integers.
    let linger: Option<libc::linger> = unsafe { socket_option(fildes, libc::SO_LINGER) };
    linger.is_some_and(|linger| linger.l_onoff != 0 && linger.l_linger > 0)
}

/// How many bytes a socket must have before a read of it returns.
pub fn mark(fildes: c_int) -> Option<usize> {
    // SAFETY: an integer.
    let mark: c_int = unsafe { socket_option(fildes, libc::SO_RCVLOWAT) }?;
    usize::try_from(mark).ok()
}

/// Is it a stream socket of AF_UNIX?
pub fn is_unix_stream(fildes: c_int) -> bool {
    // SAFETY: integers.
    let (domain, kind) = unsafe {
        (
            socket_option::<c_int>(fildes, libc::SO_DOMAIN),
            socket_option::<c_int>(fildes, libc::SO_TYPE),
        )
    };
    domain == Some(libc::AF_UNIX) && kind == Some(libc::SOCK_STREAM)
}

/// Is it a socket of TCP?
pub fn is_tcp(fildes: c_int) -> bool {
    // SAFETY: an integer.
    let protocol = unsafe { socket_option::<c_int>(fildes, libc::SO_PROTOCOL) };
    protocol == Some(libc::IPPROTO_TCP)
}

/// None: not a socket (ENOTSOCK).
///
/// # Safety
/// Any bytes make a valid `T`.
unsafe fn socket_option<T>(fildes: c_int, option: c_int) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: both out-parameters are writable; the rest by contract.
    unsafe {
        let answer = libc::getsockopt(
            fildes,
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &mut length,
        );
        (answer == 0).then(|| value.assume_init())
    }
}
