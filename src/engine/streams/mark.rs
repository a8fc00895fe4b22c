//! SO_RCVLOWAT: a read waits for so many bytes.
//!
//! Who comes in: [`super`], before each attempt at a read. A nonblocking read
//! takes what there is, whatever the mark. What must hold: nothing here takes
//! a byte out of the socket.

use std::ffi::c_int;

use super::terminal;
use crate::descriptor::Class;
use crate::engine::{Engine, socket};
use crate::lanes::workers::{Way, is_ready, is_shut};
use crate::request::Kind;
use crate::scheduler::Handle;

/// Who tells when a socket has as much as its mark says?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    ByPoll,
    /// Poll does not know the mark (AF_UNIX), or knows no other (TCP, of a
    /// read that is shorter than it).
    Never,
}

/// The largest mark that is kept to where poll does not know it. A blocking
/// read empties the socket while it waits; this one leaves the bytes there,
/// and each message to such a socket takes up most of a kilobyte, however
/// short: with a larger mark the sender could find no room any more, and both
/// would wait for ever.
const LARGEST: usize = 256;

impl Engine {
    /// Has a socket less for this read than its mark says? `ready`: poll has
    /// said that it has enough, as far as poll knows.
    pub(super) fn below_mark(&self, handle: Handle, ready: bool) -> Option<Told> {
        let (kind, transfer, _) = self.transfer(handle);
        let request = self.scheduler.payload(handle);
        if kind != Kind::Read || request.class != Class::Stream || request.nonblocking {
            return None;
        }
        let fildes = request.fildes;
        let mark = socket::mark(fildes).filter(|&mark| mark > 1)?;
        if !ready && mark <= transfer.length && !is_ready(fildes, Way::In.poll_events()) {
            return Some(Told::ByPoll);
        }
        (lacks(fildes, mark, transfer.length) && !is_shut(fildes)).then_some(Told::Never)
    }
}

/// Has it less than a read of `wanted` bytes waits for, and poll cannot tell?
/// (It can while there is nothing in one of AF_UNIX.)
fn lacks(fildes: c_int, mark: usize, wanted: usize) -> bool {
    if socket::is_unix_stream(fildes) {
        let there = terminal::there(fildes);
        return there > 0 && there < mark.min(wanted).min(LARGEST);
    }
    mark > wanted && socket::is_tcp(fildes) && terminal::there(fildes) < wanted
}
