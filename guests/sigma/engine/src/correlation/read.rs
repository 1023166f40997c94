//! A `correlation` document, before the rules it names are looked for.

use super::plan::{Chain, KINDS, Kind, OPERATORS, Operator, SECOND, Test, holds};
use crate::condition::{self, Condition};
use crate::diagnostic::{Finding, Place, brief, did_you_mean};
use crate::number::Number;
use crate::rule::{ATTRIBUTES, Attributes, RuleMeta};
use crate::yaml::{Data, Meaning, Node, locate};

/// Rules of one correlation; where it is remembered which of them matched, and in which order.
const MAX_RULES: usize = 1000;
const MAX_TEMPORAL_RULES: usize = 64;
const MAX_STEPS: usize = 256;
/// Runs that are remembered of one group where rules may be missing from the order.
const MAX_CELLS: usize = 256;
/// Alternatives of an ordered condition with `or`.
const MAX_CHAINS: usize = 32;
/// Fields of a key, and of a value.
const MAX_FIELDS: usize = 16;
/// A window never counts further, so that a group's memory has a bound.
pub(super) const MAX_COUNT: f64 = 100_000.0;
const MAX_TIMESPAN: u64 = 100 * 31_556_952;

const KEYS: &[&str] = &["type", "rules", "group-by", "timespan", "aliases", "condition", "generate", "field"];
/// Attributes of our own.
const POLICY: &[&str] = &["correlation", "suppress", "refire", "evaluate"];

/// A name with its place.
pub(crate) type Named = (String, Place);

/// An alias: per rule, the field that it stands for.
#[derive(Debug)]
pub(crate) struct Alias {
    pub name: Named,
    pub fields: Vec<(Named, String)>,
}

#[derive(Debug)]
pub(crate) struct Draft {
    pub meta: RuleMeta,
    pub id_place: Place,
    pub place: Place,
    pub kind: Kind,
    /// Without repeats.
    pub rules: Vec<Named>,
    pub group_by: Vec<Named>,
    pub value: Vec<Named>,
    pub aliases: Vec<Alias>,
    pub timespan: u64,
    pub generate: bool,
    pub test: Test,
    pub chains: Vec<Chain>,
    pub at_close: bool,
    pub suppress: Option<u64>,
    pub reset: bool,
    pub condition: String,
}

/// Reads one document. All its problems go to `findings`; None = it is not loaded.
pub(crate) fn read(mut attributes: Attributes<'_, '_, '_>, number: usize, node: &Node) -> Option<Draft> {
    attributes.check_names(&[ATTRIBUTES, POLICY].concat());
    let (meta, id_place) = attributes.meta(node, number);
    for name in ["detection", "filter"] {
        if let Some((key, _)) = attributes.pair(name) {
            attributes.error(key.place, "bad-correlation", format!("a correlation has no '{name}'"));
        }
    }
    let (key, value) = attributes.pair("correlation")?;
    let Data::Mapping(body) = &value.data else {
        let message = format!("'correlation' must be a map, this is {}", value.kind());
        attributes.error(value.place, "bad-correlation", message);
        return None;
    };
    let mut reader = Reader { attributes, body, place: key.place };
    let draft = reader.draft(meta, id_place);
    draft.filter(|_| !reader.attributes.refused)
}

struct Reader<'a, 'r, 's> {
    attributes: Attributes<'a, 'r, 's>,
    body: &'a [(Node, Node)],
    /// Of the key `correlation`.
    place: Place,
}

impl<'a> Reader<'a, '_, '_> {
    fn get(&self, name: &str) -> Option<&'a Node> {
        let found = self.body.iter().find(|(k, _)| k.text() == Some(name)).map(|(_, v)| v);
        found.filter(|v| v.meaning() != Meaning::Null)
    }

    fn error(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.attributes.error(place, code, message);
    }

    fn helped(&mut self, place: Place, code: &'static str, message: impl Into<String>, help: impl Into<String>) {
        self.attributes.refused = true;
        self.attributes.reading.findings.push(Finding::error(place, code, message).help(help));
    }

    fn draft(&mut self, meta: RuleMeta, id_place: Place) -> Option<Draft> {
        self.check_keys();
        let kind = self.kind();
        let mut group_by: Vec<Named> = Vec::new();
        for (name, place) in self.names("group-by", MAX_FIELDS) {
            if group_by.iter().any(|(n, _)| *n == name) {
                let finding = Finding::warning(place, "repeated-field", "the field is there twice");
                self.attributes.reading.findings.push(finding);
            } else {
                group_by.push((name, place));
            }
        }
        let timespan = self.timespan();
        let generate = self.generate();
        let aliases = self.aliases();
        let kind = kind?;
        let listed = self.names("rules", MAX_RULES);
        let mut draft = Draft {
            meta,
            id_place,
            place: self.place,
            kind,
            rules: listed,
            group_by,
            value: Vec::new(),
            aliases,
            timespan: timespan.unwrap_or(SECOND),
            generate,
            test: Test::Limits(Vec::new()),
            chains: Vec::new(),
            at_close: false,
            suppress: None,
            reset: false,
            condition: String::new(),
        };
        self.condition(&mut draft);
        self.policy(&mut draft);
        self.fields(&draft);
        let span = self.get("timespan").and_then(Node::text).unwrap_or_default();
        draft.condition = format!("{} in {span}", draft.condition);
        Some(draft)
    }

    /// A key with another name would be ignored, and the correlation mean something else.
    fn check_keys(&mut self) {
        for (key, _) in self.body {
            let name = key.text().unwrap_or_default();
            let help = match name {
                "timeframe" => "did you mean 'timespan'?".to_owned(),
                "window" | "gap" => "windows slide; other kinds of windows are not in the specification".to_owned(),
                "field" => "'field' belongs under 'condition'".to_owned(),
                _ if KEYS.contains(&name) => continue,
                _ => did_you_mean(name, KEYS.iter().copied()),
            };
            let message = format!("'{}' is no attribute of a correlation", brief(name));
            self.helped(key.place, "unknown-correlation-attribute", message, help);
        }
    }

    fn kind(&mut self) -> Option<Kind> {
        let Some(node) = self.get("type") else {
            self.error(self.place, "bad-correlation", "the correlation has no type");
            return None;
        };
        let name = node.text().unwrap_or_default();
        let found = KINDS.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind);
        if found.is_none() {
            let known = || KINDS.iter().map(|(n, _)| *n);
            let mut help = did_you_mean(name, known());
            if help.is_empty() {
                help = format!("the types are {}", known().collect::<Vec<_>>().join(", "));
            }
            let message = format!("there is no correlation type '{}'", brief(name));
            self.helped(node.place, "unknown-correlation-type", message, help);
        }
        found
    }

    /// A text, or a list of texts.
    fn names(&mut self, name: &str, most: usize) -> Vec<Named> {
        let Some(node) = self.get(name) else { return Vec::new() };
        self.texts(node, name, most)
    }

    fn texts(&mut self, node: &Node, name: &str, most: usize) -> Vec<Named> {
        let items = match &node.data {
            Data::Sequence(items) => items.as_slice(),
            Data::Scalar { .. } => std::slice::from_ref(node),
            Data::Mapping(_) => {
                let message = format!("'{name}' must be a text or a list of texts, this is a map");
                self.error(node.place, "bad-correlation", message);
                return Vec::new();
            }
        };
        if items.len() > most {
            let message = format!("'{name}' has {} entries, the limit is {most}", items.len());
            self.error(node.place, "correlation-too-complex", message);
            return Vec::new();
        }
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            match item.text().map(str::trim) {
                Some(text) if !text.is_empty() && item.meaning() != Meaning::Null => {
                    found.push((text.to_owned(), item.place));
                }
                _ => {
                    let message = format!("'{name}' must be a list of texts, this is {}", item.kind());
                    self.error(item.place, "bad-correlation", message);
                }
            }
        }
        found
    }

    fn timespan(&mut self) -> Option<u64> {
        let Some(node) = self.get("timespan") else {
            if !self.body.iter().any(|(k, _)| k.text() == Some("timeframe")) {
                self.error(self.place, "bad-correlation", "the correlation has no timespan");
            }
            return None;
        };
        self.span(node, "timespan")
    }

    fn span(&mut self, node: &Node, name: &str) -> Option<u64> {
        let text = node.text().unwrap_or_default().trim();
        match timespan(text) {
            Ok(span) => Some(span),
            Err(why) => {
                let message = format!("'{name}: {}' {why}", brief(text));
                self.helped(node.place, "bad-timespan", message, "a number and a unit: 30s, 5m, 1h, 2d, 1w, 1M, 1y");
                None
            }
        }
    }

    fn generate(&mut self) -> bool {
        let Some(node) = self.get("generate") else { return false };
        if let Meaning::Boolean(generate) = node.meaning() {
            return generate;
        }
        let message = format!("'generate' is true or false, this is {}", node.kind());
        self.error(node.place, "bad-correlation", message);
        false
    }

    fn aliases(&mut self) -> Vec<Alias> {
        let Some(node) = self.get("aliases") else { return Vec::new() };
        let Data::Mapping(pairs) = &node.data else {
            let message = format!("'aliases' must be a map, this is {}", node.kind());
            self.error(node.place, "bad-correlation", message);
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in pairs {
            let name = key.text().unwrap_or_default().to_owned();
            let Data::Mapping(fields) = &value.data else {
                let message = "an alias is a map from the name of a rule to a field";
                self.error(value.place, "bad-correlation", message);
                continue;
            };
            let mut alias = Alias { name: (name, key.place), fields: Vec::new() };
            for (rule, field) in fields {
                match field.text().map(str::trim) {
                    Some(text) if !text.is_empty() && field.meaning() != Meaning::Null => {
                        let rule = (rule.text().unwrap_or_default().to_owned(), rule.place);
                        alias.fields.push((rule, text.to_owned()));
                    }
                    _ => {
                        let message = format!("an alias stands for a field, this is {}", field.kind());
                        self.error(field.place, "bad-correlation", message);
                    }
                }
            }
            found.push(alias);
        }
        found
    }

    fn condition(&mut self, draft: &mut Draft) {
        let steps = self.steps(draft);
        match self.get("condition") {
            None if draft.kind.temporal() => {
                let wanted = if draft.kind == Kind::Temporal { draft.rules.len() } else { steps.len() };
                draft.test = Test::Limits(vec![(Operator::Gte, wanted as f64)]);
                draft.condition = "all rules".to_owned();
            }
            None => self.error(self.place, "bad-correlation-condition", "the correlation has no condition"),
            Some(node) => match &node.data {
                Data::Mapping(pairs) => self.limits(node, pairs, draft),
                Data::Scalar { .. } if draft.kind.temporal() && node.meaning() == Meaning::Text => {
                    self.extended(node, draft);
                    return;
                }
                Data::Scalar { .. } if node.meaning() == Meaning::Text => {
                    let message = "a condition over the names of rules is for 'temporal' and 'temporal_ordered' only";
                    self.helped(node.place, "bad-correlation-condition", message, "write 'condition: {gte: 5}'");
                }
                _ => {
                    let message = format!("a condition is a map like 'gte: 5', this is {}", node.kind());
                    self.error(node.place, "bad-correlation-condition", message);
                }
            },
        }
        if draft.rules.is_empty() && !self.attributes.refused {
            self.error(self.place, "bad-correlation", "the correlation has no rules");
        }
        if draft.kind == Kind::TemporalOrdered {
            // The longest run is of interest; where only a minimum is asked for, no more may be missing.
            let least = match &draft.test {
                Test::Limits(limits) if draft.test.rising() => limits
                    .iter()
                    .map(|(o, n)| if *o == Operator::Gt { n.floor() + 1.0 } else { n.ceil() })
                    .fold(1.0, f64::max),
                _ => 1.0,
            };
            let gaps = steps.len().saturating_sub(least as usize);
            if steps.len() * (gaps + 1) > MAX_CELLS {
                let message = "so many rules in order, of which so many may be missing, take up too much memory";
                self.error(self.place, "correlation-too-complex", message);
            }
            draft.chains = vec![Chain { steps, gaps, without: 0 }];
        }
        if draft.kind.temporal() && !self.attributes.refused {
            let most = draft.chains.first().map_or(draft.rules.len(), |chain| chain.steps.len());
            if !(0..=most).any(|n| draft.test.limits(n as f64)) {
                let message = format!("the condition never holds: there are {most} rules");
                self.error(self.place, "bad-correlation-condition", message);
            }
        }
    }

    /// Takes repeats out of the rules; the rules in order, with repeats, by position.
    fn steps(&mut self, draft: &mut Draft) -> Vec<usize> {
        let mut rules: Vec<Named> = Vec::with_capacity(draft.rules.len());
        let mut steps = Vec::with_capacity(draft.rules.len());
        for (name, place) in std::mem::take(&mut draft.rules) {
            let known = rules.iter().position(|(n, _)| *n == name);
            if known.is_some() && draft.kind != Kind::TemporalOrdered {
                let message = format!("the rule '{}' is there twice", brief(&name));
                self.attributes.reading.findings.push(Finding::warning(place, "repeated-rule", message));
                continue;
            }
            steps.push(known.unwrap_or(rules.len()));
            if known.is_none() {
                rules.push((name, place));
            }
        }
        if draft.kind.temporal() && (rules.len() > MAX_TEMPORAL_RULES || steps.len() > MAX_TEMPORAL_RULES) {
            let message = format!("{} rules, the limit of this type is {MAX_TEMPORAL_RULES}", steps.len());
            self.error(self.place, "correlation-too-complex", message);
        }
        draft.rules = rules;
        steps
    }

    fn limits(&mut self, node: &Node, pairs: &'a [(Node, Node)], draft: &mut Draft) {
        let mut limits = Vec::new();
        let mut percentile = None;
        for (key, value) in pairs {
            let name = key.text().unwrap_or_default();
            if name == "field" {
                draft.value = self.texts(value, "field", MAX_FIELDS);
                continue;
            }
            let number = match value.meaning() {
                Meaning::Number(n) => Some(float(n)),
                // Quoted numbers are taken for what they look like.
                Meaning::Text => value.text().and_then(|t| Number::parse(t.trim().as_bytes())).map(float),
                _ => None,
            };
            if name == "percentile" {
                percentile = Some((key.place, number.filter(|p| (0.0..=100.0).contains(p))));
                if number.is_none_or(|p| !(0.0..=100.0).contains(&p)) {
                    let message = "a percentile is a number from 0 to 100";
                    self.error(value.place, "bad-correlation-condition", message);
                }
                continue;
            }
            let Some((_, operator)) = OPERATORS.iter().find(|(n, _)| *n == name) else {
                let known = OPERATORS.iter().map(|(n, _)| *n).chain(["field", "percentile"]);
                let message = format!("'{}' is no operator of a correlation condition", brief(name));
                let mut help = did_you_mean(name, known);
                if help.is_empty() {
                    "the operators are gt, gte, lt, lte, eq and neq".clone_into(&mut help);
                }
                self.helped(key.place, "bad-correlation-condition", message, help);
                continue;
            };
            match number {
                Some(number) => limits.push((*operator, number)),
                None => {
                    let message = format!("'{name}' takes a number, this is {}", value.kind());
                    self.error(value.place, "bad-correlation-condition", message);
                }
            }
        }
        self.value_field(node, draft);
        match (&mut draft.kind, percentile) {
            (Kind::ValuePercentile(p), Some((_, given))) => *p = given.unwrap_or(*p),
            (Kind::ValuePercentile(_), None) => {
                let message = "the condition does not say which percentile; the 50th is taken";
                let finding = Finding::warning(node.place, "missing-percentile", message);
                self.attributes.reading.findings.push(finding.help("add 'percentile: 95' to the condition"));
            }
            (_, Some((place, _))) => {
                let message = "'percentile' is for the type 'value_percentile' only";
                self.error(place, "bad-correlation-condition", message);
            }
            (_, None) => {}
        }
        if limits.is_empty() {
            if !self.attributes.refused {
                let message = "the condition has none of gt, gte, lt, lte, eq and neq";
                self.error(node.place, "bad-correlation-condition", message);
            }
            return;
        }
        draft.condition = limits.iter().map(|(o, n)| format!("{} {n}", o.name())).collect::<Vec<_>>().join(", ");
        draft.test = Test::Limits(limits);
        let counted = matches!(draft.kind, Kind::EventCount | Kind::ValueCount);
        if counted && draft.test.most() > MAX_COUNT {
            let message = format!("a window counts to {MAX_COUNT}, so the condition cannot be decided");
            self.error(node.place, "bad-correlation-condition", message);
        }
        if counted && draft.test.rising() && draft.test.limits(0.0) {
            let message = "the condition holds of a window with nothing in it";
            self.error(node.place, "bad-correlation-condition", message);
        }
    }

    fn value_field(&mut self, node: &Node, draft: &Draft) {
        let kind = draft.kind;
        if draft.value.is_empty() && kind.valued() {
            let message = format!("the condition of a '{}' names a field", kind.name());
            self.helped(node.place, "missing-correlation-field", message, "add 'field: NAME' to the condition");
        }
        let place = draft.value.first().map_or(node.place, |(_, place)| *place);
        if !draft.value.is_empty() && !kind.valued() {
            let message = format!("the condition of a '{}' looks at no field", kind.name());
            self.error(place, "bad-correlation-condition", message);
        }
        if draft.value.len() > 1 && kind.valued() && kind != Kind::ValueCount {
            let message = format!("a '{}' looks at one field, not at {}", kind.name(), draft.value.len());
            self.error(place, "bad-correlation-condition", message);
        }
    }

    /// `rule_a and (rule_b or not rule_c)`.
    fn extended(&mut self, node: &'a Node, draft: &mut Draft) {
        let text = node.text().unwrap_or_default();
        if draft.rules.is_empty() {
            let mut names: Vec<Named> = Vec::new();
            for word in text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')')) {
                let keyword = matches!(word, "" | "and" | "or" | "not");
                if !keyword && names.len() <= MAX_TEMPORAL_RULES && !names.iter().any(|(n, _)| n == word) {
                    names.push((word.to_owned(), node.place));
                }
            }
            draft.rules = names;
            self.steps(draft);
        }
        let names: Vec<&str> = draft.rules.iter().map(|(n, _)| n.as_str()).collect();
        let parsed = match condition::parse(text, &names) {
            Ok(parsed) => parsed,
            Err(problem) => {
                let place = locate(self.attributes.reading.source, node, problem.range);
                let message = problem.message.replace("selection", "rule in 'rules' called");
                let message = if problem.code == "undefined-selection" { message } else { problem.message };
                self.helped(place, "bad-correlation-condition", message, problem.help);
                return;
            }
        };
        let mut used = 0;
        uses(&parsed, &mut used);
        let unused: Vec<Named> =
            draft.rules.iter().enumerate().filter(|(i, _)| used >> i & 1 == 0).map(|(_, n)| n.clone()).collect();
        for (name, place) in unused {
            let message = format!("the condition does not use the rule '{}'", brief(&name));
            self.error(place, "unused-correlation-rule", message);
        }
        if holds(&parsed, 0) {
            let message = "the condition holds where none of the rules matched: there is nothing to start from";
            self.error(node.place, "bad-correlation-condition", message);
        }
        if draft.kind == Kind::TemporalOrdered {
            match alternatives(&parsed, false) {
                Some(found) => {
                    // A rule that is both wanted and unwanted makes an alternative that cannot be.
                    let possible =
                        found.into_iter().filter(|(wanted, unwanted)| wanted & unwanted == 0 && *wanted != 0);
                    draft.chains = possible
                        .map(|(wanted, without)| Chain {
                            steps: (0..draft.rules.len()).filter(|i| wanted >> i & 1 == 1).collect(),
                            gaps: 0,
                            without,
                        })
                        .collect();
                }
                None => {
                    let message = format!("more than {MAX_CHAINS} ways to fulfil the condition in order");
                    self.error(node.place, "correlation-too-complex", message);
                }
            }
            if draft.chains.iter().map(|c| c.steps.len()).sum::<usize>() > MAX_STEPS {
                let message = format!("more than {MAX_STEPS} steps in all the ways to fulfil the condition in order");
                self.error(node.place, "correlation-too-complex", message);
            }
        }
        draft.condition = text.split_whitespace().collect::<Vec<_>>().join(" ");
        draft.test = Test::Rules(parsed);
    }

    fn policy(&mut self, draft: &mut Draft) {
        draft.at_close = !draft.test.rising();
        let get = |reader: &Self, name| reader.attributes.pair(name).map(|(_, v)| v);
        if let Some(node) = get(self, "suppress") {
            draft.suppress = self.span(node, "suppress");
        }
        if let Some(node) = get(self, "refire") {
            draft.reset = self.word(node, "refire", ["quiet", "reset"]) == Some(1);
        }
        if let Some(node) = get(self, "evaluate") {
            match self.word(node, "evaluate", ["match", "close"]) {
                Some(0) if draft.at_close && matches!(draft.test, Test::Rules(_)) => {
                    let message = "a condition with 'not' can only be decided when the window closes";
                    self.error(node.place, "bad-correlation-condition", message);
                }
                Some(0) => draft.at_close = false,
                Some(_) => draft.at_close = true,
                None => {}
            }
        }
    }

    fn word(&mut self, node: &Node, name: &str, words: [&str; 2]) -> Option<usize> {
        let text = node.text().unwrap_or_default();
        let found = words.iter().position(|w| *w == text);
        if found.is_none() {
            let message = format!("'{name}' is '{}' or '{}'", words[0], words[1]);
            self.error(node.place, "bad-correlation", message);
        }
        found
    }

    /// Aliases that nothing uses are mostly misspelt.
    fn fields(&mut self, draft: &Draft) {
        for alias in &draft.aliases {
            let used = draft.group_by.iter().chain(&draft.value).any(|(n, _)| *n == alias.name.0);
            if !used {
                let message = format!("nothing uses the alias '{}'", brief(&alias.name.0));
                self.attributes.reading.findings.push(Finding::warning(alias.name.1, "unused-alias", message));
            }
        }
    }
}

fn uses(condition: &Condition, used: &mut u64) {
    match condition {
        Condition::All(terms) | Condition::Any(terms) => terms.iter().for_each(|t| uses(t, used)),
        Condition::Not(term) | Condition::Named(_, term) => uses(term, used),
        Condition::Selection(i) => *used |= 1 << i,
        Condition::Of { members, .. } => members.iter().for_each(|i| *used |= 1 << i),
    }
}

/// The ways to fulfil a condition, as (rules wanted, rules unwanted); None = too many.
fn alternatives(condition: &Condition, negated: bool) -> Option<Vec<(u64, u64)>> {
    let members: Vec<Condition>;
    let (all, terms) = match condition {
        Condition::Selection(i) => return Some(vec![if negated { (0, 1 << i) } else { (1 << i, 0) }]),
        Condition::Not(term) => return alternatives(term, !negated),
        Condition::Named(_, term) => return alternatives(term, negated),
        Condition::All(terms) => (true, terms),
        Condition::Any(terms) => (false, terms),
        Condition::Of { all, members: of, .. } => {
            members = of.iter().map(|i| Condition::Selection(*i)).collect();
            (*all, &members)
        }
    };
    let mut total: Vec<(u64, u64)> = Vec::new();
    for (n, term) in terms.iter().enumerate() {
        let part = alternatives(term, negated)?;
        // Of a negated `and`, any of the negated terms is enough.
        if all == negated || n == 0 {
            total.extend(part);
        } else {
            total = total.iter().flat_map(|(a, b)| part.iter().map(move |(c, d)| (a | c, b | d))).collect();
        }
        total.sort_unstable();
        total.dedup();
        if total.len() > MAX_CHAINS {
            return None;
        }
    }
    Some(total)
}

fn float(n: Number) -> f64 {
    match n {
        Number::Integer(i) => i as f64,
        Number::Float(f) => f,
    }
}

/// Nanoseconds, or what is wrong. Months and years have the lengths of pySigma.
fn timespan(text: &str) -> Result<u64, &'static str> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    if count.is_empty() {
        return Err("does not begin with a number");
    }
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        "M" => 2_629_746,
        "y" => 31_556_952,
        "" => return Err("has no unit"),
        _ => return Err("has no unit that is known"),
    };
    let count: u64 = count.parse().map_err(|_| "is too long")?;
    match count.checked_mul(seconds) {
        Some(0) => Err("is no time at all"),
        Some(span) if span <= MAX_TIMESPAN => Ok(span * SECOND),
        _ => Err("is too long"),
    }
}
