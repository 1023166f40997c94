//! What a detector reported, checked: a guest may be wrong or lie.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::bindings::types;
use super::context::printable;
use super::instance::Handled;
use super::limits::Limits;
use crate::detection::{Analytic, Detection, Evidence, Level};
use crate::text::hex;

/// Messages of failures kept per slab; the rest is only counted.
pub(super) const MAX_MESSAGES: usize = 16;
/// Detections that one is made from; more are left out.
const MAX_RELATED: usize = 256;
/// Bytes of one such message.
const MAX_MESSAGE: usize = 512;

/// Adds the answer to one turn to `handled`. `rows`: slab rows per batch.
pub(super) fn accept(
    analytics: &[Arc<Analytic>],
    limits: &Limits,
    rows: &[Vec<u32>],
    outcome: types::Outcome,
    handled: &mut Handled,
) {
    let slab_row = |r: types::RowRef| rows.get(r.batch as usize).and_then(|rows| rows.get(r.row as usize)).copied();
    for detection in outcome.detections {
        if handled.detections.len() >= limits.detections {
            refuse(handled, &format!("more than {} detections in one slab", limits.detections));
            continue;
        }
        let Some(analytic) = analytics.get(detection.analytic as usize) else {
            refuse(handled, &format!("analytic {} of {}", detection.analytic, analytics.len()));
            continue;
        };
        let row = match detection.row {
            None => None,
            Some(reference) => {
                let row = slab_row(reference);
                if row.is_none() {
                    refuse(handled, &format!("row {} of batch {}", reference.row, reference.batch));
                    continue;
                }
                row
            }
        };
        let cut = Cut { limit: limits.string_bytes };
        let evidence = detection.evidence.into_iter().take(limits.items).map(|e| Evidence {
            selection: cut.text(e.selection),
            field: cut.text(e.field),
            pattern: cut.text(e.pattern),
            value: cut.bytes(e.value),
        });
        let fields = detection.fields.into_iter().take(limits.items).map(|(k, v)| (cut.text(k), cut.text(v)));
        let detection = Detection {
            analytic: analytic.clone(),
            row,
            level: detection.level.map(level),
            key: cut.key(detection.key),
            evidence: evidence.collect(),
            fields: fields.collect(),
            related: detection.related.into_iter().take(MAX_RELATED).collect(),
        };
        let bytes = handled.bytes + size(&detection);
        if bytes > limits.output_bytes {
            refuse(handled, &format!("more than {} bytes of detections in one slab", limits.output_bytes));
            continue;
        }
        handled.bytes = bytes;
        handled.detections.push(detection);
    }
    for failure in outcome.failures {
        handled.failures += 1;
        if handled.messages.len() < MAX_MESSAGES {
            handled.messages.push((slab_row(failure.row), printable(&failure.message, MAX_MESSAGE)));
        }
    }
}

/// Bytes a detection holds, about.
fn size(detection: &Detection) -> usize {
    let evidence =
        detection.evidence.iter().map(|e| e.selection.len() + e.field.len() + e.pattern.len() + e.value.len());
    let fields = detection.fields.iter().map(|(name, value)| name.len() + value.len());
    size_of::<Detection>()
        + size_of_val(detection.related.as_slice())
        + detection.key.len()
        + evidence.sum::<usize>()
        + fields.sum::<usize>()
}

fn refuse(handled: &mut Handled, what: &str) {
    handled.refused += 1;
    if handled.messages.len() < MAX_MESSAGES {
        handled.messages.push((None, format!("refused a detection: {what}")));
    }
}

pub(super) fn level(level: types::Level) -> Level {
    match level {
        types::Level::Informational => Level::Informational,
        types::Level::Low => Level::Low,
        types::Level::Medium => Level::Medium,
        types::Level::High => Level::High,
        types::Level::Critical => Level::Critical,
    }
}

/// Long strings are cut, never a reason to refuse: or padding a command line would be a way past every rule.
struct Cut {
    limit: usize,
}

impl Cut {
    fn text(&self, mut text: String) -> String {
        if text.len() > self.limit {
            text.truncate(text.floor_char_boundary(self.limit));
        }
        text
    }

    fn bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(self.limit);
        bytes
    }

    /// A key is part of the alert's identity: two long ones that differ at the end stay different.
    fn key(&self, key: String) -> String {
        if key.len() <= self.limit {
            return key;
        }
        let digest = hex(&Sha256::digest(key.as_bytes())[..8]);
        let mut cut = self.text(key);
        cut.push('#');
        cut.push_str(&digest);
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analytic() -> Arc<Analytic> {
        Arc::new(Analytic {
            id: "a".to_owned(),
            title: String::new(),
            level: Level::Low,
            deliver: true,
            file: String::new(),
            line: 0,
            metadata: serde_json::Value::Null,
            digest: String::new(),
        })
    }

    fn detection(analytic: u32, row: Option<(u32, u32)>) -> types::Detection {
        types::Detection {
            analytic,
            row: row.map(|(batch, row)| types::RowRef { batch, row }),
            level: None,
            key: String::new(),
            evidence: Vec::new(),
            fields: Vec::new(),
            related: Vec::new(),
        }
    }

    fn accepted(limits: &Limits, detections: Vec<types::Detection>) -> Handled {
        let mut handled = Handled::default();
        let outcome = types::Outcome { detections, failures: Vec::new() };
        accept(&[analytic()], limits, &[vec![4, 9]], outcome, &mut handled);
        handled
    }

    #[test]
    fn rows_become_rows_of_the_slab() {
        let handled = accepted(&Limits::default(), vec![detection(0, Some((0, 1))), detection(0, None)]);
        assert_eq!(handled.detections.iter().map(|d| d.row).collect::<Vec<_>>(), [Some(9), None]);
        assert_eq!(handled.refused, 0);
    }

    #[test]
    fn what_cannot_be_is_refused_and_counted() {
        let lies = vec![detection(1, None), detection(0, Some((0, 2))), detection(0, Some((1, 0)))];
        let handled = accepted(&Limits::default(), lies);
        assert_eq!((handled.detections.len(), handled.refused), (0, 3));
        assert_eq!(handled.messages[0].1, "refused a detection: analytic 1 of 1");
        let flood = (0..20).map(|_| detection(0, None)).collect();
        let handled = accepted(&Limits { detections: 3, ..Limits::default() }, flood);
        assert_eq!((handled.detections.len(), handled.refused, handled.messages.len()), (3, 17, MAX_MESSAGES));
    }

    #[test]
    fn one_slab_has_one_bound_however_many_calls_it_took() {
        let limits = Limits { output_bytes: 10_000, ..Limits::default() };
        let mut handled = Handled::default();
        for _ in 0..100 {
            let heavy = types::Detection { key: "k".repeat(1_000), ..detection(0, None) };
            let outcome = types::Outcome { detections: vec![heavy], failures: Vec::new() };
            accept(&[analytic()], &limits, &[vec![0]], outcome, &mut handled);
        }
        assert!((5..10).contains(&handled.detections.len()), "{}", handled.detections.len());
        assert_eq!(handled.detections.len() + handled.refused as usize, 100);
    }

    #[test]
    fn long_strings_are_cut_and_keys_stay_apart() {
        let limits = Limits { string_bytes: 5, items: 2, ..Limits::default() };
        let with_key = |key: &str| types::Detection {
            key: key.to_owned(),
            fields: vec![("ééé".to_owned(), "x".repeat(9)); 3],
            ..detection(0, None)
        };
        let handled = accepted(&limits, vec![with_key("abcdefg1"), with_key("abcdefg2"), with_key("abc")]);
        let keys: Vec<&str> = handled.detections.iter().map(|d| d.key.as_str()).collect();
        assert!(keys[0].starts_with("abcde#") && keys[1].starts_with("abcde#") && keys[0] != keys[1], "{keys:?}");
        assert_eq!(keys[2], "abc");
        assert_eq!(handled.detections[0].fields, vec![("éé".to_owned(), "xxxxx".to_owned()); 2]);
    }
}
