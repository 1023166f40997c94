//! Picket, whole, but with a log that panics at a line which the builder thread writes after a reload that added kinds: a real panic
//! on the thread that holds the kernel side, with no switch for it in the product.

use std::io::Write;

use clap::Parser as _;
use picket::cli::args::Cli;

struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let builder = std::thread::current().name() == Some("builder");
        assert!(!builder || !String::from_utf8_lossy(line).contains("the reload adds"), "the log panics");
        std::io::stderr().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

fn main() -> std::process::ExitCode {
    let filter = tracing_subscriber::EnvFilter::new("picket=info");
    // The first log of a process is the one that counts.
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Log).init();
    picket::cli::main(&Cli::parse()).into()
}
