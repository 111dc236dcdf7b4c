//! Typed calls of a guest that lies: whatever it puts into its registers, the host survives it,
//! and does for it nothing that it may not do itself.

mod common;

use abi::calls::{BUFFER_MAX, Refusal};
use common::calls::{ROOM, call, vm};
use common::kvm;
use portcall::layout::{GIB, HOLE_END, HOLE_START, Layout, MIB};
use portcall::{End, Gpa, Outcome, Ring};

abi::hypercalls! {
    /// What is tried.
    trait Probe {
        fn read(&mut self, bytes: &[u8]) -> u64;
        fn text(&mut self, text: &str) -> u64;
        fn fill(&mut self, bytes: &mut [u8]) -> u64;
        fn give(&mut self, size: u64) -> &[u8];
        fn refusable(&mut self, bytes: &[u8], flag: bool) -> Result<u64, Refusal>;
        fn give_refusable(&mut self, size: u64) -> Result<&[u8], Refusal>;
        fn words(&mut self, words: [u64; 12]) -> [u64; 12];
    }
}

const READ: u32 = INTERFACE.number(0);
const TEXT: u32 = INTERFACE.number(1);
const FILL: u32 = INTERFACE.number(2);
const GIVE: u32 = INTERFACE.number(3);
const REFUSABLE: u32 = INTERFACE.number(4);
const GIVE_REFUSABLE: u32 = INTERFACE.number(5);
const WORDS: u32 = INTERFACE.number(6);

/// Says how many bytes it was given.
#[derive(Default)]
struct Host(Vec<u8>);

impl Probe for Host {
    fn read(&mut self, bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }

    fn text(&mut self, text: &str) -> u64 {
        text.chars().count() as u64
    }

    fn fill(&mut self, bytes: &mut [u8]) -> u64 {
        bytes.fill(b'!');
        bytes.len() as u64
    }

    fn give(&mut self, size: u64) -> &[u8] {
        self.0 = vec![b'x'; usize::try_from(size).expect("small")];
        &self.0
    }

    fn refusable(&mut self, bytes: &[u8], _: bool) -> Result<u64, Refusal> {
        Ok(bytes.len() as u64)
    }

    fn give_refusable(&mut self, size: u64) -> Result<&[u8], Refusal> {
        Ok(self.give(size))
    }

    fn words(&mut self, mut words: [u64; 12]) -> [u64; 12] {
        words.reverse();
        words
    }
}

/// A call in a VM of its own.
fn once(ring: Ring, memory: u64, number: u32, words: &[u64]) -> Outcome {
    call(&mut vm(&kvm(), ring, memory, Server(Host::default())), number, words)
}

fn refused(name: &str, why: &str) -> End {
    End::CallRefused { call: name.to_owned(), why: why.to_owned() }
}

const SIZE: u64 = 16;

/// An address for [`SIZE`] bytes, and who may use it: in ring 0 read, in ring 0 write, in ring 3
/// read, in ring 3 write.
fn places(layout: &Layout) -> Vec<(&'static str, u64, [bool; 4])> {
    let end = layout.ram[0].end;
    vec![
        ("null", 0, [false; 4]),
        ("almost null", 0xff8, [false; 4]),
        ("the first page with anything", 0x1000, [true; 4]),
        ("the guard", layout.guard.start, [false; 4]),
        ("into the guard", layout.guard.start - 8, [false; 4]),
        ("behind all RAM", end, [false; 4]),
        ("across the end of RAM", end - 8, [false; 4]),
        ("the last bytes of RAM", end - SIZE, [true; 4]),
        ("the hole", HOLE_START, [false; 4]),
        ("the LAPIC", 0xfee0_0000, [false; 4]),
        ("no address", 1 << 47, [false; 4]),
        ("the last of them", u64::MAX, [false; 4]),
        ("around", u64::MAX - 8, [false; 4]),
        ("text", 0x10_0000, [true, false, true, false]),
        ("data", ROOM, [true; 4]),
        ("page tables", layout.tables.start, [true, false, false, false]),
        ("into page tables", layout.tables.start - 8, [true, false, false, false]),
        ("descriptor tables", layout.descriptors.start, [true, false, false, false]),
        ("exception stubs", layout.stubs.start, [true, false, false, false]),
        // The processor writes there, with ring 0's rights; so may the guest.
        ("exception stacks", layout.exception_stacks.start, [true, true, false, false]),
        // The guest's own memory, like its data: what it spoils there are its own words.
        ("boot information", layout.boot.start, [true; 4]),
        ("the console window", layout.console.start + 64, [true; 4]),
        ("the stack", layout.stack.end - 64, [true; 4]),
    ]
}

#[test]
fn a_pointer_leads_where_the_guest_itself_may_go() {
    for (ring, rights) in [(Ring::Zero, 0), (Ring::Three, 2)] {
        let layout = vm(&kvm(), ring, 16 * MIB, Server(Host::default())).layout().clone();
        for (name, address, allowed) in places(&layout) {
            for (what, number, right) in [("read", READ, rights), ("fill", FILL, rights + 1)] {
                let mut vm = vm(&kvm(), ring, 16 * MIB, Server(Host::default()));
                let mut before = [0; 16];
                let readable = vm.memory().read(Gpa(address), &mut before).is_ok();
                let outcome = call(&mut vm, number, &[address, SIZE]);
                let why = format!(
                    "argument `bytes`: 16 bytes at {address:#x}, which the guest may not use so itself"
                );
                let end = match allowed[right] {
                    true => End::Halted,
                    false => refused(&format!("Probe::{what}"), &why),
                };
                assert_eq!(outcome.end, end, "{what} {name} in {ring:?}");
                let mut after = [0; 16];
                if readable {
                    vm.memory().read(Gpa(address), &mut after).expect("as before");
                }
                if allowed[right] {
                    assert_eq!(outcome.registers.rax, SIZE, "{what} {name} in {ring:?}");
                }
                if what == "fill" && allowed[right] {
                    assert_eq!(after, [b'!'; 16], "{name} in {ring:?}");
                } else {
                    // Not compared whole: the processor itself marks page table entries as used.
                    let marks = |bytes: [u8; 16]| bytes.iter().filter(|it| **it == b'!').count();
                    assert_eq!(marks(after), marks(before), "{what} {name} in {ring:?}");
                }
            }
        }
    }
}

#[test]
fn a_guest_without_write_protection_writes_as_the_processor_would_let_it() {
    // It clears CR0.WP, and then may write to its own text; the host is no stricter.
    let code = code!(unprotected:
        "mov rax, cr0" "and rax, ~0x10000" "mov cr0, rax"
        "mov edi, 0x100800" "mov esi, 4" "lea rbx, [rip + 4f]" "mov eax, [rbx]"
        "out 0xf7, eax" "hlt" "4: .long 0x55555555"
    );
    let mut code = code.to_vec();
    let number = code.len() - 4;
    code[number..].copy_from_slice(&FILL.to_le_bytes());
    code.resize(0x1000, 0);
    let image = portcall::Image::flat(&code).expect("code");
    let mut vm = portcall::Vm::builder(&kvm(), &image)
        .serve(Server(Host::default()))
        .build()
        .expect("builds");
    let outcome = vm.run().expect("runs");
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 4));
}

#[test]
fn no_bytes_may_lie_anywhere() {
    for address in [0, 1, HOLE_START, 1 << 47, u64::MAX] {
        for ring in [Ring::Zero, Ring::Three] {
            for number in [READ, TEXT, FILL] {
                let outcome = once(ring, 16 * MIB, number, &[address, 0]);
                let answer = (outcome.end, outcome.registers.rax);
                assert_eq!(answer, (End::Halted, 0), "{address:#x} in {ring:?}");
            }
        }
    }
}

#[test]
fn a_buffer_has_a_largest_size() {
    for number in [READ, FILL] {
        let name = if number == READ { "Probe::read" } else { "Probe::fill" };
        for size in [BUFFER_MAX + 1, 1 << 32, 1 << 63, u64::MAX] {
            let end = once(Ring::Zero, 32 * MIB, number, &[ROOM, size]).end;
            let why =
                format!("argument `bytes`: {size} bytes, of which at most 16777216 are allowed");
            assert_eq!(end, refused(name, &why));
        }
    }
    let most = once(Ring::Zero, 32 * MIB, READ, &[ROOM, BUFFER_MAX]);
    assert_eq!((most.end, most.registers.rax), (End::Halted, BUFFER_MAX));
    // As much is allowed, but there is not so much memory.
    let end = once(Ring::Zero, 16 * MIB, READ, &[ROOM, BUFFER_MAX]).end;
    assert!(matches!(end, End::CallRefused { .. }), "{end}");
}

#[test]
fn the_hole_below_4_gib_is_no_memory() {
    let (memory, size) = (3 * GIB + 2 * MIB, 16);
    for (address, allowed) in [
        (HOLE_START - 8, false),
        (HOLE_START, false),
        (HOLE_END - 8, false),
        (HOLE_END, true),
        (HOLE_END + 2 * MIB - 16, true),
        (HOLE_END + 2 * MIB - 8, false),
    ] {
        for number in [READ, FILL] {
            let outcome = once(Ring::Zero, memory, number, &[address, size]);
            let answered = outcome.end == End::Halted && outcome.registers.rax == size;
            assert_eq!(answered, allowed, "{address:#x}: {}", outcome.end);
        }
    }
    // All of it, from one side to the other.
    let end = once(Ring::Zero, memory, READ, &[HOLE_START - MIB, 3 * MIB]).end;
    assert!(matches!(end, End::CallRefused { .. }), "{end}");
}

#[test]
fn text_is_utf_8() {
    let kvm = kvm();
    for (bytes, characters) in [
        (&b"plain"[..], Some(5)),
        ("g\u{fc}nstig".as_bytes(), Some(7)),
        (b"cut \xc3", None),
        (b"\xff", None),
        // A surrogate, and an overlong slash.
        (b"\xed\xa0\x80", None),
        (b"\xc0\xaf", None),
    ] {
        let mut vm = vm(&kvm, Ring::Zero, 4 * MIB, Server(Host::default()));
        vm.memory().write(Gpa(ROOM), bytes).expect("RAM");
        let size = bytes.len();
        let outcome = call(&mut vm, TEXT, &[ROOM, size as u64]);
        match characters {
            Some(count) => assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, count)),
            None => {
                let why = format!("argument `text`: {size} bytes at {ROOM:#x} are not UTF-8");
                assert_eq!(outcome.end, refused("Probe::text", &why));
            }
        }
    }
}

#[test]
fn a_result_of_bytes_fits_its_space_or_is_refused() {
    let right = once(Ring::Three, 4 * MIB, GIVE, &[16, ROOM, 16]);
    let registers = right.registers;
    assert_eq!((right.end, registers.rax, registers.rdi), (End::Halted, ROOM, 16));
    for (words, why) in [
        ([17, ROOM, 16], "a result of 17 bytes, with space for 16".to_owned()),
        ([1, ROOM, 0], "a result of 1 bytes, with space for 0".to_owned()),
        ([4, 0, 16], "4 bytes at 0x0, which the guest may not use so itself".to_owned()),
        (
            [4, 0x10_0000, 16],
            "4 bytes at 0x100000, which the guest may not use so itself".to_owned(),
        ),
        (
            [4, u64::MAX, u64::MAX],
            format!("4 bytes at {:#x}, which the guest may not use so itself", u64::MAX),
        ),
    ] {
        assert_eq!(once(Ring::Zero, 4 * MIB, GIVE, &words).end, refused("Probe::give", &why));
    }
    // No bytes need no space.
    assert_eq!(once(Ring::Zero, 4 * MIB, GIVE, &[0, 0, 0]).end, End::Halted);
}

#[test]
fn a_definition_with_a_refusal_gets_it_in_place_of_the_end() {
    let told = |outcome: Outcome| {
        assert_eq!(outcome.end, End::Halted);
        (outcome.registers.rax, outcome.registers.rdi)
    };
    let try_one = |number, words: &[u64]| told(once(Ring::Zero, 4 * MIB, number, words));
    assert_eq!(try_one(REFUSABLE, &[ROOM, 3, 1]), (0, 3));
    assert_eq!(try_one(REFUSABLE, &[0, 3, 1]), (1, Refusal::Pointer.code()));
    assert_eq!(try_one(REFUSABLE, &[ROOM, 3, 2]), (1, Refusal::Value.code()));
    assert_eq!(try_one(REFUSABLE, &[ROOM, u64::MAX, 0]), (1, Refusal::TooLarge.code()));
    assert_eq!(try_one(GIVE_REFUSABLE, &[3, ROOM, 3]), (0, ROOM));
    assert_eq!(try_one(GIVE_REFUSABLE, &[4, ROOM, 3]), (1, Refusal::TooLarge.code()));
    assert_eq!(try_one(GIVE_REFUSABLE, &[4, 0, 9]), (1, Refusal::Pointer.code()));
}

#[test]
fn twelve_words_go_each_way_in_the_registers_of_the_contract() {
    let words: Vec<u64> = (1..=12).map(|i| i << 56 | i).collect();
    let outcome = once(Ring::Zero, 4 * MIB, WORDS, &words);
    assert_eq!(outcome.end, End::Halted);
    let r = outcome.registers;
    let result = [r.rax, r.rdi, r.rsi, r.rdx, r.rcx, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14];
    assert!(result.iter().eq(words.iter().rev()), "{result:x?}");
    // What is no part of the result is left alone.
    assert_eq!(r.r15, 12 << 56 | 12);
}

#[test]
fn calls_that_nobody_answers_are_refused_by_name() {
    let end = |number| once(Ring::Zero, 4 * MIB, number, &[]).end;
    let unknown = "the interface has no such call";
    assert_eq!(end(INTERFACE.number(7)), refused("Probe::7", unknown));
    assert_eq!(end(INTERFACE.number(255)), refused("Probe::255", unknown));
    let nobody = "this VM was not given the interface";
    for number in [0, 0xab, 0xffff_ffff, INTERFACE.number(0) ^ 0x100] {
        assert_eq!(end(number), refused(&format!("call {number:#x}"), nobody));
    }
}

#[test]
fn a_run_that_was_refused_stays_ended() {
    let mut vm = vm(&kvm(), Ring::Zero, 4 * MIB, Server(Host::default()));
    let first = call(&mut vm, READ, &[0, 1]);
    let exits = first.stats.exits();
    let again = call(&mut vm, READ, &[ROOM, 1]);
    assert_eq!((&first.end, exits), (&again.end, again.stats.exits()));
}
