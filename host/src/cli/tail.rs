//! `picket tail`: events and alerts of the running Picket as they pass, one line each.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value as Json;
use unicode_width::UnicodeWidthChar as _;

use crate::control;
use crate::viewers::{Form, Wish, kinds_called};

use super::args::{ExitCode, Format, Global, TailArgs};
use super::terminal::{Paint, Style, escape_str};

/// Longest part of a line, characters, where no terminal says how wide it is.
const PART: usize = 400;

pub fn run(args: &TailArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&[], Vec::new())?.config;
    super::log(global, &config);
    let json = args.format.format == Format::Json;
    let wish = wish(args, json);
    let (hello, stream) = match control::watch(&config.control_socket(), wish) {
        Ok(answer) => answer,
        Err(control::ControlError::Refused { why, .. }) => {
            eprintln!("error: {}", escape_str(&why));
            return Ok(ExitCode::BadSetup);
        }
        Err(e) => return Err(e.into()),
    };
    let collected: Vec<&str> = hello["collected"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    for kind in args.kinds.iter().flat_map(|k| kinds_called(k)).filter_map(crate::kind::KindId::spec) {
        if !collected.contains(&kind.name) && picket_ebpf::Kind::from_id(kind.record).is_some() && global.quiet == 0 {
            eprintln!("{} is not collected: no loaded rule or guest asks for it", kind.name);
        }
    }
    let paint = Paint(global.color.stdout());
    let mut out = std::io::stdout().lock();
    let mut left = args.count.unwrap_or(u64::MAX);
    for line in stream {
        let line = line?;
        let shown = match serde_json::from_slice::<Json>(&line) {
            Ok(value) if value["lost"].is_u64() => {
                eprintln!("{} older lines were lost: this end is too slow; narrow the filter", value["lost"]);
                continue;
            }
            // An event or alert as everything else of Picket reads it: a stream of events can be replayed.
            Ok(mut value) if json => ["event", "alert"].map(|key| value[key].take()).into_iter().find(|v| !v.is_null()),
            Ok(value) => Some(Json::String(human(&value, width(), paint))),
            Err(e) => {
                tracing::warn!(error = %e, "a line is not understood; is picket another version?");
                continue;
            }
        };
        let Some(shown) = shown else { continue };
        let text = match &shown {
            Json::String(line) if !json => line.clone(),
            value => crate::alert::escape_controls(value.to_string()),
        };
        // A reader that has seen enough ends it.
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::Ok);
        }
        left -= 1;
        if left == 0 {
            return Ok(ExitCode::Ok);
        }
    }
    eprintln!("picket has stopped");
    Ok(ExitCode::Ok)
}

fn wish(args: &TailArgs, json: bool) -> Wish {
    // What only events or only alerts have asks for these.
    let only_events = args.events || !args.kinds.is_empty();
    let only_alerts = args.alerts || args.level.is_some() || args.rule.is_some();
    let both = only_events == only_alerts;
    Wish {
        events: both || only_events,
        alerts: both || only_alerts,
        form: if json { Form::Json } else { Form::Line },
        kinds: args.kinds.clone(),
        pid: args.pid,
        level: args.level,
        rule: args.rule.clone(),
        words: args.words.clone(),
    }
}

/// Columns of the terminal, where there is one. Asked for each line: windows change.
fn width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    ratatui::crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns))
}

/// A part of a line, safe to show.
type Part = (Option<Style>, String);

fn human(value: &Json, width: Option<usize>, paint: Paint) -> String {
    let parts = if value["alert"].is_object() { alert(&value["alert"]) } else { event(&value["line"]) };
    fit(&parts, width.unwrap_or(usize::MAX), paint)
}

fn text(value: &Json) -> String {
    escape_str(value.as_str().unwrap_or("-"))
}

/// Hours to milliseconds of an RFC 3339 time.
fn clock(time: &Json) -> Part {
    let time = time.as_str().unwrap_or_default();
    let whole = time.get(11..19).unwrap_or("--:--:--");
    let fraction: String =
        time.get(20..).unwrap_or_default().chars().take_while(char::is_ascii_digit).take(3).collect();
    (Some(Style::Dim), format!("{whole}.{fraction:0<3}"))
}

fn who(container: &Json, user: &Json, pid: &Json, process: &Json) -> Vec<Part> {
    let mut parts = vec![
        (None, format!("{:<8}", text(user))),
        (Some(Style::Dim), format!("{:>7}", pid.as_u64().map_or_else(|| "-".to_owned(), |p| p.to_string()))),
    ];
    if container.is_string() {
        parts.push((Some(Style::Magenta), text(container)));
    }
    parts.push((Some(Style::Bold), text(process)));
    parts
}

fn event(line: &Json) -> Vec<Part> {
    let mut parts = vec![clock(&line["time"]), (Some(Style::Blue), format!("{:<8}", text(&line["short"])))];
    parts.extend(who(&line["container"], &line["user"], &line["pid"], &line["process"]));
    if line["ok"] == false {
        parts.push((Some(Style::Red), "failed".to_owned()));
    }
    if line["about"].as_str().is_some_and(|a| !a.is_empty()) {
        parts.push((None, text(&line["about"])));
    }
    parts
}

fn alert(alert: &Json) -> Vec<Part> {
    let (level, style) = match alert["severity"].as_str() {
        Some("critical") => ("CRITICAL", Style::Red),
        Some("high") => ("HIGH", Style::Red),
        Some("medium") => ("MEDIUM", Style::Yellow),
        Some("low") => ("LOW", Style::Cyan),
        _ => ("INFO", Style::Cyan),
    };
    let process = &alert["process"];
    let mut parts = vec![clock(&alert["last"]), (Some(style), format!("{level:<8}"))];
    let c = &alert["container"];
    let container = [&c["pod"], &c["name"], &c["id"]].into_iter().find(|v| v.is_string()).unwrap_or(&Json::Null);
    parts.extend(who(container, &alert["user"]["name"], &process["pid"], &process["exe"]));
    parts.push((Some(style), text(&alert["title"])));
    if process["cmdline"].is_string() {
        parts.push((None, format!("| {}", text(&process["cmdline"]))));
    }
    parts
}

/// Parts with spaces between them, cut to this many columns.
fn fit(parts: &[Part], width: usize, paint: Paint) -> String {
    let mut out = String::new();
    let mut room = width;
    for (i, (style, text)) in parts.iter().enumerate() {
        if i > 0 {
            if room < 2 {
                break;
            }
            out.push(' ');
            room -= 1;
        }
        let mut kept = String::new();
        let mut cut = false;
        let characters = text.chars().count();
        for (n, c) in text.chars().enumerate() {
            let wide = c.width().unwrap_or(0);
            // One column is left for the mark of what is cut.
            let last = n + 1 == characters && i + 1 == parts.len();
            if n >= PART && width == usize::MAX || wide + usize::from(!last) > room {
                cut = true;
                break;
            }
            kept.push(c);
            room -= wide;
        }
        if cut && room > 0 {
            kept.push('…');
            room = if width == usize::MAX { room } else { 0 };
        }
        match style {
            Some(style) => out.push_str(&paint.paint(*style, &kept)),
            None => out.push_str(&kept),
        }
        if cut && width != usize::MAX {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    fn exec(process: &str, about: &str) -> Json {
        json!({ "line": { "time": "2026-02-12T07:11:39.3227Z", "short": "exec", "user": "root", "pid": 41,
            "container": null, "process": process, "about": about, "ok": false } })
    }

    #[test]
    fn a_line_says_when_what_who_and_what_about() {
        let line = human(&exec("/usr/bin/curl", "-s http://x/"), None, Paint(false));
        assert_eq!(line, "07:11:39.322 exec     root          41 /usr/bin/curl failed -s http://x/");
        let alert = json!({ "alert": { "last": "2026-02-12T07:11:39Z", "severity": "high", "title": "Bad",
            "user": { "name": "www" }, "process": { "pid": 7, "exe": "/bin/sh", "cmdline": "sh -c x" } } });
        assert_eq!(human(&alert, None, Paint(false)), "07:11:39.000 HIGH     www            7 /bin/sh Bad | sh -c x");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_nor_obeyed_by_it() {
        for about in ["\x1b[2J\u{202e}\u{9b}31m evil\n", "日本語日本語日本語日本語日本語", &"a".repeat(5000), ""]
        {
            for width in [1, 20, 39, 40, 41, 80, 200] {
                let line = human(&exec("/usr/bin/日本語", about), Some(width), Paint(false));
                assert!(line.width() <= width, "{width}: {line}");
                assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
            }
        }
        let long = human(&exec("/x", &"a".repeat(5000)), None, Paint(false));
        assert!(long.ends_with('…') && long.len() < 500, "{}", long.len());
    }

    #[test]
    fn colour_is_on_parts_only() {
        let line = human(&exec("/x", "y"), Some(30), Paint(true));
        assert_eq!(line.matches("\x1b[0m").count() * 2, line.matches('\x1b').count(), "{line:?}");
    }
}
