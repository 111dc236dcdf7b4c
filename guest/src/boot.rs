//! What the host told the guest at its entry.

use abi::boot::{BootInfo, Range};
use core::ffi::CStr;

/// The machine as the host describes it: memory and arguments.
#[derive(Debug)]
pub struct Boot {
    info: BootInfo,
    args: &'static [u8],
}

impl Boot {
    pub(crate) const fn new(info: BootInfo, args: &'static [u8]) -> Self {
        Self { info, args }
    }

    /// The arguments after `--`, in order.
    pub fn args(&self) -> impl Iterator<Item = &'static str> + use<> {
        // The host ends each with a NUL and takes only UTF-8; anything else ends the list.
        let mut rest = self.args;
        core::iter::from_fn(move || {
            let arg = CStr::from_bytes_until_nul(rest).ok()?;
            rest = rest.get(arg.count_bytes() + 1..)?;
            arg.to_str().ok()
        })
    }

    /// All RAM, as ranges of guest-physical addresses; mapped one to one.
    pub fn ram(&self) -> impl Iterator<Item = Range> + use<> {
        self.info.ram.into_iter().filter(|range| range.size() > 0)
    }

    /// The RAM that neither the image nor the host uses, in one piece. The global allocator
    /// takes all of it at the first allocation; a guest that makes none may use it as it likes.
    #[must_use]
    pub const fn heap(&self) -> Range {
        self.info.heap
    }

    /// The boot information as it stands in the contract.
    #[must_use]
    pub const fn info(&self) -> &BootInfo {
        &self.info
    }
}
