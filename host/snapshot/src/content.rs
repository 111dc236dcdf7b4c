//! What stands in the frame of the machine.

use portcall::ready::{Exits, Piece};
use portcall::{Gpa, Parts, Ring};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::ops::Range;

/// [`Parts`], as they stand in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    memory: u64,
    /// Whether the guest started in ring 3.
    user: bool,
    arguments: Vec<String>,
    console: u64,
    answered: u32,
    clock: u64,
    exits: Exits,
    /// Addresses and sizes.
    seed: Option<Vec<(u64, u64)>>,
    vcpu: Vec<(String, ByteBuf)>,
    /// Of memory-mapped I/O.
    windows: Vec<Range<u64>>,
}

/// The same in a file of version 1.
#[derive(Debug, Deserialize)]
pub(crate) struct First {
    memory: u64,
    user: bool,
    arguments: Vec<String>,
    console: u64,
    answered: u32,
    clock: u64,
    exits: [u64; 10],
    seed: Option<Vec<(u64, u64)>>,
    vcpu: Vec<(String, ByteBuf)>,
}

impl From<First> for Machine {
    fn from(first: First) -> Self {
        let mut exits = Exits::default();
        for (to, from) in exits.iter_mut().zip(first.exits) {
            *to = from;
        }
        Self {
            memory: first.memory,
            user: first.user,
            arguments: first.arguments,
            console: first.console,
            answered: first.answered,
            clock: first.clock,
            exits,
            seed: first.seed,
            vcpu: first.vcpu,
            windows: Vec::new(),
        }
    }
}

impl From<Parts> for Machine {
    fn from(parts: Parts) -> Self {
        let piece = |piece: &Piece| (piece.gpa.0, piece.size);
        let vcpu = parts.vcpu.into_iter().map(|(name, bytes)| (name, ByteBuf::from(bytes)));
        Self {
            memory: parts.memory,
            user: parts.ring == Ring::Three,
            arguments: parts.arguments,
            console: parts.console,
            answered: parts.answered,
            clock: parts.clock,
            exits: parts.exits,
            seed: parts.seed.map(|seed| seed.iter().map(piece).collect()),
            vcpu: vcpu.collect(),
            windows: parts.windows,
        }
    }
}

impl From<Machine> for Parts {
    fn from(machine: Machine) -> Self {
        let piece = |(at, size): &(u64, u64)| Piece { gpa: Gpa(*at), size: *size };
        let vcpu = machine.vcpu.into_iter().map(|(name, bytes)| (name, bytes.into_vec()));
        Self {
            memory: machine.memory,
            ring: if machine.user { Ring::Three } else { Ring::Zero },
            arguments: machine.arguments,
            console: machine.console,
            answered: machine.answered,
            clock: machine.clock,
            exits: machine.exits,
            seed: machine.seed.map(|seed| seed.iter().map(piece).collect()),
            vcpu: vcpu.collect(),
            windows: machine.windows,
        }
    }
}
