//! The engine that is left asleep: what is pushed meanwhile is carried out, at
//! the next beat if nobody calls, and no push is left lying when the engine
//! goes back to a sleep without a limit.

use std::mem::MaybeUninit;
use std::sync::Arc;

use loom::thread;

use super::bench::{Bench, Control, Part, check, memory_file, spawn, wait_with_limit};
use crate::deferral::{Deferral, set_time};
use crate::engine;
use crate::intake::Intake;
use crate::process::Runtime;
use crate::request::Kind;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::model::{self, Scope, place};
use crate::sys;
use crate::wakeup::Wakeup;

/// In nanoseconds: more than a beat.
const LATER: u64 = 2_000_000;

/// A program that waits at once, often enough for the engine to be left asleep
/// from its next sleep on.
fn wish(deferral: &Deferral) {
    for _ in 0..64 {
        deferral.pushes(true);
        deferral.waits(0, 1);
    }
}

/// Intake and engine, without what the engine does.
struct Stack {
    intake: Intake,
    wakeup: Wakeup,
    deferral: Deferral,
    links: [AtomicU64; 2],
    taken: AtomicU32,
}

impl Stack {
    fn new() -> Arc<Stack> {
        // SAFETY: all zero is valid for the deferral.
        let deferral = unsafe { MaybeUninit::zeroed().assume_init() };
        let stack = Arc::new(Stack {
            intake: Intake::new(),
            wakeup: Wakeup::new(),
            deferral,
            links: [const { AtomicU64::new(0) }; 2],
            taken: AtomicU32::new(0),
        });
        set_time(0, 0);
        let intake = place(&stack.intake);
        let wakeup = place(&stack.wakeup);
        let mut only = vec![intake, wakeup, place(&stack.taken)];
        only.extend(stack.deferral.places());
        model::begin(Scope {
            only: Some(only),
            ..Scope::default()
        });
        stack.intake.open();
        stack
    }

    /// The engine, until it has taken so many requests.
    fn serve(&self, requests: u32) {
        let mut left = requests;
        loop {
            if self.must_take() {
                self.deferral.answers();
                self.intake
                    .take()
                    .drain(|node| self.link(node), |_| left -= 1);
            }
            if left == 0 {
                self.taken.swap(1, Ordering::SeqCst);
                return;
            }
            let beat = self.deferral.beat();
            let sample = self.wakeup.prepare();
            if !self.must_take() {
                let _ = sys::futex_wait(self.wakeup.word(), sample, beat);
            }
            self.wakeup.awake();
        }
    }

    fn start_engine(self: &Arc<Stack>, requests: u32) -> thread::JoinHandle<()> {
        let stack = self.clone();
        spawn(move || stack.serve(requests))
    }

    /// Lets the engine turn it on, and go to sleep.
    fn wait_until_on(&self) {
        while !self.deferral.is_on() {
            thread::yield_now();
        }
        thread::yield_now();
    }

    fn link(&self, node: u64) -> &AtomicU64 {
        &self.links[node as usize / 8 - 1]
    }

    /// As in `Runtime`.
    fn must_take(&self) -> bool {
        !self.intake.is_empty() && self.deferral.is_called()
    }

    /// A submission, as in `Claimed::push`.
    fn submit(&self) {
        self.intake.push(8, self.link(8));
        if !self.deferral.is_on() {
            self.call();
        }
    }

    /// One that is not for a waiter.
    fn submit_for_the_engine(&self, node: u64) {
        self.intake.push(node, self.link(node));
        self.call();
    }

    /// As in `Runtime::call_engine`.
    fn call(&self) {
        self.deferral.call();
        self.wakeup.wake();
    }

    /// Lets sleeps with a limit end until the request is taken.
    fn pass_time_until_taken(&self) {
        while self.taken.load(Ordering::SeqCst) == 0 {
            model::pass_time();
            thread::yield_now();
        }
    }
}

/// The engine turns it off and sleeps for as long as nobody wakes it, while
/// somebody pushes.
#[test]
fn loom_deferral_ends_against_a_push() {
    check(Some(3), || {
        loom::stop_exploring();
        let stack = Stack::new();
        wish(&stack.deferral);
        let engine = stack.start_engine(1);
        stack.wait_until_on();
        loom::explore();
        set_time(LATER, 0);
        model::pass_time();
        stack.submit();
        stack.pass_time_until_taken();
        engine.join().unwrap();
    });
}

/// The engine turns it on while somebody pushes.
#[test]
fn loom_deferral_begins_against_a_push() {
    check(Some(3), || {
        loom::stop_exploring();
        let stack = Stack::new();
        let engine = stack.start_engine(1);
        thread::yield_now();
        wish(&stack.deferral);
        loom::explore();
        // Somebody else wakes it.
        stack.wakeup.wake();
        stack.submit();
        stack.pass_time_until_taken();
        engine.join().unwrap();
    });
}

/// The engine turns it on while somebody pushes what is not for a waiter: no
/// time need pass.
#[test]
fn loom_deferral_begins_against_a_call() {
    check(Some(3), || {
        loom::stop_exploring();
        let stack = Stack::new();
        let engine = stack.start_engine(1);
        thread::yield_now();
        wish(&stack.deferral);
        loom::explore();
        // Somebody else wakes it.
        stack.wakeup.wake();
        stack.submit_for_the_engine(8);
        engine.join().unwrap();
    });
}

/// It is on while two push what is not for a waiter: no time need pass.
#[test]
fn loom_deferral_hears_a_call() {
    check(Some(3), || {
        loom::stop_exploring();
        let stack = Stack::new();
        wish(&stack.deferral);
        let engine = stack.start_engine(2);
        stack.wait_until_on();
        // What it was called for when it turned it on is seen to.
        stack.deferral.answers();
        loom::explore();
        let other = {
            let stack = stack.clone();
            spawn(move || stack.submit_for_the_engine(16))
        };
        stack.submit_for_the_engine(8);
        other.join().unwrap();
        engine.join().unwrap();
    });
}

/// It is turned off by who pushes, while somebody else pushes for the engine.
#[test]
fn loom_deferral_ends_against_a_call() {
    check(Some(3), || {
        loom::stop_exploring();
        let stack = Stack::new();
        wish(&stack.deferral);
        let engine = stack.start_engine(1);
        stack.wait_until_on();
        loom::explore();
        let other = {
            let stack = stack.clone();
            spawn(move || stack.deferral.end())
        };
        stack.submit_for_the_engine(8);
        engine.join().unwrap();
        other.join().unwrap();
    });
}

/// An engine that is left asleep, then exploration.
fn left_asleep(bench: &Bench) -> &'static Runtime {
    loom::stop_exploring();
    let parts = [Part::Intake, Part::Wakeup, Part::Recall, Part::Deferral];
    let runtime = bench.fresh(1, 1, &parts);
    assert_eq!(engine::ensure_running(runtime), Ok(()));
    for _ in 0..3 {
        thread::yield_now();
    }
    wish(&runtime.deferral);
    runtime.wakeup.wake();
    while !runtime.deferral.is_on() {
        thread::yield_now();
    }
    for _ in 0..3 {
        thread::yield_now();
    }
    loom::explore();
    runtime
}

fn wind_up(runtime: &'static Runtime) {
    loom::stop_exploring();
    set_time(LATER, LATER);
    model::end_time();
    model::join_all();
    assert!(runtime.intake.is_closed() && runtime.engine.lock().is_none());
    assert!(runtime.recall.begin(8).is_some(), "it is not free");
}

fn ended(runtime: &'static Runtime, control: &Control) {
    control.wait(runtime);
    assert_eq!((control.error(runtime), control.value(runtime)), (0, 4));
}

/// Nobody waits for the request; it is carried out all the same.
#[test]
fn loom_deferral_leaves_nothing_lying() {
    let bench = Bench::new();
    check(Some(2), move || {
        let fildes = memory_file();
        let runtime = left_asleep(&bench);
        let write = Control::with(fildes, *b"data");
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        set_time(LATER, 0);
        while write.error(runtime) == libc::EINPROGRESS {
            model::pass_time();
            thread::yield_now();
        }
        assert!(!runtime.deferral.is_on(), "it lay there");
        wind_up(runtime);
    });
}

/// Two threads submit and wait, each at once: no time need pass for either.
#[test]
fn loom_deferral_of_two_that_wait() {
    let bench = Bench::new();
    check(Some(2), move || {
        let fildes = memory_file();
        let runtime = left_asleep(&bench);
        let write = Control::with(fildes, *b"data");
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        let other = spawn(move || {
            let read = Control::new(fildes);
            assert_eq!(read.submit(runtime), Ok(()));
            ended(runtime, &read);
            assert_eq!(read.bytes(), *b"data");
        });
        ended(runtime, &write);
        other.join().unwrap();
        wind_up(runtime);
    });
}

/// Who waits for a request that is the engine's to carry out wakes it: no time
/// need pass.
#[test]
fn loom_deferral_ends_for_a_wait() {
    let bench = Bench::new();
    check(Some(3), move || {
        let fildes = memory_file();
        let runtime = left_asleep(&bench);
        let write = Control::with(fildes, *b"data");
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        wait_with_limit(runtime, &write);
        assert_eq!((write.error(runtime), write.value(runtime)), (0, 4));
        wind_up(runtime);
    });
}

/// A beat comes, the last one, while somebody submits and then waits in a way
/// that leaves the request to the engine: no more time need pass.
#[test]
fn loom_deferral_ends_against_a_wait() {
    let bench = Bench::new();
    check(Some(2), move || {
        let fildes = memory_file();
        let runtime = left_asleep(&bench);
        set_time(LATER, 0);
        let time = spawn(model::pass_time);
        let write = Control::with(fildes, *b"data");
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        wait_with_limit(runtime, &write);
        assert_eq!((write.error(runtime), write.value(runtime)), (0, 4));
        time.join().unwrap();
        wind_up(runtime);
    });
}

/// A beat comes while the waiter takes its request back.
#[test]
fn loom_deferral_beat_against_a_recall() {
    let bench = Bench::new();
    check(Some(2), move || {
        let fildes = memory_file();
        let runtime = left_asleep(&bench);
        let time = spawn(model::pass_time);
        for data in [*b"data", *b"more"] {
            let write = Control::with(fildes, data);
            assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
            ended(runtime, &write);
            std::mem::forget(write);
        }
        time.join().unwrap();
        wind_up(runtime);
    });
}
