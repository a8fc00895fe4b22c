//! What the caller says about a request, and how a request is named.
//!
//! In: nothing. Out: plain values, copied everywhere. What must hold: the byte
//! range of an operation is the same at submission, at every later question
//! and at the end, because the extents are found again by it.

/// Names a request that has been submitted and has not ended.
///
/// It is the index of the request's slot: the number is used again for a
/// later request once this one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub(super) u32);

impl Handle {
    /// The index, for instance to travel in the user data of a ring.
    #[inline]
    pub fn as_u32(self) -> u32 {
        self.0
    }

    /// The handle whose [`Handle::as_u32`] gave `index`.
    #[inline]
    pub fn from_u32(index: u32) -> Self {
        Handle(index)
    }
}

/// Names one direction of something that cannot seek, while requests of it
/// live. A number is not given again before four thousand million others were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u32);

impl StreamId {
    /// The number, for instance to travel in the user data of a poll.
    #[inline]
    pub fn as_u32(self) -> u32 {
        self.0
    }
}

/// Which file a request is for. Requests with the same key share a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKey {
    /// A file that two descriptors may share.
    Inode {
        /// `st_dev`
        dev: u64,
        /// `st_ino`
        ino: u64,
    },
    /// Something known by its descriptor number only. After
    /// [`detach`](super::Scheduler::detach) the same number is another file.
    Descriptor(i32),
}

/// Which order the requests of a seekable file keep (`AIO_SHIM_ORDER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Call order only where byte ranges overlap and one request writes.
    Posix,
    /// One request at a time for each descriptor number, as glibc does it.
    PerDescriptor,
}

/// A direction of something that cannot seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the program.
    Read,
    /// Away from the program.
    Write,
}

/// What a request does, as far as order is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads `len` bytes from `start` of a file that seeks.
    Read {
        /// First byte.
        start: u64,
        /// Count of bytes; 0 overlaps nothing.
        len: u64,
    },
    /// Writes `len` bytes at `start` of a file that seeks.
    Write {
        /// First byte.
        start: u64,
        /// Count of bytes; 0 overlaps nothing.
        len: u64,
    },
    /// A write somewhere behind `from` (O_APPEND). Appends overlap each other.
    Append {
        /// The size of the file, or anything below it.
        from: u64,
    },
    /// Waits for the earlier writes of the file (`aio_fsync`).
    Sync,
    /// Reads from, or writes to, what cannot seek.
    Stream(Direction),
    /// Keeps no order with anything.
    Free,
}

impl Operation {
    /// The bytes `[start, end)` of a file that seeks which the operation
    /// touches, and whether it writes them. `None` when it touches none. File
    /// offsets end at `i64::MAX`, so an end may be cut to `u64::MAX`.
    #[inline]
    pub(super) fn extent(&self) -> Option<(u64, u64, bool)> {
        let (start, end, writes) = match *self {
            Operation::Read { start, len } => (start, start.saturating_add(len), false),
            Operation::Write { start, len } => (start, start.saturating_add(len), true),
            // Never empty, so that appends overlap each other whatever `from`.
            Operation::Append { from } => (from.min(u64::MAX - 1), u64::MAX, true),
            _ => return None,
        };
        (start < end).then_some((start, end, writes))
    }

    /// Whether an `aio_fsync` submitted later waits for this one.
    #[inline]
    pub fn writes_file(&self) -> bool {
        matches!(self, Operation::Write { .. } | Operation::Append { .. })
    }

    /// Whether it is for a file that seeks.
    #[inline]
    pub(super) fn seeks(&self) -> bool {
        !matches!(self, Operation::Stream(_) | Operation::Free)
    }
}

/// What [`submit`](super::Scheduler::submit) is told of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The file. Not looked at for [`Operation::Free`].
    pub file: FileKey,
    /// The descriptor number the program named.
    pub descriptor: i32,
    /// What it does.
    pub operation: Operation,
    /// `aio_reqprio`: 0 is best, 20 the last (more is taken as 20).
    pub priority: u8,
}

/// Where a live request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for another request.
    Held,
    /// May start; [`next_ready`](super::Scheduler::next_ready) will give it.
    Ready,
    /// Was started, found nothing to do, and waits for its stream.
    Parked,
    /// Was given out and has not come back.
    Running,
}
