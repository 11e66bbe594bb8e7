//! Circles of files: where one uses a second, which uses the first again, nobody can read either alone.
//!
//! The arrows are the paths in the sources: `use crate::…`, `super::…`, `self::…` and the like, and paths within code. A path
//! through a re-export leads to the file that defines the item. A re-export by itself is no arrow, nor is `mod x;`. What only
//! tests use does not count.

use crate::command::{metadata, root};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// In one folder so many files may be a circle.
const LARGEST: usize = 3;

/// Prints the circles of all packages. Fails if one crosses folders, or is too large.
pub(crate) fn check() -> Result<String, String> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let (mut files, mut found, mut bad) = (0, 0, 0);
    for target in targets {
        let kind = target["kind"][0].as_str().unwrap_or_default();
        let source = target["src_path"].as_str().unwrap_or_default();
        if ["test", "bench", "example", "custom-build"].contains(&kind) {
            continue;
        }
        let mut sources = Sources::default();
        sources.read_file(Path::new(source), Vec::new())?;
        let arrows = sources.arrows();
        files += sources.files.len();
        for circle in circles(&arrows) {
            found += 1;
            let folders: BTreeSet<_> = circle.iter().map(|file| file.parent()).collect();
            let is_bad = folders.len() > 1 || circle.len() > LARGEST;
            bad += usize::from(is_bad);
            let text = shown(&circle, &arrows);
            println!("{}{text}", if is_bad { "TOO WIDE: " } else { "" });
        }
    }
    match bad {
        0 => Ok(format!(
            "{files} files, {found} circles, none across folders or of more than {LARGEST}"
        )),
        _ => {
            Err(format!("{bad} circles cross folders or have more than {LARGEST} files; cut them"))
        }
    }
}

/// Which file uses which, and a path by which it does.
type Arrows = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

/// The largest sets of files that all lead to each other.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<&Path>> {
    let reached = |from| {
        let (mut reached, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(file) = left.pop() {
            for next in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(next.as_path()) {
                    left.push(next.as_path());
                }
            }
        }
        reached
    };
    let all: BTreeMap<&Path, BTreeSet<&Path>> =
        arrows.keys().map(|file| (file.as_path(), reached(file.as_path()))).collect();
    let leads = |from: &Path, to: &Path| all.get(from).is_some_and(|files| files.contains(to));
    let circle = |file: &&Path| all[file].iter().copied().filter(|to| leads(to, file)).collect();
    let circles: BTreeSet<BTreeSet<&Path>> = all.keys().map(circle).collect();
    circles.into_iter().filter(|circle| circle.len() > 1).collect()
}

fn shown(circle: &BTreeSet<&Path>, arrows: &Arrows) -> String {
    let name = |file: &Path| file.strip_prefix(root()).unwrap_or(file).display().to_string();
    let mut text = format!("{} files use each other", circle.len());
    for file in circle {
        let inside = arrows[*file].iter().filter(|(to, _)| circle.contains(to.as_path()));
        for (to, path) in inside {
            text += &format!("\n  {} -> {}: {path}", name(file), name(to));
        }
    }
    text
}

/// The modules of a target, by their paths.
#[derive(Default)]
struct Sources {
    modules: BTreeMap<Vec<String>, Module>,
    /// The words of each file that stand in no `use`.
    files: BTreeMap<PathBuf, BTreeSet<String>>,
}

/// What a module, in a file of its own or in its parent's, has.
#[derive(Default)]
struct Module {
    file: PathBuf,
    /// What it defines.
    items: BTreeSet<String>,
    /// What `use` gives a name here.
    names: BTreeMap<String, Vec<String>>,
    /// Whose items `use x::*` brings here.
    globs: Vec<Vec<String>>,
    /// Paths that it uses.
    paths: Vec<Vec<String>>,
    /// Names that it passes on.
    passed_on: BTreeSet<String>,
}

/// Where the body of a module is.
enum Body {
    Here(TokenStream),
    /// Where `#[path]` says.
    At(String),
    /// In the file of its name.
    Usual,
}

impl Sources {
    fn read_file(&mut self, file: &Path, module: Vec<String>) -> Result<(), String> {
        let text = fs::read_to_string(file).map_err(|why| format!("{}: {why}", file.display()))?;
        self.read_text(file, module, &text)
    }

    fn read_text(&mut self, file: &Path, module: Vec<String>, text: &str) -> Result<(), String> {
        let tokens = text.parse().map_err(|why| format!("{}: {why}", file.display()))?;
        self.files.entry(file.to_owned()).or_default();
        self.read_module(file, module, tokens)
    }

    fn read_module(
        &mut self,
        file: &Path,
        path: Vec<String>,
        tokens: TokenStream,
    ) -> Result<(), String> {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let children = self.read_tokens(&mut module, tokens, true);
        self.modules.insert(path.clone(), module);
        for (name, body) in children {
            let own = child(&path, &name);
            match body {
                Body::Here(body) => self.read_module(file, own, body)?,
                Body::At(place) => self.read_file(&file.with_file_name(place), own)?,
                Body::Usual => self.read_file(&file_of(file, &name, path.is_empty()), own)?,
            }
        }
        Ok(())
    }

    /// Reads the tokens of a module, or of something in it. Returns the modules within.
    fn read_tokens(
        &mut self,
        module: &mut Module,
        tokens: TokenStream,
        is_top: bool,
    ) -> Vec<(String, Body)> {
        let mut children = Vec::new();
        let mut place = None;
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let next = tokens.get(at).and_then(ident);
            match token {
                TokenTree::Punct(sign) if sign.as_char() == '#' => {
                    at += usize::from(is_sign(tokens.get(at), '!'));
                    if tokens.get(at).is_some_and(is_for_tests) {
                        at += item_length(&tokens[at..]);
                    } else {
                        place = place.or(tokens.get(at).and_then(path_attribute));
                        at += 1;
                    }
                }
                TokenTree::Group(group) => {
                    self.read_tokens(module, group.stream(), false);
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = at + item_length(&tokens[at..]);
                    let before = &tokens[..at - 1];
                    read_use(module, &tokens[at..end], is_top, is_public(before));
                    at = end;
                }
                TokenTree::Ident(word) if word == "mod" && is_top && next.is_some() => {
                    let body = match (tokens.get(at + 1), place.take()) {
                        (Some(TokenTree::Group(body)), _) => Body::Here(body.stream()),
                        (_, Some(place)) => Body::At(place),
                        _ => Body::Usual,
                    };
                    children.push((next.unwrap_or_default(), body));
                    at += 2;
                }
                TokenTree::Ident(word) => {
                    let mut path = vec![word.to_string()];
                    while is_sign(tokens.get(at), ':') && is_sign(tokens.get(at + 1), ':') {
                        let Some(word) = tokens.get(at + 2).and_then(ident) else { break };
                        path.push(word);
                        at += 3;
                    }
                    if is_top && defines(&path[0]) {
                        module.items.extend(next);
                    }
                    let words = self.files.entry(module.file.clone()).or_default();
                    words.insert(path[0].clone());
                    if path.len() > 1 {
                        module.paths.push(path);
                    }
                }
                _ => {}
            }
        }
        children
    }

    /// Finds the module that defines what a path in another module means; `None` if it is of another crate.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        // Names that mean each other would lead nowhere for ever.
        if depth > 16 {
            return None;
        }
        let parent = |of: &[String]| of[..of.len().saturating_sub(1)].to_vec();
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => parent(from),
            _ => {
                let module = self.modules.get(from)?;
                let is_here = self.modules.contains_key(&child(from, first))
                    || module.names.contains_key(first)
                    || module.items.contains(first);
                // Of another crate, or a type that `use x::*` brings here.
                if !is_here {
                    return self.through_globs(from, first, depth);
                }
                rest = path;
                from.to_vec()
            }
        };
        for (n, name) in rest.iter().enumerate() {
            let module = self.modules.get(&at)?;
            if name == "super" {
                at = parent(&at);
            } else if self.modules.contains_key(&child(&at, name)) {
                at = child(&at, name);
            } else if let Some(meaning) = module.names.get(name) {
                let path = [meaning, &rest[n + 1..]].concat();
                return self.resolve(&at, &path, depth + 1);
            } else if module.items.contains(name) {
                return Some(at);
            } else {
                return self.through_globs(&at, name, depth).or(Some(at));
            }
        }
        Some(at)
    }

    fn through_globs(&self, from: &[String], name: &str, depth: usize) -> Option<Vec<String>> {
        let globs = self.modules.get(from)?.globs.iter();
        let mut sources = globs.filter_map(|glob| self.resolve(from, glob, depth + 1));
        sources.find(|source| self.modules.get(source).is_some_and(|m| m.items.contains(name)))
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (path, module) in &self.modules {
            let words = self.files.get(&module.file);
            let is_used = |name: &String| words.is_some_and(|words| words.contains(name));
            let names = module.names.iter();
            let used = names.filter(|(name, _)| !module.passed_on.contains(*name) || is_used(name));
            let used = used.map(|(_, path)| path).chain(&module.globs).chain(&module.paths);
            for meant in used {
                let target = self.resolve(path, meant, 0).and_then(|to| self.modules.get(&to));
                if let Some(target) = target.filter(|target| target.file != module.file) {
                    let from = arrows.entry(module.file.clone()).or_default();
                    from.entry(target.file.clone()).or_insert_with(|| meant.join("::"));
                }
            }
        }
        arrows
    }
}

fn child(of: &[String], name: &str) -> Vec<String> {
    of.iter().cloned().chain([name.to_owned()]).collect()
}

/// Where `mod name;` in this file finds its module.
fn file_of(parent: &Path, name: &str, is_root: bool) -> PathBuf {
    let is_folders = is_root || parent.file_stem().is_some_and(|stem| stem == "mod");
    let folder = if is_folders { parent.with_file_name("") } else { parent.with_extension("") };
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { file } else { folder.join(name).join("mod.rs") }
}

/// Reads what stands between `use` and its end.
fn read_use(module: &mut Module, tokens: &[TokenTree], is_top: bool, is_public: bool) {
    let mut leaves = Vec::new();
    read_use_tree(tokens, &[], &mut leaves);
    for (path, name) in leaves {
        match name.as_str() {
            "*" if is_top => module.globs.push(path),
            _ if is_top => {
                module.passed_on.extend(is_public.then(|| name.clone()));
                module.names.insert(name, path);
            }
            _ => module.paths.push(path),
        }
    }
}

/// Collects the paths of a `use`, and the name that each has here; `*` for all names.
fn read_use_tree(tokens: &[TokenTree], before: &[String], leaves: &mut Vec<(Vec<String>, String)>) {
    for tree in tokens.split(|token| is_sign(Some(token), ',')) {
        let mut path = before.to_vec();
        let mut name = None;
        let mut words = tree.iter();
        while let Some(token) = words.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => name = words.next().and_then(ident),
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Punct(sign) if sign.as_char() == '*' => name = Some("*".to_owned()),
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    read_use_tree(&inner, &path, leaves);
                    path.clear();
                }
                _ => {}
            }
        }
        if let Some(last) = path.last().cloned() {
            leaves.push((path, name.unwrap_or(last)));
        }
    }
}

fn ident(token: &TokenTree) -> Option<String> {
    if let TokenTree::Ident(word) = token { Some(word.to_string()) } else { None }
}

fn is_sign(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Returns whether an item of this name follows the word.
fn defines(word: &str) -> bool {
    let words = ["struct", "enum", "union", "fn", "trait", "type", "const", "static"];
    words.contains(&word)
}

/// Returns whether the tokens end in `pub` or `pub(…)`.
fn is_public(tokens: &[TokenTree]) -> bool {
    let is_pub = |token: &TokenTree| ident(token).is_some_and(|word| word == "pub");
    match tokens {
        [.., visibility, TokenTree::Group(_)] if is_pub(visibility) => true,
        [.., visibility] => is_pub(visibility),
        [] => false,
    }
}

/// Returns whether an attribute's brackets are `[cfg(test)]` or the like.
fn is_for_tests(attribute: &TokenTree) -> bool {
    let TokenTree::Group(group) = attribute else { return false };
    let text = group.stream().to_string().replace(' ', "");
    text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// Returns what a `[path = "…"]` says, or a `[cfg_attr(…, path = "…")]`.
fn path_attribute(attribute: &TokenTree) -> Option<String> {
    let TokenTree::Group(group) = attribute else { return None };
    let text = group.stream().to_string().replace(' ', "");
    let (_, place) = text.split_once("path=\"")?;
    place.split('"').next().map(String::from)
}

/// Returns how many tokens there are up to the end of an item: a `;` or a body.
fn item_length(tokens: &[TokenTree]) -> usize {
    let is_end = |token: &TokenTree| {
        let is_body =
            matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        is_body || is_sign(Some(token), ';')
    };
    // The braces of a `use` are no body, but it ends after them all the same.
    tokens.iter().position(is_end).map_or(tokens.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::{Sources, circles};
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The circles of these files, without their ending, as `a b, c d`.
    fn of(files: &[(&str, &str)]) -> String {
        let mut sources = Sources::default();
        for (module, text) in [("lib", "")].iter().chain(files) {
            let path = module.split("::").filter(|part| *part != "lib").map(String::from).collect();
            sources.read_text(Path::new(module), path, text).unwrap();
        }
        let arrows = sources.arrows();
        let circles = circles(&arrows).into_iter().map(|circle| {
            let names: Vec<String> = circle.iter().map(|file| file.display().to_string()).collect();
            names.join(" ")
        });
        circles.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn paths_and_uses_make_circles() {
        let a = ("a", "use crate::b::{self, B as Other}; struct A;");
        assert_eq!(of(&[a, ("b", "struct B { a: super::a::A }")]), "a b");
        assert_eq!(
            of(&[a, ("b", "struct B; // crate::a::A\nconst X: &str = \"crate::a::A\";")]),
            ""
        );
        assert_eq!(of(&[a, ("b", "struct B; fn f() { println!(\"{}\", crate::a::X); }")]), "a b");
        assert_eq!(of(&[a, ("b", "use std::a::A; struct B;")]), "");
    }

    #[test]
    fn tests_do_not_count() {
        let a = ("a", "use crate::b::B; struct A;");
        let tests =
            "struct B; #[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use crate::a::A;";
        assert_eq!(of(&[a, ("b", tests)]), "");
        let unix = "struct B; #[cfg(unix)] use crate::a::A;";
        assert_eq!(of(&[a, ("b", unix)]), "a b");
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
