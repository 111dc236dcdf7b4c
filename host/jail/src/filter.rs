//! From the table of system calls to a program of seccomp's (seccomp(2), SECCOMP_SET_MODE_FILTER).
//!
//! The program is put together here and not by seccompiler, since its length is what entering the
//! jail costs: the kernel translates it, and tries it with every number there is to find out what
//! it may let through without asking (Linux, kernel/seccomp.c). Numbers one after the other, four
//! or five instructions each, are 225 instructions and 130 us; a search tree over short lists is
//! 91 and some 45 us. A test holds it to what seccompiler makes of the same table.

use crate::JailError;
use crate::calls::{CALLS, HOT, When, Whose};
use seccompiler::{apply_filter_all_threads, sock_filter};
use std::ffi::{c_long, c_uint};

/// What a call that is not let through gives: an error that names itself, so that what the table
/// has forgotten can be told and mended.
const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();

/// AUDIT_ARCH_X86_64 (include/uapi/linux/audit.h): the calls of the 64-bit system call
/// instruction. Others, by int 0x80, have other numbers.
const X86_64: u32 = 0xc000_003e;

/// Where things are in a `struct seccomp_data`; an argument's lower half.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(index: u8) -> u32 {
    16 + 8 * index as u32
}

/// How many numbers are compared one after the other, below the search tree.
const FEW: usize = 6;

/// What the table leaves open.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    /// Whether files are opened for reading, which Landlock keeps to where.
    pub(crate) reading: bool,
    /// Whether files are opened for writing as well, in the same way.
    pub(crate) writing: bool,
    /// Whether there are other threads, or may be.
    pub(crate) threads: bool,
    /// Whether snapshots are taken.
    pub(crate) snapshots: bool,
    /// Whether VMs are brought back to them.
    pub(crate) restores: bool,
    /// Whether the guest is debugged.
    pub(crate) debugger: bool,
    /// Whether it has breakpoints.
    pub(crate) traps: bool,
    /// Further calls, whatever their arguments.
    pub(crate) also: &'a [c_long],
}

/// A number, and the test of an argument that it has to pass.
type Rule = (c_uint, Option<Test>);

/// A test of the lower half of an argument; the upper half is not the kernel's to look at either.
#[derive(Clone, Copy)]
pub(crate) enum Test {
    /// It is one of these.
    OneOf(u8, &'static [c_uint]),
    /// It is this.
    Is(u8, c_uint),
    /// It has none of these bits.
    Without(u8, c_uint),
}

/// Installs the filter on every thread of this process.
pub(crate) fn install(wanted: &Wanted<'_>) -> Result<(), JailError> {
    apply_filter_all_threads(&program(&rules(wanted))).map_err(JailError::Seccomp)
}

/// The table as it is wanted, by number.
fn rules(wanted: &Wanted<'_>) -> Vec<Rule> {
    let also = wanted.also.iter().map(|number| (*number, None));
    let table = CALLS.iter().filter(|call| match call.whose {
        Whose::All => true,
        Whose::Threads => wanted.threads,
        Whose::Snapshots => wanted.snapshots,
        Whose::Debuggers => wanted.debugger,
        Whose::Traps => wanted.traps,
        Whose::Restores => wanted.restores,
        Whose::Both => wanted.snapshots && (wanted.debugger || wanted.traps),
    });
    let table = table.filter_map(|call| {
        let test = match call.when {
            When::Always => None,
            When::OneOf(argument, values) => Some(Test::OneOf(argument, values)),
            When::Without(argument, bits) => Some(Test::Without(argument, bits)),
            When::OwnProcess(argument) => Some(Test::Is(argument, std::process::id())),
            When::Opening(..) if wanted.writing => None,
            When::Opening(argument, bits) if wanted.reading => Some(Test::Without(argument, bits)),
            When::Opening(..) => return None,
        };
        Some((call.number, test))
    });
    let mut rules: Vec<Rule> = also
        .chain(table)
        .filter_map(|(number, test)| Some((c_uint::try_from(number).ok()?, test)))
        .collect();
    // What was asked for comes before the table's, and stays.
    rules.sort_by_key(|(number, _)| *number);
    rules.dedup_by_key(|(number, _)| *number);
    rules
}

fn program(rules: &[Rule]) -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, X86_64, 1, 0),
        give(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    // What is called most comes first, and a third of all numbers are behind the last one here.
    let mut rest = rules.to_vec();
    if let Some(at) = rules.iter().position(|(number, _)| c_long::from(*number) == HOT) {
        let mut hot = Vec::new();
        list(&[rest.remove(at)], &mut hot);
        // Any other number goes on behind it.
        hot[0].jf = near(0, hot.len());
        program.extend(hot);
    }
    if let Some((last, _)) = rest.last() {
        program.extend([jump(libc::BPF_JGT, *last, 0, 1), give(REFUSED)]);
    }
    tree(&rest, &mut program);
    program
}

/// Leads to the list that a number is in.
fn tree(rules: &[Rule], program: &mut Vec<sock_filter>) {
    if rules.len() <= FEW {
        return list(rules, program);
    }
    let (lower, upper) = rules.split_at(rules.len() / 2);
    program.push(jump(libc::BPF_JGE, upper[0].0, 0, 1));
    // A jump on a condition goes 255 instructions far at most, this one anywhere.
    let over = program.len();
    program.push(jump(libc::BPF_JA, 0, 0, 0));
    tree(lower, program);
    program[over].k = c_uint::try_from(program.len() - over - 1).unwrap_or(c_uint::MAX);
    tree(upper, program);
}

/// Numbers one after the other, then the tests that they lead to, then what becomes of the call.
fn list(rules: &[Rule], program: &mut Vec<sock_filter>) {
    let tests = || rules.iter().filter_map(|(_, test)| *test);
    let mut behind = program.len() + rules.len();
    let refused = behind + tests().map(length).sum::<usize>();
    for (i, (number, test)) in rules.iter().enumerate() {
        let at = program.len();
        let yes = if test.is_some() { behind } else { refused + 1 };
        let no = if i + 1 == rules.len() { refused } else { at + 1 };
        program.push(jump(libc::BPF_JEQ, *number, near(at, yes), near(at, no)));
        behind += test.map_or(0, length);
    }
    tests().for_each(|it| test(it, refused, program));
    program.extend([give(REFUSED), give(libc::SECCOMP_RET_ALLOW)]);
}

/// Instructions of a test.
const fn length(test: Test) -> usize {
    match test {
        Test::OneOf(_, values) => 1 + values.len(),
        Test::Is(..) | Test::Without(..) => 2,
    }
}

/// Tests an argument. At `refused` the call is refused, and behind that let through.
fn test(test: Test, refused: usize, program: &mut Vec<sock_filter>) {
    let (Test::OneOf(index, _) | Test::Is(index, _) | Test::Without(index, _)) = test;
    program.push(load(argument(index)));
    let mut equal = |value, last| {
        let at = program.len();
        let no = if last { refused } else { at + 1 };
        program.push(jump(libc::BPF_JEQ, value, near(at, refused + 1), near(at, no)));
    };
    match test {
        Test::OneOf(_, values) => {
            values.iter().enumerate().for_each(|(i, it)| equal(*it, i + 1 == values.len()));
        }
        Test::Is(_, value) => equal(value, true),
        Test::Without(_, bits) => {
            let at = program.len();
            program.push(jump(libc::BPF_JSET, bits, near(at, refused), near(at, refused + 1)));
        }
    }
}

/// How far it is from one instruction to another, in a list of no more than [`FEW`] numbers.
#[expect(clippy::cast_possible_truncation, reason = "a test goes through the whole program")]
fn near(from: usize, to: usize) -> u8 {
    let distance = to - from - 1;
    debug_assert!(u8::try_from(distance).is_ok(), "a list is too long to jump over");
    distance as u8
}

/// Loads a word of the `struct seccomp_data`.
fn load(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0)
}

/// Ends with what becomes of the call.
fn give(verdict: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, verdict, 0, 0)
}

/// Jumps forward by `yes` or `no` instructions.
fn jump(kind: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_K | kind, k, yes, no)
}

#[expect(clippy::cast_possible_truncation, reason = "all codes are of a byte")]
fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests;
