//! Names of lanes.

use libc::c_int;

/// Lanes that always exist: callbacks, signals 1 to 64, own threads.
pub(super) const FIXED: usize = 66;

/// Names a lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct LaneId(u64);

impl LaneId {
    /// Callbacks for the cached threads; emptied by those.
    pub const CALLBACKS: LaneId = LaneId(0);
    /// Callbacks that get a thread of their own.
    pub const OWN_THREADS: LaneId = LaneId(65);

    pub fn signal(signo: c_int) -> Self {
        LaneId(signo as u64)
    }

    pub fn eventfd(descriptor: c_int) -> Self {
        LaneId(1 << 62 | descriptor as u64)
    }

    pub fn thread_signal(thread: c_int, signo: c_int) -> Self {
        LaneId(1 << 63 | (thread as u64) << 8 | signo as u64)
    }

    /// A standard signal to the process: one may be pending at a time.
    pub fn is_gated(self) -> bool {
        (1..=31).contains(&self.0)
    }

    pub fn is_eventfd(self) -> bool {
        self.0 >> 62 == 1
    }

    /// The index of a lane that always exists.
    pub fn index(self) -> Option<usize> {
        (self.0 < FIXED as u64).then_some(self.0 as usize)
    }

    /// The name of the lane that always exists at an index.
    pub fn at(index: usize) -> Self {
        LaneId(index as u64)
    }

    /// A bit for a signal to the process; none for other lanes.
    pub fn signal_bit(self) -> u64 {
        match self.0 {
            1..=64 => 1 << (self.0 - 1),
            _ => 0,
        }
    }
}
