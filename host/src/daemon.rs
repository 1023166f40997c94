//! The running Picket: its threads, and what connects them.
//!
//! ```text
//! builder   sensor -> intake -> slabs          the only thread that touches the kernel side and swaps generations
//! <guest>-n one for each guest instance        (lane.rs)
//! sequencer slabs in order -> alerts
//! alerts    spool (fsync) -> stdout            a line is printed only after its alert is durable
//! keeper    notices -> alerts; when the watch was kept (keeper.rs)
//! reload    files -> next generation           never touches what is live
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use picket_ebpf::Class;

use crate::alert::{self, Cause, Desk, Gap, Ready};
use crate::capture;
use crate::collect;
use crate::config::{CollectConfig, Config, FileEvent};
use crate::correlate::{Correlation, Finished};
use crate::deliver::{Deliver, DeliverError, Outgoing};
use crate::dns;
use crate::forecast::{Cost, Forecast, Usage};
use crate::generation::Generation;
use crate::guest::thread_cpu;
use crate::hashes::HashStage;
use crate::history::History;
use crate::hits::Hits;
use crate::intake::Intake;
use crate::kind::{self, Decoder, KindId, Loss};
use crate::lane::Exits;
use crate::ledger::Ledger;
use crate::notice::{self, Notice, Outbox};
use crate::pipeline::{Bounds, Builder, Outcome, Sequencer};
use crate::process::{HashAccount, LookupError, Lookups, Table, TableCounters, Users};
use crate::queue::{Gate, WhenFull};
use crate::sensor::ebpf::{Counters, Ebpf, KindStatus, Noisy, Probe};
use crate::sensor::{Input, SensorError};
use crate::slab::Origin;
use crate::viewers::Viewers;

/// A generation on its way to the builder, and where the builder says that it is live.
pub struct Publish {
    pub generation: Arc<Generation>,
    pub live: SyncSender<Vec<KindStatus>>,
}

/// Why the pipeline cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("the kernel side failed")]
    Sensor(#[from] SensorError),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    #[error("containers cannot be looked up")]
    Lookup(#[from] LookupError),
    #[error("{0} thread panicked")]
    Died(&'static str),
}

/// What the builder last said about the kernel side; the status reads it.
#[derive(Clone, Debug, Default)]
pub struct SensorReport {
    pub kinds: Vec<KindStatus>,
    pub counters: Counters,
    pub probes: Vec<Probe>,
    /// When this was said.
    pub at: Option<Instant>,
    pub table: TableCounters,
    pub names: dns::Counters,
    /// Lifecycle records were lost and the table has not been seeded again yet.
    pub suspect: bool,
    /// Processes that make more records than they may.
    pub noisy: Vec<Noisy>,
    /// The kernel side reports every path, because too many are asked for.
    pub too_many_paths: bool,
    /// What the last reload adds.
    pub reload_cost: Option<Cost>,
}

/// What all threads share.
pub struct Shared {
    pub live: Arc<ArcSwap<Generation>>,
    /// The config as it was read last and was good.
    pub config: ArcSwap<Config>,
    pub ledger: Arc<Ledger>,
    pub sensor: Mutex<SensorReport>,
    pub hashes: Arc<HashAccount>,
    pub hits: Hits,
    pub gate: Arc<Gate>,
    pub stop: AtomicBool,
    /// Where the host's own alerts begin.
    pub outbox: Outbox,
    /// The capture a running Picket writes.
    pub capture: capture::Slot,
    /// Who watches what passes.
    pub viewers: Arc<Viewers>,
    /// A capture of its own has reached its size.
    pub full: AtomicBool,
}

impl Shared {
    /// For a live pipeline: nothing loaded, full queues shed.
    pub fn new(config: &Config) -> Arc<Shared> {
        Arc::new(Shared {
            live: Arc::new(ArcSwap::from_pointee(Generation::empty())),
            config: ArcSwap::from_pointee(config.clone()),
            ledger: Arc::default(),
            sensor: Mutex::default(),
            hashes: Arc::default(),
            hits: Hits::default(),
            gate: Arc::new(Gate::new(2 * config.dispatch.queue as usize + 64, WhenFull::ShedOldest)),
            stop: AtomicBool::new(false),
            outbox: Outbox::default(),
            capture: capture::Slot::default(),
            viewers: Arc::default(),
            full: AtomicBool::new(false),
        })
    }

    /// Leaves a notice; one too many is counted.
    pub fn say(&self, notice: Notice) {
        if !self.outbox.say(notice) {
            self.ledger.notices.dropped.add(1);
        }
    }

    pub fn report(&self) -> SensorReport {
        self.sensor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The threads of the pipeline, and the way in for generations.
pub struct Pipeline {
    pub shared: Arc<Shared>,
    pub exits: Exits,
    pub publish: SyncSender<Publish>,
    builder: JoinHandle<Result<(), DaemonError>>,
    sequencer: JoinHandle<()>,
}

/// What is done with each finished slab, in order, on the sequencer thread.
pub type Done = Box<dyn FnMut(Finished) + Send>;

/// What happens to an alert after it is durable.
pub type Print = Box<dyn FnMut(&alert::Alert, &Ready) + Send>;

/// The host's users.
const PASSWD: &str = "/etc/passwd";

/// How often counters are read and compared.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// How often the hooks are tried: what loads and attaches may still have stopped seeing.
const PROBE_EVERY: Duration = Duration::from_mins(1);

/// How long a poll waits for the ring: the kernel side wakes nobody for single records.
const POLL: Duration = Duration::from_millis(5);

impl Pipeline {
    /// Seeds the process table and starts every thread; no guest is loaded yet.
    pub fn start(
        mut sensor: Ebpf,
        config: &Config,
        origin: Origin,
        shared: Arc<Shared>,
        channel: (Exits, Receiver<Outcome>),
        done: Done,
    ) -> Result<Pipeline, DaemonError> {
        let (exits, inbox) = channel;
        let gate = shared.gate.clone();
        let (publish, published) = std::sync::mpsc::sync_channel(4);
        let mut table = Table::new(&origin.boot, Users::new(PASSWD.into()));
        if config.containers.enabled {
            table = table.with_lookups(Lookups::start(&config.containers, PASSWD.into())?);
        }
        table.set_offset(offset(&sensor));
        table.seed(&seed_records(&mut sensor)?, false);
        let mut intake = Intake::new(Decoder::new(Arc::new(origin)), Some(table));
        intake.offset = offset(&sensor);
        let bounds = Bounds::of(config);
        let mut builder =
            Builder::new(shared.live.clone(), shared.ledger.clone(), exits.outcomes.clone(), gate.clone(), bounds);
        let capacity = config.dispatch.queue as usize;
        let hashes = HashStage::start(&config.hashes, capacity, shared.hashes.clone(), exits.outcomes.clone());
        builder.hashes = Some(hashes.map_err(DaemonError::Thread)?);
        builder.slab.every_open = config.file_event == FileEvent::EveryOpen;
        let (collect, work_shared) = (CollectConfig::default(), shared.clone());
        let work = Work {
            sensor,
            intake,
            builder,
            shared: work_shared,
            published,
            collect,
            loss: None,
            forecast: Forecast::default(),
            reading: Duration::ZERO,
        };
        let correlation = Correlation::new(shared.ledger.clone(), WhenFull::ShedOldest, exits.book.clone());
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let builder = spawn("builder").spawn(move || work.run()).map_err(DaemonError::Thread)?;
        let sequencer = spawn("sequencer")
            .spawn(move || Sequencer::run(&inbox, &gate, correlation, done))
            .map_err(DaemonError::Thread)?;
        Ok(Pipeline { shared, exits, publish, builder, sequencer })
    }

    /// Stops collecting, lets every slab in flight finish and every alert become durable.
    pub fn finish(self) -> Result<(), DaemonError> {
        let Pipeline { shared, exits, publish, builder, sequencer } = self;
        shared.stop.store(true, Ordering::Release);
        let died = exits.died.clone();
        drop((exits, publish));
        let collected = builder.join().unwrap_or(Err(DaemonError::Died("the builder")));
        // The last handle of the live generation: its lanes finish what they have.
        shared.live.store(Arc::new(Generation::empty()));
        let sequenced = sequencer.join().map_err(|_| DaemonError::Died("the sequencer"));
        let answered = if died.load(Ordering::Acquire) { Err(DaemonError::Died("a guest's")) } else { Ok(()) };
        collected.and(sequenced).and(answered)
    }

    /// Whether a thread has ended by itself: the sensor failed, or a panic. Either way nothing is watched any more.
    pub fn ended(&self) -> bool {
        self.builder.is_finished() || self.sequencer.is_finished() || self.exits.died.load(Ordering::Acquire)
    }
}

/// realtime - boot clock: both run since the boot, so it is not negative on a host whose clock is past 1970.
fn offset(sensor: &Ebpf) -> u64 {
    u64::try_from(sensor.clock_offset()).unwrap_or_default()
}

/// Lifecycle records that the process table did not get.
fn lifecycle_lost(counters: &Counters) -> u64 {
    let lifecycle = counters.kinds.iter().filter(|(k, _)| k.class() == Class::Lifecycle);
    lifecycle.flat_map(|(_, c)| c.dropped.values()).sum()
}

/// How far each count of lost events grew.
fn losses(before: &Counters, now: &Counters) -> Vec<Loss> {
    let grown = |what: &str, reason, old: u64, new: u64| {
        let count = new.saturating_sub(old);
        (count > 0).then(|| Loss { what: what.to_owned(), reason, count })
    };
    let dropped = now.kinds.iter().flat_map(|(kind, n)| {
        let old = before.kinds.get(kind);
        n.dropped.iter().filter_map(move |(&reason, &count)| {
            grown(kind.name(), reason, old.and_then(|o| o.dropped.get(reason)).copied().unwrap_or_default(), count)
        })
    });
    let missed = now.missed.iter().filter_map(|(program, &count)| {
        grown(program, "missed", before.missed.get(program).copied().unwrap_or_default(), count)
    });
    dropped.chain(missed).collect()
}

fn seed_records(sensor: &mut Ebpf) -> Result<Vec<Vec<u8>>, SensorError> {
    let mut records = Vec::new();
    sensor.seed(&mut |bytes| records.push(bytes.to_vec()))?;
    Ok(records)
}

/// The builder thread's belongings.
struct Work {
    sensor: Ebpf,
    intake: Intake,
    builder: Builder,
    shared: Arc<Shared>,
    published: Receiver<Publish>,
    /// What the kernel side was last told to leave out.
    collect: CollectConfig,
    /// Lifecycle records lost since this time, Unix ns, that nobody was told of yet.
    loss: Option<(u64, u64)>,
    forecast: Forecast,
    /// Processor time of this thread for records.
    reading: Duration,
}

impl Work {
    fn run(mut self) -> Result<(), DaemonError> {
        let mut reported = Instant::now();
        let mut probed = Instant::now();
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            self.read()?;
            self.builder.tick();
            if stopping {
                break;
            }
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                self.report()?;
            }
            if probed.elapsed() >= PROBE_EVERY {
                probed = Instant::now();
                self.probe()?;
            }
            match self.published.try_recv() {
                Ok(publish) => self.publish(publish)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
        }
        let reported = self.report();
        self.builder.close();
        reported?;
        self.tell_loss();
        Ok(())
    }

    /// Reads what the ring holds, in ring order.
    fn read(&mut self) -> Result<(), SensorError> {
        let Work { sensor, intake, builder, shared, .. } = self;
        if let Some(table) = &mut intake.table {
            table.tick();
        }
        let generation = shared.live.load();
        let before = thread_cpu();
        let records = sensor.poll(POLL, &mut |bytes| {
            let taken =
                intake.take(&Input::Record(bytes), builder, &shared.ledger, |kind: KindId| generation.wants(kind));
            if let Err(e) = taken {
                tracing::warn!(error = %crate::text::chain(&e), "a kernel record could not be decoded");
            }
        })?;
        // A look at an empty ring is the price of waiting, not of a record.
        if records > 0 {
            self.reading += thread_cpu().saturating_sub(before);
        }
        Ok(())
    }

    /// Attach what is new, swap, detach what is gone.
    fn publish(&mut self, publish: Publish) -> Result<(), SensorError> {
        let next = publish.generation;
        let every_open = self.builder.slab.every_open;
        let live = self.shared.live.load_full();
        let known: Vec<_> = self.sensor.status().map(|s| s.kind).collect();
        let wanted = collect::interest_set(&[&next], every_open);
        // What was last reported is fresh enough for rates of minutes.
        let SensorReport { at, counters, .. } = self.shared.report();
        self.tell_cost(at.and_then(|at| {
            let now = Usage { at, counters: &counters, busy: self.busy() };
            self.forecast.predict(&collect::interest_set(&[&live], every_open), &wanted, &now)
        }));
        self.sensor.attach(&collect::interest_set(&[&live, &next], every_open))?;
        self.builder.close();
        self.intake.audit = next.audit();
        self.shared.live.store(next.clone());
        let kinds = self.sensor.attach(&wanted)?;
        if next.collect != self.collect {
            for problem in self.sensor.ignore(&collect::ignore(&next.collect))? {
                tracing::warn!(problem, "[collect] names what is not there");
            }
            self.collect = next.collect.clone();
        }
        self.shared.sensor.lock().unwrap_or_else(PoisonError::into_inner).kinds.clone_from(&kinds);
        let counts = self.sensor.counters()?.kinds;
        let new = kinds.iter().map(|k| k.kind).filter(|kind| !known.contains(kind));
        let new = new.map(|kind| (kind, counts.get(&kind).map_or(0, |c| c.submitted))).collect();
        self.forecast.added(new, Instant::now());
        // The publisher may have stopped waiting.
        let _ = publish.live.send(kinds);
        Ok(())
    }

    /// Says what a reload costs, in the log and in the status. `tests/e2e/panics.rs` waits for the line in the log.
    fn tell_cost(&self, cost: Option<Cost>) {
        if let Some(cost) = &cost {
            tracing::info!("the reload {cost}");
        }
        self.shared.sensor.lock().unwrap_or_else(PoisonError::into_inner).reload_cost = cost;
    }

    /// Does each operation that is watched for, and looks whether its hook still sees it.
    fn probe(&mut self) -> Result<(), SensorError> {
        self.tell_loss();
        for sign in self.sensor.check_links() {
            self.shared.say(Notice::of_tamper(&sign, notice::now()));
        }
        let kinds = self.sensor.probe()?;
        for notice in Notice::of_probe(&self.shared.report().kinds, &kinds, notice::now()) {
            self.shared.say(notice);
        }
        for kind in kinds.iter().filter(|k| k.rung.is_none()) {
            tracing::error!(kind = kind.kind.name(), why = kind.degraded.as_deref(), "kind is not collected any more");
        }
        self.shared.sensor.lock().unwrap_or_else(PoisonError::into_inner).kinds = kinds;
        Ok(())
    }

    /// What was lost since the last report becomes events, for those who ask for them.
    fn report_losses(&mut self, before: &Counters, now: &Counters) {
        let wanted = KindId::by_name(kind::LOSS.name).is_some_and(|id| self.shared.live.load().wants(id));
        if !wanted {
            return;
        }
        for loss in losses(before, now) {
            self.intake.loss(&loss, notice::now(), &mut self.builder, &self.shared.ledger);
        }
    }

    /// The processor time that records took: of this thread and of the guests'.
    fn busy(&self) -> Duration {
        let guests = self.shared.ledger.guests();
        let guests: u64 = guests.iter().map(|(_, account)| account.cpu_ns.get()).sum();
        self.reading + Duration::from_nanos(guests)
    }

    /// One alert for all that was lost in a while.
    fn tell_loss(&mut self) {
        let Some((from, lost)) = self.loss.take() else { return };
        let to = notice::now().max(from);
        let gap = Gap {
            from: crate::kind::time_text(from),
            to: crate::kind::time_text(to),
            seconds: (to - from) as f64 / 1e9,
            cause: Cause::Loss,
            why: format!(
                "{lost} records of processes that began, executed or ended were lost: raise sensor.ring_bytes"
            ),
            lost: Some(lost),
        };
        self.shared.say(Notice::of_gap(gap, to, vec!["loss".to_owned(), from.to_string()]));
    }

    fn report(&mut self) -> Result<(), SensorError> {
        let probes = self.sensor.probes()?;
        let counters = self.sensor.counters_with(&probes)?;
        for sign in self.sensor.check_maps(&counters)? {
            self.shared.say(Notice::of_tamper(&sign, notice::now()));
        }
        let usage = Usage { at: Instant::now(), counters: &counters, busy: self.busy() };
        if let Some(cost) = self.forecast.report(&usage) {
            self.tell_cost(Some(cost));
        }
        let offset = offset(&self.sensor);
        self.intake.offset = offset;
        let lost = lifecycle_lost(&counters);
        let mut report = self.shared.report();
        if lost > lifecycle_lost(&report.counters) {
            // What was lost is behind us in the ring: seed anew, and mark what was read in between.
            self.intake.suspect = true;
            let records = seed_records(&mut self.sensor)?;
            if let Some(table) = &mut self.intake.table {
                table.seed(&records, true);
            }
            let new = lost - lifecycle_lost(&report.counters);
            let since = notice::now().saturating_sub(REPORT_EVERY.as_nanos() as u64);
            let (from, before) = self.loss.unwrap_or((since, 0));
            self.loss = Some((from, before + new));
            tracing::warn!(lost, "lifecycle records were lost; the process table was seeded again");
        } else if self.intake.suspect {
            self.intake.suspect = false;
        }
        if let Some(table) = &mut self.intake.table {
            table.set_offset(offset);
            report.table = table.counters();
        }
        self.report_losses(&report.counters, &counters);
        report.names = self.intake.names.as_ref().map(dns::Names::counters).unwrap_or_default();
        let throttled = |c: &Counters| c.kinds.values().filter_map(|k| k.filtered.get("throttled")).sum::<u64>();
        if throttled(&counters) > throttled(&report.counters) {
            let noisy = self.sensor.noisy();
            let known = |n: &Noisy| report.noisy.iter().any(|k| (k.pid, k.kind, &k.comm) == (n.pid, n.kind, &n.comm));
            for new in noisy.iter().filter(|n| !known(n)) {
                tracing::warn!(
                    pid = new.pid,
                    process = %new.comm,
                    kind = new.kind.name(),
                    "throttled: the process makes more records than collect.max_per_process allows"
                );
            }
            report.noisy = noisy;
        }
        report.too_many_paths = self.sensor.too_many_paths();
        report.counters = counters;
        report.probes = probes;
        report.at = Some(Instant::now());
        report.suspect = self.intake.suspect;
        *self.shared.sensor.lock().unwrap_or_else(PoisonError::into_inner) = report;
        Ok(())
    }
}

/// Alerts on their way to the spool.
pub struct Made {
    pub alerts: Vec<(alert::Alert, Ready)>,
    /// Told when they are durable.
    pub durable: Option<SyncSender<()>>,
}

/// The alerts thread: what the sequencer makes of slabs becomes durable, then is printed.
pub struct Alerts {
    made: SyncSender<Made>,
    thread: JoinHandle<()>,
}

impl Alerts {
    pub fn start(
        deliver: Option<Arc<Deliver>>,
        mut history: History,
        ledger: Arc<Ledger>,
        mut print: Print,
    ) -> std::io::Result<Alerts> {
        let (made, inbox) = std::sync::mpsc::sync_channel(256);
        let durable = move |alert: &alert::Alert, ready: &Ready| {
            history.keep(&ready.line, &ledger.history);
            if !ready.quiet {
                print(alert, ready);
            }
        };
        let run = move || store(&inbox, deliver.as_deref(), durable);
        let thread = std::thread::Builder::new().name("alerts".to_owned()).spawn(run)?;
        Ok(Alerts { made, thread })
    }

    /// For the sequencer: what was found becomes alerts. It waits while the spool cannot write.
    pub fn maker(&self, shared: Arc<Shared>, mut desk: Desk) -> impl FnMut(&Finished) + Send + use<> {
        let made = self.made.clone();
        move |finished| {
            shared.hits.note(finished);
            let alerts = alert::of(finished, &shared.ledger, &mut desk);
            if !alerts.is_empty() {
                // The alerts thread ends after the sequencer.
                let _ = made.send(Made { alerts, durable: None });
            }
        }
    }

    /// The way in for alerts that the host itself makes.
    pub fn sender(&self) -> SyncSender<Made> {
        self.made.clone()
    }

    /// Whether the thread has ended by itself: nothing becomes durable any more.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// After everybody who makes alerts has ended: everything made becomes durable and is printed.
    pub fn finish(self) -> Result<(), DaemonError> {
        drop(self.made);
        self.thread.join().map_err(|_| DaemonError::Died("the alerts"))
    }
}

/// Alerts that become durable together.
const GROUP: usize = 512;

/// How long an alert waits for others to become durable with it: a sync costs more than an alert.
const GROUP_WAIT: Duration = Duration::from_millis(2);

/// How long to wait before a spool that could not write is tried again.
const RETRY: Duration = Duration::from_secs(1);

fn store(made: &Receiver<Made>, deliver: Option<&Deliver>, mut durable: impl FnMut(&alert::Alert, &Ready)) {
    while let Ok(first) = made.recv() {
        let (mut group, mut told) = (first.alerts, Vec::from_iter(first.durable));
        let until = Instant::now() + if deliver.is_some() { GROUP_WAIT } else { Duration::ZERO };
        while group.len() < GROUP {
            match made.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => {
                    group.extend(more.alerts);
                    told.extend(more.durable);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(deliver) = deliver {
            let outgoing =
                |(_, r): &(alert::Alert, Ready)| Outgoing { id: r.id.clone(), level: r.level, body: r.line.clone() };
            let delivered = || group.iter().filter(|(_, ready)| !ready.quiet);
            // Nothing is printed before it is durable. A disk that is full stops alerts, not collection.
            while delivered().next().is_some()
                && let Err(e) = deliver.append(delivered().map(outgoing).collect())
            {
                if matches!(e, DeliverError::Stopped) {
                    // Its threads are gone, which only a panic does before this thread ends: so does the process.
                    return;
                }
                tracing::error!(error = %crate::text::chain(&e), alerts = group.len(), "alerts wait for the spool");
                std::thread::sleep(RETRY);
            }
        }
        for (alert, ready) in &group {
            durable(alert, ready);
        }
        for told in told {
            // Whoever asked may have gone.
            let _ = told.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sensor::ebpf::KindCount;

    #[test]
    fn only_growth_is_a_loss() {
        let counters = |full: u64, missed: u64| Counters {
            kinds: [(
                picket_ebpf::Kind::ALL[3],
                KindCount { dropped: [("full", full)].into(), ..KindCount::default() },
            )]
            .into(),
            missed: BTreeMap::from([("program".to_owned(), missed)]),
            ..Counters::default()
        };
        assert_eq!(losses(&counters(5, 1), &counters(5, 1)), []);
        let kind = picket_ebpf::Kind::ALL[3].name().to_owned();
        let expected = [
            Loss { what: kind, reason: "full", count: 2 },
            Loss { what: "program".to_owned(), reason: "missed", count: 1 },
        ];
        assert_eq!(losses(&counters(5, 0), &counters(7, 1)), expected);
        assert_eq!(losses(&Counters::default(), &counters(7, 1)).len(), 2);
    }
}
