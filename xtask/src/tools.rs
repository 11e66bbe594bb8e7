//! Programs that the checks need, and how they are installed.

use crate::command::{cargo, command, output, root, run};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of cargo-deny whose configuration `deny.toml` is.
const CARGO_DENY: &str = "0.20.2";

/// cargo-deny of the pinned version: the user's own, or one that is built into `target/tools` (which takes minutes).
pub(crate) fn cargo_deny() -> Result<PathBuf, String> {
    let built = root().join("target/tools/bin/cargo-deny");
    let is_pinned = |program: &Path| {
        let version = answer(Command::new(program).arg("--version"));
        version.is_some_and(|version| version.trim() == format!("cargo-deny {CARGO_DENY}"))
    };
    for program in [Path::new("cargo-deny"), &built] {
        if is_pinned(program) {
            return Ok(program.to_path_buf());
        }
    }
    let mut install =
        cargo(&["install", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"]);
    // Its crates come from the registry; a flag that is meant for this workspace must not reach them.
    run(install.arg(root().join("target/tools")).env_remove("RUSTFLAGS"))?;
    Ok(built)
}

/// Returns whether there is Chromium, which is installed if that can be done without asking.
pub(crate) fn has_chromium() -> bool {
    let is_there = || chromium::find().is_some();
    is_there() || (install("chromium").is_some() && is_there())
}

/// Returns whether there is tmux, which is installed if that can be done without asking.
pub(crate) fn has_tmux() -> bool {
    let is_there = || answer(Command::new("tmux").arg("-V")).is_some();
    is_there() || (install("tmux").is_some() && is_there())
}

/// Installs a package of Debian's, as root. `None`: that cannot be done here.
fn install(package: &str) -> Option<()> {
    let is_root = answer(command("id", &["-u"]).stdin(Stdio::null()))?.trim() == "0";
    if !is_root || !Path::new("/etc/debian_version").exists() {
        return None;
    }
    let install = ["install", "--yes", "--no-install-recommends", package];
    run(&mut command("apt-get", &["update"])).ok()?;
    run(command("apt-get", &install).env("DEBIAN_FRONTEND", "noninteractive")).ok()
}

/// A Python that the package supports.
pub(crate) fn python() -> Option<&'static str> {
    let is_new_enough = "import sys; sys.exit(sys.version_info < (3, 11))";
    let names = ["python3", "python"];
    names.into_iter().find(|name| answer(Command::new(name).args(["-c", is_new_enough])).is_some())
}

/// A Node that the examples can be run with: they read their options with `parseArgs`.
pub(crate) fn node() -> Option<&'static str> {
    let is_new_enough =
        "process.exit(typeof require('node:util').parseArgs === 'function' ? 0 : 1)";
    answer(Command::new("node").args(["-e", is_new_enough])).map(|_| "node")
}

/// Returns whether there is valgrind.
pub(crate) fn has_valgrind() -> bool {
    answer(Command::new("valgrind").arg("--version")).is_some()
}

/// What the compiler calls itself, such as `1.95.0`.
pub(crate) fn rustc_version() -> Result<String, String> {
    let text = output(&mut command("rustc", &["--version"]))?;
    let version = text.split_whitespace().nth(1);
    version.map(str::to_string).ok_or_else(|| format!("no version in `{text}`"))
}

/// The output of a program that may be missing or fail.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}
