//! The eventfd form.

use super::*;

fn eventfd(count: u32, flags: c_int) -> c_int {
    // SAFETY: no preconditions.
    let descriptor = unsafe { libc::eventfd(count, flags) };
    assert!(descriptor >= 0);
    descriptor
}

fn notice(descriptor: c_int) -> Notice {
    read(&event(SIGEV_AIO_SHIM_EVENTFD, descriptor, 0))
        .unwrap()
        .unwrap()
}

fn drain(descriptor: c_int) -> u64 {
    let mut count = 0u64;
    // SAFETY: eight writable bytes.
    let got = unsafe { libc::read(descriptor, (&raw mut count).cast(), 8) };
    assert_eq!(got, 8);
    count
}

#[test]
fn each_completion_adds_one() {
    in_child(|| {
        for flags in [0, libc::EFD_NONBLOCK] {
            let descriptor = eventfd(0, flags);
            let notifier = notifier();
            assert_eq!(notifier.admit(&notice(descriptor)), Ok(()));
            as_library(move || {
                for _ in 0..10 {
                    notifier.post(notice(descriptor));
                    notifier.post_batch(&mut [notice(descriptor); 100]);
                }
            });
            wait_for("the backlog to empty", || notifier.idle());
            assert_eq!(drain(descriptor), 1010);
            assert_settled(notifier, 1010);
            assert_eq!(notifier.counters().kind, [KindCounters::default(); KINDS]);
        }
    });
}

#[test]
fn a_full_one_blocks_nobody_and_loses_nothing() {
    in_child(|| {
        for flags in [0, libc::EFD_NONBLOCK] {
            let descriptor = eventfd(0, flags);
            let almost = u64::MAX - 1 - 3;
            // SAFETY: eight readable bytes.
            unsafe { libc::write(descriptor, (&raw const almost).cast(), 8) };
            let notifier = notifier();
            as_library(move || {
                for _ in 0..50 {
                    notifier.post(notice(descriptor));
                }
            });
            let counters = notifier.counters();
            assert_eq!(counters.total.sent, 3);
            assert_eq!(counters.total.waiting, 47);
            assert_eq!(counters.episodes, 1);
            assert_eq!(drain(descriptor), u64::MAX - 1);
            wait_for("the rest", || notifier.idle());
            assert_eq!(drain(descriptor), 47);
            assert_settled(notifier, 50);
        }
    });
}

#[test]
fn what_is_no_eventfd_is_not_written_to() {
    in_child(|| {
        let notifier = notifier();
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        unsafe { libc::pipe(ends.as_mut_ptr()) };
        assert_eq!(notifier.admit(&notice(ends[1])), Err(libc::EINVAL));
        assert_eq!(notifier.admit(&notice(999)), Err(libc::EBADF));

        // Closed, and the number used again, between request and completion.
        let descriptor = eventfd(0, 0);
        assert_eq!(notifier.admit(&notice(descriptor)), Ok(()));
        // SAFETY: our own descriptors.
        unsafe { libc::dup2(ends[1], descriptor) };
        as_library(move || notifier.post(notice(descriptor)));
        let mut waiting = 0;
        // SAFETY: FIONREAD writes an int.
        unsafe { libc::ioctl(ends[0], libc::FIONREAD, &mut waiting) };
        assert_eq!(waiting, 0, "bytes in the pipe");
        // SAFETY: our own descriptor.
        unsafe { libc::close(descriptor) };
        as_library(move || notifier.post(notice(descriptor)));
        assert_settled(notifier, 0);
        assert_eq!(notifier.counters().undeliverable, 2);
    });
}
