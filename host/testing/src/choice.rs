//! Which tests are run: by name, and by whether they are ignored, as libtest has it.

use crate::list::Test;

/// What becomes of those that are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ignored {
    /// They are named, and not run.
    #[default]
    Named,
    /// Only they are run.
    Only,
    /// They are run as all others are.
    Included,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only those with one of these in their names; all, where there are none.
    pub filters: Vec<String>,
    /// And with none of these.
    pub skip: Vec<String>,
    /// Names are whole ones.
    pub exact: bool,
    /// Those that are ignored.
    pub ignored: Ignored,
}

/// What was chosen.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Those that are run or named as ignored, in the order of the list: no `ignored` is left with
    /// those that are run.
    pub tests: Vec<Test>,
    /// How many there are besides.
    pub filtered_out: usize,
}

impl Choice {
    /// Chooses.
    #[must_use]
    pub fn of(&self, mut tests: Vec<Test>) -> Chosen {
        let all = tests.len();
        let matches = |test: &Test, text: &String| match self.exact {
            true => test.name == *text,
            false => test.name.contains(text.as_str()),
        };
        tests.retain(|test| {
            let named = self.filters.is_empty() || self.filters.iter().any(|it| matches(test, it));
            let wanted = self.ignored != Ignored::Only || test.ignored.is_some();
            named && wanted && !self.skip.iter().any(|it| matches(test, it))
        });
        if self.ignored != Ignored::Named {
            tests.iter_mut().for_each(|test| test.ignored = None);
        }
        let filtered_out = all - tests.len();
        Chosen { tests, filtered_out }
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Ignored};
    use crate::list::Test;
    use portcall::Gva;

    fn chosen(choice: &Choice) -> (Vec<String>, usize) {
        let test = |name: &str, ignored: Option<&str>| Test {
            name: name.to_owned(),
            ignored: ignored.map(str::to_owned),
            should_panic: None,
            timeout: None,
            entry: Gva(0),
        };
        let all = vec![test("a::one", None), test("a::two", Some("slow")), test("b::one", None)];
        let chosen = choice.of(all);
        let named = |it: &Test| it.name.clone() + if it.ignored.is_some() { "?" } else { "" };
        (chosen.tests.iter().map(named).collect(), chosen.filtered_out)
    }

    #[test]
    fn names_are_filtered_as_libtest_does() {
        let words = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let by = |filters: &[&str], skip: &[&str], exact, ignored| {
            let (tests, out) =
                chosen(&Choice { filters: words(filters), skip: words(skip), exact, ignored });
            (tests.join(" "), out)
        };
        use Ignored::{Included, Named, Only};
        let ok = |it: &str, out| (it.to_owned(), out);
        assert_eq!(by(&[], &[], false, Named), ok("a::one a::two? b::one", 0));
        assert_eq!(by(&["one"], &[], false, Named), ok("a::one b::one", 1));
        assert_eq!(by(&["two", "b"], &[], false, Named), ok("a::two? b::one", 1));
        assert_eq!(by(&["one"], &[], true, Named), ok("", 3));
        assert_eq!(by(&["a::one"], &[], true, Named), ok("a::one", 2));
        assert_eq!(by(&[], &["a::"], false, Named), ok("b::one", 2));
        assert_eq!(by(&[], &["a::"], true, Named), ok("a::one a::two? b::one", 0));
        assert_eq!(by(&[], &[], false, Only), ok("a::two", 2));
        assert_eq!(by(&[], &[], false, Included), ok("a::one a::two b::one", 0));
        assert_eq!(by(&["one"], &[], false, Only), ok("", 3));
    }
}
