//! Filters, collections and placeholders: what is not said by one document alone.

mod common;

use common::{Event, compile_one, matches, with_batch};
use picket_sigma::{File, Gravity, Options, RuleSet, Scratch, compile};
use serde_json::{Value, json};

const A: &str = "title: A\nid: 00000000-0000-0000-0000-00000000000a\nname: rule_a\n\
    logsource: {category: process_creation, product: linux}\ndetection:\n  selection: {Image: /bin/a}\n  condition: selection\n";
const B: &str = "title: B\nid: 00000000-0000-0000-0000-00000000000b\n\
    logsource: {category: process_creation, product: linux, service: x}\n\
    detection: {s: {Image: /bin/a}, t: {Image: /bin/b}, condition: [s, t]}\n";

fn filter(rules: &str, body: &str) -> String {
    format!(
        "title: F\nid: 00000000-0000-0000-0000-0000000000f0\nlogsource: {{category: process_creation, product: linux}}\n\
         filter:\n  rules: {rules}\n  {}\n",
        body.replace('\n', "\n  ")
    )
}

const BACKUP: &str = "selection: {User: backup}\ncondition: not selection";

fn load(texts: &[&str]) -> RuleSet {
    let names = ["0.yml", "1.yml", "2.yml", "3.yml", "4.yml"];
    let files: Vec<File<'_>> =
        texts.iter().zip(names).map(|(text, name)| File { name, content: text.as_bytes() }).collect();
    compile(&files, &Options::default())
}

/// Titles of the rules that match, over all streams.
fn hits(set: &RuleSet, event: &Value) -> Vec<String> {
    let event: Event = event.as_object().unwrap().clone();
    let mut found: Vec<String> = (0..set.streams.len())
        .flat_map(|s| matches(set, s, std::slice::from_ref(&event), false, &mut Scratch::default()).remove(0))
        .map(|rule| set.rules[rule as usize].title.clone())
        .collect();
    found.sort();
    found
}

fn codes(set: &RuleSet) -> Vec<(&str, &str, u32)> {
    set.diagnostics.iter().map(|d| (d.file.as_str(), d.code, d.place.line)).collect()
}

#[test]
fn a_filter_is_joined_to_the_condition() {
    for rules in ["[00000000-0000-0000-0000-00000000000a]", "[rule_a]", "rule_a", "[rule_a, rule_a]"] {
        let set = load(&[A, B, &filter(rules, BACKUP)]);
        assert_eq!(codes(&set), [], "{rules}");
        assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "root"})), ["A", "B"]);
        assert_eq!(hits(&set, &json!({"Image": "/bin/a"})), ["A", "B"], "an absent user is not the backup");
        assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "backup"})), ["B"], "{rules}");
        assert_eq!(set.rules[0].filters, ["00000000-0000-0000-0000-0000000000f0"]);
        assert!(set.rules[1].filters.is_empty());
        assert_eq!((set.filters.len(), set.filters[0].rules.as_slice(), set.filters[0].line), (1, &[0][..], 1));
    }
}

#[test]
fn any_rule_of_its_log_source() {
    for rules in ["any", "all"] {
        let other = A.replace("process_creation", "file_event").replace("00000a", "00000c").replace("rule_a", "rule_c");
        let set = load(&[A, B, &filter(rules, BACKUP), &other]);
        assert_eq!(codes(&set), []);
        // B says more about its log source than the filter, so the filter is for it, too; the other one is another category.
        assert_eq!(set.filters[0].rules, [0, 1]);
        let event = json!({"Image": "/bin/a", "User": "backup"});
        assert_eq!(hits(&set, &event), ["A"], "the rule of the other log source");
        // The list of conditions is joined as a whole: (s or t) and filter.
        assert_eq!(hits(&set, &json!({"Image": "/bin/b", "User": "backup"})), Vec::<String>::new());
        assert_eq!(hits(&set, &json!({"Image": "/bin/b"})), ["B"]);
    }
}

#[test]
fn names_of_a_filter_are_its_own() {
    // The rule has a selection of this name as well, and `them` means those of the filter.
    let set = load(&[A, &filter("any", "selection: {User: x}\nother: {User: y}\ncondition: not 1 of them")]);
    assert_eq!(codes(&set), []);
    assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "z"})), ["A"]);
    assert!(hits(&set, &json!({"Image": "/bin/a", "User": "y"})).is_empty());
    // And `them` of a rule does not mean those of a filter.
    let rule = A.replace("condition: selection", "condition: all of them");
    let set = load(&[&rule, &filter("any", "selection: {User: x}\ncondition: not selection")]);
    assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "z"})), ["A"]);
}

#[test]
fn a_condition_without_not_keeps_what_it_selects() {
    let set = load(&[A, &filter("any", "selection: {User|startswith: adm_}\ncondition: selection")]);
    assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "adm_x"})), ["A"]);
    assert!(hits(&set, &json!({"Image": "/bin/a", "User": "x"})).is_empty());
}

#[test]
fn several_filters_all_count() {
    let second = filter("any", "s: {User: deploy}\ncondition: not s").replace("0000f0", "0000f1");
    let set = load(&[A, &filter("any", BACKUP), &second]);
    assert_eq!(set.rules[0].filters.len(), 2);
    assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "root"})), ["A"]);
    assert!(hits(&set, &json!({"Image": "/bin/a", "User": "backup"})).is_empty());
    assert!(hits(&set, &json!({"Image": "/bin/a", "User": "deploy"})).is_empty());
}

#[test]
fn a_filter_sees_only_the_resolved_image() {
    let set = load(&[A, &filter("any", "s: {Image: /opt/safe}\ncondition: not s").replace("/bin/a", "x")]);
    let rule_by_link = json!({"Image": "/opt/evil", "ExecutedImage": "/bin/a"});
    assert_eq!(hits(&set, &rule_by_link), ["A"]);
    let rule = A.replace("Image: /bin/a", "CommandLine: x");
    let set = load(&[&rule, &filter("any", "s: {Image: /opt/safe}\ncondition: not s")]);
    assert_eq!(hits(&set, &json!({"CommandLine": "x", "Image": "/tmp/evil", "ExecutedImage": "/opt/safe"})), ["A"]);
    assert!(hits(&set, &json!({"CommandLine": "x", "Image": "/opt/safe"})).is_empty());
}

#[test]
fn a_bad_filter_leaves_its_rules_as_they_are() {
    let backup = json!({"Image": "/bin/a", "User": "backup"});
    for (code, line, text) in [
        ("undefined-selection", 7, filter("any", "selection: {User: backup}\ncondition: not slection")),
        ("unknown-modifier", 6, filter("any", "selection: {User|endwith: backup}\ncondition: not selection")),
        ("missing-condition", 4, filter("any", "selection: {User: backup}")),
        ("bad-condition", 7, filter("any", "selection: {User: backup}\ncondition: [not selection]")),
        ("bad-filter", 5, filter("[]", BACKUP)),
        ("bad-filter", 5, filter("[{a: b}]", BACKUP)),
        ("bad-filter", 5, filter("null", BACKUP)),
        ("bad-filter", 4, filter("any", BACKUP).replace("  rules: any\n", "")),
        (
            "bad-filter",
            4,
            "title: F\nid: 00000000-0000-0000-0000-0000000000f0\nlogsource: {product: linux}\nfilter: [x]\n".into(),
        ),
        (
            "missing-attribute",
            1,
            filter("any", BACKUP).replace("logsource: {category: process_creation, product: linux}\n", ""),
        ),
        ("bad-logsource", 3, filter("any", BACKUP).replace("{category: process_creation, product: linux}", "{}")),
        ("missing-attribute", 1, filter("any", BACKUP).replace("title: F\n", "")),
        ("duplicate-id", 2, filter("any", BACKUP).replace("0000000000f0", "00000000000a")),
        (
            "unsupported-timeframe",
            7,
            filter("any", "selection: {User: backup}\ntimeframe: 5m\ncondition: not selection"),
        ),
    ] {
        let set = load(&[A, &text]);
        assert_eq!(codes(&set), [("1.yml", code, line)], "{text}");
        assert_eq!(set.diagnostics[0].gravity, Gravity::Error);
        assert_eq!(hits(&set, &backup), ["A"], "{code}: the rule runs without it");
        assert!(set.filters.is_empty() && set.rules[0].filters.is_empty());
    }
}

#[test]
fn a_filter_that_finds_no_rule_is_told() {
    let set = load(&[A, B, &filter("[rule_b, rule_a]", BACKUP)]);
    assert_eq!(codes(&set), [("2.yml", "filter-unknown-rule", 5)]);
    assert_eq!((set.diagnostics[0].place.column, set.diagnostics[0].place.length), (11, 6));
    assert_eq!(set.diagnostics[0].help, "did you mean 'rule_a'?");
    assert_eq!(set.filters[0].rules, [0], "it is applied to those that are there");

    let file_event = filter("[rule_a]", BACKUP).replace("process_creation", "file_event");
    let set = load(&[A, &file_event]);
    assert_eq!(codes(&set), [("1.yml", "filter-log-source", 5)]);
    assert!(set.diagnostics[0].message.ends_with("its category is 'process_creation', the filter's is 'file_event'"));
    assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "backup"})), ["A"]);

    let set = load(&[A, &file_event.replace("[rule_a]", "any")]);
    assert_eq!(codes(&set), [("1.yml", "filter-without-rule", 4)]);

    // An attribute of the log source that only this site knows narrows the filter.
    let site = filter("[rule_a]", BACKUP).replace("product: linux", "product: linux, site: north");
    let set = load(&[A, &site]);
    assert!(set.diagnostics[0].message.ends_with("it has no site, the filter's is 'north'"), "{:?}", set.diagnostics);
    let set = load(&[&A.replace("product: linux", "product: linux, site: north"), &site]);
    assert_eq!((codes(&set).len(), set.filters[0].rules.as_slice()), (0, &[0][..]));

    let many: Vec<String> = (0..30).map(|i| format!("x{i}")).collect();
    let set = load(&[A, &filter(&format!("[{}]", many.join(", ")), BACKUP)]);
    assert_eq!(set.diagnostics.len(), 21);
    assert!(set.diagnostics.iter().any(|d| d.message.starts_with("10 further rules")));
}

#[test]
fn a_name_that_means_several_rules_or_a_correlation_is_told() {
    let same = A.replace("00000a", "00000c");
    let set = load(&[A, &same, &filter("[rule_a]", BACKUP)]);
    assert_eq!(codes(&set), [("2.yml", "filter-unknown-rule", 5)]);
    assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "backup"})), ["A", "A"], "it hides none rather than both");
    let correlation = "title: C\nid: 00000000-0000-0000-0000-0000000000c0\nname: many\n\
        correlation: {type: event_count, rules: [rule_a], timespan: 5m, condition: {gte: 3}}\n";
    let set = load(&[A, correlation, &filter("[many]", BACKUP)]);
    assert_eq!(codes(&set), [("2.yml", "filter-unknown-rule", 5)]);
    assert_eq!(set.diagnostics[0].message, "'many' is a correlation, and filters are for rules");
    let set = load(&[A, correlation, &filter("any", BACKUP)]);
    assert_eq!((codes(&set).len(), set.filters[0].rules.as_slice(), set.correlations.len()), (0, &[0][..], 1));
}

#[test]
fn a_rule_that_was_refused_is_no_rule_to_filter() {
    let set = load(&[&A.replace("/bin/a}", "/bin/a, B|wat: 1}"), &filter("[rule_a]", BACKUP)]);
    assert_eq!(codes(&set), [("0.yml", "unknown-modifier", 6), ("1.yml", "filter-unknown-rule", 5)]);
}

#[test]
fn what_filters_add_is_bounded_and_never_switches_a_rule_off() {
    let values: Vec<String> = (0..9_000).map(|i| format!("v{i}")).collect();
    let many = format!("s: {{User: [{}]}}\ncondition: not s", values.join(", "));
    let rules: String = (0..50)
        .map(|i| A.replace("00000a", &format!("{i:06}")).replace("rule_a", &format!("r{i}")))
        .collect::<Vec<_>>()
        .join("---\n");
    let set = load(&[&rules, &filter("any", &many)]);
    assert_eq!(codes(&set), [("1.yml", "filters-too-large", 4)]);
    assert_eq!((set.rules.len(), hits(&set, &json!({"Image": "/bin/a", "User": "v7"})).len()), (50, 50));
    // A single rule that its filters would make too complex: each names its selection over and over.
    let values: Vec<String> = (0..2_000).map(|i| format!("v{i}")).collect();
    let many = format!("s: {{User: [{}]}}\ncondition: not s{}", values.join(","), " and not s".repeat(60));
    let set = load(&[A, &filter("any", &many), &filter("any", BACKUP).replace("0000f0", "0000f1")]);
    assert_eq!(codes(&set), [("1.yml", "filters-too-large", 1), ("2.yml", "filters-too-large", 1)]);
    assert!(set.rules[0].filters.is_empty() && set.filters.iter().all(|f| f.rules.is_empty()));
    assert_eq!(hits(&set, &json!({"Image": "/bin/a", "User": "v7"})), ["A"]);
    assert!(hits(&set, &json!({"Image": "/bin/b", "User": "v7"})).is_empty());
}

#[test]
fn explain_and_unbind_name_the_filter() {
    let mut set = load(&[A, B, &filter("any", "s: {Usr: backup}\ncondition: not s")]);
    let event: Event = json!({"Image": "/bin/a", "Usr": "backup"}).as_object().unwrap().clone();
    let stream = set.rules[0].stream as usize;
    let nodes = with_batch(&set, stream, &[event], false, |batch| set.explain(0, batch, 0));
    let filter = nodes.iter().position(|n| n.label.starts_with("filter ")).unwrap();
    assert_eq!(nodes[filter].label, "filter 'F' (00000000-0000-0000-0000-0000000000f0, 2.yml:1): not s");
    assert!(!nodes[0].holds && !nodes[filter].holds);
    assert_eq!(nodes[nodes[filter].parent as usize].label, "selection", "the condition of the rule");
    assert!(nodes.iter().any(|n| n.label == "00000000-0000-0000-0000-0000000000f0.s" && n.holds));

    let mut found = Vec::new();
    for stream in 0..set.streams.len() {
        found.extend(set.unbind(stream, "Usr", picket_sigma::Unbound::Unknown, "did you mean 'User'?"));
    }
    let places: Vec<_> = found.iter().map(|d| (d.file.as_str(), d.place.line, d.place.column)).collect();
    assert_eq!(places.first(), Some(&("2.yml", 6, 7)), "in the file of the filter");
    assert!(found.len() <= set.streams.len(), "once for each stream, however many rules");
}

#[test]
fn global_documents_are_part_of_those_that_follow() {
    let text = "action: global\ntitle: G\nlogsource: {product: test}\ndetection: {condition: s and t, s: {A: 1}}\n---\n\
        id: 00000000-0000-0000-0000-000000000001\ndetection: {t: {B: 1}}\n---\n\
        id: 00000000-0000-0000-0000-000000000002\ndetection: {t: {B: 2}}\n---\n\
        action: reset\n---\n\
        title: R\nid: 00000000-0000-0000-0000-000000000003\nlogsource: {product: test}\ndetection: {s: {A: 1}, condition: s}\n";
    let set = compile_one(text);
    assert_eq!(codes(&set), []);
    assert_eq!(set.rules.iter().map(|r| r.title.as_str()).collect::<Vec<_>>(), ["G", "G", "R"]);
    assert_eq!(hits(&set, &json!({"A": 1, "B": 1})), ["G", "R"]);
    assert_eq!(hits(&set, &json!({"A": 1, "B": 3})), ["R"]);
}

#[test]
fn a_second_global_document_takes_the_place_of_the_first() {
    let text = "action: global\ntitle: G\nlevel: high\n---\naction: global\nauthor: x\n---\n\
        title: T\nid: 00000000-0000-0000-0000-000000000001\nlogsource: {product: test}\ndetection: {s: {A: 1}, condition: s}\n";
    let set = compile_one(text);
    assert_eq!(codes(&set), []);
    assert_eq!(
        (set.rules[0].title.as_str(), set.rules[0].level.name(), set.rules[0].author.as_deref()),
        ("T", "medium", Some("x"))
    );
}

#[test]
fn the_global_document_has_the_last_word_and_that_is_told() {
    let text = "action: global\nlevel: high\n---\n\
        title: T\nid: 00000000-0000-0000-0000-000000000001\nlevel: low\nlogsource: {product: test}\ndetection: {s: {A: 1}, condition: s}\n";
    let set = compile_one(text);
    assert_eq!(codes(&set), [("rule.yml", "global-overrides", 6)]);
    assert_eq!(set.rules[0].level.name(), "high");
}

#[test]
fn repeat_is_the_rule_before_with_changes() {
    let rule = "title: T\nid: 00000000-0000-0000-0000-000000000001\nlogsource: {product: test}\ndetection:\n  s: {A: 1}\n  t: {B: 1}\n  condition: s and t\n";
    let text = format!(
        "{rule}---\naction: repeat\ntitle: U\nid: 00000000-0000-0000-0000-000000000002\ndetection: {{t: {{C: 1}}}}\n---\n\
         action: repeat\ntitle: V\nid: 00000000-0000-0000-0000-000000000003\ndetection: {{condition: s or t}}\n"
    );
    let set = compile_one(&text);
    assert_eq!(codes(&set), []);
    assert_eq!(hits(&set, &json!({"A": 1, "B": 1})), ["T", "V"]);
    // The second repeats the first repetition: t asks for both, B and C.
    assert_eq!(hits(&set, &json!({"A": 1, "B": 1, "C": 1})), ["T", "U", "V"]);
    assert_eq!(hits(&set, &json!({"B": 1, "C": 1})), ["V"]);
    assert_eq!(hits(&set, &json!({"A": 1, "C": 1})), ["V"]);
}

#[test]
fn nothing_is_built_on_a_document_that_could_not_be_read() {
    let rule = "title: T\nid: 00000000-0000-0000-0000-000000000001\nlogsource: {product: test}\ndetection: {s: {A: 1}, condition: s}\n";
    let text = format!("{rule}---\ntitle: [\n---\naction: repeat\nid: 00000000-0000-0000-0000-000000000002\n");
    assert_eq!(codes(&compile_one(&text)).iter().map(|c| c.1).collect::<Vec<_>>(), ["bad-yaml", "bad-action"]);
    let text = format!(
        "action: global\nlevel: low\n---\naction: [\n---\n{rule}---\naction: reset\n---\n{}",
        rule.replace("001", "002")
    );
    let set = compile_one(&text);
    assert_eq!(codes(&set).iter().map(|c| c.1).collect::<Vec<_>>(), ["bad-yaml", "bad-action"]);
    assert_eq!(set.rules.len(), 1, "after a reset it is known again what is global");
}

#[test]
fn one_id_for_all_documents_is_refused_from_the_second_on() {
    let text = "action: global\ntitle: T\nid: 00000000-0000-0000-0000-000000000001\nlogsource: {product: test}\n---\n\
        detection: {s: {A: 1}, condition: s}\n---\ndetection: {s: {A: 2}, condition: s}\n";
    let set = compile_one(text);
    assert_eq!(codes(&set), [("rule.yml", "duplicate-id", 3)]);
    assert_eq!(hits(&set, &json!({"A": 1})), ["T"]);
}

#[test]
fn merging_is_bounded() {
    let values: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let global = format!(
        "action: global\ntitle: T\nlogsource: {{product: test}}\ndetection: {{s: {{A: [{}]}}, condition: s}}\n",
        values.join(",")
    );
    let rules = (0..100).map(|i| format!("---\nid: 00000000-0000-0000-0000-{i:012}\n")).collect::<Vec<_>>().concat();
    let set = compile_one(&(global + &rules));
    assert_eq!(codes(&set).iter().map(|c| c.1).collect::<Vec<_>>(), ["yaml-too-large"]);
    assert_eq!(set.rules.len(), 19);
}

fn with_lists(detection: &str) -> RuleSet {
    let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    let placeholders = [
        ("Administrators".to_owned(), list(&["root", "adm_*"])),
        ("ports".to_owned(), list(&["22", "2222"])),
        ("nets".to_owned(), list(&["10.0.0.0/8", "fe80::/10"])),
        ("bad".to_owned(), list(&["x/y"])),
        ("other".to_owned(), list(&["ParentUser"])),
        ("none".to_owned(), Vec::new()),
    ];
    let options = Options { placeholders: placeholders.into(), ..Options::default() };
    let text = common::rule(detection);
    compile(&[File { name: "rule.yml", content: text.as_bytes() }], &options)
}

#[test]
fn placeholders_stand_for_the_values_of_their_list() {
    for (detection, event, wanted) in [
        ("s: {User|expand: '%Administrators%'}\ncondition: s", json!({"User": "ADM_x"}), true),
        ("s: {User|expand: '%Administrators%'}\ncondition: s", json!({"User": "bob"}), false),
        ("s: {User: '%Administrators%'}\ncondition: s", json!({"User": "root"}), false),
        ("s: {User: '%Administrators%'}\ncondition: s", json!({"User": "%administrators%"}), true),
        ("s: {User|expand: '\\%Administrators%'}\ncondition: s", json!({"User": "%Administrators%"}), true),
        ("s: {User|expand: 'x\\%%Administrators%'}\ncondition: s", json!({"User": "x%root"}), true),
        ("s: {User|expand|contains: '%Administrators%'}\ncondition: s", json!({"User": "a root b"}), true),
        ("s: {User|contains|expand: '<%Administrators%>'}\ncondition: s", json!({"User": "a <root> b"}), true),
        ("s: {User|contains|expand: '<%Administrators%>'}\ncondition: s", json!({"User": "a root b"}), false),
        ("s: {User|expand|cased: '%Administrators%'}\ncondition: s", json!({"User": "ROOT"}), false),
        ("s: {Port|expand: '%ports%'}\ncondition: s", json!({"Port": 2222}), true),
        ("s: {Port|expand: '%ports%'}\ncondition: s", json!({"Port": 23}), false),
        ("s: {Port|expand|neq: '%ports%'}\ncondition: s", json!({"Port": 23}), true),
        ("s: {Port|expand|neq: '%ports%'}\ncondition: s", json!({"Port": 22}), false),
        ("s: {Port|expand|gt: '%ports%'}\ncondition: s", json!({"Port": 23}), true),
        ("s: {Ip|cidr|expand: '%nets%'}\ncondition: s", json!({"Ip": "fe80::1"}), true),
        ("s: {Ip|expand|cidr: '%nets%'}\ncondition: s", json!({"Ip": "11.0.0.1"}), false),
        ("s: {User|expand|re: '^%ports%$'}\ncondition: s", json!({"User": "22"}), true),
        ("s: {User|expand|fieldref: '%other%'}\ncondition: s", json!({"User": "x", "ParentUser": "x"}), true),
        ("s: {Time|expand|hour: '%ports%'}\ncondition: s", json!({"Time": "2024-01-01T22:00"}), true),
        ("s: {User|expand|base64: '%ports%'}\ncondition: s", json!({"User": "MjI="}), true),
        ("s: {'|expand': ['%ports%']}\ncondition: s", json!({"Other": "port 22 is open"}), true),
        // All of a list means every value of the rule, each with any of its placeholder's.
        ("s: {L|contains|expand|all: ['%ports%', x]}\ncondition: s", json!({"L": "2222 x"}), true),
        ("s: {L|contains|expand|all: ['%ports%', x]}\ncondition: s", json!({"L": "22"}), false),
    ] {
        let set = with_lists(detection);
        let wrong: Vec<_> = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error).collect();
        assert!(wrong.is_empty(), "{detection}: {wrong:?}");
        assert_eq!(!hits(&set, &event).is_empty(), wanted, "{detection} on {event}");
    }
    for (detection, code, said) in [
        ("s: {User|expand: '%Servers%'}\ncondition: s", "unknown-placeholder", "set 'placeholders.Servers' to"),
        ("s: {User|expand: '%none%'}\ncondition: s", "empty-placeholder", "add a value to 'placeholders.none'"),
        ("s: {Ip|cidr|expand: '%bad%'}\ncondition: s", "bad-cidr", ""),
        ("s: {User|fieldref|expand: '%ports%'}\ncondition: s", "bad-value", ""),
    ] {
        let set = with_lists(detection);
        assert_eq!(codes(&set), [("rule.yml", code, 5)], "{detection}");
        assert!(set.rules.is_empty() && set.diagnostics[0].help.contains(said), "{:?}", set.diagnostics);
    }
}

#[test]
fn the_rule_to_write_instead_of_an_aggregation_is_shown() {
    let rule = |condition: &str| {
        format!(
            "title: Many logins\nname: logins\nlogsource: {{product: x}}\ndetection:\n  s: {{A: 1}}\n  t: {{A: 2}}\n  timeframe: 10m\n  condition: {condition}\n"
        )
    };
    for (condition, wanted) in [
        (
            "s or t | count() by User, Host > 5",
            "keep 'condition: s or t' here without the 'timeframe', and add the document {title: 'Many logins, often', \
             correlation: {type: event_count, rules: [logins], group-by: [User, Host], timespan: 10m, condition: {gt: 5}}}",
        ),
        (
            "s or t | count(Image) by User >= 5",
            "correlation: {type: value_count, rules: [logins], group-by: [User], timespan: 10m, condition: {field: Image, gte: 5}}}",
        ),
        ("s | near t", "correlation: {type: temporal, rules: [logins_s, logins_t], timespan: 10m}}"),
        ("near s and t", "correlation: {type: temporal, rules: [logins_s, logins_t], timespan: 10m}}"),
        ("s or t", "correlation: {type: event_count, rules: [logins], timespan: 10m, condition: {gte: 10}}}"),
    ] {
        let set = compile_one(&rule(condition));
        let errors: Vec<_> = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error).collect();
        assert_eq!(errors.len(), 1, "{condition}: {errors:?}");
        assert!(errors[0].help.contains(wanted), "{condition}: {}", errors[0].help);
        assert!(!errors[0].help.contains('\n'), "one line");
        // What is shown can be loaded, beside the rules it speaks of.
        let shown = &errors[0].help[errors[0].help.find('{').unwrap()..];
        let rules: String = ["logins", "logins_s", "logins_t"]
            .iter()
            .map(|name| {
                rule("s or t").replace("name: logins", &format!("name: {name}")).replace("  timeframe: 10m\n", "")
            })
            .collect::<Vec<_>>()
            .join("---\n");
        let set = compile_one(&format!("{rules}---\n{shown}\n"));
        let errors: Vec<_> = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error).collect();
        assert!(errors.is_empty() && set.correlations.len() == 1, "{shown}: {errors:?}");
    }
}
