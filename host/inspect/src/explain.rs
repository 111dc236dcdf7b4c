//! An end, explained: what happened, where, why, and how the guest got there.

use crate::disasm::{self, Decoded};
use crate::kind::KvmKind;
use crate::space::Space;
use crate::symbols::{DebugInfo, Frame, Source, Symbols};
use crate::unwind::{self, WalkEnd};
use crate::{refusal, unforeseen, words};
use portcall::kvm_bindings::{kvm_regs, kvm_sregs};
use portcall::{End, Error, Image, Limit, Outcome, Vm};

/// What can be said about the end of a run. [`Explanation::render`] makes a text of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// What happened, in a line.
    pub headline: String,
    /// Where: the innermost function whose source is known.
    pub place: Option<Source>,
    /// The line there, if its file is.
    pub line: Option<String>,
    /// Why, and what to do: sentences.
    pub notes: Vec<String>,
    /// The instruction at RIP.
    pub instruction: Option<String>,
    /// How the guest got there, innermost first.
    pub backtrace: Vec<Frame>,
    /// How the walk to them ended.
    pub backtrace_end: WalkEnd,
    /// What the backtrace is made of.
    pub debug_info: DebugInfo,
    /// Whether the guest ended of its own will, and this was asked for all the same.
    pub normal: bool,
    /// The general registers.
    pub registers: kvm_regs,
    /// The segment, control and table registers. In an exception's stub the segments are those
    /// of the instruction that raised it.
    pub system: kvm_sregs,
    /// Whether they say something here.
    pub show_registers: bool,
}

/// All that the words are made of.
pub(crate) struct Scene<'a> {
    pub(crate) space: Space<'a>,
    pub(crate) symbols: &'a Symbols<'a>,
    pub(crate) outcome: &'a Outcome,
    pub(crate) sregs: kvm_sregs,
    pub(crate) decoded: Option<Decoded>,
    pub(crate) kind: KvmKind,
}

impl Scene<'_> {
    pub(crate) const fn registers(&self) -> &kvm_regs {
        &self.outcome.registers
    }

    /// Whether the registers are those of a processor at reset, with nothing left of the guest's.
    pub(crate) const fn was_reset(&self) -> bool {
        was_reset(&self.outcome.registers, &self.sregs)
    }

    /// Whether the guest was in ring 3.
    pub(crate) const fn in_ring_3(&self) -> bool {
        match &self.outcome.end {
            End::Exception(exception) => exception.from_ring_3(),
            _ => self.sregs.cs.selector & 3 == 3,
        }
    }

    /// The frame of an address where there is no code.
    fn no_code(&self, address: u64) -> Frame {
        let symbol = self.symbols.symbol_at(address);
        let within = symbol.filter(|_| self.whereabouts(address).is_some());
        let (function, offset) = within.unzip();
        Frame { address, function, offset, source: None, inlined: false }
    }

    /// What lies at an address, in words: a symbol, a section, a part of the host's range.
    pub(crate) fn whereabouts(&self, address: u64) -> Option<String> {
        if let Some(region) = self.space.region(address) {
            return Some(region.to_owned());
        }
        let section = self.symbols.section_at(address);
        let inside = || {
            let mut segments = self.space.image.segments().iter();
            let within = segments.any(|s| s.virtual_range().contains(&address));
            within.then(|| "the image".to_owned())
        };
        section.or_else(inside)
    }
}

/// Explains how a run ended: `elf` is the whole file that `image` was read from.
///
/// # Errors
/// KVM does not give the vCPU's registers.
pub fn explain(
    vm: &Vm,
    image: &Image<'_>,
    outcome: &Outcome,
    elf: &[u8],
    kind: KvmKind,
) -> Result<Explanation, Error> {
    let sregs = vm.system_registers()?;
    let symbols = Symbols::new(elf, image.bias());
    let space = Space { memory: vm.memory(), layout: vm.layout(), image, cr3: sregs.cr3 };
    let mut bytes = [0; 15];
    let read = space.read(outcome.registers.rip, &mut bytes);
    let reset = was_reset(&outcome.registers, &sregs);
    let bits = disasm::code_bits(&sregs);
    let decoded = disasm::decode(&bytes[..read], outcome.registers.rip, bits).filter(|_| !reset);
    let scene = Scene { space, symbols: &symbols, outcome, sregs, decoded, kind };

    let (addresses, backtrace_end) = unwind::walk(&scene.space, &symbols, &outcome.registers);
    let addresses = if reset { Vec::new() } else { addresses };
    let behind_rip = rip_is_behind(&outcome.end);
    let mut backtrace: Vec<Frame> = addresses
        .iter()
        .enumerate()
        .flat_map(|(depth, address)| {
            let call = depth > 0 || behind_rip;
            // What the linker threw away still stands in the debug information, at 0 and up.
            if unwind::is_code(&scene.space, address.wrapping_sub(u64::from(call))) {
                symbols.frames(*address, call)
            } else {
                vec![scene.no_code(*address)]
            }
        })
        .collect();
    // What carried a panic or a call to the host is not what its author wants to see.
    let own = match &outcome.end {
        End::Panicked { .. } => backtrace.iter().take_while(|it| is_panic_machinery(it)).count(),
        End::CallRefused { .. }
        | End::HandlerFailed { .. }
        | End::LimitReached(Limit::Exits(_) | Limit::Calls(_))
        | End::Diverged { .. } => backtrace.iter().take_while(|it| is_call_machinery(it)).count(),
        _ => 0,
    };
    if own < backtrace.len() {
        backtrace.drain(..own);
    }
    let place = place(&outcome.end, &backtrace);
    // What the guest says while it runs is no reason to open a file.
    let told = |place: &&Source| {
        backtrace.iter().any(|f| f.source.as_ref().is_some_and(|s| s.file == place.file))
    };
    let line = place.as_ref().filter(told).and_then(Source::text);
    let (headline, mut notes) = words(&scene);
    notes.extend(words::other_mode(&scene));
    let show_registers = !matches!(
        outcome.end,
        End::Panicked { .. }
            | End::HandlerFailed { .. }
            | End::LimitReached(Limit::Exits(_) | Limit::Calls(_) | Limit::Console(_))
            | End::Diverged { .. }
    ) && !reset;
    Ok(Explanation {
        headline,
        line,
        place,
        notes,
        instruction: scene.decoded.as_ref().filter(|_| !behind_rip).map(|d| d.text.clone()),
        backtrace,
        backtrace_end,
        normal: outcome.end.is_normal(),
        debug_info: symbols.debug_info().clone(),
        registers: outcome.registers,
        system: system_at_fault(vm, sregs),
        show_registers,
    })
}

/// The system registers, with the segments that a caught exception had.
fn system_at_fault(vm: &Vm, mut sregs: kvm_sregs) -> kvm_sregs {
    if let Some(fault) = vm.fault() {
        (sregs.cs.selector, sregs.ss.selector) = (fault.cs, fault.ss);
    }
    sregs
}

/// A processor at reset is in real mode at 0xfff0 (SDM vol. 3, 11.1.4). kvm_amd puts the vCPU
/// there at a triple fault, since the hardware leaves nothing of its state.
const fn was_reset(registers: &kvm_regs, sregs: &kvm_sregs) -> bool {
    sregs.cr0 & 1 == 0 && registers.rip == 0xfff0
}

/// Whether RIP is that of the instruction behind the one that ended the run. At an OUT KVMs
/// differ, and a look one byte back is in the OUT either way; a write outside RAM is over when
/// KVM says so, a read is not; INT3 and INTO are traps.
const fn rip_is_behind(end: &End) -> bool {
    match end {
        End::Panicked { .. }
        | End::CallRefused { .. }
        | End::HandlerFailed { .. }
        | End::Exited(_)
        | End::Serving
        | End::Halted
        | End::LimitReached(Limit::Exits(_) | Limit::Calls(_))
        | End::Diverged { .. } => true,
        End::UnmappedAccess { write, .. } => *write,
        End::Exception(exception) => matches!(exception.vector, 3 | 4),
        _ => false,
    }
}

fn is_panic_machinery(frame: &Frame) -> bool {
    let handler = |name: &String| name.contains("rust_begin_unwind") || name == "panic";
    frame.function.as_ref().is_some_and(handler)
        || frame.source.as_ref().is_some_and(Source::is_toolchain)
}

/// The guest library's side of a typed call, and the client that the macro made.
fn is_call_machinery(frame: &Frame) -> bool {
    let ours = ["guest/src/call.rs", "abi/src/calls/define.rs"];
    let source = frame.source.as_ref();
    source.is_some_and(|source| ours.iter().any(|file| source.file.ends_with(file)))
}

/// Where it happened: what the guest itself said, or the innermost place that is not in the
/// toolchain's own library.
fn place(end: &End, backtrace: &[Frame]) -> Option<Source> {
    let mut sources = backtrace.iter().filter_map(|frame| frame.source.as_ref());
    let innermost = || {
        let own = sources.clone().find(|source| !source.is_toolchain());
        own.or_else(|| sources.clone().next()).cloned()
    };
    let End::Panicked { at: Some(at), .. } = end else { return innermost() };
    let line = u32::try_from(at.line).unwrap_or(0);
    let column = u32::try_from(at.column).unwrap_or(0);
    // The same place by the debug information is a whole path.
    let same = |source: &&Source| source.line == line && source.file.ends_with(&at.file);
    let said = Source { file: at.file.clone().into(), line, column };
    let whole = sources.clone().find(same).map(|source| Source { column, ..source.clone() });
    match whole {
        Some(whole) => Some(whole),
        None if !said.is_toolchain() => Some(said),
        // In the library, as for an allocation that failed.
        None => sources.find(|source| !source.is_toolchain()).cloned().or(Some(said)),
    }
}

/// What happened, and why.
fn words(scene: &Scene<'_>) -> (String, Vec<String>) {
    match &scene.outcome.end {
        End::Exception(exception) => words::exception(scene, exception),
        End::TripleFault => words::triple_fault(scene),
        End::UnmappedAccess { .. } => words::unmapped_access(scene),
        End::EmulationFailed { bytes } => refusal::emulation_failed(scene, bytes),
        End::InternalError { suberror, data } => refusal::internal_error(*suberror, data),
        End::CallRefused { call, why } => refusal::call_refused(call, why),
        End::EntryFailed { reason } => refusal::entry_failed(*reason),
        End::Diverged { .. } => unforeseen::diverged(scene),
        End::LimitReached(_) | End::Stopped => {
            (scene.outcome.end.to_string(), words::stopped(scene))
        }
        End::Panicked { message, .. } => (format!("panicked: {message}"), Vec::new()),
        // Not as `Display` has it, whose further lines are set in already.
        End::HandlerFailed { message } => {
            (format!("a handler on the host failed: {message}"), Vec::new())
        }
        other => (other.to_string(), Vec::new()),
    }
}
