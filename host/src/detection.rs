//! What a detector reports, before it becomes an alert.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guest::Guest;
use crate::slab::Slab;

/// Sigma's levels, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Level {
    pub const ALL: [Level; 5] = [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];

    pub fn name(self) -> &'static str {
        match self {
            Level::Informational => "informational",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }

    pub fn parse(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|l| l.name() == name)
    }
}

/// One thing a guest can detect: for Sigma, one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Analytic {
    pub id: String,
    pub title: String,
    pub level: Level,
    /// `false`: for other detectors only, never an alert.
    pub deliver: bool,
    pub file: String,
    pub line: u32,
    /// Author, references, tags, status and so on, as the guest gave them.
    pub metadata: serde_json::Value,
    /// Digest of the rule's file, hex.
    pub digest: String,
}

impl Analytic {
    /// What makes it the same rule from one version to the next: its id, or its title where it has none.
    pub fn key(&self) -> &str {
        if self.id.is_empty() { &self.title } else { &self.id }
    }
}

/// Why a rule matched: one per item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub selection: String,
    pub field: String,
    pub pattern: String,
    pub value: Vec<u8>,
}

/// One match.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    pub analytic: Arc<Analytic>,
    /// Row of the slab; none when a window closed.
    pub row: Option<u32>,
    pub level: Option<Level>,
    /// Group values: part of the alert id.
    pub key: String,
    pub evidence: Vec<Evidence>,
    pub fields: Vec<(String, String)>,
    /// Numbers of the `@detection` rows it was made from, oldest first.
    pub related: Vec<u64>,
}

/// The detections of one slab as rows of `@detection`; without rows it only says how far event time has come.
pub struct Detected {
    pub slab: Arc<Slab>,
    pub rows: Vec<DetectedRow>,
    /// No later call brings an event older than this (unix ns); `u64::MAX` at the end of the input.
    pub watermark: u64,
}

/// One row of `@detection`.
pub struct DetectedRow {
    /// Place among all of them; goes on over restarts.
    pub seq: u64,
    /// Time of the event, unix nanoseconds.
    pub time: u64,
    /// The event, if the detection is about one.
    pub row: Option<u32>,
    /// Id of the alert that the detection is, or would be.
    pub id: Arc<str>,
    pub guest: Arc<Guest>,
    pub analytic: Arc<Analytic>,
    pub level: Level,
}

/// How bad a finding about a rule, a config or a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    Hint,
    Warning,
    Error,
}

/// A finding about an input file, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub gravity: Gravity,
    /// Stable, kebab-case.
    pub code: String,
    pub message: String,
    /// What to do.
    pub help: String,
    pub file: String,
    /// From 1; 0 = the whole file.
    pub line: u32,
    pub column: u32,
    pub length: u32,
}
