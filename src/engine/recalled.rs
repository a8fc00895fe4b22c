//! The engine's part in a request that its waiter took back from the intake.
//!
//! Who comes in: the number of a recall, met at the bottom of the intake, and
//! its end (see [`crate::recall`]). What must hold: nothing that was submitted
//! after such a request is accepted before the request is, if it is still
//! being carried out; and until its end is told it is the waiter's, like a job
//! that a worker has begun: not to be cancelled, and waited for by a close.

use super::{Engine, Place, Request, accept};
use crate::abi::Aiocb;
use crate::intake::Chain;
use crate::process::Runtime;
use crate::recall::{End, Number};
use crate::request;
use crate::scheduler::State;

impl Engine {
    /// A request that was taken back is older than what is taken over now.
    pub(super) fn adopt(&mut self, runtime: &'static Runtime, number: Number) {
        let Some(word) = runtime.recall.adopt(number) else {
            // Done; or just left to us. (Of a younger recall nothing is to be
            // known before what is taken over now.)
            self.see_to_recall(runtime, Some(number));
            return;
        };
        if self.try_adopt(runtime, word) {
            runtime.recall.adopted(number);
        } else {
            // It cannot be told to the scheduler, so nothing younger can.
            runtime.recall.wait(number);
            self.see_to_recall(runtime, Some(number));
        }
    }

    fn try_adopt(&mut self, runtime: &'static Runtime, word: u64) -> bool {
        let Some(cb) = Aiocb::from_word(word) else {
            return false;
        };
        // SAFETY: its waiter does not publish it until it is told that it is
        // adopted, or not.
        let (progress, members) = unsafe { (request::progress(cb), cb.members()) };
        if self.make_room(false).is_err() {
            return false;
        }
        let Ok((submission, nature)) = self.look_at_request(runtime, progress.kind, &members)
        else {
            return false;
        };
        runtime.load.arrive(members.fildes);
        // SAFETY: as above.
        unsafe { accept::settle(runtime, cb, &progress, nature.file_slot) };
        let request = Request {
            place: Place::Waiter,
            ..Request::new(cb, members.fildes, &nature)
        };
        self.recalled = Some(self.enter(runtime, submission, request));
        true
    }

    /// Sees to the end of a recall, of this one or of any, if there is one to
    /// see to.
    pub(super) fn see_to_recall(&mut self, runtime: &'static Runtime, of: Option<Number>) {
        match runtime.recall.take_end(of) {
            Some(End::Left(newest, number)) => {
                self.accept_all(runtime, Chain::from(newest));
                // Not before: what was pushed meanwhile lies above it.
                runtime.intake.forget(number);
            }
            Some(End::Ended) => self.recall_ended(runtime),
            Some(End::Failed) => self.recall_failed(runtime),
            None => {}
        }
    }

    fn recall_ended(&mut self, runtime: &'static Runtime) {
        let Some(handle) = self.recalled.take() else {
            return;
        };
        if self.scheduler.state(handle) == State::Running {
            self.retire(runtime, handle, None);
        } else if let Some(request) = self.scheduler.withdraw(handle) {
            // What it would have had to wait for is published, too, and has
            // not been heard of.
            self.depart(runtime, handle, request, false);
        }
    }

    fn recall_failed(&mut self, runtime: &'static Runtime) {
        let Some(handle) = self.recalled.take() else {
            return;
        };
        self.scheduler.payload_mut(handle).place = Place::Scheduler;
        if self.scheduler.state(handle) == State::Running {
            self.start(runtime, handle);
        }
    }
}
