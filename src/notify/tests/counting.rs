//! Overflow: the cap, the counters, the signal, the end of threads.

use super::*;

const RT: c_int = 35;

#[test]
fn beyond_the_cap_equal_ones_merge() {
    in_child(|| {
        block(&[libc::SIGUSR1]);
        let notifier = notifier_with(100);
        // Always the same: one is sent, 100 wait, the rest merge.
        as_library(move || {
            for _ in 0..1000 {
                notifier.post(signal_notice(libc::SIGUSR1, 5));
            }
        });
        let counters = notifier.counters();
        assert_eq!(counters.total.sent, 1);
        assert_eq!(counters.total.waiting, 100);
        assert_eq!(counters.total.merged, 899);
        assert_eq!(counters.episodes, 1);
        for _ in 0..101 {
            let told = take(&[libc::SIGUSR1], Duration::from_secs(5));
            assert_eq!(told, Some(Told::completion(libc::SIGUSR1, 5)));
        }
        assert_eq!(take(&[libc::SIGUSR1], Duration::from_millis(30)), None);
        assert_settled(notifier, 101);
    });
}

/// A batch comes in whole before anybody knows that it has to wait.
#[test]
fn a_batch_beyond_the_cap_merges_afterwards() {
    in_child(|| {
        block(&[libc::SIGUSR1]);
        let notifier = notifier_with(100);
        as_library(move || {
            let mut batch = vec![signal_notice(libc::SIGUSR1, 5); 1000];
            batch[999] = signal_notice(libc::SIGUSR1, 6);
            notifier.post_batch(&mut batch);
        });
        // As a program sees it, without the lock: never more than wait.
        let mut counters = notifier.counters();
        // (The episode is counted a moment after what waits.)
        while counters.total.waiting == 0 || counters.episodes == 0 {
            counters = notifier.counters();
        }
        assert_eq!(counters.total.sent, 1, "{counters:?}");
        // 100, and the one that is different.
        assert_eq!(counters.total.waiting, 101, "{counters:?}");
        assert_eq!(counters.total.merged, 898, "{counters:?}");
        assert_eq!(counters.episodes, 1);
        for at in 0..102 {
            let told = take(&[libc::SIGUSR1], Duration::from_secs(5));
            let value = if at == 101 { 6 } else { 5 };
            assert_eq!(told, Some(Told::completion(libc::SIGUSR1, value)));
        }
        assert_settled(notifier, 102);
        assert!(notifier.backlog.state.lock().nothing_beyond());
    });
}

#[test]
fn beyond_the_cap_different_ones_are_kept() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 0);
        block(&[RT]);
        let notifier = notifier_with(100);
        // 250 values, ten times over.
        as_library(move || {
            for _ in 0..10 {
                for value in 0..250 {
                    notifier.post(signal_notice(RT, value));
                }
            }
        });
        let counters = notifier.counters();
        assert_eq!(counters.total.waiting + counters.total.merged, 2500);
        assert!(
            (250..=350).contains(&counters.total.waiting),
            "{counters:?}"
        );
        limit(libc::RLIMIT_SIGPENDING, 5000);
        let mut seen = [0; 250];
        while let Some(told) = take(&[RT], Duration::from_millis(200)) {
            seen[told.value] += 1;
        }
        assert!(seen.iter().all(|&count| count >= 1));
        let sent = counters.total.waiting;
        assert_eq!(seen.iter().sum::<u64>(), sent);
        assert_settled(notifier, sent);
        assert!(notifier.backlog.state.lock().nothing_beyond());
    });
}

#[test]
fn lists_are_counted_as_lists() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 2);
        block(&[RT]);
        let notifier = notifier();
        as_library(move || {
            for value in 0..10 {
                let event = event(libc::SIGEV_SIGNAL, RT, value);
                let origin = if value % 2 == 0 {
                    Origin::List
                } else {
                    Origin::Request
                };
                // SAFETY: a valid sigevent.
                let notice = unsafe { Notice::read((&raw const event).cast(), origin) };
                notifier.post(notice.unwrap().unwrap());
            }
        });
        let counters = notifier.counters();
        assert_eq!((counters.kind[0].sent, counters.kind[3].sent), (1, 1));
        assert_eq!((counters.kind[0].waiting, counters.kind[3].waiting), (4, 4));
        for value in 0..10 {
            let told = take(&[RT], Duration::from_secs(5));
            assert_eq!(told, Some(Told::completion(RT, value)));
        }
        assert_settled(notifier, 10);
        let counters = notifier.counters();
        assert_eq!((counters.kind[0].late, counters.kind[3].late), (4, 4));
    });
}

static OVERFLOWS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_overflow(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: given by the kernel.
    if unsafe { (*info).si_code } != libc::SI_ASYNCIO {
        OVERFLOWS.fetch_add(1, SeqCst);
    }
}

fn count_handler() -> usize {
    count_overflow as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize
}

/// Fills the queue, lets it empty again.
fn one_episode(notifier: &'static Notifier) {
    let before = notifier.counters();
    as_library(move || {
        for value in 0..20 {
            notifier.post(signal_notice(RT, value));
        }
    });
    wait_for("the episode", || {
        notifier.counters().episodes > before.episodes
    });
    for _ in 0..20 {
        assert!(take(&[RT], Duration::from_secs(5)).is_some());
    }
    assert_settled(notifier, before.total.sent + 20);
}

#[test]
fn the_overflow_signal_comes_once_an_episode() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 4);
        block(&[RT]);
        let notifier = notifier();
        // Auto without a handler: nothing, which would end the process.
        one_episode(notifier);
        handle(libc::SIGIO, count_handler(), libc::SA_SIGINFO);
        for round in 1..=3 {
            one_episode(notifier);
            wait_for("the signal", || OVERFLOWS.load(SeqCst) == round);
        }
        assert_eq!(
            notifier.set_overflow_signal(OverflowSignal::None),
            OverflowSignal::Auto
        );
        one_episode(notifier);
        handle(libc::SIGUSR2, count_handler(), libc::SA_SIGINFO);
        let own = OverflowSignal::Number(libc::SIGUSR2);
        assert_eq!(notifier.set_overflow_signal(own), OverflowSignal::None);
        one_episode(notifier);
        wait_for("the signal", || OVERFLOWS.load(SeqCst) == 4);
        // Also a real-time one, though the queue is full at that time.
        handle(60, count_handler(), libc::SA_SIGINFO);
        assert_eq!(
            notifier.set_overflow_signal(OverflowSignal::Number(60)),
            own
        );
        one_episode(notifier);
        wait_for("the signal", || OVERFLOWS.load(SeqCst) == 5);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(OVERFLOWS.load(SeqCst), 5);
        assert_eq!(notifier.counters().episodes, 7);
    });
}

#[test]
fn sigio_as_completion_signal_is_nothing_else() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 4);
        block(&[RT]);
        handle(libc::SIGIO, count_handler(), libc::SA_SIGINFO);
        let notifier = notifier();
        as_library(move || notifier.post(signal_notice(libc::SIGIO, 1)));
        one_episode(notifier);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(OVERFLOWS.load(SeqCst), 0);
    });
}

#[test]
fn the_line_says_what_happened() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 4);
        block(&[RT]);
        let notifier = notifier();
        notifier.settings.verbose.store(true, Ordering::Relaxed);
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors; 2 is replaced for this test.
        let kept = unsafe {
            libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK);
            let kept = libc::dup(2);
            libc::dup2(ends[1], 2);
            kept
        };
        as_library(move || {
            for value in 0..20 {
                notifier.post(signal_notice(RT, value));
            }
        });
        let written = || {
            let mut bytes = 0;
            // SAFETY: FIONREAD writes an int.
            unsafe { libc::ioctl(ends[0], libc::FIONREAD, &mut bytes) };
            bytes > 0
        };
        wait_for("the line", written);
        for value in 0..20 {
            let told = take(&[RT], Duration::from_secs(5));
            assert_eq!(told, Some(Told::completion(RT, value)));
        }
        assert_settled(notifier, 20);
        let mut text = vec![0u8; 4096];
        // SAFETY: a buffer of the size given; our own descriptors.
        let got = unsafe {
            libc::dup2(kept, 2);
            libc::read(ends[0], text.as_mut_ptr().cast(), text.len())
        };
        text.truncate(got.max(0) as usize);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in [
            "RLIMIT_SIGPENDING",
            "4/4 used",
            "kept, none lost",
            "ulimit -i",
        ] {
            assert!(text.contains(part), "no '{part}' in: {text}");
        }
    });
}

#[test]
fn threads_end_when_idle_and_come_back() {
    in_child(|| {
        limit(libc::RLIMIT_SIGPENDING, 4);
        block(&[RT]);
        let notifier = notifier();
        assert_eq!(own_threads(), 0);
        for _ in 0..3 {
            one_episode(notifier);
            assert!(thread_names().contains(&"aio-shim-notify".to_owned()));
            wait_for("the notifier to end", || own_threads() == 0);
        }
    });
}

#[test]
fn one_at_a_time_needs_no_thread() {
    in_child(|| {
        block(&[RT]);
        let notifier = notifier();
        for value in 0..100 {
            as_library(move || notifier.post(signal_notice(RT, value)));
            assert_eq!(
                take(&[RT], Duration::ZERO),
                Some(Told::completion(RT, value))
            );
        }
        assert_eq!(own_threads(), 0);
        assert_settled(notifier, 100);
    });
}

/// A lane that was stuck for long is looked at early again once it moved:
/// its next entry was not what took so long.
#[test]
fn progress_ends_patience() {
    use crate::notify::lanes::{Done, LaneId, State};
    let tally = crate::notify::tally::Tally::new();
    let mut state = State::new();
    let id = LaneId::signal(libc::SIGUSR1);
    for value in 0..3 {
        let notice = signal_notice(libc::SIGUSR1, value);
        let entry = Waiting { notice, since: 0 };
        state.push(entry, 1000, &tally).unwrap();
    }
    let mut room = [None; 1];
    let mut try_at = |now, done: &[Done], hold| {
        state.claim(id, &mut room, now).unwrap();
        state.settle(id, done, hold, now, 1000, &tally).unwrap() - now
    };
    let pending = Some(Hold::Pending);
    let mut now = 0;
    let first = try_at(now, &[], pending);
    for _ in 0..20 {
        now += 1_000_000_000;
        try_at(now, &[], pending);
    }
    now += 1_000_000_000;
    let long = try_at(now, &[], pending);
    assert!(long > first);
    // Sent, and only then the next one is found pending.
    assert_eq!(try_at(now, &[Done::Sent], None), 0);
    assert_eq!(try_at(now, &[], pending), first);
}
