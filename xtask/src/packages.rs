//! What the machine of `test --kvm-amd` is made of: QEMU from this machine; a kernel, its KVM
//! and a shell from Debian's packages, which are unpacked below target/ and not installed.

use crate::Failure;
use crate::cargo::{cannot_start, succeeds, target_dir};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The emulator, which runs from PATH: it stands on too many libraries to be only unpacked.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// The modules that are KVM on SVM, in the order that they are loaded in.
pub(crate) const MODULES: [&str; 3] = ["irqbypass.ko", "kvm.ko", "kvm-amd.ko"];

/// Names the newest kernel as what it depends on. The cloud variant needs no ccp and no other
/// driver; it boots in 2 s by emulation, where the general one takes 11.
const KERNEL: &str = "linux-image-cloud-amd64";

/// A static one, so that nothing else of a system is needed.
const SHELL: &str = "busybox-static";

/// Where files of the packages are once they are fetched.
#[derive(Debug)]
pub(crate) struct Packages {
    directory: PathBuf,
}

impl Packages {
    /// The kernel, as QEMU boots it.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// One of [`MODULES`].
    pub(crate) fn module(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// busybox.
    pub(crate) fn shell(&self) -> PathBuf {
        self.directory.join("busybox")
    }

    /// Makes sure that all is there: what is not is installed or fetched, and said.
    pub(crate) fn get() -> Result<Self, Failure> {
        ensure_qemu()?;
        let packages = Self { directory: target_dir().join("kvm-amd/packages") };
        if !packages.directory.is_dir() {
            fetch(&packages.directory)?;
        }
        Ok(packages)
    }
}

/// Installs QEMU where that is up to us.
fn ensure_qemu() -> Result<(), Failure> {
    let found = || Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_ok();
    if found() {
        return Ok(());
    }
    if is_root() {
        crate::err!("there is no {QEMU} here: apt-get install qemu-system-x86");
        update();
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-q", "--no-install-recommends", "qemu-system-x86"]);
        // Where there is no apt-get either, what is said below is all there is to do.
        if succeeds(install.stdout(Stdio::null())).is_ok_and(|done| done) && found() {
            return Ok(());
        }
    }
    Err(Failure(format!(
        "--kvm-amd needs {QEMU}, which is not on PATH; install it (Debian and Ubuntu: sudo \
         apt-get install qemu-system-x86)"
    )))
}

/// Fetches and unpacks both packages, and keeps the files that are used as `directory`, which is
/// there only once all of them are.
fn fetch(directory: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let new = directory.with_extension("new");
    let tree = new.join("tree");
    if new.exists() {
        fs::remove_dir_all(&new).map_err(|error| Failure::file("remove", &new, error))?;
    }
    fs::create_dir_all(&tree).map_err(|error| Failure::file("create", &tree, error))?;
    let kernel = newest_kernel()?;
    crate::err!("fetching {kernel} and {SHELL} by apt-get, to be unpacked below target/");
    let mut download = Command::new("apt-get");
    // For root it would drop to a user who cannot write here, and warn of it.
    download.args(["download", "-q", "-o", "APT::Sandbox::User=root", &kernel, SHELL]);
    download.current_dir(&new).stdout(Stdio::null());
    if !succeeds(&mut download)? {
        return Err(Failure(format!(
            "apt-get cannot download {kernel} and {SHELL}, and says why above; if it does not know \
             them, `sudo apt-get update`"
        )));
    }
    let mut files = Vec::new();
    let packages = entries(&new)?.into_iter();
    for package in packages.filter(|it| it.extension().is_some_and(|it| it == "deb")) {
        let mut unpack = Command::new("dpkg-deb");
        if !succeeds(unpack.arg("-x").arg(&package).arg(&tree))? {
            return Err(Failure(format!("dpkg-deb cannot unpack {}", package.display())));
        }
        fs::remove_file(&package).map_err(|error| Failure::file("remove", &package, error))?;
    }
    files_below(&tree, &mut files)?;
    let is = |path: &Path, name: &str| path.file_name().is_some_and(|it| it == name);
    keep(&files, "vmlinuz", &new, |it| it.to_string_lossy().contains("/boot/vmlinuz-"))?;
    keep(&files, "busybox", &new, |it| it.ends_with("bin/busybox"))?;
    for module in MODULES {
        let compressed = format!("{module}.xz");
        keep(&files, module, &new, |it| is(it, module) || is(it, &compressed))?;
    }
    fs::remove_dir_all(&tree).map_err(|error| Failure::file("remove", &tree, error))?;
    fs::rename(&new, directory).map_err(|error| Failure::file("create", directory, error))?;
    crate::err!("fetched in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// The package that [`KERNEL`] stands for.
fn newest_kernel() -> Result<String, Failure> {
    if let Some(kernel) = dependency_of(KERNEL)? {
        return Ok(kernel);
    }
    // An image of a container has no lists of packages yet.
    if is_root() {
        update();
    }
    dependency_of(KERNEL)?.ok_or_else(|| {
        Failure(format!(
            "apt knows no {KERNEL}: on Debian, `sudo apt-get update`; other distributions do not \
             have it, and --kvm-amd works on Debian only"
        ))
    })
}

/// The first package that another depends on, if apt knows it.
fn dependency_of(package: &str) -> Result<Option<String>, Failure> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", package]).env("LC_ALL", "C");
    let output = command.output().map_err(|error| {
        let Failure(message) = cannot_start(&command, &error);
        Failure(format!("{message}; --kvm-amd takes its kernel from Debian's packages"))
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned))
}

/// Brings apt's lists up to date. If it cannot, what needs them says so.
fn update() {
    let mut update = Command::new("apt-get");
    let _ = update.args(["update", "-q"]).stdout(Stdio::null()).status();
}

/// Whether packages can be installed.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// Moves the one file that is looked for to `directory`, decompressed if it is not yet.
fn keep(
    files: &[PathBuf],
    name: &str,
    directory: &Path,
    is_it: impl Fn(&Path) -> bool,
) -> Result<(), Failure> {
    let Some(found) = files.iter().find(|it| is_it(it)) else {
        return Err(Failure(format!("there is no {name} in the packages that were fetched")));
    };
    let mut found = found.clone();
    if found.extension().is_some_and(|it| it == "xz") {
        if !succeeds(Command::new("xz").arg("--decompress").arg(&found))? {
            return Err(Failure(format!("xz cannot decompress {}", found.display())));
        }
        found.set_extension("");
    }
    let to = directory.join(name);
    fs::rename(&found, &to).map_err(|error| Failure::file("create", &to, error))
}

/// Adds all plain files below a directory.
pub(crate) fn files_below(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for path in entries(directory)? {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            files_below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The paths in a directory.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::file("read", directory, error);
    let entries = directory.read_dir().map_err(failed)?;
    entries.map(|entry| entry.map(|it| it.path()).map_err(failed)).collect()
}
