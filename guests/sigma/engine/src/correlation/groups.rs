//! The groups of a share of one correlation, in the order in which they end.

use super::plan::{Correlation, Refire};
use super::state::{Entry, State};
use super::table::{Order, Table};

/// Groups with a window, in the order of its end: by their last match, or where the condition is looked at when windows
/// close, by their first.
pub(super) const LIVE: Order = Order::First;
/// Groups of which only is remembered that they fired, in the order in which their windows ended.
pub(super) const RESTING: Order = Order::Second;

#[derive(Debug)]
pub(super) struct Group {
    /// The match that the order goes by.
    pub mark: Entry,
    /// The match that the group last fired at.
    pub fired: Option<Entry>,
    pub state: State,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    pub table: Table<Group>,
    /// What they take up, about.
    pub bytes: usize,
}

impl Groups {
    pub fn insert(&mut self, hash: u64, key: &[u8], order: Order, group: Group) -> u32 {
        self.bytes += key.len() + Table::<Group>::ENTRY_BYTES + group.state.heap_bytes();
        self.table.insert(hash, key, order, group)
    }

    pub fn remove(&mut self, at: u32) {
        let key = self.table.key(at).len();
        if let Some(group) = self.table.remove(at) {
            self.bytes -= key + Table::<Group>::ENTRY_BYTES + group.state.heap_bytes();
        }
    }

    /// Changes the state of a group.
    pub fn change<T>(&mut self, at: u32, change: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let group = self.table.get_mut(at)?;
        let before = group.state.heap_bytes();
        let done = change(group);
        self.bytes = self.bytes - before + group.state.heap_bytes();
        Some(done)
    }

    /// When the oldest window closes, and what it began with.
    pub fn deadline(&self, plan: &Correlation) -> Option<(u64, Entry)> {
        let oldest = self.table.get(self.table.oldest(LIVE)?)?;
        Some((oldest.mark.time.saturating_add(plan.timespan), oldest.mark))
    }

    /// Forgets groups whose window has emptied before `now`, unless they have to be quiet for longer.
    pub fn expire(&mut self, plan: &Correlation, now: u64) {
        while !plan.at_close && self.deadline(plan).is_some_and(|(end, _)| end < now) {
            let Some(at) = self.table.oldest(LIVE) else { break };
            self.end(plan, at, now);
        }
        while let Some(at) = self.table.oldest(RESTING) {
            if self.table.get(at).is_some_and(|group| quiet(plan, group, now)) {
                break;
            }
            self.remove(at);
        }
    }

    /// The window of a group is over.
    pub fn end(&mut self, plan: &Correlation, at: u32, now: u64) {
        if plan.suppress.is_some() && self.table.get(at).is_some_and(|group| quiet(plan, group, now)) {
            self.change(at, |group| group.state = State::new(plan));
            self.table.renew(at, RESTING);
        } else {
            self.remove(at);
        }
    }

    /// The group that is missed least, as a rank among others, and where it is.
    pub fn first_to_go(&self) -> Option<((bool, Entry), u32)> {
        let at = self.table.oldest(RESTING).or_else(|| self.table.oldest(LIVE))?;
        Some(((self.table.order(at) != RESTING, self.table.get(at)?.mark), at))
    }
}

/// The group fired, and must not fire again yet.
pub(super) fn quiet(plan: &Correlation, group: &Group, now: u64) -> bool {
    let Some(fired) = group.fired else { return false };
    match plan.suppress {
        Some(span) => now < fired.time.saturating_add(span),
        None => plan.refire == Refire::Quiet,
    }
}
