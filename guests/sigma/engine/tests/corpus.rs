//! SigmaHQ's rules for Linux, where they are at hand: each loads, matches events synthesised from its own detection, and
//! misses those in which one literal is another.

mod common;

use common::{Event, corpus, matches, model, read, synthesis};
use picket_sigma::{File, Gravity, Options, RuleSet, Scratch, compile};
use std::path::Path;

fn load(corpus: &[(String, String)], options: &Options) -> RuleSet {
    let files: Vec<File<'_>> = corpus.iter().map(|(name, text)| File { name, content: text.as_bytes() }).collect();
    compile(&files, options)
}

#[test]
fn every_rule_loads() {
    let Some(corpus) = corpus() else { return };
    let set = load(&corpus, &Options::default());
    let bad: Vec<_> = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!((corpus.len(), set.rules.len()), (210, 210));
    let sources: std::collections::HashSet<_> = set.streams.iter().map(|s| &s.source).collect();
    // Three categories, seven services, and product linux alone.
    assert_eq!(sources.len(), 11, "{sources:#?}");
    for rule in &set.rules {
        assert!(rule.author.is_some() && rule.date.is_some() && !rule.tags.is_empty(), "{}", rule.title);
        assert!(rule.line == 1 && rule.description.is_some(), "{}: line {}", rule.title, rule.line);
    }
}

#[test]
fn every_rule_matches_what_it_describes_and_misses_what_is_near() {
    let Some(corpus) = corpus() else { return };
    let (own, all) = (Options::default(), Options { all_log_sources: true, ..Options::default() });
    let (by_source, together) = (load(&corpus, &own), load(&corpus, &all));
    let mut scratch = Scratch::default();
    let mut hit = |set: &RuleSet, rule: usize, event: &Event| {
        let stream = set.rules[rule].stream as usize;
        matches(set, stream, std::slice::from_ref(event), true, &mut scratch).remove(0)
    };
    let models: Vec<model::Rule> = corpus.iter().map(|(_, text)| read::rule(text).unwrap()).collect();
    let (mut events, mut near, mut misses, mut unsolved) = (0, 0, 0, 0);
    for (number, (name, _)) in corpus.iter().enumerate() {
        assert_eq!(*name, by_source.rules[number].file);
        let definition = &models[number];
        let (alternatives, failed) = synthesis::alternatives(definition);
        assert!(!alternatives.is_empty(), "{name}: no event could be made");
        unsolved += failed;
        let missed = misses;
        for (i, alternative) in alternatives.iter().enumerate() {
            events += 1;
            assert!(
                hit(&by_source, number, &alternative.event).contains(&(number as u32)),
                "{name}: {:?}",
                alternative.event
            );
            for event in &alternative.near {
                let expected = model::matches(definition, event);
                let found = hit(&by_source, number, event).contains(&(number as u32));
                assert_eq!(found, expected, "{name}: near {:?}: {event:?}", alternative.event);
                near += 1;
                misses += usize::from(!expected);
            }
            // What one rule describes, all the others are asked about, too.
            if i == 0 {
                let expected: Vec<u32> =
                    (0..).zip(&models).filter(|(_, m)| model::matches(m, &alternative.event)).map(|(i, _)| i).collect();
                assert_eq!(hit(&together, number, &alternative.event), expected, "{name}: {:?}", alternative.event);
            }
        }
        assert!(misses > missed, "{name}: no near miss misses");
    }
    println!("{events} events, {near} near, of which {misses} miss; {unsolved} alternatives cannot be satisfied");
    assert!(events > 1_100 && misses * 10 > near * 9 && unsolved == 0, "{events} {near} {misses} {unsolved}");
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
