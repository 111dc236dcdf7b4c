//! Requests in memory that both sides have, and one typed call as the doorbell of many.

use calls::ways::Client;
use calls::ways::ring::{CAPACITY, SIZE};
use guest::{Boot, Out};

pub(crate) fn one(_: &Boot, samples: u32) {
    measure::<1>("ring-1", samples);
}

pub(crate) fn eight(_: &Boot, samples: u32) {
    measure::<8>("ring-8", samples);
}

pub(crate) fn sixty_four(_: &Boot, samples: u32) {
    measure::<64>("ring-64", samples);
}

pub(crate) fn full(_: &Boot, samples: u32) {
    measure::<512>("ring-512", samples);
}

/// A sample is `COUNT` requests, put in, rung for, and their answers read.
fn measure<const COUNT: u32>(name: &str, samples: u32) {
    let mut ways = Client(Out);
    let mut bytes = [0; SIZE];
    let mut put = 0;
    let mut sum = 0;
    let mut round = || {
        // Both counts are below the capacity times a number of samples.
        let first = put;
        for value in 0..COUNT {
            *word(&mut bytes, first + value) = u64::from(value).to_le_bytes();
        }
        put += COUNT;
        bytes[..8].copy_from_slice(&u64::from(put).to_le_bytes());
        ways.doorbell(&mut bytes);
        sum = 0;
        for value in 0..COUNT {
            sum += u64::from_le_bytes(*word(&mut bytes, first + value));
        }
    };
    let doubled = u64::from(COUNT) * u64::from(COUNT - 1);
    round();
    guest::measure_batches(name, samples, COUNT, round);
    assert!(sum == doubled, "{COUNT} answers come to {sum}, where {doubled} is right");
}

/// The place of a request.
#[inline(always)]
fn word(bytes: &mut [u8; SIZE], number: u32) -> &mut [u8; 8] {
    let (words, _) = bytes.as_chunks_mut::<8>();
    &mut words[2 + number as usize % CAPACITY]
}
