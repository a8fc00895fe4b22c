//! The ring lane: transfers, fsync, readiness and the engine's sleep on one
//! io_uring instance.
//!
//! Who comes in: only the engine thread. What must hold: no application
//! thread ever enters the ring; each entry carries in its user data what it
//! is ([`Token`]); and the number in flight stays below what the completion
//! queue holds.

mod memory;

use std::ffi::c_int;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use crate::abi::TRANSFER_MAX;
use crate::config::Without;
use crate::lanes::workers::{Progress, Way};
use crate::own_descriptors;
use crate::perturb;
use crate::request::Kind;
use crate::scheduler::Handle;
use crate::sys;
use crate::wakeup::Wakeup;

use memory::Memory;

/// Transfers in flight at once. What exceeds it waits where it can still be
/// overtaken and cancelled; devices queue less than this.
const IN_FLIGHT: usize = perturb::bound(512, 3);
/// How much later than asked for a sleep may end, in nanoseconds.
const SLACK: u64 = 500_000;

/// A time limit that is over when it begins.
static NO_TIME: types::Timespec = types::Timespec::new();

/// What an entry is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// A request of the scheduler.
    Request(Handle),
    /// Readiness of a watched stream.
    Ready(u32),
    /// The wake-up of the engine.
    Wake,
    /// A time limit.
    Timeout,
    /// Nothing that matters (the end of a removed poll).
    Nothing,
}

impl Token {
    fn encode(self) -> u64 {
        match self {
            Token::Request(handle) => u64::from(handle.as_u32()),
            Token::Ready(watch) => 1 << 32 | u64::from(watch),
            Token::Wake => 2 << 32,
            Token::Timeout => 3 << 32,
            Token::Nothing => 4 << 32,
        }
    }

    fn decode(word: u64) -> Token {
        match word >> 32 {
            0 => Token::Request(Handle::from_u32(word as u32)),
            1 => Token::Ready(word as u32),
            2 => Token::Wake,
            3 => Token::Timeout,
            _ => Token::Nothing,
        }
    }
}

/// How the engine is woken while it waits in the ring.
enum Alarm {
    /// IORING_OP_FUTEX_WAIT on the wake-up's word.
    Futex,
    /// A read of an eventfd, with the place it reads into.
    Eventfd { fildes: c_int, counter: Box<u64> },
}

/// Whether the alarm is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Armed {
    No,
    /// It ends a sleep that waits for one completion, being one.
    Once,
    /// It ends any sleep.
    Always,
}

/// The lane.
pub struct Ring {
    memory: Memory,
    alarm: Alarm,
    armed: Armed,
    /// Time limits in the ring, of kernels that know no other kind: one, or
    /// two while one of them is being taken back.
    timeouts: u32,
    /// When the newest of them ends.
    timeout_at: u64,
    timeout: Box<types::Timespec>,
    in_flight: usize,
}

impl Ring {
    /// Sets the ring up, in the thread that will use it. Err: the errno.
    /// `enters` counts its system calls.
    pub fn new(
        without: &Without,
        wakeup: &Wakeup,
        enters: &'static AtomicU64,
    ) -> Result<Ring, c_int> {
        let memory = Memory::new(without, enters)?;
        let alarm = if memory.knows(opcode::FutexWait::CODE) && !without.futex_wait {
            wakeup.set_eventfd(None);
            Alarm::Futex
        } else {
            // SAFETY: plain arguments.
            let fildes = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
            if fildes < 0 {
                return Err(sys::errno());
            }
            let fildes = own_descriptors::adopt(fildes)?;
            wakeup.set_eventfd(Some(fildes));
            Alarm::Eventfd {
                fildes,
                counter: Box::new(0),
            }
        };
        Ok(Ring {
            memory,
            alarm,
            armed: Armed::No,
            timeouts: 0,
            timeout_at: 0,
            timeout: Box::new(types::Timespec::new()),
            in_flight: 0,
        })
    }

    /// In words, for the verbose line: what this ring can and how it wakes.
    pub fn describe(&self) -> [&'static str; 3] {
        [
            if self.memory.deferred {
                "defer_taskrun"
            } else {
                "plain ring"
            },
            match self.alarm {
                Alarm::Futex => "futex_wait",
                Alarm::Eventfd { .. } => "eventfd",
            },
            if self.memory.is_hidden() {
                "registered_ring"
            } else {
                "visible ring"
            },
        ]
    }

    /// May another transfer be started?
    pub fn has_room(&self) -> bool {
        self.in_flight < IN_FLIGHT
    }

    /// Entries not handed over yet.
    pub fn unsubmitted(&self) -> u32 {
        self.memory.unsubmitted()
    }

    /// Queues an entry, handing earlier ones over when the queue is full.
    ///
    /// # Safety
    /// As for `Memory::push`.
    unsafe fn push(&mut self, entry: Entry, token: Token) -> Result<(), c_int> {
        while !self.memory.has_room() {
            self.memory.enter(0, None)?;
        }
        // SAFETY: there is room; the rest by contract.
        unsafe { self.memory.push(entry.user_data(token.encode())) };
        Ok(())
    }

    /// Starts a transfer at an offset, or a sync.
    ///
    /// # Safety
    /// Buffer or vector are the caller's of aio_read and friends and stay
    /// valid while the request is in progress.
    pub unsafe fn start(
        &mut self,
        handle: Handle,
        fildes: c_int,
        kind: Kind,
        transfer: &Progress,
        offset: i64,
    ) -> Result<(), c_int> {
        let target = types::Fd(fildes);
        let length = transfer.length.min(TRANSFER_MAX) as u32;
        let buffer = transfer.buffer;
        let offset = offset as u64;
        let entry = match kind {
            Kind::Read => opcode::Read::new(target, buffer as *mut u8, length)
                .offset(offset)
                .build(),
            Kind::Write => opcode::Write::new(target, buffer as *const u8, length)
                .offset(offset)
                .build(),
            Kind::ReadVector => {
                opcode::Readv::new(target, buffer as *const libc::iovec, transfer.length as u32)
                    .offset(offset)
                    .build()
            }
            Kind::WriteVector => {
                opcode::Writev::new(target, buffer as *const libc::iovec, transfer.length as u32)
                    .offset(offset)
                    .build()
            }
            Kind::Sync => opcode::Fsync::new(target).build(),
            Kind::DataSync => opcode::Fsync::new(target)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
        };
        // SAFETY: by contract.
        unsafe { self.push(entry, Token::Request(handle)) }?;
        self.in_flight += 1;
        Ok(())
    }

    /// Asks to be told when a stream is ready.
    pub fn watch(&mut self, watch: u32, fildes: c_int, way: Way) -> Result<(), c_int> {
        let entry = opcode::PollAdd::new(types::Fd(fildes), way.poll_events() as u32).build();
        // SAFETY: no pointers.
        unsafe { self.push(entry, Token::Ready(watch)) }
    }

    /// Takes that back; a completion may still come and means nothing.
    pub fn unwatch(&mut self, watch: u32) -> Result<(), c_int> {
        let entry = opcode::PollRemove::new(Token::Ready(watch).encode()).build();
        // SAFETY: no pointers.
        unsafe { self.push(entry, Token::Nothing) }
    }

    /// Transfers handed over, or queued to be.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Hands over what is queued, and lets completions come in.
    pub fn submit(&mut self) -> Result<(), c_int> {
        self.memory.enter(0, None)
    }

    /// Sleeps until a completion, or a wake after `sample` was taken, or
    /// `limit`.
    pub fn sleep(
        &mut self,
        wakeup: &Wakeup,
        sample: u32,
        limit: Option<Duration>,
    ) -> Result<(), c_int> {
        if self.armed == Armed::No {
            let alarm = self.alarm(wakeup, sample);
            // SAFETY: the word is in the runtime, the counter in a box of
            // ours that lives until the ring is gone.
            unsafe { self.push(alarm, Token::Wake) }?;
            self.armed = Armed::Once;
        }
        if let Some(limit) = limit
            && !self.memory.ext_arg
        {
            self.limit(limit)?;
        }
        self.memory.enter(1, limit)
    }

    /// Sleeps until all transfers in flight are complete, or a wake after
    /// `sample` was taken, or `limit`; where the kernel cannot do that, until
    /// one is complete.
    ///
    /// A wake is one completion, and does not end a sleep that waits for more.
    /// So the alarm has a time limit of no time linked behind it, and the end
    /// of a time limit ends any sleep (`cq_timeouts` in the kernel).
    pub fn sleep_for_all(
        &mut self,
        wakeup: &Wakeup,
        sample: u32,
        limit: Duration,
    ) -> Result<(), c_int> {
        if self.armed == Armed::No && matches!(self.alarm, Alarm::Futex) && self.memory.ext_arg {
            // Both in one submission, or the link would end between them.
            while self.memory.room() < 2 {
                self.memory.enter(0, None)?;
            }
            let alarm = self.alarm(wakeup, sample).flags(Flags::IO_HARDLINK);
            let at_once = opcode::Timeout::new(&raw const NO_TIME).build();
            // SAFETY: as in `sleep`; and a static.
            unsafe {
                self.push(alarm, Token::Wake)?;
                self.push(at_once, Token::Nothing)?;
            }
            self.armed = Armed::Always;
        }
        if self.armed != Armed::Always {
            return self.sleep(wakeup, sample, None);
        }
        self.memory.enter(self.in_flight as u32, Some(limit))
    }

    /// The entry that completes when the engine is woken.
    fn alarm(&mut self, wakeup: &Wakeup, sample: u32) -> Entry {
        match &mut self.alarm {
            Alarm::Futex => {
                const FUTEX2_SIZE_U32: u32 = 2;
                const FUTEX2_PRIVATE: u32 = 128;
                opcode::FutexWait::new(
                    wakeup.word().as_ptr(),
                    u64::from(sample),
                    u64::from(u32::MAX),
                    FUTEX2_SIZE_U32 | FUTEX2_PRIVATE,
                )
                .build()
            }
            Alarm::Eventfd { fildes, counter } => {
                opcode::Read::new(types::Fd(*fildes), (&raw mut **counter).cast(), 8).build()
            }
        }
    }

    /// Lets a time limit end the sleep that follows, unless one that was
    /// there already ends it no later.
    fn limit(&mut self, limit: Duration) -> Result<(), c_int> {
        let at = sys::now_ns() + limit.as_nanos() as u64;
        if self.timeouts > 0 {
            if self.timeout_at <= at + SLACK {
                return Ok(());
            }
            let entry = opcode::TimeoutRemove::new(Token::Timeout.encode()).build();
            // SAFETY: no pointers.
            unsafe { self.push(entry, Token::Nothing) }?;
        }
        *self.timeout = types::Timespec::new()
            .sec(limit.as_secs())
            .nsec(limit.subsec_nanos());
        let entry = opcode::Timeout::new(&raw const *self.timeout).build();
        // SAFETY: the timespec is in a box of ours, and read when the entry
        // is handed over, before it is changed again.
        unsafe { self.push(entry, Token::Timeout) }?;
        self.timeouts += 1;
        self.timeout_at = at;
        Ok(())
    }

    /// Completions that lie ready.
    pub fn ready(&self) -> bool {
        self.memory.ready() > 0
    }

    /// The next completion.
    pub fn pop(&mut self) -> Option<(Token, i32)> {
        let completion = self.memory.pop()?;
        let token = Token::decode(completion.user_data);
        match token {
            Token::Request(_) => self.in_flight -= 1,
            Token::Wake => self.armed = Armed::No,
            Token::Timeout => self.timeouts -= 1,
            _ => {}
        }
        Some((token, completion.result))
    }

    /// The thread that used the ring has ended, and the instance with it:
    /// only the memory is given back.
    pub fn abandon(mut self) {
        self.memory.abandon();
    }

    /// The requests among the entries that were never handed over.
    pub fn take_back(&mut self) -> Vec<Handle> {
        let back: Vec<Handle> = self
            .memory
            .take_back()
            .into_iter()
            .filter_map(|word| match Token::decode(word) {
                Token::Request(handle) => Some(handle),
                _ => None,
            })
            .collect();
        self.in_flight -= back.len();
        back
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Alarm::Eventfd { fildes, .. } = self.alarm {
            own_descriptors::release(fildes);
        }
    }
}
