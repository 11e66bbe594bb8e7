//! The proof that the arbiter needs no standard library.
//!
//! `#![no_std]` alone proves little: `extern crate std` would undo it, and a dependency may bring std along. So the crate is
//! compiled with a sysroot that holds `core`, `alloc` and what the compiler needs for them, and nothing else: whatever
//! names std does not compile. To see that this check can fail, a program that does name std is compiled the same way.

use crate::command::{cargo, command, output, root, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const CRATES: [&str; 3] = ["libcore-", "liballoc-", "libcompiler_builtins-"];

pub(crate) fn check() -> Result<&'static str, String> {
    let sysroot = sysroot_without_std()?;
    let flags = format!("--sysroot={}", sysroot.display());
    let target = root().join("target/no-std");
    let mut check = cargo(&["check", "--package", "packet-mutex-arbiter"]);
    run(check.env("RUSTFLAGS", &flags).env("CARGO_TARGET_DIR", &target))?;

    let source = sysroot.join("names-std.rs");
    fs::write(&source, "#![no_std]\nextern crate std;\n").map_err(|why| why.to_string())?;
    let mut control =
        command("rustc", &[&flags, "--crate-type=lib", "--emit=metadata", "--out-dir"]);
    control.arg(&sysroot).arg(&source).stderr(Stdio::null());
    if run(&mut control).is_ok() {
        return Err("std could be named although it should not be there".into());
    }
    Ok("compiled with a sysroot of core and alloc alone; what names std does not compile there")
}

fn sysroot_without_std() -> Result<PathBuf, String> {
    let full = output(&mut command("rustc", &["--print", "target-libdir"]))?;
    let host = output(&mut command("rustc", &["--print", "host-tuple"]))?;
    let sysroot = root().join("target/no-std/sysroot");
    let libraries = sysroot.join("lib/rustlib").join(host.trim()).join("lib");
    copy_crates(Path::new(full.trim()), &libraries).map_err(|why| format!("{full}: {why}"))?;
    Ok(sysroot)
}

fn copy_crates(from: &Path, to: &Path) -> std::io::Result<()> {
    // What another version of the compiler left there would not fit.
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let name = file.file_name();
        if CRATES.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            fs::copy(file.path(), to.join(name))?;
        }
    }
    Ok(())
}
