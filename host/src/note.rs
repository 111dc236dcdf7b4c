//! What an image says of itself in the contract's ELF notes, and whether it agrees with what is here.

use crate::elf::CONTEXT;
use crate::error::{ImageError, InterfaceError};
use abi::calls::{Interface, METHODS_MAX, id_of};
use abi::note;
use goblin::elf::note::NoteDataIterator;

/// The most interfaces that an image may name, for each direction.
const MAX_INTERFACES: usize = 64;

/// The most calls of one.
const MAX_METHODS: usize = METHODS_MAX as usize;

/// The most bytes of one's text.
const MAX_TEXT: usize = 64 * 1024;

/// Whether a definition has such a character.
fn is_of_a_definition(c: char) -> bool {
    c.is_alphanumeric() || " _():,-<>[]{}&;".contains(c)
}

/// An interface as an image has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedInterface {
    /// Its name.
    pub name: String,
    /// Its calls in order, each as its definition has it: `put(key: &str, value: &[u8]) -> u64`.
    pub methods: Vec<String>,
}

impl NotedInterface {
    /// The number of its calls' interface part.
    #[must_use]
    pub fn id(&self) -> u32 {
        id_of(&self.name)
    }

    /// A call's name: what its text has before the arguments.
    #[must_use]
    pub fn method_name(&self, method: u32) -> Option<&str> {
        let text = self.methods.get(usize::try_from(method).ok()?)?;
        text.split('(').next()
    }

    /// Compares what the image calls with what is here: every call of its has to be the same in
    /// the same place. More here is no matter.
    pub(crate) fn is_called_as(&self, here: &Interface) -> Result<(), InterfaceError> {
        self.agrees(here, self.methods.len())
    }

    /// Compares what the host calls with what the image answers, in the same way.
    pub(crate) fn is_answered_as(&self, here: &Interface) -> Result<(), InterfaceError> {
        self.agrees(here, here.methods.len())
    }

    /// Whether the first `count` calls are the same; an error names those that are not.
    fn agrees(&self, here: &Interface, count: usize) -> Result<(), InterfaceError> {
        let difference = |i: usize| match (self.methods.get(i), here.methods.get(i)) {
            (Some(theirs), Some(ours)) if *theirs == ours.to_string() => None,
            (Some(theirs), Some(ours)) => {
                Some(format!("call {i} is {theirs} in the image, {ours} here"))
            }
            (Some(theirs), None) => Some(format!("call {i}, {theirs}, is only in the image")),
            (None, ours) => Some(format!("call {i}, {}, is only here", ours?)),
        };
        let differences: Vec<String> = (0..count).filter_map(difference).collect();
        if differences.is_empty() {
            return Ok(());
        }
        let (interface, differences) = (self.name.clone(), differences.join("; "));
        Err(InterfaceError::Differs { interface, differences })
    }

    /// Name and calls, each ended by a NUL.
    fn parse(descriptor: &[u8]) -> Option<Self> {
        if descriptor.len() > MAX_TEXT {
            return None;
        }
        let mut texts = descriptor
            .strip_suffix(b"\0")?
            .split(|byte| *byte == 0)
            // Shown to people: identifiers and types, and nothing that could pass for something else.
            .map(|text| str::from_utf8(text).ok().filter(|it| it.chars().all(is_of_a_definition)));
        let name = texts.next()??.to_owned();
        let methods = texts.take(MAX_METHODS + 1).map(|text| text.map(str::to_owned));
        let methods: Vec<String> = methods.collect::<Option<_>>()?;
        let right = !name.is_empty() && methods.len() <= MAX_METHODS;
        right.then_some(Self { name, methods })
    }
}

/// What an image's notes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Whether `calls` is all that the image calls: it was built against this contract, by its
    /// version, or names some.
    pub complete: bool,
    /// The interfaces that it calls.
    pub calls: Vec<NotedInterface>,
    /// The interfaces that it answers.
    pub serves: Vec<NotedInterface>,
}

impl Notes {
    /// Reads a segment of notes; another owner's are no business of ours.
    pub(crate) fn read(&mut self, data: &[u8], align: u64) -> Result<(), ImageError> {
        let name = name();
        for found in iterate(data, align) {
            let Ok(found) = found else {
                // Another owner's damage is no business of ours, either.
                let ours = data.windows(note::NAME.len()).any(|it| it == note::NAME);
                return if ours { Err(ImageError::BadNote) } else { Ok(()) };
            };
            if found.name.as_bytes() != name {
                continue;
            }
            match found.n_type {
                note::TYPE_VERSION => {
                    check_version(found.desc)?;
                    self.complete = true;
                }
                note::TYPE_CALLS => {
                    add(&mut self.calls, found.desc)?;
                    self.complete = true;
                }
                note::TYPE_SERVES => add(&mut self.serves, found.desc)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Our notes' name.
fn name() -> &'static [u8] {
    note::NAME.strip_suffix(b"\0").unwrap_or(note::NAME)
}

const fn iterate(data: &[u8], align: u64) -> NoteDataIterator<'_> {
    let ctx = (if align == 8 { 8 } else { 4 }, CONTEXT);
    NoteDataIterator { data, size: data.len(), offset: 0, ctx }
}

/// Those of ours of a type, as the offset and the bytes of each one's descriptor.
pub(crate) fn of_type(
    data: &[u8],
    align: u64,
    kind: u32,
) -> impl Iterator<Item = (u64, &[u8])> + use<'_> {
    // Behind what is damaged nobody knows where the next one begins.
    let readable = iterate(data, align).map_while(Result::ok);
    let ours = readable.filter(move |it| it.n_type == kind && it.name.as_bytes() == name());
    ours.map(|it| ((it.desc.as_ptr().addr() - data.as_ptr().addr()) as u64, it.desc))
}

fn check_version(descriptor: &[u8]) -> Result<(), ImageError> {
    let image = descriptor.try_into().map(u32::from_le_bytes).map_err(|_| ImageError::BadNote)?;
    if image != abi::VERSION {
        return Err(ImageError::ContractVersion { image, host: abi::VERSION });
    }
    Ok(())
}

fn add(list: &mut Vec<NotedInterface>, descriptor: &[u8]) -> Result<(), ImageError> {
    let interface = NotedInterface::parse(descriptor).ok_or(ImageError::BadNote)?;
    if list.len() >= MAX_INTERFACES {
        return Err(ImageError::BadNote);
    }
    list.push(interface);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{NotedInterface, Notes};
    use abi::note;

    #[test]
    fn an_interface_is_read_back() {
        let read = NotedInterface::parse(b"Store\0put(key: &str) -> u64\0clear()\0");
        let read = read.expect("right");
        assert_eq!(read.name, "Store");
        assert_eq!(read.methods, ["put(key: &str) -> u64", "clear()"]);
        assert_eq!(read.method_name(0), Some("put"));
        assert_eq!(read.method_name(1), Some("clear"));
        assert_eq!(read.method_name(2), None);
        let empty = NotedInterface::parse(b"Empty\0").expect("right");
        assert_eq!(empty.methods, [""; 0]);
    }

    #[test]
    fn a_damaged_note_of_ours_is_an_error_and_another_owners_is_not() {
        let read = |data: &[u8]| {
            let mut notes = Notes::default();
            notes.read(data, 4).map(|()| notes)
        };
        let right: [u8; 32] = note::to_bytes(note::TYPE_CALLS, b"Store\0");
        assert_eq!(read(&right).expect("right").calls.len(), 1);
        for (at, byte) in [(4, 0x7f), (7, 0x80), (7, 0xff), (0, 0x7f), (3, 0x80)] {
            let mut damaged: [u8; 28] = note::to_bytes(note::TYPE_VERSION, &[1, 0, 0, 0]);
            damaged[at] = byte;
            assert!(read(&damaged).is_err(), "{at}");
            damaged[12..20].copy_from_slice(b"Somebody");
            assert_eq!(read(&damaged).ok(), Some(Notes::default()), "{at}");
        }
    }

    #[test]
    fn a_damaged_interface_is_none() {
        let turned = "Store\0put\u{202e}()\0".as_bytes();
        let wrong = [&b""[..], b"\0", b"Store", b"\0put()\0", b"St\xffre\0", b"St\x1bre\0", turned];
        for bytes in wrong {
            assert_eq!(NotedInterface::parse(bytes), None, "{bytes:?}");
        }
        let long = [b"Store\0".to_vec(), vec![b'x'; 64 * 1024], vec![0]].concat();
        assert_eq!(NotedInterface::parse(&long), None);
        let mut long = b"Store\0".to_vec();
        long.extend(b"call()\0".repeat(256));
        assert!(NotedInterface::parse(&long).is_some());
        long.extend(b"call()\0");
        assert_eq!(NotedInterface::parse(&long), None);
    }
}
