//! Readiness without a ring: one thread waits for all watched streams in one
//! epoll set, so that they neither starve file I/O nor resist aio_cancel.
//!
//! Who comes in: the engine adds and removes watches; the thread collects
//! what became ready and wakes whoever plays the engine. What must hold: a
//! watch is reported once and is then gone; what cannot be watched is reported
//! as ready (the engine tries it, and leaves it alone for a while when that was
//! in vain); a descriptor set that the program closed under us is replaced, and
//! where none can be had, or waiting in one is refused, the thread polls the
//! numbers themselves.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

use crate::own_descriptors;
use crate::process::Runtime;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{sys, thread};

/// Which readiness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    In,
    Out,
}

impl Way {
    /// As poll(2) events.
    pub fn poll_events(self) -> i16 {
        match self {
            Way::In => libc::POLLIN | libc::POLLRDHUP,
            Way::Out => libc::POLLOUT,
        }
    }
}

/// The watches of one descriptor number.
#[derive(Default, Clone, Copy)]
struct Ways {
    input: Option<u32>,
    output: Option<u32>,
}

impl Ways {
    fn events(&self) -> u32 {
        let mut events = libc::EPOLLONESHOT as u32;
        if self.input.is_some() {
            events |= (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
        }
        if self.output.is_some() {
            events |= libc::EPOLLOUT as u32;
        }
        events
    }

    fn is_empty(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }

    /// The watches that `happened` answers; they are removed.
    fn take(&mut self, happened: u32, into: &mut Vec<u32>) {
        let failed = happened & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0;
        if failed || happened & (libc::EPOLLIN | libc::EPOLLRDHUP) as u32 != 0 {
            into.extend(self.input.take());
        }
        if failed || happened & libc::EPOLLOUT as u32 != 0 {
            into.extend(self.output.take());
        }
    }
}

struct Inner {
    watched: BTreeMap<c_int, Ways>,
    /// The epoll set; None: not yet, or none to be had.
    set: Option<c_int>,
    /// A descriptor that is always ready, in the set to wake the thread.
    nudge: Option<c_int>,
    /// Times polled without a set.
    slices: u32,
    running: bool,
}

/// The poller.
pub struct Poller {
    inner: Mutex<Inner>,
    events: Mutex<Vec<u32>>,
    count: AtomicUsize,
}

impl Poller {
    pub fn new() -> Self {
        Poller {
            inner: Mutex::new(Inner {
                watched: BTreeMap::new(),
                set: None,
                nudge: None,
                slices: 0,
                running: false,
            }),
            events: Mutex::new(Vec::new()),
            count: AtomicUsize::new(0),
        }
    }

    /// Has anything become ready?
    pub fn has_events(&self) -> bool {
        self.count.load(Ordering::SeqCst) != 0
    }

    /// Takes what became ready.
    pub fn take_events(&self) -> Vec<u32> {
        let mut events = self.events.lock();
        self.count.fetch_sub(events.len(), Ordering::SeqCst);
        std::mem::take(&mut *events)
    }

    fn happened(&self, runtime: &'static Runtime, mut ready: Vec<u32>) {
        if ready.is_empty() {
            return;
        }
        self.count.fetch_add(ready.len(), Ordering::SeqCst);
        self.events.lock().append(&mut ready);
        runtime.wakeup.wake();
    }

    /// Watches `fildes` for `way`; reported as `watch`, once.
    pub fn watch(&self, runtime: &'static Runtime, watch: u32, fildes: c_int, way: Way) {
        let refused = {
            let mut inner = self.inner.lock();
            let known = inner.watched.contains_key(&fildes);
            let ways = inner.watched.entry(fildes).or_default();
            match way {
                Way::In => ways.input = Some(watch),
                Way::Out => ways.output = Some(watch),
            }
            let ways = *ways;
            let started = inner.running || self.start(runtime, &mut inner);
            let refused = !started || !control(&mut inner, fildes, known, ways);
            if refused {
                inner.watched.remove(&fildes);
            }
            refused
        };
        if refused {
            // It cannot be waited for: a file that knows no readiness is
            // always ready, and a bad number fails when it is tried.
            self.happened(runtime, vec![watch]);
        }
    }

    /// Takes a watch back.
    pub fn unwatch(&self, _runtime: &'static Runtime, fildes: c_int, way: Way) {
        let mut inner = self.inner.lock();
        let Some(ways) = inner.watched.get_mut(&fildes) else {
            return;
        };
        match way {
            Way::In => ways.input = None,
            Way::Out => ways.output = None,
        }
        let ways = *ways;
        control(&mut inner, fildes, true, ways);
        if ways.is_empty() {
            inner.watched.remove(&fildes);
        }
        if inner.watched.is_empty() {
            nudge(&mut inner);
        }
    }

    /// Starts the thread. False if none can be had.
    fn start(&self, runtime: &'static Runtime, inner: &mut Inner) -> bool {
        if inner.set.is_none() {
            inner.set = make_set();
        }
        inner.running = thread::spawn(poller_thread, runtime);
        inner.running
    }

    /// One wait. False: the thread ends.
    fn round(&self, runtime: &'static Runtime) -> bool {
        let set = self.inner.lock().set;
        let mut ready = Vec::new();
        let quiet = match set {
            Some(set) => self.wait_in_set(set, runtime.idle(), &mut ready),
            None => self.poll_numbers(&mut ready),
        };
        self.happened(runtime, ready);
        if !quiet {
            return true;
        }
        let mut inner = self.inner.lock();
        if !inner.watched.is_empty() {
            return true;
        }
        inner.running = false;
        for fildes in [inner.set.take(), inner.nudge.take()].into_iter().flatten() {
            own_descriptors::release(fildes);
        }
        false
    }

    /// True if nothing happened for as long as a thread stays idle.
    fn wait_in_set(&self, set: c_int, idle: Duration, ready: &mut Vec<u32>) -> bool {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let nothing = self.inner.lock().watched.is_empty();
        let limit = if nothing {
            idle.as_millis() as c_int
        } else {
            -1
        };
        // SAFETY: room for 64 events.
        let answer = sys::result(unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait,
                set,
                events.as_mut_ptr(),
                events.len(),
                limit,
                std::ptr::null::<u64>(),
                8usize,
            )
        });
        let mut inner = self.inner.lock();
        match answer {
            Ok(0) => return true,
            Ok(count) => {
                for event in &events[..count] {
                    if event.u64 == NUDGE {
                        if let Some(fildes) = inner.nudge.take() {
                            own_descriptors::release(fildes);
                        }
                        continue;
                    }
                    let fildes = event.u64 as c_int;
                    if let Some(ways) = inner.watched.get_mut(&fildes) {
                        ways.take(event.events, ready);
                        let left = *ways;
                        if left.is_empty() {
                            inner.watched.remove(&fildes);
                            // Out of the set altogether: the number may be
                            // another file next time.
                            control(&mut inner, fildes, true, left);
                        } else {
                            control(&mut inner, fildes, true, left);
                        }
                    }
                }
            }
            Err(libc::EINTR) => {}
            Err(error) => {
                // EINVAL: the program closed our set and has put something of
                // its own there. Otherwise it is gone, or still ours and of
                // no use.
                if error != libc::EINVAL {
                    own_descriptors::release(set);
                }
                renew(&mut inner, ready);
            }
        }
        false
    }

    /// Without a set: polls the numbers in short slices, because changes do
    /// not wake it. True if there is nothing to poll.
    fn poll_numbers(&self, ready: &mut Vec<u32>) -> bool {
        let mut polls: Vec<libc::pollfd> = {
            let inner = self.inner.lock();
            inner
                .watched
                .iter()
                .map(|(&fd, ways)| libc::pollfd {
                    fd,
                    // The values of poll and epoll are the same.
                    events: (ways.events() & 0xffff) as i16,
                    revents: 0,
                })
                .collect()
        };
        if polls.is_empty() {
            return true;
        }
        // SAFETY: the vector's own length.
        let answer =
            unsafe { libc::syscall(libc::SYS_poll, polls.as_mut_ptr(), polls.len(), 5i32) };
        if answer < 0 {
            // More numbers than RLIMIT_NOFILE: each is tried now and then.
            sys::sleep(Duration::from_millis(5));
            for poll in &mut polls {
                poll.revents = libc::POLLERR;
            }
        }
        let mut inner = self.inner.lock();
        for poll in polls {
            if poll.revents != 0
                && let Some(ways) = inner.watched.get_mut(&poll.fd)
            {
                let happened = if poll.revents & libc::POLLNVAL != 0 {
                    libc::EPOLLERR as u32
                } else {
                    poll.revents as u16 as u32
                };
                ways.take(happened, ready);
                if ways.is_empty() {
                    inner.watched.remove(&poll.fd);
                }
            }
        }
        inner.slices = inner.slices.wrapping_add(1);
        if inner.set.is_none() && inner.slices.is_multiple_of(SLICES) {
            // Perhaps there is a descriptor now. Not asked often: for a
            // moment the attempt takes the number the program wants next.
            renew(&mut inner, ready);
        }
        false
    }
}

/// Polls between two attempts to have a set: a second.
const SLICES: u32 = 200;

/// Makes a set, if one can be had, with all that is watched. What cannot be
/// watched in it is ready.
fn renew(inner: &mut Inner, ready: &mut Vec<u32>) {
    if let Some(fildes) = inner.nudge.take() {
        own_descriptors::release(fildes);
    }
    inner.set = make_set();
    let numbers: Vec<c_int> = inner.watched.keys().copied().collect();
    for fildes in numbers {
        let mut ways = inner.watched[&fildes];
        if !control(inner, fildes, false, ways) {
            ways.take(libc::EPOLLERR as u32, ready);
            inner.watched.remove(&fildes);
        }
    }
}

/// The key of the nudge in the set; no descriptor number.
const NUDGE: u64 = u64::MAX;

/// Nothing is watched any more: the thread, which may wait without limit,
/// comes back and begins to count its idle time.
fn nudge(inner: &mut Inner) {
    let Some(set) = inner.set else {
        return;
    };
    if inner.nudge.is_some() {
        return;
    }
    // SAFETY: no pointers.
    let fildes = unsafe { libc::eventfd(1, libc::EFD_CLOEXEC) };
    if fildes < 0 {
        return;
    }
    if let Ok(fildes) = own_descriptors::adopt(fildes) {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: NUDGE,
        };
        // SAFETY: a valid event.
        if unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fildes, &mut event) } == 0 {
            inner.nudge = Some(fildes);
        } else {
            own_descriptors::release(fildes);
        }
    }
}

/// Tells the set what a number is watched for. False if it cannot be.
fn control(inner: &mut Inner, fildes: c_int, known: bool, ways: Ways) -> bool {
    let Some(set) = inner.set else {
        return true;
    };
    let mut event = libc::epoll_event {
        events: ways.events(),
        u64: fildes as u64,
    };
    let mut tell = |operation| {
        // SAFETY: a valid event.
        unsafe { libc::epoll_ctl(set, operation, fildes, &mut event) == 0 }
    };
    if ways.is_empty() {
        tell(libc::EPOLL_CTL_DEL);
        return true;
    }
    if known && tell(libc::EPOLL_CTL_MOD) {
        return true;
    }
    if tell(libc::EPOLL_CTL_ADD) {
        return true;
    }
    match sys::errno() {
        libc::EEXIST => tell(libc::EPOLL_CTL_MOD),
        // The program closed our set: the thread notices and makes another,
        // with all that is watched.
        libc::EBADF | libc::EINVAL if !is_set(set) => true,
        _ => false,
    }
}

fn is_set(set: c_int) -> bool {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event. An epoll descriptor answers 0.
    unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait,
            set,
            &mut event,
            1usize,
            0i32,
            std::ptr::null::<u64>(),
            8usize,
        ) >= 0
    }
}

/// A set that can be waited in: a filter may refuse just that.
fn make_set() -> Option<c_int> {
    // SAFETY: no pointers.
    let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if set < 0 {
        return None;
    }
    let set = own_descriptors::adopt(set).ok()?;
    if !is_set(set) {
        own_descriptors::release(set);
        return None;
    }
    Some(set)
}

extern "C" fn poller_thread(argument: *mut c_void) -> *mut c_void {
    thread::begin_as(c"aio-shim-poll");
    // SAFETY: `thread::spawn` passes the runtime, which is never freed.
    let runtime: &'static Runtime = unsafe { &*argument.cast_const().cast() };
    while runtime.poller.round(runtime) {}
    null_mut()
}
