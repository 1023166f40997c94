//! `picket schema WHAT`.

use super::args::{ExitCode, Global, Schema, SchemaArgs};

/// Prints a JSON Schema. The alert's is made beside the alert; the caller passes the function, so that this file needs no
/// more of that room than a value.
pub fn run(args: &SchemaArgs, _: &Global, alert: fn() -> serde_json::Value) -> anyhow::Result<ExitCode> {
    let schema = match args.what {
        Schema::Alert => alert(),
        Schema::Config => crate::config::schema(),
        Schema::Rule => crate::rule_schema::schema(),
        Schema::Test => crate::ruletest::schema(),
    };
    let mut text = serde_json::to_vec_pretty(&schema)?;
    text.push(b'\n');
    super::print(&text)
}
