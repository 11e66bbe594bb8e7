//! The output shown in `docs/PLANNING.md` is what the command prints. `UPDATE=1` writes it.

use packet_mutex_sim::simulate::Crew;
use std::path::Path;
use std::process::Command;

const FILE: &str = "docs/PLANNING.md";

#[test]
fn what_the_planning_page_shows_is_real() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join(FILE)).unwrap();
    let fresh = with_real_output(&page, &root);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(root.join(FILE), &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(root.join(FILE)).unwrap();
    assert!(committed == fresh, "{FILE} is stale: run with UPDATE=1");
    assert!(fresh.matches("```console").count() >= 2, "the page shows no output");
}

/// The crew that the page shows is one.
#[test]
fn the_example_crew_can_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join(FILE)).unwrap();
    let examples: Vec<&str> = page.split("```toml\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let text = example.split("```").next().unwrap_or_default();
        let crew = Crew::parse(FILE, text).unwrap_or_else(|why| panic!("{why}"));
        assert!(!crew.demand.works.is_empty());
    }
}

/// The page with the output of every `$ packet-mutex …` in it.
fn with_real_output(page: &str, root: &Path) -> String {
    let mut fresh = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        fresh += &format!("{line}\n");
        let Some(command) = line.strip_prefix("$ packet-mutex ") else { continue };
        fresh += &output(command, root);
        fresh += "```\n";
        lines.by_ref().find(|line| *line == "```").expect("the block ends");
    }
    fresh
}

fn output(command: &str, root: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_packet-mutex"))
        .args(command.split(' '))
        .current_dir(root)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    // What goes to stderr is shown too, as a terminal would show it.
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_ne!(output.status.code(), Some(2), "{command}: {text}");
    text
}
