//! Handing notices to the kernel.
//!
//! Who comes in: a thread of the library that holds a lane's claim; all of
//! its signals are blocked, so that sigpending shows what is pending for the
//! process. What must hold: nothing here blocks, and what the kernel does not
//! take is said, never dropped.
//!
//! **Real-time signals** are refused with EAGAIN when the user's queue is full.
//!
//! **Standard signals** are never refused, which is the trouble: a second one
//! merges into a pending one, and at the limit the kernel queues the signal
//! but throws value, code and pid away, reporting success. So the next one
//! goes out only when the last is no longer pending, and, if the program
//! could see a value at all (no plain handler), only when the queue had room
//! just before: a probe, signals to this very thread, where they are blocked
//! and taken back at once, so that nobody else can see them. (The kernel
//! takes a thread's own pending signals before the process's, so the probe
//! gets back itself.) Between taking the probe back and sending, well under a
//! microsecond, no other thread of this library sends (see `turn`). But the
//! program itself, or another process of the user, could take the last places,
//! or the program lower the limit; the signal then arrives without its value.
//! No call of the kernel queues such a signal or fails, so the gap can only be
//! made narrow: after a refusal anywhere, room for several is asked for.
//!
//! Under a queue that stays full (`ulimit -i 0`) such a signal waits for ever.
//! What goes beyond the limit (si_code SI_USER and above) the kernel takes
//! only from the thread it is for; and a value that is not what the program
//! gave, where its handler looks for a pointer, is worse than none.
//!
//! **A filter that refuses queued signals** (seccomp, any errno but EAGAIN):
//! they are tried for a second; then, and as long as the refusal lasts, plain
//! ones are sent by kill(), which carry no value, and are counted
//! (`without_value`). A program that waits for a signal is not left waiting.
//!
//! **Signals to a thread** (SIGEV_THREAD_ID): real-time ones as above. The
//! pending set of another thread cannot be read without opening files of
//! /proc, and descriptors are the program's, so standard ones are sent as
//! they come and the kernel may merge them. A thread that has ended gets
//! nothing, which is counted (`undeliverable`).
//!
//! **Eventfds**: several completions add up in one write where it cannot
//! block. What is not an eventfd any more (closed, the number reused) is not
//! written to.

use std::mem::MaybeUninit;

use libc::{c_int, c_void};

use super::Notifier;
use super::fifo::Waiting;
use super::lanes::{Claim, Done, LaneId};
use super::notice::{Form, Notice};
use super::pace::Hold;
use super::report::signal_limit;
use crate::sync::atomic::Ordering;
use crate::sys;

/// After this long of refusals other than EAGAIN, plain signals are sent.
const GIVE_UP_NS: u64 = 1_000_000_000;

/// For this long after a refusal the probe asks for more room.
const NEAR_NS: u64 = 1_000_000_000;

/// How much, at most.
const NEAR_ROOM: u64 = 8;

/// The probe. Any real-time signal would do, but for the last: memcheck keeps
/// that for itself.
const PROBE: c_int = 63;

/// `siginfo_t` of a queued signal on LP64.
#[repr(C)]
struct QueuedInfo {
    signo: c_int,
    errno: c_int,
    code: c_int,
    _pad: c_int,
    pid: c_int,
    uid: u32,
    value: usize,
    _rest: [u64; 12],
}

const _: () = assert!(size_of::<QueuedInfo>() == size_of::<libc::siginfo_t>());

/// Whom the signals are from: this process, as its user of now.
#[derive(Clone, Copy)]
struct Sender {
    pid: c_int,
    uid: u32,
}

impl Sender {
    fn info(self, signo: c_int, value: usize) -> QueuedInfo {
        QueuedInfo {
            signo,
            errno: 0,
            code: libc::SI_ASYNCIO,
            _pad: 0,
            pid: self.pid,
            uid: self.uid,
            value,
            _rest: [0; 12],
        }
    }

    /// rt_sigqueueinfo: 0 or the errno.
    fn to_process(self, signo: c_int, value: usize) -> c_int {
        let info = self.info(signo, value);
        // SAFETY: `info` is a siginfo_t that lives through the call.
        sys::result(unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, self.pid, signo, &info) })
            .err()
            .unwrap_or(0)
    }

    /// rt_tgsigqueueinfo: 0 or the errno.
    fn to_thread(self, thread: c_int, signo: c_int, value: usize) -> c_int {
        let info = self.info(signo, value);
        let pid = self.pid;
        // SAFETY: as above.
        sys::result(unsafe {
            libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, thread, signo, &info)
        })
        .err()
        .unwrap_or(0)
    }

    /// Does the user's signal queue have room for `wanted` more? See the
    /// head of this file.
    fn has_room(self, wanted: u64) -> bool {
        // SAFETY: gettid has no preconditions.
        let own = unsafe { libc::syscall(libc::SYS_gettid) } as c_int;
        let mut taken = 0;
        let mut room = true;
        while taken < wanted {
            match self.to_thread(own, PROBE, 0) {
                0 => taken += 1,
                libc::EAGAIN => {
                    room = false;
                    break;
                }
                // A filter forbids the probe: nothing is known, nothing is
                // held.
                _ => break,
            }
        }
        let only: u64 = 1 << (PROBE - 1);
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let nowhere = std::ptr::null_mut::<c_void>();
        for _ in 0..taken {
            // SAFETY: set and time are valid for the call; no info is asked
            // for.
            unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &only, nowhere, &now, 8usize) };
        }
        room
    }
}

/// Is a signal pending for the process (or this thread, which gets none)?
fn is_pending(signo: c_int) -> bool {
    let mut pending = 0u64;
    // SAFETY: eight writable bytes, the size of the kernel's set.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &mut pending, 8usize) };
    pending & 1 << (signo - 1) != 0
}

/// May the program look at the value of this signal? Not with a handler that
/// gets no siginfo. Without a handler it may (sigwaitinfo, signalfd).
fn value_matters(signo: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the answer is written to a local.
    let action = unsafe {
        if libc::sigaction(signo, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return true;
        }
        action.assume_init()
    };
    let handled = action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN;
    !handled || action.sa_flags & libc::SA_SIGINFO != 0
}

/// Is this descriptor an eventfd, as far as can be seen without opening
/// anything? Files of the anonymous inode have no file type; of these only
/// an eventfd takes eight bytes.
pub(super) fn check_eventfd(descriptor: c_int) -> c_int {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: a writable struct stat.
    let mode = unsafe {
        if libc::fstat(descriptor, stat.as_mut_ptr()) != 0 {
            return libc::EBADF;
        }
        stat.assume_init().st_mode
    };
    if mode & libc::S_IFMT == 0 {
        0
    } else {
        libc::EINVAL
    }
}

/// Adds `count` to an eventfd if that cannot block: 0 or the errno.
fn add_to_eventfd(descriptor: c_int, count: u64) -> c_int {
    sys::files::add(descriptor, count).err().unwrap_or(0)
}

impl Notifier {
    /// [`World::deliver`](super::backlog::World::deliver).
    pub(super) fn hand_over(
        &self,
        claim: &Claim,
        entries: &[Option<Waiting>],
        done: &mut [Done],
    ) -> (usize, Option<Hold>) {
        if claim.id.is_eventfd() {
            return self.to_eventfd(entries, done);
        }
        let from = self.sender();
        let mut count = 0;
        for entry in entries.iter().flatten() {
            let notice = &entry.notice;
            let answer = if claim.id == LaneId::OWN_THREADS {
                self.to_own_thread(notice)
            } else if claim.id.is_gated() {
                self.standard(from, notice, claim)
            } else {
                self.queued(from, notice, claim)
            };
            match answer {
                Ok(how) => done[count] = how,
                Err(hold) => return (count, Some(hold)),
            }
            count += 1;
        }
        (count, None)
    }

    /// The user is asked for each batch: the program may change it.
    fn sender(&self) -> Sender {
        Sender {
            pid: self.pid(),
            // SAFETY: getuid has no preconditions.
            uid: unsafe { libc::getuid() },
        }
    }

    fn to_own_thread(&self, notice: &Notice) -> Result<Done, Hold> {
        self.start_own_thread(notice).map_err(Hold::Threads)?;
        self.muster.release();
        Ok(Done::Sent)
    }

    /// A standard signal to the process, when its turn has come.
    fn standard(&self, from: Sender, notice: &Notice, claim: &Claim) -> Result<Done, Hold> {
        if is_pending(notice.signo) {
            return Err(Hold::Pending);
        }
        if !value_matters(notice.signo) {
            return self.queued(from, notice, claim);
        }
        let _alone = self.turns.alone(self.processors()).ok_or(Hold::Busy)?;
        if !self.has_room(from) {
            return Err(Hold::SignalQueue);
        }
        self.send(from, notice, claim)
    }

    /// Has the queue room for a signal with its value?
    fn has_room(&self, from: Sender) -> bool {
        let now = sys::now_ns();
        let refused_at = self.refused_at.load(Ordering::Relaxed);
        let near = refused_at != 0 && now.saturating_sub(refused_at) < NEAR_NS;
        let wanted = if near {
            (signal_limit() / 4).clamp(1, NEAR_ROOM)
        } else {
            1
        };
        let room = from.has_room(wanted);
        if !room {
            self.refused_at.store(now, Ordering::Relaxed);
        }
        room
    }

    /// A signal whose value cannot be lost.
    fn queued(&self, from: Sender, notice: &Notice, claim: &Claim) -> Result<Done, Hold> {
        let _shared = self.turns.share().ok_or(Hold::Busy)?;
        self.send(from, notice, claim)
    }

    /// Sends a signal, with a turn.
    fn send(&self, from: Sender, notice: &Notice, claim: &Claim) -> Result<Done, Hold> {
        let thread = notice.target as c_int;
        let to_thread = notice.form == Form::ThreadSignal;
        let errno = if to_thread {
            from.to_thread(thread, notice.signo, notice.value)
        } else {
            from.to_process(notice.signo, notice.value)
        };
        match errno {
            0 => {
                self.plain.store(false, Ordering::Relaxed);
                return Ok(Done::Sent);
            }
            libc::EAGAIN => {
                self.refused_at.store(sys::now_ns(), Ordering::Relaxed);
                return Err(Hold::SignalQueue);
            }
            libc::ESRCH | libc::EINVAL if to_thread => return Ok(Done::Undeliverable),
            _ => {}
        }
        if claim.stuck_for < GIVE_UP_NS && !self.plain.load(Ordering::Relaxed) {
            return Err(Hold::Refused(errno));
        }
        // SAFETY: signals to this process; no memory is involved.
        let answer = unsafe {
            if to_thread {
                libc::syscall(libc::SYS_tgkill, from.pid, thread, notice.signo)
            } else {
                libc::syscall(libc::SYS_kill, from.pid, notice.signo)
            }
        };
        if answer != 0 {
            return Err(Hold::Refused(errno));
        }
        self.plain.store(true, Ordering::Relaxed);
        Ok(Done::WithoutValue)
    }

    fn to_eventfd(&self, entries: &[Option<Waiting>], done: &mut [Done]) -> (usize, Option<Hold>) {
        let Some(descriptor) = entries.iter().flatten().next().map(|e| e.notice.signo) else {
            return (0, None);
        };
        if check_eventfd(descriptor) != 0 {
            done.fill(Done::Undeliverable);
            return (entries.len(), None);
        }
        // SAFETY: fcntl(F_GETFL) only asks.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
        let may_block = flags < 0 || flags & libc::O_NONBLOCK == 0;
        if !may_block && add_to_eventfd(descriptor, entries.len() as u64) == 0 {
            done.fill(Done::Sent);
            return (entries.len(), None);
        }
        // Near its maximum, or where a write could block: one by one, and
        // only when there is room for one. (Blocking is left only if somebody
        // else fills the counter between the two calls.)
        for (count, how) in done.iter_mut().enumerate() {
            if !sys::files::has_room(descriptor) {
                return (count, Some(Hold::EventfdFull));
            }
            match add_to_eventfd(descriptor, 1) {
                0 => *how = Done::Sent,
                libc::EAGAIN | libc::EINTR => return (count, Some(Hold::EventfdFull)),
                _ => *how = Done::Undeliverable,
            }
        }
        (entries.len(), None)
    }
}
