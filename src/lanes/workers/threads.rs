//! The threads of the pool: start, work, lead, sleep, end.
//!
//! With a ring, these threads only run jobs. Without one they are leader and
//! followers: whoever is free takes the engine (a lock that is only tried),
//! takes over what was submitted, hands out jobs, gives the engine back and
//! runs a job itself; so a request at depth one changes threads once, not
//! twice. What must hold: whoever goes to run a job or to sleep says so
//! (SLEEPING, see [`crate::wakeup`]) and then looks once more; while anything
//! is outstanding at least one thread lives; and no thread goes into a job
//! as the last one that is free to lead, as long as another can be had.

use std::time::Duration;

use super::{Done, End, Job, Next, Pool, wake_idle};
use crate::completion::Batch;
use crate::engine;
use crate::perturb;
use crate::probes;
use crate::process::Runtime;
use crate::stats::Lane;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sys;
use crate::thread;

/// How long a thread waits before it doubts that anything moves.
const STUCK: Duration = Duration::from_millis(10);

impl Pool {
    fn idle_word<'a>(&'a self, runtime: &'a Runtime) -> &'a AtomicU32 {
        if self.leads() {
            runtime.wakeup.word()
        } else {
            &self.word
        }
    }

    /// Starts or wakes as many threads as the queue can use; `self_helps`
    /// when the caller will run one job itself. False: there is no thread at
    /// all and none could be made.
    pub fn staff(&self, runtime: &'static Runtime, self_helps: bool) -> bool {
        let (wake, spawn) = {
            let mut inner = self.inner.lock();
            let allowed = self.allowed(&inner);
            let useful = allowed.saturating_sub(inner.running) as usize;
            let wanted = inner.queue.len().min(useful) as u32;
            let wanted = wanted.saturating_sub(u32::from(self_helps));
            let wake = wanted.min(inner.idle);
            // One more than may run jobs, so that one stays free to lead.
            let most = allowed + u32::from(self.leads());
            let spare = u32::from(self.leads() && inner.idle == wake);
            let spawn = (wanted - wake + spare).min(most.saturating_sub(inner.threads));
            inner.threads += spawn;
            (wake, spawn)
        };
        if wake > 0 {
            wake_idle(self.idle_word(runtime), wake);
        }
        for started in 0..spawn {
            if !thread::spawn(pool_thread, runtime) {
                let mut inner = self.inner.lock();
                inner.threads -= spawn - started;
                return inner.threads > 0;
            }
        }
        true
    }

    /// The engine thread joins the pool for good (there is no ring).
    pub fn join_as_leader(&self, runtime: &'static Runtime) {
        self.inner.lock().threads += 1;
        work(runtime);
    }

    /// Runs one queued job in the calling thread, when no thread can be had.
    pub fn run_here(&self, runtime: &'static Runtime) -> bool {
        match self.pop(own_number()) {
            Next::Job(job) => {
                run(runtime, &job);
                true
            }
            Next::Nothing | Next::NeedsLeader => false,
        }
    }

    /// A thread that stays free while the calling one runs a job. False: none
    /// can be had.
    fn add_leader(&self, runtime: &'static Runtime) -> bool {
        {
            let mut inner = self.inner.lock();
            if !inner.is_last_free() {
                return true;
            }
            inner.threads += 1;
        }
        let made = thread::spawn(pool_thread, runtime);
        if !made {
            self.inner.lock().threads -= 1;
        }
        made
    }
}

extern "C" fn pool_thread(argument: *mut libc::c_void) -> *mut libc::c_void {
    thread::begin_as(c"aio-shim-worker");
    // SAFETY: `thread::spawn` passes the runtime, which is never freed.
    let runtime: &'static Runtime = unsafe { &*argument.cast_const().cast() };
    work(runtime);
    std::ptr::null_mut()
}

fn own_number() -> u32 {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// The life of a pool thread.
fn work(runtime: &'static Runtime) {
    let pool = &runtime.pool;
    let mut rest = Rest::default();
    let number = own_number();
    loop {
        if pool.leads() {
            runtime.wakeup.awake();
            perturb::pause(15, 500);
            engine::lead(runtime);
        }
        if let Some(job) = take(runtime, number, &mut rest) {
            if pool.leads() {
                // From here on nobody looks, unless another thread sleeps
                // and is woken by the next submission; or by this one, so
                // that it sleeps no longer than the engine can wait.
                runtime.deferral.end();
                runtime.wakeup.prepare();
                if engine::has_work(runtime) || pool.look_in().is_some() {
                    runtime.wakeup.wake();
                }
            }
            run(runtime, &job);
            continue;
        }
        if !sleep(runtime, &mut rest) {
            return;
        }
    }
}

/// What a thread remembers between two sleeps.
#[derive(Default)]
struct Rest {
    /// The pool's count of ended jobs when it was last found stuck.
    jobs_seen: u64,
    /// There is a job, but this thread must stay free to lead.
    keeps_free: bool,
}

/// A job for the calling thread.
fn take(runtime: &'static Runtime, number: u32, rest: &mut Rest) -> Option<Job> {
    rest.keeps_free = false;
    loop {
        match runtime.pool.pop(number) {
            Next::Job(job) => return Some(job),
            Next::Nothing => return None,
            Next::NeedsLeader if runtime.pool.add_leader(runtime) => {}
            Next::NeedsLeader => {
                let job = runtime.pool.pop_as_last(number);
                rest.keeps_free = job.is_none();
                return job;
            }
        }
    }
}

/// Runs a job: publishes its result (but for the failure of a write, which is
/// the engine's to publish), and leaves word for the engine.
fn run(runtime: &'static Runtime, job: &Job) {
    probes::start(job.cb, Lane::Workers);
    runtime.stats.job();
    perturb::pause(8, 1500);
    let end = match job.run() {
        Err(error) if job.kind.is_write() => End::WriteFailed(error),
        outcome => {
            let mut batch = Batch::new();
            // SAFETY: the job owns the request in progress; it is popped once.
            unsafe { batch.complete(runtime, job.cb, outcome, Lane::Workers) };
            batch.flush(runtime);
            End::Published(outcome.err())
        }
    };
    let pool = &runtime.pool;
    perturb::pause(12, 1000);
    pool.finished(job.handle);
    perturb::pause(20, 800);
    let must_hear = matches!(end, End::WriteFailed(_));
    pool.report(Done {
        handle: job.handle,
        end,
    });
    if !pool.leads() && (must_hear || pool.wanted()) {
        runtime.wakeup.wake();
    }
}

/// Sleeps until there may be work. False: this thread ends.
fn sleep(runtime: &'static Runtime, rest: &mut Rest) -> bool {
    let pool = &runtime.pool;
    let leads = pool.leads();
    let word = pool.idle_word(runtime);
    let watches = leads && runtime.deferral.watch();
    let beat = if watches {
        runtime.deferral.beat()
    } else {
        None
    };
    pool.inner.lock().idle += 1;
    let sample = if leads {
        runtime.wakeup.prepare()
    } else {
        word.load(Ordering::SeqCst)
    };
    let stuck = pool.is_stuck();
    let mut limit = if stuck { STUCK } else { runtime.idle() };
    let help = runtime.notifier.help_wanted().filter(|_| leads);
    let look = pool.look_in().filter(|_| leads);
    for soon in [help, look, beat].into_iter().flatten() {
        limit = limit.min(soon);
    }
    // Work for the engine keeps nobody awake while another thread plays it:
    // that one looks again after giving it back.
    let must_lead = leads && engine::has_work(runtime) && !runtime.engine.is_locked();
    let has_job = !rest.keeps_free && pool.has_work();
    // The word sampled may be no longer the one that is moved.
    let moved = pool.leads() != leads;
    perturb::pause(15, 500);
    let slept = if has_job || must_lead || moved {
        Ok(())
    } else {
        sys::futex_wait(word, sample, Some(limit))
    };
    pool.inner.lock().idle -= 1;
    if watches {
        runtime.deferral.wakes();
    }
    if slept != Err(libc::ETIMEDOUT) {
        return true;
    }
    if stuck {
        rest.jobs_seen = pool.unstick(rest.jobs_seen);
        pool.staff(runtime, true);
    }
    if leads && runtime.notifier.help_wanted().is_some() {
        // Asked anew: it may have come up while this thread slept, and this
        // thread may be the only one there is.
        runtime.notifier.retry();
        return true;
    }
    if look.is_some() {
        // Nothing calls, but the engine wants a turn.
        engine::lead_now(runtime);
    }
    if limit < runtime.idle() {
        return true;
    }
    !end(runtime)
}

/// Ends the calling thread's membership if nothing needs it.
fn end(runtime: &'static Runtime) -> bool {
    let pool = &runtime.pool;
    let mut inner = pool.inner.lock();
    if !pool.leads() {
        if inner.running < pool.allowed(&inner) && inner.queue.len() > 0 {
            return false;
        }
        inner.threads -= 1;
        return true;
    }
    if inner.threads > 1 {
        if inner.idle == 0 && inner.running >= inner.threads - 1 {
            // The last one that is free to lead.
            return false;
        }
        inner.threads -= 1;
        return true;
    }
    // Before the intake closes: the next engine's thread counts itself, and
    // must not take this one for a second that stays.
    inner.threads -= 1;
    drop(inner);
    let closed = engine::try_close(runtime);
    if !closed {
        pool.inner.lock().threads += 1;
    }
    closed
}
