//! `--gdb`: a run that a debugger has the wheel of.

use crate::code::Failure;
use inspect::drive::{Drive, Driver};
use inspect::gdb::{Ability, Client, Journal, Listener, Parting, Place, Session, debug};
use inspect::printable;
use portcall::{Builder, Error, Image, Kvm, Outcome, Ring, Vm};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Where the debugger is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Gdb(Place);

impl FromStr for Gdb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(Place::default())) } else { text.parse().map(Self) }
    }
}

impl Gdb {
    /// Takes the place, so that one that is taken costs no run.
    pub(crate) fn open(&self) -> Result<Debugger, Failure> {
        let listener = Listener::open(&self.0).map_err(|it| Failure::Message(it.to_string()))?;
        let (journal, ability) = (Journal::default(), Ability::default());
        let listener = Some(listener);
        Ok(Debugger { listener, client: None, journal, ability, has_killed: false })
    }
}

/// The debugger of a run.
pub(crate) struct Debugger {
    /// Until one has come.
    listener: Option<Listener>,
    /// From then on.
    client: Option<Client>,
    journal: Journal,
    ability: Ability,
    has_killed: bool,
}

/// Whether a file is an image, which gdb reads the symbols of; a snapshot or a log has one inside.
fn is_image(input: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(input).and_then(|mut it| it.read_exact(&mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}

impl Debugger {
    /// What it wants of the VM.
    pub(crate) fn equip<'b>(&self, builder: Builder<'b>) -> Builder<'b> {
        builder.observe(self.journal.clone())
    }

    /// Says how to connect, and waits for who does; or for a signal that stops the run.
    pub(crate) fn attach(
        &mut self,
        kvm: &Kvm,
        ring: Ring,
        vm: &Vm,
        input: &Path,
    ) -> Result<(), Failure> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        self.ability = Ability::of(kvm, ring)?;
        let image = if is_image(input) { input } else { Path::new("IMAGE") };
        let (image, place) = (quoted(image), listener.name());
        say!("portcall: waiting for gdb: gdb {image} -ex 'target remote {}'", printable(&place));
        let client = listener.accept(|| vm.is_stopped());
        self.client = client.map_err(|error| Failure::Message(error.to_string()))?;
        Ok(())
    }

    /// Runs the guest as the debugger wants it.
    pub(crate) fn run<'d>(
        &mut self,
        vm: &'d mut Vm,
        image: &Image<'_>,
        drivers: Vec<&'d mut (dyn Driver + 'd)>,
        is_recorded: bool,
    ) -> Result<Outcome, Error> {
        let mut drive = Drive::new(vm, drivers);
        let Some(client) = self.client.take() else { return drive.run() };
        let (ability, journal) = (self.ability, self.journal.clone());
        let say = &mut |text: &str| say!("portcall: {}", printable(text));
        let session = Session { client, image, ability, journal, is_recorded, say };
        let (outcome, parting) = debug(&mut drive, session)?;
        self.has_killed = parting == Parting::Killed;
        Ok(outcome)
    }

    /// Whether it ended the run.
    pub(crate) const fn has_killed(&self) -> bool {
        self.has_killed
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", printable(&text).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;
    use std::path::Path;

    #[test]
    fn a_shell_takes_the_path_for_one_word() {
        assert_eq!(quoted(Path::new("target/x86_64/a.b-c")), "target/x86_64/a.b-c");
        assert_eq!(quoted(Path::new("my guest's")), r"'my guest'\''s'");
        assert_eq!(quoted(Path::new("$(x)")), "'$(x)'");
    }
}
