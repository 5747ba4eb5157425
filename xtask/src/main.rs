//! `cargo xtask`: the project's own chores. What ships is elsewhere; what watches over the tree is here.

#![expect(clippy::print_stdout, reason = "a command answers on standard output")]

mod archive;
mod built;
mod charts;
mod codegen;
mod e2e;
mod evidence;
mod explore;
mod finding;
mod image;
mod promises;
mod source;
mod suites;
mod testbed;
mod tidy;
mod tree;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::finding::Finding;
use crate::tree::Tree;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of this project", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the rules that no compiler knows: layers, confined crates, sizes, names, fresh generated files
    Tidy,
    /// Write the generated files: `CustomResourceDefinitions` and the list of error codes
    Codegen,
    /// Print what the project promises and what proves it
    Promises,
    /// Run the scenarios of `e2e` one by one, each with its verdict and its time
    E2e(e2e::Arguments),
    /// List the suites of all tests in the queues in which `./test` runs them
    Suites(suites::Arguments),
    /// Walk at random through interleavings of writers, readers, prunes and claims, and say how many there were
    Explore(explore::Arguments),
    /// Make an OCI image of the program, and push it to a registry if one is named
    Image(image::Arguments),
    /// Make a chart repository of the charts
    Charts(charts::Arguments),
    /// Start, stop or show a Kubernetes control plane for trying things out
    #[command(subcommand)]
    Testbed(testbed::Command),
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Tidy => Ok(print_findings("tidy", &tidy::check(&Tree::here()?))),
        Chore::Codegen => {
            for path in codegen::write(&Tree::here()?)? {
                println!("wrote {path}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Chore::Promises => {
            let tree = Tree::here()?;
            let promises = promises::read(&tree)?;
            print!("{}", promises.table());
            Ok(print_findings("promises", &promises.check(&tree)))
        }
        Chore::E2e(arguments) => e2e::run(&arguments),
        Chore::Suites(arguments) => suites::run(&arguments),
        Chore::Explore(arguments) => explore::run(&arguments),
        Chore::Image(arguments) => image::run(&arguments),
        Chore::Charts(arguments) => charts::run(&arguments),
        Chore::Testbed(command) => testbed::run(&command),
    }
}

fn print_findings(chore: &str, findings: &[Finding]) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{chore}: {} to mend", findings.len());
    ExitCode::FAILURE
}
