#[macro_use]
extern crate guest;

#[test]
fn plain() {}

#[test]
#[ignore]
fn ignored() {}

#[test]
#[ignore = "why"]
#[should_panic(expected = "text")]
fn both() {}

#[guest::test(timeout = "2s")]
#[should_panic = "text"]
fn timed() {}

#[guest::test(timeout = "250ms")]
fn with_a_result() -> Result<(), u8> {
    Err(1)
}

#[guest::fuzz]
fn fuzzed(_: &[u8]) {}

#[guest::fuzz(timeout = "2s")]
fn fuzzed_with_a_lifetime<'a>(_: &'a [u8]) {}

fn main() {}
