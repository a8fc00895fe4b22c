//! Everything at once, under limits that change all the time.

use super::*;

/// Notifications in one run.
const TOTAL: usize = 100_000;
const POSTERS: usize = 3;
/// Handled by the main thread; collected by a thread; standard.
const HANDLED: [c_int; 2] = [34, 50];
const COLLECTED: [c_int; 2] = [40, 64];
const STANDARD: [c_int; 2] = [libc::SIGUSR1, libc::SIGUSR2];

/// How often each value was told.
static TOLD: [AtomicUsize; TOTAL] = [const { AtomicUsize::new(0) }; TOTAL];
static WRONG: AtomicUsize = AtomicUsize::new(0);
/// Standard signals that came without their value.
static GAPS: AtomicUsize = AtomicUsize::new(0);
/// More of these than the gap that `send` describes can explain.
const TOO_MANY_GAPS: usize = 10;

fn told(value: usize) {
    TOLD[value].fetch_add(1, SeqCst);
    LOG.count.fetch_add(1, SeqCst);
}

/// Not in order: callback threads have no signal blocked and may take one
/// while the main thread is about to tell the one before.
fn told_by(signal: Told) {
    if signal == Told::completion(signal.signo, signal.value) {
        told(signal.value);
    } else if STANDARD.contains(&signal.signo) && signal.code == libc::SI_USER {
        // The limit was lowered between the probe and the sending.
        GAPS.fetch_add(1, SeqCst);
        LOG.count.fetch_add(1, SeqCst);
    } else {
        WRONG.fetch_add(1, SeqCst);
    }
}

extern "C" fn handler(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: given by the kernel.
    told_by(unsafe { Told::from(info) });
}

extern "C-unwind" fn callback(value: usize) {
    told(value);
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// One random notice with this value; true: it is told by its value.
fn random_notice(
    random: &mut Random,
    value: usize,
    eventfds: [c_int; 2],
    attributes: usize,
) -> (Notice, bool) {
    let pick = random.below(2);
    let mut event = match random.below(100) {
        0..30 => event(libc::SIGEV_SIGNAL, HANDLED[pick], value),
        30..60 => event(libc::SIGEV_SIGNAL, COLLECTED[pick], value),
        60..64 => event(libc::SIGEV_SIGNAL, STANDARD[pick], value),
        64..75 => event(SIGEV_AIO_SHIM_EVENTFD, eventfds[pick], value),
        other => {
            let mut event = event(libc::SIGEV_THREAD, 0, value);
            let attributes = if other == 99 { attributes } else { 0 };
            event.how.callback = (callback as *const () as usize, attributes as *mut _);
            event
        }
    };
    let by_value = event.notify != SIGEV_AIO_SHIM_EVENTFD;
    let origin = if random.below(10) == 0 {
        Origin::List
    } else {
        Origin::Request
    };
    event.value = value;
    // SAFETY: a valid sigevent.
    let notice = unsafe { Notice::read((&raw const event).cast(), origin) };
    (notice.unwrap().unwrap(), by_value)
}

/// Posts this poster's values; how many eventfd notices there were.
fn poster(
    notifier: &'static Notifier,
    own: usize,
    seed: u64,
    eventfds: [c_int; 2],
    attributes: usize,
) -> usize {
    let mut random = Random(seed);
    let mut on_eventfd = 0;
    let mut batch = Vec::new();
    let mut value = own;
    while value < TOTAL {
        batch.clear();
        for _ in 0..=random.below(40) {
            if value >= TOTAL {
                break;
            }
            let (notice, by_value) = random_notice(&mut random, value, eventfds, attributes);
            while notifier.admit(&notice).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !by_value {
                on_eventfd += 1;
                told(value);
            }
            batch.push(notice);
            value += POSTERS;
        }
        notifier.post_batch(&mut batch);
        help(notifier);
        if random.below(10) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(500) as u64));
        }
    }
    on_eventfd
}

/// The engine's part, when the notifier's thread cannot be made.
fn help(notifier: &'static Notifier) {
    if notifier.help_wanted().is_some_and(|wait| wait.is_zero()) {
        notifier.retry();
    }
}

fn one_run(seed: u64) {
    // SAFETY: no preconditions.
    let own_user = unsafe { libc::getuid() } >= 2_000_000;
    block(&COLLECTED);
    for signo in HANDLED.into_iter().chain(STANDARD).chain(COLLECTED) {
        handle(signo, handler as *const () as usize, libc::SA_SIGINFO);
    }
    let notifier = notifier();
    // SAFETY: no preconditions; room for one attributes object.
    let (eventfds, attributes) = unsafe {
        let mut object = MaybeUninit::<libc::pthread_attr_t>::uninit();
        libc::pthread_attr_init(object.as_mut_ptr());
        libc::pthread_attr_setstacksize(object.as_mut_ptr(), 128 * 1024);
        let object: &'static mut _ = Box::leak(Box::new(object.assume_init()));
        let eventfds = [libc::eventfd(0, 0), libc::eventfd(0, libc::EFD_NONBLOCK)];
        (eventfds, &raw mut *object as usize)
    };
    static DONE: AtomicBool = AtomicBool::new(false);
    let collector = start_library_thread(|| {
        while !DONE.load(SeqCst) {
            if let Some(signal) = take(&COLLECTED, Duration::from_millis(5)) {
                told_by(signal);
            }
        }
    });
    let posters: Vec<_> = (0..POSTERS)
        .map(|own| {
            let seed = seed.wrapping_mul(2 * own as u64 + 3) | 1;
            start_library_thread(move || poster(notifier, own, seed, eventfds, attributes))
        })
        .collect();
    // The limits change while the posters post, then there is room.
    let mut random = Random(seed | 1);
    while !posters.iter().all(std::thread::JoinHandle::is_finished) {
        limit(libc::RLIMIT_SIGPENDING, random.below(200) as u64);
        if own_user {
            limit(libc::RLIMIT_NPROC, [1, 8, 500][random.below(3)]);
        }
        std::thread::sleep(Duration::from_micros(random.below(2000) as u64));
    }
    limit(libc::RLIMIT_SIGPENDING, 300);
    if own_user {
        limit(libc::RLIMIT_NPROC, 500);
    }
    let on_eventfd: usize = posters
        .into_iter()
        .map(|poster| poster.join().unwrap())
        .sum();
    wait_for("the backlog to empty", || {
        help(notifier);
        notifier.idle()
    });
    wait_for("all to be told", || LOG.len() >= TOTAL);
    DONE.store(true, SeqCst);
    collector.join().unwrap();

    let gaps = GAPS.load(SeqCst);
    assert!(
        gaps < TOO_MANY_GAPS,
        "{gaps} standard signals without a value"
    );
    let not_once = TOLD.iter().filter(|told| told.load(SeqCst) != 1).count();
    assert_eq!(not_once, gaps, "values not told exactly once");
    assert_eq!(
        WRONG.load(SeqCst),
        0,
        "signals with another code, pid or uid"
    );
    let mut sum = 0;
    for descriptor in eventfds {
        let mut count = 0u64;
        // SAFETY: eight writable bytes; not empty, so this does not block.
        let got = unsafe { libc::read(descriptor, (&raw mut count).cast(), 8) };
        assert_eq!(got, 8);
        sum += count;
    }
    assert_eq!(sum, on_eventfd as u64, "added to eventfds");
    assert_settled(notifier, TOTAL as u64);
    let counters = notifier.counters();
    assert_eq!(counters.total.merged, 0);
    assert!(
        counters.episodes > 0 && counters.total.late > 0,
        "{counters:?}"
    );
    let by_kind: u64 = counters.kind.iter().map(|kind| kind.sent).sum();
    // Lists on eventfds are counted as lists.
    assert!(by_kind + sum >= TOTAL as u64 && by_kind <= TOTAL as u64);
    wait_for("threads to end", || own_threads() == 0);
}

#[test]
fn a_hundred_thousand_of_all_kinds_three_times() {
    for run in 1..=3 {
        in_child(move || one_run(0x5eed_0000 + run));
    }
}
