//! The library as it is, on a file that is memory: one thread waits for what
//! it submitted, and so takes it back, while another does what the engine must
//! hear of in between.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use loom::thread;

use super::super::bench::{
    Bench, Control, Part, check, contents, memory_file, new_file, spawn, wait_for,
};
use crate::abi::{AIO_ALLDONE, AIO_CANCELED, AIO_NOTCANCELED, Aiocb};
use crate::deferral::set_time;
use crate::engine;
use crate::message::{self, Question};
use crate::process::Runtime;
use crate::request::{self, Kind};
use crate::sync::model::{self, place};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;
const DATA: [u8; 4] = *b"data";
const PARTS: &[Part] = &[Part::Intake, Part::Wakeup, Part::Recall, Part::Requests];

/// The word under which an intake without requests keeps what lies below.
const EMPTY: u64 = 2;

/// An engine at rest, then exploration.
fn at_rest(bench: &Bench) -> &'static Runtime {
    loom::stop_exploring();
    let runtime = bench.fresh(1, 1, PARTS);
    model::explore(place(&runtime.load));
    assert_eq!(engine::ensure_running(runtime), Ok(()));
    for _ in 0..3 {
        thread::yield_now();
    }
    loom::explore();
    runtime
}

/// Lets every thread end, and sees that nothing is left. `recalls` counts how
/// often a waiter went to take something back.
fn wind_up(runtime: &'static Runtime, recalls: &AtomicU64) {
    loom::stop_exploring();
    set_time(SECOND, SECOND);
    model::end_time();
    model::join_all();
    assert!(runtime.intake.is_closed() && runtime.engine.lock().is_none());
    assert_eq!(runtime.load.outstanding(), 0);
    let next = runtime.recall.begin(8).expect("it is not free");
    recalls.fetch_add(next.0 - 1, SeqCst);
}

/// Runs a model that is none if no waiter ever takes anything back.
fn check_recalls(preemptions: usize, body: impl Fn(&Bench, &AtomicU64) + Send + Sync + 'static) {
    let recalls = Arc::new(AtomicU64::new(0));
    let counted = recalls.clone();
    let bench = Bench::new();
    check(Some(preemptions), move || body(&bench, &counted));
    let recalls = recalls.load(SeqCst);
    println!("{recalls} recalls");
    assert!(recalls > 0, "nothing was taken back");
}

fn ended(runtime: &'static Runtime, control: &Control) {
    control.wait(runtime);
    assert_eq!((control.error(runtime), control.value(runtime)), (0, 4));
}

/// Another thread reads what the write that was taken back writes.
#[test]
fn loom_recalled_write_then_a_read() {
    check_recalls(2, |bench, recalls| {
        let fildes = memory_file();
        let runtime = at_rest(bench);
        let write = Control::with(fildes, DATA);
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        let other = spawn(move || {
            let read = Control::new(fildes);
            assert_eq!(read.submit(runtime), Ok(()));
            ended(runtime, &read);
            assert_eq!(read.bytes(), DATA);
        });
        ended(runtime, &write);
        other.join().unwrap();
        wind_up(runtime, recalls);
    });
}

/// The waiter cannot carry it out, and the engine finds so, too; what another
/// thread submits meanwhile is carried out, and the engine ends.
#[test]
fn loom_recalled_and_left_to_the_engine() {
    check_recalls(2, |bench, recalls| {
        let fildes = memory_file();
        let runtime = at_rest(bench);
        let path = format!("/proc/self/fd/{fildes}\0");
        // SAFETY: a C string.
        let unreadable = unsafe { libc::open(path.as_ptr().cast(), libc::O_WRONLY) };
        let read = Control::new(unreadable);
        assert_eq!(read.submit(runtime), Ok(()));
        let other = spawn(move || {
            let write = Control::with(fildes, DATA);
            assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
            ended(runtime, &write);
        });
        read.wait(runtime);
        assert_eq!(read.error(runtime), libc::EBADF);
        other.join().unwrap();
        wind_up(runtime, recalls);
        // SAFETY: a number.
        unsafe { libc::syscall(libc::SYS_close, unreadable) };
    });
}

/// The same with nothing behind it that would clear the intake.
#[test]
fn loom_recalled_and_left_behind() {
    check_recalls(2, |bench, recalls| {
        let fildes = memory_file();
        let runtime = at_rest(bench);
        let path = format!("/proc/self/fd/{fildes}\0");
        // SAFETY: a C string.
        let unreadable = unsafe { libc::open(path.as_ptr().cast(), libc::O_WRONLY) };
        let read = Control::new(unreadable);
        assert_eq!(read.submit(runtime), Ok(()));
        read.wait(runtime);
        assert_eq!(read.error(runtime), libc::EBADF);
        wind_up(runtime, recalls);
        // SAFETY: a number.
        unsafe { libc::syscall(libc::SYS_close, unreadable) };
    });
}

fn cancel(runtime: &'static Runtime, fildes: c_int, one: Option<Aiocb>) -> i32 {
    // The message lies in a frame near this one: explored, too.
    let here = (&raw const one).addr();
    model::explore(here - 4096..here + 4096);
    // SAFETY: the control blocks of these models outlive the call.
    unsafe { engine::cancel(runtime, fildes, one) }
}

/// What aio_cancel says of a request that its waiter may have taken back is
/// true when it says so, and each request ends once.
fn cancelled_meanwhile(all: bool) {
    check_recalls(2, move |bench, recalls| {
        let fildes = memory_file();
        let runtime = at_rest(bench);
        let write = Arc::new(Control::with(fildes, DATA));
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        let other = {
            let write = write.clone();
            spawn(move || {
                let verdict = cancel(runtime, fildes, (!all).then(|| write.cb()));
                match verdict {
                    AIO_CANCELED => assert_eq!(write.error(runtime), libc::ECANCELED),
                    AIO_ALLDONE => assert_eq!(write.error(runtime), 0),
                    _ => assert_eq!(verdict, AIO_NOTCANCELED),
                }
                verdict
            })
        };
        write.wait(runtime);
        let result = (write.error(runtime), write.value(runtime));
        let (expected, bytes) = match other.join().unwrap() {
            AIO_CANCELED => ((libc::ECANCELED, -1), [0; 4]),
            _ => ((0, 4), DATA),
        };
        assert_eq!(result, expected);
        wind_up(runtime, recalls);
        assert_eq!(contents(fildes), bytes);
        assert_eq!(result, (write.error(runtime), write.value(runtime)));
    });
}

#[test]
fn loom_cancel_of_a_recalled_request() {
    cancelled_meanwhile(false);
}

#[test]
fn loom_cancel_all_against_a_recall() {
    cancelled_meanwhile(true);
}

/// A descriptor is closed and its number another file's while a waiter may
/// have a write to it: that goes to the file it was submitted for.
#[test]
fn loom_close_against_a_recall() {
    let [number, first, second] = [new_file(), new_file(), new_file()];
    let put = move |file: c_int| {
        // SAFETY: numbers.
        assert!(unsafe { libc::syscall(libc::SYS_dup3, file, number, 0) } >= 0);
    };
    check_recalls(2, move |bench, recalls| {
        for file in [first, second] {
            // SAFETY: a number.
            unsafe { libc::ftruncate(file, 0) };
        }
        put(first);
        let runtime = at_rest(bench);
        let write = Control::with(number, DATA);
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        let other = spawn(move || {
            runtime.hints.forget(number);
            if runtime.load.of_descriptor(number) {
                let question = Question::Close {
                    first: number,
                    last: number,
                };
                let here = (&raw const question).addr();
                model::explore(here - 4096..here + 4096);
                assert_eq!(message::ask(runtime, question), Ok(0));
            }
            put(second);
        });
        ended(runtime, &write);
        other.join().unwrap();
        wind_up(runtime, recalls);
        assert_eq!((contents(first), contents(second)), (DATA, [0; 4]));
    });
}

/// A thread waits for a request that another is just submitting, behind a
/// write that the engine has: it must not carry out the one before the other.
#[test]
fn loom_recall_by_another_than_the_submitter() {
    check_recalls(2, |bench, recalls| {
        let fildes = memory_file();
        let runtime = at_rest(bench);
        // The engine stops before it knows of the write.
        model::set_gate(runtime.load.places(fildes)[1].start);
        let write = Control::with(fildes, DATA);
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        let read = Arc::new(Control::new(fildes));
        // Until it is submitted.
        // SAFETY: a valid control block that is not in progress.
        unsafe { request::refuse(read.cb(), libc::ECANCELED) };
        let other = {
            let read = read.clone();
            spawn(move || {
                while read.error(runtime) == libc::ECANCELED {
                    thread::yield_now();
                }
                ended(runtime, &read);
                assert_eq!(read.bytes(), DATA);
            })
        };
        assert_eq!(read.submit(runtime), Ok(()));
        model::open_gate();
        other.join().unwrap();
        ended(runtime, &write);
        wind_up(runtime, recalls);
    });
}

/// What a waiter of two took back, and leaves to the engine, is younger than
/// what the engine has just taken, below which lies the number of a recall
/// that is over.
#[test]
fn loom_recall_behind_an_old_number() {
    check_recalls(2, |bench, recalls| {
        let fildes = memory_file();
        let runtime = at_rest(bench);
        loom::stop_exploring();
        let number = runtime.recall.begin(8).unwrap();
        assert!(runtime.intake.recall(EMPTY, number));
        runtime.recall.give_up(number);
        loom::explore();
        let write = Control::with(fildes, DATA);
        let read = Control::new(fildes);
        assert_eq!(write.submit_as(runtime, Kind::Write), Ok(()));
        assert_eq!(read.submit(runtime), Ok(()));
        wait_for(runtime, &[&write, &read]);
        ended(runtime, &read);
        ended(runtime, &write);
        assert_eq!(read.bytes(), DATA);
        wind_up(runtime, recalls);
    });
}
