//! `portcall replay`: a recorded run again, with no handlers.

use crate::allow;
use crate::code::{self, Failure};
use crate::jail;
use crate::session::{Common, Session};
use ::jail::Jail;
use portcall::{Image, Kvm, Vm};
use replay::{Log, LogError, State, Verdict};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The log: what `portcall run --emit log=FILE` wrote. It has the guest in it.
    log: PathBuf,

    #[command(flatten)]
    common: Common,
}

impl Options {
    /// What is wrong with the log, with its name.
    fn about_log(&self, error: &LogError) -> Failure {
        match error {
            LogError::Open { .. } | LogError::NotPlain { .. } => {
                Failure::Message(error.to_string())
            }
            LogError::Foreign { start } if snapshot::is_snapshot(start) => {
                let name = self.log.display();
                let why = "this is a snapshot, and no log of a run; portcall run goes on from it";
                Failure::Message(format!("{name}: {why}"))
            }
            _ => Failure::Message(format!("{}: {error}", self.log.display())),
        }
    }
}

pub(crate) fn replay(options: &Options) -> Result<u8, Failure> {
    let start = Instant::now();
    let (common, name) = (&options.common, options.log.display());
    if common.records() {
        let why = "a replay has nothing to record that is not in its log; copy that";
        return Err(Failure::Message(format!("--emit log: {why}")));
    }
    if common.keeps() {
        let why = "a replay cannot be gone back to; take it of the run itself";
        return Err(Failure::Message(format!("--emit snapshot: {why}")));
    }
    let log = Log::open(&options.log).map_err(|error| options.about_log(&error))?;
    let (state, machine, file) = (log.state(), log.machine().clone(), log.image().to_vec());
    let broken = |error: &dyn std::fmt::Display| {
        Failure::Message(format!("{name}: the guest in it cannot be replayed: {error}"))
    };
    let image = Image::parse(&file).map_err(|error| broken(&error))?;
    let mut session = Session::open(common, &image, machine.ring(), &options.log, start)?;
    session.replays();
    session.told(&machine.arguments);
    let kvm = Kvm::open().map_err(|error| Failure::Message(error.to_string()))?;

    let builder = machine
        .apply(Vm::builder(&kvm, &image))
        .console(log.console(session.console()?))
        .log(allow::logger(session.heard()));
    let builder = session.equip(builder, &file)?;
    let (player, found) = log.play(&image).map_err(|error| options.about_log(&error))?;
    let mut vm = builder.tape(player).build().map_err(|error| broken(&error))?;
    let ready = session.ready(&vm)?;
    session.attach(&kvm, &vm, &options.log)?;
    jail::enter(Some(Jail::new()), common, &options.log, None)?;
    let outcome = session.run(&mut vm, &[])?;

    let verdict = found.get();
    let recorded = match (&verdict, state) {
        // Which code that is follows from the end: a log is believed in nothing else.
        (Verdict::Same, State::Complete(signal)) => Some(code::of(&outcome.end, signal)),
        (Verdict::Same | Verdict::Cut, _) => Some(code::OURS),
        _ => None,
    };
    let quiet = common.is_quiet();
    let code = session.conclude(&vm, &outcome, ready, recorded, || Ok(file.clone()))?;
    let exits = outcome.stats.exits();
    match (verdict, state) {
        (Verdict::Same, State::Complete(_)) if !quiet => {
            say!("  the same as recorded, in all {exits} exits and in its end");
        }
        (Verdict::Same, State::Cut(at)) => {
            return Err(Failure::Message(format!(
                "{name} was not completed: it ends at byte {at}; up to there, and in its end, the \
                 guest has done the same"
            )));
        }
        (Verdict::Cut, State::Cut(at)) => {
            let why = "whatever recorded it was killed, failed, or had no more room";
            return Err(Failure::Message(format!(
                "{name} was cut short at byte {at}, and up to there the guest has done the same: \
                 {why}"
            )));
        }
        (Verdict::Cut, State::Complete(_)) => {
            let text = format!("{name} ends before its run does; record it again");
            return Err(Failure::Message(text));
        }
        (Verdict::Failed(error), _) => return Err(options.about_log(&error)),
        _ => {}
    }
    Ok(code)
}
