//! Reports in files: read back as they were, or refused with a reason.

mod sample;

use lab::report::{FORMAT, Finding, Report};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// What is said of a file with this text.
fn refusal(text: &[u8]) -> String {
    let folder = folder();
    let path = folder.path().join("it.json");
    fs::write(&path, text).expect("written");
    Report::load(&path).expect_err("refused").to_string()
}

fn text(report: &Report) -> String {
    let folder = folder();
    let path = folder.path().join("it.json");
    report.save(&path).expect("written");
    fs::read_to_string(path).expect("read")
}

#[test]
fn a_report_is_read_back_as_it_was() {
    let folder = folder();
    let path: PathBuf = folder.path().join("below/it.json");
    for report in [sample::report(1), sample::hostile()] {
        // The second takes the first one's place.
        report.save(&path).expect("written");
        assert!(Report::load(&path).expect("read") == report);
    }
    let beside = fs::read_dir(folder.path().join("below")).expect("a directory").count();
    assert_eq!(beside, 1, "nothing is left beside it");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
}

/// A process's directory in /proc takes no new file, and the name of the process may be written (proc(5)).
#[test]
fn a_file_whose_directory_takes_no_other_is_written_over() {
    lab::store::replace("/proc/self/comm".as_ref(), |to| to.write_all(b"written"))
        .expect("written");
    assert_eq!(fs::read_to_string("/proc/self/comm").expect("read"), "written\n");
    let none = std::path::Path::new("/proc/self/none");
    assert!(lab::store::replace(none, |to| to.write_all(b"written")).is_err());
}

#[test]
fn what_cannot_be_written_whole_leaves_the_older_one() {
    let folder = folder();
    let path = folder.path().join("it");
    fs::write(&path, "older").expect("written");
    let full = || Err(std::io::ErrorKind::StorageFull.into());
    assert!(lab::store::replace(&path, |_| full()).is_err());
    assert_eq!(fs::read_to_string(&path).expect("read"), "older");
}

#[test]
fn a_sample_keeps_all_its_digits() {
    let mut report = sample::report(1);
    report.rows = vec![sample::row("it", 0, vec![vec![0.1 + 0.2, 1.0 / 3.0, 5e-324, 1e14 + 0.3]])];
    let folder = folder();
    let path = folder.path().join("it.json");
    report.save(&path).expect("written");
    assert!(Report::load(&path).expect("read") == report);
}

#[test]
fn another_format_is_said() {
    let said = refusal(format!("{{\"format\": {}, \"new\": 1}}", FORMAT + 1).as_bytes());
    assert!(said.contains(&format!("has format {}", FORMAT + 1)), "{said}");
}

#[test]
fn what_is_damaged_or_something_else_is_said() {
    let whole = text(&sample::report(1));
    let cut = refusal(&whole.as_bytes()[..whole.len() / 2]);
    assert!(cut.contains("is damaged, or no JSON"), "{cut}");
    let other = refusal(b"{\"rows\": []}");
    assert!(other.contains("is no report of the laboratory: missing field `format`"), "{other}");
    for list in [&b"[]"[..], b"3", b"null", b"\"x\""] {
        assert!(refusal(list).contains("is no report"), "{}", refusal(list));
    }
    for nothing in [&b""[..], b"\x7fELF", b"\xff\xfe"] {
        assert!(refusal(nothing).contains("is damaged, or no JSON"), "{}", refusal(nothing));
    }
    let deep = refusal("[".repeat(1 << 20).as_bytes());
    assert!(deep.contains("damaged") || deep.contains("no report"), "{deep}");
    let changed = refusal(whole.replacen("\"ring\":0", "\"ring\":-1", 1).as_bytes());
    assert!(changed.contains("was changed or is damaged"), "{changed}");
}

#[test]
fn a_number_that_is_none_gets_neither_in_nor_out() {
    let whole = text(&sample::report(1));
    for bad in ["null", "1e999", "NaN", "-Infinity"] {
        let said = refusal(whole.replacen("104.2", bad, 1).as_bytes());
        assert!(said.contains("damaged"), "{bad}: {said}");
    }
    let folder = folder();
    let path = folder.path().join("it.json");
    let mut report = sample::report(1);
    if let Finding::Measured(measured) = &mut report.rows[0].finding {
        measured.rounds[0][0] = f64::NAN;
    }
    let said = report.save(&path).expect_err("refused").to_string();
    assert!(said.contains("the row out8 is not finite"), "{said}");
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let folder = folder();
    let said = Report::load(&folder.path().join("none.json")).expect_err("refused").to_string();
    assert!(said.contains("cannot read") && said.contains("none.json"), "{said}");
    let said = Report::load(folder.path()).expect_err("refused").to_string();
    assert!(said.contains("cannot read"), "{said}");
}
