//! Circles of files: where one uses a second, which uses the first again, nobody can read either alone.
//!
//! The arrows are the paths in the sources: `use crate::…`, `super::…`, `self::…` and the like, and paths within code. A path
//! through a re-export leads to the file that defines the item. A re-export by itself is no arrow, nor is `mod x;`. What only
//! tests use does not count.

use crate::command::{packages, root};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// In one folder so many files may be a circle.
const LARGEST: usize = 3;
/// Targets whose files users of the packages never read.
const LEFT_OUT: [&str; 4] = ["test", "bench", "example", "custom-build"];
/// How the attributes begin whose items only tests have.
const OF_TESTS: [&[&str]; 3] =
    [&["[", "test", "]"], &["[", "cfg", "(", "test", ")"], &["[", "cfg", "(", "all", "(", "test"]];
/// A name that its module defines follows them.
const DEFINES: [&str; 8] = ["struct", "enum", "union", "fn", "trait", "type", "const", "static"];

/// Prints the circles of all packages. Fails if one crosses folders, or is too large.
pub(crate) fn check() -> Result<String, String> {
    let packages = packages()?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let (mut files, mut found, mut bad) = (0, 0, 0);
    for target in targets.filter(|target| LEFT_OUT.iter().all(|kind| target["kind"][0] != **kind)) {
        let mut sources = Sources::default();
        sources.read_file(Path::new(target["src_path"].as_str().unwrap_or_default()), "crate")?;
        files += sources.0.values().map(|module| &module.file).collect::<BTreeSet<_>>().len();
        let arrows = sources.arrows();
        for circle in circles(&arrows) {
            let folders: BTreeSet<_> = circle.iter().map(|file| file.parent()).collect();
            let is_bad = folders.len() > 1 || circle.len() > LARGEST;
            found += 1;
            bad += usize::from(is_bad);
            println!("{}{}", if is_bad { "TOO WIDE: " } else { "" }, shown(&circle, &arrows));
        }
    }
    if bad > 0 {
        return Err(format!(
            "{bad} circles cross folders or have more than {LARGEST} files; cut them"
        ));
    }
    Ok(format!("{files} files, {found} circles, none across folders or of more than {LARGEST}"))
}

/// Which file uses which, and a path by which it does.
type Arrows<'a> = BTreeMap<&'a Path, BTreeMap<&'a Path, &'a str>>;

/// The largest sets of files that all lead to each other.
fn circles<'a>(arrows: &Arrows<'a>) -> BTreeSet<BTreeSet<&'a Path>> {
    let direct = arrows.iter().map(|(from, to)| (*from, to.keys().copied().collect()));
    let mut reached: BTreeMap<&Path, BTreeSet<&Path>> = direct.collect();
    for by in arrows.keys() {
        let further = reached[by].clone();
        for files in reached.values_mut().filter(|files| files.contains(by)) {
            files.extend(&further);
        }
    }
    let circles = reached.iter().map(|(from, files)| {
        let leads_back = |to: &&Path| reached.get(to).is_some_and(|files| files.contains(from));
        files.iter().copied().filter(leads_back).collect::<BTreeSet<_>>()
    });
    circles.filter(|circle| circle.len() > 1).collect()
}

fn shown(circle: &BTreeSet<&Path>, arrows: &Arrows) -> String {
    let name = |file: &Path| file.strip_prefix(root()).unwrap_or(file).display().to_string();
    let mut text = format!("{} files use each other", circle.len());
    for file in circle {
        for (to, path) in arrows[file].iter().filter(|(to, _)| circle.contains(*to)) {
            text += &format!("\n  {} -> {}: {path}", name(file), name(to));
        }
    }
    text
}

/// The modules of a target, by their paths, which begin with `crate`.
#[derive(Default)]
struct Sources(BTreeMap<String, Module>);

/// What a module, in a file of its own or in its parent's, has.
#[derive(Default)]
struct Module {
    file: PathBuf,
    /// What each name means: a path from `use`, or `self` for what the module defines.
    names: BTreeMap<String, String>,
    /// Whose items `use x::*` brings here.
    globs: Vec<String>,
    /// What it uses, and all other words: they count only if they are names.
    paths: Vec<String>,
}

impl Sources {
    fn read_file(&mut self, file: &Path, module: &str) -> Result<(), String> {
        let text = fs::read_to_string(file).map_err(|why| format!("{}: {why}", file.display()))?;
        self.read_text(file, module, &text)
    }

    fn read_text(&mut self, file: &Path, module: &str, text: &str) -> Result<(), String> {
        let tokens = text.parse().map_err(|why| format!("{}: {why}", file.display()))?;
        let text = spaced(tokens).replace(" : : ", "::");
        self.read_words(file, module, &text.split_whitespace().collect::<Vec<_>>())
    }

    /// Reads a module's words, and the modules in it.
    fn read_words(&mut self, file: &Path, path: &str, words: &[&str]) -> Result<(), String> {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let (mut depth, mut place, mut before, mut left) = (0, None, "", words);
        while let [word, after @ ..] = left {
            let next = *after.first().unwrap_or(&"");
            left = after;
            match *word {
                "{" => depth += 1,
                "}" => depth -= 1,
                "#" if OF_TESTS.iter().any(|start| after.starts_with(start)) => {
                    (_, left) = split_item(after);
                }
                "path" if depth == 0 && next == "=" => place = place.or(after.get(1)),
                "mod" if depth == 0 => {
                    let item;
                    (item, left) = split_item(after);
                    let inner = format!("{path}::{next}");
                    let usual = || place_of(next, file, path == "crate");
                    let at = |place: &&str| file.with_file_name(place.trim_matches('"'));
                    match item {
                        [_, "{", body @ ..] => self.read_words(file, &inner, body)?,
                        _ => self.read_file(&place.take().map_or_else(usual, at), &inner)?,
                    }
                }
                // `use<…>` is part of a type.
                "use" if next != "<" => {
                    let tree;
                    (tree, left) = split_item(after);
                    // `)` is the end of `pub(crate)`.
                    let is_passed_on = ["pub", ")"].contains(&before);
                    for (name, path) in leaves(tree) {
                        module.paths.extend((!is_passed_on).then(|| path.clone()));
                        if depth == 0 && name == "*" {
                            module.globs.push(path);
                        } else if depth == 0 {
                            module.names.insert(name, path);
                        }
                    }
                }
                word => {
                    if depth == 0 && DEFINES.contains(&word) {
                        module.names.entry(next.into()).or_insert_with(|| "self".into());
                    }
                    module.paths.push(word.trim_end_matches("::<").into());
                }
            }
            before = word;
        }
        self.0.insert(path.to_owned(), module);
        Ok(())
    }

    /// Finds the module that defines what a path in another module means; `None` if it is of another crate.
    fn find(&self, from: &str, path: &str, depth: usize) -> Option<&Module> {
        // Names that mean each other would lead nowhere for ever.
        if depth > 16 {
            return None;
        }
        let mut at = from.to_owned();
        let parts: Vec<&str> = path.split("::").collect();
        for (n, name) in parts.iter().enumerate() {
            let module = self.0.get(&at)?;
            let inner = match *name {
                "crate" => "crate".into(),
                "self" => at.clone(),
                "super" => at.rsplit_once("::")?.0.into(),
                name => format!("{at}::{name}"),
            };
            if self.0.contains_key(&inner) {
                at = inner;
                continue;
            }
            let has_it = |glob: &&String| {
                let source = self.find(&at, glob, depth + 1);
                source.is_some_and(|source| source.names.contains_key(*name))
            };
            let meaning = module.names.get(*name).cloned();
            let of_glob = || Some(format!("{}::{name}", module.globs.iter().find(has_it)?));
            return match meaning.or_else(of_glob).as_deref() {
                // An unknown name at the beginning is another crate; later it is what an item has.
                None if n == 0 => None,
                None | Some("self") => Some(module),
                Some(path) => {
                    let path = [&[path], &parts[n + 1..]].concat().join("::");
                    self.find(&at, &path, depth + 1)
                }
            };
        }
        self.0.get(&at)
    }

    fn arrows(&self) -> Arrows<'_> {
        let mut arrows = Arrows::new();
        for (at, module) in &self.0 {
            let is_use = |path: &&String| path.contains("::") || module.names.contains_key(*path);
            for path in module.paths.iter().filter(is_use) {
                let target = self.find(at, path, 0).filter(|target| target.file != module.file);
                if let Some(target) = target {
                    arrows.entry(&*module.file).or_default().entry(&*target.file).or_insert(path);
                }
            }
        }
        arrows
    }
}

/// Where `mod name;` in this file finds its module.
fn place_of(name: &str, parent: &Path, is_root: bool) -> PathBuf {
    let is_folders = is_root || parent.file_stem().is_some_and(|stem| stem == "mod");
    let folder = if is_folders { parent.with_file_name("") } else { parent.with_extension("") };
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { file } else { folder.join(name).join("mod.rs") }
}

/// Returns the names that a `use` gives here, `*` for all, and what each means.
fn leaves(tree: &[&str]) -> Vec<(String, String)> {
    let (mut leaves, mut outer) = (Vec::<(String, String)>::new(), vec![String::new()]);
    let mut before = "";
    for word in tree {
        let path = outer.last().cloned().unwrap_or_default() + word;
        match *word {
            "," | ";" | "as" => {}
            "}" => drop(outer.pop()),
            name if before == "as" => {
                if let Some(leaf) = leaves.last_mut() {
                    leaf.0 = name.into();
                }
            }
            word if word.ends_with('{') => outer.push(path.trim_end_matches('{').into()),
            _ => {
                let path = path.trim_end_matches("::self");
                leaves.push((path.rsplit("::").next().unwrap_or(path).into(), path.into()));
            }
        }
        before = word;
    }
    leaves
}

/// Splits words behind an item: its `;`, its body, or the end of what it is in.
fn split_item<'a, 'b>(words: &'a [&'b str]) -> (&'a [&'b str], &'a [&'b str]) {
    let mut depth = 0;
    let end = words.iter().position(|word| {
        depth += i32::from(word.ends_with(['(', '[', '{']));
        depth -= i32::from(word.ends_with([')', ']', '}']));
        depth < 0 || depth == 0 && ["}", ";"].contains(word)
    });
    words.split_at(end.map_or(words.len(), |end| end + usize::from(depth == 0)))
}

/// Returns the tokens with a space between each two, and none within a literal.
fn spaced(tokens: TokenStream) -> String {
    let words = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) => {
            let (open, close) = match group.delimiter() {
                Delimiter::Brace => ('{', '}'),
                Delimiter::Bracket => ('[', ']'),
                _ => ('(', ')'),
            };
            format!("{open} {} {close}", spaced(group.stream()))
        }
        TokenTree::Literal(text) => text.to_string().split_whitespace().collect(),
        token => token.to_string(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Sources, circles};
    use std::path::Path;

    /// The circles of these files, without their ending, as `a b, c d`.
    fn of(files: &[(&str, &str)]) -> String {
        let mut sources = Sources::default();
        for (file, text) in [("lib", "")].iter().chain(files) {
            let module = format!("crate::{file}").replace("::lib", "");
            sources.read_text(Path::new(file), &module, text).unwrap();
        }
        let circles = circles(&sources.arrows()).into_iter();
        let names = circles
            .map(|circle| Vec::from_iter(circle.iter().filter_map(|file| file.to_str())).join(" "));
        Vec::from_iter(names).join(", ")
    }

    #[test]
    fn paths_and_uses_make_circles() {
        let with = |b| of(&[("a", "use crate::b::{self, B as Other}; struct A;"), ("b", b)]);
        assert_eq!(with("struct B { a: super::a::A }"), "a b");
        assert_eq!(with("// crate::a::A\nconst X: &str = \"crate::a::A { crate::a::A\";"), "");
        assert_eq!(with("struct B; fn f() { println!(\"{}\", crate::a::X); }"), "a b");
        assert_eq!(with("use std::a::A; struct B;"), "");
        // What only tests use does not count; what only some systems use does.
        assert_eq!(with("#[cfg(test)] mod tests { use crate::a::A; }"), "");
        assert_eq!(with("#[cfg(test)] use crate::{a::{A}, c}; struct B;"), "");
        assert_eq!(with("struct B { #[cfg(all(test, unix))] a: crate::a::A } mod c {}"), "");
        assert_eq!(with("struct B; #[cfg(unix)] use crate::a::A;"), "a b");
        // A module in the file of another is as deep as any.
        assert_eq!(with("mod c { fn f() -> super::super::a::A {} } struct B;"), "a b");
        assert_eq!(with("mod c { use super::a::A; } struct B;"), "");
    }

    #[test]
    fn re_exports_lead_to_the_definition() {
        let lib = ("lib", "pub use a::A; pub use b::*; pub use std::fmt::Debug;");
        let a = ("a", "use crate::B; pub struct A;");
        assert_eq!(of(&[lib, a, ("b", "use crate::{A, Debug}; pub struct B;")]), "a b");
        assert_eq!(of(&[lib, a, ("b", "use crate::Debug; pub struct B;")]), "");
        // The root uses what it passes on.
        let using = ("lib", "pub use a::A; pub struct B; fn f(a: A) {}");
        assert_eq!(of(&[using, a]), "a lib");
    }
}
