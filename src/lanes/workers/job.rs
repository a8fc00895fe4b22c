//! One request as a worker carries it out: plain system calls.
//!
//! Who comes in: pool threads with [`Job::run`], the engine with [`try_now`]
//! for what cannot seek. What must hold: the caller has every signal blocked,
//! so no call is interrupted and SIGPIPE and SIGXFSZ stay with a thread of
//! the library, which ends without ever taking them.

use std::ffi::c_int;

use crate::abi::{Aiocb, TRANSFER_MAX};
use crate::request::{Kind, Outcome};
use crate::scheduler::Handle;
use crate::sys;

/// What a job does with its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A transfer at an offset.
    Positioned,
    /// A transfer on what cannot seek; may block; a write is made whole
    /// unless the descriptor is nonblocking.
    Stream { nonblocking: bool },
    /// fsync or fdatasync; with the error of an earlier write to report.
    Sync { carried: Option<c_int> },
}

/// A request on its way through the pool.
pub struct Job {
    pub handle: Handle,
    pub key: Key,
    pub cb: Aiocb,
    pub fildes: c_int,
    pub kind: Kind,
    pub work: Work,
    pub transfer: Progress,
    pub offset: i64,
    /// It waits for a local disk at most, and so ends by itself.
    pub brief: bool,
}

/// Where a job is found while it is queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Priority, then order of coming: less is served first.
    pub order: (u8, u32),
    /// The number of the file that it has to itself: the file system makes
    /// writes into the page cache of one file one after the other, so threads
    /// that meet at its lock gain nothing. 0: none.
    pub alone: u32,
}

/// What is to be transferred, and how much of it is.
#[derive(Clone, Copy)]
pub struct Progress {
    /// The buffer, or the array of iovecs.
    pub buffer: usize,
    /// Bytes, or the count of iovecs.
    pub length: usize,
    /// Bytes transferred so far (writes to what cannot seek).
    pub done: usize,
}

impl Job {
    /// Carries it out.
    pub fn run(&self) -> Outcome {
        match self.work {
            Work::Positioned => {
                match positioned(self.fildes, self.kind, &self.transfer, self.offset) {
                    // A regular file may have no positions, as in tracefs.
                    Err(libc::ESPIPE) => stream(self.fildes, self.kind, &self.transfer, 0),
                    outcome => outcome,
                }
            }
            Work::Sync { carried } => sync(self.fildes, self.kind, carried),
            Work::Stream { nonblocking } if nonblocking || self.kind.is_read() => {
                stream(self.fildes, self.kind, &self.transfer, 0)
            }
            Work::Stream { .. } => {
                let mut transfer = self.transfer;
                loop {
                    match stream(self.fildes, self.kind, &transfer, 0) {
                        Ok(bytes) => {
                            transfer.done += bytes;
                            if bytes == 0 || transfer.done >= whole(self.kind, &transfer)? {
                                return Ok(transfer.done);
                            }
                        }
                        // A blocking descriptor does not say so; should the
                        // program have made it nonblocking meanwhile:
                        Err(libc::EAGAIN) => wait_ready(self.fildes, libc::POLLOUT),
                        // What went out counts, as for write(2).
                        Err(_) if transfer.done > 0 => return Ok(transfer.done),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

fn wait_ready(fildes: c_int, events: i16) {
    let mut poll = libc::pollfd {
        fd: fildes,
        events,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::syscall(libc::SYS_poll, &mut poll, 1usize, -1i32) };
}

/// Is the descriptor ready for `events` now?
pub fn ready(fildes: c_int, events: i16) -> bool {
    let mut poll = libc::pollfd {
        fd: fildes,
        events,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::syscall(libc::SYS_poll, &mut poll, 1usize, 0i32) != 0 }
}

/// Is the descriptor a socket that will receive nothing more?
pub fn is_shut(fildes: c_int) -> bool {
    let mut poll = libc::pollfd {
        fd: fildes,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::syscall(libc::SYS_poll, &mut poll, 1usize, 0i32) };
    poll.revents & libc::POLLRDHUP != 0
}

fn sync(fildes: c_int, kind: Kind, carried: Option<c_int>) -> Outcome {
    let number = match kind {
        Kind::DataSync => libc::SYS_fdatasync,
        _ => libc::SYS_fsync,
    };
    // SAFETY: no pointers.
    let own = sys::result(unsafe { libc::syscall(number, fildes) });
    // The failed write of an earlier request is this request's error too.
    match carried {
        Some(error) => Err(error),
        None => own.map(|_| 0),
    }
}

/// One transfer at an offset. Raw calls: the C library's are cancellation
/// points and may be wrapped by others.
pub fn positioned(fildes: c_int, kind: Kind, transfer: &Progress, offset: i64) -> Outcome {
    positioned_with(fildes, kind, transfer, offset, 0)
}

/// The same with RWF_* flags.
pub fn positioned_with(
    fildes: c_int,
    kind: Kind,
    transfer: &Progress,
    offset: i64,
    flags: c_int,
) -> Outcome {
    let number = match (kind, flags) {
        (Kind::Read, 0) => libc::SYS_pread64,
        (Kind::Write, 0) => libc::SYS_pwrite64,
        (Kind::Read | Kind::ReadVector, _) => libc::SYS_preadv2,
        _ => libc::SYS_pwritev2,
    };
    // SAFETY: buffer, length and vector are the caller's of aio_read and
    // friends; the kernel checks them (EFAULT) and touches nothing else.
    sys::result(unsafe {
        if number == libc::SYS_pread64 || number == libc::SYS_pwrite64 {
            libc::syscall(
                number,
                fildes,
                transfer.buffer,
                // The kernel cuts it to MAX_RW_COUNT itself.
                transfer.length,
                offset,
            )
        } else if kind.is_vector() {
            libc::syscall(
                number,
                fildes,
                transfer.buffer,
                transfer.length,
                offset,
                offset >> 32,
                libc::c_long::from(flags),
            )
        } else {
            let vector = libc::iovec {
                iov_base: transfer.buffer as *mut libc::c_void,
                iov_len: transfer.length.min(TRANSFER_MAX),
            };
            libc::syscall(
                number,
                fildes,
                &vector,
                1usize,
                offset,
                offset >> 32,
                libc::c_long::from(flags),
            )
        }
    })
}

/// One transfer at the descriptor's own position, behind what is done.
fn stream(fildes: c_int, kind: Kind, transfer: &Progress, flags: c_int) -> Outcome {
    let number = if kind.is_read() {
        libc::SYS_preadv2
    } else {
        libc::SYS_pwritev2
    };
    let rest;
    let single;
    let (vector, count) = if !kind.is_vector() {
        let length = transfer.length.min(TRANSFER_MAX);
        single = libc::iovec {
            iov_base: (transfer.buffer + transfer.done) as *mut libc::c_void,
            iov_len: length - transfer.done.min(length),
        };
        (&raw const single, 1)
    } else if transfer.done == 0 {
        (transfer.buffer as *const libc::iovec, transfer.length)
    } else {
        rest = remaining(transfer);
        (rest.as_ptr(), rest.len())
    };
    if flags == 0 {
        if !kind.is_vector() {
            let plain = if kind.is_read() {
                libc::SYS_read
            } else {
                libc::SYS_write
            };
            let length = transfer.length - transfer.done.min(transfer.length);
            // SAFETY: as in `positioned`.
            return sys::result(unsafe {
                libc::syscall(plain, fildes, transfer.buffer + transfer.done, length)
            });
        }
        let plain = if kind.is_read() {
            libc::SYS_readv
        } else {
            libc::SYS_writev
        };
        // SAFETY: as in `positioned`; `vector` lives until after the call.
        return sys::result(unsafe { libc::syscall(plain, fildes, vector, count) });
    }
    // Offset -1: the current position, what a stream has instead of one.
    // SAFETY: as above.
    sys::result(unsafe {
        libc::syscall(
            number,
            fildes,
            vector,
            count,
            -1i64,
            -1i64,
            libc::c_long::from(flags),
        )
    })
}

/// The part of a caller's vector that is still to be transferred.
fn remaining(transfer: &Progress) -> Vec<libc::iovec> {
    let mut skip = transfer.done;
    let mut rest = Vec::new();
    for index in 0..transfer.length {
        // SAFETY: the kernel read this vector successfully in the first part
        // of the transfer; the caller leaves it alone while in progress.
        let mut part = unsafe { *(transfer.buffer as *const libc::iovec).add(index) };
        let skipped = skip.min(part.iov_len);
        skip -= skipped;
        part.iov_base = part.iov_base.wrapping_byte_add(skipped);
        part.iov_len -= skipped;
        if part.iov_len > 0 {
            rest.push(part);
        }
    }
    rest
}

/// The bytes of a whole transfer.
pub fn whole(kind: Kind, transfer: &Progress) -> Outcome {
    if !kind.is_vector() {
        return Ok(transfer.length.min(TRANSFER_MAX));
    }
    let mut sum = 0usize;
    for index in 0..transfer.length {
        // SAFETY: as in `remaining`: called after the kernel accepted it.
        sum += unsafe { (*(transfer.buffer as *const libc::iovec).add(index)).iov_len };
    }
    Ok(sum.min(TRANSFER_MAX))
}

/// Tries a transfer on a stream whose descriptor is nonblocking.
pub fn try_nonblocking(fildes: c_int, kind: Kind, transfer: &Progress) -> Outcome {
    stream(fildes, kind, transfer, 0)
}

/// Sends an empty datagram without waiting. Err(ENOTSOCK): no socket.
pub fn send_empty(fildes: c_int) -> Outcome {
    // SAFETY: nothing is read from the null pointer.
    sys::result(unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fildes,
            0usize,
            0usize,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            0usize,
            0usize,
        )
    })
}

/// Tries a transfer on a stream without waiting.
///
/// Err(EAGAIN): nothing to do now. Err(EOPNOTSUPP): this file cannot be
/// asked that way (terminals); it must be polled and then used plainly.
pub fn try_now(fildes: c_int, kind: Kind, transfer: &Progress) -> Outcome {
    stream(fildes, kind, transfer, libc::RWF_NOWAIT)
}

#[cfg(all(test, not(loom)))]
pub mod tests {
    use super::*;
    use crate::abi::aiocb;

    /// A job that nobody runs.
    pub fn job(order: (u8, u32), alone: u32) -> Job {
        // SAFETY: a control block is plain data.
        let cb: &aiocb = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        Job {
            handle: Handle::from_u32(order.1),
            key: Key { order, alone },
            cb: Aiocb::new(cb).unwrap(),
            fildes: -1,
            kind: Kind::Write,
            work: Work::Positioned,
            transfer: Progress {
                buffer: 0,
                length: 0,
                done: 0,
            },
            offset: 0,
            brief: true,
        }
    }
}
