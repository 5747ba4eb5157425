//! How long a list of everything takes, whole and page by page.
//!
//! The clock runs from the first request to the last byte. What came is parsed and counted afterwards.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::side::Side;

/// Objects of a page, as informers and `kubectl` ask for them.
pub(super) const PAGE: usize = 500;
/// What an object takes at most, so that the client's buffer never moves.
const OBJECT_BYTES: usize = 3 << 10;
/// `metadata` stands before the items or after them.
const EDGE_BYTES: usize = 4 << 10;

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Listed {
    pub(super) seconds: f64,
    pub(super) bytes: u64,
}

/// Lists all objects: in pages of so many, or in one answer.
pub(super) async fn list(client: &Client, side: Side, rows: usize, limit: Option<usize>) -> Result<Listed> {
    let mut connection = client.connect().await?;
    let room = limit.unwrap_or(rows) * OBJECT_BYTES;
    let (mut pages, mut token) = (Vec::new(), None);
    let began = Instant::now();
    loop {
        let page = connection.read(&page_path(side, limit, token.as_deref()), room).await?;
        token = limit.and_then(|_| token_of(&page));
        pages.push(page);
        if token.is_none() {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    check(&pages, rows, limit)?;
    Ok(Listed { seconds, bytes: pages.iter().map(|page| page.len() as u64).sum() })
}

pub(super) fn page_path(side: Side, limit: Option<usize>, token: Option<&str>) -> String {
    let limit = limit.map(|limit| format!("limit={limit}"));
    // A token is Base64 as addresses bear it.
    let token = token.map(|token| format!("continue={token}"));
    let options: Vec<String> = limit.into_iter().chain(token).collect();
    format!("{}?{}", side.path(), options.join("&"))
}

/// The token of the page after this one, without reading the objects.
pub(super) fn token_of(page: &[u8]) -> Option<String> {
    text_after(&page[page.len().saturating_sub(EDGE_BYTES)..], "\"continue\":\"")
        .or_else(|| text_after(&page[..page.len().min(EDGE_BYTES)], "\"continue\":\""))
}

/// The text up to the next quote, if there is any: lists of custom resources end with an empty token.
fn text_after(bytes: &[u8], mark: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let (_, rest) = text.split_once(mark)?;
    let (text, _) = rest.split_once('"')?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    metadata: Key<'a>,
}

#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Key<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// Every object came once, and no page was larger than asked for.
fn check(pages: &[Vec<u8>], rows: usize, limit: Option<usize>) -> Result<()> {
    let mut seen = HashSet::new();
    for page in pages {
        let list: List<'_> = serde_json::from_slice(page).context("read a list")?;
        ensure!(limit.is_none_or(|limit| list.items.len() <= limit), "a page of {}", list.items.len());
        for item in list.items {
            ensure!(!seen.contains(&item.metadata), "'{}' came twice", item.metadata.name);
            seen.insert(item.metadata);
        }
    }
    ensure!(seen.len() == rows, "{} objects came instead of {rows}", seen.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(names: &[&str]) -> Vec<u8> {
        let items =
            names.iter().map(|name| serde_json::json!({ "metadata": { "namespace": "n", "name": name } }));
        serde_json::json!({ "items": items.collect::<Vec<_>>() }).to_string().into_bytes()
    }

    #[test]
    fn a_token_is_found_before_the_objects_and_after_them() {
        let objects = format!("\"items\":[{}]", "x".repeat(3 * EDGE_BYTES));
        let metadata = r#""metadata":{"resourceVersion":"7","continue":"abc_-9"}"#;
        let found = |page: String| token_of(page.as_bytes());
        assert_eq!(found(format!("{{{metadata},{objects}}}")).as_deref(), Some("abc_-9"));
        assert_eq!(found(format!("{{{objects},{metadata}}}")).as_deref(), Some("abc_-9"));
        assert_eq!(found(format!("{{{objects}}}")), None);
        assert_eq!(found(format!("{{{objects},\"metadata\":{{\"continue\":\"\"}}}}")), None, "the last page");
    }

    #[test]
    fn a_list_counts_only_if_every_object_came_once() {
        assert!(check(&[page(&["a", "b"]), page(&["c"])], 3, Some(2)).is_ok());
        assert!(check(&[page(&["a", "b"]), page(&["c"])], 3, Some(1)).is_err(), "a page too large");
        assert!(check(&[page(&["a", "b"]), page(&["b"])], 3, Some(2)).is_err(), "one came twice");
        assert!(check(&[page(&["a", "b"])], 3, Some(2)).is_err(), "one is missing");
    }

    #[test]
    fn a_page_is_asked_for_by_limit_and_token() {
        let path = "/apis/apps.kio.kasten.io/v1alpha1/restorepoints";
        assert_eq!(page_path(Side::Ours, None, None), format!("{path}?"));
        assert_eq!(page_path(Side::Ours, Some(5), Some("t")), format!("{path}?limit=5&continue=t"));
    }
}
