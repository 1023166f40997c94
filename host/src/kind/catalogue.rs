//! The catalogue: resolves a field name of a subscription to a way to read it, and a source to the rows it selects.

use super::{Access, KINDS, Kind, KindId, Opens, ProcessField, Rows, SYSTEM, Shape, auditd};
use crate::slab::{Cell, Slab};

/// What a subscription asks for; every part that is given must equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    pub kind: Option<String>,
    pub category: Option<String>,
    pub product: Option<String>,
    pub service: Option<String>,
}

impl Source {
    /// Nothing given: every event.
    pub fn is_everything(&self) -> bool {
        self.kind.is_none() && self.category.is_none() && self.product.is_none() && self.service.is_none()
    }
}

impl Source {
    /// Derived rows go to who asks for them by name: as a kind, or as the service of the same name.
    fn names_derived(&self, name: &str) -> bool {
        let service = self.service.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(name));
        let product = self.product.as_deref().is_none_or(|p| p.eq_ignore_ascii_case(PRODUCT));
        match &self.kind {
            Some(kind) => kind == name,
            None => service && product && self.category.is_none(),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |p: &Option<String>| p.clone().unwrap_or_else(|| "*".to_owned());
        match &self.kind {
            Some(kind) => f.write_str(kind),
            None => write!(f, "{}/{}/{}", part(&self.category), part(&self.product), part(&self.service)),
        }
    }
}

/// Comparison of a clause; ASCII case is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Equals,
    Prefix,
    Suffix,
    Contains,
}

/// A hint of a subscription: rows that do not meet it need not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhereClause {
    pub field: String,
    pub op: Op,
    pub any_of: Vec<Vec<u8>>,
}

/// Whether a field is filled here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Bound,
    /// No kind of this source has it; the note says what was probably meant.
    Unknown,
    /// The catalogue has it, but nothing on this host fills it.
    NeverHere,
}

/// A resolved field.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub access: Access,
    pub shape: Shape,
    pub availability: Availability,
    pub note: String,
}

/// A column that an enricher of this generation adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrichOutput {
    /// Position of the enricher in the generation.
    pub slot: u16,
    pub output: u16,
    /// `enrich.<guest>.<output>`.
    pub name: String,
    pub shape: Shape,
    pub doc: String,
}

/// The field names of one generation.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub enrich: Vec<EnrichOutput>,
    /// Replay of foreign JSON (`--all-log-sources`): a name that no table has is looked up in the JSON.
    pub any_json: bool,
    /// Audit records are made, of these opens.
    pub audit: Option<Opens>,
}

/// The rows of a slab that a subscription gets.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Per kind: the predicates of the log sources that match, `None` = not this kind.
    kinds: Vec<Option<Rows>>,
    foreign: Foreign,
    /// `EventName` must be one of these (from the `where` clauses); empty = any.
    names: Vec<Vec<u8>>,
    /// What the path must be (from the `where` clauses): all of these.
    paths: Vec<PathClause>,
    /// It selects audit records, of these opens: the kinds they are made from are needed, too.
    audit: Option<Opens>,
}

/// A `where` clause on the path, ready to be compared.
#[derive(Clone, Debug)]
struct PathClause {
    op: Op,
    any_of: Vec<Vec<u8>>,
    /// Per kind, the cell that holds the path.
    cells: Vec<Option<u16>>,
}

impl PathClause {
    fn new(clause: &WhereClause) -> PathClause {
        let cell = |k: &&Kind| k.fields.iter().position(|f| f.sigma.contains(&PATH)).map(|i| i as u16);
        PathClause { op: clause.op, any_of: clause.any_of.clone(), cells: KINDS.iter().map(cell).collect() }
    }

    /// Whether the row's path meets the clause; a row without a path does not.
    fn meets(&self, slab: &Slab, row: usize, kind: KindId) -> bool {
        let Some(cell) = self.cells[kind.0 as usize] else { return false };
        let Cell::Text(span) = slab.own_cells(row)[cell as usize] else { return false };
        let path = &slab.arena[span.range()];
        self.any_of.iter().any(|p| self.op.holds(path, p))
    }
}

impl Op {
    pub fn holds(self, value: &[u8], pattern: &[u8]) -> bool {
        let same = |part: Option<&[u8]>| part.is_some_and(|p| p.eq_ignore_ascii_case(pattern));
        match self {
            Op::Equals => value.eq_ignore_ascii_case(pattern),
            Op::Prefix => same(value.get(..pattern.len())),
            Op::Suffix => same(value.len().checked_sub(pattern.len()).and_then(|from| value.get(from..))),
            // `windows` refuses a width of 0.
            Op::Contains => {
                pattern.is_empty() || value.windows(pattern.len()).any(|part| part.eq_ignore_ascii_case(pattern))
            }
        }
    }
}

/// Which foreign JSON rows a selection admits.
#[derive(Clone, Debug)]
enum Foreign {
    None,
    /// Those in the seed's shape: they have an event name.
    Named,
    /// Those with this event name.
    Only(String),
    All,
}

/// The field that `where` clauses filter by, in every source.
const PATH: &str = "TargetFilename";

const PRODUCT: &str = "linux";

/// The model's catch-all log source.
const EBPF: &str = "ebpf";

impl Selection {
    /// `None` when no kind of this build feeds the source and it is not everything.
    pub fn new(source: &Source, clauses: &[WhereClause]) -> Option<Selection> {
        let given = |part: &Option<String>, value: &str| part.as_deref().is_none_or(|p| p.eq_ignore_ascii_case(value));
        let no_service = source.service.is_none();
        let mut foreign = Foreign::None;
        let kinds: Vec<Option<Rows>> = KINDS
            .iter()
            .zip(0..)
            .map(|(k, id)| {
                if KindId(id).is_derived() {
                    return source.names_derived(k.name).then_some(Rows::All);
                }
                if source.is_everything() {
                    return Some(Rows::All);
                }
                if let Some(kind) = &source.kind {
                    return (kind == k.name).then_some(Rows::All);
                }
                if !no_service || !given(&source.product, PRODUCT) {
                    return None;
                }
                match source.category.as_deref() {
                    None => (!k.lifecycle || !k.sources.is_empty()).then_some(Rows::All),
                    Some(c) if c.eq_ignore_ascii_case(EBPF) => Some(Rows::All),
                    Some(c) => k.sources.iter().find(|s| s.category.eq_ignore_ascii_case(c)).map(|s| s.rows),
                }
            })
            .collect();
        if source.is_everything() {
            foreign = Foreign::All;
        } else if let Some(kind) = &source.kind {
            foreign = Foreign::Only(kind.clone());
        } else if no_service && given(&source.product, PRODUCT) && given(&source.category, EBPF) {
            foreign = Foreign::Named;
        }
        let known = kinds.iter().any(Option::is_some) || matches!(foreign, Foreign::Named | Foreign::All);
        let names = clauses
            .iter()
            .find(|c| c.op == Op::Equals && matches!(c.field.as_str(), "EventName" | "System.EventName"))
            .map(|c| c.any_of.clone())
            .unwrap_or_default();
        let paths = clauses.iter().filter(|c| c.field == PATH).map(PathClause::new).collect();
        let derived = |(_, id): &(&Option<Rows>, u16)| KindId(*id).is_derived();
        let audit = kinds.iter().zip(0..).find(derived).is_some_and(|(rows, _)| rows.is_some());
        known.then_some(Selection { kinds, foreign, names, paths, audit: audit.then_some(Opens::Changes) })
    }

    /// Whether a row belongs to the subscription.
    pub fn admits(&self, slab: &Slab, row: usize) -> bool {
        let r = &slab.rows[row];
        let name = if let Some(kind) = r.kind.spec() {
            let Some(rows) = self.kinds[r.kind.0 as usize] else { return false };
            if let Rows::Where(belongs) = rows
                && !belongs(slab, row)
            {
                return false;
            }
            if !self.paths.iter().all(|c| c.meets(slab, row, r.kind)) {
                return false;
            }
            kind.name.as_bytes()
        } else {
            let name = super::read::foreign_name(r);
            let admitted = match &self.foreign {
                Foreign::None => false,
                Foreign::Named => name.is_some(),
                Foreign::Only(kind) => name == Some(kind.as_str()),
                Foreign::All => true,
            };
            if !admitted {
                return false;
            }
            name.unwrap_or_default().as_bytes()
        };
        self.names.is_empty() || self.names.iter().any(|n| n.eq_ignore_ascii_case(name))
    }

    /// The opens whose audit records it selects, if it selects any.
    pub fn audit(&self) -> Option<Opens> {
        self.audit
    }

    /// The kinds the sensor has to collect for this subscription.
    pub fn wanted(&self) -> impl Iterator<Item = KindId> + '_ {
        self.selected().chain(self.audit.into_iter().flat_map(|_| auditd::sources()))
    }

    fn selected(&self) -> impl Iterator<Item = KindId> + '_ {
        self.kinds.iter().enumerate().filter(|(_, rows)| rows.is_some()).map(|(i, _)| KindId(i as u16)).filter(|k| {
            self.names.is_empty()
                || k.spec().is_some_and(|s| self.names.iter().any(|n| n.eq_ignore_ascii_case(s.name.as_bytes())))
        })
    }

    /// Whether every row of the kind is wanted, or only those of one narrower log source.
    pub fn takes_all(&self, kind: KindId) -> bool {
        match self.audit {
            Some(opens) => opens == Opens::Every,
            None => matches!(self.kinds[kind.0 as usize], Some(Rows::All | Rows::WithPath)),
        }
    }

    /// Whether the source is too big to be handed out without a `where` clause on the path, and there is none.
    pub fn lacks_path(&self) -> bool {
        self.paths.is_empty() && self.kinds.iter().any(|rows| matches!(rows, Some(Rows::WithPath)))
    }
}

impl Catalogue {
    /// The rows that a source selects under this catalogue; `None` = nothing feeds it.
    pub fn select(&self, source: &Source, clauses: &[WhereClause]) -> Option<Selection> {
        let mut selection = Selection::new(source, clauses)?;
        if selection.audit.is_some() {
            selection.audit = Some(self.audit?);
        }
        Some(selection)
    }

    /// Resolves a field of a subscription: Sigma name, dotted path, selector, or enricher output.
    pub fn resolve(&self, selection: Option<&Selection>, field: &str) -> Bound {
        let bound = |access, shape| Bound { access, shape, availability: Availability::Bound, note: String::new() };
        match field {
            "@values" => return bound(Access::Values, Shape::TextList),
            "@kind" | "EventName" | "EventType" | "System.EventName" => return bound(Access::Kind, Shape::Text),
            "@process" => return bound(Access::ProcessId, Shape::Unsigned),
            _ => {}
        }
        if let Some(i) = SYSTEM.iter().position(|f| path_is(f.path, "System.", field) || f.sigma.contains(&field)) {
            return bound(Access::System(i as u16), SYSTEM[i].ty.shape());
        }
        if let Some((p, _, _, ty, _)) =
            ProcessField::TABLE.iter().find(|(_, path, sigma, _, _)| *path == field || sigma.contains(&field))
        {
            // Some kinds have a field of the same Sigma name; the kind's own wins below only for names the process does not have.
            return bound(Access::Process(*p), ty.shape());
        }
        if let Some(e) = self.enrich.iter().find(|e| e.name == field) {
            return bound(Access::Enriched { slot: e.slot, output: e.output }, e.shape);
        }
        let cells: Box<[Box<[u16]>]> = KINDS
            .iter()
            .map(|k| {
                (0..k.fields.len() as u16)
                    .filter(|&i| {
                        let f = &k.fields[i as usize];
                        path_is(f.path, "EventData.", field) || f.sigma.contains(&field)
                    })
                    .collect()
            })
            .collect();
        let selected = |i: usize| selection.is_none_or(|s| s.kinds[i].is_some());
        if let Some((kind, hits)) = cells.iter().enumerate().find(|(i, hits)| !hits.is_empty() && selected(*i)) {
            let first = &KINDS[kind].fields[hits[0] as usize];
            let shape = first.ty.shape();
            let same = cells
                .iter()
                .enumerate()
                .filter(|(i, h)| !h.is_empty() && selected(*i))
                .all(|(i, h)| h.iter().all(|&f| KINDS[i].fields[f as usize].ty.shape() == shape));
            let filled = cells
                .iter()
                .enumerate()
                .filter(|(i, _)| selected(*i))
                .any(|(i, h)| h.iter().any(|&f| KINDS[i].fields[f as usize].filled));
            let mut found = bound(Access::Cells(cells), if same { shape } else { Shape::Dynamic });
            if !filled {
                found.availability = Availability::NeverHere;
                found.note = format!("no hook of this version fills `{field}` ({})", first.doc);
            }
            return found;
        }
        if self.any_json {
            return bound(Access::Dynamic(field.into()), Shape::Dynamic);
        }
        let elsewhere = cells.iter().position(|hits| !hits.is_empty());
        Bound {
            // JSON may still carry it (kinds of the model that no table describes yet): never refused, only said.
            access: Access::Dynamic(field.into()),
            shape: Shape::Dynamic,
            availability: if elsewhere.is_some() { Availability::NeverHere } else { Availability::Unknown },
            note: match elsewhere {
                Some(kind) => format!("only {} has `{field}`", KINDS[kind].name),
                None => self.nearest(field).map(|n| format!("did you mean `{n}`?")).unwrap_or_default(),
            },
        }
    }

    /// Every name a field can be asked by: (name, type, doc, kinds).
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let system = SYSTEM.iter().flat_map(|f| names_of("System.", f.path, f.sigma));
        let process = ProcessField::TABLE.iter().flat_map(|(_, path, sigma, _, _)| names_of("", path, sigma));
        let kinds = KINDS.iter().flat_map(|k| k.fields.iter().flat_map(|f| names_of("EventData.", f.path, f.sigma)));
        system.chain(process).chain(kinds).chain(self.enrich.iter().map(|e| e.name.clone()))
    }

    pub(super) fn nearest(&self, field: &str) -> Option<String> {
        let wanted = field.to_ascii_lowercase();
        self.names()
            .map(|n| (strsim::damerau_levenshtein(&wanted, &n.to_ascii_lowercase()), n))
            .filter(|(d, n)| *d <= 1 + n.len() / 4)
            .min_by_key(|(d, _)| *d)
            .map(|(_, n)| n)
    }
}

fn names_of<'a>(prefix: &'a str, path: &'a str, sigma: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    std::iter::once(format!("{prefix}{path}")).chain(sigma.iter().map(|s| (*s).to_owned()))
}

fn path_is(path: &str, prefix: &str, field: &str) -> bool {
    field.strip_prefix(prefix) == Some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Decoder;

    fn source(category: &str) -> Source {
        Source { category: Some(category.to_owned()), product: Some(PRODUCT.to_owned()), ..Source::default() }
    }

    fn path(op: Op, any_of: &[&str]) -> WhereClause {
        WhereClause { field: PATH.to_owned(), op, any_of: any_of.iter().map(|p| p.as_bytes().to_vec()).collect() }
    }

    #[test]
    fn patterns_ignore_ascii_case_only() {
        for (op, value, pattern, holds) in [
            (Op::Equals, "/etc/Shadow", "/ETC/shadow", true),
            (Op::Equals, "/etc/shadow-", "/etc/shadow", false),
            (Op::Prefix, "/Home/x", "/home/", true),
            (Op::Prefix, "/hom", "/home/", false),
            (Op::Suffix, "/x/.SSH/id", ".ssh/id", true),
            (Op::Suffix, "id", ".ssh/id", false),
            (Op::Contains, "/a/BC/d", "bc", true),
            (Op::Contains, "/a/b/c", "bc", false),
            (Op::Contains, "", "", true),
            (Op::Contains, "", "x", false),
            (Op::Equals, "\u{c4}", "\u{e4}", false),
        ] {
            assert_eq!(op.holds(value.as_bytes(), pattern.as_bytes()), holds, "{op:?} {value} {pattern}");
        }
    }

    #[test]
    fn rows_that_miss_the_path_are_not_sent() {
        let mut slab = Slab::default();
        let mut decoder = Decoder::default();
        let with_path = KINDS.iter().filter(|k| k.fields.iter().any(|f| f.sigma.contains(&PATH)));
        let mut rows = 0;
        for kind in with_path {
            let field = kind.fields.iter().find(|f| f.sigma.contains(&PATH)).unwrap();
            for value in [json!("/etc/cron.d/job"), json!("/srv/job"), json!(null)] {
                let mut data = serde_json::Map::new();
                data.insert(field.path.to_owned(), value);
                let event = json!({ "System": { "EventName": kind.name }, "EventData": data });
                decoder.value(rows, event, &mut slab).unwrap();
                rows += 1;
            }
        }
        assert!(rows >= 3);
        let selected = |clauses: &[WhereClause]| {
            let mut rows = Vec::new();
            slab.select(&Selection::new(&source(EBPF), clauses).unwrap(), &mut rows);
            rows
        };
        let thirds: Vec<u32> = (0..rows as u32).step_by(3).collect();
        assert_eq!(selected(&[path(Op::Prefix, &["/nowhere", "/ETC/"])]), thirds);
        assert_eq!(selected(&[path(Op::Suffix, &["/job"]), path(Op::Contains, &["cron"])]), thirds);
        assert_eq!(selected(&[]).len() as u64, rows);
    }

    #[test]
    fn a_source_of_every_open_wants_a_path() {
        let open = KINDS.iter().find(|k| k.sources.iter().any(|s| matches!(s.rows, Rows::WithPath))).unwrap();
        let every = open.sources.iter().find(|s| matches!(s.rows, Rows::WithPath)).unwrap();
        assert!(Selection::new(&source(every.category), &[]).unwrap().lacks_path());
        let name = WhereClause { field: "EventName".to_owned(), ..path(Op::Equals, &[open.name]) };
        assert!(Selection::new(&source(every.category), &[name]).unwrap().lacks_path());
        let narrowed = Selection::new(&source(every.category), &[path(Op::Suffix, &["/shadow"])]).unwrap();
        assert!(!narrowed.lacks_path());
        // Collected whole: the clause is the host's to apply.
        assert!(narrowed.wanted().all(|k| narrowed.takes_all(k)));
        assert!(!Selection::new(&source(EBPF), &[]).unwrap().lacks_path());
    }
}
