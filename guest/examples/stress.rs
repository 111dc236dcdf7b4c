//! Work that the host calls for from many threads, in VMs of a pool, and measures. Its arguments
//! are for the host half: `--help` lists them.
//!
//! The VM is the one that the pool's are made of, and there is no snapshot of one with a tape.
//@ args: --threads 3 --vms 2 --time 300ms --pages 4
//@ expect: end=serving
//@ output: ignored
//@ replay: no

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use calls::stress;
use guest::Boot;

guest::entry!(main, serves = [stress: Worker]);

fn main(_: &Boot) {}

/// Bytes.
const PAGE: usize = 4096;

#[derive(Default)]
struct Worker {
    calls: u64,
    room: Vec<u8>,
}

impl stress::Stress for Worker {
    fn work(&mut self, pages: u64) -> u64 {
        self.calls += 1;
        let size = usize::try_from(pages).unwrap_or(usize::MAX).saturating_mul(PAGE);
        self.room.reserve(size);
        for byte in self.room.spare_capacity_mut().iter_mut().take(size).step_by(PAGE) {
            byte.write(1);
        }
        self.calls
    }
}
