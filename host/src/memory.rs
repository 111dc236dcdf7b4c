//! Step 2: the guest's memory, mapped into the host and handed to KVM.

use crate::error::{KvmError, MemoryError};
use crate::frozen::Frozen;
use crate::guarded::Guarded;
use crate::layout::{Gpa, Layout};
use crate::tape::Effect;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress, MmapRegion,
};

/// A guest's RAM. Every access is checked and copies: the guest may change its memory at any
/// moment, so there is never a Rust reference into it.
///
/// ```
/// use portcall::{Gpa, Image, Kvm, Vm};
///
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xf4])?);
/// let vm = Vm::builder(&kvm, &image).memory(2 << 20).build()?;
/// let memory = vm.memory();
/// memory.write(Gpa(0x2000), b"text")?;
/// let mut back = [0; 4];
/// memory.read(Gpa(0x2000), &mut back)?;
/// assert_eq!(&back, b"text");
/// // Behind its end, as everywhere else: an error, never a panic.
/// assert!(memory.read(Gpa(2 << 20), &mut back).is_err());
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    /// Notes the pages that the host writes: KVM's own log has only those of the guest.
    ram: GuestMemoryMmap<AtomicBitmap>,
    /// What the regions of `ram` lie in.
    mappings: Vec<Guarded>,
    /// What it shows where nothing was written since.
    shows: Option<Arc<Frozen>>,
    /// What the host did to the guest, for a tape to be told; only where there is one.
    journal: Option<Box<Mutex<Vec<Effect>>>>,
}

impl Memory {
    /// Maps RAM as the layout has it: private, zero, and sparse, so that only what is touched
    /// costs; each range between guards of its own. It takes no KVM, so that what a VM would hold
    /// can be built and looked at anywhere:
    ///
    /// ```
    /// use portcall::address_space::address_space;
    /// use portcall::layout::{Layout, MIB};
    /// use portcall::paging::{Tables, tables_bound};
    /// use portcall::{Gpa, Gva, Image, Memory, Ring, load, walk};
    ///
    /// let image = Image::flat(&[0xf4])?;
    /// let layout = Layout::new(2 * MIB, tables_bound(2 * MIB, image.segments()), 0, 0)?;
    /// load::check(&image, &layout)?;
    /// let memory = Memory::map(&layout)?;
    /// let space = address_space(&layout, image.segments(), Ring::Zero);
    /// Tables::build(Gpa(layout.tables.start), &space).write(&memory, &layout.tables)?;
    /// load::image(&memory, &image)?;
    /// let code = walk::translate(&memory, layout.tables.start, Gva(MIB)).expect("mapped");
    /// assert!(code.executable);
    /// # Ok::<(), portcall::Error>(())
    /// ```
    ///
    /// # Errors
    /// The host has no room for it.
    pub fn map(layout: &Layout) -> Result<Self, MemoryError> {
        let size = layout.ram.iter().map(|range| range.end - range.start).sum();
        let failed = |reason: String| MemoryError::Map { size, reason };
        let (mut regions, mut mappings) = (Vec::new(), Vec::new());
        for range in &layout.ram {
            let bytes = usize::try_from(range.end - range.start)
                .map_err(|error| failed(error.to_string()))?;
            let mapping = Guarded::map(bytes).map_err(|error| failed(error.to_string()))?;
            // SAFETY: `bytes` from `start` on are mapped like this, and stay so until `mapping`
            // is dropped, which is when nobody uses the region any more: whoever has a clone of
            // it was told so (`as_mmap`).
            let region = unsafe {
                MmapRegion::build_raw(mapping.start(), bytes, Guarded::ACCESS, Guarded::FLAGS)
            };
            let region = region.map_err(|error| failed(error.to_string()))?;
            let region = GuestRegionMmap::new(region, GuestAddress(range.start));
            regions.push(region.ok_or_else(|| failed("the range wraps around".to_owned()))?);
            mappings.push(mapping);
        }
        let ram = GuestMemoryMmap::from_regions(regions).map_err(|e| failed(e.to_string()))?;
        Ok(Self { ram, mappings, shows: None, journal: None })
    }

    /// Becomes what was frozen, whatever it was before; each page is shared until it is written.
    /// KVM must not have it in a slot meanwhile, unless it shows the same already and no page table
    /// of the guest's is another than before.
    pub(crate) fn show(&mut self, frozen: &Arc<Frozen>) -> io::Result<()> {
        let is_it = |shows: &Arc<Frozen>| Arc::ptr_eq(shows, frozen);
        // Memory that is locked (mlockall) keeps its pages, and is mapped anew.
        if !self.shows.as_ref().is_some_and(is_it)
            || !self.mappings.iter().all(|mapping| mapping.drop_writes().is_ok())
        {
            self.shows = None;
            for (mapping, range) in self.mappings.iter().zip(self.ranges()) {
                mapping.renew()?;
                let inside = |piece: &&Range<u64>| range.contains(&piece.start);
                for piece in frozen.pieces().iter().filter(inside) {
                    let place = frozen.place(piece).zip(whole(piece.start - range.start));
                    let ((file, offset), at) = place.ok_or(io::ErrorKind::InvalidInput)?;
                    let size = whole(piece.end - piece.start).ok_or(io::ErrorKind::InvalidInput)?;
                    mapping.show(at, size, file, offset)?;
                }
            }
            self.shows = Some(Arc::clone(frozen));
        }
        self.forget_written();
        Ok(())
    }

    /// What it shows of something frozen.
    pub(crate) fn shown(&self) -> &[Range<u64>] {
        self.shows.as_ref().map_or(&[], |frozen| frozen.pieces())
    }

    /// The ranges of RAM.
    pub(crate) fn ranges(&self) -> Vec<Range<u64>> {
        let range = |region: &GuestRegionMmap<AtomicBitmap>| {
            region.start_addr().0..region.start_addr().0 + region.len()
        };
        self.ram.iter().map(range).collect()
    }

    /// The pages that the host has written: for each range a bitmap, a bit a page. They count no
    /// longer.
    pub(crate) fn written(&self) -> Vec<Vec<u64>> {
        self.ram.iter().map(|region| (**region).bitmap().get_and_reset()).collect()
    }

    /// No page counts as written by the host from here on.
    pub(crate) fn forget_written(&self) {
        self.ram.iter().for_each(|region| (**region).bitmap().reset());
    }

    /// The memory slots for KVM_SET_USER_MEMORY_REGION, one a range of RAM.
    pub(crate) fn slots(&self) -> Result<Vec<kvm_userspace_memory_region>, MemoryError> {
        self.ram
            .iter()
            .zip(0..)
            .map(|(region, slot)| {
                let host = region.get_host_address(MemoryRegionAddress(0));
                Ok(kvm_userspace_memory_region {
                    slot,
                    flags: 0,
                    guest_phys_addr: region.start_addr().0,
                    memory_size: region.len(),
                    userspace_addr: host.map_err(|error| MemoryError::Map {
                        size: region.len(),
                        reason: error.to_string(),
                    })? as u64,
                })
            })
            .collect()
    }

    /// Copies guest memory at `gpa` into `bytes`.
    ///
    /// # Errors
    /// Not all of it is RAM; `bytes` may have been written in part.
    pub fn read(&self, gpa: Gpa, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let size = bytes.len() as u64;
        self.ram
            .read_slice(bytes, GuestAddress(gpa.0))
            .map_err(|_| MemoryError::NotRam { address: gpa.0, size })
    }

    /// Copies `bytes` into guest memory at `gpa`.
    ///
    /// # Errors
    /// Not all of it is RAM; nothing is written then.
    pub fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        self.write_unnoted(gpa, bytes)?;
        self.note(|| Effect::Write { at: gpa, bytes: bytes.to_vec() });
        Ok(())
    }

    /// The same, and no tape is told: for what is to be no part of the run, as a debugger's
    /// breakpoints.
    ///
    /// # Errors
    /// Not all of it is RAM; nothing is written then.
    pub fn write_unnoted(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        let not_ram = MemoryError::NotRam { address: gpa.0, size: bytes.len() as u64 };
        // A part that was written without a note of it would be missing in a replay.
        if !bytes.is_empty() && !self.ram.check_range(GuestAddress(gpa.0), bytes.len()) {
            return Err(not_ram);
        }
        self.ram.write_slice(bytes, GuestAddress(gpa.0)).map_err(|_| not_ram)
    }

    /// Reads an aligned little-endian `u64` in one access.
    ///
    /// # Errors
    /// It is not RAM, or not aligned.
    pub fn load_u64(&self, gpa: Gpa) -> Result<u64, MemoryError> {
        self.ram
            .load(GuestAddress(gpa.0), Ordering::Acquire)
            .map_err(|_| MemoryError::NotRam { address: gpa.0, size: 8 })
    }

    /// Writes an aligned little-endian `u64` in one access.
    ///
    /// # Errors
    /// It is not RAM, or not aligned.
    pub fn store_u64(&self, gpa: Gpa, value: u64) -> Result<(), MemoryError> {
        self.store_u64_unnoted(gpa, value)?;
        self.note(|| Effect::Write { at: gpa, bytes: value.to_le_bytes().to_vec() });
        Ok(())
    }

    /// The same for what follows from the guest's own doing, and so is done again in a replay.
    pub(crate) fn store_u64_unnoted(&self, gpa: Gpa, value: u64) -> Result<(), MemoryError> {
        self.ram
            .store(value, GuestAddress(gpa.0), Ordering::Release)
            .map_err(|_| MemoryError::NotRam { address: gpa.0, size: 8 })
    }

    /// From here on what the host does to the guest is noted.
    pub(crate) fn start_journal(&mut self) {
        self.journal = Some(Box::default());
    }

    /// Notes something that the host does, if someone wants to know.
    #[inline]
    pub(crate) fn note(&self, effect: impl FnOnce() -> Effect) {
        if let Some(journal) = &self.journal {
            journal.lock().unwrap_or_else(PoisonError::into_inner).push(effect());
        }
    }

    /// Notes what the host has read of the guest's.
    #[inline]
    pub(crate) fn note_read(&self, at: Gpa, bytes: &[u8]) {
        self.note(|| Effect::Read { at, bytes: bytes.to_vec() });
    }

    /// What was noted since the last time.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        let journal = self.journal.as_ref();
        journal.map_or_else(Vec::new, |journal| {
            std::mem::take(&mut *journal.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Where the byte at `gpa` stands in this process's own address space; `None` if it is not
    /// RAM. A number to show, to compare, or to look up in /proc/self/maps: the guest may write
    /// there at any moment, so what reads guest memory goes through [`read`](Self::read). It
    /// holds as long as the VM does, and says nothing about the addresses beyond the end of RAM.
    #[must_use]
    pub fn host_address(&self, gpa: Gpa) -> Option<u64> {
        let address = self.ram.get_host_address(GuestAddress(gpa.0)).ok()?;
        Some(address.addr() as u64)
    }

    /// The mapping itself, for what this type does not offer.
    ///
    /// # Safety
    /// No clone of it, or of a region of it, is used after the `Vm` is dropped: the memory is
    /// unmapped with that.
    #[must_use]
    pub const unsafe fn as_mmap(&self) -> &GuestMemoryMmap<AtomicBitmap> {
        &self.ram
    }
}

/// A number of bytes that is an offset or a size here.
fn whole(bytes: u64) -> Option<usize> {
    usize::try_from(bytes).ok()
}

/// KVM_SET_USER_MEMORY_REGION for one slot.
pub(crate) fn set_slot(vm: &VmFd, slot: kvm_userspace_memory_region) -> Result<(), KvmError> {
    // SAFETY: the slot is one that `Memory::slots` made of a live mapping. `Vm` drops the vCPU
    // and the VM before the memory, and lends neither out in a way that safe code could keep.
    unsafe { vm.set_user_memory_region(slot) }
        .map_err(|error| KvmError::ioctl("KVM_SET_USER_MEMORY_REGION", error))
}

#[cfg(test)]
mod tests {
    use super::Memory;
    use crate::guarded::GUARD;
    use crate::layout::{Gpa, HOLE_END, HOLE_START, Layout, MIB};

    #[test]
    fn host_addresses_are_those_that_kvm_is_given_and_end_with_ram() {
        let layout = Layout::new(HOLE_START + 2 * MIB, 16, 0, 0).expect("lays out");
        let ram = Memory::map(&layout).expect("maps");
        let slots = ram.slots().expect("two slots");
        assert_eq!(slots.iter().map(|it| it.guest_phys_addr).collect::<Vec<_>>(), [0, HOLE_END]);
        for slot in slots {
            let (gpa, host) = (slot.guest_phys_addr, slot.userspace_addr);
            let last = slot.memory_size - 1;
            assert_eq!(ram.host_address(Gpa(gpa)), Some(host));
            assert_eq!(ram.host_address(Gpa(gpa + last)), Some(host + last));
            assert_eq!(ram.host_address(Gpa(gpa + last + 1)), None);
        }
        assert_eq!(ram.host_address(Gpa(HOLE_END - 1)), None);
        assert_eq!(ram.host_address(Gpa(u64::MAX)), None);
    }

    /// Whether a range of this process's addresses is mapped, and not to be touched (proc(5)).
    fn is_guard(range: std::ops::Range<u64>) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
        maps.lines().any(|line| {
            let (addresses, rest) = line.split_once(' ').expect("addresses and permissions");
            let (start, end) = addresses.split_once('-').expect("from and to");
            let at = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
            rest.starts_with("---p ") && at(start) <= range.start && range.end <= at(end)
        })
    }

    #[test]
    fn each_range_of_ram_lies_between_guards() {
        let layout = Layout::new(HOLE_START + 2 * MIB, 16, 0, 0).expect("lays out");
        let ram = Memory::map(&layout).expect("maps");
        let guard = GUARD as u64;
        let ranges: Vec<_> = ram
            .slots()
            .expect("two slots")
            .iter()
            .map(|slot| slot.userspace_addr..slot.userspace_addr + slot.memory_size)
            .collect();
        for range in &ranges {
            assert!(is_guard(range.start - guard..range.start));
            assert!(is_guard(range.end..range.end + guard));
            assert!(!is_guard(range.start..range.start + 1));
        }
    }

    #[test]
    fn a_write_that_is_refused_writes_nothing_and_leaves_no_note() {
        let layout = Layout::new(HOLE_START + 2 * MIB, 16, 0, 0).expect("lays out");
        let mut ram = Memory::map(&layout).expect("maps");
        ram.start_journal();
        for last in [HOLE_START - 4, HOLE_END + 2 * MIB - 4] {
            ram.write(Gpa(last), &[7; 8]).expect_err("half of it is no RAM");
            let mut bytes = [0; 4];
            ram.read(Gpa(last), &mut bytes).expect("RAM");
            assert_eq!(bytes, [0; 4]);
        }
        assert_eq!(ram.effects(), []);
        ram.write(Gpa(HOLE_START - 4), &[7; 4]).expect("RAM");
        assert_eq!(ram.effects().len(), 1);
    }
}
