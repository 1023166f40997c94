//! The JSON Schema of the config, and how the checks and `config show` look things up in it.

use serde_json::Value as Json;
use toml::de::DeValue;

use super::model::Config;

/// The schema of `picket.toml`, as `picket schema config` prints it.
pub fn schema() -> Json {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>().to_value()
}

/// A subschema: what the place says itself (`own`) wins over the definition it refers to.
#[derive(Clone, Copy)]
pub(super) struct Node<'s> {
    root: &'s Json,
    own: &'s Json,
    definition: &'s Json,
}

impl<'s> Node<'s> {
    pub(super) fn root(root: &'s Json) -> Node<'s> {
        Node { root, own: root, definition: root }
    }

    /// A subschema with its reference resolved; of `anyOf [T, null]` it is `T`.
    pub(super) fn at(self, own: &'s Json) -> Node<'s> {
        let mut definition = own;
        // Bounded: our own schema has no reference to a reference, this only guards against a cycle.
        for _ in 0..8 {
            if let Some(options) = definition.get("anyOf").and_then(Json::as_array)
                && let Some(some) = options.iter().find(|o| o.get("type").and_then(Json::as_str) != Some("null"))
            {
                definition = some;
            } else if let Some(target) =
                definition.get("$ref").and_then(Json::as_str).and_then(|r| self.root.pointer(r.trim_start_matches('#')))
            {
                definition = target;
            } else {
                break;
            }
        }
        Node { root: self.root, own, definition }
    }

    pub(super) fn get(self, keyword: &str) -> Option<&'s Json> {
        self.own.get(keyword).or_else(|| self.definition.get(keyword))
    }

    fn text(self, keyword: &str) -> Option<&'s str> {
        self.get(keyword)?.as_str()
    }

    pub(super) fn format(self) -> Option<&'s str> {
        self.text("format")
    }

    /// The fields of a table, in the order they are declared.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'s str, Node<'s>)> {
        let fields = self.get("properties").and_then(Json::as_object);
        fields.into_iter().flatten().map(move |(name, own)| (name.as_str(), self.at(own)))
    }

    pub(super) fn field(self, name: &str) -> Option<Node<'s>> {
        self.get("properties")?.get(name).map(|own| self.at(own))
    }

    /// What the values of a table with free keys are.
    pub(super) fn free(self) -> Free<'s> {
        match self.get("additionalProperties") {
            Some(Json::Bool(false)) => Free::Closed,
            Some(own @ Json::Object(_)) => Free::Each(self.at(own)),
            _ => Free::Anything,
        }
    }

    pub(super) fn items(self) -> Option<Node<'s>> {
        self.get("items").map(|own| self.at(own))
    }

    pub(super) fn required(self) -> impl Iterator<Item = &'s str> {
        self.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
    }

    /// The words a text may be; none: any.
    pub(super) fn words(self) -> Vec<&'s str> {
        let plain = self.get("enum").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        let described = self.get("oneOf").and_then(Json::as_array).into_iter().flatten();
        let described = described.flat_map(|o| {
            let one = o.get("const").and_then(Json::as_str);
            let many = o.get("enum").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
            one.into_iter().chain(many)
        });
        plain.chain(described).collect()
    }

    /// Whether a value of this type may stand here.
    pub(super) fn admits(self, value: &DeValue<'_>) -> bool {
        let types: Vec<&str> = match self.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
            _ if !self.words().is_empty() => vec!["string"],
            _ => return true,
        };
        types.iter().any(|t| match *t {
            "string" => value.is_str(),
            "integer" => value.is_integer(),
            "number" => value.is_integer() || value.is_float(),
            "boolean" => value.is_bool(),
            "array" => value.is_array(),
            "object" => value.is_table(),
            _ => false,
        })
    }

    /// What is expected here, for people.
    pub(super) fn expected(self) -> &'static str {
        match self.format() {
            Some("duration") => return "a duration in quotes, like \"300ms\"",
            Some("byte-size") => return "a size in quotes, like \"128MiB\"",
            Some("path") => return "a path in quotes",
            Some("socket-address") => return "an address and port in quotes, like \"127.0.0.1:9464\"",
            _ => {}
        }
        let kind = match self.get("type") {
            Some(Json::Array(several)) => several.first().and_then(Json::as_str),
            other => other.and_then(Json::as_str),
        };
        match kind {
            Some("integer") => "a whole number",
            Some("number") => "a number",
            Some("boolean") => "true or false",
            Some("array") => "a list in brackets, like [\"a\", \"b\"]",
            Some("object") => "a table",
            _ => "a text in quotes",
        }
    }

    /// Whether a table stands here, rather than a value.
    pub(super) fn is_table(self) -> bool {
        self.text("type") == Some("object")
    }

    /// Never shown: the schema calls it write-only.
    pub(super) fn secret(self) -> bool {
        self.get("writeOnly") == Some(&Json::Bool(true))
    }
}

/// What keys besides the declared ones a table takes.
#[derive(Clone, Copy)]
pub(super) enum Free<'s> {
    Closed,
    Each(Node<'s>),
    Anything,
}

/// The known name that was probably meant, if one is close.
pub(super) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // `secretfile`, `secret-file` and `SecretFile` all mean `secret_file`.
    let plain = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    // A key of a megabyte is not a typo, and the distance costs the product of both lengths.
    if wanted.len() > 64 {
        return None;
    }
    let wanted = plain(wanted);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &plain(name)), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each table and field of the config, wherever it is.
    fn each_object<'s>(node: &'s Json, at: &str, f: &mut dyn FnMut(&str, &'s Json)) {
        match node {
            Json::Object(members) => {
                f(at, node);
                members.iter().for_each(|(k, v)| each_object(v, &format!("{at}/{k}"), f));
            }
            Json::Array(items) => items.iter().enumerate().for_each(|(i, v)| each_object(v, &format!("{at}/{i}"), f)),
            _ => {}
        }
    }

    #[test]
    fn every_setting_is_documented() {
        let root = schema();
        let (mut seen, mut bare) = (0, Vec::new());
        each_object(&root, "", &mut |at, node| {
            for (name, field) in Node::root(&root).at(node).fields() {
                seen += 1;
                if field.own.get("description").and_then(Json::as_str).is_none_or(str::is_empty) {
                    bare.push(format!("{at}/{name}"));
                }
            }
        });
        assert!(seen > 30, "only {seen} settings found");
        assert!(bare.is_empty(), "without a doc comment: {bare:?}");
    }

    #[test]
    fn every_table_is_closed() {
        let root = schema();
        each_object(&root, "", &mut |at, node| {
            if node.get("properties").is_some() && !at.ends_with("/properties") {
                assert_eq!(node.get("additionalProperties"), Some(&Json::Bool(false)), "{at} takes unknown keys");
            }
        });
    }

    #[test]
    fn typos_find_their_word_and_strangers_do_not() {
        let known = ["secret_file", "secret_env", "url"];
        assert_eq!(nearest("secretfile", known), Some("secret_file"));
        assert_eq!(nearest("secret-evn", known), Some("secret_env"));
        assert_eq!(nearest("URL", known), Some("url"));
        assert_eq!(nearest("webhook", known), None);
        assert_eq!(nearest(&"u".repeat(1_000_000), known), None);
    }
}
