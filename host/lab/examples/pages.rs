//! Writes what the laboratory makes of made-up reports, so that it can be looked at:
//! `cargo run -p portcall-lab --example pages -- DIRECTORY [REPORT.json [OTHER.json]]`. Reports that
//! are named take the place of the made-up ones.

#[path = "../tests/sample/mod.rs"]
mod sample;

use lab::report::Report;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let directory = arguments.next().ok_or("say where to: a directory")?;
    fs::create_dir_all(&directory)?;
    let mut next =
        |made_up: Report| arguments.next().map_or(Ok(made_up), |path| Report::load(&path));
    let (report, other) = (next(sample::report(1))?, next(sample::other(2))?);
    report.save(&directory.join("report.json"))?;
    other.save(&directory.join("other.json"))?;
    lab::csv::write(&report, fs::File::create(directory.join("report.csv"))?)?;
    for width in [80, 120, 200] {
        fs::write(directory.join(format!("table-{width}.txt")), lab::show::table(&report, width))?;
    }
    let comparison = lab::compare::Comparison::of(&report, &other);
    fs::write(directory.join("comparison.txt"), comparison.table(80))?;
    for (name, page) in [
        ("report", lab::page::report(&report)),
        ("comparison", lab::page::comparison(&comparison)),
        ("hostile", lab::page::report(&sample::hostile())),
        ("absurd", lab::page::report(&sample::absurd())),
    ] {
        fs::write(directory.join(name).with_extension("html"), page)?;
    }
    Ok(())
}
