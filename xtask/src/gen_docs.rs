//! The generated references: the command line's own test compares them, and writes them on request.

use crate::command::{cargo, run};

const REFERENCES: [&str; 5] = ["test", "--package", "packet-mutex-cli", "--test", "references"];

pub(crate) fn write() -> Result<bool, String> {
    run(cargo(&REFERENCES).env("UPDATE", "1")).map(|()| true)
}

pub(crate) fn check() -> Result<&'static str, String> {
    run(cargo(&REFERENCES).env("UPDATE", "0"))
        .map(|()| "docs/ROSTER.md, docs/CLI.md and docs/EVENTS.md are what the program would write")
        .map_err(|why| format!("{why}; `cargo xtask gen` writes them"))
}
