//! Processing pipelines: what becomes of rules, and what is refused.

mod common;

use common::{Event, matches, rule};
use picket_sigma::{File, Gravity, Options, RuleSet, Scratch, Unbound, compile};
use serde_json::json;

/// `rule_text` under one pipeline, called `mine`.
fn under(pipeline: &str, rule_text: &str) -> RuleSet {
    let files = [
        File { name: "rules/mine.pipeline.yml", content: pipeline.as_bytes() },
        File { name: "rules/rule.yml", content: rule_text.as_bytes() },
    ];
    compile(&files, &Options { pipelines: vec!["mine".to_owned()], ..Options::default() })
}

/// A pipeline of the `steps`, which are YAML list items.
fn pipeline(steps: &str) -> String {
    format!("name: mine\npriority: 10\ntransformations:\n{steps}\n")
}

fn hit(set: &RuleSet, event: &serde_json::Value) -> bool {
    let event: Event = event.as_object().unwrap().clone();
    !matches(set, 0, std::slice::from_ref(&event), true, &mut Scratch::default())[0].is_empty()
}

#[track_caller]
fn check(steps: &str, detection: &str, matching: &[serde_json::Value], missing: &[serde_json::Value]) {
    let set = under(&pipeline(steps), &rule(detection));
    assert_eq!(set.rules.len(), 1, "{:#?}", set.diagnostics);
    for (events, expected) in [(matching, true), (missing, false)] {
        for event in events {
            assert_eq!(hit(&set, event), expected, "{event}");
        }
    }
}

fn codes(set: &RuleSet) -> Vec<(&str, u32)> {
    let errors = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error);
    errors.map(|d| (d.code, d.place.line)).collect()
}

#[test]
fn a_field_becomes_another() {
    check(
        "  - {type: field_name_mapping, mapping: {Image: process.executable}}",
        "s: {Image|endswith: /nc, User: root}\ncondition: s",
        &[json!({"process.executable": "/bin/nc", "User": "root"})],
        &[json!({"Image": "/bin/nc", "User": "root"}), json!({"process.executable": "/bin/nc"})],
    );
}

#[test]
fn a_field_becomes_several_and_any_may_hold_the_value() {
    let steps = "  - {type: field_name_mapping, mapping: {F: [A, B]}}";
    check(
        steps,
        "s: {F|contains: [x, y]}\ncondition: s",
        &[json!({"A": "x"}), json!({"B": "1y"}), json!({"A": "n", "B": "x"})],
        &[json!({"F": "x"}), json!({"A": "n", "B": "n"})],
    );
    // All of them in one field, not spread over both.
    check(steps, "s: {F|contains|all: [x, y]}\ncondition: s", &[json!({"B": "xy"})], &[json!({"A": "x", "B": "y"})]);
    // Not this value: in none of the fields.
    check(
        steps,
        "s: {F|neq: x}\ncondition: s",
        &[json!({"A": "n", "B": "n"}), json!({})],
        &[json!({"A": "x", "B": "n"}), json!({"A": "n", "B": "x"})],
    );
    // Absent: from all of the fields.
    check(steps, "s: {F: null}\ncondition: s", &[json!({})], &[json!({"A": "n"}), json!({"B": "n"})]);
    check(steps, "s: {F|neq: null}\ncondition: s", &[json!({"A": "n"}), json!({"B": "n"})], &[json!({})]);
    check(steps, "s: {F|exists: false}\ncondition: s", &[json!({})], &[json!({"B": "n"})]);
    check(steps, "s: {F|exists: true}\ncondition: s", &[json!({"B": "n"})], &[json!({"F": "n"})]);
    check(
        steps,
        "s: {F: [null, x]}\ncondition: s",
        &[json!({}), json!({"A": "x", "B": "n"})],
        &[json!({"A": "n"}), json!({"A": "n", "B": "n"})],
    );
    check(
        steps,
        "s: {F|neq: [null, x]}\ncondition: s",
        &[json!({"A": "n"})],
        &[json!({}), json!({"A": "x", "B": "n"})],
    );
    check(
        steps,
        "s: {G|fieldref: F}\ncondition: s",
        &[json!({"G": "x", "A": "x"}), json!({"G": "x", "B": "x"})],
        &[json!({"G": "x", "F": "x"})],
    );
}

#[test]
fn prefix_and_suffix_with_conditions_on_fields() {
    check(
        "  - {type: field_name_prefix, prefix: 'win.', field_name_conditions: [{type: include_fields, fields: [A]}]}
  - {type: field_name_suffix, suffix: .keyword, field_name_conditions: [{type: exclude_fields, fields: [B]}]}",
        "s: {A: 1, B: 2, C: 3}\ncondition: s",
        &[json!({"win.A.keyword": "1", "B": "2", "C.keyword": "3"})],
        &[json!({"A": "1", "B": "2", "C": "3"}), json!({"win.A": "1", "B": "2", "C.keyword": "3"})],
    );
    check(
        "  - {type: field_name_prefix, prefix: p., field_name_cond_not: true, field_name_cond_op: or,
     field_name_conditions: [{type: include_fields, fields: A}, {type: include_fields, fields: B}]}",
        "s: {A: 1, B: 2, C: 3}\ncondition: s",
        &[json!({"A": "1", "B": "2", "p.C": "3"})],
        &[],
    );
    // Keywords have no field.
    check(
        "  - {type: field_name_prefix, prefix: p.}",
        "s: [evil]\ncondition: s",
        &[json!({"m": "so evil"})],
        &[json!({"p.": "good"})],
    );
}

#[test]
fn conditions_on_the_log_source() {
    let mapping = |conditions: &str| format!("  - {{type: field_name_mapping, mapping: {{A: B}}, {conditions}}}");
    let detection = "s: {A: x}\ncondition: s";
    for (conditions, applies) in [
        ("rule_conditions: [{type: logsource, product: test}]", true),
        ("rule_conditions: [{type: logsource, product: TEST}]", true),
        ("rule_conditions: [{type: logsource, product: other}]", false),
        ("rule_conditions: [{type: logsource, product: test, category: c}]", false),
        ("rule_conditions: [{type: logsource, product: test}, {type: logsource, product: other}]", false),
        ("rule_cond_op: or, rule_conditions: [{type: logsource, product: test}, {type: logsource, product: o}]", true),
        ("rule_cond_not: true, rule_conditions: [{type: logsource, product: test}]", false),
        ("rule_cond_not: true, rule_conditions: [{type: logsource, product: other}]", true),
    ] {
        let set = under(&pipeline(&mapping(conditions)), &rule(detection));
        assert_eq!(hit(&set, &json!({"B": "x"})), applies, "{conditions}: {:#?}", set.diagnostics);
        assert_eq!(hit(&set, &json!({"A": "x"})), !applies, "{conditions}");
    }
}

#[test]
fn the_log_source_is_changed_as_a_whole_and_later_steps_see_it() {
    let steps = "  - {type: change_logsource, service: audit}
  - {type: field_name_mapping, mapping: {A: B}, rule_conditions: [{type: logsource, service: audit}]}
  - {type: field_name_mapping, mapping: {B: C}, rule_conditions: [{type: logsource, product: test}]}";
    let set = under(&pipeline(steps), &rule("s: {A: x}\ncondition: s"));
    let source = &set.streams[0].source;
    assert_eq!((source.product.as_deref(), source.service.as_deref()), (None, Some("audit")));
    assert_eq!(set.rules[0].source, *source);
    assert_eq!(set.streams[0].fields, ["B"]);
}

#[test]
fn a_condition_is_added() {
    check(
        "  - {type: add_condition, conditions: {EventID: [1, 2], Channel: 'sys*'}}",
        "a: {A: x}\nb: {B: x}\ncondition: a or b",
        &[json!({"A": "x", "EventID": "1", "Channel": "sysmon"}), json!({"B": "x", "EventID": "2", "Channel": "sys"})],
        &[json!({"A": "x"}), json!({"A": "x", "EventID": "1"}), json!({"EventID": "1", "Channel": "sysmon"})],
    );
    check(
        "  - {type: add_condition, negated: true, conditions: {EventID: 1}}",
        "s: {A: x}\ncondition: s",
        &[json!({"A": "x"})],
        &[json!({"A": "x", "EventID": "1"})],
    );
}

#[test]
fn what_is_said_about_an_added_item_names_the_pipeline() {
    let steps = "  - type: add_condition\n    conditions:\n      Added: 1";
    let two =
        [rule("s: {A: x}\ncondition: s"), rule("s: {A: y}\ncondition: s").replace("0000\n", "0001\n")].join("---\n");
    let mut set = under(&pipeline(steps), &two);
    assert_eq!(set.rules.len(), 2, "{:#?}", set.diagnostics);
    let said = set.unbind(0, "Added", Unbound::Unknown, "");
    let told: Vec<_> = said.iter().map(|d| (d.file.as_str(), d.code, d.place.line)).collect();
    assert_eq!(told, [("rules/mine.pipeline.yml", "unknown-field", 6)], "once, however many rules have it");
    let said = set.unbind(0, "A", Unbound::Unknown, "");
    assert_eq!(said.iter().map(|d| d.file.as_str()).collect::<Vec<_>>(), ["rules/rule.yml"; 2]);
}

#[test]
fn an_item_is_dropped_but_never_a_whole_selection() {
    let steps = "  - {type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [Initiated]}]}";
    check(steps, "s: {A: x, Initiated: 'true'}\ncondition: s", &[json!({"A": "x"})], &[json!({"Initiated": "true"})]);
    for detection in
        ["s: {Initiated: 'true'}\nt: {A: x}\ncondition: s and t", "s: [{A: x}, {Initiated: 'true'}]\ncondition: s"]
    {
        let set = under(&pipeline(steps), &rule(detection));
        assert_eq!(codes(&set), [("pipeline-drops-selection", 5)], "{detection}");
        assert!(set.rules.is_empty());
    }
}

#[test]
fn placeholders_stand_for_the_values_of_a_pipeline() {
    let steps = "  - {type: value_placeholders, include: [admins]}
  - {type: wildcard_placeholders, include: [shells]}
vars: {admins: [root, 'adm_*'], others: nobody}";
    check(
        steps,
        "s: {User|expand: '%admins%', Image|endswith|expand: '/%shells%'}\ncondition: s",
        &[json!({"User": "root", "Image": "/bin/zsh"}), json!({"User": "adm_x", "Image": "/"})],
        &[json!({"User": "bob", "Image": "/bin/zsh"}), json!({"User": "root", "Image": "zsh"})],
    );
    // Not included, so it stands for nothing.
    let text = rule("s: {User|expand: '%others%'}\ncondition: s");
    let set = under(&pipeline(steps), &text);
    assert_eq!((codes(&set), set.rules.len()), (vec![("unknown-placeholder", 5)], 0));
    let set =
        under(&pipeline("  - {type: value_placeholders, exclude: [admins]}\nvars: {admins: x, others: y}"), &text);
    assert!(hit(&set, &json!({"User": "y"})) && !hit(&set, &json!({"User": "x"})));
    // The guest's own come first.
    let file = [("p.pipeline.yml", pipeline(steps)), ("r.yml", rule("s: {User|expand: '%admins%'}\ncondition: s"))];
    let files = file.each_ref().map(|(name, text)| File { name, content: text.as_bytes() });
    let placeholders = [("admins".to_owned(), vec!["alice".to_owned()])].into();
    let set = compile(&files, &Options { pipelines: vec!["p".to_owned()], placeholders, ..Options::default() });
    assert!(hit(&set, &json!({"User": "alice"})) && !hit(&set, &json!({"User": "root"})));
}

#[test]
fn filters_are_joined_by_the_log_source_as_written_and_mapped_with_their_rules() {
    let steps = "  - {type: change_logsource, service: other}
  - {type: field_name_mapping, mapping: {User: user.name}}";
    let filter = "title: f\nid: 00000000-0000-0000-0000-00000000000f\nlogsource: {product: test}\nfilter:
  rules: any\n  known: {User: bob}\n  condition: not known\n";
    let set = under(&pipeline(steps), &format!("{}---\n{filter}", rule("s: {A: x}\ncondition: s")));
    assert!(codes(&set).is_empty(), "{:#?}", set.diagnostics);
    assert!(hit(&set, &json!({"A": "x", "user.name": "root", "User": "bob"})));
    assert!(!hit(&set, &json!({"A": "x", "user.name": "bob"})));
}

const DROP: &str =
    "  - {type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [Initiated]}]}";

/// A filter for any rule, with the last digits of its id.
fn filter(id: &str, body: &str) -> String {
    format!(
        "title: F{id}\nid: 00000000-0000-0000-0000-0000000000{id}\nlogsource: {{product: test}}\nfilter:\n  \
         rules: any\n  {}\n",
        body.replace('\n', "\n  ")
    )
}

/// The rules, and each of the filters in a file of its own: `f0.yml`, `f1.yml`.
fn filtered(steps: &str, rules: &str, filters: &[String]) -> RuleSet {
    let pipeline = pipeline(steps);
    let names: Vec<String> = (0..filters.len()).map(|i| format!("f{i}.yml")).collect();
    let own = [("mine.pipeline.yml", pipeline.as_str()), ("rule.yml", rules)].into_iter();
    let all = own.chain(names.iter().map(String::as_str).zip(filters.iter().map(String::as_str)));
    let files: Vec<File<'_>> = all.map(|(name, text)| File { name, content: text.as_bytes() }).collect();
    compile(&files, &Options { pipelines: vec!["mine".to_owned()], ..Options::default() })
}

fn told(set: &RuleSet) -> Vec<(&str, &str, u32)> {
    let errors = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error);
    errors.map(|d| (d.file.as_str(), d.code, d.place.line)).collect()
}

#[test]
fn a_rule_runs_without_its_filters_where_a_pipeline_empties_one() {
    let empty = filter("f0", "s: {Initiated: 'true'}\ncondition: not s");
    let good = filter("f1", "s: {User: bob}\ncondition: not s");
    // Steps before and after the one that fails are applied once.
    let steps = format!(
        "  - {{type: field_name_prefix, prefix: p., field_name_conditions: [{{type: include_fields, fields: [A]}}]}}
  - {{type: add_condition, conditions: {{Added: 1}}}}
{DROP}
  - {{type: field_name_suffix, suffix: .s, field_name_conditions: [{{type: include_fields, fields: [p.A]}}]}}"
    );
    let text = rule("s: {A: x}\ncondition: s");
    let set = filtered(&steps, &text, &[empty.clone(), good.clone()]);
    // Where the selection stands, and at the other filter, which is not applied, either.
    assert_eq!(told(&set), [("f0.yml", "pipeline-drops-selection", 6), ("f1.yml", "pipeline-drops-selection", 1)]);
    let message = "'t' runs without its filters: with them a pipeline drops every item of the selection \
                   '00000000-0000-0000-0000-0000000000f0.s'";
    assert!(set.diagnostics.iter().all(|d| d.message == message), "{:#?}", set.diagnostics);
    assert_eq!(set.rules.len(), 1);
    assert!(set.rules[0].filters.is_empty() && set.filters.iter().all(|f| f.rules.is_empty()));
    assert!(hit(&set, &json!({"p.A.s": "x", "Added": "1", "User": "bob", "Initiated": "true"})));
    assert!(!hit(&set, &json!({"p.A.s": "x"})) && !hit(&set, &json!({"p.A.s": "y", "Added": "1"})));

    // What is left of a filter would hide more than was written: it is not applied, either.
    let half = filter("f0", "s: {Initiated: 'true', User: bob}\ncondition: not s");
    let set = filtered(DROP, &text, &[half]);
    assert_eq!((told(&set), set.rules[0].filters.len()), (vec![("f0.yml", "pipeline-drops-filter-item", 6)], 0));
    assert!(hit(&set, &json!({"A": "x", "User": "bob"})) && hit(&set, &json!({"A": "x"})));
    // A filter that has no such item, and a rule that the broken one is not for, are as ever.
    let set = filtered(DROP, &text, std::slice::from_ref(&good));
    assert_eq!((told(&set), set.rules[0].filters.len()), (vec![], 1));
    assert!(!hit(&set, &json!({"A": "x", "User": "bob"})) && hit(&set, &json!({"A": "x"})));
    let other = text.replace("product: test", "product: other").replace("0000\n", "0001\n");
    let set = filtered(DROP, &format!("{other}---\n{text}"), &[empty]);
    assert_eq!((told(&set), set.rules.len()), (vec![("f0.yml", "pipeline-drops-selection", 6)], 2));
    assert!(set.diagnostics[0].message.starts_with("'t' runs"), "{:#?}", set.diagnostics);
}

#[test]
fn a_filter_that_a_pipeline_breaks_is_told_once_with_the_number_of_rules() {
    let rules = ["a", "b", "c"].map(|id| {
        let text = rule("s: {A: x}\ncondition: s").replace("title: t", &format!("title: {id}"));
        text.replace("000000000000\n", &format!("00000000000{id}\n"))
    });
    let set = filtered(DROP, &rules.join("---\n"), &[filter("f0", "s: {Initiated: 'true'}\ncondition: not s")]);
    assert_eq!((told(&set), set.rules.len()), (vec![("f0.yml", "pipeline-drops-selection", 6)], 3));
    let message = &set.diagnostics[0].message;
    assert!(message.starts_with("'a' and 2 other rules run without their filters: with them a pipeline"), "{message}");
}

#[test]
fn a_rule_that_is_bad_without_its_filters_too_is_refused() {
    let empty = filter("f0", "s: {Initiated: 'true'}\ncondition: not s");
    let set = filtered(DROP, &rule("s: {Initiated: 'true'}\ncondition: s"), &[empty]);
    assert_eq!((told(&set), set.rules.len()), (vec![("rule.yml", "pipeline-drops-selection", 5)], 0));
    // Only the rule: that it would run without its filters is not said.
    let good = filter("f0", "s: {User: bob}\ncondition: not s");
    let set = filtered(DROP, &rule("s: {Initiated: 'true'}\ncondition: s"), &[good]);
    assert_eq!((told(&set), set.rules.len()), (vec![("rule.yml", "pipeline-drops-selection", 5)], 0));
}

#[test]
fn filters_that_a_pipeline_makes_too_large_are_left_out() {
    let names: Vec<String> = (0..16).map(|i| format!("F{i}")).collect();
    let mapping: Vec<String> = names.iter().map(|n| format!("{n}: [{}]", names.join(", "))).collect();
    let step = format!("  - {{type: field_name_mapping, mapping: {{{}}}}}\n", mapping.join(", "));
    let large = filter("f0", "s: {F0: x}\ncondition: not s");
    let set = filtered(&step.repeat(8), &rule("s: {A: x}\ncondition: s"), std::slice::from_ref(&large));
    assert_eq!((told(&set), set.rules.len()), (vec![("f0.yml", "filters-too-large", 1)], 1));
    assert!(hit(&set, &json!({"A": "x", "F0": "x"})));
    let set = filtered(&step.repeat(8), &rule("s: {F0: x}\ncondition: s"), &[large]);
    assert_eq!((told(&set), set.rules.len()), (vec![("rule.yml", "rule-too-complex", 6)], 0));
}

#[test]
fn what_a_pipeline_added_stays_where_filters_make_a_rule_too_complex() {
    let steps = "  - {type: add_condition, conditions: {Added: 1}}
  - {type: add_condition, negated: true, conditions: {Never: 1}}";
    let values: Vec<String> = (0..2_000).map(|i| format!("v{i}")).collect();
    let many = format!("s: {{User: [{}]}}\ncondition: not s{}", values.join(","), " and not s".repeat(60));
    let filters = [filter("f0", &many), filter("f1", "s: {User: bob}\nt: {User: eve}\ncondition: not 1 of them")];
    let set = filtered(steps, &rule("s: {A: x}\nt: {B: x}\ncondition: 1 of them"), &filters);
    assert_eq!(told(&set), [("f0.yml", "filters-too-large", 1), ("f1.yml", "filters-too-large", 1)]);
    for (event, wanted) in [
        (json!({"A": "x", "Added": "1", "User": "v7"}), true),
        (json!({"B": "x", "Added": "1", "User": "bob"}), true),
        (json!({"A": "x", "User": "v7"}), false),
        (json!({"A": "x", "Added": "1", "Never": "1"}), false),
        (json!({"Added": "1"}), false),
    ] {
        assert_eq!(hit(&set, &event), wanted, "{event}");
    }
}

#[test]
fn pipelines_are_applied_by_priority_and_only_if_named() {
    let file = |priority: i32, from: &str, to: &str| {
        format!("priority: {priority}\ntransformations: [{{type: field_name_mapping, mapping: {{{from}: {to}}}}}]")
    };
    let (first, second, text) = (file(1, "A", "B"), file(2, "B", "C"), rule("s: {A: x}\ncondition: s"));
    let files = [
        File { name: "second.pipeline.yml", content: second.as_bytes() },
        File { name: "first.pipeline.yaml", content: first.as_bytes() },
        File { name: "rule.yml", content: text.as_bytes() },
    ];
    for (wanted, field) in
        [(vec!["second", "first"], "C"), (vec!["first", "first"], "B"), (vec!["second"], "A"), (vec![], "A")]
    {
        let pipelines = wanted.into_iter().map(str::to_owned).collect();
        let set = compile(&files, &Options { pipelines, ..Options::default() });
        assert_eq!((set.rules.len(), codes(&set).len()), (1, 0), "{:#?}", set.diagnostics);
        assert_eq!(set.streams[0].fields, [field]);
    }
}

#[test]
fn what_is_not_understood_refuses_the_pipeline_as_a_whole() {
    let good = "  - {type: field_name_mapping, mapping: {A: B}}\n";
    for (steps, code) in [
        ("  - {type: set_state, key: k, val: v}", "unsupported-transformation"),
        ("  - {type: nest}", "unsupported-transformation"),
        ("  - {type: field_name_maping, mapping: {A: B}}", "unknown-transformation"),
        ("  - {type: field_name_mapping}", "missing-attribute"),
        ("  - {type: field_name_mapping, mapping: {A: []}}", "bad-attribute"),
        ("  - {type: field_name_mapping, mapping: {A: {B: C}}}", "bad-attribute"),
        ("  - {type: field_name_prefix, prefix: [a, b]}", "bad-attribute"),
        ("  - {type: drop_detection_item}", "missing-attribute"),
        ("  - {type: change_logsource}", "bad-logsource"),
        (
            "  - {type: field_name_prefix, prefix: x, detection_item_conditions: [{type: is_null}]}",
            "unsupported-condition",
        ),
        ("  - {type: field_name_prefix, prefix: x, rule_conditions: [{type: tag, tag: t}]}", "unsupported-condition"),
        ("  - {type: field_name_prefix, prefix: x, rule_conditions: {type: logsource}}", "bad-attribute"),
        ("  - {type: field_name_prefix, prefix: x, rule_cond_op: xor}", "bad-attribute"),
        ("  - {type: add_condition, conditions: {A|nope: x}}", "unknown-modifier"),
        ("  - {type: add_condition, conditions: {A: x}, template: true}", "unsupported-condition"),
        ("  - {type: wildcard_placeholders}", "missing-attribute"),
        ("  - {type: value_placeholders, include: [nobody]}", "unknown-variable"),
        ("  - {type: value_placeholders, rule_conditions: [{type: logsource, product: x}]}", "unsupported-condition"),
        ("  - just text", "bad-attribute"),
        ("  - {type: field_name_prefix, prefix: x}\nfinalizers: []", "unsupported-transformation"),
        ("  - {type: field_name_prefix, prefix: x}\nprioriti: 1", "unknown-attribute"),
        ("  - {type: field_name_prefix, prefix: x}\n---\na: b", "not-a-pipeline"),
    ] {
        let set = under(&pipeline(&format!("{good}{steps}")), &rule("s: {A: x}\ncondition: s"));
        let found = codes(&set);
        assert!(found.contains(&(code, found[0].1)), "{steps}: {:#?}", set.diagnostics);
        assert_eq!(found.last(), Some(&("pipeline-refused", 0)), "{steps}: {:#?}", set.diagnostics);
        assert!(set.diagnostics.iter().all(|d| d.file == "rules/mine.pipeline.yml"), "{steps}");
        // Not by half: the good step is not applied, either.
        assert_eq!(set.streams[0].fields, ["A"], "{steps}");
    }
    let set = under(&pipeline("  - {type: set_state, key: k}"), &rule("s: {A: x}\ncondition: s"));
    assert_eq!(codes(&set)[0], ("unsupported-transformation", 4));
    assert!(set.diagnostics[0].message.contains("'set_state'"));
}

#[test]
fn a_pipeline_that_does_not_exist() {
    let options = Options { pipelines: vec!["velociraptr".to_owned()], ..Options::default() };
    let set = compile(&[], &options);
    assert_eq!(codes(&set), [("unknown-pipeline", 0)]);
    assert_eq!(set.diagnostics[0].help, "did you mean 'velociraptor'?");
}

#[test]
fn growth_is_bounded() {
    let names: Vec<String> = (0..16).map(|i| format!("F{i}")).collect();
    let mapping: Vec<String> = names.iter().map(|n| format!("{n}: [{}]", names.join(", "))).collect();
    let step = format!("  - {{type: field_name_mapping, mapping: {{{}}}}}\n", mapping.join(", "));
    let set = under(&pipeline(&step.repeat(8)), &rule("s: {F0: x}\ncondition: s"));
    assert_eq!(codes(&set), [("rule-too-complex", 6)]);
    let set = under(&pipeline(&step.repeat(201)), &rule("s: {F0: x}\ncondition: s"));
    assert_eq!(codes(&set), [("pipeline-too-large", 0), ("pipeline-refused", 0)]);
}

/// Events as these systems write them, as far as the rule below looks at them.
#[test]
fn shipped_pipelines() {
    let text =
        "title: t\nid: 00000000-0000-0000-0000-000000000000\nlogsource: {category: process_creation, product: linux}
detection: {s: {Image|endswith: /nc, CommandLine|contains: ' -e ', User: root}, condition: s}\n";
    let file = File { name: "rule.yml", content: text.as_bytes() };
    for (name, event) in [
        (
            "ecs",
            json!({"event.category": "process", "process.executable": "/bin/nc", "process.command_line": "nc -e sh",
                "user.name": "root"}),
        ),
        (
            "sysmon-linux",
            json!({"Event.System.EventID": "1", "Event.EventData.Image": "/bin/nc",
                "Event.EventData.CommandLine": "nc -e sh", "Event.EventData.User": "root"}),
        ),
        ("auditd", json!({"SYSCALL": "execve", "exe": "/bin/nc", "proctitle": "nc -e sh", "EUID": "root"})),
        (
            "velociraptor",
            json!({"System.EventName": "sched_process_exec", "EventData.ProcInfo.Exe": "/bin/nc",
                "EventData.ProcInfo.CommandLine": "nc -e sh", "EventData.ProcInfo.Username": "root"}),
        ),
    ] {
        let set = compile(&[file], &Options { pipelines: vec![name.to_owned()], ..Options::default() });
        assert!(set.diagnostics.is_empty(), "{name}: {:#?}", set.diagnostics);
        assert!(hit(&set, &event), "{name}");
        for field in event.as_object().unwrap().keys() {
            let mut other = event.clone();
            other[field] = json!("something else");
            assert!(!hit(&set, &other), "{name}: {field} does not matter");
        }
    }
}
