//! The condition language: `selection and not 1 of filter_*`.

use crate::diagnostic::{brief, did_you_mean};
use std::ops::Range;

/// Nesting of parentheses and `not`.
const MAX_DEPTH: usize = 64;
/// Tokens of one condition.
const MAX_TOKENS: usize = 4096;

/// A condition. Ranges are bytes of the condition's text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// Index into the selections.
    Selection(usize),
    /// `1 of x*`, `all of them`: what was written, whether all must hold, indices of the selections.
    Of {
        text: String,
        all: bool,
        members: Vec<usize>,
    },
    /// A condition with a name of its own: that of a filter.
    Named(String, Box<Condition>),
}

impl Condition {
    /// Marks the selections that it names.
    pub fn mark(&self, used: &mut [bool]) {
        match self {
            Self::All(terms) | Self::Any(terms) => terms.iter().for_each(|t| t.mark(used)),
            Self::Not(term) | Self::Named(_, term) => term.mark(used),
            Self::Selection(i) => used[*i] = true,
            Self::Of { members, .. } => members.iter().for_each(|i| used[*i] = true),
        }
    }

    /// What is left of it where only those selections are that have a new number; None = nothing. A term that names one of
    /// the others goes as a whole.
    pub fn keep(self, numbers: &[Option<usize>]) -> Option<Self> {
        let new = |i: usize| numbers.get(i).copied().flatten();
        let list = |terms: Vec<Self>| terms.into_iter().filter_map(|t| t.keep(numbers)).collect::<Vec<_>>();
        match self {
            Self::All(terms) => {
                let before = terms.len();
                let mut kept = list(terms);
                match kept.pop()? {
                    // Its name was to tell it from what it was joined with.
                    Self::Named(_, only) if kept.is_empty() && before > 1 => return Some(*only),
                    last => kept.push(last),
                }
                Some(Self::All(kept))
            }
            Self::Any(terms) => Some(list(terms)).filter(|kept| !kept.is_empty()).map(Self::Any),
            Self::Not(term) => Some(Self::Not(Box::new(term.keep(numbers)?))),
            Self::Named(label, term) => Some(Self::Named(label, Box::new(term.keep(numbers)?))),
            Self::Selection(i) => new(i).map(Self::Selection),
            Self::Of { text, all, members } => {
                let members = members.into_iter().map(new).collect::<Option<_>>()?;
                Some(Self::Of { text, all, members })
            }
        }
    }

    /// The same for selections that stand `by` places later.
    pub fn shift(&mut self, by: usize) {
        match self {
            Self::All(terms) | Self::Any(terms) => terms.iter_mut().for_each(|t| t.shift(by)),
            Self::Not(term) | Self::Named(_, term) => term.shift(by),
            Self::Selection(i) => *i += by,
            Self::Of { members, .. } => members.iter_mut().for_each(|i| *i += by),
        }
    }
}

/// A problem of a condition.
#[derive(Debug)]
pub(crate) struct Problem {
    pub code: &'static str,
    pub message: String,
    pub help: String,
    pub range: Range<usize>,
}

impl Problem {
    fn new(code: &'static str, range: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: String::new(), range }
    }
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// Reads `text`; `names` are the selections of the rule.
pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Condition, Problem> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, names, depth: 0 };
    let condition = parser.any()?;
    match parser.peek() {
        None => Ok(condition),
        Some(")") => Err(Problem::new("bad-condition", parser.range(), "this ')' closes nothing")),
        Some(token) => {
            let message = format!("expected 'and', 'or' or the end, found '{}'", brief(token));
            Err(parser.spelling(Problem::new("bad-condition", parser.range(), message)))
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Range<usize>>, Problem> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut word = None;
    for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let part_of_word = c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*' | '.');
        match (part_of_word, word) {
            (true, None) => word = Some(i),
            (false, Some(start)) => {
                found.push(start..i);
                word = None;
            }
            _ => {}
        }
        match c {
            '(' | ')' => found.push(i..i + 1),
            '|' => {
                return Err(Problem::new(
                    "unsupported-aggregation",
                    i..text.trim_end().len().max(i + 1),
                    "aggregation after '|' (count, near, ...) is deprecated in Sigma",
                ));
            }
            c if part_of_word || c.is_whitespace() => {}
            c => {
                let message = format!("'{c}' has no place in a condition");
                return Err(Problem::new("bad-condition", i..i + c.len_utf8(), message));
            }
        }
        if found.len() > MAX_TOKENS {
            let message = format!("the condition has more than {MAX_TOKENS} words");
            return Err(Problem::new("rule-too-complex", 0..text.len(), message));
        }
    }
    Ok(found)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Range<usize>>,
    at: usize,
    names: &'a [&'a str],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(|r| &self.text[r.clone()])
    }

    fn peek_after(&self) -> Option<&'a str> {
        self.tokens.get(self.at + 1).map(|r| &self.text[r.clone()])
    }

    fn take(&mut self, wanted: &str) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    /// The current token, or the end of the text.
    fn range(&self) -> Range<usize> {
        let end = self.text.trim_end().len();
        self.tokens.get(self.at).cloned().unwrap_or(end..end)
    }

    fn spelling(&self, problem: Problem) -> Problem {
        match self.peek() {
            Some("AND" | "OR" | "NOT" | "And" | "Or" | "Not") => problem.help("operators are written in lower case"),
            _ => problem,
        }
    }

    fn any(&mut self) -> Result<Condition, Problem> {
        let mut terms = vec![self.all()?];
        while self.take("or") {
            terms.push(self.all()?);
        }
        Ok(one_or(terms, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, Problem> {
        let mut terms = vec![self.not()?];
        while self.take("and") {
            terms.push(self.not()?);
        }
        Ok(one_or(terms, Condition::All))
    }

    fn not(&mut self) -> Result<Condition, Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(Problem::new("rule-too-complex", self.range(), message));
        }
        let found = if self.take("not") { Condition::Not(Box::new(self.not()?)) } else { self.primary()? };
        self.depth -= 1;
        Ok(found)
    }

    fn primary(&mut self) -> Result<Condition, Problem> {
        let range = self.range();
        let Some(token) = self.peek() else {
            return Err(Problem::new("bad-condition", range, "the condition ends where a selection is expected"));
        };
        if self.take("(") {
            let inner = self.any()?;
            if !self.take(")") {
                return Err(Problem::new("bad-condition", range, "this '(' is never closed"));
            }
            return Ok(inner);
        }
        let quantifier = matches!(token, "all" | "any") || token.bytes().all(|b| b.is_ascii_digit());
        if quantifier && self.peek_after() == Some("of") {
            return self.of(token);
        }
        if matches!(token, ")" | "and" | "or" | "of") {
            return Err(Problem::new("bad-condition", range, format!("expected a selection, found '{token}'")));
        }
        if token == "near" {
            return Err(Problem::new("unsupported-near", range, "'near' is deprecated in Sigma"));
        }
        if let Some(index) = self.names.iter().position(|n| *n == token) {
            self.at += 1;
            return Ok(Condition::Selection(index));
        }
        if token.contains('*') {
            let message = format!("'{}' needs '1 of' or 'all of' before it", brief(token));
            return Err(Problem::new("bad-condition", range, message));
        }
        let message = format!("there is no selection '{}'", brief(token));
        let problem =
            Problem::new("undefined-selection", range, message).help(did_you_mean(token, self.names.iter().copied()));
        Err(self.spelling(problem))
    }

    fn of(&mut self, quantifier: &'a str) -> Result<Condition, Problem> {
        let start = self.range();
        if !matches!(quantifier, "1" | "all" | "any") {
            let message =
                format!("'{} of' is not in the specification, which has '1 of' and 'all of'", brief(quantifier));
            return Err(Problem::new("unsupported-quantifier", start, message));
        }
        self.at += 2;
        let range = self.range();
        let Some(pattern) = self.peek().filter(|t| !matches!(*t, "(" | ")" | "and" | "or" | "not" | "of")) else {
            return Err(Problem::new("bad-condition", range, "expected 'them' or a pattern of selections after 'of'"));
        };
        self.at += 1;
        let matching = |name: &&str| {
            let hidden = name.starts_with('_') && !pattern.starts_with('_');
            !hidden && (pattern == "them" || matches(pattern.as_bytes(), name.as_bytes()))
        };
        let members: Vec<usize> = (0..self.names.len()).filter(|i| matching(&self.names[*i])).collect();
        if members.is_empty() {
            let message = match pattern {
                "them" => "there is no selection for 'them'".to_owned(),
                _ => format!("no selection matches '{}'", brief(pattern)),
            };
            return Err(Problem::new("undefined-selection", range, message)
                .help("a term without selections would silently be true or false"));
        }
        let text = format!("{quantifier} of {pattern}");
        Ok(Condition::Of { text, all: quantifier == "all", members })
    }
}

fn one_or(mut terms: Vec<Condition>, combine: fn(Vec<Condition>) -> Condition) -> Condition {
    if terms.len() == 1 { terms.remove(0) } else { combine(terms) }
}

/// `*` anywhere in a pattern of selection names; other characters, `?` too, stand for themselves.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some(star) = memchr::memchr(b'*', pattern) else { return pattern == name };
    let (head, mut rest) = (&pattern[..star], &pattern[star + 1..]);
    let Some(mut name) = name.strip_prefix(head) else { return false };
    while let Some(star) = memchr::memchr(b'*', rest) {
        let Some(at) = memchr::memmem::find(name, &rest[..star]) else { return false };
        name = &name[at + star..];
        rest = &rest[star + 1..];
    }
    name.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["sel_a", "sel_b", "filter", "_hidden"];

    fn shown(c: &Condition) -> String {
        let list = |v: &[Condition], op: &str| format!("({})", v.iter().map(shown).collect::<Vec<_>>().join(op));
        match c {
            Condition::All(v) => list(v, " & "),
            Condition::Any(v) => list(v, " | "),
            Condition::Not(c) => format!("!{}", shown(c)),
            Condition::Selection(i) => NAMES[*i].to_owned(),
            Condition::Of { all, members, .. } => format!("{}{members:?}", if *all { "all" } else { "any" }),
            Condition::Named(name, c) => format!("{name}: {}", shown(c)),
        }
    }

    #[test]
    fn precedence() {
        let show = |t: &str| shown(&parse(t, &NAMES).unwrap());
        assert_eq!(show("sel_a or sel_b and not filter"), "(sel_a | (sel_b & !filter))");
        assert_eq!(show("(sel_a or sel_b) and not filter"), "((sel_a | sel_b) & !filter)");
        assert_eq!(show("not 1 of sel_* and filter"), "(!any[0, 1] & filter)");
        assert_eq!(show("all of them"), "all[0, 1, 2]");
        assert_eq!(show("any of _*"), "any[3]");
        assert_eq!(show("1 of *l*_*"), "any[0, 1]");
        assert_eq!(show("not not sel_a"), "!!sel_a");
        assert_eq!(show("1 of filter"), "any[2]");
    }

    #[test]
    fn problems_and_where() {
        for (text, code, range) in [
            ("sel_a and sel_c", "undefined-selection", 10..15),
            ("sel_a AND sel_b", "bad-condition", 6..9),
            ("sel_a and", "bad-condition", 9..9),
            ("(sel_a", "bad-condition", 0..1),
            ("sel_a)", "bad-condition", 5..6),
            ("sel_a sel_b", "bad-condition", 6..11),
            ("2 of sel_*", "unsupported-quantifier", 0..1),
            ("1 of nope*", "undefined-selection", 5..10),
            ("sel_*", "bad-condition", 0..5),
            ("sel_a | count() by x > 5", "unsupported-aggregation", 6..24),
            ("sel_a & sel_b", "bad-condition", 6..7),
            ("near sel_a", "unsupported-near", 0..4),
            ("", "bad-condition", 0..0),
            ("1 of", "bad-condition", 4..4),
            ("not", "bad-condition", 3..3),
        ] {
            let problem = parse(text, &NAMES).expect_err(text);
            assert_eq!((problem.code, problem.range), (code, range), "{text}");
        }
        assert_eq!(parse(&"(".repeat(5000), &NAMES).unwrap_err().code, "rule-too-complex");
        assert_eq!(parse(&"not ".repeat(100), &NAMES).unwrap_err().code, "rule-too-complex");
    }
}
