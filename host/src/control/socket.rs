//! The control socket: newline JSON, one question and one answer per connection. `watch` goes on after its answer: it has no
//! part in the bound of questions, because viewers have their own.
//!
//! Only the owner may connect (mode 0600, and never anything wider: the socket is bound in a private directory and then
//! renamed into place). Bounds: [`MAX_CONNECTIONS`], [`MAX_REQUEST`], [`PATIENCE`].

use std::fs::{DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use serde_json::{Value, json};

use super::{ControlError, Daemon, Request};
use crate::audit::Peer;
use crate::capture::Limits;
use crate::viewers::{Viewer, Wish};

/// Questions answered at once; more are refused.
const MAX_CONNECTIONS: usize = 16;
/// Longest question, bytes.
const MAX_REQUEST: u64 = 4 * 1024;
/// Longest answer that is read, bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// For one read or write on the socket.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a viewer that sees nothing is looked after: it may have left.
const LOOK: Duration = Duration::from_secs(1);
/// For the answer to a reload, which compiles guests.
const RELOAD_PATIENCE: Duration = Duration::from_mins(10);

/// A listening socket. Dropping it stops listening and removes the file.
pub struct Server {
    path: PathBuf,
    /// Device and inode: the file is removed only while it is still ours.
    identity: (u64, u64),
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Answers questions at `path` from threads of its own until the result is dropped.
///
/// # Errors
/// [`ControlError::InUse`] when another picket answers there; a socket left by a dead one is replaced.
pub fn serve(path: &Path, daemon: Arc<dyn Daemon>) -> Result<Server, ControlError> {
    if UnixStream::connect(path).is_ok() {
        return Err(ControlError::InUse { path: path.to_owned() });
    }
    let fail = |source| ControlError::Listen { path: path.to_owned(), source };
    let listener = bind_private(path).map_err(fail)?;
    let metadata = std::fs::symlink_metadata(path).map_err(fail)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = stop.clone();
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || accept(&listener, &daemon, &stopping))
        .map_err(fail)?;
    let identity = (metadata.dev(), metadata.ino());
    Ok(Server { path: path.to_owned(), identity, stop, thread: Some(thread) })
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = parent.join(format!(".control-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&private);
    DirBuilder::new().mode(0o700).create(&private)?;
    let bound = private.join("s");
    let result = UnixListener::bind(&bound).and_then(|listener| {
        std::fs::set_permissions(&bound, Permissions::from_mode(0o600))?;
        std::fs::rename(&bound, path)?;
        Ok(listener)
    });
    let _ = std::fs::remove_dir_all(&private);
    result
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the accept; if the file was replaced the connection goes elsewhere and the thread is left to the exit.
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours && UnixStream::connect(&self.path).is_ok() {
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn accept(listener: &UnixListener, daemon: &Arc<dyn Daemon>, stop: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) => {
                // Out of descriptors, most likely: others close some.
                tracing::warn!(error = %e, "control socket cannot accept");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if stop.load(Ordering::Acquire) {
            return;
        }
        if open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::AcqRel);
            let _ = answer(&stream, &json!({"error": "too many questions at once"}));
            continue;
        }
        let (daemon, counted) = (daemon.clone(), open.clone());
        let spawned = std::thread::Builder::new().name("control-answer".to_owned()).spawn(move || {
            let asked = converse(&stream, &*daemon);
            counted.fetch_sub(1, Ordering::AcqRel);
            // Who watches may stay for days, and must not keep the daemon from ending.
            drop(daemon);
            if let Err(e) = asked.and_then(|viewer| viewer.map_or(Ok(()), |v| show(&stream, &v))) {
                tracing::debug!(error = %e, "control connection ended early");
            }
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Answers one question; with the viewer that it asks for.
fn converse(stream: &UnixStream, daemon: &dyn Daemon) -> io::Result<Option<Viewer>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        let why = if line.len() as u64 >= MAX_REQUEST { "the question is too long" } else { "the question has no end" };
        return answer(stream, &json!({ "error": why })).map(|()| None);
    }
    let mut viewer = None;
    let reply = match serde_json::from_slice(&line) {
        Ok(Request::Status) => json!({"result": daemon.status()}),
        Ok(Request::Rules) => json!({"result": daemon.rules()}),
        Ok(Request::Reload { force, wait }) => json!({"result": daemon.reload(force, wait, peer(stream))}),
        Ok(Request::Capture { path, ms, bytes }) => {
            let limits = Limits { duration: ms.map(Duration::from_millis), bytes };
            json!({"result": daemon.capture(&path, limits)})
        }
        Ok(Request::CaptureRunning) => json!({"result": {"running": daemon.capturing()}}),
        Ok(Request::Flush) => json!({"result": daemon.flush()}),
        Ok(Request::CaptureEnd) => json!({"result": daemon.capture_end()}),
        Ok(Request::Console) => json!({"result": daemon.console()}),
        Ok(Request::ConsoleClose) => json!({"result": daemon.console_close()}),
        Ok(Request::Metrics) => {
            let mut page = String::new();
            daemon.metrics(&mut page);
            json!({ "result": page })
        }
        Ok(Request::Watch(wish)) => match daemon.watch(&wish) {
            Ok((said, granted)) => {
                viewer = Some(granted);
                json!({ "result": said })
            }
            Err(e) => json!({"error": e.to_string()}),
        },
        Err(e) => json!({"error": format!("not a question: {e}")}),
    };
    answer(stream, &reply).map(|()| viewer)
}

/// Writes what comes for a viewer until it leaves or Picket stops.
fn show(mut stream: &UnixStream, viewer: &Viewer) -> io::Result<()> {
    // One that does not read for a while loses lines, not its place.
    stream.set_write_timeout(None)?;
    while let Some(batch) = viewer.wait(LOOK) {
        if batch.is_empty() && left(stream)? {
            break;
        }
        let mut out = Vec::new();
        for line in batch.loss().as_deref().into_iter().chain(batch.lines.iter().map(|l| &**l)) {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        stream.write_all(&out)?;
    }
    Ok(())
}

/// Whether the other side has closed. It has nothing more to say: what it sends all the same is thrown away.
fn left(mut stream: &UnixStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let mut said = [0; 64];
    let left = match stream.read(&mut said) {
        Ok(bytes) => bytes == 0,
        Err(e) => e.kind() != io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false)?;
    Ok(left)
}

/// Who asks, as the kernel knows it.
fn peer(stream: &UnixStream) -> Option<Peer> {
    let who = getsockopt(stream, PeerCredentials).ok()?;
    Some(Peer::new(who.uid(), who.gid(), who.pid()))
}

fn answer(mut stream: &UnixStream, reply: &Value) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Asks the picket that listens at `path`.
///
/// # Errors
/// Each says what to do: nothing runs there, not allowed, no answer.
pub fn ask(path: &Path, request: &Request) -> Result<Value, ControlError> {
    put(path, request).map(|(answer, _)| answer)
}

/// What passes a running Picket, a line of JSON each.
pub struct Stream(BufReader<UnixStream>);

impl Iterator for Stream {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match (&mut self.0).take(MAX_ANSWER).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                line.pop();
                Some(Ok(line))
            }
            Err(e) => Some(Err(e)),
        }
    }
}

/// Watches the picket that listens at `path`: what it says first, and what passes from then on.
///
/// # Errors
/// As [`ask`]; a wish that cannot be granted is refused.
pub fn watch(path: &Path, wish: Wish) -> Result<(Value, Stream), ControlError> {
    let (answer, reader) = put(path, &Request::Watch(wish))?;
    let silent = |source| ControlError::NoAnswer { path: path.to_owned(), source };
    // Nothing may pass for days.
    reader.get_ref().set_read_timeout(None).map_err(silent)?;
    Ok((answer, Stream(reader)))
}

/// Puts a question; its answer, and what may follow it.
fn put(path: &Path, request: &Request) -> Result<(Value, BufReader<UnixStream>), ControlError> {
    let owned = || path.to_owned();
    let mut stream = UnixStream::connect(path).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ControlError::Denied { path: owned(), source },
        _ => ControlError::NotRunning { path: owned(), source },
    })?;
    let silent = |source| ControlError::NoAnswer { path: owned(), source };
    let garbled = |source| ControlError::Garbled { path: owned(), source };
    let patience = if matches!(request, Request::Reload { .. }) { RELOAD_PATIENCE } else { PATIENCE };
    stream.set_read_timeout(Some(patience)).map_err(silent)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(silent)?;
    let mut line = serde_json::to_vec(request).map_err(garbled)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(silent)?;
    let mut reply = Vec::new();
    let mut reader = BufReader::new(stream);
    (&mut reader).take(MAX_ANSWER).read_until(b'\n', &mut reply).map_err(silent)?;
    if reply.is_empty() {
        return Err(silent(io::ErrorKind::UnexpectedEof.into()));
    }
    let mut reply: Value = serde_json::from_slice(&reply).map_err(garbled)?;
    match reply.get("error").and_then(Value::as_str) {
        Some(why) => Err(ControlError::Refused { path: owned(), why: why.to_owned() }),
        None => Ok((reply["result"].take(), reader)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Decoder, KINDS};
    use crate::slab::Slab;
    use crate::viewers::{MAX_VIEWERS, ViewError, Viewers};

    #[derive(Default)]
    struct Echo(Arc<Viewers>);

    impl Daemon for Echo {
        fn watch(&self, wish: &Wish) -> Result<(Value, Viewer), ViewError> {
            Ok((json!("now"), self.0.add(wish)?))
        }

        fn status(&self) -> Value {
            json!({"generation": 7})
        }

        fn reload(&self, force: bool, wait: bool, by: Option<Peer>) -> Value {
            // Who asks is this test.
            let own = by.is_some_and(|by| u32::try_from(by.pid) == Ok(std::process::id()));
            json!({"force": force, "wait": wait, "own": own})
        }

        fn metrics(&self, out: &mut String) {
            out.push_str("picket_up 1\n");
        }
    }

    fn at() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(super::super::SOCKET);
        (dir, path)
    }

    fn raw(path: &Path, question: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(question).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    #[test]
    fn questions_are_answered() {
        let (_dir, path) = at();
        let _server = serve(&path, Arc::new(Echo::default())).unwrap();
        assert_eq!(ask(&path, &Request::Status).unwrap(), json!({"generation": 7}));
        let reload = Request::Reload { force: true, wait: false };
        assert_eq!(ask(&path, &reload).unwrap(), json!({"force": true, "wait": false, "own": true}));
        assert_eq!(ask(&path, &Request::Metrics).unwrap(), json!("picket_up 1\n"));
        assert_eq!(
            raw(&path, b"{\"cmd\":\"reload\"}\n"),
            "{\"result\":{\"force\":false,\"wait\":false,\"own\":true}}\n"
        );
    }

    #[test]
    fn viewers_see_what_passes_and_have_no_part_in_the_bound_of_questions() {
        let (_dir, path) = at();
        let viewers = Arc::new(Viewers::default());
        let server = serve(&path, Arc::new(Echo(viewers.clone()))).unwrap();
        let wish = Wish { events: true, ..Wish::default() };
        let mut streams: Vec<Stream> = (0..MAX_VIEWERS)
            .map(|_| {
                let (said, stream) = watch(&path, wish.clone()).unwrap();
                assert_eq!(said, json!("now"));
                stream
            })
            .collect();
        let Err(error) = watch(&path, wish.clone()) else { panic!("one too many") };
        assert!(error.to_string().contains("watch already"), "{error}");
        let Err(error) = watch(&path, Wish { kinds: vec!["nonsense".into()], ..wish.clone() }) else {
            panic!("no kind")
        };
        assert!(error.to_string().contains("no kind is called `nonsense`"), "{error}");
        for _ in 0..2 * MAX_CONNECTIONS {
            ask(&path, &Request::Status).unwrap();
        }
        let (mut slab, mut decoder) = (Slab::default(), Decoder::default());
        let event = json!({ "System": { "EventName": KINDS[0].name }, "EventData": { "cmdpath": "/x" } });
        decoder.value(1, event, &mut slab).unwrap();
        viewers.pass(&slab);
        let mut last = streams.pop().unwrap();
        let line: Value = serde_json::from_slice(&last.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["event"]["EventData"]["cmdpath"], "/x");
        // Who leaves makes room, though nothing passes.
        drop(last);
        let mut room = watch(&path, wish.clone());
        while room.is_err() {
            std::thread::sleep(Duration::from_millis(20));
            room = watch(&path, wish.clone());
        }
        // And Picket's end is the end of the streams.
        viewers.close();
        assert!(streams.pop().unwrap().all(|line| line.is_ok()));
        drop(server);
    }

    #[test]
    fn only_the_owner_may_connect_and_nothing_is_left_behind() {
        let (dir, path) = at();
        let server = serve(&path, Arc::new(Echo::default())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(server);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn nonsense_is_refused_and_the_next_question_answered() {
        let (_dir, path) = at();
        let _server = serve(&path, Arc::new(Echo::default())).unwrap();
        for (question, expected) in [
            (b"{\"cmd\":\"halt\"}\n".to_vec(), "not a question"),
            (b"\xff\xfe\n".to_vec(), "not a question"),
            (b"{\"cmd\":\"status\"}".to_vec(), "has no end"),
            (vec![b'x'; MAX_REQUEST as usize], "too long"),
        ] {
            let reply = raw(&path, &question);
            assert!(reply.contains("error") && reply.contains(expected), "{reply}");
        }
        assert!(ask(&path, &Request::Status).is_ok());
    }

    #[test]
    fn a_second_picket_is_refused_and_a_dead_ones_socket_replaced() {
        let (_dir, path) = at();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the socket of a dead process");
        let _server = serve(&path, Arc::new(Echo::default())).unwrap();
        assert!(matches!(serve(&path, Arc::new(Echo::default())), Err(ControlError::InUse { .. })));
    }

    #[test]
    fn nobody_there_says_how_to_start() {
        let (_dir, path) = at();
        let error = ask(&path, &Request::Status).unwrap_err();
        assert!(matches!(error, ControlError::NotRunning { .. }));
        assert!(error.to_string().contains("picket run"), "{error}");
    }
}
