//! The I/O ports the host answers.
//!
//! Every other port is free for handlers of your own. One that nobody answers reads as all
//! ones and drops what is written, as on a PC's bus.

/// Write a byte: it goes to the console, in the order of everything else printed.
/// The port of Bochs' and QEMU's debug console.
pub const CONSOLE: u16 = 0xE9;

/// Write anything: the host takes what stands in the [console window](crate::console).
pub const FLUSH: u16 = 0xE8;

/// Read 4 bytes: the next byte of the host's input, 0 to 255, or [`END_OF_INPUT`].
///
/// A read of 1 or 2 bytes gives the same cut short, so the end looks like 0xFF or 0xFFFF.
pub const INPUT: u16 = 0xEA;

/// What [`INPUT`] reads when the host's input has ended: what any unanswered port reads.
pub const END_OF_INPUT: u32 = u32::MAX;

/// Write 1, 2 or 4 bytes: the run ends with that exit code.
/// The place of QEMU's isa-debug-exit.
pub const EXIT: u16 = 0xF4;

/// Write anything: the run ends as panicked. The registers say of what: RDI and RSI the
/// message (address, bytes), RDX and RCX the source file (address, bytes), R8 the line,
/// R9 the column. The host checks each as a claim, copies it once and cuts it at
/// [`PANIC_TEXT_MAX`] bytes; what it cannot read it leaves out.
pub const PANIC: u16 = 0xF5;

/// The most bytes the host copies of a panic's message or file name.
pub const PANIC_TEXT_MAX: usize = 4096;

/// Written by the host's own exception stubs, never by a guest: see
/// [the contract](crate#exceptions).
pub const EXCEPTION: u16 = 0xF6;

/// Write 4 bytes: a [typed hypercall](crate#typed-hypercalls), whose number they are.
pub const CALL: u16 = 0xF7;

/// Write 4 bytes: the guest waits for a call of the host's, which comes through the
/// [mailbox](crate::mailbox). What is written says how the last one went.
pub const SERVE: u16 = 0xF8;
