//! A driver for a device that is seen in memory: it fills the device's buffer, rings its doorbell,
//! and asks what came of it. host/examples/doorbell.rs is the device, and says what each register
//! does.
//@ expect: exits.mmio=25 exits.in=0

#![no_std]
#![no_main]

use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use guest::{Boot, println};

guest::entry!(main);

/// Where the device is.
const DEVICE: usize = 0xd000_0000;

/// What a device of this kind says of itself.
const BELL: u32 = u32::from_le_bytes(*b"BELL");

/// A register of 4 bytes that can be read.
#[derive(Clone, Copy)]
enum Read {
    Identity = 0x00,
    Status = 0x0c,
    Sum = 0x10,
}

/// A register of 4 bytes that can be written.
#[derive(Clone, Copy)]
enum Write {
    Data = 0x04,
    Doorbell = 0x08,
}

fn read(register: Read) -> u32 {
    let at = with_exposed_provenance::<u32>(DEVICE + register as usize);
    // SAFETY: the host maps the device's page there, and each read of it is an exit: no memory of
    // this program's.
    unsafe { at.read_volatile() }
}

fn write(register: Write, value: u32) {
    let at = with_exposed_provenance_mut::<u32>(DEVICE + register as usize);
    // SAFETY: as above.
    unsafe { at.write_volatile(value) };
}

fn main(_: &Boot) {
    println!("the device is there: {}", read(Read::Identity) == BELL);
    println!("status {}", read(Read::Status));
    send(b"ring the bell");
    send(b"!");
    // More than the device has in its buffer.
    write(Write::Data, 0);
    write(Write::Doorbell, 5);
    println!("5 bytes of 4: status {}", read(Read::Status));
    for _ in 0..8 {
        write(Write::Data, 0x0101_0101);
    }
    write(Write::Doorbell, 32);
    println!("32 bytes: status {}, all sums {}", read(Read::Status), read(Read::Sum));
}

/// Sends a message, 4 bytes at a time.
fn send(message: &[u8]) {
    for piece in message.chunks(4) {
        let mut word = [0; 4];
        word[..piece.len()].copy_from_slice(piece);
        write(Write::Data, u32::from_le_bytes(word));
    }
    write(Write::Doorbell, u32::try_from(message.len()).unwrap_or(u32::MAX));
    println!("{} bytes: status {}", message.len(), read(Read::Status));
}
