//! Who may come in: a token that is good once becomes a session. Nothing of either is kept but its hash.
//!
//! A session is two secrets: a cookie that scripts cannot read, and a key that only the page's own scripts can. Cookies know
//! no ports, so whatever else listens on this machine's loopback and is visited is sent the cookie; it never gets the key.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Tokens that wait to be used; the oldest goes.
const TOKENS: usize = 8;
/// Sessions at once; the one that was idle longest goes.
const SESSIONS: usize = 8;
/// A token that was not used.
const TOKEN_LIFE: Duration = Duration::from_mins(10);
/// A session that nobody uses.
const SESSION_LIFE: Duration = Duration::from_hours(12);

type Hash = [u8; 32];

/// The tokens and sessions of one console.
#[derive(Default)]
pub struct Door(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tokens: VecDeque<(Hash, Instant)>,
    sessions: Vec<Session>,
}

struct Session {
    cookie: Hash,
    key: Hash,
    used: Instant,
}

/// What a token is exchanged for.
#[derive(Debug)]
pub struct Pass {
    pub cookie: String,
    pub key: String,
}

impl Door {
    /// A new token.
    pub fn issue(&self) -> std::io::Result<String> {
        let token = secret()?;
        let mut inner = self.lock();
        inner.tokens.push_back((hash(&token), Instant::now()));
        if inner.tokens.len() > TOKENS {
            inner.tokens.pop_front();
        }
        Ok(token)
    }

    /// Takes a token, which is good once.
    pub fn enter(&self, token: &str) -> std::io::Result<Option<Pass>> {
        let offered = hash(token);
        let mut inner = self.lock();
        inner.tokens.retain(|(_, since)| since.elapsed() < TOKEN_LIFE);
        let Some(at) = inner.tokens.iter().position(|(token, _)| *token == offered) else { return Ok(None) };
        inner.tokens.remove(at);
        let pass = Pass { cookie: secret()?, key: secret()? };
        if inner.sessions.len() >= SESSIONS {
            inner.sessions.sort_by_key(|s| s.used);
            inner.sessions.remove(0);
        }
        inner.sessions.push(Session { cookie: hash(&pass.cookie), key: hash(&pass.key), used: Instant::now() });
        Ok(Some(pass))
    }

    /// Whether both belong to one session.
    pub fn admits(&self, cookie: &str, key: &str) -> bool {
        // Hashes are compared, and not what was sent: how long that takes tells nothing.
        let (cookie, key) = (hash(cookie), hash(key));
        let mut inner = self.lock();
        inner.sessions.retain(|s| s.used.elapsed() < SESSION_LIFE);
        let session = inner.sessions.iter_mut().find(|s| s.cookie == cookie && s.key == key);
        session.map(|s| s.used = Instant::now()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

fn secret() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_and_its_session_needs_both_secrets() {
        let door = Door::default();
        let token = door.issue().unwrap();
        assert!(door.enter("").unwrap().is_none());
        let pass = door.enter(&token).unwrap().unwrap();
        assert!(door.enter(&token).unwrap().is_none());
        assert!(door.admits(&pass.cookie, &pass.key));
        assert!(!door.admits(&pass.cookie, "") && !door.admits(&pass.cookie, &pass.cookie));
        let other = door.enter(&door.issue().unwrap()).unwrap().unwrap();
        assert!(!door.admits(&pass.cookie, &other.key) && door.admits(&pass.cookie, &pass.key));
    }

    #[test]
    fn tokens_and_sessions_are_bounded() {
        let door = Door::default();
        let first = door.issue().unwrap();
        let passes: Vec<Pass> = (0..=SESSIONS).map(|_| door.enter(&door.issue().unwrap()).unwrap().unwrap()).collect();
        assert!(door.enter(&first).unwrap().is_some(), "the others were used and made no place");
        assert!(!door.admits(&passes[0].cookie, &passes[0].key));
        let oldest = door.issue().unwrap();
        (0..TOKENS).for_each(|_| drop(door.issue()));
        assert!(door.enter(&oldest).unwrap().is_none());
        assert_eq!(door.lock().sessions.len(), SESSIONS);
    }
}
