//! Port I/O: one instruction, one exit to the host.
//!
//! These are safe functions: a port reaches only the host, and no port that they let through makes
//! the host write to memory that a reference could stand on. Those of typed calls do, so they are
//! for [`Out`](crate::Out) and the runtime alone. None of them says `nomem` to the compiler, since the host reads
//! guest memory while it answers.

use core::arch::asm;

/// Refuses the ports at which the host writes to memory: by what stands in registers, or to the
/// mailbox. Costs nothing where the port is a constant.
#[inline(always)]
fn check(port: u16) {
    assert!(
        port != abi::port::CALL && port != abi::port::SERVE,
        "ports 0xf7 and 0xf8 are for typed calls: use a Client over guest::Out, or entry!'s serves",
    );
}

macro_rules! port_access {
    ($read:ident, $write:ident, $type:ty, $register:tt, $bits:literal) => {
        #[doc = concat!("Reads ", $bits, " bits from `port` (the IN instruction).")]
        #[must_use]
        #[inline]
        pub fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: IN changes no memory and no register but the one named.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                    options(nostack, preserves_flags));
            }
            value
        }

        #[doc = concat!("Writes ", $bits, " bits to `port` (the OUT instruction).")]
        #[inline]
        pub fn $write(port: u16, value: $type) {
            check(port);
            // SAFETY: OUT changes no register; the host, while it answers, writes no guest
            // memory but what the contract names (the console window's read index).
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                    options(nostack, preserves_flags));
            }
        }
    };
}

port_access!(read_u8, write_u8, u8, "al", "8");
port_access!(read_u16, write_u16, u16, "ax", "16");
port_access!(read_u32, write_u32, u32, "eax", "32");
