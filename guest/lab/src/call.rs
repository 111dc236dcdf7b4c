//! Typed hypercalls: arguments in registers, one OUT, the result in registers.

use calls::ways::{BYTES, Client};
use guest::{Boot, Out};

pub(crate) fn scalars(_: &Boot, samples: u32) {
    let mut ways = Client(Out);
    let sum = ways.add(2, 3);
    assert!(sum == 5, "the host's sum of 2 and 3 is {sum}");
    guest::measure("call", samples, || {
        ways.add(2, 3);
    });
}

pub(crate) fn buffer_in(_: &Boot, samples: u32) {
    let mut ways = Client(Out);
    let bytes = [3; BYTES];
    let sum = ways.take(&bytes);
    assert!(sum == 3 * BYTES as u64, "the host's sum of {BYTES} bytes of 3 is {sum}");
    guest::measure("call-in", samples, || {
        ways.take(&bytes);
    });
}

pub(crate) fn buffer_out(_: &Boot, samples: u32) {
    let mut ways = Client(Out);
    let mut bytes = [0; BYTES];
    ways.give(&mut bytes);
    assert!(bytes.iter().zip(1..).all(|(it, i)| *it == i), "the host gave {bytes:?}");
    guest::measure("call-out", samples, || ways.give(&mut bytes));
}
