//! An interrupt table of the guest's own, behind which it goes on after any exception: so one run
//! tries many ways.

use core::arch::{asm, naked_asm};
use core::fmt;

/// The processor's own vectors.
const VECTORS: usize = 32;

/// What [`enter`] gives where nothing was raised.
const NOTHING: u64 = VECTORS as u64;

/// What LGDT and LIDT load: limit and base.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub struct Pointer {
    /// The last byte's offset.
    pub limit: u16,
    /// The guest-virtual address.
    pub base: u64,
}

/// What an attempt raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// It came to its end.
    Nothing,
    /// The exception of this vector.
    Vector(u64),
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("taken"),
            Self::Vector(1) => f.write_str("#DB"),
            Self::Vector(6) => f.write_str("#UD"),
            Self::Vector(8) => f.write_str("#DF"),
            Self::Vector(10) => f.write_str("#TS"),
            Self::Vector(11) => f.write_str("#NP"),
            Self::Vector(12) => f.write_str("#SS"),
            Self::Vector(13) => f.write_str("#GP"),
            Self::Vector(14) => f.write_str("#PF"),
            Self::Vector(vector) => write!(f, "#{vector}"),
        }
    }
}

/// Loads the table. Its gates use the first interrupt stack of the host's TSS.
pub fn load() {
    static mut GATES: [[u64; 2]; VECTORS] = [[0; 2]; VECTORS];
    let gates = (&raw mut GATES).cast::<[u64; 2]>();
    for vector in 0..VECTORS {
        // Each handler has 16 bytes.
        let handler = handlers as *const () as u64 + 16 * vector as u64;
        // SDM vol. 3, 7.14.1: code selector 0x10, stack 1, an interrupt gate.
        let low = handler & 0xffff | 0x8e01_0010_0000 | (handler >> 16 & 0xffff) << 48;
        // SAFETY: below the number of gates.
        let gate = unsafe { gates.add(vector) };
        // SAFETY: as above; there is one thread, and the table is not in use yet.
        unsafe { gate.write([low, handler >> 32]) };
    }
    load_pointer(&Pointer { limit: 32 * 16 - 1, base: gates.addr() as u64 });
}

/// Loads any table (LIDT).
pub fn load_pointer(pointer: &Pointer) {
    // SAFETY: LIDT reads 10 bytes. What follows from them is what is tried.
    unsafe { asm!("lidt [{}]", in(reg) pointer, options(nostack)) };
}

/// The table in use (SIDT).
#[must_use]
pub fn pointer() -> Pointer {
    let mut pointer = Pointer::default();
    // SAFETY: SIDT writes 10 bytes.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut pointer, options(nostack)) };
    pointer
}

/// Does what may raise an exception, behind which the guest goes on: nothing is dropped then.
/// RIP, RSP and all general registers may be nonsense by that time. Needs [`load`].
pub fn attempt<F: FnMut()>(mut what: F) -> Raised {
    extern "C" fn call<F: FnMut()>(what: *mut F) {
        // SAFETY: it is that of `attempt`, which waits meanwhile.
        unsafe { (*what)() }
    }
    let what = &raw mut what;
    // SAFETY: `call` takes what it is given here.
    match unsafe { enter(call::<F> as *const (), what.cast()) } {
        NOTHING => Raised::Nothing,
        vector => Raised::Vector(vector),
    }
}

/// RSP of the attempt under way.
static mut RETURN: u64 = 0;

/// Calls `what(data)`, and comes back from there or from [`handlers`].
#[unsafe(naked)]
unsafe extern "C" fn enter(what: *const (), data: *mut ()) -> u64 {
    naked_asm!(
        "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
        "mov [rip + {rsp}], rsp",
        "sub rsp, 8", // a call wants RSP to be a multiple of 16
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "mov eax, {nothing}",
        "jmp {leave}",
        rsp = sym RETURN, nothing = const NOTHING, leave = sym leave,
    )
}

/// Leaves [`enter`] with what is in RAX.
#[unsafe(naked)]
extern "C" fn leave() {
    naked_asm!(
        "mov rsp, [rip + {rsp}]",
        "cld",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
        "ret",
        rsp = sym RETURN,
    )
}

/// One handler a vector, which leaves [`enter`] with its number. A gate has cleared IF, TF and NT;
/// AC does nothing in ring 0 without CR4.SMAP.
#[unsafe(naked)]
extern "C" fn handlers() {
    naked_asm!(
        ".irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, \
         21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "mov eax, \\vector",
        "jmp {leave}",
        ".balign 16",
        ".endr",
        leave = sym leave,
    )
}

/// Tries each line by itself; the registers that most instructions take hold `$word`.
#[macro_export]
macro_rules! attempt_each {
    ($word:ident: $($line:literal)*) => {$(
        $crate::own_idt::attempt(|| {
            // SAFETY: none: that the host bears it is the point.
            unsafe {
                core::arch::asm!($line, inout("rax") $word => _, inout("rcx") $word => _,
                    inout("rdx") $word => _, in("rdi") $word);
            }
        });
    )*};
}
