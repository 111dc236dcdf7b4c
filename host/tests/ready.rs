//! A guest that says that it is ready, and what its host does with that.

mod common;

use common::calls::{ROOM, TABLE, set, vm};
use common::kvm;
use portcall::abi::host::{INTERFACE, SEED_MAX};
use portcall::layout::{HOLE_END, HOLE_START, MIB, PAGE};
use portcall::ready::Piece;
use portcall::stock::Stock;
use portcall::{End, Error, Gpa, Image, Ring, Snapshot, Vm};

const MEMORY: u64 = 4 * MIB;

fn number(method: &str) -> u32 {
    INTERFACE.number(INTERFACE.place(method))
}

fn bytes(vm: &Vm, at: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    vm.memory().read(Gpa(at), &mut bytes).expect("RAM");
    bytes
}

#[test]
fn a_guest_is_reseeded_in_every_vm_where_its_buffer_is_and_nowhere_else() {
    let kvm = kvm();
    for ring in [Ring::Zero, Ring::Three] {
        let mut first = vm(&kvm, ring, MEMORY, Stock::new());
        // Over the end of a page.
        let (at, size) = (ROOM - 7, 20);
        set(&first, number("ready"), &[at, size]);
        assert!(!first.reseed().expect("does nothing"), "it has not called yet");
        assert_eq!(first.run_to_ready().expect("runs"), None);
        let (around, seed) = (bytes(&first, at - 8, 36), bytes(&first, at, 20));
        assert_ne!(seed, [0; 20]);
        let snapshot = first.snapshot().expect("taken");
        let pieces = [Piece { gpa: Gpa(at), size: 7 }, Piece { gpa: Gpa(at + 7), size: 13 }];
        assert_eq!(snapshot.parts().seed.as_deref(), Some(&pieces[..]));

        let mut others = vec![seed];
        for _ in 0..3 {
            let other = Vm::from_snapshot(&kvm, &snapshot).serve(Stock::new()).build();
            let mut other = other.expect("builds");
            assert_eq!(bytes(&other, at - 8, 36), around);
            assert!(other.reseed().expect("random bytes"));
            let now = bytes(&other, at - 8, 36);
            assert_eq!((&now[..8], &now[28..]), (&around[..8], &around[28..]));
            others.push(now[8..28].to_vec());
            assert_eq!(other.run().expect("runs").end, End::Halted);
            // It has gone on: the memory is its own.
            assert!(!other.reseed().expect("does nothing"));
            other.restore(&snapshot).expect("goes back");
            assert_eq!(bytes(&other, at - 8, 36), around);
            assert!(other.reseed().expect("random bytes"));
            others.push(bytes(&other, at, 20));
        }
        others.sort();
        others.dedup();
        assert_eq!(others.len(), 7, "two are the same");
    }
}

#[test]
fn a_buffer_that_is_too_large_or_not_the_guests_is_refused_and_not_remembered() {
    let kvm = kvm();
    for ring in [Ring::Zero, Ring::Three] {
        let stubs = vm(&kvm, ring, MEMORY, Stock::new()).layout().stubs.start;
        for (at, size) in
            [(ROOM, SEED_MAX + 1), (stubs, 8), (0, 8), (MEMORY - 4, 8), (ROOM, u64::MAX)]
        {
            let mut vm = vm(&kvm, ring, MEMORY, Stock::new());
            set(&vm, number("ready"), &[at, size]);
            let end = vm.run_to_ready().expect("runs");
            assert!(matches!(end, Some(End::CallRefused { .. })), "{at:#x} {size:#x}: {end:?}");
            assert!(!vm.reseed().expect("does nothing"));
        }
        for size in [0, SEED_MAX] {
            let mut vm = vm(&kvm, ring, MEMORY, Stock::new());
            set(&vm, number("ready"), &[TABLE + 0x200, size.min(0x1e00)]);
            assert_eq!(vm.run_to_ready().expect("runs"), None);
            assert!(vm.reseed().expect("random bytes"));
        }
    }
}

#[test]
fn the_end_is_given_where_the_guest_ends_before() {
    let kvm = kvm();
    let mut vm = vm(&kvm, Ring::Zero, MEMORY, Stock::new());
    set(&vm, number("exits"), &[]);
    assert_eq!(vm.run_to_ready().expect("runs"), Some(End::Halted));
    // It goes on behind HLT, and calls then.
    set(&vm, number("ready"), &[ROOM, 8]);
    assert_eq!(vm.run_to_ready().expect("runs"), None);
}

#[test]
fn the_guests_clock_never_goes_back() {
    let kvm = kvm();
    let mut first = vm(&kvm, Ring::Zero, MEMORY, Stock::new());
    set(&first, number("clock"), &[]);
    std::thread::sleep(std::time::Duration::from_millis(30));
    let told = first.run().expect("runs").registers.rax;
    assert!(told >= 30_000_000);
    let snapshot = first.snapshot().expect("taken");
    assert_eq!(snapshot.parts().clock, told);
    let mut other = Vm::from_snapshot(&kvm, &snapshot).serve(Stock::new()).build().expect("builds");
    let later = other.run().expect("runs").registers.rax;
    assert!(later > told, "{later} after {told}");
    let mut young = vm(&kvm, Ring::Zero, MEMORY, Stock::new());
    young.restore(&snapshot).expect("made alike");
    assert!(young.run().expect("runs").registers.rax >= told);
}

#[test]
fn the_exits_that_a_guest_is_told_go_on_and_those_of_the_host_begin_anew() {
    let kvm = kvm();
    let mut first = vm(&kvm, Ring::Zero, MEMORY, Stock::new());
    set(&first, number("exits"), &[]);
    // A call and HLT are two exits; the guest is told at the call.
    let told: Vec<u64> = (0..3).map(|_| first.run().expect("runs").registers.rax).collect();
    assert_eq!(told, [1, 3, 5]);
    let snapshot = first.snapshot().expect("taken");
    assert_eq!(first.run().expect("runs").registers.rax, 7);
    let mut other = Vm::from_snapshot(&kvm, &snapshot).serve(Stock::new()).build().expect("builds");
    for _ in 0..2 {
        let outcome = other.run().expect("runs");
        assert_eq!((outcome.registers.rax, outcome.stats.exits()), (7, 2));
        other.restore(&snapshot).expect("goes back");
    }
    set(&other, number("exits_of_kind"), &[1]);
    other.run().expect("runs");
    // An Option: whether there is such a kind, and how many.
    assert_eq!(other.registers().expect("there").rdi, 4);
    assert_eq!(other.snapshot().expect("taken").parts().exits.iter().sum::<u64>(), 8);
}

fn put_together(image: &Image<'_>, snapshot: &Snapshot) -> Snapshot {
    let mut assembly = Snapshot::assemble(image, snapshot.parts()).expect("right");
    for (gpa, pages) in snapshot.pages() {
        assembly.put(gpa, pages).expect("right");
    }
    assembly.finish().expect("right")
}

#[test]
fn a_snapshot_that_was_taken_apart_is_the_same_when_it_is_put_together() {
    let kvm = kvm();
    let file = common::calls::image(&[]);
    let image = Image::parse(&file).expect("an image");
    for (ring, memory) in [
        (Ring::Zero, MEMORY),
        (Ring::Three, MEMORY),
        (Ring::Zero, HOLE_START + 8 * MIB),
        (Ring::Three, HOLE_START + 8 * MIB),
    ] {
        let mut vm = vm(&kvm, ring, memory, Stock::new());
        let last = vm.layout().ram.last().expect("one").end - 8;
        vm.memory().write(Gpa(last), b"the last").expect("RAM");
        set(&vm, number("ready"), &[ROOM, 32]);
        assert_eq!(vm.run_to_ready().expect("runs"), None);
        let snapshot = vm.snapshot().expect("taken");
        let again = put_together(&image, &snapshot);
        assert_eq!(again.parts(), snapshot.parts());
        assert!(again.pages().eq(snapshot.pages()));
        assert!(again.pages().any(|(gpa, _)| (gpa.0 >= HOLE_END) == (memory > HOLE_START)));
        let run = |snapshot: &Snapshot| {
            let vm = Vm::from_snapshot(&kvm, snapshot).serve(Stock::new()).build();
            let mut vm = vm.expect("builds");
            let outcome = vm.run().expect("runs");
            (outcome.end, outcome.registers, bytes(&vm, last, 8))
        };
        assert_eq!(run(&again), run(&snapshot));
        assert_eq!(run(&again).2, b"the last");
    }
}

#[test]
fn what_makes_no_sense_is_an_error_that_says_what() {
    let kvm = kvm();
    let file = common::calls::image(&[]);
    let image = Image::parse(&file).expect("an image");
    let snapshot = vm(&kvm, Ring::Zero, MEMORY, Stock::new()).snapshot().expect("taken");
    let says = |words: &str, change: &dyn Fn(&mut portcall::Parts)| {
        let mut parts = snapshot.parts();
        change(&mut parts);
        let put = || {
            let mut assembly = Snapshot::assemble(&image, parts)?;
            snapshot.pages().try_for_each(|(gpa, pages)| assembly.put(gpa, pages))?;
            let snapshot = assembly.finish()?;
            Vm::from_snapshot(&kvm, &snapshot).build().map(drop)
        };
        let error = Result::<(), Error>::expect_err(put(), words).to_string();
        assert!(error.contains(words), "{error}");
    };
    let piece = |parts: &mut portcall::Parts, name: &str| {
        parts.vcpu.iter().position(|(it, _)| it == name).expect("there")
    };
    for (name, _) in snapshot.parts().vcpu {
        let at = |parts: &mut portcall::Parts| piece(parts, &name);
        says("it is missing", &|parts| {
            let at = at(parts);
            parts.vcpu.remove(at);
        });
        says("it is missing", &|parts| {
            let at = at(parts);
            parts.vcpu[at].0.push('s');
        });
        says(&name, &|parts| {
            let at = at(parts);
            parts.vcpu[at].1.push(0);
        });
        // And another is missing then.
        says(": it is ", &|parts| {
            let at = at(parts);
            let other = usize::from(at == 0);
            parts.vcpu[other] = parts.vcpu[at].clone();
        });
    }
    says("its pieces: there are 9", &|parts| parts.vcpu.push(("more".to_owned(), Vec::new())));
    says("msrs: there are 257, and at most 256", &|parts| {
        let at = piece(parts, "msrs");
        parts.vcpu[at].1 = vec![0; 257 * 12];
    });
    // An MSR that no KVM has.
    says("KVM does not take 0x0 for MSR 0xdead", &|parts| {
        let at = piece(parts, "msrs");
        parts.vcpu[at].1 = [&0xdead_u32.to_le_bytes()[..], &[0; 8]].concat();
    });
    says("mp_state: 3 is no vCPU that runs", &|parts| {
        let at = piece(parts, "mp_state");
        parts.vcpu[at].1[0] = 3;
    });
    says("system management mode", &|parts| {
        let at = piece(parts, "events");
        parts.vcpu[at].1[24] = 1;
    });
    says("another read index", &|parts| parts.console += 1);
    says("the seed is larger", &|parts| {
        parts.seed =
            Some(vec![Piece { gpa: Gpa(0), size: SEED_MAX }, Piece { gpa: Gpa(0), size: 1 }]);
    });
    says("the seed is larger", &|parts| {
        parts.seed = Some(vec![Piece { gpa: Gpa(0), size: u64::MAX }; 2]);
    });
    for (gpa, size) in [(MEMORY - 1, 2), (u64::MAX, 2), (0x1000, 0)] {
        let seed = Piece { gpa: Gpa(gpa), size };
        says("the seed is not in RAM", &|parts| parts.seed = Some(vec![seed]));
    }
    says("is not whole pages", &|parts| parts.memory += 1);
    says("is too small", &|parts| parts.memory = 0);
    says("more than a guest can address", &|parts| parts.memory = u64::MAX - (PAGE - 1));
    says("are not in RAM", &|parts| parts.memory = 3 * MIB);
}

#[test]
fn pages_come_whole_in_order_and_into_ram() {
    let kvm = kvm();
    let file = common::calls::image(&[]);
    let image = Image::parse(&file).expect("an image");
    let snapshot = vm(&kvm, Ring::Zero, MEMORY, Stock::new()).snapshot().expect("taken");
    let page = vec![1; usize::try_from(PAGE).expect("small")];
    let put = |pages: &[(u64, &[u8])]| {
        let mut assembly = Snapshot::assemble(&image, snapshot.parts()).expect("right");
        let put = |(at, bytes): &(u64, &[u8])| assembly.put(Gpa(*at), bytes);
        pages.iter().try_for_each(put).map_err(|error| error.to_string())
    };
    assert_eq!(put(&[(0x1000, &page), (0x2000, &page), (MEMORY - PAGE, &page)]), Ok(()));
    for (pages, words) in [
        (&[(0x1000, &page[1..])][..], "whole pages"),
        (&[(0x1001, &page[..])], "whole pages"),
        (&[(0x1000, &[][..])], "whole pages"),
        (&[(0x2000, &page[..]), (0x1000, &page[..])], "not behind"),
        (&[(0x1000, &page[..]), (0x1000, &page[..])], "not behind"),
        (&[(MEMORY, &page[..])], "not in RAM"),
        (&[(u64::MAX - PAGE + 1, &page[..])], "not in RAM"),
        (&[(HOLE_END, &page[..])], "not in RAM"),
    ] {
        let error = put(pages).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
}
