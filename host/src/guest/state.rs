//! What guests keep in the host: bounded RAM, with an end in event time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// The states of every guest, by guest and state format. They outlive generations.
#[derive(Debug, Default)]
pub(super) struct States(HashMap<(String, u32), Arc<Mutex<State>>>);

impl States {
    /// The state of a guest. What the guest kept in another format is dropped once no generation uses it.
    pub fn open(&mut self, guest: &str, format: u32) -> Arc<Mutex<State>> {
        self.0.retain(|(name, f), state| name != guest || *f == format || Arc::strong_count(state) > 1);
        self.0.entry((guest.to_owned(), format)).or_default().clone()
    }
}

/// Bytes that an entry costs beside its key and value.
const OVERHEAD: usize = 64;

/// Keys are short: a key is held twice.
pub(super) const MAX_KEY_BYTES: usize = 1 << 10;

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    /// Unix ns; `u64::MAX`: never.
    ends: u64,
}

/// The keys and values of one guest.
#[derive(Debug, Default)]
pub(super) struct State {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Keys by their end.
    ends: BTreeSet<(u64, Arc<[u8]>)>,
    bytes: usize,
}

/// A write that counts only if its call returns. `None`: deleted.
pub(super) type Write = Option<(Vec<u8>, u64)>;

/// The writes of one call.
#[derive(Debug, Default)]
pub(super) struct Pending {
    writes: HashMap<Vec<u8>, Write>,
    bytes: usize,
}

/// Bytes one entry costs.
fn cost(key: &[u8], value: &[u8]) -> usize {
    2 * key.len() + value.len() + OVERHEAD
}

/// When an entry ends that is written at `now` (unix ns).
pub(super) fn end(now: u64, ttl_s: u32) -> u64 {
    if ttl_s == 0 { u64::MAX } else { now.saturating_add(u64::from(ttl_s) * 1_000_000_000) }
}

impl State {
    /// The value at `now`, with the writes of the current call on top.
    pub fn get<'a>(&'a self, pending: &'a Pending, key: &[u8], now: u64) -> Option<&'a [u8]> {
        match pending.writes.get(key) {
            Some(Some((value, ends))) => (*ends > now).then_some(value.as_slice()),
            Some(None) => None,
            None => self.entries.get(key).filter(|e| e.ends > now).map(|e| e.value.as_slice()),
        }
    }

    /// Notes a write. The bound counts what is kept and what is pending: overwriting is charged twice until the call returns.
    pub fn write(&self, pending: &mut Pending, key: Vec<u8>, write: Write, limit: usize) -> Result<(), String> {
        if key.len() > MAX_KEY_BYTES {
            return Err(format!("key of {} bytes is above the limit of {MAX_KEY_BYTES}", key.len()));
        }
        if write.is_none() && !self.entries.contains_key(key.as_slice()) {
            // Nothing to note: or deleting what is not there would be free memory.
            if let Some(Some((value, _))) = pending.writes.remove(&key) {
                pending.bytes -= cost(&key, &value);
            }
            return Ok(());
        }
        let old = pending.writes.get(&key).map_or(0, |w| cost(&key, w.as_ref().map_or(&[], |(v, _)| v)));
        let new = cost(&key, write.as_ref().map_or(&[], |(v, _)| v));
        let total = pending.bytes - old + new;
        if write.is_some() && self.bytes + total > limit {
            return Err(format!("state is full: limit of {limit} bytes"));
        }
        pending.bytes = total;
        pending.writes.insert(key, write);
        Ok(())
    }

    /// Makes the writes of a call that returned count.
    pub fn commit(&mut self, pending: &mut Pending) {
        pending.bytes = 0;
        for (key, write) in pending.writes.drain() {
            self.remove(&key);
            if let Some((value, ends)) = write {
                self.bytes += cost(&key, &value);
                let key: Arc<[u8]> = key.into();
                if ends != u64::MAX {
                    self.ends.insert((ends, key.clone()));
                }
                self.entries.insert(key, Entry { value, ends });
            }
        }
    }

    /// Forgets what has ended at `now`.
    pub fn expire(&mut self, now: u64) {
        while let Some((ends, key)) = self.ends.first().cloned() {
            if ends > now {
                break;
            }
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.bytes -= cost(&key, &entry.value);
            self.ends.remove(&(entry.ends, key));
        }
    }
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub fn clear(&mut self) {
        self.writes.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn set(state: &State, pending: &mut Pending, key: &str, value: &str, ends: u64) -> Result<(), String> {
        state.write(pending, key.into(), Some((value.into(), ends)), 1_000)
    }

    #[test]
    fn writes_count_when_committed() {
        let (mut state, mut pending) = (State::default(), Pending::default());
        set(&state, &mut pending, "a", "1", u64::MAX).unwrap();
        assert_eq!(state.get(&pending, b"a", 0), Some(&b"1"[..]), "a call sees its own writes");
        pending.clear();
        assert_eq!(state.get(&pending, b"a", 0), None, "a trap drops them");
        set(&state, &mut pending, "a", "2", u64::MAX).unwrap();
        state.commit(&mut pending);
        assert_eq!(state.get(&pending, b"a", 0), Some(&b"2"[..]));
        state.write(&mut pending, b"a".to_vec(), None, 1_000).unwrap();
        assert_eq!(state.get(&pending, b"a", 0), None);
        state.commit(&mut pending);
        assert_eq!((state.get(&pending, b"a", 0), state.bytes), (None, 0));
    }

    #[test]
    fn entries_end_in_event_time() {
        let (mut state, mut pending) = (State::default(), Pending::default());
        set(&state, &mut pending, "a", "1", end(5 * S, 10)).unwrap();
        state.commit(&mut pending);
        assert!(state.get(&pending, b"a", 15 * S - 1).is_some());
        assert_eq!(state.get(&pending, b"a", 15 * S), None);
        set(&state, &mut pending, "a", "1", end(5 * S, 20)).unwrap();
        state.commit(&mut pending);
        state.expire(15 * S);
        assert!(state.get(&pending, b"a", 0).is_some(), "the old end went with the old value");
        state.expire(25 * S);
        assert_eq!((state.entries.len(), state.ends.len(), state.bytes), (0, 0, 0));
        assert_eq!(end(7, 0), u64::MAX);
    }

    #[test]
    fn a_full_state_refuses_and_can_still_delete() {
        let (mut state, mut pending) = (State::default(), Pending::default());
        let value = "v".repeat(400);
        set(&state, &mut pending, "a", &value, u64::MAX).unwrap();
        set(&state, &mut pending, "b", &value, u64::MAX).unwrap();
        assert!(set(&state, &mut pending, "c", &value, u64::MAX).unwrap_err().contains("state is full"));
        state.commit(&mut pending);
        assert!(set(&state, &mut pending, "c", &value, u64::MAX).is_err());
        state.write(&mut pending, b"a".to_vec(), None, 1_000).unwrap();
        state.write(&mut pending, b"not there".to_vec(), None, 1_000).unwrap();
        assert_eq!(pending.writes.len(), 1, "deleting what is not there costs nothing");
        state.commit(&mut pending);
        set(&state, &mut pending, "c", &value, u64::MAX).unwrap();
        assert!(set(&state, &mut pending, &"k".repeat(2_000), "", u64::MAX).unwrap_err().contains("key of 2000 bytes"));
    }
}
