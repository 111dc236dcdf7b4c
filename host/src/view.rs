//! What a host sees of its guest between two steps, and before and after a run.

use crate::error::{Error, KvmError};
use crate::exception::Exception;
use crate::layout::{Gva, Layout};
use crate::memory::Memory;
use crate::outcome::Stats;
use crate::vm::Vm;
use crate::walk::{self, Translation};
use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::{VcpuFd, VmFd};

impl Vm {
    /// A number that no other VM of this process has, or ever had.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The guest's RAM, by guest-physical address.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where things are in the guest's memory.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.origin.layout
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The exception that the guest is caught in, if it is in one: also a HLT in ring 3, which
    /// is one to the processor.
    #[must_use]
    pub const fn fault(&self) -> Option<&Exception> {
        self.fault.as_ref()
    }

    /// The general registers now (KVM_GET_REGS); after an exception, those at the instruction
    /// that raised it.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn registers(&self) -> Result<kvm_regs, Error> {
        let now = self.vcpu.registers_now();
        let now = now.map_err(|error| KvmError::ioctl("KVM_GET_REGS", error))?;
        let mut registers = self.fault.map_or(now, |fault| fault.registers(now));
        if self.end.is_some() {
            registers.rflags = self.traps.guests(registers.rflags);
        }
        Ok(registers)
    }

    /// The segment, control and table registers now (KVM_GET_SREGS).
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn system_registers(&self) -> Result<kvm_sregs, Error> {
        let now = self.vcpu.system_registers_now();
        Ok(now.map_err(|error| KvmError::ioctl("KVM_GET_SREGS", error))?)
    }

    /// Where a guest-virtual address leads, by the page tables in CR3 now.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn translate(&self, gva: Gva) -> Result<Option<Translation>, Error> {
        Ok(walk::translate(&self.memory, self.system_registers()?.cr3, gva))
    }

    /// Copies guest-virtual memory at `gva` into `bytes`.
    ///
    /// # Errors
    /// Not all of it is mapped to RAM, or the ioctl failed.
    pub fn read_virtual(&self, gva: Gva, bytes: &mut [u8]) -> Result<(), Error> {
        let cr3 = self.system_registers()?.cr3;
        Ok(walk::read_virtual(&self.memory, cr3, gva, bytes)?)
    }

    /// The VM's file descriptor, for ioctls of your own.
    ///
    /// # Safety
    /// A vCPU that is made of it must not outlive this `Vm`: it would keep on using memory that
    /// the `Vm` has given back.
    #[must_use]
    pub unsafe fn vm_fd(&self) -> &VmFd {
        &self.vm
    }

    /// The vCPU's file descriptor, for ioctls of your own. What they change besides registers and
    /// memory is not undone by [`restore`](Self::restore); and after that the registers reach the
    /// vCPU with the next KVM_RUN, so that [`registers`](Self::registers) has them before it does.
    #[must_use]
    pub fn vcpu_fd(&self) -> &VcpuFd {
        &self.vcpu.fd
    }

    /// The same with its kvm_run mapping. KVM_RUN belongs to [`step`](Self::step).
    ///
    /// # Safety
    /// It must stay this VM's: another put in its place would outlive its own VM's memory.
    #[must_use]
    pub unsafe fn vcpu_fd_mut(&mut self) -> &mut VcpuFd {
        &mut self.vcpu.fd
    }
}
