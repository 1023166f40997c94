//! The catalogue: resolves a field name of a subscription to a way to read it, and a source to the rows it selects.

use super::{Access, KINDS, KindId, Opens, ProcessField, Rows, SYSTEM, Shape, auditd};
use crate::slab::Slab;

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
    /// It selects audit records, of these opens: the kinds they are made from are needed, too.
    audit: Option<Opens>,
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
        let derived = |(_, id): &(&Option<Rows>, u16)| KindId(*id).is_derived();
        let audit = kinds.iter().zip(0..).find(derived).is_some_and(|(rows, _)| rows.is_some());
        known.then_some(Selection { kinds, foreign, names, audit: audit.then_some(Opens::Changes) })
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
            None => matches!(self.kinds[kind.0 as usize], Some(Rows::All)),
        }
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
