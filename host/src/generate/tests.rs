//! What is generated goes through the checks that a guest's calls go through, without a guest.

use super::{Generated, Generator, Places, Wrong};
use crate::address_space::address_space;
use crate::claims::Claims;
use crate::layout::{Gpa, Gva, Layout, MIB, PAGE};
use crate::memory::Memory;
use crate::registers::{Ring, long_mode};
use crate::{exception, paging, walk};
use abi::calls::{
    Interface, Kind, Malformed, Refusal, Serve, WORDS_MAX, id_of, interface_of, method_of,
};
use kvm_bindings::kvm_sregs;
use std::collections::{BTreeMap, HashMap};

abi::record! {
    /// A record of records and arrays.
    pub struct Shape {
        /// Whether it is filled.
        pub filled: bool,
        /// Its corners.
        pub corners: [i16; 3],
    }
}

abi::hypercalls! {
    /// All kinds, in arguments and results.
    pub trait All {
        /// Unsigned integers.
        fn unsigned(&mut self, a: u8, b: u16, c: u32, d: u64) -> u8;
        /// Signed integers.
        fn signed(&mut self, a: i8, b: i16, c: i32, d: i64) -> i16;
        /// No words at all.
        fn nothing(&mut self);
        /// A record, a refusal, and a bool.
        fn fixed(&mut self, shape: Shape, refusal: Refusal, flag: bool, unit: ()) -> Shape;
        /// Twelve words.
        fn twelve(&mut self, all: [u8; 12]) -> [u8; 12];
        /// Text.
        fn text(&mut self, text: &str) -> &str;
        /// Bytes, of which some are filled.
        fn bytes(&mut self, from: &[u8], to: &mut [u8]) -> Option<&[u8]>;
        /// As many buffers as there can be.
        fn buffers(&mut self, a: &[u8], b: &str, c: &mut [u8], d: &str, e: &[u8], f: &mut [u8]);
        /// One in the other.
        fn nested(
            &mut self,
            value: Option<Result<Option<&str>, Result<Shape, i8>>>,
        ) -> Result<Option<u16>, Result<Shape, bool>>;
        /// An error for what is refused.
        fn refusable(&mut self, text: &str, number: u8) -> Result<u64, Refusal>;
        /// The same with bytes in the result.
        fn refusable_text(&mut self, text: Option<&str>) -> Result<&str, Refusal>;
    }
}

/// Answers, and gives back what it can.
#[derive(Default)]
struct Echo(String, Vec<u8>);

impl All for Echo {
    fn unsigned(&mut self, a: u8, _: u16, _: u32, _: u64) -> u8 {
        a
    }

    fn signed(&mut self, _: i8, b: i16, _: i32, _: i64) -> i16 {
        b
    }

    fn nothing(&mut self) {}

    fn fixed(&mut self, shape: Shape, _: Refusal, _: bool, (): ()) -> Shape {
        shape
    }

    fn twelve(&mut self, all: [u8; 12]) -> [u8; 12] {
        all
    }

    fn text(&mut self, text: &str) -> &str {
        text.clone_into(&mut self.0);
        &self.0
    }

    fn bytes(&mut self, from: &[u8], to: &mut [u8]) -> Option<&[u8]> {
        to.fill(0xee);
        from.clone_into(&mut self.1);
        (!from.is_empty()).then_some(&self.1)
    }

    fn buffers(&mut self, _: &[u8], _: &str, c: &mut [u8], _: &str, _: &[u8], f: &mut [u8]) {
        c.fill(0xcc);
        f.fill(0xff);
    }

    fn nested(
        &mut self,
        value: Option<Result<Option<&str>, Result<Shape, i8>>>,
    ) -> Result<Option<u16>, Result<Shape, bool>> {
        match value {
            None => Ok(None),
            Some(Ok(text)) => Ok(text.map(|_| 7)),
            Some(Err(Ok(shape))) => Err(Ok(shape)),
            Some(Err(Err(_))) => Err(Err(true)),
        }
    }

    fn refusable(&mut self, text: &str, _: u8) -> Result<u64, Refusal> {
        Ok(text.len() as u64)
    }

    fn refusable_text(&mut self, text: Option<&str>) -> Result<&str, Refusal> {
        Ok(self.text(text.unwrap_or("nothing")))
    }
}

/// A guest's memory with the host's page tables, as it is at its entry.
struct Machine {
    memory: Memory,
    layout: Layout,
    sregs: kvm_sregs,
}

impl Machine {
    fn new(ring: Ring) -> Self {
        let layout = Layout::new(2 * MIB, paging::tables_bound(2 * MIB, &[]), 0, 0);
        let layout = layout.expect("lays out");
        let memory = Memory::map(&layout).expect("maps");
        let space = address_space(&layout, &[], ring);
        let tables = paging::Tables::build(Gpa(layout.tables.start), &space);
        tables.write(&memory, &layout.tables).expect("fit");
        exception::place(&memory, &layout).expect("fit");
        let mut sregs = kvm_sregs::default();
        long_mode(&mut sregs, &layout, ring);
        Self { memory, layout, sregs }
    }

    fn places(&self) -> Places {
        Places::new(&self.layout, 0x1_0000..0x3_0000)
    }

    /// The call's bytes are put where it says, and it is made.
    fn make(&self, call: &Generated) -> (Result<usize, Malformed>, [u64; WORDS_MAX]) {
        for (address, bytes) in &call.memory {
            self.memory.write(Gpa(*address), bytes).expect("in the scratch memory");
        }
        let mut words = call.words;
        let mut claims = Claims::by(&self.memory, &self.sregs);
        let mut server = Server(Echo::default());
        (server.serve(method_of(call.number), &mut words, &mut claims), words)
    }

    /// All that the guest may not write itself, page by page.
    fn protected(&self) -> BTreeMap<u64, Vec<u8>> {
        let user = self.sregs.cs.selector & 3 == 3;
        let writable = |gpa: u64| {
            let found = walk::translate(&self.memory, self.sregs.cr3, Gva(gpa));
            found.is_some_and(|page| page.writable && (page.user || !user))
        };
        let pages = (0..2 * MIB).step_by(4096).filter(|gpa| !writable(*gpa));
        pages
            .map(|gpa| {
                let mut bytes = vec![0; usize::try_from(PAGE).expect("small")];
                self.memory.read(Gpa(gpa), &mut bytes).expect("RAM");
                (gpa, bytes)
            })
            .collect()
    }
}

/// SplitMix64.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const CALLS: u64 = 20_000;

#[test]
fn every_right_call_is_answered() {
    for ring in [Ring::Zero, Ring::Three] {
        let machine = Machine::new(ring);
        let (places, mut numbers) = (machine.places(), numbers(1));
        let before = machine.protected();
        let mut generator = Generator::new(&places, &mut numbers);
        let mut made = [0; 11];
        for _ in 0..CALLS / 2 {
            let call = generator.call(&INTERFACE);
            assert_eq!((call.wrong, call.width), (None, 4));
            let (answer, words) = machine.make(&call);
            let method = &INTERFACE.methods[method_of(call.number) as usize];
            assert_eq!(answer, Ok(method.result.words()), "{method} {call:x?}");
            // None of the definitions' own errors either.
            let refused = matches!(method.result, Kind::Result(_, Kind::Refusal)) && words[0] == 1;
            assert!(!refused, "{method} {call:x?}");
            made[method_of(call.number) as usize] += 1;
        }
        assert!(made.iter().all(|count| *count > 100), "{made:?}");
        assert_eq!(machine.protected(), before);
    }
}

#[test]
fn every_wrong_call_is_refused_and_writes_nothing_that_the_guest_may_not() {
    let mut ways = HashMap::<_, u64>::new();
    for ring in [Ring::Zero, Ring::Three] {
        let machine = Machine::new(ring);
        let (places, mut numbers) = (machine.places(), numbers(2));
        let before = machine.protected();
        let mut generator = Generator::new(&places, &mut numbers);
        for _ in 0..CALLS / 2 {
            let call = generator.wrong_call(&INTERFACE);
            let wrong = call.wrong.expect("something is wrong");
            *ways.entry(std::mem::discriminant(&wrong)).or_default() += 1;
            match wrong {
                // What is looked at before a server is asked.
                Wrong::Interface => assert_ne!(interface_of(call.number), id_of("All")),
                Wrong::Width => assert_ne!(call.width, 4),
                _ => {
                    assert_eq!((interface_of(call.number), call.width), (id_of("All"), 4));
                    let (answer, words) = machine.make(&call);
                    refused(&call, wrong, answer, &words);
                }
            }
        }
        assert_eq!(machine.protected(), before);
    }
    assert_eq!(ways.len(), 8, "all ways were tried: {ways:?}");
    assert!(ways.values().all(|count| *count > 200), "{ways:?}");
}

/// The answer to a wrong call is a refusal for the reason that it was made wrong in.
fn refused(
    call: &Generated,
    wrong: Wrong,
    answer: Result<usize, Malformed>,
    words: &[u64; WORDS_MAX],
) {
    let method = INTERFACE.methods.get(method_of(call.number) as usize);
    let told =
        |method: &abi::calls::Method| matches!(method.result, Kind::Result(_, Kind::Refusal));
    let refusal = match answer {
        Err(malformed) => Some(malformed.refusal.code()),
        Ok(_) if method.is_some_and(told) && words[0] == 1 => Some(words[1]),
        Ok(_) => None,
    };
    let expected = match wrong {
        Wrong::Method => Refusal::Unknown,
        Wrong::Value(_) => Refusal::Value,
        Wrong::Pointer(_) => Refusal::Pointer,
        Wrong::Text(_) => Refusal::Text,
        Wrong::Size(_) => Refusal::TooLarge,
        // Where there was nothing to put there, it is answered.
        _ => return,
    };
    assert_eq!(refusal, Some(expected.code()), "{method:?} {call:x?}");
}

#[test]
fn words_that_mean_nothing_are_answered_or_refused() {
    let machine = Machine::new(Ring::Zero);
    let before = machine.protected();
    let (mut numbers, mut refused) = (numbers(3), 0);
    for i in 0..CALLS {
        let method = u32::try_from(i % 16).expect("small");
        let call = Generated {
            number: INTERFACE.number(method),
            width: 4,
            // Small ones too, so that they lead somewhere.
            words: std::array::from_fn(|_| numbers() >> (numbers() % 64)),
            memory: Vec::new(),
            wrong: None,
        };
        refused += u64::from(machine.make(&call).0.is_err());
    }
    assert_eq!(machine.protected(), before);
    assert!((CALLS / 4..CALLS).contains(&refused), "{refused}");
}

#[test]
fn any_numbers_and_any_places_will_do() {
    const EMPTY: Interface = Interface { name: "Empty", methods: &[] };
    #[expect(clippy::reversed_empty_ranges, reason = "that it bears them is the point")]
    let scratches = [0..0, 5..0, 0..1];
    for scratch in scratches {
        for number in [0, 1, 2, 3, 7, u64::MAX, 0x5555_5555_5555_5555] {
            let (unreadable, unwritable) = (Vec::new(), Vec::new());
            let places = Places { scratch: scratch.clone(), unreadable, unwritable };
            let mut numbers = || number;
            let mut generator = Generator::new(&places, &mut numbers);
            generator.call(&INTERFACE);
            assert!(generator.wrong_call(&INTERFACE).wrong.is_some());
            assert_eq!(generator.call(&EMPTY).wrong, Some(Wrong::Method));
            assert!(generator.wrong_call(&EMPTY).wrong.is_some());
        }
    }
}
