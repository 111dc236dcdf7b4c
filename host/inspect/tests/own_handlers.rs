//! Instructions that go into a handler of the guest's own, stepped over: it returns to what it would
//! have returned to without.

use inspect::drive::{Drive, Pace, Turn};
use portcall::{End, Gpa, Gva, Image, Kvm, Outcome, Ring, Vm};

/// Where the guest has its interrupt table, and what LIDT loads.
const TABLE: u64 = 0x5_0000;
const POINTER: u64 = 0x5_1000;

/// An instruction that goes into a handler: how the guest gets ready for it, its bytes, the vector,
/// and whether there is an error code.
#[derive(Clone, Copy, Debug)]
struct Way {
    ready: &'static [u8],
    bytes: &'static [u8],
    vector: u64,
    has_code: bool,
    /// How many bytes the handler goes on by.
    skips: u8,
}

const WAYS: [Way; 4] = [
    // xor ecx, ecx; div ecx
    Way { ready: &[0x31, 0xc9], bytes: &[0xf7, 0xf1], vector: 0, has_code: false, skips: 2 },
    // mov rcx, 1 << 63; mov rax, [rcx]
    Way {
        ready: &[0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0x80],
        bytes: &[0x48, 0x8b, 0x01],
        vector: 13,
        has_code: true,
        skips: 3,
    },
    // mov rcx, 1 << 46; mov rax, [rcx]
    Way {
        ready: &[0x48, 0xb9, 0, 0, 0, 0, 0, 0x40, 0, 0],
        bytes: &[0x48, 0x8b, 0x01],
        vector: 14,
        has_code: true,
        skips: 3,
    },
    // int 0x20, which returns behind itself
    Way { ready: &[], bytes: &[0xcd, 0x20], vector: 0x20, has_code: false, skips: 0 },
];

/// A guest that takes such a way, and where the instruction is.
struct Guest {
    code: Vec<u8>,
    at: u64,
    handler: u64,
    debug_handler: u64,
    way: Way,
    has_stack: bool,
}

impl Guest {
    /// `exits` has the handler make one; `traps` sets the guest's own trap flag before.
    fn new(way: Way, has_stack: bool, exits: bool, traps: bool) -> Self {
        // xor ebx, ebx; lidt [POINTER]
        let mut code = vec![0x31, 0xdb, 0x0f, 0x01, 0x1c, 0x25, 0, 0x10, 5, 0];
        code.extend(way.ready);
        if traps {
            // pushf; or byte [rsp + 1], 1; popf
            code.extend([0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d]);
        }
        let at = code.len() as u64;
        code.extend(way.bytes);
        // nop; nop; mov eax, ebx; out 0xf4, al
        code.extend([0x90, 0x90, 0x89, 0xd8, 0xe6, 0xf4]);
        let handler = code.len() as u64;
        if exits {
            // push rax; out 0x30, al; pop rax
            code.extend([0x50, 0xe6, 0x30, 0x58]);
        }
        if way.has_code {
            // add rsp, 8
            code.extend([0x48, 0x83, 0xc4, 8]);
        }
        // add ebx, 16; add qword [rsp], skips; iretq
        code.extend([0x83, 0xc3, 16, 0x48, 0x83, 0x04, 0x24, way.skips, 0x48, 0xcf]);
        let debug_handler = code.len() as u64;
        // inc ebx; iretq
        code.extend([0xff, 0xc3, 0x48, 0xcf]);
        Self { code, at, handler, debug_handler, way, has_stack }
    }

    fn vm(&self) -> (Vm, u64) {
        let image = Image::flat(&self.code).expect("an image");
        let kvm = Kvm::open().expect("these tests need KVM");
        let vm = Vm::builder(&kvm, &image).memory(2 << 20).ring(Ring::Zero).build();
        let (vm, entry) = (vm.expect("builds"), image.entry().0);
        let code = u64::from(vm.system_registers().expect("readable").cs.selector);
        for (vector, handler) in [(1, self.debug_handler), (self.way.vector, self.handler)] {
            let handler = entry + handler;
            // SDM vol. 3, 7.14.1: an interrupt gate, of the interrupt stack 1 or of none.
            let low = handler & 0xffff | code << 16 | u64::from(self.has_stack) << 32;
            let low = low | 0x8e << 40 | (handler >> 16 & 0xffff) << 48;
            let gate = [low.to_le_bytes(), (handler >> 32).to_le_bytes()].concat();
            vm.memory().write(Gpa(TABLE + 16 * vector), &gate).expect("it is memory");
        }
        let pointer = [&0xfff_u16.to_le_bytes()[..], &TABLE.to_le_bytes()].concat();
        vm.memory().write(Gpa(POINTER), &pointer).expect("it is memory");
        (vm, entry)
    }

    fn plain(&self) -> Outcome {
        self.vm().0.run().expect("runs")
    }

    /// The end with a breakpoint at each of these, gone over at this pace.
    fn driven(&self, places: &[u64], pace: Pace) -> Outcome {
        let (mut vm, entry) = self.vm();
        let mut drive = Drive::new(&mut vm, Vec::new());
        for at in places {
            drive.scene().insert(Gva(entry + at)).expect("mapped");
        }
        let ends = (0..200).any(|_| matches!(drive.turn(pace).expect("well"), Turn::End(_)));
        assert!(ends, "it comes to no end");
        drive.run().expect("well")
    }
}

#[test]
fn a_handler_of_the_guests_own_returns_without_a_flag_of_ours() {
    for way in WAYS {
        for (has_stack, exits) in [(false, false), (true, false), (false, true), (true, true)] {
            let guest = Guest::new(way, has_stack, exits, false);
            let plain = guest.plain();
            // A KVM that emulates ring 0 may not know INT, and that is the end then.
            if way.vector < 32 {
                assert_eq!(plain.end, End::Exited(16), "{way:?}");
            }
            let behind = guest.at + way.bytes.len() as u64;
            for places in [&[][..], &[guest.at], &[guest.at, guest.handler], &[guest.at, behind]] {
                for pace in [Pace::Run, Pace::Step] {
                    let what = format!("{way:?} {has_stack} {exits} {places:?} {pace:?}");
                    let outcome = guest.driven(places, pace);
                    assert_eq!(outcome.end, plain.end, "{what}");
                    assert_eq!(outcome.registers.rip, plain.registers.rip, "{what}");
                    assert_eq!(outcome.registers.rflags, plain.registers.rflags, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_handler_of_the_guests_own_returns_to_the_guests_own_flag() {
    for way in WAYS {
        for (has_stack, exits) in [(false, false), (true, false), (false, true), (true, true)] {
            let guest = Guest::new(way, has_stack, exits, true);
            let plain = guest.plain();
            for pace in [Pace::Run, Pace::Step] {
                let what = format!("{way:?} {has_stack} {exits} {pace:?}");
                let outcome = guest.driven(&[guest.at], pace);
                assert_eq!(outcome.end, plain.end, "{what}");
                assert_eq!(outcome.registers.rip, plain.registers.rip, "{what}");
            }
        }
    }
}
