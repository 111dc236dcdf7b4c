//! KVM_REGISTER_COALESCED_MMIO: writes that KVM keeps in a ring, up to the next exit.

use super::mmio::PAGE;
use super::sequence::Sequence;
use super::{Mechanism, Row};
use crate::report::Absent;
use crate::stopwatch::{Stopwatch, Timed};
use calls::ways::{PORT, WINDOW};
use portcall::kvm_ioctls::IoEventAddress;
use portcall::{Builder, End, Gpa, Guest, Mmio, Ports, Stop, Vm};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const PIO: Row = Row {
    name: "coalesced-pio",
    what: "OUT of 4 bytes that KVM keeps in a ring up to the next exit",
    make: || Box::new(Coalesced::new(false)),
};
pub(super) const MMIO: Row = Row {
    name: "coalesced-mmio",
    what: "a write of 4 bytes that KVM keeps in a ring up to the next exit",
    make: || Box::new(Coalesced::new(true)),
};

struct Coalesced {
    is_mmio: bool,
    written: Sequence,
    late: Late,
    coalesced: u64,
}

/// A write that found the ring full, and comes behind all that is in it.
#[derive(Clone, Default)]
struct Late(Arc<Mutex<Option<u64>>>);

impl Late {
    fn put(&self, value: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    fn take(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Ports for Late {
    fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
        self.put(value.into());
        Ok(())
    }
}

impl Mmio for Late {
    fn write(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8, value: u64) -> Result<(), End> {
        self.put(value);
        Ok(())
    }
}

impl Coalesced {
    fn new(is_mmio: bool) -> Self {
        let (written, late) = Default::default();
        Self { is_mmio, written, late, coalesced: 0 }
    }

    /// Takes what is in the ring, and then what did not fit.
    fn drain(&mut self, vm: &mut Vm) -> Result<(), Absent> {
        // SAFETY: only its ring is read; it stays where it is.
        let vcpu = unsafe { vm.vcpu_fd_mut() };
        while let Some(entry) = vcpu.coalesced_mmio_read().map_err(Absent::of_error)? {
            let mut value = [0; 8];
            value[..4].copy_from_slice(&entry.data[..4]);
            self.written.arrived(u64::from_le_bytes(value));
            self.coalesced += 1;
        }
        self.late.take().into_iter().for_each(|value| self.written.arrived(value));
        Ok(())
    }
}

impl Mechanism for Coalesced {
    fn equip<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        match self.is_mmio {
            true => builder.mmio(PAGE, self.late.clone()),
            false => builder.ports(PORT..=PORT, self.late.clone()),
        }
    }

    fn built(&mut self, vm: &mut Vm) -> Result<(), Absent> {
        let address = match self.is_mmio {
            true => IoEventAddress::Mmio(WINDOW),
            false => IoEventAddress::Pio(PORT.into()),
        };
        // SAFETY: no vCPU is made of it.
        let fd = unsafe { vm.vm_fd() };
        fd.register_coalesced_mmio(address, 4)
            .map_err(|error| Absent::refused("KVM_REGISTER_COALESCED_MMIO", error))?;
        // SAFETY: it is given a mapping, and stays where it is.
        let vcpu = unsafe { vm.vcpu_fd_mut() };
        vcpu.map_coalesced_mmio_ring()
            .map_err(|error| Absent::refused("a mapping of the ring of coalesced writes", error))
    }

    fn drive(&mut self, vm: &mut Vm, _: &Stopwatch) -> Result<Option<Timed>, Absent> {
        loop {
            let stop = vm.step().map_err(Absent::of_error)?;
            self.drain(vm)?;
            if let Stop::End(end) = stop {
                return Absent::unless_normal(&end).map(|()| None);
            }
        }
    }

    fn check(&mut self, samples: u32) -> Result<(), Absent> {
        self.written.check(samples)?;
        if self.coalesced < u64::from(samples / 2) {
            let why = format!("KVM kept {} of {samples} writes in its ring", self.coalesced);
            return Err(Absent::wrong(why));
        }
        Ok(())
    }
}
