//! `portcall`: runs bare-metal KVM guests and says what happened.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
