//! The results as JUnit XML, which every CI shows.
//!
//! Written here, not by a library: it is five elements, and what matters is that names of tests and rules, which may hold anything,
//! come out as text that an XML parser takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Outcome, Report, Verdict};
use crate::detection::{Diagnostic, Gravity};

/// What CI shows for one test.
enum Shown<'a> {
    Passed,
    Failure(&'a str),
    Error(&'a str),
    Skipped(&'a str),
}

struct Case<'a> {
    name: String,
    file: &'a str,
    line: u64,
    shown: Shown<'a>,
    out: &'a str,
}

/// One suite for each rule file, one for what was found while loading, and one for the baseline.
pub fn junit(report: &Report, diagnostics: &[Diagnostic]) -> String {
    let mut suites: BTreeMap<String, Vec<Case<'_>>> = BTreeMap::new();
    for v in &report.verdicts {
        suites.entry(v.rule.clone()).or_default().push(of_test(v));
    }
    for (file, why) in &report.broken {
        let case = Case { name: "the test file can be read".into(), file, line: 1, shown: Shown::Error(why), out: "" };
        suites.entry(file.clone()).or_default().push(case);
    }
    for d in diagnostics.iter().filter(|d| d.gravity == Gravity::Error) {
        let shown = Shown::Error(&d.message);
        let case = Case { name: d.code.clone(), file: &d.file, line: d.line.into(), shown, out: &d.help };
        suites.entry("rules can be loaded".into()).or_default().push(case);
    }
    if let Some(baseline) = &report.baseline {
        let cases = suites.entry("baseline".into()).or_default();
        for hit in &baseline.hits {
            let shown = Shown::Failure("a false positive");
            cases.push(Case {
                name: format!("{} ({})", hit.title, hit.rule),
                file: &hit.file,
                line: hit.line,
                shown,
                out: "",
            });
        }
        let rest = baseline.count - baseline.hits.len() as u64;
        let (name, shown) = match (baseline.count, rest) {
            (0, _) => ("the baseline has no hit".to_owned(), Shown::Passed),
            (_, 0) => return write(&suites),
            (_, rest) => (format!("{rest} more hits"), Shown::Failure("false positives")),
        };
        cases.push(Case { name, file: "", line: 0, shown, out: "" });
    }
    write(&suites)
}

fn of_test(v: &Verdict) -> Case<'_> {
    let why = v.why.as_deref().unwrap_or_default();
    let (shown, out) = match v.outcome {
        Outcome::Passed => (Shown::Passed, ""),
        Outcome::Failed => (Shown::Failure(why), ""),
        Outcome::KnownGap => (Shown::Skipped(why), ""),
        Outcome::Fixed => (Shown::Passed, "fixed: remove todo"),
    };
    Case { name: v.test.clone(), file: &v.file, line: v.line.into(), shown, out }
}

fn write(suites: &BTreeMap<String, Vec<Case<'_>>>) -> String {
    let of = |cases: &[Case<'_>], what: fn(&Shown<'_>) -> bool| cases.iter().filter(|c| what(&c.shown)).count();
    let counts = |cases: &[Case<'_>]| {
        (
            cases.len(),
            of(cases, |s| matches!(s, Shown::Failure(_))),
            of(cases, |s| matches!(s, Shown::Error(_))),
            of(cases, |s| matches!(s, Shown::Skipped(_))),
        )
    };
    let mut body = String::new();
    let mut sum = (0, 0, 0, 0);
    for (name, cases) in suites {
        let (tests, failures, errors, skipped) = counts(cases);
        sum = (sum.0 + tests, sum.1 + failures, sum.2 + errors, sum.3 + skipped);
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">",
            escape(name)
        );
        for case in cases {
            let _ = write!(body, "    <testcase classname=\"{}\" name=\"{}\"", escape(name), escape(&case.name));
            if !case.file.is_empty() {
                let _ = write!(body, " file=\"{}\" line=\"{}\"", escape(case.file), case.line);
            }
            body.push_str(">\n");
            let place = format!("{}:{}", case.file, case.line);
            let _ = match case.shown {
                Shown::Passed => Ok(()),
                Shown::Failure(why) => {
                    writeln!(
                        body,
                        "      <failure message=\"{}\">{}</failure>",
                        escape(why),
                        escape(&format!("{place}: {why}"))
                    )
                }
                Shown::Error(why) => {
                    writeln!(
                        body,
                        "      <error message=\"{}\">{}</error>",
                        escape(why),
                        escape(&format!("{place}: {why}"))
                    )
                }
                Shown::Skipped(why) => {
                    writeln!(body, "      <skipped message=\"{}\"/>", escape(&format!("known gap: {why}")))
                }
            };
            if !case.out.is_empty() {
                let _ = writeln!(body, "      <system-out>{}</system-out>", escape(case.out));
            }
            body.push_str("    </testcase>\n");
        }
        body.push_str("  </testsuite>\n");
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"picket\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n{body}</testsuites>\n",
        sum.0, sum.1, sum.2, sum.3
    )
}

/// Text as it may stand in an attribute or an element. Characters that XML 1.0 has no way to write become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // As they are, a parser makes blanks of them in an attribute.
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", c as u32)),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_xml_cannot_hold_is_written() {
        assert_eq!(escape("a<b>&\"\n\u{1b}[31m\u{0}é"), "a&lt;b&gt;&amp;&quot;&#10;\u{fffd}[31m\u{fffd}é");
    }
}
