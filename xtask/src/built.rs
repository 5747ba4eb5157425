//! What cargo says that it has built (`--message-format=json`), as far as it matters here: executables.

use std::path::PathBuf;

use serde::Deserialize;

/// An executable, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Built {
    pub(crate) package: String,
    /// `lib`, `bin`, `test`
    pub(crate) kind: String,
    pub(crate) target: String,
    /// Of the package. Cargo runs its tests there.
    pub(crate) folder: PathBuf,
    pub(crate) executable: PathBuf,
    /// Whether it runs tests, and is not the program itself.
    pub(crate) is_test: bool,
}

/// A message about something that was built. Others do not have all of this.
#[derive(Deserialize)]
struct Message {
    package_id: String,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// In the order in which they were built.
pub(crate) fn executables(messages: &str) -> Vec<Built> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages.filter_map(Message::executable).collect()
}

impl Message {
    fn executable(self) -> Option<Built> {
        Some(Built {
            package: package_of(&self.package_id)?.to_owned(),
            kind: self.target.kind.into_iter().next()?,
            target: self.target.name,
            folder: self.manifest_path.parent()?.to_owned(),
            executable: self.executable?,
            is_test: self.profile.test,
        })
    }
}

/// `path+file:///…/e2e#keelson-e2e@0.1.0`, or `path+file:///…/keelson#0.1.0` where the folder has the same name.
fn package_of(id: &str) -> Option<&str> {
    let (source, rest) = id.split_once('#')?;
    match rest.split_once('@') {
        Some((name, _)) => Some(name),
        None => source.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_known_by_package_and_target() {
        let messages = r#"
            {"reason":"build-script-executed","package_id":"registry+https://x#a@1.0.0","out_dir":"/t/a"}
            {"reason":"compiler-artifact","package_id":"path+file:///x/crates/keelson#0.1.0","manifest_path":"/x/crates/keelson/Cargo.toml","target":{"kind":["bin"],"name":"keelson"},"profile":{"test":false},"executable":"/t/keelson","fresh":true}
            {"reason":"compiler-artifact","package_id":"path+file:///x/e2e#keelson-e2e@0.1.0","manifest_path":"/x/e2e/Cargo.toml","target":{"kind":["lib"],"name":"keelson_e2e"},"profile":{"test":false},"executable":null,"fresh":true}
            {"reason":"compiler-artifact","package_id":"path+file:///x/e2e#keelson-e2e@0.1.0","manifest_path":"/x/e2e/Cargo.toml","target":{"kind":["test"],"name":"it"},"profile":{"test":true},"executable":"/t/it-2","fresh":true}
            {"reason":"build-finished","success":true}"#;
        let built = |package: &str, kind: &str, target: &str, folder: &str, executable: &str| Built {
            package: package.to_owned(),
            kind: kind.to_owned(),
            target: target.to_owned(),
            folder: folder.into(),
            executable: executable.into(),
            is_test: kind == "test",
        };
        assert_eq!(
            executables(messages),
            [
                built("keelson", "bin", "keelson", "/x/crates/keelson", "/t/keelson"),
                built("keelson-e2e", "test", "it", "/x/e2e", "/t/it-2"),
            ]
        );
    }
}
