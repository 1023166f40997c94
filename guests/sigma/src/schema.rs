//! JSON Schema of what the engine reads, for editors: made from the engine's own tables and kept as `rule.schema.json`, which the
//! host adds its log sources and fields to. A test holds the two together; `PICKET_WRITE_DOCS=1` writes it anew.

use picket_sigma::{Vocabulary, vocabulary};
use serde_json::{Map, Value, json};

/// What an attribute holds.
fn attribute(name: &str, words: &Vocabulary) -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let texts = |about: &str| json!({ "type": "array", "items": { "type": "string" }, "description": about });
    let scalar = |about: &str| json!({ "type": ["string", "number", "boolean", "null"], "description": about });
    match name {
        "title" => json!({ "type": "string", "minLength": 1, "maxLength": 256, "description": "what it detects" }),
        "id" => text("a UUID, unique among all rules and filters"),
        "name" => text("short and unique, for filters and correlations that refer to this one"),
        "status" => json!({ "enum": words.statuses, "description": "how ripe it is" }),
        "level" => json!({ "enum": words.levels, "description": "what it is worth to be woken for" }),
        "description" => text("what is behind it, for who gets the alert"),
        "license" => text("SPDX identifier"),
        "author" => text("who wrote it"),
        "date" | "modified" => {
            json!({ "type": "string", "pattern": "^\\d{4}-\\d{2}-\\d{2}$", "description": "YYYY-MM-DD" })
        }
        "references" => texts("addresses of further reading"),
        "tags" => texts("namespace.name, like attack.t1059.004"),
        "falsepositives" => texts("known harmless causes"),
        "fields" => texts("fields worth looking at in an alert"),
        "related" => json!({
            "type": "array",
            "description": "other rules that this one has to do with",
            "items": {
                "type": "object",
                "required": ["id", "type"],
                "properties": { "id": { "type": "string" }, "type": { "enum": words.relations } }
            }
        }),
        "logsource" => json!({ "$ref": "#/$defs/logsource" }),
        "detection" => json!({ "$ref": "#/$defs/detection" }),
        "filter" => json!({ "$ref": "#/$defs/filter" }),
        "correlation" => json!({ "$ref": "#/$defs/correlation" }),
        "suppress" => text("of a correlation: how long a group is quiet after it fired, like 1h"),
        "refire" => {
            json!({ "enum": ["quiet", "reset"], "description": "of a correlation: what becomes of a window that fired" })
        }
        "evaluate" => {
            json!({ "enum": ["match", "close"], "description": "of a correlation: at each match, or when the window closes" })
        }
        "scope" => texts("who it is for"),
        "simulation" => json!({ "description": "how to make it happen" }),
        _ => scalar("kept as it is"),
    }
}

/// What a key of `correlation` holds.
fn key(name: &str, words: &Vocabulary) -> Value {
    let texts = json!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    match name {
        "type" => json!({ "enum": words.correlations, "description": "what is measured about a window" }),
        "rules" => json!({ "allOf": [texts], "description": "ids or names of the rules it is about" }),
        "group-by" => json!({ "allOf": [texts], "description": "fields whose values are counted apart" }),
        "timespan" => {
            json!({ "type": "string", "pattern": "^\\d+[smhdwMy]$", "description": "length of the window, like 5m" })
        }
        "generate" => json!({ "type": "boolean", "description": "whether its rules make alerts of their own" }),
        "aliases" => json!({
            "type": "object",
            "description": "names for fields that are called differently in different rules",
            "additionalProperties": { "type": "object", "additionalProperties": { "type": "string" } }
        }),
        "condition" => {
            let mut properties: Map<String, Value> = words
                .operators
                .iter()
                .map(|name| ((*name).to_owned(), json!({ "type": ["number", "string"] })))
                .collect();
            properties.insert("field".to_owned(), texts);
            properties.insert("percentile".to_owned(), json!({ "type": "number", "minimum": 0, "maximum": 100 }));
            json!({ "oneOf": [
                { "type": "string", "description": "the rules' names with and, or, not" },
                { "type": "object", "properties": properties, "additionalProperties": false }
            ] })
        }
        _ => json!({ "allOf": [texts] }),
    }
}

/// The schema of a document: a rule, a correlation or a filter.
pub fn schema() -> Value {
    let words = vocabulary();
    let names = words.attributes.iter().chain(&words.filter_attributes).chain(&words.policies).copied();
    let properties: Map<String, Value> =
        names.chain(["correlation", "filter"]).map(|name| (name.to_owned(), attribute(name, &words))).collect();
    let keys: Map<String, Value> =
        words.correlation_keys.iter().map(|name| ((*name).to_owned(), key(name, &words))).collect();
    let scalar = json!({ "type": ["string", "number", "boolean", "null"] });
    let item = format!("^[^|]*(\\|({}))*$", words.modifiers.join("|"));
    let conditions = json!({
        "description": "the selections with and, or, not, 1 of, all of",
        "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sigma rule, correlation or filter",
        "type": "object",
        "properties": properties,
        "anyOf": [
            { "required": ["title", "logsource", "detection"] },
            { "required": ["title", "correlation"] },
            { "required": ["title", "logsource", "filter"] },
            { "required": ["action"] }
        ],
        "$defs": {
            "logsource": {
                "type": "object",
                "description": "which events it looks at; `picket fields` lists what this host has",
                "minProperties": 1,
                "properties": { "category": { "type": "string" }, "product": { "type": "string" }, "service": { "type": "string" } }
            },
            "detection": {
                "type": "object",
                "required": ["condition"],
                "properties": { "condition": conditions, "timeframe": false },
                "additionalProperties": { "$ref": "#/$defs/selection" }
            },
            "filter": {
                "type": "object",
                "required": ["rules", "condition"],
                "properties": {
                    "rules": {
                        "description": "ids or names of rules, or any",
                        "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
                    },
                    "condition": { "type": "string" }
                },
                "additionalProperties": { "$ref": "#/$defs/selection" }
            },
            "correlation": {
                "type": "object",
                "required": ["type", "timespan"],
                "properties": keys,
                "additionalProperties": false
            },
            "selection": {
                "oneOf": [
                    { "$ref": "#/$defs/items" },
                    { "type": "array", "minItems": 1, "items": { "oneOf": [{ "$ref": "#/$defs/items" }, scalar] } },
                    scalar
                ]
            },
            "items": {
                "type": "object",
                "description": "field|modifiers: values, all of which must hold",
                "minProperties": 1,
                "properties": {},
                "patternProperties": { (item): { "$ref": "#/$defs/values" } },
                "additionalProperties": false
            },
            "values": { "oneOf": [scalar, { "type": "array", "items": scalar, "minItems": 1 }] }
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kept_schema_is_that_of_the_engine() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rule.schema.json");
        let made = serde_json::to_string_pretty(&super::schema()).unwrap() + "\n";
        if std::env::var_os("PICKET_WRITE_DOCS").is_some() {
            std::fs::write(&file, made).unwrap();
        } else {
            let kept = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(kept == made, "rule.schema.json is out of date: run this test with PICKET_WRITE_DOCS=1");
        }
    }
}
