//! What an experiment adds to the stock command line.

use crate::code::{self, Failure};
#[cfg(feature = "lab")]
use crate::lab;
use crate::{run, start};
use ::jail::Jail;
use clap::Parser;
use inspect::printable;
use portcall::{Builder, Outcome, Vm};
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

type Configure = Box<dyn for<'a> FnOnce(Builder<'a>) -> Builder<'a>>;
type After = Box<dyn FnOnce(&mut Vm) -> Result<(), Box<dyn Error>>>;

/// The stock `run`, with handlers of one's own.
#[derive(Default)]
#[must_use = "it does nothing before `main`"]
pub struct Experiment {
    configure: Vec<Configure>,
    after: Vec<After>,
    jail: Option<Jail>,
}

/// Runs a bare-metal KVM guest with this experiment's handlers, and says what happened.
#[derive(Debug, Parser)]
#[command(version, after_help = code::HELP)]
enum Command {
    /// Runs a guest: a static x86-64 ELF file.
    Run(run::Options),
    /// Measures what guests measure with this experiment's handlers.
    #[cfg(feature = "lab")]
    Lab(lab::Options),
    /// Rounds of a row, for `lab`.
    #[cfg(feature = "lab")]
    #[command(hide = true)]
    LabRound(lab::Order),
}

impl Experiment {
    /// One that adds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to the VM before it is built: port handlers, observers. What the command line says
    /// is in the builder by then, so what is set here again replaces it.
    pub fn vm(
        mut self,
        configure: impl for<'a> FnOnce(Builder<'a>) -> Builder<'a> + 'static,
    ) -> Self {
        self.configure.push(Box::new(configure));
        self
    }

    /// Does something with the VM when its guest has ended well, that is with process code 0.
    ///
    /// All that the guest printed is on stdout by then. The expectations and the report come
    /// afterwards, and see all as it is then. An error is said as `error: ...`, in place of
    /// these, and the process code is 125; unless the guest has ended badly in a call, which is
    /// reported as any such end.
    pub fn after(
        mut self,
        check: impl FnOnce(&mut Vm) -> Result<(), Box<dyn Error>> + 'static,
    ) -> Self {
        self.after.push(Box::new(check));
        self
    }

    /// Confines the process once the VM is built, as the stock binary does: to this jail, and the
    /// places of the guest's sources besides. Without this a host half is not confined, since its
    /// handlers may need what the jail refuses: name here the files that they open, and the system
    /// calls that they make and the table does not have.
    ///
    /// ```no_run
    /// # fn main() -> std::process::ExitCode {
    /// use cli::{Experiment, Jail};
    ///
    /// // Its handlers write scores beneath this directory, and need nothing else.
    /// Experiment::new().jail(Jail::new().write_beneath("/var/lib/scores")).main()
    /// # }
    /// ```
    pub fn jail(mut self, jail: Jail) -> Self {
        self.jail = Some(jail);
        self
    }

    /// Reads the command line of `portcall run` (`BINARY run IMAGE [OPTIONS] [-- ARGS]`), runs
    /// the guest, says what happened, and gives the process code. For a `main` to return.
    pub fn main(self) -> ExitCode {
        ExitCode::from(self.main_of(std::env::args_os()))
    }

    fn main_of(self, words: impl IntoIterator<Item = OsString>) -> u8 {
        start(words, Command::Run, |command| match command {
            Command::Run(options) => run::run(&options, self),
            #[cfg(feature = "lab")]
            Command::Lab(options) => lab::lab(&options),
            #[cfg(feature = "lab")]
            Command::LabRound(order) => lab::round(&order, self),
        })
    }

    /// Applies all of [`vm`](Self::vm), in order.
    pub(crate) fn configure<'a>(&mut self, builder: Builder<'a>) -> Builder<'a> {
        self.configure.drain(..).fold(builder, |builder, configure| configure(builder))
    }

    /// The jail, if there is one; it is entered once.
    pub(crate) fn take_jail(&mut self) -> Option<Jail> {
        self.jail.take()
    }

    /// Does all of [`after`](Self::after), in order, up to the first error. The outcome is what it
    /// is then: a guest that was called may have ended in that, which says more than the error.
    pub(crate) fn check(&mut self, vm: &mut Vm, outcome: Outcome) -> Result<Outcome, Failure> {
        if self.after.is_empty() {
            return Ok(outcome);
        }
        let done = self.after.drain(..).try_for_each(|check| check(vm));
        let outcome = vm.outcome()?.unwrap_or(outcome);
        // What std still holds would come behind what we write to the same stdout.
        let flushed = io::stdout().flush();
        if outcome.end.is_normal() {
            done.map_err(|error| failure(&*error))?;
        }
        flushed.map_err(|error| Failure::writing("stdout", &error))?;
        Ok(outcome)
    }
}

/// What to say of an error; one of writing is most likely one to stdout. Its words may have been
/// the guest's.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    match error.downcast_ref::<io::Error>() {
        Some(error) => Failure::writing("to stdout", error),
        None => Failure::Message(printable(&error.to_string())),
    }
}

impl fmt::Debug for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (configure, after) = (self.configure.len(), self.after.len());
        write!(f, "Experiment({configure} additions to the VM, {after} checks after it)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Experiment};
    use crate::code::{EXPECTATION, Failure};
    use crate::elf::Elf;
    use crate::run;
    use ::jail::Jail;
    use clap::Parser;
    use portcall::{End, Guest, Ports};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// in al, 0x30; out 0xf4, al
    const GIVE_BACK: &[u8] = &[0xe4, 0x30, 0xe6, 0xf4];

    struct Constant(u32);
    impl Ports for Constant {
        fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
            Ok(self.0)
        }
    }

    /// A guest that ends with what port 0x30 gives, in a folder of its own.
    fn image() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("guest");
        std::fs::write(&image, Elf::new(GIVE_BACK).bytes()).expect("written");
        (folder, image)
    }

    /// Runs it.
    fn give_back(experiment: Experiment, options: &[&str]) -> Result<u8, Failure> {
        let (_folder, image) = image();
        let words = ["experiment", "run", "--quiet"].into_iter().chain(options.iter().copied());
        let image = image.to_str().expect("UTF-8");
        match Command::parse_from(words.chain([image])) {
            Command::Run(options) => run::run(&options, experiment),
            #[cfg(feature = "lab")]
            _ => unreachable!("the words say `run`"),
        }
    }

    fn answering(code: u32) -> Experiment {
        Experiment::new().vm(move |builder| builder.ports(0x30..=0x30, Constant(code)))
    }

    #[test]
    fn a_handler_answers_and_additions_add_up() {
        assert_eq!(give_back(Experiment::new(), &[]).ok(), Some(120));
        let both = answering(7).vm(|builder| builder.ports(0x31..=0x31, Constant(0)));
        assert_eq!(give_back(both, &[]).ok(), Some(7));
        let same = answering(7).vm(|builder| builder.ports(0x30..=0x30, Constant(0)));
        let failure = give_back(same, &[]).expect_err("the port is taken");
        assert!(matches!(failure, Failure::Message(text) if text.contains("0x30")));
    }

    #[test]
    fn what_comes_after_comes_after_a_good_end_only() {
        let times = Arc::new(AtomicU32::new(0));
        let counting = |code| {
            let times = Arc::clone(&times);
            answering(code).after(move |vm| {
                times.fetch_add(1, Ordering::Relaxed);
                assert_eq!(vm.stats().exits(), 2);
                Ok(())
            })
        };
        assert_eq!(give_back(counting(3), &[]).ok(), Some(3));
        assert_eq!(times.load(Ordering::Relaxed), 0);
        assert_eq!(give_back(counting(0), &[]).ok(), Some(0));
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }

    struct Panics;
    impl Ports for Panics {
        fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
            panic!("out of\x1b[2J luck\nportcall: well");
        }
    }

    #[test]
    fn a_panic_is_said_with_its_place_and_without_what_a_terminal_obeys() {
        // The hook is the process's, so this test starts itself as another, which runs the guest
        // that it is told here.
        const GUEST: &str = "PORTCALL_TEST_GUEST";
        if let Some(guest) = std::env::var_os(GUEST) {
            let experiment = Experiment::new().vm(|builder| builder.ports(0x30..=0x30, Panics));
            experiment.main_of(["experiment".into(), "run".into(), guest]);
            return;
        }
        let (_folder, image) = image();
        let name = "experiment::tests::\
                    a_panic_is_said_with_its_place_and_without_what_a_terminal_obeys";
        let mut itself = std::process::Command::new(std::env::current_exe().expect("a path"));
        itself.args(["--exact", "--nocapture", name]).env(GUEST, image);
        let said = itself.output().expect("starts").stderr;
        let said = String::from_utf8(said).expect("UTF-8");
        let (_, message) = said.split_once("experiment.rs:").expect("its place is said");
        assert!(said.starts_with("portcall: panicked at "), "{said:?}");
        assert!(message.contains(": out of\u{fffd}[2J luck\n       portcall: well\n"), "{said:?}");
        assert!(message.contains("error: a handler on the host failed: the handler of port 0x30"));
        assert!(!said.contains('\x1b'), "{said:?}");
    }

    /// Gives 1 where a file can be made in this directory.
    struct MakesFiles(PathBuf);
    impl Ports for MakesFiles {
        fn read(&mut self, _: &mut Guest<'_>, _: u16, _: u8) -> Result<u32, End> {
            Ok(u32::from(std::fs::File::create(self.0.join("made")).is_ok()))
        }
    }

    #[test]
    fn handlers_are_confined_where_that_is_asked_for_and_to_what_is_asked_for() {
        // The process does not get out again, so this test starts itself as another.
        const JAIL: &str = "PORTCALL_TEST_JAIL";
        if let Ok(kind) = std::env::var(JAIL) {
            let folder = std::env::temp_dir();
            let handler = MakesFiles(folder.clone());
            let experiment =
                Experiment::new().vm(move |builder| builder.ports(0x30..=0x30, handler));
            // Tests have threads.
            let jail = Jail::new().beside_threads();
            let (experiment, options): (_, &[&str]) = match kind.as_str() {
                "none" => (experiment, &[]),
                "jail" => (experiment.jail(jail), &[]),
                "open" => (experiment.jail(jail), &["--no-jail"]),
                _ => (experiment.jail(jail.write_beneath(&folder)), &[]),
            };
            let code = give_back(experiment, options).expect("ends");
            println!("made {code}");
            return;
        }
        let name = "experiment::tests::\
                    handlers_are_confined_where_that_is_asked_for_and_to_what_is_asked_for";
        for (kind, made) in [("none", 1), ("jail", 0), ("open", 1), ("folder", 1)] {
            let mut itself = std::process::Command::new(std::env::current_exe().expect("a path"));
            // What it cannot remove any more goes with this folder.
            let folder = tempfile::tempdir().expect("a folder");
            itself.args(["--exact", "--nocapture", name]).env(JAIL, kind);
            itself.env("TMPDIR", folder.path());
            let said = itself.output().expect("starts").stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains(&format!("made {made}\n")), "{kind}: {said}");
        }
    }

    #[test]
    fn an_error_of_the_guests_words_is_said_without_what_a_terminal_obeys() {
        for said in ["gone\x1b[2J".into(), std::io::Error::other("gone\x1b[2J").into()] {
            let said: Box<dyn std::error::Error> = said;
            let failing = answering(0).after(move |_| Err(said));
            let Err(Failure::Message(text)) = give_back(failing, &[]) else { unreachable!() };
            assert!(text.ends_with("gone\u{fffd}[2J"), "{text:?}");
        }
    }

    #[test]
    fn expectations_see_what_it_left_and_its_error_is_ours() {
        let at = portcall::Gpa(0x8000);
        let leaving = || answering(0).after(move |vm| Ok(vm.memory().store_u64(at, 42)?));
        let met = give_back(leaving(), &["--expect=mem.u64[0x8000]=42"]);
        assert_eq!(met.ok(), Some(0));
        let unmet = give_back(leaving(), &["--expect=mem.u64[0x8000]=41"]);
        assert_eq!(unmet.ok(), Some(EXPECTATION));
        let failing = leaving().after(|_| Err("the sum is wrong".into()));
        let failure = give_back(failing, &["--expect=mem.u64[0x8000]=41"]).expect_err("it failed");
        assert_eq!(failure.say(), 125);
        assert!(matches!(failure, Failure::Message(text) if text == "the sum is wrong"));
    }
}
