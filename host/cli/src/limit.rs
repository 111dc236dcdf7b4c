//! `--limit KEY=N`: what a run may use at most.

use portcall::Limit;
use std::mem::discriminant;

/// Reads one; the inverse of what [`Limit`] calls it.
pub(crate) fn parse(text: &str) -> Result<Limit, String> {
    let (key, most) = text.split_once('=').ok_or("it is KEY=N, as exits=1000")?;
    let count = || most.parse().map_err(|_| format!("{most:?} is no number of {key}"));
    match key {
        "time" => {
            let time = humantime::parse_duration(most);
            Ok(Limit::Time(time.map_err(|error| format!("{error} (10s, 500ms, 2m)"))?))
        }
        "exits" => Ok(Limit::Exits(count()?)),
        "console" => Ok(Limit::Console(crate::run::size(most)?)),
        "calls" => Ok(Limit::Calls(count()?)),
        _ => Err(format!("{key} has no limit; there are {}", Limit::NAMES.join(", "))),
    }
}

/// One as it is said on the command line.
#[cfg(feature = "instruments")]
pub(crate) fn name(limit: Limit) -> String {
    match limit {
        Limit::Time(time) => format!("time={}", humantime::format_duration(time)),
        Limit::Exits(most) => format!("exits={most}"),
        Limit::Console(most) => format!("console={most}"),
        Limit::Calls(most) => format!("calls={most}"),
        // The core may learn of others.
        other => format!("{other:?}"),
    }
}

/// The least of each kind.
pub(crate) fn least(limits: impl Iterator<Item = Limit>) -> impl Iterator<Item = Limit> {
    let mut least: Vec<Limit> = Vec::new();
    for limit in limits {
        match least.iter_mut().find(|it| discriminant(*it) == discriminant(&limit)) {
            Some(known) => *known = less(*known, limit),
            None => least.push(limit),
        }
    }
    least.into_iter()
}

/// The less of two of a kind.
fn less(one: Limit, other: Limit) -> Limit {
    match (one, other) {
        (Limit::Time(one), Limit::Time(other)) => Limit::Time(one.min(other)),
        (Limit::Exits(one), Limit::Exits(other)) => Limit::Exits(one.min(other)),
        (Limit::Console(one), Limit::Console(other)) => Limit::Console(one.min(other)),
        (Limit::Calls(one), Limit::Calls(other)) => Limit::Calls(one.min(other)),
        _ => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{least, parse};
    use portcall::Limit;
    use std::time::Duration;

    #[test]
    fn each_kind_is_read_and_rubbish_is_said() {
        let second = Duration::from_secs(1);
        assert_eq!(parse("time=1s"), Ok(Limit::Time(second)));
        assert_eq!(parse("exits=0"), Ok(Limit::Exits(0)));
        assert_eq!(parse("console=2KiB"), Ok(Limit::Console(2048)));
        assert_eq!(parse("calls=18446744073709551615"), Ok(Limit::Calls(u64::MAX)));
        for name in Limit::NAMES {
            assert!(parse(&format!("{name}=")).is_err(), "{name}");
            assert!(parse(&format!("{name}=-1")).is_err(), "{name}");
            assert_eq!(parse(&format!("{name}=1s")).is_ok(), name == "time", "{name}");
        }
        assert!(parse("exits").is_err_and(|error| error.contains("KEY=N")));
        assert!(parse("memory=1").is_err_and(|error| error.contains("calls")));
    }

    #[test]
    fn the_least_of_each_kind_counts() {
        let time = |seconds| Limit::Time(Duration::from_secs(seconds));
        let all =
            [time(5), Limit::Exits(7), time(2), Limit::Exits(9), Limit::Calls(1), Limit::Calls(0)];
        let expected = [time(2), Limit::Exits(7), Limit::Calls(0)];
        assert_eq!(least(all.into_iter()).collect::<Vec<_>>(), expected);
    }
}
