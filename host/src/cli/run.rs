//! `picket run`: collect, detect, alert, until told to stop.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::alert::Desk;
use crate::audit::{Asker, Audit};
use crate::config::{Config, ConfigError};
use crate::control;
use crate::correlate::{Book, Finished};
use crate::daemon::{Alerts, DaemonError, Pipeline, Shared};
use crate::deliver::{Deliver, DeliverOptions};
use crate::detection::Gravity;
use crate::gap;
use crate::guest::{Runtime, RuntimeOptions};
use crate::history::History;
use crate::host_facts;
use crate::keeper::Keeper;
use crate::lane::Exits;
use crate::live::{Ask, Attempts, Front, ReadConfig, Reloader};
use crate::notice::now;
use crate::privilege::{self, Needs};
use crate::queue::WhenFull;
use crate::recorder;
use crate::reload::{Loader, Mode};
use crate::sensor::ebpf::Ebpf;
use crate::text::chain;
use crate::tune::Context;

use super::args::{ExitCode, Format, Global, RunArgs};
use super::terminal::{Paint, escape_str};
use super::{load, show};

/// How long deliveries in flight may take at the end; what is not delivered stays in the spool.
const GRACE: Duration = Duration::from_secs(5);

pub fn run(args: &RunArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let effective = global.effective(&args.load.sets.sets, args.flags())?;
    super::log(global, &effective.config);
    let mut read_config = config_reader(args, global);
    let config = Arc::new(read_config()?);
    let sensor = match Ebpf::open(load::sensor_options(&config)) {
        Ok(sensor) => sensor,
        Err(e) => {
            eprintln!("error: {}", escape_str(&chain(&e)));
            eprintln!("`picket replay FILE` needs neither root nor this kernel");
            return Ok(ExitCode::HostCannot);
        }
    };
    // From here on no other thread has more than this one: see privilege.rs.
    let low_port = config.control.metrics_listen.is_some_and(|a| a.port() < 1024);
    privilege::give_up(&Needs { network_hooks: sensor.has_network_hooks(), low_port })?;
    let state_dir = config.state_dir();
    usable(&state_dir)?;
    let deliver = if args.no_deliver { None } else { Some(Arc::new(start_deliver(&config)?)) };
    let shared = Shared::new(&config);
    shared.hits.keep_in(&state_dir);
    let history = History::open(&state_dir, config.history.max_bytes.bytes());
    let history = history.with_context(|| format!("cannot keep alerts in {}", state_dir.display()))?;
    let print = printer(args.format.format, global, shared.clone());
    let alerts = Alerts::start(deliver.clone(), history, shared.ledger.clone(), print)?;
    let (mut exits, (inbox, was_rejected)) = Exits::new();
    exits.book = Arc::new(Book::open(state_dir.join("memory")));
    let recorded = config.recorder.enabled;
    let recorder = || recorder::start(&state_dir, &config.recorder, &host_facts::origin(), shared.ledger.clone());
    let (mut recorder, recording) = recorded.then(recorder).transpose()?.unzip();
    let desk = Desk::Modes(Context::new(config.tuning.context as usize));
    let mut make = alerts.maker(shared.clone(), desk);
    let passing = shared.clone();
    let done = Box::new(move |finished: Finished| {
        if !finished.correlated {
            passing.capture.pass(&finished.flight);
            if let Some(recorder) = &mut recorder {
                recorder.pass(&finished.flight);
            }
            passing.viewers.pass(&finished.flight.slab);
        }
        make(&finished);
    });
    let pipeline =
        Pipeline::start(sensor, &config, host_facts::origin(), shared.clone(), (exits.clone(), inbox), done)?;
    let runtime = Arc::new(Runtime::new(&RuntimeOptions { cache_dir: load::cache_dir(&config) })?);
    let mode = Mode { when_full: WhenFull::ShedOldest, seed: host_facts::seed(), any_json: false };
    let attempts: Arc<Mutex<Attempts>> = Arc::default();
    let (ask, asked) = std::sync::mpsc::sync_channel(64);
    let mut reloader = Reloader {
        loader: Loader::new(runtime, shared.ledger.clone(), exits, mode),
        shared: shared.clone(),
        publish: pipeline.publish.clone(),
        deliver: deliver.clone(),
        read_config,
        config: config.clone(),
        config_file: config_file(global),
        attempts: attempts.clone(),
        asked,
        rejected: was_rejected,
        ended: None,
        audit: Audit::open(&state_dir),
        askers: Vec::new(),
    };
    if let Err(why) = reloader.first() {
        eprintln!("error: {}", escape_str(&why));
        return Ok(ExitCode::BadSetup);
    }
    let generation = shared.live.load_full();
    load::report(&generation.diagnostics, &[], Paint(global.color.stderr()), Gravity::Error);
    let front = Arc::new_cyclic(|me: &std::sync::Weak<Front>| Front {
        shared: shared.clone(),
        deliver: deliver.clone(),
        attempts,
        ask: Mutex::new(ask.clone()),
        recording: recording.as_ref().map(recorder::Running::flusher),
        started: Instant::now(),
        console: crate::console::Slot::new(me.clone()),
    });
    let control = control::serve(&config.control_socket(), front.clone())?;
    let http = match config.control.metrics_listen {
        Some(address) => Some(control::HttpServer::start(address, front.clone())?),
        None => None,
    };
    let reload = std::thread::Builder::new().name("reload".to_owned()).spawn(move || reloader.run())?;
    // Only now is it certain that no other Picket runs on this state directory.
    let keeper = Keeper::start(gap::path(&state_dir), host_facts::origin(), shared.clone(), alerts.sender())?;
    let report = shared.report();
    let hooks: Vec<String> = report.kinds.iter().map(|k| format!("{}={}", k.kind.name(), k.hook)).collect();
    tracing::info!(
        generation = generation.number,
        rules = generation.analytics(),
        hooks = hooks.join(" "),
        "picket is ready"
    );
    drop(generation);
    let ended = || pipeline.ended() || alerts.ended() || keeper.ended() || reload.is_finished();
    let end = wait(&ended, &ask)?;
    tracing::info!("stopping");
    shared.viewers.close();
    front.console.close();
    drop((ask, http, control));
    drop(front);
    // The reload thread holds lanes' exits: it ends first.
    let reloaded = reload.join().map_err(|_| DaemonError::Died("the reload"));
    let collected = pipeline.finish().and(reloaded);
    let failed = end == End::ByItself || collected.is_err();
    keeper.finish(now(), failed);
    let collected = collected.and(alerts.finish());
    if let Some(recording) = recording {
        recording.finish();
    }
    if let Some(deliver) = deliver.and_then(Arc::into_inner) {
        deliver.shutdown(GRACE);
    }
    let wrong = shared.ledger.imbalances();
    if !wrong.is_empty() {
        tracing::error!(wrong = wrong.join("; "), "the ledger does not balance");
    }
    if failed {
        tracing::error!(
            "this host is not watched any more: every program is detached; alerts not delivered yet stay in the spool"
        );
    }
    collected?;
    Ok(match end {
        End::Interrupted => ExitCode::Interrupted,
        End::Terminated => ExitCode::Ok,
        End::ByItself => ExitCode::HostCannot,
    })
}

/// Whether files can be made in the state directory, which must be there: a directory of somebody else is refused now, and
/// not when the first alert cannot be stored.
fn usable(state_dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(state_dir).with_context(|| format!("cannot create {}", state_dir.display()))?;
    let trial = state_dir.join(".trial");
    let made = std::fs::File::create(&trial).and_then(|_| std::fs::remove_file(&trial));
    made.with_context(|| {
        let place = state_dir.display();
        format!("cannot write in {place}; Picket gives up CAP_DAC_OVERRIDE, so it must belong to the user that runs it")
    })
}

/// The config as this command line makes it, again at every reload.
fn config_reader(args: &RunArgs, global: &Global) -> ReadConfig {
    let (args, global) = (args.clone(), global.clone());
    Box::new(move || -> Result<Config, ConfigError> {
        let mut config = global.effective(&args.load.sets.sets, args.flags())?.config;
        config.guests = load::found_guests(&config);
        Ok(config)
    })
}

fn config_file(global: &Global) -> Option<std::path::PathBuf> {
    let searched = || crate::config::SEARCH.iter().map(Path::new).find(|p| p.exists()).map(Path::to_path_buf);
    global.config.clone().or_else(searched)
}

fn start_deliver(config: &Config) -> anyhow::Result<Deliver> {
    Ok(Deliver::start(DeliverOptions {
        state_dir: config.state_dir(),
        endpoints: config.endpoint.clone(),
        spool_max_bytes: config.spool.max_bytes.bytes(),
        user_agent: concat!("picket/", env!("CARGO_PKG_VERSION")).to_owned(),
    })?)
}

/// Prints each alert once it is durable, and shows it to who watches.
fn printer(format: Format, global: &Global, shared: Arc<Shared>) -> crate::daemon::Print {
    let paint = Paint(global.color.stdout());
    let mut gone = false;
    Box::new(move |alert, ready| {
        shared.viewers.alert(alert, ready);
        if gone {
            return;
        }
        let mut out = std::io::stdout().lock();
        let written = match format {
            Format::Json => out.write_all(&ready.line).and_then(|()| out.write_all(b"\n")),
            Format::Human => writeln!(out, "{}", show::alert_line(alert, paint)),
        };
        if let Err(e) = written.and_then(|()| out.flush()) {
            gone = true;
            tracing::warn!(error = %e, "stdout is gone; alerts are delivered, but not printed any more");
        }
    })
}

/// Why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Interrupted,
    Terminated,
    /// The sensor failed, or a thread panicked.
    ByItself,
}

/// Waits for a signal or the end of collection; SIGHUP loads.
fn wait(ended: &dyn Fn() -> bool, ask: &std::sync::mpsc::SyncSender<Ask>) -> anyhow::Result<End> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(End::Interrupted),
                _ = terminate.recv() => return Ok(End::Terminated),
                _ = hangup.recv() => {
                    // Full: it is going to load anyway. The reload thread ends only after this loop.
                    let _ = ask.try_send(Ask { force: false, by: Some(Asker::Signal), reply: None });
                }
                _ = look.tick() => if ended() { return Ok(End::ByItself) },
            }
        }
    })
}
