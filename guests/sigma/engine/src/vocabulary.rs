//! The words that rules are written with, for who describes them: see the schema of the Sigma guest.

use crate::{correlation, filter, modifier, rule};

/// Every word that has a meaning, from the tables that rules are read by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Attributes of rules and correlations.
    pub attributes: Vec<&'static str>,
    /// Attributes of filters.
    pub filter_attributes: Vec<&'static str>,
    /// Words of `level`, the least first.
    pub levels: Vec<&'static str>,
    /// Words of `status`.
    pub statuses: Vec<&'static str>,
    /// Words of `type` in `related`.
    pub relations: Vec<&'static str>,
    /// What may stand behind a field's name.
    pub modifiers: Vec<&'static str>,
    /// Words of `type` in `correlation`.
    pub correlations: Vec<&'static str>,
    /// Keys of `correlation`.
    pub correlation_keys: Vec<&'static str>,
    /// Attributes of our own that correlations have.
    pub policies: Vec<&'static str>,
    /// Comparisons of a correlation's `condition`.
    pub operators: Vec<&'static str>,
}

/// The vocabulary of this engine.
pub fn vocabulary() -> Vocabulary {
    Vocabulary {
        attributes: rule::ATTRIBUTES.to_vec(),
        filter_attributes: filter::ATTRIBUTES.to_vec(),
        levels: rule::LEVELS.iter().map(|(name, _)| *name).collect(),
        statuses: rule::STATUSES.to_vec(),
        relations: rule::RELATIONS.to_vec(),
        modifiers: modifier::NAMES.iter().map(|(name, _)| *name).collect(),
        correlations: correlation::KINDS.iter().map(|(name, _)| *name).collect(),
        correlation_keys: correlation::KEYS.to_vec(),
        policies: correlation::POLICY.iter().copied().filter(|name| *name != "correlation").collect(),
        operators: correlation::OPERATORS.iter().map(|(name, _)| *name).collect(),
    }
}
