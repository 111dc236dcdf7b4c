//! A guest's own interrupt table: it recovers from a division by zero, and mends page faults by
//! mapping the page that was missed, counting them.
//@ ring: 0
//@ expect: exits=1

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use guest::{Boot, println};

guest::entry!(main);

/// Memory that is mapped when it is first touched: nothing is there, RAM ends far below.
const ON_DEMAND: u64 = 0x5000_0000;
const PAGE: u64 = 4096;

static FAULTS: AtomicU64 = AtomicU64::new(0);
/// The next page of RAM that nobody uses. This guest makes no allocation, so the heap is free.
static FREE: AtomicU64 = AtomicU64::new(0);

fn main(boot: &Boot) {
    FREE.store(boot.heap().start, Ordering::Relaxed);
    load_idt();
    allow_writes_to_page_tables();

    println!("7 / 0 = {}", divide(7, 0));
    println!("7 / 2 = {}", divide(7, 2));

    for i in 0..3u64 {
        let word = (ON_DEMAND + i * PAGE) as *mut u64;
        // SAFETY: the page is mapped when this touches it, and nothing else uses it.
        unsafe { word.write_volatile(i * 100) };
        // SAFETY: as above.
        println!("page {i} holds {}", unsafe { word.read_volatile() });
    }
    println!("page faults mended: {}", FAULTS.load(Ordering::Relaxed));
}

fn divide(dividend: u32, divisor: u32) -> u32 {
    let quotient;
    // SAFETY: DIV changes EAX and EDX, or raises an exception that `divide_error` handles.
    unsafe {
        asm!("div ecx", in("ecx") divisor, inout("eax") dividend => quotient, inout("edx") 0 => _)
    };
    quotient
}

/// Goes on behind the DIV, whose encoding here has 2 bytes, with a quotient of 0.
#[unsafe(naked)]
extern "C" fn divide_error() {
    naked_asm!("xor eax, eax", "add qword ptr [rsp], 2", "iretq")
}

/// Saves what Rust may change, and goes on with the access once its page is there.
#[unsafe(naked)]
extern "C" fn page_fault() {
    naked_asm!(
        "push rax", "push rcx", "push rdx", "push rsi", "push rdi",
        "push r8", "push r9", "push r10", "push r11",
        "mov rdi, cr2",
        "sub rsp, 8", // a call wants RSP to be a multiple of 16
        "call {mend}",
        "add rsp, 8",
        "pop r11", "pop r10", "pop r9", "pop r8",
        "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rax",
        "add rsp, 8", // the error code
        "iretq",
        mend = sym mend,
    )
}

// ANCHOR: mend
/// Maps the page around `address`, with tables on the way where there are none.
extern "C" fn mend(address: u64) {
    assert!((ON_DEMAND..ON_DEMAND + 16 * PAGE).contains(&address), "{address:#x} is not for us");
    FAULTS.fetch_add(1, Ordering::Relaxed);
    let mut table: u64;
    // SAFETY: reading CR3 changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) table) };
    for shift in [39, 30, 21, 12] {
        let entry = (table + 8 * (address >> shift & 511)) as *mut u64;
        // SAFETY: the page tables are mapped one to one, and no reference is into them.
        let mut value = unsafe { entry.read_volatile() };
        if value & 1 == 0 {
            // Present and writable.
            value = FREE.fetch_add(PAGE, Ordering::Relaxed) | 0b11;
            // SAFETY: as above; CR0.WP is clear.
            unsafe { entry.write_volatile(value) };
        }
        table = value & 0x000f_ffff_ffff_f000;
    }
}
// ANCHOR_END: mend

/// The host's interrupt table, with two gates of our own: all other exceptions still reach the
/// host and are explained.
fn load_idt() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    static mut IDT: [[u64; 2]; 32] = [[0; 2]; 32];

    let mut hosts = Pointer { limit: 0, base: 0 };
    // SAFETY: SIDT writes the 10 bytes of a pointer.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut hosts) };
    let ours = &raw mut IDT;
    // SAFETY: the host's table has 32 gates, and this is the only one to touch ours.
    unsafe { core::ptr::copy_nonoverlapping(hosts.base as *const [u64; 2], ours.cast(), 32) };
    let gates: [(usize, extern "C" fn()); 2] = [(0, divide_error), (14, page_fault)];
    for (vector, handler) in gates {
        let handler = handler as *const () as u64;
        // SDM vol. 3, 7.14.1: code selector 0x10, no stack of its own, an interrupt gate.
        let low = handler & 0xffff | 0x10 << 16 | 0x8e << 40 | (handler >> 16 & 0xffff) << 48;
        // SAFETY: as above; `vector` is below 32.
        unsafe { (*ours)[vector] = [low, handler >> 32] };
    }
    let pointer = Pointer { limit: 32 * 16 - 1, base: ours.addr() as u64 };
    // SAFETY: the table is complete and lives as long as the guest.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer) };
}

/// Clears CR0.WP: the host maps its page tables read-only.
fn allow_writes_to_page_tables() {
    // SAFETY: what becomes writable here is written by `mend` alone.
    unsafe { asm!("mov {0}, cr0", "and {0}, ~0x10000", "mov cr0, {0}", out(reg) _) };
}
