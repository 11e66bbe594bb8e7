//! Renders an event log as a self-contained HTML timeline.
