//! Rule files made to hurt: each must be refused with a diagnostic, in bounded memory and time, and harm no other.

mod common;

use common::{compile_one, rule};
use picket_sigma::{BatchView, Cells, ColumnView, File, MAX_FILE_BYTES, Options, Scratch, Texts, compile};

fn code(content: &[u8]) -> &'static str {
    let good = rule("s: {A: 1}\ncondition: s");
    let files = [File { name: "bad.yml", content }, File { name: "good.yml", content: good.as_bytes() }];
    let set = compile(&files, &Options::default());
    assert_eq!(set.rules.iter().map(|r| r.file.as_str()).collect::<Vec<_>>(), ["good.yml"]);
    set.diagnostics[0].code
}

#[test]
fn ten_megabytes() {
    let mut text = rule("s:\n  A|contains:");
    while text.len() < 10 << 20 {
        text.push_str("      - aaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
    }
    assert_eq!(code(text.as_bytes()), "file-too-large");
}

/// What `one` makes of each number below `n`, joined.
fn many(n: usize, one: impl Fn(usize) -> String) -> String {
    (0..n).map(one).collect::<Vec<_>>().concat()
}

#[test]
fn deep() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = open.repeat(100_000) + &close.repeat(100_000);
        assert_eq!(code(text.as_bytes()), "bad-yaml");
        let text = open.repeat(65) + &close.repeat(65);
        assert!(matches!(code(text.as_bytes()), "bad-yaml" | "yaml-too-deep"));
    }
    let block = many(500, |i| " ".repeat(i) + "a:\n");
    assert!(matches!(code(block.as_bytes()), "bad-yaml" | "yaml-too-deep"));
    let list = "- ".repeat(10_000);
    assert!(matches!(code(list.as_bytes()), "bad-yaml" | "yaml-too-deep"));
}

#[test]
fn alias_bomb() {
    let text = many(30, |i| match i {
        0 => "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
        i => format!("a{i}: &a{i} [{}]\n", format!("*a{}, ", i - 1).repeat(10)),
    });
    assert_eq!(code(text.as_bytes()), "yaml-too-large");
    assert_eq!(code(b"a: &a [*a]"), "bad-yaml");
}

#[test]
fn an_alias_is_fine_otherwise() {
    let set = compile_one(&rule("s: {A: &v [x, y], B: *v}\ncondition: s"));
    assert!(set.diagnostics.is_empty(), "{:#?}", set.diagnostics);
    assert_eq!(set.streams[0].fields, ["A", "B"]);
}

#[test]
fn a_condition_that_explodes() {
    let values = "x, ".repeat(2000);
    let condition = vec!["s"; 1000].join(" or ");
    let text = rule(&format!("s: {{A: [{values}]}}\ncondition: {condition}"));
    assert_eq!(code(text.replace("0000-000000000000", "0000-000000000009").as_bytes()), "rule-too-complex");
    let words = vec!["s"; 100_000].join(" or ");
    assert_eq!(code(rule(&format!("s: {{A: 1}}\ncondition: {words}")).as_bytes()), "rule-too-complex");
    let deep = format!("{}s{}", "(".repeat(1000), ")".repeat(1000));
    assert_eq!(code(rule(&format!("s: {{A: 1}}\ncondition: {deep}")).as_bytes()), "rule-too-complex");
}

#[test]
fn values_that_explode() {
    let values = many(20_000, |i| format!("    - ' -a -b -c -d {i}'\n"));
    assert_eq!(code(rule(&format!("s:\n  A|windash|contains:\n{values}condition: s")).as_bytes()), "rule-too-complex");
    let long = "x".repeat(17 << 10);
    assert_eq!(code(rule(&format!("s: {{A: '{long}'}}\ncondition: s")).as_bytes()), "value-too-long");
}

#[test]
fn as_many_literals_as_a_file_holds() {
    let values = many(30_000, |i| format!("    - 'literal-number-{i}'\n"));
    let set = compile_one(&rule(&format!("s:\n  A|contains:\n{values}condition: s")));
    assert!(set.diagnostics.is_empty(), "{:?}", set.diagnostics);
    let mut hits = 0;
    let text = b"x LITERAL-number-29999";
    let column =
        ColumnView { cells: Cells::Text(Texts { arena: text, ends: &[text.len() as u32], codes: &[] }), presence: &[] };
    set.eval(0, &BatchView { rows: 1, columns: &[column] }, &mut Scratch::default(), |_, _| hits += 1);
    assert_eq!(hits, 1);
}

#[test]
fn many_regexes() {
    let regexes = many(20_000, |i| format!("    - 'x{i}'\n"));
    assert_eq!(code(rule(&format!("s:\n  A|re:\n{regexes}condition: s")).as_bytes()), "rule-too-complex");
}

#[test]
fn large_regexes() {
    let regexes = many(499, |i| format!("    - '\\w{{{}}}{i}'\n", i % 40 + 1));
    assert_eq!(code(rule(&format!("s:\n  A|re:\n{regexes}condition: s")).as_bytes()), "rules-too-large");
}

#[test]
fn many_problems() {
    let keys = many(30_000, |i| format!("  A{i}|wat: 1\n"));
    let text = rule(&format!("s:\n{keys}condition: s"));
    assert!(text.len() < MAX_FILE_BYTES);
    let set = compile_one(&text);
    assert_eq!(set.diagnostics.len(), 201);
    assert_eq!(set.diagnostics[200].code, "too-many-problems");
}

#[test]
fn random_bytes_and_random_cuts_never_panic() {
    let mut r = common::Random(0x1234_5678_9abc_def1);
    let good = include_str!("cases.yml").as_bytes();
    let mut diagnostics = 0;
    for _ in 0..400 {
        let from = r.below(good.len() - 400);
        let mut text = rule(&String::from_utf8_lossy(&good[from..from + 1 + r.below(400)])).into_bytes();
        for _ in 0..r.below(6) {
            let at = r.below(text.len());
            text[at] = r.pick(b"\x00\xff:-[]{}'\"|>*&!%@`\n\t #?,\\a1");
        }
        let set = compile(&[File { name: "x.yml", content: &text }], &Options::default());
        diagnostics += set.diagnostics.len();
        assert!(!set.rules.is_empty() || !set.diagnostics.is_empty());
    }
    assert!(diagnostics > 300);
}

#[test]
fn a_batch_that_does_not_add_up_is_read_as_far_as_it_goes() {
    let set = compile_one(&rule("s: {A|contains: x}\nt: {B: null}\ncondition: s or t"));
    let texts = Texts { arena: b"x", ends: &[9, 3], codes: &[0, 7, 1, u32::MAX] };
    for cells in [
        Cells::Text(texts),
        Cells::TextList { values: texts, ends: &[5, 2] },
        Cells::Unsigned(&[]),
        Cells::Boolean(&[1]),
    ] {
        for presence in [&[][..], &[1], &[9, 9, 9, 9]] {
            let column = ColumnView { cells, presence };
            for columns in [&[column][..], &[column, column, column], &[]] {
                let mut hits = 0;
                set.eval(0, &BatchView { rows: 4, columns }, &mut Scratch::default(), |row, rule| {
                    assert!(row < 4 && rule == 0);
                    hits += 1;
                });
                assert!(hits <= 4);
            }
        }
    }
    set.eval(9, &BatchView { rows: 4, columns: &[] }, &mut Scratch::default(), |_, _| panic!("no such stream"));
}
