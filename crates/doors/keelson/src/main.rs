//! `keelson`: one binary. Parses, composes, runs; decides nothing.

mod arguments;
mod clock;
mod dr;
mod failure;
mod files;
mod follow;
mod guard;
mod health;
mod logs;
mod memory;
mod metrics;
mod operator;
mod output;
mod restore;
mod serve;
mod signals;
mod standing;
mod termination;
mod tools;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    memory::keep_flat();
    let arguments = Arguments::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return failure::report(&anyhow::anyhow!("another TLS provider is installed already"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::from(error).context("start the runtime")),
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Serve(serve) => serve::run(serve).await,
            Command::Guard(guard) => guard::run(guard).await,
            Command::Operator(operator) => operator::run(operator).await,
            Command::Dr(dr) => dr::run(dr).await,
            Command::Restore(restore) => restore::run(restore).await,
            Command::Tools(tools) => tools::run(tools).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
