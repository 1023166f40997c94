//! What is no mistake but worth a word, and how to silence it.

mod common;

use common::{Event, Random, matches, rule};
use picket_sigma::{Diagnostic, File, Gravity, Options, RuleSet, Scratch, Unbound, compile};
use serde_json::Value;
use std::fmt::Write as _;

fn load(text: &str) -> RuleSet {
    let options = Options { hygiene: true, ..Options::default() };
    compile(&[File { name: "rule.yml", content: text.as_bytes() }], &options)
}

fn codes(set: &RuleSet) -> Vec<(&str, u32)> {
    set.diagnostics.iter().map(|d| (d.code, d.place.line)).collect()
}

const CLEAN: &str = "title: t\nid: 00000000-0000-0000-0000-000000000000\nstatus: test\nlevel: low\ndate: 2024-01-31\n\
    tags: [attack.t1059]\nlogsource: {product: linux}\ndetection:\n  s: {A: 1}\n  condition: s\n";

#[test]
fn a_clean_rule_has_no_findings() {
    assert_eq!(codes(&load(CLEAN)), []);
}

#[test]
fn each_code() {
    for (code, line, from, to) in [
        ("missing-level", 1, "level: low\n", ""),
        ("missing-status", 1, "status: test\n", ""),
        ("missing-id", 1, "id: 00000000-0000-0000-0000-000000000000\n", ""),
        ("bad-date", 5, "2024-01-31", "2024-02-31"),
        ("bad-date", 5, "2024-01-31", "31.01.2024"),
        ("bad-tag", 6, "attack.t1059", "attack.t1059, Attack"),
        ("unknown-tactic", 6, "attack.t1059", "attack.exekution"),
        ("backslash-path", 9, "A: 1", r"Image|endswith: '\bash'"),
        ("backslash-path", 9, "A: 1", r"TargetFilename: ['/a', 'C:\Temp\x']"),
        ("never-matches", 9, "A: 1", "A: x, A|startswith: y"),
        ("all-without-list", 9, "A: 1", "A|contains|all: x"),
        ("unused-selection", 10, "  condition", "  t: {A: 2}\n  condition"),
    ] {
        assert!(CLEAN.contains(from), "{from}");
        let set = load(&CLEAN.replace(from, to));
        assert_eq!(codes(&set), [(code, line)], "{to}");
        assert!(set.diagnostics[0].gravity != Gravity::Error && set.rules.len() == 1);
    }
    assert_eq!(
        codes(&load(&CLEAN.replace("title: t", &format!("title: {}", "t".repeat(257))))),
        [("title-too-long", 1)]
    );
    for fine in [
        CLEAN.replace("A: 1", r"CommandLine|contains: '\x41'"),
        CLEAN.replace("A: 1", r"Image|endswith: '\*'"),
        CLEAN.replace("A: 1", r"Image|re: '\.\w+'"),
        CLEAN.replace("A: 1", r"Image|endswith: '\bash'").replace("product: linux", "product: windows"),
        CLEAN.replace("2024-01-31", "2024/01/31"),
        CLEAN.replace("tags: [attack.t1059]\n", ""),
    ] {
        assert_eq!(codes(&load(&fine)), [], "{fine}");
    }
    let set = load(&CLEAN.replace("attack.t1059", "attack.persistance"));
    assert_eq!(set.diagnostics[0].help, "did you mean 'persistence'?");
    // Without hygiene, the same files load in silence.
    let text = CLEAN.replace("level: low\n", "");
    let set = compile(&[File { name: "rule.yml", content: text.as_bytes() }], &Options::default());
    assert!(set.diagnostics.is_empty());
}

#[test]
fn tags_of_correlations_are_looked_at() {
    let correlation = "title: c\nid: 00000000-0000-0000-0000-0000000000c0\ntags: [attack.impakt]\n\
        correlation: {type: event_count, rules: [00000000-0000-0000-0000-000000000000], timespan: 5m, condition: {gte: 3}}\n";
    let set = load(&format!("{CLEAN}---\n{correlation}"));
    assert_eq!(codes(&set), [("unknown-tactic", 12)]);
    assert_eq!(set.correlations.len(), 1);
    let silenced = correlation.replace("title: c", "# picket: allow unknown-tactic: our own\ntitle: c");
    assert_eq!(codes(&load(&format!("{CLEAN}---\n{silenced}"))), []);
}

fn contradiction(detection: &str) -> Option<String> {
    let set = load(&rule(detection));
    assert_eq!(set.rules.len(), 1, "{:?}", set.diagnostics);
    let mut found: Vec<&Diagnostic> = set.diagnostics.iter().filter(|d| d.code == "never-matches").collect();
    let one = found.pop()?;
    assert!(found.is_empty(), "one is enough");
    Some(one.message.clone())
}

#[test]
fn conditions_that_contradict_themselves() {
    for detection in [
        "a: {F: x}\nb: {F: y}\ncondition: a and b",
        "a: {F: x}\nb: {F: [y, z]}\ncondition: all of them",
        "a: {F: [x, y]}\nb: {F: [z, w]}\ncondition: a and b",
        "a: {F|startswith: /tmp/}\nb: {F: /var/x}\ncondition: a and b",
        "a: {F|startswith: /tmp/, F|startswith|cased: /var/}\ncondition: a",
        "a: {F|endswith: .sh, F|endswith|cased: .py}\ncondition: a",
        "a: {F|contains: q, F: xyz}\ncondition: a",
        "a: {F: 'a*b', F|cased: axc}\ncondition: a and not b\nb: {G: 1}",
        "a: {F: 1, F|gt: 5}\ncondition: a",
        "a: {F|lt: 5, F|gt: 5}\ncondition: a",
        "a: {F|lte: 5, F|gte: 6}\ncondition: a",
        "a: {F|lt: 5, F|gte: 5}\ncondition: a",
        "a: {F|cidr: 10.0.0.0/8, F: 11.0.0.1}\ncondition: a",
        "a: {F: null, F|contains: x}\ncondition: a",
        "a: {F|exists: false, F|contains: x}\ncondition: a",
        "a: {F|exists: false}\nb: {F|exists: true}\ncondition: a and b",
        "a: {F|hour: 3, F|hour|neq: 3}\ncondition: a",
        "a: {F|hour: 3}\nb: {F|hour: 4}\ncondition: a and b",
        // What one part selects, another takes away.
        "a: {F: x}\ncondition: a and not a",
        "a: {F|endswith: /bash}\nf: {F|endswith: sh}\ncondition: a and not f",
        "a: {F|endswith: [/bash, /dash]}\nf: {F|endswith: sh}\ncondition: a and not f",
        "a: {F: [x, y]}\nf1: {F: x}\nf2: {F: y}\ncondition: a and not 1 of f*",
        "a: {F|contains: abc}\nf: {F|contains: b}\ncondition: a and not f",
        "a: {F|startswith: /tmp/x}\nf: {F|startswith: /tmp}\ncondition: a and not f",
        "a: {F|cased: X}\nf: {F: x}\ncondition: a and not f",
        "a: {F: x}\nf: {F: '*'}\ncondition: a and not f",
        "a: {F: xay}\nf: {F: 'x*y'}\ncondition: a and not f",
        "a: {F|gt: 5}\nf: {F|gte: 5}\ncondition: a and not f",
        "a: {F: 7}\nf: {F|gt: 5}\ncondition: a and not f",
        "a: {F: 10.1.1.1}\nf: {F|cidr: 10.0.0.0/8}\ncondition: a and not f",
        "a: {F: x, F|neq: X}\ncondition: a",
        "a: {F|re: x}\nf: {F|re: x}\ncondition: a and not f",
        "a: {F: x}\nf: {F|exists: true}\ncondition: a and not f",
        "k: [abc]\nf: [b]\ncondition: k and not f",
        // Every way is closed.
        "a: {F: x}\nb: {F: y}\nc: {F: z}\ncondition: a and (b or c)",
        "a: {F: x}\nb: [{F: y}, {F: z}]\ncondition: a and b",
        "a: {F: x, G: 1}\nb: {F: y}\nc: {G: 2}\ncondition: (a and b) or (a and c)",
        "a: {F: x}\nb: {F: x}\ncondition: not (not a or b)",
    ] {
        assert!(contradiction(detection).is_some(), "{detection}");
    }
}

#[test]
fn conditions_that_only_look_so() {
    for detection in [
        "a: {F: x}\nb: {F: [y, X]}\ncondition: a and b",
        "a: {F: x}\nb: {F: y}\ncondition: a or b",
        "a: {F: x}\nb: {G: y}\ncondition: a and b",
        "a: {F: x}\nb: {F: y}\ncondition: a and not b",
        "a: {F|startswith: /tmp, F|endswith: .sh}\ncondition: a",
        "a: {F|startswith: /tmp, F|startswith|cased: /tmp/x}\ncondition: a",
        "a: {F|contains: x, F|contains|cased: y}\ncondition: a",
        "a: {F|contains|all: [x, y]}\ncondition: a",
        "a: {F: '14'}\nb: {F: 14.0}\ncondition: a and b",
        "a: {F: '14'}\nb: {F: '14.0'}\ncondition: a and b",
        "a: {F: '14'}\nf: {F: '14.0'}\ncondition: a and not f",
        "a: {F|lte: 5, F|gte: 5}\ncondition: a",
        "a: {F|gte: 5}\nf: {F|gt: 5}\ncondition: a and not f",
        "a: {F|re: x, F: y}\ncondition: a",
        "a: {F: null}\nb: {F|exists: true}\ncondition: a and b",
        "a: {F: null}\nf: {F|exists: true}\ncondition: a and not f",
        "a: {F: X}\nf: {F|cased: x}\ncondition: a and not f",
        "a: {F|endswith: sh}\nf: {F|endswith: /bash}\ncondition: a and not f",
        "a: {F: [x, y]}\nf: {F: x}\ncondition: a and not f",
        "a: {F: x, G: y}\nf: {F: x, G: z}\ncondition: a and not f",
        "a: {F: x}\nf: {F|contains|all: [x, y]}\ncondition: a and not f",
        "k: {'|all': [abc, xyz]}\ncondition: k",
        "k: {'|cased': [abc]}\nl: {'|cased': [xyz]}\ncondition: k and l",
        "a: {F|hour: [3, 4], F|minute: 3}\ncondition: a",
        "a: {F: x}\nb: {F: y}\nc: {F: x}\ncondition: a and (b or c)",
    ] {
        assert_eq!(contradiction(detection), None, "{detection}");
    }
}

#[test]
fn why_is_said_in_words() {
    for (detection, wanted) in [
        (
            "a: {F: x}\nb: {F: [y, z]}\ncondition: a and b",
            "the rule never matches: 'F: 'y', 'z'' of 'b' and 'F: 'x'' of 'a' need two values of one field",
        ),
        (
            "a: {F|endswith: /bash}\nf: {F|endswith: sh}\ncondition: a and not f",
            "the rule never matches: 'F|endswith: '/bash'' of 'a' is excluded by 'F|endswith: 'sh'' of 'f'",
        ),
        (
            "a: {F: [x, y]}\nf1: {F: x}\nf2: {F: y}\ncondition: a and not 1 of f*",
            "the rule never matches: all values of 'F: 'x', 'y'' of 'a' are excluded",
        ),
    ] {
        let said = contradiction(detection).unwrap();
        let sorted = |t: &str| {
            let mut words: Vec<String> = t.split(' ').map(str::to_owned).collect();
            words.sort();
            words
        };
        assert!(said.starts_with(wanted) || sorted(&said) == sorted(wanted), "{said}");
    }
}

#[test]
fn a_filter_that_hides_its_rule_is_named() {
    let rule = CLEAN.replace("A: 1", "Image|endswith: /bash");
    let filter = "title: F\nid: 00000000-0000-0000-0000-0000000000f0\nlogsource: {product: linux}\n\
        filter:\n  rules: any\n  sel: {Image|contains: ash}\n  condition: not sel\n";
    let options = Options { hygiene: true, ..Options::default() };
    let files = [File { name: "r.yml", content: rule.as_bytes() }, File { name: "f.yml", content: filter.as_bytes() }];
    let set = compile(&files, &options);
    assert_eq!(set.diagnostics.len(), 1, "{:?}", set.diagnostics);
    let found = &set.diagnostics[0];
    assert_eq!(
        (found.file.as_str(), found.code, found.place.line, found.place.column),
        ("f.yml", "never-matches", 6, 9)
    );
    assert!(
        found.message.starts_with("'t' never matches: 'Image|endswith: '/bash'' of 's' is excluded"),
        "{}",
        found.message
    );
}

#[test]
fn a_silence_with_a_reason_silences_its_code_on_its_line() {
    let bad = CLEAN.replace("A: 1", r"Image|endswith: '\bash'");
    let at = |comment: &str, own_line: bool| {
        let line = r"  s: {Image|endswith: '\bash'}";
        bad.replace(line, &if own_line { format!("  # {comment}\n{line}") } else { format!("{line} # {comment}") })
    };
    let reason = "picket: allow backslash-path: our emulator makes such names";
    assert_eq!(codes(&load(&at(reason, false))), []);
    assert_eq!(codes(&load(&at(reason, true))), []);
    // Other comments and blank lines may stand between.
    assert_eq!(codes(&load(&at(&format!("{reason}\n\n  # really"), true))), []);
    for (comment, line, code) in [
        ("picket: allow backslash-path", 9, "silence-without-reason"),
        ("picket: allow backslash-path:  ", 9, "silence-without-reason"),
        ("picket: allow bad-tag: because", 9, "silence-without-effect"),
        ("picket: allow backslash-paths: because", 9, "silence-without-effect"),
    ] {
        let set = load(&at(comment, true));
        let mut found = codes(&set);
        found.sort_unstable();
        let mut wanted = [("backslash-path", 10), (code, line)];
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{comment}");
    }
    let set = load(&at("picket: allow backslash-paths: because", false));
    assert!(set.diagnostics.iter().any(|d| d.help == "did you mean 'backslash-path'?"), "{:?}", set.diagnostics);
    // Not the line after the next, and not in a text that looks like a comment.
    let far = CLEAN.replace("title: t\n", &format!("# {reason}\ntitle: t\n"));
    assert_eq!(codes(&load(&far)), [("silence-without-effect", 1)]);
    let text = CLEAN.replace("title: t\n", &format!("title: t\ndescription: |\n  # {reason}\n"));
    assert_eq!(codes(&load(&text)), []);
    let text = CLEAN.replace("title: t\n", &format!("title: 't # {reason}'\n"));
    assert_eq!(codes(&load(&text)), []);
}

#[test]
fn an_error_cannot_be_silenced() {
    let text = CLEAN.replace("  s: {A: 1}", "  # picket: allow unknown-modifier: no\n  s: {A|wat: 1}");
    let set = load(&text);
    assert_eq!(codes(&set), [("unknown-modifier", 10), ("silence-without-effect", 9)]);
    assert!(set.rules.is_empty());
}

#[test]
fn a_silence_hides_what_is_said_and_not_what_is_so() {
    let bound = |text: &str| {
        let mut set = load(text);
        set.unbind(0, "A", Unbound::NeverHere, "");
        let codes = |found: Vec<picket_sigma::Diagnostic>| found.iter().map(|d| d.code).collect::<Vec<_>>();
        (codes(set.unreachable(0)), codes(set.unreachable_in_silence(0)))
    };
    assert_eq!(bound(CLEAN), (vec!["needs-field"], vec![]));
    assert_eq!(bound(&silencing(CLEAN, "needs-field", "title: t")), (vec![], vec!["needs-field"]));
}

#[test]
fn a_filter_may_hide_tests_if_its_file_says_why() {
    let filter = "title: f\nid: 00000000-0000-0000-0000-0000000000f0\nlogsource: {product: test}\n\
                  filter: {rules: any, s: {A: 1}, condition: not s}\n";
    let silenced = silencing(filter, "filter-hides-test", "title: f");
    let bare = silenced.replace(": on the other hosts", "");
    for (text, may) in [(filter, false), (silenced.as_str(), true), (bare.as_str(), false)] {
        let files = [CLEAN, text].map(str::as_bytes);
        let files = [File { name: "rule.yml", content: files[0] }, File { name: "filter.yml", content: files[1] }];
        let set = compile(&files, &Options { hygiene: true, ..Options::default() });
        assert_eq!(set.filters[0].may_hide_tests, may, "{text}");
        assert!(!set.diagnostics.iter().any(|d| d.code == "silence-without-effect"), "{:?}", set.diagnostics);
    }
}

/// `text` with a silence for `code` above the line that begins with `line`.
fn silencing(text: &str, code: &str, line: &str) -> String {
    assert_eq!(text.matches(line).count(), 1, "{line}");
    let indent = &line[..line.len() - line.trim_start().len()];
    text.replace(line, &format!("{indent}# picket: allow {code}: on the other hosts\n{line}"))
}

#[test]
fn a_silence_also_counts_for_what_the_host_finds() {
    type Bind = fn(&mut RuleSet) -> Vec<Diagnostic>;
    let unreachable: Bind = |set| {
        set.unbind(0, "A", Unbound::NeverHere, "");
        set.unreachable(0)
    };
    let closed: Bind = |set| {
        set.close(0, "A", &["2".to_owned()]);
        set.unreachable(0)
    };
    let foreign = CLEAN.replace("A: 1", "Image|endswith: /esxcli");
    let correlated = format!(
        "{CLEAN}---\ntitle: c\nid: 00000000-0000-0000-0000-0000000000c0\ncorrelation: {{type: event_count, \
         rules: [00000000-0000-0000-0000-000000000000], group-by: [A], timespan: 5m, condition: {{gte: 3}}}}\n"
    );
    for (code, text, line, bind) in [
        ("unknown-field", CLEAN, "  s: {A: 1}", (|set| set.unbind(0, "A", Unbound::Unknown, "")) as Bind),
        ("field-never-here", CLEAN, "  s: {A: 1}", |set| set.unbind(0, "A", Unbound::NeverHere, "")),
        ("source-not-fed", CLEAN, "title: t", |set| set.unfed(0, "")),
        ("needs-field", CLEAN, "title: t", unreachable),
        ("needs-value", CLEAN, "title: t", closed),
        ("not-of-linux", &foreign, "title: t", |set| set.unreachable(0)),
        ("unknown-field", &correlated, "title: c", |set| set.unbind_correlated("A", Unbound::Unknown, "")),
        ("field-never-here", &correlated, "title: c", |set| set.unbind_correlated("A", Unbound::NeverHere, "")),
    ] {
        let mut set = load(text);
        let told: Vec<_> = bind(&mut set).iter().map(|d| (d.code, d.place.line)).collect();
        let at = text.lines().position(|l| l.starts_with(line)).unwrap() as u32 + 1;
        assert_eq!(told, [(code, at)]);
        let silenced = silencing(text, code, line);
        for hygiene in [false, true] {
            let files = [File { name: "rule.yml", content: silenced.as_bytes() }];
            let mut set = compile(&files, &Options { hygiene, ..Options::default() });
            let early: Vec<_> = codes(&set).into_iter().filter(|(code, _)| code.starts_with("silence")).collect();
            assert_eq!(early, [], "whether '{code}' has an effect is up to the host");
            assert_eq!(bind(&mut set), [], "{silenced}");
        }
        // Neither another code, nor without a reason, nor elsewhere.
        let other = if code == "needs-field" { "needs-value" } else { "needs-field" };
        let elsewhere = if line.starts_with("title") { "  condition" } else { "title: t" };
        let without_reason = silenced.replace(": on the other hosts", "");
        for text in [silencing(text, other, line), without_reason, silencing(text, code, elsewhere)] {
            assert_eq!(bind(&mut load(&text)).len(), 1, "{text}");
        }
    }
}

#[test]
fn what_the_host_finds_in_a_filter_is_silenced_in_its_file() {
    let filter = "title: F\nid: 00000000-0000-0000-0000-0000000000f0\nlogsource: {product: linux}\n\
        filter:\n  rules: any\n  sel: {B: 1}\n  condition: not sel\n";
    for (filter, wanted) in [(filter.to_owned(), 1), (silencing(filter, "unknown-field", "  sel:"), 0)] {
        let files =
            [File { name: "r.yml", content: CLEAN.as_bytes() }, File { name: "f.yml", content: filter.as_bytes() }];
        let mut set = compile(&files, &Options::default());
        assert!(set.diagnostics.is_empty(), "{:?}", set.diagnostics);
        let found = set.unbind(0, "B", Unbound::Unknown, "");
        assert_eq!((found.len(), found.iter().all(|d| d.file == "f.yml")), (wanted, true));
    }
}

#[test]
fn without_hygiene_a_silence_for_it_is_no_finding() {
    let text =
        CLEAN.replace("level: low\n", "").replace("title: t", "# picket: allow missing-level: it is low\ntitle: t");
    let file = [File { name: "rule.yml", content: text.as_bytes() }];
    assert!(compile(&file, &Options::default()).diagnostics.is_empty());
    assert!(load(&text).diagnostics.is_empty());
}

#[test]
fn looking_for_contradictions_takes_bounded_time() {
    let values = |tail: &str| (0..20_000).map(|i| format!("v{i}{tail}")).collect::<Vec<_>>().join(",");
    let detection = format!("a: {{F: [{}]}}\nb: {{F: [{}]}}\ncondition: a and b", values("x"), values("y"));
    assert_eq!(contradiction(&detection), None, "too much to look at is taken to hold");
    // A large selection that is named over and over: refused, but only after hygiene has looked at it.
    let condition = "(a or a) and ".repeat(600) + "a";
    let set = load(&rule(&format!("a: {{F: [{}]}}\ncondition: {condition}", values("x"))));
    assert!(set.diagnostics.iter().any(|d| d.code == "rule-too-complex"));
    assert!(set.diagnostics.iter().all(|d| d.code != "never-matches"));
    let small = "a: {F: [v1x, v2x]}\nb: {F: [v1y, v2y]}\ncondition: a and b";
    assert!(contradiction(small).is_some());
}

/// A random item of one of two fields: key and value as in a rule.
fn random_item(random: &mut Random) -> String {
    let field = random.pick(&["F", "G"]);
    let word = |random: &mut Random| random.pick(&["a", "ab", "A", "b", "bab", "'7'", "'a*'", "'?b'", "''"]);
    match random.below(10) {
        0 => format!("{field}: null"),
        1 => format!("{field}|exists: {}", random.one_in(2)),
        2 => format!("{field}|{}: {}", random.pick(&["gt", "gte", "lt", "lte"]), random.below(9)),
        3 => format!("{field}: {}", random.pick(&["7", "7.0", "8"])),
        4 => format!("{field}|re: {}", random.pick(&["a", "^b"])),
        5 => format!("{field}|neq: {}", word(random)),
        _ => {
            let affix = random.pick(&["", "|contains", "|startswith", "|endswith"]);
            let cased = if random.one_in(4) { "|cased" } else { "" };
            let all = if random.one_in(5) { "|all" } else { "" };
            format!("{field}{affix}{cased}{all}: [{}, {}]", word(random), word(random))
        }
    }
}

/// Whatever is said never to match does not, in single-valued events.
#[test]
fn what_is_said_never_to_match_never_does() {
    let mut events: Vec<Event> = Vec::new();
    let values = ["a", "A", "ab", "AB", "b", "bab", "7", "7.0", "8", "", "x"].map(Value::from);
    let values: Vec<Option<Value>> =
        values.into_iter().chain([7.into(), 8.into(), 7.5.into(), Value::Null]).map(Some).chain([None]).collect();
    for f in &values {
        for g in &values {
            let pairs = [("F", f), ("G", g)].into_iter();
            events.push(pairs.filter_map(|(name, v)| Some((name.to_owned(), v.clone()?))).collect());
        }
    }
    let mut random = Random(0x005e_ed0f_51c3_a7e5);
    let (mut said, mut dead) = (0, 0);
    for _ in 0..4_000 {
        let mut text = String::new();
        for name in ["a", "b", "c"] {
            let (first, second) = (random_item(&mut random), random_item(&mut random));
            if random.one_in(3) {
                let _ = writeln!(text, "{name}: [{{{first}}}, {{{second}}}]");
            } else {
                let _ = writeln!(text, "{name}: {{{first}}}");
            }
        }
        let condition =
            ["a and b and c", "a and not b", "a and (b or c)", "a and not (b or not c)", "all of them and not 1 of c*"];
        let _ = writeln!(text, "condition: {}", random.pick(&condition));
        let set = load(&rule(&text));
        assert_eq!(set.rules.len(), 1, "{text}{:?}", set.diagnostics);
        let silent = events
            .iter()
            .all(|event| matches(&set, 0, std::slice::from_ref(event), false, &mut Scratch::default())[0].is_empty());
        dead += usize::from(silent);
        if set.diagnostics.iter().any(|d| d.code == "never-matches") {
            said += 1;
            assert!(silent, "{text}{:?}", set.diagnostics);
        }
    }
    // Some of the others match only events that are not among these.
    assert!(said >= 1_000 && said * 5 >= dead * 3, "only {said} of {dead} were found");
}
