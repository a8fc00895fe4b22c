//! The jobs that no thread has begun.
//!
//! Who comes in: the pool, under its lock. What must hold: of the jobs that
//! have a file to themselves at most one of each file is among the runnable
//! ones or runs; the others wait behind it, however many, and hold up nobody
//! else; and no operation depends on how many there are, but for a logarithm.

use std::collections::BTreeMap;

use super::job::{Job, Key};

/// The queue.
pub struct Queue {
    /// They may run now, side by side: by priority, then order of coming.
    runnable: BTreeMap<(u8, u32), Job>,
    /// The files that a runnable or a running job has to itself.
    files: BTreeMap<u32, File>,
}

/// A file that a job has to itself.
struct File {
    /// That job, while it is runnable and does not run.
    front: Option<(u8, u32)>,
    /// Those that wait for its end.
    behind: BTreeMap<(u8, u32), Job>,
}

impl Queue {
    pub const fn new() -> Queue {
        Queue {
            runnable: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    pub fn push(&mut self, job: Job) {
        let Key { order, alone } = job.key;
        if alone != 0 {
            match self.files.get_mut(&alone) {
                None => {
                    self.files.insert(
                        alone,
                        File {
                            front: Some(order),
                            behind: BTreeMap::new(),
                        },
                    );
                }
                // It comes before the one that has not begun yet.
                Some(file) if file.front.is_some_and(|front| order < front) => {
                    let front = file.front.replace(order);
                    if let Some(job) = front.and_then(|front| self.runnable.remove(&front)) {
                        file.behind.insert(job.key.order, job);
                    }
                }
                Some(file) => {
                    file.behind.insert(order, job);
                    return;
                }
            }
        }
        self.runnable.insert(order, job);
    }

    /// How many may run now.
    pub fn len(&self) -> usize {
        self.runnable.len()
    }

    /// Those that may run now, best first.
    pub fn runnable(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.runnable.values()
    }

    /// Takes a runnable job, which runs from now on: its end is told by
    /// [`Queue::ended`].
    pub fn begin(&mut self, order: (u8, u32)) -> Option<Job> {
        let job = self.runnable.remove(&order)?;
        if let Some(file) = self.files.get_mut(&job.key.alone) {
            file.front = None;
        }
        Some(job)
    }

    /// A job that had this file to itself has ended; 0: none had.
    pub fn ended(&mut self, alone: u32) {
        let Some(file) = self.files.get_mut(&alone) else {
            return;
        };
        match file.behind.pop_first() {
            Some((order, job)) => {
                file.front = Some(order);
                self.runnable.insert(order, job);
            }
            None => {
                self.files.remove(&alone);
            }
        }
    }

    /// Takes a job back that has not begun.
    pub fn withdraw(&mut self, key: Key) -> Option<Job> {
        match self.runnable.remove(&key.order) {
            Some(job) => {
                self.ended(key.alone);
                Some(job)
            }
            None => self.files.get_mut(&key.alone)?.behind.remove(&key.order),
        }
    }

    /// A job that has not begun.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Job> {
        match self.runnable.get_mut(&key.order) {
            Some(job) => Some(job),
            None => self.files.get_mut(&key.alone)?.behind.get_mut(&key.order),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::lanes::workers::job::tests::job;

    fn queue(jobs: &[(u32, u32)]) -> Queue {
        let mut queue = Queue::new();
        for &(number, alone) in jobs {
            queue.push(job((0, number), alone));
        }
        queue
    }

    fn numbers(queue: &Queue) -> Vec<u32> {
        queue.runnable().map(|job| job.key.order.1).collect()
    }

    /// A job that has a file to itself waits for the one that has it, and
    /// nobody else waits for either.
    #[test]
    fn jobs_of_one_file_run_one_after_the_other() {
        let mut queue = queue(&[(1, 7), (2, 7), (3, 0), (4, 519), (5, 7), (6, 519)]);
        assert_eq!(numbers(&queue), [1, 3, 4]);
        for number in [1, 3, 4] {
            assert_eq!(queue.begin((0, number)).unwrap().key.order.1, number);
        }
        assert_eq!(queue.len(), 0);
        queue.ended(519);
        assert_eq!(numbers(&queue), [6]);
        queue.ended(0);
        queue.ended(7);
        assert_eq!(numbers(&queue), [2, 6]);
        queue.begin((0, 2));
        queue.ended(7);
        assert_eq!(numbers(&queue), [5, 6]);
        for (number, alone) in [(5, 7), (6, 519)] {
            queue.begin((0, number));
            queue.ended(alone);
        }
        assert!(queue.files.is_empty() && queue.len() == 0);
    }

    #[test]
    fn a_better_one_of_the_file_goes_first() {
        let mut queue = queue(&[(1, 7), (2, 7)]);
        queue.push(job((0, 0), 7));
        assert_eq!(numbers(&queue), [0]);
        queue.begin((0, 0));
        // That one runs: nobody overtakes it.
        queue.push(job((0, 0), 7));
        assert_eq!(queue.len(), 0);
        queue.ended(7);
        assert_eq!(numbers(&queue), [0]);
    }

    #[test]
    fn what_is_withdrawn_lets_the_next_one_run() {
        let mut queue = queue(&[(1, 7), (2, 7), (3, 7), (4, 0)]);
        let key = |number, alone| Key {
            order: (0, number),
            alone,
        };
        assert!(queue.get_mut(key(2, 7)).is_some());
        assert!(queue.withdraw(key(2, 7)).is_some() && queue.withdraw(key(2, 7)).is_none());
        assert_eq!(numbers(&queue), [1, 4]);
        assert!(queue.withdraw(key(1, 7)).is_some());
        assert_eq!(numbers(&queue), [3, 4]);
        assert!(queue.withdraw(key(4, 0)).is_some());
        queue.begin((0, 3));
        assert!(queue.withdraw(key(3, 7)).is_none(), "it has begun");
        assert!(queue.get_mut(key(3, 7)).is_none());
        queue.ended(7);
        assert!(queue.files.is_empty());
    }
}
