//! Several who drive one VM, in both rings: each has its breakpoints, and none is in another's way.

use inspect::drive::{self, Drive, Driver, Pace, Scene, Turn};
use portcall::trap::INT3;
use portcall::{End, Error, Gpa, Gva, Image, Kvm, Ring, Stop, Vm};

const RINGS: [Ring; 2] = [Ring::Zero, Ring::Three];

fn vm(code: &[u8], ring: Ring) -> (Vm, u64) {
    let image = Image::flat(code).expect("an image");
    let kvm = Kvm::open().expect("these tests need KVM");
    let vm = Vm::builder(&kvm, &image).memory(2 << 20).ring(ring).build().expect("builds");
    (vm, image.entry().0)
}

/// Three times round: mov ecx, 3; [5] inc eax; [7] dec ecx; [9] jnz 5; [11] out 0x30, al;
/// [13] out 0xf4, al.
const LOOP: [u8; 15] =
    [0xb9, 3, 0, 0, 0, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xfa, 0xe6, 0x30, 0xe6, 0xf4];

/// Notes what it is told; breakpoints that are for once it takes away.
struct Notes {
    places: Vec<u64>,
    once: bool,
    reached: Vec<u64>,
    exits: usize,
    end: Option<End>,
}

impl Notes {
    fn at(places: &[u64], once: bool) -> Self {
        Self { places: places.to_vec(), once, reached: Vec::new(), exits: 0, end: None }
    }
}

impl Driver for Notes {
    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
        assert_eq!(scene.insert_all(self.places.iter().map(|at| Gva(*at))), None);
        Ok(())
    }

    fn stopped(&mut self, _: &mut Scene<'_>, stop: &Stop) -> Result<(), Error> {
        self.exits += usize::from(matches!(stop, Stop::Exit(_)));
        Ok(())
    }

    fn reached(&mut self, scene: &mut Scene<'_>, at: Gva) -> Result<(), Error> {
        self.reached.push(at.0);
        assert_eq!(scene.vm.registers()?.rip, at.0);
        let mut byte = [0];
        assert_eq!(scene.read(at, &mut byte), 1);
        assert_ne!(byte[0], INT3, "what is read has no breakpoints in it");
        if self.once {
            assert!(scene.remove(at));
        }
        Ok(())
    }

    fn ended(&mut self, vm: &mut Vm, end: &End) -> Result<(), Error> {
        self.end = Some(end.clone());
        let mut code = LOOP;
        let at = *self.places.first().expect("it has some");
        vm.memory().read(Gpa(at & !0xfff), &mut code)?;
        assert_eq!(code, LOOP, "no breakpoint is left");
        Ok(())
    }
}

#[test]
fn each_driver_has_its_breakpoints_and_the_guest_does_what_it_did() {
    for ring in RINGS {
        let (mut vm, entry) = vm(&LOOP, ring);
        let mut stays = Notes::at(&[entry + 5, entry + 11], false);
        let mut once = Notes::at(&[entry, entry + 5, entry + 7, entry + 13], true);
        let outcome = drive::run(&mut vm, vec![&mut stays, &mut once]).expect("the host is well");
        assert_eq!(outcome.end, End::Exited(3), "{ring:?}");
        assert_eq!(outcome.registers.rax, 3, "{ring:?}");
        assert_eq!(stays.reached, [5, 5, 5, 11].map(|at| entry + at), "{ring:?}");
        assert_eq!(once.reached, [0, 5, 7, 13].map(|at| entry + at), "{ring:?}");
        assert_eq!((stays.exits, once.exits), (1, 1), "{ring:?}: the OUT to port 0x30");
        assert_eq!((stays.end, once.end), (Some(End::Exited(3)), Some(End::Exited(3))));
    }
}

#[test]
fn steps_are_instructions_whatever_they_do() {
    // in al, 0x30; pushf; pop rbx; mov ecx, 2; mov edx, 0x31; mov esi, 0x8000; rep outsb; ud2
    let code = [
        0xe4, 0x30, 0x9c, 0x5b, 0xb9, 2, 0, 0, 0, 0xba, 0x31, 0, 0, 0, 0xbe, 0, 0x80, 0, 0, 0xf3,
        0x6e, 0x0f, 0x0b,
    ];
    for ring in RINGS {
        let (mut vm, entry) = vm(&code, ring);
        let mut drive = Drive::new(&mut vm, Vec::new());
        for at in [2, 3, 4, 9, 14, 19, 21] {
            assert_eq!(drive.turn(Pace::Step).expect("well"), Turn::Stepped, "{ring:?} {at}");
            let registers = drive.vm().registers().expect("readable");
            assert_eq!(registers.rip, entry + at, "{ring:?}");
            assert_eq!(registers.rflags & 0x100, 0, "{ring:?}: the trap flag is not the guest's");
        }
        let Turn::End(End::Exception(exception)) = drive.turn(Pace::Step).expect("well") else {
            panic!("{ring:?}: UD2 is no instruction")
        };
        assert_eq!((exception.vector, exception.rip.0), (6, entry + 21), "{ring:?}");
    }
}

#[test]
fn who_turns_has_breakpoints_beside_those_of_drivers() {
    for ring in RINGS {
        let (mut vm, entry) = vm(&LOOP, ring);
        let mut beside = Notes::at(&[entry + 5, entry + 7], false);
        let mut drive = Drive::new(&mut vm, vec![&mut beside]);
        let at = Gva(entry + 7);
        drive.scene().insert(at).expect("mapped");
        let run = |drive: &mut Drive<'_>| loop {
            match drive.turn(Pace::Run).expect("well") {
                Turn::Interrupted | Turn::Exit(_) => {}
                turn => break turn,
            }
        };
        assert_eq!(run(&mut drive), Turn::Breakpoint(at), "{ring:?}");
        assert_eq!(drive.turn(Pace::Step).expect("well"), Turn::Stepped, "{ring:?}");
        assert_eq!(drive.vm().registers().expect("readable").rip, entry + 9, "{ring:?}");
        assert_eq!(run(&mut drive), Turn::Breakpoint(at), "{ring:?}");
        assert!(drive.scene().remove(at));
        assert_eq!(run(&mut drive), Turn::End(End::Exited(3)), "{ring:?}");
        drop(drive);
        assert_eq!(beside.reached.len(), 6, "{ring:?}");
    }
}

#[test]
fn steps_onto_a_breakpoint_leave_no_flag_behind() {
    for ring in RINGS {
        let (mut vm, entry) = vm(&LOOP, ring);
        let mut drive = Drive::new(&mut vm, Vec::new());
        let at = Gva(entry + 5);
        drive.scene().insert(at).expect("mapped");
        assert_eq!(drive.turn(Pace::Step).expect("well"), Turn::Stepped, "{ring:?}");
        assert_eq!(drive.turn(Pace::Step).expect("well"), Turn::Breakpoint(at), "{ring:?}");
        assert_eq!(drive.vm().registers().expect("readable").rflags & 0x100, 0, "{ring:?}");
        assert_eq!(drive.turn(Pace::Step).expect("well"), Turn::Stepped, "{ring:?}");
        assert!(drive.scene().remove(at));
        assert_eq!(drive.run().expect("well").end, End::Exited(3), "{ring:?}");
    }
}

#[test]
fn traps_of_the_guests_own_are_what_they_would_have_been() {
    // int3; or: pushf; or dword [rsp], 0x100; popf; nop
    let own_step = [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x90, 0x90, 0xf4];
    for code in [&[0xcc][..], &own_step] {
        for ring in RINGS {
            let (mut plain, _) = vm(code, ring);
            let plain = plain.run().expect("runs");
            let (mut driven, _) = vm(code, ring);
            let driven = drive::run(&mut driven, Vec::new()).expect("runs");
            assert_eq!(driven.end, plain.end, "{ring:?} {code:x?}");
            assert_eq!(driven.registers.rip, plain.registers.rip, "{ring:?} {code:x?}");
        }
    }
}

#[test]
fn a_breakpoint_where_nothing_is_mapped_is_refused_and_the_others_are_set() {
    let (mut vm, entry) = vm(&LOOP, Ring::Zero);
    let mut drive = Drive::new(&mut vm, Vec::new());
    let wild = [0, 1 << 40, u64::MAX, 1 << 47].map(Gva);
    let missing = drive.scene().insert_all(wild.into_iter().chain([Gva(entry + 11)]));
    assert_eq!(missing, Some(Gva(0)));
    assert_eq!(drive.turn(Pace::Run).expect("well"), Turn::Breakpoint(Gva(entry + 11)));
}

#[test]
fn a_step_over_pushf_leaves_no_flag_in_what_it_pushes() {
    // pushf; popf; pushfw; popfw; REX.W pushf; REX.W popf; nop; nop; xor eax, eax; out 0xf4, al
    let code = [
        0x9c, 0x9d, 0x66, 0x9c, 0x66, 0x9d, 0x48, 0x9c, 0x48, 0x9d, 0x90, 0x90, 0x31, 0xc0, 0xe6,
        0xf4,
    ];
    for ring in RINGS {
        for places in [&[0][..], &[2], &[6], &[0, 2, 6]] {
            let (mut vm, entry) = vm(&code, ring);
            let mut drive = Drive::new(&mut vm, Vec::new());
            for at in places {
                drive.scene().insert(Gva(entry + at)).expect("mapped");
            }
            assert_eq!(drive.run().expect("well").end, End::Exited(0), "{ring:?} {places:?}");
        }
        let (mut vm, entry) = vm(&code, ring);
        let mut drive = Drive::new(&mut vm, Vec::new());
        for at in [1, 2, 4, 6, 8, 10, 11] {
            assert_eq!(drive.turn(Pace::Step).expect("well"), Turn::Stepped, "{ring:?} {at}");
            assert_eq!(drive.vm().registers().expect("readable").rip, entry + at, "{ring:?}");
        }
        assert_eq!(drive.run().expect("well").end, End::Exited(0), "{ring:?}");
    }
}

/// Looks at memory without breakpoints at each exit, as who takes a snapshot does.
#[derive(Default)]
struct Looks(usize);

impl Driver for Looks {
    fn stopped(&mut self, scene: &mut Scene<'_>, stop: &Stop) -> Result<(), Error> {
        if matches!(stop, Stop::Exit(_)) {
            let at = scene.vm.registers()?.rip & !0xfff;
            let mut code = LOOP;
            scene.without_breakpoints(|vm| vm.memory().read(Gpa(at), &mut code))?;
            assert_eq!(code, LOOP);
            self.0 += 1;
        }
        Ok(())
    }
}

#[test]
fn memory_without_breakpoints_at_the_exit_that_is_stepped_over() {
    for ring in RINGS {
        for pace in [Pace::Run, Pace::Step] {
            let (mut vm, entry) = vm(&LOOP, ring);
            let mut looks = Looks::default();
            let mut drive = Drive::new(&mut vm, vec![&mut looks]);
            let at = Gva(entry + 11);
            drive.scene().insert(at).expect("mapped");
            while drive.turn(Pace::Run).expect("well") != Turn::Breakpoint(at) {}
            drive.turn(pace).expect("well");
            let mut byte = [0];
            assert_eq!(drive.scene().read(at, &mut byte), 1);
            assert_eq!(byte[0], LOOP[11], "{ring:?} {pace:?}: it is not seen");
            assert!(drive.scene().remove(at));
            let mut code = LOOP;
            drive.vm().memory().read(Gpa(at.0 & !0xfff), &mut code).expect("RAM");
            assert_eq!(code, LOOP, "{ring:?} {pace:?}: the instruction is back");
            assert_eq!(drive.run().expect("well").end, End::Exited(3), "{ring:?}");
            drop(drive);
            assert_eq!(looks.0, 1, "{ring:?} {pace:?}");
        }
    }
}

#[test]
fn a_breakpoint_on_the_guests_own_int3_is_passed_and_that_is_what_it_was() {
    for ring in RINGS {
        // nop; int3
        let (mut plain, entry) = vm(&[0x90, INT3], ring);
        let plain = plain.run().expect("runs");
        for pace in [Pace::Run, Pace::Step] {
            let (mut vm, _) = vm(&[0x90, INT3], ring);
            let mut drive = Drive::new(&mut vm, Vec::new());
            let at = Gva(entry + 1);
            drive.scene().insert(at).expect("mapped");
            while drive.turn(Pace::Run).expect("well") != Turn::Breakpoint(at) {}
            let end = (0..8).find_map(|_| match drive.turn(pace).expect("well") {
                Turn::End(end) => Some(end),
                turn => {
                    assert_ne!(turn, Turn::Breakpoint(at), "{ring:?} {pace:?}: once is enough");
                    None
                }
            });
            assert_eq!(end.as_ref(), Some(&plain.end), "{ring:?} {pace:?}");
            let outcome = drive.run().expect("well");
            assert_eq!(outcome.registers.rip, plain.registers.rip, "{ring:?} {pace:?}");
        }
    }
}

#[test]
fn an_end_in_a_step_has_no_flag_of_ours_in_its_registers() {
    // nop; ud2, and: nop; out 0xf4, al
    for code in [&[0x90, 0x0f, 0x0b][..], &[0x90, 0xe6, 0xf4]] {
        for ring in RINGS {
            let (mut vm, _) = vm(code, ring);
            let mut drive = Drive::new(&mut vm, Vec::new());
            while !matches!(drive.turn(Pace::Step).expect("well"), Turn::End(_)) {}
            let outcome = drive.run().expect("well");
            assert_eq!(outcome.registers.rflags & 0x100, 0, "{ring:?} {code:x?}");
        }
    }
}

#[test]
fn an_end_shows_the_guests_own_bytes_where_breakpoints_stood() {
    // nop; lar eax, ecx, which a KVM that emulates ring 0 does not know; nop; nop; inc eax;
    // out 0xf4, al
    let code = [0x90, 0x0f, 0x02, 0xc1, 0x90, 0x90, 0xff, 0xc0, 0xe6, 0xf4];
    for ring in RINGS {
        let plain = vm(&code, ring).0.run().expect("runs").end;
        for places in [&[4][..], &[5, 6], &[1, 4, 5, 6]] {
            for pace in [Pace::Run, Pace::Step] {
                let (mut vm, entry) = vm(&code, ring);
                let mut drive = Drive::new(&mut vm, Vec::new());
                for at in places {
                    drive.scene().insert(Gva(entry + at)).expect("mapped");
                }
                while !matches!(drive.turn(pace).expect("well"), Turn::End(_)) {}
                assert_eq!(drive.run().expect("well").end, plain, "{ring:?} {places:?} {pace:?}");
            }
        }
    }
}

#[test]
fn a_trap_flag_that_the_guest_sets_in_a_step_is_its_own() {
    // pushf; or byte [rsp + 1], 1; popf; nop; nop; hlt
    let popf = [0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x90, 0x90, 0xf4].to_vec();
    // mov rax, rsp; mov ecx, ss; push rcx; push rax; pushf; or byte [rsp + 1], 1; mov ecx, cs;
    // push rcx; lea rax, [rip + 3]; push rax; iretq; nop; nop; hlt
    let mut iretq = vec![0x48, 0x89, 0xe0, 0x8c, 0xd1, 0x51, 0x50];
    iretq.extend([0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x8c, 0xc9, 0x51]);
    iretq.extend([0x48, 0x8d, 5, 3, 0, 0, 0, 0x50, 0x48, 0xcf, 0x90, 0x90, 0xf4]);
    for (code, sets, behind) in [(popf, 6, 7), (iretq, 24, 26)] {
        for ring in RINGS {
            let plain = vm(&code, ring).0.run().expect("runs");
            let End::Exception(trap) = &plain.end else { panic!("{ring:?}: {:?}", plain.end) };
            assert_eq!(trap.vector, 1, "{ring:?}");
            for pace in [Pace::Run, Pace::Step] {
                for places in [&[][..], &[0], &[sets], &[behind], &[sets, behind, behind + 1]] {
                    let (mut vm, entry) = vm(&code, ring);
                    let mut drive = Drive::new(&mut vm, Vec::new());
                    for at in places {
                        drive.scene().insert(Gva(entry + at)).expect("mapped");
                    }
                    let what = format!("{ring:?} {pace:?} {places:?}");
                    let mut seen = false;
                    for _ in 0..100 {
                        if let Turn::End(_) = drive.turn(pace).expect("well") {
                            break;
                        }
                        let now = drive.vm().registers().expect("readable");
                        if now.rip == entry + behind {
                            assert_ne!(now.rflags & 0x100, 0, "{what}: the flag is there");
                            seen = true;
                        }
                    }
                    // A KVM that emulates ring 0 stops only behind what comes after an IRETQ.
                    let is_passed = pace == Pace::Run || (ring, behind) == (Ring::Zero, 26);
                    assert!(seen || is_passed, "{what}");
                    let outcome = drive.run().expect("well");
                    assert_eq!(outcome.end, plain.end, "{what}");
                    assert_eq!(outcome.registers.rip, plain.registers.rip, "{what}");
                    assert_eq!(outcome.registers.rflags, plain.registers.rflags, "{what}");
                }
            }
        }
    }
}
