//! The only door from C: every exported symbol is in this folder.
//!
//! | file | symbols |
//! |---|---|
//! | `posix` | the nine names of `<aio.h>` |
//! | `lfs64` | their `64` twins |
//! | `closing` | close, dup2, dup3, close_range, closefrom |
//! | `collecting` | aio_waitcomplete, aio_waitn |
//! | `extensions` | `aio_shim_*`, and names of FreeBSD and illumos |
//!
//! What must hold: a function here only translates: C arguments in, -1 and
//! errno out. No symbol is versioned: one in a version node of our own would
//! be passed over for glibc's.

pub mod closing;
pub mod collecting;
pub mod extensions;
pub mod lfs64;
pub mod posix;

use std::ffi::c_int;

use crate::sys;

/// 0, or -1 with errno.
pub(crate) fn answer(result: Result<(), c_int>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            sys::set_errno(error);
            -1
        }
    }
}
