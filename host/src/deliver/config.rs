//! What an endpoint is, as configured; and the checked form the worker uses.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Uri, http};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::http::Client;
use super::sign::{Secret, SecretError};
use crate::detection::Level;
use crate::units::Period;

/// Most requests one endpoint may have under way.
const MAX_IN_FLIGHT: u32 = 256;
/// Longest file of secrets or credentials that is read, bytes.
const MAX_SECRET_FILE: u64 = 16 * 1024;

/// One receiver of alerts: `[endpoint.NAME]` in `picket.toml`. Its identity is its name: a changed URL or secret applies
/// to what is already queued.
#[derive(Clone, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Where alerts are POSTed: `https://...`; `http://` only to this machine, unless `allow_http` is set.
    #[serde(serialize_with = "redact_url")]
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// File with the signing secret, `whsec_` followed by base64. Several lines: each one signs, for rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub secret_file: Option<PathBuf>,
    /// Environment variable that holds the signing secret. Without a secret requests are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// Lowest level that is sent here.
    #[serde(default = "lowest")]
    pub min_level: Level,
    /// Most requests under way at once, 1 to 256. 1 = strictly in order.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 256))]
    pub in_flight: u32,
    /// How long one request may take, from connecting to the last byte of the reply.
    #[serde(default = "fifteen_seconds")]
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "10m"))]
    pub timeout: Period,
    /// An alert that could not be delivered for this long becomes a dead letter.
    #[serde(default = "three_days")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "3650d"))]
    pub max_age: Period,
    /// Headers sent with every request, such as `authorization`. Values are never printed.
    #[serde(default, serialize_with = "redact_values", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("writeOnly" = true))]
    pub headers: BTreeMap<String, String>,
    /// PEM file of certificate authorities that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
    /// Allows `http://` to other machines: alerts then travel unencrypted.
    #[serde(default)]
    pub allow_http: bool,
}

impl EndpointConfig {
    /// An endpoint with every default.
    pub fn new(url: impl Into<String>) -> EndpointConfig {
        EndpointConfig {
            url: url.into(),
            secret_file: None,
            secret_env: None,
            min_level: lowest(),
            in_flight: four(),
            timeout: fifteen_seconds(),
            max_age: three_days(),
            headers: BTreeMap::new(),
            ca_file: None,
            allow_http: false,
        }
    }
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("url", &origin_of(&self.url))
            .field("secret_file", &self.secret_file)
            .field("secret_env", &self.secret_env)
            .field("min_level", &self.min_level)
            .field("in_flight", &self.in_flight)
            .field("timeout", &self.timeout)
            .field("max_age", &self.max_age)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("ca_file", &self.ca_file)
            .field("allow_http", &self.allow_http)
            .finish()
    }
}

fn lowest() -> Level {
    Level::Informational
}

fn four() -> u32 {
    4
}

fn fifteen_seconds() -> Period {
    Period::secs(15)
}

fn three_days() -> Period {
    Period::secs(3 * 86_400)
}

/// Scheme, host and port: the path and query of a webhook are often a credential.
fn origin_of(url: &str) -> String {
    match url.parse::<Uri>() {
        Ok(uri) => {
            let host = uri.authority().map_or("?", |a| a.as_str().rsplit('@').next().unwrap_or("?"));
            format!("{}://{host}/[REDACTED]", uri.scheme_str().unwrap_or("?"))
        }
        Err(_) => "[REDACTED]".to_owned(),
    }
}

fn redact_url<S: Serializer>(url: &str, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&origin_of(url))
}

fn redact_values<S: Serializer>(headers: &BTreeMap<String, String>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(headers.keys().map(|name| (name, "[REDACTED]")))
}

/// Why an endpoint cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The name goes into metrics and logs, and is the key of the queue on disk.
    #[error("endpoint name `{name}` must be 1 to 64 letters, digits, `-` or `_`")]
    Name { name: String },
    /// The text is not an absolute URL.
    #[error("endpoint {name}: url is not an absolute http or https URL")]
    Url { name: String },
    /// A user name or password stands before the host.
    #[error("endpoint {name}: url carries a user or password; send credentials with `headers` instead")]
    UserInfo { name: String },
    /// Unencrypted to another machine.
    #[error("endpoint {name}: http to {host} would send alerts unencrypted; use https or set allow_http = true")]
    Http { name: String, host: String },
    /// `in_flight` out of range.
    #[error("endpoint {name}: in_flight must be between 1 and {MAX_IN_FLIGHT}")]
    InFlight { name: String },
    /// A header that Picket sets itself, or that is not a header.
    #[error("endpoint {name}: header `{header}` cannot be configured: {why}")]
    Header { name: String, header: String, why: &'static str },
    /// Both sources of a secret.
    #[error("endpoint {name}: give secret_file or secret_env, not both")]
    TwoSecrets { name: String },
    /// The environment variable is absent.
    #[error("endpoint {name}: environment variable {variable} (secret_env) is not set")]
    Environment { name: String, variable: String },
    /// A file cannot be read.
    #[error("endpoint {name}: cannot read {path}")]
    Read { name: String, path: PathBuf, source: std::io::Error },
    /// The secret is not one.
    #[error("endpoint {name}: bad secret in {place}")]
    Secret { name: String, place: String, source: SecretError },
    /// The file of certificate authorities holds none.
    #[error("endpoint {name}: {path} holds no usable PEM certificate: {why}")]
    Roots { name: String, path: PathBuf, why: String },
}

/// A checked endpoint: everything a request needs, secrets loaded.
pub(super) struct Target {
    pub uri: Uri,
    /// Scheme, host and port, for status and logs.
    pub origin: String,
    /// Fixed headers of every request.
    pub headers: HeaderMap,
    pub secrets: Vec<Secret>,
    pub in_flight: usize,
    pub timeout: Duration,
    pub max_age: Duration,
    pub min_level: Level,
    /// Digest of the URL: tells whether a 410 was said by the same place.
    pub fingerprint: String,
    /// Certificate authorities trusted besides the system's: the file and its PEM text.
    pub roots: Option<(PathBuf, Vec<u8>)>,
    pub client: Client,
}

impl Target {
    /// Checks `config` and loads what it names.
    pub fn prepare(name: &str, config: &EndpointConfig, user_agent: &str) -> Result<Target, ConfigError> {
        let owned = || name.to_owned();
        let well_named =
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !well_named {
            return Err(ConfigError::Name { name: owned() });
        }
        if !(1..=MAX_IN_FLIGHT).contains(&config.in_flight) {
            return Err(ConfigError::InFlight { name: owned() });
        }
        let uri = config.url.parse::<Uri>().map_err(|_| ConfigError::Url { name: owned() })?;
        let (Some(scheme), Some(host), Some(authority)) = (uri.scheme_str(), uri.host(), uri.authority()) else {
            return Err(ConfigError::Url { name: owned() });
        };
        if authority.as_str().contains('@') {
            return Err(ConfigError::UserInfo { name: owned() });
        }
        match scheme {
            "https" => {}
            "http" if config.allow_http || is_loopback(host) => {}
            "http" => return Err(ConfigError::Http { name: owned(), host: host.to_owned() }),
            _ => return Err(ConfigError::Url { name: owned() }),
        }
        let roots = match &config.ca_file {
            Some(path) => Some((path.clone(), read_small(name, path, 1 << 20)?)),
            None => None,
        };
        let client = Client::new(name, &uri, roots.as_ref(), config)?;
        Ok(Target {
            fingerprint: fingerprint(&config.url),
            client,
            origin: format!("{scheme}://{authority}"),
            headers: fixed_headers(name, config, user_agent)?,
            secrets: load_secrets(name, config)?,
            in_flight: config.in_flight as usize,
            timeout: config.timeout.0,
            max_age: config.max_age.0,
            min_level: config.min_level,
            uri,
            roots,
        })
    }

    /// The same place, reached and signed in the same way.
    pub fn same_receiver(&self, other: &Target) -> bool {
        self.uri == other.uri
            && self.headers == other.headers
            && self.secrets == other.secrets
            && self.roots == other.roots
            && self.timeout == other.timeout
            && self.in_flight == other.in_flight
    }
}

fn fingerprint(url: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(url.as_bytes()).iter().take(16).fold(String::new(), |text, b| format!("{text}{b:02x}"))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Headers that belong to the request itself or to the signature.
const OURS: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "te",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

fn fixed_headers(name: &str, config: &EndpointConfig, user_agent: &str) -> Result<HeaderMap, ConfigError> {
    let bad = |header: &str, why| ConfigError::Header { name: name.to_owned(), header: header.to_owned(), why };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let agent = HeaderValue::from_str(user_agent).map_err(|_| bad("user-agent", "it is not a header value"))?;
    headers.insert(http::header::USER_AGENT, agent);
    for (header, value) in &config.headers {
        let key = HeaderName::try_from(header.as_str()).map_err(|_| bad(header, "it is not a header name"))?;
        if OURS.contains(&key.as_str()) {
            return Err(bad(header, "it is set by picket"));
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| bad(header, "its value holds control characters"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn load_secrets(name: &str, config: &EndpointConfig) -> Result<Vec<Secret>, ConfigError> {
    let (place, text) = match (&config.secret_file, &config.secret_env) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), Some(_)) => return Err(ConfigError::TwoSecrets { name: name.to_owned() }),
        (Some(path), None) => {
            let bytes = read_small(name, path, MAX_SECRET_FILE)?;
            (path.display().to_string(), zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
        }
        (None, Some(variable)) => match std::env::var(variable) {
            Ok(value) => (variable.clone(), zeroize::Zeroizing::new(value)),
            Err(_) => {
                return Err(ConfigError::Environment { name: name.to_owned(), variable: variable.clone() });
            }
        },
    };
    let bad = |source| ConfigError::Secret { name: name.to_owned(), place: place.clone(), source };
    let secrets: Vec<Secret> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(Secret::parse)
        .collect::<Result<_, _>>()
        .map_err(bad)?;
    // An empty file must not turn signing off silently.
    if secrets.is_empty() { Err(bad(SecretError::Empty)) } else { Ok(secrets) }
}

fn read_small(name: &str, path: &Path, limit: u64) -> Result<Vec<u8>, ConfigError> {
    use std::io::Read;
    let fail = |source| ConfigError::Read { name: name.to_owned(), path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(fail(std::io::Error::other(format!("longer than {limit} bytes"))));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<EndpointConfig, toml::de::Error> {
        toml::from_str(toml)
    }

    fn prepared(config: &EndpointConfig) -> Result<Target, ConfigError> {
        Target::prepare("soar", config, "picket/test")
    }

    #[test]
    fn defaults_are_the_stated_ones() {
        let config = read("url = \"https://soar.example/hook\"").unwrap();
        assert_eq!(config, EndpointConfig::new("https://soar.example/hook"));
        assert_eq!((config.timeout.to_string(), config.max_age.to_string()), ("15s".to_owned(), "3d".to_owned()));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(read("url = \"https://a/\"\nsecretfile = \"x\"").unwrap_err().to_string().contains("secretfile"));
    }

    #[test]
    fn http_goes_only_to_this_machine_unless_allowed() {
        for url in ["http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:9/x", "https://soar.example/x"] {
            assert!(prepared(&EndpointConfig::new(url)).is_ok(), "{url}");
        }
        let mut config = EndpointConfig::new("http://soar.example/x");
        assert!(matches!(prepared(&config), Err(ConfigError::Http { .. })));
        config.allow_http = true;
        assert!(prepared(&config).is_ok());
    }

    #[test]
    fn urls_that_are_not_endpoints_are_refused() {
        for url in ["ftp://a/", "/hook", "soar.example", "", "https:///x"] {
            assert!(matches!(prepared(&EndpointConfig::new(url)), Err(ConfigError::Url { .. })), "{url}");
        }
        let error = prepared(&EndpointConfig::new("https://me:pw@soar.example/"));
        assert!(matches!(error, Err(ConfigError::UserInfo { .. })));
    }

    #[test]
    fn headers_of_the_request_itself_cannot_be_configured() {
        let mut config = EndpointConfig::new("https://soar.example/");
        config.headers.insert("Webhook-Id".to_owned(), "x".to_owned());
        assert!(matches!(prepared(&config), Err(ConfigError::Header { .. })));
        config.headers = BTreeMap::from([("x-key".to_owned(), "a\r\nb: c".to_owned())]);
        assert!(matches!(prepared(&config), Err(ConfigError::Header { .. })));
    }

    #[test]
    fn an_empty_secret_file_does_not_turn_signing_off() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut config = EndpointConfig::new("https://soar.example/");
        config.secret_file = Some(file.path().to_owned());
        assert!(matches!(prepared(&config), Err(ConfigError::Secret { source: SecretError::Empty, .. })));
    }

    #[test]
    fn neither_debug_nor_serialize_shows_a_credential() {
        let mut config = EndpointConfig::new("https://hooks.example/T0/B0/sesame");
        config.headers.insert("authorization".to_owned(), "Bearer sesame".to_owned());
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("sesame"), "{shown}");
        assert!(shown.contains("hooks.example"));
    }

    #[test]
    fn every_field_is_described_in_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(EndpointConfig)).unwrap();
        for (field, about) in schema["properties"].as_object().unwrap() {
            assert!(about["description"].is_string(), "{field} has no description");
        }
    }
}
