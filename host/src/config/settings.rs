//! The effective settings one by one, each with its origin: what `picket config show` prints.

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::join;
use super::layer::{Layer, Origin, Sources};
use super::schema::{Free, Node};

/// What is shown instead of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// One effective setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The table it stands in, dotted; empty at the top.
    pub section: String,
    pub key: String,
    /// Absent: not set, and without a default of its own. Secrets are [`REDACTED`].
    pub value: Option<toml::Value>,
    pub origin: Origin,
}

/// All settings in the order of the schema; a table's own values come before the tables in it.
pub(super) fn settings(sources: &Sources, root: Node<'_>, merged: &DeTable<'_>) -> Vec<Setting> {
    let mut out = Vec::new();
    Walk { sources, out: &mut out }.table("", Some(merged), root, false);
    out
}

struct Walk<'a> {
    sources: &'a Sources,
    out: &'a mut Vec<Setting>,
}

impl Walk<'_> {
    fn table(&mut self, path: &str, table: Option<&DeTable<'_>>, node: Node<'_>, secret: bool) {
        let secret = secret || node.secret();
        let mut tables: Vec<(String, Option<&DeTable<'_>>, Node<'_>)> = Vec::new();
        for (key, field) in node.fields() {
            let given = table.and_then(|t| t.get(key));
            if field.is_table() {
                tables.push((join(path, key), given.and_then(|v| v.get_ref().as_table()), field));
            } else {
                self.setting(path, key, given, field, secret);
            }
        }
        let known = |key: &str| node.field(key).is_some();
        for (key, value) in table.into_iter().flatten().filter(|(key, _)| !known(key.get_ref())) {
            let each = if let Free::Each(each) = node.free() { each } else { node.at(&Json::Null) };
            match value.get_ref().as_table() {
                Some(below) => tables.push((join(path, key.get_ref()), Some(below), each)),
                None => self.setting(path, key.get_ref(), Some(value), each, secret),
            }
        }
        for (path, table, node) in tables {
            self.table(&path, table, node, secret);
        }
    }

    fn setting(
        &mut self,
        section: &str,
        key: &str,
        given: Option<&Spanned<DeValue<'_>>>,
        node: Node<'_>,
        secret: bool,
    ) {
        let (value, origin) = match given {
            Some(given) => (Some(plain(given.get_ref())), self.sources.origin(given.span().start)),
            None => (node.get("default").and_then(from_json), Origin::of(Layer::Default)),
        };
        let value = value.map(|v| match v {
            _ if secret || node.secret() => toml::Value::String(REDACTED.to_owned()),
            toml::Value::String(url) if node.format() == Some("uri") => toml::Value::String(masked(&url)),
            v => v,
        });
        self.out.push(Setting { section: section.to_owned(), key: key.to_owned(), value, origin });
    }
}

/// A webhook address often is the password: only where it leads to is shown.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return REDACTED.to_owned() };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if matches!(path, "" | "/") { format!("{scheme}://{host}{path}") } else { format!("{scheme}://{host}/{REDACTED}") }
}

fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        // Numbers were checked to fit before anything is shown.
        DeValue::Integer(n) => toml::Value::Integer(i64::from_str_radix(n.as_str(), n.radix()).unwrap_or_default()),
        DeValue::Float(x) => toml::Value::Float(x.as_str().parse().unwrap_or_default()),
        DeValue::Boolean(b) => toml::Value::Boolean(*b),
        DeValue::Datetime(t) => toml::Value::Datetime(*t),
        DeValue::Array(items) => toml::Value::Array(items.iter().map(|i| plain(i.get_ref())).collect()),
        DeValue::Table(t) => {
            toml::Value::Table(t.iter().map(|(k, v)| (k.get_ref().to_string(), plain(v.get_ref()))).collect())
        }
    }
}

fn from_json(json: &Json) -> Option<toml::Value> {
    if json.is_null() { None } else { toml::Value::try_from(json).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_only_where_it_leads() {
        assert_eq!(masked("https://soar.example/"), "https://soar.example/");
        assert_eq!(masked("https://me:pass@soar.example:8443"), "https://soar.example:8443");
        assert_eq!(masked("https://hooks.slack.com/services/T0/B0/xyz"), "https://hooks.slack.com/[REDACTED]");
        assert_eq!(masked("https://soar.example?token=a@b"), "https://soar.example/[REDACTED]");
        assert_eq!(masked("not a url"), REDACTED);
    }
}
