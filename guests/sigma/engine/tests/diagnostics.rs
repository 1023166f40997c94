//! What is said about bad rules, and exactly where.

mod common;

use common::{compile_one, rule, unmark};
use picket_sigma::{Diagnostic, File, Gravity, Options, RuleSet, Unbound, compile};

fn only(set: &RuleSet) -> &Diagnostic {
    assert_eq!(set.diagnostics.len(), 1, "{:#?}", set.diagnostics);
    &set.diagnostics[0]
}

/// Compiles a rule in which the offending token is marked `«so»`, expects one error, and that it is there.
fn refused(code: &str, marked: &str) -> Diagnostic {
    let (text, place) = unmark(marked);
    let set = compile_one(&text);
    let found = only(&set);
    assert_eq!((found.gravity, found.code), (Gravity::Error, code), "{found:#?}");
    assert_eq!(found.place, place, "{text}\n{found:#?}");
    assert!(set.rules.is_empty(), "a refused rule is not loaded");
    assert_eq!(found.file, "rule.yml");
    assert!(!found.message.ends_with('.') && !found.message.is_empty());
    found.clone()
}

fn warned(gravity: Gravity, code: &str, marked: &str) -> Diagnostic {
    let (text, place) = unmark(marked);
    let set = compile_one(&text);
    let found = only(&set);
    assert_eq!((found.gravity, found.code, found.place), (gravity, code, place), "{text}");
    assert_eq!(set.rules.len(), 1, "the rule is loaded all the same");
    found.clone()
}

#[test]
fn detections() {
    for (code, detection) in [
        ("undefined-selection", "s: {A: 1}\ncondition: s and «selektion»"),
        ("undefined-selection", "s: {A: 1}\ncondition: \"s or 1 of «filter_*»\""),
        ("undefined-selection", "s: {A: 1}\ncondition: >-\n  s and\n  not «t»"),
        ("bad-condition", "s: {A: 1}\ncondition: s «AND» s"),
        ("bad-condition", "s: {A: 1}\ncondition: '«(»s'"),
        ("bad-condition", "s: {A: 1}\ncondition: «[]»"),
        ("bad-condition", "s: {A: 1}\ncondition: [s, «{}»]"),
        ("unsupported-aggregation", "s: {A: 1}\ncondition: s «| count() by User > 5»"),
        ("unsupported-quantifier", "s: {A: 1}\ncondition: «2» of s*"),
        ("unsupported-near", "s: {A: 1}\ncondition: «near» s"),
        ("unsupported-timeframe", "s: {A: 1}\n«timeframe»: 5m\ncondition: s"),
        ("duplicate-key", "s: {A: 1}\n«s»: {B: 1}\ncondition: s"),
        ("duplicate-key", "s:\n  Image|endswith: /a\n  «Image|endswith»: /b\ncondition: s"),
        ("unknown-modifier", "s:\n  Image|«endwith»: /a\ncondition: s"),
        ("unknown-modifier", "s: {'Image|contains|«wat»': /a}\ncondition: s"),
        ("unsupported-aggregation", "s: {A: 1}\ntimeframe: 5m\ncondition: s «| count() by User > 5»"),
        ("unsupported-near", "s: {A: 1}\ntimeframe: 5m\ncondition: «near» s"),
        ("unsupported-quantifier", "s1: {A: 1}\ns2: {A: 2}\ncondition: «2» of them"),
        ("unknown-placeholder", "s: {Image|expand: «'%x%'»}\ncondition: s"),
        ("modifier-combination", "s: {A|base64|«expand»: '%x%'}\ncondition: s"),
        ("modifier-combination", "s: {A|exists|«expand»: '%x%'}\ncondition: s"),
        ("modifier-combination", "s: {A|hour|«day»: 3}\ncondition: s"),
        ("modifier-combination", "s: {A|gte|«hour»: 3}\ncondition: s"),
        ("modifier-combination", "s: {A|hour|«contains»: 3}\ncondition: s"),
        ("modifier-combination", "s: {A|hour|«re»: 3}\ncondition: s"),
        ("modifier-combination", "s: {A|hour|«cased»: 3}\ncondition: s"),
        ("modifier-combination", "s: {'|«hour»': [3]}\ncondition: s"),
        ("bad-value", "s: {A|hour: «noon»}\ncondition: s"),
        ("bad-value", "s: {A|hour: «null»}\ncondition: s"),
        ("bad-value", "s: {A|fieldref: «''»}\ncondition: s"),
        ("modifier-combination", "s: {A|contains|«re»: x}\ncondition: s"),
        ("modifier-combination", "s: {A|re|«contains»: x}\ncondition: s"),
        ("modifier-combination", "s: {A|«i»: x}\ncondition: s"),
        ("modifier-combination", "s: {A|contains|«contains»: x}\ncondition: s"),
        ("modifier-combination", "s: {A|exists|«neq»: true}\ncondition: s"),
        ("modifier-combination", "s: {A|lt|«gt»: 1}\ncondition: s"),
        ("modifier-combination", "s: {A|base64|«cidr»: 10.0.0.0/8}\ncondition: s"),
        ("modifier-combination", "s: {'|«endswith»': [x]}\ncondition: s"),
        ("bad-regex", "s:\n  CommandLine|re: 'abc«(»def'\ncondition: s"),
        ("bad-regex", "s:\n  CommandLine|re:\n    - ok\n    - a«[»b\ncondition: s"),
        ("bad-regex", "s: {CommandLine|re: \"x\\\\d«(?=»y)\"}\ncondition: s"),
        ("bad-regex", "s: {CommandLine|re: '«(\\w{500}){500}»'}\ncondition: s"),
        ("bad-cidr", "s: {Ip|cidr: [10.0.0.0/8, «10.0.0.1/8»]}\ncondition: s"),
        ("bad-cidr", "s: {Ip|cidr: «300.0.0.0/8»}\ncondition: s"),
        ("bad-value", "s: {A|exists: «'true'»}\ncondition: s"),
        ("bad-value", "s: {A|gt: «many»}\ncondition: s"),
        ("bad-value", "s: {A|contains: «null»}\ncondition: s"),
        ("bad-value", "s: {A: «{B: 1}»}\ncondition: s"),
        ("bad-value", "s: {A: [«[1]»]}\ncondition: s"),
        ("bad-value", "s: {A|base64|contains: «'a*b'»}\ncondition: s"),
        ("bad-value", "s: {A|base64offset|contains: «a»}\ncondition: s"),
        ("bad-value", "s: {A|windash: «'-a -b -c -d -e'»}\ncondition: s"),
        ("bad-value", "s: [a, «null»]\ncondition: s"),
        ("empty-list", "s: {A: «[]»}\ncondition: s"),
        ("bad-selection", "s: «{}»\ncondition: s"),
        ("bad-selection", "s: «[]»\ncondition: s"),
        ("bad-selection", "s: [«[a]»]\ncondition: s"),
        ("unsupported-merge-key", "s: {«<<»: {A: 1}}\ncondition: s"),
        ("unsupported-tag", "s: {A: !!binary «eA==»}\ncondition: s"),
        ("bad-yaml", "s: {A: «*»nothing}\ncondition: s"),
    ] {
        let found = refused(code, &rule(detection));
        if code == "unknown-modifier" && found.message.contains("endwith") {
            assert_eq!(found.help, "did you mean 'endswith'?");
        }
    }
}

#[test]
fn attributes() {
    let tail = "logsource: {product: x}\ndetection: {s: {A: 1}, condition: s}\n";
    let head = "title: t\nid: 00000000-0000-0000-0000-000000000000\n";
    for (code, text) in [
        ("missing-attribute", format!("«id: 00000000-0000-0000-0000-000000000000»\n{tail}")),
        ("missing-attribute", format!("«title»:\nid: 00000000-0000-0000-0000-000000000000\n{tail}")),
        ("bad-attribute", format!("title: «[a]»\nid: 00000000-0000-0000-0000-000000000000\n{tail}")),
        ("bad-attribute", format!("{head}tags: «{{a: b}}»\n{tail}")),
        ("bad-attribute", format!("{head}tags: [a, «[b]»]\n{tail}")),
        ("bad-attribute", format!("{head}author: «[a, b]»\n{tail}")),
        ("bad-attribute", format!("{head}logsource: «linux»\ndetection: {{s: {{A: 1}}, condition: s}}")),
        ("bad-attribute", format!("{head}logsource: {{product: x}}\ndetection: «[a]»")),
        ("bad-logsource", format!("{head}«logsource»: {{definition: x}}\ndetection: {{s: {{A: 1}}, condition: s}}")),
        ("missing-condition", format!("{head}logsource: {{product: x}}\n«detection»: {{s: {{A: 1}}}}")),
        (
            "missing-attribute",
            "«title: t»\nid: 00000000-0000-0000-0000-000000000000\nlogsource: {product: x}".to_owned(),
        ),
        ("bad-filter", format!("{head}«filter»: {{rules: any}}\n{tail}")),
        ("bad-action", format!("action: «globl»\n{head}{tail}")),
        ("bad-action", format!("«action»: repeat\n{head}{tail}")),
        ("not-a-rule", "«just text»".to_owned()),
    ] {
        refused(code, &text);
    }
    for (gravity, code, text) in [
        (Gravity::Warning, "missing-id", format!("«title: t»\n{tail}")),
        (Gravity::Hint, "id-not-uuid", format!("title: t\nid: «my-rule»\n{tail}")),
        (Gravity::Warning, "unknown-level", format!("{head}level: «hihg»\n{tail}")),
        (Gravity::Warning, "unknown-status", format!("{head}status: «testing»\n{tail}")),
        (Gravity::Warning, "unknown-attribute", format!("{head}«falsepositive»: [x]\n{tail}")),
        (Gravity::Warning, "not-a-list", format!("{head}tags: «attack.x»\n{tail}")),
        (Gravity::Warning, "bad-related", format!("{head}related: [«{{id: x}}»]\n{tail}")),
        (Gravity::Warning, "bad-related", format!("{head}related: [«{{id: x, type: simliar}}»]\n{tail}")),
        (
            Gravity::Warning,
            "unused-selection",
            head.to_owned() + "logsource: {product: x}\ndetection: {s: {A: 1}, «t»: {A: 2}, condition: s}",
        ),
        (
            Gravity::Hint,
            "all-without-list",
            head.to_owned() + "logsource: {product: x}\ndetection: {s: {«A|contains|all»: x}, condition: s}",
        ),
        (
            Gravity::Warning,
            "null-in-list",
            head.to_owned() + "logsource: {product: x}\ndetection: {s: {A: «[x, null]»}, condition: s}",
        ),
        (
            Gravity::Warning,
            "never-matches",
            head.to_owned() + "logsource: {product: x}\ndetection: {s: {A|hour: [1, «24»]}, condition: s}",
        ),
        (
            Gravity::Hint,
            "expand-without-placeholder",
            head.to_owned() + "logsource: {product: x}\ndetection: {s: {A|expand: «100%»}, condition: s}",
        ),
    ] {
        let found = warned(gravity, code, &text);
        if code == "unknown-level" {
            assert_eq!(found.help, "did you mean 'high'?");
        }
    }
    assert!(
        compile_one(&format!("{head}runbook: https://x\n{tail}")).diagnostics.is_empty(),
        "custom attributes are allowed"
    );
}

#[test]
fn every_problem_of_a_rule_is_told() {
    let set = compile_one(&rule("s:\n  A|wat: 1\n  B|re: '('\n  C|cidr: x\ncondition: s and t"));
    let codes: Vec<_> = set.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["unknown-modifier", "bad-regex", "bad-cidr", "undefined-selection"]);
}

#[test]
fn one_bad_rule_hides_no_other() {
    let good = rule("s: {A: 1}\ncondition: s");
    let other = good.replace("0000-000000000000", "0000-000000000001");
    let bad = rule("s: {A|wat: 1}\ncondition: s");
    let text = format!("{bad}---\n{good}---\n: [\n---\n{other}---\n");
    let set = compile(
        &[File { name: "a.yml", content: text.as_bytes() }, File { name: "b.yml", content: other.as_bytes() }],
        &Options::default(),
    );
    assert_eq!(set.rules.iter().map(|r| r.file.as_str()).collect::<Vec<_>>(), ["a.yml", "a.yml"]);
    let codes: Vec<_> = set.diagnostics.iter().map(|d| (d.file.as_str(), d.code)).collect();
    // The syntax error is met first, because all of the YAML is read before any rule.
    assert_eq!(codes, [("a.yml", "bad-yaml"), ("a.yml", "unknown-modifier"), ("b.yml", "duplicate-id")]);
}

#[test]
fn files() {
    let files = [
        ("empty.yml", &b""[..], "empty-file", 0, 0),
        ("comment.yml", b"# nothing\n---\n", "empty-file", 0, 0),
        ("bytes.yml", b"title: x\ntags: \xff", "not-utf8", 2, 7),
    ];
    for (name, content, code, line, column) in files {
        let set = compile(&[File { name, content }], &Options::default());
        let found = only(&set);
        assert_eq!((found.file.as_str(), found.code, found.place.line, found.place.column), (name, code, line, column));
    }
}

#[test]
fn a_log_source_that_is_not_fed_is_told_once_for_each_rule() {
    let set = compile_one(&rule("s: {a: x, b: y}\nk: [word]\ncondition: s and k"));
    let found = set.unfed(0, "switch it on");
    assert_eq!(found.iter().map(|d| (d.gravity, d.code)).collect::<Vec<_>>(), [(Gravity::Warning, "source-not-fed")]);
    assert_eq!((found[0].help.as_str(), found[0].place.line), ("switch it on", set.rules[0].line));
    assert!(set.unfed(7, "").is_empty());
}

#[test]
fn fields_that_are_not_here() {
    let text = rule("s:\n  Imgae|endswith: /x\n  User|fieldref: Usre\nt: {Imgae: y}\ncondition: s or t");
    let mut set = compile_one(&text);
    let found = set.unbind(0, "Imgae", Unbound::Unknown, "did you mean 'Image'?");
    assert_eq!(
        found.iter().map(|d| (d.place.line, d.place.column, d.place.length)).collect::<Vec<_>>(),
        [(6, 5, 14), (8, 7, 5)]
    );
    assert!(
        found.iter().all(|d| d.gravity == Gravity::Warning && d.code == "unknown-field" && d.help.contains("Image"))
    );
    let found = set.unbind(0, "Usre", Unbound::NeverHere, "");
    assert_eq!(
        found.iter().map(|d| (d.code, d.place.line, d.place.column)).collect::<Vec<_>>(),
        [("field-never-here", 7, 20)]
    );
    assert!(set.unbind(0, "Other", Unbound::Unknown, "").is_empty());
    assert!(set.unbind(7, "Imgae", Unbound::Unknown, "").is_empty());
    // Nobody wrote the alternate, so nobody is told.
    let mut set = compile_one(&rule("s: {Image: x}\ncondition: s"));
    assert_eq!(set.streams[0].fields, ["Image", "ExecutedImage"]);
    assert!(set.unbind(0, "ExecutedImage", Unbound::Unknown, "").is_empty());
}

/// What is told about the rule where these fields have no values; None = it can match.
fn unreachable(detection: &str, fields: &[&str]) -> Option<(&'static str, String, String)> {
    let text = format!("title: t\nlogsource: {{product: linux}}\ndetection:\n  {}\n", detection.replace('\n', "\n  "));
    let mut set = compile_one(&text);
    for field in fields {
        set.unbind(0, field, Unbound::NeverHere, "no hook fills it");
    }
    let mut found = set.unreachable(0);
    let one = found.pop()?;
    assert!(found.is_empty() && one.gravity == Gravity::Warning && one.place.line == 1, "{one:?}");
    Some((one.code, one.message, one.help))
}

#[test]
fn rules_that_nothing_here_can_match_are_named_with_what_they_need() {
    let told = unreachable("s: {A: x, B: y}\ncondition: s", &["B"]).unwrap();
    let message = "no event of this host can match this rule: it needs 'B', which nothing here fills";
    assert_eq!(told, ("needs-field", message.to_owned(), "no hook fills it".to_owned()));
    for (dead, detection) in [
        (false, "s: {A: x, B: y}\ncondition: s"),
        (false, "s: {A: x}\nt: {G: y}\ncondition: s or t"),
        (true, "s: {A: x}\nt: {G: y}\ncondition: s and t"),
        (false, "s: {A: x}\nt: {G: y}\ncondition: s and not t"),
        (true, "s: {A: x}\nt: {G: y}\ncondition: not (s or not t)"),
        (false, "s: {A: x, G: null}\ncondition: s"),
        (true, "s: {A: x, G|exists: true}\ncondition: s"),
        (false, "s: {A: x, G|exists: false}\ncondition: s"),
        (false, "s: {A: x, G|neq: y}\ncondition: s"),
        (true, "s: {A: x, G|re: y}\ncondition: s"),
        (true, "s: {A|fieldref: G}\ncondition: s"),
        (false, "s: {A: [x, y], G: [x, y]}\nt: {A: z}\ncondition: 1 of s* or t"),
        (false, "k: [word]\ncondition: k"),
    ] {
        let told = unreachable(detection, &["G"]);
        assert_eq!(told.is_some(), dead, "{detection}: {told:?}");
        assert!(told.is_none_or(|(_, message, _)| message.contains("it needs 'G', ")), "{detection}");
    }
}

#[test]
fn rules_for_another_system_are_named() {
    for (foreign, detection) in [
        (Some("'/esxcli'"), "s: {Image|endswith: /esxcli, CommandLine|contains: get}\ncondition: s"),
        (
            Some(r"'\bash'"),
            r"s: {ParentImage|endswith: '\bash'}
condition: s",
        ),
        (
            Some(r"'C:\Windows\'"),
            r"s: {Image|startswith: 'C:\Windows\'}
condition: s",
        ),
        (None, "s: {Image|endswith: [/esxcli, /curl]}\ncondition: s"),
        (None, "s: {Image|endswith: /sh}\nf: {Image|endswith: /esxcli}\ncondition: s and not f"),
        (None, "s: {Image|endswith: esxcli}\ncondition: s"),
        (
            None,
            r"s: {CommandLine|contains: '\bash'}
condition: s",
        ),
        (
            None,
            r"s: {Image|endswith: '/a\b'}
condition: s",
        ),
    ] {
        let told = unreachable(detection, &[]);
        let values = told.as_ref().map(|(_, message, _)| message.as_str());
        let wanted = foreign.map(|f| format!("no Linux host can match this rule: {f} is of another system"));
        assert_eq!(values, wanted.as_deref(), "{detection}");
        assert!(told.is_none_or(|(code, ..)| code == "not-of-linux"));
    }
    let elsewhere = "title: t\nlogsource: {product: esxi}\ndetection: {s: {Image|endswith: /esxcli}, condition: s}\n";
    assert!(compile_one(elsewhere).unreachable(0).is_empty(), "it says itself that it is not for Linux");
}

#[test]
fn rules_for_values_that_nothing_here_has_are_named() {
    for (never, detection) in [
        (Some("'Kind' is never 'forks' here"), "s: {Kind: forks, A: x}\ncondition: s"),
        (None, "s: {Kind: [forks, FORK], A: x}\ncondition: s"),
        (None, "s: {Kind|startswith: ex, A: x}\ncondition: s"),
        (None, "s: {A: x}\nf: {Kind: forks}\ncondition: s and not f"),
        (None, "s: {Kind: null}\ncondition: s"),
    ] {
        let mut set = compile_one(&rule(detection));
        set.close(0, "Kind", &["fork".to_owned(), "exec".to_owned()]);
        let found = set.unreachable(0);
        let told = found
            .first()
            .map(|d| (d.code, d.message.trim_start_matches("no event of this host can match this rule: ")));
        assert_eq!(told, never.map(|n| ("needs-value", n)), "{detection}");
    }
}
