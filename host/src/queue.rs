//! A bounded queue between threads that gives up its oldest item rather than wait, when the producer may not wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a producer does at a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Live: the oldest item is handed back to be counted as shed.
    ShedOldest,
    /// Replay: the file can wait.
    Wait,
}

struct State<T> {
    items: VecDeque<T>,
    waiting: usize,
    closed: bool,
}

/// The queue.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    drained: Condvar,
    capacity: usize,
    when_full: WhenFull,
}

impl<T> Queue<T> {
    pub fn new(capacity: usize, when_full: WhenFull) -> Queue<T> {
        let state = State { items: VecDeque::with_capacity(capacity.min(1024)), waiting: 0, closed: false };
        Queue {
            state: Mutex::new(state),
            filled: Condvar::new(),
            drained: Condvar::new(),
            capacity: capacity.max(1),
            when_full,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item; returns what had to go for it: the oldest item, or `item` itself once the queue is closed.
    pub fn push(&self, item: T) -> Option<T> {
        let mut state = self.lock();
        if self.when_full == WhenFull::Wait {
            while state.items.len() >= self.capacity && !state.closed {
                state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if state.closed {
            return Some(item);
        }
        let shed = if state.items.len() >= self.capacity { state.items.pop_front() } else { None };
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
        shed
    }

    /// The oldest item; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                drop(state);
                self.drained.notify_one();
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state.waiting += 1;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// Whether a consumer waits and nothing is there for it.
    pub fn idle(&self) -> bool {
        let state = self.lock();
        state.waiting > 0 && state.items.is_empty()
    }

    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing more comes; what is queued is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }
}

/// Bounds how much is on its way at once.
pub struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
    most: usize,
    when_full: WhenFull,
}

impl Gate {
    pub fn new(most: usize, when_full: WhenFull) -> Gate {
        Gate { inside: Mutex::new(0), left: Condvar::new(), most: most.max(1), when_full }
    }

    /// `false` = full, and the caller may not wait.
    #[must_use]
    pub fn enter(&self) -> bool {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        while *inside >= self.most {
            if self.when_full == WhenFull::ShedOldest {
                return false;
            }
            inside = self.left.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        *inside += 1;
        true
    }

    pub fn leave(&self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        *inside = inside.saturating_sub(1);
        drop(inside);
        self.left.notify_one();
    }

    /// How much is on its way.
    pub fn inside(&self) -> usize {
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheds_the_oldest_and_hands_it_back() {
        let q = Queue::new(2, WhenFull::ShedOldest);
        assert_eq!(q.push(1), None);
        assert_eq!(q.push(2), None);
        assert_eq!(q.push(3), Some(1));
        q.close();
        assert_eq!(q.push(4), Some(4));
        assert_eq!((q.pop(), q.pop(), q.pop()), (Some(2), Some(3), None));
    }

    #[test]
    fn a_waiting_producer_loses_nothing() {
        let q = Queue::new(2, WhenFull::Wait);
        let got = std::thread::scope(|s| {
            s.spawn(|| {
                for i in 0..1000 {
                    assert_eq!(q.push(i), None);
                }
                q.close();
            });
            std::iter::from_fn(|| q.pop()).collect::<Vec<_>>()
        });
        assert_eq!(got, (0..1000).collect::<Vec<_>>());
    }
}
