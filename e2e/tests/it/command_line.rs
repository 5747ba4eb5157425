//! What the program says without a cluster: help with examples, and clear ends where it cannot begin.

use anyhow::{Context, Result};
use keelson_e2e::{Answer, answer};

use crate::stage::assert_said;

fn help(words: &[&str]) -> Result<String> {
    let Answer { code, stdout, stderr } = answer([words, &["--help"]].concat())?;
    assert_eq!((code, stderr.as_str()), (0, ""), "{words:?}");
    Ok(stdout)
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<&str> {
    let listed = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
    let lines = listed.lines().take_while(|line| line.starts_with("  "));
    // A name is indented by two; long texts go on further to the right.
    let names =
        lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[test]
fn every_command_has_a_help_with_an_example_and_the_exit_codes_are_listed() -> Result<()> {
    let top = help(&[])?;
    assert!(top.contains("Exit codes: 0 done"), "{top}");
    let (mut waiting, mut seen) = (vec![Vec::new()], 0);
    while let Some(words) = waiting.pop() {
        let text = help(&words)?;
        let below = commands(&text).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let is_group = !below.is_empty() && !words.is_empty();
        assert!(is_group || text.contains("Example"), "no example for {words:?}: {text}");
        seen += usize::from(!is_group);
        for name in below {
            let name: &'static str = name.leak();
            waiting.push([&words[..], &[name]].concat());
        }
    }
    assert!(seen > 12, "{seen} commands");
    Ok(())
}

#[test]
fn a_bound_of_a_recovery_is_a_minute_at_least_and_a_week_at_most() -> Result<()> {
    for flag in ["--restore-timeout", "--review-timeout"] {
        for minutes in ["0", "10081", "90m"] {
            let said = answer(["serve", "--data", "unused", flag, minutes])?;
            assert_said(&said, 2, &[&format!("invalid value '{minutes}' for '{flag} <MINUTES>'")]);
        }
    }
    Ok(())
}

#[test]
fn a_kubeconfig_that_is_not_there_or_not_one_is_told_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wrong = folder.path().join("config");
    std::fs::write(&wrong, "clusters: 7\n")?;
    let wrong = wrong.to_str().context("a path")?;
    for (path, why) in [("/nowhere/config", "No such file or directory"), (wrong, "failed to parse")] {
        for words in [&["dr", "status"][..], &["serve", "--data", "unused"], &["restore", "shop"]] {
            let said = answer([words, &["--kubeconfig", path]].concat())?;
            let told = format!("read kubeconfig '{path}': ");
            assert_said(&said, 3, &[&told, why, "hint: name the file by --kubeconfig or KUBECONFIG"]);
            assert_eq!(said.stderr.matches(why).count(), 1, "{}", said.stderr);
        }
    }
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_name_before_anything_is_done() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (directory, missing) = (folder.path().display().to_string(), "/nowhere/passphrase");
    let cases: [&[&str]; 3] = [
        &["tools", "verify", "--directory", &directory, "--passphrase-file", missing],
        &["dr", "enable", "--profile", "vault", "--passphrase-file", missing],
        &["dr", "kit", "--output-file", "kit", "--kit-passphrase-file", missing],
    ];
    for words in cases {
        let said = answer(words)?;
        assert_said(&said, 4, &["read the passphrase from '/nowhere/passphrase': No such file"]);
    }
    let said = answer(["tools", "verify", "--directory", &directory, "--passphrase-file", &directory])?;
    assert_said(&said, 3, &["read the passphrase from", "Is a directory"]);
    Ok(())
}
