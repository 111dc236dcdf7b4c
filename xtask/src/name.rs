//! What an experiment may be called: its name is a guest program's, a host half's, a Rust
//! module's, and its interface's.

use crate::Failure;

/// A name that works in all these places.
#[derive(Debug, PartialEq)]
pub(crate) struct Name(String);

/// More would break lines in what is generated.
const LENGTH_MAX: usize = 40;

/// Keywords, strict and reserved, of all editions (Rust Reference, "Keywords").
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn \
    else enum extern false final fn for gen if impl in let loop macro match mod move mut override \
    priv pub ref return self static struct super trait true try type typeof unsafe unsized use \
    virtual where while yield";

/// A module of such a name would stand in the way of the type.
const PRIMITIVES: &str =
    "bool char f32 f64 i8 i16 i32 i64 i128 isize str u8 u16 u32 u64 u128 usize";

/// Interfaces that every host has (guest/abi): another of such a name would be taken for them.
const STOCK: &str = "host host-address span";

/// Crates that come with the compiler.
const CRATES: &str = "alloc core proc-macro std test";

/// Beside lib.rs, main.rs is a program to cargo; the others are what `hypercalls!` makes beside
/// the trait.
const TAKEN: &str = "lib main client server number";

impl Name {
    /// Takes a name that someone wrote; `lock` is our Cargo.lock, which has all crates in use.
    pub(crate) fn parse(text: &str, lock: &str) -> Result<Self, Failure> {
        let refused = |why: &str| Err(Failure(format!("`{text}` cannot be a name: {why}")));
        let letters = |part: &str| {
            let mut bytes = part.bytes();
            !part.is_empty() && bytes.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
        };
        let first_is_letter = text.starts_with(|it: char| it.is_ascii_lowercase());
        if !first_is_letter || !text.split(['-', '_']).all(letters) {
            return refused(
                "write lower-case letters and digits, a letter first, with single - or _ between \
                 them, as in my-experiment",
            );
        }
        if text.len() > LENGTH_MAX {
            return refused(&format!("it is longer than {LENGTH_MAX} characters; shorten it"));
        }
        let name = Self(text.to_owned());
        let is_among = |list: &str| list.split_whitespace().any(|it| name.is_like(it));
        if is_among(KEYWORDS) {
            return refused("it is a keyword of Rust's; choose another");
        }
        if is_among(PRIMITIVES) {
            return refused("it is a type of Rust's; choose another");
        }
        if is_among(TAKEN) {
            return refused("the interface's module has another use for it; choose another");
        }
        if is_among(STOCK) {
            return refused("an interface of every host's is called so; choose another");
        }
        if is_among(CRATES) || crates_in(lock).any(|it| name.is_like(it)) {
            return refused("it is the name of a crate that is used here; choose another");
        }
        Ok(name)
    }

    /// As it was written: a program's name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a module.
    pub(crate) fn module(&self) -> String {
        self.0.replace('-', "_")
    }

    /// As a trait.
    pub(crate) fn interface(&self) -> String {
        let mut camel = String::new();
        for part in self.0.split(['-', '_']) {
            let (first, rest) = part.split_at(1);
            camel += &first.to_ascii_uppercase();
            camel += rest;
        }
        camel
    }

    /// Whether both are the same to Rust, for which - is _.
    pub(crate) fn is_like(&self, other: &str) -> bool {
        self.module() == other.replace('-', "_")
    }
}

/// The packages that a Cargo.lock names, and what the libraries of ours among them are called.
fn crates_in(lock: &str) -> impl Iterator<Item = &str> {
    let packages =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    packages.flat_map(|it| [it, it.strip_prefix("portcall-").unwrap_or(it)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str =
        "[[package]]\nname = \"kvm-ioctls\"\n\n[[package]]\nname = \"portcall-abi\"\n";

    fn complaint(text: &str) -> String {
        Name::parse(text, LOCK).expect_err(text).0
    }

    #[test]
    fn a_name_is_a_program_a_module_and_an_interface() {
        for (text, module, interface) in [
            ("a", "a", "A"),
            ("scores", "scores", "Scores"),
            ("my-experiment", "my_experiment", "MyExperiment"),
            ("two_2_three", "two_2_three", "Two2Three"),
        ] {
            let name = Name::parse(text, LOCK).expect(text);
            assert_eq!(
                (name.as_str(), &*name.module(), &*name.interface()),
                (text, module, interface)
            );
        }
    }

    #[test]
    fn odd_characters_are_refused_with_what_may_be_written() {
        for text in [
            "", "Scores", "2x", "-x", "x-", "x--y", "x_-y", "_x", "a b", "a/b", "a.rs", "é", "..",
            "{{x}}",
        ] {
            assert!(complaint(text).contains("write lower-case letters"), "{text}");
        }
        assert!(Name::parse(&"x".repeat(LENGTH_MAX), LOCK).is_ok());
        assert!(complaint(&"x".repeat(LENGTH_MAX + 1)).contains("longer than 40"));
    }

    #[test]
    fn names_with_another_meaning_are_refused_with_the_meaning() {
        for (text, meaning) in [
            ("async", "keyword"),
            ("gen", "keyword"),
            ("u64", "type"),
            ("str", "type"),
            ("main", "another use"),
            ("server", "another use"),
            ("host_address", "every host"),
            ("core", "crate"),
            ("proc_macro", "crate"),
            ("kvm-ioctls", "crate"),
            ("kvm_ioctls", "crate"),
            ("portcall-abi", "crate"),
            ("abi", "crate"),
        ] {
            assert!(complaint(text).contains(meaning), "{}", complaint(text));
        }
    }
}
