//! Pools of the guest `keeper`, and what the tests do with them.
#![allow(dead_code, reason = "each test file uses its part")]

use crate::common::kvm;
use crate::keeper::{self, Client};
use pool::{Pool, Size};
use portcall::{Builder, Image, Ring, Snapshot, Vm};

/// The guest, where it waits for its first call.
pub(crate) fn waiting(ring: Ring) -> Snapshot {
    let file = keeper::image();
    let image = Image::parse(&file).expect("an image");
    let mut vm = Vm::builder(&kvm(), &image).ring(ring).build().expect("builds");
    assert_eq!(vm.run().expect("runs").end, portcall::End::Serving);
    vm.snapshot().expect("a snapshot")
}

pub(crate) fn pool_with(
    ring: Ring,
    size: Size,
    configure: impl for<'a> Fn(Builder<'a>) -> Builder<'a> + Send + Sync + 'static,
) -> Pool {
    Pool::new(kvm(), waiting(ring), size, configure).expect("a pool")
}

pub(crate) fn pool(ready: usize, most: usize) -> Pool {
    pool_with(Ring::Zero, Size { ready, most }, |vm| vm)
}

/// Stores a word, and gives what stood there.
pub(crate) fn swap(vm: &mut Vm, value: u64) -> u64 {
    Client(vm.door()).swap(value).expect("answers")
}
