//! Calls from an interface's table, right ones and wrong ones: input for fuzzers and tests.
//!
//! What comes out is what a guest would put into its registers and its memory, so it can be given
//! to a [`Service`](crate::Service), to a `Server`, or to a guest that makes calls by a script.
//! Where the numbers come from is the caller's matter: a fuzzer's input, or a random generator.
//!
//! ```
//! use portcall::generate::{Generator, Places};
//!
//! abi::hypercalls! {
//!     /// Text.
//!     pub trait Text {
//!         /// Its length.
//!         fn length(&mut self, text: &str) -> u64;
//!     }
//! }
//!
//! let layout = portcall::layout::Layout::new(2 << 20, 12, 0, 0)?;
//! let places = Places::new(&layout, 0x1_0000..0x2_0000);
//! let mut seed = 1_u64;
//! let mut numbers = move || {
//!     seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
//!     seed.rotate_right(29)
//! };
//! let mut generator = Generator::new(&places, &mut numbers);
//! let right = generator.call(&INTERFACE);
//! assert_eq!(right.number, INTERFACE.number(0));
//! let (address, bytes) = &right.memory[0];
//! assert_eq!(right.words[..2], [*address, bytes.len() as u64]);
//! let wrong = generator.wrong_call(&INTERFACE);
//! assert!(wrong.wrong.is_some());
//! # Ok::<(), portcall::error::MemoryError>(())
//! ```

mod wrong;

pub use wrong::Wrong;

use crate::layout::{IMAGE_MIN, Layout, PAGE};
use abi::calls::{Interface, Kind, Method, Refusal, WORDS_MAX};
use std::ops::Range;
use wrong::Site;

/// A call in the making: what the guest's registers and memory are to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// What is written to the call port.
    pub number: u32,
    /// How many bytes wide that write is: 4 in a right one.
    pub width: u8,
    /// The words of the arguments.
    pub words: [u64; WORDS_MAX],
    /// Bytes to place before the call, by guest-virtual address.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// What is wrong with it, if something is.
    pub wrong: Option<Wrong>,
}

/// Where in a guest's memory bytes may lie, and where not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Memory that the guest may read and write, which the calls' bytes are put into: arguments
    /// into its first half, results into its second. At least some pages.
    pub scratch: Range<u64>,
    /// What it may not even read.
    pub unreadable: Vec<Range<u64>>,
    /// What it may not write, though it may read it.
    pub unwritable: Vec<Range<u64>>,
}

impl Places {
    /// Those of a guest that has the host's page tables, in either ring.
    #[must_use]
    pub fn new(layout: &Layout, scratch: Range<u64>) -> Self {
        let mut unreadable = vec![0..IMAGE_MIN, layout.guard.clone()];
        let mut end = 0;
        for range in &layout.ram {
            if end > 0 {
                unreadable.push(end..range.start);
            }
            end = range.end;
        }
        // Behind all RAM, on both sides of the addresses that are none, and the last page.
        unreadable.push(end..end + PAGE);
        unreadable.push((1 << 47) - PAGE..1 << 48);
        unreadable.push(u64::MAX - PAGE..u64::MAX);
        let unwritable = [&layout.tables, &layout.descriptors, &layout.stubs].map(Clone::clone);
        Self { scratch, unreadable, unwritable: unwritable.to_vec() }
    }
}

/// Makes calls of an interface's table.
pub struct Generator<'g> {
    places: &'g Places,
    numbers: &'g mut dyn FnMut() -> u64,
    /// Where the next argument's bytes go.
    free: u64,
    words: Vec<u64>,
    sites: Vec<(usize, Site)>,
    memory: Vec<(u64, Vec<u8>)>,
}

impl std::fmt::Debug for Generator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").field("places", self.places).finish_non_exhaustive()
    }
}

impl<'g> Generator<'g> {
    /// Makes calls whose bytes lie at these places, by numbers from `numbers`: any will do, also
    /// the same one for ever.
    pub fn new(places: &'g Places, numbers: &'g mut dyn FnMut() -> u64) -> Self {
        let (words, sites, memory) = (Vec::new(), Vec::new(), Vec::new());
        Self { places, numbers, free: 0, words, sites, memory }
    }

    /// A right call: every server answers it, but for arguments of which the table does not say all:
    /// those in an encoding of their own ([`Kind::Encoded`]), which are any bytes, and types that
    /// take less than their kind, as [`Level`](abi::host::Level) takes five numbers of a byte's. Of
    /// an interface without methods, a wrong one.
    pub fn call(&mut self, interface: &Interface) -> Generated {
        let Some((place, method)) = self.one_of(interface.methods) else {
            return self.unknown_method(interface);
        };
        self.arguments(&method);
        let mut words = [0; WORDS_MAX];
        for (to, word) in words.iter_mut().zip(&self.words) {
            *to = *word;
        }
        Generated {
            number: interface.number(place),
            width: 4,
            words,
            memory: std::mem::take(&mut self.memory),
            wrong: None,
        }
    }

    /// Makes words, and bytes, for all arguments of a method.
    fn arguments(&mut self, method: &Method) {
        self.free = self.places.scratch.start;
        self.words.clear();
        self.sites.clear();
        self.memory.clear();
        for (_, kind) in method.arguments {
            self.value(kind);
        }
        if method.result.has_bytes() {
            let (middle, end) = (self.middle(), self.places.scratch.end);
            self.sites.push((self.words.len(), Site::Space));
            self.words.extend([middle, end.saturating_sub(middle)]);
        }
    }

    /// Makes the words of one value.
    fn value(&mut self, kind: &Kind) {
        let (at, end) = (self.words.len(), self.words.len() + kind.words());
        match kind {
            Kind::Unit => {}
            Kind::Bool => {
                self.tag();
            }
            Kind::Unsigned(bits) => {
                let number = self.extreme() >> (64 - bits);
                self.words.push(number);
                if *bits < 64 {
                    self.sites.push((at, Site::Below(1 << bits)));
                }
            }
            Kind::Signed(bits) => {
                let number = self.extreme().cast_signed() >> (64 - bits);
                self.words.push(number.cast_unsigned());
                if *bits < 64 {
                    self.sites.push((at, Site::Signed(*bits)));
                }
            }
            Kind::Text | Kind::Bytes | Kind::BytesMut | Kind::Encoded(_) => {
                self.bytes(*kind == Kind::Text, *kind == Kind::BytesMut);
            }
            Kind::Array(element, count) => (0..*count).for_each(|_| self.value(element)),
            Kind::Struct(this) => this.fields.iter().for_each(|(_, kind)| self.value(kind)),
            Kind::Option(some) => {
                let there = self.tag();
                if there {
                    self.value(some);
                }
            }
            Kind::Result(ok, err) => {
                let kind = if self.tag() { err } else { ok };
                self.value(kind);
            }
            Kind::Refusal => {
                let code = 1 + self.below(Refusal::ALL.len() as u64);
                self.words.push(code);
                self.sites.push((at, Site::Refusal));
            }
            // A kind of a later version: zeros are as good as anything.
            _ => {}
        }
        // What is left out is not looked at, so it may be anything.
        while self.words.len() < end {
            let anything = (self.numbers)();
            self.words.push(anything);
        }
    }

    /// A word that is 0 or 1.
    fn tag(&mut self) -> bool {
        let tag = self.below(2);
        self.sites.push((self.words.len(), Site::Below(2)));
        self.words.push(tag);
        tag == 1
    }

    /// Address and size of bytes, which are put there.
    fn bytes(&mut self, text: bool, written: bool) {
        // One of as many as there can be, each with a byte more for text to be spoilt.
        let most = (self.middle() - self.places.scratch.start) / (WORDS_MAX as u64 / 2);
        let most = most.saturating_sub(1);
        let size = match self.below(4) {
            0 => 0,
            1 => self.below(most.min(16) + 1),
            2 => self.below(most + 1),
            _ => most,
        };
        let mut bytes: Vec<u8> = (0..size).map(|_| (self.numbers)().to_le_bytes()[5]).collect();
        if text {
            let mut right = String::from_utf8_lossy(&bytes).into_owned();
            let end = (0..=bytes.len().min(right.len())).rev();
            right.truncate(end.into_iter().find(|end| right.is_char_boundary(*end)).unwrap_or(0));
            bytes = right.into_bytes();
        }
        self.sites.push((self.words.len(), Site::Bytes { text, written }));
        self.words.extend([self.free, bytes.len() as u64]);
        let address = self.free;
        self.free += most + 1;
        self.memory.push((address, bytes));
    }

    /// Where arguments end and results begin.
    const fn middle(&self) -> u64 {
        let Range { start, end } = self.places.scratch;
        start + end.saturating_sub(start) / 2
    }

    /// Any number, the extremes often.
    fn extreme(&mut self) -> u64 {
        match self.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            3 => (1 << 63) - 1,
            _ => (self.numbers)(),
        }
    }

    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: u64) -> u64 {
        // Unequal by next to nothing.
        (self.numbers)().checked_rem(end).unwrap_or(0)
    }

    fn one_of<T: Clone>(&mut self, list: &[T]) -> Option<(u32, T)> {
        let place = self.below(list.len() as u64);
        let one = list.get(usize::try_from(place).ok()?)?.clone();
        Some((u32::try_from(place).ok()?, one))
    }
}

#[cfg(test)]
mod tests;
