//! One signed POST, and what its reply means. No redirects, bounded reply, bounded time.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::config::{ConfigError, EndpointConfig, Target};
use super::schedule::{Reply, retry_after};
use super::sign::sign;
use crate::units::Period;

/// Most of a reply that is read, bytes.
const MAX_REPLY: usize = 64 * 1024;
/// Most of a reply that is kept for a dead letter, bytes before escaping.
const EXCERPT: usize = 200;
/// Longest time to connect, within the endpoint's timeout.
const CONNECT: Duration = Duration::from_secs(10);
/// Idle connections are closed before receivers' usual 60 to 75 s, so that few requests meet a closing one.
const IDLE: Duration = Duration::from_secs(45);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Connections to one endpoint. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// Reads the trusted roots; connects to nothing yet.
    pub fn new(
        name: &str,
        uri: &Uri,
        own_roots: Option<&(PathBuf, Vec<u8>)>,
        config: &EndpointConfig,
    ) -> Result<Client, ConfigError> {
        let mut roots = rustls::RootCertStore::empty();
        if uri.scheme_str() == Some("https") {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
        if let Some((path, pem)) = own_roots {
            let bad = |why: String| ConfigError::Roots { name: name.to_owned(), path: path.clone(), why };
            let mut found = 0;
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|e| bad(e.to_string()))?;
                roots.add(certificate).map_err(|e| bad(e.to_string()))?;
                found += 1;
            }
            if found == 0 {
                return Err(bad("no certificate in it".to_owned()));
            }
        }
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| ConfigError::Roots { name: name.to_owned(), path: "(tls)".into(), why: e.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT.min(config.timeout.0)));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.in_flight as usize)
            .build(connector);
        Ok(Client { inner })
    }

    /// Sends `body` as the message `id`, signed with a timestamp of now. The text says what went wrong, escaped.
    pub async fn post(&self, target: &Target, id: &str, body: Bytes) -> (Reply, Option<String>) {
        let request = match request(target, id, body) {
            Ok(request) => request,
            // Only an id that is not a header value gets here, and it never will be one.
            Err(e) => return (Reply::Refused { status: 0 }, Some(format!("no request can be made: {e}"))),
        };
        match tokio::time::timeout(target.timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => (Reply::Lost, Some(format!("no reply within {}", Period(target.timeout)))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> (Reply, Option<String>) {
        let response = match self.inner.request(request).await {
            Ok(response) => response,
            Err(e) if e.is_connect() => return (Reply::Unreachable, Some(said(&e))),
            Err(e) => return (Reply::Lost, Some(said(&e))),
        };
        let status = response.status();
        let wait = wait_asked(response.headers());
        let reply = Reply::from_status(status.as_u16(), wait);
        if reply == Reply::Delivered {
            // The status is the promise; what follows is read only so that the connection can be used again.
            let _ = read(response).await;
            return (reply, None);
        }
        let excerpt = read(response).await.unwrap_or_default();
        let excerpt = excerpt[..excerpt.len().min(EXCERPT)].escape_ascii();
        (reply, Some(format!("{} {}: {excerpt}", status.as_u16(), status.canonical_reason().unwrap_or("?"))))
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Option<Bytes> {
    let body = Limited::new(response.into_body(), MAX_REPLY).collect().await.ok()?;
    Some(body.to_bytes())
}

fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    // A date is compared with the receiver's own clock where it sends it: ours may be wrong.
    let date = headers.get(DATE).and_then(|d| d.to_str().ok());
    let theirs = date.and_then(|d| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(d).ok());
    retry_after(text, theirs.map_or_else(unix_seconds, jiff::Timestamp::as_second))
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

fn request(target: &Target, id: &str, body: Bytes) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let timestamp = unix_seconds();
    let mut builder = Request::builder().method(Method::POST).uri(target.uri.clone());
    if let Some(headers) = builder.headers_mut() {
        headers.clone_from(&target.headers);
        headers.insert(ID, HeaderValue::from_str(id)?);
        headers.insert(TIMESTAMP, HeaderValue::from(timestamp));
        if !target.secrets.is_empty() {
            headers.insert(SIGNATURE, HeaderValue::from_str(&sign(&target.secrets, id, timestamp, &body))?);
        }
    }
    builder.body(Full::new(body))
}

/// An error with its causes on one line, control characters escaped. The url is not in it.
fn said(error: &dyn Error) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { vec![c] };
    crate::text::chain(error).chars().flat_map(escape).take(500).collect()
}
