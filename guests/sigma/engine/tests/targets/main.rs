//! The fuzzing targets, run over their committed corpora and some thousand inputs made from these. `PICKET_FUZZ_SECONDS`
//! makes each go on with other inputs for so long, where there is no libFuzzer.

#[path = "../common/mod.rs"]
mod common;
mod correlation;
mod mutate;
#[path = "../common/correlation.rs"]
mod support;
mod targets;

use common::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

fn check(name: &str, target: targets::Target, data: &[u8]) {
    let held = catch_unwind(AssertUnwindSafe(|| target(data))).is_ok();
    assert!(held, "{name} fails on {:?}", String::from_utf8_lossy(data));
}

#[test]
fn every_target_holds_on_its_corpus_and_around_it() {
    let seconds = std::env::var("PICKET_FUZZ_SECONDS").map_or(0, |s| s.parse().expect("a number"));
    let correlation: (&str, targets::Target) = ("correlation", correlation::correlation);
    for (name, target) in targets::ALL.iter().chain([&correlation]) {
        let corpus = corpus(name);
        assert!(corpus.len() >= 20, "{name}: {} inputs", corpus.len());
        for data in &corpus {
            check(name, *target, data);
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut r = Random(0x9e37_79b9_7f4a_7c15 ^ seconds);
        let mut count = 0;
        while count < 2_000 || Instant::now() < until {
            check(name, *target, &mutate::mutate(&corpus, &mut r));
            count += 1;
        }
        println!("{name}: {} inputs of the corpus, {count} others", corpus.len());
    }
}
