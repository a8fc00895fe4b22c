//! The pool's threads: leader and followers without a ring, workers of a
//! ring's engine.

use std::sync::Arc;

use loom::thread;

use super::bench::{Bench, Control, ENGINE, Part, check, other_zeros, spawn, zeros};
use crate::process::Runtime;
use crate::sync::model;
use crate::sys;

fn ended(runtime: &'static Runtime, control: &Control) {
    control.wait(runtime);
    assert_eq!((control.error(runtime), control.value(runtime)), (0, 4));
}

/// An engine with two threads at rest, then exploration.
fn at_rest(bench: &Bench, gate: bool, threads: usize) -> &'static Runtime {
    loom::stop_exploring();
    let runtime = bench.fresh(2, threads, ENGINE);
    let first = Control::new(zeros());
    assert_eq!(first.submit(runtime), Ok(()));
    ended(runtime, &first);
    std::mem::forget(first);
    for _ in 0..3 {
        thread::yield_now();
    }
    if gate {
        model::set_gate(runtime.load.places(zeros())[0].start);
    }
    loom::explore();
    runtime
}

fn wind_up(runtime: &'static Runtime) {
    loom::stop_exploring();
    model::end_time();
    model::join_all();
    assert!(runtime.intake.is_closed() && runtime.engine.lock().is_none());
}

/// Two threads submit one request each to leader and follower at rest.
#[test]
fn loom_leader_and_follower() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = at_rest(&bench, false, 2);
        let controls = [zeros(), other_zeros()].map(|fildes| Arc::new(Control::new(fildes)));
        let other = {
            let control = controls[1].clone();
            spawn(move || {
                assert_eq!(control.submit(runtime), Ok(()));
                ended(runtime, &control);
            })
        };
        assert_eq!(controls[0].submit(runtime), Ok(()));
        ended(runtime, &controls[0]);
        other.join().unwrap();
        wind_up(runtime);
    });
}

/// A job that takes long delays no submission: there is a thread to lead.
#[test]
fn loom_a_long_job_delays_nobody() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = at_rest(&bench, true, 4);
        let long = Control::new(zeros());
        let short = Control::new(other_zeros());
        assert_eq!(long.submit(runtime), Ok(()));
        assert_eq!(short.submit(runtime), Ok(()));
        ended(runtime, &short);
        model::open_gate();
        ended(runtime, &long);
        wind_up(runtime);
    });
}

/// The same while threads that were idle for long want to end.
#[test]
fn loom_a_long_job_and_idle_threads() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = at_rest(&bench, true, 4);
        let long = Control::new(zeros());
        let short = Control::new(other_zeros());
        assert_eq!(long.submit(runtime), Ok(()));
        model::pass_time();
        assert_eq!(short.submit(runtime), Ok(()));
        ended(runtime, &short);
        model::open_gate();
        ended(runtime, &long);
        wind_up(runtime);
    });
}

/// With a ring: an engine that sleeps hears of each job's end when it wants
/// to. The engine is played by the model, as its thread sleeps in `start`
/// (the ring's part is a futex call with the sample).
#[test]
fn loom_the_end_of_a_job_wakes_the_engine() {
    let bench = Bench::new();
    check(Some(3), move || {
        let runtime = bench.fresh(2, 2, &[Part::Wakeup, Part::Pool]);
        let pool = &runtime.pool;
        pool.set_leads(false);
        let controls = [zeros(), other_zeros()].map(Control::new);
        let mut left = 0;
        for (index, control) in controls.iter().enumerate() {
            control.claim(runtime);
            pool.push(&mut vec![control.job(index as u32)]);
            assert!(pool.staff(runtime, false));
            left += 1;
        }
        let mut done = Vec::new();
        while left > 0 {
            pool.engine_wants(true);
            let sample = runtime.wakeup.prepare();
            if !pool.has_done() {
                let _ = sys::futex_wait(runtime.wakeup.word(), sample, None);
            }
            runtime.wakeup.awake();
            pool.take_done(&mut done);
            left -= done.len();
            for done in done.drain(..) {
                let control = &controls[done.handle.as_u32() as usize];
                assert_eq!((control.error(runtime), control.value(runtime)), (0, 4));
            }
        }
        loom::stop_exploring();
        model::end_time();
        model::join_all();
    });
}
