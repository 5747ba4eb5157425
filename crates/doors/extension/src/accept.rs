//! Content negotiation: in which representation a client wants objects.
//!
//! We speak JSON. Tables and bare metadata are representations of the same objects; protobuf is not offered, and
//! every client that asks for it names JSON as its second choice.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::refusal::Refusal;

/// How an object, a list or an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Representation {
    Object,
    Table(MetaVersion),
    PartialMetadata(MetaVersion),
}

/// The version of `meta.k8s.io` that a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    V1,
    V1Beta1,
}

impl MetaVersion {
    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// How the discovery of groups is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscoveryFormat {
    Plain,
    Aggregated,
}

/// One alternative of an `Accept` header.
struct Alternative<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Alternative<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn takes_json(&self) -> bool {
        ["application/json", "application/*", "*/*"]
            .iter()
            .any(|media| self.media.eq_ignore_ascii_case(media))
    }

    fn representation(&self) -> Option<Representation> {
        if !self.takes_json() {
            return None;
        }
        let Some(shape) = self.parameter("as") else { return Some(Representation::Object) };
        if self.parameter("g") != Some("meta.k8s.io") {
            return None;
        }
        let version = match self.parameter("v") {
            Some("v1") => MetaVersion::V1,
            Some("v1beta1") => MetaVersion::V1Beta1,
            _ => return None,
        };
        match shape {
            "Table" => Some(Representation::Table(version)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => {
                Some(Representation::PartialMetadata(version))
            }
            _ => None,
        }
    }

    fn discovery(&self) -> Option<DiscoveryFormat> {
        if !self.takes_json() {
            return None;
        }
        match (self.parameter("g"), self.parameter("v"), self.parameter("as")) {
            (_, _, None) => Some(DiscoveryFormat::Plain),
            (Some("apidiscovery.k8s.io"), Some("v2"), Some("APIGroupDiscoveryList")) => {
                Some(DiscoveryFormat::Aggregated)
            }
            _ => None,
        }
    }
}

/// The representation of resources that fits best.
pub(crate) fn choose_representation(headers: &HeaderMap) -> Result<Representation, Refusal> {
    choose(headers, Representation::Object, |alternative| alternative.representation())
}

/// The format of `/apis` that fits best.
pub(crate) fn choose_discovery(headers: &HeaderMap) -> Result<DiscoveryFormat, Refusal> {
    choose(headers, DiscoveryFormat::Plain, |alternative| alternative.discovery())
}

/// Refuses clients that take no JSON at all.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    choose(headers, (), |alternative| alternative.takes_json().then_some(()))
}

fn choose<T>(
    headers: &HeaderMap,
    default: T,
    pick: impl Fn(&Alternative<'_>) -> Option<T>,
) -> Result<T, Refusal> {
    let mut texts = Vec::new();
    for value in headers.get_all(ACCEPT) {
        texts.push(value.to_str().map_err(|_| Refusal::not_acceptable())?);
    }
    let mut alternatives: Vec<Alternative<'_>> =
        texts.iter().flat_map(|text| text.split(',')).filter_map(parse_alternative).collect();
    if alternatives.is_empty() {
        return Ok(default);
    }
    // The sort is stable: among equals the client's order decides.
    alternatives.sort_by(|left, right| right.quality.total_cmp(&left.quality));
    alternatives
        .iter()
        .filter(|alternative| alternative.quality > 0.0)
        .find_map(pick)
        .ok_or_else(Refusal::not_acceptable)
}

fn parse_alternative(text: &str) -> Option<Alternative<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|media| !media.is_empty())?;
    let parameters: Vec<(&str, &str)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let quality =
        parameters.iter().find(|(key, _)| *key == "q").map_or(Some(1.0), |(_, q)| q.parse().ok())?;
    Some(Alternative { media, parameters, quality })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, http::HeaderValue::from_static(accept));
        headers
    }

    #[test]
    fn a_client_gets_the_first_representation_we_speak() {
        let table = Some(Representation::Table(MetaVersion::V1));
        for (accept, expected) in [
            ("*/*", Some(Representation::Object)),
            ("application/json", Some(Representation::Object)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", table),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Some(Representation::Object)),
            ("application/json;as=Table;v=v1;g=example.com", None),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
                 application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Some(Representation::PartialMetadata(MetaVersion::V1)),
            ),
            ("application/json;q=0.1,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9", table),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;q=0", None),
            ("text/html", None),
        ] {
            assert_eq!(choose_representation(&headers(accept)).ok(), expected, "{accept}");
        }
    }

    #[test]
    fn no_accept_header_means_plain_json() {
        assert_eq!(choose_representation(&HeaderMap::new()).ok(), Some(Representation::Object));
        assert_eq!(choose_discovery(&HeaderMap::new()).ok(), Some(DiscoveryFormat::Plain));
    }

    #[test]
    fn aggregated_discovery_is_served_to_those_who_ask() {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(choose_discovery(&headers(accept)).ok(), Some(DiscoveryFormat::Aggregated));
        assert_eq!(choose_discovery(&headers("application/json")).ok(), Some(DiscoveryFormat::Plain));
    }
}
