//! A notice: the copy of what one sigevent asks for.
//!
//! Who comes in: the submitting thread, to learn whether the sigevent is
//! valid, and the completing thread, to take the copy before the status is
//! published. What must hold: a notice is small and plain, reading one
//! neither locks nor allocates, and nothing here looks at the aiocb again
//! once the copy exists.

use std::mem::{offset_of, size_of};

use libc::{c_int, c_void, pthread_attr_t};

use super::lanes::LaneId;
use super::tally::Kind;

/// `sigev_notify` of the eventfd form: 1 is added to the eventfd in
/// `sigev_signo` for each completion.
pub const SIGEV_AIO_SHIM_EVENTFD: c_int = 0x4149_4f45;

/// The largest signal number of Linux.
pub const LAST_SIGNAL: c_int = 64;
/// The first real-time signal; the C library keeps 32 and 33 for itself.
pub const FIRST_RT_SIGNAL: c_int = 32;

/// What completed: a request, or a whole list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// One request's own `aio_sigevent`.
    Request,
    /// The `sig` argument of `lio_listio(LIO_NOWAIT)`.
    List,
}

/// How the program wants to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// A signal to the process.
    Signal,
    /// A signal to the thread whose number is in `target`.
    ThreadSignal,
    /// A call of the function whose address is in `target`.
    Callback,
    /// One added to the eventfd in `signo`.
    Eventfd,
}

/// A copy of what a sigevent asks for.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// `sigev_value`, as the bits of a pointer.
    pub(super) value: usize,
    /// Function address or thread number; see [`Form`].
    pub(super) target: usize,
    /// The caller's thread attributes; once posted, the notifier's own copy
    /// (see `own_thread`). Null: none.
    pub(super) attributes: *mut c_void,
    /// Signal number, or the descriptor of the eventfd.
    pub(super) signo: c_int,
    pub(super) form: Form,
    pub(super) origin: Origin,
    /// The backlog knows this notice as one that equal ones merge into.
    pub(super) remembered: bool,
}

// SAFETY: the pointers in a notice are only carried. `attributes` is read by
// the thread that posts (POSIX lets the notification machinery read it), the
// function is called with the value as the program asked.
unsafe impl Send for Notice {}

const _: () = assert!(size_of::<Notice>() <= 32);

/// `struct sigevent` of LP64 Linux, with the members libc leaves out.
#[repr(C)]
pub(super) struct Sigevent {
    pub value: usize,
    pub signo: c_int,
    pub notify: c_int,
    pub how: How,
    pub _rest: [u64; 4],
}

/// The union in `struct sigevent`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union How {
    pub thread: c_int,
    pub callback: (usize, *mut pthread_attr_t),
}

const _: () = assert!(size_of::<Sigevent>() == size_of::<libc::sigevent>());
const _: () = assert!(offset_of!(Sigevent, signo) == offset_of!(libc::sigevent, sigev_signo));
const _: () = assert!(offset_of!(Sigevent, notify) == offset_of!(libc::sigevent, sigev_notify));
const _: () =
    assert!(offset_of!(Sigevent, how) == offset_of!(libc::sigevent, sigev_notify_thread_id));

impl Notice {
    /// Reads a caller's sigevent. `Ok(None)`: nothing is asked (SIGEV_NONE,
    /// signal 0, an unknown `sigev_notify`, as in glibc). `Err(EINVAL)`: a
    /// signal number that cannot be sent, a SIGEV_THREAD without a function;
    /// `Err(EBADF)`: a negative eventfd.
    ///
    /// # Safety
    /// `event` points to a readable `struct sigevent`.
    pub unsafe fn read(
        event: *const libc::sigevent,
        origin: Origin,
    ) -> Result<Option<Notice>, c_int> {
        // SAFETY: the caller's promise; the layout is asserted above.
        let event = unsafe { &*event.cast::<Sigevent>() };
        let mut notice = Notice {
            value: event.value,
            target: 0,
            attributes: std::ptr::null_mut(),
            signo: event.signo,
            form: Form::Signal,
            origin,
            remembered: false,
        };
        match event.notify {
            libc::SIGEV_SIGNAL => {}
            libc::SIGEV_THREAD_ID => {
                // SAFETY: the member that this `sigev_notify` uses; every
                // bit pattern is a valid c_int.
                let thread = unsafe { event.how.thread };
                if event.signo != 0 && thread <= 0 {
                    return Err(libc::EINVAL);
                }
                notice.form = Form::ThreadSignal;
                notice.target = thread as usize;
            }
            libc::SIGEV_THREAD => {
                // SAFETY: as above; both halves are plain words.
                let (function, attributes) = unsafe { event.how.callback };
                if function == 0 {
                    return Err(libc::EINVAL);
                }
                notice.form = Form::Callback;
                notice.target = function;
                notice.attributes = attributes.cast();
                notice.signo = 0;
                return Ok(Some(notice));
            }
            SIGEV_AIO_SHIM_EVENTFD => {
                if event.signo < 0 {
                    return Err(libc::EBADF);
                }
                notice.form = Form::Eventfd;
                return Ok(Some(notice));
            }
            _ => return Ok(None),
        }
        match event.signo {
            0 => Ok(None),
            // 32 and 33 are glibc's own (cancellation, setuid).
            1..=31 | 34..=LAST_SIGNAL => Ok(Some(notice)),
            _ => Err(libc::EINVAL),
        }
    }

    /// SIGEV_THREAD?
    pub fn is_thread(&self) -> bool {
        self.form == Form::Callback
    }

    /// Where this notice waits its turn.
    pub(super) fn lane(&self) -> LaneId {
        match self.form {
            Form::Signal => LaneId::signal(self.signo),
            Form::ThreadSignal => LaneId::thread_signal(self.target as c_int, self.signo),
            Form::Eventfd => LaneId::eventfd(self.signo),
            Form::Callback if self.attributes.is_null() => LaneId::CALLBACKS,
            Form::Callback => LaneId::OWN_THREADS,
        }
    }

    /// What it is counted as.
    pub(super) fn kind(&self) -> Kind {
        match (self.origin, self.form) {
            (Origin::List, _) => Kind::List,
            (_, Form::Callback) => Kind::Thread,
            (_, Form::Eventfd) => Kind::Eventfd,
            _ if self.signo < FIRST_RT_SIGNAL => Kind::Standard,
            _ => Kind::Rt,
        }
    }

    /// May it give way to an equal one beyond the cap? Signals may; a callback
    /// runs, and an eventfd counts, for each completion.
    pub(super) fn may_merge(&self) -> bool {
        matches!(self.form, Form::Signal | Form::ThreadSignal)
    }
}
