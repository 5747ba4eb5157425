//! `tools check-report`: whether a drill report is the platform's, without platform, cluster or location.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use keelson_crypto::{ParseSignatureError, VerifyingKey};
use keelson_model::{Classified, ErrorClass};
use keelson_protection::recovery::report::ReportDocument;

use crate::dr::kit::UsedKit;
use crate::failure::{failed, refuse, refuse_with};
use crate::files::read_file;
use crate::output::{Format, data};

/// Twenty findings and the rest of a report take some thousand bytes.
const REPORT_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct CheckReport {
    /// The report, as `keelson dr drill-report` printed it.
    report: PathBuf,
    /// The public key that was kept, in hexadecimal digits.
    #[arg(long, value_name = "DIGITS", required_unless_present = "kit", conflicts_with = "kit")]
    key: Option<String>,
    #[command(flatten)]
    kit: UsedKit,
    /// How to print the result.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
}

pub(super) fn run(arguments: CheckReport) -> Result<()> {
    let CheckReport { report, key, kit, output } = arguments;
    let key = match kit.open()? {
        Some(kit) => kit.report_key,
        None => key,
    };
    let key = key.ok_or_else(|| refuse(ErrorClass::NotFound, "the kit holds no key of reports"))?;
    let key: VerifyingKey = key.parse().map_err(|error: ParseSignatureError| {
        let hint = "--key takes what 'keelson dr kit' tells as reportKey, or give the kit itself with --kit";
        refuse_with(error.class(), error.to_string(), hint)
    })?;
    let text = read_file("the report", &report, REPORT_BYTES_MAX)?;
    let text = String::from_utf8(text).map_err(|_| {
        refuse(ErrorClass::Corrupt, format!("the report '{}' is not a text", report.display()))
    })?;
    let document = ReportDocument::check(&text, &key).map_err(failed)?;
    data(output, &document, |document| {
        let ReportDocument { cluster, drill, .. } = document;
        let went = if drill.is_green() { "went well" } else { "FAILED" };
        let mut lines = vec![
            format!("the report is of cluster {cluster} and unchanged"),
            format!(
                "the drill {went} at {} in {} s, with {} findings",
                drill.at, drill.seconds, drill.findings_total
            ),
        ];
        lines.extend(drill.findings.iter().map(|finding| format!("  {finding}")));
        lines.join("\n")
    });
    Ok(())
}
