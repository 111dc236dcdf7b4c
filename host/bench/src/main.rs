//! This project beside the same work in bare ioctls, in one run, by turns: `cargo xtask bench`.
//!
//! It states figures and budgets. It is no test: whatever the figures are, it ends with code 0.

mod row;
mod rows;
mod process;
mod peak;
mod measure;

mod sides;
mod guests;
mod naive;

mod result;
mod show;
mod plot;
mod scale;

/// A line on stdout. Where stdout is gone, the files still say what there is to say.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stdout(), $($text)*);
    }};
}

/// A line on stderr, in the same way.
#[macro_export]
macro_rules! err {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stderr(), $($text)*);
    }};
}

use clap::{Parser, Subcommand};
use measure::Bench;
use measures::machine::Watch;
use result::{FORMAT, Report};
use row::Row;
use rows::Places;
use sides::Role;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Measures this project beside the same work in bare ioctls, by turns, and states the budgets.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", max_term_width = 100)]
#[command(override_usage = "cargo xtask bench [OPTIONS] [ROW]...")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
ROW chooses the rows whose names contain it; all if none is given. A budget that is missed is a \
line that says so, and no failure. Ctrl-C keeps what was measured; a second one does not.")]
struct Options {
    /// Rows, by a part of their names
    #[arg(value_name = "ROW")]
    rows: Vec<String>,

    /// Few rounds, some 10 seconds: to see that it works, and for large differences
    #[arg(long)]
    quick: bool,

    /// Measure how figures grow instead, from small sizes to large ones: some 5 minutes
    #[arg(long, conflicts_with_all = ["save", "compare"])]
    scale: bool,

    /// Say which rows there are, and measure nothing
    #[arg(long)]
    list: bool,

    /// Also give the run as: json, or json=FILE; svg, or svg=DIRECTORY, a picture a row
    #[arg(long, value_name = "KIND[=PLACE]", value_parser = emit)]
    emit: Vec<Emit>,

    /// Keep the run as target/bench/NAME.json
    #[arg(long, value_name = "NAME", value_parser = plain)]
    save: Option<String>,

    /// Show the run beside one that was kept
    #[arg(long, value_name = "NAME", value_parser = plain)]
    compare: Option<String>,

    /// `portcall` as shipped
    #[arg(long, hide = true, required = true)]
    portcall: Option<PathBuf>,
    /// naive.c, linked statically
    #[arg(long, hide = true, required = true)]
    naive: Option<PathBuf>,
    /// naive.c, linked dynamically
    #[arg(long, hide = true, required = true)]
    naive_dynamic: Option<PathBuf>,
    /// Where the guests' images are
    #[arg(long, hide = true, required = true)]
    guests: Option<PathBuf>,
    /// Where runs are kept
    #[arg(long, hide = true, required = true)]
    directory: Option<PathBuf>,

    #[command(subcommand)]
    side: Option<Part>,
}

/// What this program does when it is one of its own sides.
#[derive(Debug, Subcommand)]
enum Part {
    /// One side of a row
    #[command(hide = true)]
    Side {
        /// A role, as JSON
        role: String,
    },
}

/// What the run is given as besides.
#[derive(Clone, Debug, PartialEq)]
enum Emit {
    /// To stdout, and all else to stderr then; or to a file.
    Json(Option<PathBuf>),
    Svg(Option<PathBuf>),
}

fn emit(text: &str) -> Result<Emit, String> {
    let (kind, place) = match text.split_once('=') {
        Some((kind, place)) if !place.is_empty() => (kind, Some(PathBuf::from(place))),
        Some(_) => return Err("nothing is said behind the =".to_owned()),
        None => (text, None),
    };
    match kind {
        "json" => Ok(Emit::Json(place.filter(|it| it != Path::new("-")))),
        "svg" => Ok(Emit::Svg(place)),
        _ => Err("there are json and svg".to_owned()),
    }
}

/// A name that stays in its directory.
fn plain(text: &str) -> Result<String, String> {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if !text.is_empty() && !text.starts_with('.') && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("a name is made of letters, digits, - and _".to_owned())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.side {
        Some(Part::Side { role }) => play(role),
        None => bench(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            err!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play(role: &str) -> Result<(), String> {
    let role: Role = serde_json::from_str(role).map_err(|error| error.to_string())?;
    role.play()
}

fn bench(options: &Options) -> Result<(), String> {
    let directory = options.directory.clone().unwrap_or_default();
    let places = places(options, &directory)?;
    if options.scale {
        return scale(options, &directory);
    }
    let rows = chosen(rows::all(&places), &options.rows)?;
    if options.list {
        for row in rows {
            out!("{:22} {}", row.name, row.what);
        }
        return Ok(());
    }
    // What cannot be read is said before minutes are spent.
    let file = |name: &String| directory.join(format!("{name}.json"));
    let then = options.compare.as_ref().map(|name| Report::load(&file(name))).transpose()?;
    let json = options.emit.contains(&Emit::Json(None));
    let say = |text: &str| if json { err!("{text}") } else { out!("{text}") };

    let report = measure(options.quick, &rows, &say)?;
    say(show::summary(&report).trim_end());
    if let Some(then) = then {
        say(&format!("\n{}", show::comparison(&then, &report).trim_end()));
    }
    if let Some(name) = &options.save {
        let path = file(name);
        report.save(&path)?;
        err!("kept as {}", path.display());
    }
    for emit in &options.emit {
        give(&report, emit, &directory)?;
    }
    Ok(())
}

/// The curves in place of the rows.
fn scale(options: &Options, directory: &Path) -> Result<(), String> {
    if options.list {
        for (name, what) in scale::names() {
            out!("{name:22} {what}");
        }
        return Ok(());
    }
    let json = options.emit.contains(&Emit::Json(None));
    let say = |text: &str| if json { err!("{text}") } else { out!("{text}") };
    let stop = stopped_by_signal()?;
    let is_stopped = || stop.load(Ordering::Relaxed);
    let curves = scale::measure(&options.rows, options.quick, &is_stopped, &say)?;
    if curves.is_empty() {
        return Err(
            "no curve has that in its name; --scale --list tells which there are".to_owned()
        );
    }
    for emit in &options.emit {
        let text = || serde_json::to_string_pretty(&curves).map_err(|error| error.to_string());
        match emit {
            Emit::Json(None) => out!("{}", text()?),
            Emit::Json(Some(path)) => std::fs::write(path, text()?)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?,
            Emit::Svg(place) => {
                let place = plots(place.as_deref(), directory)?;
                scale::plot(&curves, &place)?;
                err!("plots are in {}", place.display());
            }
        }
    }
    Ok(())
}

/// A flag that Ctrl-C sets; the second time it ends the process.
fn stopped_by_signal() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the second signal finds the flag set.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| format!("cannot handle Ctrl-C: {error}"))?;
    }
    Ok(stop)
}

/// The directory for pictures, made.
fn plots(place: Option<&Path>, directory: &Path) -> Result<PathBuf, String> {
    let place = place.map_or_else(|| directory.join("plots"), Path::to_owned);
    std::fs::create_dir_all(&place)
        .map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    Ok(place)
}

/// Measures all rows, and says each when it is done. A row that cannot be measured is said, and
/// the others are measured.
fn measure(quick: bool, rows: &[Row], say: &dyn Fn(&str)) -> Result<Report, String> {
    let stop = stopped_by_signal()?;
    let watch = Watch::begin();
    let bench = Bench::new(rows, quick, Arc::clone(&stop));
    let mut measured = Vec::new();
    for row in rows {
        let result = bench.measure(row);
        bench.aside(|| match &result {
            Ok(Some(it)) => say(&show::row(it)),
            Ok(None) => {}
            Err(why) => say(&format!("{}: NOT MEASURED: {why}\n", row.name)),
        });
        measured.extend(result.ok().flatten());
        if stop.load(Ordering::Relaxed) {
            say("stopped: what is missing was not measured");
            break;
        }
    }
    bench.finish();
    if measured.is_empty() {
        return Err("nothing was measured".to_owned());
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Report { format: FORMAT, version, quick, machine: watch.end(), rows: measured })
}

/// Hands the run on in a further form.
fn give(report: &Report, emit: &Emit, directory: &Path) -> Result<(), String> {
    match emit {
        Emit::Json(None) => out!("{}", report.to_json()?),
        Emit::Json(Some(path)) => report.save(path)?,
        Emit::Svg(place) => {
            let place = plots(place.as_deref(), directory)?;
            report.rows.iter().try_for_each(|row| plot::plot(row, &place))?;
            err!("plots are in {}", place.display());
        }
    }
    Ok(())
}

/// Where everything is, with the smallest image written.
fn places(options: &Options, directory: &Path) -> Result<Places, String> {
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    let minimal = directory.join("minimal");
    // A file that is right already may be in use by another run of the bench.
    let file = guests::minimal_elf();
    if std::fs::read(&minimal).ok().as_ref() != Some(&file) {
        std::fs::write(&minimal, file)
            .map_err(|error| format!("cannot write {}: {error}", minimal.display()))?;
    }
    Ok(Places {
        portcall: options.portcall.clone().unwrap_or_default(),
        naive: options.naive.clone().unwrap_or_default(),
        naive_dynamic: options.naive_dynamic.clone().unwrap_or_default(),
        guests: options.guests.clone().unwrap_or_default(),
        minimal,
    })
}

/// The rows whose names contain one of the words.
fn chosen(rows: Vec<Row>, words: &[String]) -> Result<Vec<Row>, String> {
    let names = rows.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    if let Some(word) = words.iter().find(|word| !rows.iter().any(|row| row.name.contains(*word))) {
        return Err(format!("no row has `{word}` in its name; there are {names}"));
    }
    let wanted = |row: &Row| words.is_empty() || words.iter().any(|word| row.name.contains(word));
    Ok(rows.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn forms_have_a_kind_and_perhaps_a_place() {
        assert_eq!(emit("json"), Ok(Emit::Json(None)));
        assert_eq!(emit("json=-"), Ok(Emit::Json(None)));
        assert_eq!(emit("json=a=b"), Ok(Emit::Json(Some("a=b".into()))));
        assert_eq!(emit("svg=x/y"), Ok(Emit::Svg(Some("x/y".into()))));
        assert!(emit("png").is_err() && emit("json=").is_err());
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        assert_eq!(plain("before-1.2"), Ok("before-1.2".to_owned()));
        for name in ["", "..", "a/b", ".x", "a b"] {
            assert!(plain(name).is_err(), "{name}");
        }
    }
}
