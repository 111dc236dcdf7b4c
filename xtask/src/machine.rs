//! A machine with another KVM: Linux with the real kvm_amd module in QEMU, which emulates a
//! processor with SVM. It boots once, runs all commands it was given, one after the other, and
//! sees the files that they name at the paths that they have here.

use crate::Failure;
use crate::cargo::{cannot_start, target_dir};
use crate::cpio::Archive;
use crate::packages::{MODULES, Packages, QEMU};
use crate::process::Ran;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How many times as long as on the machine's own KVM a guest may take. Most take longer still,
/// but of those that are expected to end none comes near its timeout.
pub(crate) const PATIENCE: u32 = 4;

/// When a command is killed: past any timeout of its own. The longest guest takes 40 s.
const DEADLINE: Duration = Duration::from_secs(300);

/// How long the machine may be silent beyond a command's deadline; to boot takes 2 s.
const GRACE: Duration = Duration::from_secs(60);

/// Bytes of a stream that are sent back: far more than any golden, far less than a guest prints
/// that never stops.
const KEPT: usize = 256 << 10;

/// The files lie there twice while it boots, some 80 MiB; nothing is taken before it is touched.
const MEMORY: &str = "2G";

/// A running machine; it is stopped when this is dropped.
pub(crate) struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    /// What QEMU said, and what the kernel.
    logs: [PathBuf; 2],
    /// Once it is lost, nothing more comes of it.
    lost: bool,
}

/// One command for it.
pub(crate) struct Job {
    pub(crate) command: Command,
    pub(crate) input: Vec<u8>,
}

impl Machine {
    /// Boots it with commands, and the files that they need besides their programs.
    pub(crate) fn boot(
        packages: &Packages,
        jobs: &[Job],
        files: &[PathBuf],
    ) -> Result<Self, Failure> {
        let home = target_dir().join("kvm-amd");
        let (initramfs, console) = (home.join("initramfs"), home.join("console"));
        let (complaints, failed) = (home.join("qemu"), |it| Failure::file("create", &home, it));
        let stderr = fs::File::create(&complaints).map_err(failed)?;
        pack(&initramfs, packages, jobs, files)?;
        let mut command = Command::new(QEMU);
        command.args(["-accel", "tcg", "-cpu", "EPYC,+svm", "-machine", "q35", "-m", MEMORY]);
        command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        // The first is the console, the second what init.sh sends.
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.args(["-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1"]);
        command.arg("-kernel").arg(packages.kernel()).arg("-initrd").arg(&initramfs);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut qemu = command.spawn().map_err(|error| cannot_start(&command, &error))?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = qemu.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                lines.map(|line| sender.send(line)).all(|sent| sent.is_ok())
            });
        }
        Ok(Self { qemu, lines, logs: [complaints, console], lost: false })
    }

    /// What the next command did, in the order that they were given.
    pub(crate) fn next(&mut self) -> Result<Ran, Failure> {
        if self.lost {
            return Err(Failure::new("not run: the machine with kvm_amd was lost before"));
        }
        let read = self.read();
        self.lost = read.is_err();
        read.map_err(|what| {
            let mut message =
                format!("the machine with kvm_amd {what}; QEMU's and its last words:");
            for log in &self.logs {
                let text = fs::read(log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                // QEMU warns of what its processor lacks of a real one.
                let lines: Vec<_> = text.lines().filter(|it| !it.contains(": warning: ")).collect();
                for line in lines.iter().skip(lines.len().saturating_sub(12)) {
                    // Writing to a String does not fail.
                    let _ = write!(message, "\n  {}", line.trim_end());
                }
            }
            Failure(message)
        })
    }

    /// Reads what init.sh sends of a command.
    fn read(&mut self) -> Result<Ran, String> {
        let mut ran = Ran { stdout: Vec::new(), stderr: Vec::new(), code: None };
        let mut start = None;
        let mut in_err = false;
        loop {
            let silence = if start.is_some() { GRACE + DEADLINE } else { GRACE };
            let line = self.lines.recv_timeout(silence).map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => format!("said nothing for {silence:?}"),
                mpsc::RecvTimeoutError::Disconnected => "ended too early".to_owned(),
            })?;
            match line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "")) {
                ("@start", _) => start = Some(Instant::now()),
                ("@out", _) => in_err = false,
                ("@err", _) => in_err = true,
                ("@end", code) => {
                    // Killed at the deadline (SIGKILL) is not how a program ends. Both clocks are
                    // not quite the same.
                    let late = start.is_some_and(|it| it.elapsed() > DEADLINE * 9 / 10);
                    ran.code = code.parse().ok().filter(|it| !(late && *it == 137));
                    return Ok(ran);
                }
                (line, _) => {
                    let bytes = decode(line).ok_or_else(|| format!("sent `{line}`"))?;
                    if in_err { &mut ran.stderr } else { &mut ran.stdout }.extend(bytes);
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Writes what the machine boots from.
fn pack(
    initramfs: &Path,
    packages: &Packages,
    jobs: &[Job],
    files: &[PathBuf],
) -> Result<(), Failure> {
    let mut archive = Archive::create(initramfs)?;
    for directory in ["/proc", "/sys", "/dev", "/tmp"] {
        archive.directory(Path::new(directory))?;
    }
    let deadline = DEADLINE.as_secs().to_string();
    let init = include_str!("init.sh")
        .replace("$MODULES", &MODULES.join(" "))
        .replace("$DEADLINE_S", &deadline)
        .replace("$KEPT", &KEPT.to_string());
    archive.file(Path::new("/init"), init.as_bytes())?;
    archive.copy(Path::new("/bin/busybox"), &packages.shell())?;
    for module in MODULES {
        archive.copy(&Path::new("/modules").join(module), &packages.module(module))?;
    }
    for (index, job) in jobs.iter().enumerate() {
        let home = PathBuf::from(format!("/cases/{index}"));
        archive.file(&home.join("run"), script(&job.command).as_bytes())?;
        archive.file(&home.join("in"), &job.input)?;
        let program = Path::new(job.command.get_program());
        archive.copy(program, program)?;
    }
    for file in files {
        archive.copy(file, file)?;
    }
    archive.finish()
}

/// A command as a shell's.
fn script(command: &Command) -> String {
    let quoted =
        |word: &std::ffi::OsStr| format!("'{}'", word.display().to_string().replace('\'', "'\\''"));
    let directory = command.get_current_dir().unwrap_or(Path::new("/"));
    let mut script =
        format!("cd {} && exec {}", quoted(directory.as_os_str()), quoted(command.get_program()));
    for word in command.get_args() {
        script += " ";
        script += &quoted(word);
    }
    script + "\n"
}

/// The bytes of a line in base64.
fn decode(line: &str) -> Option<Vec<u8>> {
    let digits = line.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len());
    for four in digits.chunks(4) {
        let mut word = 0u32;
        for digit in four {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(value);
        }
        // Two, three and four digits hold one, two and three bytes.
        word <<= 6 * (4 - four.len()) + 8;
        bytes.extend_from_slice(&word.to_be_bytes()[..four.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        let pairs =
            [("", ""), ("TQ==", "M"), ("TWE=", "Ma"), ("TWFu", "Man"), ("TWFuTQ==", "ManM")];
        for (text, bytes) in pairs {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode("AP+/"), Some(vec![0, 0xff, 0xbf]));
        assert_eq!(decode("not base64"), None);
    }

    #[test]
    fn a_script_does_what_the_command_does() {
        let mut command = Command::new("/bin/echo");
        command.args(["a b", "it's", "$HOME", "ü"]).current_dir("/tmp");
        assert_eq!(
            script(&command),
            "cd '/tmp' && exec '/bin/echo' 'a b' 'it'\\''s' '$HOME' 'ü'\n"
        );
    }
}
