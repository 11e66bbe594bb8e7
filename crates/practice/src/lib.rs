//! A practice game server and six modules that share one character.
