//! One living instance: a store, the exports, and calls that end.

use std::sync::Arc;

use wasmtime::component::Instance;
use wasmtime::{Store, UpdateDeadline};

use super::bindings::{detector, enricher, types};
use super::breaker::Cost;
use super::context::{Context, Shared, Turn};
use super::engine::{Component, Indices};
use super::limits::Deadline;
use super::state::Pending;
use super::{GuestError, World};

/// A failed call: the store is dead, by the rules of the component model.
#[derive(Debug)]
pub(super) struct Failed {
    pub reason: String,
    /// It used all the time a call may take.
    pub deadline: bool,
}

impl Failed {
    /// What it costs the guest.
    pub fn cost(&self) -> Cost {
        if self.deadline { Cost::Deadline } else { Cost::Trap }
    }
}

/// What a guest answered to a turn.
pub(super) enum Reply {
    Outcome(types::Outcome),
    Columns(Vec<Vec<types::Column>>),
}

enum Exports {
    Detector(detector::Guest),
    Enricher(enricher::Guest),
}

/// An instance that has not trapped.
pub(super) struct Live {
    pub store: Store<Context>,
    pub instance: Instance,
    exports: Exports,
    writes: bool,
}

impl Live {
    /// Instantiates, without `init`. `writes`: whether its calls may write state.
    pub fn new(component: &Component, shared: &Arc<Shared>, writes: bool) -> Result<Live, GuestError> {
        let trapped =
            |failed: Failed| GuestError::Trapped { guest: shared.name.clone(), call: "start", reason: failed.reason };
        let mut store = Store::new(component.pre.engine(), Context::new(shared.clone()));
        store.limiter(|context| &mut context.memory);
        store.set_hostcall_fuel(shared.limits.memory_bytes);
        store.epoch_deadline_callback(|mut context| {
            let context = context.data_mut();
            match context.deadline.as_mut().and_then(Deadline::passed) {
                Some(reason) => {
                    context.interrupted = Some(reason.clone());
                    Err(wasmtime::Error::msg(reason))
                }
                None => Ok(UpdateDeadline::Continue(1)),
            }
        });
        let init_cpu = shared.limits.init_cpu;
        let (instance, exports) = guard(&mut store, init_cpu, |store| {
            let instance = component.pre.instantiate(&mut *store)?;
            let exports = match &component.exports {
                Indices::Detector(indices) => Exports::Detector(indices.load(&mut *store, &instance)?),
                Indices::Enricher(indices) => Exports::Enricher(indices.load(&mut *store, &instance)?),
                Indices::Formatter => return Err(wasmtime::Error::msg("formatters take no events")),
            };
            Ok((instance, exports))
        })
        .map_err(trapped)?;
        Ok(Live { store, instance, exports, writes })
    }

    pub fn init(&mut self, setup: &types::Setup) -> Result<Result<types::Plan, Vec<types::Diagnostic>>, Failed> {
        let cpu = self.store.data().shared.limits.init_cpu;
        guard(&mut self.store, cpu, |store| match &self.exports {
            Exports::Detector(guest) => guest.call_init(store, setup),
            Exports::Enricher(guest) => guest.call_init(store, setup),
        })
    }

    pub fn bind(&mut self, bindings: &[types::Binding]) -> Result<Vec<types::Diagnostic>, Failed> {
        let cpu = self.store.data().shared.limits.init_cpu;
        guard(&mut self.store, cpu, |store| match &self.exports {
            Exports::Detector(guest) => guest.call_bind(store, bindings),
            Exports::Enricher(guest) => guest.call_bind(store, bindings),
        })
    }

    /// A turn that was handled before: what it makes is thrown away, and so are its writes.
    pub fn again(&mut self, turn: &types::Turn) -> Result<(), Failed> {
        let reach = Turn { slab: Arc::default(), rows: Vec::new(), detected: None };
        self.take_turn(turn, reach, false).map(|_| ())
    }

    /// `on-events` or `enrich`. State writes count if it returns.
    pub fn turn(&mut self, turn: &types::Turn, reach: Turn) -> Result<Reply, Failed> {
        self.take_turn(turn, reach, true)
    }

    fn take_turn(&mut self, turn: &types::Turn, reach: Turn, counts: bool) -> Result<Reply, Failed> {
        let cpu = self.store.data().shared.limits.call_cpu;
        self.store.set_hostcall_fuel(self.store.data().shared.limits.output_bytes);
        let context = self.store.data_mut();
        context.turn = Some(reach);
        context.may_write = self.writes;
        let reply = guard(&mut self.store, cpu, |store| match &self.exports {
            Exports::Detector(guest) => guest.call_on_events(store, turn).map(Reply::Outcome),
            Exports::Enricher(guest) => guest.call_enrich(store, turn).map(Reply::Columns),
        });
        let context = self.store.data_mut();
        if !counts {
            context.pending = Pending::default();
        } else if reply.is_ok() {
            context.commit();
        }
        context.turn = None;
        context.may_write = false;
        reply
    }

    /// Any other export, within the time of one call.
    pub fn call<R>(&mut self, f: impl FnOnce(&mut Store<Context>) -> wasmtime::Result<R>) -> Result<R, Failed> {
        let cpu = self.store.data().shared.limits.call_cpu;
        guard(&mut self.store, cpu, f)
    }

    /// One that may take and give as much as the guest may hold, within the time of `init`.
    pub fn long_call<R>(&mut self, f: impl FnOnce(&mut Store<Context>) -> wasmtime::Result<R>) -> Result<R, Failed> {
        let (cpu, bytes) = (self.store.data().shared.limits.init_cpu, self.store.data().shared.limits.memory_bytes);
        self.store.set_hostcall_fuel(bytes);
        guard(&mut self.store, cpu, f)
    }
}

/// Runs `f` with a deadline, and says why if it fails.
fn guard<R>(
    store: &mut Store<Context>,
    cpu: std::time::Duration,
    f: impl FnOnce(&mut Store<Context>) -> wasmtime::Result<R>,
) -> Result<R, Failed> {
    let context = store.data_mut();
    context.deadline = Some(Deadline::start(cpu, context.shared.limits.wall_factor));
    context.interrupted = None;
    context.last_error = None;
    context.memory.refused = false;
    // The next tick asks the callback; without this the first call would trap at once.
    store.set_epoch_deadline(1);
    let result = f(store);
    let context = store.data_mut();
    context.deadline = None;
    result.map_err(|error| {
        context.pending.clear();
        let deadline = context.interrupted.is_some();
        let reason = if let Some(reason) = context.interrupted.take() {
            reason
        } else if context.memory.refused {
            format!("memory limit of {} bytes reached", context.memory.limit())
        } else {
            let trap = error
                .downcast_ref::<wasmtime::Trap>()
                .map_or_else(|| error.root_cause().to_string(), ToString::to_string);
            match context.last_error.take() {
                Some(message) => format!("{trap}: {message}"),
                None => trap,
            }
        };
        Failed { reason: super::context::printable(&reason, 1 << 10), deadline }
    })
}

impl World {
    /// The call that a turn is.
    pub(super) fn call(self) -> &'static str {
        match self {
            World::Detector => "on-events",
            World::Enricher => "enrich",
            World::Formatter => "format",
        }
    }
}
