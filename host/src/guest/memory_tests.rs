//! A real component on `@detection`, as `cargo xtask build --test-guests` leaves it: what it is shown, and how it is brought back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::tests::{load_test_guest, runtime, setup, slab_from};
use super::*;
use crate::detection::{Detected, DetectedRow, Level};
use crate::ledger::GuestAccount;

/// A guest on `@detection`, and the guest that finds.
fn counter(config: serde_json::Value) -> (Correlator, Arc<Guest>) {
    let loaded = load_test_guest(&runtime(), Setup { config, replicas: 2, ..setup("counter") }).unwrap();
    assert_eq!(loaded.diagnostics, []);
    assert_eq!((loaded.guest.plan.subscriptions.len(), loaded.guest.plan.detections.len()), (1, 0));
    assert_eq!(loaded.guest.instances().len(), 2, "the rows of events are spread");
    let on_detections = loaded.correlator.unwrap();
    assert_eq!((on_detections.plan.subscriptions.len(), on_detections.plan.detections.len()), (0, 1));
    (on_detections.correlator().unwrap(), loaded.guest)
}

/// Detections of `step` in events with these command lines, one second apart, numbered from `first`.
fn found(guest: &Arc<Guest>, first: u64, lines: &[&str]) -> Arc<Detected> {
    let slab = slab_from(first, lines);
    let rows = (0..lines.len()).map(|i| DetectedRow {
        seq: first + i as u64,
        time: slab.rows[i].time,
        row: Some(i as u32),
        id: format!("id{}", first + i as u64).into(),
        guest: guest.clone(),
        analytic: guest.plan.analytics[0].clone(),
        level: Level::Low,
    });
    Arc::new(Detected { rows: rows.collect(), watermark: slab.watermark, slab })
}

fn related(handled: &Handled) -> Vec<Vec<u64>> {
    handled.detections.iter().map(|d| d.related.clone()).collect()
}

/// Keeps its memory here, every part due at once.
fn kept(correlator: &mut Correlator, dir: &Path) -> Arc<GuestAccount> {
    let account = Arc::new(GuestAccount::default());
    correlator.keep(Some(Place { dir: dir.join("counter"), every: Duration::ZERO }), account.clone());
    account
}

/// The time between parts is a thousandth of a second at least.
fn pause(correlator: &mut Correlator) {
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(5));
        correlator.pause();
    }
    assert!(!correlator.is_due(), "everything is in every part");
}

#[test]
fn a_detection_without_an_event_has_no_fields_of_one() {
    let (mut correlator, guest) = counter(serde_json::json!({}));
    let mut detected = found(&guest, 0, &["step a", "step a", "step a"]);
    Arc::get_mut(&mut detected).unwrap().rows[1].row = None;
    let handled = correlator.on_detections(&detected);
    assert_eq!((handled.offered, related(&handled)), (3, Vec::<Vec<u64>>::new()), "one of them is about nothing");
    let handled = correlator.on_detections(&found(&guest, 3, &["step a"]));
    assert_eq!(related(&handled), [[0, 2, 3]]);
    assert_eq!(handled.detections[0].row, Some(0));
    let fields = &handled.detections[0].fields;
    assert_eq!(fields.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>(), ["step a", "step", "counter", "low", "id3"]);
}

#[test]
fn a_trap_is_recovered_from_by_parts_and_the_rows_since() {
    let dir = tempfile::tempdir().unwrap();
    let (mut correlator, guest) = counter(serde_json::json!({}));
    let account = kept(&mut correlator, dir.path());
    // The second name is in the other part.
    assert_eq!(related(&correlator.on_detections(&found(&guest, 0, &["step a", "step b"]))), Vec::<Vec<u64>>::new());
    pause(&mut correlator);
    assert_eq!(account.memory.parts.get(), 2);
    correlator.on_detections(&found(&guest, 2, &["step a", "step b"]));
    let handled = correlator.on_detections(&found(&guest, 4, &["step poison-row", "step a", "step b"]));
    assert_eq!((handled.set_aside.len(), related(&handled)), (1, vec![vec![0, 2, 5], vec![1, 3, 6]]));
    assert_eq!((account.memory.restored.get(), account.memory.lost.get()), (2, 0), "after the call, and after the row");
}

#[test]
fn another_instance_goes_on_after_a_crash_or_a_swap() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, guest) = counter(serde_json::json!({}));
    kept(&mut first, dir.path());
    first.begin(None);
    first.on_detections(&found(&guest, 0, &["step a", "step b"]));
    pause(&mut first);
    // Lost with the crash.
    first.on_detections(&found(&guest, 2, &["step a"]));
    drop(first);
    let (mut second, _) = counter(serde_json::json!({}));
    let account = kept(&mut second, dir.path());
    second.begin(None);
    assert_eq!((account.memory.restored.get(), numbered(dir.path())), (1, 2));
    second.on_detections(&found(&guest, 2, &["step b"]));
    // A swap loses nothing.
    let kept_by_second = second.hand_over().unwrap();
    let (mut third, _) = counter(serde_json::json!({}));
    kept(&mut third, dir.path());
    third.begin(Some(kept_by_second));
    let handled = third.on_detections(&found(&guest, 3, &["step a", "step b", "step a"]));
    assert_eq!(related(&handled), [[1, 2, 4], [0, 3, 5]]);
}

#[test]
fn what_cannot_be_restored_is_counted_and_the_guest_begins_with_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, guest) = counter(serde_json::json!({}));
    kept(&mut first, dir.path());
    first.on_detections(&found(&guest, 0, &["step a", "step a"]));
    pause(&mut first);
    std::fs::write(dir.path().join("counter/part-1"), "torn").unwrap();
    let (mut second, _) = counter(serde_json::json!({}));
    let account = kept(&mut second, dir.path());
    second.begin(None);
    assert_eq!((account.memory.lost.get(), account.memory.restored.get()), (1, 0));
    assert_eq!(related(&second.on_detections(&found(&guest, 2, &["step a"]))), Vec::<Vec<u64>>::new());
}
