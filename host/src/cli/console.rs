//! `picket console`: a link to the live page of the running Picket.

use crate::control::{self, Request};

use super::args::{ConsoleArgs, ExitCode, Format, Global};
use super::print;
use super::terminal::escape_str;

pub fn run(args: &ConsoleArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&[], Vec::new())?.config;
    super::log(global, &config);
    let request = if args.close { Request::ConsoleClose } else { Request::Console };
    let answer = control::ask(&config.control_socket(), &request)?;
    if let Some(why) = answer["error"].as_str() {
        eprintln!("error: {}", escape_str(why));
        return Ok(ExitCode::BadSetup);
    }
    match (args.format.format, answer["url"].as_str()) {
        (Format::Json, _) => print(format!("{answer}\n").as_bytes()),
        (Format::Human, Some(url)) => {
            eprintln!("open this in a browser on this machine; it lets one in, once, within ten minutes");
            print(format!("{}\n", escape_str(url)).as_bytes())
        }
        (Format::Human, None) => {
            let said =
                if answer["was_open"] == true { "the console is closed\n" } else { "the console was not open\n" };
            print(said.as_bytes())
        }
    }
}
