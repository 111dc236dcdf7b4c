//! The attributes of the guest library, which has them under its own name: `#[guest::test]`.
//!
//! An attribute leaves the function as it is, and adds a line that puts an entry into the image
//! (`guest::test_entry!`, `guest::fuzz_entry!`, which have the form of it). What it reads of the function is in a file of
//! its own, for each kind of entry.

mod fuzz;
mod options;
mod test;

use proc_macro::TokenStream;

/// Makes a function a test that runs in a VM of its own: `fn name()`, or one that returns what a
/// guest's `main` may return, as a `Result`.
///
/// It is there only where `cfg(test)` is. `#[ignore]`, `#[ignore = "why"]`, `#[should_panic]` and
/// `#[should_panic(expected = "...")]` say what they say to the standard library's `#[test]`;
/// `#[guest::test(timeout = "2s")]` (`ms`, `s`, `m`) is how long it may take at most, whatever else
/// the host has said.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    test::expand(options.into(), item.into()).into()
}

/// Makes a function one that is fuzzed: `fn name(data: &[u8])`. It is called with one input after
/// the other, each time in a VM that goes on from where the guest waits for calls; what ends that VM
/// (a panic, an exception, an exit) is a finding, and what it returns is nothing.
///
/// `#[guest::fuzz(timeout = "2s")]` (`ms`, `s`, `m`) is how long one input may take, whatever else
/// the host has said. Data has at most 65,408 bytes, those of the mailbox.
#[proc_macro_attribute]
pub fn fuzz(options: TokenStream, item: TokenStream) -> TokenStream {
    fuzz::expand(options.into(), item.into()).into()
}
