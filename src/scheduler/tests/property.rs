//! Random sequences of calls: the scheduler must be in step with the model,
//! nothing ready too early and nothing too late, and leave nothing behind.

use proptest::prelude::*;

use super::super::*;
use super::model::{Lane, Model};

#[derive(Clone, Debug)]
enum Call {
    Submit(Submission),
    Next,
    /// The pick is taken modulo how many there are to pick from.
    Finish(usize, Option<i32>),
    Withdraw(usize),
    Park(usize),
    Unpark(usize),
    Detach(i32),
}

struct Pair {
    scheduler: Scheduler<usize>,
    model: Model,
    /// Every stream ever parked, the ended ones too.
    streams: Vec<(StreamId, Lane)>,
}

impl Pair {
    fn new(rule: Order) -> Self {
        Pair {
            scheduler: Scheduler::new(rule),
            model: Model::new(rule),
            streams: Vec::new(),
        }
    }

    fn running(&self) -> Vec<Handle> {
        self.model
            .live
            .iter()
            .filter(|m| m.running)
            .map(|m| m.handle)
            .collect()
    }

    fn apply(&mut self, call: &Call) {
        match *call {
            Call::Submit(submission) => {
                let handle = self.scheduler.submit(submission, self.model.calls());
                self.model.submit(submission, handle);
            }
            Call::Next => self.next(),
            Call::Finish(pick, failed) => {
                if let Some(handle) = pick_of(&self.running(), pick) {
                    self.finish(handle, failed);
                }
            }
            Call::Withdraw(pick) => {
                let live: Vec<Handle> = self.model.live.iter().map(|m| m.handle).collect();
                if let Some(handle) = pick_of(&live, pick) {
                    self.withdraw(handle);
                }
            }
            Call::Park(pick) => {
                let mut running = self.running();
                running.retain(|&h| self.scheduler.stream_of(h).is_some());
                if let Some(handle) = pick_of(&running, pick) {
                    let member = self.model.at(handle).clone();
                    let lane = self.model.lane(&member).expect("a stream has a lane");
                    let stream = self.scheduler.park(handle);
                    assert_eq!(self.scheduler.stream_of(handle), Some(stream));
                    self.model.park(handle);
                    if !self.streams.contains(&(stream, lane)) {
                        self.streams.push((stream, lane));
                    }
                }
            }
            Call::Unpark(pick) => {
                if let Some((stream, lane)) = pick_of(&self.streams, pick) {
                    self.unpark(stream, lane);
                }
            }
            Call::Detach(descriptor) => {
                self.scheduler.detach(descriptor);
                self.model.detach(descriptor);
            }
        }
    }

    fn next(&mut self) {
        let best = self.model.ready().first().copied();
        assert_eq!(self.scheduler.next_ready(), best, "the best that may start");
        if let Some(handle) = best {
            self.model.at(handle).running = true;
        }
    }

    fn finish(&mut self, handle: Handle, failed: Option<i32>) {
        let payload = self.scheduler.finish(handle, failed);
        assert_eq!(payload, self.model.end(handle, failed));
    }

    fn withdraw(&mut self, handle: Handle) {
        let running = self.model.at(handle).running;
        let payload = self.scheduler.withdraw(handle);
        assert_eq!(payload.is_none(), running, "what runs cannot be withdrawn");
        if let Some(payload) = payload {
            assert_eq!(payload, self.model.end(handle, None));
        }
    }

    fn unpark(&mut self, stream: StreamId, lane: Lane) {
        // The number of an ended stream is no other stream's.
        let current = self.model.live.iter().any(|m| {
            self.model.lane(m) == Some(lane) && self.scheduler.stream_of(m.handle) == Some(stream)
        });
        let best = if current {
            self.model.unpark(lane)
        } else {
            None
        };
        assert_eq!(self.scheduler.unpark(stream), best);
        if let Some(handle) = best {
            assert_eq!(self.scheduler.stream_of(handle), Some(stream));
        }
    }

    /// Compares all that can be asked.
    fn compare(&self) {
        let (scheduler, model) = (&self.scheduler, &self.model);
        assert_eq!(scheduler.len(), model.live.len());
        assert_eq!(scheduler.ready_len(), model.ready().len());
        for member in &model.live {
            let handle = member.handle;
            assert!(scheduler.live(handle));
            assert_eq!(
                scheduler.state(handle),
                model.state(member),
                "of {member:?}"
            );
            assert_eq!(*scheduler.payload(handle), member.call);
            assert_eq!(scheduler.carried_error(handle), member.error);
            assert_eq!(scheduler.descriptor(handle), member.submission.descriptor);
            assert_eq!(scheduler.operation(handle), member.submission.operation);
            assert_eq!(
                scheduler.priority(handle),
                member.submission.priority.min(20)
            );
            if let Some(stream) = scheduler.stream_of(handle) {
                let lane = model.lane(member).expect("a stream has a lane");
                assert_eq!(scheduler.stream_waits(stream), model.waits_in(lane));
            }
        }
        for descriptor in 0..4 {
            let listed = scheduler.of_descriptor(descriptor);
            assert_eq!(listed, model.of_descriptor(descriptor));
        }
    }

    /// Lets everything end; what cannot end would be a deadlock.
    fn drain(&mut self) {
        while !self.model.live.is_empty() {
            let before = self.model.live.len();
            while self.scheduler.ready_len() > 0 {
                self.next();
            }
            for (stream, lane) in self.streams.clone() {
                self.unpark(stream, lane);
            }
            for handle in self.running() {
                self.finish(handle, None);
            }
            self.compare();
            assert!(self.model.live.len() < before, "nothing can go on");
        }
        assert_eq!(self.scheduler.next_ready(), None);
        for &(stream, _) in &self.streams {
            assert!(!self.scheduler.stream_waits(stream));
        }
        let scheduler = &self.scheduler;
        assert!(scheduler.is_empty());
        assert_eq!((scheduler.files.len(), scheduler.groups.len()), (0, 0));
        assert_eq!((scheduler.lanes.len(), scheduler.extents.len()), (0, 0));
    }
}

fn pick_of<E: Copy>(from: &[E], pick: usize) -> Option<E> {
    if from.is_empty() {
        None
    } else {
        Some(from[pick % from.len()])
    }
}

/// The last offset a file can have.
const LAST: u64 = i64::MAX as u64;

/// Few places, so that much overlaps; and some at the edges of the numbers.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => 0..40u64,
        5 => (0..16u64).prop_map(|n| n * 4096),
        1 => Just(1 << 40),
        1 => (LAST - 3)..=LAST,
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        10 => 0..6u64,
        10 => 0..30u64,
        5 => Just(4096u64),
        2 => 4000..70_000u64,
        1 => Just(1 << 41),
        1 => (u64::MAX - 2)..=u64::MAX,
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let direction = prop_oneof![Just(Direction::Read), Just(Direction::Write)];
    prop_oneof![
        8 => (place(), length()).prop_map(|(start, len)| Operation::Read { start, len }),
        8 => (place(), length()).prop_map(|(start, len)| Operation::Write { start, len }),
        1 => place().prop_map(|from| Operation::Append { from }),
        3 => Just(Operation::Sync),
        5 => direction.prop_map(Operation::Stream),
        1 => Just(Operation::Free),
    ]
}

fn submission() -> impl Strategy<Value = Submission> {
    let file = prop_oneof![
        6 => (1..3u64).prop_map(|ino| FileKey::Inode { dev: 1, ino }),
        3 => (0..2i32).prop_map(FileKey::Descriptor),
    ];
    let priority = prop_oneof![5 => Just(0u8), 2 => 0..4u8, 1 => 0..30u8];
    (file, 0..4i32, operation(), priority).prop_map(|(file, descriptor, operation, priority)| {
        Submission {
            file,
            descriptor,
            operation,
            priority,
        }
    })
}

fn call(submits: u32) -> impl Strategy<Value = Call> {
    let failed = prop_oneof![2 => Just(None), 1 => (1..200i32).prop_map(Some)];
    prop_oneof![
        submits => submission().prop_map(Call::Submit),
        16 => Just(Call::Next),
        12 => (any::<usize>(), failed).prop_map(|(pick, failed)| Call::Finish(pick, failed)),
        4 => any::<usize>().prop_map(Call::Withdraw),
        6 => any::<usize>().prop_map(Call::Park),
        6 => any::<usize>().prop_map(Call::Unpark),
        1 => (0..4i32).prop_map(Call::Detach),
    ]
}

fn run(rule: Order, calls: &[Call], compare_every: usize) {
    let mut pair = Pair::new(rule);
    for (n, call) in calls.iter().enumerate() {
        pair.apply(call);
        if n % compare_every == 0 {
            pair.compare();
        }
    }
    pair.compare();
    pair.drain();
}

/// `PROPTEST_CASES` asks for more, or fewer, than the usual number; without
/// optimisation that is a third.
fn cases(usual: u32) -> ProptestConfig {
    let usual = if cfg!(debug_assertions) {
        usual / 3
    } else {
        usual
    };
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(usual),
        failure_persistence: None,
        max_shrink_iters: 100_000,
        // Milliseconds; long enough for a few calls to be left.
        max_shrink_time: 15_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn posix_order_is_the_models(calls in prop::collection::vec(call(24), 1..120)) {
        run(Order::Posix, &calls, 1);
    }

    #[test]
    fn order_by_descriptor_is_the_models(calls in prop::collection::vec(call(24), 1..120)) {
        run(Order::PerDescriptor, &calls, 1);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    /// Hundreds outstanding: deep trees, searches that lose patience.
    #[test]
    fn posix_order_holds_with_many(calls in prop::collection::vec(call(60), 600..1500)) {
        run(Order::Posix, &calls, 25);
    }
}
