//! JSON Schema of rules, for editors: what the Sigma guest reads, with the log sources and fields of this host.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::kind::{KINDS, ProcessField, SYSTEM};

/// Made from the tables of the Sigma engine; see `guests/sigma/src/schema.rs`.
const READ: &str = include_str!("../../guests/sigma/rule.schema.json");

/// The schema of a rule, correlation or filter.
pub fn schema() -> Json {
    let mut schema: Json = serde_json::from_str(READ).unwrap_or_default();
    let categories: BTreeSet<&str> = KINDS.iter().flat_map(|k| k.sources).map(|s| s.category).chain(["ebpf"]).collect();
    // Rules for other hosts are none the worse, so these are offered, not demanded.
    let offered = |words: &[&str]| json!({ "anyOf": [{ "enum": words }, { "type": "string" }] });
    let source = &mut schema["$defs"]["logsource"]["properties"];
    source["category"] = offered(&categories.into_iter().collect::<Vec<_>>());
    source["product"] = offered(&["linux"]);
    let mut fields: BTreeMap<String, &str> = BTreeMap::new();
    for (_, path, sigma, _, about) in ProcessField::TABLE {
        fields.extend(sigma.iter().chain([path]).map(|name| ((*name).to_owned(), *about)));
    }
    for (root, all) in KINDS.iter().map(|k| ("EventData", k.fields)).chain([("System", SYSTEM)]) {
        for field in all {
            let path = format!("{root}.{}", field.path);
            let names = field.sigma.iter().map(|s| (*s).to_owned()).chain([path]);
            for name in names {
                fields.entry(name).or_insert(field.doc);
            }
        }
    }
    let values = json!({ "$ref": "#/$defs/values" });
    let described = |about: &str| json!({ "allOf": [values.clone()], "description": about });
    let names: serde_json::Map<String, Json> =
        fields.into_iter().map(|(name, about)| (name, described(about))).collect();
    schema["$defs"]["items"]["properties"] = Json::Object(names);
    schema
}
