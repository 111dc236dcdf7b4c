//! Step 1: opening /dev/kvm.

use crate::error::KvmError;
use crate::sys;
use crate::teardown::{Teardown, Thread};
use kvm_ioctls::{VcpuFd, VmFd};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The KVM device, from which any number of VMs are made.
///
/// ```
/// use portcall::{Image, Kvm, Vm};
///
/// let kvm = Kvm::open()?;
/// let image = Image::flat(&[0xf4])?; // hlt
/// let (mut one, mut other) =
///     (Vm::builder(&kvm, &image).build()?, Vm::builder(&kvm, &image).build()?);
/// assert_eq!(one.run()?.end, other.run()?.end);
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Debug)]
pub struct Kvm {
    // First, so that all that it has to give back is given back while the spare is there.
    teardown: Option<Thread>,
    spare: Option<Spare>,
    fd: Arc<kvm_ioctls::Kvm>,
}

/// A vCPU that is never run: while one without an interrupt controller of KVM's is open, the kernel
/// need not change its own code at the next one's creation and end (Linux, arch/x86/kvm/lapic.c,
/// kvm_has_noapic_vcpu).
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be open")]
struct Spare {
    vcpu: VcpuFd,
    vm: VmFd,
}

impl Spare {
    fn create(kvm: &kvm_ioctls::Kvm) -> Result<Self, KvmError> {
        let vm = kvm.create_vm().map_err(|error| KvmError::ioctl("KVM_CREATE_VM", error))?;
        let vcpu = vm.create_vcpu(0).map_err(|error| KvmError::ioctl("KVM_CREATE_VCPU", error))?;
        Ok(Self { vcpu, vm })
    }
}

impl Kvm {
    /// Opens /dev/kvm.
    ///
    /// # Errors
    /// It is missing, may not be opened, or is not KVM; the error says what to do.
    pub fn open() -> Result<Self, KvmError> {
        Self::open_path(Path::new("/dev/kvm"))
    }

    /// Opens the KVM device at another path.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_path(path: &Path) -> Result<Self, KvmError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KvmError::Missing { path: path.into() },
            io::ErrorKind::PermissionDenied => KvmError::Denied { path: path.into() },
            _ if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                KvmError::TooManyFiles { path: path.into(), source }
            }
            _ => KvmError::Open { path: path.into(), source },
        };
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let fd = kvm_ioctls::Kvm::new_with_path(name)
            .map_err(|error| failed(io::Error::from_raw_os_error(error.errno())))?;
        // A look at the device number costs no ioctl, so that a plain run makes none but its ten.
        if !sys::is_kvm_device(&fd) {
            let reason = "it is no character device 10:232".to_owned();
            return Err(KvmError::NotKvm { path: path.into(), reason });
        }
        Ok(Self { teardown: None, spare: None, fd: Arc::new(fd) })
    }

    /// Prepares for many VMs one after the other. Nothing of one VM is used for another; what they
    /// share is a vCPU that is kept open beside them, without which each one's vCPU costs more to
    /// create and to close, and one thread, which closes the VMs that were dropped.
    ///
    /// On a quiet machine of two processors, kvm_pvm, a VM that is created, run to its first exit and
    /// dropped took the caller 354 us, where bare ioctls took 908 (medians, `cargo xtask bench life`),
    /// and a thousand of them 0.45 s in place of 1.04. It wants a processor that is free: where others
    /// use them all, it gains nothing. And it is one thread, which closes one VM at a time: where four
    /// threads made VMs and ran them meanwhile, it closed some 140 a second, and it was faster to let
    /// each thread close its own.
    ///
    /// A drop waits where `pending` VMs (at least one) are waiting for the thread; handlers,
    /// observers and sinks are always dropped at once, by whoever drops the VM. Each VM that waits
    /// keeps its two files, and its memory. The thread ends when this `Kvm` is dropped, which waits
    /// for it; a VM that is dropped later is closed at once.
    ///
    /// A process with a second thread enters a jail only as `Jail::beside_threads`.
    ///
    /// ```
    /// use portcall::{End, Image, Kvm, Vm};
    ///
    /// let kvm = Kvm::open()?.for_many(4)?;
    /// let image = Image::flat(&[0xf4])?; // hlt
    /// for _ in 0..10 {
    ///     let end = Vm::builder(&kvm, &image).build()?.run()?.end;
    ///     assert_eq!(end, End::Halted);
    /// }
    /// kvm.drain();
    /// # Ok::<(), portcall::Error>(())
    /// ```
    ///
    /// # Errors
    /// The vCPU or the thread cannot be had.
    pub fn for_many(mut self, pending: usize) -> Result<Self, KvmError> {
        self.teardown = None;
        self.spare = Some(Spare::create(&self.fd)?);
        let thread = Thread::start(pending).map_err(|source| KvmError::Thread { source })?;
        self.teardown = Some(thread);
        Ok(self)
    }

    /// Waits until all VMs that were dropped so far are closed, and their memory is given back.
    pub fn drain(&self) {
        if let Some(thread) = &self.teardown {
            thread.drain();
        }
    }

    /// Where a VM goes when it is dropped, if not away at once.
    pub(crate) fn teardown(&self) -> Option<Teardown> {
        self.teardown.as_ref().map(Thread::teardown)
    }

    /// The file descriptor, for system ioctls of your own.
    #[must_use]
    pub fn fd(&self) -> &kvm_ioctls::Kvm {
        &self.fd
    }

    /// The same, for a VM to keep.
    pub(crate) fn share(&self) -> Arc<kvm_ioctls::Kvm> {
        Arc::clone(&self.fd)
    }
}
