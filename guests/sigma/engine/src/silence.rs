//! Findings that an author has looked at and wants no more: `# picket: allow CODE: reason` on the line of the finding, or
//! above it.
//!
//! Only what leaves the rule loaded can be silenced. A silence without a reason has no effect, and one without an effect is
//! a finding itself: it would hide a later mistake that nobody has looked at.

use crate::diagnostic::{Diagnostic, Finding, Gravity, Place, brief, did_you_mean};
use crate::lint;
use crate::ruleset::{File, MAX_FILE_BYTES};
use crate::yaml;
use std::collections::{HashMap, HashSet};

const MARK: &str = "picket: allow";

/// Warnings and hints that [`crate::compile`] always gives.
const ALWAYS: &[&str] = &[
    "all-without-list",
    "bad-related",
    "expand-without-placeholder",
    "filter-log-source",
    "filter-unknown-rule",
    "filter-without-rule",
    "global-overrides",
    "id-not-uuid",
    "missing-id",
    "never-matches",
    "not-a-list",
    "null-in-list",
    "unknown-attribute",
    "unknown-level",
    "unknown-status",
    "unused-selection",
];

/// What the host finds when it runs the tests of rules with and without their filters.
pub(crate) const FILTER_HIDES_TEST: &str = "filter-hides-test";

/// Those that depend on the host a rule is loaded on, and so arise only when it is known: a silence for them may have no
/// effect on this one.
const BY_HOST: &[&str] = &[
    "field-never-here",
    FILTER_HIDES_TEST,
    "needs-field",
    "needs-value",
    "not-of-linux",
    "source-not-fed",
    "unknown-field",
];

/// The silences of all files.
#[derive(Debug, Default)]
pub(crate) struct Silences {
    by_file: HashMap<String, Vec<Silence>>,
}

#[derive(Debug)]
struct Silence {
    code: String,
    reason: bool,
    place: Place,
    /// The line it is about.
    line: u32,
}

impl Silences {
    pub fn of(files: &[File<'_>]) -> Self {
        let mut by_file: HashMap<String, Vec<Silence>> = HashMap::new();
        for file in files.iter().filter(|f| f.content.len() <= MAX_FILE_BYTES) {
            // Few files have one, and only those are worth a second reading.
            if memchr::memmem::find(file.content, MARK.as_bytes()).is_some()
                && let Ok(text) = std::str::from_utf8(file.content)
            {
                let found = silences(text);
                if !found.is_empty() {
                    by_file.insert(file.name.to_owned(), found);
                }
            }
        }
        Self { by_file }
    }

    /// Takes away what is silenced, and returns the silences that did so, by file and place. Every finding goes through
    /// here, whether it arises when rules are compiled or when their host is known.
    fn take<'s>(&'s self, diagnostics: &mut Vec<Diagnostic>) -> HashSet<(&'s str, Place)> {
        let mut used = HashSet::new();
        diagnostics.retain(|d| {
            let Some((file, silences)) = self.by_file.get_key_value(&d.file) else { return true };
            let mut silenced = false;
            for silence in silences.iter().filter(|s| s.is_about(d)) {
                used.insert((file.as_str(), silence.place));
                silenced = true;
            }
            !silenced
        });
        used
    }

    /// The same for what arises when the host is known. Whether a silence has an effect is not asked: it may have on another.
    pub fn without(&self, found: impl IntoIterator<Item = Diagnostic>) -> Vec<Diagnostic> {
        let mut found = found.into_iter().collect();
        self.take(&mut found);
        found
    }

    /// Those of `found` that are silenced, for who asks what is so and not what is to be said.
    pub fn only(&self, found: impl IntoIterator<Item = Diagnostic>) -> Vec<Diagnostic> {
        let silenced = |d: &Diagnostic| self.by_file.get(&d.file).is_some_and(|all| all.iter().any(|s| s.is_about(d)));
        found.into_iter().filter(silenced).collect()
    }

    /// Whether `code` is silenced on this line.
    pub fn has(&self, code: &str, file: &str, line: u32) -> bool {
        let silences = self.by_file.get(file).map_or(&[][..], Vec::as_slice);
        silences.iter().any(|s| s.reason && s.line == line && s.code == code)
    }

    /// The same for what arises when rules are compiled, with what is wrong with the silences. `hygiene` = everything that
    /// they could be about was looked for.
    pub fn apply(&self, diagnostics: &mut Vec<Diagnostic>, hygiene: bool) {
        let used = self.take(diagnostics);
        for (file, silences) in &self.by_file {
            for silence in silences {
                let used = used.contains(&(file.as_str(), silence.place));
                diagnostics.extend(silence.finding(used, hygiene).map(|finding| finding.in_file(file)));
            }
        }
    }
}

impl Silence {
    fn is_about(&self, d: &Diagnostic) -> bool {
        self.reason && d.gravity != Gravity::Error && d.place.line == self.line && d.code == self.code
    }

    fn finding(&self, used: bool, hygiene: bool) -> Option<Finding> {
        let code = brief(&self.code);
        if !self.reason {
            let finding =
                Finding::warning(self.place, "silence-without-reason", "a silence needs a reason to have an effect");
            return Some(
                finding.help(format!("write '# {MARK} {}: why'", if code.is_empty() { "CODE" } else { &code })),
            );
        }
        let known = |codes: &[&str]| codes.contains(&self.code.as_str());
        if used || known(BY_HOST) || (known(lint::CODES) && !known(ALWAYS) && !hygiene) {
            return None;
        }
        let all = || ALWAYS.iter().chain(BY_HOST).chain(lint::CODES).copied();
        let (message, help) = if all().any(|c| c == self.code) {
            let message = format!("there is no '{code}' on this line to silence");
            (message, "take it out: it would hide the next one".to_owned())
        } else {
            (format!("'{code}' is nothing that can be silenced"), did_you_mean(&self.code, all()))
        };
        Some(Finding::warning(self.place, "silence-without-effect", message).help(help))
    }
}

fn silences(source: &str) -> Vec<Silence> {
    let comments: Vec<(Place, String)> = yaml::comments(source);
    let lines: Vec<&str> = source.lines().collect();
    let is_content = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    // The next line with content, from the end backwards: files may consist of comments.
    let mut next = vec![0_u32; lines.len() + 1];
    for (i, line) in lines.iter().enumerate().rev() {
        next[i] = if is_content(line) { i as u32 + 1 } else { next[i + 1] };
    }
    let mut found = Vec::new();
    for (place, text) in comments {
        let Some(rest) = text.trim_start().strip_prefix(MARK) else { continue };
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            continue;
        }
        let (code, reason) = rest.split_once(':').unwrap_or((rest, ""));
        let line = next.get((place.line as usize).saturating_sub(1)).copied().unwrap_or(0);
        let (code, reason) = (code.trim().to_owned(), !reason.trim().is_empty());
        found.push(Silence { code, reason, place, line });
    }
    found
}
