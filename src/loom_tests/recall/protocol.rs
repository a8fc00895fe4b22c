//! The words between waiter and engine: intake, recall, wakeup. Waiter and
//! engine do here what `lanes/waiter.rs` and `engine/recalled.rs` do, to
//! requests on one file, which go one after the other.

use std::mem::MaybeUninit;
use std::sync::Arc;

use loom::cell::UnsafeCell;

use super::super::bench::{check, spawn};
use crate::intake::{self, Chain, Intake, Push, Taken};
use crate::recall::{End, Number, Owner, Recall};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys;
use crate::wakeup::Wakeup;

/// A request: its link, and what is the library's until it is published, then
/// the program's.
#[repr(align(8))]
struct Node {
    link: AtomicU64,
    ends: UnsafeCell<u32>,
}

struct Stack {
    intake: Intake,
    wakeup: Wakeup,
    recall: Recall,
    nodes: Vec<Node>,
    /// Who transferred: two at a time, and loom says so.
    file: UnsafeCell<Vec<usize>>,
    /// How many are pushed, or about to be, and not published.
    outstanding: AtomicU32,
    /// How many are published.
    done: AtomicU32,
    stop: AtomicU32,
}

// SAFETY: that the cells have one owner at a time is what loom checks.
unsafe impl Send for Stack {}
// SAFETY: as above.
unsafe impl Sync for Stack {}

fn node<'a>(word: u64) -> &'a Node {
    // SAFETY: the address of a node, which lives as long as the stack.
    unsafe { &*std::ptr::with_exposed_provenance(word as usize) }
}

fn link<'a>(word: u64) -> &'a AtomicU64 {
    &node(word).link
}

impl Stack {
    fn new(nodes: usize) -> Arc<Stack> {
        let node = || Node {
            link: AtomicU64::new(0),
            ends: UnsafeCell::new(0),
        };
        let stack = Arc::new(Stack {
            intake: Intake::new(),
            wakeup: Wakeup::new(),
            // SAFETY: all zero is valid: nothing is recalled.
            recall: unsafe { MaybeUninit::zeroed().assume_init() },
            nodes: (0..nodes).map(|_| node()).collect(),
            file: UnsafeCell::new(Vec::new()),
            outstanding: AtomicU32::new(0),
            done: AtomicU32::new(0),
            stop: AtomicU32::new(0),
        });
        stack.intake.open();
        stack
    }

    fn word(&self, index: usize) -> u64 {
        (&raw const self.nodes[index]).expose_provenance() as u64
    }

    fn index(&self, word: u64) -> usize {
        let of = |index: &usize| self.word(*index) == word;
        (0..self.nodes.len()).find(of).unwrap()
    }

    fn push(&self, index: usize) {
        self.outstanding.fetch_add(1, Ordering::SeqCst);
        let pushed = self.intake.push(self.word(index), &self.nodes[index].link);
        assert_eq!(pushed, Push::Done);
    }

    /// Looks at a request in progress.
    fn look(&self, index: usize) {
        // SAFETY: loom's own check.
        let ends = self.nodes[index].ends.with(|place| unsafe { *place });
        assert_eq!(ends, 0, "{index} is looked at when it is the program's");
    }

    fn transfer(&self, index: usize) {
        self.look(index);
        // SAFETY: loom's own check.
        self.file.with_mut(|place| unsafe { (*place).push(index) });
    }

    /// From here on it is the program's, which writes to it at once.
    fn publish(&self, index: usize) {
        // SAFETY: loom's own check.
        self.nodes[index].ends.with_mut(|place| unsafe {
            *place += 1;
            assert_eq!(*place, 1, "{index} ends twice");
        });
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
        self.done.fetch_add(1, Ordering::SeqCst);
        sys::futex_wake(self.done.as_ptr(), i32::MAX);
    }

    /// Sleeps until all are published.
    fn wait_for_all(&self) {
        loop {
            let done = self.done.load(Ordering::SeqCst);
            if done as usize == self.nodes.len() {
                return;
            }
            let _ = sys::futex_wait(&self.done, done, None);
        }
    }

    /// aio_suspend for these, the newest last; `fails`: this one cannot be
    /// carried out by its waiter.
    fn attempt(&self, waits_for: &[usize], fails: Option<usize>) {
        let newest = self.word(waits_for[waits_for.len() - 1]);
        if self.intake.top() != Some(newest) {
            // The engine has it, or more is outstanding.
            return;
        }
        let Some(number) = self.recall.begin(newest) else {
            return;
        };
        if !self.intake.recall(newest, number) {
            self.recall.give_up(number);
            return;
        }
        let mut chain = Vec::new();
        let mut word = newest;
        while !intake::is_last(word) {
            chain.insert(0, self.index(word));
            word = link(word).load(Ordering::Relaxed);
        }
        let mut owner = Owner::Waiter;
        let mut done = 0;
        // If not: the engine was faster with the first of them, or there is
        // something else, which may be older.
        let outstanding = self.outstanding.load(Ordering::SeqCst) as usize;
        if chain == waits_for && outstanding == waits_for.len() {
            if chain.len() == 1 {
                self.recall.is_single();
            }
            for &index in waits_for {
                if fails == Some(index) {
                    intake::end_at(&self.nodes[index].link);
                    break;
                }
                self.transfer(index);
                done += 1;
                if done == waits_for.len() {
                    owner = self.recall.done(number);
                    self.intake.forget(number);
                }
                self.publish(index);
            }
        }
        if done < waits_for.len() {
            self.recall.failed(number);
            self.wakeup.wake();
        } else if owner == Owner::Engine {
            self.recall.ended(number);
            self.wakeup.wake();
        }
    }

    fn stop(&self) {
        self.stop.store(1, Ordering::SeqCst);
        self.wakeup.wake();
    }
}

/// The engine: takes over, in order, and carries out.
struct Engine {
    stack: Arc<Stack>,
    /// It has memory for what it is to adopt.
    adopts: bool,
    adopted: Option<usize>,
    /// Behind that one.
    held: Vec<usize>,
    /// What it knows of, in this order.
    order: Vec<usize>,
}

impl Engine {
    fn new(stack: &Arc<Stack>, adopts: bool) -> Engine {
        Engine {
            stack: stack.clone(),
            adopts,
            adopted: None,
            held: Vec::new(),
            order: Vec::new(),
        }
    }

    fn has_work(&self) -> bool {
        !self.stack.intake.is_empty() || self.stack.recall.has_end()
    }

    /// Until it is stopped. Returns what it was told of, in order.
    fn run(mut self) -> Vec<usize> {
        let stack = self.stack.clone();
        loop {
            // (In this order: what came before the stop is seen.)
            let stops = stack.stop.load(Ordering::SeqCst) != 0;
            if self.has_work() {
                self.see_to_recall(None);
                self.accept_all(stack.intake.take());
                continue;
            }
            if stops {
                assert!(self.held.is_empty() && self.adopted.is_none());
                return self.order;
            }
            let sample = stack.wakeup.prepare();
            if !self.has_work() && stack.stop.load(Ordering::SeqCst) == 0 {
                let _ = sys::futex_wait(stack.wakeup.word(), sample, None);
            }
            stack.wakeup.awake();
        }
    }

    fn accept_all(&mut self, chain: Chain) {
        let mut taken = Vec::new();
        chain.drain(link, |found| taken.push(found));
        for found in taken {
            match found {
                Taken::Recalled(number) => self.adopt(number),
                Taken::Node(word) => self.accept(self.stack.index(word)),
            }
        }
    }

    fn accept(&mut self, index: usize) {
        self.stack.look(index);
        self.order.push(index);
        self.held.push(index);
        self.start();
    }

    /// Carries out what may start.
    fn start(&mut self) {
        if self.adopted.is_none() {
            for index in self.held.drain(..) {
                self.stack.transfer(index);
                self.stack.publish(index);
            }
        }
    }

    fn adopt(&mut self, number: Number) {
        let stack = self.stack.clone();
        match stack.recall.adopt(number) {
            Some(word) if self.adopts => {
                let index = stack.index(word);
                stack.look(index);
                self.order.push(index);
                assert_eq!(self.adopted.replace(index), None);
                stack.recall.adopted(number);
            }
            Some(_) => {
                stack.recall.wait(number);
                self.see_to_recall(Some(number));
            }
            None => self.see_to_recall(Some(number)),
        }
    }

    fn see_to_recall(&mut self, of: Option<Number>) {
        match self.stack.recall.take_end(of) {
            Some(End::Left(newest, number)) => {
                self.stack.intake.forget(number);
                self.accept_all(Chain::from(newest));
            }
            Some(End::Ended) => {
                assert!(self.adopted.take().is_some());
                self.start();
            }
            Some(End::Failed) => {
                let index = self.adopted.take().unwrap();
                self.held.insert(0, index);
                self.start();
            }
            None => {}
        }
    }
}

struct Case {
    /// So many are older than what the waiter knows of.
    beneath: usize,
    /// It waits for the next so many; one more is pushed by another thread
    /// meanwhile.
    waits_for: usize,
    fails: Option<usize>,
    adopts: bool,
    preemptions: usize,
}

/// The waiter takes back what it waits for while another thread submits and
/// the engine takes over.
fn against_a_younger(case: Case) {
    check(Some(case.preemptions), move || {
        let last = case.beneath + case.waits_for;
        let count = last + 1;
        let stack = Stack::new(count);
        let engine = Engine::new(&stack, case.adopts);
        let engine = spawn(move || engine.run());
        for index in 0..last {
            stack.push(index);
        }
        let younger = {
            let stack = stack.clone();
            spawn(move || {
                stack.push(last);
                stack.wakeup.wake();
            })
        };
        stack.wakeup.wake();
        let waits_for: Vec<usize> = (case.beneath..last).collect();
        stack.attempt(&waits_for, case.fails);
        stack.wait_for_all();
        loom::stop_exploring();
        stack.stop();
        younger.join().unwrap();
        let order = engine.join().unwrap();
        assert!(order.is_sorted(), "accepted as {order:?}");
        // SAFETY: loom's own check.
        let file = stack.file.with(|place| unsafe { (*place).clone() });
        assert!(file.iter().copied().eq(0..count), "carried out as {file:?}");
        assert!(!stack.recall.has_end());
        assert!(stack.recall.begin(8).is_some(), "it is not free");
        assert!(stack.intake.close(), "something is left on the intake");
    });
}

/// The younger is accepted once the older is adopted or done, and carried out
/// once it is done.
#[test]
fn loom_recall_of_the_only_one() {
    against_a_younger(Case {
        beneath: 0,
        waits_for: 1,
        fails: None,
        adopts: true,
        preemptions: 2,
    });
}

/// The same where the engine has no memory to adopt it, and waits.
#[test]
fn loom_recall_that_the_engine_waits_for() {
    against_a_younger(Case {
        beneath: 0,
        waits_for: 1,
        fails: None,
        adopts: false,
        preemptions: 2,
    });
}

/// The waiter cannot carry it out: the engine does, before the younger.
#[test]
fn loom_recall_that_fails() {
    against_a_younger(Case {
        beneath: 0,
        waits_for: 1,
        fails: Some(0),
        adopts: true,
        preemptions: 2,
    });
}

#[test]
fn loom_recall_that_fails_while_the_engine_waits() {
    against_a_younger(Case {
        beneath: 0,
        waits_for: 1,
        fails: Some(0),
        adopts: false,
        preemptions: 2,
    });
}

/// Several are waited for by the engine.
#[test]
fn loom_recall_of_several() {
    against_a_younger(Case {
        beneath: 0,
        waits_for: 2,
        fails: None,
        adopts: true,
        preemptions: 2,
    });
}

/// Of several the waiter carries out the first, or none.
#[test]
fn loom_recall_of_several_that_fails() {
    for fails in 0..2 {
        against_a_younger(Case {
            beneath: 0,
            waits_for: 2,
            fails: Some(fails),
            adopts: true,
            preemptions: 2,
        });
    }
}

/// More was taken back than the waiter knows of: the engine gets all of it, in
/// its order.
#[test]
fn loom_recall_of_more_than_expected() {
    against_a_younger(Case {
        beneath: 1,
        waits_for: 1,
        fails: None,
        adopts: true,
        preemptions: 2,
    });
}

/// Two threads wait for one request: at most one takes it back, and it ends
/// once.
#[test]
fn loom_recall_by_two_waiters() {
    for fails in [None, Some(0)] {
        check(Some(2), move || {
            let stack = Stack::new(1);
            let engine = Engine::new(&stack, true);
            let engine = spawn(move || engine.run());
            stack.push(0);
            let other = {
                let stack = stack.clone();
                spawn(move || stack.attempt(&[0], fails))
            };
            stack.wakeup.wake();
            stack.attempt(&[0], fails);
            stack.wait_for_all();
            loom::stop_exploring();
            stack.stop();
            other.join().unwrap();
            engine.join().unwrap();
            // SAFETY: loom's own check.
            let transfers = stack.file.with(|place| unsafe { (*place).len() });
            assert_eq!(transfers, 1);
            assert!(stack.recall.begin(8).is_some(), "it is not free");
        });
    }
}
