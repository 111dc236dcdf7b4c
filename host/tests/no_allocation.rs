//! A call of numbers allocates nothing, on either way, and neither does a handler of ports, memory or MSRs.

mod common;

use abi::note::TYPE_SERVES;
use common::calls::{TABLE, note};
use common::elf::{Elf, NOTE, Ph, R, data};
use common::kvm;
use portcall::{End, Gpa, Guest, Image, Mmio, Msrs, Ports, Vm};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread, so that tests do not count each other's.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often something allocates.
fn allocations<T>(what: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let result = what();
    (ALLOCATIONS.get() - before, result)
}

abi::hypercalls! {
    /// Numbers.
    trait Numbers {
        fn mix(&mut self, a: u64, pair: [i32; 2], flag: Option<bool>) -> Result<[u64; 2], u8>;
    }
}

struct Host;

impl Numbers for Host {
    fn mix(&mut self, a: u64, pair: [i32; 2], flag: Option<bool>) -> Result<[u64; 2], u8> {
        let [first, second] = pair.map(|it| u64::from(it.unsigned_abs()));
        if flag == Some(true) { Err(7) } else { Ok([a + first, second]) }
    }
}

impl Ports for Host {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
        Ok(())
    }

    fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
        Ok(7)
    }
}

impl Mmio for Host {
    fn read(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8) -> Result<u64, End> {
        Ok(7)
    }
}

impl Msrs for Host {
    fn read(&mut self, _: &mut Guest<'_>, _: u32) -> Result<Option<u64>, End> {
        Ok(Some(7))
    }
}

#[test]
fn an_access_to_a_window_or_an_msr_allocates_nothing() {
    // As many rounds as stand in the table, each both ways of a window and a read of a register.
    let code = code!(device_rounds:
        "mov ebx, [0x200000]" "mov esi, 0xd0000000" "mov ecx, 0x11000"
        "2: mov [rsi], ebx" "mov edi, [rsi]" "rdmsr" "dec ebx" "jnz 2b" "hlt"
    );
    let file = Elf::new(code).with(data(TABLE, 8), &[0; 8]).bytes();
    let (kvm, image) = (kvm(), Image::parse(&file).expect("an image"));
    let of_rounds = |rounds: u64| {
        let builder = Vm::builder(&kvm, &image).mmio(0xd000_0000..0xd000_1000, Host);
        let mut vm = builder.msrs(0x1_1000..=0x1_1000, Host).build().expect("builds");
        vm.memory().write(Gpa(TABLE), &rounds.to_le_bytes()).expect("RAM");
        let (count, outcome) = allocations(|| vm.run().expect("runs"));
        assert_eq!((outcome.end, outcome.stats.exits()), (End::Halted, 3 * rounds + 1));
        count
    };
    assert_eq!(of_rounds(1000), of_rounds(1));
}

#[test]
fn a_call_to_the_host_and_a_port_access_allocate_nothing() {
    // As many rounds as stand in the table, each a call and both ways of a port.
    let code = code!(rounds:
        "mov ebx, [0x200008]"
        "2: mov eax, [0x200000]" "mov edi, ebx" "xor esi, esi" "xor edx, edx" "xor ecx, ecx"
        "out 0xf7, eax" "mov edx, 0x300" "out dx, al" "in eax, dx" "dec ebx" "jnz 2b" "hlt"
    );
    let number = u64::from(INTERFACE.number(0)).to_le_bytes();
    let file = Elf::new(code).with(data(TABLE, 16), &[number, [0; 8]].concat()).bytes();
    let image = Image::parse(&file).expect("an image");
    let kvm = kvm();
    let of_rounds = |rounds: u64| {
        let mut vm = Vm::builder(&kvm, &image)
            .serve(Server(Host))
            .ports(0x300..=0x300, Host)
            .build()
            .expect("builds");
        vm.memory().write(Gpa(TABLE + 8), &rounds.to_le_bytes()).expect("RAM");
        let (count, outcome) = allocations(|| vm.run().expect("runs"));
        assert_eq!((outcome.end, outcome.stats.exits()), (End::Halted, 3 * rounds + 1));
        count
    };
    // The outcome itself has lists.
    assert_eq!(of_rounds(1000), of_rounds(1));
}

#[test]
fn a_call_to_the_guest_allocates_nothing() {
    // Ok, and the sum of the second and third word, then the fourth.
    let code = code!(answers_numbers:
        "mov rbx, [rdi + 96]"
        "2: xor eax, eax" "out 0xf8, eax"
        "mov rcx, [rbx + 8]" "add rcx, [rbx + 16]" "mov rdx, [rbx + 24]"
        "mov qword ptr [rbx + 8], 0" "mov [rbx + 16], rcx" "mov [rbx + 24], rdx" "jmp 2b"
    );
    let descriptor = format!("Numbers\0{}\0", INTERFACE.methods[0]);
    let note = note(TYPE_SERVES, descriptor.as_bytes());
    let size = note.len() as u64;
    let header = Ph { kind: NOTE, flags: R, memsz: size, align: 4, ..data(0, size) };
    let file = Elf::new(code).with(header, &note).bytes();
    let image = Image::parse(&file).expect("an image");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let mut client = Client(vm.door());
    // The first runs main, and compares the definitions.
    assert_eq!(client.mix(1, [2, 3], None).expect("answers"), Ok([3, 3]));
    let (count, ()) = allocations(|| {
        for i in 0..100 {
            let answer = client.mix(i, [2, 3], Some(true)).expect("answers");
            assert_eq!(answer, Ok([i + 2, 3]));
        }
    });
    assert_eq!(count, 0);
}
