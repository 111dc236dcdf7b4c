//! What running and replaying have in common: from a VM in the making to a process code.

use crate::code::{self, Failure};
use crate::count::{Counter, Counts};
use crate::emit::{self, Emit, Output};
use crate::expect::{OutputWatch, Seen};
use crate::gdb::{Debugger, Gdb};
use crate::heard::Heard;
use crate::measured::{self, Measured};
pub(crate) use crate::options::Common;
use crate::output::{self, Plain};
use crate::places::Fresh;
use crate::report;
use crate::signals::{self, Signals};
use crate::steps::Steps;
use inspect::drive::{Drive, Driver, Scene};
use inspect::{Explanation, KvmKind};
use measures::collect::Collector;
use portcall::exit::ExitKind;
use portcall::sys::KvmStats;
use portcall::{Builder, End, Error, Image, Kvm, Limit, Outcome, Ring, Stop, Vm};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// A run or a replay on its way.
pub(crate) struct Session<'a> {
    common: &'a Common,
    image: &'a Image<'a>,
    ring: Ring,
    input: &'a Path,
    start: Instant,
    outputs: Vec<Box<dyn Output>>,
    fresh: Fresh,
    watch: Option<OutputWatch>,
    counter: Option<Counter>,
    collector: Collector,
    debugger: Option<Debugger>,
    is_replay: bool,
    arguments: Vec<String>,
}

/// A VM that is about to run, and what is looked at beside it.
pub(crate) struct Ready {
    signals: Signals,
    kvm_stats: Option<KvmStats>,
}

impl<'a> Session<'a> {
    /// Opens what is to be written, so that a wrong path costs no run. `input` is the file that
    /// the run is made of, which is no place for it.
    pub(crate) fn open(
        common: &'a Common,
        image: &'a Image<'a>,
        ring: Ring,
        input: &'a Path,
        start: Instant,
    ) -> Result<Self, Failure> {
        common.check()?;
        if common.keeps() {
            signals::hold();
        }
        let (outputs, fresh) = emit::open(&common.emit, input, &common.settings())?;
        let watch = OutputWatch::of(&common.expect).map_err(Failure::Message)?;
        let counter = common.counts().then(Counter::default);
        let debugger = common.gdb.as_ref().map(Gdb::open).transpose()?;
        Ok(Self {
            common,
            image,
            ring,
            input,
            start,
            outputs,
            fresh,
            watch,
            counter,
            collector: Collector::new(),
            debugger,
            is_replay: false,
            arguments: Vec::new(),
        })
    }

    /// What the guest measures goes there; a replay measures nothing.
    pub(crate) const fn collector(&self) -> &Collector {
        &self.collector
    }

    /// What the guest is told, for those who say what was run.
    pub(crate) fn told(&mut self, arguments: &[String]) {
        self.arguments = arguments.to_vec();
    }

    /// The run is one that was recorded.
    pub(crate) const fn replays(&mut self) {
        self.is_replay = true;
    }

    /// What keeps the guest's text, if an output wants it.
    pub(crate) fn heard(&self) -> Option<Heard> {
        self.outputs.iter().find_map(|output| output.heard().cloned())
    }

    /// Whether anyone wants to hear of the guest's spans.
    pub(crate) fn wants_spans(&self) -> bool {
        self.common.emit.iter().any(Emit::wants_spans)
    }

    /// Where the guest's text goes.
    pub(crate) fn console(&self) -> Result<impl Write + Send + use<>, Failure> {
        Ok(Tee {
            stdout: Plain::of(io::stdout().as_fd())?,
            watch: self.watch.clone(),
            heard: self.heard(),
        })
    }

    /// The VM as the options want it. `file` is the image's whole file, where it is to be
    /// recorded.
    pub(crate) fn equip<'b>(
        &mut self,
        mut builder: Builder<'b>,
        file: &[u8],
    ) -> Result<Builder<'b>, Failure> {
        for limit in self.common.limits() {
            if let Limit::Time(timeout) = limit
                // Which holds no longer than the guest is held.
                && self.debugger.is_none()
            {
                output::set_deadline(timeout);
            }
            builder = builder.limit(limit);
        }
        if self.common.steps {
            builder = builder.observe(Steps);
        }
        if let Some(counter) = &self.counter {
            builder = builder.observe(counter.clone());
        }
        if let Some(debugger) = &self.debugger {
            builder = debugger.equip(builder);
        }
        for output in &mut self.outputs {
            builder = output.equip(builder, file)?;
        }
        Ok(builder)
    }

    /// From here on signals stop the VM.
    pub(crate) fn ready(&mut self, vm: &Vm) -> Result<Ready, Failure> {
        let signals = Signals::stop(&vm.stopper())?;
        self.fresh.keep();
        // Opened before the run: an old kernel has none, and that is no failure of the run.
        let kvm_stats = self.counter.as_ref().and_then(|_| KvmStats::open(vm.vcpu_fd()).ok());
        Ok(Ready { signals, kvm_stats })
    }

    /// Waits for the debugger, if one is asked for: in the jail it could not be let in any more.
    /// `input` is the file that the run is made of.
    pub(crate) fn attach(&mut self, kvm: &Kvm, vm: &Vm, input: &Path) -> Result<(), Failure> {
        let Some(debugger) = &mut self.debugger else { return Ok(()) };
        debugger.attach(kvm, self.ring, vm, input)
    }

    /// Runs the guest to its end. `image` is the whole file of its image.
    pub(crate) fn run(&mut self, vm: &mut Vm, image: &[u8]) -> Result<Outcome, Failure> {
        let done = self.run_on(vm, image);
        if done.is_err() {
            // The failure that is on its way is the first one.
            for failure in self.outputs.drain(..).filter_map(|output| output.fail().err()) {
                failure.say();
            }
        }
        done
    }

    /// The same; up to where it is ready, if that is to be kept.
    fn run_on(&mut self, vm: &mut Vm, image: &[u8]) -> Result<Outcome, Failure> {
        let is_recorded = self.is_replay || self.common.records();
        let (mut drivers, mut others): (Vec<&mut dyn Driver>, Vec<_>) = (Vec::new(), Vec::new());
        for output in &mut self.outputs {
            if output.driver().is_some() {
                drivers.extend(output.driver());
            } else {
                others.push(output);
            }
        }
        if self.debugger.is_some() || !drivers.is_empty() {
            let mut keeper = Keeper { outputs: others, image, keeps: self.common.keeps() };
            drivers.push(&mut keeper);
            return Ok(match &mut self.debugger {
                Some(debugger) => debugger.run(vm, self.image, drivers, is_recorded)?,
                None => Drive::new(vm, drivers).run()?,
            });
        }
        if self.common.keeps() {
            if vm.run_to_ready()?.is_some()
                && let Some(outcome) = vm.outcome()?
            {
                return Ok(outcome);
            }
            self.outputs.iter_mut().for_each(|output| output.keep(vm, image));
        }
        Ok(vm.run()?)
    }

    /// Where a snapshot is to be put in place of an older one.
    pub(crate) fn snapshot_directory(&self) -> Option<&Path> {
        self.outputs.iter().find_map(|output| output.directory())
    }

    /// There is nothing to say of the run but the failure that is on its way; what was recorded
    /// of it is completed all the same.
    pub(crate) fn abandon(self) -> Result<(), Failure> {
        self.outputs.into_iter().try_for_each(|output| output.abandon())
    }

    /// Says what the run came to, and gives the process code: of a replay that went as recorded
    /// the recorded one. `whole` reads the image's whole file.
    pub(crate) fn conclude(
        self,
        vm: &Vm,
        outcome: &Outcome,
        ready: Ready,
        recorded: Option<u8>,
        whole: impl FnOnce() -> Result<Vec<u8>, Failure>,
    ) -> Result<u8, Failure> {
        let time = self.start.elapsed();
        let killed = self.debugger.as_ref().is_some_and(Debugger::has_killed);
        let killed = (killed && outcome.end == End::Stopped).then_some(libc::SIGKILL);
        let signal = ready.signals.over(&outcome.end).or(killed);
        let own = recorded.unwrap_or_else(|| code::of(&outcome.end, signal));
        let counts = self.counter.as_ref().map(Counter::counts).unwrap_or_default();
        let seen = Seen {
            outcome,
            code: own,
            counts: &counts,
            image: self.image,
            vm,
            output: self.watch.as_ref(),
        };
        let unmet = self.common.unmet(&seen);
        let code = if unmet.is_empty() { own } else { code::EXPECTATION };
        let instructions = ready.kvm_stats.and_then(|stats| emulated(&stats, outcome));
        let explained = !outcome.end.is_normal() || self.common.backtrace;
        let symbols = self.common.emit.iter().any(Emit::wants_symbols);
        let file = if explained || symbols { whole()? } else { Vec::new() };
        let explanation = if explained {
            Some(inspect::explain(vm, self.image, outcome, &file, KvmKind::detect())?)
        } else {
            None
        };
        let measured = Measured::of(&self.collector);
        let image = self.image;
        let ended = Ended {
            vm,
            image,
            outcome,
            code,
            signal,
            counts,
            instructions,
            measured,
            unmet,
            explanation,
            file,
            ring: self.ring,
            input: self.input,
            arguments: self.arguments,
            #[cfg(feature = "instruments")]
            facts: self.common.facts(),
            time,
        };
        if self.common.stats {
            report::stats(&ended);
        }
        if !self.common.quiet {
            measured::show(&ended.measured);
        }
        if !self.common.quiet || code != 0 {
            report::end(&ended);
        }
        // One that fails is no reason to leave out those behind it.
        let outputs = self.outputs.into_iter();
        let write = || outputs.map(|output| output.write(&ended)).collect::<Vec<_>>();
        let (written, late) = ready.signals.writing(write);
        let interrupted = late.map(|late| code::of(&End::Stopped, Some(late)));
        match (written.into_iter().collect::<Result<Vec<()>, _>>(), interrupted) {
            // Who has interrupted it knows why something is missing.
            (Err(failure), interrupted) if signal.is_some() || interrupted.is_some() => {
                failure.say();
                Ok(interrupted.unwrap_or(code))
            }
            (written, _) => written.map(|_| code),
        }
    }
}

/// The instructions that KVM emulated for the guest: where breakpoints or steps have come, it has
/// emulated for these as well.
fn emulated(stats: &KvmStats, outcome: &Outcome) -> Option<u64> {
    let is_guests = outcome.stats.exits_of(ExitKind::Debug) == 0;
    is_guests.then(|| stats.get("insn_emulation"))?
}

/// A run that is over, and all that was found out about it.
pub(crate) struct Ended<'a> {
    pub(crate) vm: &'a Vm,
    pub(crate) image: &'a Image<'a>,
    pub(crate) outcome: &'a Outcome,
    /// The process code, expectations looked at.
    pub(crate) code: u8,
    /// The signal that stopped the guest, if one did.
    pub(crate) signal: Option<i32>,
    pub(crate) counts: Counts,
    /// How many instructions KVM emulated, where it counts them, and they are the guest's alone:
    /// not under breakpoints and steps.
    pub(crate) instructions: Option<u64>,
    /// What the guest measured.
    pub(crate) measured: Measured,
    /// What was expected, and what was found instead.
    pub(crate) unmet: Vec<(String, String)>,
    pub(crate) explanation: Option<Explanation>,
    /// The image's whole file, if there is an explanation or an output wants it; else empty.
    pub(crate) file: Vec<u8>,
    pub(crate) ring: Ring,
    /// The file that the run is made of.
    #[cfg_attr(not(feature = "instruments"), expect(dead_code, reason = "the report says it"))]
    pub(crate) input: &'a Path,
    /// What the guest was told.
    #[cfg_attr(not(feature = "instruments"), expect(dead_code, reason = "the report says it"))]
    pub(crate) arguments: Vec<String>,
    /// What bounded it, and who looked at it.
    #[cfg(feature = "instruments")]
    pub(crate) facts: Vec<(&'static str, String)>,
    /// From the process's start to the end.
    pub(crate) time: Duration,
}

/// Takes the snapshot of a guest that others drive.
struct Keeper<'a> {
    outputs: Vec<&'a mut Box<dyn Output>>,
    image: &'a [u8],
    /// Until it is taken.
    keeps: bool,
}

impl Driver for Keeper<'_> {
    fn stopped(&mut self, scene: &mut Scene<'_>, stop: &Stop) -> Result<(), Error> {
        if self.keeps && matches!(stop, Stop::Exit(_)) && scene.vm.is_ready() {
            self.keeps = false;
            scene.without_breakpoints(|vm| {
                self.outputs.iter_mut().for_each(|output| output.keep(vm, self.image));
            });
        }
        Ok(())
    }
}

/// Stdout, and what an expectation looks at on the way.
struct Tee {
    stdout: Plain,
    watch: Option<OutputWatch>,
    heard: Option<Heard>,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stdout.write(bytes)?;
        if let Some(watch) = &self.watch {
            watch.take(&bytes[..written]);
        }
        if let Some(heard) = &self.heard {
            heard.printed(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
