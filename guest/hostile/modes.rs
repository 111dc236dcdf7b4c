//! The way out of 64-bit mode.

use crate::own_idt::Pointer;

/// Nothing, and flat code and data of 32 bits (SDM vol. 3, 3.4.5).
static GDT: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// The table that [`out_of_long_mode!`](crate::out_of_long_mode) loads.
#[must_use]
pub fn flat_segments() -> Pointer {
    Pointer { limit: 3 * 8 - 1, base: (&raw const GDT).addr() as u64 }
}

/// Makes a function that leaves 64-bit mode by a table of its own into a 32-bit segment, from there
/// turns paging and long mode off, and does the lines there. It is given [`flat_segments`].
#[macro_export]
macro_rules! out_of_long_mode {
    ($name:ident: $($line:literal)*) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &$crate::own_idt::Pointer) {
            core::arch::naked_asm!(
                "lgdt [rdi]",
                "push 8",
                "lea rax, [rip + 2f]",
                "push rax",
                "retfq", // into compatibility mode
                ".code32",
                "2: mov eax, 16",
                "mov ds, eax",
                "mov ss, eax",
                "mov eax, cr0",
                "and eax, 0x7fffffff",
                "mov cr0, eax", // paging off, and long mode with it
                "mov ecx, 0xc0000080",
                "xor eax, eax",
                "xor edx, edx",
                "wrmsr",
                $($line,)*
                ".code64",
            )
        }
    };
}
