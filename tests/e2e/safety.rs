//! What Picket gives up, what it leaves behind, and what it says when somebody works against it. On the real kernel.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use picket_tests::{Live, Run, able, exec, guests, one_at_a_time, wait_until};
use serde_json::Value;

fn rule(number: u32, category: &str, field: &str, needle: &str) -> String {
    format!(
        "title: R{number}\nid: 6c1a3c5e-5a07-4a0e-9b6c-3f6a12{number:06x}\nlogsource: {{category: {category}, product: linux}}\n\
         detection: {{s: {{{field}|contains: '{needle}'}}, condition: s}}\nlevel: low\n"
    )
}

/// A config with one endpoint that nobody listens at: what is accepted for it stays in the spool.
fn configure(run: &Run, marker: &str) {
    run.write("rules/exec.yml", rule(1, "process_creation", "CommandLine", marker));
    run.write(
        "picket.toml",
        format!(
            "rules = [\"rules\"]\nguests = [\"{}\"]\n[endpoint.soar]\nurl = \"http://127.0.0.1:9/hook\"\n",
            guests().display()
        ),
    );
}

fn said(live: &Live, rule: &str) -> Vec<Value> {
    live.alerts(rule).into_iter().filter(|a| a["rule"]["id"] == rule).collect()
}

fn pending(run: &Run) -> u64 {
    run.status()["endpoints"][0]["pending"].as_u64().expect("one endpoint")
}

/// Numbers that the kernel gave to what a process holds: `prog_id`, `link_id` or `map_id`.
fn held(pid: i32, what: &str) -> BTreeSet<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it runs").flatten();
    let texts = entries.filter_map(|e| std::fs::read_to_string(e.path()).ok());
    texts
        .flat_map(|text| {
            let number = |l: &str| l.strip_prefix(what)?.strip_prefix(':')?.trim().parse().ok();
            text.lines().filter_map(number).collect::<Vec<u32>>()
        })
        .collect()
}

const MAP_UPDATE: i64 = 2;
const PROG_FD_BY_ID: i64 = 13;
const MAP_FD_BY_ID: i64 = 14;
const OBJ_INFO: i64 = 15;
const LINK_FD_BY_ID: i64 = 30;

fn bpf(command: i64, attr: &mut [u64]) -> std::io::Result<i64> {
    // SAFETY: the attribute is as long as is said; addresses in it are of buffers that outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(attr)) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}

fn by_id(command: i64, id: u32) -> std::io::Result<OwnedFd> {
    let fd = bpf(command, &mut [u64::from(id), 0])?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits until the kernel knows none of these any more: it removes them a moment after the last descriptor is closed.
fn gone(command: i64, ids: &BTreeSet<u32>) -> bool {
    wait_until(|| ids.iter().all(|id| by_id(command, *id).is_err_and(|e| e.raw_os_error() == Some(libc::ENOENT))))
}

/// Writes a map of another process, as whoever has bpf(2) can.
fn overwrite(pid: i32, name: &str, key: u32, mut value: [u32; 2]) {
    let maps = held(pid, "map_id");
    let map = maps.iter().filter_map(|id| by_id(MAP_FD_BY_ID, *id).ok()).find(|fd| {
        // struct bpf_map_info: the name is at byte 24.
        let mut info = [0u64; 16];
        let length = size_of_val(&info) as u64;
        let mut attr = [fd.as_raw_fd() as u64 | length << 32, info.as_mut_ptr() as u64];
        let asked = bpf(OBJ_INFO, &mut attr).is_ok();
        let bytes: Vec<u8> = info[3..5].iter().flat_map(|w| w.to_ne_bytes()).take_while(|b| *b != 0).collect();
        asked && bytes == name.as_bytes()
    });
    let map = map.unwrap_or_else(|| panic!("{name} is not among {maps:?}"));
    let mut key = key;
    let mut attr = [map.as_raw_fd() as u64, &raw mut key as u64, value.as_mut_ptr() as u64, 0];
    bpf(MAP_UPDATE, &mut attr).expect("root may write maps");
}

/// The capabilities of each thread: (which set, mask).
fn capabilities(pid: i32) -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let texts = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("status")).ok());
    let fields = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
    texts
        .flat_map(|text| {
            let wanted = |l: &str| {
                let (key, value) = l.split_once(':')?;
                let value = u64::from_str_radix(value.trim(), 16).ok()?;
                fields.contains(&key).then(|| (key.to_owned(), value))
            };
            text.lines().filter_map(wanted).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_thread_gives_up_what_is_not_needed_and_reloads_still_attach() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("confined-{}", std::process::id());
    configure(&run, &marker);
    let Some(mut live) = Live::start(&run, &[]) else { return };
    let allowed = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN"];
    let numbers = [39, 38, 19, 2, 12];
    let mask = numbers.iter().fold(0u64, |mask, bit| mask | 1 << bit);
    let check = || {
        let all = capabilities(live.pid());
        assert!(all.len() > 6 * 5, "there are several threads: {all:?}");
        for (set, value) in all {
            match set.as_str() {
                "NoNewPrivs" => assert_eq!(value, 1),
                "CapEff" | "CapPrm" => {
                    assert!(value & !mask == 0 && value >> 39 & 1 == 1 && value >> 38 & 1 == 1, "{set} {value:#x}");
                }
                _ => assert_eq!(value, 0, "{set} {value:#x}"),
            }
        }
    };
    check();
    let privileges = run.status()["privileges"].clone();
    for kept in privileges["kept"].as_array().expect("a list") {
        assert!(allowed.contains(&kept["capability"].as_str().unwrap()), "{privileges}");
        assert!(!kept["why"].as_str().unwrap().contains("never given up"), "{privileges}");
    }
    assert_eq!((&privileges["no_new_privs"], &privileges["bounding"]), (&Value::Bool(true), &Value::from(0)));
    let shown = run.run(&["status"]).exits(0).out();
    assert!(shown.contains("CAP_BPF") && shown.contains("no_new_privs"), "{shown}");
    // A kind that was not wanted before is attached by what is left.
    run.write("rules/deleted.yml", rule(2, "ebpf", "EventData.pathname", &marker));
    assert!(wait_until(|| run.status()["generation"]["rules"] == 2), "{}", live.talk());
    let place = run.write(&marker, "");
    std::fs::remove_file(&place).unwrap();
    exec(&marker);
    let unlinked = || live.alerts(&marker).iter().any(|a| a["event"]["EventType"] == "security_inode_unlink");
    assert!(wait_until(unlinked), "{}", live.talk());
    // The spool takes alerts, the control socket answers, files of other users are read.
    assert!(wait_until(|| pending(&run) >= 2));
    let secret = run.write("rules/theirs.yml", rule(3, "process_creation", "CommandLine", "never"));
    std::os::unix::fs::chown(&secret, Some(65_534), Some(65_534)).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(wait_until(|| run.status()["generation"]["rules"] == 3), "{}", live.talk());
    run.run(&["reload", "--wait"]).exits(0);
    check();
    assert_eq!(live.end(libc::SIGTERM).code(), Some(0), "{}", live.talk());
}

#[test]
fn a_state_directory_of_somebody_else_is_refused_at_the_start() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    configure(&run, "nothing");
    let state = run.dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65_534), Some(65_534)).unwrap();
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
    let ran = run.run(&["run"]);
    if ran.code() == 4 {
        eprintln!("skipped: this host cannot: {}", ran.err());
        return;
    }
    let talk = ran.exits(2).err();
    assert!(talk.contains("CAP_DAC_OVERRIDE") && talk.contains("state"), "{talk}");
}

#[test]
fn nothing_stays_attached_however_it_ends() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    for (signal, code) in [(libc::SIGTERM, Some(0)), (libc::SIGINT, Some(130)), (libc::SIGKILL, None)] {
        let run = Run::new();
        configure(&run, "nothing");
        let Some(mut live) = Live::start(&run, &["--no-deliver"]) else { return };
        let (programs, links) = (held(live.pid(), "prog_id"), held(live.pid(), "link_id"));
        assert!(programs.len() > 5 && links.len() >= 3, "{programs:?} {links:?}");
        assert!(links.iter().all(|id| by_id(LINK_FD_BY_ID, *id).is_ok()));
        assert_eq!(live.end(signal).code(), code, "{}", live.talk());
        assert!(gone(LINK_FD_BY_ID, &links), "links are left after signal {signal}");
        assert!(gone(PROG_FD_BY_ID, &programs), "programs are left after signal {signal}");
    }
}

#[test]
fn a_panic_of_the_builder_ends_the_process_detached_with_the_spool_intact() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("panic-{}", std::process::id());
    configure(&run, &marker);
    let panics = Path::new(env!("CARGO_BIN_EXE_picket-panics"));
    let Some(mut live) = Live::start_of(panics, &run, &[]) else { return };
    let (programs, links) = (held(live.pid(), "prog_id"), held(live.pid(), "link_id"));
    exec(&marker);
    assert!(wait_until(|| !live.alerts(&marker).is_empty()), "{}", live.talk());
    let stored = pending(&run);
    assert!(stored >= 1);
    // The builder says how much is new, a moment after it has attached what this rule wants.
    run.write("rules/deleted.yml", rule(2, "ebpf", "EventData.pathname", &marker));
    let ended = live.wait();
    let talk = live.talk();
    assert_eq!(ended.code(), Some(4), "{talk}");
    assert!(talk.contains("panicked") && talk.contains("not watched any more"), "{talk}");
    assert!(gone(LINK_FD_BY_ID, &links) && gone(PROG_FD_BY_ID, &programs));
    // The next start finds every alert, and says what was not watched.
    std::fs::remove_file(run.dir.path().join("rules/deleted.yml")).unwrap();
    let Some(mut live) = Live::start(&run, &[]) else { return };
    assert!(wait_until(|| said(&live, "picket.gap").len() == 1), "{}", live.talk());
    assert_eq!(said(&live, "picket.gap")[0]["gap"]["cause"], "failure");
    assert!(pending(&run) > stored);
    assert!(!live.talk().contains("damaged"), "{}", live.talk());
    live.end(libc::SIGTERM);
}

#[test]
fn time_that_was_not_watched_is_an_alert_of_its_own_once() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    configure(&run, "nothing");
    let record = run.dir.path().join("state/watch.json");
    let Some(mut live) = Live::start(&run, &[]) else { return };
    assert!(wait_until(|| record.exists()));
    live.end(libc::SIGKILL);
    assert_eq!(said(&live, "picket.gap").len(), 0, "before the first run nobody was expected to watch");
    let mut ids = BTreeSet::new();
    for (cause, signal) in [("crash", libc::SIGTERM), ("stop", libc::SIGTERM)] {
        let Some(mut live) = Live::start(&run, &[]) else { return };
        assert!(wait_until(|| !said(&live, "picket.gap").is_empty()), "{}", live.talk());
        // Durable as every alert: it waits for the endpoint.
        assert_eq!(pending(&run), 1 + ids.len() as u64);
        let before = std::fs::read_to_string(&record).unwrap();
        assert!(wait_until(|| {
            let now = std::fs::read_to_string(&record).unwrap();
            now != before || serde_json::from_str::<Value>(&now).is_ok_and(|w| w["stopped"].is_null())
        }));
        assert_eq!(live.end(signal).code(), Some(0));
        let gaps = said(&live, "picket.gap");
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        let gap = &gaps[0];
        assert_eq!((&gap["activity"], &gap["gap"]["cause"]), (&Value::from("gap"), &Value::from(cause)), "{gap}");
        let (from, to) = (gap["gap"]["from"].as_str().unwrap(), gap["gap"]["to"].as_str().unwrap());
        assert!(from <= to && gap["first"] == from && gap["last"] == to, "{gap}");
        assert!(ids.insert(gap["id"].to_string()));
    }
    let schema = run.run(&["schema", "alert"]).exits(0).out();
    assert!(schema.contains("\"gap\""), "{schema}");
}

#[test]
fn a_map_written_by_somebody_else_is_an_alert_and_is_written_back() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("tamper-{}", std::process::id());
    configure(&run, &marker);
    let Some(mut live) = Live::start(&run, &[]) else { return };
    // Kind 1 is exec: this blinds Picket without touching its process.
    overwrite(live.pid(), "INTEREST", 1, [0, 0]);
    let count = |live: &Live, map: &str| {
        said(live, "picket.tamper.map").into_iter().filter(|a| a["fields"]["map"] == map).count()
    };
    assert!(wait_until(|| count(&live, "INTEREST") == 1), "{}", live.talk());
    // Or makes every process Picket's own.
    overwrite(live.pid(), "CONFIG", 0, [std::process::id(), 0]);
    assert!(wait_until(|| count(&live, "CONFIG") == 1), "{}", live.talk());
    let alerts = said(&live, "picket.tamper.map");
    assert!(alerts.iter().all(|a| a["severity"] == "high" && a["activity"] == "new"), "{alerts:?}");
    exec(&marker);
    assert!(wait_until(|| !live.alerts(&marker).is_empty()), "it sees again:\n{}", live.talk());
    assert!(pending(&run) >= 3, "the alerts wait in the spool");
    live.end(libc::SIGTERM);
    assert_eq!(count(&live, "INTEREST") + count(&live, "CONFIG"), 2, "said once each");
}

#[test]
fn status_says_what_each_probe_is_and_what_each_kind_and_guest_costs() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("cost-{}", std::process::id());
    configure(&run, &marker);
    let Some(mut live) = Live::start(&run, &["--no-deliver"]) else { return };
    assert!(wait_until(|| run.status()["sensor"]["probes"].as_array().is_some_and(|p| p.len() > 5)));
    let probes: Value =
        serde_json::from_str(&run.run(&["status", "--probes", "--format", "json"]).exits(0).out()).expect("JSON");
    let exec_probe =
        probes.as_array().unwrap().iter().find(|p| p["kind"] == "sched_process_exec" && p["attached"] == true);
    let exec_probe = exec_probe.unwrap_or_else(|| panic!("{probes}"));
    assert!(
        exec_probe["code_bytes"].as_u64() > Some(0) && exec_probe["helper_calls"].as_u64() > Some(0),
        "{exec_probe}"
    );
    assert!(run.run(&["status", "--probes"]).exits(0).out().contains("sched_process_exec__"));
    let stop = AtomicBool::new(false);
    let cost: Value = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exec(&marker);
            }
        });
        let ran = run.run(&["status", "--cost", "--for", "1s", "--format", "json"]);
        stop.store(true, Ordering::Relaxed);
        serde_json::from_str(&ran.exits(0).out()).expect("JSON")
    });
    let of_exec = cost["kinds"].as_array().unwrap().iter().find(|k| k["kind"] == "sched_process_exec").unwrap();
    assert!(of_exec["runs"].as_u64() > Some(0) && of_exec["ns_per_run"].as_f64() > Some(0.0), "{cost}");
    let sigma = cost["guests"].as_array().unwrap().iter().find(|g| g["guest"] == "sigma").unwrap();
    assert!(sigma["rows"].as_u64() > Some(0) && sigma["core_share"].as_f64() > Some(0.0), "{cost}");
    assert!(run.run(&["status", "--cost", "--for", "10ms"]).exits(0).out().contains("ns/event"));
    live.end(libc::SIGINT);
}
