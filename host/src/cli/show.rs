//! Alerts and diagnostics for people. Everything that may come from an attacker goes through the terminal escape.

use serde_json::Value as Json;

use crate::alert::Alert;
use crate::detection::{Diagnostic, Gravity, Level};
use crate::reload::SourceFile;

use super::terminal::{Paint, Style, escape_str, escape_to};

/// Longest command line shown on an alert's line.
const COMMAND: usize = 160;

/// What one line says about an alert, of one that was just made or one that was kept.
struct Line<'a> {
    time: &'a str,
    severity: Option<Level>,
    title: &'a str,
    pid: Option<u64>,
    what: Option<&'a str>,
    user: Option<&'a str>,
    parent: Option<&'a str>,
    id: &'a str,
    /// Kept, and not delivered.
    shadow: bool,
}

/// An alert on one line: time, level, title, who, what.
pub fn alert_line(alert: &Alert, paint: Paint) -> String {
    let process = alert.process.as_ref();
    let line = Line {
        time: alert.last.get(11..19).unwrap_or(&alert.last),
        severity: Some(alert.severity),
        title: &alert.title,
        pid: process.map(|p| u64::from(p.pid)),
        what: process.and_then(|p| p.cmdline.as_deref().or(p.exe.as_deref())),
        user: alert.user.name.as_deref(),
        parent: process.and_then(|p| p.ancestors.first()?.exe.as_deref()),
        id: &alert.id,
        shadow: false,
    };
    line.text(paint)
}

/// The same of an alert as it was kept, with its day.
pub fn kept_line(alert: &Json, paint: Paint) -> String {
    let text = |path: &str| alert.pointer(path).and_then(Json::as_str);
    let last = text("/last").unwrap_or_default();
    let line = Line {
        time: last.get(..19).unwrap_or(last),
        severity: text("/severity").and_then(Level::parse),
        title: text("/title").unwrap_or_default(),
        pid: alert.pointer("/process/pid").and_then(Json::as_u64),
        what: text("/process/cmdline").or_else(|| text("/process/exe")),
        user: text("/user/name"),
        parent: text("/process/ancestors/0/exe"),
        id: text("/id").unwrap_or_default(),
        shadow: text("/activity") == Some("shadow"),
    };
    line.text(paint)
}

impl Line<'_> {
    fn text(&self, paint: Paint) -> String {
        let style = match self.severity {
            Some(Level::Critical | Level::High) => Style::Red,
            Some(Level::Medium) => Style::Yellow,
            _ => Style::Cyan,
        };
        let level = paint.paint(style, &format!("{:<13}", self.severity.map_or("", Level::name)));
        let mut line = format!("{} {level} {}", escape_str(self.time), escape_str(self.title));
        if let Some(pid) = self.pid {
            let what = self.what.unwrap_or("?");
            line.push_str(&format!(" | pid {pid} {}", escape_to(what.as_bytes(), COMMAND)));
            if let Some(user) = self.user {
                line.push_str(&format!(" | user {}", escape_str(user)));
            }
            if let Some(parent) = self.parent {
                line.push_str(&format!(" | by {}", escape_to(parent.as_bytes(), COMMAND)));
            }
        }
        line.push_str(&format!(" | {}", escape_str(self.id)));
        if self.shadow {
            line.push_str(" | shadow");
        }
        line
    }
}

/// A diagnostic with the line it is about and a caret under its place.
pub fn diagnostic(d: &Diagnostic, files: &[SourceFile], paint: Paint) -> String {
    let (word, style) = match d.gravity {
        Gravity::Error => ("error", Style::Red),
        Gravity::Warning => ("warning", Style::Yellow),
        Gravity::Hint => ("hint", Style::Cyan),
    };
    let mut out = format!("{}[{}]: {}\n", paint.paint(style, word), d.code, escape_str(&d.message));
    let place = match (d.line, d.column) {
        (0, _) => d.file.clone(),
        (line, 0) => format!("{}:{line}", d.file),
        (line, column) => format!("{}:{line}:{column}", d.file),
    };
    out.push_str(&format!("  --> {}\n", escape_str(&place)));
    let source = files.iter().find(|f| f.name == d.file).and_then(|f| std::str::from_utf8(&f.content).ok());
    if let Some(text) = source.filter(|_| d.line > 0).and_then(|t| t.lines().nth(d.line as usize - 1)) {
        let before: String = text.chars().take((d.column as usize).saturating_sub(1)).collect();
        let shown = escape_to(text.as_bytes(), COMMAND);
        out.push_str(&format!("{:>5} | {shown}\n", d.line));
        if d.column > 0 && before.len() < COMMAND {
            let pad = escape_str(&before).chars().count();
            let carets = "^".repeat((d.length.max(1) as usize).min(shown.chars().count().saturating_sub(pad).max(1)));
            out.push_str(&format!("      | {}{}\n", " ".repeat(pad), paint.paint(style, &carets)));
        }
    }
    if !d.help.is_empty() {
        out.push_str(&format!("      = help: {}\n", escape_str(&d.help)));
    }
    out
}
