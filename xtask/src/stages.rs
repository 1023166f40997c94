//! Named steps with their times, and the summary of them.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How a step that did not fail ended.
pub enum Outcome {
    Done,
    /// Not done, for this reason; not a failure.
    Skipped(String),
}

enum End {
    Done,
    Skipped(String),
    Failed,
}

/// The steps so far.
#[derive(Default)]
pub struct Stages(Vec<(String, End, Duration)>);

impl Stages {
    pub fn new() -> Self {
        Self::default()
    }

    /// Does one step and prints one line about it. The error of a failed step names it.
    pub fn stage(&mut self, name: &str, step: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        let start = Instant::now();
        let result = step();
        let time = start.elapsed();
        let (end, result) = match result {
            Ok(Outcome::Done) => (End::Done, Ok(())),
            Ok(Outcome::Skipped(reason)) => (End::Skipped(reason), Ok(())),
            Err(error) => (End::Failed, Err(error).with_context(|| name.to_owned())),
        };
        eprintln!("{}", line(name, &end, time));
        self.0.push((name.to_owned(), end, time));
        result
    }

    /// One line per step and one for the whole.
    pub fn summary(&self) -> String {
        let mut text = String::from("stages\n");
        for (name, end, time) in &self.0 {
            let _ = writeln!(text, "  {}", line(name, end, *time));
        }
        let total: Duration = self.0.iter().map(|(_, _, time)| *time).sum();
        let failed = self.0.iter().any(|(_, end, _)| matches!(end, End::Failed));
        let _ = write!(text, "total {:.1} s: {}", total.as_secs_f64(), if failed { "FAILED" } else { "ok" });
        text
    }
}

fn line(name: &str, end: &End, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match end {
        End::Done => format!("{name}: done ({seconds:.1} s)"),
        End::Skipped(reason) => format!("{name}: skipped: {reason}"),
        End::Failed => format!("{name}: FAILED ({seconds:.1} s)"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_skip_is_no_failure_and_keeps_its_reason() {
        let mut stages = Stages::new();
        stages.stage("one", || Ok(Outcome::Done)).expect("done");
        stages.stage("two", || Ok(Outcome::Skipped("no such tool".to_owned()))).expect("skipped");
        let summary = stages.summary();
        assert!(summary.contains("  two: skipped: no such tool\n") && summary.ends_with("ok"), "{summary}");
    }

    #[test]
    fn a_failure_is_named_in_the_error_and_in_the_summary() {
        let mut stages = Stages::new();
        let error = stages.stage("three", || Err(anyhow!("the reason"))).expect_err("failed");
        assert_eq!(format!("{error:#}"), "three: the reason");
        assert!(stages.summary().contains("three: FAILED") && stages.summary().ends_with("FAILED"));
    }
}
