//! Page tables of the guest's own: the host's, with whatever else is wanted at addresses of its
//! choice.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Present and writable, to both rings.
pub const RW: u64 = 0b111;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// 512 entries.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Table(pub [u64; 512]);

impl Table {
    /// Nothing is mapped.
    const fn new() -> Self {
        Self([0; 512])
    }

    /// The guest-physical address, which is its address here.
    #[must_use]
    pub fn address(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }
}

/// Four tables; those of the last three levels are for the addresses from [`Own::WINDOW`] on.
#[derive(Debug)]
pub struct Own {
    /// The first level: the host's, but for one entry.
    pub root: Table,
    /// The second.
    pub second: Table,
    /// The third.
    pub third: Table,
    /// The fourth: the pages of the window.
    pub last: Table,
}

impl Own {
    /// Where [`last`](Self::last) maps 512 pages.
    pub const WINDOW: u64 = 1 << 39;

    /// Copies the host's root, links the others in, and loads it. Only once: there is one.
    #[must_use]
    pub fn load() -> &'static mut Self {
        static mut OWN: Own = Own {
            root: Table::new(),
            second: Table::new(),
            third: Table::new(),
            last: Table::new(),
        };
        static TAKEN: AtomicBool = AtomicBool::new(false);
        assert!(!TAKEN.swap(true, Ordering::Relaxed), "the tables are taken");
        let own = &raw mut OWN;
        // SAFETY: it is handed out once, as was just asserted.
        let own = unsafe { &mut *own };
        let hosts = (cr3() & ADDRESS) as *const [u64; 512];
        // SAFETY: the host's tables are mapped one to one.
        own.root.0 = unsafe { hosts.read_volatile() };
        own.root.0[1] = own.second.address() | RW;
        own.second.0[0] = own.third.address() | RW;
        own.third.0[0] = own.last.address() | RW;
        // SAFETY: what the guest uses is mapped as before.
        unsafe { asm!("mov cr3, {}", in(reg) own.root.address()) };
        own
    }

    /// Puts an entry into a page of the window, whose address comes back.
    pub fn map(&mut self, page: usize, entry: u64) -> u64 {
        self.last.0[page] = entry;
        let address = Self::WINDOW + PAGE * page as u64;
        // SAFETY: INVLPG changes no memory.
        unsafe { asm!("invlpg [{}]", in(reg) address) };
        address
    }
}

/// CR3.
#[must_use]
pub fn cr3() -> u64 {
    let cr3;
    // SAFETY: reading it changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) cr3) };
    cr3
}

/// Clears CR0.WP: then read-only pages are writable to ring 0.
pub fn write_everywhere() {
    // SAFETY: what follows from it is what is tried.
    unsafe { asm!("mov {0}, cr0", "and {0}, ~0x10000", "mov cr0, {0}", out(reg) _) };
}
