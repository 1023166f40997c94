//! Answers that were asked for once: bounded, and kept beyond the end of what they are about.

use rustc_hash::FxHashMap;

/// What a cache knows about a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<V> {
    Yes(V),
    /// Asked, and not answered yet.
    Soon,
    /// Nobody has asked.
    No,
}

struct Slot<V> {
    value: Option<V>,
    asked: u64,
    used: u64,
}

/// Answers by key. Times are event times.
pub(super) struct Cache<V> {
    slots: FxHashMap<u64, Slot<V>>,
    capacity: usize,
    pub evicted: u64,
}

/// A question that nobody answered for so long is asked again, nanoseconds.
const LOST: u64 = 30_000_000_000;

impl<V: Clone> Cache<V> {
    pub fn new(capacity: usize) -> Cache<V> {
        Cache { slots: FxHashMap::default(), capacity, evicted: 0 }
    }

    pub fn get(&mut self, key: u64, now: u64) -> Known<V> {
        let Some(slot) = self.slots.get_mut(&key) else { return Known::No };
        slot.used = now;
        match &slot.value {
            Some(value) => Known::Yes(value.clone()),
            None if now.saturating_sub(slot.asked) < LOST => Known::Soon,
            None => Known::No,
        }
    }

    /// Nanoseconds since the answer was asked for.
    pub fn age(&self, key: u64, now: u64) -> u64 {
        self.slots.get(&key).map_or(0, |s| now.saturating_sub(s.asked))
    }

    /// A question is on its way; an older answer counts until there is a new one.
    pub fn asked(&mut self, key: u64, now: u64) {
        if self.slots.len() >= self.capacity && !self.slots.contains_key(&key) {
            self.make_room();
        }
        let slot = self.slots.entry(key).or_insert(Slot { value: None, asked: now, used: now });
        slot.asked = now;
    }

    /// Takes an answer; one to a question that was evicted meanwhile is dropped.
    pub fn answered(&mut self, key: u64, value: V) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.value = Some(value);
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Forgets the half that was not used for longest: rarely, so that it need not be fast.
    fn make_room(&mut self) {
        let mut times: Vec<u64> = self.slots.values().map(|s| s.used).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        let mut most = middle.max(1);
        let before = self.slots.len();
        // Where many were used at one time, not more than half of all go.
        self.slots.retain(|_, s| {
            let goes = s.used <= median && most > 0;
            most -= usize::from(goes);
            !goes
        });
        self.evicted += (before - self.slots.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_once_and_again_when_nobody_answers() {
        let mut cache = Cache::new(4);
        assert_eq!(cache.get(1, 0), Known::No);
        cache.asked(1, 10);
        assert_eq!(cache.get(1, 20), Known::Soon);
        assert_eq!(cache.get(1, 10 + LOST), Known::No);
        cache.answered(1, 'a');
        assert_eq!(cache.get(1, 30), Known::Yes('a'));
        cache.asked(1, 40);
        assert_eq!(cache.get(1, 50), Known::Yes('a'), "the old answer counts until there is a new one");
    }

    #[test]
    fn full_it_forgets_what_was_not_used_and_counts() {
        let mut cache = Cache::new(100);
        for key in 0..100 {
            cache.asked(key, key);
            cache.answered(key, key);
        }
        cache.get(3, 1_000);
        for key in 100..100_000 {
            cache.asked(key, 1_000 + key);
            assert!(cache.len() <= 100);
            if key < 120 {
                assert_eq!(cache.get(3, 2_000), Known::Yes(3), "what is in use stays");
            }
        }
        assert_eq!(cache.evicted + cache.len() as u64, 100_000);
        cache.answered(5, 5);
        assert_eq!(cache.get(5, 1), Known::No);
    }

    #[test]
    fn equal_times_do_not_empty_it() {
        let mut cache: Cache<()> = Cache::new(10);
        for key in 0..11 {
            cache.asked(key, 7);
        }
        assert_eq!((cache.len(), cache.evicted), (6, 5));
    }
}
