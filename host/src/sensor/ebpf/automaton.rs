//! The automaton that the kernel side reads paths with: all wanted texts at once, in one pass over the bytes
//! (Aho-Corasick), with the case of ASCII letters folded and the ends of the path as symbols of their own.
//!
//! It may let more through than was asked for, never less: where texts are too many or too long for the kernel
//! side's table, they are cut; where they have too many different bytes, some share a class.

use std::collections::{BTreeSet, VecDeque};

use picket_ebpf::{PathClasses, PathState};

/// How a path is compared with a text; the case of ASCII letters is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathOp {
    /// It is the text.
    Equals,
    /// It starts with it.
    Prefix,
    /// It ends with it.
    Suffix,
    /// It contains it.
    Contains,
}

/// A question about a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathTest {
    /// How it is compared.
    pub op: PathOp,
    /// With what.
    pub text: Vec<u8>,
}

/// See the module.
pub struct Automaton {
    /// By number; at most [`PathState::STATES`].
    pub states: Vec<PathState>,
    /// Classes of bytes, and the first state.
    pub classes: PathClasses,
}

/// Lengths to cut texts to, in the order in which they are tried.
const CUTS: [usize; 6] = [usize::MAX, 64, 32, 16, 8, 4];
/// Classes before those of bytes.
const FIXED: usize = 3;

impl Automaton {
    /// The automaton for tests with the groups that they belong to; `None` when even the shortest cut leaves too much.
    pub fn new(tests: &[(u32, &PathTest)]) -> Option<Automaton> {
        CUTS.iter().find_map(|&cut| Builder::new(tests, cut)).map(Builder::finish)
    }
}

/// A state on the way: 0 = no such transition yet.
#[derive(Clone)]
struct Node {
    next: [u16; CLASSES],
    groups: u32,
}

const CLASSES: usize = 64;

struct Builder {
    nodes: Vec<Node>,
    of: [u8; 256],
}

impl Builder {
    fn new(tests: &[(u32, &PathTest)], cut: usize) -> Option<Builder> {
        let texts: Vec<(u32, PathOp, Vec<u8>)> = tests.iter().map(|(group, test)| shorten(*group, test, cut)).collect();
        let bytes: BTreeSet<u8> = texts.iter().flat_map(|(_, _, text)| text.iter().copied()).collect();
        let mut of = [PathState::OTHER; 256];
        for (number, &byte) in bytes.iter().enumerate() {
            of[byte as usize] = (FIXED + number).min(CLASSES - 1) as u8;
        }
        for upper in b'A'..=b'Z' {
            of[upper as usize] = of[upper.to_ascii_lowercase() as usize];
        }
        let mut builder = Builder { nodes: vec![Node { next: [0; CLASSES], groups: 0 }], of };
        for (group, op, text) in &texts {
            let mut at = 0;
            if matches!(op, PathOp::Equals | PathOp::Prefix) {
                at = builder.step(at, PathState::START)?;
            }
            for &byte in text {
                at = builder.step(at, builder.of[byte as usize])?;
            }
            if matches!(op, PathOp::Equals | PathOp::Suffix) {
                at = builder.step(at, PathState::END)?;
            }
            builder.nodes[at].groups |= group;
        }
        Some(builder)
    }

    /// The node behind `from`, made if it is not there; `None` when there is no room.
    fn step(&mut self, from: usize, class: u8) -> Option<usize> {
        let known = self.nodes[from].next[class as usize];
        if known != 0 {
            return Some(known as usize);
        }
        let node = self.nodes.len();
        if node >= PathState::STATES {
            return None;
        }
        self.nodes.push(Node { next: [0; CLASSES], groups: 0 });
        self.nodes[from].next[class as usize] = node as u16;
        Some(node)
    }

    /// Fills in the transitions that continue with the longest end of what was read that is a start of a text.
    fn finish(mut self) -> Automaton {
        let mut fail = vec![0_u16; self.nodes.len()];
        let mut open: VecDeque<u16> = self.nodes[0].next.iter().copied().filter(|n| *n != 0).collect();
        while let Some(number) = open.pop_front() {
            let behind = fail[number as usize] as usize;
            self.nodes[number as usize].groups |= self.nodes[behind].groups;
            for class in 0..CLASSES {
                let next = self.nodes[number as usize].next[class];
                let other = self.nodes[behind].next[class];
                if next == 0 {
                    self.nodes[number as usize].next[class] = other;
                } else {
                    fail[next as usize] = other;
                    open.push_back(next);
                }
            }
        }
        let start = u32::from(self.nodes[0].next[PathState::START as usize]);
        let state = |n: Node| PathState { next: n.next, groups: n.groups, reserved: 0 };
        Automaton { states: self.nodes.into_iter().map(state).collect(), classes: PathClasses { of: self.of, start } }
    }
}

/// The test in lower case, cut to `length` bytes.
fn shorten(group: u32, test: &PathTest, length: usize) -> (u32, PathOp, Vec<u8>) {
    let text = test.text.to_ascii_lowercase();
    if text.len() <= length {
        return (group, test.op, text);
    }
    match test.op {
        PathOp::Suffix => (group, PathOp::Suffix, text[text.len() - length..].to_vec()),
        PathOp::Contains => (group, PathOp::Contains, text[..length].to_vec()),
        PathOp::Equals | PathOp::Prefix => (group, PathOp::Prefix, text[..length].to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel side does.
    fn groups(automaton: &Automaton, path: &[u8]) -> u32 {
        let mut state = automaton.classes.start;
        let mut groups = 0;
        for &byte in path {
            let s = &automaton.states[state as usize];
            groups |= s.groups;
            state = u32::from(s.next[automaton.classes.of[byte as usize] as usize]);
        }
        let last = &automaton.states[state as usize];
        groups | last.groups | automaton.states[last.next[PathState::END as usize] as usize].groups
    }

    fn holds(test: &PathTest, path: &[u8]) -> bool {
        let (path, text) = (path.to_ascii_lowercase(), test.text.to_ascii_lowercase());
        match test.op {
            PathOp::Equals => path == text,
            PathOp::Prefix => path.starts_with(&text),
            PathOp::Suffix => path.ends_with(&text),
            PathOp::Contains => text.is_empty() || path.windows(text.len()).any(|w| w == text),
        }
    }

    struct Random(u64);
    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n as u64) as usize
        }
        fn text(&mut self, alphabet: &[u8], most: usize) -> Vec<u8> {
            (0..self.below(most)).map(|_| alphabet[self.below(alphabet.len())]).collect()
        }
        fn test(&mut self, alphabet: &[u8], most: usize) -> PathTest {
            let op = [PathOp::Equals, PathOp::Prefix, PathOp::Suffix, PathOp::Contains][self.below(4)];
            PathTest { op, text: self.text(alphabet, most) }
        }
    }

    #[test]
    fn it_answers_what_the_tests_say() {
        let mut r = Random(0x2545_f491_4f6c_dd1d);
        let (mut held, mut asked) = (0, 0);
        for _ in 0..2_000 {
            let tests: Vec<(u32, PathTest)> =
                (0..=r.below(8)).map(|_| (1 << r.below(4), r.test(b"/aAb\xe2", 6))).collect();
            let pairs: Vec<(u32, &PathTest)> = tests.iter().map(|(g, t)| (*g, t)).collect();
            let automaton = Automaton::new(&pairs).unwrap();
            for _ in 0..20 {
                let path = r.text(b"//aAbB\xe2x", 12);
                let expected = pairs.iter().filter(|(_, t)| holds(t, &path)).fold(0, |all, (g, _)| all | g);
                assert_eq!(groups(&automaton, &path), expected, "{path:?} {tests:?}");
                held += expected.count_ones();
                asked += 4;
            }
        }
        assert!(held * 10 > asked && held * 10 < asked * 9, "{held} of {asked} make a poor test");
    }

    #[test]
    fn more_than_fits_lets_more_through_never_less() {
        let mut r = Random(0x9e37_79b9_7f4a_7c15);
        let every: Vec<u8> = (1..=255).collect();
        let tests: Vec<PathTest> = (0..200).map(|_| r.test(&every, 120)).filter(|t| t.text.len() > 3).collect();
        let pairs: Vec<(u32, &PathTest)> = tests.iter().map(|t| (1, t)).collect();
        let automaton = Automaton::new(&pairs).unwrap();
        assert!(automaton.states.len() <= PathState::STATES);
        for test in &tests {
            for (before, after) in [("", ""), ("/x", ""), ("", "y"), ("/x", "y")] {
                let path = [before.as_bytes(), &test.text, after.as_bytes()].concat();
                let wanted = pairs.iter().any(|(_, t)| holds(t, &path));
                assert!(!wanted || groups(&automaton, &path) == 1, "{path:?}");
            }
        }
        let nothing = (0..1_000).filter(|_| groups(&automaton, &r.text(&every, 40)) == 0).count();
        assert!(nothing > 500, "it still leaves most out: {nothing}");
        let many: Vec<PathTest> =
            (0..5_000_u32).map(|n| PathTest { op: PathOp::Contains, text: format!("{n:04}").into_bytes() }).collect();
        let pairs: Vec<(u32, &PathTest)> = many.iter().map(|t| (1, t)).collect();
        assert!(Automaton::new(&pairs).is_none());
    }
}
