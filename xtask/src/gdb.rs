//! `cargo xtask run NAME --gdb` on a terminal: the guest held at its entry, and gdb beside it, which
//! has the terminal. Elsewhere, and where a place is named, `portcall` waits for whoever comes.

use crate::Failure;
use crate::cargo::cannot_start;
use signal_hook::consts::SIGINT;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it is looked whether something has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Whether gdb is to be started: it is asked for without a place, by someone at a terminal.
pub(crate) fn is_wanted(options: &[OsString]) -> bool {
    let is_at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    is_at_terminal && options.iter().any(|it| it == "--gdb")
}

/// Where they meet: in a folder that is nobody else's, and goes with this.
pub(crate) struct Meeting(PathBuf);

impl Meeting {
    /// Makes the folder.
    pub(crate) fn new() -> Result<Self, Failure> {
        let process = std::process::id();
        // A name that is taken, by whomever, is not used.
        for attempt in 0..100 {
            let folder = std::env::temp_dir().join(format!("portcall-gdb-{process}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let folder = folder.display();
                    return Err(Failure(format!("cannot make {folder} to meet gdb in: {error}")));
                }
            }
        }
        let folder = std::env::temp_dir();
        Err(Failure(format!("{} is full of portcall-gdb-*: remove those", folder.display())))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    /// The words for `portcall`, with the place at which [`run`] connects gdb.
    pub(crate) fn with_place(&self, options: &[OsString]) -> Vec<OsString> {
        let mut named = OsString::from("--gdb=unix:");
        named.push(self.socket());
        let named = |it: &OsString| if it == "--gdb" { named.clone() } else { it.clone() };
        options.iter().map(named).collect()
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // Where all went well the socket is gone already.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a guest with gdb beside it; `image` is what gdb reads the symbols of, if it is a file. The
/// process code is the guest's.
pub(crate) fn run(
    mut command: Command,
    meeting: &Meeting,
    image: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let socket = meeting.socket();
    // A group of its own, so that Ctrl-C is gdb's alone; who types does not type to the guest.
    command.process_group(0).stdin(Stdio::null());
    let mut host = command.spawn().map_err(|error| cannot_start(&command, &error))?;
    let result = beside(&mut host, &socket, image);
    if result.is_err() {
        let _ = host.kill();
    }
    result
}

fn beside(host: &mut Child, socket: &Path, image: Option<&Path>) -> Result<ExitCode, Failure> {
    let failed = |error: io::Error| Failure(format!("cannot wait for portcall: {error}"));
    while !socket.exists() {
        // What was wrong it has said.
        if let Some(status) = host.try_wait().map_err(failed)? {
            return Ok(code(status));
        }
        std::thread::sleep(LOOK);
    }
    // gdb does with it what gdb does, and we are not to end of it meanwhile.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)).map_err(failed)?;
    let mut gdb = Command::new(program()?);
    let mut connect = OsString::from("target remote ");
    connect.push(socket);
    gdb.args(image).arg("-ex").arg(connect);
    gdb.status().map_err(|error| cannot_start(&gdb, &error))?;
    interrupted.store(false, Ordering::Relaxed);
    // A guest that gdb has detached from goes on, until it ends or Ctrl-C does that.
    loop {
        if let Some(status) = host.try_wait().map_err(failed)? {
            return Ok(code(status));
        }
        if interrupted.swap(false, Ordering::Relaxed) {
            let signal = format!("kill -INT {}", host.id());
            Command::new("sh").args(["-c", &signal]).status().map_err(failed)?;
        }
        std::thread::sleep(LOOK);
    }
}

/// The debugger: with Rust's own printers, where they are installed.
fn program() -> Result<PathBuf, Failure> {
    let runs = |name: &&str| {
        let mut command = Command::new(name);
        let output = command.arg("--version").stdin(Stdio::null()).output();
        output.is_ok_and(|it| it.status.success())
    };
    let found = ["rust-gdb", "gdb"].iter().find(|name| runs(name));
    let missing =
        || Failure("there is no gdb: apt-get install gdb, or name a place: --gdb=1234".into());
    found.map(PathBuf::from).ok_or_else(missing)
}

/// The code that a shell would report.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|it| 128 + it)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn they_meet_where_nobody_else_can_look_and_nothing_is_left() {
        let [one, other] = [Meeting::new(), Meeting::new()].map(|it| it.expect("a folder"));
        assert_ne!(one.0, other.0);
        assert_eq!(one.0.metadata().expect("there").mode() & 0o777, 0o700);
        let words = one.with_place(&["--gdb".into(), "--quiet".into()]);
        let socket = one.0.join("socket");
        assert_eq!(words[0], *format!("--gdb=unix:{}", socket.display()));
        std::fs::write(socket, "").expect("written");
        let folder = one.0.clone();
        drop(one);
        assert!(!folder.exists());
    }
}
