//! The counters of the notifier: always on, readable from anywhere.
//!
//! Who comes in: whoever holds the lock of the backlog writes, anybody reads
//! without it (a signal handler may). What must hold, whenever the backlog is
//! at rest: `deferred = late + merged + waiting` (plus what was undeliverable
//! after it waited), and the totals are the sums over the kinds plus the
//! eventfd form, which has no kind of its own.
//!
//! These are atomics of the standard library in the loom build, too: every
//! write is under the lock that loom knows.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{probes, stats};

/// What a notification is counted as. A list's own notification counts as
/// `List` and as nothing else, whatever its form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A real-time signal.
    Rt,
    /// A standard signal.
    Standard,
    /// A callback (SIGEV_THREAD).
    Thread,
    /// The notification of a whole list.
    List,
    /// The eventfd form: in the totals only.
    Eventfd,
}

/// Kinds that have their own counters.
pub const KINDS: usize = 4;

impl Kind {
    fn index(self) -> Option<usize> {
        match self {
            Kind::Rt => Some(0),
            Kind::Standard => Some(1),
            Kind::Thread => Some(2),
            Kind::List => Some(3),
            Kind::Eventfd => None,
        }
    }
}

/// The counters of one kind, as read.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct KindCounters {
    /// Handed over: taken by the kernel, or the callback was begun.
    pub sent: u64,
    /// Could not be handed over at first.
    pub deferred: u64,
    /// Handed over after having been deferred.
    pub late: u64,
    /// Gave way to an equal one that was already waiting.
    pub merged: u64,
    /// Deferred and not handed over yet.
    pub waiting: u64,
}

/// All counters, as read.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Sums over all notifications, of every form.
    pub total: KindCounters,
    /// The most that ever waited at once.
    pub peak_waiting: u64,
    /// The longest time from completion to a late hand-over.
    pub longest_delay_ns: u64,
    /// Times that a limit began to refuse notifications.
    pub episodes: u64,
    /// The receiver was gone: the thread of SIGEV_THREAD_ID ended, the
    /// eventfd was closed.
    pub undeliverable: u64,
    /// Signals sent plainly because something forbids queued ones.
    pub without_value: u64,
    /// By [`Kind`]: RT signals, standard signals, callbacks, lists.
    pub kind: [KindCounters; KINDS],
}

/// Live counters of one kind.
struct Row {
    sent: AtomicU64,
    deferred: AtomicU64,
    late: AtomicU64,
    merged: AtomicU64,
    waiting: AtomicU64,
}

impl Row {
    const fn new() -> Self {
        Row {
            sent: AtomicU64::new(0),
            deferred: AtomicU64::new(0),
            late: AtomicU64::new(0),
            merged: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    fn read(&self) -> KindCounters {
        KindCounters {
            sent: self.sent.load(Relaxed),
            deferred: self.deferred.load(Relaxed),
            late: self.late.load(Relaxed),
            merged: self.merged.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
        }
    }
}

/// The live counters. All methods but `read` and `waiting` are called with
/// the backlog's lock held, so plain loads and stores add up.
pub(super) struct Tally {
    total: Row,
    kind: [Row; KINDS],
    peak_waiting: AtomicU64,
    longest_delay_ns: AtomicU64,
    episodes: AtomicU64,
    undeliverable: AtomicU64,
    without_value: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

fn take(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_sub(count), Relaxed);
}

fn raise(counter: &AtomicU64, value: u64) {
    if value > counter.load(Relaxed) {
        counter.store(value, Relaxed);
    }
}

impl Tally {
    pub const fn new() -> Self {
        Tally {
            total: Row::new(),
            kind: [const { Row::new() }; KINDS],
            peak_waiting: AtomicU64::new(0),
            longest_delay_ns: AtomicU64::new(0),
            episodes: AtomicU64::new(0),
            undeliverable: AtomicU64::new(0),
            without_value: AtomicU64::new(0),
        }
    }

    fn each(&self, kind: Kind, update: impl Fn(&Row)) {
        update(&self.total);
        if let Some(index) = kind.index() {
            update(&self.kind[index]);
        }
    }

    pub fn sent(&self, kind: Kind) {
        probes::notify(kind as i32);
        stats::notified();
        self.each(kind, |row| add(&row.sent, 1));
    }

    pub fn deferred(&self, kind: Kind, count: u64) {
        probes::defer(kind as i32, count);
        stats::deferred(count);
        self.each(kind, |row| {
            add(&row.deferred, count);
            add(&row.waiting, count);
        });
        raise(&self.peak_waiting, self.waiting());
    }

    /// One that was deferred waits no longer.
    pub fn ended_waiting(&self, kind: Kind) {
        self.each(kind, |row| take(&row.waiting, 1));
    }

    pub fn late(&self, kind: Kind, delay_ns: u64) {
        self.each(kind, |row| add(&row.late, 1));
        raise(&self.longest_delay_ns, delay_ns);
    }

    pub fn merged(&self, kind: Kind) {
        stats::deferred(1);
        self.each(kind, |row| {
            add(&row.deferred, 1);
            add(&row.merged, 1);
        });
    }

    pub fn episode(&self) {
        add(&self.episodes, 1);
    }

    pub fn undeliverable(&self) {
        add(&self.undeliverable, 1);
    }

    pub fn without_value(&self) {
        add(&self.without_value, 1);
    }

    pub fn waiting(&self) -> u64 {
        self.total.waiting.load(Relaxed)
    }

    /// All that was handed over so far: moves when there is progress.
    pub fn handed_over(&self) -> u64 {
        self.total.sent.load(Relaxed) + self.undeliverable.load(Relaxed)
    }

    pub fn read(&self) -> Counters {
        let mut counters = Counters {
            total: self.total.read(),
            peak_waiting: self.peak_waiting.load(Relaxed),
            longest_delay_ns: self.longest_delay_ns.load(Relaxed),
            episodes: self.episodes.load(Relaxed),
            undeliverable: self.undeliverable.load(Relaxed),
            without_value: self.without_value.load(Relaxed),
            kind: [KindCounters::default(); KINDS],
        };
        for (out, row) in counters.kind.iter_mut().zip(&self.kind) {
            *out = row.read();
        }
        counters
    }
}
