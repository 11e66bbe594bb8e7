//! The trace that a command writes beside its work.

use crate::exit::Failure;
use crate::printer::Printer;
use packet_mutex::{PacketMutex, Trace};
use std::path::Path;

/// A trace that is being written, if one was asked for.
pub(crate) struct TraceFile<'p>(Option<(&'p Path, Trace)>);

impl<'p> TraceFile<'p> {
    /// Starts a trace of these mutexes in this file, if there is one.
    pub(crate) fn start<'m>(
        path: Option<&'p Path>,
        mutexes: impl IntoIterator<Item = &'m PacketMutex>,
    ) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(TraceFile(None)) };
        let trace = Trace::start(path, mutexes).map_err(|e| Failure::unwritten(path, e))?;
        Ok(TraceFile(Some((path, trace))))
    }

    /// Ends the trace and says where it is.
    pub(crate) fn finish(self, printer: &mut Printer) {
        let Some((path, trace)) = self.0 else { return };
        match trace.finish() {
            Ok(()) => printer.note(format_args!("trace: {}", path.display())),
            // The command has done its work already, so a full disk is only a warning.
            Err(e) => printer.warning(format_args!("the trace {} is cut off: {e}", path.display())),
        }
    }
}
