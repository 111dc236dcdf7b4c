//! What an image says of itself in the contract's ELF notes.

use crate::elf::CONTEXT;
use crate::error::ImageError;
use abi::calls::id_of;
use abi::note;
use goblin::elf::note::NoteDataIterator;

/// The most interfaces that an image may name, for each direction.
const MAX_INTERFACES: usize = 64;

/// The most calls of one: a number has 8 bits for them.
const MAX_METHODS: usize = 256;

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

    /// Name and calls, each ended by a NUL.
    fn parse(descriptor: &[u8]) -> Option<Self> {
        let mut texts = descriptor
            .strip_suffix(b"\0")?
            .split(|byte| *byte == 0)
            // Shown to people, so no control characters: they are identifiers and types.
            .map(|text| str::from_utf8(text).ok().filter(|it| !it.chars().any(char::is_control)));
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
    /// The interfaces that it calls.
    pub calls: Vec<NotedInterface>,
    /// The interfaces that it answers.
    pub serves: Vec<NotedInterface>,
}

impl Notes {
    /// Reads a segment of notes; another owner's are no business of ours.
    pub(crate) fn read(&mut self, data: &[u8], align: u64) -> Result<(), ImageError> {
        let ctx = (if align == 8 { 8 } else { 4 }, CONTEXT);
        let notes = NoteDataIterator { data, size: data.len(), offset: 0, ctx };
        let name = note::NAME.strip_suffix(b"\0").unwrap_or(note::NAME);
        let ours = notes.map_while(Result::ok).filter(|found| found.name.as_bytes() == name);
        for found in ours {
            match found.n_type {
                note::TYPE_VERSION => check_version(found.desc)?,
                note::TYPE_CALLS => add(&mut self.calls, found.desc)?,
                note::TYPE_SERVES => add(&mut self.serves, found.desc)?,
                _ => {}
            }
        }
        Ok(())
    }
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
    use super::NotedInterface;

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
    fn a_damaged_interface_is_none() {
        for bytes in [&b""[..], b"\0", b"Store", b"\0put()\0", b"St\xffre\0", b"St\x1bre\0"] {
            assert_eq!(NotedInterface::parse(bytes), None, "{bytes:?}");
        }
        let mut long = b"Store\0".to_vec();
        long.extend(b"call()\0".repeat(256));
        assert!(NotedInterface::parse(&long).is_some());
        long.extend(b"call()\0");
        assert_eq!(NotedInterface::parse(&long), None);
    }
}
