//! The reserve alone, and behind the allocator.

use super::*;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// A piece that leaves less than enough of an area.
fn most() -> Layout {
    layout(SIZE - ENOUGH + 1)
}

#[test]
fn the_bits_of_a_range() {
    let all = |first, count| words(first, count).collect::<Vec<_>>();
    assert_eq!(all(0, 1), [(0, 1)]);
    assert_eq!(all(63, 2), [(0, 1 << 63), (1, 1)]);
    assert_eq!(all(64, 64), [(1, u64::MAX)]);
    assert_eq!(all(4, 4), [(0, 0xf0)]);
    assert_eq!(all(32, 128), [(0, !0 << 32), (1, !0), (2, !0 >> 32)]);
}

#[test]
fn pieces_are_found_and_used_again() {
    let area = Area::new();
    assert!(area.take(layout(1)).is_null(), "it is not mapped");
    assert!(area.map() && area.has_enough());
    let sizes = [1, 64, 65, 1000, 4096, 30_000, 5, 64 * 64, 64 * 63];
    let mut pieces: Vec<(*mut u8, Layout)> = Vec::new();
    for round in 0..2000usize {
        let layout = layout(sizes[round % sizes.len()]);
        let piece = area.take(layout);
        if piece.is_null() || round % 3 == 1 {
            // One that lies in between goes.
            let (piece, layout) = pieces.swap_remove(round * 7 % pieces.len());
            // SAFETY: a piece of so many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(piece, layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == bytes[0]), "round {round}");
            area.give_back(piece, layout);
        }
        if !piece.is_null() {
            assert!(piece.addr().is_multiple_of(GRAIN) && area.contains(piece));
            // SAFETY: as above.
            unsafe { piece.write_bytes(round as u8, layout.size()) };
            pieces.push((piece, layout));
        }
    }
    assert!(pieces.len() > 20);
    area.unmap();
    assert!(area.is_mapped(), "pieces of it live");
    let count = pieces.len();
    for (index, (piece, layout)) in pieces.into_iter().enumerate() {
        assert_eq!(area.give_back(piece, layout), index + 1 == count);
    }
    let all = area.take(layout(SIZE));
    assert!(!all.is_null() && area.take(layout(1)).is_null());
    assert!(!area.trim(all, layout(SIZE), 100));
    let next = area.take(layout(1));
    assert_eq!(next.addr(), all.addr() + 128);
    area.give_back(next, layout(1));
    assert!(area.give_back(all, layout(100)));
    area.unmap();
    assert!(!area.is_mapped() && area.take(layout(1)).is_null());
}

#[test]
fn enough_is_also_one_large_piece() {
    let area = Area::new();
    assert!(area.map());
    let pieces: Vec<*mut u8> = (0..SIZE / 8192).map(|_| area.take(layout(8192))).collect();
    let back = |which: &dyn Fn(usize) -> bool| {
        for index in (0..pieces.len()).filter(|&index| which(index)) {
            area.give_back(pieces[index], layout(8192));
        }
    };
    back(&|index| index % 4 != 0);
    assert!(area.used.load(Ordering::Relaxed) <= SIZE - ENOUGH);
    assert!(!area.has_enough(), "all that is free is in small pieces");
    back(&|index| index % 4 == 0 && index < 32);
    assert!(area.has_enough());
    back(&|index| index % 4 == 0 && index >= 32);
    area.unmap();
    assert!(!area.is_mapped());
}

#[test]
fn what_lives_for_long_does_not_use_the_reserve_up() {
    let reserve = Reserve::new();
    let mut pieces = Vec::new();
    for round in 0..AREAS {
        assert!(reserve.has_enough(), "round {round}");
        assert_eq!(reserve.areas().len(), round + 1);
        while reserve.areas().iter().any(Area::has_enough) {
            pieces.push(reserve.take(most()));
        }
    }
    assert!(reserve.has_enough(), "there is memory all the same");
    // What is not needed any more goes.
    for &piece in &pieces {
        let area = reserve.area_of(piece).expect("it is of the reserve");
        reserve.give_back(area, piece, most());
    }
    let mapped = |area: &&Area| area.is_mapped();
    assert_eq!(reserve.areas().iter().filter(mapped).count(), KEPT);
    for area in reserve.areas() {
        area.unmap();
    }
}

#[test]
fn no_piece_is_given_out_twice() {
    static RESERVE: Reserve = Reserve::new();
    // All that is kept is taken, so the others come and go.
    for _ in 0..KEPT {
        assert!(RESERVE.has_enough());
        while RESERVE.areas().iter().any(Area::has_enough) {
            assert!(!RESERVE.take(most()).is_null());
        }
    }
    let work = |mark: u8| {
        for round in 0..2000usize {
            let size = 1 + (round * 7919 + usize::from(mark)) % (90 << 10);
            RESERVE.has_enough();
            let piece = RESERVE.take(layout(size));
            if piece.is_null() {
                continue;
            }
            let ends = [piece, piece.wrapping_add(size - 1)];
            // SAFETY: a piece of `size` bytes that is ours.
            unsafe {
                ends.iter().for_each(|&end| end.write(mark));
                std::thread::yield_now();
                assert!(ends.iter().all(|&end| end.read() == mark));
            }
            let area = RESERVE.area_of(piece).expect("it is of the reserve");
            RESERVE.give_back(area, piece, layout(size));
            if round % 16 == 0 {
                // As if the kept ones had been whole meanwhile.
                RESERVE.areas()[area].unmap();
            }
        }
    };
    std::thread::scope(|scope| {
        for mark in 1..=4 {
            scope.spawn(move || work(mark));
        }
    });
}

#[test]
fn what_comes_from_the_reserve_may_grow_and_goes_back() {
    assert!(has_reserve());
    let piece = RESERVE.take(layout(100));
    // SAFETY: 100 bytes that are ours; the layouts are those of the pieces.
    unsafe {
        piece.write_bytes(7, 100);
        let grown = Reserved.realloc(piece, layout(100), 5000);
        assert!(
            RESERVE.area_of(grown).is_none(),
            "there is memory elsewhere"
        );
        assert!((0..100).all(|index| *grown.add(index) == 7));
        assert_eq!(RESERVE.areas()[0].used.load(Ordering::Relaxed), 0);
        Reserved.dealloc(grown, layout(5000));
    }
}
