//! Alerts and diagnostics for people. Everything that may come from an attacker goes through the terminal escape.

use crate::alert::Alert;
use crate::detection::{Diagnostic, Gravity, Level};
use crate::reload::SourceFile;

use super::terminal::{Paint, Style, escape_str, escape_to};

/// Longest command line shown on an alert's line.
const COMMAND: usize = 160;

/// An alert on one line: time, level, title, who, what.
pub fn alert_line(alert: &Alert, paint: Paint) -> String {
    let time = alert.last.get(11..19).unwrap_or(&alert.last);
    let style = match alert.severity {
        Level::Critical | Level::High => Style::Red,
        Level::Medium => Style::Yellow,
        _ => Style::Cyan,
    };
    let level = paint.paint(style, &format!("{:<13}", alert.severity.name()));
    let mut line = format!("{time} {level} {}", escape_str(&alert.title));
    if let Some(p) = &alert.process {
        let what = p.cmdline.as_deref().or(p.exe.as_deref()).unwrap_or("?");
        let parent = p.ancestors.first().and_then(|a| a.exe.as_deref());
        line.push_str(&format!(" | pid {} {}", p.pid, escape_to(what.as_bytes(), COMMAND)));
        if let Some(user) = &alert.user.name {
            line.push_str(&format!(" | user {}", escape_str(user)));
        }
        if let Some(parent) = parent {
            line.push_str(&format!(" | by {}", escape_to(parent.as_bytes(), COMMAND)));
        }
    }
    line.push_str(&format!(" | {}", alert.id));
    line
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
