//! `/metrics`, `/healthz` and `/readyz` over HTTP, for `metrics_listen`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::{ControlError, Daemon};

/// Connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;
/// For one request, from the first byte to the last of the reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listening metrics port. Dropping it closes it.
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens at `address` from a thread of its own.
    pub fn start(address: SocketAddr, daemon: Arc<dyn Daemon>) -> Result<HttpServer, ControlError> {
        let fail = |source| ControlError::Http { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let listener = match TcpListener::from_std(listener) {
                        Ok(listener) => listener,
                        Err(e) => return tracing::error!(error = %e, "metrics port cannot be used"),
                    };
                    tokio::select! {
                        () = accept(listener, daemon) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(fail)?;
        Ok(HttpServer { address: bound, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens: tells the port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The next connection, however long it takes.
pub(super) async fn next(listener: &TcpListener, what: &'static str) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(e) => {
                // Out of descriptors, most likely: others close some.
                tracing::warn!(error = %e, "{what} cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn accept(listener: TcpListener, daemon: Arc<dyn Daemon>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = next(&listener, "the metrics port").await;
        let daemon = daemon.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let reply = reply(&request, &*daemon);
                async { Ok::<_, Infallible>(reply) }
            });
            // A scraper connects once in many seconds: without keep-alive a slow client holds its slot only once.
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(slot);
        });
    }
}

fn reply(request: &Request<Incoming>, daemon: &dyn Daemon) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut page = String::new();
            daemon.metrics(&mut page);
            let mut response = text(StatusCode::OK, page);
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match daemon.ready() {
            Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use serde_json::Value;

    use super::*;

    struct Half;

    impl Daemon for Half {
        fn status(&self) -> Value {
            Value::Null
        }

        fn reload(&self, _: bool, _: bool, _: Option<crate::audit::Peer>) -> Value {
            Value::Null
        }

        fn metrics(&self, out: &mut String) {
            out.push_str("picket_up 1\n");
        }

        fn ready(&self) -> Result<(), String> {
            Err("no rules loaded".to_owned())
        }
    }

    fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    #[test]
    fn metrics_and_health_are_served() {
        let server = HttpServer::start("127.0.0.1:0".parse().unwrap(), Arc::new(Half)).unwrap();
        let get = |path: &str| exchange(server.address(), &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
        let metrics = get("/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("version=0.0.4"), "{metrics}");
        assert!(metrics.ends_with("picket_up 1\n"), "{metrics}");
        assert!(get("/healthz").ends_with("ok\n"));
        let ready = get("/readyz");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("no rules loaded\n"), "{ready}");
        assert!(get("/").starts_with("HTTP/1.1 404"));
        let post = exchange(server.address(), "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = HttpServer::start("127.0.0.1:0".parse().unwrap(), Arc::new(Half)).unwrap();
        let Err(error) = HttpServer::start(first.address(), Arc::new(Half)) else { panic!("two on one port") };
        assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    }
}
