//! Completion against waiting: the status word, the marks, the slots.

use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

use super::bench::{Bench, Control, Part, check, spawn, wait_for, zeros};
use crate::abi::LIO_WAIT;
use crate::listio;
use crate::process::Runtime;
use crate::request;
use crate::sync::atomic::Ordering;
use crate::sync::model;
use crate::wait::{Deadline, Wakes, wait_any};

/// Completes a request as a lane does: the data, the result, the wake.
fn complete(runtime: &Runtime, control: &Control, data: Option<&UnsafeCell<u32>>) {
    if let Some(data) = data {
        // SAFETY: loom's own check.
        data.with_mut(|place| unsafe { *place = 7 });
    }
    let mut wakes = Wakes::new();
    // SAFETY: claimed by the model, completed once.
    wakes.add(unsafe { request::publish(control.cb(), Ok(4)) });
    wakes.flush(&runtime.slots);
}

/// Whoever sees the end of a request sees its result and its data.
fn has_result(runtime: &Runtime, control: &Control, data: &UnsafeCell<u32>) {
    assert_eq!(control.error(runtime), 0);
    assert_eq!(control.value(runtime), 4);
    // SAFETY: loom's own check.
    assert_eq!(data.with(|place| unsafe { *place }), 7);
}

struct Data(UnsafeCell<u32>);
// SAFETY: loom checks the accesses.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

fn data() -> Arc<Data> {
    Arc::new(Data(UnsafeCell::new(0)))
}

/// Two threads wait for one request.
fn two_waiters(marks: usize) {
    let bench = Bench::new();
    check(Some(3), move || {
        let runtime = bench.fresh(1, 0, &[Part::Requests]);
        model::set_marks(marks);
        let control = Arc::new(Control::new(0));
        let data = data();
        control.claim(runtime);
        let lane = {
            let (control, data) = (control.clone(), data.clone());
            spawn(move || complete(runtime, &control, Some(&data.0)))
        };
        let other = {
            let (control, data) = (control.clone(), data.clone());
            spawn(move || {
                control.wait(runtime);
                has_result(runtime, &control, &data.0);
            })
        };
        control.wait(runtime);
        has_result(runtime, &control, &data.0);
        other.join().unwrap();
        lane.join().unwrap();
    });
}

#[test]
fn loom_a_waiter_sees_the_completion() {
    let bench = Bench::new();
    check(None, move || {
        let runtime = bench.fresh(1, 0, &[Part::Requests]);
        let control = Arc::new(Control::new(0));
        let data = data();
        control.claim(runtime);
        let lane = {
            let (control, data) = (control.clone(), data.clone());
            spawn(move || complete(runtime, &control, Some(&data.0)))
        };
        control.wait(runtime);
        has_result(runtime, &control, &data.0);
        lane.join().unwrap();
    });
}

#[test]
fn loom_two_waiters_for_one_request() {
    two_waiters(0);
}

/// The same, with threads that hash to one slot.
#[test]
fn loom_two_waiters_share_a_slot() {
    two_waiters(1);
}

/// Each of two threads waits for its own request, in one slot: the wake of
/// the one is a wake for nothing to the other, which must sleep on.
#[test]
fn loom_a_wake_for_somebody_else() {
    let bench = Bench::new();
    check(Some(3), move || {
        let runtime = bench.fresh(1, 0, &[Part::Requests]);
        model::set_marks(1);
        let controls = [Arc::new(Control::new(0)), Arc::new(Control::new(0))];
        for control in &controls {
            control.claim(runtime);
        }
        let lane = {
            let controls = controls.clone();
            spawn(move || {
                complete(runtime, &controls[0], None);
                complete(runtime, &controls[1], None);
            })
        };
        let other = {
            let control = controls[1].clone();
            spawn(move || control.wait(runtime))
        };
        controls[0].wait(runtime);
        other.join().unwrap();
        lane.join().unwrap();
    });
}

/// A list of two, of which either may be the first; the other follows.
#[test]
fn loom_a_list_wakes_for_either() {
    let bench = Bench::new();
    check(Some(3), move || {
        let runtime = bench.fresh(1, 0, &[Part::Requests]);
        let controls = [Arc::new(Control::new(0)), Arc::new(Control::new(0))];
        for control in &controls {
            control.claim(runtime);
        }
        let lanes = controls
            .clone()
            .map(|control| spawn(move || complete(runtime, &control, None)));
        wait_for(runtime, &[&controls[0], &controls[1]]);
        let done = |control: &Arc<Control>| control.error(runtime) == 0;
        assert!(controls.iter().any(done), "woken for nothing");
        controls[0].wait(runtime);
        controls[1].wait(runtime);
        for lane in lanes {
            lane.join().unwrap();
        }
    });
}

/// A request that completes and is at once submitted again, by its handler,
/// and does not complete any more: who waited for the first one comes back.
#[test]
fn loom_submitted_again_at_once() {
    let bench = Bench::new();
    check(Some(4), move || {
        let runtime = bench.fresh(1, 0, &[Part::Requests]);
        let control = Arc::new(Control::new(0));
        control.claim(runtime);
        let lane = {
            let control = control.clone();
            spawn(move || {
                // Once the waiter is known to wait for this one.
                // SAFETY: a valid control block.
                let status = unsafe { control.cb().status() };
                while request::mark_of(status.load(Ordering::Acquire)) == 0 {
                    thread::yield_now();
                }
                complete(runtime, &control, None);
                control.claim(runtime);
            })
        };
        wait_for(runtime, &[&control]);
        lane.join().unwrap();
        assert_eq!(control.error(runtime), libc::EINPROGRESS);
    });
}

/// A program that never waits, but asks for the error until it is there.
#[test]
fn loom_aio_error_comes_with_the_data() {
    let bench = Bench::new();
    check(None, move || {
        let runtime = bench.fresh(1, 0, &[Part::Requests]);
        let control = Arc::new(Control::new(0));
        let data = data();
        control.claim(runtime);
        let lane = {
            let (control, data) = (control.clone(), data.clone());
            spawn(move || complete(runtime, &control, Some(&data.0)))
        };
        while control.error(runtime) == libc::EINPROGRESS {
            thread::yield_now();
        }
        // SAFETY: loom's own check.
        assert_eq!(data.0.with(|place| unsafe { *place }), 7);
        has_result(runtime, &control, &data.0);
        lane.join().unwrap();
    });
}

/// The time limit against a completion that was before it: it is found,
/// also where its wake comes too late.
#[test]
fn loom_the_time_is_over() {
    let bench = Bench::new();
    check(None, move || {
        let runtime = bench.fresh(1, 0, &[Part::Requests]);
        let control = Arc::new(Control::new(0));
        control.claim(runtime);
        let lane = {
            let control = control.clone();
            spawn(move || {
                let mut wakes = Wakes::new();
                // SAFETY: claimed by the model, completed once.
                wakes.add(unsafe { request::publish(control.cb(), Ok(4)) });
                model::end_time();
                wakes.flush(&runtime.slots);
            })
        };
        let hour = libc::timespec {
            tv_sec: 3600,
            tv_nsec: 0,
        };
        let deadline = Deadline::after(&hour).unwrap();
        let entry = control.cb().as_ptr().cast_const();
        // SAFETY: a valid list of one.
        let waited = unsafe { wait_any(runtime, &raw const entry, 1, Some(deadline)) };
        assert_eq!(waited, Ok(()), "the completion came before the end of time");
        assert_eq!(control.error(runtime), 0);
        lane.join().unwrap();
    });
}

/// A list ends while its caller waits, or before; the place is then another's,
/// whose list ends as well. A wake that comes late finds the next one there,
/// who looks again.
#[test]
fn loom_a_list_ends_and_its_place_is_taken_again() {
    let bench = Bench::new();
    check(None, move || {
        let runtime = bench.fresh(1, 0, &[Part::Lists]);
        let first = runtime.lists.enter(0).unwrap();
        let second = runtime.lists.enter(0).unwrap();
        assert_eq!((first, second), (0, 1));
        let lane = spawn(move || {
            runtime.lists.end(first, true);
            runtime.lists.end(second, false);
        });
        assert_eq!(runtime.lists.wait(first), Ok(true));
        assert_eq!(runtime.lists.enter(0), Some(0), "it was given up");
        runtime.lists.give_back(0);
        assert_eq!(runtime.lists.wait(second), Ok(false));
        lane.join().unwrap();
    });
}

/// A list whose caller finds every place taken is refused whole, and nothing
/// of it is left behind.
#[test]
fn loom_a_list_without_a_place_is_refused() {
    let bench = Bench::new();
    check(None, move || {
        let runtime = bench.fresh(1, 0, &[Part::Lists, Part::Requests]);
        while runtime.lists.enter(0).is_some() {}
        // Somebody would take it.
        runtime.intake.open();
        let control = Arc::new(Control::new(zeros()));
        let looker = {
            let control = control.clone();
            spawn(move || {
                let seen = control.error(runtime);
                assert!(
                    [0, libc::EINPROGRESS, libc::EAGAIN].contains(&seen),
                    "{seen}"
                );
            })
        };
        let entry = control.cb().as_ptr();
        let list = &raw const entry;
        // SAFETY: a valid list of one, to be read.
        let answer = unsafe { listio::submit_to(runtime, LIO_WAIT, list, 1, std::ptr::null()) };
        assert_eq!(answer, Err(libc::EAGAIN));
        assert_eq!(control.error(runtime), libc::EAGAIN);
        assert!(runtime.intake.is_empty());
        assert!(!runtime.load.of_descriptor(zeros()) && !runtime.load.is_coming(zeros()));
        looker.join().unwrap();
    });
}
