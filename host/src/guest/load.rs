//! Prepare, bind, run: a component and its set-up become a guest with live instances.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::bindings::types;
use super::context::{Shared, Turn, lock};
use super::correlator::Correlator;
use super::engine::{Component, Runtime};
use super::enriched::OwnedValue;
use super::instance::Instance;
use super::limits::Limits;
use super::live::Live;
use super::memory::Memory;
use super::plan::{self, MAX_DIAGNOSTICS, Plan};
use super::project::{Projector, Stream};
use super::{GuestError, LoadError, World};
use crate::detection::Diagnostic;
use crate::kind::{Catalogue, Selection};
use crate::slab::Slab;
use crate::text::hex;

/// Nodes of one explanation.
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
    /// For events. Its plan may have no subscriptions.
    pub guest: Arc<Guest>,
    /// The same component once more, for what other detectors found.
    pub correlator: Option<Arc<Guest>>,
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
    /// Whether its calls may write state. Of two instances at once none could say what the other sees.
    writes: bool,
    /// Every instance must answer `init` like the first.
    plan: types::Plan,
    bindings: Vec<types::Binding>,
    streams: Vec<Stream>,
}

/// Starts a guest: instantiates it, runs `init`, resolves its fields, runs `bind`; for every replica and one spare. A detector that
/// subscribes to `@detection` has one more instance (and a spare of it), which sees nothing else.
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
    let recipe = |role, writes| Recipe {
        component: component.clone(),
        shared: Arc::new(Shared::new(name.clone(), limits.clone(), Arc::new(catalogue.clone()))),
        config: config.clone(),
        files: files.clone(),
        seed,
        role,
        writes: writes && component.world == World::Detector,
        plan: plan::nothing(),
        bindings: Vec::new(),
        streams: Vec::new(),
    };
    let mut replicas = replicas.clamp(1, MAX_REPLICAS);
    // Only an instance that is alone says all that the guest wants.
    let mut events = recipe(types::Role::Whole, true);
    let (mut first, mut wanted) = events.init()?;
    let correlates = component.world == World::Detector && wanted.subscriptions.iter().any(plan::is_of_detections);
    let mut of_events = wanted.subscriptions.iter().filter(|s| !plan::is_of_detections(s)).peekable();
    let replicable = of_events.peek().is_some() && of_events.all(|s| s.scaling == types::Scaling::Replicas);
    if !replicable {
        replicas = 1;
    }
    if replicas > 1 || correlates {
        let role = if replicable { types::Role::Replica } else { types::Role::Whole };
        events = recipe(role, false);
        (first, wanted) = events.init()?;
    }
    let (guest, mut diagnostics) = start(runtime, events, (first, wanted), slot, replicas)?;
    let mut correlator = None;
    if correlates {
        let single = recipe(types::Role::Single, true);
        let started = single.init()?;
        let (started, said) = start(runtime, single, started, slot, 1)?;
        if started.plan.detections.is_empty() {
            let reason = "its single instance does not subscribe to @detection".to_owned();
            return Err(GuestError::Plan { guest: name, reason }.into());
        }
        let new: Vec<Diagnostic> = said.into_iter().filter(|d| !diagnostics.contains(d)).collect();
        diagnostics.extend(new);
        diagnostics.truncate(MAX_DIAGNOSTICS);
        correlator = Some(started);
    }
    Ok(Loaded { guest, correlator, diagnostics })
}

/// Makes the guest of a recipe whose first instance has answered `init`.
fn start(
    runtime: &Runtime,
    mut recipe: Recipe,
    (mut first, wanted): (Live, types::Plan),
    slot: u16,
    instances: u32,
) -> Result<(Arc<Guest>, Vec<Diagnostic>), LoadError> {
    let (component, shared) = (recipe.component.clone(), recipe.shared.clone());
    let name = shared.name.clone();
    let digest = digest(&component, &recipe.config, &recipe.files);
    let state = lock(&runtime.states).open(&name, wanted.state_format);
    // Set once: the guest was made above.
    let _ = shared.state.set(state);
    plan::bounded(&name, &wanted)?;
    let role = recipe.role;
    let (mut plan, bindings) =
        plan::resolve(&name, &component, &recipe.files, &wanted, &shared.catalogue, (slot, role))?;
    recipe.bindings = bindings;
    recipe.streams = plan
        .subscriptions
        .iter()
        .map(|s| Stream { subscription: s.number, selection: s.selection.clone(), fields: s.fields.clone() })
        .collect();
    recipe.plan = wanted;
    let said = recipe.bind(&mut first)?;
    plan.diagnostics.extend(said.iter().map(plan::diagnostic));
    plan.diagnostics.truncate(MAX_DIAGNOSTICS);
    let with = |source: GuestError, plan: &Plan| LoadError { source, diagnostics: plan.diagnostics.clone() };
    let mut started = vec![first];
    while started.len() < instances as usize {
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
    Ok((Arc::new(guest), diagnostics))
}

/// An instance of a guest that is asked why rules match, row after row.
pub struct Explainer {
    guest: Arc<Guest>,
    live: Option<Live>,
}

impl Explainer {
    /// Why a rule does or does not match a row.
    pub fn explain(&mut self, rule_id: &str, slab: &Arc<Slab>, row: u32) -> Result<Vec<Node>, GuestError> {
        self.guest.explained(&mut self.live, rule_id, slab, row)
    }
}

impl Guest {
    /// The started instances, each for a thread of its own; once. Empty when they were taken before.
    pub fn instances(self: &Arc<Self>) -> Vec<Instance> {
        let started = std::mem::take(&mut *lock(&self.started));
        started.into_iter().map(|live| Instance::new(self.clone(), live)).collect()
    }

    /// The one instance of a guest on `@detection`, for a thread of its own; once.
    pub fn correlator(self: &Arc<Self>) -> Option<Correlator> {
        if self.plan.detections.is_empty() {
            return None;
        }
        let live = std::mem::take(&mut *lock(&self.started)).pop()?;
        let memory = self.recipe.component.memory.clone().map(|m| Memory::new(m, self.recipe.plan.state_format));
        Some(Correlator::new(self.clone(), live, memory))
    }

    /// Why a rule does or does not match a row, from a fresh instance.
    pub fn explain(self: &Arc<Self>, rule_id: &str, slab: &Arc<Slab>, row: u32) -> Result<Vec<Node>, GuestError> {
        self.explainer().explain(rule_id, slab, row)
    }

    /// To ask about many rows: rules are compiled once.
    pub fn explainer(self: &Arc<Self>) -> Explainer {
        Explainer { guest: self.clone(), live: None }
    }

    fn explained(
        &self,
        live: &mut Option<Live>,
        rule_id: &str,
        slab: &Arc<Slab>,
        row: u32,
    ) -> Result<Vec<Node>, GuestError> {
        let guest = || self.name.clone();
        let indices = self.recipe.component.explain.clone().ok_or_else(|| GuestError::NoExplain { guest: guest() })?;
        let position = self.plan.analytics.iter().position(|a| a.id == rule_id);
        let analytic = position.ok_or_else(|| GuestError::NoSuchRule { guest: guest(), rule: rule_id.to_owned() })?;
        // Also what the guest needs no rows of: that is the explanation of most rules.
        let mut streams = self.recipe.streams.clone();
        for (stream, subscription) in streams.iter_mut().zip(&self.plan.subscriptions) {
            stream.selection = Selection::new(&subscription.source, &[]).unwrap_or(stream.selection.clone());
        }
        let mut projector = Projector::new(streams);
        projector.select(slab);
        let (turn, rows) = projector.turn(slab, Some(row));
        if turn.batches.is_empty() {
            return Err(GuestError::NotSelected { guest: guest() });
        }
        let mut at_hand = match live.take() {
            Some(at_hand) => at_hand,
            None => self.recipe.build()?,
        };
        at_hand.store.data_mut().turn = Some(Turn { slab: slab.clone(), rows, detected: None });
        let instance = at_hand.instance;
        let nodes = at_hand
            .call(|store| indices.load(&mut *store, &instance)?.call_explain(store, analytic as u32, &turn))
            .map_err(|failed| GuestError::Trapped { guest: guest(), call: "explain", reason: failed.reason })?;
        // One that trapped is not asked again.
        *live = Some(at_hand);
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

impl Recipe {
    /// Instantiates and runs `init`.
    fn init(&self) -> Result<(Live, types::Plan), LoadError> {
        let mut live = Live::new(&self.component, &self.shared, self.writes)?;
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
            Ok(Ok(plan)) => Ok((live, plan)),
            Ok(Err(said)) => {
                let diagnostics: Vec<Diagnostic> = said.iter().take(MAX_DIAGNOSTICS).map(plan::diagnostic).collect();
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
        let (mut live, plan) = self.init().map_err(|e| e.source)?;
        if plan != self.plan {
            let reason = "answered init differently the second time".to_owned();
            return Err(GuestError::Plan { guest: self.shared.name.clone(), reason });
        }
        self.bind(&mut live)?;
        Ok(live)
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
