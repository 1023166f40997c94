//! `picket man`.

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::{Cli, ExitCode, Global, ManArgs};

/// Prints the man page: all commands in one page, each with its options.
pub fn run(_: &ManArgs, _: &Global) -> anyhow::Result<ExitCode> {
    super::print(&page()?)
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone());
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    // One page for all: `man picket` is where people look, and one file is easy to install.
    subcommands(&command, &mut out)?;
    man.render_extra_section(&mut out)?;
    man.render_version_section(&mut out)?;
    Ok(out)
}

fn subcommands(command: &Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    for sub in command.get_subcommands() {
        if sub.has_subcommands() {
            subcommands(sub, out)?;
            continue;
        }
        let name = sub.get_bin_name().unwrap_or(sub.get_name()).to_uppercase();
        out.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
        out.extend_from_slice(format!("{}\n.PP\n", sub.get_about().cloned().unwrap_or_default()).as_bytes());
        let mut sections = Vec::new();
        let man = Man::new(sub.clone());
        man.render_synopsis_section(&mut sections)?;
        man.render_options_section(&mut sections)?;
        // They stand below the command's own heading.
        out.extend_from_slice(String::from_utf8_lossy(&sections).replace(".SH ", ".SS ").as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_command_and_the_exit_codes() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for sub in Cli::command().get_subcommands() {
            let heading = format!(".SH \"PICKET {}", sub.get_name().to_uppercase());
            assert!(page.contains(&heading), "{heading} is missing");
        }
        assert!(page.contains(r"fail\-on"), "options of subcommands are missing");
        assert!(page.contains("130 interrupted"));
    }
}
