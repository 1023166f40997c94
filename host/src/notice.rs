//! What Picket has to say about itself: host-made alerts. They take the way of every alert, into the spool and to the endpoints,
//! because whoever blinds a detection host reads no log of it first.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};

use crate::alert::{About, Activity, Alert, FORMAT, Gap, Host, Rule, User, digest};
use crate::detection::Level;
use crate::kind;
use crate::sensor::ebpf::{KindStatus, Tamper};
use crate::slab::Origin;
use crate::tune::Mode;

/// The guest that host-made alerts name: none.
const HOST: &str = "picket";

/// A rule of the host's own.
#[derive(Debug, PartialEq, Eq)]
pub struct HostRule {
    pub id: &'static str,
    pub title: &'static str,
    pub level: Level,
    pub tags: &'static [&'static str],
    pub runbook: &'static str,
}

/// MITRE ATT&CK: Impair Defenses.
const IMPAIR: &[&str] = &["attack.defense_evasion", "attack.t1562.001"];

pub static TAMPER_LINK: HostRule = HostRule {
    id: "picket.tamper.link",
    title: "A program of Picket was taken from its hook",
    level: Level::High,
    tags: IMPAIR,
    runbook: "Only a process with CAP_SYS_ADMIN or CAP_BPF can do this: look at what root did at this time.",
};

pub static TAMPER_MAP: HostRule = HostRule {
    id: "picket.tamper.map",
    title: "A BPF map of Picket was written by somebody else",
    level: Level::High,
    tags: IMPAIR,
    runbook: "Only a process with CAP_SYS_ADMIN or CAP_BPF can do this: look at what root did at this time.",
};

pub static TAMPER_CANARY: HostRule = HostRule {
    id: "picket.tamper.canary",
    title: "A hook of Picket has stopped seeing",
    level: Level::High,
    tags: IMPAIR,
    runbook: "Kernel probes can be switched off as a whole (debugfs kprobes/enabled); `picket status` says what is still seen.",
};

pub static GAP: HostRule = HostRule {
    id: "picket.gap",
    title: "This host was not watched",
    level: Level::Medium,
    tags: &[],
    runbook: "Nothing was detected between `gap.from` and `gap.to`: other sources have to answer for that time.",
};

/// One thing to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub rule: &'static HostRule,
    /// What it is about: part of the ids.
    pub key: String,
    /// What was seen, for people.
    pub what: String,
    /// When, Unix ns. Of a gap: its end.
    pub at: u64,
    pub fields: Vec<(&'static str, String)>,
    pub gap: Option<Gap>,
    /// What makes the alert's id, if not the time: a gap said twice is one gap.
    pub identity: Option<Vec<String>>,
}

impl Notice {
    fn new(rule: &'static HostRule, key: &str, what: String, at: u64) -> Notice {
        Notice { rule, key: key.to_owned(), what, at, fields: Vec::new(), gap: None, identity: None }
    }

    /// A sign of tampering, with what the sensor did about it.
    pub fn of_tamper(sign: &Tamper, at: u64) -> Notice {
        match sign {
            Tamper::Link { program, why } => Notice {
                fields: vec![("program", program.clone()), ("why", (*why).to_owned())],
                ..Notice::new(&TAMPER_LINK, program, format!("{program}: {why}; it is attached again"), at)
            },
            Tamper::Map { map, entry, found } => {
                let what = format!("map {map}, {entry}: found {found}; what Picket wrote is restored where it can be");
                Notice {
                    fields: vec![("map", (*map).to_owned()), ("entry", entry.clone()), ("found", found.clone())],
                    ..Notice::new(&TAMPER_MAP, &format!("{map} {entry}"), what, at)
                }
            }
        }
    }

    /// Kinds that were on a better rung before: their hooks did not see what the sensor itself did.
    pub fn of_probe(before: &[KindStatus], after: &[KindStatus], at: u64) -> Vec<Notice> {
        let worse = |now: &&KindStatus| {
            let was = before.iter().find(|b| b.kind == now.kind).and_then(|b| b.rung);
            // Rungs are numbered from the best.
            was.is_some_and(|was| now.rung.is_none_or(|rung| rung > was))
        };
        let notice = |now: &KindStatus| {
            let name = now.kind.name();
            let why = now.degraded.clone().unwrap_or_default();
            let now = now
                .rung
                .map_or("it is not collected any more".to_owned(), |r| format!("it is seen at a {} now", r.name()));
            Notice {
                fields: vec![("kind", name.to_owned()), ("why", why.clone())],
                ..Notice::new(&TAMPER_CANARY, name, format!("{name}: {now}: {why}"), at)
            }
        };
        after.iter().filter(worse).map(notice).collect()
    }

    /// A time that was not watched. `identity` is what tells this gap from every other.
    pub fn of_gap(gap: Gap, at: u64, identity: Vec<String>) -> Notice {
        let what = format!("not watched from {} to {}: {}", gap.from, gap.to, gap.why);
        let cause = gap.cause.name().to_owned();
        Notice {
            fields: vec![("cause", cause.clone())],
            gap: Some(gap),
            identity: Some(identity),
            ..Notice::new(&GAP, &cause, what, at)
        }
    }

    /// The alert.
    pub fn alert(&self, origin: &Origin, generation: u64) -> Alert {
        let rule = self.rule;
        let at = self.at.to_string();
        let mut parts: Vec<&[u8]> = vec![origin.machine.as_bytes(), HOST.as_bytes(), rule.id.as_bytes()];
        match &self.identity {
            Some(identity) => parts.extend(identity.iter().map(String::as_bytes)),
            None => parts.extend([origin.boot.as_bytes(), self.key.as_bytes(), at.as_bytes()]),
        }
        Alert {
            v: FORMAT,
            id: digest(&parts),
            episode: digest(&[origin.machine.as_bytes(), HOST.as_bytes(), rule.id.as_bytes(), self.key.as_bytes()]),
            activity: if self.gap.is_some() { Activity::Gap } else { Activity::New },
            severity: rule.level,
            count: 1,
            first: self.gap.as_ref().map_or_else(|| kind::time_text(self.at), |g| g.from.clone()),
            last: kind::time_text(self.at),
            title: rule.title.to_owned(),
            message: format!("{}: {}", rule.title, self.what),
            rule: Rule {
                id: rule.id.to_owned(),
                title: rule.title.to_owned(),
                digest: String::new(),
                file: String::new(),
                level: rule.level,
                status: Some("stable".to_owned()),
                mode: Mode::Live,
                author: None,
                license: None,
                tags: rule.tags.iter().map(|t| (*t).to_owned()).collect(),
                references: Vec::new(),
                falsepositives: Vec::new(),
                runbook: Some(rule.runbook.to_owned()),
            },
            host: Host {
                id: origin.machine.clone(),
                name: origin.hostname.clone(),
                ips: Vec::new(),
                labels: serde_json::Map::new(),
            },
            user: User { id: None, name: None, source: None, effective: None, login: None },
            process: None,
            container: None,
            matched: Vec::new(),
            fields: self.fields.iter().map(|(k, v)| ((*k).to_owned(), v.as_str().into())).collect(),
            related: Vec::new(),
            context: Vec::new(),
            event: None,
            gap: self.gap.clone(),
            picket: About {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                generation,
                guest: HOST.to_owned(),
                guest_digest: String::new(),
                hook: None,
                partial: false,
            },
        }
    }
}

/// What reaches the keeper (`keeper.rs`), which makes alerts of notices.
#[derive(Debug)]
pub enum Message {
    Notice(Box<Notice>),
    /// Collection has ended; the time of it, Unix ns, and whether by itself.
    Stop {
        at: u64,
        failed: bool,
    },
}

/// Where notices are left. Nobody waits for it: the builder is one of those who speak.
#[derive(Debug)]
pub struct Outbox {
    pub(crate) sender: SyncSender<Message>,
    receiver: Mutex<Option<Receiver<Message>>>,
}

/// Notices that may wait. They are rare: one for each program and map entry at most, twice a second.
const WAITING: usize = 256;

impl Default for Outbox {
    fn default() -> Outbox {
        let (sender, receiver) = std::sync::mpsc::sync_channel(WAITING);
        Outbox { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Outbox {
    /// Leaves a notice; `false` if too many wait (or nobody will ever look).
    #[must_use]
    pub fn say(&self, notice: Notice) -> bool {
        tracing::error!(rule = notice.rule.id, what = %notice.what, "{}", notice.rule.title);
        self.sender.try_send(Message::Notice(Box::new(notice))).is_ok()
    }

    /// The other end; there is one.
    pub(crate) fn take(&self) -> Option<Receiver<Message>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Now, Unix ns.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use picket_ebpf::{Kind, Rung};

    use super::*;

    fn on(kind: Kind, rung: Option<Rung>) -> KindStatus {
        KindStatus { kind, rung, hook: "", degraded: Some("its canary did not arrive".to_owned()) }
    }

    #[test]
    fn only_a_kind_that_sees_less_than_before_is_spoken_of() {
        let [a, b, c, d] = [Kind::ALL[3], Kind::ALL[4], Kind::ALL[5], Kind::ALL[6]];
        let (kprobe, tracepoint) = (Some(Rung::Kprobe), Some(Rung::Tracepoint));
        let before = [on(a, kprobe), on(b, tracepoint), on(c, None), on(d, tracepoint)];
        let after = [on(a, tracepoint), on(b, None), on(c, None), on(d, kprobe)];
        let said = Notice::of_probe(&before, &after, 7);
        let keys: Vec<&str> = said.iter().map(|n| n.key.as_str()).collect();
        assert_eq!(keys, [a.name(), b.name()]);
        assert!(said[0].what.contains("tracepoint now") && said[1].what.contains("not collected any more"), "{said:?}");
        assert_eq!(Notice::of_probe(&[], &after, 7), [], "what is new cannot have become worse");
    }

    #[test]
    fn a_sign_of_tampering_becomes_an_alert_of_level_high_that_a_retry_repeats() {
        let origin = Origin { machine: "m".to_owned(), boot: "b".to_owned(), hostname: "h".to_owned() };
        let sign = Tamper::Map { map: "INTEREST", entry: "x".to_owned(), found: "flags 0x0".to_owned() };
        let alert = Notice::of_tamper(&sign, 1_000).alert(&origin, 3);
        assert_eq!(
            (alert.rule.id.as_str(), alert.severity, alert.activity),
            ("picket.tamper.map", Level::High, Activity::New)
        );
        assert_eq!(alert.id, Notice::of_tamper(&sign, 1_000).alert(&origin, 4).id);
        let later = Notice::of_tamper(&sign, 2_000).alert(&origin, 3);
        assert!(later.id != alert.id && later.episode == alert.episode);
        let line = String::from_utf8(alert.ready().unwrap().line.to_vec()).unwrap();
        assert!(line.contains("\"found\":\"flags 0x0\"") && !line.contains("\"gap\""), "{line}");
    }

    #[test]
    fn a_full_outbox_makes_nobody_wait() {
        let outbox = Outbox::default();
        let notice = || Notice::of_tamper(&Tamper::Link { program: "p".to_owned(), why: "gone" }, 1);
        assert!((0..WAITING).all(|_| outbox.say(notice())));
        assert!(!outbox.say(notice()));
    }
}
