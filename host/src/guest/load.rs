//! Prepare, bind, run: a component and its set-up become a guest with live instances.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::bindings::types;
use super::context::{Shared, Turn, lock, printable};
use super::engine::{Component, Runtime, hex};
use super::enriched::OwnedValue;
use super::instance::Instance;
use super::limits::Limits;
use super::live::Live;
use super::outcome::level;
use super::project::{Projector, Stream};
use super::{GuestError, LoadError, World};
use crate::detection::{Analytic, Diagnostic, Gravity};
use crate::kind::{Availability, Bound, Catalogue, EnrichOutput, Op, Selection, Shape, Source, WhereClause};
use crate::slab::Slab;

/// Bounds of a plan: far above what any guest needs, and low enough that none costs more than memory.
const MAX_SUBSCRIPTIONS: usize = 4_096;
const MAX_FIELDS: usize = 2_048;
const MAX_ANALYTICS: usize = 200_000;
const MAX_OUTPUTS: usize = 64;
const MAX_DIAGNOSTICS: usize = 20_000;
const MAX_NODES: usize = 20_000;
const MAX_REPLICAS: u32 = 64;

/// A file a guest gets as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub content: Arc<[u8]>,
}

/// What a guest is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub name: String,
    /// Given to the guest as JSON text.
    pub config: serde_json::Value,
    pub files: Arc<[File]>,
    /// Keys of the guest's hashers; fixed in replay and test.
    pub seed: (u64, u64),
    /// Instances, if every subscription of the guest allows more than one.
    pub replicas: u32,
    pub limits: Limits,
}

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

/// What a guest said it does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub subscriptions: Vec<Subscription>,
    /// Columns an enricher adds, with their full names.
    pub outputs: Vec<EnrichOutput>,
    pub analytics: Vec<Arc<Analytic>>,
    /// From `init`, from `bind`, and from the host about the plan itself.
    pub diagnostics: Vec<Diagnostic>,
}

/// A loaded guest.
pub struct Guest {
    pub name: String,
    /// SHA-256 over the component, the config and the files, hex: equal digests behave equally.
    pub digest: String,
    pub world: World,
    pub plan: Plan,
    recipe: Recipe,
    started: Mutex<Vec<Live>>,
    spare: Mutex<Option<Live>>,
    building: AtomicBool,
    traps: AtomicU64,
}

/// What [`load`] returns.
#[derive(Debug)]
pub struct Loaded {
    pub guest: Arc<Guest>,
    pub diagnostics: Vec<Diagnostic>,
}

/// One node of an explanation: a flat tree, the root is its own parent.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub parent: u32,
    pub label: String,
    pub field: String,
    pub pattern: String,
    pub actual: OwnedValue,
    pub holds: bool,
    pub reason: String,
    pub line: u32,
}

/// All that a new instance is made from.
struct Recipe {
    component: Arc<Component>,
    shared: Arc<Shared>,
    config: String,
    files: Arc<[File]>,
    seed: (u64, u64),
    role: types::Role,
    /// Every instance must answer `init` like the first.
    plan: types::Plan,
    bindings: Vec<types::Binding>,
    streams: Vec<Stream>,
}

/// Starts a guest: instantiates it, runs `init`, resolves its fields, runs `bind`; for every replica and one spare.
///
/// `slot`: position of an enricher in the generation. Fails only if the guest as a whole cannot run; what is wrong with single rules,
/// fields or log sources is a diagnostic.
pub fn load(
    runtime: &Runtime,
    component: &Arc<Component>,
    setup: Setup,
    catalogue: &Catalogue,
    slot: u16,
) -> Result<Loaded, LoadError> {
    let Setup { name, config, files, seed, replicas, limits } = setup;
    if component.world == World::Formatter {
        return Err(GuestError::Formatter { guest: name }.into());
    }
    let config = config.to_string();
    let digest = digest(component, &config, &files);
    let shared = Arc::new(Shared::new(name.clone(), limits, Arc::new(catalogue.clone())));
    let mut replicas = replicas.clamp(1, MAX_REPLICAS);
    let mut recipe = Recipe {
        component: component.clone(),
        shared: shared.clone(),
        config,
        files,
        seed,
        // Most guests that can be replicated are; the others are started twice.
        role: if replicas > 1 { types::Role::Replica } else { types::Role::Whole },
        plan: empty_plan(),
        bindings: Vec::new(),
        streams: Vec::new(),
    };
    let (mut first, mut wanted) = recipe.init()?;
    let replicable =
        !wanted.subscriptions.is_empty() && wanted.subscriptions.iter().all(|s| s.scaling == types::Scaling::Replicas);
    if replicas > 1 && !replicable {
        replicas = 1;
        recipe.role = types::Role::Whole;
        (first, wanted) = recipe.init()?;
    }
    let state = lock(&runtime.states).open(&name, wanted.state_format);
    // Set once: the guest was made above.
    let _ = shared.state.set(state);
    bound_plan(&name, &wanted)?;
    let mut plan = resolve(&recipe, &wanted, catalogue, slot, &mut first.bindings)?;
    recipe.bindings = std::mem::take(&mut first.bindings);
    recipe.streams = plan
        .subscriptions
        .iter()
        .map(|s| Stream { subscription: s.number, selection: s.selection.clone(), fields: s.fields.clone() })
        .collect();
    recipe.plan = wanted;
    let mut first = first.live;
    let said = recipe.bind(&mut first)?;
    plan.diagnostics.extend(said.into_iter().map(diagnostic));
    plan.diagnostics.truncate(MAX_DIAGNOSTICS);
    let with = |source: GuestError, plan: &Plan| LoadError { source, diagnostics: plan.diagnostics.clone() };
    let mut started = vec![first];
    while started.len() < replicas as usize {
        started.push(recipe.build().map_err(|e| with(e, &plan))?);
    }
    let spare = recipe.build().map_err(|e| with(e, &plan))?;
    let diagnostics = plan.diagnostics.clone();
    let guest = Guest {
        name,
        digest,
        world: component.world,
        plan,
        recipe,
        started: Mutex::new(started),
        spare: Mutex::new(Some(spare)),
        building: AtomicBool::new(false),
        traps: AtomicU64::new(0),
    };
    Ok(Loaded { guest: Arc::new(guest), diagnostics })
}

impl Guest {
    /// The started instances, each for a thread of its own; once. Empty when they were taken before.
    pub fn instances(self: &Arc<Self>) -> Vec<Instance> {
        let started = std::mem::take(&mut *lock(&self.started));
        started.into_iter().map(|live| Instance::new(self.clone(), live)).collect()
    }

    /// Why a rule does or does not match a row, from a fresh instance.
    pub fn explain(&self, rule_id: &str, slab: &Arc<Slab>, row: u32) -> Result<Vec<Node>, GuestError> {
        let guest = || self.name.clone();
        let indices = self.recipe.component.explain.clone().ok_or_else(|| GuestError::NoExplain { guest: guest() })?;
        let position = self.plan.analytics.iter().position(|a| a.id == rule_id);
        let analytic = position.ok_or_else(|| GuestError::NoSuchRule { guest: guest(), rule: rule_id.to_owned() })?;
        let mut projector = Projector::new(self.recipe.streams.clone());
        projector.select(slab);
        let (turn, rows) = projector.turn(slab, Some(row));
        if turn.batches.is_empty() {
            return Err(GuestError::NotSelected { guest: guest() });
        }
        let mut live = self.recipe.build()?;
        live.store.data_mut().turn = Some(Turn { slab: slab.clone(), rows });
        let instance = live.instance;
        let nodes = live
            .call(|store| indices.load(&mut *store, &instance)?.call_explain(store, analytic as u32, &turn))
            .map_err(|failed| GuestError::Trapped { guest: guest(), call: "explain", reason: failed.reason })?;
        let count = nodes.len().min(MAX_NODES) as u32;
        let nodes = nodes.into_iter().take(MAX_NODES).enumerate().map(|(i, node)| Node {
            // A tree, whatever the guest said: a parent comes before its children.
            parent: if node.parent < count { node.parent.min(i as u32) } else { i as u32 },
            label: node.label,
            field: node.field,
            pattern: node.pattern,
            actual: node.actual.into(),
            holds: node.holds,
            reason: node.reason,
            line: node.line,
        });
        Ok(nodes.collect())
    }

    /// What the guest counted.
    pub fn counters(&self) -> Vec<(String, u64)> {
        lock(&self.recipe.shared.counters).iter().map(|(name, count)| (name.clone(), *count)).collect()
    }

    /// Log lines and counters of the guest that a bound suppressed.
    pub fn suppressed(&self) -> u64 {
        self.recipe.shared.suppressed.load(Ordering::Relaxed)
    }

    /// How often a call trapped or was ended.
    pub fn traps(&self) -> u64 {
        self.traps.load(Ordering::Relaxed)
    }

    /// Whether an explanation can be asked for.
    pub fn explains(&self) -> bool {
        self.recipe.component.explain.is_some()
    }

    pub fn component(&self) -> &Arc<Component> {
        &self.recipe.component
    }

    pub fn limits(&self) -> &Limits {
        &self.recipe.shared.limits
    }

    pub(super) fn streams(&self) -> &[Stream] {
        &self.recipe.streams
    }

    pub(super) fn note_trap(&self) {
        self.traps.fetch_add(1, Ordering::Relaxed);
    }

    /// The spare, or a new instance if it is in use; the next spare is built aside.
    pub(super) fn take_spare(self: &Arc<Self>) -> Result<Live, GuestError> {
        let spare = lock(&self.spare).take();
        let live = match spare {
            Some(live) => live,
            None => self.recipe.build()?,
        };
        if !self.building.swap(true, Ordering::AcqRel) {
            let guest = self.clone();
            let spawned = std::thread::Builder::new().name("picket-spare".to_owned()).spawn(move || {
                match guest.recipe.build() {
                    Ok(live) => *lock(&guest.spare) = Some(live),
                    Err(error) => tracing::warn!(guest = guest.name.as_str(), "no spare instance: {error}"),
                }
                guest.building.store(false, Ordering::Release);
            });
            if let Err(error) = spawned {
                // Without a spare the next trap waits for a new instance.
                self.building.store(false, Ordering::Release);
                tracing::warn!(guest = self.name.as_str(), "no spare instance: {error}");
            }
        }
        Ok(live)
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .field("world", &self.world)
            .finish_non_exhaustive()
    }
}

/// A live instance that has answered `init`.
struct Initialised {
    live: Live,
    bindings: Vec<types::Binding>,
}

impl Recipe {
    /// Instantiates and runs `init`.
    fn init(&self) -> Result<(Initialised, types::Plan), LoadError> {
        let writes = self.role == types::Role::Whole && self.component.world == World::Detector;
        let mut live = Live::new(&self.component, &self.shared, writes)?;
        let files = self.files.iter().map(|f| types::File { name: f.name.clone(), content: f.content.to_vec() });
        let setup = types::Setup {
            name: self.shared.name.clone(),
            config: self.config.clone(),
            files: files.collect(),
            seed: self.seed,
            role: self.role,
            extra: Vec::new(),
        };
        let guest = || self.shared.name.clone();
        match live.init(&setup) {
            Ok(Ok(plan)) => Ok((Initialised { live, bindings: Vec::new() }, plan)),
            Ok(Err(said)) => {
                let diagnostics: Vec<Diagnostic> = said.into_iter().take(MAX_DIAGNOSTICS).map(diagnostic).collect();
                let reason = diagnostics.first().map_or("it did not say why", |d| d.message.as_str()).to_owned();
                Err(LoadError { source: GuestError::Refused { guest: guest(), reason }, diagnostics })
            }
            Err(failed) => Err(GuestError::Trapped { guest: guest(), call: "init", reason: failed.reason }.into()),
        }
    }

    fn bind(&self, live: &mut Live) -> Result<Vec<types::Diagnostic>, GuestError> {
        live.bind(&self.bindings).map_err(|failed| GuestError::Trapped {
            guest: self.shared.name.clone(),
            call: "bind",
            reason: failed.reason,
        })
    }

    /// One more instance like the first.
    fn build(&self) -> Result<Live, GuestError> {
        let (first, plan) = self.init().map_err(|e| e.source)?;
        if plan != self.plan {
            let reason = "answered init differently the second time".to_owned();
            return Err(GuestError::Plan { guest: self.shared.name.clone(), reason });
        }
        let mut live = first.live;
        self.bind(&mut live)?;
        Ok(live)
    }
}

fn empty_plan() -> types::Plan {
    types::Plan {
        subscriptions: Vec::new(),
        outputs: Vec::new(),
        analytics: Vec::new(),
        state_format: 0,
        diagnostics: Vec::new(),
        extra: Vec::new(),
    }
}

fn digest(component: &Component, config: &str, files: &[File]) -> String {
    let mut all = Sha256::new();
    // Every part is preceded by its length: parts that differ never add up to the same bytes.
    let mut part = |bytes: &[u8]| {
        all.update((bytes.len() as u64).to_le_bytes());
        all.update(bytes);
    };
    part(component.digest.as_bytes());
    part(config.as_bytes());
    for file in files {
        part(file.name.as_bytes());
        part(&file.content);
    }
    hex(&all.finalize())
}

fn bound_plan(guest: &str, plan: &types::Plan) -> Result<(), GuestError> {
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

/// Resolves a plan through the catalogue; `bindings` gets one binding per subscription of the guest, in its order.
fn resolve(
    recipe: &Recipe,
    wanted: &types::Plan,
    catalogue: &Catalogue,
    slot: u16,
    bindings: &mut Vec<types::Binding>,
) -> Result<Plan, GuestError> {
    let name = &recipe.shared.name;
    let mut plan =
        Plan { diagnostics: wanted.diagnostics.iter().cloned().map(diagnostic).collect(), ..Plan::default() };
    for (number, subscription) in wanted.subscriptions.iter().enumerate() {
        let asked = &subscription.source;
        let source = Source {
            kind: asked.kind.clone(),
            category: asked.category.clone(),
            product: asked.product.clone(),
            service: asked.service.clone(),
        };
        let clauses: Vec<WhereClause> = subscription.where_.iter().map(clause).collect();
        let special = source.kind.as_deref().is_some_and(|k| k.starts_with('@'));
        let selection = if special { None } else { Selection::new(&source, &clauses) };
        let Some(selection) = selection else {
            let (code, message) = if special {
                (
                    "source-not-offered",
                    format!("guest {name} subscribes to {source}, which this host does not offer yet"),
                )
            } else {
                (
                    "source-not-fed",
                    format!("guest {name} subscribes to {source}, and no event of this host belongs to it"),
                )
            };
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
            kinds: selection.wanted().filter_map(|k| k.spec()).map(|k| k.name.to_owned()).collect(),
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
    match recipe.component.world {
        World::Detector => {
            let files: HashMap<&str, String> =
                recipe.files.iter().map(|f| (f.name.as_str(), hex(&Sha256::digest(&f.content)))).collect();
            for analytic in &wanted.analytics {
                let digest = files.get(analytic.file.as_str()).unwrap_or(&recipe.component.digest);
                let analytic = convert_analytic(analytic, digest.clone(), &mut plan.diagnostics);
                plan.analytics.push(Arc::new(analytic));
            }
        }
        World::Enricher | World::Formatter => {
            for output in &wanted.outputs {
                if output.name.is_empty() || !output.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    let reason = format!("output name {:?} is not made of letters, digits and _", output.name);
                    return Err(GuestError::Plan { guest: name.clone(), reason });
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
    Ok(plan)
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

fn about_guest(gravity: Gravity, code: &str, message: String) -> Diagnostic {
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

fn diagnostic(said: types::Diagnostic) -> Diagnostic {
    Diagnostic {
        gravity: match said.gravity {
            types::Gravity::Error => Gravity::Error,
            types::Gravity::Warning => Gravity::Warning,
            types::Gravity::Hint => Gravity::Hint,
        },
        code: said.code,
        message: said.message,
        help: said.help,
        file: said.file,
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
