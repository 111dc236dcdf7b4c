//! Step 1: opening /dev/kvm.

use crate::error::KvmError;
use crate::sys;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The KVM device, from which any number of VMs are made.
#[derive(Debug)]
pub struct Kvm {
    fd: Arc<kvm_ioctls::Kvm>,
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
        Ok(Self { fd: Arc::new(fd) })
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
