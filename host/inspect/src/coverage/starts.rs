//! Where instructions begin: a breakpoint anywhere else would make another instruction of the one
//! that it is in.

use goblin::elf::sym;
use iced_x86::{Decoder, DecoderOptions};
use portcall::Image;
use portcall::sections::Sections;
use std::collections::{BTreeSet, HashSet};

/// How far code goes behind a label, where nothing says how long it is.
const LABEL_REACH: u64 = 0x1000;

/// Of these addresses those at which an instruction begins: code is decoded from each symbol on,
/// since nothing else says where to begin.
pub(super) fn of(
    image: &Image<'_>,
    sections: &Sections<'_>,
    addresses: impl Iterator<Item = u64>,
) -> HashSet<u64> {
    let addresses: BTreeSet<u64> = addresses.collect();
    let mut labels: Vec<(u64, u64)> = sections
        .symbols()
        .filter(|(_, it)| matches!(it.st_type(), sym::STT_FUNC | sym::STT_NOTYPE))
        .map(|(_, it)| (it.st_value.wrapping_add(image.bias()), it.st_size))
        .collect();
    labels.sort_unstable();
    let mut starts = HashSet::new();
    for (start, end) in reaches(&labels, &addresses) {
        sweep(image, start, end, &addresses, &mut starts);
    }
    starts
}

/// From where to where code is decoded: `labels` are addresses and sizes, in order.
fn reaches(labels: &[(u64, u64)], addresses: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut reaches = Vec::new();
    // Several names of one place, and functions within others, cost nothing twice.
    let mut done = 0;
    for (i, (start, size)) in labels.iter().enumerate() {
        let behind = &labels[i + 1..];
        // Any number of them may be names of one place.
        let next = behind.get(behind.partition_point(|it| it.0 <= *start)).map(|it| it.0);
        let reach = if *size == 0 { LABEL_REACH } else { *size };
        let end = start.saturating_add(reach).min(next.unwrap_or(u64::MAX));
        let has_any = addresses.range(*start..end.max(*start)).next().is_some();
        if *start >= done && has_any {
            reaches.push((*start, end));
            done = end;
        }
    }
    reaches
}

/// Decodes from `start` up to `end`.
fn sweep(
    image: &Image<'_>,
    start: u64,
    end: u64,
    addresses: &BTreeSet<u64>,
    starts: &mut HashSet<u64>,
) {
    let Some(segment) = image.segments().iter().find(|it| it.virtual_range().contains(&start))
    else {
        return;
    };
    let into = |address: u64| usize::try_from(address - segment.gva.0).unwrap_or(usize::MAX);
    let bytes = image.bytes_of(segment);
    // An instruction that the next symbol is within is whole all the same.
    let Some(bytes) = bytes.get(into(start)..) else { return };
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    while decoder.can_decode() && decoder.ip() < end {
        let at = decoder.ip();
        if !decoder.decode().is_invalid() && addresses.contains(&at) {
            starts.insert(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reaches;
    use std::time::{Duration, Instant};

    #[test]
    fn many_names_of_one_place_cost_little() {
        let mut labels = vec![(0x1000, 0); 300_000];
        labels.push((0x1010, 8));
        let begun = Instant::now();
        let found = reaches(&labels, &[0x1004, 0x1014].into());
        assert_eq!(found, [(0x1000, 0x1010), (0x1010, 0x1018)]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
