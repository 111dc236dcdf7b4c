//! The least of an input that still has the same outcome: bounded delta debugging (Zeller and
//! Hildebrandt, "Simplifying and Isolating Failure-Inducing Input"), of pieces and then of bytes.

/// What is left of `input` after taking away all that is not needed for `same`, and with a 0 in
/// place of every byte that may be one. `same` gives `None` where there is to be no more asking.
pub(crate) fn minimise<E>(
    input: &[u8],
    mut same: impl FnMut(&[u8]) -> Result<Option<bool>, E>,
) -> Result<Vec<u8>, E> {
    let mut least = input.to_vec();
    let mut size = least.len();
    while size > 0 {
        let mut at = 0;
        while at < least.len() {
            let end = (at + size).min(least.len());
            let shorter = [&least[..at], &least[end..]].concat();
            match same(&shorter)? {
                None => return Ok(least),
                Some(true) => least = shorter,
                Some(false) => at = end,
            }
        }
        size /= 2;
    }
    for at in 0..least.len() {
        let byte = std::mem::take(&mut least[at]);
        if byte != 0 {
            match same(&least)? {
                Some(true) => {}
                other => {
                    least[at] = byte;
                    if other.is_none() {
                        break;
                    }
                }
            }
        }
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::minimise;
    use std::convert::Infallible;

    fn least(input: &[u8], most: usize, is_bad: impl Fn(&[u8]) -> bool) -> (Vec<u8>, usize) {
        let mut asked = 0;
        let found = minimise(input, |it| {
            asked += 1;
            Ok::<_, Infallible>((asked <= most).then(|| is_bad(it)))
        });
        (found.unwrap_or_default(), asked)
    }

    #[test]
    fn what_is_not_needed_goes() {
        let input: Vec<u8> = (1..=255).collect();
        let is_bad = |it: &[u8]| it.contains(&77) && it.contains(&200);
        assert_eq!(least(&input, 10_000, is_bad).0, [77, 200]);
        assert_eq!(least(&input, 10_000, |it| it.len() >= 3).0, [0, 0, 0]);
        assert_eq!(least(&input, 10_000, |_| true).0, Vec::<u8>::new());
        assert_eq!(least(&[], 10_000, |_| true), (vec![], 0));
    }

    #[test]
    fn it_ends_when_it_is_told_to_with_what_it_has() {
        let input = vec![1; 4096];
        let (found, asked) = least(&input, 3, |it| it.len() >= 100);
        assert!(asked == 4 && found.len() < 4096 && found.len() >= 100, "{asked}");
    }
}
