//! The floor: a VM by bare ioctls on libc alone, in the order in which a C tutorial has them.
//! Structures and numbers are the kernel's header (kvm-bindings). Nothing of portcall's is in here,
//! and errors are panics: it is a yardstick, not a VMM.

use kvm_bindings::{
    KVM_EXIT_IO, KVM_SYNC_X86_REGS, KVMIO, kvm_regs, kvm_run, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region,
};
use portcall::Ring;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{null_mut, write_unaligned};

/// As much memory as a VM of the library has by default.
const MEMORY: usize = 16 << 20;

/// No RAM between these, where KVM and the processor have pages of their own.
const HOLE_START: usize = 3 << 30;
const HOLE_END: u64 = 4 << 30;

/// Where the code is put, and entered.
const CODE: usize = 1 << 20;

/// A task state segment of zeros, which has the I/O bitmap that ring 3 needs.
const TSS: usize = 0x4000;

const fn io(number: libc::c_ulong) -> libc::c_ulong {
    ((KVMIO as libc::c_ulong) << 8) | number
}

/// `_IOR` is 2, `_IOW` is 1 (linux/ioctl.h), with the argument's size.
const fn io_of<T>(direction: libc::c_ulong, number: libc::c_ulong) -> libc::c_ulong {
    (direction << 30) | ((size_of::<T>() as libc::c_ulong) << 16) | io(number)
}

const KVM_CREATE_VM: libc::c_ulong = io(0x01);
const KVM_GET_VCPU_MMAP_SIZE: libc::c_ulong = io(0x04);
const KVM_CREATE_VCPU: libc::c_ulong = io(0x41);
const KVM_SET_USER_MEMORY_REGION: libc::c_ulong = io_of::<kvm_userspace_memory_region>(1, 0x46);
const KVM_SET_TSS_ADDR: libc::c_ulong = io(0x47);
const KVM_RUN: libc::c_ulong = io(0x80);
const KVM_GET_REGS: libc::c_ulong = io_of::<kvm_regs>(2, 0x81);
const KVM_SET_REGS: libc::c_ulong = io_of::<kvm_regs>(1, 0x82);
const KVM_GET_SREGS: libc::c_ulong = io_of::<kvm_sregs>(2, 0x83);
const KVM_SET_SREGS: libc::c_ulong = io_of::<kvm_sregs>(1, 0x84);

/// /dev/kvm, open.
pub(crate) struct Kvm(RawFd);

impl Kvm {
    pub(crate) fn open() -> Self {
        // SAFETY: the path is a C string.
        let fd = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        assert!(fd >= 0, "/dev/kvm: {}", std::io::Error::last_os_error());
        Self(fd)
    }
}

impl Drop for Kvm {
    fn drop(&mut self) {
        // SAFETY: it is ours, and used no more.
        unsafe { libc::close(self.0) };
    }
}

/// An ioctl with a number for an argument.
fn number(fd: RawFd, request: libc::c_ulong, argument: libc::c_ulong) -> i32 {
    // SAFETY: the requests that come here take a number, or nothing.
    let result = unsafe { libc::ioctl(fd, request, argument) };
    assert!(result >= 0, "ioctl {request:#x}: {}", std::io::Error::last_os_error());
    result
}

/// An ioctl with a structure.
fn with<T>(fd: RawFd, request: libc::c_ulong, argument: &mut T) {
    // SAFETY: the requests that come here read or write one T, which is what their numbers are
    // made of.
    let result = unsafe { libc::ioctl(fd, request, std::ptr::from_mut(argument)) };
    assert!(result >= 0, "ioctl {request:#x}: {}", std::io::Error::last_os_error());
}

/// A new mapping that can be read and written.
fn map(size: usize, flags: i32, fd: RawFd) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a mapping at no place that is asked for takes nothing from anyone.
    let address = unsafe { libc::mmap(null_mut(), size, protection, flags, fd, 0) };
    assert_ne!(address, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    address.cast()
}

/// A VM with one vCPU.
pub(crate) struct Vm {
    vm: RawFd,
    vcpu: RawFd,
    memory: *mut u8,
    size: usize,
    run: *mut kvm_run,
    run_size: usize,
}

/// An access to a port by the guest, of up to four bytes.
pub(crate) struct Out {
    pub(crate) port: u16,
    pub(crate) value: u32,
}

impl Vm {
    /// Steps 1 to 9, for code that is entered at its first byte.
    pub(crate) fn create(kvm: &Kvm, code: &[u8], ring: Ring) -> Self {
        Self::create_with(kvm, code, ring, MEMORY)
    }

    /// The same with so much memory.
    pub(crate) fn create_with(kvm: &Kvm, code: &[u8], ring: Ring, size: usize) -> Self {
        // 1: a VM.
        let vm = number(kvm.0, KVM_CREATE_VM, 0);
        number(vm, KVM_SET_TSS_ADDR, 0xfffb_d000);
        // 2: its memory.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let memory = map(size, flags, -1);
        let low = size.min(HOLE_START);
        for (slot, gpa, at, bytes) in [(0, 0, 0, low), (1, HOLE_END, low, size - low)] {
            let mut region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: gpa,
                memory_size: bytes as u64,
                userspace_addr: (memory.addr() + at) as u64,
            };
            if bytes > 0 {
                with(vm, KVM_SET_USER_MEMORY_REGION, &mut region);
            }
        }
        // 3 and 4: a vCPU and its kvm_run.
        let vcpu = number(vm, KVM_CREATE_VCPU, 0);
        let run_size = usize::try_from(number(kvm.0, KVM_GET_VCPU_MMAP_SIZE, 0)).unwrap_or(0);
        let run = map(run_size, libc::MAP_SHARED, vcpu).cast();
        let this = Self { vm, vcpu, memory, size, run, run_size };
        // 5 to 7: the system registers.
        let mut sregs = kvm_sregs::default();
        with(vcpu, KVM_GET_SREGS, &mut sregs);
        this.long_mode(&mut sregs, ring);
        with(vcpu, KVM_SET_SREGS, &mut sregs);
        // 8: the general registers. Ring 3 may use ports where the I/O privilege level is 3.
        let mut regs = kvm_regs {
            rip: CODE as u64,
            rsp: low as u64,
            rflags: if ring == Ring::Three { 2 | 3 << 12 } else { 2 },
            ..Default::default()
        };
        with(vcpu, KVM_SET_REGS, &mut regs);
        // 9: the code.
        assert!(CODE + code.len() <= low);
        // SAFETY: the code fits, as was just checked.
        let place = unsafe { memory.add(CODE) };
        // SAFETY: as many bytes are mapped there, in a mapping of their own.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), place, code.len()) };
        this
    }

    /// Step 6: three tables that map the memory one to one, and long mode.
    fn long_mode(&self, sregs: &mut kvm_sregs, ring: Ring) {
        // Present, writable, and for ring 3 as well; bit 7 makes a page of 2 MiB.
        self.put(0x1000, 0x2007_u64);
        let end = if self.size > HOLE_START { self.size + (1 << 30) } else { self.size };
        for page in 0..end >> 21 {
            let (directory, entry) = (page >> 9, page & 511);
            let table = if directory == 0 { 0x3000 } else { 0x1_0000 + 0x1000 * directory };
            self.put(0x2000 + 8 * directory, (table | 7) as u64);
            self.put(table + 8 * entry, (page << 21) as u64 | 0x87);
        }
        // Where the bitmap begins in the task state segment (SDM vol. 3, 9.7).
        self.put(TSS + 0x66, 0x68_u16);
        let (code, data) = if ring == Ring::Three { (0x33, 0x2b) } else { (0x08, 0x10) };
        let flat = |selector: u16, type_| kvm_segment {
            limit: u32::MAX,
            selector,
            type_,
            present: 1,
            dpl: if ring == Ring::Three { 3 } else { 0 },
            s: 1,
            g: 1,
            ..Default::default()
        };
        sregs.cs = kvm_segment { l: 1, ..flat(code, 11) };
        let data = flat(data, 3);
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        sregs.tr = kvm_segment {
            base: TSS as u64,
            limit: 0x2068,
            selector: 0x40,
            type_: 11,
            present: 1,
            ..Default::default()
        };
        sregs.cr3 = 0x1000;
        sregs.cr4 = 1 << 5; // PAE
        sregs.cr0 = 1 << 31 | 0x33; // PG, NE, ET, MP, PE
        sregs.efer = 1 << 10 | 1 << 8; // LMA, LME
    }

    /// Writes to the guest's memory.
    fn put<T>(&self, address: usize, value: T) {
        assert!(address + size_of::<T>() <= self.size);
        // SAFETY: the memory is that long.
        let place = unsafe { self.memory.add(address) };
        // SAFETY: as many bytes as the value has are mapped there, and no reference leads to them.
        unsafe { write_unaligned(place.cast(), value) };
    }

    /// Copies the guest's memory.
    pub(crate) fn copy(&self, address: usize, bytes: &mut [u8]) {
        assert!(address + bytes.len() <= self.size);
        // SAFETY: the memory is that long.
        let place = unsafe { self.memory.add(address) };
        // SAFETY: as many bytes are mapped there, and no reference leads to them.
        unsafe { std::ptr::copy_nonoverlapping(place, bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Has KVM leave the general registers in kvm_run at each exit.
    pub(crate) fn sync(&mut self) {
        self.run_mut().kvm_valid_regs = KVM_SYNC_X86_REGS.into();
    }

    fn run_mut(&mut self) -> &mut kvm_run {
        // SAFETY: the mapping is this VM's alone, and there as long as this VM; KVM writes to it
        // only in KVM_RUN, which takes this VM mutably as well.
        unsafe { &mut *self.run }
    }

    /// Step 10: runs the guest up to its next OUT.
    pub(crate) fn run(&mut self) -> Out {
        number(self.vcpu, KVM_RUN, 0);
        let run = self.run_mut();
        assert_eq!(run.exit_reason, KVM_EXIT_IO, "the guest did something else than an OUT");
        // SAFETY: the exit reason names this member.
        let io = unsafe { run.__bindgen_anon_1.io };
        let offset = usize::try_from(io.data_offset).unwrap_or(usize::MAX);
        assert!(offset + 4 <= self.run_size);
        // SAFETY: the offset is in the mapping, as was just looked at.
        let data = unsafe { self.run.cast::<u8>().add(offset) };
        // SAFETY: four bytes of the mapping, which KVM has written to.
        Out { port: io.port, value: unsafe { data.cast::<u32>().read_unaligned() } }
    }

    /// Step 11 of a call: the registers, which can be changed; after [`sync`](Self::sync).
    pub(crate) fn answer(&mut self, answer: impl FnOnce(&mut kvm_regs)) {
        let run = self.run_mut();
        // SAFETY: `kvm_valid_regs` has asked for them.
        answer(unsafe { &mut run.s.regs.regs });
        run.kvm_dirty_regs = KVM_SYNC_X86_REGS.into();
    }

    /// Step 12: the registers at the end.
    pub(crate) fn registers(&self) -> kvm_regs {
        let mut regs = kvm_regs::default();
        with(self.vcpu, KVM_GET_REGS, &mut regs);
        regs
    }
}

impl AsRawFd for Vm {
    /// The vCPU's.
    fn as_raw_fd(&self) -> RawFd {
        self.vcpu
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: mapped by `create`, and used no more.
        unsafe { libc::munmap(self.run.cast(), self.run_size) };
        // SAFETY: as above; the vCPU does not run.
        unsafe { libc::munmap(self.memory.cast(), self.size) };
        // SAFETY: ours, and used no more.
        unsafe { libc::close(self.vcpu) };
        // SAFETY: as above.
        unsafe { libc::close(self.vm) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests;

    #[test]
    fn both_rings_run_to_their_end() {
        let kvm = Kvm::open();
        for ring in [Ring::Zero, Ring::Three] {
            let mut vm = Vm::create(&kvm, &guests::minimal(), ring);
            let out = vm.run();
            assert_eq!((out.port, out.value & 0xff), (0xf4, 0), "{ring:?}");
            assert_eq!(vm.registers().rax, 0, "{ring:?}");
        }
    }

    #[test]
    fn a_call_is_answered_by_registers() {
        let kvm = Kvm::open();
        for ring in [Ring::Zero, Ring::Three] {
            let mut vm = Vm::create(&kvm, &guests::caller(7, 2), ring);
            vm.sync();
            assert_eq!(vm.run().port, guests::ROUND, "{ring:?}");
            for _ in 0..2 {
                let out = vm.run();
                assert_eq!((out.port, out.value), (0xf7, 7), "{ring:?}");
                vm.answer(|regs| regs.rax = 5 * regs.rdi);
            }
            assert_eq!(vm.run().port, guests::ROUND, "{ring:?}");
            assert_eq!(vm.registers().rax, 5 * guests::ARGUMENT, "{ring:?}");
        }
    }
}
