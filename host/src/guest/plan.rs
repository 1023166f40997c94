//! What a guest wants, resolved: subscriptions to rows, names to fields, analytics to rules.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::bindings::types;
use super::context::printable;
use super::engine::Component;
use super::load::File;
use super::outcome::level;
use super::{GuestError, World};
use crate::detection::{Analytic, Diagnostic, Gravity};
use crate::kind::{Availability, Bound, Catalogue, EnrichOutput, KindId, Op, Selection, Shape, Source, WhereClause};
use crate::text::hex;

/// Bounds of a plan: far above what any guest needs, and low enough that none costs more than memory.
const MAX_SUBSCRIPTIONS: usize = 4_096;
const MAX_FIELDS: usize = 2_048;
const MAX_ANALYTICS: usize = 200_000;
const MAX_OUTPUTS: usize = 64;
/// Bytes of a text of a diagnostic.
const MAX_TEXT: usize = 4 << 10;
pub(super) const MAX_DIAGNOSTICS: usize = 20_000;

/// One subscription that rows can reach.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Position in the guest's own plan.
    pub number: u32,
    pub source: Source,
    pub clauses: Vec<WhereClause>,
    pub selection: Selection,
    /// Names as asked, and what they were bound to.
    pub names: Vec<String>,
    pub fields: Vec<Bound>,
}

/// A subscription to what other detectors found.
#[derive(Clone, Debug)]
pub struct DetectionStream {
    /// Position in the guest's own plan.
    pub number: u32,
    pub fields: Vec<DetectionField>,
}

/// A column of `@detection`.
#[derive(Clone, Debug)]
pub enum DetectionField {
    Rule,
    Guest,
    Level,
    Uid,
    /// Of the event that the detection is about.
    Event(Bound),
}

/// The kind of the stream of detections.
pub(super) const DETECTION: &str = "@detection";

/// What a guest said it does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub subscriptions: Vec<Subscription>,
    /// Only of the one instance that sees what others found; it has no others.
    pub detections: Vec<DetectionStream>,
    /// Columns an enricher adds, with their full names.
    pub outputs: Vec<EnrichOutput>,
    pub analytics: Vec<Arc<Analytic>>,
    /// From `init`, from `bind`, and from the host about the plan itself.
    pub diagnostics: Vec<Diagnostic>,
}

/// The plan of a guest that has not answered yet.
pub(super) fn nothing() -> types::Plan {
    types::Plan {
        subscriptions: Vec::new(),
        outputs: Vec::new(),
        analytics: Vec::new(),
        state_format: 0,
        diagnostics: Vec::new(),
        extra: Vec::new(),
    }
}

/// Refuses a plan that is out of all proportion.
pub(super) fn bounded(guest: &str, plan: &types::Plan) -> Result<(), GuestError> {
    let most = plan.subscriptions.iter().map(|s| s.fields.len()).max().unwrap_or(0);
    let bounds = [
        (plan.subscriptions.len(), MAX_SUBSCRIPTIONS, "subscriptions"),
        (most, MAX_FIELDS, "fields in one subscription"),
        (plan.analytics.len(), MAX_ANALYTICS, "analytics"),
        (plan.outputs.len(), MAX_OUTPUTS, "outputs"),
    ];
    match bounds.iter().find(|(count, limit, _)| count > limit) {
        Some((count, limit, what)) => {
            let reason = format!("its plan has {count} {what}, above the limit of {limit}");
            Err(GuestError::Plan { guest: guest.to_owned(), reason })
        }
        None => Ok(()),
    }
}

/// Whether a subscription is one to what other detectors found.
pub(super) fn is_of_detections(subscription: &types::Subscription) -> bool {
    subscription.source.kind.as_deref() == Some(DETECTION)
}

/// Resolves what the guest `name` wants through the catalogue. With one binding per subscription of the guest, in its order.
pub(super) fn resolve(
    name: &str,
    component: &Component,
    files: &[File],
    wanted: &types::Plan,
    catalogue: &Catalogue,
    (slot, role): (u16, types::Role),
) -> Result<(Plan, Vec<types::Binding>), GuestError> {
    let mut bindings = Vec::new();
    let mut plan = Plan { diagnostics: wanted.diagnostics.iter().map(diagnostic).collect(), ..Plan::default() };
    for (number, subscription) in wanted.subscriptions.iter().enumerate() {
        let asked = &subscription.source;
        if component.world == World::Detector && is_of_detections(subscription) {
            let (fields, bound) = subscription.fields.iter().map(|f| detection_field(catalogue, f)).unzip();
            bindings.push(types::Binding { fields: bound, kinds: vec![DETECTION.to_owned()], note: String::new() });
            plan.detections.push(DetectionStream { number: number as u32, fields });
            continue;
        }
        let source = Source {
            kind: asked.kind.clone(),
            category: asked.category.clone(),
            product: asked.product.clone(),
            service: asked.service.clone(),
        };
        let clauses: Vec<WhereClause> = subscription.where_.iter().map(clause).collect();
        let special = source.kind.as_deref().is_some_and(|k| k.starts_with('@'));
        let selection = if special { None } else { catalogue.select(&source, &clauses) };
        let lacks_path = selection.as_ref().is_some_and(Selection::lacks_path);
        let Some(selection) = selection.filter(|_| !lacks_path) else {
            let (code, why) = if special {
                ("source-not-offered", ", which this host does not offer yet")
            } else if lacks_path {
                ("source-needs-path", " without a condition on TargetFilename: that would be every open of the host")
            } else if Selection::new(&source, &clauses).is_some() {
                let why = ", and the auditd stream is off: set auditd = \"changes\" (or \"every-open\") in the config";
                ("stream-off", why)
            } else {
                ("source-not-fed", ", and no event of this host belongs to it")
            };
            let message = format!("guest {name} subscribes to {source}{why}");
            let message = printable(&message, 1 << 10);
            bindings.push(types::Binding {
                fields: subscription.fields.iter().map(|_| unfed(&message)).collect(),
                kinds: Vec::new(),
                note: message.clone(),
            });
            plan.diagnostics.push(about_guest(Gravity::Warning, code, message));
            continue;
        };
        let fields: Vec<Bound> = subscription.fields.iter().map(|f| catalogue.resolve(Some(&selection), f)).collect();
        bindings.push(types::Binding {
            fields: fields.iter().map(bound_field).collect(),
            kinds: selection.wanted().filter_map(KindId::spec).map(|k| k.name.to_owned()).collect(),
            note: String::new(),
        });
        plan.subscriptions.push(Subscription {
            number: number as u32,
            source,
            clauses,
            selection,
            names: subscription.fields.clone(),
            fields,
        });
    }
    // Each instance has the rows of one side only.
    match role {
        types::Role::Single => plan.subscriptions.clear(),
        types::Role::Whole | types::Role::Replica => plan.detections.clear(),
    }
    match component.world {
        World::Detector => {
            let digests: HashMap<&str, String> =
                files.iter().map(|f| (f.name.as_str(), hex(&Sha256::digest(&f.content)))).collect();
            for analytic in &wanted.analytics {
                let digest = digests.get(analytic.file.as_str()).unwrap_or(&component.digest);
                let analytic = convert_analytic(analytic, digest.clone(), &mut plan.diagnostics);
                plan.analytics.push(Arc::new(analytic));
            }
        }
        World::Enricher | World::Formatter => {
            for output in &wanted.outputs {
                if output.name.is_empty() || !output.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    let reason = format!("output name {:?} is not made of letters, digits and _", output.name);
                    return Err(GuestError::Plan { guest: name.to_owned(), reason });
                }
                plan.outputs.push(EnrichOutput {
                    slot,
                    output: plan.outputs.len() as u16,
                    name: format!("enrich.{name}.{}", output.name),
                    shape: shape(output.shape),
                    doc: output.doc.clone(),
                });
            }
        }
    }
    Ok((plan, bindings))
}

fn convert_analytic(analytic: &types::Analytic, digest: String, diagnostics: &mut Vec<Diagnostic>) -> Analytic {
    let metadata = if analytic.metadata.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_str(&analytic.metadata).unwrap_or_else(|error| {
            let message = format!("metadata of {} is not JSON: {error}", printable(&analytic.id, 256));
            diagnostics.push(Diagnostic {
                file: analytic.file.clone(),
                line: analytic.line,
                ..about_guest(Gravity::Warning, "metadata-not-json", message)
            });
            serde_json::Value::Null
        })
    };
    Analytic {
        id: analytic.id.clone(),
        title: analytic.title.clone(),
        level: level(analytic.level),
        deliver: analytic.deliver,
        file: analytic.file.clone(),
        line: analytic.line,
        metadata,
        digest,
    }
}

/// What a column of `@detection` is read from. Fields that are not its own are those of the event.
fn detection_field(catalogue: &Catalogue, name: &str) -> (DetectionField, types::BoundField) {
    let own = match name {
        "@rule" => DetectionField::Rule,
        "@guest" => DetectionField::Guest,
        "@level" => DetectionField::Level,
        "@uid" => DetectionField::Uid,
        _ => {
            let bound = catalogue.resolve(None, name);
            let told = bound_field(&bound);
            return (DetectionField::Event(bound), told);
        }
    };
    let (availability, shape) = (types::Availability::Bound, types::Shape::Text);
    (own, types::BoundField { availability, shape, note: String::new() })
}

pub(super) fn about_guest(gravity: Gravity, code: &str, message: String) -> Diagnostic {
    Diagnostic {
        gravity,
        code: code.to_owned(),
        message,
        help: String::new(),
        file: String::new(),
        line: 0,
        column: 0,
        length: 0,
    }
}

pub(super) fn diagnostic(said: &types::Diagnostic) -> Diagnostic {
    Diagnostic {
        gravity: match said.gravity {
            types::Gravity::Error => Gravity::Error,
            types::Gravity::Warning => Gravity::Warning,
            types::Gravity::Hint => Gravity::Hint,
        },
        code: printable(&said.code, MAX_TEXT),
        message: printable(&said.message, MAX_TEXT),
        help: printable(&said.help, MAX_TEXT),
        file: printable(&said.file, MAX_TEXT),
        line: said.line,
        column: said.column,
        length: said.length,
    }
}

fn clause(clause: &types::Clause) -> WhereClause {
    let op = match clause.op {
        types::Op::Equals => Op::Equals,
        types::Op::Prefix => Op::Prefix,
        types::Op::Suffix => Op::Suffix,
        types::Op::Contains => Op::Contains,
    };
    WhereClause { field: clause.field.clone(), op, any_of: clause.any_of.clone() }
}

fn unfed(note: &str) -> types::BoundField {
    types::BoundField {
        availability: types::Availability::NeverHere,
        shape: types::Shape::Dynamic,
        note: note.to_owned(),
    }
}

fn bound_field(bound: &Bound) -> types::BoundField {
    types::BoundField {
        availability: match bound.availability {
            Availability::Bound => types::Availability::Bound,
            Availability::Unknown => types::Availability::Unknown,
            Availability::NeverHere => types::Availability::NeverHere,
        },
        shape: match bound.shape {
            Shape::Text => types::Shape::Text,
            Shape::TextList => types::Shape::TextList,
            Shape::Unsigned => types::Shape::Unsigned,
            Shape::Signed => types::Shape::Signed,
            Shape::Float => types::Shape::Float,
            Shape::Boolean => types::Shape::Boolean,
            Shape::Dynamic => types::Shape::Dynamic,
        },
        note: bound.note.clone(),
    }
}

fn shape(shape: types::Shape) -> Shape {
    match shape {
        types::Shape::Text => Shape::Text,
        types::Shape::TextList => Shape::TextList,
        types::Shape::Unsigned => Shape::Unsigned,
        types::Shape::Signed => Shape::Signed,
        types::Shape::Float => Shape::Float,
        types::Shape::Boolean => Shape::Boolean,
        types::Shape::Dynamic => Shape::Dynamic,
    }
}
