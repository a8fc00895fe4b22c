//! What a request costs as more are outstanding: in time, as a ratio of one
//! run to another beside it, and in memory.
//!
//! `cargo test --release scheduler_cost -- --nocapture` prints the figures.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::super::*;

const FEW: usize = 1_000;
/// Less without optimisation, which is slow enough as it is.
const MANY: usize = if cfg!(debug_assertions) {
    30_000
} else {
    100_000
};
/// So many run at once, as if a ring of that depth stood behind.
const DEPTH: usize = 128;

/// A small generator of pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The operation of request `n` of `count`.
type Load = fn(&mut Random, n: usize, count: usize) -> Operation;

const LOADS: &[(&str, Load)] = &[
    ("reads, random 4 KiB", |random, _, count| Operation::Read {
        start: random.below(4 * count as u64) * 4096,
        len: 4096,
    }),
    ("reads, one range", |_, _, _| Operation::Read {
        start: 0,
        len: 4096,
    }),
    ("writes, random 4 KiB", |random, _, count| {
        Operation::Write {
            start: random.below(4 * count as u64) * 4096,
            len: 4096,
        }
    }),
    ("writes, one range", |_, _, _| Operation::Write {
        start: 0,
        len: 4096,
    }),
    ("read, write by turns, one range", |_, n, _| match n % 2 {
        0 => Operation::Read {
            start: 0,
            len: 4096,
        },
        _ => Operation::Write {
            start: 0,
            len: 4096,
        },
    }),
    ("one write, then reads of its range", |_, n, _| match n {
        0 => Operation::Write {
            start: 0,
            len: 4096,
        },
        _ => Operation::Read {
            start: 0,
            len: 4096,
        },
    }),
    ("reads of one range, then a write", |_, n, count| {
        match n + 1 == count {
            false => Operation::Read {
                start: 0,
                len: 4096,
            },
            true => Operation::Write {
                start: 0,
                len: 4096,
            },
        }
    }),
    ("writes, 8 KiB a step of 4 KiB", |_, n, _| {
        Operation::Write {
            start: n as u64 * 4096,
            len: 8192,
        }
    }),
    ("both, random, 1 byte to 256 KiB", |random, n, count| {
        let (start, len) = (
            random.below(64 * count as u64 * 4096),
            1 << random.below(19),
        );
        match n % 2 {
            0 => Operation::Read { start, len },
            _ => Operation::Write { start, len },
        }
    }),
    ("small writes, then wide reads", |random, n, count| {
        match n < count / 2 {
            true => Operation::Write {
                start: random.below(4 * count as u64) * 4096,
                len: 4096,
            },
            false => Operation::Read {
                start: 0,
                len: 4 * count as u64 * 4096,
            },
        }
    }),
    ("wide reads, then small writes", |random, n, count| {
        match n < count / 2 {
            true => Operation::Read {
                start: 0,
                len: 4 * count as u64 * 4096,
            },
            false => Operation::Write {
                start: random.below(4 * count as u64) * 4096,
                len: 4096,
            },
        }
    }),
    (
        "small and wide writes by turns",
        |random, n, count| match n % 2 {
            0 => Operation::Write {
                start: random.below(count as u64) * 4096,
                len: 4096,
            },
            _ => Operation::Write {
                start: random.below(count as u64) * 4096,
                len: count as u64 * 1024,
            },
        },
    ),
    (
        "small writes, wide reads by turns",
        |random, n, count| match n % 2 {
            0 => Operation::Write {
                start: random.below(count as u64) * 4096,
                len: 4096,
            },
            _ => Operation::Read {
                start: random.below(count as u64) * 4096,
                len: count as u64 * 1024,
            },
        },
    ),
    // Each high block is asked for again while all low ones wait, with later
    // wide ones over both: a search must not look at every low one.
    ("high, low, high again, over both", |random, n, count| {
        let quarter = (count / 4) as u64;
        let (low, high) = (
            random.below(quarter) * 4096,
            (n as u64 % quarter + quarter) * 4096,
        );
        match 4 * n / count {
            1 => Operation::Write {
                start: low,
                len: 4096,
            },
            0 | 2 => Operation::Write {
                start: high,
                len: 4096,
            },
            _ => Operation::Write {
                start: low,
                len: 2 * quarter * 4096 - low,
            },
        }
    }),
    ("appends", |random, _, _| Operation::Append {
        from: random.below(1 << 20),
    }),
    ("writes with a sync after each", |random, n, count| {
        match n % 2 {
            0 => Operation::Write {
                start: random.below(4 * count as u64) * 4096,
                len: 4096,
            },
            _ => Operation::Sync,
        }
    }),
    ("stream", |_, _, _| Operation::Stream(Direction::Read)),
];

fn submit(scheduler: &mut Scheduler<u64>, random: &mut Random, load: Load, count: usize) {
    for n in 0..count {
        let operation = load(random, n, count);
        let submission = Submission {
            file: FileKey::Inode { dev: 1, ino: 1 },
            descriptor: 3,
            operation,
            priority: 0,
        };
        scheduler.submit(submission, n as u64);
    }
}

/// Runs all to the end, `DEPTH` at once, finishing them in random order.
fn drain(scheduler: &mut Scheduler<u64>, random: &mut Random) {
    let mut running = Vec::with_capacity(DEPTH);
    while !scheduler.is_empty() {
        while running.len() < DEPTH {
            match scheduler.next_ready() {
                Some(handle) => running.push(handle),
                None => break,
            }
        }
        let pick = random.below(running.len() as u64) as usize;
        scheduler.finish(running.swap_remove(pick), None);
    }
}

/// Time of one request's whole life with `count` outstanding at the peak.
fn time_of(load: Load, count: usize, total: usize) -> Duration {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut scheduler = Scheduler::new(Order::Posix);
    let begin = clock();
    for _ in 0..total / count {
        submit(&mut scheduler, &mut random, load, count);
        drain(&mut scheduler, &mut random);
    }
    (clock() - begin) / total as u32
}

/// The processor time of this thread, where the kernel tells it: other work
/// on the machine does not count then.
fn clock() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split(' ').next().map(str::parse) {
        Some(Ok(nanoseconds)) => Duration::from_nanos(nanoseconds),
        _ => START.elapsed(),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn scheduler_cost_in_time_grows_slowly() {
    let rounds = if cfg!(debug_assertions) { 1 } else { 7 };
    let mut worst: (f64, &str) = (0.0, "");
    println!(
        "{:38} {:>9} {:>9}  ratio",
        "a request's life, ns, outstanding:", FEW, MANY
    );
    for &(name, load) in LOADS {
        let (mut few, mut many) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            few.push(time_of(load, FEW, MANY));
            many.push(time_of(load, MANY, MANY));
        }
        let (few, many) = (median(few), median(many));
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!(
            "{name:38} {:9} {:9}  {ratio:.2}",
            few.as_nanos(),
            many.as_nanos()
        );
        if ratio > worst.0 {
            worst = (ratio, name);
        }
    }
    assert!(
        worst.0 < 6.0,
        "{}: {:.1} times the cost at {MANY}",
        worst.1,
        worst.0
    );
}

#[test]
fn scheduler_cost_in_memory_is_bounded_and_given_back() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Of one request, over its payload.
    for (name, limit) in [("reads, random 4 KiB", 110), ("writes, random 4 KiB", 220)] {
        let &(_, load) = LOADS
            .iter()
            .find(|load| load.0 == name)
            .expect("the load is there");
        let mut scheduler = Scheduler::new(Order::Posix);
        submit(&mut scheduler, &mut random, load, MANY);
        let each = scheduler.bytes() / MANY - size_of::<u64>();
        println!("{name}: {each} bytes a request");
        assert!(each <= limit, "{name}: {each} bytes a request");
        drain(&mut scheduler, &mut random);
        let left = scheduler.bytes();
        println!("{name}: {left} bytes are kept");
        assert!(left <= 128 << 10, "{name}: {left} bytes are kept");
    }
}
