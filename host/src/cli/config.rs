//! `picket config show|check`.

use std::fmt::Write;

use serde_json::json;

use super::args::{ConfigArgs, ConfigCommand, ConfigViewArgs, ExitCode, Format, Global};
use super::terminal::{Paint, Style, escape_lines, escape_str, unsafe_to_show};
use crate::config::{ConfigError, Effective, Setting};
use crate::deliver::Deliver;

/// Only to check with: nothing is sent.
const USER_AGENT: &str = "picket";

/// Shows or checks the config.
pub fn run(args: &ConfigArgs, global: &Global) -> anyhow::Result<ExitCode> {
    match &args.command {
        ConfigCommand::Show(view) => show(view, global),
        ConfigCommand::Check(view) => check(view, global),
    }
}

fn show(args: &ConfigViewArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let effective = match global.effective(&args.sets.sets, Vec::new()) {
        Ok(effective) => effective,
        Err(error) => return report(&error, args.format.format),
    };
    let text = match args.format.format {
        Format::Human => as_toml(&effective.settings, Paint(global.color.stdout())),
        Format::Json => as_json(&effective),
    };
    super::print(text.as_bytes())
}

fn check(args: &ConfigViewArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let effective = match global.effective(&args.sets.sets, Vec::new()) {
        Ok(effective) => effective,
        Err(error) => return report(&error, args.format.format),
    };
    // What a schema cannot know: an address that leads nowhere, a secret that cannot be read.
    if let Err(error) = Deliver::check(&effective.config.endpoint, USER_AGENT) {
        let text = with_causes(&error);
        return match args.format.format {
            Format::Human => Ok(complain(&text)),
            Format::Json => report_json(&json!([{ "gravity": "error", "code": "endpoint", "message": text }])),
        };
    }
    let file = effective.file.as_ref().map(|f| f.display().to_string());
    let text = match (args.format.format, &file) {
        (Format::Human, Some(file)) => format!("{}: ok\n", escape_str(file)),
        (Format::Human, None) => "no config file, only defaults: ok\n".to_owned(),
        (Format::Json, _) => format!("{}\n", json!({ "file": file, "ok": true, "diagnostics": [] })),
    };
    super::print(text.as_bytes())
}

/// Says what is wrong with a config.
fn report(error: &ConfigError, format: Format) -> anyhow::Result<ExitCode> {
    match format {
        Format::Human => Ok(complain(&with_causes(error))),
        Format::Json => report_json(&json!(error.diagnostics())),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn complain(text: &str) -> ExitCode {
    eprintln!("{}", escape_lines(text));
    ExitCode::BadSetup
}

fn report_json(diagnostics: &serde_json::Value) -> anyhow::Result<ExitCode> {
    super::print(format!("{}\n", json!({ "ok": false, "diagnostics": diagnostics })).as_bytes())?;
    Ok(ExitCode::BadSetup)
}

/// Comments start here, where the line is not longer.
const COMMENT_COLUMN: usize = 44;

/// TOML that reads back to the same config (secrets aside), each line with its origin.
fn as_toml(settings: &[Setting], paint: Paint) -> String {
    let mut out = String::new();
    let mut section = "";
    for setting in settings {
        if setting.section != section {
            section = &setting.section;
            let _ = writeln!(out, "\n{}", paint.paint(Style::Bold, &format!("[{section}]")));
        }
        let key = key_text(&setting.key);
        let line = match &setting.value {
            Some(value) => format!("{key} = {}", value_text(value)),
            None => format!("# {key} is not set"),
        };
        let pad = " ".repeat(COMMENT_COLUMN.saturating_sub(line.chars().count()).max(2));
        let origin = paint.paint(Style::Dim, &format!("# {}", escape_str(&setting.origin.to_string())));
        let _ = writeln!(out, "{line}{pad}{origin}");
    }
    out
}

fn key_text(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { key.to_owned() } else { quoted(key) }
}

/// A value as TOML that is safe on a terminal. (The TOML writer leaves characters that turn the writing direction.)
fn value_text(value: &toml::Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        toml::Value::String(text) => quoted(text),
        toml::Value::Array(items) => format!("[{}]", list(items.iter().map(value_text).collect())),
        toml::Value::Table(table) if table.is_empty() => "{}".to_owned(),
        toml::Value::Table(table) => {
            let members = table.iter().map(|(k, v)| format!("{} = {}", key_text(k), value_text(v)));
            format!("{{ {} }}", list(members.collect()))
        }
        scalar => scalar.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if unsafe_to_show(c) => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn as_json(effective: &Effective) -> String {
    let setting =
        |s: &Setting| json!({ "section": s.section, "key": s.key, "value": s.value, "origin": s.origin.to_string() });
    let settings: Vec<_> = effective.settings.iter().map(setting).collect();
    format!("{}\n", json!({ "file": effective.file, "settings": settings }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Overrides, parse};

    const TEXT: &str = r#"
        rules = ["/r"]
        guests = ["/g \" \\n ü \u202E \u001b"]
        [dispatch]
        interval = "7ms"
        [guest.sigma]
        memory = "64MiB"
        [guest.sigma.config]
        depth = 3
        list = [1, "two", { three = 3.5 }]
        [guest.sigma.config.deep."odd key"]
        yes = true
    "#;

    #[test]
    fn what_is_shown_reads_back_to_the_same_config() {
        let once = parse(Some((Path::new("/x/picket.toml"), TEXT)), &Overrides::default()).unwrap();
        let shown = as_toml(&once.settings, Paint(false));
        let again = parse(Some((Path::new("/elsewhere/picket.toml"), &shown)), &Overrides::default())
            .unwrap_or_else(|e| panic!("{e}\n{shown}"));
        assert_eq!(again.config, once.config, "{shown}");
        assert!(shown.contains("interval = \"7ms\""), "{shown}");
        assert!(shown.contains("# /x/picket.toml:5:"), "{shown}");
        assert!(shown.contains("# default"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = r#"
            [endpoint.soar]
            url = "https://user:hunter2@soar.example/hook/s3cr3t?token=t0k3n"
            headers = { Authorization = "Bearer abc123" }
        "#;
        let effective = parse(Some((Path::new("/x/picket.toml"), text)), &Overrides::default()).unwrap();
        for shown in [as_toml(&effective.settings, Paint(false)), as_json(&effective)] {
            assert!(shown.contains("https://soar.example/[REDACTED]"), "{shown}");
            for secret in ["hunter2", "s3cr3t", "t0k3n", "abc123"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
        }
    }
}
