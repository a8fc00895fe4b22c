//! What belongs to one process: the runtime, and what fork does to it.
//!
//! Who comes in: every entry point asks for [`Runtime::current`] (a load) or
//! [`Runtime::get`] (makes one at first use). What must hold: before the first
//! use nothing exists; a child of fork finds none and makes its own. The
//! pointer to the runtime lies in a page that the kernel wipes in the child
//! (MADV_WIPEONFORK), which works for fork, `_Fork` and a raw clone alike,
//! and not for vfork, which shares the memory. A runtime is never freed.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use crate::abi::Aiocb;
use crate::config::{self, Backend, Config};
use crate::deferral::Deferral;
use crate::descriptor::Hints;
use crate::engine::{Engine, Starter};
use crate::intake::Intake;
use crate::lanes::workers::{Poller, Pool};
use crate::load::Load;
use crate::notify::Notifier;
use crate::own_descriptors;
use crate::perturb;
use crate::recall::Recall;
use crate::stats::Stats;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sys;
use crate::wait::Slots;
use crate::wakeup::Wakeup;

/// Everything the library knows in one process.
pub struct Runtime {
    /// No other process, and no garbage, knows it.
    secret: u64,
    /// The process it belongs to. (A child of vfork shares the memory.)
    pid: c_int,
    pub config: Config,
    pub intake: Intake,
    pub wakeup: Wakeup,
    pub recall: Recall,
    pub deferral: Deferral,
    pub starter: Starter,
    /// The engine, while there is one; taken only by the engine's threads.
    pub engine: Mutex<Option<Box<Engine>>>,
    pub slots: Slots,
    pub lists: crate::lists::Lists,
    pub load: Load,
    pub hints: Hints,
    pub pool: Pool,
    pub poller: Poller,
    pub notifier: Notifier,
    pub stats: Stats,
    /// Completions that aio_waitcomplete has still to hand out.
    pub collector: crate::collect::Collector,
    /// Nanoseconds a thread stays without work.
    idle_ns: AtomicU64,
}

/// What a notifier begins as: copied, never used, so that it need not pass
/// through the stack of whoever calls first.
static PRISTINE: Notifier = Notifier::new();

/// The page that fork wipes.
struct Anchor {
    runtime: AtomicPtr<Runtime>,
}

static ANCHOR: AtomicPtr<Anchor> = AtomicPtr::new(null_mut());

impl Runtime {
    /// This process's runtime, if it has used AIO. Two loads.
    pub fn current() -> Option<&'static Runtime> {
        let anchor = ANCHOR.load(Ordering::Acquire);
        if anchor.is_null() {
            return None;
        }
        // SAFETY: the anchor page is mapped for good; the kernel's wipe makes
        // it zero, which is a null pointer.
        let runtime = unsafe { (*anchor).runtime.load(Ordering::Acquire) };
        // SAFETY: null, or a runtime that is never freed.
        unsafe { runtime.as_ref() }
    }

    /// This process's runtime, made at first use. None: no memory.
    ///
    /// Async-signal-safe: raw mmap, no lock; of two that race one wins.
    pub fn get() -> Option<&'static Runtime> {
        Self::current().or_else(Self::make)
    }

    #[cold]
    #[inline(never)]
    fn make() -> Option<&'static Runtime> {
        let _errno = sys::KeepErrno::new();
        let config = config::get();
        let anchor = anchor(&config)?;
        own_descriptors::forget_parents();
        let fresh = sys::map(size_of::<Runtime>(), libc::MAP_PRIVATE)?.cast::<Runtime>();
        let Some(stats) = Stats::new(&config) else {
            // SAFETY: `fresh` was seen by nobody.
            unsafe { libc::munmap(fresh.cast(), size_of::<Runtime>()) };
            return None;
        };
        // SAFETY: fresh zeroed memory of the right size, ours alone. Slots,
        // Lists, Load, Hints, Recall, Deferral, Collector and Poller are atomics
        // for which zero is the empty state; the rest is written here, member by member, so
        // that no large value passes through a small stack.
        unsafe {
            (&raw mut (*fresh).secret).write(sys::random());
            (&raw mut (*fresh).pid).write(libc::getpid());
            (&raw mut (*fresh).config).write(config);
            (&raw mut (*fresh).stats).write(stats);
            (&raw mut (*fresh).intake).write(Intake::new());
            (&raw mut (*fresh).wakeup).write(Wakeup::new());
            (&raw mut (*fresh).starter).write(Starter::new());
            (&raw mut (*fresh).engine).write(Mutex::new(None));
            (&raw mut (*fresh).pool).write(Pool::new(&config));
            (&raw mut (*fresh).poller).write(Poller::new());
            (&raw mut (*fresh).notifier).copy_from_nonoverlapping(&PRISTINE, 1);
            (&raw mut (*fresh).idle_ns)
                .write(AtomicU64::new(u64::from(config.idle_seconds) * SECOND));
            (*fresh).notifier.configure(crate::notify::Config {
                overflow_signal: config.overflow_signal,
                max_waiting: config.max_waiting,
                idle: std::time::Duration::from_secs(config.idle_seconds.into()),
                verbose: config.verbose,
            });
        }
        match anchor.runtime.compare_exchange(
            null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => {
                // SAFETY: published above, never freed.
                let runtime = unsafe { &*fresh };
                root_of_leak_checker(fresh);
                config::complain();
                runtime.collector.prepare();
                runtime.stats.begin(runtime);
                Some(runtime)
            }
            Err(theirs) => {
                // SAFETY: `fresh` was seen by nobody.
                unsafe {
                    (*fresh).stats.discard();
                    libc::munmap(fresh.cast(), size_of::<Runtime>());
                }
                // SAFETY: as in `current`.
                Some(unsafe { &*theirs })
            }
        }
    }

    /// The stamp that marks `cb` as in progress in this process.
    pub fn stamp(&self, cb: Aiocb) -> u64 {
        let mixed = (cb.to_word() ^ self.secret).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 32) ^ self.secret.rotate_left(17)
    }

    /// Is this a child of vfork, in its parent's memory?
    pub fn is_borrowed(&self) -> bool {
        // SAFETY: getpid has no preconditions.
        self.pid != unsafe { libc::getpid() }
    }

    /// May requests be served in the calling thread? With a demanded ring,
    /// not before there was one.
    pub fn may_inline(&self) -> bool {
        !self.config.without.inline
            && (self.config.backend != Backend::Uring || self.starter.may_have_ring(self))
    }

    /// The calling thread is about to wait for something: what lies on the
    /// intake must not lie there until the next beat.
    pub fn wake_for_wait(&self) {
        if !self.intake.is_empty() {
            self.call_engine();
        }
    }

    /// Wakes the engine, if it sleeps, for what lies on the intake. True: by a
    /// system call.
    pub fn call_engine(&self) -> bool {
        self.deferral.call();
        self.wakeup.wake()
    }

    /// Is there anything on the intake that the engine must take now?
    pub fn must_take(&self) -> bool {
        !self.intake.is_empty() && self.deferral.is_called() || self.recall.has_end()
    }

    /// How long a thread stays without work.
    pub fn idle(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.idle_ns.load(Ordering::Relaxed))
    }

    /// Sets it (aio_init).
    pub fn set_idle_seconds(&self, seconds: u32) {
        self.idle_ns
            .store(u64::from(seconds) * SECOND, Ordering::Relaxed);
    }
}

/// One of those for which a thread stays without work, in nanoseconds.
const SECOND: u64 = perturb::bound(1_000_000_000, 20_000_000) as u64;

/// The anchor page, made at first use.
fn anchor(config: &Config) -> Option<&'static Anchor> {
    let present = ANCHOR.load(Ordering::Acquire);
    if !present.is_null() {
        // SAFETY: never unmapped.
        return Some(unsafe { &*present });
    }
    let page = sys::map(4096, libc::MAP_PRIVATE)?.cast::<Anchor>();
    // SAFETY: the page was just mapped.
    let wiped = !config.without.wipe_on_fork
        && unsafe { libc::madvise(page.cast(), 4096, libc::MADV_WIPEONFORK) } == 0;
    match ANCHOR.compare_exchange(null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            if !wiped {
                // Kernels before 4.14. This allocates: there, the first AIO
                // call should not be made by a signal handler.
                // SAFETY: the handler is a function of this library, which is
                // never unloaded.
                unsafe { libc::pthread_atfork(None, None, Some(forget_runtime)) };
            }
            // SAFETY: never unmapped.
            Some(unsafe { &*page })
        }
        Err(theirs) => {
            // SAFETY: nobody saw `page`; `theirs` is never unmapped.
            unsafe {
                libc::munmap(page.cast(), 4096);
                Some(&*theirs)
            }
        }
    }
}

/// The child's handler of fork where the kernel cannot wipe the page.
extern "C" fn forget_runtime() {
    let anchor = ANCHOR.load(Ordering::Acquire);
    if !anchor.is_null() {
        // SAFETY: never unmapped.
        unsafe { (*anchor).runtime.store(null_mut(), Ordering::Release) };
    }
}

/// `__lsan_register_root_region`, if the program has LeakSanitizer.
static REGISTER_ROOT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Looks that function up: called when the library is loaded, since dlsym is
/// not async-signal-safe.
#[cfg(not(test))]
pub fn look_for_leak_checker() {
    // SAFETY: a C string.
    let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__lsan_register_root_region".as_ptr()) };
    REGISTER_ROOT.store(at, Ordering::Relaxed);
}

/// Tells LeakSanitizer of memory that no allocator of its knows: what is only
/// reachable from there is not lost.
fn root_of_leak_checker(region: *const Runtime) {
    let register = REGISTER_ROOT.load(Ordering::Relaxed);
    if !register.is_null() {
        // SAFETY: void __lsan_register_root_region(const void *, size_t).
        unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const Runtime, usize)>(
                register,
            )(region, size_of::<Runtime>());
        }
    }
}
