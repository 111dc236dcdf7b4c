//! What a wrong definition is told: a compiler's own error, at the line that is wrong.
//!
//! `TRYBUILD=overwrite cargo test -p portcall-abi --test misuse` accepts what the compiler says.

#[test]
fn a_wrong_definition_is_an_error_at_its_own_line() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/misuse/right.rs");
    cases.compile_fail("tests/misuse/[!r]*.rs");
    cases.compile_fail("tests/misuse/result.rs");
}
