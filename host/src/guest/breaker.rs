//! When a guest rests: traps cost tokens, time and handled rows give them back, and without tokens the guest is down for a while.
//!
//! The clock is event time, so that replay equals live. Where event time stands still (JSON without timestamps) rows stand in for it.

/// Traps in a row that are recovered from before the guest rests.
const TOKENS: u32 = 32;
/// Handled rows, or seconds of event time, that give one token back.
const ROWS_PER_TOKEN: u64 = 256;
const NS: u64 = 1_000_000_000;
/// The longest rest.
const LONGEST_S: u64 = 300;
/// A rest is over after this many rows were set aside, whatever the clock says; doubled with each rest.
const REST_ROWS: u64 = 4_096;
/// Tokens after a rest: enough for the spare to try one slab.
const TRIAL: u32 = 2;

/// Tokens a trap costs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cost {
    /// A fresh instance.
    Trap = 1,
    /// A fresh instance, and all the time a call may take.
    Deadline = 8,
}

#[derive(Debug)]
pub(super) struct Breaker {
    tokens: u32,
    /// Event time up to which tokens were given back.
    refilled: u64,
    rows: u64,
    rest: Option<Rest>,
    /// Rests since the tokens were last full.
    rests: u32,
}

#[derive(Debug)]
struct Rest {
    until: u64,
    rows: u64,
}

impl Breaker {
    pub fn new() -> Breaker {
        Breaker { tokens: TOKENS, refilled: 0, rows: 0, rest: None, rests: 0 }
    }

    /// Whether `rows` rows at event time `now` have to be set aside.
    pub fn rests(&mut self, now: u64, rows: u64) -> bool {
        let Some(rest) = &mut self.rest else {
            self.refill(now);
            return false;
        };
        if now >= rest.until || rest.rows == 0 {
            self.rest = None;
            self.tokens = TRIAL;
            self.refilled = now;
            return false;
        }
        rest.rows = rest.rows.saturating_sub(rows);
        true
    }

    /// Rows that were handled.
    pub fn handled(&mut self, rows: u64) {
        self.rows += rows;
        self.give((self.rows / ROWS_PER_TOKEN) as u32);
        self.rows %= ROWS_PER_TOKEN;
    }

    /// One trap at event time `now`. `false`: the guest rests from now on.
    pub fn trapped(&mut self, now: u64, cost: Cost) -> bool {
        self.tokens = self.tokens.saturating_sub(cost as u32);
        if self.tokens > 0 {
            return true;
        }
        let seconds = (1 << self.rests.min(16)).min(LONGEST_S);
        self.rest = Some(Rest { until: now.saturating_add(seconds * NS), rows: REST_ROWS << self.rests.min(8) });
        self.rests += 1;
        false
    }

    fn refill(&mut self, now: u64) {
        let seconds = now.saturating_sub(self.refilled) / NS;
        if seconds > 0 {
            self.refilled = now;
            self.give(u32::try_from(seconds).unwrap_or(u32::MAX));
        }
    }

    fn give(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(TOKENS);
        if self.tokens == TOKENS {
            self.rests = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap_until_rest(breaker: &mut Breaker, now: u64) -> u32 {
        let mut traps = 1;
        while breaker.trapped(now, Cost::Trap) {
            traps += 1;
        }
        traps
    }

    #[test]
    fn rests_double_up_to_five_minutes() {
        let mut breaker = Breaker::new();
        let mut now = 1_000 * NS;
        assert!(!breaker.rests(now, 1));
        assert_eq!(trap_until_rest(&mut breaker, now), TOKENS);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert!(breaker.rests(now + seconds * NS - 1, 1), "{seconds} s are not over");
            now += seconds * NS;
            assert!(!breaker.rests(now, 1), "{seconds} s are over");
            assert_eq!(trap_until_rest(&mut breaker, now), TRIAL);
        }
    }

    #[test]
    fn without_a_clock_rows_end_a_rest() {
        let mut breaker = Breaker::new();
        trap_until_rest(&mut breaker, 0);
        assert!(breaker.rests(0, REST_ROWS - 1));
        assert!(breaker.rests(0, 1));
        assert!(!breaker.rests(0, 1));
    }

    #[test]
    fn rare_traps_never_make_a_guest_rest() {
        let mut breaker = Breaker::new();
        for _ in 0..10_000 {
            assert!(!breaker.rests(0, 1_000));
            // A poison row costs two traps: in the batch, and alone.
            assert!(breaker.trapped(0, Cost::Trap));
            assert!(breaker.trapped(0, Cost::Trap));
            breaker.handled(999);
        }
    }

    #[test]
    fn quiet_time_ends_the_doubling() {
        let mut breaker = Breaker::new();
        trap_until_rest(&mut breaker, 0);
        assert!(!breaker.rests(NS, 1));
        assert!(!breaker.rests(100 * NS, 1));
        assert_eq!(breaker.rests, 0);
        assert_eq!(trap_until_rest(&mut breaker, 100 * NS), TOKENS);
        assert!(!breaker.rests(101 * NS, 1), "the first rest again");
    }

    #[test]
    fn deadlines_cost_more() {
        let mut breaker = Breaker::new();
        let mut spins = 1;
        while breaker.trapped(0, Cost::Deadline) {
            spins += 1;
        }
        assert_eq!(spins, 4);
    }
}
