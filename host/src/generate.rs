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

use crate::layout::{IMAGE_MIN, Layout, PAGE};
use abi::calls::{BUFFER_MAX, Interface, Kind, Method, Refusal, WORDS_MAX, interface_of};
use std::ops::Range;

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

/// One way in which a call can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Wrong {
    /// The interface has no such method.
    Method,
    /// Nobody has such an interface.
    Interface,
    /// The port is not written with 4 bytes.
    Width,
    /// This word is no value of its type: a bool or a tag that is neither 0 nor 1, an integer out
    /// of its range, a refusal that there is not.
    Value(usize),
    /// The address in this word leads where the guest may not read, or write, itself.
    Pointer(usize),
    /// The size in this word is more than a buffer may have, or than there is memory for.
    Size(usize),
    /// The bytes behind the address in this word are not UTF-8.
    Text(usize),
    /// The space for the result, in this word and the next, is not the guest's or too little. A
    /// call whose result turns out to have no bytes is answered all the same.
    Space(usize),
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

/// What a word is there for, where it can be wrong.
#[derive(Clone, Copy)]
enum Site {
    /// A number of so many values from 0 on.
    Below(u64),
    /// A signed number of so many bits.
    Signed(u32),
    /// From 1 up to so many.
    Refusal,
    /// An address, and the size behind it.
    Bytes { text: bool, written: bool },
    /// The same of a result's space.
    Space,
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

    /// A right call: every server answers it, but for arguments in an encoding of their own
    /// ([`Kind::Encoded`]), which are any bytes. Of an interface without methods, a wrong one.
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

    /// A call with one thing wrong, the others right.
    pub fn wrong_call(&mut self, interface: &Interface) -> Generated {
        let mut call = self.call(interface);
        match self.below(8) {
            0 => self.unknown_method(interface),
            1 => {
                let other = self.below(1 << 24);
                // Not the interface's own, whatever the number.
                let id = u32::try_from(other).unwrap_or(0);
                let id = if id == interface_of(call.number) { id ^ 1 } else { id };
                Generated { number: id << 8, wrong: Some(Wrong::Interface), ..call }
            }
            2 => {
                let width = if self.below(2) == 0 { 1 } else { 2 };
                Generated { width, wrong: Some(Wrong::Width), ..call }
            }
            _ => {
                let site = self.below(self.sites.len() as u64);
                let Some((word, site)) =
                    usize::try_from(site).ok().and_then(|site| self.sites.get(site)).copied()
                else {
                    return self.unknown_method(interface);
                };
                call.wrong = Some(self.spoil(&mut call, word, site));
                call
            }
        }
    }

    /// Makes one word of a call wrong; says how.
    fn spoil(&mut self, call: &mut Generated, word: usize, site: Site) -> Wrong {
        match site {
            Site::Below(end) => {
                call.words[word] = end + self.below(u64::MAX - end);
                Wrong::Value(word)
            }
            Site::Signed(bits) => {
                // Outside on either side, or a sign that is not extended.
                let half = 1_u64 << (bits - 1);
                call.words[word] = half + self.below(u64::MAX - 2 * half + 1);
                Wrong::Value(word)
            }
            Site::Refusal => {
                let beyond = Refusal::ALL.len() as u64 + 1;
                let any = beyond + self.below(u64::MAX - beyond);
                call.words[word] = if self.below(2) == 0 { 0 } else { any };
                Wrong::Value(word)
            }
            Site::Bytes { text, written } => match self.below(if text { 4 } else { 3 }) {
                0 => {
                    call.words[word + 1] = self.bad_size();
                    Wrong::Size(word + 1)
                }
                3 => {
                    self.spoil_text(call, word);
                    Wrong::Text(word)
                }
                _ => {
                    (call.words[word], call.words[word + 1]) = self.bad_place(written);
                    Wrong::Pointer(word)
                }
            },
            Site::Space => {
                if self.below(2) == 0 {
                    call.words[word + 1] = 0;
                } else {
                    call.words[word] = self.bad_place(true).0;
                }
                Wrong::Space(word)
            }
        }
    }

    fn unknown_method(&mut self, interface: &Interface) -> Generated {
        let known = interface.methods.len() as u64;
        let method = (known + self.below(256_u64.saturating_sub(known))).min(255);
        Generated {
            number: interface.number(u32::try_from(method).unwrap_or(255)),
            width: 4,
            words: std::array::from_fn(|_| (self.numbers)()),
            memory: Vec::new(),
            wrong: Some(Wrong::Method),
        }
    }

    /// More bytes than a buffer may have.
    fn bad_size(&mut self) -> u64 {
        match self.below(3) {
            0 => BUFFER_MAX + 1,
            1 => u64::MAX,
            _ => BUFFER_MAX + 1 + self.below(u64::MAX - BUFFER_MAX),
        }
    }

    /// Bytes that the guest may not use so itself: an address and a size.
    fn bad_place(&mut self, written: bool) -> (u64, u64) {
        let unwritable = if written { &self.places.unwritable[..] } else { &[] };
        let ranges: Vec<_> = self.places.unreadable.iter().chain(unwritable).cloned().collect();
        let Some((_, range)) = self.one_of(&ranges) else { return (0, 1) };
        let size = 2 + self.below(PAGE);
        match self.below(3) {
            // What lies before it is right, or wrong as well.
            0 if range.start > PAGE => (range.start - 1, size),
            1 => (range.start, size),
            _ => (range.start + self.below(range.end - range.start), size),
        }
    }

    /// Text that ends in the middle of a character.
    fn spoil_text(&mut self, call: &mut Generated, word: usize) {
        let address = call.words[word];
        let mut bytes = match call.memory.iter().position(|(at, _)| *at == address) {
            Some(i) => call.memory.remove(i).1,
            None => Vec::new(),
        };
        bytes.truncate(bytes.len().saturating_sub(1));
        bytes.push(if self.below(2) == 0 { 0xff } else { 0xc3 });
        // There is room: each piece has a byte more than its bytes.
        call.words[word + 1] = bytes.len() as u64;
        call.memory.push((address, bytes));
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
