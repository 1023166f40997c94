//! The rules of SigmaHQ for the three log sources that the sensor feeds, where they are at hand.

use picket_sigma::{File, Gravity, Options, compile};
use std::path::Path;

#[test]
fn every_rule_loads() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/corpora/sigmahq-linux");
    if !corpus.is_dir() {
        println!("skipped: no SigmaHQ rules at {}", corpus.display());
        return;
    }
    let mut files = Vec::new();
    for (folder, count) in [("process_creation", 122), ("file_event", 8), ("network_connection", 5)] {
        let before = files.len();
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "yml") {
                files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
        assert_eq!(files.len() - before, count, "{folder}");
    }
    files.sort();
    let files: Vec<File<'_>> = files.iter().map(|(name, content)| File { name, content }).collect();
    let set = compile(&files, &Options::default());
    let bad: Vec<_> = set.diagnostics.iter().filter(|d| d.gravity != Gravity::Hint).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(set.rules.len(), 135);
    let sources: std::collections::HashSet<_> = set.streams.iter().map(|s| &s.source).collect();
    assert_eq!(sources.len(), 3);
    for rule in &set.rules {
        assert!(rule.author.is_some() && rule.date.is_some() && !rule.tags.is_empty(), "{}", rule.title);
        assert!(rule.line == 1 && rule.description.is_some() && !rule.falsepositives.is_empty(), "{}", rule.title);
    }
    println!("hints: {:#?}", set.diagnostics);
}

/// All rule files below `folder`.
fn rules_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "yml") && !name.ends_with(".test.yml") {
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Rules that hundreds of people have looked at: what hygiene finds there it finds wrongly.
#[test]
fn hygiene_finds_nothing_in_good_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    for (folder, count) in [("../shared/corpora/sigmahq-linux", 210), ("rules", 50)] {
        let folder = root.join(folder);
        if !folder.is_dir() {
            println!("skipped: no rules at {}", folder.display());
            continue;
        }
        let files = rules_below(&folder);
        let files: Vec<File<'_>> = files.iter().map(|(name, content)| File { name, content }).collect();
        let set = compile(&files, &Options { hygiene: true, ..Options::default() });
        assert!(set.diagnostics.is_empty(), "{:#?}", set.diagnostics);
        assert!(set.rules.len() >= count, "{}", set.rules.len());
    }
}
