//! The `64` names: programs built with `_FILE_OFFSET_BITS=64` call these.
//! On LP64 the structures are the same, and so is the meaning.

use std::ffi::c_int;

use super::posix;
use crate::abi::aiocb;

/// As aio_read().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_read64(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: passed on.
    unsafe { posix::aio_read(aiocbp) }
}

/// As aio_write().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_write64(aiocbp: *mut aiocb) -> c_int {
    // SAFETY: passed on.
    unsafe { posix::aio_write(aiocbp) }
}

/// As aio_fsync().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_fsync64(op: c_int, aiocbp: *mut aiocb) -> c_int {
    // SAFETY: passed on.
    unsafe { posix::aio_fsync(op, aiocbp) }
}

/// As aio_error().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_error64(aiocbp: *const aiocb) -> c_int {
    // SAFETY: passed on.
    unsafe { posix::aio_error(aiocbp) }
}

/// As aio_return().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_return64(aiocbp: *mut aiocb) -> isize {
    // SAFETY: passed on.
    unsafe { posix::aio_return(aiocbp) }
}

/// As aio_suspend().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_suspend64(
    list: *const *const aiocb,
    nent: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    // SAFETY: passed on.
    unsafe { posix::aio_suspend(list, nent, timeout) }
}

/// As aio_cancel().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aio_cancel64(fildes: c_int, aiocbp: *mut aiocb) -> c_int {
    // SAFETY: passed on.
    unsafe { posix::aio_cancel(fildes, aiocbp) }
}

/// As lio_listio().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lio_listio64(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    sig: *mut libc::sigevent,
) -> c_int {
    // SAFETY: passed on.
    unsafe { posix::lio_listio(mode, list, nent, sig) }
}
