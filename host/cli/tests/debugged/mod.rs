//! Runs under a debugger: a guest in Rust with all its debug information, `portcall` that waits for
//! a client, gdb by script, and a client of our own that says what it likes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a program said, and its code.
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

/// A folder for a run.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The guest, built as for debugging.
    pub(crate) fn guest(&self) -> PathBuf {
        self.guest_that_is("static")
    }

    /// The same by a relocation model of rustc's.
    pub(crate) fn guest_that_is(&self, model: &str) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debugged/guest.rs");
        let image = self.path("guest");
        let options = "--edition 2024 --target x86_64-unknown-none -g -C panic=abort \
                       -C debug-assertions=off -C force-frame-pointers=yes \
                       --crate-type bin";
        let mut rustc = Command::new("rustc");
        rustc.args(options.split_whitespace()).arg(format!("-Crelocation-model={model}"));
        rustc.arg("-o").arg(&image).arg(source);
        let output = rustc.output().expect("rustc");
        let remedy = "rustup target add x86_64-unknown-none";
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{remedy}: {said}");
        image
    }

    fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// `portcall`, waiting at a socket.
    pub(crate) fn start(&self, words: &[&str], options: &[&str]) -> Debugged {
        let mut command = self.portcall(words, options);
        let child = command.spawn().expect("portcall starts");
        self.wait();
        Debugged(Some(child))
    }

    /// The same, not started yet.
    pub(crate) fn portcall(&self, words: &[&str], options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
        command.args(words).arg(format!("--gdb=unix:{}", self.socket().display())).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Until it can be connected to.
    pub(crate) fn wait(&self) {
        let start = Instant::now();
        while !self.socket().exists() {
            assert!(start.elapsed() < DEADLINE, "portcall does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// gdb with these commands, to its end.
    pub(crate) fn gdb(&self, image: &Path, commands: &[&str]) -> String {
        let mut gdb = Command::new("timeout");
        gdb.args(["60", "gdb", "-nx", "-batch", "-ex", "set pagination off"]).arg(image);
        gdb.arg("-ex").arg(format!("target remote {}", self.socket().display()));
        commands.iter().for_each(|it| _ = gdb.args(["-ex", it]));
        // It must not ask the network for symbols.
        let output = gdb.env("DEBUGINFOD_URLS", "").stdin(Stdio::null()).output();
        let output = output.expect("this test needs gdb (apt-get install gdb)");
        assert_ne!(output.status.code(), Some(124), "gdb hangs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    pub(crate) fn client(&self) -> Client {
        Client::of(&self.socket())
    }
}

/// A run under a debugger.
pub(crate) struct Debugged(Option<Child>);

impl Debugged {
    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().expect("it runs").id()
    }

    /// What it came to.
    pub(crate) fn end(mut self) -> Ran {
        let mut child = self.0.take().expect("it runs");
        let start = Instant::now();
        while child.try_wait().expect("waits").is_none() {
            let hangs = start.elapsed() >= DEADLINE;
            if hangs {
                child.kill().expect("killed");
            }
            assert!(!hangs, "portcall hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().expect("its output");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code();
        Ran { stdout: text(&output.stdout), stderr: text(&output.stderr), code }
    }
}

impl Drop for Debugged {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // The test has failed already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A client that says what it likes.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    /// Connects as soon as that can be done.
    pub(crate) fn of(socket: &Path) -> Self {
        // The file is there a moment before it is listened at.
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < DEADLINE, "it does not listen: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream.set_write_timeout(Some(DEADLINE)).expect("set");
        Client(stream)
    }

    /// Bytes as they are; what is gone does not matter.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// A packet, and its answer; nothing where there is none any more.
    pub(crate) fn ask(&mut self, body: &str) -> Option<String> {
        self.send(body.as_bytes()).then(|| self.answer())?
    }

    pub(crate) fn send(&mut self, body: &[u8]) -> bool {
        let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.raw(&[b"$", body, format!("#{sum:02x}").as_bytes()].concat())
    }

    /// The next packet, without what is around it.
    pub(crate) fn answer(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) if byte[0] == b'#' && !text.is_empty() => break,
                Ok(1) if byte[0] == b'$' => text = vec![b'$'],
                Ok(1) if !text.is_empty() => text.push(byte[0]),
                Ok(1) => {}
                _ => return None,
            }
        }
        let mut checksum = [0; 2];
        self.0.read_exact(&mut checksum).ok()?;
        // Where it has gone meanwhile it was its last.
        self.raw(b"+");
        Some(String::from_utf8_lossy(&text[1..]).into_owned())
    }
}
