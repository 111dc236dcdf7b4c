//! What several test files share.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::panic, reason = "that is how a test fails")]

pub(crate) mod calls;
pub(crate) mod elf;

use portcall::Kvm;

/// /dev/kvm, or a failure that says why not.
pub(crate) fn kvm() -> Kvm {
    Kvm::open().unwrap_or_else(|error| panic!("this test needs KVM: {error}"))
}

/// Machine code as a `&'static [u8]`, from assembly that runs at any address.
#[macro_export]
macro_rules! code {
    ($name:ident: $($line:literal)*) => {{
        mod symbols {
            core::arch::global_asm!(
                concat!(".global ", stringify!($name), "_start"),
                concat!(stringify!($name), "_start:"),
                $($line,)*
                concat!(".global ", stringify!($name), "_end"),
                concat!(stringify!($name), "_end:"),
            );
            unsafe extern "C" {
                #[link_name = concat!(stringify!($name), "_start")]
                pub(super) static START: u8;
                #[link_name = concat!(stringify!($name), "_end")]
                pub(super) static END: u8;
            }
        }
        let (start, end) = (&raw const symbols::START, &raw const symbols::END);
        // SAFETY: the two labels enclose the bytes of this program's own text.
        unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
    }};
}
