//! What the targets share: the first byte of an input chooses the decoder, the rest is for it.

use std::path::Path;

/// A decoder by name, as each crate lists them in its `fuzz.rs`.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Hands an input to the decoder that it chooses.
pub fn decode(targets: &[Target], input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let (_, decode) = targets[usize::from(*choice) % targets.len()];
    decode(bytes);
}

/// Writes a crate's samples as inputs into its corpus, so that a run begins with what decodes.
pub fn write_corpus(
    folder: &Path,
    targets: &[Target],
    samples: &[(&'static str, Vec<u8>)],
) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, (name, bytes)) in samples.iter().enumerate() {
        let choice = targets.iter().position(|(target, _)| target == name);
        let choice = choice.and_then(|choice| u8::try_from(choice).ok()).unwrap_or_default();
        std::fs::write(folder.join(format!("sample-{number:02}")), [&[choice], &bytes[..]].concat())?;
    }
    Ok(())
}
