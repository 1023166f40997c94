//! The Docker Engine API over a unix socket, which Podman's service speaks as well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{HOST, SERVER};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::UnixStream;

use super::{Container, labels, text};

/// Most of an answer that is read; what is asked for is a few KiB.
const MOST: usize = 1 << 20;

/// For one question, from connecting to the last byte.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why an engine did not answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::process) enum EngineError {
    #[error("{} is not reachable", path.display())]
    Unreachable { path: PathBuf, source: std::io::Error },
    #[error("{} does not speak HTTP", path.display())]
    Http { path: PathBuf, source: hyper::Error },
    #[error("{} answered {status}", path.display())]
    Status { path: PathBuf, status: StatusCode },
    #[error("{} answered with something else than a container", path.display())]
    Answer { path: PathBuf },
    #[error("{} did not answer in time", path.display())]
    Late { path: PathBuf },
}

/// The engines that may know a container.
pub(in crate::process) struct Engines {
    sockets: Vec<PathBuf>,
    runtime: tokio::runtime::Runtime,
}

impl Engines {
    pub fn new(sockets: Vec<PathBuf>) -> std::io::Result<Engines> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Engines { sockets, runtime })
    }

    /// What the first engine that knows the container says about it. `id` is hexadecimal: nothing in it can leave the path.
    pub fn describe(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let mut failed = None;
        for path in self.sockets.iter().filter(|p| p.exists()) {
            let asked = self.runtime.block_on(async {
                let late = |_| EngineError::Late { path: path.clone() };
                tokio::time::timeout(PATIENCE, ask(path, id)).await.map_err(late).flatten()
            });
            match asked {
                Ok(Some(container)) => return Ok(Some(container)),
                Ok(None) => {}
                Err(e) => failed = Some(e),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

async fn ask(path: &Path, id: &str) -> Result<Option<Container>, EngineError> {
    let unreachable = |source| EngineError::Unreachable { path: path.into(), source };
    let http = |source| EngineError::Http { path: path.into(), source };
    let answer = || EngineError::Answer { path: path.into() };
    let stream = UnixStream::connect(path).await.map_err(unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let request = Request::get(format!("/containers/{id}/json"))
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|_| answer())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(http)?;
        let status = response.status();
        let podman = response.headers().get(SERVER).is_some_and(|s| s.as_bytes().starts_with(b"Libpod"));
        let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|_| answer())?.to_bytes();
        match status {
            StatusCode::OK => {
                let json: Json = serde_json::from_slice(&body).map_err(|_| answer())?;
                read(&json, id, podman).map(Some).ok_or_else(answer)
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(EngineError::Status { path: path.into(), status }),
        }
    };
    // The connection does its work only while it is polled, and lives as long as the exchange.
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(source) => Err(http(source)),
        },
    }
}

fn read(json: &Json, id: &str, podman: bool) -> Option<Container> {
    // Engines find containers by a prefix of the id or by name as well: only the very one counts.
    (json["Id"].as_str()? == id).then_some(())?;
    let config = &json["Config"];
    let mut container = Container {
        id: id.into(),
        runtime: Some(if podman { "podman" } else { "docker" }.into()),
        name: text(json["Name"].as_str().map(|name| name.strip_prefix('/').unwrap_or(name))),
        image: text(config["Image"].as_str()),
        labels: labels(config.get("Labels")),
        ..Container::default()
    };
    container.kubernetes(|key| config["Labels"][key].as_str());
    Some(container)
}

#[cfg(test)]
pub(in crate::process) mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    const ID: &str = "bb1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c4f1e2d3c";

    /// A stand-in for an engine: real HTTP over a real socket, answering `count` questions from what `answer` says to a path.
    pub fn engine(
        path: &Path,
        count: usize,
        answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
    ) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(count) {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                assert!(lines.any(|l| l.unwrap().is_empty()), "the head of a request ends with an empty line");
                let asked = first.strip_prefix("GET ").and_then(|r| r.strip_suffix(" HTTP/1.1")).expect("a GET");
                // Whoever asked may have had enough.
                let _ = stream.write_all(&answer(asked));
            }
        })
    }

    pub fn reply(status: &str, server: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nServer: {server}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    }

    pub fn inspected(id: &str) -> String {
        serde_json::json!({"Id": id, "Name": "/shop-web", "Image": "sha256:0", "State": {"Running": true},
            "Config": {"Hostname": "h", "Image": "nginx:1.27", "Labels": {"tier": "front", "app": "web"}}})
        .to_string()
    }

    #[test]
    fn docker_is_asked_for_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let served = engine(&path, 1, |asked| {
            assert_eq!(asked, format!("/containers/{ID}/json"));
            reply("200 OK", "Docker/27.3.1 (linux)", &inspected(ID))
        });
        let engines = Engines::new(vec![dir.path().join("none.sock"), path]).unwrap();
        let found = engines.describe(ID).unwrap().unwrap();
        assert_eq!((found.name.as_deref(), found.image.as_deref()), (Some("shop-web"), Some("nginx:1.27")));
        assert_eq!(found.runtime.as_deref(), Some("docker"));
        assert_eq!(found.labels.iter().map(|l| &**l).collect::<Vec<_>>(), [&b"app=web"[..], b"tier=front"]);
        served.join().unwrap();
    }

    #[test]
    fn the_next_engine_is_asked_when_one_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let (docker, podman) = (dir.path().join("docker.sock"), dir.path().join("podman.sock"));
        let unknown =
            engine(&docker, 1, |_| reply("404 Not Found", "Docker/27", "{\"message\":\"No such container\"}"));
        let known = engine(&podman, 1, |_| reply("200 OK", "Libpod/5.2.2 (linux)", &inspected(ID)));
        let found = Engines::new(vec![docker, podman]).unwrap().describe(ID).unwrap().unwrap();
        assert_eq!(found.runtime.as_deref(), Some("podman"));
        unknown.join().unwrap();
        known.join().unwrap();
    }

    #[test]
    fn an_engine_that_lies_or_fails_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let bad: [(&str, Vec<u8>); 5] = [
            ("another", reply("200 OK", "Docker/27", &inspected(&ID.replace('b', "c")))),
            ("list", reply("200 OK", "Docker/27", "[]")),
            ("error", reply("500 Internal Server Error", "Docker/27", "{}")),
            ("noise", b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
            ("endless", [reply("200 OK", "Docker/27", "")[..40].to_vec(), vec![b'x'; 2 << 20]].concat()),
        ];
        for (name, answer) in bad {
            let path = dir.path().join(name);
            let served = engine(&path, 1, move |_| answer.clone());
            let failed = Engines::new(vec![path]).unwrap().describe(ID);
            assert!(failed.is_err(), "{name}: {failed:?}");
            served.join().unwrap();
        }
    }
}
