//! Host memory around a guest's, which nobody is to change.

use portcall::{Gpa, Vm};

/// What stands there.
const PATTERN: u8 = 0xa5;
/// Bytes on each side.
const SIZE: usize = 4096;

/// The last page before each range of a guest's RAM and the first one behind it, made accessible and filled. The
/// library has them as guards, so that a touch would be a fault; here a write is to be seen, also
/// one of the kernel's.
#[derive(Debug)]
pub(crate) struct Canary {
    pages: Vec<*mut u8>,
}

impl Canary {
    /// Around the VM's RAM. It must be dropped before the VM.
    pub(crate) fn around(vm: &Vm) -> Result<Self, String> {
        let host = |gpa| vm.memory().host_address(Gpa(gpa)).ok_or("RAM has no address");
        let mut pages = Vec::new();
        for ram in &vm.layout().ram {
            pages.push(pointer(host(ram.start)? - SIZE as u64));
            pages.push(pointer(host(ram.end - 1)? + 1));
        }
        let canary = Self { pages };
        canary.protect(libc::PROT_READ | libc::PROT_WRITE)?;
        for page in &canary.pages {
            // SAFETY: `protect` has made the page accessible, and nothing else uses it: the library
            // maps it for nobody to use.
            unsafe { page.write_bytes(PATTERN, SIZE) };
        }
        Ok(canary)
    }

    fn protect(&self, access: i32) -> Result<(), String> {
        for page in &self.pages {
            // SAFETY: the page is a guard of the library's, which nothing uses.
            if unsafe { libc::mprotect(page.cast(), SIZE, access) } != 0 {
                return Err(format!("cannot use a guard: {}", std::io::Error::last_os_error()));
            }
        }
        Ok(())
    }

    /// Makes guards of the pages again; whether they are as they were.
    pub(crate) fn taken_down(self) -> Result<bool, String> {
        let mut intact = true;
        for page in &self.pages {
            // SAFETY: the page is accessible and was filled, and lives as long as the VM.
            let bytes = unsafe { std::slice::from_raw_parts(*page, SIZE) };
            intact &= bytes.iter().all(|byte| *byte == PATTERN);
        }
        self.protect(libc::PROT_NONE)?;
        Ok(intact)
    }
}

fn pointer(address: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0))
}
