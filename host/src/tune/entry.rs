//! Files of modes: `[[tune]]` tables, each a few conditions on rules and what becomes of those.
//!
//! Read by hand from the parsed document and not through serde: one bad entry must not hide the others, and each fault has its
//! place.

use std::collections::BTreeSet;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Expiry, Mode, Rule, diagnostic, ending};
use crate::detection::{Diagnostic, Gravity, Level};

/// Entries of all files together.
pub const MAX_ENTRIES: usize = 20_000;

/// One entry. All its conditions have to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Ids of rules; titles of those without id.
    pub rules: Vec<String>,
    /// Beginning of the rule's file, in whole parts: as `rules ls` shows it, or absolute.
    pub path: Option<String>,
    pub tag: Option<String>,
    pub levels: Vec<Level>,
    /// Levels below this one.
    pub below: Option<Level>,
    pub statuses: Vec<String>,
    pub mode: Option<Mode>,
    /// Level of alerts instead of the rule's.
    pub level: Option<Level>,
    pub reason: String,
    pub owner: Option<String>,
    pub expires: Option<Expiry>,
    pub file: String,
    pub line: u32,
}

const KEYS: [&str; 11] =
    ["rule", "path", "tag", "level", "below", "status", "mode", "set_level", "reason", "owner", "expires"];

impl Entry {
    /// What it is about, for people and for comparing two versions.
    pub fn what(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut add = |name: &str, value: String| parts.push(format!("{name} {value}"));
        if !self.rules.is_empty() {
            add("rule", self.rules.join(", "));
        }
        self.path.iter().for_each(|p| add("path", p.clone()));
        self.tag.iter().for_each(|t| add("tag", t.clone()));
        if !self.levels.is_empty() {
            add("level", self.levels.iter().map(|l| l.name()).collect::<Vec<_>>().join(", "));
        }
        self.below.iter().for_each(|l| add("below", l.name().to_owned()));
        if !self.statuses.is_empty() {
            add("status", self.statuses.join(", "));
        }
        parts.join(", ")
    }

    /// What it makes of them.
    pub fn effect(&self) -> String {
        let level = self.level.map(|l| format!("level {}", l.name()));
        let parts: Vec<String> = self.mode.map(|m| m.name().to_owned()).into_iter().chain(level).collect();
        parts.join(", ")
    }

    pub(super) fn is_about(&self, rule: &Rule<'_>) -> bool {
        let analytic = rule.analytic;
        let text = |key: &str| analytic.metadata.get(key).and_then(|v| v.as_str());
        let tagged = |tag: &str| {
            let tags = analytic.metadata.get("tags").and_then(|t| t.as_array());
            tags.is_some_and(|tags| tags.iter().any(|t| t.as_str().is_some_and(|t| t.eq_ignore_ascii_case(tag))))
        };
        let within = |path: &str| {
            // Whole parts: `linux/net` does not mean `linux/network`.
            let begins = |whole: &std::path::Path| whole.starts_with(path);
            begins(std::path::Path::new(&analytic.file)) || rule.path.is_some_and(begins)
        };
        (self.rules.is_empty() || self.rules.iter().any(|r| r == analytic.key()))
            && self.path.as_deref().is_none_or(within)
            && self.tag.as_deref().is_none_or(tagged)
            && (self.levels.is_empty() || self.levels.contains(&analytic.level))
            && self.below.is_none_or(|level| analytic.level < level)
            && (self.statuses.is_empty() || text("status").is_some_and(|s| self.statuses.iter().any(|t| t == s)))
    }

    /// What there is to say about it: nothing it is about, its end.
    pub(super) fn said<'i, I: Iterator<Item = &'i str>>(
        &self,
        used: bool,
        now: i64,
        ids: impl Fn() -> I,
    ) -> Vec<Diagnostic> {
        let mut said = Vec::new();
        if !used {
            let near = self.rules.first().and_then(|meant| nearest(meant, ids()));
            let help = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
            let message = "no rule that is loaded is meant by this entry".to_owned();
            said.push(diagnostic(Gravity::Warning, "tune-nothing", message, help, &self.file, self.line, 1));
        }
        if let Some(expiry) = &self.expires {
            let (what, then) = (format!("`{}` for {}", self.effect(), self.what()), "its rules are as before it");
            said.extend(ending(expiry, now, &what, then, (&self.file, self.line)));
        }
        said
    }
}

fn nearest<'n>(meant: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.map(|n| (strsim::jaro_winkler(meant, n), n)).max_by(|a, b| a.0.total_cmp(&b.0));
    near.filter(|(score, _)| *score > 0.9).map(|(_, n)| n)
}

/// The entries of a file; what is wrong with it is added to `said`, each time with its place.
pub fn read(file: &str, text: &str, said: &mut Vec<Diagnostic>) -> Vec<Arc<Entry>> {
    let mut reading = Reading { file, text, said };
    let (table, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        // What could be read around it may be half of what was meant.
        reading.error(error.span().map_or(0, |s| s.start), error.message().to_owned(), "");
        return Vec::new();
    }
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("tune", DeValue::Array(items)) => {
                for item in items {
                    match item.get_ref() {
                        DeValue::Table(fields) => {
                            entries.extend(reading.entry(fields, item.span().start).map(Arc::new));
                        }
                        _ => reading.error(
                            item.span().start,
                            "an entry is a table".to_owned(),
                            "write `[[tune]]` above its lines",
                        ),
                    }
                }
            }
            ("tune", _) => {
                reading.error(
                    key.span().start,
                    "`tune` is a list of tables".to_owned(),
                    "write `[[tune]]`, in double brackets",
                );
            }
            (other, _) => {
                reading.error(key.span().start, format!("unknown key `{other}`"), "each entry begins with `[[tune]]`");
            }
        }
    }
    entries
}

struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    said: &'a mut Vec<Diagnostic>,
}

type Table<'t> = DeTable<'t>;
type Value<'t> = Spanned<DeValue<'t>>;

impl Reading<'_> {
    /// Line and column of a byte, from 1.
    fn place(&self, at: usize) -> (u32, u32) {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
        (line, column)
    }

    fn error(&mut self, at: usize, message: String, help: &str) {
        let (line, column) = self.place(at);
        self.said.push(diagnostic(Gravity::Error, "bad-tuning", message, help.to_owned(), self.file, line, column));
    }

    fn entry(&mut self, table: &Table<'_>, at: usize) -> Option<Entry> {
        let errors = self.said.len();
        let mut entry = Entry { file: self.file.to_owned(), line: self.place(at).0, ..Entry::default() };
        for (key, value) in table {
            let name: &str = key.get_ref();
            match name {
                "rule" => entry.rules = self.texts(name, value),
                "path" => entry.path = self.text(name, value).map(|p| p.trim_end_matches('/').to_owned()),
                "tag" => entry.tag = self.text(name, value),
                "level" => {
                    entry.levels = self.texts(name, value).iter().filter_map(|t| self.level(name, t, value)).collect();
                }
                "below" => entry.below = self.text(name, value).and_then(|t| self.level(name, &t, value)),
                "status" => entry.statuses = self.texts(name, value),
                "mode" => entry.mode = self.text(name, value).and_then(|t| self.mode(&t, value)),
                "set_level" => entry.level = self.text(name, value).and_then(|t| self.level(name, &t, value)),
                "reason" => entry.reason = self.text(name, value).unwrap_or_default(),
                "owner" => entry.owner = self.text(name, value),
                "expires" => entry.expires = self.expires(value),
                other => {
                    let near = nearest(other, KEYS.into_iter());
                    let help = near
                        .map_or_else(|| format!("keys are {}", KEYS.join(", ")), |n| format!("did you mean `{n}`?"));
                    self.error(key.span().start, format!("unknown key `{other}`"), &help);
                }
            }
        }
        if self.said.len() > errors {
            return None;
        }
        let missing = if entry.what().is_empty() {
            Some((
                "the entry does not say which rules it is about",
                "give `rule`, `path`, `tag`, `level`, `below` or `status`",
            ))
        } else if entry.mode.is_none() && entry.level.is_none() {
            Some(("the entry does not say what becomes of its rules", "give `mode` or `set_level`"))
        } else if entry.reason.is_empty() {
            Some(("the entry has no `reason`", "say why, for whoever finds it in a year"))
        } else {
            None
        };
        if let Some((message, help)) = missing {
            self.error(at, message.to_owned(), help);
            return None;
        }
        Some(entry)
    }

    fn text(&mut self, name: &str, value: &Value<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            DeValue::String(_) => {
                self.error(value.span().start, format!("`{name}` is empty"), "");
                None
            }
            _ => {
                self.error(value.span().start, format!("`{name}` is a text in quotes"), "");
                None
            }
        }
    }

    /// One text or several, each once.
    fn texts(&mut self, name: &str, value: &Value<'_>) -> Vec<String> {
        let DeValue::Array(items) = value.get_ref() else { return Vec::from_iter(self.text(name, value)) };
        if items.is_empty() {
            self.error(value.span().start, format!("`{name}` is an empty list"), "");
        }
        let texts: BTreeSet<String> = items.iter().filter_map(|item| self.text(name, item)).collect();
        texts.into_iter().collect()
    }

    fn level(&mut self, name: &str, text: &str, value: &Value<'_>) -> Option<Level> {
        let level = Level::parse(text);
        if level.is_none() {
            let words = Level::ALL.map(|l| format!("\"{}\"", l.name())).join(", ");
            self.error(value.span().start, format!("`{name}` is one of {words}, not \"{text}\""), "");
        }
        level
    }

    fn mode(&mut self, text: &str, value: &Value<'_>) -> Option<Mode> {
        let mode = Mode::parse(text);
        if mode.is_none() {
            let words = Mode::ALL.map(|m| format!("\"{}\"", m.name())).join(", ");
            self.error(value.span().start, format!("`mode` is one of {words}, not \"{text}\""), "");
        }
        mode
    }

    fn expires(&mut self, value: &Value<'_>) -> Option<Expiry> {
        let text = match value.get_ref() {
            DeValue::Datetime(time) => time.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let expiry = Expiry::parse(&text);
        if expiry.is_none() {
            self.error(
                value.span().start,
                "`expires` is a day, like 2027-02-01, or a time with its offset".to_owned(),
                "",
            );
        }
        expiry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let mut said = Vec::new();
        read("m.toml", text, &mut said);
        said.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect()
    }

    #[test]
    fn each_fault_has_its_place_and_the_rest_applies() {
        let text = "[[tune]]\nrule = 'a'\nmode = 'sometimes'\nreason = 'r'\n\n[[tune]]\nrule = ['b', 'c']\nmode = 'off'\n\
                    reason = 'too loud'\nowner = 'me'\nexpires = 2027-02-01\n";
        let mut said = Vec::new();
        let entries = read("m.toml", text, &mut said);
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].what(), entries[0].effect(), entries[0].line), ("rule b, c".into(), "off".into(), 6));
        assert_eq!(said.iter().map(|d| (d.line, d.column)).collect::<Vec<_>>(), [(3, 8)]);
        assert!(said[0].message.contains("\"shadow\""), "{}", said[0].message);
    }

    #[test]
    fn what_is_no_entry_is_said() {
        for (text, expected) in [
            ("[[tune]]\nmode = 'off'\nreason = 'r'\n", "1:1 the entry does not say which rules it is about"),
            ("[[tune]]\nrule = 'a'\nreason = 'r'\n", "1:1 the entry does not say what becomes of its rules"),
            ("[[tune]]\nrule = 'a'\nmode = 'off'\n", "1:1 the entry has no `reason`"),
            ("[[tune]]\nrul = 'a'\n", "2:1 unknown key `rul`"),
            ("[[tune]]\nrule = 3\n", "2:8 `rule` is a text in quotes"),
            ("[[tune]]\nrule = []\n", "2:8 `rule` is an empty list"),
            ("[[tune]]\nlevel = 'lowest'\n", "2:9 `level` is one of"),
            ("[[tune]]\nexpires = 'soon'\n", "2:11 `expires` is a day"),
            ("[tune]\nrule = 'a'\n", "1:2 `tune` is a list of tables"),
            ("tuning = 1\n", "1:1 unknown key `tuning`"),
            ("[[tune]\n", "1:"),
        ] {
            let found = faults(text);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
        }
        let mut said = Vec::new();
        read("m.toml", "[[tune]]\nreasom = 'a'\n", &mut said);
        assert_eq!(said[0].help, "did you mean `reason`?");
    }
}
