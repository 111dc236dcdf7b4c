//! What `portcall run` leaves behind: the end of its VM, for a moment, and for few at a time.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::elf::Elf;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many VMs of the machine's may wait for the kernel.
const PLACES: i64 = 4;

/// For what the kernel does beside, on a machine that is busy.
const LONG: Duration = Duration::from_secs(30);

/// xor eax, eax; out 0xf4, al
const EXIT: &[u8] = &[0x31, 0xc0, 0xe6, 0xf4];

fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("guest");
    std::fs::write(&image, Elf::new(EXIT).bytes()).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcall"));
    let output = command.arg("run").arg(image).output().expect("starts");
    assert!(output.status.success(), "{output:?}");
}

fn device() -> File {
    File::options().read(true).write(true).open("/dev/kvm").expect("KVM")
}

#[expect(clippy::cast_possible_truncation, reason = "it is 1")]
const WRITE_LOCK: libc::c_short = libc::F_WRLCK as libc::c_short;

/// Whether nobody had the place, which this open of the device has then.
fn takes(device: &File, place: i64) -> bool {
    // SAFETY: all-zero bytes are a valid flock structure: SEEK_SET, and 0 for the process.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_start, lock.l_len) = (WRITE_LOCK, place, 1);
    match fcntl(device, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => true,
        Err(Errno::EAGAIN) => false,
        Err(error) => unreachable!("the device has locks: {error}"),
    }
}

/// All places, as soon as nobody else has them.
fn take_all() -> File {
    let (device, start) = (device(), Instant::now());
    while !(0..PLACES).all(|place| takes(&device, place)) {
        assert!(start.elapsed() < LONG, "a VM's end takes long, or never comes");
        sleep(Duration::from_millis(1));
    }
    device
}

#[test]
fn ends_come_soon_and_where_no_more_may_wait_a_process_sees_to_its_own() {
    for _ in 0..20 {
        run();
    }
    let others = take_all();
    run();
    drop(others);
    run();
    take_all();
}
