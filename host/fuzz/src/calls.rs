//! Typed calls: right ones, wrong ones, and any words at all, over memory and page tables that hold
//! what a guest likes. All shipped interfaces are served, and those that every host has.
//!
//! A right call is answered, a wrong one refused for what is wrong with it, and whatever is called,
//! nothing is written that the guest could not write itself.

use crate::input::Input;
use crate::machine::{MEMORY, Machine, with};
use crate::services::{ALL, serve};
use portcall::abi::calls::{Interface, Kind, WORDS_MAX, interface_of, method_of};
use portcall::abi::port;
use portcall::generate::{Generated, Generator, Places, Wrong};
use portcall::kvm_bindings::{KVM_EXIT_IO, kvm_run};
use portcall::layout::PAGE;
use portcall::walk::translate;
use portcall::{End, Gpa, Gva, Stop};
use std::cell::RefCell;
use std::ops::Range;

const ELEMENTS: usize = 4096;

/// Where the calls' bytes are put.
const SCRATCH: Range<u64> = 0x2_0000..0x2_4000;

/// Whether an argument of the call takes less than its kind says: an encoding, or a level.
fn takes_less(interface: &Interface, method: u32) -> bool {
    let encoded = |kind: &Kind| matches!(kind, Kind::Encoded(_));
    let method = interface.methods.get(method as usize);
    method.is_some_and(|method| {
        method.arguments.iter().any(|(name, kind)| encoded(kind) || *name == "level")
    })
}

/// The most calls of a case.
const MOST: usize = 16;

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

/// Some calls, one after the other, with what the guest does to its memory between them.
pub fn target(data: &[u8]) {
    with(
        &MACHINE,
        || Machine::new(serve),
        |machine| {
            let mut case = Case::new(machine, Input(data));
            while case.calls < MOST && !case.input.is_empty() {
                case.step();
            }
            case.end();
        },
    );
}

struct Case<'m, 'd> {
    machine: &'m mut Machine,
    input: Input<'d>,
    calls: usize,
    places: Places,
    /// The page tables, and the rest of what the guest sees its memory by, are as the host made
    /// them.
    tables_hold: bool,
    /// The guest has written there as no guest could.
    written: Vec<u64>,
}

impl<'m, 'd> Case<'m, 'd> {
    fn new(machine: &'m mut Machine, mut input: Input<'d>) -> Self {
        machine.begin(&[]);
        let mut places = Places::new(machine.vm.layout(), SCRATCH);
        // The image's own code.
        places.unwritable.push(0x1_0000..0x1_1000);
        let how = input.u8();
        // Buffers of some bytes, or of half a page.
        if how & 1 == 1 {
            places.scratch = SCRATCH.start..SCRATCH.start + 512;
        }
        Self { machine, input, calls: 0, places, tables_hold: true, written: Vec::new() }
    }

    fn step(&mut self) {
        match self.input.u8() % 8 {
            0 | 1 => self.generated(false),
            2 | 3 => self.generated(true),
            4 | 5 => self.any(),
            6 => self.write(),
            _ => self.tables(),
        }
    }

    /// A number that an argument may have: an address that means something, or any other.
    fn word(&mut self) -> u64 {
        let layout = self.machine.vm.layout();
        let starts = [
            0,
            SCRATCH.start,
            SCRATCH.end - 16,
            layout.guard.start - 16,
            layout.tables.start,
            layout.stack.end - 64,
            MEMORY - 16,
            u64::MAX - 15,
        ];
        match self.input.u8() {
            255 => self.input.u64(),
            254 => 1 << (self.input.u8() & 63),
            choice => {
                let start = starts[usize::from(choice) % starts.len()];
                start.wrapping_add(u64::from(self.input.u8()))
            }
        }
    }

    /// A call of the generator's, right or wrong, or with a word changed.
    fn generated(&mut self, wrong: bool) {
        let interface = ALL[usize::from(self.input.u8()) % ALL.len()];
        let mut state = u64::from(self.input.u32());
        // SplitMix64.
        let mut numbers = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut generator = Generator::new(&self.places, &mut numbers);
        let mut call =
            if wrong { generator.wrong_call(interface) } else { generator.call(interface) };
        for (at, bytes) in &call.memory {
            self.machine.vm.memory().write(Gpa(*at), bytes).expect("in the scratch memory");
        }
        let change = self.input.u8();
        if change >= 192 {
            call.words[usize::from(change) % WORDS_MAX] = self.word();
        }
        let end = self.make(&call);
        if change < 192 && self.tables_hold {
            judge(interface, &call, end.as_ref());
        }
    }

    /// A call of any number and words.
    fn any(&mut self) {
        let number = match self.input.u8() {
            255 => self.input.u32(),
            choice => {
                let method = u32::from(self.input.u8()) % 24;
                ALL[usize::from(choice) % ALL.len()].number(method)
            }
        };
        let mut call = Generated {
            number,
            width: if self.input.u8() == 255 { 2 } else { 4 },
            words: [0; WORDS_MAX],
            memory: Vec::new(),
            wrong: None,
        };
        let count = usize::from(self.input.u8()) % (WORDS_MAX + 1);
        for i in 0..count {
            call.words[i] = self.word();
        }
        self.make(&call);
    }

    /// Bytes of the input into memory that the guest may write.
    fn write(&mut self) {
        let at = SCRATCH.start + u64::from(self.input.u16()) % (SCRATCH.end - SCRATCH.start - 256);
        let size = usize::from(self.input.u8());
        let bytes = self.input.take(size);
        self.machine.vm.memory().write(Gpa(at), bytes).expect("RAM");
    }

    /// The guest changes how it sees its memory.
    fn tables(&mut self) {
        self.tables_hold = false;
        let tables = self.machine.vm.layout().tables.clone();
        let pages = (tables.end - tables.start) / PAGE;
        let which = self.input.u8();
        match which % 4 {
            0 => {
                let page = u64::from(self.input.u8()) % pages;
                let slot = u64::from(self.input.u16() & 0x1ff);
                let entry = match self.input.u8() {
                    255 => self.input.u64(),
                    other => {
                        let next = u64::from(self.input.u8()) * PAGE;
                        next | u64::from(other) | u64::from(other & 0x40) << 57
                    }
                };
                let at = tables.start + page * PAGE + 8 * slot;
                self.machine.vm.memory().store_u64(Gpa(at), entry).expect("RAM");
                self.written.push(at & !(PAGE - 1));
            }
            1 => self.machine.system_registers().cr3 = self.word(),
            2 => self.machine.system_registers().cs.selector ^= 3,
            _ => self.machine.system_registers().cr0 ^= 1 << 16,
        }
    }

    /// Makes the call; the end it is, if it is one.
    fn make(&mut self, call: &Generated) -> Option<End> {
        self.calls += 1;
        let r = self.machine.registers();
        let registers = [
            &mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.rcx, &mut r.r8, &mut r.r9, &mut r.r10,
            &mut r.r11, &mut r.r12, &mut r.r13, &mut r.r14, &mut r.r15,
        ];
        for (register, word) in registers.into_iter().zip(call.words) {
            *register = word;
        }
        let (run, behind) = self.machine.vm.kvm_run();
        behind[ELEMENTS - size_of::<kvm_run>()..][..4].copy_from_slice(&call.number.to_le_bytes());
        run.exit_reason = KVM_EXIT_IO;
        run.__bindgen_anon_1.io.direction = 1;
        run.__bindgen_anon_1.io.size = call.width;
        run.__bindgen_anon_1.io.port = port::CALL;
        run.__bindgen_anon_1.io.count = 1;
        run.__bindgen_anon_1.io.data_offset = ELEMENTS as u64;
        let stop = self.machine.vm.answer_made_up().expect("nothing fails on the host");
        let Stop::End(end) = stop else { return None };
        // No handler here fails or panics, so a guest cannot make it seem so.
        assert!(matches!(end, End::CallRefused { .. }), "{end:?}");
        std::hint::black_box(end.to_string());
        Some(end)
    }

    fn end(self) {
        let Self { machine, tables_hold, written, .. } = self;
        let root = machine.vm.layout().tables.start;
        let writable: Vec<bool> = if tables_hold {
            let memory = machine.vm.memory();
            let writable = |gpa| translate(memory, root, Gva(gpa)).is_some_and(|it| it.writable);
            (0..MEMORY).step_by(4096).map(writable).collect()
        } else {
            Vec::new()
        };
        let changed = machine.changed(|page| {
            let number = usize::try_from(page / PAGE).expect("small");
            // By tables of its own a guest may write whatever it can reach.
            !tables_hold || writable[number] || written.contains(&page)
        });
        assert_eq!(changed, None, "a page that the guest may not write");
    }
}

/// Whether a call of the generator's came to what it should.
fn judge(interface: &'static Interface, call: &Generated, end: Option<&End>) {
    let method = interface.methods.get(method_of(call.number) as usize);
    let why = match end {
        Some(End::CallRefused { why, .. }) => Some(why.as_str()),
        _ => None,
    };
    let Some(wrong) = call.wrong else {
        let refusable = takes_less(interface, method_of(call.number));
        // How large a result is was decided by earlier calls.
        let too_large = why.is_some_and(|why| why.starts_with("a result of "));
        assert!(end.is_none() || refusable || too_large, "{end:?} {call:x?}");
        return;
    };
    // A refusal that the definition has an error for is an answer.
    let is_told = method.is_some_and(|it| matches!(it.result, Kind::Result(_, Kind::Refusal)));
    let word = match wrong {
        // One of the others may have that number.
        Wrong::Interface if ALL.iter().any(|it| it.id() == interface_of(call.number)) => return,
        // Where there is nothing to put there, it is answered.
        Wrong::Space(_) => return,
        Wrong::Value(word) | Wrong::Pointer(word) | Wrong::Size(word) | Wrong::Text(word) => word,
        _ => {
            assert!(why.is_some() || is_told, "{end:?} {call:x?}");
            return;
        }
    };
    if is_told || takes_less(interface, method_of(call.number)) {
        return;
    }
    let name =
        method.and_then(|method| argument_of(method.arguments, word)).expect("a word of one");
    let why = why.unwrap_or_default();
    assert!(why.contains(&format!("argument `{name}`")), "{why} {call:x?}");
}

/// The argument that a word belongs to.
fn argument_of(arguments: &[(&'static str, Kind)], word: usize) -> Option<&'static str> {
    let mut behind = 0;
    arguments.iter().find_map(|(name, kind)| {
        behind += kind.words();
        (word < behind).then_some(*name)
    })
}
