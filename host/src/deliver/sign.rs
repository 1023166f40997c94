//! Standard Webhooks v1: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A symmetric signing key. Wiped from memory when dropped; never printed.
#[derive(PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a text is not a signing secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// Not base64 after the prefix.
    #[error("it is not `whsec_` followed by base64")]
    Base64,
    /// Standard Webhooks asks for 24 to 64 bytes.
    #[error("it has {bytes} bytes, Standard Webhooks asks for 24 to 64 (openssl rand -base64 32)")]
    Length { bytes: usize },
}

impl Secret {
    /// Reads `whsec_<base64>`, 24 to 64 bytes once decoded. The prefix is optional, as in the reference libraries.
    pub fn parse(text: &str) -> Result<Secret, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| SecretError::Base64)?;
        let bytes = Zeroizing::new(bytes);
        if !(24..=64).contains(&bytes.len()) {
            return Err(SecretError::Length { bytes: bytes.len() });
        }
        Ok(Secret(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Value of `webhook-signature`: one `v1,<base64>` per secret, separated by spaces, so that a receiver that knows either
/// key of a rotation accepts it. `timestamp` is that of this attempt, unix seconds.
pub fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes a key of any length");
            mac.update(id.as_bytes());
            mac.update(format!(".{timestamp}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    /// `Webhook(secret).sign("alert-1", datetime.fromtimestamp(1795500000, tz=timezone.utc), body)` of the PyPI package
    /// standardwebhooks 1.1.0.
    #[test]
    fn agrees_with_the_reference_library() {
        let secret = Secret::parse(SECRET).unwrap();
        let signature = sign(&[secret], "alert-1", 1_795_500_000, "{\"title\":\"naïve\"}".as_bytes());
        assert_eq!(signature, "v1,nOHyxpU0OJyxGG0OnfrwNzyPRpZSrgT9ylnHGEMMCtM=");
    }

    #[test]
    fn a_rotation_signs_with_every_secret() {
        let other = Secret::parse("whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=").unwrap();
        let both = sign(&[Secret::parse(SECRET).unwrap(), other], "a", 1, b"x");
        let parts: Vec<&str> = both.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], sign(&[Secret::parse(SECRET).unwrap()], "a", 1, b"x"));
        assert_ne!(parts[0], parts[1]);
    }

    #[test]
    fn weak_and_broken_secrets_are_refused() {
        assert_eq!(Secret::parse("  ").unwrap_err(), SecretError::Empty);
        assert_eq!(Secret::parse("whsec_!!").unwrap_err(), SecretError::Base64);
        assert_eq!(Secret::parse("whsec_c2hvcnQ=").unwrap_err(), SecretError::Length { bytes: 5 });
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert_eq!(format!("{:?}", Secret::parse(SECRET).unwrap()), "[REDACTED]");
    }
}
