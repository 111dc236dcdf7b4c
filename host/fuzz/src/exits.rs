//! Exits: what KVM may leave in kvm_run, and what it never would, decoded and answered one after
//! the other. The handlers behind the ports are a guest's worst friends; calls are a target of
//! their own.

use crate::input::Input;
use crate::machine::{HANDED_ON, MEMORY, Machine, with};
use portcall::abi::{console, port};
use portcall::exit::ExitKind;
use portcall::kvm_bindings::{
    KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, kvm_run,
};
use portcall::layout::PAGE;
use portcall::{End, Exit, Gpa, Guest, Mmio, Msrs, Ports, Stop};
use std::cell::{Cell, RefCell};
use std::io::Read;

/// Where KVM has the elements of a port access: in the page behind kvm_run.
const ELEMENTS: usize = 4096;

/// Where the handler is seen in memory, and its registers.
const WINDOW: std::ops::Range<u64> = 0xd000_0000..0xd000_2000;
const MSRS: std::ops::RangeInclusive<u32> = 0x1000..=0x100f;

/// The ports that a handler answers.
const HANDLED: std::ops::RangeInclusive<u16> = 0x300..=0x307;

/// What is worth trying.
const PORTS: [u16; 14] = [
    port::CONSOLE,
    port::FLUSH,
    port::INPUT,
    port::EXIT,
    port::PANIC,
    port::EXCEPTION,
    port::CALL,
    port::SERVE,
    0x300,
    0x303,
    0x307,
    0x308,
    0x80,
    0xffff,
];

/// The most exits of a case.
const MOST: usize = 64;

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    /// What was printed by the handler in this case.
    static PRINTED: Cell<u64> = const { Cell::new(0) };
    /// How much input there still is in this case.
    static INPUT: Cell<usize> = const { Cell::new(0) };
}

/// Answers, prints, ends.
struct Handler;

impl Ports for Handler {
    fn read(&mut self, guest: &mut Guest<'_>, port: u16, _width: u8) -> Result<u32, End> {
        guest.print("said");
        PRINTED.set(PRINTED.get() + 4);
        guest.annotate("port", "read");
        let rsp = guest.registers()?.rsp;
        let mut bytes = [0; 16];
        guest.read_virtual(portcall::Gva(rsp), &mut bytes)?;
        Ok(u32::from(port).wrapping_mul(0x0101_0101))
    }

    fn write(&mut self, _: &mut Guest<'_>, port: u16, _: u8, value: u32) -> Result<(), End> {
        match (port, value & 0xff) {
            (0x307, 0xee) => Err(End::HandlerFailed { message: value.to_string() }),
            _ => Ok(()),
        }
    }
}

impl Mmio for Handler {
    fn read(&mut self, guest: &mut Guest<'_>, gpa: Gpa, size: u8) -> Result<u64, End> {
        assert!((1..=8).contains(&size) && WINDOW.contains(&gpa.0));
        assert!(WINDOW.contains(&(gpa.0 + u64::from(size) - 1)));
        guest.print("said");
        PRINTED.set(PRINTED.get() + 4);
        Ok(gpa.0.wrapping_mul(0x0101_0101))
    }

    fn write(&mut self, guest: &mut Guest<'_>, _: Gpa, size: u8, value: u64) -> Result<(), End> {
        assert_eq!(value.checked_shr(8 * u32::from(size)).unwrap_or(0), 0);
        let _ = guest.claims().read(value, size.into());
        match value & 0xff {
            0xee => Err(End::HandlerFailed { message: value.to_string() }),
            _ => Ok(()),
        }
    }
}

impl Msrs for Handler {
    fn read(&mut self, _: &mut Guest<'_>, msr: u32) -> Result<Option<u64>, End> {
        assert!(MSRS.contains(&msr));
        Ok((msr & 1 == 0).then_some(msr.into()))
    }

    fn write(&mut self, _: &mut Guest<'_>, msr: u32, value: u64) -> Result<bool, End> {
        assert!(MSRS.contains(&msr));
        match value & 0xff {
            0xee => Err(End::HandlerFailed { message: value.to_string() }),
            low => Ok(low & 1 == 0),
        }
    }
}

/// Input of as many bytes as the case has.
struct Source;

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let now = into.len().min(INPUT.get());
        INPUT.set(INPUT.get() - now);
        into[..now].fill(b'i');
        Ok(now)
    }
}

/// A row of exits, with what the guest does to registers and memory between them. An exit that
/// cannot be is decoded, and answered.
pub fn target(data: &[u8]) {
    with(
        &MACHINE,
        || {
            Machine::new(|builder| {
                let builder = builder.ports(HANDLED, Handler).input(Source);
                builder.mmio(WINDOW, Handler).msrs(MSRS, Handler)
            })
        },
        |machine| {
            let mut case = Case::new(machine, Input(data));
            while case.exits < MOST && !case.input.is_empty() {
                case.step();
            }
            case.end();
        },
    );
}

struct Case<'m, 'd> {
    machine: &'m mut Machine,
    input: Input<'d>,
    exits: usize,
    /// Whether all of the memory is looked at in the end, which takes longer than most cases.
    thorough: bool,
    /// Where the guest has written.
    written: Vec<(u64, usize)>,
    /// The most text that the guest can have printed by now.
    text: u64,
}

impl<'m, 'd> Case<'m, 'd> {
    fn new(machine: &'m mut Machine, mut input: Input<'d>) -> Self {
        machine.begin(&[]);
        let how = input.u8();
        PRINTED.set(0);
        INPUT.set(usize::from(how >> 4) * 7);
        let thorough = how & 7 == 0;
        Self { machine, input, exits: 0, thorough, written: Vec::new(), text: 0 }
    }

    /// The guest does something.
    fn step(&mut self) {
        match self.input.u8() % 12 {
            0 => self.set_register(),
            1 => self.write_memory(),
            2 => self.set_system_register(),
            3 => self.claim_text(),
            4 => self.raise(),
            5 => self.any_exit(),
            6 | 7 => self.access(true),
            8 | 9 => self.access(false),
            10 => self.memory_access(),
            _ => self.register_access(),
        }
    }

    /// A number of which some are better than others: an address, most likely.
    fn word(&mut self) -> u64 {
        let layout = self.machine.vm.layout();
        let starts = [
            0,
            layout.stack.end - 256,
            layout.guard.start,
            layout.boot.start,
            layout.tables.start,
            MEMORY,
            u64::MAX - 31,
        ];
        match self.input.u8() {
            255 => self.input.u64(),
            choice => {
                let start = starts[usize::from(choice) % starts.len()];
                start.wrapping_add(u64::from(self.input.u16()))
            }
        }
    }

    fn set_register(&mut self) {
        let which = self.input.u8();
        let value = self.word();
        let r = self.machine.registers();
        let registers = [
            &mut r.rax, &mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.rcx, &mut r.r8, &mut r.r9,
            &mut r.rsp, &mut r.rip,
        ];
        let many = registers.len();
        if let Some(register) = registers.into_iter().nth(usize::from(which) % many) {
            *register = value;
        }
    }

    fn set_system_register(&mut self) {
        let which = self.input.u8() % 4;
        let value = self.word();
        let sregs = self.machine.system_registers();
        match which {
            0 => sregs.cr3 = value,
            1 => sregs.cr2 = value,
            2 => sregs.cr0 ^= 1 << 16,
            _ => sregs.cs.selector ^= 3,
        }
    }

    fn write_memory(&mut self) {
        let at = self.word();
        let size = usize::from(self.input.u8());
        self.write(at, self.input.0.len().min(size));
    }

    /// Writes so many of the next bytes, if all of it is RAM.
    fn write(&mut self, at: u64, size: usize) {
        let bytes = self.input.take(size);
        let written = self.machine.vm.memory().write(Gpa(at), bytes);
        // Nothing is RAM but RAM, and all of RAM is.
        let inside = at.checked_add(size as u64).is_some_and(|end| end <= MEMORY);
        assert_eq!(written.is_ok(), inside || bytes.is_empty(), "{size} bytes at {at:#x}");
        if inside {
            self.written.push((at, size));
        }
    }

    /// Says that there is text in the window.
    fn claim_text(&mut self) {
        let at = self.machine.vm.layout().window() + console::WRITE_INDEX;
        let index =
            if self.input.u8() & 1 == 0 { self.input.u16().into() } else { self.input.u64() };
        let vm = &self.machine.vm;
        vm.memory().store_u64(Gpa(at), index).expect("the window is RAM");
        self.written.push((at, 8));
    }

    /// The guest is in the stub of an exception.
    fn raise(&mut self) {
        let layout = self.machine.vm.layout();
        let rip = layout.stubs.start + u64::from(self.input.u16() & 0x3ff);
        let rsp = layout.exception_stacks.end - 8 * u64::from(self.input.u8() & 15);
        let r = self.machine.registers();
        (r.rip, r.rsp) = (rip, rsp);
        let size = usize::from(self.input.u8() & 0x3f);
        self.write(rsp, size);
        self.well_formed(port::EXCEPTION, false, 4, 1);
    }

    /// A port access as KVM makes it.
    fn access(&mut self, read: bool) {
        let port = match self.input.u8() {
            255 => self.input.u16(),
            choice => PORTS[usize::from(choice) % PORTS.len()],
        };
        let shape = self.input.u8();
        let width = 1 << (shape % 3);
        let most = u16::try_from(PAGE / u64::from(width)).expect("small");
        let count = if shape < 192 { 1 } else { 1 + self.input.u16() % most };
        self.well_formed(port, read, width, count.into());
    }

    fn well_formed(&mut self, port: u16, read: bool, width: u8, count: u32) {
        let size = usize::from(width) * count as usize;
        let bytes = if read { &[] } else { self.input.take(size.min(16)) };
        let (run, behind) = self.machine.vm.kvm_run();
        let at = ELEMENTS - size_of::<kvm_run>();
        // What is beside the elements must stay.
        behind[at - 8..at + size + 8].fill(0xa5);
        behind[at..at + bytes.len()].copy_from_slice(bytes);
        let data = &behind[at..at + size];
        let prints = port == port::CONSOLE && !read;
        self.text += if prints { u64::from(count) } else { 0 };
        let unanswered = read && !HANDLED.contains(&port) && port != port::INPUT;
        let first = data[0];
        run.exit_reason = KVM_EXIT_IO;
        run.__bindgen_anon_1.io.direction = u8::from(!read);
        run.__bindgen_anon_1.io.size = width;
        run.__bindgen_anon_1.io.port = port;
        run.__bindgen_anon_1.io.count = count;
        run.__bindgen_anon_1.io.data_offset = ELEMENTS as u64;
        let before = self.machine.vm.stats().unanswered.get(&port).copied().unwrap_or_default();
        let end = self.answer();
        let after = self.machine.vm.stats().unanswered.get(&port).copied().unwrap_or_default();
        let (_, behind) = self.machine.vm.kvm_run();
        assert!(behind[at - 8..at].iter().all(|byte| *byte == 0xa5));
        assert!(behind[at + size..at + size + 8].iter().all(|byte| *byte == 0xa5));
        if unanswered {
            assert!(behind[at..at + size].iter().all(|byte| *byte == 0xff), "port {port:#x}");
            assert_eq!((after.0 - before.0, end), (u64::from(count), None));
        } else if !read {
            assert_eq!(behind[at], first, "a write stays what it was");
        }
    }

    /// An access outside RAM, as KVM makes it or with a size that there is not.
    fn memory_access(&mut self) {
        let at = match self.input.u8() {
            255 => self.input.u64(),
            choice if choice & 1 == 0 => WINDOW.start + u64::from(self.input.u16() & 0x1fff),
            _ => WINDOW.end.wrapping_sub(self.input.u8().into()),
        };
        let shape = self.input.u8();
        let len = u32::from(shape & 15);
        let write = (shape & 16 == 0).then(|| self.input.u64());
        let data = write.unwrap_or(0xa5a5_a5a5_a5a5_a5a5).to_le_bytes();
        let (run, _) = self.machine.vm.kvm_run();
        run.exit_reason = KVM_EXIT_MMIO;
        run.__bindgen_anon_1.mmio.phys_addr = at;
        run.__bindgen_anon_1.mmio.data = data;
        run.__bindgen_anon_1.mmio.len = len;
        run.__bindgen_anon_1.mmio.is_write = u8::from(write.is_some());
        let last = at.checked_add(u64::from(len).wrapping_sub(1));
        let is_ours = (1..=8).contains(&len)
            && WINDOW.contains(&at)
            && last.is_some_and(|last| WINDOW.contains(&last) && last / PAGE == at / PAGE);
        let end = self.answer();
        let unmapped = End::UnmappedAccess { gpa: Gpa(at), write: write.is_some() };
        assert_eq!(end == Some(unmapped), !is_ours, "{len} bytes at {at:#x}");
        if is_ours && write.is_none() {
            let (run, _) = self.machine.vm.kvm_run();
            // SAFETY: any bytes are valid in this member.
            let data = unsafe { run.__bindgen_anon_1.mmio.data };
            assert_eq!(data, at.wrapping_mul(0x0101_0101).to_le_bytes());
        }
    }

    /// An access to a model-specific register.
    fn register_access(&mut self) {
        let index = match self.input.u8() {
            255 => self.input.u32(),
            choice => MSRS.start() - 1 + u32::from(choice % 18),
        };
        let write = (self.input.u8() & 1 == 0).then(|| self.input.u64());
        let (run, _) = self.machine.vm.kvm_run();
        run.exit_reason = if write.is_some() { KVM_EXIT_X86_WRMSR } else { KVM_EXIT_X86_RDMSR };
        let reason = run.exit_reason;
        run.__bindgen_anon_1.msr.error = 7;
        run.__bindgen_anon_1.msr.index = index;
        run.__bindgen_anon_1.msr.data = write.unwrap_or_default();
        let end = self.answer();
        let is_ours = MSRS.contains(&index);
        assert_eq!(end == Some(End::UnexpectedExit { reason }), !is_ours, "MSR {index:#x}");
        if is_ours && end.is_none() {
            let (run, _) = self.machine.vm.kvm_run();
            // SAFETY: any bytes are valid in this member.
            let refused = unsafe { run.__bindgen_anon_1.msr.error };
            let odd = write.unwrap_or(index.into()) & 1;
            assert_eq!(u64::from(refused), odd, "MSR {index:#x}");
        }
    }

    /// Any bytes in what KVM fills in.
    fn any_exit(&mut self) {
        let reason = u32::from(self.input.u8());
        let bytes = self.input.take(72);
        let (run, _) = self.machine.vm.kvm_run();
        run.exit_reason = reason;
        // SAFETY: any bytes are valid in this member, which is as large as the union.
        let padding = unsafe { &mut run.__bindgen_anon_1.padding };
        for (to, from) in padding.iter_mut().zip(bytes) {
            *to = from.cast_signed();
        }
        let exit = Exit::decode(run);
        if let Exit::Io(io) = exit {
            self.text += if io.port == port::CONSOLE { io.count.into() } else { 0 };
        }
        std::hint::black_box((exit.kind().name(), exit.to_string()));
        // What a handler answers is no end, unless the handler makes it one.
        let meant = match exit {
            Exit::Mmio(access) if WINDOW.contains(&access.gpa.0) => None,
            Exit::Msr(access) if MSRS.contains(&access.index) => None,
            _ => exit.end(),
        };
        let end = self.answer();
        if let Some(meant) = meant {
            assert_eq!(end, Some(meant));
        }
    }

    /// The exit is answered; what is true of every answer is looked at.
    fn answer(&mut self) -> Option<End> {
        self.exits += 1;
        let layout = self.machine.vm.layout();
        let window = layout.window();
        // Before the answer: the guest's index is what decides.
        self.text += console::CAPACITY;
        let stop = self.machine.vm.answer_made_up().expect("nothing fails on the host");
        let stats = self.machine.vm.stats();
        let exits = stats.exits() + stats.exits_of(ExitKind::Interrupted);
        assert_eq!(exits, self.exits as u64);
        assert!(stats.console_bytes <= self.text, "{} of {}", stats.console_bytes, self.text);
        let said = stats.console_bytes + PRINTED.get();
        assert!(HANDED_ON.get() <= said);
        self.written.push((window + console::READ_INDEX, 8));
        let Stop::End(end) = stop else { return None };
        assert_eq!(HANDED_ON.get(), said, "at an end all text is handed on");
        assert!(End::NAMES.contains(&end.name()));
        std::hint::black_box(end.to_string());
        Some(end)
    }

    fn end(self) {
        let Self { machine, written, thorough, .. } = self;
        machine.begin(&written);
        if thorough {
            assert_eq!(machine.changed(|_| false), None, "memory that the guest did not write");
        }
    }
}
