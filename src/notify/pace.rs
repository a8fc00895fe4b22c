//! How long to wait before a lane is tried again.
//!
//! Nothing tells when the kernel has room for a signal again, or when a
//! pending one was taken, so the notifier looks. It looks again after an
//! eighth of the time it has waited so far, within bounds: early while the
//! program is at it (a handler that runs for microseconds is answered in
//! microseconds), seldom when it has the signal blocked for good. A pending
//! standard signal is looked at a few times without any pause first: its
//! handler is probably running, and the notifier only gives the processor
//! away between the looks.

/// Why the front of a lane could not be handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// The last standard signal of this number is still pending.
    Pending,
    /// Another thread of the library is sending, and this would disturb it.
    Busy,
    /// RLIMIT_SIGPENDING.
    SignalQueue,
    /// No thread can be made for a callback (the errno).
    Threads(i32),
    /// The eventfd's counter is at its maximum.
    EventfdFull,
    /// The kernel refuses queued signals with another errno.
    Refused(i32),
    /// More wait than may; equal ones merge.
    TooMany,
}

impl Hold {
    /// Is this an overflow? A signal that waits for its turn is none.
    pub fn is_limit(self) -> bool {
        !matches!(self, Hold::Pending | Hold::Busy)
    }

    /// Shortest and longest pause, in ns.
    fn bounds(self) -> (u64, u64) {
        match self {
            Hold::Pending | Hold::Busy => (5_000, 5_000_000),
            Hold::SignalQueue | Hold::EventfdFull | Hold::TooMany => (100_000, 20_000_000),
            Hold::Threads(_) => (500_000, 50_000_000),
            Hold::Refused(_) => (500_000, 500_000_000),
        }
    }
}

/// What one lane has waited so far.
pub(super) struct Pace {
    /// When it first could not be handed over; None: it could.
    stuck_since: Option<u64>,
    /// What it was held by last.
    hold: Option<Hold>,
    /// Looks without a pause so far.
    looks: u32,
}

/// Looks without a pause at a pending signal.
const LOOKS: u32 = 8;

impl Pace {
    pub const fn new() -> Self {
        Pace {
            stuck_since: None,
            hold: None,
            looks: 0,
        }
    }

    /// There was progress.
    pub fn restart(&mut self) {
        self.stuck_since = None;
        self.looks = 0;
    }

    /// How long to wait now, in ns.
    pub fn pause(&mut self, hold: Hold, now: u64) -> u64 {
        if self.hold.replace(hold) != Some(hold) {
            // Held by something else now: that is how long it has been stuck.
            self.restart();
        }
        let since = *self.stuck_since.get_or_insert(now);
        if !hold.is_limit() && self.looks < LOOKS {
            self.looks += 1;
            return 0;
        }
        let (shortest, longest) = hold.bounds();
        (now.saturating_sub(since) / 8).clamp(shortest, longest)
    }

    /// How long it has been stuck, in ns.
    pub fn stuck_for(&self, now: u64) -> u64 {
        self.stuck_since
            .map_or(0, |since| now.saturating_sub(since))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds_and_start_over() {
        let mut pace = Pace::new();
        let mut now = 1_000_000_000;
        let mut last = 0;
        for _ in 0..200 {
            let pause = pace.pause(Hold::SignalQueue, now);
            assert!((100_000..=20_000_000).contains(&pause));
            assert!(pause >= last);
            last = pause;
            now += pause;
        }
        assert_eq!(last, 20_000_000);
        pace.restart();
        assert_eq!(pace.pause(Hold::SignalQueue, now), 100_000);
        for _ in 0..LOOKS {
            assert_eq!(pace.pause(Hold::Pending, now), 0);
        }
        assert_eq!(pace.pause(Hold::Pending, now), 5_000);
    }
}
