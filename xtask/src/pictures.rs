//! The pictures of the README: a practice's timeline as Chromium shows it, in light and in dark.

use crate::command::{command, root, run};
use crate::practice::packet_mutex;
use crate::tools;
use std::fs;

/// Leaves the legend, the run without the mutex, and the one with a turn around each cycle.
const ONLY_TWO_RUNS: &str = "<style>
    header, .scroll, .tools, details { display: none !important }
    section:has(#run-1) { position: absolute; left: 0; right: 0; top: 3000px }
    h2 { margin-top: 0 }
</style>";

pub(crate) fn make() -> Result<(), String> {
    let chromium = tools::chromium().ok_or("Chromium is missing and cannot be installed here")?;
    let report = root().join("target/practice.html");
    let mut practice = packet_mutex(&["practice", "--seconds", "30", "--seed", "1", "--report"]);
    run(practice.arg(&report))?;
    let page = fs::read_to_string(&report).map_err(|why| why.to_string())?;
    let page = page.replace("</head>", &format!("{ONLY_TWO_RUNS}</head>"));
    fs::write(&report, page).map_err(|why| why.to_string())?;
    // Blink's numbers for the colours that a reader prefers.
    for (name, colours) in [("dark", 0), ("light", 1)] {
        let picture = root().join(format!("docs/images/practice-{name}.png"));
        let mut shot = command(&chromium, &["--headless", "--no-sandbox", "--disable-gpu"]);
        shot.args(["--hide-scrollbars", "--window-size=1200,800", "--virtual-time-budget=2000"]);
        shot.arg(format!("--blink-settings=preferredColorScheme={colours}"));
        shot.arg(format!("--screenshot={}", picture.display()));
        run(shot.arg(format!("file://{}", report.display())))?;
    }
    Ok(())
}
