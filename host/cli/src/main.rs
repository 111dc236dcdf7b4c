//! `portcall`: runs bare-metal KVM guests and says what happened.
//!
//! It is started by the C library, without what Rust's standard library does before its `main`:
//! that reads /proc/self/maps, for a message at a stack overflow, and makes a stack to handle such a
//! one on, which was 38 us of a start's 1145 (300 pairs, the median, beside another VM). Of what it
//! does the process needs the rest, and [`cli::prepare`] does that.

#![cfg_attr(all(target_env = "gnu", not(test)), no_main)]

/// What the C library calls. The words of the command line come to `std::env::args_os` all the same:
/// glibc hands them to each initialiser, of which std has one. Others do not.
// SAFETY: nothing else here has that name: without `no_main` the compiler would give it to one.
#[cfg(all(target_env = "gnu", not(test)))]
#[unsafe(no_mangle)]
extern "C" fn main(_: std::ffi::c_int, _: *const *const std::ffi::c_char) -> std::ffi::c_int {
    cli::prepare();
    // Not a return: what std still holds of stdout is written here.
    std::process::exit(cli::main().into())
}

#[cfg(not(all(target_env = "gnu", not(test))))]
fn main() -> std::process::ExitCode {
    cli::main().into()
}
