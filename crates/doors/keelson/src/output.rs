//! What a command prints: data on stdout, talk on stderr, JSON where asked for.

use std::io::{self, Write};

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// Prints one result: as JSON, or as `text` says it.
#[expect(clippy::print_stdout, reason = "data goes to stdout, from here only")]
pub(crate) fn data<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) {
    match format {
        Format::Json => {
            println!("{}", serde_json::to_string_pretty(value).expect("plain data always serializes"));
        }
        Format::Text => println!("{}", plain(text(value).trim_end())),
    }
}

/// Prints lines that are JSON already. An error means that nobody reads on.
pub(crate) fn lines(lines: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(lines)?;
    stdout.flush()
}

/// Where a running platform tells what happens.
pub(crate) fn audit_sink() -> keelson_protection::audit::Sink {
    Box::new(lines)
}

/// Names and texts may be a stranger's: nothing of them acts on the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter })
        .collect()
}

#[expect(clippy::print_stderr, reason = "talk goes to stderr, from here only")]
pub(crate) fn say(message: &str) {
    eprintln!("{}", plain(message));
}
