//! From ring 3 to ring 0 and back, within the guest: it begins in ring 0, makes a ring 3 of its own
//! (page tables, GDT, TSS, IDT), goes there, and traps back by INT3 or INT 80h through gates that ring
//! 3 may use, or by SYSCALL. What is behind them is one IRETQ or SYSRETQ.

use core::arch::{asm, naked_asm};
use guest::Boot;

/// Selectors, in the places that Linux has them: kvm_pvm runs no others in ring 3.
const KERNEL_CODE: u64 = 0x10;
const USER_DATA: u64 = 0x28 | 3;
const USER_CODE: u64 = 0x30 | 3;
const TSS: u64 = 0x40;

/// The vectors of INT3 and INT 80h, the host's gates, and all of them.
const INT3: usize = 3;
const INT: usize = 0x80;
const HOSTS: usize = 32;
const GATES: usize = INT + 1;

/// Registers of SYSCALL (SDM vol. 3, 6.8.8): what may be, selectors, where to, flags to clear.
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;

/// RFLAGS with IOPL 3: ring 3 may use ports, by which it tells the host what it measured.
const FLAGS: u64 = 3 << 12 | 2;

/// Present, writable, and ring 3's.
const PAGE: u64 = 0b111;
/// The same of a page of 2 MiB.
const LARGE: u64 = PAGE | 1 << 7;

/// A page table, or a stack of a page.
#[repr(C, align(4096))]
struct Page([u64; 512]);

/// A 64-bit TSS (SDM vol. 3, 9.7), with an I/O bitmap of zeros and the byte of ones behind it.
#[repr(C, align(4096))]
struct TaskState {
    head: [u8; 0x68],
    bitmap: [u8; 8192],
    end: u8,
}

/// What LGDT and LIDT load.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

static mut TABLES: [Page; 3] = [const { Page([0; 512]) }; 3];
static mut STACKS: [Page; 2] = [const { Page([0; 512]) }; 2];
static mut STATE: TaskState = TaskState { head: [0; 0x68], bitmap: [0; 8192], end: 0xff };
static mut GDT: [u64; 10] = [0; 10];
static mut IDT: [[u64; 2]; GATES] = [[0; 2]; GATES];

pub(crate) fn int3(_: &Boot, samples: u32) {
    make_ring_3();
    enter_ring_3();
    guest::measure("trap-int3", samples, || {
        // SAFETY: the gate's handler changes nothing, and comes back behind it.
        unsafe { asm!("int3") }
    });
}

pub(crate) fn int(_: &Boot, samples: u32) {
    make_ring_3();
    enter_ring_3();
    guest::measure("trap-int", samples, || {
        // SAFETY: as above.
        unsafe { asm!("int 0x80") }
    });
}

pub(crate) fn syscall(_: &Boot, samples: u32) {
    make_ring_3();
    allow_syscall();
    enter_ring_3();
    guest::measure("trap-syscall", samples, || {
        // SAFETY: what is behind it comes back at once; the processor keeps RIP and RFLAGS in these.
        unsafe { asm!("syscall", out("rcx") _, out("r11") _) }
    });
}

fn make_ring_3() {
    map();
    load_gdt();
    load_idt();
}

fn allow_syscall() {
    // SYSCALL loads CS from bits 32 on and SS from the next; SYSRETQ adds 16 and 8 to bits 48 on.
    let selectors = (USER_DATA - 8) << 48 | KERNEL_CODE << 32;
    let handler = back_by_sysret as *const () as u64;
    for (register, value) in [(STAR, selectors), (LSTAR, handler), (FMASK, 0)] {
        write(register, value);
    }
    let (low, high): (u32, u32);
    // SAFETY: it changes EAX and EDX.
    unsafe { asm!("rdmsr", in("ecx") EFER, out("eax") low, out("edx") high) };
    write(EFER, u64::from(high) << 32 | u64::from(low) | 1);
}

fn write(register: u32, value: u64) {
    // SAFETY: they matter to SYSCALL alone, which nothing else here uses.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value & 0xffff_ffff, in("edx") value >> 32);
    }
}

/// Maps the first GiB one to one, for both rings. All of it is there, or nobody touches it.
fn map() {
    let tables = &raw mut TABLES;
    let address = |table: u64| tables.addr() as u64 + 4096 * table;
    let mut entries = [0; 512];
    let first = |entry: u64| {
        let mut entries = [0; 512];
        entries[0] = entry;
        Page(entries)
    };
    entries.iter_mut().zip(0..).for_each(|(entry, page): (_, u64)| *entry = page << 21 | LARGE);
    let made = [first(address(1) | PAGE), first(address(2) | PAGE), Page(entries)];
    // SAFETY: they are not in use yet.
    unsafe { tables.write(made) };
    // SAFETY: what this program uses is where it was.
    unsafe { asm!("mov cr3, {}", in(reg) address(0)) };
}

/// The same descriptors as the host's, with a TSS of our own: in it are the stacks of ring 0, that of
/// traps and that of what the host's gates are for.
fn load_gdt() {
    let state = &raw mut STATE;
    let top = |stack: u64| (&raw const STACKS).addr() as u64 + 4096 * stack;
    let mut head = [0; 0x68];
    let mut set = |at: usize, value: u64| head[at..at + 8].copy_from_slice(&value.to_le_bytes());
    set(0x04, top(1)); // RSP0
    set(0x24, top(2)); // IST1
    set(0x2c, top(2)); // IST2
    head[0x66] = 0x68; // where the I/O bitmap begins
    // SAFETY: it is not in use yet.
    unsafe { (*state).head = head };

    let (base, limit) = (state.addr() as u64, 0x68 + 8192);
    let low = limit & 0xffff
        | (base & 0xff_ffff) << 16
        | 0x89 << 40 // present, a 64-bit TSS
        | (base >> 24 & 0xff) << 56;
    let entries = [
        0,
        0,
        0x00af_9b00_0000_ffff, // ring 0: code
        0x00cf_9300_0000_ffff, // data
        0,
        0x00cf_f300_0000_ffff, // ring 3: data
        0x00af_fb00_0000_ffff, // code
        0,
        low,
        base >> 32,
    ];
    let gdt = &raw mut GDT;
    // SAFETY: it is not in use yet.
    unsafe { gdt.write(entries) };
    let pointer = Pointer { limit: 10 * 8 - 1, base: gdt.addr() as u64 };
    // SAFETY: the descriptors that are in use mean the same in it.
    unsafe { asm!("lgdt [{}]", in(reg) &raw const pointer) };
    // SAFETY: the TSS is complete.
    unsafe { asm!("ltr {:x}", in(reg) TSS) };
}

/// The host's gates, and two of our own.
fn load_idt() {
    let mut hosts = Pointer { limit: 0, base: 0 };
    // SAFETY: SIDT writes the 10 bytes of a pointer.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut hosts) };
    let idt = &raw mut IDT;
    // SAFETY: the host's table has 32 gates.
    unsafe { core::ptr::copy_nonoverlapping(hosts.base as *const [u64; 2], idt.cast(), HOSTS) };
    let handler = back as *const () as u64;
    // SDM vol. 3, 7.14.1: an interrupt gate that ring 3 may use, on the stack of RSP0.
    let low = handler & 0xffff | KERNEL_CODE << 16 | 0xee << 40 | (handler >> 16 & 0xffff) << 48;
    for vector in [INT3, INT] {
        // SAFETY: it is not in use yet.
        unsafe { (*idt)[vector] = [low, handler >> 32] };
    }
    #[expect(clippy::cast_possible_truncation, reason = "some hundred gates at most")]
    let pointer = Pointer { limit: (GATES * 16 - 1) as u16, base: idt.addr() as u64 };
    // SAFETY: the table is complete.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer) };
}

#[unsafe(naked)]
extern "C" fn back() {
    naked_asm!("iretq")
}

#[unsafe(naked)]
extern "C" fn back_by_sysret() {
    naked_asm!("sysretq")
}

/// Goes on in ring 3, on the same stack.
fn enter_ring_3() {
    // SAFETY: all memory is ring 3's as well, and so are ports.
    unsafe {
        asm!(
            "mov {stack}, rsp",
            "lea {next}, [rip + 2f]",
            "push {data}",
            "push {stack}",
            "push {flags}",
            "push {code}",
            "push {next}",
            "iretq",
            "2:",
            stack = out(reg) _,
            next = out(reg) _,
            data = const USER_DATA,
            flags = const FLAGS,
            code = const USER_CODE,
        );
    }
}
