//! The scheduler as a whole: what each kind of request waits for.

mod cost;
mod model;
mod property;

use super::*;

fn submission(operation: Operation) -> Submission {
    Submission {
        file: FileKey::Inode { dev: 1, ino: 1 },
        descriptor: 3,
        operation,
        priority: 0,
    }
}

fn read(start: u64, len: u64) -> Submission {
    submission(Operation::Read { start, len })
}

fn write(start: u64, len: u64) -> Submission {
    submission(Operation::Write { start, len })
}

fn stream(direction: Direction) -> Submission {
    submission(Operation::Stream(direction))
}

fn posix() -> Scheduler<()> {
    Scheduler::new(Order::Posix)
}

/// All that may start now, in the order they are given.
fn start<T>(scheduler: &mut Scheduler<T>) -> Vec<Handle> {
    std::iter::from_fn(|| scheduler.next_ready()).collect()
}

#[test]
fn ranges_that_touch_do_not_wait() {
    let mut s = posix();
    let all = [
        write(0, 10),
        write(10, 10),
        read(20, 5),
        read(20, 5),
        write(25, 1),
        write(5, 0),
    ]
    .map(|submission| s.submit(submission, ()));
    assert_eq!(start(&mut s), all);
}

#[test]
fn a_write_waits_for_each_read_of_its_range() {
    let mut s = posix();
    let reads = [read(0, 10), read(5, 10), read(100, 1)].map(|read| s.submit(read, ()));
    let later = s.submit(write(9, 2), ());
    assert_eq!(start(&mut s), reads);
    s.finish(reads[1], None);
    s.finish(reads[2], None);
    assert_eq!(start(&mut s), []);
    s.finish(reads[0], None);
    assert_eq!(start(&mut s), [later]);
}

#[test]
fn reads_are_mapped_only_while_a_write_is_outstanding() {
    let mut s = posix();
    let is_mapped = |s: &Scheduler<()>, handle: Handle| s.table[handle.0].keeper == Keeper::Mapped;
    let early = s.submit(read(0, 10), ());
    assert!(!is_mapped(&s, early), "nobody asks for it");
    let writer = s.submit(write(50, 10), ());
    let beside = s.submit(read(20, 10), ());
    assert!(is_mapped(&s, early) && is_mapped(&s, beside));
    start(&mut s);
    s.finish(writer, None);
    let late = s.submit(read(0, 10), ());
    assert!(!is_mapped(&s, late), "no write is left");
}

#[test]
fn reads_behind_a_write_start_together() {
    let mut s = posix();
    let first = s.submit(write(0, 100), ());
    let reads = [read(0, 100), read(0, 100), read(50, 1)].map(|read| s.submit(read, ()));
    assert_eq!(start(&mut s), [first]);
    s.finish(first, None);
    assert_eq!(start(&mut s), reads);
}

#[test]
fn a_withdrawn_held_write_leaves_what_waited_behind_what_it_waited_for() {
    let mut s = posix();
    let first = s.submit(write(0, 100), ());
    let held = s.submit(write(0, 200), ());
    let behind_both = s.submit(read(50, 10), ());
    let behind_held = s.submit(write(150, 100), ());
    assert_eq!(start(&mut s), [first]);
    assert!(s.withdraw(held).is_some());
    assert!(!s.live(held));
    assert_eq!(start(&mut s), [behind_held]);
    assert_eq!(s.state(behind_both), State::Held);
    s.finish(first, None);
    assert_eq!(start(&mut s), [behind_both]);
}

#[test]
fn appends_go_one_at_a_time_whatever_they_know_of_the_size() {
    let mut s = posix();
    let appends =
        [500, 100, u64::MAX].map(|from| s.submit(submission(Operation::Append { from }), ()));
    let before = s.submit(read(0, 100), ());
    let within = s.submit(read(150, 10), ());
    for append in appends {
        let started = start(&mut s);
        assert!(started.contains(&append) && !started.contains(&within));
        assert_eq!(started.contains(&before), append == appends[0]);
        s.finish(append, None);
        if append == appends[1] {
            assert_eq!(
                s.state(within),
                State::Ready,
                "nothing is left that reaches it"
            );
            s.withdraw(within);
        }
    }
}

#[test]
fn a_sync_waits_for_writes_through_any_descriptor_whatever_its_priority() {
    let mut s = posix();
    let write_here = s.submit(write(0, 1), ());
    let write_there = s.submit(
        Submission {
            descriptor: 9,
            priority: 20,
            ..write(10, 1)
        },
        (),
    );
    let other_file = FileKey::Inode { dev: 1, ino: 2 };
    let elsewhere = s.submit(
        Submission {
            file: other_file,
            ..write(0, 1)
        },
        (),
    );
    let sync = s.submit(submission(Operation::Sync), ());
    let later = s.submit(write(20, 1), ());
    assert_eq!(start(&mut s), [write_here, elsewhere, later, write_there]);
    s.finish(write_here, None);
    assert_eq!(start(&mut s), []);
    s.finish(write_there, Some(28));
    assert_eq!(start(&mut s), [sync]);
    assert_eq!(s.carried_error(sync), Some(28));
}

#[test]
fn a_withdrawn_write_holds_no_sync_and_is_no_error() {
    let mut s = posix();
    let first = s.submit(write(0, 1), ());
    let held = s.submit(write(0, 1), ());
    let sync = s.submit(submission(Operation::Sync), ());
    start(&mut s);
    s.withdraw(held);
    s.finish(first, None);
    assert_eq!(start(&mut s), [sync]);
    assert_eq!(s.carried_error(sync), None);
}

#[test]
fn a_stream_serves_each_direction_on_its_own_one_at_a_time() {
    let mut s = posix();
    let reads = [(), ()].map(|()| s.submit(stream(Direction::Read), ()));
    let writes = [(), ()].map(|()| s.submit(stream(Direction::Write), ()));
    assert_eq!(start(&mut s), [reads[0], writes[0]]);
    let parked = s.park(reads[0]);
    s.finish(writes[0], None);
    assert_eq!(
        start(&mut s),
        [writes[1]],
        "a waiting read holds up no write"
    );
    assert_eq!(s.unpark(parked), Some(reads[0]));
    s.finish(reads[0], None);
    assert_eq!(start(&mut s), [reads[1]]);
}

#[test]
fn a_better_priority_overtakes_a_parked_request() {
    let mut s = posix();
    let first = s.submit(
        Submission {
            priority: 5,
            ..stream(Direction::Read)
        },
        (),
    );
    start(&mut s);
    let id = s.park(first);
    let better = s.submit(
        Submission {
            priority: 1,
            ..stream(Direction::Read)
        },
        (),
    );
    assert_eq!(start(&mut s), []);
    assert_eq!(s.unpark(id), Some(better));
    assert_eq!(s.unpark(id), None, "it is not parked now");
    assert_eq!(s.state(first), State::Held);
    assert!(s.stream_waits(id));
    s.finish(better, None);
    assert_eq!(start(&mut s), [first]);
    assert!(!s.stream_waits(id));
}

#[test]
fn withdrawing_the_parked_one_keeps_the_poll_for_the_others() {
    let mut s = posix();
    let reads = [(), (), ()].map(|()| s.submit(stream(Direction::Read), ()));
    start(&mut s);
    let id = s.park(reads[0]);
    s.withdraw(reads[0]);
    assert!(s.stream_waits(id));
    assert_eq!(start(&mut s), []);
    s.withdraw(reads[1]);
    assert_eq!(s.unpark(id), Some(reads[2]));
    s.park(reads[2]);
    s.withdraw(reads[2]);
    assert!(!s.stream_waits(id), "the engine may disarm");
    let fresh = s.submit(stream(Direction::Read), ());
    assert_eq!(
        s.unpark(id),
        None,
        "a late event wakes nobody of another life"
    );
    assert_eq!(start(&mut s), [fresh]);
    assert_ne!(s.stream_of(fresh), Some(id));
}

#[test]
fn by_descriptor_one_at_a_time_and_syncs_by_priority() {
    let mut s = Scheduler::new(Order::PerDescriptor);
    let first = s.submit(read(0, 1), ());
    let second = s.submit(write(100, 1), ());
    let sync = submission(Operation::Sync);
    let sync = s.submit(
        Submission {
            priority: 0,
            ..sync
        },
        (),
    );
    let worst = s.submit(
        Submission {
            priority: 3,
            ..read(0, 1)
        },
        (),
    );
    let other = s.submit(
        Submission {
            descriptor: 4,
            ..write(0, 1)
        },
        (),
    );
    assert_eq!(start(&mut s), [first, other]);
    for (ended, next) in [(first, second), (second, sync), (sync, worst)] {
        s.finish(ended, Some(5));
        assert_eq!(start(&mut s), [next]);
    }
    assert_eq!(s.stream_of(worst), None);
}

#[test]
fn a_walk_goes_on_whatever_ends_meanwhile() {
    let mut s = Scheduler::new(Order::Posix);
    let numbered = |n: u64| (write(n, 1), n);
    let mut handles: Vec<Handle> = Vec::new();
    for n in 0..10 {
        let (submission, payload) = numbered(n);
        handles.push(s.submit(submission, payload));
    }
    let mut walk = s.walk(3);
    let mut given = Vec::new();
    while let Some(handle) = s.older(&mut walk) {
        let n = *s.payload(handle);
        given.push(n);
        match n {
            // It stays.
            9 | 8 | 4 => {}
            // It goes with the one before it, and others get their indexes.
            6 => {
                s.withdraw(handle);
                s.withdraw(handles[5]);
                s.submit(write(20, 1), 20);
                s.submit(write(21, 1), 21);
            }
            // Now all goes that the walk has left behind.
            3 => {
                for gone in [9, 8, 4, 3, 1] {
                    s.withdraw(handles[gone]);
                }
                for n in 22..27 {
                    s.submit(write(n, 1), n);
                }
            }
            _ => {
                s.withdraw(handle);
            }
        }
    }
    assert_eq!(given, [9, 8, 7, 6, 4, 3, 2, 0]);
    assert_eq!(s.older(&mut walk), None);
    let left = s.of_descriptor(3).into_iter().map(|it| *s.payload(it));
    assert_eq!(left.collect::<Vec<_>>(), [20, 21, 22, 23, 24, 25, 26]);
}

#[test]
fn a_write_may_be_refused_for_the_reads_before_it() {
    let mut s = Scheduler::new(Order::Posix);
    let reads: Vec<Handle> = (0..1000).map(|n| s.submit(read(n, 1), ())).collect();
    assert_eq!(start(&mut s), reads);
    assert!(
        s.make_room_for(&read(0, 1), || false),
        "a read maps nothing"
    );
    assert!(!s.make_room_for(&write(0, 1), || false));
    // Some more each time, and all stay what they were.
    let asked = std::cell::Cell::new(0);
    let once = || asked.replace(asked.get() + 1) % 2 == 0;
    let rounds = (1..).find(|_| s.make_room_for(&write(0, 1000), once));
    assert!(rounds > Some(1));
    let all = s.submit(write(0, 1000), ());
    assert_eq!(start(&mut s), []);
    for read in reads {
        assert_eq!(s.state(all), State::Held);
        s.finish(read, None);
    }
    assert_eq!(start(&mut s), [all]);
}

#[test]
fn a_closed_number_is_another_file() {
    for rule in [Order::Posix, Order::PerDescriptor] {
        let mut s = Scheduler::new(rule);
        let own = Submission {
            file: FileKey::Descriptor(3),
            ..write(0, 1)
        };
        let before = [s.submit(own, ()), s.submit(own, ())];
        assert_eq!(s.of_descriptor(3), before);
        s.detach(3);
        assert_eq!(s.of_descriptor(3), []);
        let after = s.submit(own, ());
        assert_eq!(s.of_descriptor(3), [after]);
        assert_eq!(start(&mut s), [before[0], after]);
        s.finish(after, None);
        assert_eq!(start(&mut s), [], "those left keep their order");
        s.finish(before[0], None);
        assert_eq!(start(&mut s), [before[1]]);
        assert_eq!(s.descriptor(before[1]), 3);
    }
}

#[test]
fn an_inode_stays_the_same_file_when_a_number_is_closed() {
    let mut s = posix();
    let first = s.submit(write(0, 1), ());
    s.detach(3);
    let second = s.submit(write(0, 1), ());
    assert_eq!(start(&mut s), [first]);
    s.finish(first, None);
    assert_eq!(start(&mut s), [second]);
}

#[test]
fn free_requests_wait_for_nothing() {
    let mut s = posix();
    let all = [(), (), ()].map(|()| s.submit(submission(Operation::Free), ()));
    assert_eq!(start(&mut s), all);
    assert_eq!(s.withdraw(all[0]), None, "it runs");
    assert!(s.live(all[0]));
}
