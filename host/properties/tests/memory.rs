//! Guest memory is RAM and nothing but RAM: reads and writes of any place and length, at the hole, at
//! the end and around the end of all addresses, against a model that is a map of bytes.

use portcall::layout::{HOLE_END, HOLE_START, Layout, MIB};
use portcall::{Gpa, Memory};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{prop_assert, prop_assert_eq};
use std::collections::BTreeMap;

/// Bytes of RAM behind the hole.
const BEHIND: u64 = 2 * MIB;

/// What the host does.
#[derive(Clone, Debug)]
enum Deed {
    Write(u64, Vec<u8>),
    Read(u64, usize),
    Store(u64, u64),
    Load(u64),
}

/// Places where it matters, and others.
fn place() -> impl Strategy<Value = u64> {
    let edges = [0, HOLE_START, HOLE_END, HOLE_END + BEHIND, 1 << 36, 1 << 63, u64::MAX];
    let edge = proptest::sample::select(edges.to_vec());
    let near = (edge, -40_i64..40).prop_map(|(edge, by)| edge.wrapping_add_signed(by));
    let aligned = near.clone().prop_map(|at| at & !7);
    prop_oneof![near, aligned, 0..HOLE_END + BEHIND, any::<u64>()]
}

fn deed() -> impl Strategy<Value = Deed> {
    let bytes = prop_oneof![vec(any::<u8>(), 0..64), Just(vec![7; 5000])];
    prop_oneof![
        (place(), bytes).prop_map(|(at, bytes)| Deed::Write(at, bytes)),
        (place(), prop_oneof![0..64_usize, Just(5000)]).prop_map(|(at, size)| Deed::Read(at, size)),
        (place(), any::<u64>()).prop_map(|(at, word)| Deed::Store(at, word)),
        place().prop_map(Deed::Load),
    ]
}

/// Whether all of it is RAM, and in one piece.
fn is_ram(layout: &Layout, at: u64, size: usize) -> bool {
    let end = at.checked_add(size as u64);
    layout.ram.iter().any(|ram| ram.start <= at && end.is_some_and(|end| end <= ram.end))
}

/// What was written, byte by byte; what was not is zero.
#[derive(Default)]
struct Model(BTreeMap<u64, u8>);

impl Model {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.0.extend((at..).zip(bytes.iter().copied()));
    }

    fn read(&self, at: u64, size: usize) -> Vec<u8> {
        (at..).take(size).map(|at| self.0.get(&at).copied().unwrap_or(0)).collect()
    }
}

proptest! {
    #[test]
    fn reads_and_writes_are_those_of_ram_and_of_nothing_else(deeds in vec(deed(), 1..60)) {
        let layout = Layout::new(HOLE_START + BEHIND, 16, 0, 0).expect("lays out");
        let ram = Memory::map(&layout).expect("sparse memory costs nothing");
        let mut model = Model::default();
        for deed in deeds {
            match deed {
                Deed::Write(at, bytes) => {
                    let done = ram.write(Gpa(at), &bytes).is_ok();
                    if !bytes.is_empty() {
                        prop_assert_eq!(done, is_ram(&layout, at, bytes.len()), "{:#x}", at);
                    }
                    if done {
                        model.write(at, &bytes);
                    }
                }
                Deed::Read(at, size) => {
                    let mut bytes = vec![0xee; size];
                    let done = ram.read(Gpa(at), &mut bytes).is_ok();
                    if size > 0 {
                        prop_assert_eq!(done, is_ram(&layout, at, size), "{:#x}", at);
                    }
                    if done {
                        prop_assert_eq!(bytes, model.read(at, size));
                    }
                }
                Deed::Store(at, word) => {
                    let right = is_ram(&layout, at, 8) && at.is_multiple_of(8);
                    prop_assert_eq!(ram.store_u64(Gpa(at), word).is_ok(), right, "{:#x}", at);
                    if right {
                        model.write(at, &word.to_le_bytes());
                    }
                }
                Deed::Load(at) => {
                    let word = ram.load_u64(Gpa(at)).ok();
                    let right = is_ram(&layout, at, 8) && at.is_multiple_of(8);
                    let there = right.then(|| model.read(at, 8));
                    prop_assert_eq!(word.map(|it| it.to_le_bytes().to_vec()), there, "{:#x}", at);
                }
            }
        }
        // Nothing was written but what was: around every place that was, all is as it should be.
        let places: Vec<u64> = model.0.keys().copied().collect();
        for at in places {
            for near in [at.saturating_sub(8), at, at.saturating_add(8)] {
                let mut byte = [0];
                if ram.read(Gpa(near), &mut byte).is_ok() {
                    prop_assert_eq!(byte.to_vec(), model.read(near, 1), "{:#x}", near);
                }
            }
        }
    }

    #[test]
    fn an_address_of_the_hosts_is_there_for_every_byte_of_ram_and_no_other(at in place()) {
        let layout = Layout::new(HOLE_START + BEHIND, 16, 0, 0).expect("lays out");
        let ram = Memory::map(&layout).expect("sparse memory costs nothing");
        let address = ram.host_address(Gpa(at));
        prop_assert_eq!(address.is_some(), is_ram(&layout, at, 1));
        let piece = layout.ram.iter().find(|piece| piece.contains(&at));
        if let (Some(piece), Some(address)) = (piece, address) {
            let start = ram.host_address(Gpa(piece.start)).expect("RAM");
            prop_assert!(address - start == at - piece.start);
        }
    }
}
