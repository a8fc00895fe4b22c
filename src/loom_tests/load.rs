//! Settling a request against an inline transfer that must not overtake it.

use std::alloc::{Layout, alloc_zeroed};
use std::sync::Arc;

use super::bench::{check, spawn};
use crate::load::Load;
use crate::request::Kind;

/// A write that was submitted before is found, settled or not.
#[test]
fn loom_a_write_is_found_while_it_is_settled() {
    check(None, || {
        // SAFETY: the layout is not empty; all zero is the empty state.
        let load: Arc<Box<Load>> =
            Arc::new(unsafe { Box::from_raw(alloc_zeroed(Layout::new::<Load>()).cast()) });
        load.add(3, Kind::Write);
        let engine = {
            let load = load.clone();
            spawn(move || {
                load.add(4, Kind::Write);
                for _ in 0..2 {
                    load.settle(9, Kind::Write);
                }
            })
        };
        assert!(load.anything_before(Kind::Read, 5, || Some(9)));
        engine.join().unwrap();
        assert!(load.anything_before(Kind::Read, 5, || Some(9)));
        assert!(!load.anything_before(Kind::Read, 5, || Some(8)));
    });
}
