//! The house rules that a reading of the tree can check: where a thing is, and where it must not be.

use std::path::{Path, PathBuf};

use picket_tests::root;

/// Every source file below `directory`, with its text and its path from the root.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().join(directory)];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| ["rs", "c", "h"].iter().any(|x| e == *x)) {
                let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    assert!(found.len() > 10, "{directory} is nearly empty");
    found
}

/// Whether `word` stands alone in `text`, comments aside.
fn mentions(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().filter(|l| !l.trim_start().starts_with("//")).any(|line| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
    })
}

/// Whether `text` means the kind of this name. A name that is also a word of every day counts only where it
/// can mean nothing else: as a text, a module, a program of the kernel side, a constant or a file.
fn means_kind(text: &str, kind: &str) -> bool {
    if kind.contains('_') {
        return mentions(text, kind);
    }
    let constant = format!("KIND_{}", kind.to_uppercase());
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let begins = |form: &str| text.match_indices(form).any(|(at, _)| !text[..at].ends_with(part));
    let forms = [format!("{kind}::"), format!("{kind}__"), format!("{kind}.bpf.c"), format!("{kind}.rs")];
    text.contains(&format!("\"{kind}\""))
        || text.contains(&format!("kind::{kind}"))
        || mentions(text, &format!("mod {kind}"))
        || mentions(text, &constant)
        || forms.iter().any(|form| begins(form))
}

#[track_caller]
fn only_in(directory: &str, word: &str, allowed: &[&str]) {
    only_where(directory, word, allowed, mentions);
}

#[track_caller]
fn only_where(directory: &str, word: &str, allowed: &[&str], is_in: fn(&str, &str) -> bool) {
    let elsewhere: Vec<String> = sources(directory)
        .into_iter()
        .filter(|(name, text)| is_in(text, word) && !allowed.iter().any(|a| name.starts_with(a)))
        .map(|(name, _)| name)
        .collect();
    assert!(elsewhere.is_empty(), "`{word}` belongs to {allowed:?}, and is in {elsewhere:?}");
}

#[test]
fn a_common_word_means_a_kind_only_where_it_can_mean_nothing_else() {
    let no = [
        "struct mount *m = above;",
        "/* the kill of a child */",
        "libc::kill(own, 0)",
        "let unmount = \"remount\";",
        "pikill__x",
    ];
    for text in no {
        assert!(!means_kind(text, "mount") && !means_kind(text, "kill"), "{text}");
    }
    for text in [
        "event == \"kill\"",
        "picket_ebpf::kind::kill",
        "mod kill;",
        "kill::KIND",
        "int kill__kprobe(",
        "KIND_KILL",
        "#include \"kind/kill.bpf.c\"",
    ] {
        assert!(means_kind(text, "kill"), "{text}");
    }
}

#[test]
fn a_kind_is_its_own_files_and_a_line_in_each_list() {
    let kinds: Vec<String> = std::fs::read_dir(root().join("host-ebpf/src/kind"))
        .expect("kinds")
        .flatten()
        .filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    assert!(kinds.len() >= 8, "{kinds:?}");
    for kind in kinds.iter().filter(|k| *k != "seed") {
        assert!(Path::new(&root().join(format!("host/src/kind/{kind}.rs"))).is_file(), "{kind} is not decoded");
        let own = format!("host/src/kind/{kind}.rs");
        // The process table applies the lifecycle kinds; audit records are made from others; a canary is the call of its name.
        let shared = [
            "host/src/kind/mod.rs",
            "host/src/process/table.rs",
            "host/src/kind/auditd/feeds.rs",
            "host/src/sensor/ebpf/canary.rs",
        ];
        only_where("host/src", kind, &[&[own.as_str()], &shared[..]].concat(), means_kind);
        let own = format!("host-ebpf/src/kind/{kind}.");
        let lists = ["host-ebpf/src/kind.rs", "host-ebpf/src/kinds.h", "host-ebpf/src/picket.bpf.c"];
        // commit_creds attaches to the tracepoint that another kind has its name from.
        let shared = [
            "host-ebpf/src/kind/sched_process_fork.rs",
            "host-ebpf/src/kind/seed.",
            "host-ebpf/src/kind/commit_creds.",
        ];
        only_where("host-ebpf/src", kind, &[&[own.as_str()], &lists[..], &shared[..]].concat(), means_kind);
    }
}

#[test]
fn each_library_has_one_room() {
    only_in("host/src", "aya", &["host/src/sensor/"]);
    only_in("host/src", "wasmtime", &["host/src/guest/"]);
    only_in("host/src", "wasmparser", &["host/src/guest/"]);
    // Container engines are asked over a unix socket, which is none of the delivery's business.
    let http = ["host/src/deliver/", "host/src/control/", "host/src/process/container/"];
    only_in("host/src", "hyper", &http);
    only_in("host/src", "hyper_util", &http);
    only_in("host/src", "redb", &["host/src/deliver/"]);
    only_in("host/src", "notify", &["host/src/watch/"]);
    only_in("host/src", "anyhow", &["host/src/cli/", "host/src/main.rs"]);
}

#[test]
fn unsafe_code_is_in_the_sensor_and_in_record_decoding() {
    // The thread's CPU clock is the one exception: no safe wrapper is in the tree.
    only_in("host/src", "unsafe", &["host/src/sensor/", "host/src/guest/limits.rs"]);
    only_in("host-ebpf/src", "unsafe", &["host-ebpf/src/record.rs"]);
    only_in("guests", "unsafe", &[]);
    for (name, text) in sources("host/src").into_iter().chain(sources("host-ebpf/src")) {
        let uses = text.lines().filter(|l| l.contains("unsafe {") || l.contains("unsafe impl")).count();
        let reasons = text.matches("SAFETY:").count();
        assert!(uses <= reasons, "{name}: {uses} unsafe blocks, {reasons} reasons");
    }
}

#[test]
fn the_page_of_events_is_what_the_code_says() {
    if !picket_tests::built() {
        return;
    }
    let output =
        std::process::Command::new(picket_tests::binary()).args(["fields", "--markdown"]).output().expect("picket");
    let page = std::fs::read_to_string(root().join("docs/events.md")).unwrap_or_default();
    let now = String::from_utf8_lossy(&output.stdout);
    assert!(page == now, "docs/events.md is not current: target/release/picket fields --markdown > docs/events.md");
}
