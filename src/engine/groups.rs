//! Lists that notify as a whole: `lio_listio(LIO_NOWAIT)` with a sigevent.
//!
//! Who comes in: the first element of a list opens its group, the others
//! join, each leaves when it is done. What must hold: the notification is
//! posted once, after the last element's own. While the list is still being
//! taken over, one share more is held, so that elements that end at once do
//! not close the group early.

use super::{Engine, NONE};
use crate::abi::Aiocb;
use crate::notify::{Notice, Origin};
use crate::request::ListPlace;

/// A list under way.
pub struct Group {
    remaining: u32,
    notice: Notice,
}

impl Engine {
    /// The group of an element that is being taken over.
    pub(super) fn join_group(&mut self, cb: Aiocb, place: ListPlace) -> u32 {
        if !place.member {
            return NONE;
        }
        if place.first
            && let Some(notice) = list_notice(cb)
        {
            self.open_group = Some(self.groups.insert(Group {
                remaining: 1,
                notice,
            }));
        }
        match self.open_group {
            Some(number) => {
                if let Some(group) = self.groups.get_mut(number) {
                    group.remaining += 1;
                }
                number
            }
            None => NONE,
        }
    }

    /// The last element of the list has been taken over.
    pub(super) fn seal_group(&mut self, place: ListPlace) {
        if place.last
            && let Some(number) = self.open_group.take()
        {
            self.leave_group(number);
        }
    }

    /// One share of the group is given back.
    pub(super) fn leave_group(&mut self, number: u32) {
        if let Some(group) = self.groups.get_mut(number) {
            group.remaining -= 1;
            if group.remaining == 0
                && let Some(group) = self.groups.remove(number)
            {
                self.batch.notify(group.notice);
            }
        }
    }
}

/// What the list's sigevent asks for, from its first element.
fn list_notice(cb: Aiocb) -> Option<Notice> {
    // SAFETY: a sigevent is plain data; all zero is valid.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    // SAFETY: the first element is in progress and ours; its reserved bytes
    // hold the first 32 bytes of the list's sigevent (see `listio`), and a
    // sigevent is longer than that.
    unsafe {
        (&raw mut event)
            .cast::<crate::abi::ListEvent>()
            .write(cb.list_event().read());
        Notice::read(&event, Origin::List).unwrap_or(None)
    }
}
