//! Definitions stand anywhere, with any names, and under the strictest lints.

#![forbid(unsafe_code)]
#![deny(missing_docs, warnings, clippy::pedantic)]

mod common;

use common::Loopback;

/// Names that the macro, or what it calls, uses as well.
pub mod awkward {
    abi::record! {
        /// A record called as something that the macro makes could be.
        #[derive(Debug, PartialEq)]
        pub struct Number {
            /// A field called as a variable of the macro's.
            pub to: u8,
            /// Another.
            pub from: u8,
        }
    }

    abi::hypercalls! {
        /// Awkward names.
        pub trait Awkward {
            /// Arguments called as the macro's own variables.
            fn arguments(&mut self, memory: u8, words: u8, to: u8, from: u8, this: u8) -> u64;
            /// As above.
            fn more(&mut self, transport: u8, result: u8, method: u8, held: u8, space: u8) -> u64;
            /// As above.
            fn others(&mut self, request: u8, malformed: u8, given: u8, number: u8) -> u64;
            /// The same for text and bytes.
            fn bytes(&mut self, memory: &str, words: &[u8], to: &mut [u8]) -> u64;
            /// As a constructor is called.
            fn new(&mut self) -> Number;
            /// As a function of the transport is called.
            fn call(&mut self, number: Number) -> u8;
            /// As the server's own is called.
            fn serve(&mut self) -> bool;
            /// As functions of the transport are called.
            fn lend(&mut self, lend: u8) -> u8;
            /// As above.
            fn reply(&mut self) -> u8;
            /// As above.
            fn space(&mut self) -> u8;
            /// As what is derived is called.
            fn clone(&mut self) -> u8;
            /// As a word of the language is called.
            fn r#match(&mut self, r#type: u8) -> u8;
        }
    }
}

struct Awkward;

fn digits<const N: usize>(digits: [u8; N]) -> u64 {
    digits.into_iter().fold(0, |sum, digit| sum * 10 + u64::from(digit))
}

impl awkward::Awkward for Awkward {
    fn arguments(&mut self, memory: u8, words: u8, to: u8, from: u8, this: u8) -> u64 {
        digits([memory, words, to, from, this])
    }

    fn more(&mut self, transport: u8, result: u8, method: u8, held: u8, space: u8) -> u64 {
        digits([transport, result, method, held, space])
    }

    fn others(&mut self, request: u8, malformed: u8, given: u8, number: u8) -> u64 {
        digits([request, malformed, given, number])
    }

    fn bytes(&mut self, memory: &str, words: &[u8], to: &mut [u8]) -> u64 {
        to.fill(b'x');
        (memory.len() * 100 + words.len() * 10 + to.len()) as u64
    }

    fn new(&mut self) -> awkward::Number {
        awkward::Number { to: 1, from: 2 }
    }

    fn call(&mut self, number: awkward::Number) -> u8 {
        number.to * 10 + number.from
    }

    fn serve(&mut self) -> bool {
        true
    }

    fn lend(&mut self, lend: u8) -> u8 {
        lend
    }

    fn reply(&mut self) -> u8 {
        5
    }

    fn space(&mut self) -> u8 {
        6
    }

    fn clone(&mut self) -> u8 {
        7
    }

    fn r#match(&mut self, r#type: u8) -> u8 {
        r#type
    }
}

#[test]
fn names_are_the_definitions_own() {
    let mut client = awkward::Client(Loopback::new(awkward::Server(Awkward)));
    assert_eq!(client.arguments(1, 2, 3, 4, 5), Ok(12345));
    assert_eq!(client.more(6, 7, 8, 9, 0), Ok(67890));
    assert_eq!(client.others(1, 2, 3, 4), Ok(1234));
    let mut to = [0; 3];
    assert_eq!(client.bytes("a", &[1, 2], &mut to), Ok(123));
    assert_eq!(to, *b"xxx");
    let number = client.new().expect("answered");
    assert_eq!(number, awkward::Number { to: 1, from: 2 });
    assert_eq!(client.call(number), Ok(12));
    assert_eq!(client.serve(), Ok(true));
    assert_eq!((client.lend(4), client.reply(), client.space()), (Ok(4), Ok(5), Ok(6)));
    assert_eq!((client.clone(), client.r#match(8)), (Ok(7), Ok(8)));
}

mod none {
    abi::hypercalls! {
        /// An interface without calls.
        pub trait None {}
    }
}

#[test]
fn an_interface_may_have_no_calls() {
    use abi::calls::{Malformed, Refusal, Serve};
    struct Nobody;
    impl none::None for Nobody {}
    let _client = none::Client(Loopback::new(none::Server(Nobody)));
    let served = none::Server(Nobody).serve(0, &mut [0; 12], &mut common::Ram::default());
    assert_eq!(served, Err(Malformed::call(Refusal::Unknown)));
    assert_eq!(none::INTERFACE.methods, []);
}

/// Sixty calls, and an implementation of them.
macro_rules! many {
    ($($name:ident)*) => {
        mod many {
            abi::hypercalls! {
                /// An interface of many calls.
                pub trait Many {
                    $(
                        /// The same value, and the text's length.
                        fn $name(&mut self, value: u64, text: &str) -> u64;
                    )*
                }
            }
        }

        struct Many;

        impl many::Many for Many {
            $(
                fn $name(&mut self, value: u64, text: &str) -> u64 {
                    assert_eq!(text, stringify!($name));
                    value
                }
            )*
        }

        #[test]
        fn an_interface_may_have_many_calls() {
            let mut client = many::Client(Loopback::new(many::Server(Many)));
            let mut value = 0;
            $(
                value += 1;
                assert_eq!(client.$name(value, stringify!($name)), Ok(value));
            )*
            assert_eq!(value, 60);
        }
    };
}
many! {
    a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 b0 b1 b2 b3 b4 b5 b6 b7 b8 b9 c0 c1 c2 c3 c4 c5 c6 c7 c8 c9
    d0 d1 d2 d3 d4 d5 d6 d7 d8 d9 e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 f0 f1 f2 f3 f4 f5 f6 f7 f8 f9
}

/// Only one side of it is used, and that not fully.
mod unused {
    abi::hypercalls! {
        /// An interface of this module alone.
        trait Unused {
            /// Nobody calls it.
            fn nothing(&mut self, value: Option<&mut [u8]>);
        }
    }
}

/// Types with the names that type parameters usually have.
mod letters {
    abi::record! {
        /// A number.
        #[derive(Debug, Default, PartialEq)]
        pub(crate) struct S {
            /// It.
            pub value: u64,
        }
    }
    abi::record! {
        /// Another.
        #[derive(Debug, Default, PartialEq)]
        pub(crate) struct T {
            /// It.
            pub value: S,
        }
    }
    /// A third.
    pub(crate) type M = [u8; 2];

    abi::hypercalls! {
        /// Of those types.
        pub(crate) trait Letters {
            /// All of them.
            fn all(&mut self, s: S, t: T, m: M) -> Option<T>;
        }
    }
}

struct Any;

impl letters::Letters for Any {
    fn all(&mut self, s: letters::S, t: letters::T, m: letters::M) -> Option<letters::T> {
        (s == t.value && m == [1, 2]).then_some(t)
    }
}

#[test]
fn a_definitions_types_may_have_any_name() {
    let mut client = letters::Client(Loopback::new(letters::Server(Any)));
    let s = letters::S { value: 7 };
    let t = letters::T { value: s };
    assert_eq!(client.all(s, t, [1, 2]), Ok(Some(t)));
}
