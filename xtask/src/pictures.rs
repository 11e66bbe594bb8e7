//! The pictures of the documents, as Chromium shows what they are of: a practice's timeline, and the page of a running mutex.

use crate::command::{cargo, command, root, run};
use crate::practice::packet_mutex;
use crate::tools;
use chromium::Browser;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Leaves the legend, the run without the mutex, and the one with a turn around each cycle.
const ONLY_TWO_RUNS: &str = "<style>
    header, .scroll, .tools, details { display: none !important }
    section:has(#run-1) { position: absolute; left: 0; right: 0; top: 3000px }
    h2 { margin-top: 0 }
</style>";

/// The lanes are full by then, for they show a minute.
const FULL: Duration = Duration::from_secs(58);
/// A moment that is worth a picture comes within.
const WORTHY: Duration = Duration::from_secs(30);

/// Those of `practice`, of `page`, or of both.
pub(crate) fn make(of: &[&str]) -> Result<(), String> {
    let chromium = tools::chromium().ok_or("Chromium is missing and cannot be installed here")?;
    match of {
        ["practice"] => practice(&chromium),
        ["page"] => page(&chromium),
        [] => practice(&chromium).and_then(|()| page(&chromium)),
        _ => Err("pictures are of `practice` or `page`".into()),
    }
}

fn practice(chromium: &str) -> Result<(), String> {
    let report = root().join("target/practice.html");
    let mut practice = packet_mutex(&["practice", "--seconds", "30", "--seed", "1", "--report"]);
    run(practice.arg(&report))?;
    let page = fs::read_to_string(&report).map_err(|why| why.to_string())?;
    let page = page.replace("</head>", &format!("{ONLY_TWO_RUNS}</head>"));
    fs::write(&report, page).map_err(|why| why.to_string())?;
    // Blink's numbers for the colours that a reader prefers.
    for (name, colours) in [("dark", 0), ("light", 1)] {
        let picture = root().join(format!("docs/images/practice-{name}.png"));
        let mut shot = command(chromium, &["--headless", "--no-sandbox", "--disable-gpu"]);
        shot.args(["--hide-scrollbars", "--window-size=1200,800", "--virtual-time-budget=2000"]);
        shot.arg(format!("--blink-settings=preferredColorScheme={colours}"));
        shot.arg(format!("--screenshot={}", picture.display()));
        run(shot.arg(format!("file://{}", report.display())))?;
    }
    Ok(())
}

/// A server as one starts it, six modules that connect to it, and the page in a browser.
fn page(chromium: &str) -> Result<(), String> {
    let place = std::env::temp_dir().join(format!("packet-mutex-page-{}", std::process::id()));
    let pictures = pictures_of_page(chromium, &place);
    let _ = fs::remove_dir_all(&place);
    pictures
}

fn pictures_of_page(chromium: &str, place: &Path) -> Result<(), String> {
    run(&mut cargo(&["build", "--package", "page", "--example", "demo"]))?;
    let url = format!("unix:{}/run/socket", place.display());
    let mut serve = packet_mutex(&["serve", &url, "--http", "127.0.0.1:0", "--state"]);
    serve.arg(place.join("state")).env_remove("PACKET_MUTEX_SECRET");
    let mut server = Ended::spawn(serve.stderr(Stdio::piped()))?;
    let told = server.0.stderr.take().map(|told| BufReader::new(told).lines());
    let mut told = told.into_iter().flatten().map_while(Result::ok);
    let at = told.find_map(|line| {
        let at = line.strip_prefix("the page is at ")?;
        at.split(' ').next().map(String::from)
    });
    let at = at.ok_or("the server does not tell where its page is")?;
    let mut demo = cargo(&["run", "--package", "page", "--example", "demo", "--", &url]);
    let _demo = Ended::spawn(&mut demo)?;

    let mut browser = Browser::start(chromium, &place.join("profile"))?;
    browser.open(&at)?;
    std::thread::sleep(FULL);
    for (name, width, height, phone, colours) in [
        ("light", 1240, 1120, false, "light"),
        ("dark", 1240, 1120, false, "dark"),
        ("phone", 390, 844, true, "light"),
    ] {
        browser.resize(width, height, phone)?;
        browser.prefer(&[("prefers-color-scheme", colours)])?;
        // The lanes fit themselves to the new width.
        browser.eval(
            "document.getElementById('live').click(), document.getElementById('live').click()",
        )?;
        let worthy = "document.getElementById('holder').dataset.state === 'held' && \
            document.querySelectorAll('#queue li').length >= 2 && \
            [...document.querySelectorAll('.time, #queue .waited')].every((s) => parseFloat(s.textContent) > 0.3)";
        // So do the colours, little by little.
        std::thread::sleep(Duration::from_secs(1));
        browser.wait(WORTHY, worthy)?;
        let picture = root().join(format!("docs/images/page-{name}.png"));
        fs::write(&picture, browser.picture(false)?).map_err(|why| why.to_string())?;
    }
    Ok(())
}

/// A process that is ended with its owner.
struct Ended(Child);

impl Ended {
    fn spawn(command: &mut std::process::Command) -> Result<Ended, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Ended).map_err(|why| format!("{name}: {why}"))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
