//! How the guest got where it is: from the registers and the stack to return addresses.
//!
//! The innermost function may be a leaf, or have been caught before it made its frame, so
//! `.debug_frame` is asked first there. From the second on frame pointers lead, and
//! `.debug_frame` where they do not. Both read the guest's stack, which may hold anything: each
//! step must go up in memory, and there is a bound.

use crate::space::Space;
use crate::symbols::Symbols;
use gimli::{
    BaseAddresses, CfaRule, DebugFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
    X86_64,
};
use portcall::kvm_bindings::kvm_regs;

/// The most return addresses that are followed.
pub(crate) const MAX_DEPTH: usize = 256;

/// What a function's caller needs.
#[derive(Clone, Copy, Debug)]
struct Registers {
    rip: u64,
    rsp: u64,
    rbp: u64,
}

/// The addresses, innermost first: RIP itself, then what is returned to. `true` if there would
/// have been more.
pub(crate) fn walk(
    space: &Space<'_>,
    symbols: &Symbols<'_>,
    registers: &kvm_regs,
) -> (Vec<u64>, bool) {
    let mut now = Registers { rip: registers.rip, rsp: registers.rsp, rbp: registers.rbp };
    let mut addresses = vec![now.rip];
    while addresses.len() < MAX_DEPTH {
        let innermost = addresses.len() == 1;
        let Some(caller) = caller(space, symbols, now, innermost) else {
            return (addresses, false);
        };
        // Up the stack, or it is no caller; and 0 is where the host ended the chain.
        if caller.rip == 0 || caller.rsp <= now.rsp {
            return (addresses, false);
        }
        addresses.push(caller.rip);
        now = caller;
    }
    (addresses, true)
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
    let by_table = || by_debug_frame(space, symbols, now, innermost);
    let by_pointer = || by_frame_pointer(space, now);
    if innermost { by_table().or_else(by_pointer) } else { by_pointer().or_else(by_table) }
}

fn is_code(space: &Space<'_>, address: u64) -> bool {
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

/// The caller by DWARF's call frame information (DWARF 5, 6.4). Only what compilers write for
/// RIP, RSP and RBP is followed: offsets from a register, no expressions.
fn by_debug_frame(
    space: &Space<'_>,
    symbols: &Symbols<'_>,
    now: Registers,
    innermost: bool,
) -> Option<Registers> {
    let mut section = DebugFrame::new(symbols.debug_frame(), LittleEndian);
    section.set_address_size(8);
    let bases = BaseAddresses::default();
    let mut context = UnwindContext::new();
    // A return address may be the first one behind its function.
    let probe = now.rip.wrapping_sub(symbols.bias()).wrapping_sub(u64::from(!innermost));
    let row = section
        .unwind_info_for_address(&bases, &mut context, probe, DebugFrame::cie_from_offset)
        .ok()?;
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
