//! Events from a file: NDJSON, one event a line.

use std::io::{BufRead, BufReader, Read};

use super::Input;

/// Longest line; a longer one is reported and skipped.
pub const LONGEST_LINE: usize = 16 << 20;

/// What is wrong with a line before it is looked at as JSON.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("line {line}: longer than {LONGEST_LINE} bytes")]
    TooLong { line: u64 },
    #[error("line {line}: not UTF-8, byte {at} (Picket keeps such bytes in `_bytes`, base64)")]
    NotUtf8 { line: u64, at: usize },
}

/// Reads lines until the end; what is wrong with one line does not stop the rest.
pub struct Lines<R> {
    reader: BufReader<R>,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub fn new(reader: R) -> Lines<R> {
        Lines { reader: BufReader::with_capacity(1 << 20, reader), line: 0, buffer: Vec::new() }
    }

    /// The next line that is not empty; `None` at the end.
    pub fn read(&mut self) -> std::io::Result<Option<Result<Input<'_>, LineError>>> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let read = (&mut self.reader).take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            if self.buffer.len() > LONGEST_LINE && !self.buffer.ends_with(b"\n") {
                self.skip_line()?;
                return Ok(Some(Err(LineError::TooLong { line: self.line })));
            }
            if self.buffer.iter().any(|b| !b.is_ascii_whitespace()) {
                break;
            }
        }
        let line = self.line;
        Ok(Some(match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(Input::Line { number: line, text: text.trim_end() }),
            Err(e) => Err(LineError::NotUtf8 { line, at: e.valid_up_to() + 1 }),
        }))
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(());
            }
            let (end, length) = match memchr::memchr(b'\n', chunk) {
                Some(at) => (true, at + 1),
                None => (false, chunk.len()),
            };
            self.reader.consume(length);
            if end {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_named_and_the_rest_is_read() {
        let mut text = b"{\"a\":1}\n\n\xff\n".to_vec();
        text.extend(vec![b'x'; LONGEST_LINE + 5]);
        text.extend(b"\n{\"b\":2}");
        let mut lines = Lines::new(text.as_slice());
        let mut seen = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            seen.push(match line {
                Ok(Input::Line { number, text }) => format!("{number} {text}"),
                Ok(Input::Record(_)) => unreachable!("a file has no records"),
                Err(e) => e.to_string(),
            });
        }
        assert_eq!(
            seen,
            [
                "1 {\"a\":1}",
                "line 3: not UTF-8, byte 1 (Picket keeps such bytes in `_bytes`, base64)",
                "line 4: longer than 16777216 bytes",
                "5 {\"b\":2}"
            ]
        );
    }
}
