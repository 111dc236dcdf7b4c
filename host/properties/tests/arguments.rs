//! Arguments and results of every kind come out as they went in: from a client, through words and
//! bytes in memory, to a server and back.

#[path = "../../../guest/abi/tests/common/all.rs"]
mod all;
#[path = "../../../guest/abi/tests/common/mod.rs"]
mod common;

use abi::calls::{Malformed, Refusal};
use all::{Echo, Point, Shape};
use common::Loopback;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, proptest};
use proptest::result::maybe_ok;
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq};

type Client = all::Client<Loopback<all::Server<Echo>>>;

fn client() -> Client {
    all::Client(Loopback::new(all::Server(Echo::default())).room(4096))
}

fn point() -> impl Strategy<Value = Point> {
    any::<(i32, i8)>().prop_map(|(x, y)| Point { x, y })
}

fn shape() -> impl Strategy<Value = Shape> {
    let parts = (any::<bool>(), [point(), point()], any::<[u8; 3]>());
    parts.prop_map(|(filled, corners, colour)| Shape { filled, corners, colour })
}

proptest! {
    #[test]
    fn integers_and_bools(
        unsigned in any::<(u8, u16, u32, u64)>(),
        signed in any::<(i8, i16, i32, i64)>(),
        flag in any::<bool>(),
    ) {
        let mut client = client();
        prop_assert_eq!(client.u8(unsigned.0), Ok(unsigned.0));
        prop_assert_eq!(client.u16(unsigned.1), Ok(unsigned.1));
        prop_assert_eq!(client.u32(unsigned.2), Ok(unsigned.2));
        prop_assert_eq!(client.u64(unsigned.3), Ok(unsigned.3));
        prop_assert_eq!(client.i8(signed.0), Ok(signed.0));
        prop_assert_eq!(client.i16(signed.1), Ok(signed.1));
        prop_assert_eq!(client.i32(signed.2), Ok(signed.2));
        prop_assert_eq!(client.i64(signed.3), Ok(signed.3));
        prop_assert_eq!(client.bool(flag), Ok(flag));
    }

    #[test]
    fn a_word_is_a_value_exactly_where_the_type_has_it(word in any::<u64>(), shift in 0..64_u32) {
        let word = word >> shift;
        // What the words are on their way is decided here, and the client sends a 0.
        let mut client = client();
        thread_local!(static WORD: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
        WORD.set(word);
        client.0.there = |words| words[0] = WORD.get();
        let refused = Err(Malformed::value(word).of("value"));
        prop_assert_eq!(client.u8(0), u8::try_from(word).or(refused.map(|()| 0)));
        prop_assert_eq!(client.u32(0), u32::try_from(word).or(refused.map(|()| 0)));
        let signed = word.cast_signed();
        prop_assert_eq!(client.i8(0), i8::try_from(signed).or(refused.map(|()| 0)));
        prop_assert_eq!(client.i32(0), i32::try_from(signed).or(refused.map(|()| 0)));
        let flag = match word {
            0 => Ok(false),
            1 => Ok(true),
            _ => refused.map(|()| false),
        };
        prop_assert_eq!(client.bool(false), flag);
    }

    #[test]
    fn arrays_and_records(
        array in any::<[i16; 4]>(),
        twelve in any::<[u64; 12]>(),
        shape in shape(),
    ) {
        let mut client = client();
        prop_assert_eq!(client.array(array), Ok(array));
        prop_assert_eq!(client.twelve(twelve), Ok(twelve));
        prop_assert_eq!(client.record(shape), Ok(shape));
    }

    #[test]
    fn text_and_bytes(text in ".{0,200}", bytes in vec(any::<u8>(), 0..1000)) {
        let mut client = client();
        prop_assert_eq!(client.text(&text), Ok(&*text));
        prop_assert_eq!(client.bytes(&bytes), Ok(&*bytes));
        prop_assert_eq!(client.refusable_text(&text).map(|it| it.is_ok()), Ok(true));
    }

    #[test]
    fn a_result_comes_where_there_is_room_and_is_refused_where_not(
        bytes in vec(any::<u8>(), 0..200),
        room in 0..200_u64,
    ) {
        let mut client = client();
        client.0 = Loopback::new(all::Server(Echo::default())).room(room);
        let size = bytes.len() as u64;
        let expected = if size <= room { Ok(&*bytes) } else { Err(Malformed::too_large(size, room)) };
        prop_assert_eq!(client.bytes(&bytes), expected);
    }

    #[test]
    fn buffers_that_are_written(
        first in vec(any::<u8>(), 0..100),
        second in vec(any::<u8>(), 0..100),
        there in any::<bool>(),
    ) {
        let mut client = client();
        let (mut one, mut other) = (first.clone(), second.clone());
        let sizes = (first.len() * 100 + second.len()) as u64;
        prop_assert_eq!(client.reversed(&mut one, &mut other), Ok(sizes));
        one.reverse();
        other.reverse();
        prop_assert_eq!((&one, &other), (&first, &second));
        let given = there.then_some(&mut *one);
        let expected = if there { first.len() as u64 } else { u64::MAX };
        prop_assert_eq!(client.option_mut(given), Ok(expected));
        let expected = if there { vec![b'!'; first.len()] } else { first };
        prop_assert_eq!(one, expected);
    }

    #[test]
    fn options_and_results(
        option in option::of(point()),
        result in maybe_ok(any::<u16>(), point()),
        text in option::of(".{0,40}"),
        bytes in maybe_ok(vec(any::<u8>(), 0..100), any::<bool>()),
        either in maybe_ok(".{0,40}", vec(any::<u8>(), 0..100)),
        nested in option::of(maybe_ok(option::of(any::<u8>()), maybe_ok(".{0,40}", any::<i8>()))),
    ) {
        let mut client = client();
        prop_assert_eq!(client.option(option), Ok(option));
        prop_assert_eq!(client.result(result), Ok(result));
        prop_assert_eq!(client.option_text(text.as_deref()), Ok(text.as_deref()));
        let bytes = bytes.as_deref().map_err(|flag| *flag);
        prop_assert_eq!(client.result_bytes(bytes), Ok(bytes));
        let either = either.as_ref().map(String::as_str).map_err(Vec::as_slice);
        prop_assert_eq!(client.either(either), Ok(either));
        let nested = nested.as_ref().map(|it| {
            it.as_ref().map(|some| *some).map_err(|it| it.as_ref().map(String::as_str).map_err(|n| *n))
        });
        prop_assert_eq!(client.nested(nested), Ok(nested));
    }

    #[test]
    fn refusals(refusal in select(Refusal::ALL.to_vec()), flag in any::<bool>()) {
        let mut client = client();
        prop_assert_eq!(client.refusal(refusal), Ok(refusal));
        let answer = client.refusable(flag);
        prop_assert!(answer.is_ok(), "{:?}", answer);
    }
}
