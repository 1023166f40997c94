//! docs/sigma.md against what it speaks of: clauses, tests and codes that are not there are told.

use regex::Regex;
use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn page() -> String {
    read("../../../docs/sigma.md")
}

/// Text of every source file of the engine.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    text
}

#[test]
fn every_clause_it_names_has_cases() {
    let cases = read("tests/cases.yml") + &read("tests/refusals.yml");
    let named = Regex::new("`(S:[^`]+)`").unwrap();
    let page = page();
    let clauses: BTreeSet<&str> = named.captures_iter(&page).map(|c| c.get(1).unwrap().as_str()).collect();
    assert!(clauses.len() >= 25, "{}", clauses.len());
    let missing: Vec<&&str> = clauses.iter().filter(|c| !cases.contains(&format!("\"{c}"))).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn every_test_it_names_is_there() {
    let named = Regex::new(r"`(\w+\.rs)::(\w+)`").unwrap();
    let page = page();
    let mut count = 0;
    for found in named.captures_iter(&page) {
        count += 1;
        let text = read(&format!("tests/{}", &found[1]));
        assert!(text.contains(&format!("fn {}(", &found[2])), "{} has no {}", &found[1], &found[2]);
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn every_code_is_explained() {
    let codes = Regex::new(r#"(?:Finding::(?:error|warning|hint)|Problem::new|error|hint)\(\s*[^"();]*(?:\([^()]*\)[^"();]*)*"([a-z0-9]+(?:-[a-z0-9]+)+)""#).unwrap();
    let sources = sources();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs");
    let pages = std::fs::read_dir(docs).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    let pages: String = pages.map(|p| std::fs::read_to_string(p).unwrap()).collect();
    let found: BTreeSet<&str> = codes.captures_iter(&sources).map(|c| c.get(1).unwrap().as_str()).collect();
    assert!(found.len() >= 50, "{found:?}");
    let missing: Vec<&&str> = found.iter().filter(|c| !pages.contains(&format!("`{c}`"))).collect();
    assert!(missing.is_empty(), "in no page of docs/: {missing:?}");
}
