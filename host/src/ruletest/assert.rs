//! What a test says about an alert: values by dotted path over the native format.

use serde_json::{Map, Value as Json};

/// What no alert says as wanted; None = one of them says it all. Told is the alert that comes nearest.
pub fn mismatch(wanted: &Map<String, Json>, alerts: &[&Json]) -> Option<String> {
    let wrong = |alert: &&Json| -> Vec<String> {
        let differs = wanted.iter().filter_map(|(path, want)| {
            let got = at(alert, path);
            // An absent value and null are one: most of the format's parts are null where nothing is known.
            let same = got.map_or(want.is_null(), |got| got == want);
            (!same).then(|| format!("alert {path}: want {want}, got {}", shown(got)))
        });
        differs.collect()
    };
    let nearest = alerts.iter().map(wrong).min_by_key(Vec::len);
    match nearest {
        None => Some("there is no alert of the rule's file to look at".to_owned()),
        Some(wrong) if wrong.is_empty() => None,
        Some(wrong) => Some(wrong.join("; ")),
    }
}

/// The value at a dotted path; a number is a place in a list. Keys may hold dots themselves, like those of labels.
fn at<'j>(value: &'j Json, path: &str) -> Option<&'j Json> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    let mut dots = path.match_indices('.').map(|(at, _)| at);
    let inside = dots.find_map(|dot| {
        let (first, rest) = (&path[..dot], &path[dot + 1..]);
        let inner = match value {
            Json::Array(items) => items.get(first.parse::<usize>().ok()?),
            other => other.get(first),
        };
        at(inner?, rest)
    });
    inside.or_else(|| value.as_array()?.get(path.parse::<usize>().ok()?))
}

fn shown(got: Option<&Json>) -> String {
    const LONGEST: usize = 200;
    let text = got.map_or_else(|| "nothing".to_owned(), Json::to_string);
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_and_what_is_said_of_them() {
        let alert = json!({"severity": "high", "process": {"exe": "/bin/x", "cwd": null},
            "matched": [{"field": "A"}, {"field": "B"}], "labels": {"a.b": {"c": 1}}});
        let said = |wanted: Json, alerts: &[&Json]| mismatch(wanted.as_object().unwrap(), alerts);
        let right = json!({"severity": "high", "process.exe": "/bin/x", "matched.1.field": "B", "labels.a.b.c": 1,
            "process.cwd": null, "no.such": null});
        assert_eq!(said(right, &[&alert]), None);
        let wrong = json!({"severity": "low", "matched.2.field": "B"});
        let other = json!({"severity": "x", "matched": []});
        assert_eq!(
            said(wrong, &[&other, &alert]).unwrap(),
            "alert severity: want \"low\", got \"x\"; alert matched.2.field: want \"B\", got nothing"
        );
        assert_eq!(said(json!({"severity": "high"}), &[&other, &alert]), None, "one alert is enough");
        assert!(said(json!({"severity": "high"}), &[]).unwrap().contains("no alert"));
    }
}
