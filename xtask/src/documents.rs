//! Guests in the documentation beside the book: fenced blocks of C or assembly that say how they are built,
//! each followed by what it prints.

use crate::cargo::{root, target_dir};
use crate::directives::{Directives, Wrong};
use crate::engine::{Case, Golden, Image};
use crate::{Failure, halves};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use std::path::{Path, PathBuf};

/// Where guests are looked for.
const PLACES: [&str; 3] = ["ARCHITECTURE.md", "README.md", "guest/abi/README.md"];

/// A fenced block.
#[derive(Debug, PartialEq)]
pub(crate) struct Fence {
    /// The first word of what stands after the fence's opening.
    pub(crate) language: String,
    /// All that stands there.
    pub(crate) info: String,
    pub(crate) text: String,
    /// The line of the text's begin, from 1.
    pub(crate) line: usize,
}

/// The guests of all documents, in their order.
pub(crate) fn cases() -> Result<Vec<Case>, Failure> {
    let mut files: Vec<PathBuf> = PLACES.iter().map(|it| root().join(it)).collect();
    files.retain(|it| it.is_file());
    let mut cases = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).map_err(|error| Failure::file("read", &file, error))?;
        let name = file.strip_prefix(root()).unwrap_or(&file);
        cases.extend(cases_of(&name.display().to_string(), &text)?);
    }
    Ok(cases)
}

/// Adds the Markdown files of a directory that need not exist, at any depth.
pub(crate) fn markdown_under(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !directory.is_dir() {
        return Ok(());
    }
    let failed = |error| Failure::file("read", directory, error);
    for entry in directory.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            markdown_under(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// The guests of one document.
fn cases_of(file: &str, text: &str) -> Result<Vec<Case>, Failure> {
    let fences = fences(text);
    let mut cases = Vec::new();
    for (index, fence) in fences.iter().enumerate() {
        let suffix = match fence.language.as_str() {
            "c" => "c",
            // Preprocessed, so that `//` begins a comment.
            "asm" => "S",
            _ => continue,
        };
        if !fence.text.lines().any(|line| line.starts_with("//@")) {
            continue;
        }
        let directives = Directives::parse(&fence.text).map_err(|Wrong { line, message }| {
            Failure(format!("{file}:{}: {message}", fence.line + line - 1))
        })?;
        let place = format!("{file}:{}", fence.line);
        if directives.build.is_empty() {
            return Err(Failure(format!(
                "{place}: a guest in {} needs a line `//@ build: cc ... -o $OUT $IN`",
                fence.language
            )));
        }
        let golden = match directives.output_ignored {
            true => Golden::Ignored,
            false => Golden::Document(fences.get(index + 1).and_then(output).unwrap_or_default()),
        };
        let base = target_dir().join("xtask/docs").join(place.replace(['/', ':', '.'], "-"));
        cases.push(Case {
            label: format!("doc {place}"),
            half: halves::of(&place, directives.host.as_deref())?,
            image: Image::Source {
                text: Some(fence.text.clone()),
                file: base.with_extension(suffix),
                image: base,
            },
            directives,
            golden,
            differs: None,
        });
    }
    Ok(cases)
}

/// What a block says that a guest prints; the commands of a shell session are not that.
fn output(fence: &Fence) -> Option<String> {
    match fence.language.as_str() {
        "text" => Some(fence.text.clone()),
        "console" => {
            let lines = fence.text.split_inclusive('\n');
            Some(lines.filter(|line| !line.starts_with("$ ")).collect())
        }
        _ => None,
    }
}

/// All blocks of code of a document; one that is indented has no language.
pub(crate) fn fences(text: &str) -> Vec<Fence> {
    let mut fences = Vec::new();
    let mut open: Option<Fence> = None;
    for (event, range) in Parser::new(text).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let (info, before) = match kind {
                    CodeBlockKind::Fenced(info) => (info.to_string(), 2),
                    CodeBlockKind::Indented => (String::new(), 1),
                };
                let language = info.split([' ', ',']).next().unwrap_or("").to_owned();
                let line = text[..range.start].matches('\n').count() + before;
                open = Some(Fence { language, info, text: String::new(), line });
            }
            Event::Text(piece) => {
                if let Some(fence) = &mut open {
                    fence.text.push_str(&piece);
                }
            }
            Event::End(TagEnd::CodeBlock) => fences.extend(open.take()),
            _ => {}
        }
    }
    fences
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page

```c
//@ build: cc -o $OUT $IN
//@ expect: exit=3
int x;
```

It prints:

```text
out
```

```c
int no_guest;
```

- ```asm
  //@ build: cc -o $OUT $IN
  hlt
  ```

```console
$ portcall run it
out
```

```c
//@ build: cc -o $OUT $IN
```

```rust
fn main() {}
```
";

    #[test]
    fn guests_are_found_with_their_output() {
        let cases = cases_of("a.md", PAGE).expect("the page is well-formed");
        let labels: Vec<_> = cases.iter().map(|it| it.label.as_str()).collect();
        assert_eq!(labels, ["doc a.md:4", "doc a.md:20", "doc a.md:30"]);
        assert_eq!(cases[0].directives.code(), 3);
        let outputs: Vec<_> = cases.iter().map(|it| &it.golden).collect();
        let output = |text: &str| Golden::Document(text.to_owned());
        assert_eq!(outputs, [&output("out\n"), &output("out\n"), &output("")]);
        let Image::Source { text, file, .. } = &cases[1].image else { unreachable!() };
        assert_eq!(text.as_deref(), Some("//@ build: cc -o $OUT $IN\nhlt\n"));
        assert!(file.ends_with("xtask/docs/a-md-20.S"), "{}", file.display());
    }

    #[test]
    fn mistakes_are_errors_with_file_and_line() {
        let page = "x\n\n```c\n// x\n//@ built: cc\n```\n";
        let Failure(message) = cases_of("a.md", page).map(|_| ()).expect_err("unknown key");
        assert!(message.starts_with("a.md:5: there is no directive `built`"), "{message}");
        let page = "```asm\n//@ expect: exit=0\n```\n";
        let Failure(message) = cases_of("a.md", page).map(|_| ()).expect_err("no build");
        assert!(message.starts_with("a.md:2: a guest in asm needs"), "{message}");
    }
}
