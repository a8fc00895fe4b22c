//! The scheduler said in the plainest way: a list of requests, and for each
//! question a look at all of them. Slow, and short enough to be believed.

use super::super::*;

/// A number and how often it had been detached when it was used.
type Name = (i32, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    Inode(u64, u64),
    Descriptor(Name),
}

#[derive(Clone, Debug)]
pub struct Member {
    pub handle: Handle,
    pub call: usize,
    pub submission: Submission,
    pub file: FileName,
    pub descriptor: Name,
    pub running: bool,
    pub parked: bool,
    pub error: Option<i32>,
}

/// What requests share that go one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Stream(FileName, Direction),
    Descriptor(Name),
}

pub struct Model {
    rule: Order,
    calls: usize,
    detached: std::collections::HashMap<i32, u32>,
    /// In call order.
    pub live: Vec<Member>,
    /// Streams whose readiness is awaited.
    pub armed: Vec<Lane>,
}

impl Model {
    pub fn new(rule: Order) -> Self {
        Model {
            rule,
            calls: 0,
            detached: Default::default(),
            live: Vec::new(),
            armed: Vec::new(),
        }
    }

    fn name(&self, descriptor: i32) -> Name {
        (
            descriptor,
            self.detached.get(&descriptor).copied().unwrap_or(0),
        )
    }

    /// Gives the number of the call.
    pub fn submit(&mut self, submission: Submission, handle: Handle) {
        let file = match submission.file {
            FileKey::Inode { dev, ino } => FileName::Inode(dev, ino),
            FileKey::Descriptor(descriptor) => FileName::Descriptor(self.name(descriptor)),
        };
        self.live.push(Member {
            handle,
            call: self.calls,
            submission,
            file,
            descriptor: self.name(submission.descriptor),
            running: false,
            parked: false,
            error: None,
        });
        self.calls += 1;
    }

    pub fn calls(&self) -> usize {
        self.calls
    }

    pub fn at(&mut self, handle: Handle) -> &mut Member {
        self.live
            .iter_mut()
            .find(|m| m.handle == handle)
            .expect("the model knows it")
    }

    pub fn lane(&self, member: &Member) -> Option<Lane> {
        match member.submission.operation {
            Operation::Free => None,
            Operation::Stream(direction) => Some(Lane::Stream(member.file, direction)),
            _ if self.rule == Order::PerDescriptor => Some(Lane::Descriptor(member.descriptor)),
            _ => None,
        }
    }

    fn waiting_in(&self, lane: Lane) -> impl Iterator<Item = &Member> {
        self.live
            .iter()
            .filter(move |m| !m.running && self.lane(m) == Some(lane))
    }

    pub fn waits_in(&self, lane: Lane) -> bool {
        self.waiting_in(lane).next().is_some()
    }

    pub fn may_start(&self, member: &Member) -> bool {
        if member.running {
            return false;
        }
        if let Some(lane) = self.lane(member) {
            return !self.armed.contains(&lane)
                && !self
                    .live
                    .iter()
                    .any(|m| m.running && self.lane(m) == Some(lane))
                && self.waiting_in(lane).all(|m| rank(member) <= rank(m));
        }
        let mut older = self
            .live
            .iter()
            .filter(|m| m.call < member.call && m.file == member.file);
        match member.submission.operation {
            Operation::Free => true,
            Operation::Sync => !older.any(|m| {
                let operation = m.submission.operation;
                matches!(
                    operation,
                    Operation::Write { .. } | Operation::Append { .. }
                )
            }),
            operation => !older.any(|m| conflict(m.submission.operation, operation)),
        }
    }

    pub fn state(&self, member: &Member) -> State {
        if member.running {
            State::Running
        } else if member.parked {
            State::Parked
        } else if self.may_start(member) {
            State::Ready
        } else {
            State::Held
        }
    }

    pub fn ready(&self) -> Vec<Handle> {
        let mut ready: Vec<&Member> = self.live.iter().filter(|m| self.may_start(m)).collect();
        ready.sort_by_key(|m| rank(m));
        ready.into_iter().map(|m| m.handle).collect()
    }

    pub fn end(&mut self, handle: Handle, failed: Option<i32>) -> usize {
        let place = self
            .live
            .iter()
            .position(|m| m.handle == handle)
            .expect("it is live");
        let ended = self.live.remove(place);
        let operation = ended.submission.operation;
        let writes = matches!(
            operation,
            Operation::Write { .. } | Operation::Append { .. }
        );
        if let (true, Some(error), Order::Posix) = (writes, failed, self.rule) {
            for m in &mut self.live {
                let waits = m.submission.operation == Operation::Sync
                    && m.file == ended.file
                    && m.call > ended.call;
                if waits && m.error.is_none() {
                    m.error = Some(error);
                }
            }
        }
        if let Some(lane) = self.lane(&ended)
            && !self.waits_in(lane)
        {
            self.armed.retain(|&each| each != lane);
        }
        ended.call
    }

    pub fn park(&mut self, handle: Handle) {
        let member = self.at(handle);
        (member.running, member.parked) = (false, true);
        let member = member.clone();
        let lane = self.lane(&member).expect("only streams are parked");
        self.armed.push(lane);
    }

    pub fn unpark(&mut self, lane: Lane) -> Option<Handle> {
        let armed = self.armed.iter().position(|&each| each == lane)?;
        self.armed.remove(armed);
        let best = self
            .waiting_in(lane)
            .min_by_key(|m| rank(m))
            .map(|m| m.handle)?;
        let waiting: Vec<Handle> = self.waiting_in(lane).map(|m| m.handle).collect();
        for handle in waiting {
            self.at(handle).parked = false;
        }
        self.at(best).running = true;
        Some(best)
    }

    pub fn of_descriptor(&self, descriptor: i32) -> Vec<Handle> {
        let name = self.name(descriptor);
        self.live
            .iter()
            .filter(|m| m.descriptor == name)
            .map(|m| m.handle)
            .collect()
    }

    pub fn detach(&mut self, descriptor: i32) {
        *self.detached.entry(descriptor).or_default() += 1;
    }
}

fn rank(member: &Member) -> (u8, usize) {
    (member.submission.priority.min(20), member.call)
}

/// Whether two operations on one file must keep call order.
fn conflict(older: Operation, younger: Operation) -> bool {
    let (Some((start, end, writes)), Some((from, to, also_writes))) =
        (bytes(older), bytes(younger))
    else {
        return false;
    };
    (writes || also_writes) && start < to && from < end
}

fn bytes(operation: Operation) -> Option<(u128, u128, bool)> {
    const LAST: u128 = 1 << 100;
    let (start, len, writes) = match operation {
        Operation::Read { start, len } => (start, u128::from(len), false),
        Operation::Write { start, len } => (start, u128::from(len), true),
        Operation::Append { from } => (from, LAST, true),
        _ => return None,
    };
    (len > 0).then_some((u128::from(start), u128::from(start) + len, writes))
}
