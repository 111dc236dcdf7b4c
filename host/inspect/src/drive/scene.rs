//! Who goes along with a run, and what it sees there: memory as the guest has it, and breakpoints of
//! its own.

use crate::breakpoints::{Breakpoints, NoMemory, Owner};
use portcall::{End, Error, Gpa, Gva, Memory, Stop, Vm, walk};

/// What goes along with a run. An error ends it; what a driver cannot do for reasons of its own it
/// keeps until it is asked.
pub trait Driver {
    /// Before the first instruction, or where the guest goes on from a snapshot.
    ///
    /// # Errors
    /// The host failed.
    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
        let _ = scene;
        Ok(())
    }

    /// The guest made an exit, which was answered, or a tick came.
    ///
    /// # Errors
    /// The host failed.
    fn stopped(&mut self, scene: &mut Scene<'_>, stop: &Stop) -> Result<(), Error> {
        let _ = (scene, stop);
        Ok(())
    }

    /// The guest is at a breakpoint of this driver's, before the instruction. Whether it stays or is
    /// taken away here, the guest goes on behind it.
    ///
    /// # Errors
    /// The host failed.
    fn reached(&mut self, scene: &mut Scene<'_>, at: Gva) -> Result<(), Error> {
        let _ = (scene, at);
        Ok(())
    }

    /// The run is over; all breakpoints are out of memory.
    ///
    /// # Errors
    /// The host failed.
    fn ended(&mut self, vm: &mut Vm, end: &End) -> Result<(), Error> {
        let _ = (vm, end);
        Ok(())
    }
}

/// What a driver sees and may do.
pub struct Scene<'a> {
    /// The VM. It is stepped by nobody but [`Drive`](super::Drive).
    pub vm: &'a mut Vm,
    pub(super) breakpoints: &'a mut Breakpoints,
    pub(super) owner: Owner,
}

impl Scene<'_> {
    /// Sets a breakpoint of this driver's.
    ///
    /// # Errors
    /// There is no memory.
    pub fn insert(&mut self, gva: Gva) -> Result<(), NoMemory> {
        self.insert_all([gva]).map_or(Ok(()), |missing| Err(NoMemory(missing)))
    }

    /// The same for many, with one look at the page tables' root; the first that there is no memory
    /// at. The others are set.
    pub fn insert_all(&mut self, places: impl IntoIterator<Item = Gva>) -> Option<Gva> {
        let cr3 = self.vm.system_registers().map_or(0, |it| it.cr3);
        let (memory, owner) = (self.vm.memory(), self.owner);
        let mut set = |gva| self.breakpoints.insert(memory, cr3, owner, gva).err();
        places.into_iter().filter_map(|gva| set(gva).map(|it| it.0)).reduce(|first, _| first)
    }

    /// Takes a breakpoint of this driver's away; whether there was one.
    pub fn remove(&mut self, gva: Gva) -> bool {
        self.breakpoints.remove(self.vm.memory(), self.owner, gva)
    }

    /// Guest-virtual memory as the guest has it, without breakpoints; how many bytes there are.
    pub fn read(&mut self, gva: Gva, bytes: &mut [u8]) -> usize {
        let cr3 = self.vm.system_registers().map_or(0, |it| it.cr3);
        let memory = self.vm.memory();
        let by_tables = |at| walk::translate(memory, cr3, Gva(at)).map(|it| it.gpa);
        read_by(memory, self.breakpoints, by_tables, gva.0, bytes)
    }

    /// Does something with the VM while no breakpoint is in its memory.
    pub fn without_breakpoints<T>(&mut self, work: impl FnOnce(&mut Vm) -> T) -> T {
        let lifted = self.breakpoints.lift_all(self.vm.memory());
        let done = work(self.vm);
        self.breakpoints.lower_all(self.vm.memory(), lifted);
        done
    }
}

/// Guest-virtual memory without breakpoints, up to what leads nowhere; how many bytes there are.
pub(crate) fn read_by(
    memory: &Memory,
    breakpoints: &Breakpoints,
    translate: impl Fn(u64) -> Option<Gpa>,
    from: u64,
    bytes: &mut [u8],
) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let Some(at) = from.checked_add(done as u64) else { break };
        let Some(gpa) = translate(at) else { break };
        let now = to_page_end(at).min(bytes.len() - done);
        let piece = &mut bytes[done..done + now];
        if memory.read(gpa, piece).is_err() {
            break;
        }
        breakpoints.hide(gpa, piece);
        done += now;
    }
    done
}

/// Bytes from an address to the end of its page.
pub(crate) fn to_page_end(at: u64) -> usize {
    usize::try_from(4096 - at % 4096).unwrap_or(1)
}
