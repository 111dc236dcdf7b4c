//! Text of a guest's: through the window, by the guest `text`, and a byte an exit.

use super::{Sample, enter_jail, words};
use crate::{guests, naive};
use portcall::{End, Image, Kvm, Outcome, Ring, Vm};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIB: u32 = 1 << 20;

/// What the guest `text` prints.
const TEXT: u64 = 1 << 20;

/// As many bytes are printed an exit each: the same work a byte, in a time that can be waited for.
const BYTES: u32 = 4096;

/// As in `portcall run`.
const TICK: Duration = Duration::from_millis(100);

/// A sink that counts.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the guest `text`: how long that took, and what it came to.
fn run(ring: Ring, image: &Path) -> Result<(Duration, Outcome), String> {
    let bytes = std::fs::read(image).map_err(words)?;
    let image = Image::parse(&bytes).map_err(words)?;
    let kvm = Kvm::open().map_err(words)?;
    let text = Counted::default();
    let builder = Vm::builder(&kvm, &image).ring(ring).tick(TICK).console(text.clone());
    let mut vm = builder.build().map_err(words)?;
    enter_jail()?;
    let start = Instant::now();
    let outcome = vm.run().map_err(words)?;
    let time = start.elapsed();
    let printed = text.0.load(Ordering::Relaxed);
    if outcome.end == End::Exited(0) && printed == TEXT {
        return Ok((time, outcome));
    }
    Err(format!("{}, {printed} bytes printed", outcome.end))
}

pub(super) fn ours(ring: Ring, image: &Path) -> Result<(), String> {
    let (time, _) = run(ring, image)?;
    Sample { value: 1.0 / time.as_secs_f64(), instructions: None }.say()
}

pub(super) fn exits(ring: Ring, image: &Path) -> Result<(), String> {
    let (_, outcome) = run(ring, image)?;
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let value = outcome.stats.exits() as f64;
    Sample { value, instructions: None }.say()
}

pub(super) fn bare(ring: Ring) -> Result<(), String> {
    let kvm = naive::Kvm::open();
    let mut vm = naive::Vm::create(&kvm, &guests::printer(BYTES), ring);
    // Up to where a round begins, as above up to where the VM stands.
    vm.run();
    let mut text = Vec::with_capacity(BYTES as usize);
    let start = Instant::now();
    loop {
        let out = vm.run();
        if out.port != 0xe9 {
            break;
        }
        text.push(out.value.to_le_bytes()[0]);
    }
    let time = start.elapsed();
    if text.len() != BYTES as usize || text.iter().any(|byte| *byte != b'x') {
        return Err(format!("{} bytes printed", text.len()));
    }
    let value = f64::from(BYTES) / f64::from(MIB) / time.as_secs_f64();
    Sample { value, instructions: None }.say()
}
