//! Answers a call of every kind, and then makes each of its guest.

use calls::kinds::{Client, Kinds, Server, Shape, Spot};
use portcall::Vm;
use portcall::abi::calls::Refusal;
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

/// Gives back what it is given.
#[derive(Default)]
struct Echo {
    calls: u64,
    text: String,
    bytes: Vec<u8>,
}

fn ask_guest(vm: &mut Vm) -> Result<(), Box<dyn Error>> {
    let mut client = Client(vm.door());
    client.nothing()?;
    client.only_there(41)?;
    assert_eq!(client.only_back()?, 42);
    assert_eq!(client.signed(i8::MIN, i64::MIN)?, [-128, i64::MIN]);
    assert_eq!(client.signed(i8::MAX, -1)?, [127, -1]);
    assert_eq!(client.unsigned(u8::MAX, u64::MAX)?, [255, u64::MAX]);
    assert_eq!(client.three(words())?, words());
    assert_eq!(client.four(words())?, words());
    assert_eq!(client.five([1, 2, 3, 4, 5])?, 15);
    assert_eq!(client.six([1, 2, 3, 4, 5, 6])?, [1, 6]);
    assert_eq!(client.seven(10)?, [10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(client.eight(words())?, words());
    assert!(!client.nine(words())?);
    assert_eq!(client.ten(words())?, words());
    assert_eq!(client.eleven(words())?, words());
    assert_eq!(client.twelve(words())?, words());
    let place = Spot { x: -1, y: 300 };
    let shape = Shape { filled: true, place, colour: [1, 2, 255] };
    assert_eq!(client.shape(shape)?, shape);
    for value in [None, Some(Ok(place)), Some(Err(None)), Some(Err(Some(true)))] {
        assert_eq!(client.nested(value)?, value);
    }
    for text in ["", "a", "g\u{fc}nstig", "a longer one, of more than 33 bytes"] {
        assert_eq!(client.text(text)?, text);
        assert_eq!(client.bytes(text.as_bytes())?, text.as_bytes());
        assert_eq!(client.refusable(text)?, Ok(text));
        for value in [None, Some(Ok(text)), Some(Err(text.as_bytes()))] {
            assert_eq!(client.either(value)?, value);
        }
    }
    let (mut first, mut second) = (*b"abc", *b"1234567");
    client.reverse(&mut first, &mut second)?;
    assert_eq!((&first, &second), (b"cba", b"7654321"));
    writeln!(stdout(), "the guest answers right")?;
    Ok(())
}

fn main() -> ExitCode {
    cli::Experiment::new().vm(|vm| vm.serve(Server(Echo::default()))).after(ask_guest).main()
}

/// Words that are all different, and large, and not sorted.
fn words<const N: usize>() -> [u64; N] {
    core::array::from_fn(|i| u64::MAX / (i as u64 + 1))
}

impl Kinds for Echo {
    fn nothing(&mut self) {
        self.calls += 1;
    }

    fn only_there(&mut self, value: u64) {
        self.calls += value;
    }

    fn only_back(&mut self) -> u64 {
        self.calls
    }

    fn signed(&mut self, a: i8, b: i64) -> [i64; 2] {
        [a.into(), b]
    }

    fn unsigned(&mut self, a: u8, b: u64) -> [u64; 2] {
        [a.into(), b]
    }

    fn three(&mut self, words: [u64; 3]) -> [u64; 3] {
        words
    }

    fn four(&mut self, words: [u64; 4]) -> [u64; 4] {
        words
    }

    fn five(&mut self, words: [u64; 5]) -> u64 {
        words.iter().sum()
    }

    fn six(&mut self, words: [u64; 6]) -> [u64; 2] {
        [words[0], words[5]]
    }

    fn seven(&mut self, first: u64) -> [u64; 7] {
        core::array::from_fn(|i| first + i as u64)
    }

    fn eight(&mut self, words: [u64; 8]) -> [u64; 8] {
        words
    }

    fn nine(&mut self, words: [u64; 9]) -> bool {
        words.is_sorted()
    }

    fn ten(&mut self, words: [u64; 10]) -> [u64; 10] {
        words
    }

    fn eleven(&mut self, words: [u64; 11]) -> [u64; 11] {
        words
    }

    fn twelve(&mut self, words: [u64; 12]) -> [u64; 12] {
        words
    }

    fn shape(&mut self, shape: Shape) -> Shape {
        shape
    }

    fn nested(
        &mut self,
        value: Option<Result<Spot, Option<bool>>>,
    ) -> Option<Result<Spot, Option<bool>>> {
        value
    }

    fn text(&mut self, text: &str) -> &str {
        text.clone_into(&mut self.text);
        &self.text
    }

    fn bytes(&mut self, bytes: &[u8]) -> &[u8] {
        bytes.clone_into(&mut self.bytes);
        &self.bytes
    }

    fn reverse(&mut self, first: &mut [u8], second: &mut [u8]) {
        first.reverse();
        second.reverse();
    }

    fn either(&mut self, value: Option<Result<&str, &[u8]>>) -> Option<Result<&str, &[u8]>> {
        match value? {
            Ok(text) => Some(Ok(self.text(text))),
            Err(bytes) => Some(Err(self.bytes(bytes))),
        }
    }

    fn refusable(&mut self, text: &str) -> Result<&str, Refusal> {
        Ok(self.text(text))
    }
}
