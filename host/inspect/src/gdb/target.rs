//! What a client asks for, of the guest as it is held: memory and registers. Where it is held is told
//! in a file of its own.

mod stops;

pub(super) use stops::Going;

use super::hardware::{Ability, Slots};
use super::monitor::{self, Journal};
use super::registers::{All, Id, X86_64};
use crate::drive::{Drive, ioctl_failed, read_by, to_page_end};
use crate::space::Space;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::base::singlethread::{SingleThreadBase, SingleThreadResumeOps};
use gdbstub::target::ext::breakpoints::BreakpointsOps;
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::section_offsets::{Offsets, SectionOffsets, SectionOffsetsOps};
use gdbstub::target::{TargetError, TargetResult};
use portcall::kvm_bindings::{kvm_fpu, kvm_sregs};
use portcall::{End, Error, Gpa, Image, Vm};
use std::collections::BTreeSet;
use stops::Watch;

/// Numbers of errors as gdb shows them (errno(3)).
const NO_MEMORY_THERE: u8 = 14;
const INVALID: u8 = 22;

/// The guest, to gdbstub.
pub(super) struct Target<'d, 'v> {
    pub(super) drive: &'d mut Drive<'v>,
    image: &'d Image<'d>,
    ability: Ability,
    journal: Journal,
    slots: Slots,
    watches: Vec<Watch>,
    /// Where the client has breakpoints in memory.
    breakpoints: BTreeSet<u64>,
    /// What there is to say beside the protocol.
    say: &'d mut dyn FnMut(&str),
    /// Whether it was said that the guest is another now, or is not to be.
    pub(super) is_changed: bool,
    pub(super) going: Going,
    /// The end that the guest is held at.
    pub(super) over: Option<End>,
}

impl<'d, 'v> Target<'d, 'v> {
    pub(super) fn new(
        drive: &'d mut Drive<'v>,
        image: &'d Image<'d>,
        ability: Ability,
        journal: Journal,
        say: &'d mut dyn FnMut(&str),
    ) -> Self {
        Self {
            drive,
            image,
            ability,
            journal,
            slots: Slots::default(),
            watches: Vec::new(),
            breakpoints: BTreeSet::new(),
            say,
            is_changed: false,
            going: Going::Run,
            over: None,
        }
    }

    pub(super) fn vm(&mut self) -> &mut Vm {
        self.drive.vm()
    }

    pub(super) const fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn say(&mut self, text: &str) {
        (self.say)(text);
    }

    /// The guest's memory as it sees it.
    pub(super) fn space<T>(&mut self, look: impl FnOnce(&Space<'_>) -> T) -> T {
        let image = self.image;
        let vm = self.drive.vm();
        let cr3 = vm.system_registers().map_or(0, |it| it.cr3);
        look(&Space { memory: vm.memory(), layout: vm.layout(), image, cr3 })
    }

    /// Guest-virtual memory without breakpoints; how many bytes there are.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> usize {
        let image = self.image;
        let (vm, breakpoints) = self.drive.parts();
        let cr3 = vm.system_registers().map_or(0, |it| it.cr3);
        let space = Space { memory: vm.memory(), layout: vm.layout(), image, cr3 };
        read_by(vm.memory(), breakpoints, |at| space.translate(at), at, bytes)
    }

    /// Writes guest-virtual memory, all of it or nothing; also what the guest itself may only read.
    fn write(&mut self, at: u64, bytes: &[u8]) -> TargetResult<(), Self> {
        let nothing = || TargetError::Errno(NO_MEMORY_THERE);
        let mut pieces: Vec<(Gpa, Vec<u8>)> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = at.checked_add((bytes.len() - rest.len()) as u64).ok_or_else(nothing)?;
            let gpa = self.space(|space| space.translate(at)).ok_or_else(nothing)?;
            let (now, later) = rest.split_at(to_page_end(at).min(rest.len()));
            let mut there = vec![0; now.len()];
            self.vm().memory().read(gpa, &mut there).map_err(|_| nothing())?;
            pieces.push((gpa, now.to_vec()));
            rest = later;
        }
        for (gpa, mut bytes) in pieces {
            let (vm, breakpoints) = self.drive.parts();
            // A log has what the client wrote, and no breakpoint.
            vm.memory().write(gpa, &bytes).map_err(|_| nothing())?;
            breakpoints.keep(gpa, &mut bytes);
            vm.memory().write_unnoted(gpa, &bytes).map_err(|_| nothing())?;
        }
        self.changed();
        Ok(())
    }

    /// The client has changed the guest.
    fn changed(&mut self) {
        if !std::mem::replace(&mut self.is_changed, true) {
            self.say(
                "the debugger has changed the guest, which no log has: from here on a replay may go \
                 another way",
            );
        }
    }

    /// All registers, and those of them that are written back in other ioctls.
    fn registers(&mut self) -> Result<(All, kvm_sregs, kvm_fpu), Error> {
        let vm = self.vm();
        let (regs, sregs) = (vm.registers()?, vm.system_registers()?);
        let fpu = vm.vcpu_fd().get_fpu().map_err(|it| ioctl_failed("KVM_GET_FPU", &it))?;
        Ok((All::of(&regs, &sregs, &fpu, vm.fault()), sregs, fpu))
    }

    /// Sets those that are others than before.
    fn set_registers(&mut self, new: &All) -> TargetResult<(), Self> {
        let (old, mut sregs, mut fpu) = self.registers().map_err(TargetError::Fatal)?;
        if *new == old {
            return Ok(());
        }
        if self.over.is_some() {
            self.say("the guest has ended: its registers stay as they are");
            return Err(TargetError::Errno(INVALID));
        }
        if !new.has_segments_of(&old) {
            self.say("a segment is more than its selector: none is changed");
            return Err(TargetError::Errno(INVALID));
        }
        let vm = self.drive.vm();
        // What is still to be sent with KVM_RUN would go over what is set now.
        vm.complete().map_err(TargetError::Fatal)?;
        if new.general() != old.general() {
            vm.set_registers(&new.general()).map_err(TargetError::Fatal)?;
        }
        let refused = |_| TargetError::Errno(INVALID);
        if new.bases() != old.bases() {
            [sregs.fs.base, sregs.gs.base] = new.bases();
            vm.vcpu_fd().set_sregs(&sregs).map_err(refused)?;
        }
        let before = fpu;
        new.put_into(&mut fpu);
        if fpu != before {
            vm.vcpu_fd().set_fpu(&fpu).map_err(refused)?;
        }
        self.changed();
        Ok(())
    }
}

impl gdbstub::target::Target for Target<'_, '_> {
    type Arch = X86_64;
    type Error = Error;

    fn base_ops(&mut self) -> BaseOps<'_, X86_64, Error> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_section_offsets(&mut self) -> Option<SectionOffsetsOps<'_, Self>> {
        (self.image.bias() != 0).then_some(self)
    }
}

impl SingleThreadBase for Target<'_, '_> {
    fn read_registers(&mut self, regs: &mut All) -> TargetResult<(), Self> {
        *regs = self.registers().map_err(TargetError::Fatal)?.0;
        Ok(())
    }

    fn write_registers(&mut self, regs: &All) -> TargetResult<(), Self> {
        self.set_registers(regs)
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, (), Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8]) -> TargetResult<usize, Self> {
        match self.read(start, data) {
            0 => Err(TargetError::Errno(NO_MEMORY_THERE)),
            read => Ok(read),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8]) -> TargetResult<(), Self> {
        self.write(start, data)
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<()> for Target<'_, '_> {
    fn read_register(&mut self, (): (), id: Id, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let all = self.registers().map_err(TargetError::Fatal)?.0.bytes();
        let register = all.get(id.at..id.at + id.size).unwrap_or_default();
        let to = buf.get_mut(..register.len()).ok_or(TargetError::Errno(INVALID))?;
        to.copy_from_slice(register);
        Ok(register.len())
    }

    fn write_register(&mut self, (): (), id: Id, value: &[u8]) -> TargetResult<(), Self> {
        let mut all = self.registers().map_err(TargetError::Fatal)?.0.bytes();
        match all.get_mut(id.at..id.at + id.size) {
            Some(register) if register.len() == value.len() => register.copy_from_slice(value),
            _ => return Err(TargetError::Errno(INVALID)),
        }
        let mut new = All::default();
        gdbstub::arch::Registers::gdb_deserialize(&mut new, &all)
            .map_err(|()| TargetError::Errno(INVALID))?;
        self.set_registers(&new)
    }
}

impl MonitorCmd for Target<'_, '_> {
    fn handle_monitor_cmd(
        &mut self,
        command: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), Error> {
        out.write_raw(monitor::answer(self, command).as_bytes());
        Ok(())
    }
}

impl SectionOffsets for Target<'_, '_> {
    /// Where an image that can be anywhere was put.
    fn get_section_offsets(&mut self) -> Result<Offsets<u64>, Error> {
        let bias = self.image.bias();
        Ok(Offsets::Sections { text: bias, data: bias, bss: Some(bias) })
    }
}
