//! Tests that run in VMs of their own: `#[guest::test]` and [`tests!`](crate::tests!).

use crate::{Boot, Exit};
use abi::calls::Refusal;
use abi::note;
use abi::tests::Entry;

/// Makes a program one of tests: it has no `main`, but waits for its host to call the functions
/// that are marked [`#[guest::test]`](crate::test) in it. Once, in place of [`entry!`](crate::entry).
///
/// `setup` is a function as `main` is one, which is called before any test, once: each test runs in
/// a VM that goes on from where it has returned. `calls` is as in [`entry!`](crate::entry).
///
/// ```ignore
/// guest::tests!();
/// guest::tests!(setup = prepare, calls = [store]);
/// ```
///
/// `portcall test IMAGE` runs them, and so does `cargo test`, where cargo's configuration names it
/// as the runner of such programs.
#[macro_export]
macro_rules! tests {
    (setup = $setup:path $(, calls = [$($calls:path),* $(,)?])? $(,)?) => {
        #[cfg(target_os = "none")]
        $crate::entry!(
            $setup,
            calls = [$($($calls),*)?],
            serves = [$crate::abi::tests: $crate::tests::Runner],
        );

        // For editors and `cargo check` on a host.
        #[cfg(not(target_os = "none"))]
        const _: () = {
            #[unsafe(export_name = "main")]
            extern "C" fn start() -> i32 {
                $($({ use $calls as interface; let _ = interface::INTERFACE; })*)?
                $crate::tests::not_on_a_host($setup)
            }
        };
    };
    ($(calls = [$($calls:path),* $(,)?])? $(,)?) => {
        $crate::tests!(setup = $crate::tests::no_setup $(, calls = [$($calls),*])?);
    };
}

/// Puts a test's entry into the image.
#[doc(hidden)]
#[macro_export]
macro_rules! test_entry {
    (
        $function:ident, $name:literal,
        ignored = $ignored:literal, $reason:literal,
        should_panic = $should_panic:literal, $expected:literal,
        timeout = $timeout:literal
    ) => {
        const _: () = {
            use $crate::abi::tests as __portcall;

            // A closure, since its body sees the function under whatever name it has.
            const __PORTCALL_CALL: fn() -> $crate::Exit = || $crate::Termination::exit($function());
            const __PORTCALL_ENTRY: __portcall::Entry<'static> = __portcall::Entry {
                kind: __portcall::TEST,
                flags: if $ignored { __portcall::IGNORED } else { 0 }
                    | if $should_panic { __portcall::SHOULD_PANIC } else { 0 },
                timeout: $timeout,
                name: __portcall::without_crate(concat!(module_path!(), "::", $name)),
                reason: $reason,
                expected: $expected,
            };
            $crate::entry_note!(__PORTCALL_ENTRY, fn() -> $crate::Exit, __PORTCALL_CALL);
        };
    };
}

/// Puts an entry into the image: what it says, and the function with its type.
#[doc(hidden)]
#[macro_export]
macro_rules! entry_note {
    ($entry:expr, $type:ty, $function:expr) => {
        #[used]
        #[cfg_attr(target_os = "none", unsafe(link_section = ".note.portcall.entries"))]
        static __PORTCALL_NOTE: $crate::tests::Note<$type, { $entry.size() }> =
            $crate::tests::Note::new(&$entry, $function);
    };
}

/// An entry as an ELF note, aligned as its section is.
#[doc(hidden)]
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Note<F, const N: usize> {
    head: [u8; note::HEAD],
    function: F,
    rest: [u8; N],
}

const _: () = assert!(note::HEAD.is_multiple_of(8), "the function's address is aligned");

impl<F: Copy, const N: usize> Note<F, N> {
    /// The note of an entry; `N` is its size.
    #[must_use]
    pub const fn new(entry: &Entry<'_>, function: F) -> Self {
        let size = size_of::<F>() + N;
        Self { head: note::head(note::TYPE_ENTRY, size), function, rest: entry.to_bytes() }
    }
}

/// Answers the host's calls.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Runner;

impl abi::tests::Tests for Runner {
    fn run(&mut self, entry: u64) -> Result<u32, Refusal> {
        let function = crate::to_usize(entry) as *const fn() -> Exit;
        // SAFETY: the host has the address from a note of this image's, whose descriptor begins
        // with a test's function. It could write to all of this memory: it needs no lie here.
        let function = unsafe { function.read() };
        Ok(function().to_code())
    }
}

/// Where nothing is to be set up.
#[doc(hidden)]
pub fn no_setup(_: &Boot) {}

/// What a program of tests does when it is built for a host and started there.
#[cfg(not(target_os = "none"))]
#[doc(hidden)]
pub fn not_on_a_host<R: crate::Termination>(_setup: fn(&'static Boot) -> R) -> i32 {
    eprintln!(
        "These tests run in VMs, built for bare metal: cargo test --target x86_64-unknown-none. Of \
         a library whose tests run here as well, build those with the standard harness."
    );
    1
}
