//! Alerts to endpoints: accepted when fsynced in the spool, from then delivered at least once, always with the same
//! `webhook-id` and the same body, signed per Standard Webhooks.
//!
//! ```text
//! append -> writer thread (group commit) -> spool.redb
//!                                            |  read-ahead, in order of acceptance
//!           writer <- ends of deliveries <- worker of each endpoint -> signed POST
//! ```
//!
//! Workers share one thread with a tokio runtime of its own. Nothing here makes the pipeline wait, except
//! [`Deliver::append`], which returns when the batch is on disk.

mod config;
mod endpoint;
mod http;
mod schedule;
mod sign;
pub mod spool;
mod status;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc as orders, watch};

pub use config::{ConfigError, EndpointConfig};
pub use sign::{Secret, SecretError, sign};
pub use spool::{DeadLetter, SpoolError};
pub use status::{EndpointState, EndpointStatus, SpoolStatus, write_metrics};

use config::Target;
use endpoint::{Inbox, Parts, Worker};
use spool::{Change, Spool};
use writer::{Command, Shared, Trouble, Writer, lock};

use crate::detection::Level;

/// One alert to deliver.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Deterministic id: the `webhook-id`. Visible ASCII without dots, at most 128 characters.
    pub id: String,
    pub level: Level,
    /// One line of native alert JSON, without its newline. Sent as it is.
    pub body: Arc<[u8]>,
}

/// What [`Deliver::start`] needs.
#[derive(Clone, Debug)]
pub struct DeliverOptions {
    /// Directory of `spool.redb`; made with mode 0700 when absent.
    pub state_dir: PathBuf,
    /// By name.
    pub endpoints: BTreeMap<String, EndpointConfig>,
    /// Most bytes of alerts held.
    pub spool_max_bytes: u64,
    /// Such as `picket/0.1.0`.
    pub user_agent: String,
}

/// Why alerts cannot be taken or delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// An endpoint cannot be used as configured; nothing was changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The spool cannot be opened, read or written. An append may be tried again.
    #[error(transparent)]
    Spool(#[from] Arc<SpoolError>),
    /// The id cannot be a `webhook-id`; the batch was not stored.
    #[error("alert id `{id}` is not 1 to 128 visible ASCII characters without a dot")]
    Id { id: String },
    /// Delivery was shut down.
    #[error("delivery has stopped")]
    Stopped,
    /// A thread or the runtime cannot be made.
    #[error("cannot start delivery")]
    Thread(#[source] std::io::Error),
}

/// Orders to the thread of the workers.
enum Order {
    Endpoints(Vec<Assignment>),
    Stop { grace: Duration, done: mpsc::SyncSender<()> },
}

struct Assignment {
    name: String,
    number: u16,
    saved: schedule::Saved,
    target: Arc<Target>,
    inbox: Arc<Inbox>,
}

/// The delivery room. Dropping it stops at once; nothing accepted is lost by that.
pub struct Deliver {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    orders: orders::UnboundedSender<Order>,
    user_agent: String,
    /// Serialises reconfiguration; what is configured now.
    configured: Mutex<BTreeMap<String, Arc<Target>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Deliver {
    /// Opens the spool and begins to deliver what is queued.
    ///
    /// # Errors
    /// A bad endpoint, a spool in use by another process, or one that can neither be opened nor moved aside.
    #[expect(clippy::disallowed_methods, reason = "append waits for its answer, and orders come one for each reload")]
    pub fn start(options: DeliverOptions) -> Result<Deliver, DeliverError> {
        let targets = prepare(&options.endpoints, &options.user_agent)?;
        make_private_dir(&options.state_dir)?;
        let path = options.state_dir.join("spool.redb");
        let (spool, book, aside) = Spool::open(&path, options.spool_max_bytes).map_err(Arc::new)?;
        if let Some(aside) = &aside {
            tracing::error!(spool = %path.display(), moved_to = %aside.display(), "spool was damaged: moved aside, a new one begun");
        }
        let shared = Arc::new(Shared {
            spool: Arc::new(spool),
            book: Mutex::new(book),
            inboxes: Mutex::new(BTreeMap::new()),
            trouble: Mutex::new(Trouble { moved_aside: aside, ..Trouble::default() }),
        });
        let (commands, incoming) = mpsc::channel();
        let (orders, workers) = orders::unbounded_channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DeliverError::Thread)?;
        let writer = Writer { shared: shared.clone(), commands: incoming };
        let writer = std::thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run());
        let mut threads = vec![writer.map_err(DeliverError::Thread)?];
        let (spool, to_writer) = (shared.spool.clone(), commands.clone());
        let deliver = std::thread::Builder::new().name("deliver".to_owned()).spawn(move || {
            runtime.block_on(supervise(workers, &spool, &to_writer));
            // A name lookup may hang for long on the runtime's blocking pool.
            runtime.shutdown_timeout(Duration::from_millis(100));
        });
        threads.push(deliver.map_err(DeliverError::Thread)?);
        let deliver = Deliver {
            shared,
            commands,
            orders,
            user_agent: options.user_agent,
            configured: Mutex::new(BTreeMap::new()),
            threads,
        };
        deliver.assign(targets)?;
        Ok(deliver)
    }

    /// Stores a batch for every endpoint whose filter takes it; returns when it is on disk. An id that is known (queued,
    /// dead, or delivered within the dedup window) is not stored twice. Blocks for one group commit.
    ///
    /// # Errors
    /// [`DeliverError::Spool`]: nothing of the batch counts as accepted; the same call may be made again.
    pub fn append(&self, batch: Vec<Outgoing>) -> Result<(), DeliverError> {
        for outgoing in &batch {
            let id = &outgoing.id;
            if !(1..=128).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'.') {
                let shown = id.chars().take(128).flat_map(char::escape_default).collect();
                return Err(DeliverError::Id { id: shown });
            }
        }
        if batch.is_empty() { Ok(()) } else { self.write(Change::Append(batch)) }
    }

    /// Replaces the set of endpoints. Queues are kept: a changed endpoint applies to what is queued, a removed one keeps
    /// its queue until it comes back or [`Deliver::drop_queue`].
    ///
    /// # Errors
    /// A bad endpoint: nothing was changed.
    pub fn reconfigure(&self, endpoints: &BTreeMap<String, EndpointConfig>) -> Result<(), DeliverError> {
        self.assign(prepare(endpoints, &self.user_agent)?)
    }

    /// Checks endpoints as [`Deliver::reconfigure`] would, without changing anything.
    pub fn check(endpoints: &BTreeMap<String, EndpointConfig>, user_agent: &str) -> Result<(), DeliverError> {
        prepare(endpoints, user_agent).map(drop)
    }

    fn assign(&self, targets: BTreeMap<String, Arc<Target>>) -> Result<(), DeliverError> {
        let mut configured = lock(&self.configured);
        let filters = targets.iter().map(|(n, t)| (n.clone(), (t.min_level, t.fingerprint.clone()))).collect();
        self.write(Change::Configure(filters))?;
        let rows = lock(&self.shared.book).rows.clone();
        let mut inboxes = BTreeMap::new();
        let mut assignments = Vec::new();
        {
            let old = lock(&self.shared.inboxes);
            for (name, target) in &targets {
                let Some(row) = rows.get(name) else { continue };
                let inbox = old.get(name).cloned().unwrap_or_default();
                inboxes.insert(name.clone(), inbox.clone());
                let saved = row.schedule.clone();
                assignments.push(Assignment {
                    name: name.clone(),
                    number: row.number,
                    saved,
                    target: target.clone(),
                    inbox,
                });
            }
        }
        *lock(&self.shared.inboxes) = inboxes;
        *configured = targets;
        self.orders.send(Order::Endpoints(assignments)).map_err(|_| DeliverError::Stopped)
    }

    fn write(&self, change: Change) -> Result<(), DeliverError> {
        let (answer, result) = mpsc::sync_channel(1);
        self.commands.send(Command::Write(change, Some(answer))).map_err(|_| DeliverError::Stopped)?;
        result.recv().map_err(|_| DeliverError::Stopped)?.map_err(DeliverError::Spool)
    }

    /// The account of every endpoint, also of removed ones that still have a queue.
    pub fn status(&self) -> Vec<EndpointStatus> {
        status::of_endpoints(&self.shared, &lock(&self.configured))
    }

    /// The account of the spool itself.
    pub fn spool_status(&self) -> SpoolStatus {
        status::of_spool(&self.shared)
    }

    /// Up to `limit` dead letters of an endpoint, lowest level and oldest first.
    pub fn dead_letters(&self, endpoint: &str, limit: usize) -> Result<Vec<DeadLetter>, DeliverError> {
        let number = lock(&self.shared.book).rows.get(endpoint).map(|row| row.number);
        number
            .map_or(Ok(Vec::new()), |n| self.shared.spool.dead(n, limit).map_err(|e| DeliverError::Spool(Arc::new(e))))
    }

    /// Puts every dead letter of an endpoint back into its queue.
    pub fn retry_dead(&self, endpoint: &str) -> Result<(), DeliverError> {
        let spool = &self.shared.spool;
        let number = lock(&self.shared.book).rows.get(endpoint).map(|row| row.number);
        let Some(number) = number else { return Ok(()) };
        let letters = spool.dead_keys(number).map_err(|e| DeliverError::Spool(Arc::new(e)))?;
        self.write(Change::Retry(endpoint.to_owned(), letters.clone()))?;
        if let Some(inbox) = lock(&self.shared.inboxes).get(endpoint) {
            let accepted = spool.now();
            let back = letters.into_iter().map(|(level, seq)| spool::Queued {
                seq,
                level,
                accepted,
                attempts: schedule::Attempts::default(),
            });
            lock(&inbox.returned).extend(back);
            inbox.wake.notify_one();
        }
        Ok(())
    }

    /// Delivers again to an endpoint that had answered 410, or at once to one that backs off.
    pub fn enable(&self, endpoint: &str) -> Result<(), DeliverError> {
        self.write(Change::Enable(endpoint.to_owned()))?;
        if let Some(inbox) = lock(&self.shared.inboxes).get(endpoint) {
            inbox.enable.store(true, Ordering::Release);
            inbox.wake.notify_one();
        }
        Ok(())
    }

    /// Forgets an endpoint that is not configured any more, with its queue and its account.
    pub fn drop_queue(&self, endpoint: &str) -> Result<(), DeliverError> {
        self.write(Change::Drop(endpoint.to_owned()))
    }

    /// Stops: sends what can be sent at once, gives requests under way at most `grace`, writes their ends. What is left
    /// stays queued for the next start.
    pub fn shutdown(mut self, grace: Duration) {
        self.stop(grace);
    }

    fn stop(&mut self, grace: Duration) {
        let (done, finished) = mpsc::sync_channel(1);
        if self.orders.send(Order::Stop { grace, done }).is_ok() {
            let _ = finished.recv();
        }
        let _ = self.commands.send(Command::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Deliver {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop(Duration::ZERO);
        }
    }
}

/// Keeps one worker per configured endpoint. Removing one abandons its requests: their messages stay queued.
async fn supervise(mut orders: orders::UnboundedReceiver<Order>, spool: &Arc<Spool>, commands: &mpsc::Sender<Command>) {
    let (stop, stopping) = watch::channel(false);
    let mut workers: BTreeMap<String, (watch::Sender<Arc<Target>>, tokio::task::JoinHandle<()>)> = BTreeMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Endpoints(assignments) => {
                let mut next = BTreeMap::new();
                for a in assignments {
                    let worker = match workers.remove(&a.name) {
                        Some((targets, task)) if !task.is_finished() => {
                            targets.send_replace(a.target);
                            (targets, task)
                        }
                        _ => {
                            let (targets, receiver) = watch::channel(a.target);
                            let worker = Worker::new(Parts {
                                name: a.name.as_str().into(),
                                number: a.number,
                                saved: a.saved,
                                spool: spool.clone(),
                                commands: commands.clone(),
                                inbox: a.inbox,
                                targets: receiver,
                                stop: stopping.clone(),
                            });
                            (targets, tokio::spawn(worker.run()))
                        }
                    };
                    next.insert(a.name, worker);
                }
                for (_, task) in std::mem::replace(&mut workers, next).into_values() {
                    task.abort();
                    let _ = task.await;
                }
            }
            Order::Stop { grace, done } => {
                stop.send_replace(true);
                let all = async {
                    for (_, task) in workers.values_mut() {
                        let _ = task.await;
                    }
                };
                let _ = tokio::time::timeout(grace, all).await;
                for (_, task) in workers.into_values() {
                    task.abort();
                }
                let _ = done.send(());
                return;
            }
        }
    }
}

fn prepare(
    endpoints: &BTreeMap<String, EndpointConfig>,
    user_agent: &str,
) -> Result<BTreeMap<String, Arc<Target>>, DeliverError> {
    let mut targets = BTreeMap::new();
    for (name, config) in endpoints {
        targets.insert(name.clone(), Arc::new(Target::prepare(name, config, user_agent)?));
    }
    Ok(targets)
}

fn make_private_dir(dir: &Path) -> Result<(), DeliverError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| DeliverError::Spool(Arc::new(SpoolError::Create { path: dir.to_owned(), source })))
}
