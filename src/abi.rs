//! The C structures of `<aio.h>` and the words of a request inside them.
//!
//! A request lives in the caller's own `struct aiocb`: 32 private bytes at 96
//! and 32 reserved bytes at 136, as glibc lays them out. Nobody but this
//! module knows where a word is; everybody else goes through [`Aiocb`], which
//! gives atomic views. What must hold: the layout is the system's (proved by
//! the assertions below and by `layout.c`, which the build compiles against
//! the system's header), and a control block is 8-byte aligned.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};
use std::ptr::NonNull;

use crate::sync::atomic::{AtomicI64, AtomicU64};

/// `struct aiocb` of glibc on LP64 Linux. `struct aiocb64` is the same.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct aiocb {
    pub aio_fildes: c_int,
    pub aio_lio_opcode: c_int,
    pub aio_reqprio: c_int,
    pub aio_buf: *mut c_void,
    pub aio_nbytes: usize,
    pub aio_sigevent: libc::sigevent,
    private: [u64; 4],
    pub aio_offset: i64,
    reserved: [u64; 4],
}

/// `struct aioinit` of glibc, the argument of `aio_init`.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct aioinit {
    pub aio_threads: c_int,
    pub aio_num: c_int,
    pub aio_locks: c_int,
    pub aio_usedba: c_int,
    pub aio_debug: c_int,
    pub aio_numusers: c_int,
    pub aio_idle_time: c_int,
    pub aio_reserved: c_int,
}

const _: () = {
    assert!(size_of::<aiocb>() == 168);
    assert!(offset_of!(aiocb, aio_fildes) == 0);
    assert!(offset_of!(aiocb, aio_lio_opcode) == 4);
    assert!(offset_of!(aiocb, aio_reqprio) == 8);
    assert!(offset_of!(aiocb, aio_buf) == 16);
    assert!(offset_of!(aiocb, aio_nbytes) == 24);
    assert!(offset_of!(aiocb, aio_sigevent) == 32);
    assert!(offset_of!(aiocb, private) == 96);
    assert!(offset_of!(aiocb, aio_offset) == 128);
    assert!(offset_of!(aiocb, reserved) == 136);
    assert!(size_of::<libc::sigevent>() == 64);
    assert!(size_of::<aioinit>() == 32);
    // The 32 low bits of the status word are glibc's __error_code at 112.
    assert!(cfg!(all(
        target_pointer_width = "64",
        target_endian = "little"
    )));
};

// The values of <aio.h>; they are fixed by the ABI.
pub const AIO_CANCELED: c_int = 0;
pub const AIO_NOTCANCELED: c_int = 1;
pub const AIO_ALLDONE: c_int = 2;
pub const LIO_READ: c_int = 0;
pub const LIO_WRITE: c_int = 1;
pub const LIO_NOP: c_int = 2;
pub const LIO_WAIT: c_int = 0;
pub const LIO_NOWAIT: c_int = 1;
/// `lio_listio` opcode of FreeBSD: the element is an `aio_readv`.
pub const LIO_READV: c_int = 16;
/// `lio_listio` opcode of FreeBSD: the element is an `aio_writev`.
pub const LIO_WRITEV: c_int = 17;
/// The largest aio_reqprio, AIO_PRIO_DELTA_MAX of glibc.
pub const PRIORITY_MAX: c_int = 20;
/// What one transfer of the kernel carries at most (MAX_RW_COUNT).
pub const TRANSFER_MAX: usize = 0x7fff_f000;

/// A caller's control block, by address. Copyable and without lifetime: the
/// life of the memory is the caller's promise (POSIX: it stays valid until
/// the request has completed), and [`crate::request`] says when it may be
/// touched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Aiocb(NonNull<aiocb>);

// SAFETY: an address; each access goes through atomics, or reads members that
// POSIX forbids the program to change while the request is in progress.
unsafe impl Send for Aiocb {}

const _: () = assert!(size_of::<Option<Aiocb>>() == 8);

impl Aiocb {
    /// The control block at `at`, or None for NULL and for an address that a
    /// control block cannot have.
    pub fn new(at: *const aiocb) -> Option<Aiocb> {
        if !at.addr().is_multiple_of(8) {
            return None;
        }
        NonNull::new(at.cast_mut()).map(Aiocb)
    }

    /// The control block whose address was stored in a word.
    pub fn from_word(word: u64) -> Option<Aiocb> {
        Self::new(std::ptr::with_exposed_provenance(word as usize))
    }

    /// The address as a word for a lock-free list.
    pub fn to_word(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    pub fn as_ptr(self) -> *mut aiocb {
        self.0.as_ptr()
    }

    /// The public members, as the caller filled them.
    ///
    /// # Safety
    /// The control block is valid, and the caller of the library leaves the
    /// members alone (it is being submitted, or in progress).
    pub unsafe fn members(self) -> Members {
        let at = self.0.as_ptr();
        // SAFETY: by the contract above; place expressions, no reference to
        // the words other threads may access.
        unsafe {
            Members {
                fildes: (*at).aio_fildes,
                opcode: (*at).aio_lio_opcode,
                priority: (*at).aio_reqprio,
                buffer: (*at).aio_buf as usize,
                length: (*at).aio_nbytes,
                offset: (*at).aio_offset,
            }
        }
    }

    /// The caller's own sigevent.
    pub fn sigevent(self) -> *const libc::sigevent {
        // SAFETY: only computes an address inside the control block.
        unsafe { &raw const (*self.0.as_ptr()).aio_sigevent }
    }

    fn word(self, index: usize) -> *mut u64 {
        // SAFETY: index < 4; stays within the private bytes.
        unsafe {
            (&raw mut (*self.0.as_ptr()).private)
                .cast::<u64>()
                .add(index)
        }
    }

    /// The next request in a list of the library while it is in progress.
    ///
    /// # Safety
    /// The control block is valid memory for as long as the view is used.
    pub unsafe fn link<'a>(self) -> &'a AtomicU64 {
        // SAFETY: valid by contract, aligned by construction; all accesses to
        // the private words are atomic.
        unsafe { &*self.word(0).cast::<AtomicU64>() }
    }

    /// The stamp of the process that has the request in progress.
    ///
    /// # Safety
    /// As for [`Aiocb::link`].
    pub unsafe fn stamp<'a>(self) -> &'a AtomicU64 {
        // SAFETY: as in `link`.
        unsafe { &*self.word(1).cast::<AtomicU64>() }
    }

    /// Status word: glibc's `__error_code` in the low half, ours in the high.
    ///
    /// # Safety
    /// As for [`Aiocb::link`].
    pub unsafe fn status<'a>(self) -> &'a AtomicU64 {
        // SAFETY: as in `link`.
        unsafe { &*self.word(2).cast::<AtomicU64>() }
    }

    /// Return value, glibc's `__return_value`.
    ///
    /// # Safety
    /// As for [`Aiocb::link`].
    pub unsafe fn value<'a>(self) -> &'a AtomicI64 {
        // SAFETY: as in `link`.
        unsafe { &*self.word(3).cast::<AtomicI64>() }
    }

    /// Where the first element of a list keeps what its sigevent asks for:
    /// 32 bytes at 136, used only while the list is being taken over.
    pub fn list_event(self) -> *mut ListEvent {
        // SAFETY: only computes an address inside the control block.
        unsafe { (&raw mut (*self.0.as_ptr()).reserved).cast() }
    }
}

/// The public members of a control block, copied.
#[derive(Clone, Copy)]
pub struct Members {
    pub fildes: c_int,
    pub opcode: c_int,
    pub priority: c_int,
    pub buffer: usize,
    pub length: usize,
    pub offset: i64,
}

/// What is to happen at the end of a list, in the reserved bytes of its first
/// element: what its sigevent says, or who waits for it ([`ListEvent::WAITER`]).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListEvent {
    pub value: u64,
    pub signo: c_int,
    pub notify: c_int,
    pub function_or_tid: u64,
    pub attributes: u64,
}

impl ListEvent {
    /// A `notify` that no sigevent has by the time it is kept here: `value`
    /// is the place of a caller that waits.
    pub const WAITER: c_int = c_int::MIN;

    /// A caller waits at this place of [`crate::lists`].
    pub fn waiter(place: u16) -> ListEvent {
        ListEvent {
            value: place.into(),
            signo: 0,
            notify: Self::WAITER,
            function_or_tid: 0,
            attributes: 0,
        }
    }
}

const _: () = assert!(size_of::<ListEvent>() == 32);
