//! Functions of a guest's that the host calls by name: its tests, and those that are fuzzed. The
//! [contract](crate#tests) has the form in which an image lists them.
//!
//! A list needs no VM: each function has an ELF [note](crate::note) of its own, and the host reads
//! names and options there. What is called is the note's address, at which the function's stands.

use crate::calls::Refusal;

/// The section of these notes: not the one of the others, which are aligned to 4 bytes.
pub const SECTION: &str = ".note.portcall.entries";

/// The kind of a test: the function takes nothing.
pub const TEST: u32 = 1;

/// The kind of a function that is fuzzed: it takes bytes, [`DATA_MAX`] of them at most.
pub const FUZZ: u32 = 2;

/// The most bytes that such a function can be given: those of the mailbox that are left to them.
pub const DATA_MAX: u64 = crate::mailbox::SIZE - crate::mailbox::BYTES;

/// It is left out unless it is asked for; a text may say why.
pub const IGNORED: u32 = 1;

/// It is to panic; a text may say with what in its message.
pub const SHOULD_PANIC: u32 = 2;

/// Bytes of the descriptor before the texts, the function's address first.
pub const HEAD: usize = 40;

/// The most bytes of each of the texts.
pub const TEXT_MAX: usize = 4096;

/// What an image says of such a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the function is for, and so what it takes: [`TEST`], [`FUZZ`]. A host leaves out those that it
    /// does not know.
    pub kind: u32,
    /// [`IGNORED`], [`SHOULD_PANIC`].
    pub flags: u32,
    /// Nanoseconds that a call may take; 0 where that is the host's to say.
    pub timeout: u64,
    /// Its modules and its name, without the crate's: `queue::tests::wraps`.
    pub name: &'a str,
    /// Why it is left out, if it says so.
    pub reason: &'a str,
    /// What its panic's message is to contain, if it says so.
    pub expected: &'a str,
}

impl<'a> Entry<'a> {
    /// Bytes of the descriptor behind the function's address: a multiple of 8.
    #[must_use]
    pub const fn size(&self) -> usize {
        let texts = self.name.len() + self.reason.len() + self.expected.len();
        HEAD - 8 + texts.next_multiple_of(8)
    }

    /// The descriptor behind the function's address; `N` is its [`size`](Self::size).
    ///
    /// # Panics
    /// A text is longer than [`TEXT_MAX`]: in a constant, an error of the compiler's.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "texts have at most some thousand bytes")]
    #[expect(clippy::panic, reason = "it is evaluated by the compiler")]
    pub const fn to_bytes<const N: usize>(&self) -> [u8; N] {
        let texts = [self.name, self.reason, self.expected];
        let mut bytes = [0; N];
        put(&mut bytes, 0, &self.kind.to_le_bytes());
        put(&mut bytes, 4, &self.flags.to_le_bytes());
        put(&mut bytes, 8, &self.timeout.to_le_bytes());
        let (mut i, mut at) = (0, HEAD - 8);
        while i < texts.len() {
            let text = texts[i].as_bytes();
            if text.len() > TEXT_MAX {
                panic!("a test's name, or a text of its attributes, is longer than 4096 bytes");
            }
            put(&mut bytes, 16 + 4 * i, &(text.len() as u32).to_le_bytes());
            put(&mut bytes, at, text);
            at += text.len();
            i += 1;
        }
        bytes
    }

    /// Reads a whole descriptor, the function's address in front. `None` where it has not this form.
    #[must_use]
    pub fn from_bytes(descriptor: &'a [u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*descriptor.get(at..)?.first_chunk()?));
        let mut rest = descriptor.get(HEAD..)?;
        let mut text = |at: usize| {
            let size = usize::try_from(word(at)?).ok().filter(|it| *it <= TEXT_MAX)?;
            let (text, behind) = rest.split_at_checked(size)?;
            rest = behind;
            core::str::from_utf8(text).ok()
        };
        let (name, reason, expected) = (text(24)?, text(28)?, text(32)?);
        let timeout = u64::from_le_bytes(*descriptor.get(16..)?.first_chunk()?);
        Some(Self { kind: word(8)?, flags: word(12)?, timeout, name, reason, expected })
    }
}

const fn put(bytes: &mut [u8], at: usize, from: &[u8]) {
    let mut i = 0;
    while i < from.len() {
        bytes[at + i] = from[i];
        i += 1;
    }
}

/// A path as `module_path!` has it, without the crate's name.
#[must_use]
pub const fn without_crate(path: &str) -> &str {
    let bytes = path.as_bytes();
    let mut i = 0;
    while i + 1 < bytes.len() {
        if bytes[i] == b':' && bytes[i + 1] == b':' {
            // Between two of a path's parts, so between two characters.
            return path.split_at(i + 2).1;
        }
        i += 1;
    }
    path
}

crate::hypercalls! {
    /// Runs the functions that an image lists.
    pub trait Tests {
        /// Calls the test whose entry's descriptor is at this guest-virtual address: the code that a
        /// guest with this result would end with, 0 where it passed.
        fn run(&mut self, entry: u64) -> Result<u32, Refusal>;

        /// Calls the fuzzed function whose entry's descriptor is at this guest-virtual address with
        /// these bytes. It returns nothing that would count.
        fn fuzz(&mut self, entry: u64, data: &[u8]) -> Result<(), Refusal>;
    }
}

#[cfg(test)]
mod form {
    use super::{Entry, HEAD, IGNORED, SHOULD_PANIC, TEST, without_crate};

    const ENTRY: Entry<'static> = Entry {
        kind: TEST,
        flags: IGNORED | SHOULD_PANIC,
        timeout: 2_000_000_000,
        name: "queue::wraps",
        reason: "slow",
        expected: "full",
    };
    const BYTES: [u8; ENTRY.size()] = ENTRY.to_bytes();

    fn descriptor() -> [u8; 8 + BYTES.len()] {
        let mut all = [0xff; 8 + BYTES.len()];
        all[8..].copy_from_slice(&BYTES);
        all
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        assert_eq!(Entry::from_bytes(&descriptor()), Some(ENTRY));
    }

    #[test]
    fn what_is_cut_or_claims_more_than_there_is_is_none() {
        let all = descriptor();
        for size in 0..HEAD + "queue::wrapsslowfull".len() {
            assert_eq!(Entry::from_bytes(&all[..size]), None, "{size}");
        }
        for at in [25, 29, 33] {
            let mut all = all;
            all[at] = 0xff;
            assert_eq!(Entry::from_bytes(&all), None, "{at}");
        }
        let mut all = all;
        all[HEAD] = 0xff;
        assert_eq!(Entry::from_bytes(&all), None, "not UTF-8");
    }

    #[test]
    fn a_path_loses_the_crates_name() {
        assert_eq!(without_crate("kvs::queue::tests::wraps"), "queue::tests::wraps");
        assert_eq!(without_crate("kvs::wraps"), "wraps");
        assert_eq!(without_crate("wraps"), "wraps");
    }
}
