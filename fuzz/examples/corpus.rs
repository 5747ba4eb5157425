//! Writes the samples of every crate into `corpus/`, where cargo-fuzz looks for inputs to begin with.

use std::path::Path;

use keelson_fuzz::write_corpus;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    write_corpus(&corpus.join("model"), keelson_model::fuzz::TARGETS, &keelson_model::fuzz::samples())?;
    write_corpus(&corpus.join("crypto"), keelson_crypto::fuzz::TARGETS, &keelson_crypto::fuzz::samples())?;
    write_corpus(&corpus.join("store"), keelson_store::fuzz::TARGETS, &keelson_store::fuzz::samples())?;
    write_corpus(&corpus.join("repository"), keelson_repository::fuzz::TARGETS, &keelson_repository::fuzz::samples())?;
    write_corpus(&corpus.join("catalog"), keelson_catalog::fuzz::TARGETS, &keelson_catalog::fuzz::samples())?;
    write_corpus(&corpus.join("resources"), keelson_resources::fuzz::TARGETS, &keelson_resources::fuzz::samples())?;
    write_corpus(&corpus.join("workload"), keelson_workload::fuzz::TARGETS, &keelson_workload::fuzz::samples())?;
    write_corpus(&corpus.join("protection"), keelson_protection::fuzz::TARGETS, &keelson_protection::fuzz::samples())?;
    write_corpus(&corpus.join("extension"), keelson_extension::fuzz::TARGETS, &keelson_extension::fuzz::samples())?;
    Ok(())
}
