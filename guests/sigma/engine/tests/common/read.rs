//! From a rule's YAML to the [`model`](super::model), by other code than the engine's.

use super::model::{Check, Item, Rule, Term};
use serde_json::Value;

/// Reads the detection of a rule. The error names what the model does not know.
pub fn rule(yaml: &str) -> Result<Rule, String> {
    let rule: Value = serde_saphyr::from_str(yaml).map_err(|e| e.to_string())?;
    let detection = rule["detection"].as_object().ok_or("no detection")?;
    let (mut names, mut selections) = (Vec::new(), Vec::new());
    for (name, body) in detection.iter().filter(|(name, _)| *name != "condition") {
        names.push(name.as_str());
        selections.push(selection(body)?);
    }
    let conditions = match &detection["condition"] {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    };
    let conditions = conditions.into_iter().map(|c| condition(c.as_str().ok_or("no condition")?, &names));
    Ok(Rule { conditions: conditions.collect::<Result<_, _>>()?, selections })
}

fn selection(body: &Value) -> Result<Vec<Vec<Item>>, String> {
    let map = |m: &serde_json::Map<String, Value>| m.iter().map(|(k, v)| item(k, v)).collect::<Result<Vec<_>, _>>();
    match body {
        Value::Object(m) => Ok(vec![map(m)?]),
        Value::Array(list) => list.iter().map(|e| e.as_object().map_or_else(|| Ok(vec![item("", e)?]), map)).collect(),
        scalar => Ok(vec![vec![item("", scalar)?]]),
    }
}

fn item(key: &str, value: &Value) -> Result<Item, String> {
    let (field, modifiers) = key.split_once('|').unwrap_or((key, ""));
    let modifiers: Vec<&str> = modifiers.split('|').filter(|m| !m.is_empty()).collect();
    let has = |name: &str| modifiers.contains(&name);
    let values: Vec<&Value> = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
    let first = |names: &[&str]| names.iter().find(|n| has(n)).map(|n| (*n).to_owned());
    let affix = first(&["contains", "startswith", "endswith"]).unwrap_or_default();
    let comparison = first(&["lt", "lte", "gt", "gte"]);
    let known = ["all", "cased", "neq", "re", "i", "m", "s", "exists", "cidr", "fieldref"];
    if let Some(m) = modifiers.iter().find(|m| !known.contains(m) && **m != affix && Some(**m) != comparison.as_deref())
    {
        return Err(format!("modifier {m}"));
    }
    let check = |value: &&Value| {
        let text = || value.as_str().map(str::to_owned).ok_or(format!("{key}: {value}"));
        Ok(match value {
            _ if has("re") => Check::Regex(text()?, modifiers.iter().filter(|m| m.len() == 1).copied().collect()),
            _ if has("cidr") => Check::Cidr(text()?),
            _ if has("fieldref") => Check::Same(text()?),
            _ if has("exists") => Check::Exists(value.as_bool().ok_or("exists")?),
            Value::Null => Check::Null,
            Value::Number(n) if comparison.is_none() => Check::Number(n.as_f64().ok_or("number")?),
            Value::Number(n) => Check::Compare(comparison.clone().unwrap_or_default(), n.as_f64().ok_or("number")?),
            Value::String(s) => Check::Text(s.clone()),
            Value::Bool(b) => Check::Text(b.to_string()),
            other => return Err(format!("{key}: {other}")),
        })
    };
    let checks = values.iter().map(check).collect::<Result<_, String>>()?;
    Ok(Item { field: field.to_owned(), affix, cased: has("cased"), all: has("all"), negated: has("neq"), checks })
}

/// or < and < not < of.
fn condition(text: &str, names: &[&str]) -> Result<Term, String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let term = any(&mut words, names)?;
    if words.is_empty() { Ok(term) } else { Err(format!("{words:?} is left of {text}")) }
}

fn any(words: &mut Vec<&str>, names: &[&str]) -> Result<Term, String> {
    let mut term = all(words, names)?;
    while words.pop_if(|w| *w == "or").is_some() {
        term = Term::Or(Box::new(term), Box::new(all(words, names)?));
    }
    Ok(term)
}

fn all(words: &mut Vec<&str>, names: &[&str]) -> Result<Term, String> {
    let mut term = single(words, names)?;
    while words.pop_if(|w| *w == "and").is_some() {
        term = Term::And(Box::new(term), Box::new(single(words, names)?));
    }
    Ok(term)
}

fn single(words: &mut Vec<&str>, names: &[&str]) -> Result<Term, String> {
    let word = words.pop().ok_or("the condition ends early")?;
    match word {
        "not" => Ok(Term::Not(Box::new(single(words, names)?))),
        "(" => {
            let inner = any(words, names)?;
            words.pop_if(|w| *w == ")").map(|_| inner).ok_or("not closed".to_owned())
        }
        "1" | "any" | "all" if words.last() == Some(&"of") => {
            words.pop();
            let pattern = words.pop().ok_or("of what?")?;
            let fits = |name: &str| {
                let hidden = name.starts_with('_') && !pattern.starts_with('_');
                !hidden && (pattern == "them" || glob(pattern.as_bytes(), name.as_bytes()))
            };
            if !(0..names.len()).any(|i| fits(names[i])) {
                return Err(format!("nothing is called {pattern}"));
            }
            let members = (0..names.len()).filter(|i| fits(names[*i])).collect();
            Ok(Term::Of(word == "all", pattern.to_owned(), members))
        }
        name => names.iter().position(|n| *n == name).map(Term::Selection).ok_or(format!("no selection {name}")),
    }
}

/// Position by position: trying every length of every star takes time without end for a row of stars, which fuzzing found.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    // Whether the pattern so far matches so much of the name.
    let mut so_far = vec![false; name.len() + 1];
    so_far[0] = true;
    for p in pattern {
        let matched = |length: usize| match p {
            b'*' => so_far[..=length].contains(&true),
            p => length > 0 && so_far[length - 1] && name[length - 1] == *p,
        };
        so_far = (0..=name.len()).map(matched).collect();
    }
    so_far[name.len()]
}
