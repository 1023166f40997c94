//! The console over HTTP: on loopback only, for who has a token.
//!
//! A page in a browser shares it with every other page. So: `Host` must be ours (else a name that was made to lead here would
//! do), `Origin` of what changes anything must be ours, the session needs a cookie *and* a key that no other page can have,
//! and the policy lets the page load nothing that is not part of the binary.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::ControlError;
use super::http::next;
use crate::console::{ASSETS, Desk, Door, LONGEST};
use crate::viewers::{Viewer, Wish};

/// Connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 32;
/// Questions that wait for a thread at once; more are refused.
const MAX_QUESTIONS: usize = 8;
/// For the head of a request, and for its body.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a question: a rule file as JSON, and an event.
const MAX_BODY: usize = 4 * LONGEST;
/// How often a stream says that it is there, so that a client that left is noticed.
const BEAT: Duration = Duration::from_secs(15);
/// Lines on their way to one client; behind them its queue is bounded (viewers).
const ON_THEIR_WAY: usize = 64;

/// Sent with everything. `frame-ancestors` and the like are in the policy, for old browsers also by themselves.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The header of the key that goes with the cookie.
const KEY: &str = "x-picket-key";

/// A console that listens. Dropping it closes it.
pub struct Page {
    address: SocketAddr,
    door: Arc<Door>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Page {
    /// Listens at a port of the loopback interface, 0 = any, from a thread of its own.
    pub fn open(port: u16, desk: Desk) -> Result<Page, ControlError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let fail = |source| ControlError::Console { address: wanted, source };
        let listener = std::net::TcpListener::bind(wanted).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_QUESTIONS)
            .build()
            .map_err(fail)?;
        let door = Arc::new(Door::default());
        let served = Arc::new(Served {
            desk: Arc::new(desk),
            door: door.clone(),
            host: address.to_string(),
            cookie: format!("picket_console_{}", address.port()),
            questions: Semaphore::new(MAX_QUESTIONS),
        });
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let listener = match TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(e) => return tracing::error!(error = %e, "the console's port cannot be used"),
                };
                tokio::select! {
                    () = accept(listener, served) => {}
                    _ = stopped => {}
                }
            });
            // An answer may still be worked on; its client is gone.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("console".to_owned()).spawn(serve).map_err(fail)?;
        Ok(Page { address, door, stop: Some(stop), thread: Some(thread) })
    }

    /// A link that lets its first user in, once. The token is behind the `#`: it is in no log and no `Referer`.
    pub fn link(&self) -> std::io::Result<String> {
        Ok(format!("http://{}/#token={}", self.address, self.door.issue()?))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What every connection shares.
struct Served {
    desk: Arc<Desk>,
    door: Arc<Door>,
    /// The one `Host` that is ours.
    host: String,
    cookie: String,
    questions: Semaphore,
}

async fn accept(listener: TcpListener, served: Arc<Served>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = next(&listener, "the console").await;
        let served = served.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let served = served.clone();
                async move { Ok::<_, Infallible>(served.reply(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "a connection of the console ended early");
            }
            drop(slot);
        });
    }
}

impl Served {
    async fn reply(&self, request: Request<Incoming>) -> Response<Reply> {
        let mut response = match self.answer(request).await {
            Ok(response) => response,
            Err((status, why)) => json(status, &serde_json::json!({ "error": why })),
        };
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Reply>, (StatusCode, &'static str)> {
        let headers = request.headers();
        if only(headers, header::HOST) != Some(self.host.as_str()) {
            return Err((StatusCode::MISDIRECTED_REQUEST, "this is not the host that was asked for"));
        }
        let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
        let path = request.uri().path();
        let Some(question) = path.strip_prefix("/api/") else {
            let asset =
                ASSETS.iter().find(|a| a.path == path).ok_or((StatusCode::NOT_FOUND, "there is no such page"))?;
            if request.method() != Method::GET {
                return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET"));
            }
            let mut response = Response::new(Reply::of(Bytes::from_static(asset.text.as_bytes())));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
            return Ok(response);
        };
        if request.method() != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "only POST"));
        }
        let origin = only(headers, header::ORIGIN).and_then(|o| o.strip_prefix("http://"));
        if origin != Some(self.host.as_str()) || site.is_some_and(|s| s != "same-origin") {
            return Err((StatusCode::FORBIDDEN, "only the console's own page may ask"));
        }
        if only(headers, header::CONTENT_TYPE) != Some("application/json") {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "a question is application/json"));
        }
        let question = question.to_owned();
        if question != "login" {
            let cookie = self.cookie_of(headers).unwrap_or_default();
            let key = only(headers, HeaderName::from_static(KEY)).unwrap_or_default();
            if !self.door.admits(cookie, key) {
                return Err((StatusCode::UNAUTHORIZED, "this session is not known; run `picket console` again"));
            }
        }
        let limited = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = match tokio::time::timeout(PATIENCE, limited).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Err((StatusCode::PAYLOAD_TOO_LARGE, "the question is too long")),
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the question has no end")),
        };
        match question.as_str() {
            "login" => self.login(&body),
            "stream" => self.stream(&body),
            _ => self.ask(question, body).await,
        }
    }

    fn cookie_of<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        let mut pairs = all.flat_map(|v| v.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, value)| value)
    }

    fn login(&self, body: &[u8]) -> Result<Response<Reply>, (StatusCode, &'static str)> {
        let token = serde_json::from_slice::<serde_json::Value>(body).ok();
        let token = token.as_ref().and_then(|b| b["token"].as_str()).unwrap_or_default();
        let failed = (StatusCode::INTERNAL_SERVER_ERROR, "no secret can be made");
        let pass = self.door.enter(token).map_err(|_| failed)?;
        let pass =
            pass.ok_or((StatusCode::UNAUTHORIZED, "this link was used or is too old; run `picket console` again"))?;
        let mut response = json(StatusCode::OK, &serde_json::json!({ "key": pass.key }));
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, pass.cookie);
        let cookie = HeaderValue::try_from(cookie).map_err(|_| failed)?;
        response.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(response)
    }

    /// Server-sent events, read with fetch: EventSource cannot send the key.
    fn stream(&self, body: &[u8]) -> Result<Response<Reply>, (StatusCode, &'static str)> {
        let wish: Wish = serde_json::from_slice(body).map_err(|_| (StatusCode::BAD_REQUEST, "not a wish"))?;
        let viewer = match self.desk.watch(&wish) {
            Ok(viewer) => viewer,
            Err(e) => return Ok(json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": e.to_string() }))),
        };
        let (lines, out) = mpsc::channel(ON_THEIR_WAY);
        tokio::spawn(pump(viewer, lines));
        let mut response = Response::new(Reply::Stream(out));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }

    async fn ask(&self, question: String, body: Bytes) -> Result<Response<Reply>, (StatusCode, &'static str)> {
        let Ok(_slot) = self.questions.try_acquire() else {
            return Err((StatusCode::TOO_MANY_REQUESTS, "too many questions at once"));
        };
        let desk = self.desk.clone();
        let work = tokio::task::spawn_blocking(move || desk.answer(&question, &body));
        let (status, answer) = work.await.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost"))?;
        Ok(json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &answer))
    }
}

/// Hands what comes for a viewer to its client until one of them is gone.
async fn pump(viewer: Viewer, lines: mpsc::Sender<Bytes>) {
    loop {
        let batch = tokio::select! {
            batch = viewer.next() => batch,
            () = lines.closed() => return,
            () = tokio::time::sleep(BEAT) => {
                if lines.send(Bytes::from_static(b":\n\n")).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(batch) = batch else { return };
        for line in batch.loss().as_deref().into_iter().chain(batch.lines.iter().map(|l| &**l)) {
            // JSON on one line: it cannot end the field that it is in.
            let event = [b"data: ", line, b"\n\n"].concat();
            if lines.send(event.into()).await.is_err() {
                return;
            }
        }
    }
}

/// A header's value if it is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Reply> {
    let mut response = Response::new(Reply::of(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of a reply.
enum Reply {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
}

impl Reply {
    fn of(bytes: Bytes) -> Reply {
        Reply::Whole(Some(bytes))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Reply::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Reply::Stream(lines) => lines.poll_recv(cx).map(|line| line.map(|l| Ok(Frame::data(l)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Reply::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Reply::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
