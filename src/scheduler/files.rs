//! The files and the descriptor numbers that live requests share.
//!
//! In: a request at submission, by [`Files::join`] and [`Groups::join`]. Out:
//! at its end. What must hold: an entry exists while requests of it live and
//! no longer; an entry whose number was closed has no name any more, so that
//! nobody can join it, and goes with its last request.

use std::collections::HashMap;

use super::barrier::Barrier;
use super::extents::Overlap;
use super::hash::{Mix, relax};
use super::slab::{NIL, Slab};
use super::submission::{Direction, FileKey};
use super::table::{Chain, List, Table};

pub(super) struct File {
    key: Option<FileKey>,
    live: usize,
    pub(super) overlap: Overlap,
    pub(super) barrier: Barrier,
    lanes: [u32; 2],
}

impl File {
    /// The lane of a direction, or `NIL`.
    pub(super) fn lane(&mut self, direction: Direction) -> &mut u32 {
        &mut self.lanes[direction as usize]
    }
}

pub(super) struct Files {
    files: Slab<File, 32>,
    names: HashMap<FileKey, u32, Mix>,
}

impl Files {
    pub(super) fn new() -> Self {
        Files {
            files: Slab::new(),
            names: HashMap::default(),
        }
    }

    /// Room for one more. False: no memory.
    pub(super) fn make_room(&mut self) -> bool {
        self.names.try_reserve(1).is_ok() && self.files.make_room()
    }

    /// The file of that name, which has one request more now.
    pub(super) fn join(&mut self, key: FileKey) -> u32 {
        let files = &mut self.files;
        let index = *self.names.entry(key).or_insert_with(|| {
            files.insert(File {
                key: Some(key),
                live: 0,
                overlap: Overlap::new(),
                barrier: Barrier::new(),
                lanes: [NIL; 2],
            })
        });
        self.files[index].live += 1;
        index
    }

    /// The file of that name, if it has requests.
    pub(super) fn find(&mut self, key: FileKey) -> Option<&mut File> {
        let index = *self.names.get(&key)?;
        Some(&mut self.files[index])
    }

    /// One request less.
    pub(super) fn leave(&mut self, index: u32) {
        let file = &mut self.files[index];
        file.live -= 1;
        if file.live == 0 {
            if let Some(key) = file.key {
                self.names.remove(&key);
                relax(&mut self.names);
            }
            self.files.remove(index);
        }
    }

    /// The name stands for another file from now on.
    pub(super) fn forget(&mut self, key: FileKey) {
        if let Some(index) = self.names.remove(&key) {
            self.files[index].key = None;
        }
    }

    #[inline]
    pub(super) fn get(&mut self, index: u32) -> &mut File {
        &mut self.files[index]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }
}

/// The requests of one descriptor number, until it is closed, and after that
/// those that were left.
pub(super) struct Group {
    descriptor: i32,
    named: bool,
    members: List,
    /// The lane of the descriptor, or `NIL`.
    pub(super) lane: u32,
}

pub(super) struct Groups {
    groups: Slab<Group, 32>,
    names: HashMap<i32, u32, Mix>,
}

impl Groups {
    pub(super) fn new() -> Self {
        Groups {
            groups: Slab::new(),
            names: HashMap::default(),
        }
    }

    /// Room for one more. False: no memory.
    pub(super) fn make_room(&mut self) -> bool {
        self.names.try_reserve(1).is_ok() && self.groups.make_room()
    }

    pub(super) fn join<T>(&mut self, table: &mut Table<T>, descriptor: i32, index: u32) -> u32 {
        let groups = &mut self.groups;
        let number = *self.names.entry(descriptor).or_insert_with(|| {
            groups.insert(Group {
                descriptor,
                named: true,
                members: List::EMPTY,
                lane: NIL,
            })
        });
        let group = &mut self.groups[number];
        table.push_back(&mut group.members, Chain::Descriptor, index);
        table[index].group = number;
        number
    }

    pub(super) fn leave<T>(&mut self, table: &mut Table<T>, index: u32) {
        let number = table[index].group;
        let group = &mut self.groups[number];
        table.unlink(&mut group.members, Chain::Descriptor, index);
        if group.members.is_empty() {
            if group.named {
                self.names.remove(&group.descriptor);
                relax(&mut self.names);
            }
            self.groups.remove(number);
        }
    }

    pub(super) fn forget(&mut self, descriptor: i32) {
        if let Some(number) = self.names.remove(&descriptor) {
            self.groups[number].named = false;
        }
    }

    /// The newest request of a number, or `NIL`.
    pub(super) fn newest(&self, descriptor: i32) -> u32 {
        self.names
            .get(&descriptor)
            .map_or(NIL, |&number| self.groups[number].members.tail)
    }

    #[inline]
    pub(super) fn get(&mut self, number: u32) -> &mut Group {
        &mut self.groups[number]
    }

    /// The number the program named when it submitted.
    pub(super) fn descriptor(&self, number: u32) -> i32 {
        self.groups[number].descriptor
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }
}
