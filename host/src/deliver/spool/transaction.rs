//! What each change does to the tables and to the counters.

use redb::{ReadableTable, StorageError, Table};

use super::row::{QueueRow, charge, pack, to_json, unpack};
use super::{
    Book, Change, DEAD, DEDUP_IDS, DEDUP_MILLIS, DeadLetter, ENDPOINTS, End, IDS, MESSAGES, META, QUEUE, RECENT,
    Settlement,
};
use crate::deliver::Outgoing;
use crate::deliver::schedule::Saved;

pub(super) fn dead_of(
    table: &impl ReadableTable<(u8, u64, u16), &'static [u8]>,
    number: u16,
) -> Result<Vec<(u8, u64)>, redb::Error> {
    let mut found = Vec::new();
    for row in table.iter()? {
        let (level, seq, endpoint) = row?.0.value();
        if endpoint == number {
            found.push((level, seq));
        }
    }
    Ok(found)
}

/// The tables of one write transaction, with the counters it will leave.
pub(super) struct Transaction<'t> {
    messages: Table<'t, (u8, u64), &'static [u8]>,
    queue: Table<'t, (u16, u64), QueueRow>,
    dead: Table<'t, (u8, u64, u16), &'static [u8]>,
    ids: Table<'t, &'static str, u64>,
    recent: Table<'t, u64, (u8, u64, &'static str)>,
    endpoints: Table<'t, &'static str, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    book: &'t mut Book,
    now: u64,
    max_bytes: u64,
}

impl<'t> Transaction<'t> {
    pub(super) fn open(
        write: &'t redb::WriteTransaction,
        book: &'t mut Book,
        now: u64,
        max_bytes: u64,
    ) -> Result<Transaction<'t>, redb::Error> {
        Ok(Transaction {
            messages: write.open_table(MESSAGES)?,
            queue: write.open_table(QUEUE)?,
            dead: write.open_table(DEAD)?,
            ids: write.open_table(IDS)?,
            recent: write.open_table(RECENT)?,
            endpoints: write.open_table(ENDPOINTS)?,
            meta: write.open_table(META)?,
            book,
            now,
            max_bytes,
        })
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<(), redb::Error> {
        match change {
            Change::Append(batch) => {
                for outgoing in batch {
                    self.append(outgoing)?;
                }
                self.evict()?;
                self.forget()
            }
            Change::Settle(settlement) => self.settle(settlement),
            Change::Configure(now) => {
                for (name, row) in &mut self.book.rows {
                    if !now.contains_key(name) {
                        row.min_level = None;
                    }
                }
                for (name, (level, fingerprint)) in now {
                    self.book.configure(name, *level, Some(fingerprint));
                }
                Ok(())
            }
            Change::Retry(name, letters) => self.retry(name, letters),
            Change::Drop(name) => self.drop_endpoint(name),
            Change::Enable(name) => {
                if let Some(row) = self.book.rows.get_mut(name) {
                    row.schedule = Saved::default();
                    row.last_error = None;
                }
                Ok(())
            }
        }
    }

    fn append(&mut self, outgoing: &Outgoing) -> Result<(), redb::Error> {
        let known = self.ids.get(outgoing.id.as_str())?.is_some();
        let (level, seq) = (outgoing.level as u8, self.book.next_seq);
        let mut taken = false;
        for row in self.book.rows.values_mut() {
            let Some(min_level) = row.min_level else { continue };
            if outgoing.level < min_level {
                // An id that nobody stored cannot be told from a new one: it is counted as an alert again.
                if !known {
                    row.ledger.alerts += 1;
                    row.ledger.filtered += 1;
                }
            } else if known {
                row.ledger.repeated += 1;
            } else {
                row.ledger.alerts += 1;
                row.ledger.accepted += 1;
                row.ledger.pending += 1;
                self.queue.insert((row.number, seq), (level, self.now, 0, 0, 0, 0))?;
                taken = true;
            }
        }
        if taken {
            self.book.next_seq += 1;
            self.book.bytes += charge(&outgoing.id, &outgoing.body);
            self.messages.insert((level, seq), pack(self.now, &outgoing.id, &outgoing.body).as_slice())?;
            self.ids.insert(outgoing.id.as_str(), seq)?;
            self.recent.insert(seq, (level, self.now, outgoing.id.as_str()))?;
        }
        Ok(())
    }

    fn settle(&mut self, done: &Settlement) -> Result<(), redb::Error> {
        let Some(row) = self.book.rows.get_mut(&*done.endpoint) else { return Ok(()) };
        row.schedule = done.schedule.clone();
        row.ledger.attempts += done.requests;
        if done.error.is_some() {
            row.last_error.clone_from(&done.error);
        }
        let key = (row.number, done.seq);
        let accepted = match self.queue.get(key)? {
            Some(queued) => queued.value().1,
            // Evicted or dropped meanwhile, and counted as that.
            None => return Ok(()),
        };
        let a = done.attempts;
        match &done.end {
            End::Retry => {
                self.queue.insert(key, (done.level, accepted, a.made, a.fault, a.alone, a.not_before))?;
            }
            End::Delivered => {
                row.ledger.pending -= 1;
                row.ledger.delivered += 1;
                self.queue.remove(key)?;
                self.release(done.level, done.seq)?;
            }
            End::Dead(reason) => {
                row.ledger.pending -= 1;
                row.ledger.dead += 1;
                let number = row.number;
                self.queue.remove(key)?;
                let id = match self.messages.get((done.level, done.seq))? {
                    Some(message) => unpack(message.value())?.1.to_owned(),
                    None => return Err(StorageError::Corrupted("a queued message has no body".to_owned()).into()),
                };
                let letter = DeadLetter { id, reason: reason.clone(), attempts: a.made, at: self.now };
                self.dead.insert((done.level, done.seq, number), to_json(&letter)?.as_slice())?;
            }
        }
        Ok(())
    }

    /// Whether an endpoint still has the message queued.
    fn is_queued(&self, seq: u64) -> Result<bool, redb::Error> {
        for row in self.book.rows.values() {
            if self.queue.get((row.number, seq))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_dead(&self, level: u8, seq: u64) -> Result<bool, redb::Error> {
        Ok(self.dead.range((level, seq, 0)..=(level, seq, u16::MAX))?.next().is_some())
    }

    /// Removes the message if nobody holds it any more.
    fn release(&mut self, level: u8, seq: u64) -> Result<bool, redb::Error> {
        if self.is_queued(seq)? || self.is_dead(level, seq)? {
            return Ok(false);
        }
        let Some(message) = self.messages.remove((level, seq))? else { return Ok(true) };
        let (_, id, body) = unpack(message.value())?;
        self.book.bytes = self.book.bytes.saturating_sub(charge(id, body));
        // Beyond the dedup window nothing else remembers the id.
        if self.recent.get(seq)?.is_none() {
            self.ids.remove(id)?;
        }
        Ok(true)
    }

    /// Makes room: dead letters first, then the lowest level, oldest first.
    fn evict(&mut self) -> Result<(), redb::Error> {
        if self.book.bytes <= self.max_bytes {
            return Ok(());
        }
        let dead: Vec<(u8, u64, u16)> =
            self.dead.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<_, redb::Error>>()?;
        for (level, seq, number) in dead {
            if self.book.bytes <= self.max_bytes {
                return Ok(());
            }
            if self.is_queued(seq)? {
                continue;
            }
            self.dead.remove((level, seq, number))?;
            if let Some(row) = self.book.rows.values_mut().find(|row| row.number == number) {
                row.ledger.dead -= 1;
                row.ledger.evicted += 1;
            }
            self.release(level, seq)?;
        }
        while self.book.bytes > self.max_bytes {
            let Some((level, seq)) = self.messages.first()?.map(|(key, _)| key.value()) else { break };
            for row in self.book.rows.values_mut() {
                if self.queue.remove((row.number, seq))?.is_some() {
                    row.ledger.pending -= 1;
                    row.ledger.evicted += 1;
                }
                if self.dead.remove((level, seq, row.number))?.is_some() {
                    row.ledger.dead -= 1;
                    row.ledger.evicted += 1;
                }
            }
            self.release(level, seq)?;
        }
        Ok(())
    }

    /// Forgets ids that have left the dedup window.
    fn forget(&mut self) -> Result<(), redb::Error> {
        let oldest_seq = self.book.next_seq.saturating_sub(DEDUP_IDS);
        let oldest_time = self.now.saturating_sub(DEDUP_MILLIS);
        loop {
            let (seq, level, id) = match self.recent.first()? {
                Some((seq, row)) if seq.value() < oldest_seq || row.value().1 < oldest_time => {
                    (seq.value(), row.value().0, row.value().2.to_owned())
                }
                _ => return Ok(()),
            };
            self.recent.remove(seq)?;
            if self.messages.get((level, seq))?.is_none() {
                self.ids.remove(id.as_str())?;
            }
        }
    }

    fn retry(&mut self, name: &str, letters: &[(u8, u64)]) -> Result<(), redb::Error> {
        let Some(row) = self.book.rows.get_mut(name) else { return Ok(()) };
        for &(level, seq) in letters {
            if self.dead.remove((level, seq, row.number))?.is_some() {
                self.queue.insert((row.number, seq), (level, self.now, 0, 0, 0, 0))?;
                row.ledger.dead -= 1;
                row.ledger.pending += 1;
            }
        }
        Ok(())
    }

    fn drop_endpoint(&mut self, name: &str) -> Result<(), redb::Error> {
        let number = match self.book.rows.get(name) {
            Some(row) if row.min_level.is_none() => row.number,
            _ => return Ok(()),
        };
        let mut held = dead_of(&self.dead, number)?;
        for row in self.queue.range((number, 0)..=(number, u64::MAX))? {
            let (key, value) = row?;
            held.push((value.value().0, key.value().1));
        }
        for (level, seq) in held {
            self.queue.remove((number, seq))?;
            self.dead.remove((level, seq, number))?;
            self.release(level, seq)?;
        }
        self.book.rows.remove(name);
        self.endpoints.remove(name)?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), redb::Error> {
        for (name, row) in &self.book.rows {
            self.endpoints.insert(name.as_str(), to_json(row)?.as_slice())?;
        }
        self.meta.insert("next_seq", self.book.next_seq)?;
        self.meta.insert("bytes", self.book.bytes)?;
        self.meta.insert("clock", self.now)?;
        Ok(())
    }
}
