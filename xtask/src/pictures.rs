//! The pictures of the documents, as Chromium shows what they are of: a practice's timeline, and a running mutex on its page
//! and in a terminal.

use crate::command::{cannot, cargo, command, output, packet_mutex, program, root, run};
use crate::tools;
use anstyle_svg::{Term, VGA, WIN10_CONSOLE};
use chromium::Browser;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

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

/// Makes the pictures of `practice`, of `page`, of `watch`, or of all.
pub(crate) fn make(of: &[&str]) -> Result<(), String> {
    if !tools::has_chromium() {
        return Err("Chromium is missing and cannot be installed here".into());
    }
    type Make = fn() -> Result<(), String>;
    let all: [(&str, Make); 3] = [("practice", practice), ("page", page), ("watch", watch)];
    if of.iter().any(|of| all.iter().all(|(name, _)| of != name)) {
        return Err("pictures are of `practice`, `page` or `watch`".into());
    }
    let mut wanted = all.iter().filter(|(name, _)| of.is_empty() || of.contains(name));
    wanted.try_for_each(|(_, make)| make())
}

fn practice() -> Result<(), String> {
    let report = root().join("target/practice.html");
    let mut practice = packet_mutex(&["practice", "--seconds", "30", "--seed", "1", "--report"]);
    run(practice.arg(&report))?;
    let page = fs::read_to_string(&report).map_err(|why| why.to_string())?;
    let page = page.replace("</head>", &format!("{ONLY_TWO_RUNS}</head>"));
    fs::write(&report, page).map_err(|why| why.to_string())?;
    let mut browser = Browser::start()?;
    browser.resize(1200, 800, false)?;
    for colours in ["dark", "light"] {
        browser.prefer(&[("prefers-color-scheme", colours)])?;
        browser.open(&format!("file://{}", report.display()))?;
        save(&mut browser, &format!("practice-{colours}"))?;
    }
    Ok(())
}

/// A server as one starts it, six modules that connect to it, and the page in a browser.
fn page() -> Result<(), String> {
    let place = directory()?;
    let (demo, _url) = Demo::start(place.path())?;
    let mut browser = Browser::start()?;
    browser.open(&demo.page)?;
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
        save(&mut browser, &format!("page-{name}"))?;
    }
    Ok(())
}

/// The same in a terminal, which tmux is, in two of the colours that terminals have.
fn watch() -> Result<(), String> {
    if !tools::has_tmux() {
        return Err("tmux is missing and cannot be installed here".into());
    }
    let place = directory()?;
    let (_demo, url) = Demo::start(place.path())?;
    let terminal = Terminal(place.path().join("tmux"));
    let watch = packet_mutex(&["watch", "--url", &url]);
    let words = std::iter::once(watch.get_program()).chain(watch.get_args());
    let begin = ["-f", "/dev/null", "-u", "new-session", "-d", "-x", "100", "-y", "30", "-c"];
    let root = root();
    terminal.ask(begin.map(OsStr::new).into_iter().chain([root.as_os_str()]).chain(words))?;
    // The lanes show half a minute.
    std::thread::sleep(FULL / 2);
    let end = Instant::now() + WORTHY;
    let shown = loop {
        let shown = terminal.ask(["capture-pane", "-p", "-e"])?;
        let plain = terminal.ask(["capture-pane", "-p"])?;
        let waits = plain.lines().filter(|line| line.starts_with(" ○")).count();
        if plain.contains(" has held for ") && waits >= 2 {
            break shown;
        }
        if Instant::now() > end {
            return Err(format!("no moment that is worth a picture:\n{plain}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut browser = Browser::start()?;
    let dark = (WIN10_CONSOLE, (222, 222, 222), (24, 26, 31));
    let light = (VGA, (36, 41, 47), (255, 255, 255));
    for (name, (palette, ink, paper)) in [("dark", dark), ("light", light)] {
        let colour = |rgb| anstyle::RgbColor::from(rgb).into();
        let term = Term::new().palette(palette).fg_color(colour(ink)).bg_color(colour(paper));
        let drawing = place.path().join("watch.svg");
        fs::write(&drawing, term.render_svg(shown.trim_end())).map_err(|why| why.to_string())?;
        browser.open(&format!("file://{}", drawing.display()))?;
        let side = |name| format!("document.documentElement.{name}.baseVal.value");
        let [width, height] = [side("width"), side("height")].map(|side| browser.eval(&side));
        let pixels = |side: Value| side.as_f64().map_or(0, |side| side.ceil() as u32);
        browser.resize(pixels(width?), pixels(height?), false)?;
        save(&mut browser, &format!("watch-{name}"))?;
    }
    Ok(())
}

/// A temporary directory for what a picture needs.
fn directory() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|why| why.to_string())
}

/// Writes what the browser shows to `docs/images`.
fn save(browser: &mut Browser, name: &str) -> Result<(), String> {
    let picture = root().join(format!("docs/images/{name}.png"));
    fs::write(&picture, browser.picture(false)?).map_err(|why| why.to_string())
}

/// A server with its page, and six modules at work.
struct Demo {
    page: String,
    _modules: Ended,
    _server: Ended,
}

impl Demo {
    /// Starts them, and returns the mutex's URL too.
    fn start(place: &Path) -> Result<(Demo, String), String> {
        run(&mut cargo(&["build", "--package", "page", "--example", "demo"]))?;
        let url = format!("unix:{}/run/socket", place.display());
        let mut serve = packet_mutex(&["serve", &url, "--http", "127.0.0.1:0", "--state"]);
        serve.arg(place.join("state")).env_remove("PACKET_MUTEX_SECRET");
        let mut server = Ended::spawn(serve.stderr(Stdio::piped()))?;
        let told = server.0.stderr.take().map(|told| BufReader::new(told).lines());
        let mut told = told.into_iter().flatten().map_while(Result::ok);
        let page = told.find_map(|line| {
            let page = line.strip_prefix("the page is at ")?;
            page.split(' ').next().map(String::from)
        });
        let page = page.ok_or("the server does not tell where its page is")?;
        let mut modules = program(&["--package", "page", "--example", "demo"], &[&url]);
        Ok((Demo { page, _modules: Ended::spawn(&mut modules)?, _server: server }, url))
    }
}

/// A tmux server that ends with its owner.
struct Terminal(PathBuf);

impl Terminal {
    fn ask<T: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = T>) -> Result<String, String> {
        output(command("tmux", &[]).arg("-S").arg(&self.0).args(args))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.ask(["kill-server"]);
    }
}

/// A process that is ended with its owner.
struct Ended(Child);

impl Ended {
    fn spawn(command: &mut std::process::Command) -> Result<Ended, String> {
        command.spawn().map(Ended).map_err(|why| cannot(command, &why))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
