//! The ledger: nothing disappears uncounted.
//!
//! `read = undecodable + unwanted + slabbed` · per guest `offered = handled + set aside + shed + in flight` ·
//! `detections = internal + duplicates + off + context + shadowed + alerts`. The kernel's side (`fired`, `run`, `dropped`) and the endpoints' side are
//! kept in their rooms and joined with this one in `status` and `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// A count that many threads add to and none waits for.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// For what is a level and no count.
    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.get())
    }
}

/// Events: what the builder did with everything it read.
#[derive(Debug, Default, Serialize)]
pub struct Events {
    pub read: Count,
    pub undecodable: Count,
    /// Read for the process table only: no guest subscribes to the kind.
    pub unwanted: Count,
    pub slabbed: Count,
    /// Rows made from slabbed events; they are no events.
    pub derived: Count,
    pub slabs: Count,
}

/// One guest, by name; it survives the guest's replacement.
#[derive(Debug, Default, Serialize)]
pub struct GuestAccount {
    pub offered: Count,
    pub handled: Count,
    /// Rows a guest trapped on, one by one.
    pub set_aside: Count,
    /// Rows dropped because the guest's queue was full: raise `dispatch.queue`, or give the guest replicas.
    pub shed: Count,
    pub traps: Count,
    /// Detections and columns that cannot be: unknown analytics, rows it never saw, counts that do not add up.
    pub refused: Count,
    /// Rows that the guest itself says it could not handle.
    pub failures: Count,
    pub calls: Count,
    /// Processor time of its instances' threads, in nanoseconds: projection, calls, and taking in the answers.
    pub cpu_ns: Count,
    /// Of its instance on `@detection`.
    #[serde(skip_serializing_if = "MemoryAccount::is_unused")]
    pub memory: MemoryAccount,
}

/// What a guest on `@detection` remembers.
#[derive(Debug, Default, Serialize)]
pub struct MemoryAccount {
    /// Parts taken.
    pub parts: Count,
    /// Parts that could not be taken or written.
    pub failed: Count,
    /// Instances that were brought to where another was.
    pub restored: Count,
    /// Instances that began with nothing, and should not have.
    pub lost: Count,
    /// Rows that would be needed to bring an instance to where another was, and had to go.
    pub rows_lost: Count,
}

impl MemoryAccount {
    pub fn is_unused(&self) -> bool {
        [&self.parts, &self.failed, &self.restored, &self.lost, &self.rows_lost].iter().all(|c| c.get() == 0)
    }
}

impl GuestAccount {
    pub fn in_flight(&self) -> u64 {
        self.offered.get().saturating_sub(self.handled.get() + self.set_aside.get() + self.shed.get())
    }
}

/// Detections: what the sequencer did with everything guests reported.
#[derive(Debug, Default, Serialize)]
pub struct Detections {
    pub reported: Count,
    /// For other detectors only.
    pub internal: Count,
    /// The same rule on the same event twice.
    pub duplicates: Count,
    /// Of rules that are off.
    pub off: Count,
    /// Of rules that are only context for others.
    pub context: Count,
    /// Of rules in shadow: kept in the history, not delivered.
    pub shadowed: Count,
    pub alerts: Count,
    /// Of those that are context, the ones that had to go for newer ones, or had no process: raise `tuning.context`.
    pub context_forgotten: Count,
}

/// What the host itself had to say.
#[derive(Debug, Default, Serialize)]
pub struct Notices {
    pub alerts: Count,
    /// Too many at once.
    pub dropped: Count,
}

/// Alerts kept for whoever asks later.
#[derive(Debug, Default, Serialize)]
pub struct HistoryAccount {
    pub kept: Count,
    /// They could not be written; they are delivered all the same.
    pub failed: Count,
    /// The older of its files, dropped to stay within `history.max_bytes`.
    pub dropped_files: Count,
}

/// Events kept for hunts: `offered = recorded + shed + failed` after a drain.
#[derive(Debug, Default, Serialize)]
pub struct RecorderAccount {
    pub offered: Count,
    pub recorded: Count,
    /// The recorder was behind: its queue was full.
    pub shed: Count,
    /// They could not be written.
    pub failed: Count,
    pub blocks: Count,
    /// Written.
    pub bytes: Count,
    /// Dropped to stay within `recorder.max_bytes` and `recorder.max_age`.
    pub dropped_files: Count,
    /// Bytes on disk now.
    pub held: Count,
    /// Time of the oldest event, Unix ns; 0 = none.
    pub oldest: Count,
}

/// The account of one run.
#[derive(Debug, Default)]
pub struct Ledger {
    pub events: Events,
    pub detections: Detections,
    pub notices: Notices,
    pub history: HistoryAccount,
    pub recorder: RecorderAccount,
    guests: Mutex<BTreeMap<String, Arc<GuestAccount>>>,
}

impl Ledger {
    /// The account of a guest, opened at first use.
    pub fn guest(&self, name: &str) -> Arc<GuestAccount> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.entry(name.to_owned()).or_default().clone()
    }

    pub fn guests(&self) -> Vec<(String, Arc<GuestAccount>)> {
        let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.iter().map(|(n, a)| (n.clone(), a.clone())).collect()
    }

    /// Every identity that does not hold, in words; empty when the books balance. Meaningful after a drain.
    pub fn imbalances(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |what: &str, left: u64, right: u64| {
            if left != right {
                wrong.push(format!("{what}: {left} != {right}"));
            }
        };
        let e = &self.events;
        let accounted = e.undecodable.get() + e.unwanted.get() + e.slabbed.get();
        check("read = undecodable + unwanted + slabbed", e.read.get(), accounted);
        for (name, g) in self.guests() {
            let accounted = g.handled.get() + g.set_aside.get() + g.shed.get();
            check(&format!("{name}: offered = handled + set aside + shed"), g.offered.get(), accounted);
        }
        let d = &self.detections;
        let tuned = d.off.get() + d.context.get() + d.shadowed.get();
        let accounted = d.internal.get() + d.duplicates.get() + tuned + d.alerts.get();
        let what = "detections = internal + duplicates + off + context + shadowed + alerts";
        check(what, d.reported.get(), accounted);
        wrong
    }

    /// The account as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let guests: serde_json::Map<String, serde_json::Value> = self
            .guests()
            .into_iter()
            .map(|(name, g)| {
                let mut account = serde_json::to_value(&*g).unwrap_or_default();
                account["in_flight"] = g.in_flight().into();
                (name, account)
            })
            .collect();
        serde_json::json!({ "events": self.events, "guests": guests, "detections": self.detections, "notices": self.notices,
            "history": self.history, "recorder": self.recorder,
        })
    }
}
