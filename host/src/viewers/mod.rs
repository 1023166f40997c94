//! Who watches a running Picket: `picket tail` and the console. Events and alerts leave as lines of JSON, one value each.
//!
//! A viewer has a bounded queue. One that is slow loses its oldest lines, and is told how many; nobody waits for it. While
//! nobody watches, a slab costs one look at a counter; an event is written as JSON only when somebody's filter admits it.

mod filter;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::Notify;

pub use filter::{Filter, Form, Wish, WishError, kinds_called};

use crate::alert::{Alert, Ready};
use crate::kind::{self, Line};
use crate::ledger::Count;
use crate::slab::Slab;

/// Viewers at once; more are refused, and counted.
pub const MAX_VIEWERS: usize = 16;
/// Lines, and bytes of them, that wait for one viewer: then its oldest go, counted.
const LINES: usize = 4096;
const BYTES: usize = 8 << 20;
/// Newest alerts kept for who begins to watch, and bytes of them.
const RECENT: usize = 256;
const RECENT_BYTES: usize = 8 << 20;

/// Why nobody more may watch.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error(transparent)]
    Wish(#[from] WishError),
    #[error("{MAX_VIEWERS} viewers watch already; end one of them")]
    TooMany,
    #[error("picket is stopping")]
    Stopping,
}

/// Everybody who watches.
#[derive(Debug, Default)]
pub struct Viewers {
    /// Of the viewers, those that see events.
    of_events: AtomicUsize,
    inner: Mutex<Inner>,
    /// Lines written for viewers.
    lines: Count,
    /// Lines that slow viewers lost.
    lost: Count,
    refused: Count,
}

#[derive(Debug, Default)]
struct Inner {
    views: Vec<Arc<View>>,
    recent: VecDeque<Arc<[u8]>>,
    recent_bytes: usize,
    closed: bool,
}

/// One viewer's side: dropping it ends the view.
pub struct Viewer {
    viewers: Arc<Viewers>,
    view: Arc<View>,
}

#[derive(Debug)]
struct View {
    filter: Filter,
    queue: Mutex<Queue>,
    /// For a viewer with a thread of its own.
    bell: Condvar,
    /// For one that is a task.
    wakes: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Arc<[u8]>>,
    bytes: usize,
    lost: u64,
    closed: bool,
}

/// What came for a viewer since it last looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Older lines that it lost.
    pub lost: u64,
    /// One JSON value each, without a newline.
    pub lines: Vec<Arc<[u8]>>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.lost == 0 && self.lines.is_empty()
    }

    /// What was lost, told as a line: it was before the others.
    pub fn loss(&self) -> Option<Vec<u8>> {
        (self.lost > 0).then(|| json!({ "lost": self.lost }).to_string().into_bytes())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Viewers {
    /// Lets somebody watch from now on.
    pub fn add(self: &Arc<Self>, wish: &Wish) -> Result<Viewer, ViewError> {
        let filter = Filter::new(wish)?;
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(ViewError::Stopping);
        }
        if inner.views.len() >= MAX_VIEWERS {
            self.refused.add(1);
            return Err(ViewError::TooMany);
        }
        self.of_events.fetch_add(usize::from(filter.events), Ordering::Relaxed);
        let view = View { filter, queue: Mutex::default(), bell: Condvar::new(), wakes: Notify::new() };
        let view = Arc::new(view);
        inner.views.push(view.clone());
        Ok(Viewer { viewers: self.clone(), view })
    }

    /// On the sequencer thread: one look at a counter for each slab while nobody watches events.
    pub fn pass(&self, slab: &Slab) {
        if self.of_events.load(Ordering::Relaxed) == 0 {
            return;
        }
        let views: Vec<Arc<View>> = lock(&self.inner).views.iter().filter(|v| v.filter.events).cloned().collect();
        for row in 0..slab.len() {
            // Written once for each form that somebody wants it in.
            let mut written: [Option<Arc<[u8]>>; 3] = [None, None, None];
            for view in views.iter().filter(|v| v.filter.admits(slab, row)) {
                let form = view.filter.form;
                let line = written[form as usize].get_or_insert_with(|| write(slab, row, form)).clone();
                self.show(view, line);
            }
        }
    }

    /// An alert that is durable.
    pub fn alert(&self, alert: &Alert, ready: &Ready) {
        let mut line = Vec::with_capacity(ready.line.len() + 16);
        line.extend_from_slice(b"{\"alert\":");
        line.extend_from_slice(&ready.line);
        line.push(b'}');
        let line: Arc<[u8]> = line.into();
        let mut inner = lock(&self.inner);
        inner.keep(line.clone());
        for view in inner.views.iter().filter(|v| v.filter.admits_alert(alert, &ready.line)) {
            self.show(view, line.clone());
        }
    }

    /// The newest alerts, oldest first, as lines.
    pub fn recent(&self) -> Vec<Arc<[u8]>> {
        lock(&self.inner).recent.iter().cloned().collect()
    }

    /// Ends every view; nobody can begin another.
    pub fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        for view in &inner.views {
            lock(&view.queue).closed = true;
            view.wake();
        }
    }

    /// The account, for `status`.
    pub fn status(&self) -> Json {
        let now = lock(&self.inner).views.len();
        json!({ "now": now, "most": MAX_VIEWERS, "lines": self.lines, "lost": self.lost, "refused": self.refused })
    }

    /// Name and value of each count, for the metrics.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        [("written", self.lines.get()), ("lost", self.lost.get()), ("refused_viewers", self.refused.get())]
    }

    fn show(&self, view: &View, line: Arc<[u8]>) {
        let mut queue = lock(&view.queue);
        let mut lost = 0;
        queue.bytes += line.len();
        queue.lines.push_back(line);
        while queue.lines.len() > LINES || queue.bytes > BYTES {
            let Some(oldest) = queue.lines.pop_front() else { break };
            queue.bytes -= oldest.len();
            lost += 1;
        }
        queue.lost += lost;
        drop(queue);
        self.lines.add(1);
        self.lost.add(lost);
        view.wake();
    }
}

impl Inner {
    fn keep(&mut self, line: Arc<[u8]>) {
        self.recent_bytes += line.len();
        self.recent.push_back(line);
        while self.recent.len() > RECENT || self.recent_bytes > RECENT_BYTES {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.len();
        }
    }
}

impl View {
    fn wake(&self) {
        self.bell.notify_one();
        self.wakes.notify_one();
    }
}

impl Queue {
    /// `None` once the view is closed and everything was taken.
    fn take(&mut self) -> Option<Batch> {
        if self.closed && self.lines.is_empty() {
            return None;
        }
        self.bytes = 0;
        Some(Batch { lost: std::mem::take(&mut self.lost), lines: self.lines.drain(..).collect() })
    }
}

impl Viewer {
    /// Waits for lines, at most so long; `None` when Picket stops.
    pub fn wait(&self, patience: Duration) -> Option<Batch> {
        let queue = lock(&self.view.queue);
        let idle = |q: &mut Queue| q.lines.is_empty() && q.lost == 0 && !q.closed;
        let waited = self.view.bell.wait_timeout_while(queue, patience, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// The same for a task: without a bound, because dropping it ends it.
    pub async fn next(&self) -> Option<Batch> {
        loop {
            // Asked for before the look, so that nothing is missed between the two.
            let woken = self.view.wakes.notified();
            let batch = lock(&self.view.queue).take()?;
            if !batch.is_empty() {
                return Some(batch);
            }
            woken.await;
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut inner = lock(&self.viewers.inner);
        inner.views.retain(|v| !Arc::ptr_eq(v, &self.view));
        self.viewers.of_events.fetch_sub(usize::from(self.view.filter.events), Ordering::Relaxed);
    }
}

fn write(slab: &Slab, row: usize, form: Form) -> Arc<[u8]> {
    let mut out = String::with_capacity(2048);
    out.push('{');
    if form != Form::Json {
        // A line is text, numbers and nothing else: it always serialises.
        let line = serde_json::to_string(&Line::of(slab, row)).unwrap_or_else(|_| "null".to_owned());
        out.push_str("\"line\":");
        out.push_str(&line);
    }
    if form != Form::Line {
        out.push_str(if form == Form::Both { ",\"event\":" } else { "\"event\":" });
        kind::render_into(slab, row, &mut out);
    }
    out.push('}');
    out.into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Decoder, KINDS};

    fn slab(rows: usize) -> Slab {
        let (mut slab, mut decoder) = (Slab::default(), Decoder::default());
        for row in 0..rows {
            let event = json!({ "System": { "EventName": KINDS[0].name, "HostProcessID": row }, "EventData": {} });
            decoder.value(row as u64, event, &mut slab).unwrap();
        }
        slab
    }

    fn wish(form: Form) -> Wish {
        Wish { events: true, form, ..Wish::default() }
    }

    fn text(line: &[u8]) -> Json {
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn nothing_is_written_while_nobody_watches() {
        let viewers = Arc::new(Viewers::default());
        viewers.pass(&slab(3));
        let alerts = viewers.add(&Wish { alerts: true, ..Wish::default() }).unwrap();
        viewers.pass(&slab(3));
        assert_eq!((viewers.lines.get(), alerts.wait(Duration::ZERO)), (0, Some(Batch::default())));
        let events = viewers.add(&wish(Form::Both)).unwrap();
        viewers.pass(&slab(3));
        let batch = events.wait(Duration::ZERO).unwrap();
        assert_eq!((batch.lines.len(), batch.lost), (3, 0));
        let line = text(&batch.lines[1]);
        assert_eq!(
            (&line["line"]["kind"], &line["event"]["System"]["HostProcessID"]),
            (&json!(KINDS[0].name), &json!(1))
        );
        drop((events, alerts));
        viewers.pass(&slab(3));
        assert_eq!(viewers.lines.get(), 3);
    }

    #[test]
    fn a_slow_viewer_loses_its_oldest_lines_and_is_told() {
        let viewers = Arc::new(Viewers::default());
        let (slow, quick) = (viewers.add(&wish(Form::Line)).unwrap(), viewers.add(&wish(Form::Json)).unwrap());
        let (step, mut seen) = (slab(1000), 0);
        for _ in 0..5 {
            viewers.pass(&step);
            seen += quick.wait(Duration::ZERO).unwrap().lines.len();
        }
        assert_eq!(seen, 5000, "who keeps up loses nothing");
        let batch = slow.wait(Duration::ZERO).unwrap();
        assert_eq!((batch.lost, batch.lines.len()), (5000 - LINES as u64, LINES));
        assert_eq!(batch.loss().map(|l| text(&l)), Some(json!({ "lost": 904 })));
        assert_eq!(viewers.counts()[1], ("lost", 904));
        assert_eq!(slow.wait(Duration::ZERO), Some(Batch::default()), "told once");
    }

    #[test]
    fn viewers_are_bounded_and_end_with_picket() {
        let viewers = Arc::new(Viewers::default());
        let mut all: Vec<Viewer> = (0..MAX_VIEWERS).map(|_| viewers.add(&wish(Form::Json)).unwrap()).collect();
        assert!(matches!(viewers.add(&wish(Form::Json)), Err(ViewError::TooMany)));
        all.pop();
        all.push(viewers.add(&wish(Form::Json)).unwrap());
        viewers.pass(&slab(1));
        viewers.close();
        let first = &all[0];
        assert_eq!(first.wait(Duration::ZERO).unwrap().lines.len(), 1, "what came before the end is still shown");
        assert_eq!(first.wait(Duration::from_mins(1)), None);
        assert!(matches!(viewers.add(&wish(Form::Json)), Err(ViewError::Stopping)));
        drop(all);
        assert_eq!(viewers.of_events.load(Ordering::Relaxed), 0);
    }
}
