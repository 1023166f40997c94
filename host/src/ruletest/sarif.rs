//! The results as SARIF 2.1.0: code hosts show them at the lines they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Outcome, Report};
use crate::detection::{Diagnostic, Gravity};
use crate::reload::SourceFile;
use crate::text::hex;

const FAILED: &str = "test-failed";
const KNOWN_GAP: &str = "test-known-gap";
const FIXED: &str = "test-fixed";
const BROKEN: &str = "test-file-broken";
const UNTESTED: &str = "rule-untested";
const FALSE_POSITIVE: &str = "baseline-hit";

struct Finding {
    code: String,
    level: &'static str,
    message: String,
    file: String,
    line: u64,
    column: u64,
}

/// Failing tests, known gaps, and every diagnostic. `files`: where each name of a file is, below `root`.
pub fn sarif(report: &Report, diagnostics: &[Diagnostic], files: &[SourceFile], root: &Path) -> Json {
    let mut found = Vec::new();
    let mut say = |code: &str, level, message: String, file: &str, line: u64, column: u64| {
        found.push(Finding { code: code.to_owned(), level, message, file: file.to_owned(), line, column });
    };
    for v in &report.verdicts {
        let why = v.why.as_deref().unwrap_or_default();
        let (code, level, why) = match v.outcome {
            Outcome::Passed => continue,
            Outcome::Failed => (FAILED, "error", why.to_owned()),
            Outcome::KnownGap => (KNOWN_GAP, "note", why.to_owned()),
            Outcome::Fixed => (FIXED, "note", "it passes: remove todo".to_owned()),
        };
        say(code, level, format!("{}: {why}", v.test), &v.file, v.line.into(), 0);
    }
    for (file, why) in &report.broken {
        say(BROKEN, "error", why.clone(), file, 0, 0);
    }
    for file in &report.untested {
        say(UNTESTED, "note", "the rule has no tests".to_owned(), file, 0, 0);
    }
    for hit in report.baseline.iter().flat_map(|b| &b.hits) {
        let message = format!("a false positive in the baseline, {}:{}: {}", hit.file, hit.line, hit.title);
        say(FALSE_POSITIVE, "error", message, &hit.rule_file, hit.rule_line.into(), 0);
    }
    for d in diagnostics {
        let level = match d.gravity {
            Gravity::Error => "error",
            Gravity::Warning => "warning",
            Gravity::Hint => "note",
        };
        let message = if d.help.is_empty() { d.message.clone() } else { format!("{} ({})", d.message, d.help) };
        say(&d.code, level, message, &d.file, d.line.into(), d.column.into());
    }
    let paths: BTreeMap<&str, &Path> = files.iter().map(|f| (f.name.as_str(), f.path.as_path())).collect();
    let codes: BTreeSet<&str> = found.iter().map(|f| f.code.as_str()).collect();
    let rules: Vec<Json> = codes.iter().map(|code| json!({ "id": code })).collect();
    let results: Vec<Json> = found.iter().map(|f| result(f, &paths, root)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "picket", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results
        }]
    })
}

fn result(f: &Finding, paths: &BTreeMap<&str, &Path>, root: &Path) -> Json {
    let mut result = json!({ "ruleId": f.code, "level": f.level, "message": { "text": f.message } });
    if f.file.is_empty() {
        return result;
    }
    let path = paths.get(f.file.as_str()).copied().unwrap_or(Path::new(&f.file));
    let mut place = json!({ "artifactLocation": { "uri": uri(path.strip_prefix(root).unwrap_or(path)) } });
    // Lines and columns count from 1; without one it is about the file.
    if f.line > 0 {
        place["region"] = json!({ "startLine": f.line });
    }
    if f.line > 0 && f.column > 0 {
        place["region"]["startColumn"] = f.column.into();
    }
    result["locations"] = json!([{ "physicalLocation": place }]);
    result
}

/// A path as a URI reference: relative to where the run was started, so that a code host finds the file.
fn uri(path: &Path) -> String {
    let mut out = if path.is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => out.push(*byte as char),
            other => out.push_str(&format!("%{}", hex(&[*other]).to_uppercase())),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri(Path::new("rules/a b#é.yml")), "rules/a%20b%23%C3%A9.yml");
        assert_eq!(uri(Path::new("/srv/x.yml")), "file:///srv/x.yml");
    }
}
