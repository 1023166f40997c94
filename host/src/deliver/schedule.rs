//! When the next attempt may start: pure state, no clock and no I/O, so that every rule here has a unit test.
//!
//! - An endpoint that cannot be reached or is overloaded (connection and TLS errors, timeouts, 408, 425, 429, 5xx other
//!   than 501) backs off **as a whole**: one schedule for the queue, not one per message, so that an outage never ends in
//!   a storm. Delay n is uniform in (0, min(1 s * 2^(n-1), 5 min)] (full jitter); a longer Retry-After wins, up to 1 h.
//! - After the delay exactly one message goes out as a probe. If it passes, the gate opens; if not, the delay grows.
//! - A 5xx or a lost connection may be the fault of the message. It is blamed: the next probe is the message that was
//!   blamed least, so that any number of poisonous ones is passed, and it waits on a schedule of its own. If others pass
//!   and it fails again, it is alone: it does not shut the gate any more, and after [`MAX_ALONE`] such replies of the same
//!   kind it becomes a dead letter. In an outage nobody passes, so nobody dies.
//! - With one request in flight order matters more: there the head is blamed only from its third failure on.
//! - 410 shuts the gate for good, until the endpoint is changed or enabled again.
//!
//! Times are milliseconds of the spool's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// First ceiling of the back-off.
pub const BASE: Duration = Duration::from_secs(1);
/// Last ceiling of the back-off.
pub const CAP: Duration = Duration::from_mins(5);
/// Longest Retry-After that is obeyed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// Identical failures of one message, while others passed, that make it a dead letter.
pub const MAX_ALONE: u32 = 12;
/// Failures of the head before it is blamed, where order is asked for.
const PATIENCE: u32 = 3;
/// [`Attempts::fault`] of a lost connection or a timeout.
const LOST: u16 = 1;

/// Source of jitter: `SplitMix64`. Not for keys; seeded in tests.
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// The same seed gives the same delays.
    #[cfg(test)]
    pub fn seeded(seed: u64) -> Jitter {
        Jitter(seed)
    }

    /// Different in every process and for every call.
    pub fn random() -> Jitter {
        use std::hash::{BuildHasher, Hasher};
        Jitter(std::collections::hash_map::RandomState::new().build_hasher().finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Full jitter for the n-th failure in a row (from 1): milliseconds, at least 1.
    fn delay(&mut self, failures: u32) -> u64 {
        let ceiling = (BASE.as_millis() as u64)
            .saturating_mul(1 << failures.saturating_sub(1).min(20))
            .min(CAP.as_millis() as u64);
        1 + self.next() % ceiling
    }
}

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 2xx.
    Delivered,
    /// The receiver will not take this message: 3xx (never followed), 4xx other than those below, 501, anything odd.
    Refused { status: u16 },
    /// 410: the receiver wants nothing more.
    Gone,
    /// 408, 425, 429: not now.
    Throttled { status: u16, retry_after: Option<Duration> },
    /// 5xx other than 501.
    Failed { status: u16, retry_after: Option<Duration> },
    /// No connection: refused, no route, name not found, TLS.
    Unreachable,
    /// Connected, but no complete reply: timeout or reset.
    Lost,
}

impl Reply {
    /// Reads a status code.
    pub fn from_status(status: u16, retry_after: Option<Duration>) -> Reply {
        match status {
            200..=299 => Reply::Delivered,
            410 => Reply::Gone,
            408 | 425 | 429 => Reply::Throttled { status, retry_after },
            501 => Reply::Refused { status },
            500..=599 => Reply::Failed { status, retry_after },
            _ => Reply::Refused { status },
        }
    }
}

/// The attempts of one message so far. Kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Requests made for it.
    pub made: u32,
    /// Last 5xx status, or 1 for a lost connection; 0 = none.
    pub fault: u16,
    /// Times that it failed in that way again although others passed in between.
    pub alone: u32,
    /// Not before this time.
    pub not_before: u64,
    /// Failures that may be its own fault. Not on disk: after a restart the endpoint may be another one.
    blame: u32,
    /// Passes of the endpoint when it last failed. Not on disk: a new run has to see others pass again.
    seen_passes: Option<u64>,
}

impl Attempts {
    /// As read from disk.
    pub fn restored(made: u32, fault: u16, alone: u32, not_before: u64) -> Attempts {
        Attempts { made, fault, alone, not_before, blame: alone, seen_passes: None }
    }

    /// How much it is to be avoided as a probe, among others of an endpoint with `in_flight`.
    pub fn suspicion(&self, in_flight: usize) -> u32 {
        if in_flight == 1 && self.blame < PATIENCE { 0 } else { self.blame }
    }
}

/// What is to be done with the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// Stays queued; its [`Attempts`] say from when.
    Retry,
    Dead,
}

/// The part of a schedule that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Failures in a row.
    pub failures: u32,
    /// The gate is shut until then; 0 = open.
    pub until: u64,
    /// Fingerprint of the URL that answered 410.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Shut { until: u64 },
    Probing,
    Gone,
}

/// Given to an attempt at its start, returned with its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    probe: bool,
    /// Number of the closing before which the attempt started: replies of one burst shut the gate once.
    era: u64,
}

/// The schedule of one endpoint.
#[derive(Debug)]
pub struct Schedule {
    gate: Gate,
    failures: u32,
    passes: u64,
    era: u64,
    jitter: Jitter,
}

impl Schedule {
    /// Continues where `saved` left off. A delay that is longer than any this schedule makes is cut to the longest
    /// (the clock may have been set back).
    pub fn restore(saved: &Saved, now: u64, jitter: Jitter) -> Schedule {
        let longest = now + MAX_RETRY_AFTER.as_millis() as u64;
        let gate = if saved.gone.is_some() {
            Gate::Gone
        } else if saved.failures > 0 {
            Gate::Shut { until: saved.until.min(longest) }
        } else {
            Gate::Open
        };
        Schedule { gate, failures: saved.failures, passes: 0, era: 0, jitter }
    }

    /// What to write to disk. `fingerprint` names who said 410.
    pub fn save(&self, fingerprint: &str) -> Saved {
        let until = match self.gate {
            Gate::Shut { until } => until,
            _ => 0,
        };
        Saved { failures: self.failures, until, gone: (self.gate == Gate::Gone).then(|| fingerprint.to_owned()) }
    }

    /// The endpoint was changed or enabled: a probe may start at once. 410 is forgotten only when `forget_gone`.
    pub fn changed(&mut self, now: u64, forget_gone: bool) {
        match self.gate {
            Gate::Gone if forget_gone => self.gate = Gate::Shut { until: now },
            Gate::Shut { until } => self.gate = Gate::Shut { until: until.min(now) },
            Gate::Gone | Gate::Open | Gate::Probing => {}
        }
    }

    /// The endpoint answered 410.
    pub fn is_gone(&self) -> bool {
        self.gate == Gate::Gone
    }

    /// End of the current delay.
    pub fn shut_until(&self) -> Option<u64> {
        match self.gate {
            Gate::Shut { until } => Some(until),
            _ => None,
        }
    }

    /// How many attempts may be under way now, besides what [`Self::start`] says about probes.
    pub fn room(&self, now: u64, in_flight: usize) -> usize {
        match self.gate {
            Gate::Open => in_flight,
            Gate::Shut { until } if until <= now => 1,
            Gate::Shut { .. } | Gate::Probing | Gate::Gone => 0,
        }
    }

    /// The next attempt would be a probe: it should be the message with the least suspicion.
    pub fn is_probing(&self) -> bool {
        self.gate != Gate::Open
    }

    /// An attempt starts. Call only when [`Self::room`] allows it.
    pub fn start(&mut self) -> Ticket {
        let probe = self.gate != Gate::Open;
        if probe {
            self.gate = Gate::Probing;
        }
        Ticket { probe, era: self.era }
    }

    /// The attempt of `ticket` did not take place (its message is gone from the spool).
    pub fn cancel(&mut self, ticket: Ticket, now: u64) {
        if ticket.probe && self.gate == Gate::Probing {
            self.gate = Gate::Shut { until: now };
        }
    }

    /// Takes the reply to an attempt of an endpoint with `in_flight`.
    pub fn settle(
        &mut self,
        now: u64,
        in_flight: usize,
        ticket: Ticket,
        reply: Reply,
        attempts: &mut Attempts,
    ) -> Verdict {
        attempts.made = attempts.made.saturating_add(1);
        attempts.not_before = 0;
        match reply {
            Reply::Delivered => {
                self.passes += 1;
                self.reopen(ticket);
                Verdict::Delivered
            }
            // It answers, so it is up: the probe has done its work.
            Reply::Refused { .. } => {
                self.reopen(ticket);
                Verdict::Dead
            }
            Reply::Gone => {
                self.gate = Gate::Gone;
                self.era += 1;
                Verdict::Retry
            }
            Reply::Failed { status, retry_after } => {
                self.blame(now, in_flight, ticket, status, clamp(retry_after), attempts)
            }
            Reply::Lost => self.blame(now, in_flight, ticket, LOST, 0, attempts),
            Reply::Throttled { retry_after, .. } => {
                self.shut(now, ticket, clamp(retry_after));
                Verdict::Retry
            }
            Reply::Unreachable => {
                self.shut(now, ticket, 0);
                Verdict::Retry
            }
        }
    }

    /// The message or the endpoint: `fault` alone does not tell.
    fn blame(
        &mut self,
        now: u64,
        in_flight: usize,
        ticket: Ticket,
        fault: u16,
        asked: u64,
        attempts: &mut Attempts,
    ) -> Verdict {
        let others_passed = attempts.seen_passes.is_some_and(|seen| self.passes > seen);
        attempts.seen_passes = Some(self.passes);
        attempts.blame = attempts.blame.saturating_add(1);
        if attempts.fault != fault {
            (attempts.fault, attempts.alone) = (fault, 0);
        } else if others_passed {
            attempts.alone += 1;
        }
        if attempts.alone >= MAX_ALONE {
            self.reopen(ticket);
            return Verdict::Dead;
        }
        if attempts.suspicion(in_flight) > 0 {
            attempts.not_before = now + self.jitter.delay(attempts.blame).max(asked);
        }
        if others_passed {
            // It is the message. As a probe it has shown nothing: another one may be the next at once.
            self.cancel(ticket, now);
        } else {
            self.shut(now, ticket, asked);
        }
        Verdict::Retry
    }

    fn reopen(&mut self, ticket: Ticket) {
        // Only the probe opens: a straggler that passes says nothing about a later 429.
        if ticket.probe && self.gate == Gate::Probing {
            self.gate = Gate::Open;
        }
        if self.gate == Gate::Open {
            self.failures = 0;
        }
    }

    /// `asked` is the receiver's own wish for the delay, milliseconds.
    fn shut(&mut self, now: u64, ticket: Ticket, asked: u64) {
        if self.gate == Gate::Gone {
            return;
        }
        let asked = now + asked;
        if ticket.era != self.era {
            // The same outage as the reply that shut the gate: only a longer Retry-After counts.
            if let Gate::Shut { until } = self.gate {
                self.gate = Gate::Shut { until: until.max(asked) };
            }
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = self.jitter.delay(self.failures);
        self.gate = Gate::Shut { until: asked.max(now + delay) };
        self.era += 1;
    }
}

fn clamp(retry_after: Option<Duration>) -> u64 {
    retry_after.unwrap_or_default().min(MAX_RETRY_AFTER).as_millis() as u64
}

/// Reads Retry-After in both forms. `now` and the date are unix seconds; a date that has passed gives zero.
pub fn retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds is as good as for ever: the caller clamps.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::from_secs(u64::try_from(at.as_second().saturating_sub(now)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Schedule {
        Schedule::restore(&Saved::default(), 0, Jitter::seeded(7))
    }

    fn attempt(s: &mut Schedule, now: u64, reply: Reply, attempts: &mut Attempts) -> Verdict {
        assert!(s.room(now, 4) > 0, "no room at {now}");
        let ticket = s.start();
        s.settle(now, 4, ticket, reply, attempts)
    }

    const BUSY: Reply = Reply::Failed { status: 503, retry_after: None };

    #[test]
    fn statuses_mean_what_the_specification_says() {
        for (status, reply) in [
            (200, Reply::Delivered),
            (204, Reply::Delivered),
            (301, Reply::Refused { status: 301 }),
            (400, Reply::Refused { status: 400 }),
            (408, Reply::Throttled { status: 408, retry_after: None }),
            (410, Reply::Gone),
            (425, Reply::Throttled { status: 425, retry_after: None }),
            (429, Reply::Throttled { status: 429, retry_after: None }),
            (500, Reply::Failed { status: 500, retry_after: None }),
            (501, Reply::Refused { status: 501 }),
            (503, BUSY),
            (999, Reply::Refused { status: 999 }),
        ] {
            assert_eq!(Reply::from_status(status, None), reply);
        }
    }

    #[test]
    fn the_delay_doubles_to_the_cap_and_is_never_zero() {
        let mut ceilings = vec![0; 14];
        for seed in 0..400 {
            let mut jitter = Jitter::seeded(seed);
            for n in 1..=13 {
                let delay = jitter.delay(n);
                assert!(delay >= 1 && delay <= (1000 << (n - 1)).min(300_000), "{n}: {delay}");
                ceilings[n as usize] = delay.max(ceilings[n as usize]);
            }
        }
        // 400 draws come near each ceiling.
        assert!(ceilings[1] > 900 && ceilings[4] > 7_000 && ceilings[13] > 280_000, "{ceilings:?}");
    }

    #[test]
    fn one_probe_then_all_again() {
        let mut s = fresh();
        let mut a = Attempts::default();
        assert_eq!(attempt(&mut s, 0, BUSY, &mut a), Verdict::Retry);
        let until = s.shut_until().unwrap();
        assert_eq!(s.room(until - 1, 4), 0);
        assert_eq!(s.room(until, 4), 1);
        let probe = s.start();
        assert_eq!(s.room(until, 4), 0, "a second probe");
        assert_eq!(s.settle(until, 4, probe, Reply::Delivered, &mut a), Verdict::Delivered);
        assert_eq!(s.room(until, 4), 4);
        assert_eq!(s.save("o"), Saved::default());
    }

    #[test]
    fn a_burst_of_failures_is_one_failure() {
        let mut s = fresh();
        let tickets: Vec<Ticket> = (0..4).map(|_| s.start()).collect();
        for ticket in tickets {
            s.settle(0, 4, ticket, Reply::Unreachable, &mut Attempts::default());
        }
        assert_eq!(s.save("o").failures, 1);
    }

    #[test]
    fn a_straggler_that_passes_does_not_open_the_gate() {
        let mut s = fresh();
        let (early, late) = (s.start(), s.start());
        let throttled = Reply::Throttled { status: 429, retry_after: Some(Duration::from_mins(1)) };
        s.settle(0, 4, late, throttled, &mut Attempts::default());
        s.settle(1, 4, early, Reply::Delivered, &mut Attempts::default());
        assert_eq!(s.shut_until(), Some(60_000));
    }

    #[test]
    fn retry_after_wins_over_a_shorter_delay_and_is_clamped() {
        let mut s = fresh();
        let for_ever = Reply::Throttled { status: 429, retry_after: Some(Duration::MAX) };
        attempt(&mut s, 5, for_ever, &mut Attempts::default());
        assert_eq!(s.shut_until(), Some(5 + 3_600_000));
    }

    #[test]
    fn a_poisonous_message_steps_aside_and_dies_while_others_pass() {
        for reply in [BUSY, Reply::Lost] {
            let mut s = fresh();
            let mut poison = Attempts::default();
            let mut now = 0;
            let mut rounds = 0;
            loop {
                rounds += 1;
                now = now.max(poison.not_before);
                if attempt(&mut s, now, reply, &mut poison) == Verdict::Dead {
                    break;
                }
                assert!(poison.not_before > now && poison.suspicion(4) > 0);
                let open = s.shut_until().is_none();
                assert_eq!(open, rounds > 1, "only its first failure shuts the gate");
                now = now.max(s.shut_until().unwrap_or(0));
                attempt(&mut s, now, Reply::Delivered, &mut Attempts::default());
            }
            assert_eq!((rounds, poison.made, poison.alone), (13, 13, MAX_ALONE));
            assert_eq!(s.room(now, 4), 4, "the endpoint stays open");
        }
    }

    #[test]
    fn a_known_poison_as_a_probe_does_not_lengthen_the_delay() {
        let mut s = fresh();
        let mut poison = Attempts::default();
        attempt(&mut s, 0, BUSY, &mut poison);
        let mut now = s.shut_until().unwrap();
        attempt(&mut s, now, Reply::Delivered, &mut Attempts::default());
        attempt(&mut s, now, Reply::Unreachable, &mut Attempts::default());
        now = s.shut_until().unwrap();
        attempt(&mut s, now, BUSY, &mut poison);
        assert_eq!((s.room(now, 4), s.save("f").failures), (1, 1), "another probe at once");
    }

    #[test]
    fn with_one_in_flight_the_head_has_three_tries() {
        let mut head = Attempts::default();
        let mut s = fresh();
        for tries in 1..=4 {
            let now = s.shut_until().unwrap_or(0);
            let ticket = s.start();
            s.settle(now, 1, ticket, BUSY, &mut head);
            assert_eq!(head.suspicion(1) > 0, tries >= 3);
            assert_eq!(head.not_before > now, tries >= 3);
        }
    }

    #[test]
    fn in_an_outage_nobody_dies() {
        let mut s = fresh();
        let mut one = Attempts::default();
        let mut now = 0;
        for _ in 0..200 {
            now = s.shut_until().unwrap_or(now).max(one.not_before);
            assert_eq!(attempt(&mut s, now, BUSY, &mut one), Verdict::Retry);
        }
        assert_eq!((one.made, one.alone), (200, 0));
    }

    #[test]
    fn another_status_starts_the_count_again() {
        let mut s = fresh();
        let mut a = Attempts::restored(5, 503, 11, 0);
        attempt(&mut s, 0, Reply::Failed { status: 500, retry_after: None }, &mut a);
        assert_eq!((a.fault, a.alone), (500, 0));
    }

    #[test]
    fn gone_stays_gone_until_enabled() {
        let mut s = fresh();
        let straggler = s.start();
        assert_eq!(attempt(&mut s, 0, Reply::Gone, &mut Attempts::default()), Verdict::Retry);
        s.settle(0, 4, straggler, BUSY, &mut Attempts::default());
        assert_eq!(s.room(u64::MAX, 4), 0);
        let mut again = Schedule::restore(&s.save("https://a"), 0, Jitter::seeded(1));
        assert!(again.is_gone());
        again.changed(0, false);
        assert!(again.is_gone());
        again.changed(0, true);
        assert_eq!(again.room(0, 4), 1, "a probe first");
    }

    #[test]
    fn a_restart_keeps_the_delay_but_not_an_absurd_one() {
        let mut s = fresh();
        attempt(&mut s, 1_000, BUSY, &mut Attempts::default());
        let saved = s.save("o");
        let again = Schedule::restore(&saved, 1_000, Jitter::seeded(1));
        assert_eq!(again.shut_until(), s.shut_until());
        let absurd = Saved { until: u64::MAX, ..saved };
        assert_eq!(Schedule::restore(&absurd, 0, Jitter::seeded(1)).shut_until(), Some(3_600_000));
    }

    #[test]
    fn retry_after_has_two_forms() {
        assert_eq!(retry_after(" 120 ", 0), Some(Duration::from_mins(2)));
        assert_eq!(retry_after("99999999999999999999999", 0), Some(Duration::from_secs(u64::MAX)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, 784_111_777 - 30), Some(Duration::from_secs(30)));
        assert_eq!(retry_after(date, 784_111_777 + 30), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(nonsense, 0), None, "{nonsense}");
        }
    }
}
