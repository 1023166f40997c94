//! `picket fields [KIND]`: what rules and guests can ask for. Everything here is read from the tables of `kind/`.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::args::{ExitCode, FieldsArgs, Format, Global};
use super::terminal::{Paint, Style, escape_str};
use crate::kind::{Field, KINDS, Kind, KindId, ProcessField, SYSTEM};

/// The log source that all kinds feed.
const EVERY_KIND: &str = "ebpf";
pub(super) const PRODUCT: &str = "linux";

/// Lists the kinds, or the fields of one.
pub fn run(args: &FieldsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    if args.markdown {
        return super::print(super::events_page::text().as_bytes());
    }
    let asked = |k: &&&Kind| args.kind.as_ref().is_none_or(|name| k.name == name);
    let kinds: Vec<&'static Kind> = KINDS.iter().filter(asked).copied().collect();
    if let (Some(name), true) = (&args.kind, kinds.is_empty()) {
        let near = nearest_kind(name).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        eprintln!("unknown event kind `{}`{near}", escape_str(name));
        return Ok(ExitCode::BadSetup);
    }
    let text = match args.format.format {
        Format::Human => human(&kinds, Paint(global.color.stdout())),
        Format::Json => format!("{}\n", to_json(&kinds)),
    };
    super::print(text.as_bytes())
}

/// The kind that was probably meant: by distance, or because the word is part of its name (`exec`).
fn nearest_kind(wanted: &str) -> Option<&'static str> {
    let wanted = wanted.to_lowercase();
    let part = KINDS.iter().map(|k| k.name).find(|name| !wanted.is_empty() && name.contains(&wanted));
    let near = || {
        let distance = |name: &str| strsim::damerau_levenshtein(&wanted.chars().take(64).collect::<String>(), name);
        KINDS.iter().map(|k| (distance(k.name), k.name)).filter(|(d, _)| *d <= 6).min().map(|(_, name)| name)
    };
    part.or_else(near)
}

/// One line of a table.
pub(super) struct Line {
    pub name: String,
    pub sigma: &'static [&'static str],
    pub ty: &'static str,
    pub doc: &'static str,
    /// `false`: only replayed events have it.
    pub filled: bool,
}

pub(super) fn own(prefix: &str, fields: &'static [Field]) -> Vec<Line> {
    let line = |f: &Field| Line {
        name: format!("{prefix}.{}", f.path),
        sigma: f.sigma,
        ty: f.ty.name(),
        doc: f.doc,
        filled: f.filled,
    };
    fields.iter().map(line).collect()
}

pub(super) fn process() -> Vec<Line> {
    let line =
        |(_, path, sigma, ty, doc): &(_, &'static str, &'static [&'static str], crate::kind::Type, &'static str)| {
            Line { name: (*path).to_owned(), sigma, ty: ty.name(), doc, filled: true }
        };
    ProcessField::TABLE.iter().map(line).collect()
}

/// The log sources a kind feeds: `category` or `service`, and which.
pub(super) fn sources(kind: &'static Kind) -> impl Iterator<Item = (&'static str, &'static str)> {
    let derived = KindId::by_name(kind.name).is_some_and(KindId::is_derived);
    let categories = kind.sources.iter().map(|s| s.category).chain((!derived).then_some(EVERY_KIND));
    // A derived kind feeds the service of its name and nothing else.
    categories.map(|c| ("category", c)).chain(derived.then_some(("service", kind.name)))
}

fn human(kinds: &[&'static Kind], paint: Paint) -> String {
    let mut out = String::new();
    for kind in kinds {
        let sources: Vec<String> = sources(kind)
            .map(|(part, name)| match part {
                "service" => format!("service {name}/{PRODUCT}"),
                _ => format!("{name}/{PRODUCT}"),
            })
            .collect();
        let _ = writeln!(out, "{}  {}", paint.paint(Style::Bold, kind.name), kind.doc);
        let _ = writeln!(out, "log sources: {}", sources.join(", "));
        table(&mut out, &own("EventData", kind.fields), paint);
    }
    let heading = |out: &mut String, name, what| {
        let _ = writeln!(out, "{}  {what}", paint.paint(Style::Bold, name));
    };
    heading(&mut out, "process", "of every event, from the process behind it");
    table(&mut out, &process(), paint);
    heading(&mut out, "system", "of every event");
    table(&mut out, &own("System", SYSTEM), paint);
    out
}

fn table(out: &mut String, lines: &[Line], paint: Paint) {
    let sigma = |l: &Line| l.sigma.join(", ");
    let widest = |f: &dyn Fn(&Line) -> usize| lines.iter().map(f).max().unwrap_or(0);
    let (names, sigmas, types) = (widest(&|l| l.name.len()), widest(&|l| sigma(l).len()), widest(&|l| l.ty.len()));
    for line in lines {
        let asked_by = format!("{:sigmas$}", sigma(line));
        let text = format!("  {:names$}  {}  {:types$}  ", line.name, paint.paint(Style::Cyan, &asked_by), line.ty);
        let note = if line.filled { "" } else { " (only in replayed events)" };
        let _ = writeln!(out, "{text}{}{note}", line.doc);
    }
    out.push('\n');
}

fn to_json(kinds: &[&'static Kind]) -> Json {
    let fields = |lines: Vec<Line>| -> Vec<Json> {
        lines
            .iter()
            .map(|l| json!({ "name": l.name, "sigma": l.sigma, "type": l.ty, "doc": l.doc, "filled": l.filled }))
            .collect()
    };
    let kind = |k: &&'static Kind| {
        let sources: Vec<Json> = sources(k).map(|(part, name)| json!({ part: name, "product": PRODUCT })).collect();
        json!({ "name": k.name, "doc": k.doc, "log_sources": sources, "fields": fields(own("EventData", k.fields)) })
    };
    json!({
        "kinds": kinds.iter().map(kind).collect::<Vec<_>>(),
        "process": fields(process()),
        "system": fields(own("System", SYSTEM)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Availability, Catalogue, Selection, Source};

    /// What is listed can be asked for.
    #[test]
    fn every_listed_name_resolves() {
        let catalogue = Catalogue::default();
        for kind in KINDS {
            let source = Source { kind: Some(kind.name.to_owned()), ..Source::default() };
            let selection = Selection::new(&source, &[]);
            for line in own("EventData", kind.fields).into_iter().chain(process()).chain(own("System", SYSTEM)) {
                for name in line.sigma.iter().copied().chain([line.name.as_str()]) {
                    let bound = catalogue.resolve(selection.as_ref(), name);
                    let expected = if line.filled { Availability::Bound } else { Availability::NeverHere };
                    assert_eq!(bound.availability, expected, "{name} of {}", kind.name);
                }
            }
        }
    }

    #[test]
    fn every_listed_log_source_selects_its_kind() {
        for kind in KINDS {
            for (part, name) in sources(kind) {
                let given = |wanted: &str| (part == wanted).then(|| name.to_owned());
                let source = Source {
                    category: given("category"),
                    service: given("service"),
                    product: Some(PRODUCT.to_owned()),
                    kind: None,
                };
                let wanted: Vec<_> = Selection::new(&source, &[]).expect("a known source").wanted().collect();
                assert!(
                    wanted.iter().any(|k| k.spec().is_some_and(|s| s.name == kind.name)),
                    "{part} {name}: {}",
                    kind.name
                );
            }
        }
    }

    #[test]
    fn both_views_hold_every_field() {
        let (text, json) = (human(KINDS, Paint(false)), to_json(KINDS).to_string());
        for line in KINDS.iter().flat_map(|k| own("EventData", k.fields)).chain(process()).chain(own("System", SYSTEM))
        {
            assert!(text.contains(&line.name), "{}", line.name);
            assert!(json.contains(&format!("\"{}\"", line.name)), "{}", line.name);
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_part_or_a_typo_finds_the_kind() {
        assert_eq!(nearest_kind("exec"), Some(KINDS[0].name));
        let mut typo = KINDS[0].name.to_owned();
        typo.pop();
        assert_eq!(nearest_kind(&format!("{typo}k")), Some(KINDS[0].name));
        assert_eq!(nearest_kind("something_else_entirely"), None);
    }
}
