//! The program against the one that seccompiler makes of the same rules.

use super::{Test, Wanted, program, rules};
use crate::calls::{CALLS, Call, Whose};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use std::ffi::c_long;

/// `struct seccomp_data` (seccomp(2)), as 32-bit words.
type Data = [u32; 16];

fn data(number: u32, arguments: [u64; 6]) -> Data {
    let mut words = [number, super::X86_64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (words, argument) in words[4..].chunks_exact_mut(2).zip(arguments) {
        let halves = [argument & u64::from(u32::MAX), argument >> 32];
        words.copy_from_slice(&halves.map(|half| u32::try_from(half).unwrap()));
    }
    words
}

/// What a program gives: the instructions that a filter may have (BPF in the kernel's
/// Documentation/networking/filter.rst), as far as the two use them.
fn verdict(program: &[sock_filter], data: &Data) -> u32 {
    let (mut at, mut a) = (0, 0);
    loop {
        let it = &program[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { it.jt } else { it.jf });
        match it.code {
            0x20 => a = data[it.k as usize / 4],
            0x54 => a &= it.k,
            0x05 => at += it.k as usize,
            0x15 => at += jump(a == it.k),
            0x25 => at += jump(a > it.k),
            0x35 => at += jump(a >= it.k),
            0x45 => at += jump(a & it.k != 0),
            0x06 => return it.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// What seccompiler makes of the same.
fn reference(wanted: &Wanted<'_>) -> BpfProgram {
    let rule = |argument, op, value: u32| {
        let length = SeccompCmpArgLen::Dword;
        let condition = SeccompCondition::new(argument, length, op, value.into()).unwrap();
        SeccompRule::new(vec![condition]).unwrap()
    };
    let conditions = |test| match test {
        None => vec![],
        Some(Test::Is(argument, value)) => vec![rule(argument, SeccompCmpOp::Eq, value)],
        Some(Test::OneOf(argument, values)) => {
            values.iter().map(|value| rule(argument, SeccompCmpOp::Eq, *value)).collect()
        }
        Some(Test::Without(argument, bits)) => {
            vec![rule(argument, SeccompCmpOp::MaskedEq(bits.into()), 0)]
        }
    };
    let rules = rules(wanted).into_iter();
    let rules = rules.map(|(number, test)| (i64::from(number), conditions(test))).collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, TargetArch::x86_64);
    filter.unwrap().try_into().unwrap()
}

/// Values of arguments that some rule is about, and their neighbours.
fn arguments(wanted: &Wanted<'_>) -> Vec<u64> {
    let mut values = vec![0, 1, u64::MAX, 1 << 32];
    for (_, test) in rules(wanted) {
        match test {
            None => {}
            Some(Test::Is(_, value) | Test::Without(_, value)) => values.push(value.into()),
            Some(Test::OneOf(_, all)) => values.extend(all.iter().map(|it| u64::from(*it))),
        }
    }
    for i in 0..values.len() {
        let value = values[i];
        values.extend([value ^ 1, value | 1 << 32]);
        values.extend((0..32).map(|bit| value & 1 << bit));
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn the_program_decides_as_seccompilers_does() {
    let many: Vec<c_long> = (400..700).collect();
    for wanted in [
        Wanted::default(),
        Wanted { reading: true, ..Wanted::default() },
        Wanted { threads: true, ..Wanted::default() },
        Wanted { snapshots: true, ..Wanted::default() },
        Wanted { traps: true, ..Wanted::default() },
        Wanted { snapshots: true, restores: true, threads: true, ..Wanted::default() },
        Wanted { snapshots: true, traps: true, ..Wanted::default() },
        Wanted { debugger: true, ..Wanted::default() },
        Wanted { snapshots: true, debugger: true, ..Wanted::default() },
        Wanted {
            reading: true,
            writing: true,
            threads: true,
            snapshots: true,
            restores: true,
            debugger: true,
            traps: true,
            also: &[libc::SYS_ioctl, libc::SYS_socket],
        },
        Wanted { also: &many, ..Wanted::default() },
    ] {
        let (ours, theirs) = (program(&rules(&wanted)), reference(&wanted));
        let arguments = arguments(&wanted);
        // All of the native numbers, and those of x32 (bit 30).
        for number in (0..800).flat_map(|number| [number, number | 1 << 30]) {
            for value in &arguments {
                let data = data(number, [*value; 6]);
                assert_eq!(verdict(&ours, &data), verdict(&theirs, &data), "{number} {value:#x}");
            }
        }
        let mut foreign = data(0, [0; 6]);
        foreign[1] = 0x4000_0003;
        assert_eq!(verdict(&ours, &foreign), verdict(&theirs, &foreign));
    }
}

#[test]
fn a_guests_way_on_is_decided_in_the_first_instructions_and_the_program_is_short() {
    let program = program(&rules(&Wanted { reading: true, ..Wanted::default() }));
    let run = data(u32::try_from(libc::SYS_ioctl).unwrap(), [3, 0xae80, 0, 0, 0, 0]);
    let place = program.iter().position(|it| it.code == 0x15 && it.k == 0xae80);
    assert!(place.is_some_and(|at| at < 8), "{place:?}");
    assert_eq!(verdict(&program, &run), libc::SECCOMP_RET_ALLOW);
    // Each is some 0.2 us when the jail is entered.
    assert!(program.len() < 100, "{}", program.len());
}

#[test]
fn every_number_stands_once_and_what_only_some_do_stands_first() {
    use Whose::{Both, Debuggers, Restores, Snapshots, Traps};
    const SOME: [Whose; 5] = [Snapshots, Debuggers, Traps, Both, Restores];
    let is_for_some = |call: &Call| SOME.contains(&call.whose);
    for whose in SOME {
        assert_each_once(CALLS.iter().filter(|call| call.whose == whose));
    }
    assert_each_once(CALLS.iter().filter(|call| !is_for_some(call)));
    // Of two of one number the first counts.
    let first = CALLS.iter().take_while(|call| is_for_some(call)).count();
    assert!(!CALLS[first..].iter().any(is_for_some));
    // What it allows more than without is all that it changes.
    let without = rules(&Wanted::default());
    for (snapshots, debugger) in [(true, false), (false, true), (true, true)] {
        let with = rules(&Wanted { snapshots, debugger, traps: debugger, ..Wanted::default() });
        assert!(without.iter().all(|(number, _)| with.iter().any(|(other, _)| number == other)));
    }
}

#[track_caller]
fn assert_each_once<'a>(calls: impl Iterator<Item = &'a Call>) {
    let mut numbers: Vec<c_long> = calls.map(|call| call.number).collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
}
