//! Faults in words that need no manual beside them.

use crate::disasm::{self, Decoded};
use crate::explain::Scene;
use iced_x86::{FlowControl, Mnemonic};
use portcall::End;
use portcall::exception::{self, Exception};
use portcall::layout::{MIB, PAGE, STACK_SIZE};

/// The error code of a page fault (SDM vol. 3, 5.7): present, write, user, reserved, fetch.
const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const RESERVED: u64 = 1 << 3;
const FETCH: u64 = 1 << 4;

/// How far around a null pointer an access is taken for one through it.
const NULL_REACH: u64 = PAGE;

type Words = (String, Vec<String>);

pub(crate) fn exception(scene: &Scene<'_>, exception: &Exception) -> Words {
    let (mnemonic, name) = exception.name();
    let code = exception.error_code.unwrap_or(0);
    let (why, mut notes) = match exception.vector {
        0 => (divide_error(scene), Vec::new()),
        1 => (debug(exception), Vec::new()),
        3 => (Some("the guest executed INT3".to_owned()), Vec::new()),
        6 => invalid_opcode(scene),
        8 => double_fault(scene, exception),
        10..=13 => protection(scene, exception.vector, code),
        14 => page_fault(scene, exception, code),
        17 => (Some("an access that is not aligned, with RFLAGS.AC set".to_owned()), Vec::new()),
        _ => (None, Vec::new()),
    };
    if exception.vector == 14 {
        notes.extend(page_fault_details(scene, exception, code));
    }
    notes.extend(not_a_call(scene));
    let headline = format!("{name} ({mnemonic})");
    (why.map(|why| format!("{headline}: {why}")).unwrap_or(headline), notes)
}

/// What kind of access it was: in a word, and in the field's.
const fn access(code: u64) -> (&'static str, &'static str) {
    match (code & FETCH != 0, code & WRITE != 0) {
        (true, _) => ("jump", "instruction fetch"),
        (false, true) => ("write", "write"),
        (false, false) => ("read", "read"),
    }
}

fn page_fault(
    scene: &Scene<'_>,
    exception: &Exception,
    code: u64,
) -> (Option<String>, Vec<String>) {
    let address = exception.cr2.map_or(0, |address| address.0);
    let layout = scene.space.layout;
    let (access, _) = access(code);
    let to = if code & (FETCH | WRITE) == 0 { "of" } else { "to" };
    if code & RESERVED != 0 {
        let why = format!("a page table entry on the way to {address:#x} has reserved bits set");
        let note =
            "a guest without CPUID has 36 bits of guest-physical address; those above are reserved";
        return (Some(why), vec![note.to_owned()]);
    }
    if let Some(below) = below_the_stack(scene, address) {
        let why = format!(
            "stack overflow: {access} {below} byte{} below the stack{}",
            if below == 1 { "" } else { "s" },
            function(scene).map(|name| format!(", in {name}")).unwrap_or_default()
        );
        let kib = STACK_SIZE / 1024;
        return (Some(why), vec![format!("the stack has {kib} KiB, all of them used")]);
    }
    if address < NULL_REACH {
        if code & FETCH != 0 && scene.registers().rsp == layout.stack.end {
            let why = "the guest's entry function returned, and there is nothing to return to";
            let note = "end with a write to port 0xf4, or HLT".to_owned();
            return (Some(why.to_owned()), vec![note]);
        }
        let offset = if address == 0 { String::new() } else { format!(" + {address:#x}") };
        return (
            Some(format!("{access} {to} address {address:#x}: null pointer{offset}")),
            Vec::new(),
        );
    }
    let place = scene.whereabouts(address);
    let in_place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
    let Some((permissions, user)) = scene.space.permissions(address) else {
        let ram_end = layout.ram.last().map_or(0, |ram| ram.end);
        let nearest = if address >= ram_end {
            format!("RAM ends at {ram_end:#x}")
        } else if layout.ram.iter().any(|ram| ram.contains(&address)) {
            "the guest has unmapped it itself".to_owned()
        } else {
            "that is the hole without RAM from 3 to 4 GiB".to_owned()
        };
        let why =
            format!("{access} {to} {address:#x}{in_place}: nothing is mapped there; {nearest}");
        return (Some(why), Vec::new());
    };
    let why = if exception.from_ring_3() && !user {
        format!("{access} {to} {address:#x}{in_place}, which ring 3 may not touch")
    } else if code & FETCH != 0 && !permissions.execute {
        format!("jump into no-execute memory at {address:#x}{in_place}")
    } else if code & WRITE != 0 && !permissions.write {
        match place {
            Some(place) => format!("write to a read-only page of {place}, at {address:#x}"),
            None => format!("write to the read-only page at {address:#x}"),
        }
    } else {
        format!(
            "{access} {to} {address:#x}{in_place}, which is allowed now: its mapping has changed since"
        )
    };
    (Some(why), Vec::new())
}

/// How many bytes below the stack an access went, if it did.
fn below_the_stack(scene: &Scene<'_>, address: u64) -> Option<u64> {
    let layout = scene.space.layout;
    let bottom = layout.stack.start;
    let (guard, rsp) = (&layout.guard, scene.registers().rsp);
    // The guard page; or what a frame larger than that reaches beyond it.
    let by_stack_pointer =
        rsp < bottom && rsp > bottom.saturating_sub(MIB) && address.abs_diff(rsp) < PAGE;
    (guard.contains(&address) || by_stack_pointer && address < bottom).then(|| bottom - address)
}

/// The function that the guest was in.
fn function(scene: &Scene<'_>) -> Option<String> {
    let frames = scene.symbols.frames(scene.registers().rip, false);
    frames.into_iter().rev().find_map(|frame| frame.function)
}

fn page_fault_details(scene: &Scene<'_>, exception: &Exception, code: u64) -> Vec<String> {
    let address = exception.cr2.map_or(0, |address| address.0);
    let present = if code & PRESENT == 0 { "page not present" } else { "page present" };
    let (_, access) = access(code);
    let ring = if exception.from_ring_3() { 3 } else { 0 };
    let mut details = vec![format!("error code {code:#x}: {access}, {present}, ring {ring}")];
    if let Some((name, into)) = scene.symbols.symbol_at(address)
        && scene.space.region(address).is_none()
    {
        details.push(format!("{address:#x} is {name} + {into:#x}"));
    }
    details.push(format!("page walk: {}", scene.space.walk(address)));
    details
}

fn double_fault(scene: &Scene<'_>, exception: &Exception) -> (Option<String>, Vec<String>) {
    let why = "an exception could not be delivered: its own delivery raised another".to_owned();
    let sp = exception.rsp.0;
    // A frame has up to 48 bytes, and none of them may fit any more.
    let note = match below_the_stack(scene, sp.wrapping_sub(1)) {
        Some(_) => {
            format!("RSP is {sp:#x}, at the bottom of the stack or below: no frame fits there")
        }
        None => format!("RSP was {sp:#x}; the gate, its stack or its code may not be usable"),
    };
    (Some(why), vec![note])
}

fn divide_error(scene: &Scene<'_>) -> Option<String> {
    let decoded = scene.decoded.as_ref()?;
    match decoded.first_register(scene.registers()) {
        Some((name, 0)) => Some(format!("division by zero: {name} is 0")),
        Some((name, value)) => Some(format!("the quotient by {name} = {value:#x} does not fit")),
        None => Some("division by zero, or a quotient that does not fit".to_owned()),
    }
}

fn invalid_opcode(scene: &Scene<'_>) -> (Option<String>, Vec<String>) {
    let Some(decoded) = &scene.decoded else {
        return (Some("these bytes are no instruction".to_owned()), Vec::new());
    };
    match decoded.instruction.mnemonic() {
        Mnemonic::Ud2 => (
            Some("UD2, a trap that was put there".to_owned()),
            vec!["compilers end code that must not be reached with UD2".to_owned()],
        ),
        _ if is_call_elsewhere(decoded) => {
            (Some(format!("`{}` leads nowhere here", decoded.text)), Vec::new())
        }
        _ => (
            Some(format!("this processor does not execute `{}`", decoded.text)),
            vec![
                "the guest's CPUID shows no extensions; build it for x86_64-unknown-none, or for \
                 baseline x86-64"
                    .to_owned(),
            ],
        ),
    }
}

/// Whether it is how other worlds call their hosts and kernels.
fn is_call_elsewhere(decoded: &Decoded) -> bool {
    matches!(
        decoded.instruction.mnemonic(),
        Mnemonic::Vmcall
            | Mnemonic::Vmmcall
            | Mnemonic::Int
            | Mnemonic::Syscall
            | Mnemonic::Sysenter
    )
}

/// What to say where a guest tried to call the host in a way that does not lead there.
pub(crate) fn not_a_call(scene: &Scene<'_>) -> Option<String> {
    let here = scene.decoded.as_ref().is_some_and(is_call_elsewhere);
    // SYSCALL leaves the address behind it in RCX, and goes to MSR_LSTAR, which nobody has set.
    let registers = scene.registers();
    let mut before = [0; 2];
    let by_syscall = registers.rip == 0
        && scene.space.read(registers.rcx.wrapping_sub(2), &mut before) == 2
        && before == [0x0f, 0x05];
    (here || by_syscall).then(|| {
        "VMCALL, INT, SYSCALL and their like never reach this host; a hypercall here is an OUT \
         (guest/abi/README.md)"
            .to_owned()
    })
}

fn debug(exception: &Exception) -> Option<String> {
    const TRAP_FLAG: u64 = 1 << 8;
    (exception.rflags & TRAP_FLAG != 0).then(|| "a single step, with RFLAGS.TF set".to_owned())
}

fn protection(scene: &Scene<'_>, vector: u8, code: u64) -> (Option<String>, Vec<String>) {
    if code != 0 {
        return (Some(selector(code)), vec![format!("error code {code:#x}")]);
    }
    let rip = scene.registers().rip;
    if !is_canonical(rip) {
        // Some processors fault at the target, others at the branch, which is handled below.
        return (Some(format!("jump: address {rip:#x} {NOT_CANONICAL}")), Vec::new());
    }
    let Some(decoded) = &scene.decoded else { return (None, Vec::new()) };
    if is_call_elsewhere(decoded) {
        return (Some(format!("`{}` leads nowhere here", decoded.text)), Vec::new());
    }
    if scene.in_ring_3() && decoded.needs_ring_0() {
        let why = format!("`{}` needs ring 0", decoded.text);
        return (Some(why), vec!["run the guest without --ring 3".to_owned()]);
    }
    let mut addresses = decoded.memory(scene.registers());
    addresses.extend(decoded.branch_target(scene.registers()));
    if decoded.instruction.flow_control() == FlowControl::Return {
        addresses.extend(scene.space.word(scene.registers().rsp));
    }
    if let Some(address) = addresses.iter().find(|address| !is_canonical(**address)) {
        let why = format!("address {address:#x} {NOT_CANONICAL}");
        return (Some(why), Vec::new());
    }
    if let Some(address) = addresses.first().filter(|_| decoded.wants_alignment())
        && address % 16 != 0
    {
        let why = format!(
            "`{}` wants an address that is a multiple of 16, not {address:#x}",
            decoded.text
        );
        return (Some(why), Vec::new());
    }
    let sp = scene.registers().rsp;
    if !is_canonical(sp) && vector != 11 {
        return (Some(format!("the stack pointer {sp:#x} is not canonical")), Vec::new());
    }
    let why = match decoded.instruction.mnemonic() {
        Mnemonic::Wrmsr => {
            let msr = scene.registers().rcx & 0xffff_ffff;
            format!("KVM does not let MSR {msr:#x} be written, or not with this value")
        }
        Mnemonic::Rdmsr => {
            let msr = scene.registers().rcx & 0xffff_ffff;
            format!("KVM does not let MSR {msr:#x} be read")
        }
        Mnemonic::Mov if decoded.needs_ring_0() => {
            format!("`{}` would set bits that are reserved or contradict each other", decoded.text)
        }
        _ => format!("the processor does not allow `{}` here", decoded.text),
    };
    (Some(why), Vec::new())
}

const NOT_CANONICAL: &str = "is not canonical: bits 63 to 47 differ";

fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1_ffff)
}

/// The error code of #TS, #NP, #SS and #GP where it names a descriptor (SDM vol. 3, 7.13).
fn selector(code: u64) -> String {
    let (table, index) = match code >> 1 & 3 {
        0 => ("the GDT", code >> 3 & 0x1fff),
        2 => ("the LDT", code >> 3 & 0x1fff),
        _ => {
            let vector = code >> 3 & 0xff;
            return format!(
                "the IDT has no gate that may be used for vector {vector}; the host's has 32, and INT \
                 may raise none of them but 3"
            );
        }
    };
    let selector = code & 0xfff8;
    format!("selector {selector:#x}, entry {index} of {table}, is none that may be used for this")
}

/// What can still be known when the processor has given up.
pub(crate) fn triple_fault(scene: &Scene<'_>) -> Words {
    let headline = "triple fault: an exception, and its handling failed as well".to_owned();
    if scene.was_reset() {
        let note = "this KVM resets the vCPU at a triple fault: where it happened, and why, is gone; a \
                    KVM that keeps the registers (kvm_intel, kvm_pvm) tells more";
        return (headline, vec![note.to_owned()]);
    }
    let (sregs, layout) = (&scene.sregs, scene.space.layout);
    let mut notes = Vec::new();
    if !layout.descriptors.contains(&sregs.idt.base) {
        let gates = (u64::from(sregs.idt.limit) + 1) / 16;
        let many = if gates == 1 { "" } else { "s" };
        notes.push(format!(
            "the guest has loaded an interrupt table of its own: {gates} gate{many} at {:#x}",
            sregs.idt.base
        ));
    }
    for (what, base) in
        [("descriptor table", sregs.gdt.base), ("task state segment", sregs.tr.base)]
    {
        if !layout.descriptors.contains(&base) {
            notes.push(format!("the guest has loaded a {what} of its own, at {base:#x}"));
        }
    }
    let overwritten = exception::overwritten(scene.space.memory, layout);
    if !overwritten.is_empty() {
        notes.push(format!("the guest has written over the host's {}", overwritten.join(", ")));
    }
    notes.extend(lost_tables(scene));
    if notes.is_empty() {
        notes.push(
            "descriptor tables and stubs are as the host made them; page tables may not be"
                .to_owned(),
        );
    }
    (headline, notes)
}

/// What to say where the guest's page tables lead nowhere. That is a triple fault on some KVMs;
/// kvm_amd lets the processor fault until someone stops it.
fn lost_tables(scene: &Scene<'_>) -> Vec<String> {
    if scene.space.tables_lead_somewhere() {
        return Vec::new();
    }
    let walk = scene.space.walk(scene.space.image.entry().0);
    vec![
        format!("its page tables no longer map its own entry: {walk}"),
        "memory is read below as the host had mapped it at the start".to_owned(),
    ]
}

/// What to say where the guest is no longer in the mode that it was started in.
pub(crate) fn other_mode(scene: &Scene<'_>) -> Option<String> {
    const PAGING: u64 = 1 << 31;
    let bits = disasm::code_bits(&scene.sregs);
    (bits != 64 && !scene.was_reset()).then(|| {
        let paging = if scene.sregs.cr0 & PAGING == 0 { "without" } else { "with" };
        format!(
            "the guest has left 64-bit mode for {bits}-bit code {paging} paging; addresses are read \
             here by CR3's tables as those of 64-bit mode"
        )
    })
}

/// What a guest may have hung in that did not end by itself.
pub(crate) fn stopped(scene: &Scene<'_>) -> Vec<String> {
    let mut notes = lost_tables(scene);
    notes.extend(not_a_call(scene));
    notes
}

pub(crate) fn unmapped_access(scene: &Scene<'_>) -> Words {
    let mut notes = Vec::new();
    let reads = matches!(scene.outcome.end, End::UnmappedAccess { write: false, .. });
    if reads
        && let Some(address) =
            scene.decoded.as_ref().and_then(|d| d.memory(scene.registers()).first().copied())
    {
        notes.push(format!("page walk of {address:#x}: {}", scene.space.walk(address)));
    }
    notes.push(
        "the host maps nothing but RAM, so the guest has mapped this itself; there is no device at \
         any address"
            .to_owned(),
    );
    (scene.outcome.end.to_string(), notes)
}
