//! What a wrong use of an attribute is told: an error at the place that is wrong.
//!
//! `TRYBUILD=overwrite cargo test -p portcall-guest-macros --test misuse` accepts what the compiler says.

#[test]
fn a_wrong_use_is_an_error_at_its_own_place() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/misuse/right.rs");
    cases.compile_fail("tests/misuse/test_*.rs");
    cases.compile_fail("tests/misuse/fuzz_*.rs");
}
