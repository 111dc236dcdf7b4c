//! How a guest ends of its own will.

use core::fmt::Debug;

/// What a guest ends with: the code the host sees.
///
/// `portcall run` ends with the same code where it is 0 to 100, and with 120 for any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Exit(u32);

impl Exit {
    /// All went well: code 0.
    pub const SUCCESS: Self = Self(0);

    /// Ends with `code`.
    pub const fn code(code: u32) -> Self {
        Self(code)
    }

    /// The code.
    pub(crate) const fn to_code(self) -> u32 {
        self.0
    }
}

/// What a guest's `main`, and a test of it, may return: nothing, an [`Exit`], or a `Result` of these.
#[diagnostic::on_unimplemented(
    message = "a guest's main, or a test, returns nothing, an `Exit`, or a `Result` of these, not `{Self}`",
    label = "this returns `{Self}`"
)]
pub trait Termination {
    /// The exit it stands for.
    fn exit(self) -> Exit;
}

impl Termination for () {
    fn exit(self) -> Exit {
        Exit::SUCCESS
    }
}

impl Termination for Exit {
    fn exit(self) -> Exit {
        self
    }
}

/// An `Err` is printed as `Error: ...` and ends the guest with code 1, as on a host.
impl<T: Termination, E: Debug> Termination for Result<T, E> {
    fn exit(self) -> Exit {
        match self {
            Ok(value) => value.exit(),
            Err(error) => {
                crate::println!("Error: {error:?}");
                Exit::code(1)
            }
        }
    }
}

/// Ends the guest at once. Nothing is dropped; all that was printed appears.
pub fn exit(exit: Exit) -> ! {
    crate::port::write_u32(abi::port::EXIT, exit.0);
    halt()
}

/// Stops the vCPU, for the case that a host resumes a guest that has ended.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: HLT touches neither memory nor registers.
        unsafe { core::arch::asm!("hlt", options(nostack, nomem, preserves_flags)) };
    }
}
