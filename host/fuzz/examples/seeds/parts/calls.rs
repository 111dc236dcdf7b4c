//! Rows of calls, as the target reads them.

use super::Seed;

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for interface in 0..8_u8 {
        // Right ones, wrong ones, and right ones with a word changed.
        let row = |kind: u8, change: u8| -> Vec<u8> {
            let call = |seed: u8| [kind, interface, seed, 7, 0, 0, change];
            [1].into_iter().chain((0..8).flat_map(call)).collect()
        };
        seeds.push((format!("right-{interface}"), row(0, 0)));
        seeds.push((format!("wrong-{interface}"), row(2, 0)));
        seeds.push((format!("changed-{interface}"), row(1, 193)));
    }
    // Any words: an address in the scratch memory, and a size.
    let any = [0, 4, 0, 17, 0, 2, 1, 0, 254, 4];
    seeds.push(("any".to_owned(), any.into()));
    // A table entry, a CR3 and a ring of the guest's own, and calls behind each.
    let call = [0, 0, 3, 7, 0, 0, 0];
    let entry = [7, 0, 0, 0, 0, 3, 0x20];
    let tables = [&[0][..], &entry, &call, &[7, 1, 4, 0], &call, &[7, 2], &call, &[7, 3], &call];
    seeds.push(("tables".to_owned(), tables.concat()));
    seeds
}
