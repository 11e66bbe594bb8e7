//! The roster as a TOML file. All its errors come at once, each with its place.
//!
//! ```
//! use packet_mutex::roster_toml::from_toml;
//!
//! let text = "
//! handover_delay = '600ms'
//!
//! [modules.arm]
//! priority = 90
//! longest_turn = '2s'
//!
//! [modules.camera]
//! priorty = 10
//! ";
//! let errors = from_toml("robot.toml", text).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "robot.toml:9:1: modules.camera.priorty: unknown key; did you mean `priority`?",
//! );
//! let roster = from_toml("robot.toml", &text.replace("priorty", "priority")).unwrap();
//! assert_eq!(roster.spec().modules.len(), 2);
//! ```

mod duration;
mod keys;
mod lockout;
mod read;
#[cfg(test)]
mod tests;
mod write;

use packet_mutex_arbiter::Roster;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

pub use duration::{format_duration, parse_duration};
pub use keys::{Key, Section, Table, Value, values};
pub use lockout::{RosterWarning, longest_wait, warnings};
pub use write::to_toml;

/// For files that hold a roster and more, and that show all their errors in one list. See [`RosterFile::open_and`].
#[doc(hidden)]
pub mod more {
    pub use super::read::{
        Fields, Reader, Wrong, duration, in_order, name_text, not, shown, table,
    };
    pub use toml::de::{DeTable, DeValue};
}

/// The largest roster file, in bytes.
pub const FILE_MAX: usize = 256 * 1024;

/// Reads the roster in a TOML text. `file_name` is only for the errors.
///
/// # Errors
///
/// All that is wrong with the text, in the order of the lines.
pub fn from_toml(file_name: &str, text: &str) -> Result<Roster, RosterFileErrors> {
    RosterFile::parse(file_name, text).map(|file| file.roster)
}

/// A roster with the places of its fields, so that a later message about a field can name its line.
#[derive(Clone, Debug)]
pub struct RosterFile {
    /// The file's name.
    pub file: String,
    /// The roster.
    pub roster: Roster,
    places: BTreeMap<String, Place>,
}

impl RosterFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// One error, if the file is missing, a directory, larger than [`FILE_MAX`] or not UTF-8. Otherwise as [`from_toml`].
    ///
    /// ```
    /// use packet_mutex::roster_toml::RosterFile;
    /// use std::path::Path;
    ///
    /// let errors = RosterFile::open(Path::new("no-such-roster.toml")).unwrap_err();
    /// assert!(errors.to_string().starts_with("no-such-roster.toml: cannot be read: "));
    /// ```
    pub fn open(path: &Path) -> Result<RosterFile, RosterFileErrors> {
        RosterFile::open_and(path, &[], |_, _| ()).map(|(file, ())| file)
    }

    /// Reads the roster in a TOML text. `file_name` is only for the errors.
    ///
    /// # Errors
    ///
    /// As [`from_toml`].
    pub fn parse(file_name: &str, text: &str) -> Result<RosterFile, RosterFileErrors> {
        RosterFile::parse_and(file_name, text, &[], |_, _| ()).map(|(file, ())| file)
    }

    /// Reads a file that holds a roster and more. `more` reads the rest. Its `keys` are accepted in the roster's tables.
    #[doc(hidden)]
    pub fn open_and<T>(
        path: &Path,
        keys: &'static [(Section, &'static str)],
        more: impl FnOnce(&mut more::Reader, &more::DeTable<'_>) -> T,
    ) -> Result<(RosterFile, T), RosterFileErrors> {
        let file_name = path.display().to_string();
        let text = read_text(path)
            .map_err(|error| RosterFileErrors { file: file_name.clone(), errors: vec![error] })?;
        RosterFile::parse_and(&file_name, &text, keys, more)
    }

    /// Like [`open_and`](Self::open_and), for a text.
    #[doc(hidden)]
    pub fn parse_and<T>(
        file_name: &str,
        text: &str,
        keys: &'static [(Section, &'static str)],
        more: impl FnOnce(&mut more::Reader, &more::DeTable<'_>) -> T,
    ) -> Result<(RosterFile, T), RosterFileErrors> {
        let file = file_name.to_string();
        match read::roster_and(text, keys, more) {
            Ok((roster, more, places)) => Ok((RosterFile { file, roster, places }, more)),
            Err(errors) => Err(RosterFileErrors { file, errors }),
        }
    }

    /// Returns the place of the field with this path, or `None` if it is not written in the file.
    #[must_use]
    pub fn place(&self, field: &str) -> Option<Place> {
        self.places.get(field).copied()
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// All that is wrong with a roster file, in the order of the lines. `Display` shows one error a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterFileErrors {
    /// The file's name.
    pub file: String,
    /// The errors. There is at least one.
    pub errors: Vec<RosterFileError>,
}

impl fmt::Display for RosterFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            let colon = if error.place.is_some() { ":" } else { ": " };
            write!(f, "{newline}{}{colon}{error}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for RosterFileErrors {}

/// One thing that is wrong with a roster file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterFileError {
    /// Where it is; `None` if the error concerns the whole file.
    pub place: Option<Place>,
    /// The field's path, such as `modules.fisher.timeout`. It is empty if the error concerns no field.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// The known key or name that was probably meant.
    pub nearest: Option<String>,
}

impl fmt::Display for RosterFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}", self.message)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RosterFileError {}

fn read_text(path: &Path) -> Result<String, RosterFileError> {
    let cannot_read = |error: std::io::Error| whole_file(format!("cannot be read: {error}"));
    if path.is_dir() {
        return Err(whole_file("is a directory, not a roster".into()));
    }
    let file = std::fs::File::open(path).map_err(cannot_read)?;
    let mut bytes = Vec::new();
    // One byte past the limit shows that it is exceeded. A device or a pipe could go on for ever.
    file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes.len() > FILE_MAX {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let good = std::str::from_utf8(good).unwrap_or_default();
        let place = read::places(good, [good.len()]).into_values().next();
        RosterFileError { place, ..whole_file("is not UTF-8 text after this point".into()) }
    })
}

fn too_large() -> RosterFileError {
    whole_file(format!("is larger than {} KiB, the limit for a roster", FILE_MAX / 1024))
}

fn whole_file(message: String) -> RosterFileError {
    RosterFileError { place: None, field: String::new(), message, nearest: None }
}
