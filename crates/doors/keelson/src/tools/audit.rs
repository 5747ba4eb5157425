//! `tools audit`: prints the trail that a platform keeps on its volume, a page at a time.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use keelson_protection::audit::{Told, read};

use crate::failure::failed;
use crate::files::io_failed;
use crate::output::{lines, say};

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// The platform's own volume.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Nothing before.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Nothing after.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only what this user did; the platform itself is 'keelson'.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Events of one page. Where there are more, the time of the next one is told.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    limit: usize,
}

impl Audit {
    fn is_wanted(&self, told: &Told) -> bool {
        let Self { data: _, since, until, user, limit: _ } = self;
        since.is_none_or(|since| told.at >= since)
            && until.is_none_or(|until| told.at <= until)
            && user.as_ref().is_none_or(|user| told.user == *user)
    }
}

pub(super) fn run(arguments: Audit) -> Result<()> {
    let mut printed = 0;
    for told in read(&arguments.data).map_err(failed)? {
        let told = told.map_err(failed)?;
        if !arguments.is_wanted(&told) {
            continue;
        }
        if printed == arguments.limit {
            say(&format!("there is more: --since {}", told.at));
            return Ok(());
        }
        printed += 1;
        match lines(format!("{}\n", told.line).as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            printed => printed.map_err(|error| io_failed("print audit events", &error))?,
        }
    }
    Ok(())
}
