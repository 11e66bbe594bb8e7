//! What is written in the documents and the sources: commands exist, links lead somewhere, nothing is left undone.

use crate::command::{command, output, root};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Checks all texts that Git knows or would add. Fails with all that is wrong in them.
pub(crate) fn check() -> Result<String, String> {
    let root = root();
    let list =
        output(&mut command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let mut texts = Vec::new();
    for file in list.lines() {
        let ending = Path::new(file).extension().unwrap_or_default();
        let is_text =
            ["rs", "toml", "md", "yml", "js", "css", "scenario"].iter().any(|e| ending == *e);
        // A file may be listed and deleted; one that is no UTF-8 is no text of ours.
        if let Some(text) = is_text.then(|| fs::read_to_string(root.join(file)).ok()).flatten() {
            texts.push((file.to_string(), text));
        }
    }
    let reference = fs::read_to_string(root.join("docs/CLI.md")).map_err(|why| why.to_string())?;
    let mut wrong = Vec::new();
    let mut commands = 0;
    for (file, text) in &texts {
        let is_document = file.ends_with(".md") && !file.contains("/tests/");
        for (at, line) in text.lines().enumerate() {
            let mut found = Vec::from_iter(undone(line));
            if is_document {
                commands += usize::from(is_command(line));
                found.extend(unknown_command(line, &reference));
                found.extend(dead_link(line, &root.join(file)));
                found.extend(dead_anchor(line, &root.join(file)));
            }
            wrong.extend(found.iter().map(|what| format!("{file}:{}: {what}", at + 1)));
        }
    }
    if wrong.is_empty() {
        Ok(format!("{} files, {commands} commands in documents", texts.len()))
    } else {
        Err(format!("{} things\n{}", wrong.len(), wrong.join("\n")))
    }
}

/// Marks of work that was left, and tests that are left out without a reason.
fn undone(line: &str) -> Option<String> {
    // Written in two parts, so that this file passes.
    for mark in [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()] {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
        if words.any(|word| word == mark) {
            return Some(format!("{mark} is no place to leave work"));
        }
    }
    let bare = ["#[ign", "ore]"].concat();
    line.contains(&bare).then(|| format!("{bare} without a reason"))
}

fn is_command(line: &str) -> bool {
    let line = line.trim_start_matches("$ ");
    ["cargo xtask ", "cargo run ", "packet-mutex "].iter().any(|start| line.starts_with(start))
}

/// A line of a document that is a command which does not exist.
fn unknown_command(line: &str, reference: &str) -> Option<String> {
    let line = line.trim_start_matches("$ ");
    let line = line.split(" #").next()?.trim();
    if let Some(task) = line.strip_prefix("cargo xtask ") {
        let name = task.split(' ').next()?;
        return (!crate::is_task(name)).then(|| format!("there is no task `{name}`"));
    }
    let of_cli = match line.strip_prefix("cargo run ") {
        Some(rest) if rest.contains("-p ") || rest.contains("--package ") => return None,
        Some(rest) => rest.split_once("-- ").map_or("", |(_, command)| command),
        None => line.strip_prefix("packet-mutex ")?,
    };
    let name = of_cli.split(' ').next()?;
    let heading = format!("\n## packet-mutex {name}\n");
    let Some((_, section)) = reference.split_once(&heading) else {
        return Some(format!("docs/CLI.md knows no command `{name}`"));
    };
    let section = section.split("\n## ").next()?;
    let options = of_cli.split(' ').filter(|word| word.starts_with("--"));
    options
        .filter_map(|option| option.split('=').next())
        .find(|option| !section.contains(option))
        .map(|option| format!("`{name}` has no option `{option}`"))
}

/// A link or picture of a document that is not there. One a line is found at a time.
fn dead_link(line: &str, file: &Path) -> Option<String> {
    let markdown = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
    let html = ["src=\"", "href=\"", "srcset=\""];
    let html = html.iter().flat_map(|start| line.split(start).skip(1));
    let html = html.filter_map(|rest| rest.split(['"', '#']).next());
    markdown
        .chain(html)
        .filter(|link| !link.is_empty() && !link.contains(':') && !link.contains('<'))
        .find(|link| !clean(&file.parent().unwrap_or(file).join(link)).exists())
        .map(|link| format!("the link to {link} leads nowhere"))
}

/// A link to a heading of a document that has none of this name. One a line is found at a time.
fn dead_anchor(line: &str, file: &Path) -> Option<String> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let anchors = links.filter_map(|link| link.split_once('#'));
    anchors
        .filter(|(to, _)| to.is_empty() || (to.ends_with(".md") && !to.contains(':')))
        .find(|(to, anchor)| {
            let folder = file.parent().unwrap_or(file);
            let to = if to.is_empty() { file.to_path_buf() } else { clean(&folder.join(to)) };
            // A file that is not there is a dead link already.
            fs::read_to_string(to)
                .is_ok_and(|text| !anchors_of(&text).any(|known| known == *anchor))
        })
        .map(|(to, anchor)| format!("{to}#{anchor} is no heading"))
}

/// What the headings of a document are called in links, as the common Markdown renderers do it.
fn anchors_of(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The path without `..`, which a folder that is not there could not resolve.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            clean.pop();
        } else {
            clean.push(part);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::{anchors_of, dead_anchor, dead_link, undone, unknown_command};
    use std::path::Path;

    const REFERENCE: &str = "\n## packet-mutex check\n--json\n\n## packet-mutex other\n--more\n";

    #[test]
    fn commands_are_looked_up() {
        let is_known = |line| unknown_command(line, REFERENCE).is_none();
        for line in [
            "cargo xtask test",
            "$ cargo xtask gen --check",
            "packet-mutex check roster.toml --json # look",
            "cargo run --release -- check roster.toml",
            "cargo run -p timeline --example any out.html",
            "a sentence about cargo xtask nonsense",
        ] {
            assert!(is_known(line), "{line}");
        }
        for line in [
            "cargo xtask dance",
            "packet-mutex dance",
            "packet-mutex check --more",
            "cargo run -- x",
        ] {
            assert!(!is_known(line), "{line}");
        }
    }

    #[test]
    fn links_are_followed() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        assert_eq!(dead_link("see [it](src/texts.rs#top) and [that](https://x.y)", &file), None);
        assert!(dead_link("![x](gone.png)", &file).is_some());
        assert!(dead_link("<img src=\"gone.png\">", &file).is_some());
    }

    #[test]
    fn headings_are_looked_up() {
        let text = "# Top\n## Rolling it out, and back\n### S3 `x-y` Delay\n";
        let anchors = Vec::from_iter(anchors_of(text));
        assert_eq!(anchors, ["top", "rolling-it-out-and-back", "s3-x-y-delay"]);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/GUIDE.md");
        let found = |line| dead_anchor(line, &file);
        assert_eq!(
            found("[a](RULES.md#s3-handover-delay) [b](#a-turn) [c](https://x.y/z.md#q)"),
            None
        );
        assert!(found("[a](RULES.md#s3-delay)").is_some());
        assert!(found("[a](#another-turn)").is_some());
    }

    #[test]
    fn marks_of_work_left_are_found() {
        assert_eq!(undone("all is done"), None);
        assert!(undone(&["// TO", "DO: later"].concat()).is_some());
        assert!(undone(&["#[ign", "ore]"].concat()).is_some());
        assert_eq!(undone("#[ignore = \"needs a browser\"]"), None);
    }
}
