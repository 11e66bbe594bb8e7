//! Renders an event log as a self-contained HTML timeline, as plain text or as a trace for Perfetto.
//!
//! Fill in a [`Report`] and call [`render`] for a page, [`render_live`] for a page that takes more events while it is open,
//! [`text()`] for a terminal, or [`perfetto()`] for a trace viewer. [`Live`] draws lanes of a log that goes on.
//!
//! ```
//! use timeline::{Count, Lane, Report, Run};
//!
//! let mut run = Run::new("with the mutex");
//! run.summary.push(Count::new("refusals", 0));
//! run.read_events(
//!     r#"{"seq":1,"t":0.0,"event":"requested","mutex":"main","module":"fisher","request":1}
//!        {"seq":2,"t":0.5,"event":"granted","mutex":"main","module":"fisher","request":1,"token":"1","waited":0.5}
//!        {"seq":3,"t":1.5,"event":"released","mutex":"main","module":"fisher","request":1,"token":"1","held":1.0,"depth":0}"#,
//! );
//! let report = Report {
//!     title: "One cast".into(),
//!     lanes: vec![Lane::new("fisher", "gathering", 60)],
//!     runs: vec![run],
//!     ..Report::default()
//! };
//! assert!(timeline::render(&report).starts_with("<!DOCTYPE html>"));
//! assert!(timeline::text(&report, 72).contains("fisher"));
//! ```
//!
//! Nothing here can fail: unreadable lines and everything beyond the limits are left out, and the output says so. The same
//! input gives the same bytes.

#![warn(missing_docs)]

mod cells;
mod html;
mod live;
mod log;
mod perfetto;
mod report;
mod spans;
mod text;

pub use cells::Cell;
pub use html::{Inserts, render, render_live};
pub use live::Live;
pub use log::{MAX_ACTIONS, MAX_EVENTS, MAX_LANES, is_trouble};
pub use perfetto::perfetto;
pub use report::{Action, Count, Lane, Report, Run};
pub use text::text;
