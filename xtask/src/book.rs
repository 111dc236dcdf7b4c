//! The book: every block of docs/src is run. A program is written to the file that its fence names,
//! a change to it is applied, and a session's commands are run, in the page's order; what they print is
//! compared with what stands there. A block may be run by a test of its own, which it names and which has to
//! name it. One that nobody runs is a failure, unless it says so.

use crate::cargo::{cannot_start, root, target_dir};
use crate::documents::{Fence, fences};
use crate::engine::Verdict;
use crate::process;
use crate::transcript::{self, Command};
use crate::{Failure, documents};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

/// What the labels of its pages begin with.
pub(crate) const LABEL: &str = "book ";

/// Where pages are.
const PAGES: &str = "docs/src";

/// When a session has hung; the first one may have to build all that a host half needs.
const DEADLINE: Duration = Duration::from_secs(600);

/// Where files that a page includes may be: what the tests build.
const BUILT: [&str; 4] = ["guest/", "host/", "docs/exercises/", "docs/solutions/"];

/// Where tests are that run blocks of pages themselves: where what they do takes another place than `work`.
const TESTS: &str = "xtask/tests";

/// A page of the book.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its name among the tests.
    pub(crate) label: String,
    /// The file, from the root.
    file: String,
    steps: Vec<(usize, Step)>,
    /// How many blocks a test of their own runs.
    pub(crate) tested: usize,
    /// Blocks that are not run: their lines, and what they are.
    pub(crate) unchecked: Vec<String>,
}

/// What a block asks for.
#[derive(Debug, PartialEq)]
enum Step {
    /// Write this to that file.
    Write { file: String, text: String },
    /// Change files so.
    Patch(String),
    /// Run these.
    Session(Vec<Command>),
    /// A part of a file, which is included when the book is built.
    Include,
    /// Nothing here: a test of its own runs it.
    Tested,
}

/// All pages, in order; with those that SUMMARY.md, and so the book, has not.
pub(crate) fn pages() -> Result<Vec<Page>, Failure> {
    let mut files = Vec::new();
    documents::markdown_under(&root().join(PAGES), &mut files)?;
    files.sort();
    let read =
        |file: &PathBuf| fs::read_to_string(file).map_err(|it| Failure::file("read", file, it));
    let summary = root().join(PAGES).join("SUMMARY.md");
    let summary = if summary.is_file() { read(&summary)? } else { String::new() };
    let mut pages = Vec::new();
    for path in files {
        let file = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        let name = file.strip_prefix(PAGES).unwrap_or(&file).trim_start_matches('/');
        if name == "SUMMARY.md" {
            continue;
        }
        if !summary.contains(&format!("]({name})")) {
            return Err(Failure(format!(
                "{file} is not in {PAGES}/SUMMARY.md, so not in the book"
            )));
        }
        pages.push(Page::read(&file, name, &read(&path)?)?);
    }
    Ok(pages)
}

impl Page {
    fn read(file: &str, name: &str, text: &str) -> Result<Self, Failure> {
        if let Some(line) = text.lines().position(|it| it.contains("](../")) {
            let line = line + 1;
            return Err(Failure(format!(
                "{file}:{line}: a link out of {PAGES}, which is all that a built book has; write the \
                 file's path as code"
            )));
        }
        let fences = fences(text);
        let mut page = Self {
            label: format!("{LABEL}{}", name.trim_end_matches(".md")),
            file: file.to_owned(),
            steps: Vec::new(),
            tested: 0,
            unchecked: Vec::new(),
        };
        for (index, fence) in fences.iter().enumerate() {
            let wrong = |what: &str| Failure(format!("{file}:{}: {what}", fence.line));
            let step = step(fence, file).map_err(|it| wrong(&it))?;
            let Some(step) = step else {
                page.unchecked.push(format!("{file}:{}: {}", fence.line, first_line(fence)));
                continue;
            };
            if step == Step::Tested {
                page.tested += 1;
                continue;
            }
            if let Step::Write { file, .. } = &step {
                if !text.contains(&format!("`{file}`")) {
                    return Err(wrong(&format!("the page does not tell its reader of `{file}`")));
                }
                let behind = &fences[index + 1..];
                if !behind.iter().any(|it| uses(it, file)) {
                    return Err(wrong(&format!("no command behind it runs {file}")));
                }
            }
            page.steps.push((fence.line, step));
        }
        Ok(page)
    }

    /// How many blocks are run or checked.
    pub(crate) fn checked(&self) -> usize {
        self.steps.len()
    }

    /// Does all that its blocks ask for, in a folder of its own.
    pub(crate) fn run(&self) -> Verdict {
        self.walk().map_or_else(|Failure(how)| Verdict::Failed(how + "\n"), |()| Verdict::Passed)
    }

    fn walk(&self) -> Result<(), Failure> {
        let place = mirror(&self.label.replace([' ', '/'], "-"))?;
        for (line, step) in &self.steps {
            let failed = |Failure(how)| Failure(format!("{}:{line}: {how}", self.file));
            match step {
                Step::Write { file, text } => write(&place.join(file), text).map_err(failed)?,
                Step::Patch(text) => patch(&place, text).map_err(failed)?,
                Step::Session(commands) => session(&place, commands).map_err(failed)?,
                Step::Include | Step::Tested => {}
            }
        }
        Ok(())
    }
}

/// Whether a block runs a file, or a program of which it is a part: NAME-host.rs is one of NAME.rs, and
/// so is a module.
fn uses(fence: &Fence, file: &str) -> bool {
    let stem = Path::new(file).file_stem().unwrap_or_default().display();
    match fence.language.as_str() {
        "console" => {
            [file, &file.replace("-host.rs", ".rs")].iter().any(|it| fence.text.contains(it))
        }
        "rust" => fence.text.contains(&format!("mod {stem};")),
        _ => false,
    }
}

/// What a fence asks for; nothing if it says that it is not run.
fn step(fence: &Fence, page: &str) -> Result<Option<Step>, String> {
    let words = || fence.info.split([',', ' ']).skip(1);
    if words().any(|it| it == "unchecked") {
        return Ok(None);
    }
    let lines = || fence.text.lines();
    if lines().next().is_some() && lines().all(|line| line.starts_with("{{#include ")) {
        let page = Path::new(page);
        lines().try_for_each(|line| included(line, page))?;
        return Ok(Some(Step::Include));
    }
    if let Some(test) = words().find_map(|it| it.strip_prefix("tested=")) {
        return named_by_its_test(test).map(|()| Some(Step::Tested));
    }
    if let Some(file) = words().find_map(|it| it.strip_prefix("file=")) {
        if !file.starts_with("work/") || file.contains("..") {
            return Err(format!("file={file}: a reader's files are in work/"));
        }
        return Ok(Some(Step::Write { file: file.to_owned(), text: fence.text.clone() }));
    }
    match fence.language.as_str() {
        "console" => Ok(Some(Step::Session(transcript::commands(&fence.text)?))),
        "diff" => Ok(Some(Step::Patch(fence.text.clone()))),
        _ => Err("nobody runs this block: write file=work/NAME behind the language, {{#include}} \
                  of a file, `console` or `diff`; tested=FILE:NAME, if a test in xtask/tests/FILE.rs runs it; \
                  or `unchecked`, which is counted"
            .to_owned()),
    }
}

/// Makes sure that the test of `FILE:NAME` is there, and takes the block by that name.
fn named_by_its_test(test: &str) -> Result<(), String> {
    let (file, name) = test.split_once(':').ok_or("write tested=FILE:NAME")?;
    let file = format!("{TESTS}/{file}.rs");
    let text = fs::read_to_string(root().join(&file)).map_err(|it| format!("{file}: {it}"))?;
    if !text.contains(&format!("\"{name}\"")) {
        return Err(format!("{file} has no \"{name}\": no test there runs this block"));
    }
    Ok(())
}

/// Makes sure that `{{#include PATH:ANCHOR}}` has its file and its anchor.
fn included(line: &str, page: &Path) -> Result<(), String> {
    let words = line.strip_prefix("{{#include ").and_then(|it| it.strip_suffix("}}"));
    let words = words.ok_or("write {{#include PATH}} or {{#include PATH:ANCHOR}}")?;
    let (path, anchor) = words.split_once(':').unwrap_or((words, ""));
    let mut file = PathBuf::new();
    for part in page.parent().unwrap_or(page).join(path).components() {
        if part.as_os_str() == ".." {
            file.pop();
        } else {
            file.push(part);
        }
    }
    let name = file.display();
    if !BUILT.iter().any(|it| file.to_string_lossy().starts_with(it)) {
        return Err(format!("{name} is not built by the tests; those of {} are", BUILT.join(", ")));
    }
    let text = fs::read_to_string(root().join(&file)).map_err(|it| format!("{name}: {it}"))?;
    let has = |mark: &str| text.lines().any(|it| it.trim().ends_with(&format!("{mark}: {anchor}")));
    if !(anchor.is_empty() || has("ANCHOR") && has("ANCHOR_END")) {
        return Err(format!("{name} has no lines `ANCHOR: {anchor}` and `ANCHOR_END: {anchor}`"));
    }
    Ok(())
}

fn first_line(fence: &Fence) -> &str {
    fence.text.lines().next().unwrap_or_default().trim()
}

/// An empty folder below target/ from which the repository looks as it does from its root, but for
/// work/, which a page fills.
fn mirror(name: &str) -> Result<PathBuf, Failure> {
    let place = target_dir().join("xtask/book").join(name);
    if place.exists() {
        // Links are removed, not followed.
        fs::remove_dir_all(&place).map_err(|error| Failure::file("remove", &place, error))?;
    }
    let failed = |error| Failure::file("create", &place, error);
    fs::create_dir_all(place.join("work")).map_err(failed)?;
    for name in ["docs", "guest", "host", "target", "README.md", "CONTRIBUTING.md"] {
        let there = root().join(name);
        if there.exists() {
            symlink(there, place.join(name)).map_err(failed)?;
        }
    }
    Ok(place)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, error))?;
    fs::write(file, text).map_err(|error| Failure::file("write", file, error))
}

/// Applies a change as `git apply` does, without a repository around it.
fn patch(place: &Path, text: &str) -> Result<(), Failure> {
    let file = place.join("work/.patch");
    write(&file, text)?;
    let mut git = Process::new("git");
    git.args(["apply", "--whitespace=nowarn"]).arg(&file).current_dir(place);
    git.env("GIT_CEILING_DIRECTORIES", place.parent().unwrap_or(place));
    let output = git.output().map_err(|error| cannot_start(&git, &error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure(format!("it does not apply: {}", String::from_utf8_lossy(&output.stderr))))
}

/// Runs the commands of a block in one shell and compares.
fn session(place: &Path, commands: &[Command]) -> Result<(), Failure> {
    let xtask = std::env::current_exe()
        .map_err(|error| Failure(format!("cannot find this program itself: {error}")))?;
    let mut bash = Process::new("bash");
    bash.args(["--norc", "-c", &transcript::script(commands)]).current_dir(place);
    // As it is for who types it: what is around a test is not around a reader.
    bash.env("XTASK", xtask).env("TERM", "dumb").env("CARGO_TERM_COLOR", "never");
    let ran = process::run(&mut bash, Vec::new(), DEADLINE)
        .map_err(|error| cannot_start(&bash, &error))?;
    transcript::compare(commands, &String::from_utf8_lossy(&ran.stdout)).map_err(Failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Page, String> {
        Page::read("docs/src/a.md", "a.md", text).map_err(|Failure(message)| message)
    }

    #[test]
    fn every_kind_of_block_is_found_in_order() {
        let page = read(
            "Save `work/a.rs`:\n\n```rust,file=work/a.rs\nfn main() {}\n```\n\n```diff\n-a\n```\n\n\
             ```rust\n{{#include ../../guest/examples/hello.rs}}\n```\n\n\
             ```console\n$ cargo xtask run work/a.rs\nx\n```\n\n\
             ```toml,tested=guide:manifest\n[lib]\n```\n\n```text,unchecked\nIt is so.\n```\n",
        )
        .expect("well-formed");
        let lines: Vec<usize> = page.steps.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 8, 12, 16]);
        assert_eq!((page.label.as_str(), page.steps[2].1 == Step::Include), ("book a", true));
        assert_eq!(page.tested, 1);
        assert_eq!(page.unchecked, ["docs/src/a.md:25: It is so."]);
    }

    #[test]
    fn a_block_that_nobody_runs_is_an_error() {
        for (text, wrong) in [
            ("```rust\nfn main() {}\n```\n", "a.md:2: nobody runs this block"),
            ("```text\nx\n```\n", "nobody runs this block"),
            ("```\nx\n```\n", "nobody runs this block"),
            ("```toml,tested=crates\nx\n```\n", "write tested=FILE:NAME"),
            ("```toml,tested=none:a\nx\n```\n", "xtask/tests/none.rs: "),
            ("```toml,tested=crates:no-such\nx\n```\n", "no test there runs this block"),
            ("    indented\n", "nobody runs this block"),
            ("`work/a.rs`\n```rust,file=work/a.rs\n```\n", "no command behind it runs work/a.rs"),
            ("```rust,file=work/a.rs\n```\n", "does not tell its reader"),
            ("```rust,file=guest/a.rs\n//\n```\n", "files are in work/"),
            ("```console\nx\n```\n", "before the first command"),
            ("```rust\n{{#include ../../guest/examples/none.rs}}\n```\n", "none.rs: "),
            (
                "```rust\n{{#include ../../guest/examples/hello.rs:no}}\n```\n",
                "no lines `ANCHOR: no`",
            ),
            ("see [this](../../README.md)\n", "a link out of docs/src"),
            ("```toml\n{{#include ../../Cargo.toml}}\n```\n", "is not built by the tests"),
        ] {
            let message = read(text).expect_err(text);
            assert!(message.contains(wrong), "{text}: {message}");
        }
    }
}
