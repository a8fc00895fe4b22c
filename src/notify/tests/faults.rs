//! A kernel that refuses: seccomp filters for rt_sigqueueinfo.

use super::*;

const RT: c_int = 36;

/// From now on `call` fails with `errno`, in every thread made later too.
fn forbid(call: libc::c_long, errno: c_int) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(EQUAL, 0, 1, call as u32),
        step(ANSWER, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(ANSWER, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a valid program; this process only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &program), 0);
    }
}

#[test]
fn where_queued_signals_are_forbidden_plain_ones_come() {
    in_child(|| {
        block(&[RT]);
        forbid(libc::SYS_rt_sigqueueinfo, libc::EPERM);
        let notifier = notifier();
        let begin = Instant::now();
        as_library(move || {
            for value in 0..10 {
                notifier.post(signal_notice(RT, value));
            }
        });
        assert_eq!(notifier.counters().total.waiting, 10);
        let first = take(&[RT], Duration::from_secs(10)).expect("a plain signal");
        assert_eq!(first.code, libc::SI_USER);
        assert!(begin.elapsed() > Duration::from_millis(900));
        for _ in 1..10 {
            assert!(take(&[RT], Duration::from_secs(1)).is_some());
        }
        assert_settled(notifier, 10);
        // Once known, nobody waits a second again.
        let begin = Instant::now();
        as_library(move || notifier.post(signal_notice(RT, 1)));
        assert!(take(&[RT], Duration::from_secs(10)).is_some());
        assert!(begin.elapsed() < Duration::from_millis(500));
        assert_eq!(notifier.counters().without_value, 11);
        assert_eq!(notifier.counters().episodes, 1);
    });
}

#[test]
fn where_the_probe_is_forbidden_signals_come_all_the_same() {
    in_child(|| {
        handle(libc::SIGUSR1, log_handler(), libc::SA_SIGINFO);
        forbid(libc::SYS_rt_tgsigqueueinfo, libc::EPERM);
        let notifier = notifier();
        as_library(move || {
            for value in 0..200 {
                notifier.post(signal_notice(libc::SIGUSR1, value));
            }
        });
        wait_for("all handlers", || LOG.len() >= 200);
        assert_settled(notifier, 200);
        assert_eq!(LOG.values(), (0..200).collect::<Vec<_>>());
        assert!(!LOG.bad.load(SeqCst));
    });
}
