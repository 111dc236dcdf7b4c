//! Every seed, and every input that once found something, through its target; as the fuzzer would,
//! but with the stable compiler.

use fuzz_targets::TARGETS;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The files of a directory, by name; none where there is none.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|it| it.expect("readable").path()).collect();
    files.sort();
    files
}

#[test]
fn seeds_and_regressions_pass() {
    for (name, target) in TARGETS {
        let seeds = files(&fuzz().join("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for input in seeds.into_iter().chain(files(&fuzz().join("regressions").join(name))) {
            println!("{}", input.display());
            target(&std::fs::read(&input).expect("readable"));
        }
        target(b"");
    }
}

#[test]
fn every_target_has_its_runner_and_its_words() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).expect("readable");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        let runner = fuzz().join(format!("fuzz_targets/{name}.rs"));
        let runner = std::fs::read_to_string(runner).expect("readable");
        assert!(runner.contains(&format!("{name}::target(data)")), "{name}");
        assert!(fuzz().join(format!("{name}.dict")).is_file(), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

#[test]
fn nothing_is_kept_for_a_target_that_there_is_not() {
    for kind in ["seeds", "regressions"] {
        for directory in files(&fuzz().join(kind)).into_iter().filter(|it| it.is_dir()) {
            let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(TARGETS.iter().any(|(target, _)| *target == name), "{kind}/{name}");
        }
    }
}
