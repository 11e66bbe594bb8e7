//! Names of modules, groups and mutexes (S14).

use alloc::string::String;
use alloc::vec::Vec;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 64;

/// Why a text is not a valid name.
///
/// It never holds the raw text: bad input must not reach a log as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidName {
    /// The text is empty.
    Empty,
    /// The text is longer than [`NAME_MAX`] bytes.
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The text has a character that is not one of ASCII `a-z 0-9 _ . -`. Upper case is folded first.
    BadCharacter {
        /// The character. It must be escaped when it is shown.
        character: char,
        /// Its position, counted in characters from 1.
        position: usize,
    },
    /// The name differs from a roster name only in `-`, `_` and `.`.
    NearMiss {
        /// The folded name that was asked for.
        name: String,
        /// The name in the roster that was probably meant.
        meant: String,
    },
}

impl InvalidName {
    /// The name of this kind of error, which every front uses.
    pub const KIND: &'static str = "invalid_name";
}

/// Checks a name and folds its ASCII upper case.
///
/// # Errors
///
/// [`InvalidName`] if the text is empty, is longer than [`NAME_MAX`] bytes, or has any character but ASCII letters, digits
/// and `_ . -`.
///
/// ```
/// use packet_mutex_arbiter::fold_name;
/// assert_eq!(fold_name("Auto_Loot").unwrap(), "auto_loot");
/// assert!(fold_name("auto loot").is_err());
/// ```
pub fn fold_name(text: &str) -> Result<String, InvalidName> {
    check_name(text)?;
    Ok(text.to_ascii_lowercase())
}

/// Makes the checks of [`fold_name`] without making a new string.
pub(crate) fn check_name(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > NAME_MAX {
        return Err(InvalidName::TooLong { length: text.len() });
    }
    let bad = |c: &(usize, char)| !(c.1.is_ascii_alphanumeric() || "_.-".contains(c.1));
    match text.chars().enumerate().find(bad) {
        None => Ok(()),
        Some((at, character)) => Err(InvalidName::BadCharacter { character, position: at + 1 }),
    }
}

/// Returns the name without `- _ .`. Two names with the same skeleton are too alike to tell apart.
pub(crate) fn skeleton(name: &str) -> String {
    name.chars().filter(|c| !"_.-".contains(*c)).collect()
}

/// Returns the known name that is nearest to `name`, if one is near enough to be a typing mistake.
///
/// ```
/// use packet_mutex_arbiter::nearest_name;
/// assert_eq!(nearest_name("fihser", ["fisher", "eater"]), Some("fisher"));
/// assert_eq!(nearest_name("cavebot", ["fisher", "eater"]), None);
/// ```
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // One slip, and one more for every four characters. A wider net suggests names that have nothing to do with what
    // was typed.
    let limit = 1 + name.chars().count() / 4;
    let with_distance = known.into_iter().map(|k| (edit_distance(name, k), k));
    with_distance.filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Returns Damerau's optimal string alignment distance: insert, delete, replace, swap neighbours.
/// (F. J. Damerau, "A technique for computer detection and correction of spelling errors", 1964.)
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                let before: &Vec<usize> = &before;
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = core::mem::replace(&mut above, row);
    }
    above[b.len()]
}
