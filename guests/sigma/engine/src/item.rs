//! Selections: the maps and lists under `detection`, brought down to [`Test`]s.

use crate::diagnostic::{Finding, Place, brief};
use crate::encode::encode;
use crate::expand::{Placeholders, expand};
use crate::modifier::{self, Modifier};
use crate::number::Number;
use crate::pattern::Pattern;
use crate::test::{Affix, Casing, Comparison, Exact, Flags, Network, Regex, Test, Text};
use crate::yaml::{Data, Meaning, Node, locate};
use std::sync::Arc;

/// Regexes of one rule; compiling one may take milliseconds.
const MAX_REGEXES: usize = 500;

/// Bytes of the regexes of all rules: a guest has 128 MB in all.
pub(crate) const MAX_REGEX_BYTES: usize = 32 << 20;
/// Bytes of one value. Wildcards are matched in (length of pattern) x (length of text) steps at worst.
const MAX_VALUE_BYTES: usize = 16 << 10;
/// Comparisons of one rule, and the bytes of their patterns: a short value may stand for 625 with `windash`.
const MAX_TESTS: usize = 100_000;
const MAX_PATTERN_BYTES: usize = 8 << 20;

/// A named part of a rule's detection.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub name: String,
    pub place: Place,
    pub body: Body,
    /// It came with this filter, and its places are in that one's file.
    pub filter: Option<u32>,
    /// It was added by this pipeline, and its places are in that one's file.
    pub pipeline: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    All(Vec<Body>),
    Any(Vec<Body>),
    Item(Item),
}

/// One `field|modifiers: values`, or a list of keywords.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// None = keywords, which look at every value of the event.
    pub field: Option<String>,
    /// As the rule has it: `Image|endswith`.
    pub label: String,
    pub place: Place,
    /// Every value must match, not just one.
    pub all: bool,
    /// `neq`.
    pub negated: bool,
    pub values: Vec<Wanted>,
}

/// One value of an item.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The modifiers that say how it is compared (`endswith`), or `equals`.
    pub op: Arc<str>,
    /// As the rule has it.
    pub pattern: Arc<str>,
    pub place: Place,
    /// The other field of `fieldref`.
    pub other: Option<String>,
    /// Alternatives, made by `windash` or `base64offset`.
    pub tests: Vec<Test>,
}

/// Reads the selections of one rule.
pub(crate) struct Reader<'a> {
    pub source: &'a str,
    placeholders: &'a Placeholders,
    pub findings: Vec<Finding>,
    /// Bytes that the regexes of all rules may still take up.
    pub regex_bytes: usize,
    regexes: usize,
    tests: usize,
    pattern_bytes: usize,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a str, placeholders: &'a Placeholders, regex_bytes: usize) -> Self {
        Self { source, placeholders, findings: Vec::new(), regex_bytes, regexes: 0, tests: 0, pattern_bytes: 0 }
    }

    /// Reads the value under a selection's name. None = the problem is in `findings`.
    pub fn body(&mut self, node: &Node) -> Option<Body> {
        match &node.data {
            Data::Mapping(pairs) if pairs.is_empty() => self.error(node, "bad-selection", "the selection is empty"),
            Data::Sequence(items) if items.is_empty() => self.error(node, "bad-selection", "the selection is empty"),
            Data::Mapping(pairs) => {
                // Every item is read, so that all problems are told at once.
                let items: Vec<Option<Body>> =
                    pairs.iter().map(|(key, value)| self.item(key, value).map(Body::Item)).collect();
                items.into_iter().collect::<Option<Vec<_>>>().map(|v| one_or(v, Body::All))
            }
            Data::Sequence(items) => self.list(node, items),
            Data::Scalar { .. } => self.keywords("keywords", node.place, &[], &[node]).map(Body::Item),
        }
    }

    /// A list is OR: of maps, of keywords, or of both.
    fn list(&mut self, node: &Node, items: &[Node]) -> Option<Body> {
        let (scalars, maps): (Vec<&Node>, Vec<&Node>) = items.iter().partition(|i| i.text().is_some());
        let mut bodies = Vec::new();
        if !scalars.is_empty() {
            bodies.push(self.keywords("keywords", node.place, &[], &scalars).map(Body::Item));
        }
        for map in maps {
            bodies.push(match map.data {
                Data::Mapping(_) => self.body(map),
                _ => self.error(map, "bad-selection", "a list in a list has no meaning in Sigma"),
            });
        }
        bodies.into_iter().collect::<Option<Vec<_>>>().map(|v| one_or(v, Body::Any))
    }

    fn keywords(&mut self, label: &str, place: Place, modifiers: &[Modifier], values: &[&Node]) -> Option<Item> {
        let op = op(modifiers, true);
        let values: Vec<_> = values.iter().map(|v| self.wanted(v, modifiers, true, &op)).collect();
        Some(Item {
            field: None,
            label: label.to_owned(),
            place,
            all: modifiers.contains(&Modifier::All),
            negated: modifiers.contains(&Modifier::Neq),
            values: values.into_iter().collect::<Option<_>>()?,
        })
    }

    fn item(&mut self, key: &Node, value: &Node) -> Option<Item> {
        let label = key.text().unwrap_or_default();
        let mut names = label.split('|');
        let field = names.next().unwrap_or_default();
        let names: Vec<&str> = names.collect();
        let modifiers = match modifier::parse(&names, field.is_empty()) {
            Ok(modifiers) => modifiers,
            Err(problem) => {
                let start = field.len() + names.iter().take(problem.modifier).map(|n| n.len() + 1).sum::<usize>() + 1;
                let range = start..start + names.get(problem.modifier).map_or(0, |n| n.len());
                let place = locate(self.source, key, range);
                self.findings.push(Finding::error(place, problem.code, problem.message).help(problem.help));
                return None;
            }
        };
        let values: Vec<&Node> = match &value.data {
            Data::Sequence(items) if items.is_empty() => {
                let message = format!("the list of '{}' is empty", brief(label));
                self.findings.push(
                    Finding::error(value.place, "empty-list", message)
                        .help("use null to match a field that is not there"),
                );
                return None;
            }
            Data::Sequence(items) => items.iter().collect(),
            Data::Scalar { .. } => vec![value],
            Data::Mapping(_) => return self.error(value, "bad-value", "a field cannot be compared with a map"),
        };
        if modifiers.contains(&Modifier::All) && values.len() == 1 {
            let message = "'all' says nothing about a single value";
            self.findings.push(Finding::hint(key.place, "all-without-list", message));
        }
        if values.len() > 1 && values.iter().any(|v| v.meaning() == Meaning::Null) {
            let message = "null stands in a list with other values, which the specification does not foresee";
            self.findings.push(Finding::warning(value.place, "null-in-list", message));
        }
        if field.is_empty() {
            return self.keywords(label, key.place, &modifiers, &values);
        }
        let op = op(&modifiers, false);
        let values: Vec<_> = values.iter().map(|v| self.wanted(v, &modifiers, false, &op)).collect();
        Some(Item {
            field: Some(field.to_owned()),
            label: label.to_owned(),
            place: key.place,
            all: modifiers.contains(&Modifier::All),
            negated: modifiers.contains(&Modifier::Neq),
            values: values.into_iter().collect::<Option<_>>()?,
        })
    }

    fn wanted(&mut self, node: &Node, modifiers: &[Modifier], keyword: bool, op: &Arc<str>) -> Option<Wanted> {
        // Told once, when the limit was passed; the many values after it are not worth their time.
        if self.tests > MAX_TESTS || self.pattern_bytes > MAX_PATTERN_BYTES || self.regexes > MAX_REGEXES {
            return None;
        }
        let Some(text) = node.text() else {
            return self.error(node, "bad-value", &format!("expected one value, found {}", node.kind()));
        };
        if text.len() > MAX_VALUE_BYTES {
            return self.error(node, "value-too-long", &format!("a value has at most {MAX_VALUE_BYTES} bytes"));
        }
        let mut wanted =
            Wanted { op: op.clone(), pattern: text.into(), place: node.place, other: None, tests: Vec::new() };
        if !modifiers.contains(&Modifier::Expand) {
            self.tests_of(node, text, node.meaning(), modifiers, keyword, &mut wanted)?;
            // Nearly always one, and a vector that grows begins with four.
            wanted.tests.shrink_to_fit();
            return Some(wanted);
        }
        let values = match expand(text, self.placeholders) {
            Ok((values, any)) => {
                if !any {
                    let message = "there is no placeholder in the value, so 'expand' has no effect";
                    self.findings.push(Finding::hint(node.place, "expand-without-placeholder", message));
                }
                values
            }
            Err(problem) => {
                self.findings.push(Finding::error(node.place, problem.code, problem.message).help(problem.help));
                return None;
            }
        };
        for value in values {
            if value.len() > MAX_VALUE_BYTES {
                return self.error(node, "value-too-long", &format!("a value has at most {MAX_VALUE_BYTES} bytes"));
            }
            // What comes from a list is text; the names of several fields would need several columns.
            if wanted.other.is_some() {
                return self.error(node, "bad-value", "a placeholder for the name of a field stands for one name");
            }
            self.tests_of(node, &value, Meaning::Text, modifiers, keyword, &mut wanted)?;
        }
        Some(wanted)
    }

    /// Adds what one value comes down to.
    fn tests_of(
        &mut self,
        node: &Node,
        text: &str,
        meaning: Meaning,
        modifiers: &[Modifier],
        keyword: bool,
        wanted: &mut Wanted,
    ) -> Option<()> {
        // The last one: `hour|gte` compares what `hour` takes out.
        match modifiers.iter().copied().rfind(|m| m.is_comparison()) {
            Some(Modifier::FieldRef) if text.is_empty() => {
                return self.error(node, "bad-value", "'fieldref' needs the name of a field");
            }
            Some(Modifier::FieldRef) => {
                wanted.other = Some(text.to_owned());
                wanted.tests.push(field_reference(modifiers));
            }
            Some(comparison) => wanted.tests.push(self.comparison(node, text, meaning, comparison, modifiers)?),
            None => wanted.tests.extend(self.text(node, text, meaning, modifiers, keyword)?),
        }
        Some(())
    }

    fn comparison(
        &mut self,
        node: &Node,
        text: &str,
        meaning: Meaning,
        comparison: Modifier,
        all: &[Modifier],
    ) -> Option<Test> {
        let mut part = all.iter().find_map(|m| if let Modifier::Time(part) = m { Some(*part) } else { None });
        let order = match comparison {
            Modifier::Exists => {
                return match meaning {
                    Meaning::Boolean(true) => Some(Test::Exists),
                    Meaning::Boolean(false) => Some(Test::Missing),
                    _ => self.error(node, "bad-value", "'exists' needs true or false, without quotes"),
                };
            }
            Modifier::Cidr => {
                return match Network::parse(text) {
                    Ok(network) => Some(Test::Network(network)),
                    Err(why) => self.error(node, "bad-cidr", &format!("'{}' is no network: {why}", brief(text))),
                };
            }
            Modifier::Re => return self.regex(node, text, all),
            Modifier::Lt => Comparison::Less,
            Modifier::Lte => Comparison::LessOrEqual,
            Modifier::Gt => Comparison::Greater,
            Modifier::Gte => Comparison::GreaterOrEqual,
            _ => Comparison::Equal,
        };
        let number = match meaning {
            Meaning::Number(n) => Some(n),
            _ => Number::parse(text.as_bytes()),
        };
        let Some(n) = number else {
            return self.error(node, "bad-value", &format!("'{}' is not a number", brief(text)));
        };
        let Some(part) = part.take() else { return Some(Test::Compare(order, Exact::new(n))) };
        let range = part.range();
        if order == Comparison::Equal && !range.clone().any(|i| Number::Integer(i.into()) == n) {
            let name = comparison.name();
            let message =
                format!("'{name}' is never {}: it goes from {} to {}", brief(text), range.start(), range.end());
            self.findings.push(Finding::warning(node.place, "never-matches", message));
        }
        Some(Test::Time(part, order, Exact::new(n)))
    }

    fn regex(&mut self, node: &Node, text: &str, modifiers: &[Modifier]) -> Option<Test> {
        self.regexes += 1;
        if self.regexes > MAX_REGEXES {
            return self.error(node, "rule-too-complex", &format!("the rule has more than {MAX_REGEXES} regexes"));
        }
        let flags = Flags {
            ignore_case: modifiers.contains(&Modifier::IgnoreCase),
            multi_line: modifiers.contains(&Modifier::MultiLine),
            dot_all: modifiers.contains(&Modifier::DotAll),
        };
        match Regex::new(text, flags) {
            Ok(regex) if regex.bytes() > self.regex_bytes => {
                // Compiling the rest would only take time.
                self.regexes = MAX_REGEXES + 1;
                let message = format!("the regexes of all rules take up more than {MAX_REGEX_BYTES} bytes");
                self.error(node, "rules-too-large", &message)
            }
            Ok(regex) => {
                self.regex_bytes -= regex.bytes();
                Some(Test::Regex(Box::new(regex)))
            }
            Err(bad) => {
                let place = locate(self.source, node, bad.range);
                let finding = Finding::error(place, "bad-regex", format!("the regex is refused: {}", bad.message));
                self.findings.push(finding);
                None
            }
        }
    }

    fn text(
        &mut self,
        node: &Node,
        text: &str,
        meaning: Meaning,
        modifiers: &[Modifier],
        keyword: bool,
    ) -> Option<Vec<Test>> {
        let casing = casing(modifiers);
        match meaning {
            Meaning::Null if keyword => return self.error(node, "bad-value", "null is not a keyword"),
            Meaning::Null if modifiers.iter().any(|m| !matches!(m, Modifier::All | Modifier::Neq)) => {
                return self.error(
                    node,
                    "bad-value",
                    "null goes only with 'neq' and 'all'; an empty text is written ''",
                );
            }
            Meaning::Null => return Some(vec![Test::Null]),
            // Wildcards and casing mean nothing to a number, and `contains` compares its digits.
            Meaning::Number(n) if !keyword && modifiers.iter().all(|m| matches!(m, Modifier::All | Modifier::Neq)) => {
                return Some(vec![Test::Number(Exact::new(n))]);
            }
            _ => {}
        }
        let mut patterns = vec![Pattern::parse(text)];
        for modifier in modifiers {
            patterns = match modifier {
                Modifier::Contains => patterns.into_iter().map(|p| p.open(true, true)).collect(),
                Modifier::StartsWith => patterns.into_iter().map(|p| p.open(false, true)).collect(),
                Modifier::EndsWith => patterns.into_iter().map(|p| p.open(true, false)).collect(),
                m if m.is_encoding() => match encode(patterns, *m) {
                    Ok(patterns) => patterns,
                    Err(why) => return self.error(node, "bad-value", &why),
                },
                _ => patterns,
            };
        }
        if keyword {
            patterns = patterns.into_iter().map(|p| p.open(true, true)).collect();
        }
        self.tests += patterns.len();
        self.pattern_bytes += patterns.iter().map(Pattern::bytes).sum::<usize>();
        if self.tests > MAX_TESTS || self.pattern_bytes > MAX_PATTERN_BYTES {
            return self.error(
                node,
                "rule-too-complex",
                &format!(
                    "the values of the rule stand for more than {MAX_TESTS} comparisons, or {MAX_PATTERN_BYTES} bytes"
                ),
            );
        }
        Some(patterns.into_iter().map(|p| Test::Text(Text::new(p, casing))).collect())
    }

    fn error<T>(&mut self, node: &Node, code: &'static str, message: &str) -> Option<T> {
        self.findings.push(Finding::error(node.place, code, message));
        None
    }
}

fn casing(modifiers: &[Modifier]) -> Casing {
    if modifiers.contains(&Modifier::Cased) { Casing::Exact } else { Casing::Folded }
}

fn field_reference(modifiers: &[Modifier]) -> Test {
    let affix = modifiers.iter().find_map(|m| match m {
        Modifier::StartsWith => Some(Affix::Prefix),
        Modifier::EndsWith => Some(Affix::Suffix),
        Modifier::Contains => Some(Affix::Contains),
        _ => None,
    });
    Test::Same(affix.unwrap_or(Affix::Equals), casing(modifiers))
}

fn op(modifiers: &[Modifier], keyword: bool) -> Arc<str> {
    let names: Vec<&str> = modifiers.iter().filter_map(|m| op_name(*m)).collect();
    match names.as_slice() {
        [] => if keyword { "keyword" } else { "equals" }.into(),
        names => names.join("|").into(),
    }
}

/// `all` and `neq` say how the values of an item go together, not how one is compared.
fn op_name(modifier: Modifier) -> Option<&'static str> {
    (!matches!(modifier, Modifier::All | Modifier::Neq)).then(|| modifier.name())
}

fn one_or(mut bodies: Vec<Body>, combine: fn(Vec<Body>) -> Body) -> Body {
    if bodies.len() == 1 { bodies.remove(0) } else { combine(bodies) }
}
