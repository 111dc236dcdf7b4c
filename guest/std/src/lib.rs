//! What `core`, `alloc` and the guest library have of `std`, under `std`'s names: for tests that were
//! written where there is a `std`.
//!
//! ```ignore
//! #[cfg(test)]
//! #[macro_use]
//! extern crate guest_std as std;
//! ```
//!
//! After that `use std::vec::Vec` and `std::mem::swap` mean what they did in the whole crate, and
//! `#[test]`, `vec!`, `format!` and `println!` are there. Three things are not as in `std`: names that
//! its prelude brings into every module are imported (`use std::prelude::v1::*`); what needs an
//! operating system is not there (threads, files, clocks, hash maps); and a panic ends the VM, so that
//! [`catch_unwind`](panic::catch_unwind) catches none.

#![no_std]

#[doc(hidden)]
pub extern crate alloc;

mod local;

pub use core::*;

pub use alloc::{borrow, boxed, fmt, format, rc, slice, str, string, vec};
pub use guest::{print, println, test};

/// Those of `alloc`.
pub mod collections {
    pub use alloc::collections::*;

    /// There are no maps, only what hashes.
    pub mod hash_map {
        #[expect(deprecated, reason = "it is the one hasher of core's")]
        pub use core::hash::SipHasher as DefaultHasher;
    }
}

/// That of `core`, and what stands for the rest.
pub mod panic {
    pub use core::panic::*;

    /// Calls a function. Its panic is not caught, but ends the VM, and with it the test.
    ///
    /// # Errors
    /// There is none.
    pub fn catch_unwind<F: FnOnce() -> R + UnwindSafe, R>(
        function: F,
    ) -> Result<R, alloc::boxed::Box<dyn core::any::Any + Send>> {
        Ok(function())
    }
}

/// Those of `alloc` and `core`.
pub mod sync {
    pub use alloc::sync::*;
    pub use core::sync::*;
}

/// There is one thread.
pub mod thread {
    pub use crate::local::LocalKey;
}

/// What `std` brings into every module.
pub mod prelude {
    /// The names that `core` does not bring by itself.
    pub mod v1 {
        pub use alloc::borrow::ToOwned;
        pub use alloc::boxed::Box;
        pub use alloc::string::{String, ToString};
        pub use alloc::vec::Vec;
    }
}
