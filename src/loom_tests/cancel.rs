//! aio_cancel's message against the completion it may come too late for.

use std::sync::Arc;

use super::bench::{Bench, Control, Part, check, spawn, zeros};
use crate::abi::{AIO_ALLDONE, AIO_CANCELED, AIO_NOTCANCELED, Aiocb};
use crate::engine;
use crate::process::Runtime;
use crate::sync::model;

fn cancel(runtime: &'static Runtime, one: Option<Aiocb>) -> i32 {
    // The message lies in a frame near this one: explored, too.
    let here = (&raw const one).addr();
    model::explore(here - 4096..here + 4096);
    // SAFETY: the control blocks of these models outlive the call.
    unsafe { engine::cancel(runtime, zeros(), one) }
}

fn start(bench: &Bench) -> &'static Runtime {
    let parts = [
        Part::Intake,
        Part::Load,
        Part::Wakeup,
        Part::Engine,
        Part::Pool,
        Part::Requests,
    ];
    bench.fresh(2, 2, &parts)
}

fn wind_up(runtime: &'static Runtime) {
    loom::stop_exploring();
    model::end_time();
    model::join_all();
    assert!(runtime.intake.is_closed() && runtime.engine.lock().is_none());
}

/// The verdict is true when it is given, and each request ends once.
#[test]
fn loom_cancel_against_completion() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = start(&bench);
        let control = Control::new(zeros());
        assert_eq!(control.submit(runtime), Ok(()));
        let verdict = cancel(runtime, Some(control.cb()));
        match verdict {
            AIO_CANCELED => assert_eq!(control.error(runtime), libc::ECANCELED),
            AIO_ALLDONE => assert_eq!(control.error(runtime), 0),
            _ => assert_eq!(verdict, AIO_NOTCANCELED),
        }
        control.wait(runtime);
        let result = (control.error(runtime), control.value(runtime));
        let expected = if verdict == AIO_CANCELED {
            (libc::ECANCELED, -1)
        } else {
            (0, 4)
        };
        assert_eq!(result, expected);
        wind_up(runtime);
        assert_eq!(result, (control.error(runtime), control.value(runtime)));
    });
}

/// All of a descriptor at once.
#[test]
fn loom_cancel_all_of_a_descriptor() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = start(&bench);
        let controls = [Control::new(zeros()), Control::new(zeros())];
        for control in &controls {
            assert_eq!(control.submit(runtime), Ok(()));
        }
        let verdict = cancel(runtime, None);
        let ended = |error| {
            controls
                .iter()
                .filter(|control| control.error(runtime) == error)
                .count()
        };
        match verdict {
            AIO_CANCELED => assert!(ended(libc::ECANCELED) > 0 && ended(libc::EINPROGRESS) == 0),
            AIO_ALLDONE => assert_eq!(ended(0), 2),
            _ => assert_eq!(verdict, AIO_NOTCANCELED),
        }
        for control in &controls {
            control.wait(runtime);
        }
        assert_eq!(ended(0) + ended(libc::ECANCELED), 2);
        wind_up(runtime);
    });
}

/// Who finds nothing outstanding, and does not ask, finds all complete.
#[test]
fn loom_cancel_asks_while_anything_is_in_progress() {
    let bench = Bench::new();
    check(Some(2), move || {
        let runtime = bench.fresh(1, 1, &[Part::Intake, Part::Load, Part::Requests]);
        let control = Control::new(zeros());
        assert_eq!(control.submit(runtime), Ok(()));
        let verdict = cancel(runtime, None);
        match verdict {
            AIO_CANCELED => assert_eq!(control.error(runtime), libc::ECANCELED),
            AIO_ALLDONE => assert_eq!(control.error(runtime), 0),
            _ => assert_eq!(verdict, AIO_NOTCANCELED),
        }
        control.wait(runtime);
        wind_up(runtime);
    });
}

/// A request that another thread is just submitting: what is said of it is
/// true all the same.
#[test]
fn loom_cancel_against_submission() {
    let bench = Bench::new();
    check(Some(2), move || {
        loom::stop_exploring();
        let runtime = bench.fresh(1, 1, &[Part::Intake, Part::Requests]);
        let first = Control::new(zeros());
        assert_eq!(first.submit(runtime), Ok(()));
        first.wait(runtime);
        loom::explore();
        let control = Arc::new(Control::new(zeros()));
        let submitting = {
            let control = control.clone();
            spawn(move || assert_eq!(control.submit(runtime), Ok(())))
        };
        let before = control.error(runtime);
        let verdict = cancel(runtime, Some(control.cb()));
        match verdict {
            AIO_CANCELED => assert_eq!(control.error(runtime), libc::ECANCELED),
            // Complete, or not begun when it was asked.
            AIO_ALLDONE if before == libc::EINPROGRESS => assert_eq!(control.error(runtime), 0),
            AIO_ALLDONE => {}
            _ => assert_eq!(verdict, AIO_NOTCANCELED),
        }
        submitting.join().unwrap();
        control.wait(runtime);
        let result = (control.error(runtime), control.value(runtime));
        let expected = if verdict == AIO_CANCELED {
            (libc::ECANCELED, -1)
        } else {
            (0, 4)
        };
        assert_eq!(result, expected);
        wind_up(runtime);
    });
}
