//! A VM with a breakpoint at the start of every block that no input has reached yet.
//!
//! One that is reached is a new block: the instruction is put back, and stays back, since the
//! snapshot is taken anew before the next execution. That costs a millisecond or so, and is as rare
//! as new blocks are; what reaches none runs as it would without breakpoints, and makes no exit more.

use crate::machine::{Came, MachineError, Printed, Ready, came, equip};
use abi::tests::Client;
use portcall::trap::INT3;
use portcall::{End, Error, Exit, Gpa, Gva, Outcome, Snapshot, Stop, Stopper, Vm, walk};
use std::collections::{BTreeSet, HashMap};

/// A block's first byte: where it is, and what stood there.
type Byte = (Gpa, u8);

/// The VM.
pub(crate) struct Covered {
    vm: Vm,
    printed: Printed,
    snapshot: Snapshot,
    /// Those that were not reached, by guest-virtual address.
    waiting: HashMap<u64, Byte>,
    /// Those that were reached since the snapshot was taken.
    reached: Vec<Byte>,
    total: usize,
}

impl Covered {
    /// A VM at the snapshot, with breakpoints at these addresses, as far as there is memory.
    pub(crate) fn new(ready: &mut Ready<'_>, starts: &BTreeSet<u64>) -> Result<Self, Error> {
        let (mut vm, printed) = match ready.machine.spare.take() {
            Some(spare) => spare,
            None => {
                let printed = Printed::default();
                let builder = Vm::from_snapshot(&ready.machine.kvm, &ready.snapshot);
                (equip(builder, &printed).build()?, printed)
            }
        };
        vm.restore(&ready.snapshot)?;
        let cr3 = vm.system_registers()?.cr3;
        let mut waiting = HashMap::new();
        for start in starts {
            let Some(found) = walk::translate(vm.memory(), cr3, Gva(*start)) else { continue };
            let mut byte = [0];
            vm.memory().read(found.gpa, &mut byte)?;
            if byte[0] != INT3 {
                vm.memory().write(found.gpa, &[INT3])?;
                waiting.insert(*start, (found.gpa, byte[0]));
            }
        }
        vm.catch_traps(true);
        let snapshot = vm.snapshot_with(&ready.machine.pagemap)?;
        let total = waiting.len();
        Ok(Self { vm, printed, snapshot, waiting, reached: Vec::new(), total })
    }

    /// How many blocks were reached, and how many there are.
    pub(crate) fn blocks(&self) -> (usize, usize) {
        (self.total - self.waiting.len(), self.total)
    }

    pub(crate) fn stopper(&self) -> Stopper {
        self.vm.stopper()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.vm.is_stopped()
    }

    /// Runs one input; what came of it, and whether it reached a block that none before it did.
    pub(crate) fn run(
        &mut self,
        ready: &Ready<'_>,
        input: &[u8],
    ) -> Result<(Came, bool), MachineError> {
        self.mend(ready)?;
        self.vm.restore(&self.snapshot)?;
        self.printed.take();
        let Self { vm, waiting, reached, .. } = self;
        let mut by = |vm: &mut Vm| run_on(vm, waiting, reached);
        let door = vm.door().within(ready.machine.timeout()).by(&mut by);
        let came = came(Client(door).fuzz(ready.machine.target.entry.0, input))?;
        Ok((came, !self.reached.is_empty()))
    }

    /// Has the instructions that were put back stay there.
    fn mend(&mut self, ready: &Ready<'_>) -> Result<(), Error> {
        if self.reached.is_empty() {
            return Ok(());
        }
        self.vm.restore(&self.snapshot)?;
        for (gpa, byte) in self.reached.drain(..) {
            self.vm.memory().write(gpa, &[byte])?;
        }
        self.snapshot = self.vm.snapshot_with(&ready.machine.pagemap)?;
        Ok(())
    }

    /// How the last run ended, for one that does so here alone.
    pub(crate) fn outcome(&mut self) -> Result<Option<Outcome>, Error> {
        self.vm.outcome()
    }

    pub(crate) const fn vm(&self) -> &Vm {
        &self.vm
    }

    pub(crate) fn printed(&self) -> Vec<u8> {
        self.printed.take()
    }
}

/// Runs the guest to its end, over all breakpoints of ours.
fn run_on(
    vm: &mut Vm,
    waiting: &mut HashMap<u64, Byte>,
    reached: &mut Vec<Byte>,
) -> Result<End, Error> {
    loop {
        let stop = match vm.step()? {
            Stop::Exit(Exit::Debug) => {
                let rip = vm.registers()?.rip;
                match waiting.remove(&rip) {
                    Some((gpa, byte)) => {
                        vm.memory().write(gpa, &[byte])?;
                        reached.push((gpa, byte));
                        continue;
                    }
                    // One of the guest's own.
                    None => vm.refuse_trap()?,
                }
            }
            stop => stop,
        };
        if let Stop::End(end) = stop {
            return Ok(end);
        }
    }
}
