//! What a guest can reach: its log, its counters, the rows of its turn, its state. Nothing else exists for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::bindings::{host, lookup, state, types};
use super::limits::{Deadline, Limits, Memory};
use super::state::{Pending, State, end};
use crate::detection::Detected;
use crate::kind::{self, Bound, Catalogue};
use crate::slab::{Slab, Value};

/// Bytes of one line in the log.
const MAX_LINE: usize = 4 << 10;
/// Counters of one guest, and bytes of a counter's name.
const MAX_COUNTERS: usize = 64;
const MAX_COUNTER_NAME: usize = 64;
/// Field names that one instance may look up, and bytes of such a name.
const MAX_LOOKUPS: usize = 256;
const MAX_FIELD_NAME: usize = 256;

/// What all instances of one guest share.
pub(super) struct Shared {
    pub name: String,
    pub limits: Limits,
    pub catalogue: Arc<Catalogue>,
    /// Opened once the plan has named its format.
    pub state: OnceLock<Arc<Mutex<State>>>,
    pub counters: Mutex<BTreeMap<String, u64>>,
    /// Log lines and counters that a bound suppressed.
    pub suppressed: AtomicU64,
    rate: Mutex<Rate>,
}

/// Lines of the current second.
struct Rate {
    since: Instant,
    lines: u32,
}

impl Shared {
    pub fn new(name: String, limits: Limits, catalogue: Arc<Catalogue>) -> Shared {
        Shared {
            name,
            limits,
            catalogue,
            state: OnceLock::new(),
            counters: Mutex::default(),
            suppressed: AtomicU64::new(0),
            rate: Mutex::new(Rate { since: Instant::now(), lines: 0 }),
        }
    }

    /// Whether one more line may be written now.
    fn admit_line(&self) -> bool {
        let mut rate = lock(&self.rate);
        if rate.since.elapsed() >= Duration::from_secs(1) {
            *rate = Rate { since: Instant::now(), lines: 0 };
        }
        rate.lines = rate.lines.saturating_add(1);
        rate.lines <= self.limits.log_lines_per_second
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.get().map(|s| lock(s))
    }
}

/// A panic elsewhere must not silence a guest: what the locks of this room guard is valid at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rows that a guest may look up.
pub(super) struct Turn {
    pub slab: Arc<Slab>,
    /// Per batch, ascending.
    pub rows: Vec<Vec<u32>>,
    /// The rows are of `@detection`: positions in here.
    pub detected: Option<Arc<Detected>>,
}

/// The host's side of one instance.
pub(super) struct Context {
    pub shared: Arc<Shared>,
    pub memory: Memory,
    pub deadline: Option<Deadline>,
    /// Why the deadline ended the call.
    pub interrupted: Option<String>,
    /// The last error the guest logged in this call: with the SDK, its panic message.
    pub last_error: Option<String>,
    pub turn: Option<Turn>,
    /// Replicas read only; so does everything outside `on-events`.
    pub may_write: bool,
    pub pending: Pending,
    lookups: HashMap<String, Bound>,
}

impl Context {
    pub fn new(shared: Arc<Shared>) -> Context {
        let memory = Memory::new(shared.limits.memory_bytes);
        Context {
            shared,
            memory,
            deadline: None,
            interrupted: None,
            last_error: None,
            turn: None,
            may_write: false,
            pending: Pending::default(),
            lookups: HashMap::new(),
        }
    }

    /// Event time of the current turn.
    fn now(&self) -> u64 {
        self.turn.as_ref().map_or(0, |t| t.slab.watermark)
    }

    /// The row with this sequence number, if the guest has it in this turn.
    fn row(&self, seq: u64) -> Option<(Arc<Slab>, usize)> {
        let turn = self.turn.as_ref()?;
        let row = match &turn.detected {
            None => turn.slab.row_of(seq)?,
            Some(detected) => detected.rows.binary_search_by_key(&seq, |r| r.seq).ok()?,
        };
        let has = turn.rows.iter().any(|rows| rows.binary_search(&(row as u32)).is_ok());
        let event = match &turn.detected {
            None => row,
            Some(detected) => detected.rows[row].row? as usize,
        };
        has.then(|| (turn.slab.clone(), event))
    }

    /// Makes the state writes of a call that returned count.
    pub fn commit(&mut self) {
        let now = self.now();
        if let Some(mut state) = self.shared.state.get().map(|s| lock(s)) {
            state.expire(now);
            if !self.pending.is_empty() {
                state.commit(&mut self.pending);
            }
        }
    }

    fn write(&mut self, key: Vec<u8>, write: super::state::Write) -> Result<(), String> {
        if !self.may_write {
            return Err("state can be written only in on-events, and not by a replica".to_owned());
        }
        let limit = self.shared.limits.state_bytes;
        let state = self.shared.state.get().map(|s| lock(s)).ok_or("there is no state before init has returned")?;
        state.write(&mut self.pending, key, write, limit)
    }

    fn suppress(&self) {
        self.shared.suppressed.fetch_add(1, Ordering::Relaxed);
    }
}

impl types::Host for Context {}

impl host::Host for Context {
    fn log(&mut self, severity: host::Severity, message: String) {
        let admitted = self.shared.admit_line();
        if !admitted {
            self.suppress();
        }
        let line = match severity {
            host::Severity::Error => {
                let line = printable(&message, MAX_LINE);
                self.last_error = Some(line.clone());
                line
            }
            _ if admitted => printable(&message, MAX_LINE),
            _ => return,
        };
        if !admitted {
            return;
        }
        let guest = self.shared.name.as_str();
        match severity {
            host::Severity::Trace => tracing::trace!(guest, "{line}"),
            host::Severity::Debug => tracing::debug!(guest, "{line}"),
            host::Severity::Info => tracing::info!(guest, "{line}"),
            host::Severity::Warn => tracing::warn!(guest, "{line}"),
            host::Severity::Error => tracing::error!(guest, "{line}"),
        }
    }

    fn count(&mut self, name: String, by: u64) {
        let named = !name.is_empty()
            && name.len() <= MAX_COUNTER_NAME
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let mut counters = lock(&self.shared.counters);
        if named && (counters.len() < MAX_COUNTERS || counters.contains_key(&name)) {
            let counter = counters.entry(name).or_default();
            *counter = counter.saturating_add(by);
        } else {
            drop(counters);
            self.suppress();
        }
    }
}

impl lookup::Host for Context {
    fn field(&mut self, seq: u64, name: String) -> types::Value {
        let Some((slab, row)) = self.row(seq) else { return types::Value::Absent };
        if !self.lookups.contains_key(&name) {
            if self.lookups.len() >= MAX_LOOKUPS || name.len() > MAX_FIELD_NAME {
                self.suppress();
                return types::Value::Absent;
            }
            let bound = self.shared.catalogue.resolve(None, &name);
            self.lookups.insert(name.clone(), bound);
        }
        self.lookups.get(&name).map_or(types::Value::Absent, |bound| to_wit(slab.value(row, &bound.access)))
    }

    fn json(&mut self, seq: u64) -> Option<String> {
        let (slab, row) = self.row(seq)?;
        Some(kind::render(&slab, row))
    }
}

impl state::Host for Context {
    fn get(&mut self, key: Vec<u8>) -> Option<Vec<u8>> {
        let now = self.now();
        self.shared.state()?.get(&self.pending, &key, now).map(<[u8]>::to_vec)
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>, ttl_s: u32) -> Result<(), String> {
        let ends = end(self.now(), ttl_s);
        self.write(key, Some((value, ends)))
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<(), String> {
        self.write(key, None)
    }

    /// A counter is eight bytes, little-endian; what is not there counts as 0.
    fn add(&mut self, key: Vec<u8>, by: i64, ttl_s: u32) -> Result<i64, String> {
        let old = match self.get(key.clone()) {
            None => 0,
            Some(bytes) => i64::from_le_bytes(bytes.try_into().map_err(|_| "the value is not a counter")?),
        };
        let new = old.saturating_add(by);
        self.set(key, new.to_le_bytes().to_vec(), ttl_s)?;
        Ok(new)
    }
}

/// A value of a row as the interface has it.
fn to_wit(value: Value<'_>) -> types::Value {
    match value {
        Value::Absent => types::Value::Absent,
        Value::Null => types::Value::Null,
        Value::Unavailable => types::Value::Unavailable,
        Value::Unsigned(v) => types::Value::Unsigned(v),
        Value::Signed(v) => types::Value::Signed(v),
        Value::Float(v) => types::Value::Float(v),
        Value::Bool(v) => types::Value::Boolean(v),
        Value::Time(t) => types::Value::Text(kind::time_text(t).into_bytes()),
        Value::Text(t) => types::Value::Text(t.to_vec()),
        Value::List(list) => {
            let mut items = Vec::new();
            list.each(&mut |item| items.push(item.to_vec()));
            types::Value::TextList(items)
        }
    }
}

/// Text of a guest made safe for a terminal and a log: control characters and those that change the direction of text are escaped.
pub(super) fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if out.len() >= max {
            out.push('…');
            break;
        }
        match c {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::host::Host as _;
    use super::lookup::Host as _;
    use super::state::Host as _;
    use super::*;

    fn context(limits: Limits) -> Context {
        Context::new(Arc::new(Shared::new("test".to_owned(), limits, Arc::default())))
    }

    #[test]
    fn nothing_of_a_guest_reaches_the_terminal_raw() {
        assert_eq!(printable("a\n\u{1b}[31mb\u{9b}c\u{202e}d é", 100), "a\\n\\u{1b}[31mb\\u{9b}c\\u{202e}d é");
        assert_eq!(printable(&"x".repeat(20), 5), "xxxxx…");
    }

    #[test]
    fn the_log_has_a_rate_and_suppression_is_counted() {
        let mut context = context(Limits { log_lines_per_second: 3, ..Limits::default() });
        for _ in 0..1_000 {
            context.log(host::Severity::Error, "boom".to_owned());
        }
        // However slow this machine is, the loop does not span more than a few seconds' worth of lines.
        assert!(context.shared.suppressed.load(Ordering::Relaxed) > 0);
        assert_eq!(context.last_error.as_deref(), Some("boom"), "a suppressed panic message still names the trap");
    }

    #[test]
    fn counters_are_bounded_in_number_and_name() {
        let mut context = context(Limits::default());
        for i in 0..100 {
            context.count(format!("c{i}"), 1);
        }
        context.count("c0".to_owned(), u64::MAX);
        context.count("not a name".to_owned(), 1);
        let counters = lock(&context.shared.counters).clone();
        assert_eq!((counters.len(), counters["c0"]), (MAX_COUNTERS, u64::MAX));
        assert_eq!(context.shared.suppressed.load(Ordering::Relaxed), 37);
    }

    #[test]
    fn outside_a_turn_there_is_nothing_to_look_up() {
        let mut context = context(Limits::default());
        assert!(matches!(context.field(0, "Image".to_owned()), types::Value::Absent));
        assert_eq!(context.json(0), None);
    }

    #[test]
    fn replicas_and_calls_before_the_plan_cannot_write() {
        let mut context = context(Limits::default());
        context.may_write = true;
        assert!(context.set(b"k".to_vec(), Vec::new(), 0).unwrap_err().contains("before init"));
        assert_eq!(context.get(b"k".to_vec()), None);
        assert!(context.shared.state.set(Arc::default()).is_ok());
        assert_eq!(context.add(b"k".to_vec(), 2, 0), Ok(2));
        assert_eq!(context.add(b"k".to_vec(), i64::MAX, 0), Ok(i64::MAX));
        context.set(b"t".to_vec(), b"text".to_vec(), 0).unwrap();
        assert!(context.add(b"t".to_vec(), 1, 0).unwrap_err().contains("not a counter"));
        context.commit();
        context.may_write = false;
        assert!(context.add(b"k".to_vec(), 1, 0).unwrap_err().contains("replica"));
        assert!(context.delete(b"k".to_vec()).is_err());
        assert_eq!(context.get(b"t".to_vec()).as_deref(), Some(&b"text"[..]));
    }
}
