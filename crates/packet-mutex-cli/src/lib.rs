//! The packet-mutex command.
