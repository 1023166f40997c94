//! Rule sets of any size: the corpus, and rules derived from it by giving them words that no other rule has.
//!
//! A derived rule keeps the shape of its original (fields, modifiers, condition, number and length of the values); every
//! word of three or more letters in its values becomes a made-up word of the same length. One rule in four keeps the names
//! of its programs, because many rules are about the same few programs. Regexes stay as they are.

use std::path::Path;

use serde_json::Value;

/// Numbers that look random and are the same everywhere.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.below(2);
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 32) % n as u64) as usize
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

/// A rule as a file, and what it says.
pub struct Rule {
    pub name: String,
    pub text: String,
    pub content: Value,
}

/// Letters about as often as names of programs and options have them.
const LETTERS: &[u8] = b"eeeeeesssssrrrrrttttttnnnnniiiiiooooaaaaaccccllllddduuupppbbmmmggfhkvwxyz";
const SEED: u64 = 4;
/// Rules after so many are derived from those without a regex only.
const REGEXES_UNTIL: usize = 3_000;

/// `count` rules: those of `directory` by name, then derived ones.
pub fn rules(directory: &Path, count: usize) -> Vec<Rule> {
    let mut rules: Vec<Rule> = super::super::rule_files(directory)
        .into_iter()
        .filter_map(|(path, bytes)| {
            let text = String::from_utf8(bytes).ok()?;
            let content: Value = serde_saphyr::from_str(&text).ok()?;
            let source = content.get("logsource")?;
            (source["category"] == "process_creation").then(|| {
                let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
                Rule { name, text, content }
            })
        })
        .collect();
    rules.truncate(count);
    let originals = rules.len();
    assert!(originals > 0, "no rule for process_creation in {}", directory.display());
    let plain: Vec<usize> = (0..originals).filter(|i| !rules[*i].text.contains("|re")).collect();
    for i in originals..count {
        // Real sets have a regex in one rule of thirty, and what all regexes may take up is bounded.
        let original = if i < REGEXES_UNTIL { i % originals } else { plain[i % plain.len()] };
        let derived = derive(&rules[original].content, i as u64);
        // JSON is YAML, too.
        rules.push(Rule { name: format!("derived_{i:05}.yml"), text: derived.to_string(), content: derived });
    }
    rules
}

fn derive(original: &Value, number: u64) -> Value {
    let mut random = Random::new(SEED << 32 | number);
    let keep_programs = random.below(4) == 0;
    let mut rule = original.clone();
    rule["id"] = format!("{SEED:08x}-0000-4000-8000-{number:012x}").into();
    rule["title"] = format!("Derived {number}").into();
    let Some(object) = rule.as_object_mut() else { return rule };
    object.remove("name");
    object.remove("related");
    let before = object["detection"].clone();
    for (name, selection) in object["detection"].as_object_mut().into_iter().flatten() {
        if name != "condition" {
            change(selection, "", keep_programs, &mut random);
        }
    }
    if object["detection"] == before {
        // Nothing but short words: without this it would be a copy of its original.
        let fresh = word(8, &mut random);
        for (_, selection) in
            object["detection"].as_object_mut().into_iter().flatten().filter(|(n, _)| *n != "condition")
        {
            append(selection, "", &fresh);
        }
    }
    rule
}

fn is_program(field: &str) -> bool {
    field.starts_with("Image") || field.starts_with("ParentImage")
}

fn change(value: &mut Value, field: &str, keep_programs: bool, random: &mut Random) {
    match value {
        Value::Object(items) => items.iter_mut().for_each(|(field, v)| change(v, field, keep_programs, random)),
        Value::Array(items) => items.iter_mut().for_each(|v| change(v, field, keep_programs, random)),
        Value::String(text) if !(field.contains("|re") || keep_programs && is_program(field)) => {
            *text = fresh(text, random);
        }
        _ => {}
    }
}

fn append(value: &mut Value, field: &str, word: &str) {
    match value {
        Value::Object(items) => items.iter_mut().for_each(|(field, v)| append(v, field, word)),
        Value::Array(items) => items.iter_mut().for_each(|v| append(v, field, word)),
        Value::String(text) if !field.contains("|re") => text.push_str(word),
        _ => {}
    }
}

fn fresh(text: &str, random: &mut Random) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters >= 3 {
            out.push_str(&word(letters, random));
        } else {
            out.push_str(&rest[..letters]);
        }
        rest = &rest[letters..];
        let other = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len());
        out.push_str(&rest[..other]);
        rest = &rest[other..];
    }
    out
}

fn word(letters: usize, random: &mut Random) -> String {
    (0..letters).map(|_| char::from(*random.pick(LETTERS))).collect()
}
