//! `picket capture`: events to a file, for replay. A running Picket writes what passes it, so that a replay makes the very
//! alerts it made; without one, this command collects every kind by itself.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::capture::{Capture, Limits};
use crate::control::{self, ControlError, Request};
use crate::daemon::{Pipeline, Publish, Shared};
use crate::generation::{Generation, Interest};
use crate::host_facts;
use crate::lane::Exits;
use crate::privilege::{self, Needs};
use crate::sensor::ebpf::Ebpf;
use crate::text::chain;

use super::args::{CaptureArgs, ExitCode, Global};
use super::load;
use super::terminal::escape_str;

pub fn run(args: &CaptureArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&args.sets.sets, args.btf.flags())?.config;
    super::log(global, &config);
    let limits = Limits {
        duration: args.duration.map(crate::units::Period::duration),
        bytes: args.max_size.map(crate::units::ByteSize::bytes),
    };
    let until = limits.duration.map(|d| Instant::now() + d);
    if args.file != Path::new("-") {
        match ask_running(args, &config.control_socket(), limits, until) {
            Err(ControlError::NotRunning { .. }) => {}
            other => return Ok(other?),
        }
    }
    let sensor = match Ebpf::open(load::sensor_options(&config)) {
        Ok(sensor) => sensor,
        Err(e) => {
            eprintln!("error: {}", escape_str(&chain(&e)));
            return Ok(ExitCode::HostCannot);
        }
    };
    let capture = if args.file == Path::new("-") {
        Capture::new(Box::new(std::io::stdout()), limits)
    } else {
        Capture::create(&args.file, limits).with_context(|| format!("cannot create {}", args.file.display()))?
    };
    // The file is open: from here on this is a reader of events like any other.
    privilege::give_up(&Needs { network_hooks: sensor.has_network_hooks(), low_port: false })?;
    let shared = Shared::new(&config);
    let (exits, (inbox, _)) = Exits::new();
    let capture = Arc::new(Mutex::new(Some(capture)));
    let (writing, full) = (capture.clone(), shared.clone());
    let done = Box::new(move |finished: crate::correlate::Finished| {
        let mut capture = writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(open) = capture.as_mut() else { return };
        match open.write(&finished.flight) {
            Ok(true) => {}
            Ok(false) => full.full.store(true, std::sync::atomic::Ordering::Release),
            Err(e) => {
                tracing::error!(error = %e, "the capture cannot be written");
                full.full.store(true, std::sync::atomic::Ordering::Release);
            }
        }
    });
    let channel = (exits, inbox);
    let pipeline = Pipeline::start(sensor, &config, host_facts::origin(), shared.clone(), channel, done)?;
    let everything = vec![Interest::All; crate::kind::KINDS.len()];
    let (live, attached) = std::sync::mpsc::sync_channel(1);
    let generation = Arc::new(Generation { number: 1, interest: everything, ..Generation::empty() });
    pipeline.publish.send(Publish { generation, live }).ok();
    attached.recv().context("the kernel side ended")?;
    tracing::info!("capture is running");
    let interrupted = wait(until, || shared.full.load(std::sync::atomic::Ordering::Acquire) || pipeline.ended())?;
    pipeline.finish()?;
    let capture = capture.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let (events, bytes) = capture.context("the capture is gone")?.finish()?;
    eprintln!("{events} events, {bytes} bytes");
    Ok(if interrupted && until.is_some() { ExitCode::Interrupted } else { ExitCode::Ok })
}

/// Lets a running Picket write the file.
fn ask_running(
    args: &CaptureArgs,
    socket: &Path,
    limits: Limits,
    until: Option<Instant>,
) -> Result<ExitCode, ControlError> {
    // The other process has another working directory.
    let path = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    let ms = limits.duration.map(|d| d.as_millis() as u64);
    let said = control::ask(socket, &Request::Capture { path, ms, bytes: limits.bytes })?;
    if let Some(why) = said["error"].as_str() {
        eprintln!("error: {}", escape_str(why));
        return Ok(ExitCode::BadSetup);
    }
    eprintln!("the running picket writes what passes it; end with ^C");
    let ended = || !control::ask(socket, &Request::CaptureRunning).is_ok_and(|v| v["running"] == true);
    let interrupted = wait(until, ended).unwrap_or(true);
    let done = control::ask(socket, &Request::CaptureEnd)?;
    eprintln!("{} events, {} bytes", done["events"], done["bytes"]);
    Ok(if interrupted && until.is_some() { ExitCode::Interrupted } else { ExitCode::Ok })
}

/// Until the time is up, `ended` says so, or a signal comes; returns whether it was a signal.
fn wait(until: Option<Instant>, mut ended: impl FnMut() -> bool) -> anyhow::Result<bool> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut look = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(true),
                _ = terminate.recv() => return Ok(true),
                _ = look.tick() => if until.is_some_and(|u| Instant::now() >= u) || ended() { return Ok(false) },
            }
        }
    })
}
