//! The demonstration: a platform protects applications and itself, everything is destroyed but a location, and a
//! fresh platform on an empty cluster brings all of it back. Each step is what a user would do; every comparison is
//! made with what the API servers say.

#![expect(clippy::print_stdout, reason = "the story is told on standard output")]

mod applications;
mod cluster;
mod objects;
mod platform;
mod record;
mod recovery;
mod source;
mod story;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

pub use self::vault::LocationKind;

use self::objects::Objects;
use self::source::Lost;
use self::story::{Story, seconds};
use self::vault::Vault;

pub struct Options {
    pub location: LocationKind,
    /// Where the report goes, as JSON.
    pub report: PathBuf,
}

const PASSPHRASE_BYTES: usize = 16;

/// Plays the whole story. Its last line is `RESULT ok …` or `RESULT failed …`.
pub async fn run(options: &Options) -> ExitCode {
    let mut story = Story::new();
    let result = play(&mut story, options).await;
    story.end_phase();
    story.print_table();
    let (line, mut report) = match result {
        Ok(outcome) => (outcome.line(), outcome.report()),
        Err(error) => (failure(&format!("{error:#}")), json!({ "error": format!("{error:#}") })),
    };
    let (line, code) = match story.differences() {
        0 if line.starts_with("RESULT ok") => (line, ExitCode::SUCCESS),
        0 => (line, ExitCode::FAILURE),
        count => (failure(&format!("{count} differences, listed above")), ExitCode::FAILURE),
    };
    report["result"] = json!(line);
    let written = story.write(&options.report, report);
    match written {
        Ok(()) => {
            println!("report: {}", options.report.display());
            println!("{line}");
            code
        }
        Err(error) => {
            println!("{}", failure(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// The last line is one line.
fn failure(why: &str) -> String {
    println!("{why}");
    format!("RESULT failed {}", why.lines().next().unwrap_or_default())
}

struct Outcome {
    lost: Lost,
    times: recovery::Times,
}

async fn play(story: &mut Story, options: &Options) -> Result<Outcome> {
    story.phase("prepare the location");
    let vault = Vault::create(options.location).await?;
    story.say(vault.describe());
    let passphrase = keelson_testkit::random_hex::<PASSPHRASE_BYTES>();
    let lost = source::play(story, &vault, &passphrase).await?;
    let times = recovery::play(story, &vault, &lost).await?;
    Ok(Outcome { lost, times })
}

impl Outcome {
    fn objects(&self) -> usize {
        self.lost.applications.values().map(Objects::len).sum()
    }

    fn line(&self) -> String {
        format!(
            "RESULT ok applications={} objects={} restore_points={} digest={} platform_seconds={:.2} \
             applications_seconds={:.2}",
            self.lost.applications.len(),
            self.objects(),
            self.lost.platform.contents.len(),
            self.lost.chain,
            self.times.platform.as_secs_f64(),
            self.times.applications.as_secs_f64(),
        )
    }

    fn report(&self) -> serde_json::Value {
        json!({
            "clusterID": self.lost.cluster_id,
            "applications": self.lost.applications.len(),
            "objects": self.objects(),
            "restorePoints": self.lost.platform.contents.len(),
            "actions": self.lost.platform.actions.len(),
            "policies": self.lost.platform.policies.len(),
            "profiles": self.lost.platform.profiles.len(),
            "digest": self.lost.chain,
            "digests": self.lost.digests,
            "platformSeconds": seconds(self.times.platform),
            "applicationsSeconds": seconds(self.times.applications),
        })
    }
}
