//! The files that `rules mode` and `rules except` write: short enough to be read, and read again by the loader like any other.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::Mode;
use crate::text::hex;

/// A file name for what belongs to a rule. An id may be nearly anything; one that is not plain becomes digits.
pub fn stem(rule: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=80).contains(&rule.len()) && rule.bytes().all(plain) {
        rule.to_owned()
    } else {
        hex(&Sha256::digest(rule)[..8])
    }
}

/// The day that is so long after `now`, UTC.
pub fn day_after(now: Timestamp, period: std::time::Duration) -> Option<String> {
    let at = now.checked_add(jiff::SignedDuration::try_from(period).ok()?).ok()?;
    // Up: what is given for a day lasts at least a day.
    let at = at.checked_add(jiff::SignedDuration::from_secs(86_399)).ok()?;
    Some(at.to_string().get(..10)?.to_owned())
}

/// A file of one entry.
pub fn mode_file(
    rule: &str,
    title: &str,
    mode: Mode,
    reason: &str,
    owner: Option<&str>,
    expires: Option<&str>,
) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    // A title is a comment: one line of plain characters.
    let title: String = title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut out =
        format!("# {title}\n[[tune]]\nrule = {}\nmode = \"{}\"\nreason = {}\n", text(rule), mode.name(), text(reason));
    if let Some(owner) = owner {
        out.push_str(&format!("owner = {}\n", text(owner)));
    }
    if let Some(expires) = expires {
        out.push_str(&format!("expires = {expires}\n"));
    }
    out
}

/// An exception as it is asked for.
pub struct Asked<'a> {
    pub rule: &'a str,
    pub title: &'a str,
    /// Category, product, service, as far as the rule has them.
    pub log_source: Vec<(&'a str, &'a str)>,
    /// Fields with the one value that is exempt.
    pub fields: &'a [(String, String)],
    pub reason: &'a str,
    pub owner: &'a str,
    pub expires: &'a str,
}

impl Asked<'_> {
    /// The same exception has the same id.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        for part in std::iter::once(self.rule).chain(self.fields.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()])) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut bytes: Vec<u8> = hash.finalize()[..16].to_vec();
        // A UUID of version 8: one that is made of something.
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let digits = hex(&bytes);
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    }

    /// The filter.
    pub fn filter(&self) -> String {
        let mut out =
            format!("title: {}\nid: {}\nlogsource:\n", quoted(&format!("Exception: {}", self.title)), self.id());
        if self.log_source.is_empty() {
            out = out.replace("logsource:\n", "logsource: {}\n");
        }
        for (key, value) in &self.log_source {
            out.push_str(&format!("  {key}: {}\n", quoted(value)));
        }
        out.push_str(&format!("filter:\n  rules:\n    - {}\n  exempt:\n", quoted(self.rule)));
        for (field, value) in self.fields {
            // As it is spelt: on Linux another spelling is another file.
            out.push_str(&format!("    {}: {}\n", quoted(&format!("{field}|cased")), quoted(&literal(value))));
        }
        out.push_str("  condition: not exempt\n");
        out.push_str(&format!(
            "reason: {}\nowner: {}\nexpires: {}\n",
            quoted(self.reason),
            quoted(self.owner),
            self.expires
        ));
        out
    }

    /// Its test: the event that is exempt.
    pub fn test(&self, rule_file: &str, event: &str) -> String {
        let line = controls_escaped(event);
        format!(
            "rule: {}\ntests:\n  - name: {}\n    expect: no-match\n    ndjson: |\n      {line}\n",
            quoted(rule_file),
            quoted(&format!("exempt: {}", self.reason)),
        )
    }
}

/// A Sigma string that means exactly this text.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '?') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A text in double quotes, as JSON and YAML both read it; nothing in it can end a line or a document.
fn quoted(text: &str) -> String {
    controls_escaped(&serde_json::Value::from(text).to_string())
}

/// JSON leaves DEL, C1 controls and the line ends of Unicode as they are; YAML and terminals do not.
fn controls_escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if ('\u{7f}'..='\u{9f}').contains(&c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') {
            out.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::{entry, exception};

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let (rule, reason) = ("4a7ecb0f-9f31", "they said \"fine\"\nreally");
        let text = mode_file(rule, "A\ntitle = 3", Mode::Shadow, reason, Some("me"), Some("2027-02-01"));
        let mut said = Vec::new();
        let entries = entry::read("x.toml", &text, &mut said);
        assert_eq!((said.len(), entries.len()), (0, 1), "{text}\n{said:?}");
        let e = &entries[0];
        assert_eq!(
            (e.rules.as_slice(), e.mode, e.reason.as_str()),
            (&[rule.to_owned()][..], Some(Mode::Shadow), reason)
        );
        assert_eq!((e.owner.as_deref(), e.expires.as_ref().map(|x| x.text.as_str())), (Some("me"), Some("2027-02-01")));
    }

    #[test]
    fn an_exception_means_the_exact_text_whatever_is_in_it() {
        let fields = [("Image".to_owned(), "/tmp/a*b?c\\\n---\ncondition: x\u{85}".to_owned())];
        let asked = Asked {
            rule: "r",
            title: "T: \"x\"",
            log_source: vec![("category", "process_creation"), ("product", "linux")],
            fields: &fields,
            reason: "because",
            owner: "me",
            expires: "2027-02-01",
        };
        let text = asked.filter();
        let tree: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(tree["filter"]["exempt"]["Image|cased"], "/tmp/a\\*b\\?c\\\\\n---\ncondition: x\u{85}");
        assert_eq!(tree["title"], "Exception: T: \"x\"");
        let (found, _) = exception::read("f.yml", text.as_bytes(), 0, &mut Vec::new());
        assert_eq!((found.len(), found[0].owner.as_deref()), (1, Some("me")));
        let test: serde_json::Value = serde_saphyr::from_str(&asked.test("a.yml", "{\"a\":\"\u{85}\"}")).unwrap();
        assert_eq!(test["tests"][0]["ndjson"], "{\"a\":\"\\u0085\"}\n");
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(stem("4a7ecb0f-9f31-4a5c"), "4a7ecb0f-9f31-4a5c");
        for odd in ["../../etc/x", "", "a b", ".hidden", &"x".repeat(200)] {
            assert!(stem(odd).len() == 16 && stem(odd).bytes().all(|b| b.is_ascii_hexdigit()), "{odd}");
        }
    }

    #[test]
    fn days_are_rounded_up() {
        let now: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let day = |n: u64| day_after(now, std::time::Duration::from_secs(n * 86_400));
        assert_eq!((day(0).as_deref(), day(1).as_deref()), (Some("2026-11-25"), Some("2026-11-26")));
        assert_eq!(day(u64::MAX / 86_400), None);
    }
}
