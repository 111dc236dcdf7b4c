//! The whole of it: guest and host, from start to end.

use std::process::Command;

const HOST: &str = env!("CARGO_BIN_EXE_{{name}}");

#[test]
fn the_guest_prints_what_it_should() {
    let output = Command::new(HOST).output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), include_str!("../../guest/main.out"));
    assert_eq!(output.status.code(), Some(0));
}
