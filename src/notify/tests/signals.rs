//! Signals: order, values, gating, limits.

use super::*;

const RT: c_int = 34;

/// Posts `count` notices of one signal, values 1 to `count`, one by one.
fn post_all(notifier: &'static Notifier, signo: c_int, count: usize) {
    for value in 1..=count {
        notifier.post(signal_notice(signo, value));
    }
}

/// Takes `count` of one signal: each value once, in order, complete.
fn collect(signo: c_int, count: usize) {
    for value in 1..=count {
        let told = take(&[signo], Duration::from_secs(20));
        assert_eq!(told, Some(Told::completion(signo, value)));
    }
    assert_eq!(take(&[signo], Duration::from_millis(30)), None);
}

#[test]
fn two_thousand_through_a_queue_of_64() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 64);
        block(&[RT]);
        let notifier = notifier();
        as_library(move || post_all(notifier, RT, 2000));
        let during = notifier.counters();
        assert_eq!(during.total.sent, 64, "{during:?}");
        assert_eq!(during.total.waiting, 1936, "{during:?}");
        collect(RT, 2000);
        assert_settled(notifier, 2000);
        let counters = notifier.counters();
        assert_eq!(counters.total.deferred, 1936);
        assert_eq!(counters.total.late, 1936);
        assert_eq!(counters.kind[0], counters.total);
        assert_eq!(counters.peak_waiting, 1936);
        assert_eq!(counters.episodes, 1);
        assert!(counters.longest_delay_ns > 0);
    });
}

#[test]
fn batches_keep_order_too() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 64);
        block(&[RT]);
        let notifier = notifier();
        let poster = start_library_thread(move || {
            for batch in 0..200 {
                let mut notices: Vec<Notice> = (1..=20)
                    .map(|at| signal_notice(RT, batch * 20 + at))
                    .collect();
                notifier.post_batch(&mut notices);
            }
        });
        collect(RT, 4000);
        poster.join().unwrap();
        assert_settled(notifier, 4000);
    });
}

#[test]
fn signals_do_not_hold_each_other_up() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 64);
        let all = [RT, RT + 1, RT + 2, RT + 3];
        block(&all);
        let notifier = notifier();
        let poster = start_library_thread(move || {
            for value in 1..=1000 {
                for signo in all {
                    notifier.post(signal_notice(signo, value));
                }
            }
        });
        // One after the other: the first is served to its end while the
        // others fill the queue together.
        let mut next = [1usize; 4];
        while next.iter().any(|&next| next <= 1000) {
            let told = take(&all, Duration::from_secs(20)).expect("a signal");
            let at = (told.signo - RT) as usize;
            assert_eq!(told, Told::completion(RT + at as c_int, next[at]));
            next[at] += 1;
        }
        poster.join().unwrap();
        assert_settled(notifier, 4000);
    });
}

#[test]
fn a_limit_of_nothing_that_is_raised() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 0);
        block(&[RT, libc::SIGUSR1]);
        let notifier = notifier();
        as_library(move || {
            post_all(notifier, RT, 100);
            post_all(notifier, libc::SIGUSR1, 3);
        });
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(take(&[RT, libc::SIGUSR1], Duration::ZERO), None);
        assert_eq!(notifier.counters().total.waiting, 103);
        limit(libc::RLIMIT_SIGPENDING, 500);
        collect(RT, 100);
        collect(libc::SIGUSR1, 3);
        assert_settled(notifier, 103);
        assert_eq!(notifier.counters().episodes, 1);
    });
}

#[test]
fn a_thousand_standard_signals_by_handler() {
    in_child(|| {
        handle(libc::SIGUSR1, log_handler(), libc::SA_SIGINFO);
        let notifier = notifier();
        as_library(move || post_all(notifier, libc::SIGUSR1, 1000));
        wait_for("all handlers", || LOG.len() >= 1000);
        assert_settled(notifier, 1000);
        assert_eq!(LOG.values(), (1..=1000).collect::<Vec<_>>());
        assert!(!LOG.bad.load(SeqCst));
        // Waiting for one's turn is no overflow.
        assert_eq!(notifier.counters().episodes, 0);
    });
}

#[test]
fn a_standard_signal_blocked_for_a_while() {
    in_child(|| {
        handle(libc::SIGUSR1, log_handler(), libc::SA_SIGINFO);
        block(&[libc::SIGUSR1]);
        let notifier = notifier();
        as_library(move || post_all(notifier, libc::SIGUSR1, 500));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(LOG.len(), 0);
        assert_eq!(notifier.counters().total.waiting, 499);
        unblock(&[libc::SIGUSR1]);
        wait_for("all handlers", || LOG.len() >= 500);
        assert_settled(notifier, 500);
        assert_eq!(LOG.values(), (1..=500).collect::<Vec<_>>());
        assert_eq!(notifier.counters().kind[1].late, 499);
    });
}

#[test]
fn two_standard_signals_at_once_from_many_posters() {
    in_child(|| {
        handle(libc::SIGUSR1, log_handler(), libc::SA_SIGINFO);
        handle(libc::SIGUSR2, log_handler(), libc::SA_SIGINFO);
        let notifier = notifier();
        let posters: Vec<_> = (0..4)
            .map(|poster| {
                start_library_thread(move || {
                    for at in 0..500 {
                        let signo = if at % 2 == 0 {
                            libc::SIGUSR1
                        } else {
                            libc::SIGUSR2
                        };
                        notifier.post(signal_notice(signo, poster * 1000 + at));
                    }
                })
            })
            .collect();
        for poster in posters {
            poster.join().unwrap();
        }
        wait_for("all handlers", || LOG.len() >= 2000);
        assert_settled(notifier, 2000);
        let mut values = LOG.values();
        values.sort_unstable();
        let expected: Vec<usize> = (0..4)
            .flat_map(|poster| (0..500).map(move |at| poster * 1000 + at))
            .collect();
        assert_eq!(values, expected);
        assert!(!LOG.bad.load(SeqCst));
    });
}

#[test]
fn a_standard_signal_waits_for_room_for_its_value() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 8);
        block(&[RT, libc::SIGUSR1]);
        let notifier = notifier();
        as_library(move || {
            post_all(notifier, RT, 8);
            post_all(notifier, libc::SIGUSR1, 1);
        });
        assert_eq!(take(&[libc::SIGUSR1], Duration::from_millis(50)), None);
        assert_eq!(notifier.counters().episodes, 1);
        collect(RT, 8);
        collect(libc::SIGUSR1, 1);
        assert_settled(notifier, 9);
    });
}

/// Between the look for room and the sending of a standard signal nobody
/// else of the library sends.
#[test]
fn looking_for_room_and_sending_take_turns() {
    in_child(|| {
        handle(libc::SIGUSR1, log_handler(), libc::SA_SIGINFO);
        handle(RT, log_handler(), libc::SA_SIGINFO);
        let notifier = notifier();
        let sending = notifier.turns.share();
        as_library(move || post_all(notifier, libc::SIGUSR1, 1));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(LOG.len(), 0);
        drop(sending);
        wait_for("the standard signal", || LOG.len() == 1);

        // The handler ran before the sender gave its turn back.
        wait_for("the turn", || notifier.turns.alone(1).is_some());
        let looking = notifier.turns.alone(1).unwrap();
        as_library(move || post_all(notifier, RT, 1));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(LOG.len(), 1);
        drop(looking);
        wait_for("the real-time signal", || LOG.len() == 2);
        assert_settled(notifier, 2);
        // Nobody refused anything.
        assert_eq!(notifier.counters().total.deferred, 0);
    });
}

#[test]
fn a_plain_handler_needs_no_room() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn plain(_: c_int) {
        RUNS.fetch_add(1, SeqCst);
    }
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 0);
        handle(libc::SIGUSR1, plain as extern "C" fn(c_int) as usize, 0);
        let notifier = notifier();
        as_library(move || post_all(notifier, libc::SIGUSR1, 50));
        wait_for("all handlers", || RUNS.load(SeqCst) >= 50);
        assert_settled(notifier, 50);
        assert_eq!(RUNS.load(SeqCst), 50);
    });
}

#[test]
fn the_probe_is_never_seen() {
    in_child(|| {
        // The probe is signal 63; the program's own 63s must come through
        // untouched while standard signals are probed for.
        block(&[63]);
        handle(libc::SIGUSR1, log_handler(), libc::SA_SIGINFO);
        let notifier = notifier();
        let posters = start_library_thread(move || {
            for value in 1..=500 {
                notifier.post(signal_notice(63, value));
                notifier.post(signal_notice(libc::SIGUSR1, value));
            }
        });
        collect(63, 500);
        posters.join().unwrap();
        wait_for("all handlers", || LOG.len() >= 500);
        assert_settled(notifier, 1000);
        assert!(!LOG.bad.load(SeqCst));
    });
}

#[test]
fn a_signal_to_a_thread() {
    in_child(|| {
        block(&[RT]);
        // SAFETY: no preconditions.
        let own = unsafe { libc::syscall(libc::SYS_gettid) } as c_int;
        let notifier = notifier();
        let notice = move |thread: c_int, value| {
            let mut event = event(libc::SIGEV_THREAD_ID, RT, value);
            event.how.thread = thread;
            read(&event).unwrap().unwrap()
        };
        limit(libc::RLIMIT_SIGPENDING, 10);
        as_library(move || {
            for value in 1..=100 {
                notifier.post(notice(own, value));
            }
        });
        collect(RT, 100);
        // A thread that has ended.
        let ended = std::thread::spawn(|| {
            // SAFETY: no preconditions.
            unsafe { libc::syscall(libc::SYS_gettid) as c_int }
        })
        .join()
        .unwrap();
        as_library(move || notifier.post(notice(ended, 7)));
        assert_settled(notifier, 100);
        assert_eq!(notifier.counters().undeliverable, 1);
    });
}

#[test]
fn what_a_sigevent_may_ask() {
    let ask = |notify, signo| read(&event(notify, signo, 1)).map(|notice| notice.is_some());
    assert_eq!(ask(libc::SIGEV_NONE, 0), Ok(false));
    assert_eq!(ask(libc::SIGEV_NONE, 99), Ok(false));
    assert_eq!(ask(libc::SIGEV_SIGNAL, 0), Ok(false));
    assert_eq!(ask(12345, 10), Ok(false));
    for signo in (1..=31).chain(34..=64) {
        assert_eq!(ask(libc::SIGEV_SIGNAL, signo), Ok(true), "{signo}");
    }
    for signo in [-1, 32, 33, 65, i32::MIN, i32::MAX] {
        assert_eq!(ask(libc::SIGEV_SIGNAL, signo), Err(libc::EINVAL), "{signo}");
    }
    assert_eq!(ask(libc::SIGEV_THREAD, 0), Err(libc::EINVAL));
    assert_eq!(ask(libc::SIGEV_THREAD_ID, 34), Err(libc::EINVAL));
    assert_eq!(ask(SIGEV_AIO_SHIM_EVENTFD, -1), Err(libc::EBADF));
    assert_eq!(ask(SIGEV_AIO_SHIM_EVENTFD, 5), Ok(true));
}
