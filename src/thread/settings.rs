//! On which processors a thread runs, and how the kernel chooses it.
//!
//! A thread begins with what the thread has that makes it. The library's own
//! threads serve the whole process, and are made by whoever happens to make
//! a request when there is none: so they take after the main thread instead.

use std::mem::{size_of, size_of_val};

use libc::{c_long, pid_t};

/// More processors than a kernel can be built for.
type Affinity = [u64; 128];

/// `struct sched_attr`, as far as every kernel has it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// On what a thread runs, and how it is chosen.
pub struct Settings {
    affinity: Option<Affinity>,
    attributes: Option<Attributes>,
}

impl Settings {
    /// The calling thread's. What cannot be asked for never differs.
    pub fn own() -> Settings {
        Settings {
            affinity: affinity(0),
            // The kernel tells other numbers of its own here, which change.
            attributes: attributes(0).map(|attributes| Attributes {
                runtime: 0,
                deadline: 0,
                period: 0,
                ..attributes
            }),
        }
    }

    /// Are those of the calling thread different now?
    pub fn have_changed(&self) -> bool {
        let now = Settings::own();
        self.affinity != now.affinity || self.attributes != now.attributes
    }
}

const OTHER: u32 = libc::SCHED_OTHER as u32;
const BATCH: u32 = libc::SCHED_BATCH as u32;
const IDLE: u32 = libc::SCHED_IDLE as u32;

fn affinity(thread: pid_t) -> Option<Affinity> {
    let mut cpus: Affinity = [0; 128];
    // SAFETY: so many bytes of ours; the C library sets all of them.
    let answer =
        unsafe { libc::sched_getaffinity(thread, size_of_val(&cpus), (&raw mut cpus).cast()) };
    (answer == 0).then_some(cpus)
}

fn attributes(thread: pid_t) -> Option<Attributes> {
    let mut attributes = Attributes {
        size: 0,
        policy: 0,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: 0,
        deadline: 0,
        period: 0,
    };
    let size = size_of::<Attributes>();
    // SAFETY: so many bytes of ours.
    let answer =
        unsafe { libc::syscall(libc::SYS_sched_getattr, thread, &mut attributes, size, 0) };
    (answer == 0).then_some(attributes)
}

fn set(attributes: &Attributes) -> c_long {
    // SAFETY: a structure whose size its first member says.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes, 0) }
}

/// Gives the calling thread the processors of the main thread, too, and takes
/// it out of what a thread for background work is put into: SCHED_IDLE,
/// SCHED_BATCH, a higher nice value. What the main thread has itself stays.
///
/// The processors of its maker it keeps: those of the main thread may be busy
/// with that thread alone.
///
/// A real-time policy stays: its owner waits for the requests, and among
/// real-time threads a normal one might never come to serve them.
///
/// What the kernel refuses stays, too: to leave SCHED_IDLE, or for a lower
/// nice value, it asks for CAP_SYS_NICE or RLIMIT_NICE.
pub fn follow_main_thread() {
    // SAFETY: no preconditions.
    let main = unsafe { libc::getpid() };
    if let (Some(own), Some(wanted)) = (affinity(0), affinity(main))
        && own != wanted
    {
        let all: Affinity = std::array::from_fn(|word| own[word] | wanted[word]);
        // SAFETY: so many bytes of ours.
        unsafe { libc::sched_setaffinity(0, size_of_val(&all), (&raw const all).cast()) };
    }
    let Some(own) = attributes(0) else {
        return;
    };
    let background = matches!(own.policy, IDLE | BATCH);
    if !background && (own.policy != OTHER || own.nice <= 0) {
        return;
    }
    let Some(wanted) = attributes(main).and_then(|main| better(&own, &main)) else {
        return;
    };
    if set(&wanted) != 0 {
        set(&Attributes {
            nice: own.nice,
            ..wanted
        });
    }
}

/// What a thread with `own` shall have where the main one has `main`.
fn better(own: &Attributes, main: &Attributes) -> Option<Attributes> {
    let normal = !matches!(main.policy, IDLE | BATCH);
    // A real-time main thread's nice value means nothing.
    let nice = match main.policy {
        OTHER | BATCH | IDLE => main.nice.min(own.nice),
        _ => own.nice.min(0),
    };
    let wanted = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: if normal { OTHER } else { own.policy },
        flags: own.flags,
        nice,
        priority: 0,
        runtime: 0,
        deadline: 0,
        period: 0,
    };
    (wanted.policy != own.policy || wanted.nice != own.nice).then_some(wanted)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use libc::c_int;

    fn with(policy: c_int, nice: i32) -> Attributes {
        Attributes {
            policy: policy as u32,
            nice,
            ..attributes(0).unwrap()
        }
    }

    fn result(own: Attributes, main: Attributes) -> Option<(c_int, i32)> {
        better(&own, &main).map(|wanted| (wanted.policy as c_int, wanted.nice))
    }

    #[test]
    fn background_work_is_left_unless_the_process_is_such() {
        use libc::{SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_OTHER};
        let normal = with(SCHED_OTHER, 0);
        assert_eq!(result(normal, normal), None);
        assert_eq!(result(with(SCHED_IDLE, 0), normal), Some((SCHED_OTHER, 0)));
        assert_eq!(result(with(SCHED_BATCH, 5), normal), Some((SCHED_OTHER, 0)));
        assert_eq!(result(with(SCHED_OTHER, 9), normal), Some((SCHED_OTHER, 0)));
        let process = with(SCHED_IDLE, 7);
        assert_eq!(result(process, process), None);
        assert_eq!(result(with(SCHED_IDLE, 9), process), Some((SCHED_IDLE, 7)));
        let nice = with(SCHED_OTHER, 10);
        assert_eq!(result(with(SCHED_OTHER, 5), nice), None);
        let real_time = with(SCHED_FIFO, 0);
        assert_eq!(
            result(with(SCHED_IDLE, 3), real_time),
            Some((SCHED_OTHER, 0))
        );
    }

    #[test]
    fn a_change_is_seen() {
        std::thread::spawn(|| {
            let before = Settings::own();
            assert!(!before.have_changed());
            let other = with(libc::SCHED_BATCH, attributes(0).unwrap().nice);
            assert_eq!(set(&other), 0);
            assert!(before.have_changed());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_pinned_thread_gets_the_processors_of_the_main_one() {
        // SAFETY: no preconditions.
        let main = affinity(unsafe { libc::getpid() }).unwrap();
        std::thread::spawn(move || {
            let mut one: Affinity = [0; 128];
            let word = main.iter().position(|&word| word != 0).unwrap();
            one[word] = 1 << main[word].trailing_zeros();
            // SAFETY: so many bytes of ours.
            let answer =
                unsafe { libc::sched_setaffinity(0, size_of_val(&one), (&raw const one).cast()) };
            assert!(answer == 0 && affinity(0).unwrap() == one);
            follow_main_thread();
            assert!(affinity(0).unwrap() == main);
        })
        .join()
        .unwrap();
    }
}
