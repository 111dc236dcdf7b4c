//! The runtime's own parts, tested where they are at work: each in a VM of its own.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::{vec, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering};
use guest::{Boot, println};

guest::tests!(setup = prepare, calls = [guest::abi::host]);

/// How many times it was prepared, and what tests left behind.
static PREPARED: AtomicU32 = AtomicU32::new(0);

fn prepare(_: &Boot) {
    PREPARED.fetch_add(1, Ordering::Relaxed);
}

mod isolation {
    use super::{Ordering, PREPARED};

    // Either would fail if it saw what the other has left, in whatever order they run.
    #[guest::test]
    fn what_one_test_changes_another_does_not_see() {
        assert_eq!(PREPARED.swap(70, Ordering::Relaxed), 1);
    }

    #[guest::test]
    fn nor_the_other_way_round() {
        assert_eq!(PREPARED.swap(80, Ordering::Relaxed), 1);
    }

    #[guest::test]
    fn random_bytes_differ_from_those_of_other_vms() {
        let mut bytes = [0; 32];
        guest::abi::host::Client(guest::Out).random(&mut bytes);
        assert_ne!(bytes, [0; 32]);
    }
}

mod heap {
    use super::{BTreeMap, String, ToString, Vec};
    use core::hint::black_box;

    #[guest::test]
    fn what_is_freed_is_there_again() {
        // More than there is, all in all.
        for it in 0..64 {
            let mut much = black_box(Vec::<u8>::with_capacity(1 << 20));
            much.extend([it; 8]);
            assert_eq!(black_box(much), [it; 8]);
        }
    }

    #[guest::test]
    fn collections_grow() {
        let map: BTreeMap<String, u32> = (0..500).map(|it: u32| (it.to_string(), it)).collect();
        let sum: u32 = map.values().sum();
        assert_eq!((map.len(), sum), (500, 124_750));
    }

    #[guest::test]
    #[should_panic(expected = "memory allocation of")]
    fn more_than_there_is_is_said() {
        black_box(Vec::<u8>::with_capacity(1 << 40));
    }
}

mod memory {
    use super::{Vec, vec};

    #[guest::test]
    fn copies_may_overlap() {
        let mut bytes: Vec<u8> = (0..=255).collect();
        bytes.copy_within(0..200, 3);
        assert_eq!(bytes[3..203], (0..200).collect::<Vec<u8>>());
        bytes.copy_within(3..203, 0);
        assert_eq!(bytes[..200], (0..200).collect::<Vec<u8>>());
    }

    #[guest::test]
    fn bytes_are_compared_to_the_last() {
        let one = vec![7; 1001];
        let mut other = one.clone();
        assert_eq!(one, other);
        other[1000] = 8;
        assert!(one < other);
    }
}

#[guest::test]
fn a_test_may_return_a_result() -> Result<(), core::num::ParseIntError> {
    let number: u32 = "42".parse()?;
    println!("{number}");
    Ok(())
}

#[guest::test]
#[ignore = "it takes a while"]
fn all_of_a_counter() {
    for it in 0..100_000_000_u32 {
        core::hint::black_box(it);
    }
}
