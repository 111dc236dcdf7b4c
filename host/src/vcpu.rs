//! Steps 3, 4 and 10: the vCPU, its kvm_run mapping, and running it.

use crate::error::KvmError;
use crate::exit::{Exit, Io};
use crate::observe::Observers;
use kvm_bindings::{KVM_EXIT_IO_OUT, kvm_regs, kvm_run, kvm_sregs, kvm_vcpu_events};
use kvm_ioctls::{Kvm, SyncReg, VcpuFd, VmFd};
use std::sync::atomic::{Ordering, compiler_fence};

/// A vCPU and its kvm_run mapping.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) fd: VcpuFd,
    /// Bytes of the kvm_run mapping.
    mapping: usize,
    /// What KVM leaves in the mapping at each exit.
    synced: Synced,
    /// Whether registers stand there that KVM takes with the next KVM_RUN, in place of its own.
    to_send: bool,
}

/// How often an instruction is helped along that is to be given up.
const ATTEMPTS: usize = 64;

/// What KVM leaves of the registers in the kvm_run mapping at each exit (KVM_CAP_SYNC_REGS), so
/// that reading them takes no ioctl: some 0.1 us an exit each, in place of 5 us and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    /// The general registers; and takes them from there where the host has changed them.
    pub(crate) general: bool,
    /// The system registers.
    pub(crate) system: bool,
}

/// All that can travel with KVM_RUN.
const ALL_SYNCED: [SyncReg; 3] = [SyncReg::Register, SyncReg::SystemRegister, SyncReg::VcpuEvents];

impl Vcpu {
    /// Steps 3 and 4.
    pub(crate) fn create(kvm: &Kvm, vm: &VmFd, steps: &mut Observers) -> Result<Self, KvmError> {
        let fd = steps.ioctl(
            3,
            "KVM_CREATE_VCPU",
            || vm.create_vcpu(0),
            |_| "id 0; its kvm_run is mapped".to_owned(),
        )?;
        // kvm-ioctls has mapped it; the size bounds what an exit may point at.
        let mapping = steps.ioctl(
            4,
            "KVM_GET_VCPU_MMAP_SIZE",
            || kvm.get_vcpu_mmap_size(),
            |size| format!("{size} bytes"),
        )?;
        Ok(Self { fd, mapping, synced: Synced::default(), to_send: false })
    }

    /// Has KVM leave registers in the mapping from the next exit on.
    pub(crate) fn sync(&mut self, wanted: Synced) {
        if self.synced == wanted {
            return;
        }
        for (register, wanted) in
            [(SyncReg::Register, wanted.general), (SyncReg::SystemRegister, wanted.system)]
        {
            if wanted {
                self.fd.set_sync_valid_reg(register);
            }
        }
        self.synced = wanted;
    }

    /// The general registers from the next exit on, besides what is kept already.
    pub(crate) fn keep_general_registers(&mut self) {
        self.sync(Synced { general: true, ..self.synced });
    }

    /// Whether the general registers are there without an ioctl.
    pub(crate) const fn has_registers(&self) -> bool {
        self.synced.general
    }

    /// The general registers at this exit.
    pub(crate) fn registers(&self) -> Result<kvm_regs, KvmError> {
        if self.synced.general || self.to_send {
            return Ok(self.fd.sync_regs().regs);
        }
        self.fd.get_regs().map_err(|error| KvmError::ioctl("KVM_GET_REGS", error))
    }

    /// The system registers at this exit.
    pub(crate) fn system_registers(&self) -> Result<kvm_sregs, KvmError> {
        if self.synced.system || self.to_send {
            return Ok(self.fd.sync_regs().sregs);
        }
        self.fd.get_sregs().map_err(|error| KvmError::ioctl("KVM_GET_SREGS", error))
    }

    /// Changes general registers before the guest goes on.
    pub(crate) fn change_registers(
        &mut self,
        change: impl FnOnce(&mut kvm_regs),
    ) -> Result<(), KvmError> {
        if self.synced.general {
            change(&mut self.fd.sync_regs_mut().regs);
            self.fd.set_sync_dirty_reg(SyncReg::Register);
            return Ok(());
        }
        let mut registers = self.registers()?;
        change(&mut registers);
        self.fd.set_regs(&registers).map_err(|error| KvmError::ioctl("KVM_SET_REGS", error))
    }

    /// The address of `immediate_exit` in the mapping, which lives as long as the vCPU.
    pub(crate) fn immediate_exit(&mut self) -> *mut u8 {
        &raw mut self.fd.get_kvm_run().immediate_exit
    }

    /// Whether the VM's signal has come since the last time. Where it has not, nothing is
    /// written: a signal that comes in between stays, and ends the next KVM_RUN at once.
    pub(crate) fn take_signal(&mut self) -> bool {
        let immediate_exit = self.immediate_exit();
        // SAFETY: the mapping lives as long as `self`. Volatile, as the signal's handler
        // writes it behind the compiler's back.
        if unsafe { immediate_exit.read_volatile() } == 0 {
            return false;
        }
        // SAFETY: as above.
        unsafe { immediate_exit.write_volatile(0) };
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// The general registers now (KVM_GET_REGS), also if someone has set them since the exit.
    pub(crate) fn registers_now(&self) -> Result<kvm_regs, kvm_ioctls::Error> {
        if self.to_send { Ok(self.fd.sync_regs().regs) } else { self.fd.get_regs() }
    }

    /// The same for the system registers (KVM_GET_SREGS).
    pub(crate) fn system_registers_now(&self) -> Result<kvm_sregs, kvm_ioctls::Error> {
        if self.to_send { Ok(self.fd.sync_regs().sregs) } else { self.fd.get_sregs() }
    }

    /// Has KVM take these with the next KVM_RUN: 0.6 us, in place of 5 for an ioctl each.
    pub(crate) fn send_with_run(
        &mut self,
        regs: &kvm_regs,
        sregs: &kvm_sregs,
        events: &kvm_vcpu_events,
    ) {
        let sync = self.fd.sync_regs_mut();
        (sync.regs, sync.sregs, sync.events) = (*regs, *sregs, *events);
        self.set_task_priority(sregs);
        for register in ALL_SYNCED {
            self.fd.set_sync_dirty_reg(register);
        }
        self.to_send = true;
    }

    /// CR8 is the host's to say at each KVM_RUN, where KVM has no interrupt controller (KVM API
    /// documentation, kvm_run: cr8): what it says there goes before the system registers.
    pub(crate) fn set_task_priority(&mut self, sregs: &kvm_sregs) {
        self.fd.get_kvm_run().cr8 = sregs.cr8;
    }

    /// Completes the instruction of the last exit (KVM API documentation, KVM_RUN: what is left of
    /// it is done at the next KVM_RUN, and with `immediate_exit` nothing else). The next exit of
    /// the same instruction, if it makes more of them.
    ///
    /// Not while the VM's signal may set `immediate_exit`: it would be taken back.
    pub(crate) fn complete(&mut self) -> Result<Option<Exit>, KvmError> {
        let immediate_exit = self.immediate_exit();
        // SAFETY: the mapping lives as long as `self`.
        unsafe { immediate_exit.write_volatile(1) };
        let exit = self.run();
        // SAFETY: as above.
        unsafe { immediate_exit.write_volatile(0) };
        Ok(Some(exit?).filter(|exit| *exit != Exit::Interrupted))
    }

    /// Whether the instruction of the last exit may still do something at the next KVM_RUN, if its
    /// registers are set as well and RIP is to be there. An OUT is passed over, if RIP still is at
    /// it then, and that is all (Linux, arch/x86/kvm/x86.c: complete_fast_pio_out).
    pub(crate) fn may_pend(&mut self, rip: u64) -> bool {
        match self.decode() {
            Exit::Io(_) => {
                let (run, _) = self.parts();
                // SAFETY: the exit is one of KVM_EXIT_IO, so this is what the union holds.
                let direction = unsafe { run.__bindgen_anon_1.io.direction };
                u32::from(direction) != KVM_EXIT_IO_OUT
                    || !self.synced.general
                    || self.fd.sync_regs().regs.rip == rip
            }
            Exit::Hlt | Exit::Interrupted => false,
            _ => true,
        }
    }

    /// Gives up the instruction of the last exit, and whatever registers were to be sent: all are
    /// about to be set.
    pub(crate) fn discard(&mut self) -> Result<(), KvmError> {
        for register in ALL_SYNCED {
            self.fd.clear_sync_dirty_reg(register);
        }
        self.to_send = false;
        for _ in 0..ATTEMPTS {
            if self.complete()?.is_none() {
                return Ok(());
            }
            // One that repeats ends with the element it is at. Not before it: what was read for that
            // would stay, and be taken for the answer to the next read outside RAM, whatever it is
            // (Linux, arch/x86/kvm/x86.c: mmio_read_completed).
            let regs =
                self.fd.get_regs().map_err(|error| KvmError::ioctl("KVM_GET_REGS", error))?;
            let regs = kvm_regs { rcx: 1, ..regs };
            self.fd.set_regs(&regs).map_err(|error| KvmError::ioctl("KVM_SET_REGS", error))?;
        }
        Err(KvmError::Endless)
    }

    /// Step 10: KVM_RUN, once.
    pub(crate) fn run(&mut self) -> Result<Exit, KvmError> {
        self.to_send = false;
        match self.fd.run() {
            // kvm-ioctls' own decoding merges size and count and drops the words of an
            // internal error, so the mapping is read here.
            Ok(_) => Ok(self.decode()),
            Err(error) if error.errno() == libc::EINTR => Ok(Exit::Interrupted),
            Err(error) => Err(KvmError::ioctl("KVM_RUN", error)),
        }
    }

    /// The exit that stands in the mapping.
    pub(crate) fn decode(&mut self) -> Exit {
        Exit::decode(self.fd.get_kvm_run())
    }

    /// The mapping: kvm_run, and what lies behind it.
    pub(crate) fn parts(&mut self) -> (&mut kvm_run, &mut [u8]) {
        let behind = self.mapping.saturating_sub(size_of::<kvm_run>());
        let run: *mut kvm_run = self.fd.get_kvm_run();
        // SAFETY: the mapping is at least as large as the structure at its start.
        let rest: *mut u8 = unsafe { run.add(1) }.cast();
        // SAFETY: `behind` bytes from there on are inside the mapping, which lives as long as
        // `self` and is borrowed with it; the kernel touches it only during ioctls on this vCPU.
        let rest = unsafe { std::slice::from_raw_parts_mut(rest, behind) };
        // SAFETY: the structure ends where `rest` begins, so the two do not overlap; else as above.
        (unsafe { &mut *run }, rest)
    }

    /// The elements of a port access, in the mapping. Empty where they would not be inside.
    pub(crate) fn elements(&mut self, io: &Io) -> &mut [u8] {
        let size = usize::from(io.width).saturating_mul(io.count as usize);
        let offset = usize::try_from(io.offset).unwrap_or(usize::MAX);
        if offset.checked_add(size).is_none_or(|end| end > self.mapping) {
            return &mut [];
        }
        let start: *mut u8 = std::ptr::from_mut(self.fd.get_kvm_run()).cast();
        // SAFETY: `offset + size` is inside the mapping, as was just checked.
        let data = unsafe { start.add(offset) };
        // SAFETY: the bytes are inside the mapping, which lives as long as `self` and is
        // borrowed with it; the kernel touches it only during ioctls on this vCPU.
        unsafe { std::slice::from_raw_parts_mut(data, size) }
    }

    /// Element `i` of a port access.
    pub(crate) fn element(&mut self, io: &Io, i: u32) -> u32 {
        let mut word = [0; 4];
        if let Some(bytes) = self.elements(io).chunks_exact(io.width.into()).nth(i as usize) {
            word[..bytes.len()].copy_from_slice(bytes);
        }
        u32::from_le_bytes(word)
    }

    /// Answers element `i` of a port access with the low bytes of `value`.
    pub(crate) fn set_element(&mut self, io: &Io, i: u32, value: u32) {
        let word = value.to_le_bytes();
        if let Some(bytes) = self.elements(io).chunks_exact_mut(io.width.into()).nth(i as usize) {
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
    }

    /// Answers a read outside RAM: the bytes from its address on, of which KVM takes as many as it
    /// has (KVM API documentation, KVM_EXIT_MMIO).
    pub(crate) fn set_mmio(&mut self, bytes: [u8; 8]) {
        self.fd.get_kvm_run().__bindgen_anon_1.mmio.data = bytes;
    }

    /// What a read outside RAM was answered.
    pub(crate) fn mmio(&mut self) -> [u8; 8] {
        // SAFETY: any bytes are valid in this member.
        unsafe { self.fd.get_kvm_run().__bindgen_anon_1.mmio.data }
    }

    /// Answers an access to a model-specific register: what is read there, or that what was written
    /// is taken; `None` for a general protection fault (KVM API documentation, KVM_EXIT_X86_RDMSR).
    pub(crate) fn set_msr(&mut self, value: Option<u64>) {
        let union = &mut self.fd.get_kvm_run().__bindgen_anon_1;
        union.msr.error = u8::from(value.is_none());
        union.msr.data = value.unwrap_or_default();
    }

    /// What an access to a model-specific register was answered.
    pub(crate) fn msr(&mut self) -> Option<u64> {
        // SAFETY: any bytes are valid in this member.
        let msr = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.msr };
        (msr.error == 0).then_some(msr.data)
    }
}
