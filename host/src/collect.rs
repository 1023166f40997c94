//! What the kernel side is asked for: kinds from the guests' subscriptions, paths from their `where` clauses, and what
//! the configuration leaves out.
//!
//! A path is left out only where every subscription of its kind has a clause that the path does not meet. What a clause
//! leaves out, its guest has declared to be of no use to it.

use std::sync::Arc;

use crate::config::{CollectConfig, Filesystem};
use crate::dns;
use crate::generation::{Generation, Interest};
use crate::guest::Subscription;
use crate::kind::{Access, Catalogue, KINDS, KindId, Op};
use crate::lane::Lane;
use crate::sensor::ebpf::{Ignore, InterestSet, PathOp, PathTest, Paths, Wish};

/// The paths of one kind that subscriptions ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindPaths {
    /// By those that take all rows of it.
    pub all: Paths,
    /// By those that take only the rows of a narrower log source.
    pub narrow: Paths,
}

/// By kind, what the subscriptions of these lanes ask for.
pub fn paths_of<'l>(lanes: impl Iterator<Item = &'l Arc<Lane>>, catalogue: &Catalogue) -> Vec<KindPaths> {
    let mut kinds = vec![KindPaths::default(); KINDS.len()];
    for subscription in lanes.flat_map(|l| &l.guest.plan.subscriptions) {
        for kind in subscription.selection.wanted() {
            let slot = &mut kinds[kind.0 as usize];
            let part = if subscription.selection.takes_all(kind) { &mut slot.all } else { &mut slot.narrow };
            *part = std::mem::take(part).or(&asked(subscription, kind, catalogue));
        }
    }
    kinds
}

/// Whether the kernel side leaves out rows of a kind because of their paths.
pub fn leaves_out_paths(generation: &Generation, kind: KindId) -> bool {
    let some = |paths: &Paths| matches!(paths, Paths::Some(_));
    let paths = generation.paths.get(kind.0 as usize).filter(|_| generation.collect.path_filters);
    paths.is_some_and(|p| some(&p.all) || some(&p.narrow))
}

/// The paths of a kind that a subscription asks for: those of its sharpest clause on the field that the kernel side knows.
fn asked(subscription: &Subscription, kind: KindId, catalogue: &Catalogue) -> Paths {
    let known = |field: &str| match catalogue.resolve(Some(&subscription.selection), field).access {
        Access::Cells(cells) => {
            cells[kind.0 as usize].first().is_some_and(|&f| KINDS[kind.0 as usize].fields[f as usize].in_kernel)
        }
        _ => false,
    };
    let op = |op| match op {
        Op::Equals => PathOp::Equals,
        Op::Prefix => PathOp::Prefix,
        Op::Suffix => PathOp::Suffix,
        Op::Contains => PathOp::Contains,
    };
    let clauses = subscription.clauses.iter().filter(|c| known(&c.field));
    clauses.min_by_key(|c| op(c.op)).map_or(Paths::Everything, |clause| {
        Paths::Some(clause.any_of.iter().map(|text| PathTest { op: op(clause.op), text: text.clone() }).collect())
    })
}

/// What the kernel side is told while these generations are live together. Where they ask for different paths of a kind,
/// all of them pass for that moment.
pub fn interest_set(generations: &[&Generation], every_open: bool) -> InterestSet {
    let mut set = InterestSet::default();
    for (number, kind) in KINDS.iter().enumerate() {
        let Some(record) = picket_ebpf::Kind::from_id(kind.record) else { continue };
        let of = |g: &Generation| g.paths.get(number).filter(|_| g.collect.path_filters).cloned();
        let same = generations.windows(2).all(|two| of(two[0]) == of(two[1]));
        for generation in generations {
            let wanted = generation.interest.get(number).copied().unwrap_or_default();
            let narrow = wanted == Interest::Narrow && !every_open;
            let wish = match of(generation).filter(|_| same) {
                None => Wish::ALL,
                // Its narrow rows cannot be told apart there.
                Some(paths) if every_open || kind.narrow == 0 => {
                    Wish { any: paths.all.or(&paths.narrow), change: Paths::Nothing }
                }
                Some(paths) => Wish { any: paths.all, change: paths.narrow },
            };
            if wanted != Interest::None {
                set.add_paths(record, if narrow { kind.narrow } else { 0 }, &wish);
            }
        }
    }
    // A connection that somebody looks at has the names of its peer, whether or not responses are looked at.
    let wanted =
        |number: usize| generations.iter().any(|g| g.interest.get(number).is_some_and(|w| *w != Interest::None));
    if KINDS.iter().enumerate().any(|(number, kind)| wanted(number) && dns::is_named(kind)) {
        let teachers = KINDS.iter().filter(|kind| dns::teaches(kind));
        teachers.filter_map(|kind| picket_ebpf::Kind::from_id(kind.record)).for_each(|kind| set.add(kind, 0));
    }
    set
}

/// What the configuration leaves out.
pub fn ignore(config: &CollectConfig) -> Ignore {
    let magic = |f: &Filesystem| match f {
        Filesystem::Cgroup => 0x0027_e0eb,
        Filesystem::Cgroup2 => 0x6367_7270,
        Filesystem::Debugfs => 0x6462_6720,
        Filesystem::Devpts => 0x1cd1,
        Filesystem::Proc => 0x9fa0,
        Filesystem::Sysfs => 0x6265_6572,
        Filesystem::Tracefs => 0x7472_6163,
    };
    Ignore {
        binaries: config.ignore_binaries.clone(),
        cgroups: config.ignore_cgroups.clone(),
        only_cgroups: config.only_cgroups.clone(),
        filesystems: config.ignore_filesystems.iter().map(magic).collect(),
        rate: config.max_per_process,
    }
}

/// The setting that has the kernel side leave something out for this reason, if it is one.
pub fn knob(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "path" => "collect.path_filters",
        "binary" => "collect.ignore_binaries",
        "cgroup" => "collect.ignore_cgroups, collect.only_cgroups",
        "filesystem" => "collect.ignore_filesystems",
        "throttled" => "collect.max_per_process",
        "own" => "sensor.self_exclude",
        "class" => "file_event",
        _ => return None,
    })
}
