//! Writes events as NDJSON in the model's shape while they pass: `picket capture`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::kind;
use crate::pipeline::Flight;

/// When a capture ends by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub duration: Option<Duration>,
    pub bytes: Option<u64>,
}

/// A file being written.
pub struct Capture {
    out: BufWriter<Box<dyn Write + Send>>,
    limits: Limits,
    started: Instant,
    pub events: u64,
    pub bytes: u64,
    line: String,
}

impl Capture {
    pub fn new(out: Box<dyn Write + Send>, limits: Limits) -> Capture {
        let (out, started) = (BufWriter::with_capacity(1 << 20, out), Instant::now());
        Capture { out, limits, started, events: 0, bytes: 0, line: String::new() }
    }

    /// Creates a file only its owner can read: it holds every command line of the host.
    pub fn create(path: &Path, limits: Limits) -> std::io::Result<Capture> {
        let file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Capture::new(Box::new(file), limits))
    }

    /// Appends the rows of a slab; `false` once a limit is reached.
    pub fn write(&mut self, flight: &Flight) -> std::io::Result<bool> {
        // What is made from an event is made again when the event is replayed.
        for row in (0..flight.slab.len()).filter(|row| flight.slab.primary_of(*row).is_none()) {
            self.line.clear();
            kind::render_into(&flight.slab, row, &mut self.line);
            self.line.push('\n');
            if self.limits.bytes.is_some_and(|most| self.bytes + self.line.len() as u64 > most) {
                return Ok(false);
            }
            self.out.write_all(self.line.as_bytes())?;
            self.bytes += self.line.len() as u64;
            self.events += 1;
        }
        Ok(self.limits.duration.is_none_or(|d| self.started.elapsed() < d))
    }

    pub fn finish(mut self) -> std::io::Result<(u64, u64)> {
        self.out.flush()?;
        Ok((self.events, self.bytes))
    }
}

/// The capture of a running Picket: at most one at a time.
#[derive(Default)]
pub struct Slot(Mutex<Option<Capture>>);

impl Slot {
    /// Starts a capture unless one runs.
    pub fn start(&self, capture: Capture) -> Result<(), &'static str> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if (*slot).is_some() {
            Err("another capture is being written")
        } else {
            *slot = Some(capture);
            Ok(())
        }
    }

    /// On the sequencer thread: one look at an unshared lock for each slab.
    pub fn pass(&self, flight: &Flight) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(capture) = &mut *slot else { return };
        match capture.write(flight) {
            Ok(true) => {}
            Ok(false) => Self::end(&mut slot),
            Err(e) => {
                tracing::error!(error = %e, "the capture cannot be written and ends");
                *slot = None;
            }
        }
    }

    /// Ends the capture that runs; how many events and bytes it holds.
    pub fn stop(&self) -> Option<(u64, u64)> {
        let capture = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        capture.finish().ok()
    }

    pub fn running(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn end(slot: &mut Option<Capture>) {
        if let Some(Err(e)) = slot.take().map(Capture::finish) {
            tracing::error!(error = %e, "the end of the capture cannot be written");
        }
    }
}
