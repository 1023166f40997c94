//! Compiling rule files into streams.

use crate::action;
use crate::clause::{Clause, Group, Need};
use crate::correlation::{self, Correlation};
use crate::diagnostic::{Diagnostic, Finding, Place, brief};
use crate::expand::Placeholders;
use crate::filter::{self, FilterMeta};
use crate::index::Index;
use crate::item;
use crate::lint;
use crate::pipeline::{self, Pipelines};
use crate::rule::{self, Document, LogSource, Reading, Rule, RuleMeta};
use crate::silence::{self, Silences};
use crate::tree::{Atom, Expr, Lowering, Tree, Use};
use crate::unfilter::Unfiltered;
use crate::witness::Prices;
use crate::yaml;
use std::collections::{HashMap, HashSet};

/// A larger file is refused without being read: the largest rule of SigmaHQ has 30 kB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Findings told about one file; no author reads more, and a hostile file could make hundreds of thousands.
const MAX_FINDINGS: usize = 200;

/// A rule file.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// For diagnostics, and for the ids of rules that have none.
    pub name: &'a str,
    /// YAML, one or more documents.
    pub content: &'a [u8],
}

/// How to compile.
#[derive(Clone, Debug)]
pub struct Options {
    /// `(field, other field)`: an item on `field` also matches on `other field`, if it stands in a positive place, that is
    /// under an even number of negations (`not`, `neq`). In a negated place only `field` itself counts: an attacker picks
    /// the path of a symlink, so that must be able to raise an alert, but never to satisfy a filter. Items that ask for
    /// absence or presence (`null`, `exists`) have no alternates.
    pub alternates: Vec<(String, String)>,
    /// Put all rules into one stream, whatever their log source.
    pub all_log_sources: bool,
    /// Find out what the rules of a log source need, see [`Stream::clauses`]; rules with different needs then have streams
    /// of their own.
    pub clauses: bool,
    /// Pipelines to apply, by the names of their files without `.pipeline.yml`, or shipped ones: `auditd`, `ecs`,
    /// `sysmon-linux`, `velociraptor`. Their order counts only among those of equal priority.
    pub pipelines: Vec<String>,
    /// What the placeholders of `expand` stand for, by name. A rule with one that is not here is refused.
    pub placeholders: std::collections::BTreeMap<String, Vec<String>>,
    /// Say also what is no mistake but bad for whoever gets the alerts or maintains the rules: see [`crate::lint`].
    pub hygiene: bool,
}

impl Default for Options {
    fn default() -> Self {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        Self {
            alternates: vec![pair("Image", "ExecutedImage"), pair("ParentImage", "ParentExecutedImage")],
            all_log_sources: false,
            clauses: true,
            pipelines: Vec::new(),
            placeholders: Placeholders::new(),
            hygiene: false,
        }
    }
}

/// Streams that one log source is divided into, at most; with more, it stays whole.
const MAX_STREAMS: usize = 64;

/// Rules with one log source, compiled together.
#[derive(Debug)]
pub struct Stream {
    /// What they look at; nothing given = every event.
    pub source: LogSource,
    /// An event that does not meet all of these matches none of the rules.
    pub clauses: Vec<Clause>,
    /// The columns that [`RuleSet::eval`] wants, in order. [`crate::KEYWORDS`] stands for all values of an event.
    pub fields: Vec<String>,
    /// Indices into [`RuleSet::rules`], ascending.
    pub rules: Vec<u32>,
    pub(crate) program: Program,
}

/// What is evaluated.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub atoms: Vec<Atom>,
    /// Per rule of the stream.
    pub conditions: Vec<Expr>,
    /// Per column.
    pub indices: Vec<Index>,
    /// Per atom: the rules (by position in the stream) that it is a witness of.
    pub concerned: Vec<Box<[u32]>>,
    /// Rules that no atom is a witness of.
    pub always: Vec<u32>,
    /// Bit per atom: it is in an index, so where it was not found it does not hold.
    pub indexed: Vec<u64>,
    pub uses: Vec<Use>,
}

/// Compiled rules, and what is to be said about them.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// In the order of their first rule.
    pub streams: Vec<Stream>,
    /// In the order of the files. Refused rules are not here.
    pub rules: Vec<RuleMeta>,
    /// In the order of the files. Refused filters are not here.
    pub filters: Vec<FilterMeta>,
    /// In the order of the files. As analytics they come after the rules, see [`RuleSet::analytics`].
    pub correlations: Vec<Correlation>,
    /// In the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// Per rule.
    pub(crate) trees: Vec<Tree>,
    pub(crate) silences: Silences,
    /// Files of the pipelines in use, by number.
    pub(crate) pipelines: Vec<String>,
    /// Columns without values on this host, by stream and column; see [`RuleSet::unbind`].
    pub(crate) unbound: HashMap<(u32, u32), Missing>,
    /// All the values that a column has on this host, where they are known; see [`RuleSet::close`].
    pub(crate) closed: HashMap<(u32, u32), Vec<String>>,
}

/// What is known about a column that has no values on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub why: Unbound,
    /// The host's own words; may be empty.
    pub note: String,
}

/// Compiles rule files. Never fails: what cannot be loaded is in [`RuleSet::diagnostics`], and the rest is loaded.
pub fn compile(files: &[File<'_>], options: &Options) -> RuleSet {
    let mut set = RuleSet::default();
    let (mut rules, mut filters, mut drafts) = (Vec::new(), Vec::new(), Vec::new());
    let mut regex_bytes = item::MAX_REGEX_BYTES;
    let pipelines = Pipelines::load(&options.pipelines, files, &mut set.diagnostics);
    set.pipelines = pipelines.files();
    let placeholders = pipelines.placeholders(&options.placeholders);
    for file in files.iter().filter(|f| pipeline::name_of(f.name).is_none()) {
        let mut findings = Vec::new();
        for document in read_file(file, &placeholders, &mut regex_bytes, &mut findings) {
            match document {
                Document::Rule(rule) => rules.push(rule),
                Document::Filter(filter) => filters.push(*filter),
                Document::Correlation(draft) => drafts.push(*draft),
            }
        }
        if findings.len() > MAX_FINDINGS {
            let message = format!("{} further problems in this file are not shown", findings.len() - MAX_FINDINGS);
            findings.truncate(MAX_FINDINGS);
            findings.push(Finding::error(Place::default(), "too-many-problems", message));
        }
        set.diagnostics.extend(findings.into_iter().map(|f| f.in_file(file.name)));
    }
    let mut files_of_ids = HashMap::new();
    rules.retain(|rule| is_unique(rule, &mut files_of_ids, &mut set.diagnostics));
    drop(files_of_ids);
    set.filters = filter::apply(filters, &mut rules, &drafts, &mut set.diagnostics);
    if options.hygiene {
        set.diagnostics.extend(rules.iter().flat_map(|rule| lint::rule(rule, &set.filters)));
    }
    // What is said about a rule is about what its author wrote; so is the log source that a filter asks for.
    let mut unfiltered = Unfiltered::default();
    rules.retain_mut(|rule| match pipelines.apply(rule, &mut unfiltered) {
        Ok(()) => true,
        Err(finding) => {
            set.diagnostics.push(finding.in_file(&rule.meta.file));
            false
        }
    });

    let mut groups: Vec<(LogSource, Vec<Numbered>)> = Vec::new();
    let mut by_source: HashMap<LogSource, usize> = HashMap::new();
    for (position, rule) in rules.into_iter().enumerate() {
        let source = if options.all_log_sources { LogSource::default() } else { rule.meta.source.clone() };
        let group = *by_source.entry(source.clone()).or_insert_with(|| {
            groups.push((source, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push((position, rule));
    }

    // Lowering may refuse rules, so their final numbers are known only afterwards: `loaded` is in file order.
    let mut loaded: Vec<(usize, usize, Box<Rule>, Tree)> = Vec::new();
    let mut lowered = Vec::new();
    for (source, rules) in groups {
        let (mut parts, findings) = lower(rules, options, &mut unfiltered);
        set.diagnostics.extend(findings);
        // Streams are in the order of their first rule.
        parts.sort_by_key(|part| part.rules.first().map(|(position, ..)| *position));
        for part in parts.into_iter().filter(|part| !part.rules.is_empty()) {
            let rules = part.rules.into_iter().map(|(position, rule, tree)| (position, lowered.len(), rule, tree));
            loaded.extend(rules);
            lowered.push((source.clone(), part.clauses, part.lowering));
        }
    }
    loaded.sort_by_key(|(position, ..)| *position);
    set.diagnostics.extend(unfiltered.diagnostics(&set.filters));

    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); lowered.len()];
    set.rules.reserve_exact(loaded.len());
    set.trees.reserve_exact(loaded.len());
    for (position, stream, rule, tree) in loaded {
        let mut meta = rule.meta;
        let number = set.rules.len() as u32;
        numbers.insert(position as u32, number);
        members[stream].push(number);
        meta.stream = stream as u32;
        for filter in set.filters.iter_mut().filter(|f| meta.filters.contains(&f.id)) {
            filter.rules.push(number);
        }
        set.rules.push(meta);
        set.trees.push(tree);
    }
    for ((source, clauses, mut lowering), rules) in lowered.into_iter().zip(members) {
        for u in &mut lowering.uses {
            u.rule = numbers.get(&u.rule).copied().unwrap_or(u32::MAX);
        }
        let fields = std::mem::take(&mut lowering.fields);
        let conditions = rules.iter().map(|r| set.trees[*r as usize].expr()).collect();
        let program = Program::new(lowering, conditions, fields.len());
        set.streams.push(Stream { source, clauses, fields, rules, program });
    }
    set.correlations = correlation::resolve(drafts, &mut set.rules, &mut set.diagnostics);
    if options.hygiene {
        set.diagnostics.extend(set.correlations.iter().flat_map(|c| lint::correlation(&c.meta)));
    }
    set.silences = Silences::of(files);
    for filter in &mut set.filters {
        filter.may_hide_tests = set.silences.has(silence::FILTER_HIDES_TEST, &filter.file, filter.line);
    }
    set.silences.apply(&mut set.diagnostics, options.hygiene);
    // Stages find what they find one after the other; who reads it goes through the files.
    let order: HashMap<&str, usize> = files.iter().enumerate().rev().map(|(i, f)| (f.name, i)).collect();
    set.diagnostics.sort_by_key(|d| order.get(d.file.as_str()).copied());
    set
}

/// A rule and its position among all.
type Numbered = (usize, Box<Rule>);

/// Rules that go into one stream, with their positions, and what they need.
struct Part<'o> {
    rules: Vec<(usize, Box<Rule>, Tree)>,
    clauses: Vec<Clause>,
    lowering: Lowering<'o>,
}

/// Lowers the rules of one log source, divided by what they need if the options say so.
fn lower<'o>(
    rules: Vec<Numbered>,
    options: &'o Options,
    unfiltered: &mut Unfiltered,
) -> (Vec<Part<'o>>, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    let mut whole = Part { rules: Vec::new(), clauses: Vec::new(), lowering: Lowering::new(&options.alternates) };
    for (position, mut rule) in rules {
        let lowered = whole.lowering.rule(&rule, position as u32).or_else(|finding| {
            let gone = rule.unfilter();
            if gone.is_empty() {
                return Err(finding);
            }
            let tree = whole.lowering.rule(&rule, position as u32)?;
            unfiltered.add(&rule, &gone, &finding.into());
            Ok(tree)
        });
        match lowered {
            Ok(tree) => {
                // Thousands of rules, once read and once lowered, would not fit into a guest.
                rule.selections = Vec::new();
                whole.rules.push((position, rule, tree));
            }
            Err(finding) => findings.push(finding.in_file(&rule.meta.file)),
        }
    }
    if !options.clauses || options.all_log_sources {
        return (vec![whole], findings);
    }
    let Lowering { atoms, fields, .. } = &whole.lowering;
    let needs: Vec<Need> = whole.rules.iter().map(|(_, _, tree)| Need::of(&tree.expr(), atoms, fields)).collect();
    let mut numbers: HashMap<Group, usize> = HashMap::new();
    let groups: Vec<usize> = needs
        .iter()
        .map(|need| {
            let next = numbers.len();
            *numbers.entry(need.group()).or_insert(next)
        })
        .collect();
    if numbers.len() <= 1 || numbers.len() > MAX_STREAMS {
        whole.clauses = Need::clauses(&needs, fields);
        return (vec![whole], findings);
    }
    let mut parts: Vec<Part<'_>> = (0..numbers.len())
        .map(|number| {
            let needs: Vec<Need> =
                needs.iter().zip(&groups).filter(|(_, g)| **g == number).map(|(need, _)| need.clone()).collect();
            let clauses = Need::clauses(&needs, fields);
            Part { rules: Vec::new(), clauses, lowering: Lowering::new(&options.alternates) }
        })
        .collect();
    let mut group_of = HashMap::new();
    for ((position, rule, mut tree), group) in whole.rules.into_iter().zip(groups) {
        let part = &mut parts[group];
        part.lowering.adopt(&mut tree, &whole.lowering);
        part.rules.push((position, rule, tree));
        group_of.insert(position as u32, group);
    }
    for u in &whole.lowering.uses {
        if let Some(group) = group_of.get(&u.rule) {
            parts[*group].lowering.adopt_use(*u, &whole.lowering);
        }
    }
    (parts, findings)
}

fn read_file(
    file: &File<'_>,
    placeholders: &Placeholders,
    regex_bytes: &mut usize,
    findings: &mut Vec<Finding>,
) -> Vec<Document> {
    let whole = Place::default();
    if file.content.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, the limit is {MAX_FILE_BYTES}", file.content.len());
        findings.push(Finding::error(whole, "file-too-large", message));
        return Vec::new();
    }
    let text = match std::str::from_utf8(file.content) {
        Ok(text) => text,
        Err(e) => {
            let before = String::from_utf8_lossy(&file.content[..e.valid_up_to()]).into_owned();
            let line = before.matches('\n').count() as u32 + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
            let place = Place { line, column, length: 1 };
            findings.push(Finding::error(place, "not-utf8", "the file is not UTF-8 text"));
            return Vec::new();
        }
    };
    let documents = yaml::documents(text, findings);
    let documents = action::resolve(documents, findings);
    let mut reading = Reading { source: text, file: file.name, placeholders, regex_bytes, findings };
    let mut found = Vec::new();
    for (number, node) in &documents {
        found.extend(rule::read(&mut reading, *number, node));
    }
    if found.is_empty() && findings.is_empty() {
        findings.push(Finding::warning(whole, "empty-file", "there is no rule in the file"));
    }
    found
}

/// Refuses a rule whose id an earlier one has: their alerts could not be told apart.
fn is_unique(rule: &Rule, files_of_ids: &mut HashMap<String, String>, diagnostics: &mut Vec<Diagnostic>) -> bool {
    let Some(file) = files_of_ids.get(&rule.meta.id) else {
        files_of_ids.insert(rule.meta.id.clone(), rule.meta.file.clone());
        return true;
    };
    let message = format!("another rule, in '{}', has the id '{}' already", brief(file), brief(&rule.meta.id));
    let finding = Finding::error(rule.id_place, "duplicate-id", message).help("give this rule an id of its own");
    diagnostics.push(finding.in_file(&rule.meta.file));
    false
}

impl Program {
    fn new(lowering: Lowering<'_>, conditions: Vec<Expr>, columns: usize) -> Self {
        let (atoms, uses) = lowering.finish();
        let mut concerned: Vec<Vec<u32>> = vec![Vec::new(); atoms.len()];
        let mut always = Vec::new();
        let mut prices = Prices::new(&atoms);
        let mut shared = vec![0; atoms.len()];
        for witness in conditions.iter().filter_map(|condition| prices.witness(condition)) {
            witness.atoms.iter().for_each(|atom| shared[*atom as usize] += 1);
        }
        prices.raise(&shared);
        for (rule, condition) in (0..).zip(&conditions) {
            match prices.witness(condition) {
                Some(witness) => {
                    for atom in witness.atoms {
                        let rules = &mut concerned[atom as usize];
                        if rules.last() != Some(&rule) {
                            rules.push(rule);
                        }
                    }
                }
                None => always.push(rule),
            }
        }
        let mut witnesses: Vec<Vec<u32>> = vec![Vec::new(); columns];
        let mut indexed = vec![0_u64; atoms.len().div_ceil(64)];
        for (number, (atom, rules)) in atoms.iter().zip(&concerned).enumerate() {
            if !rules.is_empty() {
                witnesses[atom.column as usize].push(number as u32);
                indexed[number / 64] |= 1 << (number % 64);
            }
        }
        let indices = witnesses.iter().map(|w| Index::new(&atoms, w)).collect();
        let concerned = concerned.into_iter().map(Vec::into_boxed_slice).collect();
        Self { atoms, conditions, indices, concerned, always, indexed, uses }
    }
}

/// Why a field has no values on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// Nobody has heard of it.
    Unknown,
    /// It exists, but nothing on this host fills it.
    NeverHere,
}

impl Unbound {
    fn told(self, field: &str) -> (&'static str, String) {
        match self {
            Self::Unknown => ("unknown-field", format!("there is no field '{}' in these events", brief(field))),
            Self::NeverHere => ("field-never-here", format!("nothing on this host fills the field '{}'", brief(field))),
        }
    }
}

impl RuleSet {
    /// Rules and correlations, by the number under which they are reported and referred to.
    pub fn analytics(&self) -> impl Iterator<Item = &RuleMeta> {
        self.rules.iter().chain(self.correlations.iter().map(|c| &c.meta))
    }

    /// What to tell the authors of correlations about `field`, which has no values here.
    pub fn unbind_correlated(&self, field: &str, why: Unbound, note: &str) -> Vec<Diagnostic> {
        let (code, message) = why.told(field);
        let using = self.correlations.iter().filter(|c| c.fields.iter().any(|f| f == field));
        self.silences.without(using.map(|c| {
            let place = Place { line: c.meta.line, column: 1, length: 1 };
            Finding::warning(place, code, message.clone()).help(note).in_file(&c.meta.file)
        }))
    }

    /// What to tell the authors of the rules in `stream`, to which no event of this host belongs; `note` is the host's reason.
    pub fn unfed(&self, stream: usize, note: &str) -> Vec<Diagnostic> {
        let rules = self.streams.get(stream).into_iter().flat_map(|s| &s.rules);
        self.silences.without(rules.filter_map(|r| self.rules.get(*r as usize)).map(|rule| {
            let place = Place { line: rule.line, column: 1, length: 1 };
            let message = "no event of this host belongs to the log source of this rule: it never matches";
            Finding::warning(place, "source-not-fed", message).help(note).in_file(&rule.file)
        }))
    }

    /// Takes note that `field` has no other values in `stream` than these; for [`RuleSet::unreachable`].
    pub fn close(&mut self, stream: usize, field: &str, values: &[String]) {
        let fields = self.streams.get(stream).map_or(&[][..], |s| &s.fields);
        if let Some(column) = fields.iter().position(|f| f == field) {
            self.closed.insert((stream as u32, column as u32), values.to_vec());
        }
    }

    /// What to tell the authors of the rules that use `field` in `stream`, which has no values here; `note` is what the
    /// host knows about it ("did you mean ..."). The rules stay loaded, and the field is absent in every event.
    pub fn unbind(&mut self, stream: usize, field: &str, why: Unbound, note: &str) -> Vec<Diagnostic> {
        let number = stream as u32;
        let Some(stream) = self.streams.get(stream) else { return Vec::new() };
        let Some(column) = stream.fields.iter().position(|f| f == field) else { return Vec::new() };
        self.unbound.insert((number, column as u32), Missing { why, note: note.to_owned() });
        let (code, message) = why.told(field);
        let uses = stream.program.uses.iter().filter(|u| u.column == column as u32);
        // Every rule of a filter uses what the filter uses, but its author needs to be told once; so of a pipeline.
        let mut told = HashSet::new();
        let own = |u: &&Use| u.filter.is_none() && u.pipeline.is_none();
        let found = uses.filter(|u| own(u) || told.insert((u.filter, u.pipeline, u.place))).filter_map(|u| {
            let file = match (u.filter, u.pipeline) {
                (Some(filter), _) => &self.filters.get(filter as usize)?.file,
                (_, Some(pipeline)) => self.pipelines.get(pipeline as usize)?,
                _ => &self.rules.get(u.rule as usize)?.file,
            };
            Some(Finding::warning(u.place, code, message.clone()).help(note).in_file(file))
        });
        self.silences.without(found)
    }
}
