//! A descriptor number is about to be closed: its requests stay bound to
//! their open file.
//!
//! Who comes in: the message of a thread inside close, dup2, dup3,
//! close_range or closefrom. What must hold when it is answered: no request
//! will ever use the number again. All that waits gets a duplicate of the
//! descriptor (a pin), what is in the ring too: the kernel holds its file, but
//! may refuse it, and then a worker tries. A worker that has begun with the
//! number is waited for.

use std::ffi::{c_int, c_void};

use super::{Engine, NO_PIN, Place, socket};
use crate::descriptor::Class;
use crate::message::{Message, Question};
use crate::own_descriptors;
use crate::perturb;
use crate::process::Runtime;
use crate::scheduler::{Direction, Handle, Operation, State};
use crate::stats::Lane;
use crate::thread::{self, Stack};

/// A duplicate that keeps an open file reachable.
pub struct Pin {
    fildes: c_int,
    users: u32,
}

/// A close that waits for jobs.
pub struct Closing {
    message: &'static Message,
    jobs: Vec<Handle>,
}

/// The main function of a thread that closes a pin.
extern "C" fn close_slowly(fildes: *mut c_void) -> *mut c_void {
    thread::begin_as(c"aio-shim-close");
    own_descriptors::release(fildes.addr() as c_int);
    std::ptr::null_mut()
}

impl Engine {
    /// Sees to the closes that were asked for. (One at a time: what is done
    /// for it may take over more of them.)
    pub(super) fn see_to_closes(&mut self, runtime: &'static Runtime) {
        if self.seeing_to_closes {
            return;
        }
        self.seeing_to_closes = true;
        while let Some(message) = self.closes.pop_front() {
            if let Question::Close { first, last } = message.question {
                self.close(runtime, first, last, message);
            }
        }
        self.seeing_to_closes = false;
    }

    fn close(
        &mut self,
        runtime: &'static Runtime,
        first: c_int,
        last: c_int,
        message: &'static Message,
    ) {
        // What was taken over before this message must be on its way: an
        // entry holds its file from the moment the kernel has it.
        self.dispatch(runtime);
        if let Some(ring) = self.ring.as_mut() {
            while ring.unsubmitted() > 0 && ring.submit().is_ok() {}
        }
        let mut jobs = Vec::new();
        for fildes in first..=last.min(self.highest) {
            self.let_go(runtime, fildes, &mut jobs);
        }
        self.natures.forget();
        self.batch.flush(runtime);
        perturb::pause(4, 2000);
        if jobs.is_empty() {
            message.reply(0);
        } else {
            for &handle in &jobs {
                self.scheduler.payload_mut(handle).closing = true;
            }
            self.closings.push(Closing { message, jobs });
            self.look_at_closings(runtime);
        }
    }

    fn let_go(&mut self, runtime: &'static Runtime, fildes: c_int, jobs: &mut Vec<Handle>) {
        let mut pin = None;
        let mut walk = self.scheduler.walk(fildes);
        while let Some(handle) = self.scheduler.older(&mut walk) {
            let request = self.scheduler.payload(handle);
            if request.pin != NO_PIN {
                // Already has a number of its own.
                continue;
            }
            let in_pool = request.place == Place::Pool;
            if request.place == Place::Waiter
                || in_pool && !runtime.pool.is_queued(self.job_key(handle))
            {
                jobs.push(handle);
                continue;
            }
            match self.pin(fildes, &mut pin) {
                Some(number) => self.use_pin(handle, number),
                // Not one descriptor can be had.
                None => {
                    self.give_up(runtime, handle, jobs);
                    continue;
                }
            }
            if in_pool {
                let own = self.scheduler.payload(handle).fildes;
                if !runtime.pool.redirect(self.job_key(handle), own) {
                    // Begun in between, with the old number.
                    jobs.push(handle);
                }
            }
        }
        if let Some(number) = pin
            && let Some(pin) = self.pins.get_mut(number)
        {
            let to = pin.fildes;
            self.rewatch(runtime, fildes, to);
        }
        self.scheduler.detach(fildes);
    }

    /// The pin of a number, made at first need.
    fn pin(&mut self, fildes: c_int, pin: &mut Option<u32>) -> Option<u32> {
        if pin.is_none() {
            let copy = own_descriptors::duplicate(fildes).ok()?;
            *pin = Some(self.keep(copy)?);
        }
        *pin
    }

    /// Makes a pin of a descriptor of ours. None: there are too many, or there
    /// is no memory for one.
    fn keep(&mut self, fildes: c_int) -> Option<u32> {
        // Not yet done in a program that found aio_read by dlsym().
        own_descriptors::close_in_children();
        self.pins.make_room();
        let number = self.pins.insert(Pin { fildes, users: 0 });
        if number >= u32::from(NO_PIN) {
            self.pins.remove(number);
            own_descriptors::release(fildes);
            return None;
        }
        Some(number)
    }

    fn use_pin(&mut self, handle: Handle, number: u32) {
        if let Some(pin) = self.pins.get_mut(number) {
            pin.users += 1;
            let request = self.scheduler.payload_mut(handle);
            request.fildes = pin.fildes;
            request.pin = number as u16;
        }
    }

    /// A number of its own for a job that may block for long. Without one it
    /// keeps the program's, and a close would have to wait for it.
    pub(super) fn pin_for_job(&mut self, handle: Handle) {
        let request = self.scheduler.payload(handle);
        if request.pin == NO_PIN {
            let mut pin = None;
            if let Some(number) = self.pin(request.fildes, &mut pin) {
                self.use_pin(handle, number);
            }
        }
    }

    /// For a FIFO, which knows no RWF_NOWAIT: a second open file of the same
    /// FIFO that is nonblocking, for as long as this request lives. False
    /// where none can be had (no /proc, no right, no other end).
    pub(super) fn take_twin(&mut self, handle: Handle) -> bool {
        let request = self.scheduler.payload(handle);
        if request.class != Class::Pipe || request.pin != NO_PIN {
            return false;
        }
        // As the original, which the program may close: it may be the only
        // reader of what it writes, or the writer that keeps its read waiting.
        // SAFETY: F_GETFL takes no argument.
        let flags = unsafe { libc::fcntl(request.fildes, libc::F_GETFL) };
        let way = match self.scheduler.operation(handle) {
            _ if flags & libc::O_ACCMODE == libc::O_RDWR => libc::O_RDWR,
            Operation::Stream(Direction::Read) => libc::O_RDONLY,
            _ => libc::O_WRONLY,
        };
        let Ok(twin) = own_descriptors::reopen(request.fildes, way | libc::O_NONBLOCK) else {
            return false;
        };
        let Some(number) = self.keep(twin) else {
            return false;
        };
        self.use_pin(handle, number);
        self.scheduler.payload_mut(handle).twin = true;
        true
    }

    pub(super) fn unpin(&mut self, number: u16, class: Class) {
        let number = u32::from(number);
        let unused = self.pins.get_mut(number).is_some_and(|pin| {
            pin.users -= 1;
            pin.users == 0
        });
        if unused && let Some(pin) = self.pins.remove(number) {
            // For a server to which data has to go, or for a peer.
            let may_wait =
                matches!(class, Class::Foreign | Class::Sequential) || socket::lingers(pin.fildes);
            let argument = std::ptr::without_provenance_mut(pin.fildes as usize);
            // Nobody else shall wait for it meanwhile.
            if !may_wait || thread::detached(close_slowly, argument, Stack::Small).is_err() {
                own_descriptors::release(pin.fildes);
            }
        }
    }

    /// No pin can be had. What can run to its end soon is waited for; what
    /// waits for data would keep the close for ever and ends here.
    fn give_up(&mut self, runtime: &'static Runtime, handle: Handle, jobs: &mut Vec<Handle>) {
        let waits_for_data = self.scheduler.stream_of(handle).is_some();
        match self.scheduler.state(handle) {
            State::Running if !waits_for_data => jobs.push(handle),
            // (Any number of them: without memory for that they end here, too.)
            State::Held | State::Ready if !waits_for_data && jobs.try_reserve(1).is_ok() => {
                jobs.push(handle);
            }
            State::Running if self.scheduler.payload(handle).place == Place::Stream => {
                let request = self.scheduler.payload(handle);
                let (watch, done) = (request.ticket, request.done);
                self.disarm(runtime, watch);
                self.finish(runtime, handle, Ok(done as usize), Lane::Engine);
            }
            _ => {
                let fildes = self.scheduler.descriptor(handle);
                self.scheduler.payload_mut(handle).begun = false;
                let cb = self.scheduler.payload(handle).cb;
                self.cancel(runtime, fildes, Some(cb));
            }
        }
    }

    /// Jobs that a close waits for may have got hold of their file.
    pub(super) fn look_at_closings(&mut self, runtime: &'static Runtime) {
        let settled: Vec<Handle> = self
            .closings
            .iter()
            .flat_map(|closing| closing.jobs.iter().copied())
            .filter(|&handle| {
                self.scheduler.payload(handle).place == Place::Pool
                    && runtime.pool.has_its_file(handle, self.job_key(handle))
            })
            .collect();
        for handle in settled {
            self.closing_moves_on(handle);
        }
    }

    /// Does a close wait for a job?
    pub(super) fn is_closing(&self) -> bool {
        !self.closings.is_empty()
    }

    /// A job that a close waits for has ended.
    pub(super) fn closing_moves_on(&mut self, handle: Handle) {
        self.closings.retain_mut(|closing| {
            closing.jobs.retain(|&job| job != handle);
            if closing.jobs.is_empty() {
                closing.message.reply(0);
            }
            !closing.jobs.is_empty()
        });
    }
}
