//! Core files of real runs: read back here, and by gdb. All of these need KVM.
#![expect(clippy::panic, reason = "that is how a test fails")]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::kvm;
use goblin::elf::Elf;
use goblin::elf::header::ET_CORE;
use goblin::elf::program_header::{PT_LOAD, ProgramHeader};
use inspect::core::{AddressSpace, Error, write};
use portcall::layout::{GIB, HOLE_END, MIB, PAGE};
use portcall::sparse::Pagemap;
use portcall::{End, Gpa, Gva, Image, Outcome, Ring, Vm};
use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A core file, read back.
struct Core {
    file: File,
    space: AddressSpace,
    status: Vec<u8>,
    loads: Vec<ProgramHeader>,
}

impl Core {
    fn of(vm: &Vm, outcome: &Outcome) -> Self {
        let mut file = tempfile::tempfile().expect("a file");
        let space = write(vm, outcome, &Pagemap::open(), &mut file).expect("written");
        let size = file.metadata().expect("metadata").len();
        let mut head = vec![0; index(size.min(4 * MIB))];
        file.read_exact_at(&mut head, 0).expect("read");
        let elf = Elf::parse(&head).expect("an ELF file");
        assert_eq!(elf.header.e_type, ET_CORE);
        let notes: Vec<_> = elf.iter_note_headers(&head).expect("notes").flatten().collect();
        let status = notes[0].desc.to_vec();
        let loads = elf.program_headers.into_iter().filter(|h| h.p_type == PT_LOAD).collect();
        Self { file, space, status, loads }
    }

    /// A register's value by its place in `user_regs_struct`.
    fn register(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.status[112 + offset..][..8].try_into().expect("8 bytes"))
    }

    fn signal(&self) -> u8 {
        self.status[12]
    }

    fn load(&self, gva: u64) -> Option<&ProgramHeader> {
        self.loads.iter().find(|load| load.vm_range().contains(&index(gva)))
    }

    fn word(&self, gva: u64) -> u64 {
        let load = self.load(gva).expect("in the file");
        let mut word = [0; 8];
        let at = load.p_offset + (gva - load.p_vaddr);
        self.file.read_exact_at(&mut word, at).expect("in the file");
        u64::from_le_bytes(word)
    }
}

fn index(value: u64) -> usize {
    usize::try_from(value).expect("64 bits")
}

fn vm(code: &'static [u8], memory: u64, ring: Ring) -> Vm {
    let image = Image::flat(code).expect("code");
    Vm::builder(&kvm(), &image).memory(memory).ring(ring).build().expect("builds")
}

#[test]
fn registers_and_all_of_the_memory_come_back() {
    let code = code!(marks:
        "mov rbx, 0x1122334455667788" "mov r15, -2" "push rbx" "mov [0x8000], r15" "hlt"
    );
    let mut vm = vm(code, 2 * MIB, Ring::Zero);
    let outcome = vm.run().expect("runs");
    let registers = outcome.registers;
    let core = Core::of(&vm, &outcome);
    assert_eq!((core.space, core.signal()), (AddressSpace::Virtual, 5));
    assert_eq!(core.register(offset_of!(libc::user_regs_struct, rbx)), 0x1122_3344_5566_7788);
    assert_eq!(core.register(offset_of!(libc::user_regs_struct, r15)), u64::MAX - 1);
    assert_eq!(core.register(offset_of!(libc::user_regs_struct, rip)), registers.rip);
    assert_eq!(core.register(offset_of!(libc::user_regs_struct, rsp)), registers.rsp);
    assert_eq!(core.register(offset_of!(libc::user_regs_struct, cs)), 0x10);
    assert_eq!(core.word(registers.rsp), 0x1122_3344_5566_7788);
    assert_eq!(core.word(0x8000), u64::MAX - 1);
    // Not the null page and the stack's guard, but all the rest, each with its permissions.
    let (layout, mut total) = (vm.layout(), 0);
    for load in &core.loads {
        let mut bytes = vec![0; index(load.p_filesz)];
        core.file.read_exact_at(&mut bytes, load.p_offset).expect("in the file");
        let mut expected = bytes.clone();
        vm.read_virtual(Gva(load.p_vaddr), &mut expected).expect("mapped");
        assert!(bytes == expected, "{load:?}");
        let translation = vm.translate(Gva(load.p_vaddr)).expect("sregs").expect("mapped");
        assert_eq!(translation.gpa.0, load.p_paddr);
        assert_eq!(
            (translation.writable, translation.executable),
            (load.is_write(), load.is_executable())
        );
        total += load.p_memsz;
    }
    assert_eq!(total, 2 * MIB - 2 * PAGE);
    assert!(core.load(0).is_none() && core.load(layout.guard.start).is_none());
    // A second one into the same file replaces the first.
    let mut file = core.file;
    vm.memory().write(Gpa(0x8000), &[0; 8]).expect("RAM");
    write(&vm, &outcome, &Pagemap::open(), &mut file).expect("written");
    let again = Core { file, ..Core::of(&vm, &outcome) };
    assert_eq!(again.word(0x8000), 0);
}

#[test]
fn memory_that_was_not_touched_costs_nothing() {
    let code = code!(sparse: "mov rax, 0x23ffff000" "mov [rax], rax" "hlt");
    let mut vm = vm(code, 8 * GIB, Ring::Zero);
    let outcome = vm.run().expect("runs");
    assert_eq!(outcome.end, End::Halted);
    let start = Instant::now();
    let core = Core::of(&vm, &outcome);
    let time = start.elapsed();
    assert_eq!(core.word(HOLE_END + 5 * GIB - PAGE), 0x2_3fff_f000);
    let metadata = core.file.metadata().expect("metadata");
    assert!(metadata.len() > 8 * GIB);
    assert!(metadata.blocks() * 512 < MIB, "{} blocks", metadata.blocks());
    assert!(time < Duration::from_secs(1), "{time:?}");
}

#[test]
fn an_exception_is_a_signal_with_the_segments_of_its_ring() {
    let of = |code, ring| {
        let mut vm = vm(code, 2 * MIB, ring);
        let outcome = vm.run().expect("runs");
        let core = Core::of(&vm, &outcome);
        let rip = core.register(offset_of!(libc::user_regs_struct, rip));
        assert_eq!(rip, outcome.registers.rip);
        let cs = core.register(offset_of!(libc::user_regs_struct, cs));
        (core.signal(), cs, core.register(offset_of!(libc::user_regs_struct, ss)))
    };
    let undefined = code!(undefined: "ud2");
    let null = code!(null: "mov rax, [0]");
    assert_eq!(of(undefined, Ring::Zero), (11, 0x10, 0x18));
    assert_eq!(of(undefined, Ring::Three), (11, 0x33, 0x2b));
    assert_eq!(of(null, Ring::Three), (11, 0x33, 0x2b));
    // Not a fault to the guest, whatever it is to the processor.
    assert_eq!(of(code!(halt: "hlt"), Ring::Three), (5, 0x33, 0x2b));
}

#[test]
fn hostile_page_tables_cost_little_and_are_told() {
    let mut vm = vm(code!(hostile: "mov [0x8000], rsp" "hlt"), 8 * MIB, Ring::Zero);
    let outcome = vm.run().expect("runs");
    let registers = outcome.registers;
    let root = vm.layout().tables.start;
    let mut state = 1u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 8 ^ state << 32
    };
    let written = |entry: &mut dyn FnMut() -> u64| {
        for slot in 0..512 {
            vm.memory().store_u64(Gpa(root + 8 * slot), entry()).expect("RAM");
        }
        let start = Instant::now();
        let core = Core::of(&vm, &outcome);
        let time = start.elapsed();
        assert!(time < Duration::from_secs(10), "{time:?}");
        core
    };
    // Its own next level, everywhere: 512^4 pages, none the neighbour of another.
    assert_eq!(written(&mut || root | 7).space, AddressSpace::Cut);
    // Next levels that are not RAM, or not there: what can be known is RAM itself.
    for entry in [u64::MAX, 0x000f_ffff_ffff_f003, 0] {
        let core = written(&mut || entry);
        assert_eq!(core.space, AddressSpace::Physical);
        assert_eq!(core.word(0x8000), registers.rsp);
    }
    // Nonsense, and nonsense in RAM.
    written(&mut random);
    written(&mut || (random() % (8 * MIB)) | 3);
    // A root that is not RAM.
    let mut system = vm.system_registers().expect("sregs");
    system.cr3 = 4 * GIB;
    vm.vcpu_fd().set_sregs(&system).expect("KVM_SET_SREGS");
    let core = Core::of(&vm, &outcome);
    assert_eq!(core.space, AddressSpace::Physical);
    assert_eq!(core.word(0x8000), registers.rsp);
}

#[test]
fn a_file_that_takes_nothing_is_an_error() {
    let mut vm = vm(code!(nothing: "hlt"), 2 * MIB, Ring::Zero);
    let outcome = vm.run().expect("runs");
    let path = tempfile::NamedTempFile::new().expect("a file");
    for (name, writes) in [(path.path(), false), (Path::new("/dev/full"), true)] {
        let mut file = File::options().read(true).write(writes).open(name).expect("opens");
        let error = write(&vm, &outcome, &Pagemap::open(), &mut file).expect_err("fails");
        assert!(matches!(error, Error::File(_)), "{error}");
    }
}

/// A guest whose `inner` ends it, called by `middle`, called by `outer`.
const GUEST: &str = "
unsigned long variable;
void inner(unsigned long x) { variable = x; __asm__ volatile(END); }
void middle(unsigned long x) { inner(2 * x); variable = 1; }
void outer(unsigned long x) { middle(x + 1); variable = 2; }
void _start(void) { outer(20); for (;;) __asm__ volatile(\"hlt\"); }
";

/// Runs a program that the test needs; its output, both streams.
fn tool(program: &str, package: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("this test needs {program} (apt-get install {package}): {error}")
    });
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// What gdb says of a guest in C that ends by this instruction.
fn asked_gdb(end: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("guest.c"), GUEST).expect("written");
    let options = "-g -O0 -static -nostdlib -ffreestanding -fno-pie -no-pie -mno-red-zone \
                   -mgeneral-regs-only -fno-omit-frame-pointer -fno-stack-protector";
    let mut cc = Command::new("cc");
    cc.args(options.split_whitespace()).arg(format!("-DEND=\"{end}\""));
    tool("cc", "gcc", cc.arg("-o").args([path("guest.elf"), path("guest.c")]));

    let bytes = std::fs::read(path("guest.elf")).expect("read");
    let image = Image::parse(&bytes).expect("an image");
    let mut vm = Vm::builder(&kvm(), &image).build().expect("builds");
    let outcome = vm.run().expect("runs");
    let registers = outcome.registers;
    let mut file = File::create(path("core")).expect("a file");
    assert_eq!(
        write(&vm, &outcome, &Pagemap::open(), &mut file).expect("written"),
        AddressSpace::Virtual
    );

    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-ex", "bt", "-ex", "info registers rip", "-ex", "info locals"]);
    gdb.args(["-ex", "x/1gx &variable", "-ex", "x/i $rip", "-ex", "p/x $cs"]);
    // It must not ask the network for symbols.
    gdb.env("DEBUGINFOD_URLS", "").args([path("guest.elf"), path("core")]);
    let said = tool("gdb", "gdb", &mut gdb);
    assert!(said.contains(&format!("{:#x}", registers.rip)), "{:#x}: {said}", registers.rip);
    said
}

#[test]
fn gdb_shows_the_backtrace_and_the_variables_of_a_guest() {
    for (end, signal) in [("hlt", "SIGTRAP"), ("ud2", "SIGSEGV")] {
        let said = asked_gdb(end);
        let mut rest = &said[..];
        let frames = ["#0", "inner (x=42)", "#1", "middle (x=21)", "#2", "outer (x=20)", "_start"];
        for expected in frames {
            let found = rest.find(expected);
            let at = found.unwrap_or_else(|| panic!("no {expected} where it should be: {said}"));
            rest = &rest[at + expected.len()..];
        }
        assert!(rest.contains("<variable>:\t0x000000000000002a"), "{said}");
        assert!(said.contains(signal), "{said}");
    }
}
