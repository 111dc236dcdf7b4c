//! What can be wrong with a call, and how it is made so.

use super::{Generated, Generator};
use crate::layout::PAGE;
use abi::calls::{BUFFER_MAX, Interface, METHODS_MAX, Refusal, interface_of};

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

/// What a word is there for, where it can be wrong.
#[derive(Clone, Copy)]
pub(super) enum Site {
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

impl Generator<'_> {
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

    pub(super) fn unknown_method(&mut self, interface: &Interface) -> Generated {
        let known = interface.methods.len() as u64;
        let unknown = u64::from(METHODS_MAX).saturating_sub(known);
        let method = u32::try_from(known + self.below(unknown.max(1))).unwrap_or(0);
        // One that has all the calls there can be has no unknown one: then it is of another.
        let (number, wrong) = match unknown {
            0 => (interface.number(0) ^ METHODS_MAX, Wrong::Interface),
            _ => (interface.number(method), Wrong::Method),
        };
        Generated {
            number,
            width: 4,
            words: std::array::from_fn(|_| (self.numbers)()),
            memory: Vec::new(),
            wrong: Some(wrong),
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
}
