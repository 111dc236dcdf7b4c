//! System calls that kvm-ioctls has no wrapper for.

use kvm_bindings::{KVMIO, kvm_clear_dirty_log, kvm_stats_desc, kvm_stats_header};
use kvm_ioctls::VmFd;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

/// KVM's device number (Linux, include/linux/miscdevice.h: MISC_MAJOR, KVM_MINOR).
const KVM_DEVICE: (u32, u32) = (10, 232);

/// Whether `fd` is the KVM device, by its number.
pub(crate) fn is_kvm_device(fd: &impl AsRawFd) -> bool {
    // SAFETY: all-zero bytes are a valid stat structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable for the call's duration.
    let done = unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) } == 0;
    done && stat.st_mode & libc::S_IFMT == libc::S_IFCHR
        && (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)) == KVM_DEVICE
}

/// KVM_CLEAR_DIRTY_LOG: `_IOWR(KVMIO, 0xc0, struct kvm_clear_dirty_log)`.
const KVM_CLEAR_DIRTY_LOG: libc::c_ulong = (3 << 30)
    | ((size_of::<kvm_clear_dirty_log>() as libc::c_ulong) << 16)
    | ((KVMIO as libc::c_ulong) << 8)
    | 0xc0;

/// Takes the pages of `bitmap` out of a slot's dirty log, and has KVM note the next write to each
/// (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2). `pages` is the slot's size.
pub(crate) fn clear_dirty_log(vm: &VmFd, slot: u32, pages: u64, bitmap: &[u64]) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let num_pages = u32::try_from(pages).map_err(too_large)?;
    if (bitmap.len() as u64) < pages.div_ceil(64) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut clear = kvm_clear_dirty_log { slot, num_pages, ..kvm_clear_dirty_log::default() };
    clear.__bindgen_anon_1.dirty_bitmap = bitmap.as_ptr().cast_mut().cast();
    // SAFETY: KVM reads a bit for each of `num_pages` pages, and `bitmap` has as many.
    let done = unsafe { libc::ioctl(vm.as_raw_fd(), KVM_CLEAR_DIRTY_LOG, &raw const clear) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// KVM_GET_STATS_FD: `_IO(KVMIO, 0xce)`.
const KVM_GET_STATS_FD: libc::c_ulong = ((KVMIO as libc::c_ulong) << 8) | 0xce;

/// A vCPU's own counters (KVM API documentation, "Binary statistics").
#[derive(Debug)]
pub struct KvmStats {
    file: File,
    data_offset: u64,
    names: Vec<(String, u32)>,
}

impl KvmStats {
    /// Opens the counters of a vCPU or a VM.
    ///
    /// # Errors
    /// The kernel is older than 5.14, or its answer makes no sense.
    pub fn open(fd: &impl AsRawFd) -> io::Result<Self> {
        // SAFETY: the ioctl takes no argument and returns a new file descriptor.
        let stats = unsafe { libc::ioctl(fd.as_raw_fd(), KVM_GET_STATS_FD, 0) };
        if stats < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let file = unsafe { File::from_raw_fd(stats) };
        let mut header = [0u8; size_of::<kvm_stats_header>()];
        file.read_exact_at(&mut header, 0)?;
        let word = |i: usize| header[4 * i..].first_chunk().map_or(0, |w| u32::from_le_bytes(*w));
        // In the order of struct kvm_stats_header.
        let (name_size, count, descriptors, data) = (word(1), word(2), word(4), word(5));
        let entry = size_of::<kvm_stats_desc>() + name_size as usize;
        let mut names = Vec::new();
        for i in 0..count.min(4096) as usize {
            let mut bytes = vec![0; entry];
            file.read_exact_at(&mut bytes, u64::from(descriptors) + (i * entry) as u64)?;
            // struct kvm_stats_desc: flags, exponent and size, offset, bucket size, name.
            let offset = bytes[8..].first_chunk().map_or(0, |w| u32::from_le_bytes(*w));
            let name = bytes[size_of::<kvm_stats_desc>()..].split(|b| *b == 0).next();
            names.push((String::from_utf8_lossy(name.unwrap_or_default()).into_owned(), offset));
        }
        Ok(Self { file, data_offset: u64::from(data), names })
    }

    /// The counter of that name (`exits`, `insn_emulation`, ...), if this KVM has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        let (_, offset) = self.names.iter().find(|(known, _)| known == name)?;
        let mut value = [0; 8];
        self.file.read_exact_at(&mut value, self.data_offset + u64::from(*offset)).ok()?;
        Some(u64::from_le_bytes(value))
    }
}
