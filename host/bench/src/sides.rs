//! What one side of a row does: a process of its own for each, so that a jail that was entered, a
//! vCPU that is kept or memory that was not given back belongs to that side alone.
//!
//! A side says a line for each round: what was measured, in its row's unit, and how many guest
//! instructions KVM emulated for each call or byte, where that is counted.

mod call;
mod console;
mod door;
mod idle;
mod life;
mod pool;
mod reset;
mod scale;

pub(crate) use scale::Size;

use portcall::Ring;
use portcall::sys::KvmStats;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

/// Which of both it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whose {
    Ours,
    Bare,
}

/// What a side does in a round. `ring` is 0 or 3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Calls by a guest: microseconds a call. There is no jail around the bare side.
    Call { whose: Whose, ring: u8, jail: bool },
    /// Calls into the guest `calc`, of two numbers or of a text: microseconds a call, in the jail.
    Door { text: bool, ring: u8, image: PathBuf },
    /// VMs created, run to their first exit and dropped: microseconds each, their median.
    Life { whose: Whose, vms: u32 },
    /// The same, with nothing said: how long the process takes is what is measured.
    Many { whose: Whose, vms: u32 },
    /// VMs of a warm pool taken, run to their first exit and given back, or only taken: microseconds
    /// each, their median.
    Pool { hand_out: bool },
    /// Runs of a guest that touches 16 pages, with or without a restore behind each: microseconds
    /// each, their median.
    Reset { ring: u8, restores: bool },
    /// Console text of the guest `text`, `lines` of 64 bytes in the jail, or a byte an exit: MiB a
    /// second.
    Console { whose: Whose, ring: u8, image: PathBuf, lines: u32 },
    /// Exits of the guest `text`.
    Exits { ring: u8, image: PathBuf, lines: u32 },
    /// VMs that have run and stay: KiB resident each, without the pages that their guests touched.
    Idle { whose: Whose, vms: u32 },
    /// A point of a curve.
    Scale { size: Size, whose: Whose, x: u64 },
}

impl Role {
    /// Whether its process stays for all rounds and does one for each line that it is given; any
    /// other does one round.
    pub(crate) const fn is_kept(&self) -> bool {
        matches!(self, Self::Call { .. } | Self::Door { .. })
    }

    /// Does it, in a process that is there for nothing else.
    pub(crate) fn play(&self) -> Result<(), String> {
        match self {
            Self::Call { whose: Whose::Ours, ring, jail } => call::ours(of(*ring), *jail),
            Self::Call { whose: Whose::Bare, ring, .. } => call::bare(of(*ring)),
            Self::Door { text, ring, image } => door::play(*text, of(*ring), image),
            Self::Life { whose, vms } => life::one_by_one(*whose, *vms),
            Self::Many { whose, vms } => life::many(*whose, *vms),
            Self::Pool { hand_out } => pool::play(*hand_out),
            Self::Reset { ring, restores } => reset::play(of(*ring), *restores),
            Self::Console { whose: Whose::Bare, ring, .. } => console::bare(of(*ring)),
            Self::Console { whose: Whose::Ours, ring, image, lines } => {
                console::ours(of(*ring), image, *lines)
            }
            Self::Exits { ring, image, lines } => console::exits(of(*ring), image, *lines),
            Self::Idle { whose, vms } => idle::play(*whose, *vms),
            Self::Scale { size, whose, x } => scale::play(*size, *whose, *x),
        }
    }
}

fn of(ring: u8) -> Ring {
    if ring == 3 { Ring::Three } else { Ring::Zero }
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    /// Emulated for each call or byte.
    pub(crate) instructions: Option<f64>,
}

impl Sample {
    /// Reads a side's line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let value = words.next()?.parse().ok()?;
        let instructions = words.next().map(str::parse).transpose().ok()?;
        Some(Self { value, instructions })
    }

    /// Says it, as a side.
    fn say(self) -> Result<(), String> {
        let count = self.instructions.map_or(String::new(), |count| format!(" {count}"));
        let mut out = io::stdout().lock();
        // f64's Display reads back as the same number.
        let said = writeln!(out, "{}{count}", self.value).and_then(|()| out.flush());
        said.map_err(|error| format!("nobody listens: {error}"))
    }
}

/// Waits until a round is asked for; false when there are to be no more.
fn asked() -> bool {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).is_ok_and(|bytes| bytes > 0)
}

/// Instructions that KVM has emulated for a vCPU so far, if it counts them.
fn emulated(stats: Option<&KvmStats>) -> Option<u64> {
    stats?.get("insn_emulation")
}

/// How many it were for each of `count`, since there were `before`.
fn emulated_since(before: Option<u64>, stats: Option<&KvmStats>, count: u32) -> Option<f64> {
    let since = emulated(stats)?.checked_sub(before?)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 in a round")]
    Some(since as f64 / f64::from(count))
}

/// An error of ours, as text.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Keeps this process to what a run needs, as `portcall run` does.
fn enter_jail() -> Result<(), String> {
    jail::Jail::new().enter().map(|_| ()).map_err(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_value_and_perhaps_instructions() {
        let sample = |value, instructions| Some(Sample { value, instructions });
        assert_eq!(Sample::parse("1.5 5.01\n"), sample(1.5, Some(5.01)));
        assert_eq!(Sample::parse("0.001"), sample(0.001, None));
        for line in ["", "x", "1 x"] {
            assert_eq!(Sample::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_role_crosses_to_its_process() {
        let role = Role::Door { text: true, ring: 3, image: "a b".into() };
        let text = serde_json::to_string(&role).expect("plain data");
        assert_eq!(serde_json::from_str::<Role>(&text).expect("read back"), role);
    }
}
