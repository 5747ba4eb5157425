//! The last word of a Job's pod, where Kubernetes shows it: `state.terminated.message` of the container.

use std::path::Path;

use crate::output::{plain, say};

/// Kubernetes keeps no more of it.
const BYTES_MAX: usize = 4096;

/// Writes what a person is to read. That it cannot be written is told, and changes nothing of how the command ends.
pub(crate) fn write(file: &Path, message: &str) {
    let message = plain(message);
    if let Err(error) = std::fs::write(file, cut(message.trim_end(), BYTES_MAX)) {
        say(&format!("the termination message could not be written to '{}': {error}", file.display()));
    }
}

/// As much as fits, of whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_where_a_character_ends() {
        for (text, bytes_max, kept) in [
            ("", 4, ""),
            ("abcd", 4, "abcd"),
            ("abcde", 4, "abcd"),
            ("abcé", 4, "abc"),
            ("é…", 4, "é"),
            ("é…", 5, "é…"),
        ] {
            assert_eq!(cut(text, bytes_max), kept, "{text} {bytes_max}");
        }
    }

    #[test]
    fn a_long_message_is_written_as_far_as_it_is_kept() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), "what was there before")?;
        write(file.path(), &"ä".repeat(BYTES_MAX));
        assert_eq!(std::fs::read_to_string(file.path())?, "ä".repeat(BYTES_MAX / 2));
        write(file.path(), "short \u{1b}[31m\n");
        assert_eq!(std::fs::read_to_string(file.path())?, "short \u{fffd}[31m");
        Ok(())
    }
}
