//! A VM whose exits are made up: what the targets `exits` and `calls` share.
//!
//! One VM serves all cases of a thread, since making one takes a thousand times as long as a case.
//! So that an input alone decides what happens, all that a case may change is put back first.

use crate::file::{EXEC, LOAD, NOTE, RX, Segment, elf, note};
use portcall::abi::note::TYPE_SERVES;
use portcall::kvm_bindings::{kvm_regs, kvm_sregs};
use portcall::layout::MIB;
use portcall::{Builder, Gpa, Image, Kvm, Vm};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::thread::LocalKey;

/// Bytes of RAM: the least.
pub(crate) const MEMORY: u64 = MIB;

/// Where the image is, which is one HLT.
const CODE: u64 = 0x1_0000;

thread_local! {
    /// Counts cases, for services to know when to begin again.
    pub(crate) static CASE: Cell<u64> = const { Cell::new(0) };
    /// How many bytes of text were handed on in this case.
    pub(crate) static HANDED_ON: Cell<u64> = const { Cell::new(0) };
}

/// A console that counts.
struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HANDED_ON.set(HANDED_ON.get() + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A VM, and what it was like before the first case.
pub(crate) struct Machine {
    pub(crate) vm: Vm,
    ram: Vec<u8>,
    sregs: kvm_sregs,
}

impl Machine {
    /// One with what `add` gives it.
    ///
    /// # Panics
    /// Without a KVM that works: to leave the target out would look as if nothing was found.
    pub(crate) fn new(add: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Self {
        let kvm = Kvm::open().expect("this target needs KVM");
        let code = Segment {
            kind: LOAD,
            flags: RX,
            address: CODE,
            bytes: vec![0xf4],
            ..Segment::default()
        };
        // It answers a call, so that it has a mailbox and a port to wait at.
        let serves = note(TYPE_SERVES, b"Calc\0add(a: u64, b: u64) -> u64\0");
        let notes = Segment { kind: NOTE, flags: 4, align: 4, bytes: serves, ..Segment::default() };
        let file = elf(EXEC, CODE, &[code, notes], &[]);
        let image = Image::parse(&file).expect("it is right");
        let builder = add(Vm::builder(&kvm, &image).memory(MEMORY).console(Sink));
        let vm = builder.build().expect("this target needs a KVM that works");
        let sregs = vm.system_registers().expect("a vCPU has registers");
        let mut ram = vec![0; usize::try_from(MEMORY).expect("small")];
        vm.memory().read(Gpa(0), &mut ram).expect("RAM");
        Self { vm, ram, sregs }
    }

    /// Another case: nothing has happened yet. What the last one did to the memory is put back, as
    /// far as it is told here.
    pub(crate) fn begin(&mut self, written: &[(u64, usize)]) {
        CASE.set(CASE.get() + 1);
        HANDED_ON.set(0);
        for (at, size) in written {
            let start = usize::try_from(*at).unwrap_or(usize::MAX);
            let end = start.saturating_add(*size).min(self.ram.len());
            if let Some(bytes) = self.ram.get(start..end) {
                self.vm.memory().write(Gpa(*at), bytes).expect("RAM");
            }
        }
        self.vm.forget();
        let sregs = self.sregs;
        let (run, elements) = self.vm.kvm_run();
        run.s.regs.regs = kvm_regs::default();
        run.s.regs.sregs = sregs;
        elements.fill(0);
    }

    /// The registers that the next exit will have.
    pub(crate) fn registers(&mut self) -> &mut kvm_regs {
        let (run, _) = self.vm.kvm_run();
        // SAFETY: any bytes are valid in this member, and the others are as large at most.
        unsafe { &mut run.s.regs.regs }
    }

    /// The system registers that the next exit will have.
    pub(crate) fn system_registers(&mut self) -> &mut kvm_sregs {
        let (run, _) = self.vm.kvm_run();
        // SAFETY: as above.
        unsafe { &mut run.s.regs.sregs }
    }

    /// The first page of RAM that is not what it was before the first case, but for those that
    /// `ours` knows; all are then as they were.
    pub(crate) fn changed(&self, ours: impl Fn(u64) -> bool) -> Option<u64> {
        let mut page = [0; 4096];
        let mut changed = None;
        for (at, before) in (0..).step_by(4096).zip(self.ram.chunks_exact(4096)) {
            self.vm.memory().read(Gpa(at), &mut page).expect("RAM");
            if page != before {
                self.vm.memory().write(Gpa(at), before).expect("RAM");
                changed = changed.or_else(|| (!ours(at)).then_some(at));
            }
        }
        changed
    }
}

/// Runs a case on this thread's machine.
pub(crate) fn with<T>(
    slot: &'static LocalKey<RefCell<Option<Machine>>>,
    make: impl FnOnce() -> Machine,
    case: impl FnOnce(&mut Machine) -> T,
) -> T {
    slot.with_borrow_mut(|slot| case(slot.get_or_insert_with(make)))
}
