//! Runs that are recorded, and replayed.

use crate::common::kvm;
use portcall::layout::MIB;
use portcall::{Builder, Capture, Image, Outcome, Ring, Vm};
use replay::{Log, Verdict, record};
use std::io::Cursor;

/// What a run came to.
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) text: Vec<u8>,
}

pub(crate) type Configure = fn(Builder<'_>) -> Builder<'_>;

/// Records a run of the image file; the log is complete.
pub(crate) fn recorded(
    file: &[u8],
    configure: Configure,
    drive: impl FnOnce(&mut Vm),
) -> (Run, Vec<u8>) {
    recorded_in(Ring::Zero, file, configure, drive)
}

pub(crate) fn recorded_in(
    ring: Ring,
    file: &[u8],
    configure: Configure,
    drive: impl FnOnce(&mut Vm),
) -> (Run, Vec<u8>) {
    let (kvm, image) = (kvm(), Image::parse(file).expect("an image"));
    let (log, text) = (Capture::new(), Capture::new());
    let (recorder, recording) = record(log.clone(), file);
    let builder = Vm::builder(&kvm, &image).memory(4 * MIB).ring(ring).console(text.clone());
    let mut vm = configure(builder).tape(recorder).build().expect("builds");
    drive(&mut vm);
    let outcome = vm.outcome().expect("KVM_GET_REGS").expect("an end");
    recording.finish(None).expect("a Vec takes it");
    (Run { outcome, text: text.bytes() }, log.bytes())
}

/// Plays a log against an image, which may be another than its own.
pub(crate) fn played(log: &[u8], file: Option<&[u8]>) -> (Run, Verdict) {
    let log = Log::read(Cursor::new(log.to_vec())).expect("a log");
    let file = file.unwrap_or(log.image()).to_vec();
    let (kvm, image) = (kvm(), Image::parse(&file).expect("an image"));
    let text = Capture::new();
    let builder = log.machine().apply(Vm::builder(&kvm, &image)).console(log.console(text.clone()));
    let (player, found) = log.play(&image).expect("reads again");
    let outcome = builder.tape(player).build().expect("builds").run().expect("runs");
    (Run { outcome, text: text.bytes() }, found.get())
}
