//! Events written by hand, for rule tests: a few named fields become a whole event of the model's shape.

use serde_json::{Map, Value as Json, json};

use super::field::{ProcessField, ProcessLine};
use super::{Catalogue, KINDS, Kind, KindId, SYSTEM, Type};

/// Why a hand-written event cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("`kind` is missing; one of {}", kinds())]
    NoKind,
    #[error("unknown kind `{kind}`; one of {}", kinds())]
    UnknownKind { kind: String },
    #[error("unknown field `{field}`{hint}")]
    UnknownField { field: String, hint: String },
}

fn kinds() -> String {
    KINDS.iter().map(|k| k.name).collect::<Vec<_>>().join(", ")
}

/// Builds an event of the model's shape from Sigma names and dotted paths; `kind` names the kind.
pub fn build(fields: &Map<String, Json>) -> Result<Json, BuildError> {
    let name = fields.get("kind").and_then(Json::as_str).ok_or(BuildError::NoKind)?;
    let kind = KindId::by_name(name)
        .and_then(KindId::spec)
        .ok_or_else(|| BuildError::UnknownKind { kind: name.to_owned() })?;
    let mut event = skeleton(kind);
    for (name, value) in fields.iter().filter(|(n, _)| *n != "kind") {
        if put_of_process(&mut event, name, value) {
            continue;
        }
        let path = path_of(kind, name, value).ok_or_else(|| {
            let hint = match Catalogue::default().nearest(name) {
                Some(near) if near == *name => format!(" of {}; another kind has it", kind.name),
                Some(near) => format!(", did you mean `{near}`?"),
                None => String::new(),
            };
            BuildError::UnknownField { field: name.clone(), hint }
        })?;
        put(&mut event, &path, value.clone());
    }
    complete(kind, &mut event, fields);
    Ok(event)
}

/// Gives a field of an event another value, of the type that it has there. With `must` also a field that is not there.
pub fn alter(kind: &Kind, event: &mut Json, name: &str, value: &str, must: bool) {
    let text = Json::from(value);
    let Some(path) = path_of(kind, name, &text) else { return };
    let there = event.pointer(&format!("/{}", path.replace('.', "/"))).filter(|v| !v.is_null());
    let value = match there {
        None if !must => return,
        Some(Json::Number(_)) => value.parse::<u64>().map_or(text, Json::from),
        Some(Json::Bool(truth)) => (!truth).into(),
        Some(Json::Array(_)) => json!([value]),
        _ => text,
    };
    put(event, &path, value);
}

/// An event with every key of its kind, empty.
fn skeleton(kind: &Kind) -> Json {
    let time = "2026-01-01T00:00:00Z";
    let mut system = Map::new();
    for field in SYSTEM.iter().filter(|f| f.always) {
        let value = match field.ty {
            Type::Time => json!(time),
            Type::Unsigned => json!(0),
            _ => json!(""),
        };
        system.insert(field.path.to_owned(), value);
    }
    system["EventName"] = kind.name.into();
    system["EventID"] = kind.event_id.into();
    for (key, pid) in [("ProcessID", 4242), ("ThreadID", 4242), ("HostProcessID", 4242), ("HostThreadID", 4242)] {
        system[key] = pid.into();
    }
    let mut event = json!({ "Timestamp": time, "EventType": kind.name, "System": system, "EventData": {} });
    for field in kind.fields.iter().filter(|f| f.always) {
        put(&mut event, &format!("EventData.{}", field.path), Json::Null);
    }
    event
}

fn line_of(name: &str) -> Option<&'static ProcessLine> {
    ProcessField::TABLE.iter().find(|(_, path, sigma, ..)| *path == name || sigma.contains(&name))
}

/// Writes those attributes of a process that no single key of the JSON holds.
fn put_of_process(event: &mut Json, name: &str, value: &Json) -> bool {
    let Some((field, ..)) = line_of(name) else { return false };
    if let Some(key) = field.ancestors_key() {
        let one = std::slice::from_ref(value);
        for (i, item) in value.as_array().map_or(one, Vec::as_slice).iter().enumerate() {
            put(event, &format!("context.ancestors.{i}.{key}"), item.clone());
        }
        return true;
    }
    let sha256 = |text: &str| text.split(',').find_map(|h| h.strip_prefix("SHA256=")).map(str::to_owned);
    match (field, value.as_str().and_then(sha256)) {
        (ProcessField::Hashes, digits) => {
            put(event, "context.process.sha256", digits.into());
            true
        }
        _ => false,
    }
}

/// The JSON path a name stands for.
fn path_of(kind: &Kind, name: &str, value: &Json) -> Option<String> {
    if let Some((_, path, ..)) = line_of(name) {
        // The parent is the first ancestor.
        return Some(match path.strip_prefix("context.parent.") {
            Some(key) => format!("context.ancestors.0.{key}"),
            None => (*path).to_owned(),
        });
    }
    if let Some(field) = SYSTEM.iter().find(|f| f.sigma.contains(&name)) {
        return Some(format!("System.{}", field.path));
    }
    let v6 = value.as_str().is_some_and(|v| v.contains(':'));
    let own = |f: &&super::Field| f.sigma.contains(&name) && (!f.path.contains("sin") || f.path.contains("sin6") == v6);
    if let Some(field) = kind.fields.iter().find(own) {
        return Some(format!("EventData.{}", field.path));
    }
    let known = name.split_once('.').is_some_and(|(root, _)| matches!(root, "System" | "EventData" | "context"));
    known.then(|| name.to_owned())
}

fn put(event: &mut Json, path: &str, value: Json) {
    let mut at = event;
    for part in path.split('.') {
        if let Ok(index) = part.parse::<usize>() {
            if !at.is_array() {
                *at = json!([]);
            }
            let Json::Array(items) = at else { return };
            while items.len() <= index {
                items.push(json!({}));
            }
            at = &mut items[index];
        } else {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[part];
        }
    }
    *at = value;
}

/// What follows from what was given: a started program has the arguments and the path of its process.
fn complete(kind: &Kind, event: &mut Json, given: &Map<String, Json>) {
    let starts = kind.sources.iter().any(|s| s.category == "process_creation");
    if starts {
        let text = |event: &Json, pointer: &str| event.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
        if event["EventData"]["argv"].is_null()
            && let Some(line) = text(event, "/EventData/ProcInfo/CommandLine")
        {
            event["EventData"]["argv"] = line.split_whitespace().collect::<Vec<_>>().into();
        }
        if let Some(exe) = text(event, "/EventData/ProcInfo/Exe") {
            for key in ["pathname", "cmdpath"] {
                if event["EventData"][key].is_null() {
                    event["EventData"][key] = exe.clone().into();
                }
            }
        }
    }
    let v6 = |event: &Json, side: &str| event["EventData"][side].get("sin6_addr").is_some();
    for side in ["remote_addr", "local_addr"] {
        let named = given.keys().any(|k| k.contains("sa_family"));
        if event["EventData"].get(side).is_some_and(Json::is_object) && !named {
            let family = if v6(event, side) { "AF_INET6" } else { "AF_INET" };
            event["EventData"][side]["sa_family"] = family.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(fields: &Json) -> Json {
        build(fields.as_object().unwrap()).unwrap()
    }

    #[test]
    fn names_become_paths() {
        let e = built(&json!({ "kind": KINDS[0].name, "Image": "/usr/bin/nc.openbsd", "CommandLine": "nc -l",
            "ParentImage": "/bin/sh", "User": "root", "LogonId": 7 }));
        assert_eq!(e["EventData"]["pathname"], "/usr/bin/nc.openbsd");
        assert_eq!(e["EventData"]["argv"], json!(["nc", "-l"]));
        assert_eq!(e["context"]["ancestors"][0]["exe"], "/bin/sh");
        assert_eq!(e["System"]["UserID"], 7);
    }

    #[test]
    fn lists_of_ancestors_and_hashes_find_their_places() {
        let e = built(&json!({ "kind": KINDS[0].name, "Ancestors": ["/bin/sh", "/usr/sbin/nginx"],
            "@ancestors.User": "www-data", "Hashes": "MD5=0,SHA256=ab12", "ContainerLabels": ["app=web"] }));
        assert_eq!(e["context"]["ancestors"][1]["exe"], "/usr/sbin/nginx");
        assert_eq!(e["context"]["ancestors"][0]["user"], "www-data");
        assert_eq!(e["context"]["process"]["sha256"], "ab12");
        assert_eq!(e["context"]["container"]["labels"], json!(["app=web"]));
    }

    #[test]
    fn addresses_choose_their_family() {
        let connect = KINDS.iter().find(|k| k.fields.iter().any(|f| f.sigma.contains(&"DestinationIp"))).unwrap();
        let e = built(&json!({ "kind": connect.name, "DestinationIp": "::1", "DestinationPort": "53" }));
        assert_eq!(e["EventData"]["remote_addr"]["sin6_addr"], "::1");
        assert_eq!(e["EventData"]["remote_addr"]["sa_family"], "AF_INET6");
    }

    #[test]
    fn wrong_names_are_told() {
        let error = build(json!({ "kind": KINDS[0].name, "Imgae": "x" }).as_object().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "unknown field `Imgae`, did you mean `Image`?");
        let listen = KINDS.iter().find(|k| k.fields.iter().any(|f| f.sigma.contains(&"DestinationIp"))).unwrap();
        let error = build(json!({ "kind": listen.name, "QueryName": "x" }).as_object().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("unknown field `QueryName` of {}; another kind has it", listen.name));
    }
}
