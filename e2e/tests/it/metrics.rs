//! What a scraper reads.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};

use crate::stage::Stage;
use crate::world::enter;

fn address_of(stage: &Stage) -> Result<String> {
    let log = fs::read_to_string(stage.instance.log_file())?;
    let line =
        log.lines().rev().find(|line| line.contains("metrics are served")).context("no line in the log")?;
    let (_, address) = line.rsplit_once("address=").context("no address")?;
    Ok(address.trim().to_owned())
}

pub(crate) fn scrape(stage: &Stage) -> Result<String> {
    ask(&address_of(stage)?, "GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n")
}

fn ask(address: &str, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn metrics_are_served_where_the_flag_says_and_nothing_else_is() -> Result<()> {
    let world = enter()?;
    let address = address_of(&world.stage)?;
    let answer = scrape(&world.stage)?;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{answer}");
    for line in ["keelson_catalog_up 1", "keelson_dr_enabled 0", "keelson_ownership{state=\"Owned\"} 1"] {
        assert!(answer.lines().any(|found| found == line), "'{line}' is not in {answer}");
    }
    for request in ["GET / HTTP/1.1\r\n\r\n", "POST /metrics HTTP/1.1\r\n\r\n", "nothing\r\n\r\n"] {
        assert!(ask(&address, request)?.starts_with("HTTP/1.1 404 "), "{request}");
    }
    Ok(())
}
