//! What the kernel side leaves out because no rule is about it must be missed by no rule: the same files opened with the
//! filters and without, under random rules, over a reload.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use picket_tests::{Live, Run, built, guests, is_root, wait_until};
use serde_json::Value;

const SETS: usize = 3;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Names that nothing else on the machine has.
const WORDS: [&str; 8] = ["zqetc", "zqEtc", "zqcron.d", "zqshadow", "zq\u{e4}", "zqa\u{212A}", ".zqssh", "zqkik"];

fn condition(r: &mut Random, field: &str) -> String {
    let word = r.pick(&WORDS);
    let value = match r.below(3) {
        0 => format!("/{word}"),
        1 => format!("{word}/f"),
        _ => word.to_owned(),
    };
    match r.below(5) {
        0 => format!("{field}|startswith: 'ROOT/{value}'"),
        1 => format!("{field}|endswith: ['{word}/f{}', '{value}1']", r.below(4)),
        2 => format!("{field}|contains: '{value}'"),
        3 => format!("{field}: 'ROOT*/{word}/f{}'", r.below(4)),
        _ => format!("{field}|re: '{word}/f[0-{}]$'", r.below(3)),
    }
}

/// Rules of one set. In the last one a rule asks for no path, so that nothing may be left out of what changes files.
fn rules(r: &mut Random, set: usize, root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for number in 0..24 {
        let opens = number % 3 == 0;
        let (source, field) = if opens { ("ebpf", "EventData.pathname") } else { ("file_event", "TargetFilename") };
        let name = if opens { "EventName: security_file_open, " } else { "" };
        let (one, two) = (condition(r, field), condition(r, field));
        let text = match r.below(4) {
            0 => format!("{{a: {{{name}{one}}}, b: {{{two}}}, condition: a and not b}}"),
            1 => format!("{{a: {{{name}{one}}}, b: {{{name}{two}}}, condition: 1 of them}}"),
            _ => format!("{{a: {{{name}{one}}}, condition: a}}"),
        };
        all.push((source, text));
    }
    all.push(("file_event", "{a: {TargetFilename: 'ROOT/the end'}, condition: a}".to_owned()));
    if set == SETS - 1 {
        all.push(("file_event", "{a: {CommandLine|contains: \"os.chdir('ROOT')\"}, condition: a}".to_owned()));
    }
    (0..)
        .zip(all)
        .map(|(n, (source, detection))| {
            let detection = detection.replace("ROOT", &root.to_string_lossy());
            format!(
                "title: t\nid: 7c0e0a52-5b8e-4b3e-9a53-{set:06x}{n:06x}\nlogsource: {{category: {source}, product: linux}}\n\
                 detection: {detection}\nlevel: low\n"
            )
        })
        .collect()
}

fn write_rules(run: &Run, rules: &[String]) {
    let _ = std::fs::remove_dir_all(run.dir.path().join("rules"));
    for (n, text) in rules.iter().enumerate() {
        run.write(&format!("rules/{n}.yml"), text);
    }
}

/// Alerts so far about what the script did, as rule and path. (This test removes the files, which opens directories.)
fn alerts(live: &Live, root: &Path) -> BTreeSet<(String, String)> {
    let root = root.to_string_lossy();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let by_script =
        |a: &Value| a["event"]["EventData"]["ProcInfo"]["CommandLine"].as_str().is_some_and(|c| c.contains("makedirs"));
    let alerts = live.alerts(&root).into_iter().filter(by_script);
    let pairs = alerts.map(|a| (text(&a["rule"]["id"]), text(&a["event"]["EventData"]["pathname"])));
    pairs.filter(|(_, path)| path.starts_with(&*root)).collect()
}

fn filtered(run: &Run) -> u64 {
    let ran = run.run(&["status", "--format", "json"]).exits(0);
    let status: Value = serde_json::from_str(&ran.out()).expect("status is JSON");
    let kinds = status["sensor"]["kinds"].as_array().cloned().unwrap_or_default();
    kinds.iter().filter_map(|k| k["filtered"]["path"].as_u64()).sum()
}

#[test]
fn no_alert_is_lost_by_what_the_kernel_side_leaves_out() {
    if !is_root() {
        eprintln!("skipped: only root may load the kernel side");
        return;
    }
    if !built() {
        return;
    }
    let run = Run::new();
    let root = run.dir.path().join("files");
    let root = root.as_path();
    let mut r = Random(0x2545_f491_4f6c_dd1d);
    let mut files: BTreeSet<String> = BTreeSet::new();
    while files.len() < 60 {
        let parts: Vec<&str> = (0..=r.below(4)).map(|_| r.pick(&WORDS)).collect();
        files.insert(format!("{}/f{}", parts.join("/"), r.below(4)));
    }
    let list: Vec<String> = files.iter().map(|f| format!("'{f}'")).collect();
    let script = format!(
        "import os\nos.chdir('{}')\nfor f in [{}]:\n  os.makedirs(os.path.dirname(f), exist_ok=True)\n  open(f, 'w').close()\n  \
         open(f).close()\nopen('the end', 'w').close()\n",
        root.display(),
        list.join(", ")
    );
    let sets: Vec<Vec<String>> = (0..SETS).map(|set| rules(&mut r, set, root)).collect();
    run.write("with.toml", "rules = ['rules']\n");
    run.write(
        "without.toml",
        "rules = ['rules']\ncollect.path_filters = false\nguest.sigma.config = { filters = false }\n",
    );
    let guests = guests().to_string_lossy().into_owned();
    let mut found: Vec<Vec<BTreeSet<(String, String)>>> = Vec::new();
    let mut left_out = Vec::new();
    for config in ["with.toml", "without.toml"] {
        write_rules(&run, &sets[0]);
        let args = ["--config", config, "--guests", &guests, "--no-deliver"];
        let Some(mut live) = Live::start(&run, &args) else { return };
        let mut of_sets = Vec::new();
        let mut before = BTreeSet::new();
        for (number, set) in sets.iter().enumerate() {
            if number > 0 {
                write_rules(&run, set);
                run.run(&["--config", config, "reload", "--wait", "--force"]).exits(0);
            }
            let _ = std::fs::remove_dir_all(root);
            std::fs::create_dir(root).expect("a directory of our own");
            let done = Command::new("python3").args(["-c", &script]).status().expect("python3 runs");
            assert!(done.success());
            let end = |a: &BTreeSet<(String, String)>| {
                a.iter().any(|(id, path)| id.contains(&format!("-{number:06x}")) && path.ends_with("/the end"))
            };
            assert!(wait_until(|| end(&alerts(&live, root))), "{config} {number}:\n{}", live.talk());
            let now = alerts(&live, root);
            of_sets.push(now.difference(&before).cloned().collect::<BTreeSet<_>>());
            before = now;
        }
        left_out.push(filtered(&run));
        live.end(libc::SIGINT);
        let late: Vec<_> = alerts(&live, root).difference(&before).cloned().collect();
        of_sets.last_mut().expect("there are sets").extend(late);
        found.push(of_sets);
    }
    for (number, (with, without)) in found[0].iter().zip(&found[1]).enumerate() {
        let rules = sets[number].join("\n");
        assert_eq!(
            with.difference(without).collect::<Vec<_>>(),
            Vec::<&(String, String)>::new(),
            "set {number}\n{rules}"
        );
        assert_eq!(
            without.difference(with).collect::<Vec<_>>(),
            Vec::<&(String, String)>::new(),
            "set {number}\n{rules}"
        );
        assert!(with.len() > 40, "set {number}: {} alerts make a poor test", with.len());
    }
    assert!(left_out[0] > 0 && left_out[1] == 0, "left out: {left_out:?}");
}
