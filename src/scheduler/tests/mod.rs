//! The scheduler as a whole.

mod cost;
mod model;
mod property;

use super::*;

fn file(n: u64) -> FileKey {
    FileKey::Inode { dev: 1, ino: n }
}

fn submission(operation: Operation) -> Submission {
    Submission {
        file: file(1),
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

fn drain<T>(scheduler: &mut Scheduler<T>) -> Vec<Handle> {
    std::iter::from_fn(|| scheduler.next_ready()).collect()
}

#[test]
fn a_withdrawn_held_write_leaves_what_waited_behind_what_it_waited_for() {
    let mut s = Scheduler::new(Order::Posix);
    let first = s.submit(write(0, 100), 1);
    let held = s.submit(write(0, 100), 2);
    let behind_both = s.submit(read(50, 10), 3);
    let behind_held = s.submit(write(80, 100), 4);
    assert_eq!(drain(&mut s), [first]);
    assert_eq!(s.withdraw(held), Some(2));
    assert!(!s.live(held));
    assert_eq!(drain(&mut s), []);
    assert_eq!(s.state(behind_both), State::Held);
    assert_eq!(s.finish(first, None), 1);
    assert_eq!(drain(&mut s), [behind_both, behind_held]);
}
