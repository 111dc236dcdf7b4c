//! What `cargo xtask new` writes: the files of xtask/template, with names put into them.

use crate::name::Name;

/// A file to be made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Where, relative to the workspace's root.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
    /// What it is, for a person; empty if that need not be said.
    pub(crate) what: &'static str,
}

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../template/", $path))
    };
}

const CALLS: &str = template!("calls.rs");
const GUEST: &str = template!("guest.rs");
const OUTPUT: &str = template!("guest.out");

/// An experiment in this workspace, but for the line that names its interface.
pub(crate) fn experiment(name: &Name) -> Vec<Made> {
    let (program, module) = (name.as_str(), name.module());
    let made = |path: String, what, text| Made { path, text: fill(text, name, ""), what };
    vec![
        made(format!("guest/examples/{program}.rs"), "the guest program", GUEST),
        made(format!("guest/examples/{program}.out"), "what it must print", OUTPUT),
        made(format!("guest/calls/src/{module}.rs"), "the interface of both sides", CALLS),
        made(
            format!("host/examples/{program}.rs"),
            "the host half, which answers",
            template!("experiment.rs"),
        ),
    ]
}

/// A workspace of its own, which uses the Portcall at `portcall`, an absolute path, and the
/// versions of crates in `lock`.
pub(crate) fn workspace(name: &Name, portcall: &str, lock: String) -> Vec<Made> {
    let interface = format!("calls/src/{}.rs", name.module());
    let made = |(path, what, text): (&str, &'static str, &str)| Made {
        path: path.to_owned(),
        text: fill(text, name, portcall),
        what,
    };
    let mut files: Vec<Made> = [
        ("guest/src/main.rs", "the guest program", GUEST),
        ("guest/main.out", "what it must print", OUTPUT),
        (
            "guest/tests/guest.rs",
            "the guest's own tests, each in a VM",
            template!("workspace/guest/tests.rs"),
        ),
        (&*interface, "the interface of both sides", CALLS),
        (
            "host/src/main.rs",
            "the host, which runs and answers it",
            template!("workspace/host/src/main.rs"),
        ),
        ("host/tests/run.rs", "the test of both", template!("workspace/host/tests/run.rs")),
        ("README.md", "what there is, and what to do", template!("workspace/README.md")),
        ("Cargo.toml", "", template!("workspace/Cargo.toml")),
        // Without its dot, so that git does not obey it here.
        (".gitignore", "", template!("workspace/gitignore")),
        ("calls/Cargo.toml", "", template!("workspace/calls/Cargo.toml")),
        ("calls/src/lib.rs", "", template!("workspace/calls/lib.rs")),
        ("guest/Cargo.toml", "", template!("workspace/guest/Cargo.toml")),
        ("host/Cargo.toml", "", template!("workspace/host/Cargo.toml")),
        ("host/build.rs", "", template!("workspace/host/build.rs")),
        ("xtask/Cargo.toml", "", template!("workspace/xtask/Cargo.toml")),
        ("xtask/src/main.rs", "", template!("workspace/xtask/src/main.rs")),
        // As here: the toolchain, the guest's flags, the style.
        (".cargo/config.toml", "", include_str!("../../.cargo/config.toml")),
        (".cargo/runner", "", template!("workspace/runner")),
        ("rust-toolchain.toml", "", include_str!("../../rust-toolchain.toml")),
        ("rustfmt.toml", "", include_str!("../../rustfmt.toml")),
    ]
    .into_iter()
    .map(made)
    .collect();
    files.push(Made { path: "Cargo.lock".to_owned(), text: lock, what: "" });
    files
}

/// Puts the names into a template.
fn fill(text: &str, name: &Name, portcall: &str) -> String {
    text.replace("{{name}}", name.as_str())
        .replace("{{module}}", &name.module())
        .replace("{{interface}}", &name.interface())
        .replace("{{portcall}}", portcall)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn name() -> Name {
        Name::parse("my-name", "").expect("a name")
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let workspace = workspace(&name(), "/portcall", String::new());
        for file in experiment(&name()).iter().chain(&workspace) {
            assert!(!file.text.contains("{{"), "{}", file.path);
        }
        let manifest = workspace.iter().find(|it| it.path == "Cargo.toml").expect("a manifest");
        assert!(manifest.text.contains("portcall = { path = \"/portcall/host\" }"));
        assert!(manifest.text.contains("package = \"my-name-calls\""));
    }

    #[test]
    fn every_template_is_used() {
        let mut texts = BTreeSet::new();
        read(&root().join("xtask/template"), &mut texts);
        let made: BTreeSet<String> = experiment(&name())
            .into_iter()
            .chain(workspace(&name(), "/portcall", String::new()))
            .map(|it| it.text)
            .collect();
        for text in texts {
            assert!(made.contains(&text), "no file has this text:\n{text}");
        }
    }

    /// The templates of a directory, filled in.
    fn read(directory: &Path, texts: &mut BTreeSet<String>) {
        for entry in directory.read_dir().expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, texts);
            } else {
                let text = fs::read_to_string(&path).expect("a template");
                texts.insert(fill(&text, &name(), "/portcall"));
            }
        }
    }
}
