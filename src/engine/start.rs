//! The engine's threads: started on demand, ended when idle.
//!
//! Who comes in: a submission that found the intake closed. What must hold:
//! one thread at a time starts an engine, with every signal blocked, so that
//! no handler on that thread waits for it; the intake opens only when a
//! thread exists that will take from it; and an engine closes the intake
//! before it goes, which fails if anything was pushed.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

use super::{Engine, has_work};
use crate::config::Backend;
use crate::lanes::ring::{Ring, Token};
use crate::process::Runtime;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::{perturb, probes, refusal, sys, thread};

const REST: u32 = 0;
const STARTING: u32 = 1;

/// Set-up answer of an engine thread: none yet, a ring, or its errno + 2.
const UNKNOWN: u32 = 0;
const SET_UP: u32 = 1;
const REFUSED: u32 = 2;

/// Who is starting an engine.
pub struct Starter {
    state: AtomicU32,
    answer: AtomicU32,
    /// What asking for a ring gave.
    may_have_ring: AtomicU32,
    /// The backend was said on standard error.
    said: AtomicU32,
}

impl Starter {
    pub const fn new() -> Self {
        Starter {
            state: AtomicU32::new(REST),
            answer: AtomicU32::new(UNKNOWN),
            may_have_ring: AtomicU32::new(UNKNOWN),
            said: AtomicU32::new(0),
        }
    }

    /// Can a ring be had in this process? Asked once, by a child that shares
    /// the memory (async-signal-safe, unlike the start of a thread).
    pub fn may_have_ring(&self, runtime: &Runtime) -> bool {
        match self.may_have_ring.load(Ordering::Relaxed) {
            UNKNOWN => {
                let may = refusal::probe(runtime).is_ok();
                self.may_have_ring
                    .store(if may { SET_UP } else { REFUSED }, Ordering::Relaxed);
                may
            }
            answer => answer == SET_UP,
        }
    }

    fn answer(&self, answer: u32) {
        self.answer.store(answer, Ordering::Release);
        sys::futex_wake(self.answer.as_ptr(), i32::MAX);
    }
}

/// Makes sure that somebody takes from the intake. Err(EAGAIN): no thread can
/// be had, or io_uring was demanded and is refused.
pub fn ensure_running(runtime: &'static Runtime) -> Result<(), c_int> {
    let _errno = sys::KeepErrno::new();
    sys::with_signals_blocked(|| {
        let starter = &runtime.starter;
        loop {
            if !runtime.intake.is_closed() {
                return Ok(());
            }
            if starter
                .state
                .compare_exchange(REST, STARTING, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                let answer = if runtime.intake.is_closed() {
                    start(runtime)
                } else {
                    Ok(())
                };
                starter.state.store(REST, Ordering::SeqCst);
                sys::futex_wake(starter.state.as_ptr(), i32::MAX);
                return answer;
            }
            let _ = sys::futex_wait(&starter.state, STARTING, None);
        }
    })
}

fn start(runtime: &'static Runtime) -> Result<(), c_int> {
    let starter = &runtime.starter;
    let must_ring = runtime.config.backend == Backend::Uring;
    // A short program could end before it is said which backend serves.
    let must_hear = must_ring || runtime.config.verbose;
    if must_hear {
        starter.answer.store(UNKNOWN, Ordering::SeqCst);
    }
    if !thread::spawn(engine_thread, runtime) {
        if starter.said.swap(1, Ordering::Relaxed) == 0 && runtime.config.verbose {
            sys::to_stderr("aio_shim: no thread can be created: requests fail with EAGAIN\n");
        }
        return Err(libc::EAGAIN);
    }
    if must_hear {
        while starter.answer.load(Ordering::Acquire) == UNKNOWN {
            let _ = sys::futex_wait(&starter.answer, UNKNOWN, None);
        }
        if must_ring && starter.answer.load(Ordering::Acquire) != SET_UP {
            return Err(libc::EAGAIN);
        }
    }
    runtime.intake.open();
    Ok(())
}

extern "C" fn engine_thread(argument: *mut c_void) -> *mut c_void {
    thread::begin_as(c"aio-shim-engine");
    // SAFETY: `thread::spawn` passes the runtime, which is never freed.
    let runtime: &'static Runtime = unsafe { &*argument.cast_const().cast() };
    // An engine that is just ending still has the lock.
    let mut place = runtime.engine.lock();
    let ring = match runtime.config.backend {
        Backend::Threads => {
            say(runtime, None, Ok(()));
            None
        }
        _ => match refusal::may_set_up(runtime).and_then(|()| {
            Ring::new(
                &runtime.config.without,
                &runtime.wakeup,
                runtime.stats.ring_enters(),
            )
        }) {
            Ok(ring) => {
                say(runtime, Some(&ring), Ok(()));
                Some(ring)
            }
            Err(error) => {
                say(runtime, None, Err(error));
                if runtime.config.backend == Backend::Uring {
                    runtime.starter.answer(error as u32 + 2);
                    return null_mut();
                }
                probes::fallback(error);
                runtime.stats.fallback();
                None
            }
        },
    };
    let has_ring = ring.is_some();
    *place = Some(Box::new(Engine::new(runtime, ring)));
    runtime.pool.set_leads(!has_ring);
    runtime.starter.answer(SET_UP);
    if has_ring {
        if let Some(engine) = place.as_mut()
            && let Err(error) = engine.serve(runtime)
        {
            super::fallback::replace(runtime, place, error);
            return null_mut();
        }
        // Before its descriptor, if it had one, is closed.
        runtime.wakeup.set_eventfd(None);
        *place = None;
    } else {
        drop(place);
        thread::show_as(c"aio-shim-worker");
        runtime.pool.join_as_leader(runtime);
    }
    null_mut()
}

/// Says once which backend serves, and why.
fn say(runtime: &Runtime, ring: Option<&Ring>, refused: Result<(), c_int>) {
    let demanded = runtime.config.backend == Backend::Uring && refused.is_err();
    if !(runtime.config.verbose || demanded) || runtime.starter.said.swap(1, Ordering::Relaxed) != 0
    {
        return;
    }
    let mut line = sys::Line::new();
    match (ring, refused) {
        (Some(ring), _) => {
            let [kind, alarm, place] = ring.describe();
            line.text("aio_shim: backend=uring (")
                .text(kind)
                .text(", ")
                .text(alarm)
                .text(", ")
                .text(place)
                .text(")");
        }
        (None, Ok(())) => {
            line.text("aio_shim: backend=threads (AIO_SHIM_BACKEND=threads)");
        }
        (None, Err(error)) => {
            line.text(if demanded {
                "aio_shim: AIO_SHIM_BACKEND=uring, but io_uring is refused and requests fail with EAGAIN: "
            } else {
                "aio_shim: backend=threads: "
            });
            refusal::explain(&mut line, runtime, error);
        }
    }
    line.print();
}

/// Closes the intake if the engine is idle; then the calling pool thread, the
/// last one, may end. For the backend without a ring.
pub fn try_close(runtime: &'static Runtime) -> bool {
    let mut place = runtime.engine.lock();
    match place.as_mut() {
        Some(engine) if !engine.is_idle() || has_work(runtime) => false,
        _ => {
            if !runtime.intake.close() {
                return false;
            }
            *place = None;
            true
        }
    }
}

impl Engine {
    /// The life of the engine thread with a ring. Ok: idle, intake closed.
    /// Err: the ring is refused from now on.
    fn serve(&mut self, runtime: &'static Runtime) -> Result<(), c_int> {
        let mut rest = Rest::default();
        loop {
            let reaped = self.reap(runtime);
            let found = self.turn(runtime);
            if reaped || found {
                rest.idle_since = None;
            }
            let patient = self.is_patient();
            let Some(ring) = self.ring.as_mut() else {
                return Err(libc::ENOSYS);
            };
            if ring.unsubmitted() >= SUBMIT_AT_ONCE && !patient {
                ring.submit()?;
            } else if !self.has_own() && !self.sleep(runtime, &mut rest)? {
                return Ok(());
            }
        }
    }

    /// Sleeps until there may be work, handing over what is queued with the
    /// same system call. Ok(false): idle for long, and the intake is closed.
    fn sleep(&mut self, runtime: &'static Runtime, rest: &mut Rest) -> Result<bool, c_int> {
        let help = runtime.notifier.help_wanted();
        let stuck = self.pooled > 0 && runtime.pool.runnable() > 0;
        // Before the last look at the intake: see there.
        let beat = runtime.deferral.beat();
        let mut limit = help;
        if let Some(beat) = beat {
            limit = shorter(limit, beat);
            rest.idle_since = None;
        } else if self.is_idle() {
            let now = sys::now_ns();
            let rested = Duration::from_nanos(now - *rest.idle_since.get_or_insert(now));
            if rested >= runtime.idle() {
                if help.is_none() && runtime.intake.close() {
                    return Ok(false);
                }
                rest.idle_since = None;
            } else {
                limit = shorter(limit, runtime.idle() - rested);
            }
        }
        if let Some(time) = self.look_at() {
            let soon = Duration::from_nanos(time.saturating_sub(sys::now_ns()));
            limit = shorter(limit, soon);
        }
        if stuck {
            limit = shorter(limit, STUCK);
        } else if self.pooled > 0 {
            limit = shorter(limit, runtime.idle());
        }
        // Who waits for a worker's end: what the scheduler holds back, what
        // found no room, lists, files that the program has closed, closes.
        runtime.pool.engine_wants(
            self.pooled > 0
                && (self.scheduler.len() > self.pooled
                    || !self.groups.is_empty()
                    || !self.pins.is_empty()
                    || !self.closings.is_empty()),
        );
        let patience = match limit {
            None if self.is_patient() => self.patience.left_over(),
            _ => None,
        };
        perturb::pause(60, 300);
        let sample = runtime.wakeup.prepare();
        perturb::pause(60, 300);
        let Some(ring) = self.ring.as_mut() else {
            return Err(libc::ENOSYS);
        };
        let entered = if has_work(runtime) || ring.ready() {
            if ring.unsubmitted() > 0 {
                ring.submit()
            } else {
                Ok(())
            }
        } else if let Some(patience) = patience {
            ring.sleep_for_all(&runtime.wakeup, sample, patience)
        } else {
            ring.sleep(&runtime.wakeup, sample, limit)
        };
        runtime.wakeup.awake();
        entered?;
        if help.is_some() {
            runtime.notifier.retry();
        }
        if stuck {
            rest.jobs_seen = runtime.pool.unstick(rest.jobs_seen);
            runtime.pool.staff(runtime, false);
        }
        Ok(true)
    }

    /// Is nothing outstanding but lists that are awaited as a whole, all in
    /// the ring?
    fn is_patient(&self) -> bool {
        let outstanding = self.scheduler.len();
        self.patience.is_for_all(outstanding)
            && self
                .ring
                .as_ref()
                .is_some_and(|ring| ring.in_flight() == outstanding)
    }

    /// Takes what the ring completed. True if there was anything but alarms.
    fn reap(&mut self, runtime: &'static Runtime) -> bool {
        let mut any = false;
        for _ in 0..REAP {
            let Some((token, result)) = self.ring.as_mut().and_then(Ring::pop) else {
                break;
            };
            match token {
                Token::Request(handle) => self.ring_completed(runtime, handle, result),
                Token::Ready(watch) => self.stream_ready(runtime, watch),
                Token::Wake | Token::Timeout | Token::Nothing => continue,
            }
            any = true;
        }
        if any {
            self.batch.flush(runtime);
        }
        any
    }
}

/// What the engine remembers between two sleeps.
#[derive(Default)]
struct Rest {
    /// Since when nothing is outstanding.
    idle_since: Option<u64>,
    /// The pool's count of ended jobs when it was last found stuck.
    jobs_seen: u64,
}

fn shorter(limit: Option<Duration>, other: Duration) -> Option<Duration> {
    Some(limit.map_or(other, |limit| limit.min(other)))
}

/// Entries handed over at once rather than with the next sleep.
const SUBMIT_AT_ONCE: u32 = 4;
/// Completions published before their waiters are woken.
const REAP: usize = perturb::bound(64, 1);
/// As for the pool's own threads.
const STUCK: Duration = Duration::from_millis(10);
