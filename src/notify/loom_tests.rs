//! Loom models: the protocol of the backlog as it is, in a world where the
//! kernel refuses when it likes to.
//!
//! What is checked, in every interleaving loom tries: each notice is handed
//! over exactly once and in the order of its poster; nothing stays behind
//! with nobody responsible; the counters add up; episodes end.

use std::collections::VecDeque;
use std::sync::Mutex as PlainMutex;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering::SeqCst};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::backlog::{Backlog, World};
use super::fifo::Waiting;
use super::lanes::{Claim, Done};
use super::muster::Muster;
use super::notice::{Form, Notice, Origin};
use super::pace::Hold;
use super::turn::Turns;
use crate::sync;

fn notice(signo: i32, value: usize) -> Notice {
    Notice {
        value,
        target: 0,
        attributes: std::ptr::null_mut(),
        signo,
        form: Form::Signal,
        origin: Origin::Request,
        remembered: false,
    }
}

/// A kernel with little room, a clock that jumps, threads of loom.
struct Fake {
    /// Signals the queue still takes; the program takes none until the end.
    room: AtomicUsize,
    /// What was handed over, in order. Not loom's lock: the protocol itself
    /// has to keep deliverers of one lane apart, which `busy` checks.
    taken: PlainMutex<Vec<(i32, usize)>>,
    busy: [AtomicUsize; 2],
    clock: PlainU64,
    /// How often a notifier can be made before that fails; then what is made.
    makes: AtomicUsize,
    made: PlainMutex<VecDeque<()>>,
    /// The notifier sleeps without limit until this many were taken.
    enough: usize,
}

impl Fake {
    fn new(room: usize, makes: usize, enough: usize) -> Self {
        Fake {
            room: AtomicUsize::new(room),
            taken: PlainMutex::new(Vec::new()),
            busy: [AtomicUsize::new(0), AtomicUsize::new(0)],
            clock: PlainU64::new(1),
            makes: AtomicUsize::new(makes),
            made: PlainMutex::new(VecDeque::new()),
            enough,
        }
    }

    fn make_room(&self, count: usize) {
        self.room.fetch_add(count, Ordering::AcqRel);
    }

    fn values(&self, signo: i32) -> Vec<usize> {
        let taken = self.taken.lock().unwrap();
        let of_signo = taken.iter().filter(|entry| entry.0 == signo);
        of_signo.map(|entry| entry.1).collect()
    }
}

impl World for Fake {
    fn now(&self) -> u64 {
        // Each look is a second later: every pause is over at the next look.
        self.clock.fetch_add(1_000_000_000, SeqCst)
    }
    fn limits(&self) -> (u64, u64) {
        let all = self.taken.lock().unwrap().len() >= self.enough;
        (1000, if all { 0 } else { u64::MAX })
    }
    fn deliver(
        &self,
        _: &Claim,
        entries: &[Option<Waiting>],
        done: &mut [Done],
    ) -> (usize, Option<Hold>) {
        let lane = usize::from(entries[0].is_some_and(|entry| entry.notice.signo == 41));
        let already = self.busy[lane].fetch_add(1, Ordering::AcqRel);
        assert_eq!(already, 0, "two deliverers of one lane");
        let mut count = 0;
        let mut hold = None;
        for entry in entries.iter().flatten() {
            let one = |room: usize| room.checked_sub(1);
            let ordering = Ordering::AcqRel;
            if self.room.fetch_update(ordering, ordering, one).is_err() {
                hold = Some(Hold::SignalQueue);
                break;
            }
            let mut taken = self.taken.lock().unwrap();
            taken.push((entry.notice.signo, entry.notice.value));
            done[count] = Done::Sent;
            count += 1;
        }
        self.busy[lane].fetch_sub(1, Ordering::AcqRel);
        (count, hold)
    }
    fn start_notifier(&self) -> bool {
        let makes = self.makes.load(Ordering::Acquire);
        if makes == 0 {
            return false;
        }
        self.makes.store(makes - 1, Ordering::Release);
        self.made.lock().unwrap().push_back(());
        true
    }
    fn callback_threads(&self) -> u32 {
        0
    }
    fn wake_callback_thread(&self) {}
    fn tend_callbacks(&self, _: u64) {}
    fn announce(&self, _: Hold) {}
    fn yield_now(&self) {
        thread::yield_now();
    }
    fn out_of_memory(&self) {
        unreachable!();
    }
}

/// At the end of a model: room for all, and the threads that were made run
/// until nothing is left.
fn finish(backlog: &Backlog, fake: &Fake) {
    fake.room.store(1000, Ordering::Release);
    while fake.made.lock().unwrap().pop_front().is_some() {
        backlog.tend(fake);
    }
    if backlog.help_at().is_some() {
        fake.makes.store(0, Ordering::Release);
        backlog.retry(fake);
    }
    assert!(backlog.idle(), "notices left with nobody responsible");
    let counters = backlog.tally.read();
    assert_eq!(counters.total.waiting, 0);
    assert_eq!(counters.total.deferred, counters.total.late);
    assert_eq!(counters.total.sent, fake.taken.lock().unwrap().len() as u64);
    assert!(!backlog.state.lock().in_episode());
}

/// Tries every interleaving, with at most `preemptions` if given.
fn model(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        // A limited sleep is one that ends at once.
        sync::model::end_time();
        body();
    });
}

/// Two threads post the same signal, with room for one.
#[test]
fn loom_posters_and_a_full_queue() {
    model(None, || {
        let backlog = Arc::new(Backlog::new());
        let fake = Arc::new(Fake::new(1, 2, 0));
        let other = {
            let (backlog, fake) = (backlog.clone(), fake.clone());
            thread::spawn(move || backlog.post(&*fake, &[notice(40, 11), notice(40, 12)]))
        };
        backlog.post(&*fake, &[notice(40, 21)]);
        backlog.post(&*fake, &[notice(40, 22)]);
        other.join().unwrap();
        finish(&backlog, &fake);
        let values = fake.values(40);
        let of = |poster: usize| values.iter().filter(move |v| *v / 10 == poster).copied();
        assert_eq!(of(1).collect::<Vec<_>>(), [11, 12]);
        assert_eq!(of(2).collect::<Vec<_>>(), [21, 22]);
        let counters = backlog.tally.read();
        assert_eq!(counters.episodes > 0, counters.total.deferred > 0);
    });
}

/// The notifier works, finds nothing and leaves, while somebody posts.
#[test]
fn loom_the_notifier_leaves_while_one_posts() {
    model(None, || {
        let backlog = Arc::new(Backlog::new());
        let fake = Arc::new(Fake::new(0, 4, 0));
        backlog.post(&*fake, &[notice(40, 1)]);
        assert_eq!(fake.made.lock().unwrap().pop_front(), Some(()));
        fake.room.store(1000, Ordering::Release);
        let notifier = {
            let (backlog, fake) = (backlog.clone(), fake.clone());
            thread::spawn(move || backlog.tend(&*fake))
        };
        // Both lanes: the held one and a fresh one. A batch this large is
        // left to the notifier whole.
        let batch: Vec<Notice> = (2..7).map(|value| notice(41, value)).collect();
        backlog.post(&*fake, &batch);
        notifier.join().unwrap();
        finish(&backlog, &fake);
        assert_eq!(fake.values(40), [1]);
        assert_eq!(fake.values(41), [2, 3, 4, 5, 6]);
    });
}

/// Two threads and the notifier, while the program makes room one by one.
#[test]
fn loom_room_appears_meanwhile() {
    model(Some(3), || {
        let backlog = Arc::new(Backlog::new());
        let fake = Arc::new(Fake::new(0, 4, 0));
        backlog.post(&*fake, &[notice(40, 1)]);
        assert_eq!(fake.made.lock().unwrap().pop_front(), Some(()));
        let notifier = {
            let (backlog, fake) = (backlog.clone(), fake.clone());
            thread::spawn(move || backlog.tend(&*fake))
        };
        let other = {
            let (backlog, fake) = (backlog.clone(), fake.clone());
            thread::spawn(move || backlog.post(&*fake, &[notice(40, 11), notice(41, 12)]))
        };
        fake.make_room(1);
        backlog.post(&*fake, &[notice(41, 2)]);
        fake.make_room(3);
        other.join().unwrap();
        notifier.join().unwrap();
        finish(&backlog, &fake);
        assert_eq!(fake.values(40), [1, 11]);
        let mut second = fake.values(41);
        second.sort_unstable();
        assert_eq!(second, [2, 12]);
    });
}

/// The notifier sleeps without limit: a post that needs it must wake it. (A
/// lost wake is a deadlock, which loom reports.)
#[test]
fn loom_no_wake_is_lost() {
    model(None, || {
        let backlog = Arc::new(Backlog::new());
        let fake = Arc::new(Fake::new(1000, 1, 5));
        backlog.state.lock().present = true;
        let notifier = {
            let (backlog, fake) = (backlog.clone(), fake.clone());
            thread::spawn(move || backlog.tend(&*fake))
        };
        let batch: Vec<Notice> = (0..5).map(|value| notice(41, value)).collect();
        backlog.post(&*fake, &batch);
        notifier.join().unwrap();
        assert_eq!(fake.values(41), [0, 1, 2, 3, 4]);
    });
}

/// No thread can be made: the engine's help is asked for, and suffices.
#[test]
fn loom_the_engine_helps() {
    model(None, || {
        let backlog = Arc::new(Backlog::new());
        let fake = Arc::new(Fake::new(1, 0, 0));
        let other = {
            let (backlog, fake) = (backlog.clone(), fake.clone());
            thread::spawn(move || backlog.post(&*fake, &[notice(40, 1)]))
        };
        backlog.post(&*fake, &[notice(40, 2)]);
        other.join().unwrap();
        let left = fake.values(40).len() < 2;
        assert_eq!(left, backlog.help_at().is_some());
        finish(&backlog, &fake);
        assert_eq!(fake.values(40).len(), 2);
    });
}

/// A request is secured while the last callback thread wants to leave: one
/// of them learns of the other.
#[test]
fn loom_a_secured_thread_stays() {
    model(None, || {
        let muster = Arc::new(Muster::new());
        muster.joined();
        let leaving = {
            let muster = muster.clone();
            thread::spawn(move || muster.leave())
        };
        let secured = muster.secure();
        let left = leaving.join().unwrap();
        assert!(secured != left, "secured {secured}, left {left}");
        assert_eq!(muster.threads(), u32::from(!left));
        muster.release();
    });
}

/// Who has the signal queue alone has it alone.
#[test]
fn loom_turns() {
    model(None, || {
        let turns = Arc::new(Turns::new());
        // 0: nobody; n: shared by n; 100: one alone.
        let inside = Arc::new(AtomicUsize::new(0));
        let sharing: Vec<_> = (0..2)
            .map(|_| {
                let (turns, inside) = (turns.clone(), inside.clone());
                thread::spawn(move || {
                    if let Some(_turn) = turns.share() {
                        assert!(inside.fetch_add(1, Ordering::AcqRel) < 100);
                        inside.fetch_sub(1, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        if let Some(_turn) = turns.alone(1) {
            assert_eq!(inside.fetch_add(100, Ordering::AcqRel), 0);
            inside.fetch_sub(100, Ordering::AcqRel);
        }
        for thread in sharing {
            thread.join().unwrap();
        }
        assert!(turns.alone(1).is_some());
        assert!(turns.share().is_some());
    });
}
