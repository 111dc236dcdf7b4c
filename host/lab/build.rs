//! Says where the image of the rows' guest is, which `cargo xtask lab` builds first: one run of cargo
//! does not build for bare metal and for the host.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Its path.
const VARIABLE: &str = "PORTCALL_LAB_GUEST";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let image = match env::var_os(VARIABLE) {
        Some(image) => PathBuf::from(image),
        // All else works without it, and a run says what is missing.
        None => {
            let none = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("no-guest");
            fs::write(&none, "")?;
            none
        }
    };
    println!("cargo::rerun-if-changed={}", image.display());
    println!("cargo::rustc-env=LAB_GUEST={}", image.display());
    Ok(())
}
