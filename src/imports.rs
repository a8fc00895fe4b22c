//! Which of this library's functions does the program import?
//!
//! Asked when the library is loaded (does the program use AIO at all?) and at
//! the first AIO call (does it collect completions?).
//!
//! What must hold: async-signal-safe, as `objects` is. When in doubt the
//! answer is yes, which costs time only. Who finds a function by dlsym() is
//! not seen.

use std::ffi::CStr;

use crate::objects::Program;

/// The functions that submit a request.
const SUBMITTING: [&CStr; 10] = [
    c"aio_read",
    c"aio_read64",
    c"aio_write",
    c"aio_write64",
    c"aio_fsync",
    c"aio_fsync64",
    c"lio_listio",
    c"lio_listio64",
    c"aio_readv",
    c"aio_writev",
];

/// The functions that collect completions of any request.
const COLLECTING: [&CStr; 2] = [c"aio_waitcomplete", c"aio_waitn"];

/// Does a loaded object import a function that submits requests?
pub fn submitting() -> bool {
    any(&SUBMITTING)
}

/// Does one import aio_waitcomplete or aio_waitn?
pub fn collecting() -> bool {
    any(&COLLECTING)
}

#[unsafe(link_section = ".load_time")]
fn any(names: &[&CStr]) -> bool {
    let Some(program) = Program::find() else {
        return true;
    };
    // Linked in statically: the program has taken what it uses, and imports
    // nothing.
    if program.contains(any as *const () as usize) {
        return true;
    }
    let Some(mut objects) = program.objects() else {
        return true;
    };
    objects.any(|object| object.imports_any(&[*b"aio_", *b"lio_"], names))
}

#[cfg(all(test, not(loom)))]
mod tests {
    /// The test program has the code in itself: as if linked statically.
    #[test]
    fn what_is_linked_in_counts_as_used() {
        assert!(super::submitting() && super::collecting());
    }
}
