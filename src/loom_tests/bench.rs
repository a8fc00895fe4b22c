//! What the models stand on: executions counted, a runtime that is as the
//! first use makes it at the start of each, control blocks.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::{addr_of_mut, copy_nonoverlapping, drop_in_place};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use loom::model::Builder;
use loom::thread::{self, JoinHandle};

use crate::abi::{Aiocb, aiocb};
use crate::config::Backend;
use crate::deferral;
use crate::lanes::workers::{Job, Key, Pool, Progress, Work};
use crate::process::Runtime;
use crate::request::{self, Kind};
use crate::scheduler::Handle;
use crate::submission;
use crate::sync::model::{self, STACK, Scope, place};
use crate::wait;

/// Runs `body` in every order, with at most so many preemptions if given
/// (`LOOM_MAX_PREEMPTIONS` says otherwise).
pub fn check(preemptions: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        counted.fetch_add(1, SeqCst);
        body();
    });
    let executions = executions.load(SeqCst);
    println!("{executions} executions");
    assert!(executions > 1, "one execution is no model");
}

/// Starts a thread of the program's.
pub fn spawn<R: Send + 'static>(body: impl FnOnce() -> R + 'static) -> JoinHandle<R> {
    struct Trusted<F>(F);
    // SAFETY: all threads of a model are one thread of the system; what they
    // share is what loom checks.
    unsafe impl<F> Send for Trusted<F> {}
    impl<R, F: FnOnce() -> R> Trusted<F> {
        fn run(self) -> R {
            (self.0)()
        }
    }
    let body = Trusted(body);
    let builder = thread::Builder::new().stack_size(STACK);
    builder.spawn(move || body.run()).unwrap()
}

/// Memory for the runtime of one model.
pub struct Bench {
    pristine: *const Runtime,
    memory: *mut Runtime,
    used: AtomicUsize,
}

// SAFETY: one model runs one thread at a time.
unsafe impl Send for Bench {}
// SAFETY: as above.
unsafe impl Sync for Bench {}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            pristine: pristine(),
            // SAFETY: the layout is not empty.
            memory: unsafe { std::alloc::alloc_zeroed(std::alloc::Layout::new::<Runtime>()) }
                .cast(),
            used: AtomicUsize::new(0),
        }
    }

    /// The runtime as the first use makes it, for the backend without a
    /// ring, with at most `jobs` jobs at once and so many `threads` that can
    /// be had. Of its words the model explores those of `parts`.
    pub fn fresh(&self, jobs: u32, threads: usize, parts: &[Part]) -> &'static Runtime {
        // SAFETY: no thread of this execution is there but the caller, those
        // of the last have ended; a runtime that was never used may be copied.
        let runtime: &'static Runtime = unsafe {
            if self.used.swap(1, SeqCst) == 1 {
                drop_in_place(addr_of_mut!((*self.memory).engine));
                drop_in_place(addr_of_mut!((*self.memory).pool));
            }
            copy_nonoverlapping(self.pristine, self.memory, 1);
            let config = &mut *addr_of_mut!((*self.memory).config);
            config.backend = Backend::Threads;
            // Waiters carry out only where that is the model's subject.
            config.without.inline = !parts.contains(&Part::Recall);
            config.threads = jobs;
            addr_of_mut!((*self.memory).pool).write(Pool::new(config));
            // All zero: nobody collects, and no results of the last
            // execution are kept.
            addr_of_mut!((*self.memory).collector).write_bytes(0, 1);
            &*self.memory
        };
        deferral::set_time(0, 0);
        model::begin(Scope {
            only: Some(Vec::new()),
            threads,
            ..Scope::default()
        });
        for part in parts {
            match part {
                Part::Intake => model::explore(place(&runtime.intake)),
                Part::Wakeup => model::explore(place(&runtime.wakeup)),
                Part::Recall => model::explore(place(&runtime.recall)),
                Part::Deferral => runtime
                    .deferral
                    .places()
                    .into_iter()
                    .for_each(model::explore),
                Part::Starter => model::explore(place(&runtime.starter)),
                Part::Engine => model::explore_lock(place(&runtime.engine)),
                Part::Pool => runtime.pool.places().into_iter().for_each(model::explore),
                Part::Lists => model::explore(runtime.lists.extent()),
                Part::Load => {
                    runtime
                        .load
                        .places(zeros())
                        .into_iter()
                        .for_each(model::explore);
                }
                Part::Requests => {
                    let slots = &runtime.slots;
                    model::explore(slots.place(1).start..slots.place(4).end);
                }
            }
        }
        REQUESTS.set(parts.contains(&Part::Requests));
        runtime
    }
}

thread_local!(static REQUESTS: Cell<bool> = const { Cell::new(false) });

/// What of the library a model explores. Locks are explored in any case, as
/// one step each; other words are ordinary memory to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Intake,
    /// The places of those who wait for lists.
    Lists,
    /// The counters of what is outstanding.
    Load,
    Wakeup,
    /// What a waiter takes back; waiters then do so.
    Recall,
    /// Whether the engine is left asleep, and who looks meanwhile.
    Deferral,
    Starter,
    /// The steps of the engine's lock.
    Engine,
    Pool,
    /// Control blocks, and the slots of their waiters.
    Requests,
}

/// All but the requests, which have models of their own.
pub const ENGINE: &[Part] = &[Part::Intake, Part::Wakeup, Part::Engine, Part::Pool];

/// A runtime that is never used.
fn pristine() -> *const Runtime {
    static PRISTINE: OnceLock<usize> = OnceLock::new();
    let address = PRISTINE.get_or_init(|| {
        let made = Arc::new(AtomicUsize::new(0));
        let out = made.clone();
        Builder::new().check(move || {
            model::begin(Scope {
                only: Some(Vec::new()),
                ..Scope::default()
            });
            let out = out.clone();
            let make = move || {
                let runtime = Runtime::get().unwrap();
                out.store(std::ptr::from_ref(runtime).expose_provenance(), SeqCst);
            };
            let thread = thread::Builder::new().stack_size(8 * STACK).spawn(make);
            thread.unwrap().join().unwrap();
        });
        made.load(SeqCst)
    });
    std::ptr::with_exposed_provenance(*address)
}

/// A control block with its buffer.
pub struct Control {
    cb: *mut aiocb,
    buffer: *mut [u8; 4],
}

// SAFETY: plain memory; who may touch what is what the models check.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Control {
    /// For a read of four bytes; nobody is to be notified.
    pub fn new(fildes: c_int) -> Control {
        Control::with(fildes, [1; 4])
    }

    /// For a read or write of four bytes, with these in its buffer.
    pub fn with(fildes: c_int, bytes: [u8; 4]) -> Control {
        // SAFETY: all zero is a valid control block.
        let mut cb = unsafe { Box::<aiocb>::new_zeroed().assume_init() };
        let buffer = Box::into_raw(Box::new(bytes));
        cb.aio_fildes = fildes;
        cb.aio_buf = buffer.cast();
        cb.aio_nbytes = 4;
        let control = Control {
            cb: Box::into_raw(cb),
            buffer,
        };
        if REQUESTS.get() {
            model::explore(place(control.memory()));
        }
        control
    }

    fn memory(&self) -> &aiocb {
        // SAFETY: allocated in `new`.
        unsafe { &*self.cb }
    }

    pub fn cb(&self) -> Aiocb {
        Aiocb::new(self.cb).unwrap()
    }

    /// Claims it without submitting it: the model completes it.
    pub fn claim(&self, runtime: &Runtime) {
        // SAFETY: a valid control block.
        unsafe { request::claim(runtime, self.cb(), Kind::Read) }.unwrap();
        runtime.load.add(self.memory().aio_fildes, Kind::Read);
        runtime.load.settle(0, Kind::Read);
    }

    /// The job that carries it out, once claimed.
    pub fn job(&self, number: u32) -> Job {
        Job {
            handle: Handle::from_u32(number),
            key: Key {
                order: (0, number),
                alone: 0,
            },
            cb: self.cb(),
            fildes: self.memory().aio_fildes,
            kind: Kind::Read,
            work: Work::Positioned,
            brief: false,
            transfer: Progress {
                buffer: self.buffer.addr(),
                length: 4,
                done: 0,
            },
            offset: 0,
        }
    }

    /// aio_read.
    pub fn submit(&self, runtime: &'static Runtime) -> Result<(), c_int> {
        self.submit_as(runtime, Kind::Read)
    }

    /// aio_read or aio_write.
    pub fn submit_as(&self, runtime: &'static Runtime, kind: Kind) -> Result<(), c_int> {
        // SAFETY: a valid control block, alive until the model's end.
        unsafe { submission::claim(runtime, self.cb(), kind)? }.push(runtime)
    }

    /// What is in its buffer, once it is complete.
    pub fn bytes(&self) -> [u8; 4] {
        // SAFETY: allocated in `with`; nobody transfers any more.
        unsafe { *self.buffer }
    }

    /// aio_suspend for this one.
    pub fn wait(&self, runtime: &'static Runtime) {
        wait_for(runtime, &[self]);
        assert_ne!(self.error(runtime), libc::EINPROGRESS);
    }

    pub fn error(&self, runtime: &Runtime) -> c_int {
        // SAFETY: a valid control block.
        unsafe { request::error(Some(runtime), self.cb()) }
    }

    pub fn value(&self, runtime: &Runtime) -> isize {
        // SAFETY: a valid control block.
        unsafe { request::value(Some(runtime), self.cb()) }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // SAFETY: both from Box::into_raw.
        unsafe {
            drop(Box::from_raw(self.cb));
            drop(Box::from_raw(self.buffer));
        }
    }
}

/// aio_suspend for any of these, without a limit.
pub fn wait_for(runtime: &'static Runtime, controls: &[&Control]) {
    let list: Vec<*const aiocb> = controls
        .iter()
        .map(|control| control.cb.cast_const())
        .collect();
    // SAFETY: valid control blocks.
    unsafe { wait::wait_any(runtime, list.as_ptr(), list.len(), None) }.unwrap();
}

/// aio_suspend for one request with a limit of time, which leaves it to the
/// engine; and again, until it is complete.
pub fn wait_with_limit(runtime: &'static Runtime, control: &Control) {
    let list = [control.cb.cast_const()];
    let limit = libc::timespec {
        tv_sec: 1000,
        tv_nsec: 0,
    };
    loop {
        let deadline = wait::Deadline::after(&limit).unwrap();
        // SAFETY: a valid control block.
        match unsafe { wait::wait_any(runtime, list.as_ptr(), 1, Some(deadline)) } {
            Ok(()) => return,
            Err(error) => assert_eq!(error, libc::EAGAIN),
        }
    }
}

/// A descriptor that always reads zeros at once, through the pool.
pub fn zeros() -> c_int {
    static FILDES: OnceLock<c_int> = OnceLock::new();
    // SAFETY: a C string.
    *FILDES.get_or_init(|| unsafe { libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY) })
}

/// A second one.
pub fn other_zeros() -> c_int {
    static FILDES: OnceLock<c_int> = OnceLock::new();
    // SAFETY: no pointers.
    *FILDES.get_or_init(|| unsafe { libc::dup(zeros()) })
}

/// A file that is memory, with four zeros in it.
pub fn memory_file() -> c_int {
    // Each test has a thread of its own; those of its models are that one.
    thread_local!(static FILDES: c_int = new_file());
    let fildes = FILDES.with(|fildes| *fildes);
    // SAFETY: four readable bytes.
    assert_eq!(
        unsafe { libc::pwrite(fildes, [0u8; 4].as_ptr().cast(), 4, 0) },
        4
    );
    fildes
}

/// Another, each time.
pub fn new_file() -> c_int {
    // SAFETY: a C string.
    unsafe { libc::memfd_create(c"model".as_ptr(), 0) }
}

/// What is in a file.
pub fn contents(fildes: c_int) -> [u8; 4] {
    let mut bytes = [0; 4];
    // SAFETY: four writable bytes.
    unsafe { libc::pread(fildes, bytes.as_mut_ptr().cast(), 4, 0) };
    bytes
}
