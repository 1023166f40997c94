//! The compiled engine against an evaluator without any index, on random rules and events: hits must be equal, whatever
//! the batch size and the form of the columns.
//!
//! `PICKET_PROPERTY_ROUNDS` makes it run longer (a round is 1,200 pairs of rule and event, each in four forms), and
//! `PICKET_PROPERTY_SEED` elsewhere.

#[path = "../common/mod.rs"]
mod common;
mod generate;

use common::{Event, Random, matches, model, with_batch};
use picket_sigma::{Evidence, File, Options, Scratch, compile};

const RULES: usize = 30;
const EVENTS: usize = 40;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Filters, and the rules that each is for. A filter has one condition.
fn filters(r: &mut Random) -> Vec<(model::Rule, Vec<u32>)> {
    let filter = |r: &mut Random| {
        let mut filter = generate::rule(r);
        filter.conditions.truncate(1);
        let of = (0..=r.below(4)).map(|_| r.below(RULES) as u32).collect::<std::collections::BTreeSet<_>>();
        (filter, of.into_iter().collect())
    };
    (0..r.below(4)).map(|_| filter(r)).collect()
}

#[test]
fn the_index_finds_what_the_definition_finds() {
    let rounds = setting("PICKET_PROPERTY_ROUNDS", 100);
    let mut r = Random(setting("PICKET_PROPERTY_SEED", 0x2545_f491_4f6c_dd1d).max(1));
    let mut scratch = Scratch::default();
    let (mut checked, mut hit) = (0_u64, 0_u64);
    for round in 0..rounds {
        let rules: Vec<model::Rule> = (0..RULES).map(|_| generate::rule(&mut r)).collect();
        let mut texts: Vec<String> = rules.iter().enumerate().map(|(i, rule)| generate::yaml(rule, i)).collect();
        let filters = filters(&mut r);
        texts.extend(filters.iter().enumerate().map(|(i, (f, of))| generate::filter(f, RULES + i, of)));
        let names: Vec<String> = (0..texts.len()).map(|i| format!("{i}.yml")).collect();
        let files: Vec<File<'_>> =
            texts.iter().zip(&names).map(|(t, name)| File { name, content: t.as_bytes() }).collect();
        let set = compile(&files, &Options::default());
        assert_eq!(set.rules.len(), rules.len(), "{:#?}\n{texts:#?}", set.diagnostics);
        let events: Vec<Event> = (0..EVENTS).map(|_| generate::event(&mut r)).collect();
        let passes = |rule: u32, event: &Event| {
            filters.iter().all(|(filter, of)| !of.contains(&rule) || model::matches(filter, event))
        };
        let expected: Vec<Vec<u32>> = events
            .iter()
            .map(|e| {
                let hit = (0..).zip(&rules).filter(|(i, rule)| model::matches(rule, e) && passes(*i, e));
                hit.map(|(i, _)| i).collect()
            })
            .collect();
        for (size, dictionary) in [(40, true), (40, false), (7, true), (1, false)] {
            for (chunk, expected) in events.chunks(size).zip(expected.chunks(size)) {
                let found = matches(&set, 0, chunk, dictionary, &mut scratch);
                for ((event, found), expected) in chunk.iter().zip(&found).zip(expected) {
                    checked += rules.len() as u64;
                    hit += found.len() as u64;
                    let differs = (0..rules.len() as u32).find(|i| found.contains(i) != expected.contains(i));
                    if let Some(i) = differs {
                        let says = if expected.contains(&i) { "misses" } else { "matches" };
                        panic!("round {round}, batch {size}: the engine {says} {event:?}\n{}", texts[i as usize]);
                    }
                }
            }
        }
        // The explanation takes another way to the same answer.
        with_batch(&set, 0, &events, true, |batch| {
            for (row, expected) in expected.iter().enumerate() {
                for rule in 0..rules.len() as u32 {
                    let nodes = set.explain(rule, batch, row);
                    assert_eq!(nodes[0].holds, expected.contains(&rule), "round {round}: {}", texts[rule as usize]);
                    assert!((1..).zip(&nodes[1..]).all(|(i, n)| n.parent < i), "parents come first");
                    assert!(expected.contains(&rule) || set.evidence(rule, batch, row).is_empty());
                }
            }
            // So does the evidence that is asked for while the row is at hand.
            set.detect(0, batch, &mut scratch, |found| {
                let mut told: Vec<Evidence> = Vec::new();
                found.evidence(|comparison| told.push(comparison.into()));
                let rule = &texts[found.rule() as usize];
                assert_eq!(told, set.evidence(found.rule(), batch, found.row() as usize), "round {round}: {rule}");
            });
        });
    }
    assert!(checked >= rounds * (RULES * EVENTS) as u64 && checked >= 4 * 100_000);
    assert!(hit * 20 > checked && hit * 2 < checked, "{hit} of {checked} make a poor test");
}
