//! Says where the guest's image is, which `cargo xtask` builds first: one run of cargo does not
//! build for bare metal and for the host.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const GUEST: &str = "{{name}}-guest";

/// Where cargo puts it, seen from this package.
const HOME: &str = "../target/x86_64-unknown-none/release";

fn main() -> Result<(), Box<dyn Error>> {
    let package = env::var("CARGO_MANIFEST_DIR")?;
    let mut image = Path::new(&package).join(HOME).join(GUEST);
    println!("cargo::rerun-if-changed={}", image.display());
    if !image.is_file() {
        // Editors and `cargo check` get along without it; src/main.rs does not run it.
        println!("cargo::warning=the guest is not built; to build and run both: cargo xtask run");
        image = Path::new(&env::var("OUT_DIR")?).join("no-guest");
        fs::write(&image, "")?;
    }
    println!("cargo::rustc-env=GUEST_IMAGE={}", image.display());
    Ok(())
}
