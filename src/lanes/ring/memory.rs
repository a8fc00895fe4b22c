//! An io_uring instance: its set-up, its shared memory, its system call.
//!
//! The crate `io-uring` gives the operations ([`io_uring::opcode`]); the
//! instance is our own because of what a library in a foreign process needs:
//! its descriptor is registered and then closed, so that nothing lies in the
//! program's descriptor table, and the shared memory is not inherited by
//! children. What must hold: only the thread that made the instance uses it
//! (Linux signals every task that ever touched a ring).

use std::ffi::c_int;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use io_uring::squeue::Entry;

use crate::config::Without;
use crate::own_descriptors;
use crate::perturb;
use crate::sys;

/// Submission entries. Small enough for a low RLIMIT_MEMLOCK.
const ENTRIES: u32 = perturb::bound(256, 4) as u32;
/// Completion entries: what may be in flight, polls included.
const COMPLETIONS: u32 = 2048;

// include/uapi/linux/io_uring.h
const SETUP_CQSIZE: u32 = 1 << 3;
const SETUP_CLAMP: u32 = 1 << 4;
const SETUP_SUBMIT_ALL: u32 = 1 << 7;
const SETUP_COOP_TASKRUN: u32 = 1 << 8;
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
const FEAT_SINGLE_MMAP: u32 = 1 << 0;
const FEAT_NODROP: u32 = 1 << 1;
const FEAT_EXT_ARG: u32 = 1 << 8;
const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_PROBE: u32 = 8;
const REGISTER_RING_FDS: u32 = 20;
const OFFSET_SQ_RING: i64 = 0;
const OFFSET_SQES: i64 = 0x1000_0000;

#[repr(C)]
#[derive(Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    resv1: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    resv1: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq_off: SqOffsets,
    cq_off: CqOffsets,
}

const _: () = assert!(size_of::<Params>() == 120);
const _: () = assert!(size_of::<Entry>() == 64);

#[repr(C)]
#[derive(Clone, Copy)]
struct RawCompletion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// A completion: what was given with the entry, and the result.
#[derive(Clone, Copy)]
pub struct Completion {
    pub user_data: u64,
    pub result: i32,
}

struct Mapping {
    at: *mut u8,
    length: usize,
}

impl Mapping {
    fn new(fildes: c_int, length: usize, offset: i64) -> Result<Mapping, c_int> {
        // SAFETY: a mapping at an address of the kernel's choice.
        let at = unsafe {
            libc::mmap(
                null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fildes,
                offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(sys::errno());
        }
        // A child must not see it: its use would show up in the parent.
        // SAFETY: the range was just mapped.
        unsafe { libc::madvise(at, length, libc::MADV_DONTFORK) };
        Ok(Mapping {
            at: at.cast(),
            length,
        })
    }

    fn word(&self, offset: u32) -> *const AtomicU32 {
        self.at.wrapping_add(offset as usize).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no pointer into it outlives the ring.
        unsafe { libc::munmap(self.at.cast(), self.length) };
    }
}

/// The instance.
pub struct Memory {
    /// Keeps the words mapped that the pointers below lead to.
    _ring: Mapping,
    entries: Mapping,
    sq_head: *const AtomicU32,
    sq_tail: *const AtomicU32,
    sq_mask: u32,
    sq_size: u32,
    sq_array: *mut u32,
    cq_head: *const AtomicU32,
    cq_tail: *const AtomicU32,
    cq_mask: u32,
    cqes: *const RawCompletion,
    /// Our tail, published when entering.
    tail: u32,
    /// Entries the kernel has not consumed.
    unsubmitted: u32,
    enter: c_int,
    enter_flags: u32,
    visible: bool,
    abandoned: bool,
    pub ext_arg: bool,
    pub deferred: bool,
    /// Operations the kernel knows, a bit each.
    operations: u128,
    /// Counts the system calls made.
    enters: &'static AtomicU64,
    timeout: Box<libc::timespec>,
}

// SAFETY: the pointers are into mappings the value owns. It is sent only when
// its thread has ended and the new owner merely reads completions.
unsafe impl Send for Memory {}

impl Memory {
    /// Sets an instance up. Err: the errno of the refusal.
    pub fn new(without: &Without, enters: &'static AtomicU64) -> Result<Memory, c_int> {
        if without.io_uring {
            return Err(libc::ENOSYS);
        }
        let base = SETUP_CQSIZE | SETUP_CLAMP;
        let mut wanted = Vec::with_capacity(4);
        if !without.single_issuer && !without.defer_taskrun {
            wanted.push(base | SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN);
        }
        if !without.single_issuer {
            wanted.push(base | SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN | SETUP_SINGLE_ISSUER);
        }
        wanted.push(base | SETUP_SUBMIT_ALL);
        wanted.push(base);
        let mut refusal = libc::EINVAL;
        for flags in wanted {
            let mut params = Params {
                flags,
                cq_entries: COMPLETIONS,
                ..Params::default()
            };
            // SAFETY: `params` is a struct io_uring_params.
            let answer = sys::result(unsafe {
                libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params)
            });
            match answer {
                Ok(fildes) => return Self::map(fildes as c_int, &params, without, enters),
                // A flag this kernel does not know: try a plainer form.
                Err(libc::EINVAL) => refusal = libc::EINVAL,
                Err(error) => return Err(error),
            }
        }
        Err(refusal)
    }

    fn map(
        fildes: c_int,
        params: &Params,
        without: &Without,
        enters: &'static AtomicU64,
    ) -> Result<Memory, c_int> {
        if params.features & FEAT_SINGLE_MMAP == 0 || params.features & FEAT_NODROP == 0 {
            // Before Linux 5.5: completions could be dropped.
            sys::files::close(fildes);
            return Err(libc::ENOSYS);
        }
        let length = (params.sq_off.array as usize + params.sq_entries as usize * 4).max(
            params.cq_off.cqes as usize + params.cq_entries as usize * size_of::<RawCompletion>(),
        );
        let mapped = Mapping::new(fildes, length, OFFSET_SQ_RING).and_then(|ring| {
            Mapping::new(fildes, params.sq_entries as usize * 64, OFFSET_SQES)
                .map(|entries| (ring, entries))
        });
        let (ring, entries) = match mapped {
            Ok(mapped) => mapped,
            Err(error) => {
                sys::files::close(fildes);
                return Err(error);
            }
        };
        let operations = probe(fildes);
        let (enter, enter_flags, visible) = match register(fildes, without) {
            Some(index) => {
                sys::files::close(fildes);
                (index, ENTER_REGISTERED_RING, false)
            }
            None => match own_descriptors::adopt(fildes) {
                Ok(high) => (high, 0, true),
                Err(error) => return Err(error),
            },
        };
        // SAFETY: the kernel's offsets lie in the mapping.
        let value = |offset: u32| unsafe { (*ring.word(offset)).load(Ordering::Relaxed) };
        let memory = Memory {
            sq_head: ring.word(params.sq_off.head),
            sq_tail: ring.word(params.sq_off.tail),
            sq_mask: value(params.sq_off.ring_mask),
            sq_size: params.sq_entries,
            sq_array: ring.word(params.sq_off.array).cast_mut().cast(),
            cq_head: ring.word(params.cq_off.head),
            cq_tail: ring.word(params.cq_off.tail),
            cq_mask: value(params.cq_off.ring_mask),
            cqes: ring.word(params.cq_off.cqes).cast(),
            tail: value(params.sq_off.tail),
            unsubmitted: 0,
            enter,
            enter_flags,
            visible,
            abandoned: false,
            ext_arg: params.features & FEAT_EXT_ARG != 0 && !without.ext_arg,
            deferred: params.flags & SETUP_DEFER_TASKRUN != 0,
            operations,
            enters,
            timeout: Box::new(libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
            _ring: ring,
            entries,
        };
        Ok(memory)
    }

    /// Does the kernel know operation `code`? Unknown when it cannot be asked.
    pub fn knows(&self, code: u8) -> bool {
        self.operations & (1 << code) != 0
    }

    /// Is the ring in nobody's descriptor table?
    pub fn is_hidden(&self) -> bool {
        !self.visible
    }

    /// How many more entries fit without a system call.
    pub fn room(&self) -> u32 {
        // SAFETY: `sq_head` points into the mapping.
        let head = unsafe { (*self.sq_head).load(Ordering::Acquire) };
        self.sq_size - self.tail.wrapping_sub(head)
    }

    /// Room for one more?
    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Entries the kernel has not got yet.
    pub fn unsubmitted(&self) -> u32 {
        self.unsubmitted
    }

    /// Queues an entry; there must be room.
    ///
    /// # Safety
    /// What the entry points to stays valid until its completion.
    pub unsafe fn push(&mut self, entry: Entry) {
        debug_assert!(self.has_room());
        let index = self.tail & self.sq_mask;
        // SAFETY: index <= mask, and the kernel has consumed this slot.
        unsafe {
            self.entries
                .at
                .add(index as usize * 64)
                .cast::<Entry>()
                .write(entry);
            self.sq_array.add(index as usize).write(index);
        }
        self.tail = self.tail.wrapping_add(1);
        self.unsubmitted += 1;
        // Release: the kernel that sees the tail sees the entry.
        // SAFETY: `sq_tail` points into the mapping; only we write it.
        unsafe { (*self.sq_tail).store(self.tail, Ordering::Release) };
    }

    /// Hands the entries over and lets completions come in; waits for so many
    /// as `wait`, at most `limit` (if the kernel can).
    ///
    /// Ok also when nothing happened. Err: the ring is refused or lost.
    pub fn enter(&mut self, wait: u32, limit: Option<Duration>) -> Result<(), c_int> {
        #[repr(C)]
        struct Argument {
            sigmask: u64,
            sigmask_size: u32,
            min_wait_usec: u32,
            timeout: u64,
        }
        let mut flags = self.enter_flags;
        // With DEFER_TASKRUN completions appear only when asked for.
        if wait > 0 || self.deferred {
            flags |= ENTER_GETEVENTS;
        }
        let mut argument = Argument {
            sigmask: 0,
            sigmask_size: 8,
            min_wait_usec: 0,
            timeout: 0,
        };
        let (pointer, size) = match limit {
            Some(limit) if wait > 0 && self.ext_arg => {
                *self.timeout = sys::timespec(limit);
                argument.timeout = &raw const *self.timeout as u64;
                flags |= ENTER_EXT_ARG;
                (&raw const argument, size_of::<Argument>())
            }
            _ => (ptr::null(), 0),
        };
        self.enters.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the argument, if any, is valid for the call; what the
        // entries point to is the contract of `push`.
        let answer = sys::result(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter,
                self.unsubmitted,
                wait,
                flags,
                pointer,
                size,
            )
        });
        match answer {
            Ok(submitted) => {
                self.unsubmitted -= (submitted as u32).min(self.unsubmitted);
                Ok(())
            }
            // Over in time, a signal of the C library, or the kernel wants
            // completions reaped first: all to be tried again.
            Err(libc::ETIME | libc::EINTR) => {
                self.recount();
                Ok(())
            }
            Err(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {
                self.recount();
                if self.ready() == 0 {
                    // Nothing to reap that would help: give way a moment.
                    sys::sleep(Duration::from_micros(50));
                }
                Ok(())
            }
            Err(error) => {
                self.recount();
                Err(error)
            }
        }
    }

    fn recount(&mut self) {
        // SAFETY: `sq_head` points into the mapping.
        let head = unsafe { (*self.sq_head).load(Ordering::Acquire) };
        self.unsubmitted = self.tail.wrapping_sub(head);
    }

    /// Completions that lie ready.
    pub fn ready(&self) -> u32 {
        // Acquire: what the kernel wrote before the tail.
        // SAFETY: both point into the mapping.
        unsafe {
            (*self.cq_tail)
                .load(Ordering::Acquire)
                .wrapping_sub((*self.cq_head).load(Ordering::Relaxed))
        }
    }

    /// Takes the next completion.
    pub fn pop(&mut self) -> Option<Completion> {
        // SAFETY: the words point into the mapping; between head and tail
        // the kernel leaves the slots alone.
        unsafe {
            let head = (*self.cq_head).load(Ordering::Relaxed);
            if head == (*self.cq_tail).load(Ordering::Acquire) {
                return None;
            }
            let raw = self.cqes.add((head & self.cq_mask) as usize).read();
            // Release: the slot was read before the kernel may reuse it.
            (*self.cq_head).store(head.wrapping_add(1), Ordering::Release);
            Some(Completion {
                user_data: raw.user_data,
                result: raw.result,
            })
        }
    }

    /// The owning thread is gone, and its registration with it.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// The entries that were never handed over, taken back: their user data.
    pub fn take_back(&mut self) -> Vec<u64> {
        self.recount();
        let head = self.tail.wrapping_sub(self.unsubmitted);
        let back = (0..self.unsubmitted)
            .map(|step| {
                let index = head.wrapping_add(step) & self.sq_mask;
                // SAFETY: a slot we wrote; user_data lies at 32 in an entry.
                unsafe {
                    self.entries
                        .at
                        .add(index as usize * 64 + 32)
                        .cast::<u64>()
                        .read()
                }
            })
            .collect();
        self.unsubmitted = 0;
        back
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A registered ring goes with its thread; a visible one is ours.
        if self.visible {
            own_descriptors::release(self.enter);
        } else if !self.abandoned {
            unregister(self.enter);
        }
    }
}

#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// Registers the ring with the calling thread; its index there.
fn register(fildes: c_int, without: &Without) -> Option<c_int> {
    if without.registered_ring {
        return None;
    }
    let mut update = RingUpdate {
        offset: u32::MAX,
        reserved: 0,
        data: fildes as u64,
    };
    // SAFETY: one struct io_uring_rsrc_update.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fildes,
            REGISTER_RING_FDS,
            &raw mut update,
            1u32,
        )
    };
    (answer == 1).then_some(update.offset as c_int)
}

/// Gives the registered ring up: the instance ends when nothing uses it.
fn unregister(index: c_int) {
    const UNREGISTER_RING_FDS: u32 = 21;
    const USE_REGISTERED_RING: u32 = 1 << 31;
    let mut update = RingUpdate {
        offset: index as u32,
        reserved: 0,
        data: 0,
    };
    // SAFETY: one struct io_uring_rsrc_update. A refusal is harmless: the
    // kernel drops the registration when the thread ends.
    unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            index,
            UNREGISTER_RING_FDS | USE_REGISTERED_RING,
            &raw mut update,
            1u32,
        )
    };
}

/// The operations the kernel knows.
fn probe(fildes: c_int) -> u128 {
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Op {
        op: u8,
        resv: u8,
        flags: u16,
        resv2: u32,
    }
    #[repr(C)]
    struct Probe {
        last_op: u8,
        ops_len: u8,
        resv: u16,
        resv2: [u32; 3],
        ops: [Op; 128],
    }
    const SUPPORTED: u16 = 1;
    let mut probe = Probe {
        last_op: 0,
        ops_len: 0,
        resv: 0,
        resv2: [0; 3],
        ops: [Op::default(); 128],
    };
    // SAFETY: a struct io_uring_probe with room for 128 operations.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fildes,
            REGISTER_PROBE,
            &raw mut probe,
            128u32,
        )
    };
    if answer < 0 {
        return 0;
    }
    probe
        .ops
        .iter()
        .take(usize::from(probe.ops_len))
        .filter(|op| op.flags & SUPPORTED != 0)
        .fold(0, |known, op| known | 1 << op.op)
}
