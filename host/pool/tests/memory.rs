//! Memory that one caller's guest touched does not stay taken behind him. A test of its own, since
//! it looks at all that the process has.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../soak/src/resources.rs"]
mod resources;

use common::kvm;
use pool::{Pool, Size, Wait};
use portcall::layout::MIB;
use portcall::restore::Effort;
use portcall::{End, Gpa, Image, Ring, Vm};
use resources::Resources;

/// Where it begins, and how much it is.
const ROOM: u64 = 4 * MIB;
const TOUCHED: u64 = 256 * MIB;

/// Adds 1 to the first word of each page, and halts with the first page's.
fn touches() -> &'static [u8] {
    code!(touches_much: "mov edi, 0x400000" "mov ecx, 0x10000" "2: inc qword ptr [rdi]"
        "add rdi, 4096" "dec ecx" "jnz 2b" "mov rax, [0x400000]" "hlt")
}

#[test]
fn what_one_callers_guest_touched_is_not_kept() {
    // In ring 3, which no KVM emulates.
    let image = Image::flat(touches()).expect("code");
    let builder = |kvm| Vm::builder(kvm, &image).ring(Ring::Three).memory(320 * MIB).build();
    let kvm = kvm();
    let fresh = builder(&kvm).expect("builds").snapshot().expect("a snapshot");
    let pool = Pool::new(kvm, fresh.clone(), Size { ready: 1, most: 1 }, |vm| vm).expect("a pool");
    let before = Resources::now().expect("/proc");
    for _ in 0..3 {
        let mut vm = pool.take(Wait::Never).expect("it is ready");
        let outcome = vm.run().expect("runs");
        assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 1));
        assert_eq!(vm.memory().load_u64(Gpa(ROOM + TOUCHED - 4096)).expect("RAM"), 1);
        drop(vm);
        Resources::now().expect("/proc").no_more_than(&before).expect("it was given back");
    }
    assert_eq!(pool.counts().made, 1);

    // Little by little, each time elsewhere.
    let mut vm = pool.take(Wait::Never).expect("it is ready");
    vm.restore(&fresh).expect("restored");
    for page in 0..TOUCHED / 4096 / 8 {
        for gpa in (ROOM + page * 4096 * 8..).step_by(4096).take(8) {
            vm.memory().write(Gpa(gpa), &[1]).expect("RAM");
        }
        let effort = vm.restore(&fresh).expect("restored");
        assert!(matches!(effort, Effort::Touched { pages: 8.. }), "{effort:?}");
        assert_eq!(vm.memory().load_u64(Gpa(ROOM + page * 4096 * 8)).expect("RAM"), 0);
    }
    Resources::now().expect("/proc").no_more_than(&before).expect("it was given back");
}
