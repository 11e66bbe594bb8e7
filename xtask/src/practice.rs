//! The practice game's own checks, which judge themselves: here they are only built and started.

use crate::command::{self, cargo, command, output, run};
use crate::tools;
use std::process::Command;

/// `practice-seeds [N] [SECONDS]`: `packet-mutex practice` with N seeds.
pub(crate) fn seeds(numbers: &[&str]) -> Result<Command, String> {
    program("practice-seeds", numbers)
}

/// `practice-processes [SECONDS] [SEED]`: six modules in six processes, in three languages. The inner error says what is
/// missing here.
pub(crate) fn processes(numbers: &[&str]) -> Result<Result<Command, &'static str>, String> {
    if !cfg!(unix) {
        return Ok(Err("there are no Unix sockets"));
    }
    let Some(python) = tools::python() else {
        return Ok(Err("there is no Python of version 3.11 or later"));
    };
    let Some(node) = tools::node() else {
        return Ok(Err("there is no Node of version 18.3 or later"));
    };
    let mut program = program("practice-processes", numbers)?;
    let installed = output(&mut command(python, &["python/run_tests.py", "--install"]))?;
    program.env("PYTHON", installed.lines().last().unwrap_or_default()).env("NODE", node);
    Ok(Ok(program))
}

fn program(name: &str, numbers: &[&str]) -> Result<Command, String> {
    // They start programs of both packages.
    let packages = ["--package", "practice", "--package", "packet-mutex-cli"];
    run(cargo(&["build", "--release"]).args(packages))?;
    let program = ["--quiet", "--release", "--package", "practice", "--bin", name];
    Ok(command::program(&program, numbers))
}
