//! What a viewer wants to see: which events, which alerts, in which form.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::alert::Alert;
use crate::detection::Level;
use crate::kind::{self, Access, Availability, Catalogue, KINDS, KindId, Op, ProcessField};
use crate::slab::{Slab, Value};

/// Words of one filter: each is looked for in each event.
const MAX_WORDS: usize = 16;

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The event in the model's shape.
    #[default]
    Json,
    /// One line for people: [`kind::Line`].
    Line,
    /// Both.
    Both,
}

/// What somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    pub events: bool,
    pub alerts: bool,
    pub form: Form,
    /// Only events of these kinds, by name or short name.
    pub kinds: Vec<String>,
    /// Only of this process and those that it started.
    pub pid: Option<u32>,
    /// Only alerts of this level or a higher one.
    pub level: Option<Level>,
    /// Only alerts of rules whose id is this, or whose title or file holds it.
    pub rule: Option<String>,
    /// Each has to be found: a text anywhere, or `FIELD=TEXT`.
    pub words: Vec<String>,
}

/// Why a wish cannot be granted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    #[error("no kind is called `{name}`{hint}: `picket fields` lists them")]
    Kind { name: String, hint: String },
    #[error("no event has the field `{name}`{hint}: `picket fields` lists them")]
    Field { name: String, hint: String },
    #[error("a filter has at most {MAX_WORDS} words")]
    Words,
}

/// A wish that can be granted.
#[derive(Debug)]
pub struct Filter {
    pub(super) events: bool,
    pub(super) alerts: bool,
    pub(super) form: Form,
    /// Empty = all.
    pub(super) kinds: Vec<KindId>,
    pid: Option<u32>,
    level: Option<Level>,
    rule: Option<Vec<u8>>,
    words: Vec<Word>,
}

#[derive(Debug)]
struct Word {
    text: Vec<u8>,
    /// Anywhere, if it names none.
    field: Option<NamedField>,
}

#[derive(Debug)]
struct NamedField {
    access: Access,
    /// Where an alert, or the event in it, may have it.
    paths: Vec<String>,
}

impl Filter {
    pub fn new(wish: &Wish) -> Result<Filter, WishError> {
        if wish.words.len() > MAX_WORDS {
            return Err(WishError::Words);
        }
        let mut kinds = Vec::new();
        for name in &wish.kinds {
            let found: Vec<KindId> = kinds_called(name).collect();
            if found.is_empty() {
                return Err(WishError::Kind { name: name.clone(), hint: hint(nearest_kind(name)) });
            }
            kinds.extend(found);
        }
        let words = wish.words.iter().map(|w| word(w, wish.events)).collect::<Result<_, _>>()?;
        Ok(Filter {
            events: wish.events,
            alerts: wish.alerts,
            form: wish.form,
            kinds,
            pid: wish.pid,
            level: wish.level,
            rule: wish.rule.as_ref().map(|r| r.clone().into_bytes()),
            words,
        })
    }

    /// Whether a row is to be seen. Rows made from others only by who names their kind.
    pub fn admits(&self, slab: &Slab, row: usize) -> bool {
        let r = &slab.rows[row];
        let kind = if self.kinds.is_empty() { !r.kind.is_derived() } else { self.kinds.contains(&r.kind) };
        let of = |pid| {
            let process = r.process.as_ref();
            process.is_some_and(|p| p.image.key.tgid == pid || p.ancestors.iter().any(|a| a.key.tgid == pid))
        };
        self.events && kind && self.pid.is_none_or(of) && self.words.iter().all(|w| w.is_in_row(slab, row))
    }

    /// Whether an alert is to be seen.
    pub fn admits_alert(&self, alert: &Alert, line: &[u8]) -> bool {
        let rule = |text: &Vec<u8>| {
            let r = &alert.rule;
            r.id.as_bytes() == text || [&r.title, &r.file].iter().any(|t| Op::Contains.holds(t.as_bytes(), text))
        };
        let of = |pid| {
            let process = alert.process.as_ref();
            process.is_some_and(|p| p.pid == pid || p.ancestors.iter().any(|a| a.pid == pid))
        };
        self.alerts
            && self.level.is_none_or(|least| alert.severity >= least)
            && self.rule.as_ref().is_none_or(rule)
            && self.pid.is_none_or(of)
            && (self.words.is_empty() || {
                // Read again only for who filters by words: an alert is rare.
                serde_json::from_slice(line).is_ok_and(|json| self.words.iter().all(|w| w.is_in_alert(&json)))
            })
    }
}

/// A kind by its name, or all kinds that people call so.
pub fn kinds_called(name: &str) -> impl Iterator<Item = KindId> + '_ {
    let ids = KINDS.iter().enumerate();
    ids.filter(move |(_, k)| k.name == name || k.short == name).map(|(i, _)| KindId(i as u16))
}

fn nearest_kind(name: &str) -> Option<&'static str> {
    let names = KINDS.iter().flat_map(|k| [k.name, k.short]);
    let near = |n: &&str| strsim::damerau_levenshtein(name, n) <= 1 + n.len() / 4;
    names.filter(near).min_by_key(|n| strsim::damerau_levenshtein(name, n))
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}

fn word(text: &str, events: bool) -> Result<Word, WishError> {
    let is_name = |n: &str| {
        n.starts_with(|c: char| c.is_ascii_alphabetic() || c == '@')
            && n.chars().all(|c| c.is_ascii_alphanumeric() || "_.@".contains(c))
    };
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| is_name(name)) else {
        return Ok(Word { text: text.as_bytes().to_vec(), field: None });
    };
    let bound = Catalogue::default().resolve(None, name);
    // Who sees alerts only may name what only an alert has.
    if events && bound.availability == Availability::Unknown {
        let near = bound.note.split('`').nth(1).map(str::to_owned);
        return Err(WishError::Field { name: name.to_owned(), hint: hint(near.as_deref()) });
    }
    let mut paths = vec![name.to_owned()];
    let process = ProcessField::TABLE.iter().filter(|(_, _, sigma, _, _)| sigma.contains(&name));
    paths.extend(process.map(|(_, path, ..)| (*path).to_owned()));
    let own = KINDS.iter().flat_map(|k| k.fields).filter(|f| f.path == name || f.sigma.contains(&name));
    paths.extend(own.map(|f| format!("EventData.{}", f.path)));
    paths.dedup();
    Ok(Word { text: value.as_bytes().to_vec(), field: Some(NamedField { access: bound.access, paths }) })
}

impl Word {
    fn is_in_row(&self, slab: &Slab, row: usize) -> bool {
        let access = self.field.as_ref().map_or(&Access::Values, |f| &f.access);
        match slab.value(row, access) {
            Value::Absent | Value::Null | Value::Unavailable => false,
            Value::Text(text) => self.holds(text),
            Value::Unsigned(v) => self.is_number(&v),
            Value::Signed(v) => self.is_number(&v),
            Value::Float(v) => self.is_number(&v),
            Value::Bool(v) => self.is_number(&v),
            Value::Time(t) => self.holds(kind::time_text(t).as_bytes()),
            Value::List(list) => {
                let mut found = false;
                list.each(&mut |item| found |= self.holds(item));
                found
            }
        }
    }

    fn is_in_alert(&self, alert: &Json) -> bool {
        let Some(field) = &self.field else { return self.is_below(alert) };
        let places = |path: &String| [kind::find(alert, path), kind::find(&alert["event"], path)];
        field.paths.iter().flat_map(places).flatten().any(|value| self.is_below(value))
    }

    fn is_below(&self, json: &Json) -> bool {
        match json {
            Json::Null => false,
            Json::String(text) => self.holds(text.as_bytes()),
            Json::Bool(v) => self.is_number(v),
            Json::Number(v) => self.is_number(v),
            Json::Array(items) => items.iter().any(|item| self.is_below(item)),
            Json::Object(fields) => fields.values().any(|value| self.is_below(value)),
        }
    }

    fn holds(&self, text: &[u8]) -> bool {
        Op::Contains.holds(text, &self.text)
    }

    /// A part of a number is nothing that anybody looks for.
    fn is_number(&self, number: &impl ToString) -> bool {
        number.to_string().as_bytes() == self.text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Decoder;

    fn row(path: &str) -> (Slab, &'static str) {
        let kind = KINDS.iter().find(|k| k.fields.iter().any(|f| f.path == "argv")).unwrap();
        let (mut slab, mut decoder) = (Slab::default(), Decoder::default());
        let event = json!({ "System": { "EventName": kind.name, "HostProcessID": 7, "UserID": 33 },
            "EventData": { "argv": ["curl", path], "ProcInfo": { "Exe": "/usr/bin/curl", "Name": "curl" } } });
        decoder.value(1, event, &mut slab).unwrap();
        (slab, kind.short)
    }

    fn admits(wish: &Wish) -> bool {
        let (slab, _) = row("http://Evil/");
        Filter::new(wish).unwrap().admits(&slab, 0)
    }

    #[test]
    fn events_are_told_apart_by_kind_and_words() {
        let (_, short) = row("");
        let wish = |kinds: &[&str], words: &[&str]| Wish {
            events: true,
            kinds: kinds.iter().map(|k| (*k).to_owned()).collect(),
            words: words.iter().map(|w| (*w).to_owned()).collect(),
            ..Wish::default()
        };
        assert!(admits(&wish(&[], &[])));
        assert!(admits(&wish(&[short], &["evil", "Image=/CURL"])));
        assert!(admits(&wish(&[], &["System.UserID=33"])));
        assert!(!admits(&wish(&[], &["System.UserID=3"])));
        assert!(!admits(&wish(&[], &["evil", "Image=/wget"])));
        assert!(!admits(&wish(&["exit"], &[])));
        // What is no field's name is a text.
        assert!(!admits(&wish(&[], &["--flag=x"])));
        assert!(!admits(&Wish { alerts: true, ..Wish::default() }));
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is_near() {
        let error = |kinds: &[&str], words: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            let wish = Wish { events: true, kinds: owned(kinds), words: owned(words), ..Wish::default() };
            Filter::new(&wish).unwrap_err().to_string()
        };
        assert!(error(&["exce"], &[]).contains("did you mean `exec`?"));
        assert!(error(&[], &["Imag=x"]).contains("did you mean `Image`?"));
        assert_eq!(
            Filter::new(&Wish { words: vec![String::new(); 17], ..Wish::default() }).unwrap_err(),
            WishError::Words
        );
    }

    #[test]
    fn words_are_found_in_alerts_by_path_and_sigma_name() {
        let alert = json!({ "process": { "exe": "/usr/bin/nc", "pid": 41 },
            "event": { "EventData": { "ProcInfo": { "Exe": "/usr/bin/nc" }, "pathname": "/etc/shadow" } } });
        let found = |text: &str| word(text, false).unwrap().is_in_alert(&alert);
        for text in
            ["process.exe=NC", "Image=/nc", "pathname=shadow", "process.pid=41", "shadow", "TargetFilename=shadow"]
        {
            assert!(found(text), "{text}");
        }
        for text in ["process.exe=curl", "process.pid=4", "Image=/etc", "nothing"] {
            assert!(!found(text), "{text}");
        }
    }
}
