//! Strict-priority mutex for one shared action channel, with handover delays and timeouts.

#[cfg(feature = "toml")]
pub mod roster_toml;
