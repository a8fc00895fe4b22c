//! Pushing, taking, waking, closing.

use loom::cell::UnsafeCell;
use std::sync::Arc;

use super::bench::{check, spawn};
use crate::intake::{Intake, Push, Taken};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sys;
use crate::wakeup::Wakeup;

/// A node as control blocks and messages are: a link, and what belongs to
/// whoever has the node.
#[repr(align(8))]
struct Node {
    link: AtomicU64,
    content: UnsafeCell<u32>,
}

struct Stack {
    intake: Intake,
    wakeup: Wakeup,
    nodes: Vec<Node>,
}

// SAFETY: that the contents have one owner at a time is what loom checks.
unsafe impl Send for Stack {}
// SAFETY: as above.
unsafe impl Sync for Stack {}

impl Stack {
    fn new(nodes: usize) -> Arc<Stack> {
        let node = || Node {
            link: AtomicU64::new(0),
            content: UnsafeCell::new(0),
        };
        let stack = Arc::new(Stack {
            intake: Intake::new(),
            wakeup: Wakeup::new(),
            nodes: (0..nodes).map(|_| node()).collect(),
        });
        stack.intake.open();
        stack
    }

    fn word(&self, index: usize) -> u64 {
        (&raw const self.nodes[index]).expose_provenance() as u64
    }

    fn fill(&self, index: usize, content: u32) {
        // SAFETY: loom's own check.
        self.nodes[index]
            .content
            .with_mut(|place| unsafe { *place = content });
    }

    /// One request.
    fn push(&self, index: usize, content: u32) -> Push {
        self.fill(index, content);
        self.intake.push(self.word(index), &self.nodes[index].link)
    }

    /// A list of two.
    fn push_two(&self, first: usize, content: u32) -> Push {
        self.fill(first, content);
        self.fill(first + 1, content + 1);
        let oldest = &self.nodes[first];
        let newest = &self.nodes[first + 1];
        newest.link.store(self.word(first), Ordering::Relaxed);
        self.intake.push(self.word(first + 1), &oldest.link)
    }

    fn take(&self, into: &mut Vec<u32>) {
        fn node<'a>(word: u64) -> &'a Node {
            // SAFETY: the address of a node, which lives as long as the stack.
            unsafe { &*std::ptr::with_exposed_provenance(word as usize) }
        }
        let link = |word| &node(word).link;
        self.intake.take().drain(link, |found| {
            let Taken::Node(word) = found else {
                panic!("nothing was taken back: {found:?}");
            };
            // The node is the taker's: writing is allowed, too.
            // SAFETY: loom's own check.
            node(word)
                .content
                .with_mut(|place| unsafe { into.push(std::mem::take(&mut *place)) });
        });
    }

    /// The engine's sleep, as its thread with a ring sleeps: the ring's part
    /// is a futex call with the sample.
    fn sleep_unless(&self, work: impl Fn() -> bool) {
        let sample = self.wakeup.prepare();
        if !work() {
            let _ = sys::futex_wait(self.wakeup.word(), sample, None);
        }
        self.wakeup.awake();
    }
}

/// Each node is taken once, with what was in it; nodes of one thread come in
/// its order, a list stays together.
#[test]
fn loom_pushes_are_taken_once_and_in_order() {
    check(Some(5), || {
        let stack = Stack::new(4);
        let single = {
            let stack = stack.clone();
            spawn(move || {
                stack.push(0, 11);
                stack.push(1, 12);
            })
        };
        let list = {
            let stack = stack.clone();
            spawn(move || stack.push_two(2, 21))
        };
        let mut taken = Vec::new();
        stack.take(&mut taken);
        stack.take(&mut taken);
        single.join().unwrap();
        list.join().unwrap();
        stack.take(&mut taken);
        let of = |thread: u32| taken.iter().filter(move |value| **value / 10 == thread);
        assert!(of(1).eq(&[11, 12]), "{taken:?}");
        let at = taken.iter().position(|value| *value == 21).unwrap();
        assert_eq!(taken.get(at + 1), Some(&22), "{taken:?}");
        assert_eq!(taken.len(), 4);
    });
}

/// An engine that looks and sleeps gets everything that two threads push.
#[test]
fn loom_a_push_wakes_the_engine() {
    check(Some(3), || {
        let stack = Stack::new(3);
        let engine = {
            let stack = stack.clone();
            spawn(move || {
                let mut taken = Vec::new();
                while taken.len() < 3 {
                    stack.take(&mut taken);
                    if taken.len() < 3 {
                        stack.sleep_unless(|| !stack.intake.is_empty());
                    }
                }
                taken
            })
        };
        let pusher = {
            let stack = stack.clone();
            spawn(move || {
                stack.push(0, 11);
                stack.wakeup.wake();
                stack.push(1, 12);
                stack.wakeup.wake();
            })
        };
        stack.push(2, 21);
        stack.wakeup.wake();
        pusher.join().unwrap();
        let mut taken = engine.join().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, [11, 12, 21]);
    });
}

/// The same for work that is not on the intake: a worker's report.
#[test]
fn loom_a_report_wakes_the_engine() {
    check(Some(4), || {
        let stack = Stack::new(1);
        let reports = Arc::new(AtomicUsize::new(0));
        let worker = {
            let (stack, reports) = (stack.clone(), reports.clone());
            spawn(move || {
                reports.fetch_add(1, Ordering::SeqCst);
                stack.wakeup.wake();
            })
        };
        let pusher = {
            let stack = stack.clone();
            spawn(move || {
                stack.push(0, 1);
                stack.wakeup.wake();
            })
        };
        let mut taken = Vec::new();
        let mut reported = 0;
        while taken.is_empty() || reported == 0 {
            stack.take(&mut taken);
            reported += reports.swap(0, Ordering::SeqCst);
            if taken.is_empty() || reported == 0 {
                stack.sleep_unless(|| {
                    !stack.intake.is_empty() || reports.load(Ordering::SeqCst) != 0
                });
            }
        }
        worker.join().unwrap();
        pusher.join().unwrap();
        assert_eq!((taken.len(), reported), (1, 1));
    });
}

/// The engine closes the intake at its end: what was pushed is taken before,
/// and what comes later is told so.
#[test]
fn loom_nothing_is_left_on_a_closed_intake() {
    check(Some(6), || {
        let stack = Stack::new(2);
        let pushers: Vec<_> = (0..2)
            .map(|index| {
                let stack = stack.clone();
                spawn(move || stack.push(index, index as u32 + 1))
            })
            .collect();
        let mut taken = Vec::new();
        loop {
            stack.take(&mut taken);
            if stack.intake.close() {
                break;
            }
        }
        assert!(stack.intake.is_closed());
        let pushed = pushers.into_iter().map(|pusher| pusher.join().unwrap());
        let done = pushed.filter(|push| *push == Push::Done).count();
        assert_eq!(taken.len(), done);
        stack.take(&mut taken);
        assert_eq!(taken.len(), done, "taken from a closed intake");
    });
}
