//! Every kind of value crosses, as an argument and as a result, and what is none of its kind is
//! refused: a client over a server, without a guest.

#[path = "common/all.rs"]
mod all;
mod common;

use abi::calls::{Malformed, Refusal, WORDS_MAX};
use all::{Echo, Point, Shape};
use common::{Loopback, START, TOO_LARGE, refusal};

type Client = all::Client<Loopback<all::Server<Echo>>>;

fn client() -> Client {
    all::Client(Loopback::new(all::Server(Echo::default())))
}

/// A client whose words are changed on their way to the server.
fn meddled(there: fn(&mut [u64; WORDS_MAX])) -> Client {
    let mut client = client();
    client.0.there = there;
    client
}

/// A client whose result's words are changed on their way back.
fn lied_to(back: fn(&mut [u64; WORDS_MAX])) -> Client {
    let mut client = client();
    client.0.back = back;
    client
}

#[test]
fn integers_cross_at_their_extremes() {
    let mut client = client();
    macro_rules! cross {
        ($($integer:ident)*) => {$(
            for value in [$integer::MIN, 0, 1, $integer::MAX / 2, $integer::MAX] {
                assert_eq!(client.$integer(value), Ok(value));
            }
        )*};
    }
    cross!(u8 u16 u32 u64 i8 i16 i32 i64);
    for value in [-1, i8::MIN] {
        assert_eq!(client.i8(value), Ok(value));
        // The sign is extended over the whole word, as the contract has it.
        assert_eq!(client.0.sent, [i64::from(value).cast_unsigned()]);
    }
}

#[test]
fn an_integer_out_of_range_is_refused_and_named() {
    fn malformed<T>(word: u64) -> Result<T, Malformed> {
        Err(Malformed::value(word).of("value"))
    }
    const BELOW: u64 = (-129_i64).cast_unsigned();
    assert_eq!(meddled(|words| words[0] = 256).u8(0), malformed(256));
    assert_eq!(meddled(|words| words[0] = 0x1_0000).u16(0), malformed(0x1_0000));
    assert_eq!(meddled(|words| words[0] = 1 << 32).u32(0), malformed(1 << 32));
    assert_eq!(meddled(|words| words[0] = u64::MAX).u8(0), malformed(u64::MAX));
    // Signs that are not extended, and what is beyond either end.
    assert_eq!(meddled(|words| words[0] = 0xff).i8(0), malformed(0xff));
    assert_eq!(meddled(|words| words[0] = 128).i8(0), malformed(128));
    assert_eq!(meddled(|words| words[0] = BELOW).i8(0), malformed(BELOW));
    assert_eq!(meddled(|words| words[0] = 0x8000).i16(0), malformed(0x8000));
    assert_eq!(meddled(|words| words[0] = 0xffff_ffff).i32(0), malformed(0xffff_ffff));
}

#[test]
fn a_bool_is_0_or_1() {
    for value in [false, true] {
        assert_eq!(client().bool(value), Ok(value));
    }
    let malformed = Err(Malformed::value(2).of("value"));
    assert_eq!(meddled(|words| words[0] = 2).bool(true), malformed);
    assert_eq!(lied_to(|words| words[0] = 2).bool(true), Err(Malformed::value(2)));
}

#[test]
fn arrays_and_records_cross_word_by_word() {
    let mut client = client();
    assert_eq!(client.unit(()), Ok(()));
    assert_eq!(client.0.sent, []);
    assert_eq!(client.array([-1, 0, i16::MAX, i16::MIN]), Ok([-1, 0, i16::MAX, i16::MIN]));
    assert_eq!(client.empty_array([]), Ok([]));
    let twelve: [u64; 12] = core::array::from_fn(|i| u64::MAX - i as u64);
    assert_eq!(client.twelve(twelve), Ok(twelve));
    assert_eq!(client.0.sent, twelve);
    let corners = [Point { x: -1, y: i8::MIN }, Point { x: i32::MAX, y: 7 }];
    let shape = Shape { filled: true, corners, colour: [1, 2, 255] };
    assert_eq!(client.record(shape), Ok(shape));
    assert_eq!(client.0.sent.len(), 1 + 2 * 2 + 3);
}

#[test]
fn a_part_of_an_array_or_record_that_is_out_of_range_is_refused() {
    let shape = Shape::default();
    assert_eq!(refusal(meddled(|w| w[3] = 1 << 15).array([0; 4])), Some(Refusal::Value));
    assert_eq!(refusal(meddled(|w| w[0] = 2).record(shape)), Some(Refusal::Value));
    assert_eq!(refusal(meddled(|w| w[4] = 128).record(shape)), Some(Refusal::Value));
    assert_eq!(refusal(meddled(|w| w[7] = 256).record(shape)), Some(Refusal::Value));
    assert_eq!(refusal(lied_to(|w| w[7] = 256).record(shape)), Some(Refusal::Value));
}

#[test]
fn text_and_bytes_cross_at_any_length() {
    let mut client = client();
    for text in ["", "a", "g\u{fc}nstig \u{1f600}"] {
        assert_eq!(client.text(text), Ok(text));
        assert_eq!(client.bytes(text.as_bytes()), Ok(text.as_bytes()));
    }
    let (mut first, mut second) = (*b"abc", *b"12345");
    assert_eq!(client.reversed(&mut first, &mut second), Ok(305));
    assert_eq!((&first, &second), (b"cba", b"54321"));
    assert_eq!(client.reversed(&mut [], &mut second), Ok(5));
    assert_eq!(second, *b"12345");
}

#[test]
fn bytes_that_are_not_the_callers_are_refused() {
    fn malformed<T>(address: u64, size: u64) -> Result<T, Malformed> {
        Err(Malformed::pointer(address, size).of("value"))
    }
    assert_eq!(meddled(|w| w[0] = 0).bytes(b"abc"), malformed(0, 3));
    assert_eq!(meddled(|w| w[0] = u64::MAX).bytes(b"abc"), malformed(u64::MAX, 3));
    assert_eq!(meddled(|w| w[1] = 1000).text("abc"), malformed(START, 1000));
    let too_large = Malformed::too_large(TOO_LARGE, TOO_LARGE - 1).of("value");
    assert_eq!(meddled(|w| w[1] = TOO_LARGE).bytes(b"abc"), Err(too_large));
    assert_eq!(refusal(meddled(|w| w[1] = u64::MAX).text("abc")), Some(Refusal::TooLarge));
    // No bytes lie nowhere.
    assert_eq!(meddled(|w| (w[0], w[1]) = (u64::MAX, 0)).bytes(b"abc"), Ok(&b""[..]));
    let mut second = *b"12";
    let answer = meddled(|w| w[0] = 0).reversed(&mut [1], &mut second);
    assert_eq!(answer, Err(Malformed::pointer(0, 1).of("first")));
    assert_eq!(second, *b"12", "nothing is changed by a call that is refused");
}

#[test]
fn text_that_is_not_utf_8_is_refused_on_either_side() {
    // Two characters of two bytes, and a length that cuts the second in two.
    let cut = meddled(|w| w[1] = 3).text("\u{fc}\u{fc}").err();
    assert_eq!(cut, Some(Malformed::text(START, 3).of("value")));
    let lied_to = lied_to(|w| w[1] = 3).text("\u{fc}\u{fc}").err();
    assert_eq!(lied_to.map(|it| it.refusal), Some(Refusal::Text));
}

#[test]
fn options_and_results_cross_however_nested() {
    let mut client = client();
    let point = Point { x: 3, y: -4 };
    for value in [None, Some(point)] {
        assert_eq!(client.option(value), Ok(value));
    }
    for value in [None, Some(""), Some("text")] {
        assert_eq!(client.option_text(value), Ok(value));
    }
    assert_eq!(client.option_mut(None), Ok(u64::MAX));
    let mut bytes = *b"abc";
    assert_eq!(client.option_mut(Some(&mut bytes)), Ok(3));
    assert_eq!(bytes, *b"!!!");
    for value in [Ok(7), Err(point)] {
        assert_eq!(client.result(value), Ok(value));
    }
    for value in [Ok(&b"bytes"[..]), Err(true), Err(false)] {
        assert_eq!(client.result_bytes(value), Ok(value));
    }
    for value in [Ok("text"), Err(&b"bytes\xff"[..])] {
        assert_eq!(client.either(value), Ok(value));
    }
    let values =
        [None, Some(Ok(None)), Some(Ok(Some(255))), Some(Err(Ok("deep"))), Some(Err(Err(-128)))];
    for value in values {
        assert_eq!(client.nested(value), Ok(value));
    }
}

#[test]
fn a_tag_is_0_or_1_and_what_is_behind_it_is_looked_at_only_where_it_counts() {
    let malformed = Some(Refusal::Value);
    assert_eq!(refusal(meddled(|w| w[0] = 2).option(None)), malformed);
    assert_eq!(refusal(lied_to(|w| w[0] = 2).option(None)), malformed);
    assert_eq!(refusal(meddled(|w| w[0] = u64::MAX).result(Ok(7))), malformed);
    assert_eq!(refusal(lied_to(|w| w[0] = 2).result(Ok(7))), malformed);
    assert_eq!(refusal(meddled(|w| w[1] = 1 << 40).option(Some(Point::default()))), malformed);
    assert_eq!(refusal(meddled(|w| w[1] = 1 << 16).result(Ok(7))), malformed);
    assert_eq!(refusal(meddled(|w| w[0] = 3).nested(None)), malformed);
    assert_eq!(refusal(meddled(|w| w[1] = 3).nested(Some(Ok(None)))), malformed);
    assert_eq!(refusal(meddled(|w| w[2] = 3).nested(Some(Ok(None)))), malformed);
    assert_eq!(refusal(meddled(|w| w[2] = 3).nested(Some(Err(Ok(""))))), malformed);
    assert_eq!(refusal(meddled(|w| w[3] = 128).nested(Some(Err(Err(0))))), malformed);
    // None has no value, whatever its words are.
    assert_eq!(meddled(|w| w[1] = u64::MAX).option(None), Ok(None));
    assert_eq!(meddled(|w| (w[1], w[2]) = (0, u64::MAX)).option_text(None), Ok(None));
}

#[test]
fn a_refusal_is_an_error_to_the_caller_where_the_definition_has_one() {
    for value in Refusal::ALL {
        assert_eq!(client().refusal(value), Ok(value));
    }
    assert_eq!(refusal(meddled(|w| w[0] = 0).refusal(Refusal::Text)), Some(Refusal::Value));
    assert_eq!(refusal(meddled(|w| w[0] = 7).refusal(Refusal::Text)), Some(Refusal::Value));
    assert_eq!(client().refusable(true), Ok(Ok(true)));
    assert_eq!(meddled(|w| w[0] = 2).refusable(true), Ok(Err(Refusal::Value)));
    assert_eq!(lied_to(|w| (w[0], w[1]) = (1, 9)).refusable(true), Err(Malformed::value(9)));
    assert_eq!(client().refusable_text("text"), Ok(Ok("text")));
    assert_eq!(meddled(|w| w[0] = 0).refusable_text("text"), Ok(Err(Refusal::Pointer)));
    assert_eq!(meddled(|w| w[1] = 1).refusable_text("\u{fc}"), Ok(Err(Refusal::Text)));
    assert_eq!(meddled(|w| w[1] = TOO_LARGE).refusable_text("text"), Ok(Err(Refusal::TooLarge)));
}

#[test]
fn a_result_larger_than_its_space_is_refused() {
    let small = || all::Client(Loopback::new(all::Server(Echo::default())).room(3));
    assert_eq!(small().bytes(b"abc"), Ok(&b"abc"[..]));
    assert_eq!(small().bytes(b"abcd"), Err(Malformed::too_large(4, 3)));
    assert_eq!(small().option_text(Some("abcd")), Err(Malformed::too_large(4, 3)));
    assert_eq!(small().refusable_text("abcd"), Ok(Err(Refusal::TooLarge)));
    // None takes no space.
    assert_eq!(small().option_text(None), Ok(None));
    // A space that is not the caller's.
    let lost = meddled(|w| w[2] = 0).bytes(b"abc").err();
    assert_eq!(lost, Some(Malformed::pointer(0, 3)));
}

#[test]
fn a_result_that_is_nowhere_is_refused_by_the_client() {
    assert_eq!(refusal(lied_to(|w| w[0] = 0).bytes(b"abc")), Some(Refusal::Pointer));
    assert_eq!(refusal(lied_to(|w| w[1] = u64::MAX).text("abc")), Some(Refusal::TooLarge));
    assert_eq!(refusal(lied_to(|w| w[1] = 1 << 20).text("abc")), Some(Refusal::Pointer));
}

#[test]
fn an_unknown_call_is_refused() {
    use abi::calls::Serve;
    let count = u32::try_from(all::INTERFACE.methods.len()).expect("few");
    for method in [count, 255, u32::MAX] {
        let served = all::Server(Echo::default()).serve(method, &mut [0; WORDS_MAX], &mut ram());
        assert_eq!(served, Err(Malformed::call(Refusal::Unknown)));
    }
}

fn ram() -> common::Ram {
    common::Ram::default()
}

#[test]
fn a_refusal_says_what_it_is_about() {
    let says = |malformed: Malformed| malformed.to_string();
    assert_eq!(
        says(Malformed::pointer(0x10, 3).of("key")),
        "argument `key`: 3 bytes at 0x10, which the guest may not use so itself"
    );
    assert_eq!(
        says(Malformed::value(0x100).of("n")),
        "argument `n`: 0x100 is no value of its type"
    );
    assert_eq!(says(Malformed::text(0x10, 3)), "3 bytes at 0x10 are not UTF-8");
    assert_eq!(says(Malformed::too_large(4, 3)), "a result of 4 bytes, with space for 3");
    assert_eq!(
        says(Malformed::too_large(4, 3).of("key")),
        "argument `key`: 4 bytes, of which at most 3 are allowed"
    );
}
