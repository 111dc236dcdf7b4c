//! Debug information: symbols, lines, inlined functions and backtraces of images that say what they
//! like. Some kilobytes must not ask for gigabytes or for minutes, which the limits of the fuzzer
//! hold them to.

use crate::file::{self, EXEC, PROGBITS, STRTAB, SYMTAB};
use crate::input::Input;
use inspect::Symbols;
use portcall::address_space::address_space;
use portcall::kvm_bindings::kvm_regs;
use portcall::layout::{Gpa, Layout, MIB};
use portcall::paging::{Tables, tables_bound};
use portcall::{Image, Memory, Ring};
use std::cell::OnceCell;

/// Where the guest's code is, and how much.
pub const CODE: u64 = MIB;
const CODE_SIZE: usize = 0x1_0000;
static TEXT: [u8; CODE_SIZE] = [0xf4; CODE_SIZE];

/// Bytes at the top of the stack that a case decides.
pub const STACK: usize = 512;

/// The sections that a case may have, by their place here.
pub const SECTIONS: [(&str, u32); 16] = [
    (".debug_info", PROGBITS),
    (".debug_abbrev", PROGBITS),
    (".debug_line", PROGBITS),
    (".debug_str", PROGBITS),
    (".debug_line_str", PROGBITS),
    (".debug_ranges", PROGBITS),
    (".debug_rnglists", PROGBITS),
    (".debug_aranges", PROGBITS),
    (".debug_addr", PROGBITS),
    (".debug_str_offsets", PROGBITS),
    (".debug_loclists", PROGBITS),
    (".debug_frame", PROGBITS),
    (".eh_frame", PROGBITS),
    (".text", PROGBITS),
    (".symtab", SYMTAB),
    (".strtab", STRTAB),
];

/// The most symbols whose addresses are looked up.
const LOOKED_UP: usize = 8;

/// A guest that was only put together: its code is HLT all over.
struct Still {
    image: Image<'static>,
    layout: Layout,
    memory: Memory,
}

impl Still {
    fn new() -> Self {
        let image = Image::flat(&TEXT).expect("some bytes");
        let segments = image.segments();
        let bound = tables_bound(2 * MIB, segments);
        let layout = Layout::new(2 * MIB, bound, 0, 0).expect("lays out");
        let memory = Memory::map(&layout).expect("two MiB");
        let space = address_space(&layout, segments, Ring::Zero);
        let tables = Tables::build(Gpa(layout.tables.start), &space);
        tables.write(&memory, &layout.tables).expect("the bound is one");
        Self { image, layout, memory }
    }
}

thread_local! {
    /// Only its stack changes from case to case, and that all of it.
    static STILL: OnceCell<Still> = const { OnceCell::new() };
}

/// Looks up addresses, and walks a stack. The first byte says whether the rest is an ELF file, or a
/// list of sections, each with its number and its size before it. Registers and stack come first.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let whole = input.u8() & 1 == 0;
    let (rip, rsp, rbp) = (input.u16(), input.u16(), input.u16());
    let stack = input.take(STACK);
    let assembled;
    let elf = if whole {
        input.0
    } else {
        assembled = file::elf(EXEC, CODE, &[], &sections(input));
        &assembled
    };
    let symbols = Symbols::new(elf, 0);
    std::hint::black_box(symbols.debug_info());
    let rip = CODE + u64::from(rip);
    look_up(&symbols, elf, rip);
    STILL.with(|still| {
        let Still { image, layout, memory } = still.get_or_init(Still::new);
        let top = layout.stack.end - STACK as u64;
        let mut words = [0; STACK];
        words[..stack.len()].copy_from_slice(stack);
        memory.write(Gpa(top), &words).expect("RAM");
        let (rsp, rbp) = (top + u64::from(rsp), top + u64::from(rbp));
        let registers = kvm_regs { rip, rsp, rbp, ..kvm_regs::default() };
        let guest = (memory, layout);
        let (addresses, end) =
            inspect::backtrace(guest, image, &symbols, layout.tables.start, &registers);
        assert!(addresses.len() <= 256 && addresses[0] == rip, "{addresses:x?} {end:?}");
        for address in &addresses[1..] {
            named(&symbols, *address, true);
        }
    });
}

/// The sections that stand in the input.
fn sections(mut input: Input<'_>) -> Vec<file::Section<'_>> {
    let mut sections = Vec::new();
    while !input.is_empty() && sections.len() < 2 * SECTIONS.len() {
        let (name, kind) = SECTIONS[usize::from(input.u8()) % SECTIONS.len()];
        let size = usize::from(input.u16());
        let address = if name.starts_with(".debug") || kind != PROGBITS { 0 } else { CODE };
        sections.push((name, kind, address, input.take(size)));
    }
    sections
}

/// Looks up RIP, and where symbols begin and end.
fn look_up(symbols: &Symbols<'_>, elf: &[u8], rip: u64) {
    named(symbols, rip, false);
    named(symbols, CODE, false);
    std::hint::black_box(symbols.section_at(rip));
    let all = portcall::sections::Sections::parse(elf);
    for (_, symbol) in all.symbols().take(LOOKED_UP) {
        named(symbols, symbol.st_value, false);
        named(symbols, symbol.st_value.wrapping_add(symbol.st_size), true);
    }
}

/// Looks up one address.
fn named(symbols: &Symbols<'_>, address: u64, call: bool) {
    let frames = symbols.frames(address, call);
    let (outermost, inlined) = frames.split_last().expect("one at least");
    assert!(!outermost.inlined && frames.len() <= 32);
    assert!(inlined.iter().all(|frame| frame.inlined && frame.address == address));
    std::hint::black_box(symbols.symbol_at(address));
}
