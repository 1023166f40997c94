//! `picket rules new`: begins a rule and its tests.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::alert;
use crate::draft::{self, Stamp, TEMPLATES};

use super::args::{ExitCode, Format, Global, RulesNewArgs};
use super::terminal::escape_str;
use super::{load, print};

pub fn run(args: &RulesNewArgs, global: &Global) -> anyhow::Result<ExitCode> {
    if args.list {
        return list(args.format.format);
    }
    let stamp = Stamp::new()?;
    let draft = if let Some(template) = &args.template {
        draft::from_template(template, &stamp)?
    } else {
        let from = args.from.as_deref().context("--template or --from says what to begin with")?;
        let config = global.effective(&args.sets.sets, Vec::new())?.config;
        let Some(given) = load::alert(from, &config)? else {
            eprintln!("error: `{}` is neither a file nor an alert that is kept", escape_str(from));
            return Ok(ExitCode::BadInput);
        };
        let begun = alert::event_in(&given.alert.to_string()).map(|event| draft::from_event(&event, &stamp));
        match begun {
            Some(Ok(draft)) => draft,
            Some(Err(e)) => {
                eprintln!("error: {}", escape_str(&crate::text::chain(&e)));
                return Ok(ExitCode::BadInput);
            }
            None => {
                eprintln!("error: {} holds no event: one JSON object, or an alert with its event", escape_str(from));
                return Ok(ExitCode::BadInput);
            }
        }
    };
    let directory = match &args.out {
        Some(directory) => directory.clone(),
        None => first_directory(args, global)?,
    };
    let [rule, test] = draft::write(&directory, args.name.as_deref().unwrap_or(&draft.name), &draft)?;
    let (rule, test) = (rule.display().to_string(), test.display().to_string());
    eprintln!("try: picket test {}", escape_str(&rule));
    let schema = directory.join("rule.schema.json");
    if !schema.exists() {
        let directory = escape_str(&directory.display().to_string());
        eprintln!(
            "for completion in an editor: picket schema rule > {directory}/rule.schema.json, and the same for test"
        );
    }
    match args.format.format {
        Format::Json => print(format!("{}\n", serde_json::json!({ "rule": rule, "test": test })).as_bytes()),
        Format::Human => print(format!("{}\n{}\n", escape_str(&rule), escape_str(&test)).as_bytes()),
    }
}

/// The first directory of rules in the config; of a file its directory.
fn first_directory(args: &RulesNewArgs, global: &Global) -> anyhow::Result<PathBuf> {
    let config = global.effective(&args.sets.sets, Vec::new())?.config;
    let first = config.rules.first().context("the config names no directory of rules: give one by --out")?;
    let is_file = first.extension().is_some_and(|e| e == "yml" || e == "yaml");
    Ok(if is_file { first.parent().unwrap_or(first).to_path_buf() } else { first.clone() })
}

fn list(format: Format) -> anyhow::Result<ExitCode> {
    let mut out = String::new();
    for template in TEMPLATES {
        match format {
            Format::Json => out
                .push_str(&format!("{}\n", serde_json::json!({ "template": template.name, "about": template.about }))),
            Format::Human => out.push_str(&format!("{:<18} {}\n", template.name, template.about)),
        }
    }
    print(out.as_bytes())
}
