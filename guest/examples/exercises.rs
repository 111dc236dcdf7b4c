//! The classic exercises of a virtualization course, over raw ports: printing by exits, counting
//! them, and asking where memory lies. host/examples/exercises.rs answers, and says what each port
//! does.
//@ expect: exits.port[0x300]=2 exits.port[0x301]=16 exits.port[0xe9]=0

#![no_std]
#![no_main]

use core::ffi::CStr;
use guest::port::{read_u32, write_u8, write_u32};
use guest::{Boot, println};

guest::entry!(main);

const NUMBER: u16 = 0x300;
const TEXT: u16 = 0x301;
const EXITS: u16 = 0x302;
const EXITS_OF_KIND: u16 = 0x303;
const ADDRESS: u16 = 0x304;
const GPA: u16 = 0x305;
const HVA: u16 = 0x307;

/// Eight KiB without a NUL: longer than any text that the host reads.
static ENDLESS: [u8; 8192] = [b'x'; 8192];

/// The null page is not mapped.
const NULL: u32 = 0;

/// Beyond the RAM of any guest of this size, and not mapped.
const NO_RAM: u32 = 0xc000_0000;

/// The last byte that the register can name.
const LAST: u32 = u32::MAX;

fn main(boot: &Boot) {
    println!("Numbers of 8 and 32 bits, an exit each:");
    write_u8(NUMBER, 200);
    write_u32(NUMBER, 4_000_000_000);

    let before = read_u32(EXITS);
    print_text(c"A text in one exit, ");
    print_text(c"and another.\n");
    // The read itself is one more.
    println!("exits for two texts: {}", read_u32(EXITS) - before - 1);

    let (ins, outs) = (exits_of_kind(0), exits_of_kind(1));
    let all = read_u32(EXITS);
    println!("{ins} IN, {outs} OUT; with what this question took, {all} exits");
    println!("exits of a kind that there is not: {:#x}", exits_of_kind(2));

    addresses(boot);
    wrong_texts(boot);
}

/// Host addresses differ from run to run, but not in everything.
fn addresses(boot: &Boot) {
    let pair = [0u16; 2];
    let [first, second] = [&raw const pair[0], &raw const pair[1]].map(|it| word(it.addr()));
    let (gpa, hva) = (translated(first, GPA), translated(first, HVA));
    println!("memory is mapped one to one: {}", gpa == u64::from(first));
    println!("the host has it elsewhere, at the same place in a page: {}", {
        hva != gpa && hva % 4096 == gpa % 4096
    });
    println!("two bytes further it is {} bytes further", translated(second, HVA) - hva);
    let end = end_of_ram(boot);
    for (what, gva) in [("null", NULL), ("no RAM", NO_RAM), ("RAM's end", end), ("last byte", LAST)]
    {
        println!("{what}: {:#x}, {:#x}", translated(gva, GPA), translated(gva, HVA));
    }
}

/// What the host must not print, nor fall over.
fn wrong_texts(boot: &Boot) {
    let end = end_of_ram(boot);
    // The stack's highest bytes held what the entry found there: it never returns to it.
    let top = core::ptr::with_exposed_provenance_mut::<[u8; 2]>(end as usize - 2);
    // SAFETY: RAM that is mapped one to one and that no reference of this program's stands on.
    unsafe { top.write_volatile(*b"ab") };
    let endless = word((&raw const ENDLESS).addr());
    for (what, gva) in [
        ("null", NULL),
        ("no RAM", NO_RAM),
        ("not terminated", endless),
        ("past RAM's end", end - 2),
        ("last byte", LAST),
    ] {
        write_u32(TEXT, gva);
        println!("{what}: {:#x}", read_u32(TEXT));
    }
    // SAFETY: as above.
    unsafe { top.write_volatile(*b"\n\0") };
    write_u32(TEXT, end - 2);
    println!("up to RAM's end: {}", read_u32(TEXT));
    print_text(c"");
    println!("empty: {}", read_u32(TEXT));
}

fn print_text(text: &CStr) {
    write_u32(TEXT, word(text.as_ptr().addr()));
}

fn exits_of_kind(kind: u8) -> u32 {
    write_u8(EXITS_OF_KIND, kind);
    read_u32(EXITS_OF_KIND)
}

/// Where a guest-virtual address leads, by the port of the answer's low half.
fn translated(gva: u32, low: u16) -> u64 {
    write_u32(ADDRESS, gva);
    u64::from(read_u32(low)) | u64::from(read_u32(low + 1)) << 32
}

/// The first address behind RAM; the guest has less than 3 GiB.
fn end_of_ram(boot: &Boot) -> u32 {
    boot.ram().next().map_or(0, |ram| u32::try_from(ram.end).expect("below 4 GiB"))
}

/// An address as the register has it: guests of this size lie below 4 GiB.
fn word(address: usize) -> u32 {
    u32::try_from(address).expect("below 4 GiB")
}
