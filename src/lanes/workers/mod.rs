//! The worker lane: a pool of threads for what the ring would hand to the
//! kernel's own slow workers, and for everything where there is no ring.
//!
//! Who comes in: the engine pushes [`Job`]s; the threads (in [`threads`]) pop
//! and run them, publish their results, and leave what the scheduler must
//! know in [`Pool::done`]. What must hold: of jobs that could run the
//! [`queue`] holds few (the rest waits with the engine); a job popped runs to its end; and without a ring a thread of the pool is always
//! free to play the engine while one can be had, however many jobs wait and
//! however long. The last free thread therefore makes another before it takes
//! a job ([`Next::NeedsLeader`]). If none can be had it takes only jobs that
//! end by themselves, unless it is the only thread there is.

mod asleep;
mod job;
mod poller;
mod queue;
pub mod threads;

use std::time::Duration;

use crate::config::Config;
use crate::scheduler::Handle;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sys;

use asleep::sleeps_in_a_call;
pub use job::{
    Job, Key, Progress, Work, is_shut, positioned, positioned_with, ready as is_ready, send_empty,
    try_nonblocking, try_now, whole as whole_length,
};
pub use poller::{Poller, Way};
use queue::Queue;

/// Threads that run jobs at once, to begin with. Measured: 8 do more at
/// depth 32 than 32 do. More come when none of these gets anything done.
const FEW: u32 = 8;

/// What a worker tells the engine about a job it finished.
pub struct Done {
    pub handle: Handle,
    pub end: End,
}

/// How a job ended.
pub enum End {
    /// Its result is published: it succeeded, or failed with this error.
    Published(Option<i32>),
    /// A write failed with this error, which is the engine's to publish: it
    /// must take over, right after, the syncs that carry it.
    WriteFailed(i32),
}

/// A job that runs.
struct Active {
    handle: Handle,
    /// The number of its thread.
    thread: u32,
    /// See [`Key::alone`].
    alone: u32,
}

struct Inner {
    queue: Queue,
    /// Threads alive.
    threads: u32,
    /// Threads asleep.
    idle: u32,
    /// Threads that run a job.
    running: u32,
    /// How many may run one at present.
    allowed: u32,
    /// The jobs that run.
    active: Vec<Active>,
    /// Finished jobs, to see whether anything moves.
    finished: u64,
}

impl Inner {
    /// Is the calling thread, which runs no job, the only one of that kind?
    fn is_last_free(&self) -> bool {
        self.running + 1 >= self.threads
    }

    /// This job runs from now on, in this thread.
    fn begin(&mut self, order: (u8, u32), thread: u32) -> Option<Job> {
        let job = self.queue.begin(order)?;
        self.running += 1;
        self.active.push(Active {
            handle: job.handle,
            thread,
            alone: job.key.alone,
        });
        Some(job)
    }

    /// The best job, which begins to run in this thread.
    fn pop(&mut self, thread: u32) -> Option<Job> {
        let order = self.queue.runnable().next()?.key.order;
        self.begin(order, thread)
    }
}

/// What there is for a thread to run.
enum Next {
    Job(Job),
    Nothing,
    /// A job; but the thread that asked is the last one free to lead.
    NeedsLeader,
}

/// The pool.
pub struct Pool {
    inner: Mutex<Inner>,
    done: Mutex<Vec<Done>>,
    /// Length of `done`, readable without its lock.
    done_count: AtomicUsize,
    /// The engine sleeps but wants to know of each job that ends.
    engine_wants: AtomicBool,
    /// Where idle threads sleep while the engine is a ring thread.
    word: AtomicU32,
    /// The most threads that ever run jobs at once.
    most: AtomicU32,
    /// The threads play the engine themselves (no ring).
    leads: AtomicBool,
    /// When the engine wants a turn although nothing calls it; 0: never.
    look_at: AtomicU64,
}

impl Pool {
    pub fn new(config: &Config) -> Self {
        Pool {
            inner: Mutex::new(Inner {
                queue: Queue::new(),
                threads: 0,
                idle: 0,
                running: 0,
                allowed: FEW,
                active: Vec::new(),
                finished: 0,
            }),
            done: Mutex::new(Vec::new()),
            done_count: AtomicUsize::new(0),
            engine_wants: AtomicBool::new(false),
            word: AtomicU32::new(0),
            most: AtomicU32::new(config.threads),
            leads: AtomicBool::new(false),
            look_at: AtomicU64::new(0),
        }
    }

    /// Where the words lie that the threads and the engine wait for, for a
    /// model to explore them; the others are settings.
    #[cfg(loom)]
    pub fn places(&self) -> [std::ops::Range<usize>; 2] {
        use crate::sync::model::place;
        [place(&self.done_count), place(&self.word)]
    }

    /// Sets the largest number of threads (aio_init).
    pub fn set_most(&self, most: u32) {
        self.most.store(most.clamp(1, 1024), Ordering::Relaxed);
    }

    /// Do the threads play the engine?
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    /// From now on they do, or do not.
    pub fn set_leads(&self, leads: bool) {
        if self.leads.swap(leads, Ordering::SeqCst) != leads {
            // Whoever is idle moves to the other word.
            wake_idle(&self.word, i32::MAX as u32);
        }
    }

    /// The engine, played by the pool's threads, wants a turn at this time
    /// (CLOCK_MONOTONIC, nanoseconds).
    pub fn look_at(&self, time: Option<u64>) {
        self.look_at.store(time.unwrap_or(0), Ordering::SeqCst);
    }

    /// How long until it does.
    fn look_in(&self) -> Option<Duration> {
        match self.look_at.load(Ordering::SeqCst) {
            0 => None,
            time => Some(Duration::from_nanos(time.saturating_sub(sys::now_ns()))),
        }
    }

    /// Is a job queued that a request of this priority may overtake?
    pub fn has_worse(&self, priority: u8) -> bool {
        self.inner
            .lock()
            .queue
            .runnable()
            .next_back()
            .is_some_and(|job| job.key.order.0 > priority)
    }

    /// How many more jobs the queue should get: enough that no thread has to
    /// come back to the engine for each. (Those that wait for their file take
    /// nobody's room.)
    pub fn room(&self) -> usize {
        let inner = self.inner.lock();
        (2 * self.allowed(&inner) as usize).saturating_sub(inner.queue.len())
    }

    /// Adds jobs.
    pub fn push(&self, jobs: &mut Vec<Job>) {
        let mut inner = self.inner.lock();
        for job in jobs.drain(..) {
            inner.queue.push(job);
        }
    }

    /// Takes a queued job back: Some if no thread had begun it.
    pub fn withdraw(&self, key: Key) -> Option<Job> {
        self.inner.lock().queue.withdraw(key)
    }

    /// Lets a queued job use another number for its open file. False if it
    /// has begun.
    pub fn redirect(&self, key: Key, fildes: i32) -> bool {
        let mut inner = self.inner.lock();
        match inner.queue.get_mut(key) {
            Some(job) => {
                job.fildes = fildes;
                true
            }
            None => false,
        }
    }

    /// Is the job queued and not begun?
    pub fn is_queued(&self, key: Key) -> bool {
        self.inner.lock().queue.get_mut(key).is_some()
    }

    /// Jobs that could run and have not begun.
    pub fn runnable(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// Leaves word of a finished job for the engine.
    pub fn report(&self, done: Done) {
        {
            // Counted with the lock held, so that list and count agree.
            let mut waiting = self.done.lock();
            waiting.push(done);
            self.done_count.store(waiting.len(), Ordering::SeqCst);
        }
        // Before the look whether the engine sleeps.
        fence(Ordering::SeqCst);
    }

    /// Is there word for the engine?
    pub fn has_done(&self) -> bool {
        self.done_count.load(Ordering::SeqCst) != 0
    }

    /// Takes the words.
    pub fn take_done(&self, into: &mut Vec<Done>) {
        let mut done = self.done.lock();
        self.done_count.store(0, Ordering::SeqCst);
        into.append(&mut done);
    }

    /// The engine says, before it sleeps, whether it must hear of each end.
    pub fn engine_wants(&self, wants: bool) {
        self.engine_wants.store(wants, Ordering::SeqCst);
    }

    fn wanted(&self) -> bool {
        self.engine_wants.load(Ordering::SeqCst)
    }

    /// Has the thread that runs this job certainly got hold of the open file,
    /// so that the descriptor's number does not matter any more? True for a
    /// job that does not run at all.
    pub fn has_its_file(&self, handle: Handle, key: Key) -> bool {
        let mut inner = self.inner.lock();
        match inner.active.iter().find(|active| active.handle == handle) {
            Some(active) => sleeps_in_a_call(active.thread),
            None => inner.queue.get_mut(key).is_none(),
        }
    }

    fn allowed(&self, inner: &Inner) -> u32 {
        inner.allowed.min(self.most.load(Ordering::Relaxed))
    }

    /// The next job for this thread.
    fn pop(&self, thread: u32) -> Next {
        let mut inner = self.inner.lock();
        if inner.running >= self.allowed(&inner) || inner.queue.len() == 0 {
            return Next::Nothing;
        }
        if self.leads() && inner.is_last_free() {
            return Next::NeedsLeader;
        }
        inner.pop(thread).map_or(Next::Nothing, Next::Job)
    }

    /// The next job for the last free thread, when no other can be had to
    /// lead meanwhile.
    fn pop_as_last(&self, thread: u32) -> Option<Job> {
        let mut inner = self.inner.lock();
        if inner.running >= self.allowed(&inner) {
            return None;
        }
        let brief = inner.queue.runnable().find(|job| job.brief);
        let order = match brief {
            Some(job) => job.key.order,
            // Nobody else will ever run it.
            None if inner.threads <= 1 => inner.queue.runnable().next()?.key.order,
            None => return None,
        };
        inner.begin(order, thread)
    }

    fn finished(&self, handle: Handle) {
        let mut inner = self.inner.lock();
        inner.running -= 1;
        let running = inner.active.iter().position(|it| it.handle == handle);
        if let Some(active) = running.map(|at| inner.active.swap_remove(at)) {
            inner.queue.ended(active.alone);
        }
        if inner.running == 0 && inner.queue.len() == 0 {
            // The rush is over.
            inner.allowed = FEW;
        }
        inner.finished += 1;
    }

    /// Could a thread pop a job now?
    fn has_work(&self) -> bool {
        let inner = self.inner.lock();
        inner.running < self.allowed(&inner) && inner.queue.len() > 0
    }

    /// Do jobs wait for a thread that may be had later?
    fn is_stuck(&self) -> bool {
        let inner = self.inner.lock();
        let most = self.most.load(Ordering::Relaxed);
        inner.running < most && inner.queue.len() > 0
    }

    /// Nothing has ended since `before` although jobs wait: allow more
    /// threads. Returns the count of ended jobs to compare with next time.
    pub fn unstick(&self, before: u64) -> u64 {
        let mut inner = self.inner.lock();
        let most = self.most.load(Ordering::Relaxed);
        if inner.finished == before
            && inner.queue.len() > 0
            && inner.running >= self.allowed(&inner)
        {
            inner.allowed = (inner.allowed + FEW).min(most.max(1));
        }
        inner.finished
    }
}

/// A clean word for idle threads to sleep on, given the way the engine runs.
fn wake_idle(word: &AtomicU32, count: u32) {
    word.fetch_add(1, Ordering::SeqCst);
    sys::futex_wake(word.as_ptr(), count as i32);
}
