//! How the guest got where it is: from the registers and the stack to return addresses.
//!
//! The innermost function may be a leaf, or have been caught before it made its frame, so the
//! unwind tables (`.debug_frame`, or `.eh_frame` as C compilers make it) are asked first there.
//! From the second on frame pointers lead, and the tables where they do not. Both read the guest's
//! stack, which may hold anything: each step must go up in memory, and there is a bound.

use crate::dwarf::Reader;
use crate::space::Space;
use crate::symbols::Symbols;
use gimli::{
    BaseAddresses, CfaRule, DebugFrame, EhFrame, LittleEndian, RegisterRule, UnwindContext,
    UnwindSection, X86_64,
};
use portcall::kvm_bindings::kvm_regs;
use portcall::layout::Layout;
use portcall::{Image, Memory};

/// The most return addresses that are followed.
const MAX_DEPTH: usize = 256;

/// The largest unwind table that is looked through, once a frame.
const MAX_TABLE: usize = 8 << 20;

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// At the end that the host had set: all is there.
    Complete,
    /// Nothing leads further: no frame pointers or unwind tables there, or a stack that was
    /// overwritten.
    Lost,
    /// At the most frames that are followed.
    Cut,
}

/// The addresses on the way to where a guest is, innermost first: RIP itself, then what is returned
/// to. It takes no VM that runs, so that a guest can be looked at in the midst of its life, or one
/// that was only put together: its memory and layout, its image, and CR3 and the general registers
/// at that moment. [`Symbols::frames`] has the names; all but the first address are returned to.
///
/// At most 256 of them, each further up the stack than the one before.
#[must_use]
pub fn backtrace(
    (memory, layout): (&Memory, &Layout),
    image: &Image<'_>,
    symbols: &Symbols<'_>,
    cr3: u64,
    registers: &kvm_regs,
) -> (Vec<u64>, WalkEnd) {
    walk(&Space { memory, layout, image, cr3 }, symbols, registers)
}

/// What a function's caller needs.
#[derive(Clone, Copy, Debug)]
struct Registers {
    rip: u64,
    rsp: u64,
    rbp: u64,
}

/// The addresses, innermost first: RIP itself, then what is returned to.
pub(crate) fn walk(
    space: &Space<'_>,
    symbols: &Symbols<'_>,
    registers: &kvm_regs,
) -> (Vec<u64>, WalkEnd) {
    let mut now = Registers { rip: registers.rip, rsp: registers.rsp, rbp: registers.rbp };
    let mut addresses = vec![now.rip];
    while addresses.len() < MAX_DEPTH {
        let innermost = addresses.len() == 1;
        let Some(caller) = caller(space, symbols, now, innermost) else {
            // The entry function has no caller.
            let entry = || function(symbols, space.image.entry().0);
            let outermost = function(symbols, now.rip).is_some_and(|it| Some(it) == entry());
            return (addresses, if outermost { WalkEnd::Complete } else { WalkEnd::Lost });
        };
        // 0 is where the host ended the chain.
        if caller.rip == 0 {
            return (addresses, WalkEnd::Complete);
        }
        // Up the stack, or it is no caller.
        if caller.rsp <= now.rsp {
            return (addresses, WalkEnd::Lost);
        }
        addresses.push(caller.rip);
        now = caller;
    }
    (addresses, WalkEnd::Cut)
}

/// Where the function that an address is in begins.
fn function(symbols: &Symbols<'_>, address: u64) -> Option<u64> {
    symbols.symbol_at(address).map(|(_, into)| address.wrapping_sub(into))
}

fn caller(
    space: &Space<'_>,
    symbols: &Symbols<'_>,
    now: Registers,
    innermost: bool,
) -> Option<Registers> {
    let probe = if innermost { now.rip } else { now.rip.wrapping_sub(1) };
    if !is_code(space, probe) {
        // A jump to nowhere: had it been a call, its return address is on top of the stack.
        let returned = if innermost { space.word(now.rsp)? } else { return None };
        return is_return(space, returned).then(|| Registers {
            rip: returned,
            rsp: now.rsp.wrapping_add(8),
            ..now
        });
    }
    let by_table = || by_tables(space, symbols, now, innermost);
    let by_pointer = || by_frame_pointer(space, now);
    if innermost { by_table().or_else(by_pointer) } else { by_pointer().or_else(by_table) }
}

pub(crate) fn is_code(space: &Space<'_>, address: u64) -> bool {
    let mut segments = space.image.segments().iter();
    segments.any(|s| s.permissions.execute && s.virtual_range().contains(&address))
}

/// Whether an address may be returned to: a call stands before it. It may be the last one.
fn is_return(space: &Space<'_>, address: u64) -> bool {
    is_code(space, address.wrapping_sub(1))
}

/// The frame that RBP points at: the caller's RBP, and behind it the return address.
fn by_frame_pointer(space: &Space<'_>, now: Registers) -> Option<Registers> {
    let above = now.rbp >= now.rsp && now.rbp.is_multiple_of(8);
    if !above {
        return None;
    }
    let (rbp, rip) = (space.word(now.rbp)?, space.word(now.rbp.checked_add(8)?)?);
    let rsp = now.rbp.checked_add(16)?;
    (rip == 0 || is_return(space, rip)).then_some(Registers { rip, rsp, rbp })
}

/// The caller by whichever unwind table knows the function.
fn by_tables(
    space: &Space<'_>,
    symbols: &Symbols<'_>,
    now: Registers,
    innermost: bool,
) -> Option<Registers> {
    let sections = symbols.sections();
    let bytes = |name| sections.bytes(name).filter(|bytes| bytes.len() <= MAX_TABLE);
    let address =
        |name: &str| sections.iter().find(|s| s.name == name.as_bytes()).map(|s| s.address);
    // A return address may be the first one behind its function.
    let probe = now.rip.wrapping_sub(symbols.bias()).wrapping_sub(u64::from(!innermost));
    let debug_frame = || {
        let mut table = DebugFrame::new(bytes(".debug_frame")?, LittleEndian);
        table.set_address_size(8);
        by_table(&table, &BaseAddresses::default(), space, now, probe)
    };
    let eh_frame = || {
        let mut table = EhFrame::new(bytes(".eh_frame")?, LittleEndian);
        table.set_address_size(8);
        let bases = BaseAddresses::default()
            .set_eh_frame(address(".eh_frame")?)
            .set_text(address(".text").unwrap_or(0));
        by_table(&table, &bases, space, now, probe)
    };
    debug_frame().or_else(eh_frame)
}

/// The caller by call frame information (DWARF 5, 6.4). Only what compilers write for RIP, RSP
/// and RBP is followed: offsets from a register, no expressions.
fn by_table<'a, S: UnwindSection<Reader<'a>>>(
    table: &S,
    bases: &BaseAddresses,
    space: &Space<'_>,
    now: Registers,
    probe: u64,
) -> Option<Registers> {
    let mut context = UnwindContext::new();
    let row = table.unwind_info_for_address(bases, &mut context, probe, S::cie_from_offset).ok()?;
    let base = |register: gimli::Register| match register {
        X86_64::RSP => Some(now.rsp),
        X86_64::RBP => Some(now.rbp),
        _ => None,
    };
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            base(*register)?.checked_add_signed(*offset)?
        }
        CfaRule::Expression(_) => return None,
    };
    let saved = |register: gimli::Register| match row.register(register) {
        Some(RegisterRule::Offset(offset)) => space.word(cfa.checked_add_signed(offset)?),
        Some(RegisterRule::SameValue) | None => base(register),
        Some(_) => None,
    };
    let rip = saved(X86_64::RA)?;
    let rbp = saved(X86_64::RBP)?;
    (rip == 0 || is_return(space, rip)).then_some(Registers { rip, rsp: cfa, rbp })
}
