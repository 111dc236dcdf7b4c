//! Files of snapshots: what is written is read back, and whatever else may have happened to one is
//! an error that says so, never a panic.

#[path = "../../tests/common/mod.rs"]
mod common;

use common::elf::Elf;
use common::kvm;
use frame::{FRAME_HEAD, HEADER};
use portcall::layout::{HOLE_START, MIB};
use portcall::stock::Stock;
use portcall::{Capture, End, Error, Gpa, Guest, Image, Kvm, Limit, Mmio, Ring, Snapshot, Vm, abi};
use serde::Deserialize;
use snapshot::{Cpu, FileError, Target};
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Where the guest's code is, so that it fits into 1 MiB.
const CODE: u64 = 0x1_0000;

/// Prints `a`, says that it is ready, prints `b`, and ends with the first byte of its seed, halved
/// twice so that it is no code of ours.
fn guest() -> Vec<u8> {
    let number = abi::host::INTERFACE.number(abi::host::INTERFACE.place("ready")).to_le_bytes();
    let code = [
        // mov al, 'a'; out 0xe9, al; mov eax, NUMBER
        &[0xb0, b'a', 0xe6, 0xe9, 0xb8][..],
        &number,
        // mov edi, 0x8000; mov esi, 16; out 0xf7, eax; mov al, 'b'; out 0xe9, al
        &[0xbf, 0, 0x80, 0, 0, 0xbe, 16, 0, 0, 0, 0xe7, 0xf7, 0xb0, b'b', 0xe6, 0xe9],
        // movzx eax, byte [rdi]; shr eax, 2; out 0xf4, eax
        &[0x0f, 0xb6, 0x07, 0xc1, 0xe8, 2, 0xe7, 0xf4],
    ];
    let elf = Elf::new(&code.concat()).first(|it| (it.vaddr, it.paddr) = (CODE, CODE));
    Elf { entry: CODE, ..elf }.bytes()
}

/// The guest's file, and a snapshot of where it is ready.
fn ready(kvm: &Kvm, ring: Ring, memory: u64) -> (Vec<u8>, Snapshot) {
    let file = guest();
    let image = Image::parse(&file).expect("an image");
    let builder = Vm::builder(kvm, &image).ring(ring).memory(memory).arguments(["one", "two"]);
    let mut vm = builder.serve(Stock::new()).build().expect("builds");
    assert_eq!(vm.run_to_ready().expect("runs"), None);
    let last = vm.layout().ram.last().expect("one").end - 4;
    vm.memory().write(Gpa(last), b"last").expect("RAM");
    let snapshot = vm.snapshot().expect("taken");
    (file, snapshot)
}

fn written(snapshot: &Snapshot, image: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot::write_for(&mut bytes, snapshot, image, &Cpu::this()).expect("a Vec takes it");
    bytes
}

/// A small one.
fn small(kvm: &Kvm) -> Vec<u8> {
    let (image, snapshot) = ready(kvm, Ring::Zero, MIB);
    written(&snapshot, &image)
}

fn read(bytes: &[u8]) -> Result<(Vec<u8>, Snapshot), FileError> {
    let (file, saved) = snapshot::read(Cursor::new(bytes.to_vec()))?;
    let image = Image::parse(&file).map_err(Error::from)?;
    let snapshot = saved.snapshot(&image)?;
    Ok((file, snapshot))
}

/// Where each frame begins, and where the file ends.
fn frames(file: &[u8]) -> Vec<usize> {
    let mut begin = vec![HEADER];
    while let Some(at) = begin.last().copied().filter(|at| *at < file.len()) {
        let size = u32::from_le_bytes(file[at..at + 4].try_into().expect("four"));
        begin.push(at + FRAME_HEAD + size as usize);
    }
    begin
}

/// The same contents with checksums that are right.
fn mended(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let mut sum = crc32fast::Hasher::new();
    sum.update(&file[..HEADER]);
    for frame in frames(&file).windows(2) {
        let (head, content) = file[frame[0]..frame[1]].split_at_mut(FRAME_HEAD);
        sum.update(&head[..4]);
        head[4..8].copy_from_slice(&sum.clone().finalize().to_le_bytes());
        sum.update(content);
        head[8..].copy_from_slice(&sum.clone().finalize().to_le_bytes());
    }
    file
}

#[test]
fn what_is_written_is_read_back_byte_by_byte() {
    let kvm = kvm();
    for memory in [MIB, 16 * MIB, HOLE_START + 64 * MIB] {
        for ring in [Ring::Zero, Ring::Three] {
            let (image, snapshot) = ready(&kvm, ring, memory);
            let file = written(&snapshot, &image);
            let (back, again) = read(&file).expect("reads");
            assert_eq!(back, image);
            assert_eq!(again.parts(), snapshot.parts());
            assert!(again.pages().eq(snapshot.pages()));
            assert_eq!(written(&again, &back), file);

            let mut ends = Vec::new();
            for _ in 0..8 {
                let text = Capture::new();
                let builder = Vm::from_snapshot(&kvm, &again).console(text.clone());
                let mut vm = builder.serve(Stock::new()).build().expect("builds");
                assert!(vm.reseed().expect("random bytes"));
                ends.push(vm.run().expect("runs").end);
                assert_eq!(text.text(), "b");
                let mut last = [0; 4];
                vm.memory()
                    .read(Gpa(vm.layout().ram.last().expect("one").end - 4), &mut last)
                    .expect("RAM");
                assert_eq!(&last, b"last");
            }
            assert!(ends.iter().all(|end| matches!(end, End::Exited(0..64))), "{ends:?}");
            assert!(ends.iter().any(|end| *end != ends[0]), "always the same seed: {ends:?}");
        }
    }
}

#[test]
fn every_flipped_byte_is_an_error_of_the_right_kind() {
    let file = small(&kvm());
    let begins = frames(&file);
    read(&file).expect("as it was written");
    for at in 0..file.len() {
        let mut file = file.clone();
        file[at] ^= 1 << (at % 8);
        let begin = begins.iter().copied().filter(|begin| *begin <= at).max().unwrap_or(0) as u64;
        match read(&file).map(|_| ()) {
            Err(FileError::Damaged { at: damaged, .. }) => assert_eq!(damaged, begin, "{at}"),
            Err(FileError::Foreign { .. }) => assert!(at < 8),
            Err(FileError::Version { .. }) => assert!((8..12).contains(&at)),
            Err(FileError::Contract { .. }) => assert!((12..16).contains(&at)),
            other => panic!("{at}: {other:?}"),
        }
    }
}

#[test]
fn every_truncation_is_one_and_nothing_stands_behind_the_end() {
    let file = small(&kvm());
    for size in 0..file.len() {
        match read(&file[..size]).map(|_| ()) {
            Err(FileError::Truncated { at }) => assert!(at <= size as u64),
            Err(FileError::Foreign { .. }) => assert!(size < 8),
            other => panic!("{size}: {other:?}"),
        }
    }
    for behind in [&[0][..], &file, &[0; 4096]] {
        match read(&[&file, behind].concat()).map(|_| ()) {
            Err(FileError::Damaged { at, .. }) => assert_eq!(at, file.len() as u64),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn frames_that_are_lost_doubled_or_moved_are_damage() {
    let file = small(&kvm());
    let begins = frames(&file);
    let frame = |i: usize| &file[begins[i]..begins[i + 1]];
    let last = begins.len() - 2;
    assert!(last > 5, "few pages");
    for order in [[4, 5, last], [3, 3, last], [4, 3, last], [3, last, last]] {
        let mut moved = file[..begins[3]].to_vec();
        order.into_iter().for_each(|i| moved.extend(frame(i)));
        let error = read(&moved).expect_err("damaged");
        assert!(matches!(error, FileError::Damaged { .. }), "{order:?}: {error}");
    }
}

/// What may become of a file whose checksums are right: an error with words, or a VM that ends.
fn run_hostile(kvm: &Kvm, file: &[u8], what: &str) -> bool {
    let Ok((_, snapshot)) = read(file) else { return false };
    let limits = [Limit::Time(Duration::from_millis(30)), Limit::Exits(1000), Limit::Console(4096)];
    let mut builder = Vm::from_snapshot(kvm, &snapshot).serve(Stock::new());
    for limit in limits {
        builder = builder.limit(limit);
    }
    let Ok(mut vm) = builder.build() else { return false };
    vm.reseed().expect("the seed is in RAM");
    match vm.run() {
        Ok(outcome) => assert!(End::NAMES.contains(&outcome.end.name()), "{what}"),
        // What KVM says only once it runs.
        Err(error) => assert!(matches!(error, Error::Kvm(_)), "{what}: {error}"),
    }
    true
}

#[test]
fn whatever_is_changed_behind_right_checksums_ends_with_a_name() {
    let kvm = kvm();
    let file = small(&kvm);
    let begins = frames(&file);
    let machine = begins[2] + FRAME_HEAD..begins[3];
    let (mut ran, mut refused) = (0, 0);
    // The processor is compared whole; the image says only how the memory is laid out; the
    // vCPU's state is KVM's to judge; pages may be anything, but for where they are.
    let state = machine.clone().step_by(5);
    let image = (begins[1] + FRAME_HEAD..begins[1] + FRAME_HEAD + 0x80).step_by(3);
    let pages = (begins[3]..file.len()).step_by(997);
    let heads =
        begins[3..begins.len() - 2].iter().flat_map(|at| *at + FRAME_HEAD..*at + FRAME_HEAD + 8);
    let frames_heads = (begins[0]..begins[1]).chain(begins[3]..begins[3] + 4);
    for at in state.chain(image).chain(pages).chain(heads).chain(frames_heads) {
        for change in [1 << (at % 8), 0xff] {
            let mut file = file.clone();
            file[at] ^= change;
            // A length that leads nowhere is found as before.
            let lengths = begins.iter().any(|begin| (*begin..*begin + FRAME_HEAD).contains(&at));
            let file = if lengths { file } else { mended(&file) };
            *(if run_hostile(&kvm, &file, &format!("{at} {change:#x}")) {
                &mut ran
            } else {
                &mut refused
            }) += 1;
        }
    }
    assert!(ran > 100 && refused > 100, "{ran} ran, {refused} refused");
}

#[test]
fn a_snapshot_from_another_processor_says_which() {
    let (image, snapshot) = ready(&kvm(), Ring::Zero, MIB);
    let ours = Cpu::this();
    let changes: [fn(&mut Cpu); 6] = [
        |cpu| cpu.vendor = "Somebody\x1b[2J".to_owned(),
        |cpu| cpu.family += 1,
        |cpu| cpu.model ^= 1,
        |cpu| cpu.stepping ^= 1,
        |cpu| cpu.xsave += 64,
        |cpu| cpu.xcr0 ^= 1 << 9,
    ];
    for change in changes {
        let mut other = ours.clone();
        change(&mut other);
        let mut file = Vec::new();
        snapshot::write_for(&mut file, &snapshot, &image, &other).expect("a Vec takes it");
        let error = read(&file).expect_err("another processor");
        assert!(matches!(error, FileError::OtherCpu { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&other.to_string()) && text.contains(&ours.to_string()), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}

#[test]
fn another_version_says_so() {
    let mut file = small(&kvm());
    file[8] = 3;
    let error = read(&file).expect_err("newer").to_string();
    assert!(error.contains("format version 3, this portcall reads versions 1 to 2"), "{error}");
    file[8] = 0;
    assert!(read(&file).expect_err("older").to_string().contains("format version 0"));
    let log = b"\x89PCLOG\r\n\x02\0\0\0\x01\0\0\0";
    let error = read(log).expect_err("a log").to_string();
    assert!(error.contains("this is no snapshot"), "{error}");
}

/// What stands in the machine's frame, in version 2.
#[derive(Deserialize)]
struct Second {
    start: (u64, bool, Vec<String>, u64, u32, u64),
    exits: [u64; 11],
    seed: Option<Vec<(u64, u64)>>,
    vcpu: Vec<(String, Vec<u8>)>,
    windows: Vec<Range<u64>>,
}

#[test]
fn a_file_of_the_first_version_is_read_as_one_without_windows() {
    let kvm = kvm();
    let (image, snapshot) = ready(&kvm, Ring::Three, MIB);
    let file = written(&snapshot, &image);
    let at = frames(&file);
    let machine = &file[at[2] + FRAME_HEAD..at[3]];
    let machine: Second = postcard::from_bytes(machine).expect("a machine");
    assert!(machine.windows.is_empty() && machine.exits[10] == 0);
    let exits: [u64; 10] = machine.exits[..10].try_into().expect("ten");
    let first = postcard::to_allocvec(&(machine.start, exits, machine.seed, machine.vcpu))
        .expect("encodes");
    let mut old = file[..at[2]].to_vec();
    old[8] = 1;
    old.extend_from_slice(&u32::try_from(first.len()).expect("small").to_le_bytes());
    old.extend_from_slice(&[0; 8]);
    old.extend_from_slice(&first);
    old.extend_from_slice(&file[at[3]..]);
    let (back, again) = read(&mended(&old)).expect("reads");
    assert_eq!((back, again.parts()), (image, snapshot.parts()));
    assert!(again.pages().eq(snapshot.pages()));
    Vm::from_snapshot(&kvm, &again).serve(Stock::new()).build().expect("builds");
}

/// A register that is what it was set to.
#[derive(Default)]
struct Register(u64);

impl Mmio for Register {
    fn read(&mut self, _: &mut Guest<'_>, _: Gpa, _: u8) -> Result<u64, End> {
        Ok(self.0)
    }
}

#[test]
fn windows_are_in_the_file_and_checked_when_it_is_read() {
    // mov ebx, 0xd0000000; mov eax, [rbx]; out 0xf4, eax
    let code = [0xbb, 0, 0, 0, 0xd0, 0x8b, 0x03, 0xe7, 0xf4];
    let elf = Elf::new(&code).first(|it| (it.vaddr, it.paddr) = (CODE, CODE));
    let file = Elf { entry: CODE, ..elf }.bytes();
    let (kvm, image) = (kvm(), Image::parse(&file).expect("an image"));
    let windows = [0xd000_0000..0xd000_1000, 0xd020_0000..0xd060_0000];
    for ring in [Ring::Zero, Ring::Three] {
        let mut builder = Vm::builder(&kvm, &image).ring(ring).memory(MIB);
        for window in windows.clone() {
            builder = builder.mmio(window, Register(1));
        }
        let snapshot = builder.build().expect("builds").snapshot().expect("taken");
        let kept = written(&snapshot, &file);
        let (_, again) = read(&kept).expect("reads");
        assert_eq!(again.windows(), windows);
        let builder = Vm::from_snapshot(&kvm, &again).mmio(windows[0].clone(), Register(42));
        let mut vm = builder.build().expect("builds");
        for _ in 0..3 {
            assert_eq!(vm.run().expect("runs").end, End::Exited(42), "{ring:?}");
            vm.restore(&again).expect("restored");
        }
        // A window where the local APIC is, in a file whose checksums are right.
        let mut parts = snapshot.parts();
        parts.windows.push(0xfee0_0000..0xfee0_1000);
        let error = Snapshot::assemble(&image, parts).expect_err("refused").to_string();
        assert!(error.contains("local APIC"), "{error}");
    }
}

/// What is in a directory.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("readable").file_name().into_string().expect("UTF-8")
    };
    let mut names: Vec<_> = std::fs::read_dir(folder).expect("there").map(name).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let (image, snapshot) = ready(&kvm(), Ring::Zero, MIB);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("it");
    std::fs::write(&path, "older").expect("written");
    // Dropped before it was written.
    let target = Target::create(&path).expect("makes a file");
    assert_eq!(names(folder.path()).len(), 2);
    drop(target);
    assert_eq!(names(folder.path()), ["it"]);
    assert_eq!(std::fs::read(&path).expect("there"), b"older");
    // Replaced; and what opened the old one still has that.
    Target::create(&path).expect("makes a file").write(&snapshot, &image).expect("written");
    assert_eq!(names(folder.path()), ["it"]);
    let (file, saved) = snapshot::open(&path).expect("opens");
    assert_eq!(file, image);
    let parsed = Image::parse(&file).expect("an image");
    assert_eq!(saved.snapshot(&parsed).expect("whole").parts(), snapshot.parts());
    // A directory that comes into its way meanwhile.
    let other = folder.path().join("other");
    let target = Target::create(&other).expect("makes a file");
    std::fs::create_dir(&other).expect("made");
    let error = target.write(&snapshot, &image).expect_err("a directory");
    assert_eq!(error.kind(), std::io::ErrorKind::IsADirectory, "{error}");
    assert_eq!(names(folder.path()), ["it", "other"]);
    // One that is there already, and what is no file.
    Target::create(&other).expect_err("a directory");
    Target::create(Path::new("/dev/full")).expect_err("no plain file");
    Target::create(&folder.path().join("nowhere/it")).expect_err("no directory");
    // A link is followed.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    Target::create(&link).expect("makes a file").write(&snapshot, &image).expect("written");
    assert!(link.symlink_metadata().expect("there").is_symlink());
}

#[test]
fn a_full_disk_is_an_error() {
    let (image, snapshot) = ready(&kvm(), Ring::Zero, MIB);
    let full = std::fs::File::create("/dev/full").expect("there");
    let full = std::io::BufWriter::new(full);
    let error = snapshot::write_for(full, &snapshot, &image, &Cpu::this()).expect_err("full");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn what_cannot_be_opened_says_what_to_give() {
    for path in ["/nowhere", "/tmp", "/dev/null"] {
        let error = snapshot::open(Path::new(path)).expect_err("no snapshot").to_string();
        assert!(error.contains("--emit snapshot=FILE") && error.contains(path), "{error}");
    }
}
