//! Lines from bytes, with a limit to their length.

/// The bytes that were read, cut into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// The lines before here were returned.
    start: usize,
    /// From the start to here, no line ends.
    scanned: usize,
    limit: usize,
}

/// The line is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Lines { bytes: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Appends what was read. Call it only after [`next_line`](Self::next_line) returned `None`, so that the bytes stay few.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let (room, needed) = (self.bytes.capacity(), self.bytes.len() + bytes.len());
        if room < needed {
            // The room doubles, as that of a vector does, but only up to the limit: 5,000 clients that each send a long frame
            // must not cost twice its length.
            let more = (2 * room).clamp(needed, needed.max(self.limit));
            self.bytes.reserve_exact(more - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns whether another whole line is there.
    pub(crate) fn has_line(&self) -> bool {
        self.bytes[self.scanned..].contains(&b'\n')
    }

    /// Returns the next whole line, without its end, or `None` if it is not all there yet.
    pub(crate) fn next_line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let end = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n');
        let end = end.map(|end| self.scanned + end);
        if end.unwrap_or(self.bytes.len()) - self.start >= self.limit {
            return Err(TooLong);
        }
        match end {
            Some(end) => {
                let line = self.bytes[self.start..end].to_vec();
                (self.start, self.scanned) = (end + 1, end + 1);
                Ok(Some(line))
            }
            None => {
                self.bytes.drain(..self.start);
                if self.bytes.is_empty() && self.bytes.capacity() > 8192 {
                    // After long frames, an idle connection must not keep their room.
                    self.bytes = Vec::new();
                }
                (self.start, self.scanned) = (0, self.bytes.len());
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_however_they_come() {
        let mut lines = Lines::new(10);
        lines.push(b"one\nt");
        assert_eq!(lines.next_line(), Ok(Some(b"one".to_vec())));
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"wo\n\nthree\n");
        assert_eq!(lines.next_line(), Ok(Some(b"two".to_vec())));
        assert_eq!(lines.next_line(), Ok(Some(vec![])));
        assert_eq!(lines.next_line(), Ok(Some(b"three".to_vec())));
        assert_eq!(lines.next_line(), Ok(None));
    }

    #[test]
    fn a_line_has_a_limit_its_end_included() {
        for (text, fits) in [("123456789\n", true), ("1234567890\n", false), ("1234567890", false)]
        {
            let mut lines = Lines::new(10);
            lines.push(text.as_bytes());
            assert_eq!(lines.next_line().is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn a_frame_that_fits_has_no_more_room_than_the_longest() {
        let limit = 64 * 1024;
        for step in [1, 7, 1000, 3000, 4096, 8192, 50_000] {
            let mut lines = Lines::new(limit);
            while lines.bytes.len() + step < limit {
                lines.push(&vec![b' '; step]);
                assert_eq!(lines.next_line(), Ok(None));
                let (room, bytes) = (lines.bytes.capacity(), lines.bytes.len());
                assert!(room <= limit && room < 2 * bytes.max(8), "{room} for {bytes}");
            }
        }
    }
}
