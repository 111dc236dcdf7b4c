//! A parser with a mistake that no one comes upon by chance, for `cargo xtask fuzz parser`.
//!
//! What it reads begins with four bytes that are checked one after the other, then a record's
//! length and its place: a place is looked at without a look at how much there is.

#![no_std]
#![no_main]

guest::tests!();

/// The bytes that every file begins with.
const MAGIC: [u8; 4] = *b"PORT";

/// The record that a file leads to, if it is one.
fn record(file: &[u8]) -> Option<&[u8]> {
    for (place, byte) in MAGIC.iter().enumerate() {
        if file.get(place) != Some(byte) {
            return None;
        }
    }
    let (length, rest) = file[MAGIC.len()..].split_first()?;
    let (place, records) = rest.split_first()?;
    if *length == 0 || *length > 16 {
        return None;
    }
    // The mistake: `records` may be shorter.
    Some(&records[usize::from(*place)..][..usize::from(*length)])
}

// ANCHOR: fuzz
#[guest::fuzz]
fn parse(data: &[u8]) {
    if let Some(record) = record(data) {
        core::hint::black_box(record);
    }
}
// ANCHOR_END: fuzz
