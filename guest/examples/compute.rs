//! Real work on a crate from crates.io: the SHA-256 of 1,000 bytes, against its known digest.

#![no_std]
#![no_main]

use guest::{Boot, Exit, print, println};
use sha2::{Digest, Sha256};

guest::entry!(main);

/// What `head -c 1000 /dev/zero | tr '\0' a | sha256sum` says.
const KNOWN: [u8; 32] = [
    0x41, 0xed, 0xec, 0xe4, 0x2d, 0x63, 0xe8, 0xd9, 0xbf, 0x51, 0x5a, 0x9b, 0xa6, 0x93, 0x2e, 0x1c,
    0x20, 0xcb, 0xc9, 0xf5, 0xa5, 0xd1, 0x34, 0x64, 0x5a, 0xdb, 0x5d, 0xb1, 0xb9, 0x73, 0x7e, 0xa3,
];

fn main(_: &Boot) -> Exit {
    let digest = Sha256::digest([b'a'; 1000]);
    for byte in digest {
        print!("{byte:02x}");
    }
    println!();
    if digest[..] == KNOWN { Exit::SUCCESS } else { Exit::code(1) }
}
