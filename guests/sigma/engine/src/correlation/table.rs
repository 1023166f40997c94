//! A map from byte strings to values that keeps two orders, each from oldest to newest: what a window's groups and a
//! group's distinct values are kept in.

use hashbrown::HashTable;

const NOTHING: u32 = u32::MAX;

/// Which of the two orders an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    First,
    Second,
}

#[derive(Debug)]
struct Slot<V> {
    hash: u64,
    /// In a free slot, `next` is the next free one.
    previous: u32,
    next: u32,
    order: Order,
    key: Box<[u8]>,
    value: Option<V>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
}

#[derive(Debug)]
pub(super) struct Table<V> {
    slots: Vec<Slot<V>>,
    index: HashTable<u32>,
    free: u32,
    ends: [Ends; 2],
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        let ends = [Ends { oldest: NOTHING, newest: NOTHING }; 2];
        Self { slots: Vec::new(), index: HashTable::new(), free: NOTHING, ends }
    }
}

impl<V> Table<V> {
    /// Bytes that one entry takes besides its key and what its value points to.
    pub const ENTRY_BYTES: usize = size_of::<Slot<V>>() + 16;

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |at: &u32| self.slots.get(*at as usize).is_some_and(|slot| slot.hash == hash && *slot.key == *key);
        self.index.find(hash, same).copied()
    }

    /// Adds a key that is not there yet, as the newest of `order`.
    pub fn insert(&mut self, hash: u64, key: &[u8], order: Order, value: V) -> u32 {
        let slot = Slot { hash, previous: NOTHING, next: NOTHING, order, key: key.into(), value: Some(value) };
        let at = self.free;
        let at = if let Some(free) = self.slots.get_mut(at as usize) {
            self.free = free.next;
            *free = slot;
            at
        } else {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, at, |at| slots.get(*at as usize).map_or(0, |slot| slot.hash));
        self.link(at, order);
        at
    }

    pub fn remove(&mut self, at: u32) -> Option<V> {
        let hash = self.slots.get(at as usize).filter(|slot| slot.value.is_some())?.hash;
        self.unlink(at);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        let slot = self.slots.get_mut(at as usize)?;
        slot.key = Box::default();
        slot.next = self.free;
        self.free = at;
        slot.value.take()
    }

    /// Makes an entry the newest of `order`.
    pub fn renew(&mut self, at: u32, order: Order) {
        if self.ends[order as usize].newest != at {
            self.unlink(at);
            self.link(at, order);
        }
    }

    pub fn get(&self, at: u32) -> Option<&V> {
        self.slots.get(at as usize)?.value.as_ref()
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut V> {
        self.slots.get_mut(at as usize)?.value.as_mut()
    }

    pub fn key(&self, at: u32) -> &[u8] {
        self.slots.get(at as usize).map_or(&[], |slot| &slot.key)
    }

    pub fn order(&self, at: u32) -> Order {
        self.slots.get(at as usize).map_or(Order::First, |slot| slot.order)
    }

    pub fn oldest(&self, order: Order) -> Option<u32> {
        Some(self.ends[order as usize].oldest).filter(|at| *at != NOTHING)
    }

    pub fn newest(&self, order: Order) -> Option<u32> {
        Some(self.ends[order as usize].newest).filter(|at| *at != NOTHING)
    }

    /// The entry that is next newer in its order.
    pub fn newer(&self, at: u32) -> Option<u32> {
        self.slots.get(at as usize).map(|slot| slot.next).filter(|at| *at != NOTHING)
    }

    /// The entry that is next older in its order.
    pub fn older(&self, at: u32) -> Option<u32> {
        self.slots.get(at as usize).map(|slot| slot.previous).filter(|at| *at != NOTHING)
    }

    /// All entries of an order, oldest first.
    pub fn iter(&self, order: Order) -> impl Iterator<Item = (u32, &[u8], &V)> {
        std::iter::successors(self.oldest(order), |at| self.newer(*at))
            .filter_map(|at| Some((at, self.key(at), self.get(at)?)))
    }

    fn link(&mut self, at: u32, order: Order) {
        let ends = &mut self.ends[order as usize];
        let previous = ends.newest;
        ends.newest = at;
        if previous == NOTHING {
            ends.oldest = at;
        }
        if let Some(slot) = self.slots.get_mut(previous as usize) {
            slot.next = at;
        }
        if let Some(slot) = self.slots.get_mut(at as usize) {
            (slot.previous, slot.next, slot.order) = (previous, NOTHING, order);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(&Slot { previous, next, order, .. }) = self.slots.get(at as usize) else { return };
        match self.slots.get_mut(previous as usize) {
            Some(slot) => slot.next = next,
            None => self.ends[order as usize].oldest = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.previous = previous,
            None => self.ends[order as usize].newest = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(table: &Table<u32>, order: Order) -> Vec<u8> {
        table.iter(order).map(|(_, key, _)| key[0]).collect()
    }

    #[test]
    fn keeps_both_orders_and_survives_equal_hashes() {
        let mut table = Table::default();
        let at: Vec<u32> = (0..4).map(|i| table.insert(7, &[i], Order::First, i.into())).collect();
        assert_eq!(keys(&table, Order::First), [0, 1, 2, 3]);
        table.renew(at[1], Order::First);
        table.renew(at[0], Order::Second);
        table.renew(at[3], Order::Second);
        assert_eq!((keys(&table, Order::First), keys(&table, Order::Second)), (vec![2, 1], vec![0, 3]));
        assert_eq!(table.remove(at[2]), Some(2));
        assert_eq!(table.remove(at[2]), None);
        assert_eq!((table.find(7, &[2]), table.find(7, &[1])), (None, Some(at[1])));
        assert_eq!(table.insert(9, &[9], Order::First, 9), at[2]);
        assert_eq!((keys(&table, Order::First), table.len()), (vec![1, 9], 4));
        for i in [at[1], at[2], at[0], at[3]] {
            assert!(table.remove(i).is_some());
        }
        assert_eq!((table.oldest(Order::First), table.newest(Order::Second), table.len()), (None, None, 0));
    }
}
