//! `cargo xtask test`: the host's tests by cargo, then every guest by the directive engine.

use crate::cargo::{build_host_for, cannot_start, cargo, root};
use crate::engine::{self, Case, Golden, Hosts, Image, Verdict};
use crate::programs::{self, Profile, Program};
use crate::{
    BAD, Failure, GOOD, LEFT_OUT, book, browser, coverage, documents, exercise, guest_tests,
    halves, kvm_amd, lab, soak,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// The command line of `test`.
#[derive(clap::Args)]
#[command(after_help = "\
A guest program's header says how it is run and what is expected of it:
  //@ args: a b              arguments
  //@ stdin: text\\n          input; also \\t \\\\ \\x41
  //@ expect: exit=101 ...   the process code, and whatever portcall --expect takes
  //@ memory: 8MiB   //@ timeout: 2s   //@ ring: 3   //@ options: --flag x
  //@ host: NAME             host/examples/NAME.rs runs it, not the one of its own name
  //@ build: cc ... -o $OUT $IN   how it is built, if it is NAME.c
  //@ stderr: text           something that portcall must say
  //@ output: ignored        what it prints is not compared
  //@ replay: no             it asks its processor for what is another in every run
and in a folder of exercises (docs/exercises/README.md says all of it)
  //@ title: Words   //@ points: 3   //@ measures: NAME of a guest::measure
It must print what NAME.out beside it holds, and nothing without that file; and the same
once more when a recorded run of it is replayed. A block of C or
assembly in the documentation with a `build` is a guest too; the next block is its output. `book` and `book PAGE` are
the pages of docs/src, of which every block is run.")]
pub(crate) struct Args {
    /// Only tests and guests with this in their names; a path to a folder, with a `/` in it, grades
    /// the exercises there
    filter: Option<String>,
    /// Who solved the exercises: a folder with their programs, of which only the code is taken
    #[arg(long, value_name = "DIR", requires = "filter")]
    submission: Option<PathBuf>,
    /// The score of exercises as JSON
    #[arg(long, value_name = "json[=FILE]", requires = "filter")]
    emit: Vec<String>,
    /// Only guests: the host's tests are not even built
    #[arg(long)]
    guests: bool,
    /// Make what the guest programs print their goldens (NAME.out)
    #[arg(long)]
    overwrite: bool,
    /// Only guests, on the kvm_amd of a Linux in QEMU; apt-get fetches what that needs
    #[arg(long, conflicts_with = "overwrite")]
    kvm_amd: bool,
    /// Only guests that cargo builds: which lines of source they reach, in target/coverage, as lcov
    /// and as a page
    #[arg(long, conflicts_with_all = ["overwrite", "kvm_amd"])]
    coverage: bool,
    /// Only the soak, and a long one: 10,000 VMs and 100,000 stops in one process
    #[arg(long, conflicts_with_all = ["filter", "guests", "overwrite", "kvm_amd", "coverage"])]
    soak: bool,
}

/// Numbers of results.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Runs everything and ends with the sums, in a line that CI reads.
pub(crate) fn test(args: &Args) -> Result<ExitCode, Failure> {
    if args.soak {
        return soak::long();
    }
    if let Some(code) = graded(args)? {
        return Ok(code);
    }
    let chosen = |label: &str| args.filter.as_ref().is_none_or(|it| label.contains(it.as_str()));
    // All headers are read, chosen or not, before anything is built.
    let mut programs = programs::all()?;
    let mut cases = programs.iter().map(case_of).collect::<Result<Vec<_>, _>>()?;
    cases.extend(documents::cases()?);
    // The others are built as they are run, so that a missing compiler leaves out only them.
    programs.retain(|it| it.package.is_some() && chosen(&label(it)));
    cases.retain(|it| chosen(&it.label));
    let mut cases: Vec<Case> = cases.into_iter().flat_map(Case::in_both_rings).collect();
    if args.kvm_amd || kvm_amd::is_here() {
        kvm_amd::expect_differences(&mut cases)?;
    }

    // All pages are read, chosen or not, as headers are.
    let mut pages = book::pages()?;
    pages.retain(|it| !(args.guests || args.kvm_amd || args.coverage) && chosen(&it.label));
    // Nobody who works on a page waits for the host's tests.
    let is_book = args.filter.as_ref().is_some_and(|it| it.starts_with("book"));
    let only_guests = is_book || args.guests || args.kvm_amd || args.coverage;
    let soaks = !only_guests && chosen(soak::LABEL);
    let measures = !only_guests && chosen(lab::LABEL);
    let browses = !only_guests && chosen(browser::LABEL);
    let filter = args.filter.as_deref();
    let mut tally = match only_guests {
        true => Tally::default(),
        false => host_tests(filter)?,
    };
    // A machine under QEMU gets programs one by one, and no cargo.
    let tests_in_guests = !is_book && !args.kvm_amd && !args.coverage;
    if tests_in_guests && !args.overwrite {
        tally.add(&guest_tests(filter)?);
    }
    let ends = tests_in_guests && chosen(guest_tests::ENDS_LABEL);
    let words = tests_in_guests && chosen(guest_tests::WORDS_LABEL);
    let library = if args.kvm_amd { kvm_amd::library(chosen) } else { Vec::new() };
    let nothing = tally == Tally::default() && cases.is_empty() && library.is_empty();
    let nothing = nothing && !soaks && !measures && !browses && !ends && !words && pages.is_empty();
    if let (true, Some(filter)) = (nothing, &args.filter) {
        return Err(Failure(format!(
            "no test and no guest has `{filter}` in its name; `cargo xtask test` runs all"
        )));
    }
    let mut results = Results { tally, failures: Vec::new() };
    if !cases.is_empty() || !library.is_empty() {
        programs::build(&programs, Profile::Release)?;
        if args.coverage {
            return cover(&cases, filter);
        }
        let hosts = hosts(&cases, &[])?;
        if args.kvm_amd {
            let take = |label: &str, verdict| results.take(label, verdict);
            kvm_amd::run_all(&cases, &hosts, &library, take)?;
        } else {
            crate::out!("\nrunning {} guests", cases.len());
            let overwrite = args.overwrite;
            run_all(&cases, &hosts, &mut results, |_, case, by| engine::run(case, by, overwrite));
        }
    }
    if !pages.is_empty() {
        read(&pages, &mut results);
    }
    if ends {
        let verdict = guest_tests::ends(&build_host_for(None, &[])?, args.overwrite)?;
        results.take(guest_tests::ENDS_LABEL, verdict);
    }
    if words {
        let verdict = guest_tests::words(&build_host_for(None, &[])?, args.overwrite)?;
        results.take(guest_tests::WORDS_LABEL, verdict);
    }
    if soaks {
        crate::out!("\nrunning many VMs in one process");
        results.take(soak::LABEL, soak::short()?);
    }
    if measures {
        crate::out!("\nrunning the laboratory");
        results.take(lab::LABEL, lab::smoke()?);
    }
    if browses {
        crate::out!("\nrunning a browser");
        results.take(browser::LABEL, browser::test()?);
    }
    Ok(results.conclude())
}

/// Grades, if it is a folder that is named.
fn graded(args: &Args) -> Result<Option<ExitCode>, Failure> {
    if let Some(folder) = args.filter.as_deref().filter(|it| exercise::is_folder(it)) {
        let submission = args.submission.as_deref();
        return exercise::grade(Path::new(folder), submission, &args.emit, args.overwrite)
            .map(Some);
    }
    if args.submission.is_none() && args.emit.is_empty() {
        return Ok(None);
    }
    Err(Failure::new(
        "--submission and --emit are for exercises: name their folder, with a `/` in its path",
    ))
}

/// Does what the book's pages tell their readers to do, and says which blocks nobody runs.
fn read(pages: &[book::Page], results: &mut Results) {
    crate::out!("\nrunning {} pages of the book", pages.len());
    for page in pages {
        results.take(&page.label, page.run());
    }
    let checked: usize = pages.iter().map(book::Page::checked).sum();
    let unchecked: Vec<&String> = pages.iter().flat_map(|page| &page.unchecked).collect();
    let tested: usize = pages.iter().map(|page| page.tested).sum();
    crate::out!(
        "{checked} blocks were run, tests in xtask/tests run {tested}, {} say that nobody does",
        unchecked.len()
    );
    for place in unchecked {
        crate::out!("  {place}");
    }
}

/// Runs the cases with a note of what they reach.
fn cover(cases: &[Case], filter: Option<&str>) -> Result<ExitCode, Failure> {
    let hosts = hosts(cases, &coverage::words())?;
    let place = coverage::Place::new()?;
    crate::out!("\nrunning {} guests for what they reach", cases.len());
    let mut results = Results { tally: Tally::default(), failures: Vec::new() };
    run_all(cases, &hosts, &mut results, |index, case, by| place.cover(index, case, by));
    crate::out!("\nrunning the tests in guests for what they reach");
    let file = place.tests().display().to_string();
    let words =
        ["--emit", &format!("coverage={file}"), "--coverage-of", &root().display().to_string()];
    let command = guest_tests::command(&hosts[&None], &words, filter)?;
    results.tally.add(&cargo_tests(command, "guests")?);
    place.conclude(&hosts[&None], cases.len())?;
    Ok(results.conclude())
}

/// A program's name in the list of results.
fn label(program: &Program) -> String {
    format!("{} {}", program.kind, program.name)
}

/// The case that a program's header makes of it.
fn case_of(program: &Program) -> Result<Case, Failure> {
    let directives = program.directives()?;
    let golden = match directives.output_ignored {
        true => Golden::Ignored,
        false => Golden::File(program.golden.clone()),
    };
    let image = program.image(Profile::Release);
    let image = match program.package {
        Some(_) => Image::Built(image),
        None => Image::Source { text: None, file: program.source.clone(), image },
    };
    Ok(Case {
        label: label(program),
        half: halves::of(&program.name, directives.host.as_deref())?,
        image,
        directives,
        golden,
        differs: None,
    })
}

/// Runs the host's tests.
fn host_tests(filter: Option<&str>) -> Result<Tally, Failure> {
    let mut command = cargo("test");
    // With all that is built in only when it is asked for.
    command.args(["--features", "portcall-cli/instruments", "--no-fail-fast"]).args(filter);
    cargo_tests(command, "host")
}

/// Runs the tests in guests, in both rings.
fn guest_tests(filter: Option<&str>) -> Result<Tally, Failure> {
    let portcall = build_host_for(None, &[])?;
    let mut tally = Tally::default();
    for ring in ["0", "3"] {
        crate::out!("\nrunning the tests in guests, in ring {ring}");
        let command = guest_tests::command(&portcall, &["--ring", ring], filter)?;
        tally.add(&cargo_tests(command, "guests")?);
    }
    Ok(tally)
}

/// Runs tests by cargo, passing on what they print.
fn cargo_tests(mut command: Command, what: &str) -> Result<Tally, Failure> {
    if io::stdout().is_terminal() {
        command.args(["--", "--color", "always"]);
    }
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| cannot_start(&command, &error))?;
    let mut tally = Tally::default();
    let mut section = Section::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| Failure(format!("cannot read tests: {error}")))?;
            let line = String::from_utf8_lossy(&line);
            tally.add_result_of(&line);
            if section.is_worth_showing(&line) {
                crate::out!("{line}");
            }
        }
    }
    let status = child.wait().map_err(|error| cannot_start(&command, &error))?;
    if !status.success() && tally.failed == 0 {
        // They did not build, or one took its process with it; either is a failure.
        tally.failed = 1;
        crate::out!("test {what} ... {BAD}FAILED{BAD:#}, cargo test says why");
    }
    Ok(tally)
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Takes in libtest's line `test result: ok. 3 passed; 0 failed; ...`.
    fn add_result_of(&mut self, line: &str) {
        let Some((_, numbers)) =
            line.strip_prefix("test result: ").and_then(|it| it.split_once(". "))
        else {
            return;
        };
        for item in numbers.split("; ") {
            match item.split_once(' ').map(|(number, what)| (number.parse::<usize>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

/// Leaves out what test binaries without a test print.
#[derive(Default)]
struct Section {
    empty: bool,
    after_empty: bool,
}

impl Section {
    fn is_worth_showing(&mut self, line: &str) -> bool {
        if line == "running 0 tests" {
            self.empty = true;
        }
        let blank_after_empty = self.after_empty && line.is_empty();
        let show = !self.empty && !blank_after_empty;
        self.after_empty &= blank_after_empty;
        if self.empty && line.starts_with("test result: ") {
            (self.empty, self.after_empty) = (false, true);
        }
        show
    }
}

/// The programs that run cases, by the name of the host half; `portcall` itself has none.
type Halves = BTreeMap<Option<String>, PathBuf>;

/// Builds those that these cases need, and `portcall`, which replays all of them.
/// `words` are those that they will be given.
fn hosts(cases: &[Case], words: &[OsString]) -> Result<Halves, Failure> {
    let mut hosts = Halves::from([(None, build_host_for(None, words)?)]);
    for case in cases {
        if !hosts.contains_key(&case.half) {
            hosts.insert(case.half.clone(), build_host_for(case.half.as_deref(), words)?);
        }
    }
    Ok(hosts)
}

/// Runs the cases, as many at a time as there are processors; the results are in their order.
fn run_all(
    cases: &[Case],
    hosts: &Halves,
    results: &mut Results,
    run: impl Fn(usize, &Case, Hosts<'_>) -> Verdict + Sync,
) {
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut verdicts: Vec<Option<Verdict>> = cases.iter().map(|_| None).collect();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                while let Some((index, case)) = take(cases, next) {
                    let by = Hosts { own: &hosts[&case.half], stock: &hosts[&None] };
                    let verdict = run(index, case, by);
                    let sent = sender.send((index, verdict));
                    if sent.is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut taken = 0;
        for (index, verdict) in receiver {
            verdicts[index] = Some(verdict);
            while let Some(verdict) = verdicts.get_mut(taken).and_then(Option::take) {
                results.take(&cases[taken].label, verdict);
                taken += 1;
            }
        }
    });
}

/// The next case that no worker has taken.
fn take<'a>(cases: &'a [Case], next: &AtomicUsize) -> Option<(usize, &'a Case)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    cases.get(index).map(|case| (index, case))
}

/// What came of the cases so far.
struct Results {
    tally: Tally,
    /// Names, and what is wrong; said in full at the end.
    failures: Vec<(String, String)>,
}

impl Results {
    /// Says what has failed, and the sums.
    fn conclude(self) -> ExitCode {
        for (label, how) in self.failures {
            anstream::print!("\n---- {label} ----\n{how}");
        }
        let Tally { passed, failed, skipped } = self.tally;
        let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
        crate::out!("\n{passed} passed, {failed} failed{skipped}");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Prints and counts one result.
    fn take(&mut self, label: &str, verdict: Verdict) {
        match &verdict {
            Verdict::Passed | Verdict::Accepted | Verdict::Differs(_) => self.tally.passed += 1,
            Verdict::Skipped(_) => self.tally.skipped += 1,
            Verdict::Failed(_) => self.tally.failed += 1,
        }
        match verdict {
            Verdict::Passed => crate::out!("test {label} ... {GOOD}ok{GOOD:#}"),
            Verdict::Accepted => {
                crate::out!("test {label} ... {GOOD}ok{GOOD:#}, its golden is new");
            }
            Verdict::Differs(why) => {
                crate::out!("test {label} ... {GOOD}ok{GOOD:#}, differs: {why}");
            }
            Verdict::Skipped(why) => {
                crate::out!("test {label} ... {LEFT_OUT}ignored{LEFT_OUT:#}, {why}");
            }
            Verdict::Failed(how) => {
                crate::out!("test {label} ... {BAD}FAILED{BAD:#}");
                self.failures.push((label.to_owned(), how));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_results_are_added() {
        let mut tally = Tally::default();
        tally.add_result_of("test result: ok. 3 passed; 0 failed; 1 ignored; finished in 0.00s");
        tally.add_result_of(
            "test result: \x1b[31mFAILED\x1b(B\x1b[m. 1 passed; 2 failed; 0 ignored",
        );
        tally.add_result_of("test a::b ... ok");
        assert_eq!(tally, Tally { passed: 4, failed: 2, skipped: 0 });
    }

    #[test]
    fn empty_sections_are_left_out() {
        let text =
            "\nrunning 0 tests\n\ntest result: ok. 0 passed\n\n\nrunning 1 test\ntest a ... ok\n";
        let mut section = Section::default();
        let shown: Vec<_> = text.lines().filter(|line| section.is_worth_showing(line)).collect();
        assert_eq!(shown, ["", "running 1 test", "test a ... ok"]);
    }
}
