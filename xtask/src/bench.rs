//! The benchmarks of `crates/bench`.

use crate::command::{cargo, run};
use crate::tools;

pub(crate) fn bench(options: &[&str]) -> Result<bool, String> {
    if options.contains(&"--instructions") && !tools::has_valgrind() {
        return Err("counting instructions needs valgrind".into());
    }
    let bench = ["run", "--release", "--package", "bench", "--"];
    run(cargo(&bench).args(options)).map(|()| true)
}
