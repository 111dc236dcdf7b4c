//! All that a vCPU holds and that can be set again: what a snapshot has of it.

use crate::error::KvmError;
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use std::ops::RangeInclusive;

/// IA32_TIME_STAMP_COUNTER and IA32_TSC_ADJUST (SDM vol. 4, table 2-2).
const TSC: u32 = 0x10;
const TSC_ADJUST: u32 = 0x3b;

/// What KVM keeps for a guest and leaves out of its list (KVM_GET_MSR_INDEX_LIST): the MTRRs (SDM
/// vol. 3, 13.11.2) and the machine-check banks (17.3.2); HWCR and VM_CR (AMD64 Architecture
/// Programmer's Manual vol. 2, 3.2.10 and 15.30.1).
const UNLISTED: [RangeInclusive<u32>; 8] = [
    0x200..=0x20f,
    0x250..=0x250,
    0x258..=0x259,
    0x268..=0x26f,
    0x2ff..=0x2ff,
    0x400..=0x47f,
    0xc001_0015..=0xc001_0015,
    0xc001_0114..=0xc001_0114,
];

/// For guests that are told of it by CPUID, and some are clocks (Hypervisor Top-Level Functional
/// Specification, Appendix F).
const HYPER_V: RangeInclusive<u32> = 0x4000_0000..=0x4000_ffff;

/// The most MSRs that one KVM_GET_MSRS takes (Linux, arch/x86/kvm/x86.c: MAX_IO_MSRS).
pub(crate) const MSRS_MAX: usize = 256;

/// A vCPU's state between two instructions.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) regs: kvm_regs,
    pub(crate) sregs: kvm_sregs,
    pub(crate) xsave: Box<[u32; 1024]>,
    pub(crate) xcrs: kvm_xcrs,
    pub(crate) debug: kvm_debugregs,
    pub(crate) events: kvm_vcpu_events,
    pub(crate) mp_state: kvm_mp_state,
    /// Those that can be both read and written.
    pub(crate) msrs: Vec<kvm_msr_entry>,
}

/// Whether the time stamp counter is set as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// It is: a new VM's goes on where the other's was.
    Set,
    /// It runs on: turned back, it would be the one clock of the guest's that is.
    Keep,
}

fn failed(ioctl: &'static str) -> impl Fn(kvm_ioctls::Error) -> KvmError {
    move |error| KvmError::ioctl(ioctl, error)
}

impl State {
    /// Reads it. No exit may be pending (KVM API documentation, KVM_RUN).
    pub(crate) fn read(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Self, KvmError> {
        Ok(Self {
            regs: vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?,
            sregs: vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?,
            // What comes behind these 4 KiB are features that a process has to ask for (AMX), and
            // this one does not.
            xsave: Box::new(vcpu.get_xsave().map_err(failed("KVM_GET_XSAVE"))?.region),
            xcrs: vcpu.get_xcrs().map_err(failed("KVM_GET_XCRS"))?,
            debug: vcpu.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?,
            events: vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?,
            mp_state: vcpu.get_mp_state().map_err(failed("KVM_GET_MP_STATE"))?,
            msrs: msrs(kvm, vcpu)?,
        })
    }

    /// Sets all of it. No exit may be pending.
    pub(crate) fn write(&self, vcpu: &VcpuFd, clock: Clock) -> Result<(), KvmError> {
        vcpu.set_mp_state(self.mp_state).map_err(failed("KVM_SET_MP_STATE"))?;
        vcpu.set_regs(&self.regs).map_err(failed("KVM_SET_REGS"))?;
        vcpu.set_sregs(&self.sregs).map_err(failed("KVM_SET_SREGS"))?;
        vcpu.set_xcrs(&self.xcrs).map_err(failed("KVM_SET_XCRS"))?;
        self.write_xsave(vcpu)?;
        vcpu.set_debug_regs(&self.debug).map_err(failed("KVM_SET_DEBUGREGS"))?;
        let is_set = |msr: &&kvm_msr_entry| {
            clock == Clock::Set || (msr.index != TSC && msr.index != TSC_ADJUST)
        };
        let msrs: Vec<_> = self.msrs.iter().filter(is_set).copied().collect();
        // Some take a value and keep their own: VM_CR, once it says that SVM is off.
        let refused = match first_refused(vcpu, &msrs)? {
            Some(refused) => Some(refused),
            None => first_other(vcpu, &msrs)?,
        };
        if let Some(kvm_msr_entry { index, data, .. }) = refused.map(|refused| msrs[refused]) {
            return Err(KvmError::Msr { index, value: data });
        }
        vcpu.set_vcpu_events(&self.events).map_err(failed("KVM_SET_VCPU_EVENTS"))
    }

    /// Sets the floating-point and vector registers alone.
    pub(crate) fn write_xsave(&self, vcpu: &VcpuFd) -> Result<(), KvmError> {
        let mut xsave = kvm_xsave::default();
        xsave.region = *self.xsave;
        // SAFETY: KVM reads more than the structure only for features that this process never
        // asked for (arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM).
        unsafe { vcpu.set_xsave(&xsave) }.map_err(failed("KVM_SET_XSAVE"))
    }
}

/// The MSRs that can be both read and written, as they are.
fn msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, KvmError> {
    let list = kvm.get_msr_index_list().map_err(failed("KVM_GET_MSR_INDEX_LIST"))?;
    let entry = |index| kvm_msr_entry { index, ..kvm_msr_entry::default() };
    let listed = list.as_slice().iter().copied().filter(|msr| !HYPER_V.contains(msr));
    let unlisted = UNLISTED.into_iter().flatten().filter(|msr| !list.as_slice().contains(msr));
    let mut wanted: Vec<_> = listed.chain(unlisted).map(entry).collect();
    wanted.truncate(MSRS_MAX);
    // KVM does those in front of the first that it refuses: without that one, it does more.
    let read = loop {
        let mut msrs = entries_of(&wanted)?;
        let done = vcpu.get_msrs(&mut msrs).map_err(failed("KVM_GET_MSRS"))?;
        if done >= wanted.len() {
            break msrs;
        }
        wanted.remove(done);
    };
    let mut read = read.as_slice().to_vec();
    // A list that has all of them says nothing of whether they can be set (KVM_PVM's
    // MSR_KVM_ASYNC_PF_INT, 0x4b564d06, cannot). Set to what it is, none of them changes anything;
    // the counter would, since it runs.
    let counter = |msr: &kvm_msr_entry| msr.index == TSC;
    let tsc = read.iter().position(counter).map(|at| read.remove(at));
    while let Some(refused) = first_refused(vcpu, &read)? {
        read.remove(refused);
    }
    read.extend(tsc);
    Ok(read)
}

/// As KVM wants them.
fn entries_of(entries: &[kvm_msr_entry]) -> Result<Msrs, KvmError> {
    let too_many = |_| KvmError::Ioctl {
        ioctl: "KVM_SET_MSRS",
        source: std::io::ErrorKind::InvalidInput.into(),
    };
    Msrs::from_entries(entries).map_err(too_many)
}

/// Sets MSRs; the place of the first that KVM does not take.
fn first_refused(vcpu: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<Option<usize>, KvmError> {
    if entries.is_empty() {
        return Ok(None);
    }
    let msrs = entries_of(entries)?;
    let done = vcpu.set_msrs(&msrs).map_err(failed("KVM_SET_MSRS"))?;
    Ok(Some(done).filter(|done| *done < entries.len()))
}

/// The place of the first MSR that is not as it was set, the counter's aside.
fn first_other(vcpu: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<Option<usize>, KvmError> {
    if entries.is_empty() {
        return Ok(None);
    }
    let mut msrs = entries_of(entries)?;
    vcpu.get_msrs(&mut msrs).map_err(failed("KVM_GET_MSRS"))?;
    let is_other =
        |(now, then): (&kvm_msr_entry, &kvm_msr_entry)| now.data != then.data && then.index != TSC;
    Ok(msrs.as_slice().iter().zip(entries).position(is_other))
}
