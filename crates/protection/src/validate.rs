//! Validation: reads what a restore point holds to the last byte, as a restore would, and says what is damaged.
//!
//! Guarantees: a validation that is complete has read, authenticated and decoded every stored object; one that found
//! damage has failed and tells each stream's first damage in its details. What is out of reach is no damage: it is tried
//! again. Limits: volumes are not part of a restore point yet.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use keelson_catalog::{RowKey, RowKind};
use keelson_model::names::label;
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_repository::{LoadIndexError, NamedStream, Outcome, ReadError, Reader, SessionError};
use keelson_resources::actions::ActionException;
use keelson_resources::actions::validate::{DataCheckResult, DataCheckStats, ValidateDetails};
use keelson_workload::{DecodeObjectsError, Layer, decode_objects};

use crate::actions::Finished;
use crate::engine::{Failure, Job, read};
use crate::export::content_of_subject;
use crate::kinds;
use crate::records::Record;
use crate::restore_points::{Artifact, ContentInternal};
use crate::streams::{EndingReader, begin_reading, hold};

/// A validation that found damage, or could not look.
#[derive(Debug, thiserror::Error)]
enum ValidateError {
    #[error("there is no restore point content '{name}'")]
    NoContent { name: String },
    #[error("load the index of the repository")]
    LoadIndex { source: LoadIndexError },
    #[error("begin a session in the repository")]
    Begin { source: SessionError },
    #[error("keep the session of the validation alive")]
    Hold { source: SessionError },
    #[error("read what is to be validated")]
    Read { source: ReadError },
    #[error("restore point content '{content}' is damaged in {count} places; the first: {first}")]
    Damaged { content: String, count: u64, first: String },
}

impl Classified for ValidateError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoContent { .. } => ErrorClass::NotFound,
            Self::LoadIndex { source } => source.class(),
            Self::Begin { source } | Self::Hold { source } => source.class(),
            Self::Read { source } => source.class(),
            Self::Damaged { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoContent { .. } => "validate.no_content",
            Self::LoadIndex { .. } => "validate.load_index",
            Self::Begin { .. } => "validate.begin",
            Self::Hold { .. } => "validate.hold",
            Self::Read { .. } => "validate.read",
            Self::Damaged { .. } => "validate.damaged",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } => Some(
                "restore from another restore point; a new backup writes anew what is missing of unchanged data, and \
                 `keelson tools verify` names every other restore point that the damage concerns"
                    .to_owned(),
            ),
            Self::Read { source } => source.hint(),
            _ => None,
        }
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let content = find_content(job)?;
    let internal: ContentInternal = content.internal()?;
    let (reader, artifact) = job.phase("Opening RestorePoint", open(job, &internal.artifact)).await?;
    let verifying = async {
        let checking = job.unless_cancelled(verify(job, &content, &reader, &artifact));
        let details = match hold(&*job.platform.clock, reader.life(), checking).await {
            Ok(checked) => checked?,
            Err(source) => return Err(ValidateError::Hold { source }.into()),
        };
        job.tell_details(&details).await;
        judge(&content, &details)
    };
    job.phase("Verifying RestorePoint", verifying).await?;
    Ok(Finished::default())
}

fn find_content(job: &Job) -> Result<Record, Failure> {
    let subject = &job.action.body.spec["subject"];
    if subject["kind"] != "RestorePointContent" {
        return content_of_subject(job);
    }
    let name = subject["name"].as_str().unwrap_or_default();
    let kind = RowKind::new(kinds::restore_point_content().row_kind());
    let found = read(&job.database, &RowKey::new(kind, "", name))?;
    found.ok_or_else(|| ValidateError::NoContent { name: name.to_owned() }.into())
}

async fn open(job: &Job, artifact: &Artifact) -> Result<(EndingReader, Artifact), Failure> {
    job.check_cancelled()?;
    let (repository, artifact) = job.platform.open_artifact(artifact, None).await?;
    let indexed = repository.load_index().await.map_err(|source| ValidateError::LoadIndex { source })?;
    let reader = begin_reading(&indexed, job.platform.clock.now()).await;
    let reader = reader.map_err(|source| ValidateError::Begin { source })?;
    Ok((EndingReader::of(&job.platform, reader), artifact))
}

/// Looks at everything, or until the first damage. Damage is a result; what is out of reach is none.
async fn verify(
    job: &Job,
    content: &Record,
    reader: &Reader,
    artifact: &Artifact,
) -> Result<ValidateDetails, Failure> {
    let app = content.label(label::APP_NAMESPACE);
    let fail_fast = job.action.body.spec["volumeDataCheckOptions"]["failFast"] == true;
    let mut results = Vec::new();
    match reader.outcome(artifact.outcome).await {
        Ok(outcome) => {
            for stream in layers(&outcome) {
                let result = verify_stream(app, reader, stream).await?;
                let failed = result.err_count > 0;
                results.push(result);
                let read: u64 = results.iter().map(|result| result.stats.processed_bytes).sum();
                let percent = (100 * read).checked_div(artifact.bytes).unwrap_or(0);
                job.progress(percent.min(99) as u8).await;
                if failed && fail_fast {
                    break;
                }
            }
            let is_whole = results.iter().all(|result| result.err_count == 0);
            results.extend(is_whole.then(|| missing_objects(app, &results, artifact)).flatten());
        }
        Err(error) if error.class().is_lasting() => results.push(damaged(app, None, &error)),
        Err(source) => return Err(ValidateError::Read { source }.into()),
    }
    let error_count = results.iter().map(|result| result.err_count).sum();
    Ok(ValidateDetails { error_count, object_data_check_result: results, ..ValidateDetails::default() })
}

fn layers(outcome: &Outcome) -> impl Iterator<Item = &NamedStream> {
    Layer::ALL.into_iter().filter_map(|layer| outcome.stream(layer.name()))
}

/// Every chunk is authenticated and compared with its name, and every object decoded.
async fn verify_stream(app: &str, reader: &Reader, stream: &NamedStream) -> Result<DataCheckResult, Failure> {
    let mut stats = DataCheckStats { total_bytes: stream.reference.length(), ..DataCheckStats::default() };
    let read_bytes = std::sync::atomic::AtomicU64::new(0);
    let bytes = reader.read(&stream.reference).inspect_ok(|piece: &Bytes| {
        read_bytes.fetch_add(piece.len() as u64, std::sync::atomic::Ordering::Relaxed);
    });
    let ended = {
        let mut objects = Box::pin(decode_objects(bytes));
        loop {
            match objects.next().await {
                Some(Ok(_)) => stats.processed_object_count += 1,
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        }
    };
    stats.read_bytes = read_bytes.into_inner();
    stats.processed_bytes = stats.read_bytes;
    stats.total_object_count = stats.processed_object_count;
    let mut result = match ended {
        None => DataCheckResult { app_name: app.to_owned(), ..DataCheckResult::default() },
        Some(DecodeObjectsError::ReadStream { source }) => match source.downcast::<ReadError>() {
            Ok(error) if error.class().is_lasting() => damaged(app, Some(&stream.name), &*error),
            Ok(error) => return Err(ValidateError::Read { source: *error }.into()),
            Err(source) => return Err(DecodeObjectsError::ReadStream { source }.into()),
        },
        Some(error) => damaged(app, Some(&stream.name), &error),
    };
    result.stream_name = Some(stream.name.clone());
    result.stats = stats;
    Ok(result)
}

fn damaged(app: &str, stream: Option<&str>, error: &(dyn std::error::Error + 'static)) -> DataCheckResult {
    DataCheckResult {
        app_name: app.to_owned(),
        stream_name: stream.map(str::to_owned),
        err_count: 1,
        errors: vec![ActionException { message: Chain(error).to_string() }],
        ..DataCheckResult::default()
    }
}

/// What was captured was counted. A stream that was lost as a whole leaves no other trace.
fn missing_objects(app: &str, results: &[DataCheckResult], artifact: &Artifact) -> Option<DataCheckResult> {
    let found: u64 = results.iter().map(|result| result.stats.processed_object_count).sum();
    let missing = artifact.objects.checked_sub(found).filter(|missing| *missing > 0)?;
    let message = format!("{missing} of {} objects are missing", artifact.objects);
    Some(DataCheckResult {
        app_name: app.to_owned(),
        err_count: 1,
        errors: vec![ActionException { message }],
        ..DataCheckResult::default()
    })
}

fn judge(content: &Record, details: &ValidateDetails) -> Result<(), Failure> {
    let errors = details.object_data_check_result.iter().flat_map(|result| &result.errors);
    let Some(first) = errors.into_iter().next() else { return Ok(()) };
    let (content, first) = (content.name.clone(), first.message.clone());
    Err(ValidateError::Damaged { content, count: details.error_count, first }.into())
}
