//! The benchmarks of `crates/bench`.

use crate::command::{program, run};
use crate::tools;

pub(crate) fn bench(options: &[&str]) -> Result<bool, String> {
    if options.contains(&"--instructions") && !tools::has_valgrind() {
        return Err("counting instructions needs valgrind".into());
    }
    run(&mut program(&["--release", "--package", "bench"], options)).map(|()| true)
}
