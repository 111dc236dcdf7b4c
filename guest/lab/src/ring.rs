//! Requests in memory that both sides have, and one typed call as the doorbell of many.

use calls::ways::Client;
use calls::ways::ring::{CAPACITY, SIZE};
use guest::{Boot, Out};

pub(crate) fn one(_: &Boot, samples: u32) {
    measure("ring-1", samples, 1);
}

pub(crate) fn eight(_: &Boot, samples: u32) {
    measure("ring-8", samples, 8);
}

pub(crate) fn sixty_four(_: &Boot, samples: u32) {
    measure("ring-64", samples, 64);
}

pub(crate) fn full(_: &Boot, samples: u32) {
    measure("ring-512", samples, 512);
}

/// A sample is `count` requests, put in, rung for, and their answers read.
fn measure(name: &str, samples: u32, count: u32) {
    let mut ways = Client(Out);
    let mut bytes = [0; SIZE];
    let mut put = 0;
    let mut sum = 0;
    let mut round = || {
        let (words, _) = bytes.as_chunks_mut::<8>();
        for i in 0..u64::from(count) {
            words[2 + (put + i) as usize % CAPACITY] = i.to_le_bytes();
        }
        let first = put;
        put += u64::from(count);
        words[0] = put.to_le_bytes();
        ways.doorbell(&mut bytes);
        let (words, _) = bytes.as_chunks_mut::<8>();
        sum = 0;
        for i in 0..u64::from(count) {
            sum += u64::from_le_bytes(words[2 + (first + i) as usize % CAPACITY]);
        }
        sum
    };
    let doubled = u64::from(count) * u64::from(count - 1);
    let got = round();
    assert!(got == doubled, "{count} answers come to {got}, where {doubled} is right");
    guest::measure_batches(name, samples, count, round);
    assert!(sum == doubled, "{count} answers come to {sum}, where {doubled} is right");
}
