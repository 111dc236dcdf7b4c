//! Host halves of experiments: host/examples/NAME.rs, the command line of `portcall` with
//! handlers for the guest of the same name, or for those that name it.

use crate::Failure;
use crate::cargo::root;
use crate::programs::{closest, is_rust, source_of};
use std::path::Path;

/// Where they live; they are examples of the package `portcall`.
const HOME: &str = "host/examples";

/// The host half for a guest called `name`, if it has one: the one that its header asks for, or
/// the one of its own name.
pub(crate) fn of(name: &str, asked: Option<&str>) -> Result<Option<String>, Failure> {
    choose(name, asked, &names()?)
}

/// The names of all host halves.
pub(crate) fn names() -> Result<Vec<String>, Failure> {
    all(&root().join(HOME))
}

fn choose(name: &str, asked: Option<&str>, halves: &[String]) -> Result<Option<String>, Failure> {
    let wanted = asked.unwrap_or(name);
    if halves.iter().any(|it| it == wanted) {
        return Ok(Some(wanted.to_owned()));
    }
    match asked {
        None => Ok(None),
        Some(asked) => {
            let names = halves.iter().map(String::as_str);
            Err(Failure(format!(
                "{name}: `//@ host: {asked}` names no host half; write {HOME}/{asked}.rs, or name \
                 another. {}",
                closest("Host halves", asked, names)
            )))
        }
    }
}

/// The names of all host halves in a directory, which need not exist.
fn all(home: &Path) -> Result<Vec<String>, Failure> {
    if !home.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in home.read_dir().map_err(|error| Failure::file("read", home, error))? {
        let path = entry.map_err(|error| Failure::file("read", home, error))?.path();
        let is_half = source_of(&path).is_some_and(|it| is_rust(&it));
        names.extend(path.file_stem().filter(|_| is_half).map(|it| it.display().to_string()));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_the_half_it_asks_for_or_that_of_its_name() {
        let halves = ["dice".to_owned(), "store".to_owned()];
        let chosen = |name, asked| choose(name, asked, &halves);
        assert_eq!(chosen("dice", None), Ok(Some("dice".to_owned())));
        assert_eq!(chosen("dice-c", Some("dice")), Ok(Some("dice".to_owned())));
        assert_eq!(chosen("dice", Some("store")), Ok(Some("store".to_owned())));
        assert_eq!(chosen("hello", None), Ok(None));
        let Failure(message) = chosen("dice-c", Some("dise")).expect_err("there is none");
        assert!(message.starts_with("dice-c: `//@ host: dise` names no host half"), "{message}");
        assert!(message.contains("write host/examples/dise.rs"), "{message}");
        assert!(message.ends_with("Did you mean dice? Host halves: dice, store"), "{message}");
    }
}
