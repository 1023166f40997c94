//! Changes of a condition: a term left out, `and` for `or`, `all of` for `1 of`, a `not` less.

/// A condition, as far as it is to be changed.
#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// A selection.
    Name(String),
    /// `1 of x*`.
    Of(String, String),
    Not(Box<Term>),
    All(Vec<Term>),
    Any(Vec<Term>),
}

/// Nesting; a condition that is deeper is not changed.
const MAX_DEPTH: usize = 64;

/// Every changed version of `text`, each with what was changed. `names` are the selections of the rule. None for a text
/// that is no condition.
pub fn changes(text: &str, names: &[&str]) -> Vec<(String, String)> {
    let tokens = tokens(text);
    let mut reader = Reader { tokens: &tokens, at: 0, depth: 0 };
    let Some(term) = reader.any().filter(|_| reader.at == tokens.len()) else { return Vec::new() };
    let mut found = Vec::new();
    term.change(names, &mut |change, what| found.push((what, change.text(true))));
    found
}

fn tokens(text: &str) -> Vec<String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Reader<'a> {
    tokens: &'a [String],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<&str> {
        self.tokens.get(self.at + ahead).map(String::as_str)
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.peek(0) == Some(word);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self) -> Option<Term> {
        let mut terms = vec![self.all()?];
        while self.take("or") {
            terms.push(self.all()?);
        }
        Some(one_or(terms, Term::Any))
    }

    fn all(&mut self) -> Option<Term> {
        let mut terms = vec![self.not()?];
        while self.take("and") {
            terms.push(self.not()?);
        }
        Some(one_or(terms, Term::All))
    }

    fn not(&mut self) -> Option<Term> {
        self.depth += 1;
        let found = if self.depth > MAX_DEPTH {
            None
        } else if self.take("not") {
            self.not().map(|t| Term::Not(Box::new(t)))
        } else if self.take("(") {
            self.any().filter(|_| self.take(")"))
        } else if self.peek(1) == Some("of") {
            let of = Term::Of(self.peek(0)?.to_owned(), self.peek(2)?.to_owned());
            self.at += 3;
            Some(of)
        } else {
            let name = self.peek(0)?.to_owned();
            self.at += 1;
            Some(Term::Name(name))
        };
        self.depth -= 1;
        found
    }
}

fn one_or(mut terms: Vec<Term>, list: fn(Vec<Term>) -> Term) -> Term {
    if terms.len() == 1 { terms.remove(0) } else { list(terms) }
}

impl Term {
    fn text(&self, top: bool) -> String {
        let list = |terms: &[Term], word: &str| {
            let text = terms.iter().map(|t| t.text(false)).collect::<Vec<_>>().join(word);
            if top { text } else { format!("({text})") }
        };
        match self {
            Term::Name(name) => name.clone(),
            Term::Of(quantifier, pattern) => format!("{quantifier} of {pattern}"),
            Term::Not(term) => format!("not {}", term.text(false)),
            Term::All(terms) => list(terms, " and "),
            Term::Any(terms) => list(terms, " or "),
        }
    }

    /// Hands each changed version of this term to `found`.
    fn change(&self, names: &[&str], found: &mut dyn FnMut(Term, String)) {
        match self {
            Term::Name(_) => {}
            Term::Of(quantifier, pattern) => {
                let other = if quantifier == "all" { "1" } else { "all" };
                // Of one selection, all and any are the same.
                if names.iter().filter(|n| meant(pattern, n)).count() > 1 {
                    let what = format!("'{quantifier} of {pattern}' became '{other} of'");
                    found(Term::Of(other.to_owned(), pattern.clone()), what);
                }
            }
            Term::Not(term) => {
                found((**term).clone(), format!("'not' dropped before '{}'", term.text(false)));
                term.change(names, &mut |t, what| found(Term::Not(Box::new(t)), what));
            }
            Term::All(terms) => {
                found(Term::Any(terms.clone()), format!("'and' became 'or' in '{}'", self.text(true)));
                lists(terms, Term::All, names, found);
            }
            Term::Any(terms) => {
                found(Term::All(terms.clone()), format!("'or' became 'and' in '{}'", self.text(true)));
                lists(terms, Term::Any, names, found);
            }
        }
    }
}

fn lists(terms: &[Term], list: fn(Vec<Term>) -> Term, names: &[&str], found: &mut dyn FnMut(Term, String)) {
    for (i, term) in terms.iter().enumerate() {
        let mut rest = terms.to_vec();
        rest.remove(i);
        found(one_or(rest, list), format!("'{}' dropped", term.text(false)));
        term.change(names, &mut |t, what| {
            let mut changed = terms.to_vec();
            changed[i] = t;
            found(list(changed), what);
        });
    }
}

/// Whether `x of pattern` means the selection.
fn meant(pattern: &str, name: &str) -> bool {
    if name.starts_with('_') && !pattern.starts_with('_') {
        return false;
    }
    if pattern == "them" {
        return true;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(condition: &str, names: &[&str]) -> Vec<String> {
        changes(condition, names).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn every_operator_and_term_is_changed_once() {
        assert_eq!(texts("a", &["a"]), [""; 0]);
        assert_eq!(texts("a and b", &["a", "b"]), ["a or b", "b", "a"]);
        assert_eq!(
            texts("a and not (b or c)", &["a", "b", "c"]),
            [
                "a or not (b or c)",
                "not (b or c)",
                "a",
                "a and (b or c)",
                "a and not (b and c)",
                "a and not c",
                "a and not b"
            ]
        );
        assert_eq!(texts("all of s* and not 1 of f_*", &["s1", "s2", "f_1"])[2], "1 of s* and not 1 of f_*");
        assert_eq!(texts("1 of s*", &["s1", "t"]), [""; 0]);
        assert_eq!(texts("1 of them", &["a", "b"]), ["all of them"]);
        for bad in ["a and", "(a", "a b", ""] {
            assert_eq!(texts(bad, &["a"]), [""; 0], "{bad}");
        }
        assert_eq!(texts(&"not ".repeat(10_000), &[]), [""; 0]);
    }

    #[test]
    fn patterns() {
        for (pattern, name, wanted) in [
            ("s*", "selection", true),
            ("s*n", "selection", true),
            ("s*l*n", "selection", true),
            ("s*z*n", "selection", false),
            ("selection", "selection", true),
            ("selection", "selection2", false),
            ("them", "_x", false),
            ("_*", "_x", true),
        ] {
            assert_eq!(meant(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
