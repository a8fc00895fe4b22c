//! The engine's start on demand, its end when idle, and both at once.

use loom::thread;

use super::bench::{Bench, Control, Part, check, spawn, zeros};
use crate::engine;
use crate::process::Runtime;
use crate::sync::model;

fn read_one(runtime: &'static Runtime) {
    let control = Control::new(zeros());
    assert_eq!(control.submit(runtime), Ok(()));
    control.wait(runtime);
    assert_eq!((control.error(runtime), control.value(runtime)), (0, 4));
    // Its words may still be looked at in this execution.
    std::mem::forget(control);
}

/// What a start is about; and an end.
const START: &[Part] = &[Part::Intake, Part::Starter];
const END: &[Part] = &[Part::Intake, Part::Starter, Part::Pool];

/// Lets every thread end, and sees that nothing is left.
fn wind_up(runtime: &'static Runtime) {
    loom::stop_exploring();
    model::end_time();
    model::join_all();
    assert!(runtime.intake.is_closed(), "nobody is left to take");
    assert!(runtime.engine.lock().is_none(), "an engine is left");
}

/// Two threads submit where there is no engine: one thread is made, and more
/// could not be had.
#[test]
fn loom_two_first_submissions() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = bench.fresh(1, 1, START);
        let other = spawn(move || read_one(runtime));
        read_one(runtime);
        other.join().unwrap();
        wind_up(runtime);
    });
}

/// The engine wants to end, for it has been idle long, while somebody
/// submits.
#[test]
fn loom_idle_end_against_submission() {
    let bench = Bench::new();
    check(Some(3), move || {
        let runtime = at_rest(&bench);
        model::pass_time();
        read_one(runtime);
        wind_up(runtime);
    });
}

/// An engine that ends slowly while the next one comes and goes.
#[test]
fn loom_two_ends_overlap() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = at_rest(&bench);
        model::pass_time();
        thread::yield_now();
        read_one(runtime);
        model::pass_time();
        thread::yield_now();
        read_one(runtime);
        wind_up(runtime);
    });
}

/// An engine's thread at rest, then exploration.
fn at_rest(bench: &Bench) -> &'static Runtime {
    loom::stop_exploring();
    let runtime = bench.fresh(1, 4, END);
    assert_eq!(engine::ensure_running(runtime), Ok(()));
    thread::yield_now();
    loom::explore();
    runtime
}
