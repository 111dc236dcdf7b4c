//! What pages of a run and of the laboratory have in common: HTML 5 in one file that loads nothing.
//!
//! All text goes in by maud, which escapes it; what is not seen in a text is shown first
//! ([`text`]). A page's policy allows its own style and, if it has one, its own script, which is
//! named by its hash: nothing that a guest prints could ever run.

pub mod text;
pub mod units;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

/// The SHA-256 of a file, as sha256sum(1) writes it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What all pages look like.
const STYLE: &str = include_str!("style.css");

/// A part of a page.
#[derive(Clone, Debug)]
pub struct Section {
    id: &'static str,
    title: &'static str,
    content: Markup,
}

impl Section {
    /// One that `#id` leads to.
    #[must_use]
    pub const fn new(id: &'static str, title: &'static str, content: Markup) -> Self {
        Self { id, title, content }
    }
}

/// A page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// What it is called, and its first heading.
    pub title: &'a str,
    /// Below that.
    pub subtitle: &'a Markup,
    /// What has to be known before anything else, each a sentence.
    pub warnings: &'a [String],
    /// The rest.
    pub sections: &'a [Section],
    /// Style besides what all pages have: our own, and no text from elsewhere.
    pub style: &'static str,
    /// What runs in it: our own as well, and nothing else ever does.
    pub script: Option<&'static str>,
}

/// What no page needs: neither a base for links nor forms fall back to `default-src`.
const BASIC: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The policy of a page with that script (Content Security Policy Level 3, 2.3.1 and 8.3).
fn policy(script: Option<&str>) -> String {
    match script {
        None => BASIC.to_owned(),
        Some(script) => {
            let hash = STANDARD.encode(Sha256::digest(script.as_bytes()));
            format!("{BASIC}; script-src 'sha256-{hash}'")
        }
    }
}

impl Page<'_> {
    /// The whole of it as HTML.
    #[must_use]
    pub fn document(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy(self.script));
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) (PreEscaped(self.style)) }
                }
                body {
                    header { h1 { (self.title) } (self.subtitle) }
                    @if !self.warnings.is_empty() {
                        ul.warnings aria-label="Warnings" { @for it in self.warnings { (warning(it)) } }
                    }
                    nav aria-label="Parts of this page" {
                        @for it in self.sections { a href={ "#" (it.id) } { (it.title) } " " }
                    }
                    main {
                        @for it in self.sections {
                            section id=(it.id) aria-labelledby={ (it.id) "-title" } {
                                h2 id={ (it.id) "-title" } { (it.title) }
                                (it.content)
                            }
                        }
                    }
                    @if let Some(script) = self.script { script { (PreEscaped(script)) } }
                }
            }
        };
        page.into_string()
    }
}

/// Its first word stands out.
fn warning(text: &str) -> Markup {
    match text.split_once(": ") {
        Some((word, rest)) => html! { li { b { (word) } ": " (rest) } },
        None => html! { li { (text) } },
    }
}

#[cfg(test)]
mod tests {
    use super::{BASIC, policy};

    #[test]
    fn a_file_has_the_hash_that_others_give_it() {
        // By `printf abc | sha256sum`.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::sha256(b"abc"), hash);
    }

    #[test]
    fn a_script_is_named_by_its_hash_and_without_one_none_is_allowed() {
        assert_eq!(policy(None), BASIC);
        assert!(
            BASIC.starts_with("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'")
        );
        // By `printf 'alert(1)' | openssl dgst -sha256 -binary | base64`.
        let hash = "bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=";
        assert!(policy(Some("alert(1)")).ends_with(&format!("; script-src 'sha256-{hash}'")));
    }
}
