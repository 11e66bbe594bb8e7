//! The steps of `cargo xtask test`.

use crate::command::{cargo, command, packages, root, run, watch};
use crate::report::{Done, Failed, Step, Tests};
use crate::{cycles, gen_docs, no_std, practice, texts, tools};
use std::process::Command;

pub(crate) fn all() -> Vec<Step> {
    vec![
        Step { name: "oldest compiler", run: oldest_compiler },
        Step { name: "rustfmt", run: rustfmt },
        Step { name: "clippy", run: clippy },
        Step { name: "arbiter without std", run: || Ok(Done::with(no_std::check()?)) },
        Step { name: "documentation", run: documentation },
        Step { name: "tests of the workspace", run: workspace_tests },
        Step { name: "features of packet-mutex", run: features },
        Step { name: "generated references", run: || Ok(Done::with(gen_docs::check()?)) },
        Step { name: "documents and sources", run: || Ok(Done::with(texts::check()?)) },
        Step { name: "circles of files", run: || Ok(Done::with(cycles::check()?)) },
        Step { name: "mutants of the rules", run: mutants },
        Step { name: "loom models", run: loom },
        Step { name: "Python package", run: python },
        Step { name: "timeline and page in a browser", run: browser },
        Step { name: "dependencies", run: dependencies },
        Step { name: "practice", run: || judged(practice::seeds(&["1", "30"])?) },
        Step { name: "six processes", run: six_processes },
    ]
}

/// All steps run on the compiler at hand. If that is not the oldest that the workspace promises, that one is asked too.
fn oldest_compiler() -> Result<Done, Failed> {
    let packages = packages()?;
    let oldest = packages.iter().find_map(|package| package["rust_version"].as_str());
    let oldest = oldest.ok_or_else(|| "no package states its rust-version".to_string())?;
    let version = tools::rustc_version()?;
    if version == oldest || version.starts_with(&format!("{oldest}.")) {
        return Ok(Done::with(format!("{oldest}: all that follows runs on it ({version})")));
    }
    let toolchain = format!("+{oldest}");
    run(&mut command("rustup", &["toolchain", "install", oldest, "--profile", "minimal"]))?;
    // Through rustup: the cargo that runs this knows only its own compiler.
    let mut check = command("cargo", &[&toolchain, "check", "--workspace", "--all-targets"]);
    check.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    run(check.env("CARGO_TARGET_DIR", root().join("target/oldest")))?;
    Ok(Done::with(format!("compiles on {oldest}; all that follows runs on {version}")))
}

fn rustfmt() -> Result<Done, Failed> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    Ok(Done::default())
}

fn clippy() -> Result<Done, Failed> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(Done::default())
}

fn documentation() -> Result<Done, Failed> {
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Done::default())
}

/// Those of `watch` need tmux, and pass without it.
fn workspace_tests() -> Result<Done, Failed> {
    let has_tmux = tools::has_tmux();
    let mut done = tests(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    if !has_tmux {
        done.note += "; tmux is missing and cannot be installed here, so `watch` was not driven";
    }
    Ok(done)
}

/// Without features, and with each one alone: clippy looks at all targets; the tests run without any.
fn features() -> Result<Done, Failed> {
    let packages = packages()?;
    let package = packages.iter().find(|package| package["name"] == "packet-mutex");
    let features = package.and_then(|package| package["features"].as_object());
    let features = features.ok_or_else(|| "no features of packet-mutex".to_string())?;
    let names: Vec<&str> =
        features.keys().map(String::as_str).filter(|f| *f != "default").collect();
    let package = ["--package", "packet-mutex", "--no-default-features"];
    for feature in std::iter::once("").chain(names.iter().copied()) {
        let mut clippy = cargo(&["clippy", "--all-targets"]);
        clippy.args(package).args(["--features", feature, "--", "-D", "warnings"]);
        run(&mut clippy)?;
    }
    let mut done = tests(cargo(&["test", "--no-fail-fast"]).args(package))?;
    done.note = format!("none, and each alone: {}", names.join(", "));
    Ok(done)
}

/// With a rule taken out of the arbiter, a scenario must fail.
fn mutants() -> Result<Done, Failed> {
    let mut caught = 0;
    let count = |line: &str| caught += usize::from(line.contains(": caught"));
    if watch(&mut crate::mutants(&[]), count)? {
        Ok(Done::with(format!("{caught}, each caught by a scenario that cites its rule")))
    } else {
        Err(format!("{caught} were caught, others were not").into())
    }
}

/// The models have a target directory of their own: the flag would rebuild everything else otherwise.
fn loom() -> Result<Done, Failed> {
    let mut command = cargo(&["test", "--release", "--package", "packet-mutex", "--test", "loom"]);
    command.env("RUSTFLAGS", "--cfg pm_loom").env("CARGO_TARGET_DIR", root().join("target/loom"));
    tests(&mut command)
}

/// Builds the wheel, installs it in an environment of its own and runs its tests.
fn python() -> Result<Done, Failed> {
    let Some(python) = tools::python() else {
        return Ok(Done::skipped("there is no Python of version 3.11 or later"));
    };
    tests(&mut command(python, &["python/run_tests.py"]))
}

fn browser() -> Result<Done, Failed> {
    if !tools::has_chromium() {
        let why = "Chromium is missing and cannot be installed here (that needs Debian and root)";
        return Ok(Done::skipped(why));
    }
    let mut command =
        cargo(&["test", "--package", "timeline", "--package", "page", "--test", "browser"]);
    tests(command.args(["--", "--ignored"]))
}

/// Advisories are left out: their database may be out of reach.
fn dependencies() -> Result<Done, Failed> {
    let deny = tools::cargo_deny()?;
    let args = ["--workspace", "check", "bans", "licenses", "sources"];
    run(&mut command(&deny.to_string_lossy(), &args))?;
    Ok(Done::with("bans, licences and sources; no advisories"))
}

/// As long as the practice: under strict priorities the last of the six may wait so long for its first turn.
fn six_processes() -> Result<Done, Failed> {
    match practice::processes(&["30", "1"])? {
        Ok(program) => judged(program),
        Err(why) => Ok(Done::skipped(why)),
    }
}

/// Runs a program that judges what it does, and sums it up in its last line.
fn judged(mut program: Command) -> Result<Done, Failed> {
    let mut last = String::new();
    let is_good = watch(&mut program, |line| last = line.to_owned())?;
    if is_good { Ok(Done::with(last)) } else { Err(last.into()) }
}

/// Runs tests and counts them.
fn tests(command: &mut Command) -> Result<Done, Failed> {
    let mut tests = Tests::default();
    let succeeded = watch(command, |line| tests.read(line))?;
    match (succeeded, tests) {
        (false, Tests { failed: 0, .. }) => {
            Err(Failed { tests, why: "did not come to its end".into() })
        }
        (false, Tests { failed, .. }) => Err(Failed { tests, why: format!("{failed} failed") }),
        (true, Tests { ignored: 0, .. }) => Ok(Done { tests, ..Done::default() }),
        (true, Tests { ignored, .. }) => {
            Ok(Done { tests, ..Done::with(format!("{ignored} left out")) })
        }
    }
}
