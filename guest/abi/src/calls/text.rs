//! Interfaces as text: what the ELF note holds, what a mismatch shows.
//!
//! Never of `stringify!`, whose text changes with compilers: all of it is made of the table, and
//! by one writer, which constants can run as well.

use super::{Interface, Kind, Method};
use core::fmt;

/// Text in the making: keeps the part of it from `from` on that fits, and counts all of it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    from: usize,
    used: usize,
}

impl<const N: usize> Text<N> {
    const fn new(from: usize) -> Self {
        Self { bytes: [0; N], from, used: 0 }
    }

    /// What there is of it, if it begins at 0 and is UTF-8.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        let used = if self.used < N { self.used } else { N };
        match core::str::from_utf8(self.bytes.split_at(used).0) {
            Ok(text) => text,
            Err(_) => "",
        }
    }

    const fn byte(&mut self, byte: u8) {
        if self.used >= self.from && self.used - self.from < N {
            self.bytes[self.used - self.from] = byte;
        }
        self.used += 1;
    }

    const fn text(&mut self, text: &str) {
        let (bytes, mut i) = (text.as_bytes(), 0);
        while i < bytes.len() {
            self.byte(bytes[i]);
            i += 1;
        }
    }

    const fn number(&mut self, number: usize) {
        if number >= 10 {
            self.number(number / 10);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a digit")]
        self.byte(b'0' + (number % 10) as u8);
    }

    /// `name: kind, name: kind`.
    const fn list(&mut self, list: &[(&str, Kind)]) {
        let mut i = 0;
        while i < list.len() {
            if i > 0 {
                self.text(", ");
            }
            self.text(list[i].0);
            self.text(": ");
            self.kind(&list[i].1);
            i += 1;
        }
    }

    const fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::Unit => self.text("()"),
            Kind::Bool => self.text("bool"),
            Kind::Unsigned(bits) => {
                self.byte(b'u');
                self.number(*bits as usize);
            }
            Kind::Signed(bits) => {
                self.byte(b'i');
                self.number(*bits as usize);
            }
            Kind::Text => self.text("&str"),
            Kind::Bytes => self.text("&[u8]"),
            Kind::BytesMut => self.text("&mut [u8]"),
            Kind::Array(element, count) => {
                self.byte(b'[');
                self.kind(element);
                self.text("; ");
                self.number(*count);
                self.byte(b']');
            }
            Kind::Struct(this) => {
                self.text(this.name);
                self.text(" { ");
                self.list(this.fields);
                self.text(" }");
            }
            Kind::Option(some) => {
                self.text("Option<");
                self.kind(some);
                self.byte(b'>');
            }
            Kind::Result(ok, err) => {
                self.text("Result<");
                self.kind(ok);
                self.text(", ");
                self.kind(err);
                self.byte(b'>');
            }
            Kind::Refusal => self.text("Refusal"),
            Kind::Encoded(name) => self.text(name),
        }
    }

    /// `name(argument: kind) -> kind`.
    const fn method(&mut self, method: &Method) {
        self.text(method.name);
        self.byte(b'(');
        self.list(method.arguments);
        self.byte(b')');
        if !matches!(method.result, Kind::Unit) {
            self.text(" -> ");
            self.kind(&method.result);
        }
    }

    /// The name and the methods, each ended by a NUL.
    const fn interface(&mut self, interface: &Interface) {
        self.text(interface.name);
        self.byte(0);
        let mut i = 0;
        while i < interface.methods.len() {
            self.method(&interface.methods[i]);
            self.byte(0);
            i += 1;
        }
    }
}

/// What a definition is told that has a call with too many words.
#[doc(hidden)]
#[must_use]
pub const fn too_many_words(method: &Method) -> Text<512> {
    let mut text = Text::new(0);
    text.text("`");
    text.text(method.name);
    text.text("` takes ");
    text.number(method.argument_words());
    text.text(" words for its arguments and ");
    text.number(method.result.words());
    text.text(
        " for its result, and at most 12 cross each way: &str and &[u8] take 2, as results 2 more \
         among the arguments, an Option 1 more than what is in it, a struct those of its fields",
    );
    text
}

/// An interface as the ELF note has it: its name, then its calls in order, each ended by a NUL.
pub mod note {
    use super::{Interface, Text};

    /// How many bytes that is.
    #[must_use]
    pub const fn size(interface: &Interface) -> usize {
        let mut text = Text::<0>::new(0);
        text.interface(interface);
        text.used
    }

    /// The bytes; `N` is their [`size`].
    #[must_use]
    pub const fn bytes<const N: usize>(interface: &Interface) -> [u8; N] {
        let mut text = Text::<N>::new(0);
        text.interface(interface);
        text.bytes
    }
}

/// Writes all of a text, a piece at a time, without an allocation.
fn write_pieces(f: &mut fmt::Formatter<'_>, write: impl Fn(&mut Text<64>)) -> fmt::Result {
    let mut from = 0;
    loop {
        let mut text = Text::new(from);
        write(&mut text);
        let piece = text.used.saturating_sub(from).min(text.bytes.len());
        // Names are identifiers, of which one that is not ASCII may be cut in two: byte by byte
        // then, as an escape.
        for chunk in text.bytes[..piece].utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        from += piece;
        if from >= text.used {
            return Ok(());
        }
    }
}

/// As its definition has it: `put(key: &str, value: &[u8]) -> u64`.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pieces(f, |text| text.method(self))
    }
}

/// As its definition has it: `Option<&[u8]>`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pieces(f, |text| text.kind(self))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::note;
    use crate::calls::{Interface, Kind, Method, Struct};
    use std::string::ToString;

    const POINT: Struct =
        Struct { name: "Point", fields: &[("x", Kind::Signed(32)), ("y", Kind::Signed(32))] };
    const PLOT: Interface = Interface {
        name: "Plot",
        methods: &[
            Method {
                name: "draw_a_line_that_has_a_name_longer_than_one_piece_of_text",
                arguments: &[
                    ("from", Kind::Struct(&POINT)),
                    ("name", Kind::Option(&Kind::Text)),
                    ("colour", Kind::Array(&Kind::Unsigned(8), 12)),
                ],
                result: Kind::Result(&Kind::Bytes, &Kind::Refusal),
            },
            Method { name: "clear", arguments: &[], result: Kind::Unit },
        ],
    };
    const LINE: &str = "draw_a_line_that_has_a_name_longer_than_one_piece_of_text(from: Point { x: i32, \
                        y: i32 }, name: Option<&str>, colour: [u8; 12]) -> Result<&[u8], Refusal>";

    #[test]
    fn a_call_reads_as_its_definition() {
        assert_eq!(PLOT.methods[0].to_string(), LINE);
        assert_eq!(PLOT.methods[1].to_string(), "clear()");
    }

    #[test]
    fn the_note_has_the_same_text() {
        const BYTES: [u8; note::size(&PLOT)] = note::bytes(&PLOT);
        assert_eq!(BYTES, *std::format!("Plot\0{LINE}\0clear()\0").as_bytes());
    }

    #[test]
    fn words_are_counted() {
        // 2 of the point, 3 of the name, 12 of the colour, 2 for where the result goes.
        assert_eq!(PLOT.methods[0].argument_words(), 19);
        assert_eq!(PLOT.methods[0].result.words(), 3);
        assert_eq!(PLOT.methods[1].argument_words(), 0);
    }
}
