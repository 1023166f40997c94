//! How far a long command has come: on stderr, only on a terminal, and not for who asked for quiet.

use std::io::{IsTerminal as _, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::Global;

fn wanted(global: &Global) -> bool {
    // What is printed for people would be torn by it.
    global.quiet == 0 && std::io::stderr().is_terminal() && !std::io::stdout().is_terminal()
}

fn bar(total: u64, template: &str, global: &Global) -> ProgressBar {
    if !wanted(global) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

/// Reads a regular file with a bar of its bytes; anything else has no end that could be told.
pub fn reading(path: &Path, reader: Box<dyn Read>, global: &Global) -> (Box<dyn Read>, ProgressBar) {
    let length = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
    let Some(length) = length else { return (reader, ProgressBar::hidden()) };
    let bar = bar(length, "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec} {eta}", global);
    (Box::new(bar.wrap_read(reader)), bar)
}

/// So many bytes that somebody else reads, and prints nothing meanwhile.
pub fn bytes(total: u64, global: &Global) -> ProgressBar {
    if global.quiet > 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

/// Something that takes a while and does not say how long.
pub fn working(what: &'static str, global: &Global) -> ProgressBar {
    let bar = bar(0, "{spinner} {msg} {elapsed}", global);
    bar.set_message(what);
    if wanted(global) {
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_there_and_a_bar_is_only_for_terminals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let quiet = Global { quiet: 1, ..Global::default() };
        let (mut reader, bar) = reading(&path, Box::new(std::fs::File::open(&path).unwrap()), &quiet);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), bar.position()), ("one\ntwo\n", 8));
        assert!(bar.is_hidden());
    }
}
