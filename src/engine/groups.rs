//! Lists whose end somebody is told of: `lio_listio(LIO_NOWAIT)` with a
//! sigevent, and `lio_listio(LIO_WAIT)`.
//!
//! Who comes in: the first element of a list opens its group, the others
//! join, each leaves when it is done. What must hold: the end is told once,
//! after the last element's own notification was posted. While the list is
//! still being taken over, one share more is held, so that elements that end
//! at once do not close the group early.

use super::slab::LAST_RESORT;
use super::{Engine, NONE};
use crate::abi::{Aiocb, ListEvent};
use crate::notify::{Notice, Origin};
use crate::process::Runtime;
use crate::request::ListPlace;

/// Who is told of the end of a list.
enum End {
    Notify(Notice),
    /// The caller, at a place of [`crate::lists`].
    Wake(u16),
}

/// A list under way.
pub struct Group {
    remaining: u32,
    failed: bool,
    end: End,
}

impl Engine {
    /// The group of an element that is being taken over.
    pub(super) fn join_group(&mut self, cb: Aiocb, place: ListPlace) -> u32 {
        if !place.member {
            return NONE;
        }
        if place.first
            && let Some(end) = end_of(cb)
        {
            // Without room it is the one list in the place of last resort:
            // all its elements are refused, so it ends, and gives the place
            // up, before the next list is looked at.
            self.open_group = Some(self.groups.insert(Group {
                remaining: 1,
                failed: false,
                end,
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

    /// Is this the group of a list for which there is no memory?
    pub(super) fn is_refused(group: u32) -> bool {
        group == LAST_RESORT
    }

    /// The last element of the list has been taken over.
    pub(super) fn seal_group(&mut self, runtime: &'static Runtime, place: ListPlace) {
        if place.last
            && let Some(number) = self.open_group.take()
        {
            self.leave_group(runtime, number, false);
        }
    }

    /// Does the caller of the list wait for its end?
    pub(super) fn is_waited_for(&mut self, number: u32) -> bool {
        number != NONE
            && self
                .groups
                .get_mut(number)
                .is_some_and(|group| matches!(group.end, End::Wake(_)))
    }

    /// One share of the group is given back.
    pub(super) fn leave_group(&mut self, runtime: &'static Runtime, number: u32, failed: bool) {
        if let Some(group) = self.groups.get_mut(number) {
            group.remaining -= 1;
            group.failed |= failed;
            if group.remaining == 0
                && let Some(group) = self.groups.remove(number)
            {
                match group.end {
                    End::Notify(notice) => self.batch.notify(notice),
                    End::Wake(place) => runtime.lists.end(place, group.failed),
                }
            }
        }
    }
}

/// What its first element says of the end of a list.
fn end_of(cb: Aiocb) -> Option<End> {
    // SAFETY: the first element is in progress and ours; its reserved bytes
    // hold a ListEvent (see `listio`).
    let kept = unsafe { cb.list_event().read() };
    if kept.notify == ListEvent::WAITER {
        return Some(End::Wake(kept.value as u16));
    }
    // SAFETY: a sigevent is plain data; all zero is valid.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    // SAFETY: a ListEvent holds the first 32 bytes of a sigevent, which is
    // longer than that.
    unsafe {
        (&raw mut event).cast::<ListEvent>().write(kept);
        Notice::read(&event, Origin::List)
            .unwrap_or(None)
            .map(End::Notify)
    }
}
