//! How often each rule fired, and when last: what tells a rule that is quiet from one that is dead.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::correlate::Finished;

/// Rules that are counted, those of earlier sets included: as many as a guest may have.
const MAX_RULES: usize = 200_000;

/// The count of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    pub count: u64,
    /// Time of the newest event, Unix ns; 0 = a detection without an event only.
    pub last: u64,
}

/// Hits by guest and rule. They survive reloads: the id is what makes a rule the same.
#[derive(Debug, Default)]
pub struct Hits(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rules: HashMap<String, HashMap<String, Hit>>,
    known: usize,
    uncounted: u64,
}

impl Hits {
    /// Counts what was found in a slab, or made of what was found. For the sequencer: once for each detection, never for an event.
    pub fn note(&self, finished: &Finished) {
        let time = |row: Option<u32>| finished.flight.slab.rows.get(row? as usize).map(|r| r.time);
        if finished.found.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for found in &finished.found {
            // What was made of several events is as new as the newest of them.
            let related = || found.related.iter().filter_map(|r| r.known.as_ref()).map(|k| k.time).max();
            let time = time(found.detection.row).or_else(related).unwrap_or_default();
            inner.count(&found.guest.name, &found.detection.analytic.id, time);
        }
    }

    pub fn of(&self, guest: &str, rule: &str) -> Hit {
        self.lock().rules.get(guest).and_then(|rules| rules.get(rule)).copied().unwrap_or_default()
    }

    /// Detections of rules that were one too many to count.
    pub fn uncounted(&self) -> u64 {
        self.lock().uncounted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, guest: &str, rule: &str, time: u64) {
        if let Some(hit) = self.rules.get_mut(guest).and_then(|rules| rules.get_mut(rule)) {
            hit.count += 1;
            hit.last = hit.last.max(time);
        } else if self.known < MAX_RULES {
            self.known += 1;
            self.rules.entry(guest.to_owned()).or_default().insert(rule.to_owned(), Hit { count: 1, last: time });
        } else {
            self.uncounted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_event_counts_whatever_the_order() {
        let hits = Hits::default();
        hits.lock().count("sigma", "a", 7);
        hits.lock().count("sigma", "a", 5);
        hits.lock().count("other", "a", 1);
        assert_eq!(hits.of("sigma", "a"), Hit { count: 2, last: 7 });
        assert_eq!(hits.of("other", "a"), Hit { count: 1, last: 1 });
        assert_eq!(hits.of("sigma", "b"), Hit::default());
    }

    #[test]
    fn rules_beyond_the_bound_are_counted_together() {
        let hits = Hits::default();
        hits.lock().known = MAX_RULES - 1;
        for rule in ["a", "b", "a", "c"] {
            hits.lock().count("sigma", rule, 1);
        }
        assert_eq!((hits.of("sigma", "a").count, hits.uncounted()), (2, 2));
    }
}
