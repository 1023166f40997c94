//! The account of delivery, for `status` and metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::config::Target;
use super::spool::Ledger;
use super::writer::{Shared, lock};
use crate::control::text::Text;

/// What an endpoint is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Nothing queued, or what is queued is being sent.
    Delivering,
    /// It fails; the next probe has its time.
    BackingOff,
    /// It answered 410.
    Disabled,
    /// Not configured; its queue is kept.
    Removed,
}

/// The account of one endpoint, cumulative over restarts: `alerts = filtered + accepted` and
/// `accepted = delivered + pending + dead + evicted`.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    pub name: String,
    pub state: EndpointState,
    /// Scheme, host and port; none when it is not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Requests are signed.
    pub signed: bool,
    #[serde(flatten)]
    pub ledger: Ledger,
    /// Requests under way.
    pub in_flight: usize,
    /// Age of the oldest queued alert, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending_seconds: Option<f64>,
    /// Seconds until the next probe, while it backs off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_seconds: Option<f64>,
    /// Failures in a row.
    pub failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// The account of the spool.
#[derive(Clone, Debug, Serialize)]
pub struct SpoolStatus {
    pub path: PathBuf,
    /// Held now.
    pub bytes: u64,
    /// `spool_max_bytes`.
    pub max_bytes: u64,
    /// Failed transactions since start.
    pub write_errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Where a damaged spool was moved since start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_aside: Option<PathBuf>,
}

pub(super) fn of_endpoints(shared: &Shared, configured: &BTreeMap<String, Arc<Target>>) -> Vec<EndpointStatus> {
    let rows = lock(&shared.book).rows.clone();
    let inboxes = lock(&shared.inboxes).clone();
    let now = shared.spool.now();
    let seconds = |millis: u64| millis as f64 / 1000.0;
    rows.into_iter()
        .map(|(name, row)| {
            let target = configured.get(&name);
            let until = row.schedule.until;
            let state = if target.is_none() {
                EndpointState::Removed
            } else if row.schedule.gone.is_some() {
                EndpointState::Disabled
            } else if row.schedule.failures > 0 {
                EndpointState::BackingOff
            } else {
                EndpointState::Delivering
            };
            let oldest = shared.spool.queued(row.number, None, 1).ok().and_then(|found| found.first().copied());
            let advice = match state {
                EndpointState::Removed if row.ledger.pending + row.ledger.dead > 0 => {
                    Some("configure the endpoint again to deliver its queue, or drop the queue")
                }
                EndpointState::Disabled => Some("the receiver answered 410 gone: change its url, or enable it again"),
                _ if row.ledger.evicted > 0 => Some("alerts were given up for want of space: raise spool_max_bytes"),
                _ => None,
            };
            EndpointStatus {
                state,
                origin: target.map(|t| t.origin.clone()),
                signed: target.is_some_and(|t| !t.secrets.is_empty()),
                in_flight: inboxes.get(&name).map_or(0, |inbox| inbox.under_way.load(Ordering::Relaxed)),
                oldest_pending_seconds: oldest.map(|q| seconds(now.saturating_sub(q.accepted))),
                backoff_seconds: (state == EndpointState::BackingOff).then(|| seconds(until.saturating_sub(now))),
                failures: row.schedule.failures,
                last_error: row.last_error,
                ledger: row.ledger,
                advice,
                name,
            }
        })
        .collect()
}

pub(super) fn of_spool(shared: &Shared) -> SpoolStatus {
    let trouble = lock(&shared.trouble).clone();
    SpoolStatus {
        path: shared.spool.path().to_owned(),
        bytes: lock(&shared.book).bytes,
        max_bytes: shared.spool.max_bytes(),
        write_errors: trouble.write_errors,
        last_error: trouble.last_error,
        moved_aside: trouble.moved_aside,
    }
}

type Counter = (&'static str, &'static str, fn(&Ledger) -> u64);
type Gauge = (&'static str, &'static str, fn(&EndpointStatus) -> f64);

/// Writes delivery's metrics, `picket_delivery_*` and `picket_spool_*`.
pub fn write_metrics(endpoints: &[EndpointStatus], spool: &SpoolStatus, text: &mut Text<'_>) {
    let counters: [Counter; 7] = [
        ("picket_delivery_alerts_total", "alerts made; = filtered + accepted", |l| l.alerts),
        ("picket_delivery_filtered_total", "below min_level", |l| l.filtered),
        ("picket_delivery_accepted_total", "on disk; = delivered + pending + dead + evicted", |l| l.accepted),
        ("picket_delivery_delivered_total", "answered with 2xx", |l| l.delivered),
        ("picket_delivery_evicted_total", "given up for want of space: raise spool_max_bytes", |l| l.evicted),
        ("picket_delivery_repeated_total", "ids made again, not stored twice", |l| l.repeated),
        ("picket_delivery_attempts_total", "requests made", |l| l.attempts),
    ];
    for (name, help, value) in counters {
        text.counter(name, help);
        for e in endpoints {
            text.sample(name, &[("endpoint", &e.name)], value(&e.ledger) as f64);
        }
    }
    let gauges: [Gauge; 6] = [
        ("picket_delivery_pending", "alerts queued", |e| e.ledger.pending as f64),
        ("picket_delivery_dead", "dead letters kept: refused or expired", |e| e.ledger.dead as f64),
        ("picket_delivery_in_flight", "requests under way; limit: in_flight", |e| e.in_flight as f64),
        ("picket_delivery_oldest_pending_seconds", "age of the oldest queued alert", |e| {
            e.oldest_pending_seconds.unwrap_or(0.0)
        }),
        ("picket_delivery_backoff_seconds", "until the next probe; 0 = not backing off", |e| {
            e.backoff_seconds.unwrap_or(0.0)
        }),
        ("picket_delivery_disabled", "1 = answered 410: change its url, or enable it", |e| {
            f64::from(u8::from(e.state == EndpointState::Disabled))
        }),
    ];
    for (name, help, value) in gauges {
        text.gauge(name, help);
        for e in endpoints {
            text.sample(name, &[("endpoint", &e.name)], value(e));
        }
    }
    text.gauge("picket_spool_bytes", "bytes of alerts held");
    text.sample("picket_spool_bytes", &[], spool.bytes as f64);
    text.gauge("picket_spool_max_bytes", "spool_max_bytes");
    text.sample("picket_spool_max_bytes", &[], spool.max_bytes as f64);
    text.counter("picket_spool_write_errors_total", "failed transactions: free space under state_dir");
    text.sample("picket_spool_write_errors_total", &[], spool.write_errors as f64);
}
