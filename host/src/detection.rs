//! What a detector reports, before it becomes an alert.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
