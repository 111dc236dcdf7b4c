//! KVM_IOEVENTFD: a write that becomes an eventfd's, without an exit to user space.

use super::mmio::PAGE;
use super::sequence::Sequence;
use super::{Mechanism, Row};
use crate::report::Absent;
use calls::ways::{PORT, WINDOW};
use portcall::kvm_ioctls::{IoEventAddress, NoDatamatch};
use portcall::{Builder, Vm};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub(super) const PIO: Row = Row {
    name: "ioeventfd-pio",
    what: "OUT of 1 byte to an ioeventfd: KVM adds to it and goes on",
    make: || Box::new(Ioeventfd::new(false)),
};
pub(super) const MMIO: Row = Row {
    name: "ioeventfd-mmio",
    what: "a write of 4 bytes to an ioeventfd: KVM adds to it and goes on",
    make: || Box::new(Ioeventfd::new(true)),
};

struct Ioeventfd {
    is_mmio: bool,
    event: Option<EventFd>,
}

impl Ioeventfd {
    const fn new(is_mmio: bool) -> Self {
        Self { is_mmio, event: None }
    }
}

impl Mechanism for Ioeventfd {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        // The window is for the page tables; nothing reaches its handler.
        if self.is_mmio { builder.mmio(PAGE, Sequence::default()) } else { builder }
    }

    fn built(&mut self, vm: &mut Vm) -> Result<(), Absent> {
        let event = EventFd::new(EFD_NONBLOCK).map_err(Absent::of_error)?;
        let address = match self.is_mmio {
            true => IoEventAddress::Mmio(WINDOW),
            false => IoEventAddress::Pio(PORT.into()),
        };
        // SAFETY: no vCPU is made of it.
        let fd = unsafe { vm.vm_fd() };
        fd.register_ioevent(&event, &address, NoDatamatch)
            .map_err(|error| Absent::refused("KVM_IOEVENTFD", error))?;
        self.event = Some(event);
        Ok(())
    }

    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        let event = self.event.as_ref().map(EventFd::read);
        let count = event.transpose().ok().flatten().unwrap_or(0);
        if count < u64::from(samples) {
            let why = format!("the eventfd counts {count} of at least {samples} writes");
            return Err(Absent::wrong(why));
        }
        Ok(())
    }
}
