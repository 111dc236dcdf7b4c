//! What a client asks for, of the guest as it is held: memory, registers, breakpoints.

use super::hardware::{Ability, Slot, Slots};
use super::monitor::{self, Journal};
use super::registers::{All, Id, X86_64};
use crate::drive::{Drive, Pace, Turn, ioctl_failed, read_by, to_page_end};
use crate::space::Space;
use gdbstub::common::Signal;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadRangeStepping, SingleThreadRangeSteppingOps, SingleThreadResume,
    SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::section_offsets::{Offsets, SectionOffsets, SectionOffsetsOps};
use gdbstub::target::{TargetError, TargetResult};
use portcall::kvm_bindings::{kvm_fpu, kvm_sregs};
use portcall::{End, Error, Gpa, Gva, Image, Vm};
use std::collections::BTreeSet;
use std::ops::Range;

/// Numbers of errors as gdb shows them (errno(3)).
const NO_MEMORY_THERE: u8 = 14;
const INVALID: u8 = 22;
const NO_ROOM: u8 = 28;

/// The most breakpoints that there are.
const BREAKPOINTS_MAX: usize = 1 << 16;

/// The most bytes that are watched by steps.
const WATCHED_MAX: usize = 64;

/// What the client has said that the guest does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Going {
    Run,
    Step,
    /// Steps as long as it is there.
    Within(Range<u64>),
}

/// Memory that is looked at after each step.
#[derive(Debug)]
struct Watch {
    at: u64,
    /// What stood there last.
    seen: Vec<u8>,
}

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

    /// Lets the guest do one thing; why it is held, if it is.
    pub(super) fn turn(&mut self) -> Result<Option<SingleThreadStopReason<u64>>, Error> {
        let pace = match self.going {
            Going::Run if self.watches.is_empty() => Pace::Run,
            _ => Pace::Step,
        };
        let turn = self.drive.turn(pace)?;
        self.why(turn)
    }

    /// What a turn is to the client.
    pub(super) fn why(&mut self, turn: Turn) -> Result<Option<SingleThreadStopReason<u64>>, Error> {
        if let Some(addr) = self.written() {
            return Ok(Some(SingleThreadStopReason::Watch {
                tid: (),
                kind: WatchKind::Write,
                addr,
            }));
        }
        Ok(match turn {
            Turn::Breakpoint(_) => Some(SingleThreadStopReason::SwBreak(())),
            Turn::Hardware(which) => Some(self.hardware(which)),
            Turn::Stepped => match &self.going {
                Going::Run => None,
                Going::Step => Some(SingleThreadStopReason::DoneStep),
                Going::Within(range) => {
                    let range = range.clone();
                    let rip = self.vm().registers()?.rip;
                    (!range.contains(&rip)).then_some(SingleThreadStopReason::DoneStep)
                }
            },
            Turn::End(end) => {
                self.over = Some(end);
                None
            }
            Turn::Exit(_) | Turn::Interrupted => None,
        })
    }

    /// Which of the processor's own it was.
    fn hardware(&self, which: u64) -> SingleThreadStopReason<u64> {
        let slot = self.slots.0.get(which.trailing_zeros() as usize).copied().flatten();
        match slot.map(|it| (it.access, it.at)) {
            Some((super::hardware::Access::Write, addr)) => {
                SingleThreadStopReason::Watch { tid: (), kind: WatchKind::Write, addr }
            }
            Some((super::hardware::Access::ReadWrite, addr)) => {
                SingleThreadStopReason::Watch { tid: (), kind: WatchKind::ReadWrite, addr }
            }
            _ => SingleThreadStopReason::HwBreak(()),
        }
    }

    /// The first watched address whose memory is another than before.
    fn written(&mut self) -> Option<u64> {
        let mut watches = std::mem::take(&mut self.watches);
        let mut found = None;
        for watch in &mut watches {
            let mut now = vec![0; watch.seen.len()];
            if self.read(watch.at, &mut now) == now.len() && now != watch.seen {
                watch.seen = now;
                found = found.or(Some(watch.at));
            }
        }
        self.watches = watches;
        found
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

    /// What of the host's own an address is in, where a byte more or less is no breakpoint.
    fn hosts_own(&mut self, at: u64) -> Option<&'static str> {
        let gpa = self.space(|space| space.translate(at))?.0;
        let layout = self.vm().layout();
        let own = [
            (&layout.tables, "the page tables"),
            (&layout.descriptors, "the descriptor tables"),
            (&layout.stubs, "the exception stubs"),
        ];
        own.into_iter().find(|(range, _)| range.contains(&gpa)).map(|(_, what)| what)
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

    /// The processor's own breakpoints, as they are now.
    fn set_hardware(&mut self) -> TargetResult<bool, Self> {
        let (addresses, control) = (self.slots.addresses(), self.slots.control());
        let set = self.drive.set_hardware(addresses, control);
        set.map(|()| true).map_err(|_| TargetError::Errno(INVALID))
    }

    fn add_hardware(&mut self, slot: Slot) -> TargetResult<bool, Self> {
        if !self.slots.add(slot) {
            return Err(TargetError::Errno(NO_ROOM));
        }
        let set = self.set_hardware();
        if set.is_err() {
            self.slots.remove(slot);
        }
        set
    }

    /// No breakpoint or watchpoint is left.
    pub(super) fn release(&mut self) -> Result<(), Error> {
        self.slots = Slots::default();
        self.watches.clear();
        self.drive.release()
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

impl SingleThreadResume for Target<'_, '_> {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), Error> {
        self.going = Going::Run;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<SingleThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Target<'_, '_> {
    fn step(&mut self, _: Option<Signal>) -> Result<(), Error> {
        self.going = Going::Step;
        Ok(())
    }
}

impl SingleThreadRangeStepping for Target<'_, '_> {
    fn resume_range_step(&mut self, start: u64, end: u64) -> Result<(), Error> {
        self.going = if start < end { Going::Within(start..end) } else { Going::Step };
        Ok(())
    }
}

impl Breakpoints for Target<'_, '_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Target<'_, '_> {
    fn add_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        if self.breakpoints.len() >= BREAKPOINTS_MAX {
            return Err(TargetError::Errno(NO_ROOM));
        }
        if self.over.is_some() {
            // Nothing of it would ever be reached.
            return Ok(true);
        }
        if let Some(what) = self.hosts_own(addr) {
            self.say(&format!(
                "{addr:#x} is in {what}, which the host has made for the processor: an INT3 there \
                 would be the guest's end, and is not set"
            ));
            return Err(TargetError::Errno(INVALID));
        }
        let set = self.drive.scene().insert(Gva(addr));
        set.map_err(|_| TargetError::Errno(NO_MEMORY_THERE))?;
        self.breakpoints.insert(addr);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        // At the end it is gone already.
        self.drive.scene().remove(Gva(addr));
        self.breakpoints.remove(&addr);
        Ok(true)
    }
}

impl HwBreakpoint for Target<'_, '_> {
    fn add_hw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        if !self.ability.execute {
            self.say("this KVM does no hardware breakpoints in this ring; break does it");
            return Ok(false);
        }
        self.add_hardware(Slot::execute(addr))
    }

    fn remove_hw_breakpoint(&mut self, addr: u64, _: usize) -> TargetResult<bool, Self> {
        self.slots.remove(Slot::execute(addr));
        self.set_hardware()
    }
}

impl HwWatchpoint for Target<'_, '_> {
    fn add_hw_watchpoint(
        &mut self,
        addr: u64,
        len: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        if self.ability.watch
            && let Some(slot) = Slot::watch(addr, len, kind)
        {
            return self.add_hardware(slot);
        }
        if kind != WatchKind::Write {
            self.say("this KVM watches no reads; watch does writes");
            return Ok(false);
        }
        let watched: usize = self.watches.iter().map(|watch| watch.seen.len()).sum();
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        if size == 0 || watched.saturating_add(size) > WATCHED_MAX {
            return Err(TargetError::Errno(NO_ROOM));
        }
        let mut seen = vec![0; size];
        if self.read(addr, &mut seen) < size {
            return Err(TargetError::Errno(NO_MEMORY_THERE));
        }
        self.watches.push(Watch { at: addr, seen });
        Ok(true)
    }

    fn remove_hw_watchpoint(
        &mut self,
        addr: u64,
        len: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        let is_it = |watch: &Watch| watch.at == addr && watch.seen.len() as u64 == len;
        if let Some(found) = self.watches.iter().position(is_it) {
            self.watches.remove(found);
            return Ok(true);
        }
        if let Some(slot) = Slot::watch(addr, len, kind) {
            self.slots.remove(slot);
        }
        self.set_hardware()
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
