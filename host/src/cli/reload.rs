//! `picket reload`: asks the running Picket to load changed files now.

use crate::control::{self, Request};

use super::args::{ExitCode, Format, Global, ReloadArgs};
use super::print;
use super::terminal::escape_str;

pub fn run(args: &ReloadArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&[], Vec::new())?.config;
    let report = control::ask(&config.control_socket(), &Request::Reload { force: args.force, wait: args.wait })?;
    let outcome = report["outcome"].as_str().unwrap_or_default();
    match args.format.format {
        Format::Json => print(format!("{report}\n").as_bytes())?,
        Format::Human => {
            let mut text = match outcome {
                "live" => format!("generation {} is live: {} rules\n", report["generation"], report["rules"]),
                "unchanged" => format!("nothing changed; generation {} is live\n", report["generation"]),
                "asked" => "asked; `picket status` shows what came of it\n".to_owned(),
                _ => format!(
                    "refused: {}\ngeneration {} is still live\n",
                    escape_str(report["why"].as_str().unwrap_or_default()),
                    report["generation"]
                ),
            };
            for stale in report["stale"].as_array().into_iter().flatten() {
                let part = |key: &str| escape_str(stale[key].as_str().unwrap_or_default());
                let live =
                    if stale["live"].is_null() { "nothing of it is live" } else { "its last good version is live" };
                text.push_str(&format!("{}: {} ({live})\n", part("file"), part("why")));
            }
            print(text.as_bytes())?
        }
    };
    let stale = report["stale"].as_array().is_some_and(|s| !s.is_empty());
    Ok(if outcome == "refused" || stale { ExitCode::BadSetup } else { ExitCode::Ok })
}
