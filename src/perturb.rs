//! Rare states made common, for tests.
//!
//! With `--cfg perturbed` bounds are small, what may be refused is refused at
//! random, and threads pause where another may overtake them; so a state that
//! a loaded machine meets once in ten thousand runs is met in each. In every
//! other build [`bound`] is a constant and nothing else is there. What must
//! hold: only that happens which may happen without it, if more seldom; so
//! whatever the library promises, but for times, it keeps when perturbed.
//! (`make perturbed-test` runs the C tests so.)

/// A bound: so small, when perturbed, that it is met often.
pub const fn bound(usual: usize, perturbed: usize) -> usize {
    if cfg!(perturbed) { perturbed } else { usual }
}

/// Once in so many times: what may be refused, or fail, does.
#[inline(always)]
pub fn refuses(one_in: u64) -> bool {
    #[cfg(perturbed)]
    return chance::once_in(one_in);
    #[cfg(not(perturbed))]
    {
        let _ = one_in;
        false
    }
}

/// Once in so many times: the thread is not carried on for a while.
#[inline(always)]
pub fn pause(one_in: u64, microseconds: u32) {
    #[cfg(perturbed)]
    if chance::once_in(one_in) {
        let _errno = crate::sys::KeepErrno::new();
        crate::sys::sleep(std::time::Duration::from_micros(microseconds.into()));
    }
    #[cfg(not(perturbed))]
    let _ = (one_in, microseconds);
}

#[cfg(perturbed)]
mod chance {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Any thread or handler may draw; a run is not to be repeated.
    pub fn once_in(count: u64) -> bool {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let drawn = DRAWN.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut x = drawn ^ crate::sys::now_ns();
        for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
            x = (x ^ x >> shift).wrapping_mul(factor);
        }
        (x ^ x >> 31).is_multiple_of(count)
    }
}
