//! SIGEV_THREAD: each once, whatever the callbacks do.

use super::*;
use std::sync::{Condvar, Mutex};

extern "C-unwind" fn log(value: usize) {
    LOG.write(value);
}

fn admit_and_post(notifier: &'static Notifier, notice: Notice) {
    assert_eq!(notifier.admit(&notice), Ok(()));
    as_library(move || notifier.post(notice));
}

fn post_many(
    notifier: &'static Notifier,
    function: extern "C-unwind" fn(usize),
    values: std::ops::Range<usize>,
) {
    for value in values.clone() {
        let notice = callback_notice(function, value, std::ptr::null_mut());
        assert_eq!(notifier.admit(&notice), Ok(()));
    }
    as_library(move || {
        for value in values {
            notifier.post(callback_notice(function, value, std::ptr::null_mut()));
        }
    });
}

fn assert_each_once(count: usize) {
    wait_for("all callbacks", || LOG.len() >= count);
    let mut values = LOG.values();
    values.sort_unstable();
    assert_eq!(values, (0..count).collect::<Vec<_>>());
}

#[test]
fn five_thousand_callbacks_by_a_few_threads() {
    static MOST: AtomicUsize = AtomicUsize::new(0);
    extern "C-unwind" fn log_and_count(value: usize) {
        if value.is_multiple_of(500) {
            MOST.fetch_max(own_threads(), SeqCst);
        }
        LOG.write(value);
    }
    in_child(|| {
        let notifier = notifier();
        post_many(notifier, log_and_count, 0..5000);
        assert_each_once(5000);
        assert_settled(notifier, 5000);
        let most = MOST.load(SeqCst);
        assert!((1..=40).contains(&most), "{most} threads");
        assert_eq!(notifier.counters().kind[2].sent, 5000);
        wait_for("idle threads to end", || own_threads() == 0);
    });
}

#[test]
fn two_hundred_blocked_and_the_next_runs() {
    static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    extern "C-unwind" fn block_then_log(value: usize) {
        let mut open = GATE.0.lock().unwrap();
        while !*open {
            open = GATE.1.wait(open).unwrap();
        }
        drop(open);
        LOG.write(value);
    }
    in_child(|| {
        let notifier = notifier();
        post_many(notifier, block_then_log, 0..200);
        static LAST: AtomicBool = AtomicBool::new(false);
        extern "C-unwind" fn last(_: usize) {
            LAST.store(true, SeqCst);
        }
        post_many(notifier, last, 0..1);
        wait_for("the 201st", || LAST.load(SeqCst));
        assert_eq!(LOG.len(), 0);
        *GATE.0.lock().unwrap() = true;
        GATE.1.notify_all();
        assert_each_once(200);
        assert_settled(notifier, 201);
        // Nothing was refused: this is no overflow.
        assert_eq!(notifier.counters().total.deferred, 0);
        wait_for("idle threads to end", || own_threads() == 0);
    });
}

#[test]
fn pthread_exit_in_each() {
    unsafe extern "C-unwind" {
        fn pthread_exit(value: *mut c_void) -> !;
    }
    extern "C-unwind" fn log_and_exit(value: usize) {
        LOG.write(value);
        // SAFETY: nothing above has anything to drop.
        unsafe { pthread_exit(std::ptr::null_mut()) };
    }
    in_child(|| {
        let notifier = notifier();
        post_many(notifier, log_and_exit, 0..2000);
        assert_each_once(2000);
        assert_settled(notifier, 2000);
        wait_for("threads to end", || own_threads() == 0);
        assert_eq!(notifier.muster.threads(), 0);
        // And it goes on.
        post_many(notifier, log_and_exit, 2000..2001);
        assert_each_once(2001);
    });
}

#[test]
fn as_if_new() {
    static BAD: AtomicUsize = AtomicUsize::new(0);
    extern "C-unwind" fn look(value: usize) {
        // SAFETY: asks about this thread and changes its mask.
        unsafe {
            let mut mask = MaybeUninit::<sigset_t>::zeroed();
            libc::pthread_sigmask(0, std::ptr::null(), mask.as_mut_ptr());
            for signo in 1..=64 {
                if libc::sigismember(mask.as_ptr(), signo) == 1 {
                    BAD.fetch_add(1, SeqCst);
                }
            }
            if crate::sys::errno() != 0 {
                BAD.fetch_add(1000, SeqCst);
            }
            crate::sys::set_errno(5);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set_of(&[10, 40]), std::ptr::null_mut());
        }
        LOG.write(value);
    }
    in_child(|| {
        let notifier = notifier();
        for round in 0..50 {
            post_many(notifier, look, round..round + 1);
            wait_for("the callback", || LOG.len() > round);
        }
        assert_eq!(BAD.load(SeqCst), 0);
        assert_settled(notifier, 50);
    });
}

#[test]
fn attributes_are_copied_and_honoured() {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    extern "C-unwind" fn measure(_: usize) {
        // SAFETY: asks about this thread.
        unsafe {
            let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
            libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr());
            let mut size = 0;
            libc::pthread_attr_getstacksize(attributes.as_ptr(), &mut size);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            SIZE.store(size, SeqCst);
        }
    }
    in_child(|| {
        let notifier = notifier();
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let own = attributes.as_mut_ptr();
        // More than any stack that glibc may keep for another use.
        let wanted = 20 << 20;
        // SAFETY: initialised first, destroyed after the post.
        unsafe {
            libc::pthread_attr_init(own);
            libc::pthread_attr_setstacksize(own, wanted);
        }
        let before: Vec<u8> = bytes(own);
        admit_and_post(notifier, callback_notice(measure, 0, own));
        assert_eq!(bytes(own), before, "the program's object was changed");
        // SAFETY: as above; the memory is then filled with garbage.
        unsafe {
            libc::pthread_attr_destroy(own);
            std::ptr::write_bytes(own, 0xff, 1);
        }
        wait_for("the callback", || SIZE.load(SeqCst) != 0);
        let size = SIZE.load(SeqCst);
        assert!((wanted..wanted + 65536).contains(&size), "stack of {size}");
        assert_settled(notifier, 1);
    });
}

fn bytes(of: *const libc::pthread_attr_t) -> Vec<u8> {
    // SAFETY: an initialised attributes object.
    unsafe { std::slice::from_raw_parts(of.cast(), size_of::<libc::pthread_attr_t>()).to_vec() }
}

#[test]
fn impossible_attributes_still_call() {
    in_child(|| {
        let notifier = notifier();
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let own = attributes.as_mut_ptr();
        // Real-time scheduling is not for this user.
        // SAFETY: a valid attributes object.
        unsafe {
            libc::pthread_attr_init(own);
            libc::pthread_attr_setschedpolicy(own, libc::SCHED_FIFO);
            let mut param: libc::sched_param = std::mem::zeroed();
            param.sched_priority = 10;
            libc::pthread_attr_setschedparam(own, &param);
            libc::pthread_attr_setinheritsched(own, libc::PTHREAD_EXPLICIT_SCHED);
        }
        admit_and_post(notifier, callback_notice(log, 0, own));
        assert_each_once(1);
        assert_settled(notifier, 1);
    });
}

#[test]
fn no_thread_for_a_while() {
    in_child(|| {
        // SAFETY: no preconditions.
        if unsafe { libc::getuid() } < 2_000_000 {
            crate::sys::to_stderr("not run: RLIMIT_NPROC needs a user of its own (root)\n");
            return;
        }
        // One thread is this one. None can be made: nothing is accepted.
        limit(libc::RLIMIT_NPROC, 1);
        let notifier = notifier();
        let notice = callback_notice(log, 0, std::ptr::null_mut());
        assert_eq!(notifier.admit(&notice), Err(libc::EAGAIN));
        assert_eq!(notifier.muster.threads(), 0);

        // The library's thread, and one for callbacks, blocked.
        limit(libc::RLIMIT_NPROC, 100);
        static RELEASE: AtomicBool = AtomicBool::new(false);
        extern "C-unwind" fn hold(_: usize) {
            while !RELEASE.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let (out, posts) = std::sync::mpsc::channel::<Vec<Notice>>();
        let library = start_library_thread(move || {
            while let Ok(mut batch) = posts.recv() {
                for notice in batch.drain(..) {
                    notifier.post(notice);
                }
                while let Some(wait) = notifier.help_wanted() {
                    std::thread::sleep(wait);
                    notifier.retry();
                }
            }
        });
        let blocker = callback_notice(hold, 0, std::ptr::null_mut());
        assert_eq!(notifier.admit(&blocker), Ok(()));
        out.send(vec![blocker]).unwrap();
        wait_for("the blocker", || notifier.counters().total.sent == 1);
        limit(libc::RLIMIT_NPROC, 1);
        let batch: Vec<Notice> = (0..100)
            .map(|value| callback_notice(log, value, std::ptr::null_mut()))
            .collect();
        for notice in &batch {
            assert_eq!(notifier.admit(notice), Ok(()));
        }
        out.send(batch).unwrap();
        wait_for("the episode", || notifier.counters().episodes == 1);
        assert_eq!(LOG.len(), 0);
        assert_eq!(notifier.counters().kind[2].waiting, 100);
        limit(libc::RLIMIT_NPROC, 100);
        assert_each_once(100);
        RELEASE.store(true, SeqCst);
        drop(out);
        library.join().unwrap();
        assert_settled(notifier, 101);
        assert_eq!(notifier.counters().kind[2].late, 100);
    });
}

#[test]
fn what_is_withdrawn_keeps_no_thread() {
    in_child(|| {
        let notifier = notifier();
        let notice = callback_notice(log, 0, std::ptr::null_mut());
        assert_eq!(notifier.admit(&notice), Ok(()));
        assert_eq!(notifier.admit(&notice), Ok(()));
        // Secured: it stays beyond the idle time (100 ms).
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(notifier.muster.threads(), 1);
        notifier.withdraw(&notice);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(notifier.muster.threads(), 1);
        notifier.withdraw(&notice);
        wait_for("the thread to end", || own_threads() == 0);
        assert_eq!(notifier.muster.threads(), 0);
    });
}

#[test]
fn fork_in_a_callback() {
    static CHILD: AtomicUsize = AtomicUsize::new(0);
    extern "C-unwind" fn fork_and_return(_: usize) {
        // SAFETY: the child returns from the callback, as in glibc.
        let child = unsafe { libc::fork() };
        if child > 0 {
            CHILD.store(child as usize, SeqCst);
        }
    }
    in_child(|| {
        let notifier = notifier();
        post_many(notifier, fork_and_return, 0..1);
        wait_for("the callback", || CHILD.load(SeqCst) != 0);
        let child = CHILD.load(SeqCst) as c_int;
        wait_for("the child to end", || {
            let mut status = 0;
            // SAFETY: our own child.
            let ended = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
            ended == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        });
        post_many(notifier, log, 0..1);
        assert_each_once(1);
        assert_settled(notifier, 2);
    });
}
