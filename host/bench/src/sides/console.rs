//! Text of a guest's: through the window, by the guest `text`, and a byte an exit.

use super::{Sample, emulated, emulated_since, enter_jail, words};
use crate::{guests, naive};
use portcall::sys::KvmStats;
use portcall::{End, Image, Kvm, Outcome, Ring, Vm};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIB: u32 = 1 << 20;

/// Bytes of a line of the guest `text`.
const LINE: u32 = 64;

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

/// Runs the guest `text` for so many lines: what that came to, and MiB a second.
fn run(ring: Ring, image: &Path, lines: u32) -> Result<(Outcome, Sample), String> {
    let bytes = std::fs::read(image).map_err(words)?;
    let image = Image::parse(&bytes).map_err(words)?;
    let kvm = Kvm::open().map_err(words)?;
    let text = Counted::default();
    let builder = Vm::builder(&kvm, &image).ring(ring).tick(TICK).console(text.clone());
    let mut vm = builder.arguments([lines.to_string()]).build().map_err(words)?;
    let stats = KvmStats::open(vm.vcpu_fd()).ok();
    enter_jail()?;
    let before = emulated(stats.as_ref());
    let start = Instant::now();
    let outcome = vm.run().map_err(words)?;
    let time = start.elapsed();
    let bytes = lines * LINE;
    let instructions = emulated_since(before, stats.as_ref(), bytes);
    let printed = text.0.load(Ordering::Relaxed);
    if outcome.end == End::Exited(0) && printed == u64::from(bytes) {
        let value = f64::from(bytes) / f64::from(MIB) / time.as_secs_f64();
        return Ok((outcome, Sample { value, instructions }));
    }
    Err(format!("{}, {printed} bytes printed", outcome.end))
}

pub(super) fn ours(ring: Ring, image: &Path, lines: u32) -> Result<(), String> {
    run(ring, image, lines)?.1.say()
}

pub(super) fn exits(ring: Ring, image: &Path, lines: u32) -> Result<(), String> {
    let (outcome, _) = run(ring, image, lines)?;
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
    let stats = KvmStats::open(&vm).ok();
    let before = emulated(stats.as_ref());
    let start = Instant::now();
    loop {
        let out = vm.run();
        if out.port != 0xe9 {
            break;
        }
        text.push(out.value.to_le_bytes()[0]);
    }
    let time = start.elapsed();
    let instructions = emulated_since(before, stats.as_ref(), BYTES);
    if text.len() != BYTES as usize || text.iter().any(|byte| *byte != b'x') {
        return Err(format!("{} bytes printed", text.len()));
    }
    let value = f64::from(BYTES) / f64::from(MIB) / time.as_secs_f64();
    Sample { value, instructions }.say()
}
