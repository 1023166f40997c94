//! What low-value rules found, kept for the alerts that come after: who looks at an alert sees what its process tree did before.

use std::collections::{HashMap, VecDeque};

use schemars::JsonSchema;
use serde::Serialize;

use crate::detection::Level;
use crate::process::{Key, Process};

/// Hits that one alert shows, the newest.
const SHOWN: usize = 20;

/// How the process of a hit is related to that of the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// It is the same process.
    Same,
    /// The hit was further up the tree.
    Ancestor,
    /// The hit was further down.
    Descendant,
    /// Both were started by one process.
    Sibling,
}

/// What a low-value rule found before, in the process tree of the alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ContextHit {
    /// Id of the alert that it would have been.
    pub id: String,
    /// Id of the rule.
    pub rule: String,
    pub title: String,
    pub level: Level,
    /// Of its event, RFC 3339.
    pub time: String,
    pub pid: u32,
    /// Where its process stands, seen from the alert's.
    pub relation: Relation,
}

/// A hit as it is kept.
struct Kept {
    hit: ContextHit,
    own: Key,
    ancestors: Vec<Key>,
}

/// Which hits a process leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Own,
    /// Its parent; not the first processes of the host, from which everything descends.
    Parent,
    Ancestor,
}

/// The newest hits, by the processes they belong to.
pub struct Context {
    most: usize,
    /// Number of the oldest hit.
    first: u64,
    kept: VecDeque<Kept>,
    by: HashMap<(Role, Key), VecDeque<u64>>,
}

/// The first processes of a host and of its kernel: being below them is no relation.
fn is_root(key: Key) -> bool {
    key.tgid <= 2
}

impl Context {
    /// Keeps so many hits.
    pub fn new(most: usize) -> Context {
        Context { most, first: 0, kept: VecDeque::new(), by: HashMap::new() }
    }

    /// Keeps a hit; whether an older one had to go for it.
    pub fn add(&mut self, process: &Process, hit: ContextHit) -> bool {
        if self.most == 0 {
            return true;
        }
        let full = self.kept.len() >= self.most;
        if full {
            self.forget();
        }
        let own = process.image.key;
        let ancestors: Vec<Key> = process.ancestors.iter().map(|a| a.key).filter(|k| !is_root(*k)).collect();
        let kept = Kept { hit, own, ancestors };
        let number = self.first + self.kept.len() as u64;
        for place in places(&kept) {
            self.by.entry(place).or_default().push_back(number);
        }
        self.kept.push_back(kept);
        full
    }

    fn forget(&mut self) {
        let Some(gone) = self.kept.pop_front() else { return };
        for place in places(&gone) {
            // Numbers are added in order, so the oldest one is in front everywhere.
            if let Some(numbers) = self.by.get_mut(&place) {
                numbers.pop_front();
                if numbers.is_empty() {
                    self.by.remove(&place);
                }
            }
        }
        self.first += 1;
    }

    /// What is known about the tree of a process, the oldest first.
    pub fn of(&self, process: &Process) -> Vec<ContextHit> {
        if self.kept.is_empty() {
            return Vec::new();
        }
        let own = process.image.key;
        let mut found: Vec<(u64, Relation)> = Vec::new();
        let mut take = |role: Role, key: Key, relation: Relation| {
            if let Some(numbers) = self.by.get(&(role, key)) {
                found.extend(numbers.iter().rev().take(SHOWN).map(|n| (*n, relation)));
            }
        };
        take(Role::Own, own, Relation::Same);
        if !is_root(own) {
            take(Role::Ancestor, own, Relation::Descendant);
        }
        let ancestors = || process.ancestors.iter().map(|a| a.key);
        ancestors().filter(|k| !is_root(*k)).for_each(|key| take(Role::Own, key, Relation::Ancestor));
        if let Some(parent) = ancestors().next().filter(|k| !is_root(*k)) {
            take(Role::Parent, parent, Relation::Sibling);
        }
        // A process is its own sibling, too: the nearer relation is the smaller one.
        found.sort_unstable_by_key(|(number, relation)| (std::cmp::Reverse(*number), *relation));
        found.dedup_by_key(|(number, _)| *number);
        found.truncate(SHOWN);
        let hit = |(number, relation): (u64, Relation)| {
            let kept = self.kept.get((number - self.first) as usize)?;
            Some(ContextHit { relation, ..kept.hit.clone() })
        };
        found.into_iter().rev().filter_map(hit).collect()
    }
}

fn places(kept: &Kept) -> impl Iterator<Item = (Role, Key)> {
    let parent = kept.ancestors.first().map(|k| (Role::Parent, *k));
    let ancestors = kept.ancestors.iter().map(|k| (Role::Ancestor, *k));
    std::iter::once((Role::Own, kept.own)).chain(parent).chain(ancestors)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::process::Image;

    /// A process with its ancestors, nearest first.
    fn process(chain: &[u32]) -> Process {
        let image = |pid: &u32| Arc::new(Image { key: Key { tgid: *pid, start: 7 }, ..Image::default() });
        let ancestors = chain[1..].iter().map(image).collect();
        Process { id: 0, image: image(&chain[0]), ancestors }
    }

    fn hit(id: &str) -> ContextHit {
        let (id, rule, title) = (id.to_owned(), String::new(), String::new());
        ContextHit { id, rule, title, level: Level::Low, time: String::new(), pid: 0, relation: Relation::Same }
    }

    fn seen(context: &Context, chain: &[u32]) -> Vec<(String, Relation)> {
        context.of(&process(chain)).into_iter().map(|h| (h.id, h.relation)).collect()
    }

    #[test]
    fn an_alert_sees_its_process_tree_and_nobody_elses() {
        let mut context = Context::new(100);
        for (id, chain) in [
            ("same", &[50, 40, 1][..]),
            ("parent", &[40, 1]),
            ("child", &[60, 50, 40, 1]),
            ("sibling", &[51, 40, 1]),
            ("nephew", &[61, 51, 40, 1]),
            ("init", &[1]),
            ("stranger", &[90, 80, 1]),
        ] {
            assert!(!context.add(&process(chain), hit(id)));
        }
        let expected = [
            ("same", Relation::Same),
            ("parent", Relation::Ancestor),
            ("child", Relation::Descendant),
            ("sibling", Relation::Sibling),
        ];
        assert_eq!(seen(&context, &[50, 40, 1]), expected.map(|(id, r)| (id.to_owned(), r)));
        // Children of the host's first process have nothing to do with each other.
        assert_eq!(seen(&context, &[99, 1]), []);
        let mut reused = process(&[50, 1]);
        reused.image = Arc::new(Image { key: Key { tgid: 50, start: 8 }, ..Image::default() });
        assert_eq!(context.of(&reused), [], "a pid that was used again is another process");
    }

    #[test]
    fn the_newest_are_kept_and_shown() {
        let mut context = Context::new(30);
        let evicted = (0..100).filter(|n| context.add(&process(&[50, 40]), hit(&n.to_string()))).count();
        assert_eq!(evicted, 70);
        let ids: Vec<String> = context.of(&process(&[50, 40])).into_iter().map(|h| h.id).collect();
        assert_eq!(ids, (80..100).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(context.by.len(), 3, "the index forgets with the hits");
        let mut none = Context::new(0);
        assert!(none.add(&process(&[5]), hit("x")));
        assert_eq!(none.of(&process(&[5])), []);
    }
}
