//! The generated references are those that are committed. `UPDATE=1` writes them.

use std::path::Path;

#[test]
fn roster_reference_is_fresh() {
    check("ROSTER.md", &packet_mutex_cli::roster_reference());
}

#[test]
fn cli_reference_is_fresh() {
    check("CLI.md", &packet_mutex_cli::cli_reference());
}

#[test]
fn event_reference_is_fresh() {
    check("EVENTS.md", &packet_mutex_cli::event_reference());
}

#[track_caller]
fn check(file: &str, fresh: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "docs/{file} is stale: run with UPDATE=1");
}
