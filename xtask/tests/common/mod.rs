//! What the tests of this folder share: commands as from a shell, and files.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// This repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace")
}

/// A command as from a shell in `home`, with nothing from the build that this test comes from.
pub(crate) fn clean(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"];
        let of_build = ["CARGO", "RUSTFLAGS", "NEXTEST"].iter().any(|it| text.starts_with(it));
        if of_build && !ours.iter().any(|it| text.starts_with(it)) {
            command.env_remove(&name);
        }
    }
    command.current_dir(home);
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file that can be read")
}
