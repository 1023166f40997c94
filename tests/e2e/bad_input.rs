//! Bad input of every sort: a clear error with its place, the right exit code, and nothing else lost.

use std::os::unix::process::CommandExt as _;

use picket_tests::{Run, built, guests, is_root, root, test_guest};

const GOOD: &str = "title: Good\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe0011\nlogsource: {category: process_creation, product: linux}\n\
    detection: {s: {CommandLine|contains: needle}, condition: s}\nlevel: low\n";

/// Validates the given rule files with the shipped guests.
fn validate(run: &Run) -> picket_tests::Ran {
    let guests = guests();
    run.run(&["validate", "rules", &guests.to_string_lossy()])
}

#[test]
fn bad_rules_are_named_with_their_place_and_the_rest_loads() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/good.yml", GOOD);
    run.write("rules/yaml.yml", "title: Bad\ndetection: [\n");
    run.write("rules/condition.yml", GOOD.replace("condition: s", "condition: s and nothere").replace("0011", "0012"));
    run.write("rules/modifier.yml", GOOD.replace("|contains", "|containz").replace("0011", "0013"));
    run.write("rules/field.yml", GOOD.replace("CommandLine", "ComandLine").replace("0011", "0014"));
    run.write("rules/huge.yml", format!("{GOOD}description: {}\n", "x".repeat(10 << 20)).replace("0011", "0015"));
    let ran = validate(&run).exits(2);
    let err = ran.err();
    for wanted in
        ["yaml.yml:", "condition.yml:4:", "nothere", "modifier.yml:4:", "containz", "huge.yml", "field.yml:4:"]
    {
        assert!(err.contains(wanted), "{wanted} is not in\n{err}");
    }
    assert!(err.contains("did you mean `CommandLine`?"), "{err}");
    // The good one and the one with an unknown field.
    assert!(ran.out().starts_with("2 rules"), "{}", ran.out());
}

#[test]
fn files_that_are_no_guests_say_what_they_are() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/good.yml", GOOD);
    std::fs::create_dir(run.dir.path().join("g")).unwrap();
    std::fs::copy(guests().join("sigma.wasm"), run.dir.path().join("g/sigma.wasm")).unwrap();
    run.write("g/text.wasm", "this is no wasm");
    run.write("g/module.wasm", b"\0asm\x01\0\0\0");
    let ran = run.run(&["validate", "rules", "g"]).exits(2);
    let err = ran.err();
    assert!(err.contains("text.wasm"), "{err}");
    assert!(err.contains("module.wasm"), "{err}");
    assert!(ran.out().starts_with("1 rules and 1 guests (sigma)"), "{}", ran.out());
}

#[test]
fn a_config_with_a_typo_names_the_nearest_key() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("picket.toml", "rules = [\"rules\"]\n\n[dispatch]\nrowz = 7\n");
    let ran = run.run(&["validate"]).exits(2);
    assert!(ran.err().contains("picket.toml:4:1"), "{}", ran.err());
    assert!(ran.err().contains("dispatch.rows") || ran.err().contains("`rows`"), "{}", ran.err());
}

#[test]
fn without_btf_the_host_cannot_and_says_what_helps() {
    if !built() {
        return;
    }
    if !is_root() {
        eprintln!("skipped: only root gets as far as BTF");
        return;
    }
    let run = Run::new();
    run.write("rules/good.yml", GOOD);
    let ran = run.run(&["run", "--rules", "rules", "--btf", "/nonexistent", "--no-deliver"]).exits(4);
    assert!(ran.err().contains("/nonexistent"), "{}", ran.err());
    assert!(ran.err().contains("--btf"), "{}", ran.err());
}

#[test]
fn without_root_run_says_what_it_needs_and_offers_replay() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/good.yml", GOOD);
    let mut command = run.command(&["run", "--rules", "rules", "--no-deliver"]);
    if is_root() {
        // The binary may lie where nobody else can reach it: let nobody run a copy.
        let copy = run.dir.path().join("picket");
        std::fs::copy(picket_tests::binary(), &copy).unwrap();
        set_mode(run.dir.path(), 0o777);
        command = std::process::Command::new(&copy);
        command.args(["run", "--rules", "rules", "--no-deliver"]).current_dir(run.dir.path());
        command.env("PICKET_STATE_DIR", run.dir.path().join("state")).uid(65534).gid(65534);
    }
    let ran = picket_tests::Ran(command.output().unwrap()).exits(4);
    assert!(ran.err().contains("root or the capabilities"), "{}", ran.err());
    assert!(ran.err().contains("picket replay"), "{}", ran.err());
}

fn set_mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn rows_a_guest_traps_on_are_set_aside_and_counted_alone() {
    if !built() {
        return;
    }
    let poison = test_guest("poison");
    if !poison.is_file() {
        eprintln!("skipped: {} is not built: cargo xtask build --test-guests", poison.display());
        return;
    }
    let run = Run::new();
    let event = |i: usize, what: &str| {
        format!(
            "{{\"EventType\":\"sched_process_exec\",\"System\":{{\"Timestamp\":\"2026-01-01T00:00:00.{i:09}Z\",\
             \"EventName\":\"sched_process_exec\",\"HostThreadID\":{i}}},\"EventData\":{{\"ProcInfo\":{{\"CommandLine\":\"{what}\"}}}}}}\n"
        )
    };
    let events: String = (0..50).map(|i| event(i, if i == 20 { "poison-row" } else { "needle" })).collect();
    let file = run.write("events.ndjson", events);
    let (file, poison) = (file.to_string_lossy().into_owned(), poison.to_string_lossy().into_owned());
    let ran = run.run(&["replay", &file, "--guests", &poison, "--format", "json", "--set", "rules=[]"]).exits(0);
    assert_eq!(ran.alerts().len(), 49, "{}", ran.err());
    assert!(ran.err().contains("set_aside=1"), "{}", ran.err());
}

#[test]
fn our_own_rules_pass_their_tests_and_explain_themselves() {
    if !built() {
        return;
    }
    let run = Run::new();
    let (rules, guests) = (root().join("rules"), guests());
    let (rules, guests) = (rules.to_string_lossy(), guests.to_string_lossy());
    let ran = run.run(&["test", &rules, &guests]).exits(0);
    assert!(ran.out().contains(" 0 failed"), "{}", ran.out());
    run.write("good.yml", GOOD);
    let event = run.write(
        "event.json",
        "{\"EventType\":\"sched_process_exec\",\"System\":{\"EventName\":\"sched_process_exec\"},\
         \"EventData\":{\"ProcInfo\":{\"CommandLine\":\"hay\"}}}",
    );
    let ran = run.run(&["explain", "good.yml", &event.to_string_lossy(), "--format", "human"]).exits(0);
    assert!(ran.out().starts_with("Good does not match"), "{}", ran.out());
    assert!(ran.out().contains("hay"), "{}", ran.out());
}
